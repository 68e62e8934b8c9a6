"""Stills in rows: one clip of each class, matrices by name, what a query retrieved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from torch import Tensor

from avid_lab.plots.style import (
    BAD,
    FAINT,
    GOOD,
    INK,
    PAPER,
    SHEET_WIDTH,
    Picture,
    array,
    frames_of,
    image_of,
    panel,
    picture,
    styled,
)


@styled
def contact_sheet(
    videos: Sequence[Any],
    labels: Sequence[str],
    *,
    columns: int | None = None,
    frames: int = 1,
    title: str | None = None,
) -> Picture:
    """A grid with one clip of each class: its middle frame, or several frames through it.

    Args:
        videos: Clips ``(3, T, H, W)``, bytes or floats in [0, 1]; or ``(N, 3, T, H, W)``.
        labels: One caption a clip.
        columns: Clips in a row; chosen to fill the width if not given.
        frames: Frames shown of each clip, evenly through it.
        title: Title of the sheet.

    Raises:
        ValueError: No clips, another number of captions, or a clip of another shape.
    """
    if len(videos) == 0 or len(videos) != len(labels):
        raise ValueError(
            f"labels must have one caption for each video, at least one; got {len(labels)} for {len(videos)}"
        )
    if frames < 1:
        raise ValueError(f"frames must be >= 1; got {frames}")
    stills = []
    for number, video in enumerate(videos):
        clip = frames_of(video, f"videos[{number}]")
        shown = ((np.arange(frames) + 0.5) / frames * len(clip)).astype(int)
        stills.append(np.concatenate(list(clip[shown]), axis=1))
    columns = min(columns or max(1, round(6 / frames)), len(stills))
    return _grid(stills, labels, columns, title)


@styled
def grid(
    images: Mapping[str, Any],
    *,
    columns: int | None = None,
    aspect: int | float | None = None,
    title: str | None = None,
) -> Picture:
    """Named images side by side, their first row on top: spectrograms, filters, frames.

    Matrices ``(H, W)`` share one colour scale, so that equal colours are equal values; pictures ``(3, H, W)`` or
    ``(H, W, 3)`` are shown as they are.

    Args:
        images: Matrix or picture by name.
        columns: Images in a row; at most six if not given.
        aspect: Height over width of every image, which is stretched to it; its own if not given.
        title: Title of the picture.

    Raises:
        ValueError: No images, or one of another shape.
    """
    if not images:
        raise ValueError("images must have at least one name with its image; got none")
    matrices = {
        name: array(image, f"images[{name!r}]", None, None) for name, image in images.items() if np.ndim(image) == 2
    }
    scale = Normalize(
        min((float(matrix.min()) for matrix in matrices.values()), default=0.0),
        max((float(matrix.max()) for matrix in matrices.values()), default=1.0),
    )
    colours = colormaps["magma"]
    stills = [
        colours(scale(matrices[name]), bytes=True)[..., :3]
        if name in matrices
        else image_of(image, f"images[{name!r}]")
        for name, image in images.items()
    ]
    return _grid(stills, list(images), min(columns or min(6, len(stills)), len(stills)), title, aspect)


@styled
def retrieval_grid(
    query_frame: Any,
    result_frames: Sequence[Any],
    captions: Sequence[str],
    correct: Sequence[Any] | np.ndarray | Tensor | None = None,
    *,
    query_caption: str = "query",
    title: str | None = None,
    columns: int = 5,
) -> Picture:
    """A query and what it retrieved, best first, as stills: green and ticked if right, orange and crossed if wrong.

    Args:
        query_frame: Picture of the query, ``(3, H, W)`` or ``(H, W, 3)``, bytes or floats in [0, 1].
        result_frames: Pictures of the results.
        captions: One caption a result.
        correct: Whether each result is right; ``None`` draws no verdict.
        query_caption: Caption of the query.
        title: Title of the picture.
        columns: Results in a row.

    Raises:
        ValueError: Lengths that differ, no results, or a picture of another shape.
    """
    count = len(result_frames)
    if count == 0 or len(captions) != count or (correct is not None and len(correct) != count):
        verdicts = "none" if correct is None else len(correct)
        raise ValueError(
            f"captions and correct must match the results, at least one; got {count} results, "
            f"{len(captions)} captions, {verdicts} verdicts"
        )
    columns = min(columns, count)
    rows = -(-count // columns)
    stills = [image_of(frame, f"result_frames[{number}]") for number, frame in enumerate(result_frames)]
    asked = image_of(query_frame, "query_frame")
    cell = SHEET_WIDTH / (columns + 1.15) * max(still.shape[0] / still.shape[1] for still in (asked, *stills))
    lines = 1 + max(text.count("\n") for text in (query_caption, *captions))
    figure = picture(SHEET_WIDTH, rows * (cell + 0.19 * lines) + (0.35 if title else 0.05), photographic=True)
    grid = figure.add_gridspec(rows, columns + 2, width_ratios=[1, 0.15, *([1] * columns)])
    query = panel(figure, grid[0, 0])
    _still(query, asked, query_caption, INK)
    query.xaxis.label.set(weight="bold")
    for number, (still, caption) in enumerate(zip(stills, captions, strict=True)):
        ax = panel(figure, grid[number // columns, 2 + number % columns])
        right = None if correct is None else bool(correct[number])
        colour = FAINT if right is None else GOOD if right else BAD
        _still(ax, still, caption, colour)
        if right is not None:
            badge = {"boxstyle": "circle,pad=0.22", "facecolor": colour, "edgecolor": PAPER, "linewidth": 1}
            style = {"fontsize": 10, "weight": "bold", "color": PAPER, "bbox": badge, "gid": "verdict"}
            ax.text(0.965, 0.955, "✓" if right else "✗", transform=ax.transAxes, ha="right", va="top", **style)
    if title:
        figure.suptitle(title, x=0.007, ha="left", fontsize=11.5, weight="bold")
    return figure


def _grid(
    stills: Sequence[np.ndarray],
    captions: Sequence[str],
    columns: int,
    title: str | None,
    aspect: int | float | None = None,
) -> Picture:
    rows = -(-len(stills) // columns)
    height = SHEET_WIDTH / columns * (aspect or max(still.shape[0] / still.shape[1] for still in stills))
    figure = picture(SHEET_WIDTH, rows * (height + 0.24) + (0.35 if title else 0.05), photographic=True)
    grid = figure.add_gridspec(rows, columns)
    for number, (still, caption) in enumerate(zip(stills, captions, strict=True)):
        ax = panel(figure, grid[number // columns, number % columns])
        _still(ax, still, caption, None)
        if aspect is not None:
            ax.set_aspect("auto")
    if title:
        figure.suptitle(title, x=0.007, ha="left", fontsize=11.5, weight="bold")
    return figure


def _still(ax: Axes, image: np.ndarray, caption: str, frame: str | None) -> None:
    ax.imshow(image, interpolation="antialiased")
    ax.set(xticks=[], yticks=[])
    ax.set_xlabel(caption, fontsize=9, color=INK, labelpad=4)
    ax.spines[:].set_visible(frame is not None)
    if frame is not None:
        ax.spines[:].set(edgecolor=frame, linewidth=3)

"""Grids of stills: one clip of each class, matrices by name, results of a query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import Normalize

from avid_lab.plots.chart import limits
from avid_lab.plots.style import (
    INK,
    SHEET_WIDTH,
    NotebookFigure,
    array,
    axes_grid,
    frames_of,
    image_of,
    in_words,
    require_some,
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
) -> NotebookFigure:
    """A grid with one clip of each class: its middle frame, or several frames through it.

    Args:
        videos: Clips ``(3, T, H, W)``, bytes or floats in [0, 1]; or ``(N, 3, T, H, W)``.
        labels: One caption a clip, such as its class; underscores become spaces.
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
    return _grid(stills, [in_words(label) for label in labels], columns, title)


@styled
def grid(
    images: Mapping[str, Any],
    *,
    columns: int | None = None,
    aspect: int | float | None = None,
    title: str | None = None,
) -> NotebookFigure:
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
    require_some(images, "images", "name with its image")
    flat = {name for name, image in images.items() if np.ndim(image) == 2}
    found = {
        name: array(image, f"images[{name!r}]", None, None) if name in flat else image_of(image, f"images[{name!r}]")
        for name, image in images.items()
    }
    scale = Normalize(*limits(*(found[name] for name in flat), pad=0.0))
    colours = colormaps["magma"]
    stills = [colours(scale(one), bytes=True)[..., :3] if name in flat else one for name, one in found.items()]
    return _grid(stills, list(images), min(columns or 6, len(stills)), title, aspect)


def _grid(
    stills: Sequence[np.ndarray],
    captions: Sequence[str],
    columns: int,
    title: str | None,
    aspect: int | float | None = None,
) -> NotebookFigure:
    height = SHEET_WIDTH / columns * (aspect or max(still.shape[0] / still.shape[1] for still in stills))
    figure, axes = axes_grid(len(stills), columns, height + 0.24, title)
    for ax, still, caption in zip(axes, stills, captions, strict=True):
        ax.imshow(still, interpolation="antialiased")
        ax.set(xticks=[], yticks=[])
        ax.set_xlabel(caption, fontsize=9, color=INK, labelpad=4)
        ax.spines[:].set_visible(False)
        if aspect is not None:
            ax.set_aspect("auto")
    return figure

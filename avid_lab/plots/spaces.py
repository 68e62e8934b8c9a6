"""What the embeddings look like: similarities of pairs, a map, a confusion matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int, Num
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.lines import Line2D
from torch import Tensor

from avid_lab.metrics import auc
from avid_lab.plots.statistics import principal_plane, pushed_apart
from avid_lab.plots.style import (
    FAINT,
    GRID,
    HALO,
    INK,
    MUTED,
    PAPER,
    VIDEO,
    array,
    axes_or_new,
    class_colour,
    legend_above,
    note,
    styled,
)


@styled
def similarity_histograms(
    similarities: Mapping[str, tuple[Any, Any]],
    *,
    bins: int = 70,
    title: str | None = "Similarity of pairs",
    ax: Axes | None = None,
) -> Axes:
    """Histograms of similarity, one row a name on one axis, with the area under the ROC curve: 0.5 chance, 1 apart.

    Rows share the axis, so that what is *calibrated* shows too: whether 0.5 means the same in each.

    Args:
        similarities: By name, similarities of pairs of one class and of pairs of different classes.
        bins: Bins over the whole range.
        title: Title.
        ax: Axes to draw in.

    Raises:
        ValueError: No rows, or a row with no pairs on one side.
    """
    if not similarities:
        raise ValueError("similarities must have at least one name with (same, different); got none")
    pairs = {
        name: (np.ravel(_flat(same, name)), np.ravel(_flat(other, name)))
        for name, (same, other) in similarities.items()
    }
    everything = np.concatenate([side for pair in pairs.values() for side in pair])
    edges = np.linspace(everything.min(), everything.max() + 1e-6, bins + 1)
    ax = axes_or_new(ax, 8.2, 1.2 + 0.95 * len(pairs))
    for row, (name, (same, other)) in enumerate(pairs.items()):
        base = len(pairs) - 1 - row
        heights = [np.histogram(side, edges, density=True)[0] for side in (other, same)]
        scale = 0.86 / max(float(height.max()) for height in heights)
        for height, colour, kind in zip(heights, (MUTED, VIDEO), ("different", "same"), strict=True):
            top, label = base + scale * height, f"{kind} class" if row == 0 else None
            ax.stairs(top, edges, baseline=base, fill=True, color=colour, alpha=0.4, label=label, gid=f"{kind} {name}")
            ax.stairs(top, edges, baseline=base, color=colour, linewidth=1.3)
        ax.axhline(base, color=FAINT, linewidth=0.8)
        place, sides = (1.012, base + 0.30), ax.get_yaxis_transform()
        note(ax, f"AUC {auc(same, other):.2f}", place, xycoords=sides, weight="bold", gid=f"auc {name}")
    ax.set_yticks([len(pairs) - 1 - row + 0.30 for row in range(len(pairs))], list(pairs), fontsize=10, color=INK)
    ax.tick_params(axis="y", length=0)
    ax.spines[["left", "bottom"]].set_visible(False)
    ax.set(xlim=(edges[0], edges[-1]), ylim=(-0.02, len(pairs) + 0.02), xlabel="cosine similarity")
    ax.grid(axis="x")
    legend_above(ax, title)
    return ax


@styled
def embedding_map(
    video: Num[np.ndarray | Tensor, "N D"],
    audio: Num[np.ndarray | Tensor, "N D"],
    labels: Int[np.ndarray | Tensor, " N"] | Sequence[int],
    classes: Sequence[str],
    *,
    align: bool = True,
    title: str | None = "Embeddings on their two principal directions",
    ax: Axes | None = None,
) -> Axes:
    """Both modalities' embeddings on one plane: colour is the class, shape the modality, names at the classes' medians.

    Args:
        video: Video embeddings.
        audio: Audio embeddings.
        labels: Class of each instance, into ``classes``.
        classes: Class names.
        align: Subtract each modality's mean first; without, the gap between the two is usually the main direction.
        title: Title.
        ax: Axes to draw in.

    Raises:
        ValueError: Shapes that differ, or labels outside ``classes``.
    """
    seen = array(video, "video", None, None)
    heard = array(audio, "audio", *seen.shape)
    numbers = array(labels, "labels", len(seen))
    if len(numbers) and not (numbers.min() >= 0 and numbers.max() < len(classes)):
        raise ValueError(
            f"labels must be indices into the {len(classes)} classes; got {numbers.min()} to {numbers.max()}"
        )
    points = np.concatenate([side - side.mean(axis=0) if align else side for side in (seen, heard)])
    plane = principal_plane(points.astype(np.float64))
    ax = axes_or_new(ax, 7.6, 6.4)
    size = float(np.clip(16000 / max(len(seen), 1), 7, 40))
    medians: dict[str, np.ndarray] = {}
    for order, name in enumerate(classes):
        mine = np.flatnonzero(numbers == order)
        if not len(mine):
            continue
        colour = class_colour(order)
        for start, marker, modality in ((0, "o", "video"), (len(seen), "^", "audio")):
            x, y = plane.points[start + mine].T
            ax.scatter(x, y, s=size, marker=marker, color=colour, alpha=0.55, linewidths=0, gid=f"{modality} {name}")
        medians[name] = np.median(plane.points[np.concatenate([mine, mine + len(seen)])], axis=0)
    _name_classes(ax, medians, classes, np.ptp(plane.points, axis=0))
    shapes = [
        Line2D([], [], linestyle="", marker=marker, color=MUTED, label=name)
        for marker, name in (("o", "video"), ("^", "audio"))
    ]
    ax.legend(handles=shapes, loc="upper right", handletextpad=0.1)
    first, second = 100 * plane.explained
    ax.set(
        xlabel=f"first direction, {first:.0f} % of the variance",
        ylabel=f"second direction, {second:.0f} %",
        xticks=[],
        yticks=[],
    )
    ax.margins(0.06)
    if title:
        ax.set_title(title, loc="left")
    return ax


@styled
def confusion(
    matrix: Num[np.ndarray | Tensor, "C C"],
    classes: Sequence[str],
    *,
    title: str | None = "Which class is taken for which",
    ax: Axes | None = None,
) -> Axes:
    """Confusion matrix, rows true and columns predicted, in percent of each row.

    Args:
        matrix: Counts or shares.
        classes: Class names, in the order of rows and columns.
        title: Title.
        ax: Axes to draw in.

    Raises:
        ValueError: Another shape than a square of the number of classes, or negative counts.
    """
    counts = array(matrix, "matrix", len(classes), len(classes)).astype(float)
    if counts.size == 0 or counts.min() < 0:
        raise ValueError("matrix must have counts >= 0 of at least one class")
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1e-12)
    size = 2.0 + 0.42 * len(classes)
    ax = axes_or_new(ax, size, size)
    colours = LinearSegmentedColormap.from_list("confusion", [PAPER, "#9cc4e4", VIDEO, "#07304f"])
    ax.imshow(shares, cmap=colours, vmin=0, vmax=100)
    for row, column in np.ndindex(*shares.shape):
        if shares[row, column] >= 0.5:
            colour = PAPER if shares[row, column] > 45 else INK
            ax.text(
                column,
                row,
                f"{shares[row, column]:.0f}",
                ha="center",
                va="center",
                fontsize=8,
                color=colour,
                weight="bold" if row == column else "normal",
            )
    ax.set_xticks(range(len(classes)), classes, rotation=45, ha="right", rotation_mode="anchor", color=INK)
    ax.set_yticks(range(len(classes)), classes, color=INK)
    ax.set_xticks(np.arange(len(classes) + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(len(classes) + 1) - 0.5, minor=True)
    ax.grid(which="minor", color=GRID, linewidth=0.8)
    ax.tick_params(length=0, which="both")
    ax.spines[:].set_visible(False)
    ax.set(xlabel="predicted, percent of the row", ylabel="true")
    if title:
        ax.set_title(title, loc="left")
    return ax


def _name_classes(ax: Axes, places: Mapping[str, np.ndarray], classes: Sequence[str], extent: np.ndarray) -> None:
    """Write class names at their places, moved apart where they would overlap, a little darker than their points."""
    apart = pushed_apart(np.array(list(places.values())), 0.14 * extent[0], 0.034 * extent[1])
    for name, place in zip(places, apart, strict=True):
        colour = tuple(0.78 * np.array(to_rgb(class_colour(classes.index(name)))))
        note(ax, name, place, color=colour, weight="bold", ha="center", path_effects=HALO, gid=f"name {name}", zorder=5)


def _flat(values: Any, name: str) -> np.ndarray:
    flat = array(np.ravel(values.detach().cpu().numpy() if isinstance(values, Tensor) else values), name, None)
    if not flat.size:
        raise ValueError(
            f"similarities[{name!r}] must have pairs of the same class and of different classes; got none of one kind"
        )
    return flat

"""Plots of embeddings: similarities of pairs, a map, a confusion matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Int, Num
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex, to_rgb
from torch import Tensor

from avid_lab.metrics import auc
from avid_lab.plots.chart import Area, Axis, Guide, Mark, Plot, Points, Text, limits, steps
from avid_lab.plots.render import draw
from avid_lab.plots.statistics import principal_plane, pushed_apart
from avid_lab.plots.style import (
    GRID,
    INK,
    PAPER,
    VIDEO,
    NotebookFigure,
    add_axes,
    array,
    axes_or_new,
    class_colour,
    in_words,
    new_figure,
    paint,
    require_some,
    set_heading,
    styled,
)


def similarity_histograms(
    similarities: Mapping[str, Any],
    *,
    kinds: tuple[str, str] = ("same class", "different class"),
    bins: int = 70,
    title: str | None = "Similarity of pairs",
    ax: Axes | None = None,
) -> Axes:
    """Histograms of similarity, one row per name, with the area under the ROC curve: 0.5 is chance, 1 is separated.

    All rows share one axis, which also shows calibration: whether a similarity of 0.5 means the same in each row.

    Args:
        similarities: By name, the similarities of same-class pairs and of different-class pairs, as a tuple, or as
            ``.same`` and ``.different`` of a `Separation`.
        kinds: What the two kinds of pairs are called in the legend.
        bins: Number of bins over the whole range.
        title: Title of the plot.
        ax: Axes to draw in.

    Raises:
        ValueError: There are no rows, or a row lacks one of the two kinds of pairs.
    """
    require_some(similarities, "similarities", "name with (same, different)")
    given = {n: pair if isinstance(pair, tuple) else (pair.same, pair.different) for n, pair in similarities.items()}
    pairs = {name: (_flat(same, name), _flat(other, name)) for name, (same, other) in given.items()}
    everything = np.concatenate([side for pair in pairs.values() for side in pair])
    edges = np.linspace(everything.min(), everything.max() + 1e-6, bins + 1)
    counted = lambda side: np.histogram(side, edges, density=True)[0]  # noqa: E731
    rows = {name: (counted(same), counted(other), auc(same, other)) for name, (same, other) in pairs.items()}
    return draw(similarity_plot(rows, edges, kinds=kinds, title=title or ""), ax, (8.2, 1.2 + 0.95 * len(pairs)))


def similarity_plot(
    rows: Mapping[str, tuple[np.ndarray, np.ndarray, float]],
    edges: np.ndarray,
    *,
    kinds: tuple[str, str] = ("same class", "different class"),
    title: str = "Similarity of pairs",
) -> Plot:
    """What `similarity_histograms` draws.

    Args:
        rows: By name, heights (bins,) of the same-class and of the different-class histogram, and the AUC.
        edges: (bins + 1,) of the bins.
        kinds: As in `similarity_histograms`.
        title: Title.
    """
    marks: list[Mark] = []
    for base, (name, (same, other, value)) in zip(range(len(rows))[::-1], rows.items(), strict=True):
        scale = 0.86 / max(float(same.max()), float(other.max()), 1e-12)
        sides = ((other, "muted", "different", kinds[1]), (same, VIDEO, "same", kinds[0]))
        for heights, colour, kind, words in sides:
            legend = words if base == len(rows) - 1 else ""
            outline = steps(edges, base + scale * heights)
            marks.append(Area(*outline, base, colour, f"{kind} {name}", legend, alpha=0.4))
        marks.append(Guide(base, "y", colour="faint", width=0.8, dash=()))
        text = f"AUC {value:.2f}"
        marks.append(Text(1.012, base + 0.3, text, name=f"auc {name}", across="share", bold=True))
    names = tuple((base + 0.3, name) for base, name in zip(range(len(rows))[::-1], rows, strict=True))
    x = Axis(float(edges[0]), float(edges[-1]), "cosine similarity", grid=True)
    return Plot(marks, x, Axis(-0.02, len(rows) + 0.02, ticks=names), title, "above")


def histograms(
    groups: Mapping[str, Any],
    *,
    bins: int = 40,
    reach: tuple[float | int, float | int] | None = None,
    xlabel: str = "",
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Histograms of several groups on one axis, each with an area of one.

    With weights, all groups together have an area of one.

    Args:
        groups: By name of the group, its values, or a tuple of its values and their weights.
        bins: Number of bins.
        reach: Ends of the axis; those of the values if not given.
        xlabel: What is counted.
        title: Title.
        ax: Axes to draw in.

    Raises:
        ValueError: No groups, an empty group, or weights of another length or of some groups only.
    """
    weights = {name: _flat(group[1], name).astype(float) for name, group in groups.items() if isinstance(group, tuple)}
    values = {name: _flat(x[0] if name in weights else x, name).astype(float) for name, x in groups.items()}
    require_some(values, "groups", "name with its values")
    if weights and {name: len(w) for name, w in weights.items()} != {name: len(v) for name, v in values.items()}:
        raise ValueError(f"weights must have one number for each value of {', '.join(values)}")
    low, high = reach or limits(*values.values(), pad=0.01)
    edges = np.linspace(low, high, bins + 1)
    counted = {
        name: np.histogram(np.clip(v, low, high), edges, weights=weights.get(name))[0] for name, v in values.items()
    }
    total = sum(heights.sum() for heights in counted.values()) if weights else None
    counted = {name: heights / max(total or heights.sum(), 1e-12) for name, heights in counted.items()}
    marks: list[Mark] = [
        Area(*steps(edges, heights), 0, "muted" if order == 0 else class_colour(order), name, name, alpha=0.35)
        for order, (name, heights) in enumerate(counted.items())
    ]
    top = 1.06 * max(float(heights.max()) for heights in counted.values())
    share = "share of the weight" if weights else "share of the group"
    plot = Plot(
        marks, Axis(low, high, xlabel), Axis(0, max(top, 1e-6), share, "percent", grid=True), title or "", "above"
    )
    return draw(plot, ax, (8.2, 3.3))


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
    """Embeddings of both modalities in one plane: colour shows the class, shape the modality.

    Class names are at the medians of the classes.

    Args:
        video: Video embeddings.
        audio: Audio embeddings.
        labels: Class of each instance, into ``classes``.
        classes: Class names.
        align: Subtract the mean of each modality first. Otherwise the gap between the modalities usually dominates.
        title: Title.
        ax: Axes to draw in.

    Raises:
        ValueError: Shapes differ, or labels are outside ``classes``.
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
    plot = embedding_plot(plane.points, numbers, classes, named=True, title=title or "")
    first, second = 100 * plane.explained
    x = replace(plot.x, label=f"first direction, {first:.0f} % of the variance")
    return draw(replace(plot, x=x, y=replace(plot.y, label=f"second direction, {second:.0f} %")), ax, (7.6, 6.4))


def embedding_plot(
    points: Num[np.ndarray, "M 2"], labels: np.ndarray, classes: Sequence[str], *, named: bool, title: str
) -> Plot:
    """What `embedding_map` draws.

    Args:
        points: Points of the video embeddings, followed by those of the audio embeddings of the same clips.
        labels: Class of each clip, (M / 2,).
        classes: Class names.
        named: Whether to write the class names at the medians of the classes.
        title: Title.
    """
    radius = float(np.clip(16000 / max(len(labels), 1), 7, 40)) ** 0.5 / 1.5
    colours = tuple(map(class_colour, range(len(classes))))
    marks: list[Mark] = []
    for side, name, shape in zip(np.split(points, 2), ("video", "audio"), (0, 2), strict=True):
        style = {"colours": colours, "name": name, "radius": radius, "alpha": 0.55}
        marks.append(Points(side[:, 0], side[:, 1], labels, np.full(len(side), shape), names=tuple(classes), **style))
    if named:
        marks += _class_names(points, np.concatenate([labels, labels]), classes)
    marks.append(Text(1, 1, "● video  ▲ audio", "muted", across="share", up="share", align="right", shift=(0, -8)))
    x, y = (Axis(*limits(points[:, side], pad=0.06), ticks="none") for side in (0, 1))
    return Plot(marks, x, y, title)


@styled
def confusion(
    matrix: Num[np.ndarray | Tensor, "C C"],
    classes: Sequence[str],
    *,
    title: str | None = "Which class is taken for which",
    ax: Axes | None = None,
) -> Axes:
    """Confusion matrix in per cent of each row; rows are true classes, columns predicted ones.

    Args:
        matrix: Counts or shares.
        classes: Class names, in the order of the rows and columns; underscores become spaces.
        title: Title.
        ax: Axes to draw in.

    Raises:
        ValueError: The matrix is not square with one row per class, or has negative counts.
    """
    counts = array(matrix, "matrix", len(classes), len(classes)).astype(float)
    if counts.size == 0 or counts.min() < 0:
        raise ValueError("matrix must have counts >= 0 of at least one class")
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1e-12)
    size, names = 2.0 + 0.42 * len(classes), [in_words(name) for name in classes]
    ax = axes_or_new(ax, size, size)
    colours = LinearSegmentedColormap.from_list("confusion", [PAPER, "#9cc4e4", VIDEO, "#07304f"])
    ax.imshow(shares, cmap=colours, vmin=0, vmax=100)
    for row, column in np.ndindex(*shares.shape):
        if (share := shares[row, column]) >= 0.5:
            style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8}
            style |= {"color": PAPER if share > 45 else INK, "weight": "bold" if row == column else "normal"}
            ax.text(column, row, f"{share:.0f}", **style)
    ax.set_xticks(range(len(classes)), names, rotation=45, ha="right", rotation_mode="anchor", color=INK)
    ax.set_yticks(range(len(classes)), names, color=INK)
    ax.set_xticks(np.arange(len(classes) + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(len(classes) + 1) - 0.5, minor=True)
    ax.grid(which="minor", color=GRID, linewidth=0.8)
    ax.tick_params(length=0, which="both")
    ax.spines[:].set_visible(False)
    ax.set(xlabel="predicted, percent of the row", ylabel="true")
    ax.set_title(title or "", loc="left")
    return ax


@styled
def blocks(
    matrices: Mapping[str, Num[np.ndarray | Tensor, "N N"]],
    groups: Sequence[str],
    *,
    xlabel: str = "",
    ylabel: str = "",
    title: str | None = None,
) -> NotebookFigure:
    """Square matrices side by side on one scale, with the names of the groups that their rows belong to.

    Args:
        matrices: Matrices by name, values >= 0.
        groups: Group of each row, equal ones next to each other; underscores become spaces.
        xlabel: What the columns are.
        ylabel: What the rows are.
        title: Title.

    Raises:
        ValueError: No matrices, or one of another shape.
    """
    require_some(matrices, "matrices", "name with its matrix")
    starts = [i for i, group in enumerate(groups) if i == 0 or group != groups[i - 1]]
    middles = [(one + other - 1) / 2 for one, other in pairwise([*starts, len(groups)])]
    shown = {name: array(x, f"matrices[{name!r}]", len(groups), len(groups)) for name, x in matrices.items()}
    figure = new_figure(4.6 * len(shown) + 0.6, 4.9)
    grid = figure.add_gridspec(1, len(shown))
    colours = LinearSegmentedColormap.from_list("blocks", [paint("paper"), "#9cc4e4", VIDEO])
    beside = ~np.eye(len(groups), dtype=bool)  # a strong diagonal must not make the rest pale
    top = max((float(np.quantile(x[beside], 0.98)) for x in shown.values() if len(x) > 1), default=0.0) or 1.0
    for place, (name, matrix) in enumerate(shown.items()):
        ax = add_axes(figure, grid[0, place])
        ax.imshow(matrix, cmap=colours, vmin=0, vmax=top)
        for edge in starts[1:]:
            for line in (ax.axhline, ax.axvline):
                line(edge - 0.5, color=paint("muted"), linewidth=0.7)
        names = [in_words(groups[i]) for i in starts]
        ax.set_xticks(middles, names, rotation=45, ha="right", rotation_mode="anchor")
        ax.set_yticks(middles, names if place == 0 else [])
        ax.tick_params(length=0)
        ax.set(xlabel=xlabel, ylabel=ylabel if place == 0 else "")
        ax.set_title(name)
    set_heading(figure, title)
    return figure


def _class_names(points: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> list[Text]:
    """Class names at their medians, moved apart where they would overlap, a little darker than their points."""
    present: list[int] = np.unique(labels).tolist()
    medians, extent = np.array([np.median(points[labels == c], axis=0) for c in present]), np.ptp(points, axis=0)
    apart = pushed_apart(medians, 0.14 * extent[0], 0.034 * extent[1])
    colours = (to_hex(tuple(0.78 * np.array(to_rgb(class_colour(c))))) for c in present)
    return [
        Text(place[0], place[1], classes[c], colour, f"name {classes[c]}", align="center", bold=True, halo=True)
        for c, place, colour in zip(present, apart.tolist(), colours, strict=True)
    ]


def _flat(values: Any, name: str) -> np.ndarray:
    flat = array(np.ravel(values.detach().cpu().numpy() if isinstance(values, Tensor) else values), name, None)
    if not flat.size:
        raise ValueError(
            f"similarities[{name!r}] must have pairs of the same class and of different classes; got none of one kind"
        )
    return flat

"""What the embeddings look like: similarities, the agreement plane of a query, a map, a confusion matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int, Num
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.lines import Line2D
from torch import Tensor

from avid_lab.plots.statistics import auc, principal_plane, pushed_apart
from avid_lab.plots.style import (
    AUDIO,
    FAINT,
    GRID,
    INK,
    MUTED,
    PAPER,
    VIDEO,
    array,
    axes_or_new,
    class_colour,
    note,
    styled,
)

Agreement = Literal["consensus", "union", "video", "audio"]
HALO = [patheffects.withStroke(linewidth=3, foreground=PAPER)]


@runtime_checkable
class MemoryLike(Protocol):
    """Unit embeddings of every instance: ``video`` and ``audio``, each ``(N, D)``."""

    video: Any
    audio: Any


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
    ax.legend(loc="lower right", bbox_to_anchor=(1.0, 0.99), ncols=2, handlelength=1.2, borderaxespad=0.2)
    if title:
        ax.set_title(title, loc="left")
    return ax


@styled
def agreement_plane(
    memory: MemoryLike | tuple[Any, Any],
    query: int,
    positives: Any = None,
    labels: Int[np.ndarray | Tensor, " N"] | Sequence[int] | None = None,
    *,
    classes: Sequence[str] | None = None,
    agreement: Agreement = "consensus",
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Every other instance by how much it looks like the query and how much it sounds like it.

    The chosen positives are ringed. The line is where the agreement equals that of the last positive: for consensus,
    ``min(video, audio)``, a corner, so that both must be high; the shaded side would be chosen.

    Args:
        memory: Unit embeddings ``.video`` and ``.audio``, each ``(N, D)``; or the two as a tuple.
        query: Row of the query.
        positives: Result of `mine_positives`, its ``(N, k)`` indices, or the ``(k,)`` indices of this query.
        labels: Class of each instance: those of the query's class are coloured.
        classes: Class names, for the title.
        agreement: The rule whose boundary is drawn.
        title: Title; names the query if not given.
        ax: Axes to draw in.

    Raises:
        ValueError: Shapes that differ, or indices outside the memory.
    """
    rows = memory if isinstance(memory, tuple) else (memory.video, memory.audio)
    video = array(rows[0], "memory.video", None, None)
    audio = array(rows[1], "memory.audio", len(video), None)
    count = len(video)
    if not 0 <= query < count:
        raise ValueError(f"query must be a row of the memory, 0 to {count - 1}; got {query}")
    seen, heard = video @ video[query], audio @ audio[query]
    others = np.arange(count) != query
    same, name = np.zeros(count, dtype=bool), None
    if labels is not None:
        numbers = array(labels, "labels", count)
        same = (numbers == numbers[query]) & others
        name = classes[int(numbers[query])] if classes is not None else None
    ringed = _positives_of(positives, query, count)

    ax = axes_or_new(ax, 6.2, 6.2)
    far = others & ~same
    size = float(np.clip(9000 / count, 9, 34))
    ax.scatter(
        seen[far],
        heard[far],
        s=size,
        color="#98a2ad",
        alpha=0.5,
        linewidths=0,
        label="other classes" if labels is not None else "instances",
        gid="others",
    )
    if labels is not None:
        ax.scatter(
            seen[same],
            heard[same],
            s=size * 1.3,
            color=VIDEO,
            alpha=0.85,
            linewidths=0,
            label=f"same class ({name})" if name else "same class",
            gid="same",
        )
    low, high = _limits(np.concatenate([seen[others], heard[others]]))
    if len(ringed):
        right = f": {100 * same[ringed].mean():.0f} % of its class" if labels is not None else ""
        ax.scatter(
            seen[ringed],
            heard[ringed],
            s=size * 3.4,
            facecolors="none",
            edgecolors=INK,
            linewidths=1.1,
            label=f"the {len(ringed)} positives{right}",
            gid="positives",
        )
        threshold = float(_agree(seen, heard, agreement)[ringed].min())
        _boundary(ax, agreement, threshold, low, high)
    ax.set(
        xlim=(low, high),
        ylim=(low, high),
        aspect="equal",
        xlabel="looks alike: video similarity",
        ylabel="sounds alike: audio similarity",
    )
    ax.grid()
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.11), ncols=3, handletextpad=0.2, columnspacing=1.4)
    if title is None:
        title = f"Agreement with query {query}" + (f", {name}" if name else "")
    if title:
        ax.set_title(title, loc="left", pad=22 if len(ringed) else None)
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


def _positives_of(positives: Any, query: int, count: int) -> np.ndarray:
    """Indices of the query's positives, from a `Positives`, all rows or the query's own."""
    if positives is None:
        return np.empty(0, dtype=int)
    index = getattr(positives, "index", None)
    if index is not None and not callable(index):  # lists and tuples have a method of that name
        positives = index
    indices = array(positives, "positives", *((count, None) if np.ndim(positives) == 2 else (None,)))
    indices = (indices[query] if indices.ndim == 2 else indices).astype(int)
    if len(indices) and not (indices.min() >= 0 and indices.max() < count):
        raise ValueError(
            f"positives must be rows of the memory, 0 to {count - 1}; got {indices.min()} to {indices.max()}"
        )
    return indices


def _agree(seen: np.ndarray, heard: np.ndarray, agreement: Agreement) -> np.ndarray:
    return {"consensus": np.minimum(seen, heard), "union": np.maximum(seen, heard), "video": seen, "audio": heard}[
        agreement
    ]


def _boundary(ax: Axes, agreement: Agreement, at: float, low: float, high: float) -> None:
    """The line on which the agreement is ``at``, and the side above it."""
    line = {
        "consensus": ([at, at, high], [high, at, at]),
        "union": ([at, at, low], [low, at, at]),
        "video": ([at, at], [low, high]),
        "audio": ([low, high], [at, at]),
    }[agreement]
    x, y = np.meshgrid(np.linspace(low, high, 200), np.linspace(low, high, 200))
    ax.contourf(x, y, _agree(x, y, agreement), levels=[at, 10], colors=[AUDIO], alpha=0.08)
    ax.plot(*line, color=AUDIO, linewidth=1.6, gid="boundary")
    rule = {"consensus": "min(video, audio)", "union": "max(video, audio)"}.get(agreement, agreement)
    # Named where the line leaves the axes at the top, else on it at the left.
    at_top = agreement in ("consensus", "video")
    place, shift = ((at, high), (0, 4)) if at_top else ((low, at), (6, 3))
    note(
        ax,
        f"{rule} = {at:.2f}",
        place,
        shift,
        ha="center" if at_top else "left",
        va="bottom",
        color=AUDIO,
        path_effects=HALO,
    )


def _limits(values: np.ndarray) -> tuple[float, float]:
    low, high = (float(values.min()), float(values.max())) if len(values) else (-1.0, 1.0)
    pad = 0.05 * max(high - low, 0.1)
    return low - pad, min(high + pad, 1.02) if high <= 1.001 else high + pad

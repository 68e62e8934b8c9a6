"""Who agrees with a query in picture and in sound, and where a rule of agreement draws the line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int
from matplotlib.axes import Axes
from torch import Tensor

from avid_lab.mining import Agreement, agreement_named
from avid_lab.plots.style import AUDIO, HALO, INK, VIDEO, array, axes_or_new, note, styled


@runtime_checkable
class MemoryLike(Protocol):
    """Unit embeddings of every instance: ``video`` and ``audio``, each ``(N, D)``."""

    video: Any
    audio: Any


@styled
def agreement_plane(
    memory: MemoryLike | tuple[Any, Any],
    query: int,
    positives: Any = None,
    labels: Int[np.ndarray | Tensor, " N"] | Sequence[int] | None = None,
    *,
    classes: Sequence[str] | None = None,
    agreement: str | Agreement = "consensus",
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
        rule = agreement_named(agreement)
        threshold = float(rule.combine(*map(torch.from_numpy, (seen[ringed], heard[ringed]))).min())
        _boundary(ax, rule, threshold, low, high)
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


def _boundary(ax: Axes, rule: Agreement, at: float, low: float, high: float) -> None:
    """The line on which the agreement is ``at``, and the side above it."""
    view = low, high, low, high
    edge = rule.edge(at, view)
    ax.fill(*rule.region(at, view).T, color=AUDIO, alpha=0.08, linewidth=0)
    ax.plot(*edge.T, color=AUDIO, linewidth=1.6, gid="boundary")
    digits = max(2, 2 - math.floor(math.log10(high - low)))  # collapsed embeddings differ far behind the point
    # The name stands where the line leaves the axes at the top, else on it at the left.
    at_top = bool(len(edge)) and edge[0, 1] == high
    note(
        ax,
        f"{rule.formula} = {at:.{digits}f}",
        (float(edge[0, 0]) if at_top else low, high if at_top else at),
        (0, 4) if at_top else (6, 3),
        ha="center" if at_top else "left",
        va="bottom",
        color=AUDIO,
        path_effects=HALO,
    )


def _limits(values: np.ndarray) -> tuple[float, float]:
    low, high = (float(values.min()), float(values.max())) if len(values) else (-1.0, 1.0)
    pad = 0.05 * max(high - low, 1e-4)
    return low - pad, min(high + pad, 1.02) if high <= 1.001 else high + pad

"""Agreement of clips with a query in picture and in sound, and the boundaries of agreement rules."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from avid_lab.mining import Agreement, agreement_named
from avid_lab.plots.chart import Area, Axis, Guide, Line, Mark, Plot, Points, Text, row_axis, side_by_side
from avid_lab.plots.render import draw, draw_chart
from avid_lab.plots.style import GOOD, VIDEO, array, in_words, require_some


def agreement_plane(
    memory: Any,
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
    return draw(_plane_of(memory, query, positives, labels, classes, agreement, title), ax, (6.2, 6.2))


def agreement_planes(
    memory: Any,
    query: int,
    positives: Mapping[str, Any],
    labels: Int[np.ndarray | Tensor, " N"] | Sequence[int],
    *,
    title: str | None = None,
) -> Figure:
    """The planes of several agreement rules for one query, two in a row: what each of them chooses.

    Args:
        memory: As in `agreement_plane`.
        query: Row of the query.
        positives: By rule, its positives.
        labels: Class of each instance.
        title: Title of the figure.

    Raises:
        ValueError: There are no rules, or one that `agreement_plane` would refuse.
    """
    require_some(positives, "positives", "rule")
    numbers = array(labels, "labels", None)
    plots = []
    for place, (rule, found) in enumerate(positives.items()):
        plot = _plane_of(memory, query, found, labels, None, rule, "")
        own = _positives_of(found, query, len(numbers))
        right = f"{rule}: {100 * (numbers[own] == numbers[query]).mean():.0f} % of {len(own)} are right"
        words = [mark for mark in plot.marks if not isinstance(mark, Text)]  # formulas would cover points here
        x = plot.x if place // 2 == (len(positives) - 1) // 2 else replace(plot.x, label="")
        y = replace(plot.y, label="") if place % 2 else plot.y
        plots.append(replace(plot, marks=words, x=x, y=y, title=right, legend=""))
    about = f"agreement planes of {', '.join(positives)}"
    return draw_chart(side_by_side(plots, about, 400, columns=2), width=8.6, title=title)


def scene_grid(
    names: Sequence[str], looks: Sequence[str], sounds: Sequence[str], *, ax: Axes | None = None, title: str = ""
) -> Axes:
    """Scenes by the group of look-alikes and the group of sound-alikes that they belong to.

    Args:
        names: Scene of each clip.
        looks: Group of look-alikes of each clip.
        sounds: Group of sound-alikes of each clip.
        ax: Axes to draw in.
        title: Title; counts the groups if not given.
    """
    rows, columns = sorted(set(looks)), sorted(set(sounds))
    cells: dict[tuple[str, str], list[str]] = {}
    for name, look, sound in sorted(set(zip(names, looks, sounds, strict=True))):
        cells.setdefault((look, sound), []).append(in_words(name))
    marks: list[Mark] = [Guide(row + 0.5, "y", colour="faint", width=0.7, dash=()) for row in range(len(rows) - 1)]
    marks += [
        Text(columns.index(sound), rows.index(look), " / ".join(scenes), align="center")
        for (look, sound), scenes in cells.items()
    ]
    most = max(map(len, cells.values()))
    text = f"{len(rows)} looks, {len(columns)} sounds: at most {most} scene{'s' * (most > 1)} share both"
    x = Axis(-0.6, len(columns) - 0.4, "sounds alike", tuple(enumerate(columns)))
    y = replace(row_axis(rows), label="looks alike")
    return draw(Plot(marks, x, y, title or text), ax, (9.4, 1.0 + 0.36 * len(rows)))


def _plane_of(
    memory: Any,
    query: int,
    positives: Any,
    labels: Any,
    classes: Sequence[str] | None,
    agreement: str | Agreement,
    title: str | None,
) -> Plot:
    rows = memory if isinstance(memory, tuple) else (memory.video, memory.audio)
    video = array(rows[0], "memory.video", None, None)
    audio = array(rows[1], "memory.audio", len(video), None)
    count = len(video)
    if not 0 <= query < count:
        raise ValueError(f"query must be a row of the memory, 0 to {count - 1}; got {query}")
    others = np.arange(count) != query
    seen, heard = (side[others] @ side[query] for side in (video, audio))
    ringed = np.flatnonzero(np.isin(np.flatnonzero(others), _positives_of(positives, query, count)))
    kinds, kind, name, right = {"instances": ("#98a2ad", "o")}, np.zeros(count - 1, dtype=int), "", ""
    if labels is not None:
        numbers = array(labels, "labels", count)
        kind = (numbers == numbers[query])[others].astype(int)
        name = f", {classes[int(numbers[query])]}" if classes is not None else ""
        kinds = {"other classes": ("#98a2ad", "o"), f"same class{name}": (VIDEO, "o")}
        right = f": {100 * kind[ringed].mean():.0f} % of its class" if len(ringed) else ""
    rule = agreement_named(agreement)
    chosen = torch.from_numpy(seen[ringed]), torch.from_numpy(heard[ringed])
    side = _limits(np.concatenate([seen, heard]))
    return plane_plot(
        (seen, heard),
        (kind, kinds),
        {rule: float(rule.combine(*chosen).min())} if len(ringed) else {},
        rule,
        side + side,
        ringed=ringed.tolist(),
        rings=f"the {len(ringed)} positives{right}",
        title=f"Agreement with query {query}{name}" if title is None else title,
    )


def plane_plot(
    similarity: tuple[np.ndarray, np.ndarray],
    kinds: tuple[np.ndarray, Mapping[str, tuple[str, str]]],
    thresholds: Mapping[Agreement, float],
    chosen: Agreement,
    view: Sequence[float],
    *,
    ringed: Sequence[int] = (),
    rings: str = "",
    title: str = "",
    travel: bool = False,
) -> Plot:
    """The agreement plane: instances by their similarity to a query, and the boundaries of rules.

    Args:
        similarity: (N,) of pictures and (N,) of sounds.
        kinds: What each instance is, (N,), and by name the colour and marker of each kind.
        thresholds: Where each rule that is drawn ends.
        chosen: The rule whose region is tinted.
        view: Left, right, bottom and top.
        ringed: Instances with a ring.
        rings: What the rings mean, for the legend.
        title: Title.
        travel: In a page, instances that are elsewhere are seen to move there.
    """
    left, right, bottom, top = view
    wide, high = right - left, top - bottom
    beyond = left - wide, right + wide, bottom - high, top + high  # its edges are not part of the plot
    radius = float(np.clip(85 / max(len(similarity[0]), 1) ** 0.5, 2.5, 6))
    options = {"ringed": tuple(ringed), "rings": rings, "name": "instances", "radius": radius, "travel": travel}
    points = Points.of_kinds(*similarity, *kinds, **options)
    marks: list[Mark] = [points]
    if chosen in thresholds:
        x, y = chosen.region(thresholds[chosen], beyond).T
        marks.insert(0, Area(x, y, colour=GOOD, name="region", alpha=0.1, width=0))
    digits = max(2, 1 - math.floor(math.log10(wide)))  # collapsed embeddings differ far behind the point
    for rule, at in thresholds.items():
        edge, main = rule.edge(at, view), rule == chosen
        colour = GOOD if main else "muted"
        style: dict[str, Any] = {"name": "boundary"} if main else {"dash": (6, 4)}
        marks.append(Line(edge[:, 0], edge[:, 1], colour, **style))
        if len(edge):
            at_top = main and edge[0, 1] == top  # beside the region that positives fill
            x, y = edge[0] if at_top or len(edge) <= 2 else edge[-1]  # bent lines start side by side
            crowded = x > left + wide * (0.35 if at_top else 0.5)  # more room at the left of the line
            below = -24 if at_top and len(thresholds) > 1 else -9  # the name of an upright line may stand at the top
            shift = -5 if crowded else 5, below if y == top else -11 if x == right else 9
            words, align = f"{rule.formula} = {at:.{digits}f}" if main else rule.name, "right" if crowded else "left"
            marks.append(Text(float(x), float(y), words, colour, align=align, bold=True, shift=shift, halo=True))
    axes = (
        Axis(left, right, "looks alike: video similarity", grid=True),
        Axis(bottom, top, "sounds alike: audio similarity", grid=True),
    )
    return Plot(marks, *axes, title, "below", equal=True)


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


def _limits(values: np.ndarray) -> tuple[float, float]:
    low, high = (float(values.min()), float(values.max())) if len(values) else (-1.0, 1.0)
    pad = 0.05 * max(high - low, 1e-4)
    return low - pad, min(high + pad, 1.02) if high <= 1.001 else high + pad

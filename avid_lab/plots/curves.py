"""Training and its results: loss terms, accuracies over seeds, recall and chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
from matplotlib.axes import Axes
from torch import Tensor

from avid_lab.plots.chart import Axis, Bars, Guide, Line, Mark, Plot, Text, limits, row_axis, segments
from avid_lab.plots.render import draw
from avid_lab.plots.statistics import smooth
from avid_lab.plots.style import AUDIO, COLOURS, VIDEO, array, class_colour, require_some

History = Sequence[Any] | Mapping[str, Any] | np.ndarray | Tensor
DIRECTION_COLOURS = {"v2a": VIDEO, "a2v": AUDIO, "v2v": "#009e73", "a2a": "#b5478c"}


@runtime_checkable
class StepLike(Protocol):
    """A training step: its number, loss and named terms."""

    index: int
    loss: float
    terms: Mapping[str, float]


@runtime_checkable
class RecallLike(Protocol):
    """A retrieval result: recall at each k, and what chance would give."""

    recall: Mapping[int, float]
    chance_recall: Mapping[int, float]


def loss_terms(
    history: History,
    *,
    smoothing: int | float | None = None,
    title: str | None = "Loss and its terms",
    reach: tuple[float | int, float | int] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """The loss and each of its terms over training: raw values faint, moving averages bold, named at their ends.

    Args:
        history: Steps with ``.index``, ``.loss`` and ``.terms``; or the losses of the steps; or values by name, each
            ``(steps,)``, NaN for none.
        smoothing: Standard deviation of the moving average in steps; an eightieth of the run if not given.
        title: Title.
        reach: First and last step of the axis; those of the history if not given.
        ax: Axes to draw in.

    Raises:
        ValueError: An empty history, or values of different lengths.
    """
    return draw(loss_plot(history, smoothing=smoothing, title=title or "", reach=reach), ax, (8.2, 3.8))


def loss_plot(
    history: History,
    *,
    smoothing: int | float | None = None,
    title: str = "Loss and its terms",
    terms: bool = True,
    reach: tuple[float | int, float | int] | None = None,
) -> Plot:
    """What `loss_terms` draws.

    Args:
        history: As there.
        smoothing: As there.
        title: As there.
        terms: Whether to show the terms in addition to the loss.
        reach: As there.
    """
    steps, curves = _curves(history)
    curves = curves if terms else {"loss": curves["loss"]}
    width = smoothing or max(0.5, len(steps) / 80)
    smoothed = {name: smooth(values, width) for name, values in curves.items()}
    lines: list[Mark] = []
    for order, (name, values) in enumerate(curves.items()):
        colour, dash = _term_style(name, order)
        lines.append(Line(steps, values, colour, f"raw {name}", width=0.8, alpha=0.22))
        bold = 2.4 if name == "loss" else 1.7
        lines.append(Line(steps, smoothed[name], colour, f"smooth {name}", end=name, width=bold, dash=dash))
    # A few wild steps must not squash the rest: the axis holds all averages and 99.5 % of the raw values.
    raw = limits(*curves.values(), pad=0.0, share=0.995)
    low, high = limits(raw, *smoothed.values(), pad=0.06)
    first, last = reach or (float(steps[0]), float(max(steps[-1], steps[0] + 1)))
    return Plot(lines, Axis(first, last, "step", "whole"), Axis(low, high, "loss", grid=True), title)


def accuracy_bars(
    rows: Mapping[str, Any],
    chance: int | float | None = None,
    baseline: int | float | Sequence[float] | None = None,
    *,
    xlabel: str = "accuracy",
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Mean over seeds as a bar, every seed as a dot, one standard deviation as a whisker.

    Lines show chance and random initialisation.

    Args:
        rows: Values by name, each a number or one value per seed, in [0, 1]. Drawn from the top in this order.
        chance: What guessing would give, in [0, 1].
        baseline: What the same encoder gives at random initialisation, in [0, 1]; the mean of several values.
        xlabel: What is measured.
        title: Title.
        ax: Axes to draw in.

    Raises:
        ValueError: No rows, an empty row, or values outside [0, 1].
    """
    require_some(rows, "rows", "name with its values")
    seeds = {name: _shares(values, f"rows[{name!r}]") for name, values in rows.items()}
    blank = None if baseline is None else float(np.mean(baseline))
    marks: list[Mark] = [*_references(chance, blank)]
    for order, (name, values) in enumerate(seeds.items()):
        colour, mean, spread = class_colour(order), float(values.mean()), 0.0
        marks.append(Bars([0], [mean], [order - 0.31], [order + 0.31], colour, f"bar {name}", alpha=0.3))
        if len(values) > 1:
            spread = float(values.std(ddof=1))
            marks.append(Line([mean - spread, mean + spread], [order] * 2, colour, f"spread {name}", width=2))
        lift = order + (np.linspace(-0.14, 0.14, len(values)) if len(values) > 1 else np.zeros(1))
        marks.append(Line(values, lift, colour, f"seeds {name}", width=0, dots=3.7))
        text = f"{100 * mean:.1f}" + (f" ± {100 * spread:.1f}" if len(values) > 1 else "")
        end = max(mean + spread, float(values.max()))
        marks.append(Text(end, order, text, name=f"value {name}", bold=True, shift=(12, 0), halo=True))
    count = max(len(values) for values in seeds.values())
    top = max(float(values.max()) for values in seeds.values())
    reach = min(1.0, max(top, blank or 0, chance or 0) * 1.05) + 0.12
    label = xlabel + (f" (mean ± s.d. of {count} seeds)" if count > 1 else "")
    x = Axis(0, reach, label, "percent", grid=True)
    return draw(Plot(marks, x, row_axis(seeds), title or ""), ax, (8.2, 1.15 + 0.46 * len(rows)))


def recall_bars(
    results: RecallLike | Mapping[str, RecallLike],
    *,
    title: str | None = "Is a right one among the first k?",
    ax: Axes | None = None,
) -> Axes:
    """Recall at each k, with its chance level.

    Args:
        results: A retrieval result with ``.recall`` and ``.chance_recall`` by k, or several by name.
        title: Title.
        ax: Axes to draw in.

    Raises:
        ValueError: No results, or results for different k.
    """
    named = cast("Mapping[str, RecallLike]", results) if isinstance(results, Mapping) else {"": results}
    require_some(named, "results", "name with its result")
    ks = sorted(next(iter(named.values())).recall)
    for name, result in named.items():
        if sorted(result.recall) != ks or not set(ks) <= set(result.chance_recall):
            raise ValueError(
                f"results must all have recall and chance at k = {ks}; got {sorted(result.recall)} for {name!r}"
            )
    width, marks = 0.78 / len(named), list[Mark]()
    for order, (name, result) in enumerate(named.items()):
        places = np.arange(len(ks)) + (order - (len(named) - 1) / 2) * width
        heights, chance = (np.array([of[k] for k in ks]) for of in (result.recall, result.chance_recall))
        colour = "#a3adb8" if name.startswith(("random", "untrained")) else class_colour(order)
        left, right = places - 0.46 * width, places + 0.46 * width
        marks.append(Bars(left, right, 0 * places, heights, colour, f"recall {name}", name))
        marks += [
            Text(place, max(height, line), f"{100 * height:.0f}", align="center", bold=True, shift=(0, 10))
            for place, height, line in zip(places, heights, chance, strict=True)
        ]
        legend = "chance" if order == len(named) - 1 else ""
        level = segments(left, right), segments(chance, chance)
        marks.append(Line(*level, name=f"chance {name}", legend=legend, width=2))
    x = Axis(-0.5, len(ks) - 0.5, ticks=tuple((i, f"first {k}" if k > 1 else "first") for i, k in enumerate(ks)))
    plot = Plot(marks, x, Axis(0, 1.06, "recall", "percent", grid=True), title or "", "above")
    return draw(plot, ax, (8.2, 3.4))


def _curves(history: History) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Steps ``(S,)`` and values by name ``(S,)``, the loss last so that it is drawn on top."""
    plain = isinstance(history, np.ndarray | Tensor)
    if plain or (len(history) and not isinstance(history, Mapping) and not hasattr(history[0], "terms")):
        history = {"loss": history}
    if isinstance(history, Mapping):
        curves = {name: array(values, f"history[{name!r}]", None).astype(float) for name, values in history.items()}
        lengths = {name: len(values) for name, values in curves.items()}
        if len(set(lengths.values())) != 1 or 0 in lengths.values():
            raise ValueError(f"history must have curves of one length, at least one step; got {lengths or 'no curves'}")
        steps = np.arange(next(iter(lengths.values())))
    else:
        if len(history) == 0:
            raise ValueError("history must have at least one step; got none. Train first, then draw.")
        steps = np.array([step.index for step in history])
        names = dict.fromkeys(name for step in history for name in step.terms)  # in order of appearance
        curves = {name: np.array([float(step.terms.get(name, np.nan)) for step in history]) for name in names}
        curves["loss"] = np.array([float(step.loss) for step in history])
    if "loss" in curves:
        loss = curves.pop("loss")
        if len(curves) == 1 and np.array_equal(next(iter(curves.values())), loss):
            curves.clear()  # a single term is the loss
        curves["loss"] = loss
    return steps, curves


def _term_style(name: str, order: int) -> tuple[str, tuple[float | int, ...]]:
    """Colour by direction, dashes for the positives' terms: "v2a", "instance_v2a", "positive_v2v"."""
    if name == "loss":
        return "ink", ()
    kind, _, direction = name.rpartition("_")
    colour = DIRECTION_COLOURS.get(direction, COLOURS[(order + 4) % len(COLOURS)])
    return colour, (8, 3.5) if kind == "positive" else ()


def _shares(values: Any, name: str) -> np.ndarray:
    shares = array(np.atleast_1d(np.asarray(values, dtype=float)), name, None)
    if shares.size == 0 or not np.isfinite(shares).all() or shares.min() < 0 or shares.max() > 1:
        raise ValueError(f"{name} must be shares in [0, 1], at least one; got {np.array2string(shares, threshold=6)}")
    return shares


def _references(chance: int | float | None, baseline: int | float | None) -> list[Guide]:
    """Lines named above the axes; the names lean away from each other when the lines are close."""
    named = {"chance": (chance, (2.2, 3)), "random initialisation": (baseline, (9, 3.7))}
    lines = [(value, name, dash) for name, (value, dash) in named.items() if value is not None]
    leans = len(lines) == 2 and min(value for value, *_ in lines)
    return [
        Guide(value, words=f"{name} {100 * value:.1f}", name=name, width=1.4, dash=dash, above=True,
              leans=value == leans and value > 0.1)
        for value, name, dash in lines
    ]  # fmt: skip

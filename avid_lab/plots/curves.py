"""Training and its results: loss terms, accuracies over seeds, recall beside chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter
from matplotlib.transforms import blended_transform_factory

from avid_lab.plots.statistics import pushed_apart, smooth
from avid_lab.plots.style import (
    AUDIO,
    COLOURS,
    INK,
    MUTED,
    VIDEO,
    array,
    axes_or_new,
    class_colour,
    legend_above,
    note,
    styled,
)

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


@styled
def loss_terms(
    history: Sequence[Any] | Mapping[str, Any],
    *,
    smoothing: int | float | None = None,
    title: str | None = "Loss and its terms",
    ax: Axes | None = None,
) -> Axes:
    """The loss and each of its terms over training: raw values faint, moving averages bold, named at their ends.

    Args:
        history: Steps with ``.index``, ``.loss`` and ``.terms``; or values by name, each ``(steps,)``, NaN for none.
        smoothing: Standard deviation of the moving average in steps; an eightieth of the run if not given.
        title: Title.
        ax: Axes to draw in.

    Raises:
        ValueError: An empty history, or values of different lengths.
    """
    steps, curves = _curves(history)
    width = smoothing or max(0.5, len(steps) / 80)
    ax = axes_or_new(ax, 8.2, 3.8)
    ends: list[tuple[str, float, str]] = []
    smoothed = {name: smooth(values, width) for name, values in curves.items()}
    for order, (name, values) in enumerate(curves.items()):
        colour, dashes = _term_style(name, order)
        bold = 2.4 if name == "loss" else 1.7
        ax.plot(steps, values, color=colour, alpha=0.22, linewidth=0.8, gid=f"raw {name}")
        ax.plot(steps, smoothed[name], color=colour, linewidth=bold, linestyle=dashes, label=name, gid=f"smooth {name}")
        last = smoothed[name][np.isfinite(smoothed[name])]
        if len(last):
            ends.append((name, float(last[-1]), colour))
    finite = np.concatenate([values[np.isfinite(values)] for values in curves.values()])
    if len(finite):
        # A few wild steps must not squash the rest: the axis holds all averages and 99.5 % of the raw values.
        averages = np.concatenate([values[np.isfinite(values)] for values in smoothed.values()])
        low, high = min(np.quantile(finite, 0.0025), averages.min()), max(np.quantile(finite, 0.9975), averages.max())
        pad = 0.06 * (high - low) or 0.5
        ax.set_ylim(low - pad, high + pad)
    ax.set_xlim(steps[0], max(steps[-1], steps[0] + 1))
    _name_ends(ax, ends)
    ax.grid(axis="y")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7))
    ax.set(xlabel="step", ylabel="loss")
    if title:
        ax.set_title(title, loc="left")
    return ax


@styled
def accuracy_bars(
    rows: Mapping[str, Any],
    chance: int | float | None = None,
    baseline: int | float | None = None,
    *,
    xlabel: str = "accuracy",
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Mean over seeds as a bar, every seed as a dot, one standard deviation as a whisker.

    Chance and random initialisation stand beside as lines: a number says little without them.

    Args:
        rows: Values by name, each a number or one value a seed, in [0, 1]. Drawn from the top in this order.
        chance: What guessing would give, in [0, 1].
        baseline: What the same encoder gives at random initialisation, in [0, 1].
        xlabel: What is measured.
        title: Title.
        ax: Axes to draw in.

    Raises:
        ValueError: No rows, an empty row, or values outside [0, 1].
    """
    if not rows:
        raise ValueError("rows must have at least one name with its values; got none")
    seeds = {name: _shares(values, f"rows[{name!r}]") for name, values in rows.items()}
    ax = axes_or_new(ax, 8.2, 1.15 + 0.46 * len(rows))
    for order, (name, values) in enumerate(seeds.items()):
        colour, mean = class_colour(order), float(values.mean())
        ax.barh(order, mean, height=0.62, color=colour, alpha=0.30, gid=f"bar {name}")
        text, lift, end = f"{100 * mean:.1f}", np.zeros(1), mean
        if len(values) > 1:
            spread, lift = float(values.std(ddof=1)), np.linspace(-0.14, 0.14, len(values))
            end = max(mean + spread, float(values.max()))
            text += f" ± {100 * spread:.1f}"
            ax.hlines(order, mean - spread, mean + spread, color=colour, linewidth=2, gid=f"spread {name}", zorder=3)
        dots = {"markersize": 5.5, "markeredgecolor": "white", "gid": f"seeds {name}", "zorder": 4}
        ax.plot(values, order + lift, "o", color=colour, **dots)
        note(ax, text, (end, order), (9, 0), weight="bold", gid=f"value {name}")
    count = max(len(values) for values in seeds.values())
    top = max(float(values.max()) for values in seeds.values())
    _reference_lines(ax, chance, baseline)
    ax.set_yticks(range(len(seeds)), list(seeds), fontsize=10, color=INK)
    ax.set_ylim(len(seeds) - 0.5, -0.5)
    ax.set_xlim(0, min(1.0, max(top, baseline or 0, chance or 0) * 1.05) + 0.12)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 2.5, 5, 10]))
    ax.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.grid(axis="x")
    ax.set_xlabel(xlabel + (f" (mean ± s.d. of {count} seeds)" if count > 1 else ""))
    if title:
        ax.set_title(title, loc="left", pad=22 if chance is not None or baseline is not None else None)
    return ax


@styled
def recall_bars(
    results: RecallLike | Mapping[str, RecallLike],
    *,
    title: str | None = "Is a right one among the first k?",
    ax: Axes | None = None,
) -> Axes:
    """Recall at each k, beside what chance would give.

    Args:
        results: A retrieval result with ``.recall`` and ``.chance_recall`` by k, or several by name.
        title: Title.
        ax: Axes to draw in.

    Raises:
        ValueError: No results, or results for different k.
    """
    named = cast("Mapping[str, RecallLike]", results) if isinstance(results, Mapping) else {"": results}
    if not named:
        raise ValueError("results must have at least one name with its result; got none")
    ks = sorted(next(iter(named.values())).recall)
    for name, result in named.items():
        if sorted(result.recall) != ks or not set(ks) <= set(result.chance_recall):
            raise ValueError(
                f"results must all have recall and chance at k = {ks}; got {sorted(result.recall)} for {name!r}"
            )
    ax = axes_or_new(ax, 8.2, 3.4)
    width = 0.78 / len(named)
    for order, (name, result) in enumerate(named.items()):
        places = np.arange(len(ks)) + (order - (len(named) - 1) / 2) * width
        heights = [result.recall[k] for k in ks]
        colour = "#a3adb8" if name.startswith(("random", "untrained")) else class_colour(order)
        ax.bar(places, heights, 0.92 * width, color=colour, label=name or None, gid=f"recall {name}")
        chance = [result.chance_recall[k] for k in ks]
        for place, height, line in zip(places, heights, chance, strict=True):
            note(ax, f"{100 * height:.0f}", (place, max(height, line)), (0, 8), ha="center", weight="bold")
        lines = ax.hlines(chance, places - 0.46 * width, places + 0.46 * width, color=INK, gid=f"chance {name}")
        lines.set(linewidth=2, label="chance" if order == len(named) - 1 else None)
    ax.set_xticks(range(len(ks)), [f"first {k}" if k > 1 else "first" for k in ks], color=INK)
    ax.set_ylim(0, 1.06)
    ax.set_yticks(np.linspace(0, 1, 6))
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    ax.tick_params(axis="x", length=0)
    ax.grid(axis="y")
    ax.set_ylabel("recall")
    legend_above(ax, title)
    return ax


def _curves(history: Sequence[Any] | Mapping[str, Any]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Steps ``(S,)`` and values by name ``(S,)``, the loss last so that it is drawn on top."""
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


def _term_style(name: str, order: int) -> tuple[str, Any]:
    """Colour by direction, dashes for the positives' terms: "v2a", "instance_v2a", "positive_v2v"."""
    if name == "loss":
        return INK, "-"
    kind, _, direction = name.rpartition("_")
    colour = DIRECTION_COLOURS.get(direction, COLOURS[(order + 4) % len(COLOURS)])
    return colour, (0, (4, 1.6)) if kind == "positive" else "-"


def _name_ends(ax: Axes, ends: list[tuple[str, float, str]], gap: float = 0.062) -> None:
    """Write each curve's name at its right end, pushed apart where they would overlap."""
    low, high = ax.get_ylim()
    places = np.array([(0.0, (value - low) / (high - low)) for _, value, _ in ends]).reshape(-1, 2)
    heights = pushed_apart(places, 1.0, gap)[:, 1]
    for (name, _, colour), height in zip(ends, heights, strict=True):
        note(ax, name, (1, height), (7, 0), xycoords="axes fraction", color=colour, weight="bold", gid=f"end {name}")


def _shares(values: Any, name: str) -> np.ndarray:
    shares = array(np.atleast_1d(np.asarray(values, dtype=float)), name, None)
    if shares.size == 0 or not np.isfinite(shares).all() or shares.min() < 0 or shares.max() > 1:
        raise ValueError(f"{name} must be shares in [0, 1], at least one; got {np.array2string(shares, threshold=6)}")
    return shares


def _reference_lines(ax: Axes, chance: int | float | None, baseline: int | float | None) -> None:
    """Vertical lines named above the axes; the names lean away from each other when the lines are close."""
    named = {"chance": (chance, (0, (1.2, 1.6))), "random initialisation": (baseline, (0, (5, 2)))}
    lines = [(value, name, dashes) for name, (value, dashes) in named.items() if value is not None]
    top = blended_transform_factory(ax.transData, ax.transAxes)
    for value, name, dashes in lines:
        ax.axvline(value, color=MUTED, linewidth=1.4, linestyle=dashes, gid=name, zorder=2)
        leans_left = len(lines) == 2 and value == min(line[0] for line in lines) and value > 0.1
        text, side = f"{name} {100 * value:.1f}", "right" if leans_left else "left"
        note(ax, text, (value, 1.015), xycoords=top, fontsize=8.5, color=MUTED, ha=side, va="bottom")

"""Evaluations drawn: estimates beside chance and random initialisation, probes by block, reliability, collapse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from avid_lab.plots.style import (
    AUDIO,
    INK,
    MUTED,
    VIDEO,
    array,
    axes_or_new,
    class_colour,
    legend_above,
    note,
    panel,
    picture,
    styled,
)

MODALITY_COLOURS = {"video": VIDEO, "audio": AUDIO, "v-v": VIDEO, "a-a": AUDIO, "v-a": "#009e73"}


@runtime_checkable
class EstimateLike(Protocol):
    """A figure with its 95 % interval, chance and random initialisation (NaN where not known)."""

    value: float
    low: float
    high: float
    chance: float
    random: float


@runtime_checkable
class ReliabilityLike(Protocol):
    """Predicted probabilities, observed shares with their intervals, and the expected calibration error."""

    predicted: Any
    observed: Any
    low: Any
    high: Any
    ece: EstimateLike


@styled
def estimate_rows(
    tables: Mapping[str, EstimateLike] | Mapping[str, Mapping[str, EstimateLike]],
    *,
    rows: Sequence[str] | None = None,
    percent: bool = True,
    xlabel: str = "",
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Figures as dots with their 95 % intervals; a ring is random initialisation, a tick is chance.

    Args:
        tables: Estimates by name, or several models' such tables by the model's name.
        rows: Which names, from the top; those of the first table if not given.
        percent: Whether the figures are shares.
        xlabel: What is measured.
        title: Title.
        ax: Axes to draw in.

    Raises:
        ValueError: No rows, or a name that a table lacks.
    """
    models = _models(tables)
    names = list(rows or next(iter(models.values())))
    _require_rows(models, names)
    ax = axes_or_new(ax, 8.2, 1.25 + 0.36 * len(names) * max(1, 0.6 * len(models)))
    for order, (model, table) in enumerate(models.items()):
        lift = 0.0 if len(models) == 1 else 0.5 * (order / (len(models) - 1) - 0.5)
        places = np.arange(len(names)) + lift
        values, low, high = (np.array([getattr(table[n], key) for n in names]) for key in ("value", "low", "high"))
        colour = class_colour(order)
        ax.hlines(places, low, high, color=colour, linewidth=2.2, gid=f"interval {model}")
        random = [table[n].random for n in names]
        label = model or ("trained" if np.isfinite(random).any() else "with 95 % interval")
        ax.plot(values, places, "o", color=colour, markersize=6.5, label=label, gid=f"value {model}")
        ring = {"markerfacecolor": "white", "markeredgecolor": colour, "markersize": 5.5, "gid": f"random {model}"}
        label = "random initialisation" if order == 0 and np.isfinite(random).any() else None
        ax.plot(random, places, "o", label=label, **ring)
    first = next(iter(models.values()))
    chance = [first[n].chance for n in names]
    label = "chance" if np.isfinite(chance).any() else None
    ax.plot(chance, np.arange(len(names)), "|", color=INK, markersize=13, markeredgewidth=1.6, label=label)
    ax.lines[-1].set_gid("chance")
    ax.set_yticks(range(len(names)), names, color=INK)
    ax.set_ylim(len(names) - 0.45, -0.55)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.grid(axis="x")
    if percent:
        ax.set_xlim(left=0)
        ax.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    ax.set_xlabel(xlabel)
    legend_above(ax, title)
    return ax


@styled
def block_bars(
    table: Mapping[str, EstimateLike],
    *,
    ylabel: str = "accuracy",
    title: str | None = "Linear probe of each frozen block",
    ax: Axes | None = None,
) -> Axes:
    """Probe accuracy along the depth of both encoders, with intervals, beside random initialisation and chance.

    Args:
        table: Estimates named "video block1" ... "audio block4", as `evaluation.block_probes` makes them.
        ylabel: What is measured.
        title: Title.
        ax: Axes to draw in.

    Raises:
        ValueError: No row is of a modality's block.
    """
    groups = {m: [name for name in table if name.startswith(f"{m} ")] for m in ("video", "audio")}
    groups = {modality: names for modality, names in groups.items() if names}
    if not groups:
        raise ValueError(f"table must have rows such as 'video block1'; got {', '.join(table) or 'none'}")
    ax = axes_or_new(ax, 8.2, 3.6)
    start, ticks, labels = 0.0, [], []
    for modality, names in groups.items():
        colour, places = MODALITY_COLOURS[modality], start + np.arange(len(names))
        values, low, high, random, chance = (
            np.array([getattr(table[name], key) for name in names])
            for key in ("value", "low", "high", "random", "chance")
        )
        ax.bar(places, values, 0.7, color=colour, alpha=0.32, gid=f"bars {modality}")
        ax.vlines(places, low, high, color=colour, linewidth=2.2, gid=f"interval {modality}")
        last = len(ticks) == 0
        ax.hlines(random, places - 0.35, places + 0.35, color=colour, linewidth=2, linestyle=(0, (2, 1))).set(
            gid=f"random {modality}", label="random initialisation" if last else None
        )
        ax.hlines(chance, places - 0.35, places + 0.35, color=INK, linewidth=1.6).set(
            gid=f"chance {modality}", label="chance" if last else None
        )
        for place, value, top in zip(places, values, high, strict=True):
            note(ax, f"{100 * value:.0f}", (place, top), (0, 8), ha="center", weight="bold", gid="value")
        note(ax, modality, (float(places.mean()), 0), (0, -32), ha="center", color=colour, weight="bold", fontsize=10.5)
        ticks += list(places)
        labels += [name.removeprefix(f"{modality} ").replace("block", "block ") for name in names]
        start = places[-1] + 1.6
    ax.set_xticks(ticks, labels, color=INK)
    ax.tick_params(axis="x", length=0)
    ax.set_ylim(0, min(1.08, 1.12 * max(row.high for row in table.values()) + 0.03))
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    ax.grid(axis="y")
    ax.set_ylabel(ylabel)
    ax.set_xlabel(" ", labelpad=14)
    legend_above(ax, title)
    return ax


@styled
def reliability_curves(
    curves: Mapping[str, ReliabilityLike],
    *,
    title: str | None = "Does a probability mean what it says?",
    ax: Axes | None = None,
) -> Axes:
    """Observed share of same-class pairs against the probability that was predicted from similarity.

    On the diagonal the prediction can be taken at its word. Bars are 95 % intervals over clips.

    Args:
        curves: Reliability by name; "v-v", "a-a" and "v-a" have their own colours.
        title: Title.
        ax: Axes to draw in.

    Raises:
        ValueError: No curves.
    """
    if not curves:
        raise ValueError("curves must have at least one name with its reliability; got none")
    ax = axes_or_new(ax, 5.6, 4.9)
    top = 0.0
    for order, (name, curve) in enumerate(curves.items()):
        predicted = array(curve.predicted, "predicted", None)
        observed, low, high = (array(getattr(curve, key), key, len(predicted)) for key in ("observed", "low", "high"))
        colour = MODALITY_COLOURS.get(name, class_colour(order))
        ax.vlines(predicted, low, high, color=colour, alpha=0.45, linewidth=1.8, gid=f"interval {name}")
        label = f"{name}   ECE {100 * curve.ece.value:.1f} %"
        ax.plot(predicted, observed, "o-", color=colour, markersize=5, linewidth=1.5, label=label, gid=f"curve {name}")
        top = max(top, float(predicted.max()), float(np.nanmax(high)))
    top = min(1.0, 1.06 * top)
    ax.plot([0, top], [0, top], color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)), zorder=1, gid="diagonal")
    ax.set(xlim=(-0.015 * top, top), ylim=(-0.015 * top, top), aspect="equal")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=5))
        axis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    ax.grid()
    ax.set(xlabel="predicted probability of one class", ylabel="observed share")
    ax.legend(loc="upper left")
    if title:
        ax.set_title(title, loc="left")
    return ax


@styled
def collapse_panels(
    tables: Mapping[str, EstimateLike] | Mapping[str, Mapping[str, EstimateLike]],
    *,
    title: str | None = "Is the space collapsed?",
) -> Figure:
    """Alignment, uniformity and effective rank side by side, for one model or several.

    Args:
        tables: What `evaluation.collapse_table` returns, or several such by the model's name.
        title: Title.

    Raises:
        ValueError: No rows, or models with different rows.
    """
    models = _models(tables)
    names = list(next(iter(models.values())))
    _require_rows(models, names)
    kinds = {"alignment": "0 is perfect", "uniformity": "lower is more even", "effective rank": "1 is collapsed"}
    count = max(sum(kind in name for name in names) for kind in kinds)
    figure = picture(10.5, 1.5 + 0.55 * count * max(1, 0.7 * len(models)))
    cells = figure.add_gridspec(1, len(kinds))
    for column, (kind, meaning) in enumerate(kinds.items()):
        ax = panel(figure, cells[column])
        mine = [name for name in names if kind in name]
        if not mine:
            ax.set_axis_off()
            continue
        estimate_rows({m: {n: t[n] for n in mine} for m, t in models.items()}, percent=False, ax=ax)
        short = [
            name.replace(kind, "").replace(" of windows", "\nwindows").replace("-", "–\n").strip() for name in mine
        ]
        ax.set_yticks(range(len(mine)), short, color=INK)
        ax.set_xlim(right=0.0) if kind == "uniformity" else ax.set_xlim(left=0.0)
        ax.set_title(f"{kind.capitalize()}: {meaning}", loc="left", fontsize=10)
        legend = ax.get_legend()
        handles, texts = ax.get_legend_handles_labels()
        if legend is not None:
            legend.remove()
        if column == 0:
            figure.legend(handles, texts, loc="outside lower center", ncols=5, handlelength=1.2)
    if title:
        figure.suptitle(title, x=0.01, ha="left", weight="bold", fontsize=11.5, color=INK)
    return figure


def _models(tables: Mapping[str, Any]) -> dict[str, Mapping[str, EstimateLike]]:
    """Tables by model; a single table has the empty name."""
    if not tables:
        raise ValueError("tables must have at least one row; got none")
    nested = all(isinstance(value, Mapping) for value in tables.values())
    return dict(tables) if nested else {"": tables}


def _require_rows(models: Mapping[str, Mapping[str, EstimateLike]], names: Sequence[str]) -> None:
    for model, table in models.items():
        lost = [name for name in names if name not in table]
        if lost or not names:
            raise ValueError(f"every table must have the rows drawn; {model or 'the table'} lacks {lost or 'all'}")

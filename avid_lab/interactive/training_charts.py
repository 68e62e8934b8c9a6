"""The plots of a running training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from scipy.linalg import orthogonal_procrustes

from avid_lab.interactive.runner import BINS, Glimpse, Run
from avid_lab.metrics import weighted_separation
from avid_lab.plots.chart import Axis, Chart, Guide, Line, Plot, side_by_side
from avid_lab.plots.curves import loss_plot
from avid_lab.plots.spaces import embedding_plot, similarity_plot
from avid_lab.plots.statistics import principal_plane, smooth
from avid_lab.plots.style import AUDIO, GOOD, VIDEO

GHOST: dict[str, Any] = {"colour": "muted", "alpha": 0.4, "width": 1.2}  # of the runs before
MOST = 400  # places of a curve: more than its pixels
EDGES = np.linspace(-1, 1, BINS + 1)
separate = weighted_separation(torch.from_numpy((EDGES[1:] + EDGES[:-1]) / 2))


def training_chart(run: Run, plane: np.ndarray, *, named: bool = False) -> Chart:
    """Loss and terms, scores, similarities, and a map of one run.

    Args:
        run: The training and what is known about it.
        plane: Of `plane_of`.
        named: Whether the map has the names of the classes.
    """
    reach = steps_of([run])
    colours = zip(run.glimpse.scores, (VIDEO, AUDIO, GOOD), strict=True)
    scores = [line for name, colour in colours for line in score_lines(run, name, colour)]
    classes = [name.replace("_", " ") for name in run.trainer.clips.classes]
    memories = embedding_plot(plane, run.labels.numpy(), classes, named=named, title="Memories, by class")
    plots = [
        losses(run, "Loss and its terms", reach),
        scores_plot(run, "Do neighbours share a class?", reach, scores),
        similarities(run, "Similarity of pairs: same class, others grey"),
        replace(memories, equal=True),
    ]
    return side_by_side(plots, "Loss, scores, similarities and map of a training.", 230, columns=2)


def losses(run: Run, title: str, reach: tuple[float, float], *, terms: bool = True) -> Plot:
    """The loss and its terms, every n-th step of a long run, and what was changed."""
    history = run.history[:: max(1, len(run.history) // MOST)]
    if not history:
        return Plot((), Axis(*reach, "step", "whole"), Axis(0, 1, "loss", "none"), f"{title}: no step yet")
    plot = loss_plot(history, title=title, terms=terms, reach=reach)
    width = max(0.5, len(history) / 80)
    earlier = [(one.steps, smooth(np.array(one.loss), width)) for one in list(run.ghosts)]
    ghosts = [Line(*curve, name="earlier loss", legend="loss", **GHOST) for curve in earlier]
    return replace(plot, marks=[*ghosts, *plot.marks, *changes(run)], crosshair=True)


def steps_of(runs: Sequence[Run], first: int = 0) -> tuple[float, float]:
    """The first step of the axes, and the last of these runs and of those before; ten steps at least."""
    done = [run.trainer.steps_done for run in runs] + [one.steps[-1] for run in runs for one in list(run.ghosts)]
    return float(first), float(max(first + 10, *done))


def changes(run: Run) -> list[Guide]:
    """Where something was changed; changes of one step share a guide."""
    texts: dict[int, list[str]] = {}
    for change in run.changes:
        texts.setdefault(change.step, []).append(change.text)
    return [Guide(step, words=", ".join(together), width=1, dash=(3, 3)) for step, together in texts.items()]


def score_lines(run: Run, name: str, colour: str, end: str = "") -> list[Line]:
    """One score over the steps, of the runs before and of this one, with its name or another at its end."""
    pale = GHOST | {"name": f"earlier {name}", "legend": end or name, "colour": colour}
    bold = {"name": name, "end": end or name, "colour": colour, "width": 2}
    lines = []
    for scores, style in [*((one.scores, pale) for one in list(run.ghosts)), (list(run.scores), bold)]:
        steps, values = zip(*((step, found[name]) for step, found in scores), strict=True)
        lines.append(Line(steps, values, **style))
    return lines


def scores_plot(run: Run, title: str, reach: tuple[float, float], lines: Sequence[Line]) -> Plot:
    """Scores over the steps, with chance."""
    chance = Line(reach, [run.chance] * 2, "muted", "chance", end="chance", width=1.2, dash=(5, 4))
    top = max([3 * run.chance, *(float(line.y.max()) + 0.05 for line in lines)])
    x, y = Axis(*reach, "step", "whole"), Axis(0, top, ticks="percent", grid=True)
    pale_below = sorted([chance, *lines], key=lambda line: line.alpha)
    return Plot([*pale_below, *changes(run)], x, y, title, crosshair=True)


def similarities(run: Run, title: str) -> Plot:
    """A row for each pair of modalities: same class in colour, different classes grey, both of area one."""
    rows = {
        name: (same, other, float(separate(*(torch.from_numpy(side).double() for side in (same, other)))[0]))
        for name, (same, other) in run.glimpse.histograms.items()
    }
    return replace(similarity_plot(rows, EDGES, title=title), legend="")


def plane_of(seen: Glimpse, before: np.ndarray | None) -> np.ndarray:
    """Both modalities on their two principal directions, (2n, 2), turned to lie as they did before."""
    sides = [side - side.mean(0) for side in (seen.video, seen.audio)]
    points = principal_plane(np.concatenate(sides).astype(np.float64)).points
    if before is not None:  # principal directions may swap or flip from one look to the next
        points = points @ orthogonal_procrustes(points, before)[0]
    return points


def scores_table(run: Run) -> list[tuple[str, str]]:
    """The newest scores, and chance."""
    rows = [(name, f"{100 * value:.1f} %") for name, value in run.glimpse.scores.items()]
    return [*rows, ("chance", f"{100 * run.chance:.1f} %")]

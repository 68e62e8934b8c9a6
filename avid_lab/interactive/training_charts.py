"""What a running training looks like: charts for the page, and the same as one picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy.linalg import orthogonal_procrustes

from avid_lab import plots
from avid_lab.interactive.curves import Curves, Line
from avid_lab.interactive.runner import BINS, Glimpse, Run
from avid_lab.interactive.scatter import Scatter
from avid_lab.metrics import weighted_separation
from avid_lab.plots.curves import DIRECTION_COLOURS
from avid_lab.plots.statistics import principal_plane, smooth
from avid_lab.plots.style import AUDIO, COLOURS, MUTED, VIDEO, note, panel, picture, styled
from avid_lab.training import Step

POINTS = 400  # of a curve: more than its pixels
SCORE_COLOURS = (VIDEO, AUDIO, "#009e73")


class TrainingCharts:
    """Loss and terms, scores, similarities, and a map of one run."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.losses = Curves("Loss and its terms")
        self.scores = Curves("Do neighbours share a class?", percent=True, room=132)
        self.similarities = similarity_chart("Similarity of pairs: same class, others grey")
        self.map = embedding_scatter(run)
        self.widgets = [self.losses, self.scores, self.similarities, self.map]
        self._seen: tuple[Glimpse, list[tuple[float, str]]] | None = None
        self._plane = plane_of(run.glimpse, None)

    def show(self) -> None:
        """Send what is new."""
        run, marks = self.run, marks_of(self.run)
        history = run.history
        reach = (0.0, float(max(10, history[-1].index if history else 0)))
        self.losses.show(loss_lines(history), x=reach, marks=marks)
        if (run.glimpse, marks) == self._seen:
            return
        self._seen = run.glimpse, marks
        names = list(run.glimpse.scores)
        lines = [score_line(run, name, colour) for name, colour in zip(names, SCORE_COLOURS, strict=True)]
        chance = Line(np.array(reach), np.full(2, run.chance), MUTED, "chance", 1.2, dash=True)
        top = max([0.5, *(float(line.y.max()) + 0.05 for line in lines)])
        self.scores.show([chance, *lines], x=reach, y=(0.0, top), marks=marks)
        show_similarities(self.similarities, run.glimpse)
        self._plane = plane_of(run.glimpse, self._plane)
        self.map.set_points(self._plane[:, 0], self._plane[:, 1])


def marks_of(run: Run) -> list[tuple[float, str]]:
    """Where on the curves something was changed; changes of one step share a mark."""
    texts: dict[int, list[str]] = {}
    for change in run.changes:
        texts.setdefault(change.step, []).append(change.text)
    return [(float(step), ", ".join(together)) for step, together in texts.items()]


def loss_lines(history: Sequence[Step]) -> list[Line]:
    """The loss and its terms: each value faint, the moving average bold; every n-th step of a long run."""
    if not history:
        return []
    kept = history[:: max(1, len(history) // POINTS)]
    steps = np.array([step.index for step in kept], dtype=float)
    width = max(0.5, len(kept) / 60)
    names = dict.fromkeys(name for step in kept for name in step.terms)
    curves = {name: np.array([step.terms.get(name, np.nan) for step in kept]) for name in names}
    loss = np.array([step.loss for step in kept])
    if len(curves) == 1:
        curves = {}  # a single term is the loss
    lines = []
    for order, (name, values) in enumerate([*curves.items(), ("loss", loss)]):
        fallback = COLOURS[(order + 4) % len(COLOURS)]
        colour = "" if name == "loss" else DIRECTION_COLOURS.get(name.rpartition("_")[2], fallback)
        lines.append(Line(steps, values, colour, width=0.8, alpha=0.25))
        bold = 2.4 if name == "loss" else 1.5
        lines.append(Line(steps, smooth(values, width), colour, _short(name), bold, dash=name.startswith("positive")))
    return lines


def score_line(run: Run, name: str, colour: str, end: str | None = None, *, dash: bool = False) -> Line:
    """One score over the steps."""
    found = [(step, scores[name]) for step, scores in list(run.scores)]
    steps, values = (np.array(column, dtype=float) for column in zip(*found, strict=True))
    return Line(steps, values, colour, name if end is None else end, 2.0, dash=dash)


def similarity_chart(title: str) -> Curves:
    """A chart for `show_similarities`."""
    return Curves(title, xlabel="cosine similarity", room=78, whole=False)


def show_similarities(chart: Curves, seen: Glimpse) -> None:
    """A row for each pair of modalities: same class in colour, different classes grey, both of area one."""
    middles = (np.arange(BINS) + 0.5) * 2 / BINS - 1
    separate = weighted_separation(torch.from_numpy(middles))
    lines, rows = [], []
    for row, (name, (same, other)) in enumerate(seen.histograms.items()):
        base = float(len(seen.histograms) - 1 - row)
        tall = max(float(same.max()), float(other.max()), 1e-9) / 0.86
        for shares, colour in ((other, MUTED), (same, VIDEO)):
            lines.append(Line(middles, base + shares / tall, colour, width=1.3, base=base))
        rows.append((base, name, f"AUC {float(separate(*map(torch.from_numpy, (same, other)))[0]):.2f}"))
    chart.show(lines, x=(-1.0, 1.0), y=(-0.02, len(rows) + 0.02), rows=rows)


def plane_of(seen: Glimpse, before: np.ndarray | None) -> np.ndarray:
    """Both modalities on their two principal directions, (2n, 2), turned to lie as they did before."""
    sides = [side - side.mean(0) for side in (seen.video, seen.audio)]
    points = principal_plane(np.concatenate(sides).astype(np.float64)).points
    if before is not None:  # principal directions may swap or flip from one look to the next
        points = points @ orthogonal_procrustes(points, before)[0]
    return points


def embedding_scatter(run: Run) -> Scatter:
    """The map: colour is the class, circles are pictures, triangles sounds."""
    classes, numbers = run.trainer.clips.classes, run.labels.tolist()
    names = [classes[number].replace("_", " ") for number in numbers]
    points = plane_of(run.glimpse, None)
    return Scatter(
        points[:, 0],
        points[:, 1],
        numbers * 2,
        [f"{name}, {side}" for side in ("picture", "sound") for name in names],
        markers=["o"] * len(names) + ["^"] * len(names),
        title="Map: ● pictures, ▲ sounds, by class",
        equal=True,
        ticks=False,
        travel=False,  # the training needs the cores
        height=230,
    )


def scores_table(run: Run) -> list[tuple[str, str]]:
    """The newest scores, and chance."""
    rows = [(name, f"{100 * value:.1f} %") for name, value in run.glimpse.scores.items()]
    return [*rows, ("chance", f"{100 * run.chance:.1f} %")]


@styled
def training_figure(run: Run) -> Figure:
    """The charts of a run, drawn by matplotlib."""
    figure = picture(11.0, 7.6)
    cells = figure.add_gridspec(2, 2)
    losses, scores, similarities, plane = (panel(figure, cells[at]) for at in np.ndindex(2, 2))
    if history := run.history:
        plots.loss_terms(history, ax=losses)
        losses.set_xlim(0, max(10, history[-1].index))
    else:
        losses.set_title("Loss and its terms: no step yet")
    for name, colour in zip(run.glimpse.scores, SCORE_COLOURS, strict=True):
        line = score_line(run, name, colour)
        scores.plot(line.x, line.y, color=colour, linewidth=2, label=name)
    scores.axhline(run.chance, color=MUTED, linestyle="--", linewidth=1.2, label="chance")
    reach = max(10, run.trainer.steps_done)
    scores.set(xlabel="step", xlim=(0, reach), ylim=(0, 1.15 * max(run.chance, scores.get_ylim()[1])))
    scores.set_title("Do neighbours share a class?")
    scores.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    scores.legend(loc="best")
    for ax in (losses, scores):
        for at, text in marks_of(run):
            ax.axvline(at, color=MUTED, linestyle=":", linewidth=1)
            leans = {"ha": "right"} if at > 0.6 * reach else {}
            note(ax, text, (at, 0.97), (-3 if leans else 3, 0), xycoords=ax.get_xaxis_transform(), fontsize=8, **leans)
    plots.similarity_histograms(similarity_pairs(run), ax=similarities)
    seen, classes = run.glimpse, run.trainer.clips.classes
    plots.embedding_map(
        seen.video, seen.audio, run.labels, [name.replace("_", " ") for name in classes], title="Memories", ax=plane
    )
    return figure


def similarity_pairs(run: Run) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Similarities of same-class and different-class pairs, by pair of modalities."""
    video, audio, labels = run.glimpse.video, run.glimpse.audio, run.labels.numpy()
    same, others = labels[:, None] == labels[None], ~np.eye(len(labels), dtype=bool)
    products = {"video-video": video @ video.T, "audio-audio": audio @ audio.T, "video-audio": video @ audio.T}
    return {name: (s[same & others], s[~same]) for name, s in products.items()}


def _short(name: str) -> str:
    """A term's name where there is little room: "instance_v2a" is "inst v2a"."""
    return name.replace("instance_", "inst ").replace("positive_", "pos ")

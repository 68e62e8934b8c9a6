"""Calibration of similarity: histograms of pairs, with a threshold and a temperature to drag."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from html import escape
from typing import Any

import ipywidgets as widgets
import numpy as np
import torch
import traitlets
from jaxtyping import Float

from avid_lab.interactive.panel import Panel
from avid_lab.interactive.queries import FLOW, film
from avid_lab.interactive.snapshots import Moment, named_moments
from avid_lab.metrics import fit_probability, pairs, weighted_separation
from avid_lab.plots.chart import Area, Axis, Chart, Guide, Line, Mark, Plot, Text, steps
from avid_lab.plots.style import AUDIO, GOOD, VIDEO, array

SPACES = {"video–video": ("video", "video"), "audio–audio": ("audio", "audio"), "video–audio": ("video", "audio")}
COLOURS = dict(zip(SPACES, (VIDEO, AUDIO, GOOD), strict=True))
FINE, SHOWN = 2000, 80  # bins over [-1, 1]: of the computation, and of the chart
CENTRES = (np.arange(FINE) + 0.5) * 2 / FINE - 1
SEPARATE = weighted_separation(torch.from_numpy(CENTRES))
MOST = 1000  # clips whose pairs are counted; more are sampled


@dataclass(frozen=True)
class PairHistogram:
    """Similarities of the pairs of one space, counted in `FINE` bins over [-1, 1].

    Attributes:
        same: Share of the same-class pairs in each bin.
        different: Share of the different-class pairs in each bin.
        base_rate: Share of the pairs that are of the same class.
        auc: As in `avid_lab.metrics.separation`, to about a thousandth.
        d_prime: The same.
        overlap: The same.
    """

    same: Float[np.ndarray, " bins"]
    different: Float[np.ndarray, " bins"]
    base_rate: float
    auc: float
    d_prime: float
    overlap: float

    def above(self, threshold: float | int) -> tuple[float, float]:
        """Share of same-class pairs, and of different-class pairs, with at least this similarity."""
        cut = round((threshold + 1) / 2 * FINE)
        return float(self.same[cut:].sum()), float(self.different[cut:].sum())

    def reliability(
        self, threshold: float | int, temperature: float | int, bins: int = 10
    ) -> tuple[Float[np.ndarray, "used 3"], float]:
        """Compare sigmoid((similarity - threshold) / temperature) with the observed share of same-class pairs.

        Args:
            threshold: Similarity at which the probability is one half.
            temperature: The smaller, the steeper.
            bins: Bins of the probability, equally wide.

        Returns:
            Mean probability, share of same-class pairs and share of all pairs for each bin that holds enough;
            and the expected calibration error.
        """
        p = 1 / (1 + np.exp(np.clip((threshold - CENTRES) / temperature, -700, 700)))
        on, off = self.base_rate * self.same, (1 - self.base_rate) * self.different
        place = np.minimum((p * bins).astype(int), bins - 1)
        total, predicted, right = (np.bincount(place, w, bins) for w in (on + off, (on + off) * p, on))
        used = total > 1e-4  # fewer pairs are not informative
        curve = np.stack([predicted[used] / total[used], right[used] / total[used], total[used]], axis=1)
        return curve, float(np.abs(predicted - right).sum())


def pair_histogram(
    query: Float[np.ndarray, "N D"], gallery: Float[np.ndarray, "N D"], labels: np.ndarray
) -> PairHistogram:
    """Count the similarities of all pairs (i, j), i != j.

    Args:
        query: Unit embeddings.
        gallery: The same clips in the same or the other modality.
        labels: Class of each clip.

    Raises:
        ValueError: One of the two kinds of pair does not occur.
    """
    similarity = query @ gallery.T
    alike = labels[:, None] == labels[None]
    kinds = [alike & ~np.eye(len(labels), dtype=bool), ~alike]
    if not all(kind.any() for kind in kinds):
        raise ValueError("labels must hold two clips of one class and two classes, or there is nothing to compare")
    place = np.clip((similarity + 1) / 2 * FINE, 0, FINE - 1).astype(np.int64)
    counts = [np.bincount(place[kind], minlength=FINE).astype(float) for kind in kinds]
    same, different = (count / count.sum() for count in counts)
    base_rate = float(counts[0].sum() / (counts[0].sum() + counts[1].sum()))
    return PairHistogram(same, different, base_rate, *SEPARATE(*map(torch.from_numpy, (same, different))).tolist())


class CalibrationExplorer(Panel):
    """Similarities of same-class and different-class pairs within and across modalities, along training.

    A pair is called "same class" if its similarity reaches the threshold, which can be dragged in the chart or with the
    slider. Threshold and temperature give a probability, sigmoid((similarity - threshold) / temperature), and the
    reliability diagram shows how well it is calibrated. **Fit** finds the best values for the chosen space; the chart
    then shows how well they work in the others.

    Args:
        snapshots: Objects with ``.step``, ``.video`` (N, D) and ``.audio`` (N, D), oldest first; or one pair of arrays
            (video, audio); or several of these by name, side by side: ``{"AVID": ..., "CMA": ...}``.
        labels: Class of each clip, (N,).
        state: State of an earlier panel.

    Raises:
        ValueError: Shapes differ, or the labels lack one of the two kinds of pairs.
    """

    def __init__(self, snapshots: Any, labels: Any, *, state: str = "") -> None:
        super().__init__("Calibration explorer")
        self._labels = array(labels, "labels", None)
        self.runs = named_moments(snapshots, len(self._labels))
        every = np.arange(len(self._labels))
        self._clips = every if len(every) <= MOST else np.random.default_rng(0).permutation(every)[:MOST]
        # Each snapshot is counted once, when it is first shown; dragging then only adds up counts.
        self._counted = lru_cache(maxsize=None)(self._count)
        longest = max(len(run) for run in self.runs.values())
        wide = {"style": {"description_width": "92px"}, "layout": {"width": "340px"}}
        last, log = longest - 1, {"min": -2, "max": 0, "step": 0.02, "readout_format": ".3f"}
        for name, control in (
            ("snapshot", widgets.IntSlider(last, 0, last, description="snapshot", readout=False, **wide)),
            ("threshold", widgets.FloatSlider(0.5, min=-1, max=1, step=0.01, description="threshold", **wide)),
            ("temperature", widgets.FloatLogSlider(0.1, description="temperature", **log, **wide)),
            ("space", widgets.Dropdown(options=list(SPACES), value="video–audio", description="fit to", **wide)),
        ):
            self.add_control(name, control)
        self.fit = widgets.Button(description="Fit", tooltip="threshold and temperature that fit the chosen space best")
        self.fit.on_click(self._fit)
        traitlets.link((self.controls["threshold"], "value"), (self.canvas, "guide"))
        self.figures = widgets.HTML()
        c = self.controls
        self.body.children = [
            widgets.HBox([c["snapshot"], film(c["snapshot"]), c["threshold"], c["temperature"], c["space"], self.fit],
                         layout=FLOW),
            self.canvas,
            self.figures,
        ]  # fmt: skip
        if longest == 1:
            c["snapshot"].layout.display = "none"
        self._drawn_at: tuple[int, str] | None = None
        self.restore(state)
        self.draw(False)

    def moment(self, run: str) -> Moment:
        """The shown snapshot of a run; shorter runs stay at their last one."""
        return self.runs[run][min(self.controls["snapshot"].value, len(self.runs[run]) - 1)]

    def histogram(self, run: str, space: str) -> PairHistogram:
        """The pairs of a run in a space, at the chosen snapshot."""
        return self._counted(run, min(self.controls["snapshot"].value, len(self.runs[run]) - 1), space)

    def _count(self, run: str, place: int, space: str) -> PairHistogram:
        left, right = (getattr(self.runs[run][place], side)[self._clips] for side in SPACES[space])
        return pair_histogram(left, right, self._labels[self._clips])

    def _fit(self, _button: Any = None) -> None:
        """Fit threshold and temperature by logistic regression on the pairs of the chosen space, in the last run."""
        moment = self.moment(list(self.runs)[-1])
        sides = SPACES[self.controls["space"].value]
        left, right = (torch.from_numpy(getattr(moment, side)[self._clips]) for side in sides)
        found = pairs(left, right, torch.from_numpy(self._labels[self._clips].astype(np.int64)))
        # The fitted curve is a logistic function: two of its points give its slope and its middle.
        low, high = fit_probability(found.similarity, found.same)(torch.tensor([0.0, 0.1], dtype=torch.float64)).logit()
        slope = max(float(high - low) / 0.1, 1e-6)
        self.controls["temperature"].value = float(np.clip(1 / slope, 0.01, 1))
        self.controls["threshold"].value = float(np.clip(-float(low) / slope, -1, 1))

    def draw(self, quick: bool) -> None:
        """Histograms, diagram and table for the current controls."""
        super().draw(quick)
        self.figures.value = self._figures()

    def chart(self) -> Chart:
        """A column of histograms for each run, and a reliability diagram."""
        plots, curves = list[Plot](), list[Mark]([Line([0, 1], [0, 1], "faint", width=1.2, dash=(5, 4))])
        threshold, temperature = (self.controls[name].value for name in ("threshold", "temperature"))
        for column, run in enumerate(self.runs):
            last = column == len(self.runs) - 1
            style = {"dash": () if last else (5, 4), "width": 2 if last else 1.3}
            if len(self.runs) > 1:
                curves.append(Line([], [], "ink", legend=run, **style))
            for row, space in enumerate(SPACES):
                found = self.histogram(run, space)
                plots.append(replace(self._histograms(run, space, found), cell=(row, column, 1)))
                curve, _ = found.reliability(threshold, temperature)
                dots = 3.2 if last else 0
                curves.append(Line(curve[:, 0], curve[:, 1], COLOURS[space], f"{run} {space}", dots=dots, **style))
        x, y = Axis(0, 1, "predicted probability", grid=True), Axis(0, 1, "share of same-class pairs", grid=True)
        legend = "inside" if len(self.runs) > 1 else ""
        plots.append(Plot(curves, x, y, "Reliability", legend, (0, len(self.runs), 3)))
        about = "Histograms of similarity of same-class and different-class pairs, and a reliability diagram."
        return Chart(plots, about, 400, [*[5] * len(self.runs), 4], [1.13, 1, 1.12])

    def _histograms(self, run: str, space: str, found: PairHistogram) -> Plot:
        edges, first, last = np.linspace(-1, 1, SHOWN + 1), next(iter(SPACES)), list(SPACES)[-1]
        heights = [side.reshape(SHOWN, -1).sum(1) for side in (found.different, found.same)]
        top = max(float(height.max()) for height in heights)
        marks: list[Mark] = [
            Area(*steps(edges, height / top), 0, colour, kind, alpha=0.4)
            for height, colour, kind in zip(heights, ("muted", COLOURS[space]), ("different", "same"), strict=True)
        ]
        guide = {"name": "threshold", "colour": "ink", "width": 1.6, "dash": (), "drag": (-1, 1, 0.01)}
        marks += [
            Guide(self.controls["threshold"].value, **guide),
            Text(0, 0.94, space, COLOURS[space], across="share", up="share", bold=True),
            Text(0, 0.77, f"AUC {found.auc:.2f}", "muted", across="share", up="share"),
        ]
        step = f" · step {self.moment(run).step}" if len(self.runs[run]) > 1 else ""
        title = (run or "Similarity of pairs") + step if space == first else ""
        x = Axis(-1, 1, "cosine similarity" if space == last else "", grid=True)
        return Plot(marks, x, Axis(0, 1.05, ticks="none"), title)

    def _rows(self) -> list[list[str]]:
        c, rows = self.controls, []
        for run in self.runs:
            for space in SPACES:
                found = self.histogram(run, space)
                hits, alarms = found.above(c["threshold"].value)
                error = found.reliability(c["threshold"].value, c["temperature"].value)[1]
                numbers = [f"{found.auc:.3f}", f"{found.overlap:.2f}", f"{found.d_prime:.2f}"]
                rows.append([run, space, *numbers, f"{100 * hits:.0f} %", f"{100 * alarms:.0f} %", f"{error:.3f}"])
        return rows

    def _figures(self) -> str:
        heads = ["", "", "AUC", "overlap", "d′", "same above", "different above", "calibration error"]
        rows = "".join(
            f"<tr><td>{escape(run) if space == next(iter(SPACES)) else ''}</td>"
            f"<td><b>{space}</b></td>{''.join(f'<td>{x}</td>' for x in numbers)}</tr>"
            for run, space, *numbers in self._rows()
        )
        return (
            '<div class="avid-wide"><table class="avid-numbers avid-right"><tr class="avid-soft">'
            f"{''.join(f'<th>{head}</th>' for head in heads)}</tr>{rows}</table></div>"
            '<span class="avid-soft">Coloured: pairs of the same class; grey: of different classes. '
            "Chance: AUC 0.5, overlap 1, d′ 0.</span>"
        )

    def table(self) -> Sequence[tuple[str, str]]:
        """The numbers of every space, below the picture of the snapshot."""
        names = ("AUC", "overlap", "d′", "same above", "different above", "calibration error")
        return [
            *super().table(),
            *((f"{run} {space}".strip(), ", ".join(f"{n} {x}" for n, x in zip(names, numbers, strict=True)))
              for run, space, *numbers in self._rows()),
        ]  # fmt: skip

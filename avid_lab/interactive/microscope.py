"""The NCE loss in detail: one query, its positive, its negatives, and the arithmetic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Any

import ipywidgets as widgets
import numpy as np
from jaxtyping import Float, Int

from avid_lab.interactive.panel import Panel
from avid_lab.interactive.queries import FLOW
from avid_lab.interactive.snapshots import moments
from avid_lab.objectives import Objective
from avid_lab.plots.chart import Axis, Bars, Chart, Guide, Line, Mark, Plot, Text
from avid_lab.plots.style import VIDEO, array

TERMS = {"video asks, audio answers": "va", "audio asks, video answers": "av",
         "video asks, video answers": "vv", "audio asks, audio answers": "aa"}  # fmt: skip
FALSE_NEGATIVE = "#d9a400"
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
SHOWN = 28  # bars: the positive and the hardest negatives


@dataclass(frozen=True)
class NCEParts:
    """The loss of one query, taken apart: equation 3 of the paper, as `avid_lab.losses.nce_loss` computes it.

    Of the P = 1 + K entries, the first is the positive, the others are the K negatives.

    Attributes:
        scores: s, similarity / temperature.
        log_kz: log(K Z): the score at which the probability is one half.
        probability: e^s / (e^s + K Z), that the pair is real.
        loss: -log(probability) for the positive, -log(1 - probability) for a negative.
        gradient: Derivative of the loss by the score: probability - 1, and probability.
    """

    scores: Float[np.ndarray, " P"]
    log_kz: float
    probability: Float[np.ndarray, " P"]
    loss: Float[np.ndarray, " P"]
    gradient: Float[np.ndarray, " P"]


def nce_parts(similarity: Float[np.ndarray, " P"], temperature: float | int, partition: float | int) -> NCEParts:
    """Compute the parts of the loss of one query.

    Args:
        similarity: Similarity of the positive, then of the K negatives.
        temperature: Divides similarities.
        partition: Z.

    Raises:
        ValueError: There is no negative, or temperature or Z is not positive.
    """
    if len(similarity) < 2 or not (temperature > 0 and partition > 0):
        got = f"{len(similarity) - 1} negatives, temperature {temperature}, Z {partition}"
        raise ValueError(f"it needs at least one negative, temperature > 0 and Z > 0; got {got}")
    scores = similarity.astype(float) / temperature
    log_kz = math.log(len(scores) - 1) + math.log(partition)
    margin = scores - log_kz
    probability = np.exp(-np.logaddexp(0, -margin))
    loss = np.logaddexp(0, np.concatenate([-margin[:1], margin[1:]]))  # softplus: nothing overflows
    gradient = np.concatenate([-np.exp(-np.logaddexp(0, margin[:1])), probability[1:]])
    return NCEParts(scores, log_kz, probability, loss, gradient)


class NCEMicroscope(Panel):
    """The NCE loss of one clip: scores, probabilities and gradients of its positive and its hardest negatives.

    Drag temperature, K and Z; click a bar to see its numbers in the equation. As in training, Z is the mean of e^s over
    the negatives, until "estimate" is turned off.

    Args:
        embeddings: An objective (its memories), one snapshot with ``.video`` and ``.audio``, or a pair of arrays
            (video, audio), each (N, D).
        labels: Class of each clip, to mark false negatives.
        classes: Class names.
        seed: Seed of the order of the negatives.
        state: State of an earlier panel.

    Raises:
        ValueError: There are fewer than two clips, or shapes differ.
    """

    def __init__(
        self,
        embeddings: Any,
        labels: Any = None,
        classes: Sequence[str] | None = None,
        *,
        seed: int = 0,
        state: str = "",
    ) -> None:
        super().__init__("NCE microscope")
        temperature, negatives = 0.07, 1024
        if isinstance(embeddings, Objective):
            temperature, negatives = embeddings.temperature, embeddings.num_negatives
            embeddings = (embeddings.memory.video, embeddings.memory.audio)
        moment = moments(embeddings)[-1]
        self._sides = {"v": moment.video, "a": moment.audio}
        self.count = len(moment.video)
        if self.count < 2:
            raise ValueError(f"embeddings must be of at least two clips: a query and a negative; got {self.count}")
        self._labels = None if labels is None else array(labels, "labels", self.count)
        self._classes, self._seed = classes, seed
        wide = {"style": {"description_width": "92px"}, "layout": {"width": "330px"}}
        most = min(4096, self.count - 1)
        ks = sorted({k for k in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048) if k < most} | {most})
        k = max(k for k in ks if k <= max(negatives, ks[0]))
        self.add_control("query", widgets.IntSlider(0, 0, self.count - 1, description="query clip", **wide))
        self.add_control("term", widgets.Dropdown(options=list(TERMS), description="term", **wide))
        self.add_control("k", widgets.SelectionSlider(options=ks, value=k, description="K negatives", **wide))
        log = {"step": 0.02, "readout_format": ".3g", **wide}
        # The slider's grid must contain the given temperature, because the page rounds values to the grid.
        lowest = math.log10(temperature) - 0.02 * max(0, math.floor((math.log10(temperature) + 2) / 0.02))
        t = widgets.FloatLogSlider(temperature, min=lowest, max=lowest + 2.5, description="temperature", **log)
        self.add_control("temperature", t)
        z = widgets.FloatLogSlider(1.0, min=-2, max=12, description="Z", **log)
        self.add_control("z", z, redraw=False)
        z.observe(lambda _: None if self.controls["estimate"].value else self.redraw(), "value")
        self.add_control("estimate", widgets.Checkbox(True, indent=False, layout={"width": "340px"}))
        self.canvas.observe(self.redraw, "clicked")
        self.words = widgets.HTML()
        c = self.controls
        self.body.children = [
            widgets.HBox([c[name] for name in ("query", "temperature", "z", "term", "k", "estimate")], layout=FLOW),
            self.canvas,
            self.words,
        ]  # fmt: skip
        self.add_control("bar", widgets.IntText(0), redraw=False)  # not shown: the clicked bar, for the state
        self.restore(state)
        self.canvas.clicked = self.controls["bar"].value
        self.draw(False)

    def negatives(self) -> Int[np.ndarray, " K"]:
        """The K clips drawn for this query: the start of an order that does not depend on K."""
        query = self.controls["query"].value
        order = np.random.default_rng((self._seed, query)).permutation(self.count - 1)[: self.controls["k"].value]
        return order + (order >= query)  # every clip but the query

    def similarities(self) -> tuple[Int[np.ndarray, " P"], Float[np.ndarray, " P"]]:
        """The clips of the positive and the negatives, and their similarity to the query."""
        query, (asks, answers) = self.controls["query"].value, TERMS[self.controls["term"].value]
        clips = np.concatenate([[query], self.negatives()])
        return clips, self._sides[answers][clips] @ self._sides[asks][query]

    def parts(self) -> NCEParts:
        """The parts of the loss for the current controls."""
        return nce_parts(self.similarities()[1], self.controls["temperature"].value, self.partition)

    @property
    def partition(self) -> float:
        """Z: the estimate, or the value of the slider."""
        if not self.controls["estimate"].value:
            return float(self.controls["z"].value)
        scores = self.similarities()[1][1:].astype(float) / self.controls["temperature"].value
        return float(np.exp(np.logaddexp.reduce(scores) - math.log(len(scores))))

    def draw(self, quick: bool) -> None:
        """Bars and arithmetic for the current controls."""
        c = self.controls
        c["z"].disabled = c["estimate"].value
        if c["estimate"].value:
            c["z"].value = float(np.clip(self.partition, 10.0 ** c["z"].min, 10.0 ** c["z"].max))
        c["z"].readout = not c["estimate"].value  # the slider's own number is rounded to its grid
        exact = f": Z = {_number(self.partition)}" if c["estimate"].value else ""
        c["estimate"].description = f"estimate from the negatives{exact}"
        clips, similarity = self.similarities()
        parts = self.parts()
        hardest = 1 + np.argsort(-similarity[1:], kind="stable")[: SHOWN - 1]
        self.places = [0, *hardest.tolist()]  # bar -> place among positive and negatives
        with self.canvas.hold_sync():
            c["bar"].value = self.canvas.clicked = min(max(self.canvas.clicked, 0), len(self.places) - 1)
            self.canvas.labels = [self._label(clips, place, parts) for place in self.places]
            super().draw(quick)
        self.words.value = self._arithmetic(clips, similarity, parts, self.places[c["bar"].value])

    def chart(self) -> Chart:
        """Scores, probabilities and gradients: one bar for the positive, and one for each of the hardest negatives."""
        clips, parts, count = self.similarities()[0], self.parts(), len(self.places)
        scores, p, gradient = (values[self.places] for values in (parts.scores, parts.probability, parts.gradient))
        low, high = min(0.0, float(scores.min())), 1.12 * max(float(scores.max()), parts.log_kz, 1.0)
        reach = 1.15 * max(float(np.abs(gradient).max()), 1e-12)
        middles = np.arange(count) + np.where(np.arange(count) > 0, 0.9, 0.0)
        colours, rest = tuple(self._colour(clips, place) for place in self.places), len(parts.scores) - count
        pull, push = abs(float(parts.gradient[0])), float(parts.gradient[1:].sum())
        words = f"pull of the positive {pull:.3f} · push of all {len(parts.scores) - 1} negatives {push:.3f}"
        half = {"words": "log K Z: probability one half", "colour": "ink", "width": 1.4, "dash": (5, 4)}
        kinds = {"positive": VIDEO, "negative": "muted", "negative of the query's class": FALSE_NEGATIVE}
        shown = list(kinds.items())[: 3 if self._labels is not None else 2]
        key = [Line([], [], colour, legend=name, width=6) for name, colour in shown]
        easier = f" ({rest} easier ones are not drawn)" if rest else ""

        def row(title: str, values: np.ndarray, y: Axis, *more: Mark) -> Plot:
            bars = Bars(middles - 0.4, middles + 0.4, 0 * values, values, colours, title)
            marks = [bars, Guide(0, "y", colour="faint", width=1, dash=()), *more]
            return Plot(marks, Axis(-0.9, count + 0.9, ticks="none"), y, title)

        best = min(1.05, 1.2 * float(p.max()))
        rows = [
            row("score  s = similarity / temperature", scores, Axis(low, high, grid=True),
                Guide(parts.log_kz, "y", **half), *key),
            row("probability  e^s / (e^s + K Z)", p, Axis(0, best, grid=True)),
            row("gradient of the loss by the score", gradient, Axis(-reach, reach, grid=True),
                Text(1, 0.08, words, across="share", up="share", align="right", bold=True)),
        ]  # fmt: skip
        rows[0] = replace(rows[0], legend="above")
        rows[2] = replace(rows[2], x=replace(rows[2].x, label=f"positive, then the hardest negatives{easier}"))
        rows = [replace(plot, cell=(place, 0, 1)) for place, plot in enumerate(rows)]
        about = "Scores, probabilities and gradients of the positive and the hardest negatives."
        return Chart(rows, about, 420, (1,), (1, 1, 1.15))

    def _colour(self, clips: np.ndarray, place: int) -> str:
        if place == 0:
            return VIDEO
        return FALSE_NEGATIVE if self._alike(clips, place) else "muted"

    def _alike(self, clips: np.ndarray, place: int) -> bool:
        return place > 0 and self._labels is not None and bool(self._labels[clips[place]] == self._labels[clips[0]])

    def _name(self, clips: np.ndarray, place: int) -> str:
        kind = "positive" if place == 0 else "false negative" if self._alike(clips, place) else "negative"
        if self._labels is None or self._classes is None:
            return f"{kind}, clip {clips[place]}"
        return f"{kind}, clip {clips[place]} ({self._classes[int(self._labels[clips[place]])]})"

    def _label(self, clips: np.ndarray, place: int, parts: NCEParts) -> str:
        values = (("s", parts.scores), ("p", parts.probability), ("gradient", parts.gradient))
        return f"{self._name(clips, place)}\n" + "\n".join(f"{name} = {v[place]:.4g}" for name, v in values)

    def _arithmetic(self, clips: np.ndarray, similarity: np.ndarray, parts: NCEParts, place: int) -> str:
        """The equation with the numbers of one bar."""
        t, z, k = self.controls["temperature"].value, self.partition, len(parts.scores) - 1
        s, p, loss, gradient = (float(x[place]) for x in (parts.scores, parts.probability, parts.loss, parts.gradient))
        e, kz = _number(math.exp(min(s, 700))), _number(math.exp(min(parts.log_kz, 700)))
        asked = "p" if place == 0 else "(1 − p)"
        slope = "p − 1" if place == 0 else "p"
        lines = [
            ("score", f"s = similarity / T = {similarity[place]:.4f} / {t:.4g} = <b>{s:.3f}</b>"),
            ("noise", f"K Z = {k} × {_number(z)} = {kz}"),
            ("probability", f"p = e<sup>s</sup> / (e<sup>s</sup> + K Z) = {e} / ({e} + {kz}) = <b>{p:.4g}</b>"),
            ("loss", f"−log {asked} = <b>{_number(loss)}</b>, of {parts.loss.sum():.4g} in all"),
            ("gradient", f"∂loss/∂s = {slope} = <b>{_number(gradient)}</b>; by the similarity it is that / T = "
                         f"{_number(gradient / t)}"),
        ]  # fmt: skip
        rows = "".join(f'<tr><td class="avid-soft">{name}</td><td>{line}</td></tr>' for name, line in lines)
        name = escape(self._name(clips, place))
        return f'<b style="margin-left:10px">{name}</b><table class="avid-numbers">{rows}</table>'

    def table(self) -> Sequence[tuple[str, str]]:
        """Settings and the arithmetic of the clicked bar."""
        parts, place = self.parts(), self.places[self.controls["bar"].value]
        values = (("score", parts.scores), ("probability", parts.probability), ("loss", parts.loss),
                  ("gradient", parts.gradient))  # fmt: skip
        shown = [(name, str(control.value)) for name, control in self.controls.items() if name not in ("bar", "z")]
        chosen = self._name(self.similarities()[0], place)
        return [*shown, ("Z", _number(self.partition)), ("loss of the query", f"{parts.loss.sum():.4g}"),
                *((f"{chosen}: {name}", _number(float(v[place]))) for name, v in values)]  # fmt: skip


def _number(value: float) -> str:
    """Four digits, with powers of ten in mathematical notation."""
    text = f"{value:.4g}"
    if "e" not in text:
        return text.replace("-", "−")
    digits, power = text.split("e")
    return f"{digits.replace('-', '−')} · 10{str(int(power)).translate(SUPERSCRIPT)}"

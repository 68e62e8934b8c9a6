"""Two trainings from one state, with the same batches: what does another loss, or another temperature, change?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ipywidgets as widgets
import numpy as np
from matplotlib.figure import Figure

from avid_lab import plots
from avid_lab.interactive.curves import Curves, Line
from avid_lab.interactive.knobs import read
from avid_lab.interactive.runner import Glimpse, Run
from avid_lab.interactive.state import pack
from avid_lab.interactive.training_charts import (
    loss_lines,
    marks_of,
    score_line,
    scores_table,
    show_similarities,
    similarity_chart,
    similarity_pairs,
)
from avid_lab.interactive.training_panel import TrainingPanel, grid
from avid_lab.interactive.vetting import GALLERY, Loss, LossRefused, gallery_losses
from avid_lab.objectives import name_of
from avid_lab.plots.style import AUDIO, GOOD, MUTED, VIDEO, panel, picture, styled
from avid_lab.training import Trainer

COLOURS = {"A": VIDEO, "B": AUDIO}


class Side:
    """One of the two trainings.

    Args:
        lab: The panel.
        name: "A" or "B".
        trainer: A copy of the training that was forked.

    Attributes:
        run: The training and what is known about it.
        knobs: Sliders by name.
    """

    def __init__(self, lab: LossLab, name: str, run: Run) -> None:
        self.lab, self.name, self.run = lab, name, run
        self.knobs: dict[str, Any] = {}
        self._seen: Glimpse | None = None
        self._known = {name_of(make()): title for title, make in GALLERY.items()}
        self.choice = widgets.Dropdown(
            description=f"loss of {name}",
            tooltip=f"Loss of run {name}",
            options=self._titles(),
            value=self.title,
            layout=widgets.Layout(width="auto"),
            style={"description_width": "104px"},
        )
        self.choice.observe(self._chosen, "value")
        self.losses = Curves(f"{name}: loss", height=170)
        self.similarities = similarity_chart(f"{name}: similarity of pairs")

    @property
    def trainer(self) -> Trainer:
        """The training itself."""
        return self.run.trainer

    @property
    def loss(self) -> Loss:
        """The loss in force; assign a function, or a name in the gallery, to change it.

        Raises:
            LossRefused: When assigned: it cannot train; the present one stays.
        """
        return self.trainer.objective.loss

    @loss.setter
    def loss(self, loss: Loss | str) -> None:
        if isinstance(loss, str):
            if loss not in GALLERY:
                raise LossRefused(f"loss must be a function or one of {', '.join(GALLERY)}; got {loss!r}")
            loss = GALLERY[loss]()
        self.lab.swap(self.run, loss)
        self.show_choice()

    @property
    def title(self) -> str:
        """What the gallery calls the loss, or the function's own name."""
        name = name_of(self.loss)
        return self._known.get(name, name)

    def set(self, **settings: Any) -> None:
        """Change the loss and knobs at once.

        Args:
            settings: ``loss``, and any knob by name.

        Raises:
            ValueError: A knob is unknown or its value is out of range.
        """
        if "loss" in settings:
            self.loss = settings.pop("loss")
        for name, value in settings.items():
            self.lab.runner.apply(lambda name=name, value=value: self.run.turn(name, float(value))).result()

    def show_choice(self) -> None:
        """Show which loss is in force."""
        if self.choice.value != self.title:
            self.lab.quietly(lambda: self.choice.set_trait("options", self._titles()))
            self.lab.quietly(lambda: self.choice.set_trait("value", self.title))

    def show(self) -> None:
        """Send what is new."""
        self.show_choice()
        self.lab.follow_knobs(self.run, self.knobs)
        history = self.run.history
        lines = loss_lines(history)[-2:]  # the terms of two losses have little in common
        self.losses.show(lines, x=self.lab.reach, marks=marks_of(self.run))
        if self.run.glimpse is not self._seen:
            self._seen = self.run.glimpse
            show_similarities(self.similarities, self.run.glimpse)

    def _titles(self) -> list[str]:
        return list(dict.fromkeys([*GALLERY, self.title]))

    def _chosen(self, change: dict[str, Any]) -> None:
        if self.lab.is_quiet or change["new"] == self.title:
            return
        try:
            self.loss = change["new"]
        except LossRefused:  # said in the panel
            self.show_choice()


class LossLab(TrainingPanel):
    """A fork in the road: two copies of a training that take the same batches with different losses or sliders.

    ``lab.a.loss = my_loss`` and ``lab.b.loss = my_loss`` from any cell change the loss of a running side, after a try
    on one batch; the menus hold losses to start from, two of which fail instructively.

    Args:
        trainer: What to fork; it is not touched.
        a: Settings of the first copy: ``loss`` (a function or a name of the menu) and knobs by name.
        b: Settings of the second.
        title: Heading.
        twins: Copies already made, by `twins`.

    Attributes:
        a: The first `Side`: ``a.loss``, ``a.trainer``, ``a.knobs``.
        b: The second.

    Raises:
        ValueError: A setting is unknown or out of range.

    Example:
        >>> LossLab(trainer, b={"loss": "no negatives"})  # doctest: +SKIP
    """

    def __init__(
        self,
        trainer: Trainer,
        a: Mapping[str, Any] | None = None,
        b: Mapping[str, Any] | None = None,
        *,
        title: str = "Loss lab: two runs, the same batches",
        twins: tuple[Run, Run] | None = None,
    ) -> None:
        forks = twins or self.twins(trainer)
        super().__init__(title, forks)
        self.began_at = forks[0].trainer.steps_done
        self._quiet = False
        self._seen: tuple[Glimpse, Glimpse, str] | None = None
        self.a, self.b = (Side(self, name, run) for name, run in zip("AB", forks, strict=True))
        values = read(trainer)
        for side, settings in ((self.a, a), (self.b, b)):
            side.set(**dict(settings or {}))
            side.run.begin_here()
            values = read(side.trainer) | values
        for side in (self.a, self.b):  # a loss of another kind has other knobs: both sides show all
            side.knobs = self.make_knobs(side.run, values)
        names = list(forks[0].glimpse.scores)
        self.score = widgets.Dropdown(
            options=names,
            value=names[-1],
            description="compare",
            tooltip="Which score to compare",
            layout=widgets.Layout(width="300px"),
        )
        self.score.observe(lambda _: self.show(), "value")
        self.comparison = Curves("A and B", percent=True, room=58, height=220)
        self.difference = Curves("B − A", percent=True, room=58, height=220)
        chosen = [[side.choice, *side.knobs.values()] for side in (self.a, self.b)]
        paired = [control for pair in zip(*chosen, strict=True) for control in pair]
        drawn = [self.a.losses, self.b.losses, self.a.similarities, self.b.similarities]
        self.body.children = [
            self.transport,
            grid(paired, columns=2),
            grid([*drawn, self.comparison, self.difference], columns=2),
            self.score,
        ]
        self.publish()

    @staticmethod
    def twins(trainer: Trainer) -> tuple[Run, Run]:
        """Two copies of a training; of one that runs, call it between steps."""
        return Run(trainer.fork(), losses=gallery_losses()), Run(trainer.fork(), losses=gallery_losses())

    @property
    def reach(self) -> tuple[float, float]:
        """First and last step of the charts."""
        done = max(run.trainer.steps_done for run in self.runner.runs)
        return float(self.began_at), float(max(self.began_at + 10, done))

    @property
    def compared(self) -> str:
        """Name of the score that is compared."""
        return str(self.score.value)

    @property
    def is_quiet(self) -> bool:
        """Whether the panel itself is setting a menu."""
        return self._quiet

    def quietly(self, act: Any) -> None:
        """Set a menu without its being taken for a choice."""
        self._quiet = True
        try:
            act()
        finally:
            self._quiet = False

    @property
    def state(self) -> str:
        """The settings of both sides."""
        sides = {"a": self.a, "b": self.b}
        return pack(
            {"from": self.began_at}
            | {f"{name}.loss": name_of(side.loss) for name, side in sides.items()}
            | {f"{name}.{k}": v for name, side in sides.items() for k, v in read(side.trainer).items()}
        )

    def show(self) -> None:
        """Bring everything up to date."""
        for side in (self.a, self.b):
            side.show()
        if (seen := (self.a.run.glimpse, self.b.run.glimpse, self.compared)) == self._seen:
            return
        self._seen = seen
        a, b = (score_line(side.run, self.compared, COLOURS[side.name], side.name) for side in (self.a, self.b))
        chance = self.a.run.chance
        floor = Line(np.array(self.reach), np.full(2, chance), MUTED, "chance", 1.2, dash=True)
        top = max(0.3, float(max(a.y.max(), b.y.max())) + 0.05)
        self.comparison.show([floor, a, b], x=self.reach, y=(0.0, top), title=f"{self.compared}: A and B")
        steps, gap = self.gap()
        zero = Line(np.array(self.reach), np.zeros(2), MUTED, "", 1.2, dash=True)
        widest = max(0.05, float(np.abs(gap).max()) * 1.15)
        ahead = Line(steps, gap, GOOD, "B − A", 2.0, base=0.0)
        self.difference.show([zero, ahead], x=self.reach, y=(-widest, widest), title=f"{self.compared}: B − A")

    def gap(self) -> tuple[np.ndarray, np.ndarray]:
        """Steps that both sides were looked at after, and the score of B minus that of A."""
        a, b = (dict(list(side.run.scores)) for side in (self.a, self.b))
        steps = sorted(set(a) & set(b))
        name = self.compared
        return np.array(steps, dtype=float), np.array([b[step][name] - a[step][name] for step in steps])

    @styled
    def figure(self) -> Figure:
        """Both sides' similarities, the scores and their difference as one picture."""
        figure = picture(11.0, 6.8)
        cells = figure.add_gridspec(2, 2)
        for column, side in enumerate((self.a, self.b)):
            title = f"{side.name}: {side.title}"
            plots.similarity_histograms(similarity_pairs(side.run), title=title, ax=panel(figure, cells[0, column]))
        scores, difference = panel(figure, cells[1, 0]), panel(figure, cells[1, 1])
        for side in (self.a, self.b):
            line = score_line(side.run, self.compared, COLOURS[side.name])
            scores.plot(line.x, line.y, color=line.colour, linewidth=2, label=f"{side.name}: {side.title}")
        scores.axhline(self.a.run.chance, color=MUTED, linestyle="--", linewidth=1.2, label="chance")
        scores.set(xlabel="step", ylim=(0, None))
        scores.set_title(self.compared)
        scores.legend(loc="best")
        steps, gap = self.gap()
        difference.fill_between(steps, 0, gap, color=GOOD, alpha=0.3)
        difference.plot(steps, gap, color=GOOD, linewidth=2)
        difference.axhline(0, color=MUTED, linestyle="--", linewidth=1.2)
        difference.set(xlabel="step")
        difference.set_title(f"{self.compared}: B − A")
        for ax in (scores, difference):
            ax.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")
        return figure

    def table(self) -> Sequence[tuple[str, str]]:
        """Losses and scores of both sides."""
        rows = [("step", f"{self.a.trainer.steps_done} of {len(self.a.trainer)}, forked at {self.began_at}")]
        for side in (self.a, self.b):
            rows += [(f"{side.name}: loss", side.title)]
            rows += [(f"{side.name}: {name}", value) for name, value in scores_table(side.run)]
        return rows

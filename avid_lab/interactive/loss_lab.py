"""Two trainings from one state, with the same batches: what does another loss, or another temperature, change?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import ipywidgets as widgets
import numpy as np

from avid_lab.interactive.knobs import read
from avid_lab.interactive.runner import Run, Undo
from avid_lab.interactive.state import pack
from avid_lab.interactive.training_charts import (
    changes,
    losses,
    score_lines,
    scores_plot,
    scores_table,
    similarities,
    steps_of,
)
from avid_lab.interactive.training_panel import TrainingPanel, grid
from avid_lab.interactive.vetting import GALLERY, Loss, LossRefused, gallery_losses
from avid_lab.objectives import name_of
from avid_lab.plots.chart import Area, Axis, Chart, Guide, Plot
from avid_lab.plots.style import AUDIO, GOOD, VIDEO
from avid_lab.training import Trainer

COLOURS = {"A": VIDEO, "B": AUDIO}


class Side:
    """One of the two trainings.

    Args:
        lab: The panel.
        name: "A" or "B".
        run: A copy of the forked training.

    Attributes:
        run: The training and its measurements.
        knobs: Sliders by name.
    """

    def __init__(self, lab: LossLab, name: str, run: Run) -> None:
        self.lab, self.name, self.run = lab, name, run
        self.knobs: dict[str, Any] = {}
        self._known = {name_of(make()): title for title, make in GALLERY.items()}
        style: dict[str, Any] = {"layout": {"width": "auto"}, "style": {"description_width": "104px"}}
        words = {"description": f"loss of {name}", "tooltip": f"Loss of run {name}"}
        self.choice = widgets.Dropdown(options=self._titles(), value=self.title, **words, **style)
        self.choice.observe(self._chosen, "value")

    @property
    def trainer(self) -> Trainer:
        """The training itself."""
        return self.run.trainer

    @property
    def loss(self) -> Loss:
        """The current loss; assign a function, or a name of the gallery, to change it.

        Raises:
            LossRefused: The assigned loss cannot train; the current one stays.
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
        """The name of the loss in the gallery, or the name of its function."""
        name = name_of(self.loss)
        return self._known.get(name, name)

    def set(self, **settings: Any) -> None:
        """Change the loss and knobs at once.

        Args:
            settings: ``loss``, and knobs by name.

        Raises:
            ValueError: A knob is unknown or its value is out of range.
        """
        if "loss" in settings:
            self.loss = settings.pop("loss")
        for name, value in settings.items():
            self.lab.runner.ask(lambda name=name, value=value: self.run.turn(name, float(value)))

    def show_choice(self) -> None:
        """Show the current loss."""
        if self.choice.value != self.title:
            with self.lab.quietly():
                self.choice.options = self._titles()
                self.choice.value = self.title

    def show(self) -> None:
        """Update the controls."""
        self.show_choice()
        self.lab.follow_knobs(self.run, self.knobs)

    def _titles(self) -> list[str]:
        return list(dict.fromkeys([*GALLERY, self.title]))

    def _chosen(self, change: dict[str, Any]) -> None:
        if self.lab.is_quiet or change["new"] == self.title:
            return
        try:
            self.loss = change["new"]
        except LossRefused:  # the panel shows why
            self.show_choice()


class LossLab(TrainingPanel):
    """Two copies of one training that see the same batches, with different losses or settings.

    ``lab.a.loss = my_loss`` and ``lab.b.loss = my_loss`` change the loss of a running side from any cell, after a check
    on one batch. The menus offer losses to start from; two of them fail in an instructive way. `undo` takes the
    changes of losses and knobs back, one after the other.

    Args:
        trainer: The training to fork; it does not change.
        a: Settings of the first copy: ``loss`` (a function or a name from the menu) and knobs by name.
        b: Settings of the second copy.
        title: Heading.
        twins: Existing copies, from `twins`.

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
        self.a, self.b = (Side(self, name, run) for name, run in zip("AB", forks, strict=True))
        values = read(trainer)
        for side, settings in ((self.a, a), (self.b, b)):
            side.set(**dict(settings or {}))
            side.run.begin_here()
            values = read(side.trainer) | values
        for side in (self.a, self.b):  # a loss of another kind has other knobs: both sides show all
            side.knobs = self.make_knobs(side.run, values)
        names = list(forks[0].glimpse.scores)
        words = {"description": "compare", "tooltip": "Which score to compare"}
        self.score = widgets.Dropdown(
            options=names, value=names[-1], layout={"width": "auto"}, style={"description_width": "104px"}, **words
        )
        self.score.observe(lambda _: self.show(), "value")
        paired = [
            knob for pair in zip(*(side.knobs.values() for side in (self.a, self.b)), strict=True) for knob in pair
        ]
        for side in (self.a, self.b):
            for knob in side.knobs.values():
                knob.description = f"{side.name}: {knob.description}"
                knob.style.description_width = "120px"
        self.settings = grid(paired, least=300)
        self.more = widgets.ToggleButton(description="settings", icon="sliders", tooltip="Temperature, negatives, ...")
        self.more.observe(lambda _: self._fold(), "value")
        self.undo_button = widgets.Button(description="Undo", icon="undo")
        self.undo_button.on_click(lambda _: self.undo())
        beside = widgets.HBox([self.more, self.undo_button])
        losses = grid([self.a.choice, self.b.choice, self.score, beside], least=300)
        self.body.children = [self.transport, losses, self.settings, self.canvas]
        self._fold()
        self.publish()

    def _fold(self) -> None:
        """Show the sliders or not: they would push the comparison off the screen."""
        self.settings.layout.display = "grid" if self.more.value else "none"

    @staticmethod
    def twins(trainer: Trainer) -> tuple[Run, Run]:
        """Make two copies of a training; if it is running, call this between steps."""
        return Run(trainer.fork(), losses=gallery_losses()), Run(trainer.fork(), losses=gallery_losses())

    def undo(self) -> None:
        """Take back the last change of a loss or knob, if there is one; it acts within one step and leaves a mark."""
        self._waiting = self.runner.apply(lambda: last[0].run.undo() if (last := self._last_change()) else None)

    def _last_change(self) -> tuple[Side, Undo] | None:
        last = [(side, undo) for side in (self.a, self.b) for undo in side.run.undos[-1:]]
        return max(last, key=lambda pair: pair[1].at_s, default=None)

    @property
    def reach(self) -> tuple[float, float]:
        """First and last step on the charts' axes."""
        return steps_of(self.runner.runs, self.began_at)

    @property
    def compared(self) -> str:
        """Name of the compared score."""
        return str(self.score.value)

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
        """Update the whole panel."""
        for side in (self.a, self.b):
            side.show()
        last = self._last_change()
        self.undo_button.disabled = last is None
        nothing = "Nothing to undo: no loss or setting was changed since the start"
        self.undo_button.tooltip = f"{last[0].name} goes back to {last[1].before.text}" if last else nothing
        super().show()

    def chart(self) -> Chart:
        """Loss and similarities of both sides, the compared score, and the lead of B."""
        plots, sides = list[Plot](), (self.a, self.b)
        for column, side in enumerate(sides):
            loss = losses(side.run, f"{side.name}: loss", self.reach, terms=False)  # terms have little in common
            seen = similarities(side.run, f"{side.name}: similarity of pairs")
            plots += [replace(loss, cell=(1, column, 1)), replace(seen, cell=(2, column, 1))]
        lines = [line for side in sides for line in score_lines(side.run, self.compared, COLOURS[side.name], side.name)]
        both = scores_plot(self.a.run, f"{self.compared}: A and B", self.reach, lines)
        steps, gap = self.gap()
        widest = max(0.02, float(np.abs(gap).max()) * 1.15)
        marks = [Guide(0, "y", dash=(5, 4)), Area(steps, gap, 0, GOOD, "B − A", "B − A", width=2), *changes(self.b.run)]
        x, y = Axis(*self.reach, "step", "whole"), Axis(-widest, widest, ticks="percent", grid=True)
        ahead = Plot(marks, x, y, f"{self.compared}: B − A", cell=(0, 1, 1), crosshair=True)
        about = f"Losses and similarities of two runs, and {self.compared} of both."
        return Chart([replace(both, cell=(0, 0, 1)), ahead, *plots], about, 600, (1, 1), (1.3, 1, 1.35))

    def gap(self) -> tuple[np.ndarray, np.ndarray]:
        """Steps at which both sides were measured, and the score of B minus that of A."""
        a, b = (dict(list(side.run.scores)) for side in (self.a, self.b))
        steps = sorted(set(a) & set(b))
        name = self.compared
        return np.array(steps, dtype=float), np.array([b[step][name] - a[step][name] for step in steps])

    def table(self) -> Sequence[tuple[str, str]]:
        """Losses and scores of both sides."""
        rows = [("step", f"{self.a.trainer.steps_done} of {len(self.a.trainer)}, forked at {self.began_at}")]
        for side in (self.a, self.b):
            rows += [(f"{side.name}: loss", side.title)]
            rows += [(f"{side.name}: {name}", value) for name, value in scores_table(side.run)]
        return rows

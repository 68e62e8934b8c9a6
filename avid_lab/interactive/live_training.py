"""A training to watch, pause, and change while it runs."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import ipywidgets as widgets
from matplotlib.figure import Figure

from avid_lab.datasets import ClipDataset
from avid_lab.interactive.knobs import KNOBS, Change, label_of, read, replay, turn
from avid_lab.interactive.rebuild import check, describe, rebuild
from avid_lab.interactive.runner import Run
from avid_lab.interactive.state import number, pack, unpack
from avid_lab.interactive.training_charts import plane_of, scores_table, training_chart
from avid_lab.interactive.training_panel import TrainingPanel, grid
from avid_lab.interactive.vetting import Loss, gallery_losses
from avid_lab.objectives import Objective, name_of
from avid_lab.plots.chart import Chart
from avid_lab.plots.render import draw_chart
from avid_lab.training import Trainer

# A trainer has one panel: two would step it in turn.
_panels: weakref.WeakValueDictionary[int, LiveTraining] = weakref.WeakValueDictionary()


class LiveTraining(TrainingPanel):
    """A training to watch, pause, and change while it runs.

    Loss and terms, nearest-neighbour accuracy and retrieval, similarities, and a map: all read from the memories, so
    that watching costs the training little. Every slider acts within one step and leaves a mark on the curves;
    ``live.loss = my_loss`` from any cell changes the loss, after a try on one batch.

    Args:
        trainer: The training, which continues from its current step. Its earlier panel is closed.
        state: State string of a similar training: its changes are repeated at the same steps.
        losses: Functions that the state may name, by their names.
        title: Heading.

    Attributes:
        run: The training and what is known about it.
        knobs: Sliders by name.

    Raises:
        ValueError: The state is not of such a training, or the trainer does not stand where its run began.

    Example:
        >>> live = LiveTraining(avid_trainer(clips, al.profile()))  # doctest: +SKIP
    """

    def __init__(
        self,
        trainer: Trainer,
        *,
        state: str = "",
        losses: Mapping[str, Loss] | None = None,
        title: str = "Live training",
    ) -> None:
        if (before := _panels.get(id(trainer))) is not None:
            before.close()
            before.runner.join()
        self.run = Run(trainer, losses=gallery_losses() | dict(losses or {}))
        super().__init__(title, [self.run])
        _panels[id(trainer)] = self
        self.trainer = trainer
        self._begun = describe(trainer) | self._set()
        if state:
            self._plan(unpack(state))
        self.knobs = self.make_knobs(self.run)
        self.state_box = widgets.Text(
            description="state",
            tooltip="The run as a string: LiveTraining.from_state rebuilds it",
            layout=widgets.Layout(width="auto"),  # 100 % would not count its margins
            style={"description_width": "104px"},
            disabled=False,
        )
        self._seen, self._plane = self.run.glimpse, plane_of(self.run.glimpse, None)
        classes = [trainer.clips.classes[label].replace("_", " ") for label in self.run.labels.tolist()]
        self.canvas.labels = [f"{name}, clip {i}" for i, name in zip(self.run.watched.tolist(), classes, strict=True)]
        self.body.children = [self.transport, grid(list(self.knobs.values()), least=300), self.canvas, self.state_box]
        self.publish()

    @property
    def loss(self) -> Loss:
        """The loss of the running training; assign a function to change it.

        Raises:
            LossRefused: When assigned: it cannot train; the present one stays.
        """
        return self.trainer.objective.loss

    @loss.setter
    def loss(self, loss: Loss) -> None:
        self.swap(self.run, loss)
        self.publish()

    def fork(self, **settings: Any) -> Any:
        """Two copies of this training, side by side in a `LossLab`: one unchanged, one with other settings.

        This training pauses and does not change.

        Args:
            settings: For the second copy: ``loss`` and any knob by name, ``temperature=0.2``.
        """
        from avid_lab.interactive.loss_lab import LossLab  # it builds on this module

        self.pause()
        lab = self.runner.ask(lambda: LossLab.twins(self.trainer))
        return LossLab(self.trainer, b=settings, twins=lab)

    @property
    def state(self) -> str:
        """The start of the run, and each change with its step: `from_state` rebuilds it, or reports what is missing."""
        changes = ",".join(map(str, [*self.run.changes, *self.run.planned]))
        at = {"at": self.runner.pause_at or self.trainer.steps_done}
        return pack(self._begun | at | ({"changes": changes} if changes else {}))

    @classmethod
    def from_state(
        cls, state: str, clips: ClipDataset | None = None, *, losses: Mapping[str, Loss] | None = None
    ) -> LiveTraining:
        """Rebuild a run: a new AVID training of the same seed and settings; Start makes the same changes again.

        Args:
            state: The `state` of a panel.
            clips: The same clips; by default the world in the state.
            losses: Your own functions in the state, by name.

        Raises:
            ValueError: It is not such a state, or it cannot describe the whole run: an objective other than AVID, your
                own model, loaded weights, a later first step. Build that trainer yourself and pass it to
                ``LiveTraining(trainer, state=...)``.
        """
        return cls(rebuild(unpack(state), clips), state=state, losses=losses)

    def show(self) -> None:
        """Bring everything up to date."""
        self.follow_knobs(self.run, self.knobs)
        super().show()
        self.state_box.value = self.state

    def chart(self) -> Chart:
        """Curves, similarities and map."""
        if self.run.glimpse is not self._seen:
            self._seen, self._plane = self.run.glimpse, plane_of(self.run.glimpse, self._plane)
        return training_chart(self.run, self._plane)

    def figure(self) -> Figure:
        """The same, with the names of the classes."""
        self.chart()
        return draw_chart(replace(training_chart(self.run, self._plane, named=True), height=720), width=11)

    def table(self) -> Sequence[tuple[str, str]]:
        """Where the training is, its settings, and its scores."""
        run = self.run
        rows = [("step", f"{run.trainer.steps_done} of {len(run.trainer)}")]
        rows += [(label_of(name), f"{value:g}") for name, value in read(run.trainer).items()]
        rows += [("loss", name_of(run.trainer.objective.loss)), *scores_table(run)]
        return [*rows, ("state", self.state)]

    def _set(self) -> dict[str, float | str]:
        """Knobs and loss as they stand."""
        return {**read(self.trainer), "loss": name_of(self.trainer.objective.loss)}

    def _plan(self, settings: dict[str, Any]) -> None:
        """Take over a state: begin with its settings, and make its changes at their steps."""
        trainer, changes = self.trainer, str(settings.get("changes", ""))
        check(settings, trainer)
        known = read(trainer)
        # Weights go together: one at a time, all might be zero for a moment.
        weights = {name: float(number(settings, name)) for name in known if name in settings and name not in KNOBS}
        if weights and isinstance(trainer.objective, Objective):
            trainer.objective.set_weights(**weights)
        for name in known:
            if name in settings and name in KNOBS and known[name] != settings[name]:
                turn(trainer, name, number(settings, name))
        replay(trainer, Change(0, "loss", str(settings.get("loss", self._begun["loss"]))), self.run.losses)
        self._begun |= self._set()
        self.run.planned = [Change.parse(text) for text in changes.split(",") if text]
        self.runner.pause_at = int(number(settings, "at", 0)) or None
        self.run.begin_here()

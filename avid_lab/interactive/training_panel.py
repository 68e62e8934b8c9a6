"""Shared by the panels of running trainings: buttons, knobs, and the publishing loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import ipywidgets as widgets

from avid_lab.interactive.knobs import label_of, read
from avid_lab.interactive.panel import SUBSHELLS, Panel
from avid_lab.interactive.runner import Run, Runner
from avid_lab.interactive.vetting import Loss, LossRefused, vet
from avid_lab.objectives import name_of

PUBLISH_S = 0.5  # at full speed: each costs the page some 25 ms of a core, which the training then waits for
PROMPT_S = 0.1  # how soon else: after a command, or between steps that are far apart
REFUSED_S = 20  # that a refusal is shown: what was in force is still in force
SPEEDS = {"full speed": 0.0, "5 steps/s": 0.2, "1 step/s": 1.0, "slow motion": 3.0}
PLACES = {
    "temperature": (0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1.0),
    "negatives": tuple(float(2**power) for power in range(13)),
    "momentum": (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99),
    "rate": (0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0),
}
WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.5, 2.0, 3.0, 5.0)


class TrainingPanel(Panel):
    """Starts, pauses and steps trainings in a thread of their own, and shows what is new.

    Args:
        title: Heading.
        runs: What to train; several take every step together.

    Attributes:
        runner: Takes the steps.
        publishing_ms: What each publication took the kernel, in milliseconds.
        is_quiet: Whether the panel itself is setting a control.
    """

    def __init__(self, title: str, runs: Sequence[Run]) -> None:
        super().__init__(title)
        self.runner = Runner(runs)
        self.publishing_ms: list[float] = []
        self._shown, self._refused = -1, list[tuple[Callable[[], None], str]]()
        self.is_quiet = False
        self._waiting: Future[Any] | None = None  # the last turn of a knob
        width = widgets.Layout(width="104px")
        self.start_button = widgets.Button(description="Start", icon="play", button_style="primary", layout=width)
        self.step_button = widgets.Button(description="Step", icon="step-forward", layout=width)
        self.stop_button = widgets.Button(description="Stop", icon="stop", layout=width)
        self.rewind_button = widgets.Button(description="Start over", icon="fast-backward", layout=width)
        for button, tooltip, press in (
            (self.start_button, "Start or pause the training", self._toggle),
            (self.step_button, "Take one step", self.step),
            (self.stop_button, "End the training; it keeps what it learned", self.stop),
            (self.rewind_button, "Go back to where this panel began; the curves so far stay, pale", self.rewind),
        ):
            button.tooltip = tooltip
            button.on_click(lambda _, press=press: press())
        self.speed = widgets.Dropdown(options=list(SPEEDS), layout=widgets.Layout(width="120px"), tooltip="Speed")
        self.speed.observe(lambda change: self._set_speed(change["new"]), "value")
        self._status = widgets.HTML()
        buttons = [self.start_button, self.step_button, self.stop_button, self.rewind_button, self.speed]
        self.transport = widgets.HBox(
            [*buttons, self._status], layout=widgets.Layout(flex_flow="row wrap", align_items="center")
        )
        try:
            self._follower: asyncio.Task[None] | None = asyncio.get_running_loop().create_task(self._follow())
        except RuntimeError:  # a script without an event loop calls publish itself
            self._follower = None

    @property
    def status(self) -> str:
        """What the training does, as HTML."""
        return self._status.value

    # Commands

    def start(self) -> None:
        """Train until paused or done."""
        self.runner.start()

    def pause(self) -> None:
        """Take no more steps until `start`; acts within one step."""
        self.runner.pause()

    def step(self) -> None:
        """Take one step."""
        self.runner.step()

    def stop(self) -> None:
        """End the training; it keeps its weights, and `start` continues from there."""
        self.runner.stop()

    def rewind(self) -> None:
        """Go back to where the panel began."""
        self.runner.rewind()

    async def finished(self) -> None:
        """Wait until the training pauses or ends, publishing meanwhile: ``await live.finished()`` in a cell."""
        await asyncio.wrap_future(self.runner.apply(lambda: None))
        while self.runner.state == "running":
            await asyncio.sleep(PROMPT_S)
        self.publish()

    def close(self) -> None:
        """End the training's thread and remove the panel; trainers keep what they learned."""
        if not self.closed:
            self.runner.close()
            if self._follower is not None:
                self._follower.cancel()
        super().close()

    # Publishing, always in the notebook's own thread

    def show(self) -> None:
        """Bring chart and controls up to date."""
        self.draw(False)

    def settled(self, timeout_s: float | int | None = None) -> None:
        """Wait until the last turn of a knob was taken over or refused."""
        if self._waiting is not None:
            self._waiting.result(timeout_s)

    def publish(self) -> None:
        """Show what is new."""
        if self.closed or self._shown == self.runner.revision:
            return
        begun, self._shown = time.perf_counter(), self.runner.revision
        while self._refused:
            undo, text = self._refused.pop(0)
            undo()
            self.notify(text, key="knob", error=True, for_s=REFUSED_S)
        self._show_transport()
        self.show()
        self.changed()
        self.publishing_ms.append(1e3 * (time.perf_counter() - begun))
        del self.publishing_ms[:-10_000]

    async def _follow(self) -> None:
        state, due = self.runner.state, 0.0
        while not self.closed:
            await asyncio.sleep(PROMPT_S)
            before, state = state, self.runner.state
            at_full_speed = before == state == "running" and not self.runner.seconds_per_step
            if at_full_speed and time.monotonic() < due:
                continue
            due = time.monotonic() + PUBLISH_S
            try:
                self.publish()
            except Exception as error:
                self.fail(error, doing="publishing")

    def _show_transport(self) -> None:
        runner, run = self.runner, self.runner.runs[0]
        running, done = runner.state == "running", runner.state == "done"
        self.start_button.description, self.start_button.icon = ("Pause", "pause") if running else ("Start", "play")
        self.start_button.disabled = self.step_button.disabled = done
        self.stop_button.disabled = runner.state in ("ready", "stopped", "done")
        trainer = run.trainer
        text = f"<b>{runner.state}</b> · step {trainer.steps_done:,} of {len(trainer):,}"
        if recent := run.trainer.history[-20:]:
            seconds = sum(step.seconds for step in recent) / len(recent) * len(runner.runs)
            text += f" · {recent[-1].epoch:.1f} passes · {trainer.config.batch_size / seconds:.0f} clips/s"
            left = (len(trainer) - trainer.steps_done) * max(seconds, runner.seconds_per_step)
            text += f" · {_duration(left)} left" if running and left else ""
        self._status.value = f'<span class="avid-soft" role="status">{text}</span>'
        if runner.error is None:
            self.notify("", key="training")
        else:
            error, trace = runner.error
            back = f"Start continues from the last good state, step {trainer.steps_done}."
            self.notify(f"{type(error).__name__}: {error} {back}", key="training", error=True, details=trace)

    def _toggle(self) -> None:
        if self.runner.state == "running":
            self.pause()
        else:
            self.start()

    def _set_speed(self, name: str) -> None:
        self.runner.seconds_per_step = SPEEDS[name]
        self.runner.apply(lambda: None)  # wakes a training that waits for its next step

    # Knobs and losses

    def make_knobs(self, run: Run, others: Mapping[str, float] | None = None) -> dict[str, Any]:
        """A slider for everything that can be turned in a run; it acts within one step.

        Args:
            run: What the sliders turn.
            others: Knobs that the run may get with another loss, and values to show until then.
        """
        values = dict(others or {}) | read(run.trainer)
        knobs = {name: make_knob(name, value) for name, value in values.items()}
        for name, knob in knobs.items():
            knob.observe(lambda change, name=name, knob=knob: self._turned(run, name, knob), "value")
        return knobs

    def follow_knobs(self, run: Run, knobs: Mapping[str, Any]) -> None:
        """Show the values that are in force, after a replay, a return or a new loss."""
        if self._waiting is not None and not self._waiting.done():
            return  # what the hand does comes first
        values = read(run.trainer)
        with self.quietly():
            for name, knob in knobs.items():
                knob.disabled = name not in values
                if name in values and knob.value != values[name]:
                    _set(knob, values[name])

    @contextmanager
    def quietly(self) -> Iterator[None]:
        """Controls that are set within are not taken for the user's choice."""
        self.is_quiet = True
        try:
            yield
        finally:
            self.is_quiet = False

    def swap(self, run: Run, loss: Loss) -> None:
        """Try a loss on one batch, then have the run use it from its next step on.

        Raises:
            LossRefused: It cannot train; the present loss stays.
        """
        recent = run.trainer.history[-20:]
        typical = sum(step.seconds for step in recent) / max(len(recent), 1)
        try:
            vet(loss, run.trainer, seconds_per_step=float(typical))
        except LossRefused as refused:
            self.notify(
                f"{refused} {name_of(run.trainer.objective.loss)} stays.", key="loss", error=True, for_s=REFUSED_S
            )
            raise
        self.runner.ask(lambda: run.set_loss(loss))
        self.notify("", key="loss")

    def _turned(self, run: Run, name: str, knob: Any) -> None:
        if self.is_quiet:
            return
        value = knob.value

        def turned() -> None:  # in the training's thread
            try:
                run.turn(name, float(value))
            except ValueError as refused:
                self._refused.append((lambda: self.follow_knobs(run, {name: knob}), str(refused)))

        if not self.redraw.on_loop_thread():
            self.notify(SUBSHELLS, key="subshells")
        self.notify("", key="knob")
        self._waiting = self.runner.apply(turned)


def make_knob(name: str, value: float) -> widgets.SelectionSlider:
    """A slider over round values and the one in force.

    Not a `FloatSlider`: the page rounds its value to the slider's places as soon as it is shown, and sends it back.
    """
    return widgets.SelectionSlider(
        value=value,
        options=_places({*PLACES.get(name, WEIGHTS), value}),
        description=label_of(name),
        tooltip=label_of(name),
        layout=widgets.Layout(width="auto"),
        style={"description_width": "104px"},
    )


def grid(children: Sequence[Any], columns: int | None = None, *, least: int = 0) -> widgets.GridBox:
    """Widgets in columns of equal width, ``least`` pixels at least; as many as fit if their number is not given."""
    count = "auto-fit" if columns is None else columns
    layout = widgets.Layout(grid_template_columns=f"repeat({count}, minmax({least}px, 1fr))", grid_gap="2px 16px")
    return widgets.GridBox(list(children), layout=layout)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _set(knob: widgets.SelectionSlider, value: float) -> None:
    """Show a value, also one that is no place of the slider."""
    places = {place for _, place in knob.options}
    if value not in places:
        knob.options = _places({*places, value})
    knob.value = value


def _places(values: Iterable[float]) -> list[tuple[str, float]]:
    return [(f"{value:g}", value) for value in sorted(values)]

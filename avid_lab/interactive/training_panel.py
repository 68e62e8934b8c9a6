"""Watch a training and turn its knobs while it runs."""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import ipywidgets as widgets
import numpy as np
from matplotlib.figure import Figure

from avid_lab import plots
from avid_lab.datasets import ClipDataset
from avid_lab.interactive.curves import Curves, Line
from avid_lab.interactive.knobs import LABELS, Change, read, replay, turn
from avid_lab.interactive.panel import SUBSHELLS, Panel, pack, unpack
from avid_lab.interactive.rebuild import check, describe, rebuild
from avid_lab.interactive.runner import BINS, Glimpse, Run, Runner
from avid_lab.interactive.scatter import Scatter
from avid_lab.interactive.vetting import Loss, LossRefused, gallery_losses, name_of, vet
from avid_lab.objectives import Objective
from avid_lab.plots.curves import DIRECTION_COLOURS
from avid_lab.plots.statistics import principal_plane, smooth
from avid_lab.plots.style import AUDIO, COLOURS, MUTED, VIDEO, note, panel, picture, styled
from avid_lab.training import Step, Trainer

PUBLISH_S = 0.5  # at full speed: each costs the page some 25 ms of a core, which the training then waits for
PROMPT_S = 0.1  # how soon else: after a command, or between steps that are far apart
POINTS = 400  # of a curve: more than its pixels
SPEEDS = {"full speed": 0.0, "5 steps/s": 0.2, "1 step/s": 1.0, "slow motion": 3.0}
PLACES = {
    "temperature": (0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1.0),
    "negatives": tuple(float(2**power) for power in range(13)),
    "momentum": (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99),
    "rate": (0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0),
}
WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.5, 2.0, 3.0, 5.0)
SCORE_COLOURS = (VIDEO, AUDIO, "#009e73")

# A trainer has one panel: two would step it in turn.
_panels: weakref.WeakValueDictionary[int, TrainingPanel] = weakref.WeakValueDictionary()


class TrainingPanel(Panel):
    """What panels of running trainings share: the buttons, the progress, and the loop that publishes.

    Args:
        title: Heading.
        runs: What to train; several take every step together.

    Attributes:
        runner: Takes the steps.
        publishing_ms: What each publication took the kernel, in milliseconds.
    """

    def __init__(self, title: str, runs: Sequence[Run]) -> None:
        super().__init__(title)
        self.runner = Runner(runs)
        self.publishing_ms: list[float] = []
        self._shown, self._refused = -1, list[tuple[Callable[[], None], str]]()
        self._setting = False  # a control is being set by the panel itself
        self._waiting: Future[Any] | None = None  # the last turn of a knob
        width = widgets.Layout(width="104px")
        self.start_button = widgets.Button(description="Start", icon="play", button_style="primary", layout=width)
        self.step_button = widgets.Button(description="Step", icon="step-forward", layout=width)
        self.stop_button = widgets.Button(description="Stop", icon="stop", layout=width)
        self.rewind_button = widgets.Button(description="Start over", icon="undo", layout=width)
        for button, told, press in (
            (self.start_button, "Start or pause the training", self._toggle),
            (self.step_button, "Take one step", self.step),
            (self.stop_button, "End the training; it keeps what it learned", self.stop),
            (self.rewind_button, "Go back to where this panel began", self.rewind),
        ):
            button.tooltip = told
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

    # Commands

    def start(self) -> None:
        """Train until paused or done."""
        self.runner.start()

    def pause(self) -> None:
        """Take no more steps until told to; acts within one step."""
        self.runner.pause()

    def step(self) -> None:
        """Take one step."""
        self.runner.step()

    def stop(self) -> None:
        """End the training; it keeps what it learned, and `start` goes on from there."""
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
        """Bring charts and controls up to date; subclasses."""

    def publish(self) -> None:
        """Show what is new."""
        if self.closed or self._shown == self.runner.revision:
            return
        begun, self._shown = time.perf_counter(), self.runner.revision
        while self._refused:
            undo, text = self._refused.pop(0)
            undo()
            self.notify(text, key="knob", error=True)
        self._show_transport()
        self.show()
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
            back = f"Start goes on from the last good state, step {trainer.steps_done}."
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
        self._setting = True
        for name, knob in knobs.items():
            knob.disabled = name not in values
            if name in values and knob.value != values[name]:
                _set(knob, values[name])
        self._setting = False

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
            self.notify(f"{refused} {name_of(run.trainer.objective.loss)} stays.", key="loss", error=True)
            raise
        self.runner.apply(lambda: run.set_loss(loss)).result()
        self.notify("", key="loss")

    def _turned(self, run: Run, name: str, knob: Any) -> None:
        if self._setting:
            return
        value = knob.value

        def turned() -> None:  # in the training's thread
            try:
                run.turn(name, float(value))
            except ValueError as refused:
                self._refused.append((lambda: self.follow_knobs(run, {name: knob}), str(refused)))

        if not self.redraw.at_home():
            self.notify(SUBSHELLS, key="subshells")
        self.notify("", key="knob")
        self._waiting = self.runner.apply(turned)


class LiveTraining(TrainingPanel):
    """A training to watch, pause, and change while it runs.

    Loss and terms, nearest-neighbour accuracy and retrieval, similarities, and a map: all read from the memories, so
    that watching costs the training little. Every slider acts within one step and leaves a mark on the curves;
    ``live.loss = my_loss`` from any cell changes the loss, after a try on one batch.

    Args:
        trainer: What to train; it goes on from where it is. A panel that it already has is closed.
        state: A state string of a like training: its changes are made again at the same steps.
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
        self.charts = TrainingCharts(self.run)
        self.body.children = [
            self.transport,
            grid(list(self.knobs.values()), least=300),
            grid(self.charts.widgets, columns=2),
            self.state_box,
        ]
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
        """Two copies of this training, side by side in a `LossLab`: one as it is, one with other settings.

        This training pauses and is not touched.

        Args:
            settings: For the second copy: ``loss`` and any knob by name, ``temperature=0.2``.
        """
        from avid_lab.interactive.loss_lab import LossLab  # it builds on this module

        self.pause()
        lab = self.runner.apply(lambda: LossLab.twins(self.trainer)).result()
        return LossLab(self.trainer, b=settings, twins=lab)

    @property
    def state(self) -> str:
        """How the run began and what was changed at which step: `from_state` rebuilds it, or says what it lacks."""
        changes = ",".join(map(str, [*self.run.changes, *self.run.planned]))
        at = {"at": self.runner.pause_at or self.trainer.steps_done}
        return pack(self._begun | at | ({"changes": changes} if changes else {}))

    @classmethod
    def from_state(
        cls, state: str, clips: ClipDataset | None = None, *, losses: Mapping[str, Loss] | None = None
    ) -> LiveTraining:
        """Rebuild a run: a new AVID training of the same seed and settings; Start makes the same changes again.

        Args:
            state: What `state` gave.
            clips: The same clips; the world that the state names if not given.
            losses: Your own functions that the state names, by their names.

        Raises:
            ValueError: It is no such state, or of a run that it does not hold all of: another objective than AVID, a
                model of one's own, weights that were loaded, a later first step. Build that trainer yourself and give
                ``LiveTraining(trainer, state=...)``.
        """
        return cls(rebuild(unpack(state), clips), state=state, losses=losses)

    def show(self) -> None:
        """Bring everything up to date."""
        self.follow_knobs(self.run, self.knobs)
        self.charts.show()
        self.state_box.value = self.state

    def figure(self) -> Figure:
        """Curves, similarities and map as one picture."""
        return training_figure(self.run)

    def table(self) -> Sequence[tuple[str, str]]:
        """Where the training is, its settings, and its scores."""
        run = self.run
        rows = [("step", f"{run.trainer.steps_done} of {len(run.trainer)}")]
        rows += [(LABELS.get(name, name).replace("_", " "), f"{value:g}") for name, value in read(run.trainer).items()]
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
        weights = {name: float(settings[name]) for name in known if name in settings and name not in LABELS}
        if weights and isinstance(trainer.objective, Objective):
            trainer.objective.set_weights(**weights)
        for name in known:
            if name in settings and name in LABELS and known[name] != settings[name]:
                turn(trainer, name, float(settings[name]))
        replay(trainer, Change(0, "loss", str(settings.get("loss", self._begun["loss"]))), self.run.losses)
        self._begun |= self._set()
        self.run.planned = [Change.parse(text) for text in changes.split(",") if text]
        self.runner.pause_at = int(settings.get("at", 0)) or None
        self.run.begin_here()


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


# Parts that LossLab uses, too


def make_knob(name: str, value: float) -> widgets.SelectionSlider:
    """A slider over round values and the one in force.

    Not a `FloatSlider`: the page rounds its value to the slider's places as soon as it is shown, and sends it back.
    """
    return widgets.SelectionSlider(
        value=value,
        options=_places({*PLACES.get(name, WEIGHTS), value}),
        description=LABELS.get(name, name).replace("_", " "),
        tooltip=LABELS.get(name, name).replace("_", " "),
        layout=widgets.Layout(width="auto"),
        style={"description_width": "104px"},
    )


def grid(children: Sequence[Any], columns: int | None = None, *, least: int = 0) -> widgets.GridBox:
    """Widgets in columns of equal width, ``least`` pixels at least; as many as fit if their number is not given."""
    count = "auto-fit" if columns is None else columns
    layout = widgets.Layout(grid_template_columns=f"repeat({count}, minmax({least}px, 1fr))", grid_gap="2px 16px")
    return widgets.GridBox(list(children), layout=layout)


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
    lines, rows = [], []
    for row, (name, (same, other)) in enumerate(seen.histograms.items()):
        base = float(len(seen.histograms) - 1 - row)
        tall = max(float(same.max()), float(other.max()), 1e-9) / 0.86
        for shares, colour in ((other, MUTED), (same, VIDEO)):
            lines.append(Line(middles, base + shares / tall, colour, width=1.3, base=base))
        rows.append((base, name, f"AUC {auc_of(same, other):.2f}"))
    chart.show(lines, x=(-1.0, 1.0), y=(-0.02, len(rows) + 0.02), rows=rows)


def auc_of(same: np.ndarray, other: np.ndarray) -> float:
    """Chance that a same-class pair is in a higher bin than another pair; one bin counts half."""
    below = np.cumsum(other) - other
    return float((same * (below + 0.5 * other)).sum())


def plane_of(seen: Glimpse, before: np.ndarray | None) -> np.ndarray:
    """Both modalities on their two principal directions, (2n, 2), turned to lie as they did before."""
    sides = [side - side.mean(0) for side in (seen.video, seen.audio)]
    points = principal_plane(np.concatenate(sides).astype(np.float64)).points
    if before is not None:  # orthogonal Procrustes: principal directions may swap or flip from one look to the next
        left, _, right = np.linalg.svd(points.T @ before)
        points = points @ (left @ right)
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

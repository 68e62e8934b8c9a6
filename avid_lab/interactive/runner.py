"""Training in the background: one thread takes the steps, the notebook's own thread sends commands and reads results.

All access to the trainers happens in that thread, between steps, so no locks are needed: commands wait in a queue for
at most one step. A step may never end, because a student's loss may block: then a command leaves the thread behind.
This module uses no widgets.
"""

from __future__ import annotations

import atexit
import contextlib
import copy
import queue
import sys
import threading
import time
import traceback
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from avid_lab.interactive.knobs import Change, read, replay, turn
from avid_lab.interactive.vetting import Loss, put, set_loss
from avid_lab.limits import OutOfTime, end
from avid_lab.metrics import chance_accuracy, retrieval, vote_of_nearest
from avid_lab.objectives import name_of
from avid_lab.training import Step, Trainer

State = Literal["ready", "running", "paused", "stopped", "done", "failed", "closed"]
ENDED = ("stopped", "closed")
PAIRS = ("video-video", "audio-audio", "video-audio")
BINS = 80
PATIENCE_S = 10.0  # `Runner.stop` and `Runner.ask` wait at least this long for the end of a step
MOST_GHOSTS = 3
DRAG_S = 1.0  # a slider that moves again within this time is being dragged


@dataclass(frozen=True, eq=False)
class Glimpse:
    """Measurements on the memories of some clips after a step: scores and similarities.

    Attributes:
        step: Steps done.
        scores: "video kNN", "audio kNN" (leave one out) and "video→audio P@10", in [0, 1].
        video: (n, D) video memories.
        audio: (n, D) audio memories.
        histograms: By pair of modalities, shares of same-class and of different-class pairs, each (BINS,) over [-1, 1].
    """

    step: int
    scores: dict[str, float]
    video: np.ndarray
    audio: np.ndarray
    histograms: dict[str, tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True, eq=False)
class Ghost:
    """The curves of a training that was started over.

    Attributes:
        steps: Numbers of the steps.
        loss: The loss of each step.
        scores: Steps and scores of its glimpses.
    """

    steps: list[int]
    loss: list[float]
    scores: list[tuple[int, dict[str, float]]]


@dataclass(frozen=True, eq=False)
class Undo:
    """How to take back a change.

    Attributes:
        at_s: When it was made, by `time.perf_counter`.
        before: Step of the change, name of the knob, and its value before.
        put_back: Sets that value.
    """

    at_s: float
    before: Change
    put_back: Callable[[], None]


class Run:
    """One training and its measurements.

    Args:
        trainer: Trained in place.
        watched: Clips whose memories are measured.

    Attributes:
        changes: Changes of settings, in order.
        undos: How to take back each change since the start, the last one last.
        scores: Steps and scores of all glimpses so far.
        glimpse: The newest.
        planned: Future changes of a replay, in order.
        ghosts: Curves from before the training was started over, the newest last.
    """

    def __init__(self, trainer: Trainer, *, watched: int = 256, losses: Mapping[str, Loss] | None = None) -> None:
        self.trainer = trainer
        self.losses = dict(losses or {})
        self.changes: list[Change] = []
        self.planned: list[Change] = []
        self.undos: list[Undo] = []
        self.ghosts: deque[Ghost] = deque(maxlen=MOST_GHOSTS)
        self.scores: deque[tuple[int, dict[str, float]]] = deque(maxlen=2000)
        # A seed of its own: a trainer's first batches are a permutation by its seed, and would hold all of these clips.
        order = torch.randperm(len(trainer.clips), generator=torch.Generator().manual_seed(20_211))
        self.watched = order[:watched].sort().values
        self.labels = trainer.clips.labels[self.watched]
        self.chance = chance_accuracy(self.labels, self.labels)
        self.glimpse = glimpse(trainer, self.watched, self.labels)
        self.scores.append((trainer.steps_done, self.glimpse.scores))
        self.every = min(10, max(1, round(len(trainer) / 100)))  # a measurement takes a few milliseconds
        self.begin_here()

    @property
    def history(self) -> list[Step]:
        """The trainer's steps so far; a copy, safe to read while the training goes on."""
        return self.trainer.history.copy()

    @property
    def finished(self) -> bool:
        """Whether all planned steps are done."""
        return self.trainer.steps_done >= len(self.trainer)

    def step(self) -> None:
        """One step, the changes planned for it before, a look at the memories after."""
        done = self.trainer.steps_done
        while self.planned and self.planned[0].step <= done:
            change = self.planned.pop(0)
            replay(self.trainer, change, self.losses)
            self.changes.append(Change(done, change.name, change.value))
        if done - self._good.step >= 20:
            self.keep()
        self.trainer.step()
        if self.trainer.steps_done % self.every == 0 or self.finished:
            self.look()

    def look(self) -> None:
        """Take a glimpse."""
        self.glimpse = glimpse(self.trainer, self.watched, self.labels)
        self.scores.append((self.glimpse.step, self.glimpse.scores))

    def turn(self, name: str, value: float) -> None:
        """Turn a knob, and remember it."""
        self._keep_before_change()
        before = read(self.trainer).get(name, value)
        turn(self.trainer, name, value)
        self._remember(name, value, before, lambda: turn(self.trainer, name, before))

    def set_loss(self, loss: Loss) -> None:
        """Change the loss, and remember it."""
        self._keep_before_change()
        objective, before = self.trainer.objective, self.trainer.objective.loss
        set_loss(self.trainer, loss)
        self.losses[name_of(loss)] = loss
        # The objective, too: a loss of another kind has replaced it, and its settings with it.
        self._remember("loss", name_of(loss), name_of(before), lambda: put(self.trainer, objective, before))

    def undo(self) -> None:
        """Take back the last change; the curves go on, with a mark."""
        self._keep_before_change()
        last = self.undos.pop()
        last.put_back()
        self._mark(last.before.name, last.before.value)

    def keep(self) -> None:
        """Make this the state to go back to."""
        self._good = _Checkpoint(self)

    def begin_here(self) -> None:
        """Make this the state to start over from."""
        self.undos.clear()
        self._begin = self._good = _Checkpoint(self)

    def go_back(self, *, to_start: bool = False) -> None:
        """Return to the last state that was kept, or to the first."""
        if to_start and self.trainer.steps_done > self._begin.step + 1:  # fewer make no curve
            steps = self.history
            losses = [float(step.loss) for step in steps]
            self.ghosts.append(Ghost([step.index for step in steps], losses, list(self.scores)))
        self._good = self._begin if to_start else self._good
        self._good.restore(self)

    def _keep_before_change(self) -> None:
        if self._good.step != self.trainer.steps_done:  # otherwise nothing was learned since an earlier change
            self.keep()

    def _remember(self, name: str, value: float | str, before: float | str, put_back: Callable[[], None]) -> None:
        now, last = time.perf_counter(), self.undos[-1] if self.undos else None
        if last and last.before.name == name != "loss" and now - last.at_s < DRAG_S:
            self.undos[-1] = replace(last, at_s=now)  # a drag is taken back at once
        else:
            self.undos.append(Undo(now, Change(self.trainer.steps_done, name, before), put_back))
        self._mark(name, value)

    def _mark(self, name: str, value: float | str) -> None:
        step = self.trainer.steps_done
        # A dragged slider leaves at most one mark per step.
        self.changes = [c for c in self.changes if (c.step, c.name) != (step, name)]
        self.changes.append(Change(step, name, value))


class _Checkpoint:
    """A state of a run, in memory."""

    def __init__(self, run: Run) -> None:
        trainer = run.trainer
        self.step, self.changes, self.planned = trainer.steps_done, list(run.changes), list(run.planned)
        self.undos = list(run.undos)
        self.objective, self.loss = trainer.objective, trainer.objective.loss
        self.state = copy.deepcopy(trainer.state_dict())

    def restore(self, run: Run) -> None:
        trainer = run.trainer
        put(trainer, self.objective, self.loss)  # the state knows only its name
        trainer.load_state_dict(copy.deepcopy(self.state))
        trainer.history[:] = [step for step in trainer.history if step.index <= self.step]
        run.changes, run.planned, run.undos = list(self.changes), list(self.planned), list(self.undos)
        earlier = [entry for entry in run.scores if entry[0] < self.step]
        run.look()
        run.scores = deque([*earlier, run.scores[-1]], maxlen=run.scores.maxlen)  # never empty: the page may ask now


class Runner:
    """Steps one or more runs in turn, in one background thread, and executes commands between steps.

    Several runs take each step together, so that they can be compared.

    Args:
        runs: What to train.

    Attributes:
        state: "ready", "running", "paused", "stopped", "done", "failed" (see ``error``) or "closed".
        revision: Increases with every event: if it has not, there is nothing new to show.
        pause_at: Pause when this many steps are done; ``None`` does not.
        seconds_per_step: Least time that a step should take; 0 is full speed.
        error: What stopped the training, with its traceback as text; ``None`` when all is well.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = list(runs)
        self.state: State = "done" if all(run.finished for run in runs) else "ready"
        self.revision = 0
        self.pause_at: int | None = None
        self.seconds_per_step = 0.0
        self.error: tuple[BaseException, str] | None = None
        self._commands: queue.Queue[tuple[Callable[[], Any], Future[Any]]] = queue.Queue()
        self._thread: threading.Thread | None = None
        self._answer: Future[Any] | None = None  # of the command that is being executed
        self._left_behind: list[threading.Thread] = []
        self._gate = threading.Lock()  # between a command that comes and a thread that goes
        self._threads_of_torch = torch.get_num_threads()
        self._due = 0.0
        _runners.add(self)

    # Commands, from any thread; each acts within one step and returns at once

    def start(self) -> Future[Any]:
        """Take steps until stopped or done. After a failure, continue from the last good state."""
        return self.apply(self._start)

    def pause(self) -> Future[Any]:
        """Take no more steps until `start`."""
        return self.apply(lambda: self._become("paused") if self.state == "running" else None)

    def stop(self) -> Future[Any]:
        """Take no more steps and end the thread; `start` begins a new one.

        If the present step takes far longer than others, its thread is left behind, and the runs return to their last
        good state.
        """
        answer = self.apply(lambda: self._become("stopped") if not self._finished else None)
        self._insist(answer)
        return answer

    def step(self) -> Future[Any]:
        """Take one step and pause."""
        return self.apply(self._one_step)

    def rewind(self) -> Future[Any]:
        """Stop and go back to where the runs began."""
        return self.apply(self._rewind)

    def apply(self, function: Callable[[], Any]) -> Future[Any]:
        """Call a function in the training's thread between two steps.

        Returns:
            Its result or exception, once it ran.

        Raises:
            RuntimeError: The runner is closed.
        """
        if self.state == "closed":
            raise RuntimeError("this training was closed with its panel; make the panel again")
        answer: Future[Any] = Future()
        with self._gate:
            self._commands.put((function, answer))
            self._begin()
        return answer

    def ask(self, function: Callable[[], Any]) -> Any:
        """As `apply`, and wait for the result; a step that does not end is left behind, as by `stop`."""
        answer = self.apply(function)
        self._insist(answer)
        return answer.result()

    def close(self) -> None:
        """End the thread after the step it is in; trainers keep what they learned."""
        if self.state != "closed":
            self._insist(self.apply(lambda: self._become("closed")))

    def join(self, timeout_s: int | float | None = None) -> None:
        """Wait until the thread of a runner that was stopped or closed is gone, or left behind."""
        deadline = time.monotonic() + (2 * self._patience_s if timeout_s is None else timeout_s)
        thread = self._thread
        while thread is not None and thread.is_alive() and time.monotonic() < deadline:
            thread.join(0.05)
            if thread in self._left_behind:
                thread = self._thread

    def wait(self, timeout_s: int | float | None = None) -> None:
        """Block until the training pauses, ends or fails; for scripts and tests.

        Raises:
            TimeoutError: It still runs after that time.
        """
        self.apply(lambda: None).result(timeout_s)
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while self.state == "running":
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"the training still runs after {timeout_s} s")
            time.sleep(0.01)

    def _begin(self, first: Callable[[], None] | None = None) -> None:
        """Have a thread at work."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._live, args=(first,), name="avid-lab training", daemon=True)
            self._thread.start()

    def _insist(self, answer: Future[Any]) -> None:
        """Leave the thread behind if a command gets no answer."""
        patience_s = self._patience_s
        timer = threading.Timer(patience_s, _give_up, (weakref.ref(self), self._thread, answer, patience_s))
        timer.daemon = True
        timer.start()
        answer.add_done_callback(lambda _: timer.cancel())

    @property
    def _patience_s(self) -> float:
        recent = [step.seconds for run in self.runs for step in run.history[-20:]]
        return max(PATIENCE_S, 5 * len(self.runs) * max(recent)) if recent else 6 * PATIENCE_S  # a first step is slow

    def _leave_behind(self, thread: threading.Thread | None, answer: Future[Any], waited_s: float) -> None:
        """Go on in a new thread, from the last good state; the old one ends when its step wakes, if ever."""
        with self._gate:
            if answer.done() or thread is None or thread is not self._thread or thread.ident is None:
                return
            frame = sys._current_frames().get(thread.ident)
            trace = "".join(traceback.format_stack(frame)) if frame else ""
            problem = f"a step did not end within {waited_s:.0f} s, and was left behind. Does the loss wait or loop?"
            interrupted, self._thread, self._answer = self._answer, None, None
            self._left_behind.append(thread)
            self._begin(lambda: self._fail(TimeoutError(problem), trace))
        if interrupted is not None:
            interrupted.set_exception(TimeoutError(problem))

    # The training's thread

    @property
    def _is_left_behind(self) -> bool:
        return threading.current_thread() in self._left_behind

    def _live(self, first: Callable[[], None] | None) -> None:
        with contextlib.suppress(OutOfTime):  # it may come late to a thread that was left behind
            self._work(first)

    def _work(self, first: Callable[[], None] | None) -> None:
        torch.set_num_threads(self._threads_of_torch)  # a setting of each thread
        if first is not None:
            first()
        while True:
            with self._gate:
                if self._is_left_behind:
                    return
                if self.state in ENDED and self._commands.empty():
                    self._thread = None
                    return
            try:
                function, self._answer = self._commands.get(timeout=self._idle_s())
            except queue.Empty:
                self._round()
                continue
            self._execute(function, self._answer)

    def _execute(self, function: Callable[[], Any], answer: Future[Any]) -> None:
        result, problem = None, None
        try:
            result = function()
        except BaseException as error:  # raised in the caller
            problem = error
        with self._gate:
            if self._is_left_behind:
                return
            self._answer = None
        if problem is None:
            answer.set_result(result)
        else:
            answer.set_exception(problem)
        self.revision += 1

    def _idle_s(self) -> float | None:
        """Seconds to wait for a command: None if idle, else until the next step is due."""
        return max(0.0, self._due - time.monotonic()) if self.state == "running" else None

    @property
    def _finished(self) -> bool:
        return all(run.finished for run in self.runs)

    def _round(self) -> None:
        """One step of every run; of those that are behind, after a failure threw one back further."""
        self._due = time.monotonic() + self.seconds_per_step
        behind = min(run.trainer.steps_done for run in self.runs)
        try:
            for run in self.runs:
                if run.trainer.steps_done == behind:
                    run.step()
        except BaseException as error:  # a student's loss may call sys.exit
            if not self._is_left_behind:
                self._fail(error, traceback.format_exc())
        else:
            if self._finished:
                self._become("done")
            elif self.pause_at is not None and behind + 1 >= self.pause_at:
                self.pause_at = None
                self._become("paused")
        self.revision += 1

    def _fail(self, error: BaseException, trace: str) -> None:
        """Return to the last good state, and say why."""
        self.error = (error, trace)
        try:
            for run in self.runs:
                run.go_back()
        finally:
            self._become("failed")

    def _start(self) -> None:
        self.error = None
        self._become("done" if self._finished else "running")
        self._due = 0.0

    def _one_step(self) -> None:
        if not self._finished:
            self.error = None
            self._become("paused")
            self._round()
            for run in self.runs:
                if run.glimpse.step != run.trainer.steps_done:
                    run.look()

    def _rewind(self) -> None:
        for run in self.runs:
            run.go_back(to_start=True)
        self.error = None
        self._become("ready")

    def _become(self, state: State) -> None:
        self.state = state
        self.revision += 1


def _give_up(runner: weakref.ref[Runner], thread: threading.Thread, answer: Future[Any], waited_s: float) -> None:
    """Leave a thread behind, and end it as soon as its step wakes, if ever."""
    if (alive := runner()) is not None:
        alive._leave_behind(thread, answer, waited_s)
        left = thread in alive._left_behind
        del alive
        if left:
            end(thread)


_runners: weakref.WeakSet[Runner] = weakref.WeakSet()


@atexit.register
def _end_all() -> None:
    """Let every thread end its step before the interpreter goes: torch aborts when its thread is torn away."""
    for runner in list(_runners):
        runner.close()
        runner.join()


@torch.no_grad()
def glimpse(trainer: Trainer, watched: Tensor, labels: Tensor) -> Glimpse:
    """Measure some clips' memories; no clip is embedded, so it takes a few milliseconds."""
    memory = trainer.objective.memory
    video, audio = (bank[watched.to(bank.device)].float().cpu() for bank in (memory.video, memory.audio))
    same = labels[:, None] == labels[None]
    others = ~torch.eye(len(labels), dtype=torch.bool)
    similarity = {"video-video": video @ video.T, "audio-audio": audio @ audio.T, "video-audio": video @ audio.T}
    histograms = {name: (_shares(s[same & others]), _shares(s[~same])) for name, s in similarity.items()}
    at = min(10, len(labels))
    found = retrieval(video, audio, labels, labels, ks=[at])
    scores = {
        "video kNN": _leave_one_out(video, labels),
        "audio kNN": _leave_one_out(audio, labels),
        f"video→audio P@{at}": found.precision[at],
    }
    return Glimpse(trainer.steps_done, scores, video.numpy(), audio.numpy(), histograms)


def _shares(values: Tensor) -> np.ndarray:
    return (torch.histc(values.clamp(-1, 1), BINS, -1, 1) / max(len(values), 1)).numpy()


def _leave_one_out(rows: Tensor, labels: Tensor, k: int = 10) -> float:
    """Nearest-neighbour accuracy of every row among all others."""
    similarity = (rows @ rows.T).fill_diagonal_(-torch.inf)
    return (vote_of_nearest(similarity, labels, min(k, len(rows) - 1)) == labels).double().mean().item()

"""Whatever a student's loss does, Stop acts, the panel says what happened, and the run goes on from a good state."""

from __future__ import annotations

import gc
import sys
import threading
import time

import pytest
import torch
from ipywidgets.widgets import widget
from test_live_training import make, values

from avid_lab import losses
from avid_lab.interactive import runner as runners
from avid_lab.interactive.live_training import LiveTraining
from avid_lab.interactive.runner import Run, Runner
from avid_lab.interactive.vetting import LossRefused, vet

CALM = 3  # calls in which a loss behaves


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(runners, "PATIENCE_S", 0.5)


class Block:
    """Where a loss stays."""

    def __init__(self):
        self.entered, self.released = threading.Event(), threading.Event()

    def wait(self):
        self.entered.set()
        self.released.wait()

    def loop(self):
        self.entered.set()
        while not self.released.is_set():
            pass

    def loop_stubbornly(self):
        self.entered.set()
        while not self.released.is_set():
            try:  # noqa: SIM105
                time.sleep(0.01)
            except:  # noqa: E722
                pass


@pytest.fixture
def block():
    block = Block()
    yield block
    block.released.set()


def nce(positive_scores, negative_scores, partition):
    return losses.nce_loss(positive_scores, negative_scores, partition)


def after(calls, act):
    """A loss that does something else from its ``calls + 1``-th call on."""
    count = 0

    def loss(positive_scores, negative_scores, partition):
        nonlocal count
        count += 1
        value = nce(positive_scores, negative_scores, partition)
        return act(value) if count > calls else value

    return loss


def exits(value):
    sys.exit(3)


def interrupts(value):
    raise KeyboardInterrupt


def closes(value):
    raise GeneratorExit


def fails(value):
    raise ArithmeticError("no luck")


def swells(value):
    return value * float("nan")


def talks(value):
    print("x" * 2**20)
    return value


MISDEEDS = {
    "raises": fails,
    "exits": exits,
    "interrupts": interrupts,
    "closes": closes,
    "returns no number": lambda value: "much",
    "returns nothing": lambda value: None,
    "returns a matrix": lambda value: value.expand(2, 2),
    "is not finite": swells,
    "is detached": lambda value: value.detach(),
}


@pytest.mark.parametrize("act", MISDEEDS.values(), ids=MISDEEDS)
def test_a_loss_that_fails_in_the_run_ends_it_and_the_run_goes_on_as_if_nothing_happened(smoke_world, act):
    reference, trainer = make(smoke_world), make(smoke_world)
    list(reference)
    runner = Runner([run := Run(trainer)])
    runner.step().result(600)
    runner.apply(lambda: run.set_loss(after(CALM, act))).result(600)
    runner.start()
    runner.wait(600)
    assert runner.state == "failed" and runner.error is not None
    assert trainer.steps_done == 1 and trainer.objective.loss is losses.nce_loss
    runner.start()
    runner.wait(600)
    assert runner.state == "done" and values(trainer) == values(reference)
    runner.close()
    runner.join()


@pytest.mark.parametrize("act", [*MISDEEDS.values(), lambda value: time.sleep(1e6)], ids=[*MISDEEDS, "sleeps"])
def test_the_trial_refuses_it(smoke_world, act):
    with pytest.raises(LossRefused):
        vet(after(0, act), make(smoke_world))


def test_a_loss_that_prints_a_lot_trains(smoke_world, capsys):
    trainer = make(smoke_world, steps=4)
    live = LiveTraining(trainer)
    live.loss = after(0, talks)
    live.start()
    live.runner.wait(600)
    live.publish()
    assert live.runner.state == "done" and len(capsys.readouterr().out) >= 4 * 2**20
    assert len(live.snapshot().html) < 2**20
    live.close()


def staying(how):
    def act(value):
        how()
        return value

    return act


@pytest.mark.parametrize("how", [Block.wait, Block.loop, Block.loop_stubbornly])
def test_stop_leaves_a_step_behind_that_does_not_end(smoke_world, impatient, block, how):
    reference, trainer = make(smoke_world), make(smoke_world)
    list(reference)
    runner = Runner([run := Run(trainer)])
    runner.step().result(600)
    runner.apply(lambda: run.set_loss(after(CALM, staying(lambda: how(block))))).result(600)
    runner.start()
    assert block.entered.wait(600)
    runner.stop().result(600)
    assert runner.state == "stopped" and "left behind" in str(runner.error[0]) and "in act" in runner.error[1]
    assert trainer.steps_done == 1 and trainer.objective.loss is losses.nce_loss
    block.released.set()  # what was left behind wakes up
    runner.start()
    runner.wait(600)
    assert runner.state == "done" and values(trainer) == values(reference)
    runner.close()
    runner.join()
    deadline = time.monotonic() + 600
    while any(thread.name == "avid-lab training" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert values(trainer) == values(reference)


def test_another_loss_rescues_a_run_that_waits(smoke_world, impatient, block):
    live = LiveTraining(make(smoke_world))
    live.loss = after(2 * CALM, staying(block.wait))
    live.start()
    assert block.entered.wait(600)
    live.loss = nce
    live.publish()
    assert "left behind" in live.notice and live.loss is nce
    live.start()
    live.runner.wait(600)
    assert live.runner.state == "done"
    live.close()


def test_a_new_panel_takes_over_a_training_that_waits(smoke_world, impatient, block):
    trainer = make(smoke_world)
    stuck = LiveTraining(trainer)
    stuck.loss = after(2 * CALM, staying(block.wait))
    stuck.start()
    assert block.entered.wait(600)
    live = LiveTraining(trainer)
    assert stuck.closed and trainer.objective.loss is losses.nce_loss
    live.start()
    live.runner.wait(600)
    assert live.runner.state == "done" and len(trainer.history) == 12
    live.close()


def test_a_refused_state_leaves_no_widgets_and_no_trainer_behind(smoke_world):
    trainer = make(smoke_world)
    LiveTraining(trainer).close()
    gc.collect()
    before = set(widget._instances)
    for state in ("objective=CMA", "steps=[[[", "at=never", "temperature=hot&changes=1"):
        with pytest.raises(ValueError, match="state"):
            LiveTraining(trainer, state=state)
    gc.collect()
    assert set(widget._instances) == before and torch.is_grad_enabled()

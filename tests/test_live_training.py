"""A training gives the same result if it is watched and paused; panels show its state and change its settings."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
import time

import pytest
import torch

from avid_lab import losses
from avid_lab.config import PRESETS, Profile, TrainConfig
from avid_lab.encoders import AudioVisualModel
from avid_lab.interactive.knobs import Change, read, turn
from avid_lab.interactive.live_training import LiveTraining
from avid_lab.interactive.loss_lab import LossLab
from avid_lab.interactive.rebuild import describe
from avid_lab.interactive.runner import Run, Runner
from avid_lab.interactive.vetting import GALLERY, LossRefused, vet
from avid_lab.objectives import AVID, CMA, InBatch
from avid_lab.plots.chart import Guide
from avid_lab.training import Trainer, avid_trainer

TINY = dataclasses.replace(
    PRESETS["pocket"], video_widths=(4, 4, 4, 8, 8), audio_widths=(4, 4, 4, 8, 8), head=(8,), dim=16
)
CONFIG = TrainConfig(steps=12, batch_size=8, seed=3)


def make(clips, kind=AVID, steps=12, **settings):
    generator = torch.Generator().manual_seed(0)
    if kind is not InBatch:
        settings.setdefault("num_negatives", 16)
    objective = kind(len(clips), TINY.dim, generator=generator, **settings)
    return Trainer(AudioVisualModel(TINY, seed=0), objective, clips, dataclasses.replace(CONFIG, steps=steps))


def values(trainer):
    return [step.loss for step in trainer.history]


@pytest.fixture
def live(smoke_world):
    panel = LiveTraining(make(smoke_world))
    yield panel
    panel.close()
    panel.runner.join()


def run(panel):
    panel.start()
    panel.runner.wait(60)
    panel.publish()


# The thread


def test_in_the_background_it_is_the_same_training(smoke_world):
    alone, watched = make(smoke_world), make(smoke_world)
    list(alone)
    runner = Runner([Run(watched)])
    runner.start()
    runner.wait(60)
    assert runner.state == "done" and values(watched) == values(alone)
    runner.close()
    runner.join()
    assert not [thread for thread in threading.enumerate() if thread.name == "avid-lab training"]


def test_pause_step_and_stop_act_within_one_step(smoke_world):
    trainer = make(smoke_world, steps=500)
    runner = Runner([Run(trainer)])
    runner.start()
    while trainer.steps_done < 3:
        time.sleep(0.005)
    before = trainer.steps_done
    runner.pause().result(30)
    paused_at = trainer.steps_done
    assert paused_at <= before + 1 and runner.state == "paused"
    runner.step().result(30)
    assert trainer.steps_done == paused_at + 1 and runner.state == "paused"
    runner.start().result(30)
    runner.stop().result(30)
    stopped_at = trainer.steps_done
    runner.join()
    assert runner.state == "stopped" and trainer.steps_done == stopped_at
    runner.step().result(30)  # a new thread
    assert trainer.steps_done == stopped_at + 1
    runner.close()
    with pytest.raises(RuntimeError, match="make the panel again"):
        runner.join(), runner.start()


def test_slow_motion_does_not_delay_a_command(smoke_world):
    runner = Runner([Run(make(smoke_world))])
    runner.seconds_per_step = 60.0
    runner.start().result(30)
    begun = time.monotonic()
    runner.pause().result(30)
    assert time.monotonic() - begun < 10 and runner.state == "paused"
    runner.close()


def test_what_fails_is_reported_and_the_run_goes_on_from_its_last_good_state(smoke_world):
    trainer, reference = make(smoke_world), make(smoke_world)
    list(reference)
    runner = Runner([work := Run(trainer)])
    for _ in range(4):
        runner.step().result(30)

    def breaks(positive_scores, negative_scores, partition):
        raise RuntimeError("out of luck")

    runner.apply(lambda: work.set_loss(breaks)).result(30)
    runner.start()
    runner.wait(60)
    assert runner.state == "failed"
    error, trace = runner.error
    assert "out of luck" in str(error) and "in breaks" in trace
    assert trainer.steps_done == 4 and work.changes == [] and trainer.objective.loss is losses.nce_loss
    runner.start()
    runner.wait(60)
    assert runner.state == "done" and runner.error is None and values(trainer) == values(reference)
    runner.close()


def test_starting_over_is_the_same_run_again(smoke_world):
    trainer = make(smoke_world)
    runner = Runner([work := Run(trainer)])
    runner.apply(lambda: work.turn("temperature", 0.5)).result(30)
    runner.start()
    runner.wait(60)
    runner.rewind().result(30)
    assert trainer.steps_done == 0 and not work.changes and len(work.scores) == 1
    assert trainer.objective.temperature == 0.07
    runner.start()
    runner.wait(60)
    list(reference := make(smoke_world))
    assert values(trainer) == values(reference)
    runner.close()


# Knobs


def test_every_knob_is_read_and_turned(smoke_world):
    trainer = make(smoke_world, CMA, k=4, positive_cross=0.5)
    assert set(read(trainer)) == {
        *("temperature", "negatives", "momentum", "rate"),
        *("instance_cross", "instance_within", "positive_cross", "positive_within"),
    }
    for name in read(trainer):
        turn(trainer, name, 0.25 if name != "negatives" else 8.0)
    assert read(trainer) == {name: 0.25 if name != "negatives" else 8.0 for name in read(trainer)}
    assert "negatives" not in read(make(smoke_world, InBatch))


def test_a_new_temperature_has_z_estimated_again(smoke_world):
    trainer = make(smoke_world)
    trainer.step()
    before = trainer.objective.partition.clone()
    turn(trainer, "temperature", 0.5)
    assert trainer.objective.partition.isnan().all()
    trainer.step()
    assert (trainer.objective.partition < before).all()


@pytest.mark.parametrize("name, value", [("temperature", 0.0), ("momentum", 2.0), ("rate", -1.0), ("negatives", 0.0)])
def test_a_knob_refuses_what_is_out_of_range(smoke_world, name, value):
    with pytest.raises(ValueError, match=name):
        turn(make(smoke_world), name, value)


def test_a_change_is_read_back():
    for change in (Change(120, "temperature", 0.2), Change(3, "loss", "triplet")):
        assert Change.parse(str(change)) == change


# The panel


def test_sliders_act_within_one_step_and_leave_a_mark(live):
    live.step()
    live.knobs["temperature"].value = 0.3
    live.knobs["within"].value = 0.5
    live.knobs["rate"].value = 2.0
    run(live)
    trainer = live.trainer
    assert read(trainer) | {"rate": 2.0, "within": 0.5} == read(trainer)
    assert trainer.objective.temperature == pytest.approx(0.3, rel=0.02)
    assert {change.name for change in live.run.changes} == {"temperature", "within", "rate"}
    assert all(change.step <= 2 for change in live.run.changes)
    changed = [mark.words for mark in live.canvas.chart.plots[0].marks if isinstance(mark, Guide)]
    assert "temperature 0.3" in ", ".join(changed)
    assert set(trainer.history[-1].terms) == {"v2a", "a2v", "v2v", "a2a"}
    assert "<b>done</b>" in live.status and live.start_button.disabled


def test_what_cannot_be_is_said_and_the_slider_returns(live):
    live.knobs["cross"].value = 0.0
    live.settled(30)
    live.publish()
    assert "at least one of cross, within" in live.notice
    assert live.knobs["cross"].value == 1.0 and live.run.changes == []


def test_buttons_do_what_they_say(live):
    live.step_button.click()
    live.runner.wait(30)
    live.publish()
    assert live.trainer.steps_done == 1 and live.start_button.description == "Start"
    live.speed.value = "1 step/s"
    live.start_button.click()
    live.runner.apply(lambda: None).result(30)
    live.publish()
    assert live.runner.state == "running" and live.start_button.description == "Pause"
    live.start_button.click()
    live.runner.wait(30)
    assert live.runner.state == "paused"
    live.rewind_button.click()
    live.runner.apply(lambda: None).result(30)
    live.publish()
    assert live.trainer.steps_done == 0 and "<b>ready</b>" in live.status


def test_the_curves_of_a_run_that_is_started_over_stay_pale(live):
    for _ in range(3):
        live.step()
    live.runner.wait(60)
    before = [step.loss for step in live.trainer.history]
    live.rewind()
    live.step()
    live.runner.wait(60)
    live.publish()
    (ghost,) = live.run.ghosts
    assert ghost.loss == before and len(live.trainer.history) == 1
    loss, scores = live.canvas.chart.plots[:2]
    pale = [mark for mark in (*loss.marks, *scores.marks) if mark.name.startswith("earlier")]
    assert len(pale) == 4 and all(mark.alpha < 0.5 for mark in pale)
    assert loss.x.high >= len(before)


def test_the_page_can_draw_while_a_run_is_started_over(live, monkeypatch):
    for _ in range(3):
        live.step()
    live.runner.wait(60)
    look, drawn = live.run.look, []
    monkeypatch.setattr(live.run, "look", lambda: (drawn.append(live.chart()), look()))
    live.rewind()
    live.runner.wait(60)
    assert drawn and [step for step, _ in live.run.scores] == [0]


def test_the_state_string_rebuilds_the_run(smoke_world, live):
    for name, value in (("temperature", 0.2), ("negatives", 8), ("within", 1.0)):
        live.step()
        live.knobs[name].value = value
    live.loss = losses.nce_softmax_loss
    run(live)
    state = live.state
    assert len(state) < 330 and "\n" not in state
    again = LiveTraining(make(smoke_world), state=state)
    run(again)
    assert values(again.trainer) == values(live.trainer)
    assert again.state == state and again.run.changes == live.run.changes
    again.close()


def test_a_state_alone_rebuilds_a_run_of_any_settings(smoke_world, unchecked):
    odd = Profile("odd", "smoke", "pocket", dataclasses.replace(CONFIG, steps=3, learning_rate=1 / 300, ema=0.9), 16)
    test = smoke_world.select(split="test")
    before = LiveTraining(avid_trainer(test, odd, within=0.3, seed=5))
    run(before)
    state = before.state
    assert "profile" not in state and "world=smoke/test" in state
    again = LiveTraining.from_state(state)  # the clips, too
    assert describe(again.trainer).items() <= before._begun.items()
    run(again)
    assert values(again.trainer) == values(before.trainer) and again.state == state
    assert all(torch.equal(a, b) for a, b in zip(*(x.trainer.model.parameters() for x in (again, before)), strict=True))
    for panel in (before, again):
        panel.close()


def test_a_state_holds_settings_only_and_says_what_else_a_run_needs(smoke_world, live):
    def rebuilt(state, clips=smoke_world):
        return LiveTraining(make(clips), state=state)

    state = live.state
    with pytest.raises(ValueError, match="steps=12, this training 6"):
        LiveTraining(make(smoke_world, steps=6), state=state)
    with pytest.raises(ValueError, match="AVID training of one of our models"):
        LiveTraining.from_state(state, smoke_world)  # a tiny model that is no preset
    with pytest.raises(ValueError, match="clips=64, this training"):
        rebuilt(state, smoke_world.select(split="train"))
    loaded = make(smoke_world)
    with torch.no_grad():
        next(loaded.model.audio_encoder.parameters()).add_(0.01)
    with pytest.raises(ValueError, match="weights or the memory"):
        LiveTraining(loaded, state=state)
    late = make(smoke_world)
    late.step()
    taken_over = LiveTraining(late)
    assert "from=1&" in taken_over.state
    with pytest.raises(ValueError, match="began at step 1; this training has done 0"):
        rebuilt(taken_over.state)
    taken_over.close()


def test_a_trainer_has_one_panel(smoke_world, live):
    run(live)
    again = LiveTraining(live.trainer)
    assert live.closed and again.runner.state == "done" and again.run.history == live.trainer.history
    again.close()


def test_in_a_notebook_it_publishes_by_itself(smoke_world):
    async def cell():
        panel = LiveTraining(make(smoke_world))
        panel.start()
        await panel.finished()
        panel.close()
        return panel

    panel = asyncio.run(asyncio.wait_for(cell(), 120))
    assert "<b>done</b>" in panel.status and panel.publishing_ms and panel.notice == ""
    assert panel.snapshot().png and "video kNN" in panel.snapshot().html


# Losses


def good(positive_scores, negative_scores, partition):
    return (negative_scores.logsumexp(1) - positive_scores.mean(1)).mean()


@pytest.mark.parametrize(
    "loss, message",
    [
        (lambda p, n, z: p.mean(1), "return one number; got a tensor of shape .*mean"),
        (lambda p, n, z: p.mean().item(), "return a tensor"),
        (lambda p, n, z: p.mean() * torch.nan, "finite number"),
        (lambda p, n, z: p.detach().mean(), "no gradient"),
        (lambda p, n, z: 0 * p.mean(), "no gradient through to the video"),
        (lambda p, n, z: (p - p).sqrt().sum() + p.mean(), "gradient is not finite"),
        (lambda p, n, z: p @ n, "raised RuntimeError"),
        (lambda p: p, "raised TypeError"),
        (lambda video, audio, t: video.sum(), "no gradient through to the audio"),
    ],
)
def test_a_loss_that_cannot_train_is_refused_and_the_present_one_stays(smoke_world, live, loss, message):
    live.step()
    before = live.runner.apply(lambda: live.trainer.objective.generator.get_state()).result(30)
    with pytest.raises(LossRefused, match=message):
        live.loss = loss
    assert live.loss is losses.nce_loss and "nce_loss stays" in live.notice
    assert torch.equal(live.trainer.objective.generator.get_state(), before)


def test_a_number_is_no_loss(live, unchecked):
    with pytest.raises(LossRefused, match="must be a function; got float"):
        live.loss = 0.5


def test_a_slow_loss_is_refused(smoke_world):
    def slow(positive_scores, negative_scores, partition):
        until = time.thread_time() + 0.3
        while time.thread_time() < until:
            pass
        return good(positive_scores, negative_scores, partition)

    with pytest.raises(LossRefused, match="took 0.* limit is 0.25 s"):
        vet(slow, make(smoke_world))
    vet(slow, make(smoke_world), seconds_per_step=1.0)


def test_a_loss_is_swapped_while_it_trains(live):
    live.step()
    live.loss = good
    live.step()
    live.loss = losses.info_nce_loss  # of embeddings: the objective changes, the memory stays
    memory = live.trainer.objective.memory
    live.step()
    live.runner.wait(30)
    live.publish()
    assert live.knobs["negatives"].disabled and list(live.trainer.history[-1].terms) == ["batch"]
    live.loss = losses.nce_loss
    run(live)
    assert live.trainer.objective.memory is memory and isinstance(live.trainer.objective, AVID)
    assert [change.text for change in live.run.changes] == ["good", "info_nce_loss", "nce_loss"]
    assert live.trainer.steps_done == 12


# The lab


@pytest.mark.parametrize("name", GALLERY)
def test_every_starting_point_trains(smoke_world, name):
    trainer = make(smoke_world, steps=3)
    loss = GALLERY[name]()
    vet(loss, trainer)
    work = Run(trainer)
    work.set_loss(loss)
    for _ in range(2):
        work.step()
    trainer.fork().step()
    assert trainer.steps_done == 2


def test_without_negatives_other_clips_become_alike(smoke_world):
    """The heads' batch norm keeps a batch spread out, so it collapses slowly, to few directions and not to a point."""

    def spread(loss):
        work = Run(make(smoke_world, steps=80))
        work.set_loss(GALLERY[loss]())
        for _ in range(80):
            work.step()
        _, other = work.glimpse.histograms["video-audio"]
        return float((other * torch.linspace(-1, 1, len(other)).numpy() ** 2).sum())

    assert spread("no negatives") > 1.3 * spread("NCE")


def test_equal_forks_stay_equal_and_the_trainer_is_not_touched(smoke_world):
    trainer = make(smoke_world)
    trainer.step()
    lab = LossLab(trainer)
    run(lab)
    assert values(lab.a.trainer) == values(lab.b.trainer) and trainer.steps_done == 1
    assert not lab.gap()[1].any()
    lab.close()


def test_forks_differ_by_what_was_changed(smoke_world, live):
    live.step()
    lab = live.fork(loss="no negatives", temperature=0.2)
    assert lab.began_at == 1 and lab.b.choice.value == "no negatives" and lab.a.choice.value == "NCE"
    run(lab)
    assert lab.a.trainer.steps_done == lab.b.trainer.steps_done == 12 and live.trainer.steps_done == 1
    list(alone := make(smoke_world))
    assert values(lab.a.trainer) == values(alone)
    assert values(lab.b.trainer)[1:] != values(alone)[1:]
    assert len(lab.gap()[0]) == 12 and lab.snapshot().png
    lab.rewind()
    lab.runner.apply(lambda: None).result(30)
    assert lab.b.trainer.steps_done == 1 and lab.b.loss is GALLERY["no negatives"]()
    lab.close()


@pytest.mark.parametrize("kind", [AVID, InBatch])
def test_sides_may_begin_with_losses_of_different_kinds(smoke_world, kind):
    lab = LossLab(make(smoke_world, kind), a={"loss": "NCE"}, b={"loss": "InfoNCE, in batch"})
    assert (lab.a.choice.value, lab.b.choice.value) == ("NCE", "InfoNCE, in batch")
    assert list(lab.a.knobs) == list(lab.b.knobs) and "negatives" in lab.a.knobs
    assert lab.b.knobs["negatives"].disabled and not lab.a.knobs["negatives"].disabled
    lab.a.knobs["negatives"].value = 8.0
    lab.b.loss = "InfoNCE"
    lab.publish()
    assert not lab.b.knobs["negatives"].disabled and lab.a.trainer.objective.num_negatives == 8
    lab.rewind()
    run(lab)
    assert lab.runner.state == "done" and lab.snapshot().png
    lab.close()


def test_a_menu_changes_the_loss_of_one_side(smoke_world):
    lab = LossLab(make(smoke_world))
    lab.b.choice.value = "triplet"
    lab.a.loss = good
    lab.publish()
    assert lab.b.loss.__name__ == "triplet" and lab.a.loss is good and lab.a.choice.value == "good"
    with pytest.raises(LossRefused, match="one of NCE"):
        lab.a.loss = "nothing"
    run(lab)
    assert lab.runner.state == "done" and "b.loss=triplet" in lab.state
    lab.close()


def test_each_side_keeps_its_own_curves_of_the_run_before(smoke_world):
    lab = LossLab(make(smoke_world), b={"loss": "no negatives"})
    lab.runner.pause_at = 8
    run(lab)
    before = [[scores[lab.compared] for _, scores in side.run.scores] for side in (lab.a, lab.b)]
    lab.rewind()
    lab.runner.ask(lambda: None)
    lab.publish()
    both, _, loss, *_ = lab.canvas.chart.plots
    pale = {mark.legend: mark.y.tolist() for mark in both.marks if mark.name.startswith("earlier")}
    assert before[0] != before[1] and pale == {"A": before[0], "B": before[1]} and both.x.high == loss.x.high == 10
    lab.close()


def test_changes_are_taken_back_one_after_the_other(smoke_world, monkeypatch):
    monkeypatch.setattr("avid_lab.interactive.runner.DRAG_S", 0.0)

    def undone():
        lab.undo_button.click()
        lab.settled(30)
        lab.publish()
        return read(lab.b.trainer)

    lab = LossLab(make(smoke_world), b={"temperature": 0.2, "within": 0.5})
    assert lab.undo_button.disabled and lab.undo_button.tooltip.startswith("Nothing to undo")
    begun, objective = read(lab.b.trainer), lab.b.trainer.objective
    lab.step()
    lab.b.knobs["temperature"].value = 0.5
    lab.settled(30)
    lab.step()
    lab.b.loss = good
    lab.a.knobs["negatives"].value = 8.0
    lab.settled(30)
    lab.b.loss = losses.info_nce_loss  # another kind, which has fewer knobs
    lab.b.knobs["temperature"].value = 0.7
    lab.settled(30)
    lab.publish()
    assert lab.undo_button.tooltip == "B goes back to temperature 0.5" and "negatives" not in read(lab.b.trainer)
    assert undone()["temperature"] == 0.5 and lab.b.knobs["temperature"].value == 0.5
    lab.step()
    assert undone() == begun | {"temperature": 0.5} and lab.b.loss is good and lab.b.choice.value == "good"
    assert lab.undo_button.tooltip == "A goes back to negatives 16"
    undone()
    assert lab.a.trainer.objective.num_negatives == 16 and lab.b.loss is good
    assert undone()["temperature"] == 0.5 and lab.b.loss is losses.nce_loss
    assert undone() == begun and lab.b.trainer.objective is objective and lab.undo_button.disabled
    marks = ", ".join(mark.words for mark in lab.chart().plots[4].marks if isinstance(mark, Guide))
    assert "temperature 0.2" in marks and lab.b.run.changes[-1] == Change(3, "temperature", 0.2)
    assert undone() == begun  # there is nothing to take back
    run(lab)
    assert lab.runner.state == "done"
    lab.close()


def test_a_drag_is_taken_back_at_once(smoke_world, monkeypatch):
    monkeypatch.setattr("avid_lab.interactive.runner.DRAG_S", 600.0)
    lab = LossLab(make(smoke_world))
    for value in (0.1, 0.2, 0.3):
        lab.a.knobs["temperature"].value = value
        lab.settled(30)
        lab.step()
    lab.undo()
    lab.settled(30)
    assert read(lab.a.trainer)["temperature"] == 0.07 and not lab.a.run.undos
    assert [change.value for change in lab.a.run.changes] == [0.1, 0.2, 0.3, 0.07]
    lab.close()


def test_what_a_failure_or_a_new_start_takes_back_is_not_taken_back_twice(smoke_world):
    def breaks(positive_scores, negative_scores, partition):
        raise RuntimeError("out of luck")

    lab = LossLab(make(smoke_world))
    lab.step()
    lab.a.knobs["rate"].value = 2.0
    lab.step()
    lab.runner.ask(lambda: lab.a.run.set_loss(breaks))
    run(lab)
    assert lab.runner.state == "failed" and lab.undo_button.tooltip == "A goes back to learning rate × 1"
    lab.rewind()
    lab.runner.ask(lambda: None)
    lab.publish()
    assert lab.undo_button.disabled and read(lab.a.trainer)["rate"] == 1.0
    lab.close()

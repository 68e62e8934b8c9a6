"""A step in two threads: the same run to the bit, whatever the objective, and nothing left behind by an error."""

from __future__ import annotations

import dataclasses
import threading

import pytest
import torch
from test_training import CONFIG, TINY, make
from torch import nn

from avid_lab import checkpoints
from avid_lab.encoders import AudioVisualModel
from avid_lab.evaluation import embed
from avid_lab.objectives import AVID, InBatch
from avid_lab.training import Trainer


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def with_threads(count, run):
    torch.set_num_threads(count)
    try:
        return run()
    finally:
        torch.set_num_threads(2)


def state(trainer):
    """Everything that training changes, and the losses."""
    saved = trainer.state_dict()
    values = {**saved["model"], **saved["pipeline"], "Z": trainer.objective.partition, "ema": saved["ema"]}
    banks = trainer.objective.memory.video, trainer.objective.memory.audio
    return values, *banks, [(step.loss, step.terms) for step in trainer.history]


def trained(trainer, between=lambda trainer: None):
    for _ in trainer:
        between(trainer)
    return trainer


def assert_same(make_trainer, between=lambda trainer: None):
    """The run is the same on one thread, where nothing is split, and on two."""
    alone = with_threads(1, lambda: state(trained(make_trainer(), between)))
    torch.testing.assert_close(state(trained(make_trainer(), between)), alone, rtol=0, atol=0)


def where(trainer):
    """Threads in which the two encoders work, from now on."""
    seen = {"video": set(), "audio": set()}
    for name, names in seen.items():
        encoder = getattr(trainer.model, f"{name}_encoder")
        encoder.register_forward_hook(lambda *_, names=names: names.add(threading.current_thread().name))
    return seen


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("more", [{}, {"precision": "bfloat16"}, {"accumulate": 2}, {"ema": 0.9, "clip_norm": 0.1}])
def test_a_run_does_not_depend_on_the_number_of_threads(smoke_world, more, count):
    config = dataclasses.replace(CONFIG, steps=4, **more)
    alone = with_threads(1, lambda: state(trained(make(smoke_world, config, within=1.0))))
    other = with_threads(count, lambda: state(trained(make(smoke_world, config, within=1.0))))
    torch.testing.assert_close(other, alone, rtol=0, atol=0)


def test_encoders_work_in_two_threads_that_end_with_the_step(smoke_world):
    trainer = make(smoke_world)
    threads, before = where(trainer), threading.active_count()
    trainer.step()
    main = threading.current_thread().name
    assert threads["video"] == {main} and len(threads["audio"]) == 1 and main not in threads["audio"]
    assert threading.active_count() == before and torch.get_num_threads() == 2


def changed(model, how):
    if how == "forward":
        model.forward = lambda video, audio: (model.embed_video(video), model.embed_audio(audio))
    elif how == "hook":
        model.register_forward_hook(lambda *_: None)
    else:
        model.audio_head.append(nn.Dropout(0.1))
    return model


@pytest.mark.parametrize("how", ["forward", "hook", "dropout"])
def test_what_surrounds_both_encoders_or_draws_numbers_keeps_one_thread(smoke_world, how):
    trainer = make(smoke_world)
    changed(trainer.model, how)
    threads = where(trainer)
    trainer.step()
    assert threads["video"] == threads["audio"] == {threading.current_thread().name}


class Joint(AVID):
    """A student's objective: of both embeddings at once, with a parameter of its own and a part of the model."""

    def __init__(self, model, *args, **settings):
        super().__init__(*args, **settings)
        self.parts = [model]  # in a list: not a submodule
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, video, audio, index, negatives=None):
        output = super().forward(video, audio, index, negatives)
        joint = self.scale * (video * audio).sum(1).mean() + sum(p.square().sum() for p in self.parts[0].parameters())
        return dataclasses.replace(output, loss=output.loss + 0.1 * joint)


class Deaf(AVID):
    """An objective that ignores sounds: their encoder has no gradient, so not even weight decay changes it."""

    def forward(self, video, audio, index, negatives=None):
        return super().forward(video, audio.detach(), index, negatives)


def with_objective(clips, kind):
    model = AudioVisualModel(TINY, seed=0)
    generator = torch.Generator().manual_seed(0)
    if kind == "in batch":
        objective = InBatch(len(clips), TINY.dim)
    elif kind == "joint":
        objective = Joint(model, len(clips), TINY.dim, num_negatives=16, generator=generator)
    else:
        objective = Deaf(len(clips), TINY.dim, num_negatives=16, generator=generator, within=1.0)
    if kind == "frozen":
        model.audio_encoder.requires_grad_(False)
        model.audio_head.requires_grad_(False)
    return Trainer(model, objective, clips, dataclasses.replace(CONFIG, steps=4, weight_decay=0.1))


@pytest.mark.parametrize("kind", ["joint", "deaf", "frozen"])
def test_any_objective_trains_as_in_one_thread(smoke_world, kind):
    assert_same(lambda: with_objective(smoke_world, kind))


def test_in_batch_losses_train_as_in_one_thread(smoke_world):
    def run():
        trainer = with_objective(smoke_world, "in batch")
        return [step.loss for step in trainer], [p.detach().clone() for p in trainer.model.parameters()]

    torch.testing.assert_close(run(), with_threads(1, run), rtol=0, atol=0)


def test_gradients_pass_hooks_on_weights(smoke_world):
    def watched():
        trainer = make(smoke_world)
        for weight in (next(trainer.model.video_head.parameters()), next(trainer.model.audio_head.parameters())):
            weight.register_hook(lambda gradient: 2 * gradient)
        return trainer

    assert_same(watched)
    assert state(trained(watched()))[3] != state(trained(make(smoke_world)))[3]


def set_gain(trainer):
    trainer.pipeline.gain = 0.05 * trainer.steps_done


def fit_again(trainer):
    trainer.pipeline.fit(trainer.clips.subset(range(8 * trainer.steps_done)))


def set_size_of_crops(trainer):
    trainer.pipeline.augmentation.scale = (0.1 * trainer.steps_done, 1.0)


def evaluate(trainer):
    embed(trainer.model, trainer.clips.subset(range(4)), trainer.pipeline, windows=1)


@pytest.mark.parametrize("between", [set_gain, fit_again, set_size_of_crops, evaluate])
def test_what_happens_between_steps_acts_on_the_next(smoke_world, between):
    assert_same(lambda: make(smoke_world), between)


def test_forks_and_resumed_runs_go_on_as_the_original(smoke_world, tmp_path):
    trainer = make(smoke_world)
    trainer.step(), trainer.step()
    checkpoints.save(tmp_path / "run.pt", trainer)
    twin, resumed, elsewhere = trainer.fork(), make(smoke_world), make(smoke_world)
    elsewhere.step()  # has the next batch ready, of another step
    for other in (resumed, elsewhere):
        checkpoints.resume(tmp_path / "run.pt", other)
    expected = [step.loss for step in trainer]
    for other in (twin, resumed, elsewhere):
        assert [step.loss for step in other] == expected


class Trouble(Exception):
    pass


def trouble(*_):
    raise Trouble("here")


def interrupt(*_):
    raise KeyboardInterrupt


PLACES = {
    "pictures": lambda t: t.model.video_encoder.register_forward_hook(trouble),
    "sounds": lambda t: t.model.audio_encoder.register_forward_hook(trouble),
    "objective": lambda t: t.objective.register_forward_pre_hook(trouble),
    "gradients of pictures": lambda t: next(t.model.video_head.parameters()).register_hook(trouble),
    "gradients of sounds": lambda t: next(t.model.audio_head.parameters()).register_hook(trouble),
    "Ctrl-C": lambda t: t.model.video_encoder.register_forward_hook(interrupt),
}


@pytest.mark.parametrize("place", PLACES)
def test_an_error_arrives_and_the_step_can_be_done_again(smoke_world, place):
    trainer, plain, seen = make(smoke_world), make(smoke_world), []
    for one in (trainer, plain):
        update, into = one.objective.memory.update, []
        seen.append(into)
        one.objective.memory.update = lambda index, *rest, update=update, into=into: (
            into.append(index.tolist()),
            update(index, *rest),
        )
    trainer.step()
    before = threading.active_count()
    hook = PLACES[place](trainer)
    with pytest.raises(KeyboardInterrupt if place == "Ctrl-C" else Trouble):
        trainer.step()
    assert threading.active_count() == before and torch.get_num_threads() == 2 and trainer.steps_done == 1
    hook.remove()
    trained(trainer), trained(plain)
    assert seen[0] == seen[1]  # no clip is lost


def test_an_error_in_making_the_next_batch_belongs_to_the_next_step(smoke_world):
    trainer = make(smoke_world)
    hook = trainer.pipeline.spectrogram.register_forward_hook(
        lambda *_: trouble() if threading.current_thread() is not threading.main_thread() else None
    )
    trainer.step()
    with pytest.raises(Trouble):
        trainer.step()
    hook.remove()
    expected = trained(make(smoke_world))
    assert state(trained(trainer))[3] == state(expected)[3]

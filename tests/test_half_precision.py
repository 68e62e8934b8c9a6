"""Half precision where it is fast, gradients that overflow, batches that do not fit."""

from __future__ import annotations

import dataclasses
import itertools
import warnings

import pytest
import torch
from test_training import CONFIG, losses, make

from avid_lab import checkpoints
from avid_lab.config import TrainConfig
from avid_lab.precision import autocast_type

HALF = dataclasses.replace(CONFIG, precision="float16")


@pytest.mark.parametrize(("capability", "expected"), [((7, 5), torch.float16), ((8, 0), torch.bfloat16)])
def test_auto_takes_what_is_fast_on_the_device(capability, expected, monkeypatch, unchecked):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert autocast_type("auto", torch.device("cuda")) == expected
    assert autocast_type("auto", torch.device("cpu")) is None and autocast_type("auto", torch.device("mps")) is None
    assert autocast_type("float16", torch.device("cpu")) == torch.float16
    with pytest.raises(ValueError, match="precision must be one of auto, float32, bfloat16, float16; got 'double'"):
        TrainConfig(precision="double")


def test_auto_changes_nothing_on_a_cpu(smoke_world):
    config = dataclasses.replace(CONFIG, steps=2)
    single = dataclasses.replace(config, precision="float32")
    assert losses(make(smoke_world, config)) == losses(make(smoke_world, single))


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_half_precision_gives_nearly_the_same_loss(smoke_world, precision):
    half, whole = make(smoke_world, dataclasses.replace(CONFIG, precision=precision)), make(smoke_world)
    assert half.step().loss == pytest.approx(whole.step().loss, rel=0.05)
    assert {x.dtype for x in half.objective.memory.buffers()} == {torch.float32}
    before = {name: value.clone() for name, value in half.model.named_parameters()}
    last = list(half)[-1]
    assert last.skipped < 4 if precision == "float16" else last.skipped == 0  # the first scale is a guess
    assert not all(torch.equal(value, before[name]) for name, value in half.model.named_parameters())


def test_steps_that_overflow_are_skipped_and_counted(smoke_world, tmp_path):
    trainer = make(smoke_world, HALF)
    trainer.step()
    state = trainer.state_dict()
    state["scaler"]["scale"] = 2.0**40
    trainer.load_state_dict(state)
    before = {name: value.clone() for name, value in trainer.model.named_parameters()}
    memory, skipped = trainer.objective.memory.video.clone(), trainer.skipped
    step = trainer.step()
    assert step.skipped == step.row()["skipped"] == skipped + 1 and trainer.steps_done == 2
    assert all(torch.equal(value, before[name]) for name, value in trainer.model.named_parameters())
    assert not torch.equal(memory, trainer.objective.memory.video)  # the embeddings are sound
    assert trainer.state_dict()["scaler"]["scale"] == 2.0**39

    checkpoints.save(tmp_path / "run.pt", trainer)
    resumed = make(smoke_world, HALF)
    checkpoints.resume(tmp_path / "run.pt", resumed)
    assert losses(resumed) == losses(trainer) and resumed.skipped == trainer.skipped > skipped
    assert resumed.history[-1].skipped == resumed.skipped


def test_a_gradient_that_is_never_finite_stops_the_run(smoke_world):
    trainer = make(smoke_world, HALF)
    state = trainer.state_dict()
    state["scaler"]["scale"] = 4.0
    trainer.load_state_dict(state)
    weight = next(trainer.model.parameters())
    weight.register_hook(lambda gradient: gradient * torch.nan)
    with pytest.raises(FloatingPointError, match="gradient norm is nan"):
        for _ in range(4):
            trainer.step()
    assert trainer.skipped == 2  # at scales of 4 and 2


def limited(trainer, most):
    """A trainer on a device whose memory holds the activations of so many clips."""

    def check(_, inputs):
        if len(inputs[0]) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")

    trainer.model.audio_head.register_forward_pre_hook(check)  # after the video encoder has seen the batch
    return trainer


def test_a_batch_that_does_not_fit_is_embedded_in_more_parts(smoke_world, tmp_path):
    expected = losses(make(smoke_world, dataclasses.replace(CONFIG, accumulate=4)))
    trainer = limited(make(smoke_world), 2)
    with pytest.warns(UserWarning) as said:
        first = losses(itertools.islice(trainer, 3))
    assert [str(w.message).split(". CUDA")[0] for w in said] == [
        f"Out of memory at step 1: batches are embedded in {n} parts from here on (as with accumulate={n})"
        for n in (2, 4)
    ]
    assert first == expected[:3]
    checkpoints.save(tmp_path / "run.pt", trainer)
    resumed = limited(make(smoke_world), 2)
    checkpoints.resume(tmp_path / "run.pt", resumed)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert losses(resumed) == losses(trainer) == expected[3:]


def test_a_batch_that_never_fits_is_an_error_and_changes_nothing(smoke_world):
    trainer = limited(make(smoke_world), 1)
    before = {name: value.clone() for name, value in trainer.model.named_parameters()}
    with pytest.warns(UserWarning, match="Out of memory"), pytest.raises(torch.OutOfMemoryError, match="2 GiB"):
        trainer.step()
    assert all(torch.equal(value, before[name]) for name, value in trainer.model.named_parameters())
    assert trainer.steps_done == 0

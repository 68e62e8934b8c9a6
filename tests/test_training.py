"""The loop, its memory, its checkpoints: paused, resumed or never interrupted, a run is the same run."""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
import platform
import subprocess
import sys
import textwrap

import pytest
import torch

from avid_lab import checkpoints
from avid_lab.checkpoints import CheckpointError
from avid_lab.config import PRESETS, RECIPES, TrainConfig
from avid_lab.encoders import AudioVisualModel
from avid_lab.losses import nce_softmax_loss
from avid_lab.objectives import AVID, CMA
from avid_lab.training import Trainer, memory, one_cycle, rate_factor
from avid_lab.training.draws import Order
from avid_lab.transforms import InputPipeline, VideoAugmentation

TINY = dataclasses.replace(
    PRESETS["pocket"], video_widths=(4, 4, 4, 8, 8), audio_widths=(4, 4, 4, 8, 8), head=(8,), dim=16
)
CONFIG = TrainConfig(steps=6, batch_size=8, seed=3)


def make(clips, config=CONFIG, seed=0, **settings):
    objective = AVID(len(clips), TINY.dim, num_negatives=16, generator=torch.Generator().manual_seed(seed), **settings)
    return Trainer(AudioVisualModel(TINY, seed=seed), objective, clips, config)


def losses(steps):
    return [step.loss for step in steps]


def test_a_run_repeats_itself(smoke_world):
    assert losses(make(smoke_world)) == losses(make(smoke_world))


def test_the_seed_matters(smoke_world):
    other = dataclasses.replace(CONFIG, seed=4)
    assert losses(make(smoke_world)) != losses(make(smoke_world, other))


def test_leaving_the_loop_pauses_it(smoke_world):
    whole, paused = make(smoke_world), make(smoke_world)
    expected = losses(whole)
    first = losses(itertools.islice(paused, 2))
    assert first + losses(paused) == expected
    assert [step.index for step in paused.history] == [1, 2, 3, 4, 5, 6]
    assert paused.history[-1].total == len(paused) == 6


def test_every_instance_is_seen_once_before_any_is_seen_twice(smoke_world):
    a_pass = len(smoke_world) // CONFIG.batch_size
    order = Order(smoke_world.manifest, CONFIG.batch_size, 1, seed=3)
    passes = [[order.batch(a_pass * turn + i)[0] for i in range(a_pass)] for turn in range(2)]
    first, second = (torch.cat(batches) for batches in passes)
    assert len(first.unique()) == len(first) == len(second.unique()) and not torch.equal(first, second)


def test_training_lowers_the_loss_and_moves_memories(smoke_world):
    config = dataclasses.replace(CONFIG, steps=40, batch_size=16)
    trainer = make(smoke_world, config)
    before = trainer.objective.memory.video.clone()
    steps = list(trainer)
    assert sum(losses(steps[-8:])) < sum(losses(steps[:8]))
    assert not torch.allclose(before, trainer.objective.memory.video)
    assert trainer.objective.memory.video.norm(dim=1).sub(1).abs().max() < 1e-5


def test_resumed_is_as_never_interrupted(smoke_world, tmp_path):
    whole = make(smoke_world)
    expected = losses(whole)
    first = make(smoke_world)
    list(itertools.islice(first, 3))
    checkpoints.save(tmp_path / "run.pt", first)

    second = make(smoke_world)
    old, new = tmp_path / ".run.pt.1.part", tmp_path / ".run.pt.2.part"  # of killed processes; one may still write
    for part in (old, new):
        part.touch()
    os.utime(old, (0, 0))
    checkpoints.resume(tmp_path / "run.pt", second)
    assert not old.exists() and new.exists()
    assert losses(second.history) == expected[:3]
    assert losses(second) == expected[3:]
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name
    assert torch.equal(whole.objective.memory.audio, second.objective.memory.audio)


def test_a_saved_model_embeds_as_before(smoke_world, tmp_path):
    trainer = make(smoke_world)
    list(trainer)
    checkpoints.save(tmp_path / "run.pt", trainer)
    model, pipeline = checkpoints.load_model(tmp_path / "run.pt")
    batch = smoke_world.batch(torch.arange(4))
    with torch.no_grad():
        expected = trainer.model.eval()(*trainer.pipeline.eval()(batch))
        got = model(*pipeline(batch))
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("broken", ["missing", "truncated", "text"])
def test_unusable_checkpoints_are_named(smoke_world, tmp_path, broken):
    path = tmp_path / "run.pt"
    if broken == "text":
        path.write_text("not a checkpoint")
    elif broken == "truncated":
        checkpoints.save(path, make(smoke_world))
        path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"run\.pt"):
        checkpoints.load_model(path)


def test_a_checkpoint_of_another_run_is_refused_with_what_differs(smoke_world, tmp_path):
    checkpoints.save(tmp_path / "run.pt", make(smoke_world))
    other = make(smoke_world, dataclasses.replace(CONFIG, steps=7))
    with pytest.raises(CheckpointError, match=r"train_config\.steps: saved 6, here 7"):
        checkpoints.resume(tmp_path / "run.pt", other)


def test_a_checkpoint_of_other_term_weights_is_refused(smoke_world, tmp_path):
    checkpoints.save(tmp_path / "run.pt", make(smoke_world))
    with pytest.raises(CheckpointError, match=r"objective\.weights\.within: saved 0\.0, here 1\.0"):
        checkpoints.resume(tmp_path / "run.pt", make(smoke_world, within=1.0))


def test_a_failed_save_leaves_the_old_file(smoke_world, tmp_path, monkeypatch):
    trainer = make(smoke_world)
    path = checkpoints.save(tmp_path / "run.pt", trainer)
    before = path.read_bytes()

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="No space left"):
        checkpoints.save(path, trainer)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["run.pt"]


def test_a_loss_that_is_not_finite_stops_before_anything_moves(smoke_world):
    trainer = make(smoke_world, loss=lambda positive, negative, partition: positive.sum() * math.inf)
    before = {name: value.clone() for name, value in trainer.model.named_parameters()}
    with pytest.raises(FloatingPointError, match=r"step 1 .*v2a, a2v"):
        trainer.step()
    assert all(torch.equal(value, before[name]) for name, value in trainer.model.named_parameters())
    assert trainer.steps_done == 0


def test_cma_trains_on_from_avid(smoke_world):
    trainer = make(smoke_world)
    list(trainer)
    cma = CMA.from_avid(trainer.objective, k=4, num_within_negatives=8)
    assert torch.equal(cma.memory.video, trainer.objective.memory.video)
    steps = list(Trainer(trainer.model, cma, smoke_world, CONFIG, pipeline=trainer.pipeline))
    assert set(steps[-1].terms) == {"instance_v2a", "instance_a2v", "positive_v2v", "positive_a2a"}


def test_bad_settings_are_named(smoke_world):
    with pytest.raises(ValueError, match=f"num_instances={len(smoke_world)}"):
        Trainer(AudioVisualModel(TINY), AVID(7, TINY.dim), smoke_world, CONFIG)
    with pytest.raises(ValueError, match="batch_size"):
        make(smoke_world, TrainConfig(batch_size=1000))


def test_one_cycle_rises_then_falls_to_zero():
    factors = [one_cycle(step, 100, 0.1) for step in range(101)]
    top = factors.index(max(factors))
    assert factors[0] > 0 and 9 <= top <= 10 and factors[top] == pytest.approx(1, abs=0.1) and factors[100] == 0
    assert factors[: top + 1] == sorted(factors[: top + 1]) and factors[top:] == sorted(factors[top:], reverse=True)


def test_a_fork_takes_the_same_next_steps_and_is_independent(smoke_world):
    trainer = make(smoke_world, dataclasses.replace(CONFIG, ema=0.9))
    trainer.step()
    twin = trainer.fork()
    assert twin.clips is trainer.clips and twin.model is not trainer.model
    assert losses(itertools.islice(trainer, 3)) == losses(itertools.islice(twin, 3))
    weight, other = next(trainer.model.parameters()), next(twin.model.parameters())
    assert torch.equal(weight, other) and torch.equal(trainer.objective.memory.video, twin.objective.memory.video)
    twin.learning_rate_scale = 0.5
    trainer.step(), twin.step()
    assert not torch.equal(weight, other)
    assert len(trainer.history) == len(twin.history) == 5


def test_settings_changed_while_training_act_at_once_and_are_saved(smoke_world, tmp_path):
    trainer, plain = make(smoke_world), make(smoke_world)
    trainer.step(), plain.step()
    trainer.objective.temperature, trainer.objective.num_negatives = 0.2, 8
    trainer.objective.memory.momentum, trainer.objective.loss = 0.9, nce_softmax_loss
    trainer.objective.set_weights(within=0.5)
    trainer.learning_rate_scale = 0.1
    assert trainer.step().loss != plain.step().loss
    checkpoints.save(tmp_path / "run.pt", trainer)
    resumed = make(smoke_world)
    checkpoints.resume(tmp_path / "run.pt", resumed)
    assert resumed.objective.settings() == trainer.objective.settings()
    assert losses(resumed) == losses(trainer)
    assert resumed.history[-1].learning_rate == trainer.history[-1].learning_rate


@pytest.mark.parametrize(
    "more",
    [{"precision": "bfloat16"}, {"accumulate": 4}, {"clip_norm": 0.1}, {"optimizer": "adam", "weight_decay": 0.1}],
)
def test_every_setting_has_an_effect(smoke_world, more):
    config = dataclasses.replace(CONFIG, steps=3)
    steps = list(make(smoke_world, dataclasses.replace(config, **more)))
    assert losses(steps) != losses(make(smoke_world, config))
    assert set(steps[0].times) == {"data", "forward", "backward", "memory", "waiting"}
    assert sum(steps[0].times.values()) <= steps[0].seconds


def test_clips_are_augmented_as_the_configuration_says(smoke_world):
    strong = make(smoke_world, dataclasses.replace(CONFIG, crop=0.3, colour=1.0)).pipeline.augmentation
    assert strong.scale == (0.3, 1.0)
    assert (strong.brightness, strong.contrast, strong.saturation, strong.hue) == (0.4, 0.4, 0.4, 0.2)
    plain = make(smoke_world, dataclasses.replace(CONFIG, crop=1.0, colour=0.0)).pipeline.augmentation
    assert plain.scale == (1.0, 1.0) and plain.brightness == plain.hue == 0.0


def test_an_augmentation_of_the_users_own_stays(smoke_world):
    own = VideoAugmentation(TINY.video.size, flip=0.0)
    pipeline = InputPipeline(TINY.video, TINY.audio, augmentation=own)
    objective = AVID(len(smoke_world), TINY.dim, num_negatives=16)
    trainer = Trainer(AudioVisualModel(TINY, seed=0), objective, smoke_world, CONFIG, pipeline=pipeline)
    assert trainer.pipeline.augmentation is own


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc returns memory at once")
def test_freed_memory_is_used_again():
    script = """
        import resource, sys, threading, torch
        from avid_lab.training.memory import keep_freed_memory
        if sys.argv[1] == "keep":
            keep_freed_memory()
        def work():
            for turn in range(12):
                if turn == 2:
                    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
                torch.ones(2**22) + 1  # 16 MB twice, freed at once
            print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    """
    faults = {}
    for way in ("keep", "default"):
        command = [sys.executable, "-c", textwrap.dedent(script), way]
        faults[way] = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert faults["keep"] < 0.75 * faults["default"], faults


def test_schedules():
    config = TrainConfig(steps=100, schedule="step", milestones=(0.5, 0.8), warmup=0.1)
    factors = [rate_factor(step, config) for step in range(100)]
    assert factors[:10] == sorted(factors[:10]) and factors[10:50] == [1.0] * 40
    assert factors[50:80] == [0.1] * 30 and factors[99] == pytest.approx(0.01)
    constant = TrainConfig(schedule="constant", warmup=0.0)
    assert {rate_factor(step, constant) for step in range(900)} == {1.0}


def test_recipes_take_as_many_steps_as_published():
    main = RECIPES["paper"]
    assert main.config(232_067).steps == round(30 * 10 * 232_067 / 256)
    cma = main.config(232_067, "cma")
    assert cma.steps == round(20 * 10 * 232_067 / 256) and cma.remine_every == 50.0
    assert RECIPES["pocket"].config(40).batch_size == 40


def test_a_batch_is_split_until_a_part_fits_the_memory():
    kept = {name: memory.activation_bytes(PRESETS[name]) for name in ("pocket", "paper-small", "paper")}
    assert kept["pocket"] < kept["paper-small"] < kept["paper"] and 30e6 < kept["paper-small"] < 60e6
    small = PRESETS["paper-small"]
    room = kept["paper-small"] / memory.USABLE  # for one clip
    for clips, parts in ((300, 1), (256, 1), (255.9, 2), (128, 2), (100, 4), (2, 128), (0.5, 128)):
        assert memory.parts_that_fit(small, 256, clips * room) == parts
    assert memory.parts_that_fit(small, 256, 128 * room, half=True) == 1
    assert memory.parts_that_fit(small, 30, 12 * room) == 3  # equal parts
    config = TrainConfig(batch_size=64)
    assert memory.fitted(config, small, torch.device("cpu")) == config


def test_what_a_clip_keeps_is_what_a_forward_pass_saves():
    saved: dict[int, torch.Tensor] = {}
    config = PRESETS["pocket"]
    model = AudioVisualModel(config).train()
    video = torch.zeros(2, 3, config.video.frames, 48, 48)
    audio = torch.zeros(2, 1, config.audio.frames, config.audio.bins)
    weights = {parameter.data_ptr() for parameter in model.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(lambda x: saved.setdefault(x.data_ptr(), x), lambda x: x):
        held = model(video, audio)
    found = sum(x.numel() * x.element_size() for place, x in saved.items() if place not in weights) / 2
    assert len(held) == 2 and memory.activation_bytes(config) == pytest.approx(found, rel=0.2)


def test_mining_again_is_timed_in_the_steps_that_do_it(smoke_world):
    cma = CMA.from_avid(make(smoke_world).objective, k=4, num_within_negatives=8)
    config = dataclasses.replace(CONFIG, remine_every=0.25)
    steps = list(Trainer(AudioVisualModel(TINY, seed=0), cma, smoke_world, config))
    per_pass = len(smoke_world) / CONFIG.batch_size
    due = [int(i / per_pass * 4) > int((i - 1) / per_pass * 4) for i in range(1, 7)]
    assert ["mining" in step.times for step in steps] == due and sum(due) >= 2
    assert all(step.times["mining"] > 0 for step in steps if "mining" in step.times)

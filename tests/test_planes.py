"""Training from planes, end to end: rendered files, decoder threads, DataLoader workers, augmentation and steps."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader

from avid_lab import foley
from avid_lab.config import AudioSpec, ModelConfig, TrainConfig, VideoSpec
from avid_lab.datasets import ClipDataset
from avid_lab.encoders import AudioVisualModel
from avid_lab.objectives import AVID
from avid_lab.training import Trainer
from avid_lab.transforms import IMAGENET_MEAN, IMAGENET_STD, InputPipeline, PlaneAugmentation, VideoAugmentation

VIDEO, AUDIO = VideoSpec(4, 8.0, 32), AudioSpec(16_000, 1.0, 32, 64)


@pytest.fixture(scope="module")
def manifest(smoke_world):
    return foley.load("smoke", progress=False).manifest


def dataset(manifest, planes, **settings):
    return ClipDataset(manifest, video=VIDEO, audio=AUDIO, cache=False, planes=planes, **settings)


def test_planes_show_what_the_frames_show(manifest):
    index = torch.arange(6)
    pipeline = InputPipeline(VIDEO, AUDIO).eval()
    whole = ClipDataset(manifest, video=VideoSpec(4, 8.0, None), audio=AUDIO, cache=False)  # frames of the files' size
    (seen, heard), (plain, sound) = (pipeline(clips.batch(index)) for clips in (dataset(manifest, True), whole))
    assert (heard - sound).abs().median() < 1e-3  # but for noise that the decoder of AAC makes up
    std = torch.tensor(IMAGENET_STD).view(3, 1, 1, 1)
    off = ((seen - plain) * std).abs()
    assert off.mean() < 0.01 and off.max() < 0.1, (off.mean(), off.max())


def test_planes_of_a_batch_do_not_depend_on_threads_or_workers(manifest):
    index = torch.arange(8)
    alone, threads = (dataset(manifest, True, workers=workers) for workers in (0, 3))
    expected, made = alone.batch(index), threads.batch(index)
    assert set(made) == {"luma", "chroma", "to_rgb", "audio", "index", "label"}
    assert made["luma"].shape[:2] == (8, 4) and made["to_rgb"].shape == (8, 3, 4)
    loaded = next(iter(DataLoader(threads, batch_size=8, num_workers=2)))
    for name, tensor in expected.items():
        assert torch.equal(made[name], tensor) and torch.equal(loaded[name], tensor), name


def test_augmented_planes_stay_colours_and_a_seed_repeats_them(manifest):
    batch = dataset(manifest, True).batch(torch.arange(4), torch.Generator().manual_seed(0))
    pipeline = InputPipeline(VIDEO, AUDIO).train()
    first, again, other = (pipeline(batch, torch.Generator().manual_seed(seed))[0] for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert first.shape == (4, 3, 4, 32, 32) and first.is_contiguous(memory_format=torch.channels_last_3d)
    mean, std = (torch.tensor(x).view(3, 1, 1, 1) for x in (IMAGENET_MEAN, IMAGENET_STD))
    colours = first * std + mean
    assert colours.min() > -1e-5 and colours.max() < 1 + 1e-5 and colours.std() > 0.05


def test_a_model_trains_from_planes(manifest):
    clips = dataset(manifest, True)
    size = ModelConfig(video_widths=(4, 4, 8, 8, 16), audio_widths=(4, 4, 8, 8, 16), head=(16, 16), dim=16)
    objective = AVID(len(clips), dim=16, num_negatives=16)
    trainer = Trainer(AudioVisualModel(size, seed=0), objective, clips, TrainConfig(steps=3, batch_size=8))
    before = objective.memory.video.clone()
    losses = [step.loss for step in trainer]
    assert len(losses) == 3 and all(loss == loss and loss > 0 for loss in losses)
    assert not torch.equal(objective.memory.video, before)


def test_planes_where_they_cannot_be_are_refused(manifest, unchecked):
    with pytest.raises(ValueError, match="planes=True needs cache=False"):
        ClipDataset(manifest, video=VIDEO, audio=AUDIO, planes=True, cache=True)
    batch = dataset(manifest, True).batch(torch.arange(2))
    pipeline = InputPipeline(VIDEO, AUDIO, augmentation=VideoAugmentation(32)).train()
    with pytest.raises(ValueError, match="planes need a PlaneAugmentation; got VideoAugmentation"):
        pipeline(batch, torch.Generator())
    assert isinstance(InputPipeline(VIDEO, AUDIO).augmentation, PlaneAugmentation)

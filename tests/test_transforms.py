"""One augmentation draw per clip, and spectrograms that equal a plain computation."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional as TV

from avid_lab.config import PRESETS, AudioSpec, VideoSpec
from avid_lab.transforms import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    InputPipeline,
    LogSpectrogram,
    VideoAugmentation,
    centre_crop,
    picture,
)

STILL = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}
LEVEL = 1 / 255  # a CPU resizes bytes
LUMA = torch.tensor([0.299, 0.587, 0.114])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(clips: int = 3, frames: int = 4, height: int = 40, width: int = 40, seed: int = 0) -> torch.Tensor:
    """Smooth random clips, uint8 (B, 3, T, H, W)."""
    coarse = torch.rand(clips, 3, frames, height // 4, width // 4, generator=generator(seed))
    fine = torch.nn.functional.interpolate(coarse.flatten(1, 2), (height, width), mode="bicubic", align_corners=False)
    return (fine.clamp(0, 1) * 255).byte().unflatten(1, (3, frames))


def augment_with(draw: list[float], augmentation: VideoAugmentation, video: torch.Tensor, monkeypatch) -> torch.Tensor:
    """The augmentation with these uniform numbers: area, aspect, top, left, flip and four colours."""
    with monkeypatch.context() as patch:
        patch.setattr(torch, "rand", lambda clips, count, **_: torch.tensor(draw).expand(clips, count).contiguous())
        return augmentation(video, generator())


MIDDLE = [1.0, 0.5, 0.5, 0.5, 0.9, 0.5, 0.5, 0.5, 0.5]  # whole frame, no flip, no change of colour


# ---- video


@given(seed=st.integers(0, 1000), size=st.integers(8, 48), height=st.integers(8, 60), width=st.integers(8, 60))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_any_size_gives_the_size_wanted_in_range(seed, size, height, width):
    video = torch.randint(0, 256, (2, 3, 3, height, width), generator=generator(seed), dtype=torch.uint8)
    out = VideoAugmentation(size)(video, generator(seed))
    assert out.shape == (2, 3, 3, size, size) and out.dtype == torch.float32
    assert bool(out.isfinite().all()) and out.min() >= 0 and out.max() <= 1


def test_one_draw_per_clip_the_same_for_all_frames():
    still = noise(6, 1).expand(6, 3, 5, 40, 40)
    out = VideoAugmentation(32)(still, generator())
    assert torch.allclose(out, out[:, :, :1].expand_as(out), atol=1e-6)  # the frames of a clip alike
    same = noise(1, 2).expand(6, 3, 2, 40, 40)
    out = VideoAugmentation(32)(same, generator())
    apart = (out[:, None] - out[None]).abs().mean((2, 3, 4, 5))
    assert apart[~torch.eye(6, dtype=torch.bool)].min() > 0.01  # the clips of a batch differently


def test_the_generator_decides_everything():
    video = noise()
    first, second = (VideoAugmentation(24)(video, generator(7)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, VideoAugmentation(24)(video, generator(8)))
    state = torch.get_rng_state()
    VideoAugmentation(24)(video, generator(7))
    assert torch.equal(state, torch.get_rng_state())


def test_a_clip_is_augmented_alike_in_any_batch(monkeypatch):
    video, draw = noise(9), [0.2, 0.7, 0.3, 0.9, 0.1, 0.2, 0.7, 0.9, 0.6]
    whole = augment_with(draw, VideoAugmentation(24), video, monkeypatch)
    for i in range(9):
        assert torch.equal(augment_with(draw, VideoAugmentation(24), video[i : i + 1], monkeypatch)[0], whole[i])


@pytest.mark.parametrize(("frames", "height", "width", "size"), [(1, 40, 24, 33), (16, 256, 256, 112), (3, 8, 8, 32)])
def test_a_clip_is_augmented_alike_in_any_layout_and_with_any_threads(frames, height, width, size):
    video = torch.randint(0, 256, (2, 3, frames, height, width), generator=generator(), dtype=torch.uint8)
    apart = torch.zeros(4, 3, frames, height, width, dtype=torch.uint8)
    apart[::2] = video
    expected, threads = VideoAugmentation(size)(video, generator()), torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            for same in (video, video.to(memory_format=torch.channels_last_3d), apart[::2]):
                assert torch.equal(VideoAugmentation(size)(same, generator()), expected)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("size", [20, 31, 40, 57])
def test_resizing_is_torchvisions(size, monkeypatch):
    video = noise()
    ours = augment_with(MIDDLE, VideoAugmentation(size, **STILL), video, monkeypatch)
    theirs = TV.resize_image(video.flatten(0, 2).float()[:, None] / 255, [size, size], antialias=True)
    assert torch.allclose(ours.flatten(0, 2), theirs[:, 0], atol=LEVEL)


def test_both_resizers_give_the_same(monkeypatch):
    """A CPU's bytes and the matrices of a GPU."""
    video, crops = noise(5, height=50, width=44), torch.tensor([[0, 0, 50, 44], [3, 7, 20, 31], [10, 0, 40, 9]] * 2)[:5]
    flip = torch.tensor([True, False, False, True, True])
    matrices = picture._resampled(video, crops, flip, 24)
    for clip, crop, turned, theirs in zip(video, crops.tolist(), flip.tolist(), matrices, strict=True):
        ours = picture._resized(clip, crop, turned, 24).permute(3, 0, 1, 2)
        assert (ours - theirs).abs().max() <= 1


def test_flipping_is_torchvisions(monkeypatch):
    video = noise()
    flipped = augment_with([*MIDDLE[:4], 0.1, *MIDDLE[5:]], VideoAugmentation(40, **STILL), video, monkeypatch)
    assert torch.allclose(flipped, TV.horizontal_flip_image(video).float() / 255, atol=1e-6)
    both = VideoAugmentation(40, scale=(1.0, 1.0), **STILL)(noise(200, 1), generator())
    share = np.mean(
        [float((a - b.float() / 255).abs().mean()) > 0.02 for a, b in zip(both, noise(200, 1), strict=True)]
    )
    assert share > 0.3


def test_cropping_is_torchvisions(monkeypatch):
    video = noise(height=48, width=48)
    # Half the side: an area of a quarter, at a quarter of the room from the top and three quarters from the left.
    augmentation = VideoAugmentation(12, scale=(0.25, 0.25), **STILL)
    ours = augment_with([0.5, 0.5, 0.25, 0.75, *MIDDLE[4:]], augmentation, video, monkeypatch)
    theirs = TV.resize_image(video[..., 6:30, 18:42].flatten(0, 2).float()[:, None] / 255, [12, 12], antialias=True)
    assert torch.allclose(ours.flatten(0, 2), theirs[:, 0], atol=LEVEL)


def test_crops_cover_the_range_of_areas_and_aspects():
    ramp = torch.arange(0, 256, 4, dtype=torch.uint8)  # 64 pixels: brightness tells the place
    video = torch.zeros(500, 3, 1, 64, 64, dtype=torch.uint8)
    video[:, 0] = ramp[:, None]
    video[:, 1] = ramp[None, :]
    out = VideoAugmentation(16, scale=(0.3, 1.0), flip=0.0, **STILL)(video, generator()) * 255 / 4
    height = (out[:, 0, 0, -2] - out[:, 0, 0, 1]).mean(1) * 16 / 13
    width = (out[:, 1, 0, :, -2] - out[:, 1, 0, :, 1]).mean(1) * 16 / 13
    area, aspect = height * width / 64**2, width / height
    assert 0.28 < area.min() < 0.36 and 0.9 < area.max() <= 1.01
    assert 0.72 < aspect.min() < 0.8 and 1.25 < aspect.max() < 1.37  # crops are whole pixels
    top = out[:, 0, 0, 0].mean(1)
    assert top.min() < 2 and (top + height).max() > 60


def test_nothing_aliases_when_scaling_down(monkeypatch):
    stripes = torch.zeros(1, 3, 1, 64, 64, dtype=torch.uint8)
    stripes[..., ::2] = 255
    out = augment_with(MIDDLE, VideoAugmentation(16, **STILL), stripes, monkeypatch)
    assert (out[..., 1:-1] - 0.5).abs().max() < 0.05


def test_brightness_contrast_saturation_are_torchvisions(monkeypatch):
    video = (noise(2, 1).float() * 0.4 + 70).byte()  # nothing is clamped
    image = video[:, :, 0].float() / 255
    augmentation = VideoAugmentation(40, **{**STILL, "brightness": 0.4, "contrast": 0.4, "saturation": 0.4})
    bright = augment_with([*MIDDLE[:5], 0.75, 0.5, 0.5, 0.5], augmentation, video, monkeypatch)
    assert torch.allclose(bright[:, :, 0], TV.adjust_brightness_image(image, 1.2), atol=1e-5)
    contrast = augment_with([*MIDDLE[:5], 0.5, 0.25, 0.5, 0.5], augmentation, video, monkeypatch)
    assert torch.allclose(contrast[:, :, 0], TV.adjust_contrast_image(image, 0.8), atol=2e-3)  # their luma is rounded
    grey = augment_with([*MIDDLE[:5], 0.5, 0.5, 0.0, 0.5], augmentation, video, monkeypatch)
    assert torch.allclose(grey[:, :, 0], TV.adjust_saturation_image(image, 0.6), atol=1e-3)


def test_contrast_is_about_the_mean_of_the_whole_clip(monkeypatch):
    video = torch.full((1, 3, 2, 40, 40), 60, dtype=torch.uint8)
    video[:, :, 1] = 120
    augmentation = VideoAugmentation(40, **{**STILL, "contrast": 1.0})
    flat = augment_with([*MIDDLE[:5], 0.5, 0.0, 0.5, 0.5], augmentation, video, monkeypatch)
    assert torch.allclose(flat, torch.full_like(flat, 90 / 255), atol=1e-5)


@given(hue=st.floats(0, 0.5), place=st.floats(0, 1))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_hue_keeps_luma_and_greys(hue, place):
    with pytest.MonkeyPatch.context() as patch:
        augmentation = VideoAugmentation(40, **{**STILL, "hue": hue})
        video = (noise(1, 1).float() * 0.2 + 100).byte()
        out = augment_with([*MIDDLE[:8], place], augmentation, video, patch)
        luma = torch.einsum("bcthw,c->bthw", video.float() / 255, LUMA)
        assert torch.allclose(torch.einsum("bcthw,c->bthw", out, LUMA), luma, atol=1e-4)
        grey = torch.arange(200, dtype=torch.uint8).view(1, 1, 1, 5, 40).expand(1, 3, 1, 5, 40)
        out = augment_with([*MIDDLE[:8], place], VideoAugmentation(5, **{**STILL, "hue": hue}), grey, patch)
        assert (out - out[:, :1]).abs().max() < 1e-4


def test_hue_turns_red_over_green_to_blue_and_back(monkeypatch):
    red = torch.zeros(1, 3, 1, 8, 8, dtype=torch.uint8)
    red[:, 0] = 120
    augmentation = VideoAugmentation(8, **{**STILL, "hue": 0.5})
    turned = [
        augment_with([*MIDDLE[:8], 0.5 + t / 2], augmentation, red, monkeypatch)[0, :, 0, 0, 0]
        for t in (0, 1 / 3, 2 / 3, 1)
    ]
    assert turned[0].argmax() == 0 and {int(turned[1].argmax()), int(turned[2].argmax())} <= {1, 2}
    assert torch.allclose(turned[0], torch.tensor([120 / 255, 0, 0]), atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 0}, "size must be >= 1"),
        ({"scale": (0.0, 1.0)}, r"scale must be an increasing range of areas in \(0, 1\]"),
        ({"scale": (0.8, 0.3)}, "scale must be an increasing range"),
        ({"flip": 1.5}, "flip must be a probability"),
        ({"contrast": -0.1}, r"contrast must be in \[0, 1\]; got -0.1"),
        ({"hue": 0.6}, r"hue must be in \[0, 0.5\] turns; got 0.6"),
    ],
)
def test_augmentation_settings_that_make_no_sense(settings, message):
    with pytest.raises(ValueError, match=message):
        VideoAugmentation(**{"size": 8, **settings})


def test_centre_crop_cuts_what_the_dataset_keeps():
    video = noise(2, 2, 40, 40)  # what a dataset gives for crops of 34
    assert torch.equal(centre_crop(video, 34), TV.center_crop_image(video, [34, 34]).float() / 255)
    assert torch.equal(centre_crop(video, 40), video.float() / 255)
    large = noise(1, 1, 80, 120)
    scaled = TV.resize_image(large[:, :, 0].float() / 255, [40, 60], antialias=True)
    assert (centre_crop(large, 34)[:, :, 0] - TV.center_crop_image(scaled, [34, 34])).abs().mean() < 0.01
    assert centre_crop(noise(1, 1, 20, 24), 34).shape == (1, 3, 1, 34, 34)


# ---- sound


def naive_decibels(sound: np.ndarray, spec: AudioSpec) -> np.ndarray:
    """The paper's spectrogram, frame by frame: (frames, bins)."""
    length, hop = 2 * spec.n_fft, spec.samples // spec.frames
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
    padded = np.pad(sound.astype(np.float64), spec.n_fft)
    power = np.stack(
        [np.abs(np.fft.rfft(window * padded[i * hop : i * hop + length])) ** 2 for i in range(spec.frames)]
    )
    bins = [power[:, 0]] + [(power[:, k] + power[:, k + 1]) / 2 for k in range(1, spec.n_fft, 2)]
    decibels = 10 * np.log10(np.maximum(np.stack(bins, 1), 1e-10))
    return np.maximum(decibels, decibels.max() - 100)


SPECS = {name: PRESETS[name].audio for name in PRESETS} | {"odd": AudioSpec(11_025, 0.73, 37, 50)}


@pytest.mark.parametrize("name", list(SPECS))
def test_the_spectrogram_is_the_papers(name):
    spec = SPECS[name]
    seconds = np.arange(spec.samples) / spec.rate
    sounds = np.stack([
        np.sin(2 * np.pi * (200 + 1500 * seconds) * seconds),
        0.1 * np.random.default_rng(0).standard_normal(spec.samples),
        np.where(seconds > 0.3, np.sin(2 * np.pi * 440 * seconds), 0) * 1e-3,
    ]).astype(np.float32)  # fmt: skip
    ours = LogSpectrogram(spec)(torch.from_numpy(sounds)[:, None])
    assert ours.shape == (3, 1, spec.frames, spec.bins)
    for mine, sound in zip(ours[:, 0].numpy(), sounds, strict=True):
        assert np.abs(mine - naive_decibels(sound, spec)).max() < 0.05  # dB, also of what is hardly heard


def test_paper_shapes():
    assert LogSpectrogram(PRESETS["paper"].audio)(torch.zeros(1, 1, 48_000)).shape == (1, 1, 200, 257)
    assert LogSpectrogram(PRESETS["paper-small"].audio)(torch.zeros(1, 1, 48_000)).shape == (1, 1, 100, 129)


def test_a_tone_is_in_its_bin_and_a_click_in_its_frame():
    spec = AudioSpec(16_000, 1.0, 50, 128)
    seconds = torch.arange(16_000) / 16_000
    tone = LogSpectrogram(spec).decibels(torch.sin(2 * torch.pi * 2000 * seconds).view(1, 1, -1))
    # Line k of the STFT is k * 62.5 Hz; 2000 Hz is line 32, which is averaged into bin 16 with line 31.
    assert (tone[0, 0, 5:-5].argmax(1) == 16).all()
    click = torch.zeros(1, 1, 16_000)
    click[..., 8_000] = 1
    assert LogSpectrogram(spec).decibels(click)[0, 0].mean(1).argmax() == 25


def test_silence_is_finite_and_top_db_holds_per_clip():
    spec = AudioSpec(8_000, 1.0, 20, 64)
    sound = torch.zeros(3, 1, 8_000)
    sound[1] = torch.randn(8_000, generator=generator())
    sound[2] = sound[1] * 1e-3
    out = LogSpectrogram(spec)(sound)
    assert bool(out.isfinite().all())
    assert torch.equal(out[1], LogSpectrogram(spec)(sound[1:2])[0])  # what else is in the batch does not matter
    tone = torch.sin(2 * torch.pi * 1000 * torch.arange(8_000) / 8_000).view(1, 1, -1)
    decibels = LogSpectrogram(spec).decibels(tone)
    assert decibels.max() - decibels.min() <= 100.001


def test_fitting_scores_every_bin():
    spec = AudioSpec(8_000, 1.0, 20, 64)
    sounds = torch.randn(20, 1, 8_000, generator=generator()) * torch.rand(20, 1, 1, generator=generator(1))
    module = LogSpectrogram(spec)
    assert module.fit(sounds) is module
    out = module(sounds)
    assert torch.allclose(out.mean((0, 1, 2)), torch.zeros(spec.bins), atol=1e-4)
    assert torch.allclose(out.std((0, 1, 2), correction=0), torch.ones(spec.bins), atol=1e-3)
    silent = LogSpectrogram(spec).fit(torch.zeros(2, 1, 8_000))
    assert (silent.std == 1).all() and (silent(torch.zeros(2, 1, 8_000)) == 0).all()


# ---- the pipeline

VIDEO, AUDIO = VideoSpec(4, 8.0, 32), AudioSpec(8_000, 1.0, 20, 64)


class Noises:
    """Clips of pure noise."""

    def __len__(self) -> int:
        return 70

    def batch(self, index: torch.Tensor, generator: torch.Generator | None = None) -> dict[str, torch.Tensor]:
        sounds = torch.stack([torch.randn(1, 8_000, generator=torch.Generator().manual_seed(int(i))) for i in index])
        return {"video": noise(len(index), 4, 37, 37), "audio": sounds * 0.1, "index": index, "label": index}

    def sounds(self, index: torch.Tensor) -> torch.Tensor:
        return self.batch(index)["audio"]


@pytest.fixture(scope="module")
def pipeline() -> InputPipeline:
    return InputPipeline(VIDEO, AUDIO).fit(Noises())


def test_evaluation_is_deterministic_and_training_is_not(pipeline):
    batch = Noises().batch(torch.arange(5))
    pipeline.eval()
    video, spectrogram = pipeline(batch)
    again, _ = pipeline(batch, generator())
    assert video.shape == (5, 3, 4, 32, 32) and spectrogram.shape == (5, 1, 20, 33) and torch.equal(video, again)
    expected = TV.normalize_image(centre_crop(batch["video"], 32).transpose(1, 2), IMAGENET_MEAN, IMAGENET_STD)
    assert torch.allclose(video, expected.transpose(1, 2), atol=1e-5)
    assert torch.allclose(pipeline.pixels(video), centre_crop(batch["video"], 32), atol=1e-6)
    pipeline.train()
    first, second, other = (pipeline(batch, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])
    assert not torch.equal(first[0], other[0]) and not torch.equal(first[1], other[1])
    assert video.is_contiguous(memory_format=torch.channels_last_3d)
    with pytest.raises(ValueError, match="pass generator="):
        pipeline(batch)


def test_the_batch_is_left_as_it_was(pipeline):
    batch = Noises().batch(torch.arange(3))
    before = {name: value.clone() for name, value in batch.items()}
    pipeline.train()(batch, generator())
    pipeline.eval()(batch)
    assert all(torch.equal(before[name], batch[name]) for name in batch)


def test_gain_is_within_ten_percent(pipeline):
    batch = Noises().batch(torch.arange(60))
    quiet = pipeline.eval()(batch)[1] * pipeline.spectrogram.std
    loud = pipeline.train()(batch, generator())[1] * pipeline.spectrogram.std
    change = (loud - quiet).flatten(1).median(1).values  # dB
    assert change.min() >= 20 * math.log10(0.9) - 1e-3 and change.max() <= 20 * math.log10(1.1) + 1e-3
    assert change.std() > 0.3


def test_statistics_travel_in_the_state(pipeline):
    other = InputPipeline(VIDEO, AUDIO)
    assert sorted(other.state_dict()) == ["spectrogram.mean", "spectrogram.std"]
    other.load_state_dict(pipeline.state_dict())
    batch = Noises().batch(torch.arange(3))
    assert torch.equal(other.eval()(batch)[1], pipeline.eval()(batch)[1])


def test_settings_and_clips_that_make_no_sense():
    with pytest.raises(ValueError, match="needs a VideoSpec with a size"):
        InputPipeline(VideoSpec(4, 8.0, None), AUDIO)
    with pytest.raises(ValueError, match=r"gain must be in \[0, 1\)"):
        InputPipeline(VIDEO, AUDIO, gain=1.0)

    class Nothing(Noises):
        def __len__(self) -> int:
            return 0

    with pytest.raises(ValueError, match="at least one clip"):
        InputPipeline(VIDEO, AUDIO).fit(Nothing())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_and_cpu_give_the_same():
    pipeline, batch = InputPipeline(VIDEO, AUDIO).fit(Noises()), Noises().batch(torch.arange(8))
    seconds = torch.arange(8_000) / 8_000
    batch["audio"][4:] = torch.sin(2 * torch.pi * 440 * seconds) * (seconds > 0.3)  # loud, and hardly heard between
    on_cpu = pipeline(batch, generator(3))
    on_gpu = pipeline.cuda()(batch, generator(3))
    for ours, theirs in zip(on_cpu, on_gpu, strict=True):
        assert (ours - theirs.cpu()).abs().max() < 2 * LEVEL / min(IMAGENET_STD)


def test_a_pocket_batch_is_quick():
    preset = PRESETS["pocket"]
    pipeline = InputPipeline(preset.video, preset.audio)
    batch = {"video": noise(64, 8, 56, 56), "audio": torch.randn(64, 1, 32_000, generator=generator())}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        seconds = []
        for seed in range(6):
            begin = time.process_time()
            pipeline(batch, generator(seed))
            seconds.append(time.process_time() - begin)
    finally:
        torch.set_num_threads(threads)
    assert min(seconds) < 0.15  # 0.04 on an idle core

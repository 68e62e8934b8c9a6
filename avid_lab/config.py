"""What a clip is, what a model is, how it is trained: plain frozen dataclasses and the named presets.

Nothing here computes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from types import NoneType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

Config = TypeVar("Config")


def side_for(size: int) -> int:
    """Side of decoded frames: even, and at least 8/7 of the crops that training takes from them (256 for 224)."""
    return 2 * -(-size * 4 // 7)


def _require(condition: bool, name: str, rule: str, got: object) -> None:
    if not condition:
        raise ValueError(f"{name} must be {rule}; got {got!r}")


@dataclass(frozen=True)
class VideoSpec:
    """The picture half of a clip: ``frames`` frames at ``fps``, square of ``size`` pixels.

    Args:
        frames: Number of frames T.
        fps: Frames per second after resampling.
        size: Side in pixels; the shorter side is scaled to it and the centre is kept. ``None`` keeps the file's size.
    """

    frames: int = 8
    fps: float = 16.0
    size: int | None = 112

    def __post_init__(self) -> None:
        _require(self.frames >= 1, "VideoSpec.frames", ">= 1", self.frames)
        _require(self.fps > 0, "VideoSpec.fps", "> 0", self.fps)
        _require(self.size is None or self.size >= 8, "VideoSpec.size", ">= 8 pixels, or None", self.size)

    @property
    def duration_s(self) -> float:
        """Length of the clip in seconds."""
        return self.frames / self.fps


@dataclass(frozen=True)
class AudioSpec:
    """The sound half of a clip: a mono waveform and the log spectrogram made of it.

    Args:
        rate: Samples per second after resampling.
        duration_s: Length of the waveform in seconds.
        frames: Spectrogram frames; the hop is ``duration_s / frames``.
        n_fft: Half the STFT length, so that ``bins = n_fft / 2 + 1`` after pairing neighbours.
    """

    rate: int = 24_000
    duration_s: float = 2.0
    frames: int = 100
    n_fft: int = 256

    def __post_init__(self) -> None:
        _require(self.rate >= 1000, "AudioSpec.rate", ">= 1000 samples a second", self.rate)
        _require(self.duration_s > 0, "AudioSpec.duration_s", "> 0", self.duration_s)
        _require(self.n_fft >= 2 and self.n_fft % 2 == 0, "AudioSpec.n_fft", "even and >= 2", self.n_fft)
        _require(
            1 <= self.frames <= self.samples, "AudioSpec.frames", f"between 1 and {self.samples} samples", self.frames
        )

    @property
    def samples(self) -> int:
        """Waveform samples of one clip."""
        return round(self.rate * self.duration_s)

    @property
    def bins(self) -> int:
        """Frequency bins of the spectrogram: the lowest one, then neighbours averaged in pairs."""
        return self.n_fft // 2 + 1


@dataclass(frozen=True)
class ModelConfig:
    """Everything `AudioVisualModel` needs to be built, with the clips it expects.

    Args:
        video: Clips the video encoder sees.
        audio: Clips the audio encoder sees.
        video_backbone: "avid" is the paper's network; "r2plus1d_18" torchvision's, whose sizes are its own.
        video_widths: Channels of the video stem and of its four residual stages.
        video_blocks: Residual blocks in each of the four stages ((1, 1, 1, 1) is depth 10, (2, 2, 2, 2) depth 18).
        video_stem: Kernel (time, height, width) of the video stem.
        video_stem_stride: Its stride.
        video_stem_pool: Whether a max pool halves the picture once more after the stem.
        audio_widths: Channels of the audio stem and of its four blocks.
        pooled_blocks: How many of each network's last blocks are pooled, 1 to 4. The heads see their maxima together;
            the paper's see those of the last block.
        head: Hidden widths of the projection heads.
        head_norm: Whether the heads batch-normalise after every layer (the paper's do not).
        dim: Size D of the embedding.
    """

    video: VideoSpec = field(default_factory=VideoSpec)
    audio: AudioSpec = field(default_factory=AudioSpec)
    video_backbone: Literal["avid", "r2plus1d_18"] = "avid"
    video_widths: tuple[int, int, int, int, int] = (64, 64, 128, 256, 512)
    video_blocks: tuple[int, int, int, int] = (2, 2, 2, 2)
    video_stem: tuple[int, int, int] = (3, 7, 7)
    video_stem_stride: tuple[int, int, int] = (1, 2, 2)
    video_stem_pool: bool = True
    audio_widths: tuple[int, int, int, int, int] = (64, 64, 128, 256, 512)
    pooled_blocks: int = 1
    head: tuple[int, ...] = (512, 512)
    head_norm: bool = False
    dim: int = 128

    def __post_init__(self) -> None:
        known = ("avid", "r2plus1d_18")
        _require(self.video_backbone in known, "ModelConfig.video_backbone", f"one of {known}", self.video_backbone)
        _require(len(self.video_widths) == 5, "ModelConfig.video_widths", "5 widths", self.video_widths)
        _require(len(self.video_blocks) == 4, "ModelConfig.video_blocks", "4 counts", self.video_blocks)
        _require(len(self.audio_widths) == 5, "ModelConfig.audio_widths", "5 widths", self.audio_widths)
        _require(1 <= self.pooled_blocks <= 4, "ModelConfig.pooled_blocks", "1 to 4", self.pooled_blocks)


PRESETS: dict[str, ModelConfig] = {
    # A laptop's CPU trains this one in minutes.
    "pocket": ModelConfig(
        video=VideoSpec(frames=8, fps=8.0, size=48),
        audio=AudioSpec(rate=16_000, duration_s=2.0, frames=64, n_fft=128),
        video_widths=(16, 16, 32, 64, 128),
        video_blocks=(1, 1, 1, 1),
        audio_widths=(16, 16, 32, 64, 128),
        # Three departures from the paper let it learn in minutes (data/reference/search.md has the measurements). The
        # stem joins two frames, which halves the work of all later layers. The heads see all four blocks, so that the
        # simple features of the first ones teach from the first steps on. And they are normalised: embeddings start
        # spread out instead of nearly equal.
        video_stem=(2, 5, 5),
        video_stem_stride=(2, 2, 2),
        pooled_blocks=4,
        head=(128, 128),
        head_norm=True,
    ),
    # The paper's ablations: depth 10, 8 frames in half a second, 112 pixels.
    "paper-small": ModelConfig(video_blocks=(1, 1, 1, 1)),
    # The paper's main model: R(2+1)D-18 without widening and nine audio convolutions, 21,286,784 parameters.
    "paper": ModelConfig(
        video=VideoSpec(frames=8, fps=16.0, size=224),
        audio=AudioSpec(frames=200, n_fft=512),
    ),
}


@dataclass(frozen=True)
class TrainConfig:
    """How `Trainer` trains.

    Args:
        steps: Optimiser steps of the whole run.
        batch_size: Instances per step, summed over processes and parts of a batch.
        optimizer: "adamw" (decoupled weight decay) or "adam" (weight decay added to the gradient, as released).
        learning_rate: Peak of the schedule.
        weight_decay: Weight decay of the optimiser.
        schedule: After the warm-up: "one_cycle" (half a cosine to zero), "constant", or "step" (see milestones).
        warmup: Share of the steps during which the learning rate rises, in [0, 1).
        milestones: Shares of the run, in (0, 1) and rising, at which "step" lowers the learning rate.
        milestone_factor: Factor on the learning rate at each milestone of "step", in (0, 1].
        crop: Smallest random crop, as a share of the frame's area, in (0, 1].
        colour: Strength of random colours, in [0, 1]. At 1, as in the paper, brightness, contrast and saturation change
            by up to 40 % and hue by up to a fifth of a turn.
        clip_norm: Largest norm of the gradient; longer gradients are scaled down. None: no clipping.
        accumulate: Number of parts into which each process splits its batch, to save memory. Negatives and memories do
            not change; in-batch losses and batch norm see one part at a time.
        ema: Decay of a moving average of the weights, in (0, 1), such as 0.999. None: no average.
        precision: Number format of the encoders (autocast): "float32", "bfloat16", or "float16" with scaled gradients;
            "auto" is bfloat16 on NVIDIA GPUs from Ampere on, float16 on older ones, and float32 elsewhere. Losses and
            memories are in float32.
        compile: Whether to compile the model with torch.compile: slow to start, then faster.
        remine_every: Passes over the clips between two minings of CMA's positives. None: never mine again.
        seed: Seed of batches, augmentation and windows; the same seed on the same machine repeats the run.
        device: A torch device name, or "auto": CUDA if available, otherwise the CPU.
    """

    steps: int = 1100
    batch_size: int = 64
    optimizer: Literal["adamw", "adam"] = "adamw"
    learning_rate: float = 4e-3
    weight_decay: float = 1e-5
    schedule: Literal["one_cycle", "constant", "step"] = "one_cycle"
    warmup: float = 0.15
    milestones: tuple[float, ...] = ()
    milestone_factor: float = 0.1
    crop: float = 0.6
    colour: float = 0.5
    clip_norm: float | None = None
    accumulate: int = 1
    ema: float | None = None
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    compile: bool = False
    remine_every: float | None = None
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        _require(self.steps >= 1, "TrainConfig.steps", ">= 1", self.steps)
        _require(
            self.batch_size >= 2, "TrainConfig.batch_size", ">= 2 (batch normalisation needs two)", self.batch_size
        )
        _require(self.optimizer in ("adamw", "adam"), "TrainConfig.optimizer", "'adamw' or 'adam'", self.optimizer)
        _require(self.learning_rate > 0, "TrainConfig.learning_rate", "> 0", self.learning_rate)
        known = ("one_cycle", "constant", "step")
        _require(self.schedule in known, "TrainConfig.schedule", f"one of {', '.join(known)}", self.schedule)
        _require(0 <= self.warmup < 1, "TrainConfig.warmup", "in [0, 1)", self.warmup)
        rising = list(self.milestones) == sorted(set(self.milestones)) and all(0 < m < 1 for m in self.milestones)
        _require(rising, "TrainConfig.milestones", "in (0, 1) and rising", self.milestones)
        stepped = self.schedule == "step"
        rule = "given for the schedule 'step', and only for that"
        _require(bool(self.milestones) == stepped, "TrainConfig.milestones", rule, self.milestones)
        _require(0 < self.milestone_factor <= 1, "TrainConfig.milestone_factor", "in (0, 1]", self.milestone_factor)
        _require(0 < self.crop <= 1, "TrainConfig.crop", "in (0, 1]", self.crop)
        _require(0 <= self.colour <= 1, "TrainConfig.colour", "in [0, 1]", self.colour)
        _require(self.clip_norm is None or self.clip_norm > 0, "TrainConfig.clip_norm", "> 0, or None", self.clip_norm)
        fits = self.accumulate >= 1 and self.batch_size % self.accumulate == 0 and self.batch_size > self.accumulate
        rule = f">= 1, a divisor of the batch of {self.batch_size}, with two clips or more a part"
        _require(fits, "TrainConfig.accumulate", rule, self.accumulate)
        _require(self.ema is None or 0 < self.ema < 1, "TrainConfig.ema", "in (0, 1), or None", self.ema)
        known = ("auto", "float32", "bfloat16", "float16")
        _require(self.precision in known, "TrainConfig.precision", f"one of {', '.join(known)}", self.precision)
        mining = self.remine_every is None or self.remine_every > 0
        _require(mining, "TrainConfig.remine_every", "> 0 passes, or None", self.remine_every)


@dataclass(frozen=True)
class Recipe:
    """A whole training: AVID, then CMA from where AVID ended. Its length is given in passes over the data.

    Args:
        model: Model preset.
        train: Settings of AVID. Its steps count only where ``passes`` is None.
        num_negatives: Negatives of every query.
        passes: Passes of AVID over the videos; None takes ``train.steps``, whatever the data.
        clips_per_video: Windows that one such pass takes of every video.
        cma_passes: Passes of CMA; None takes ``train.steps``.
        cma_learning_rate: Peak learning rate of CMA.
        remine_passes: Passes after which CMA mines again.
    """

    model: str
    train: TrainConfig
    num_negatives: int
    passes: int | None
    clips_per_video: int
    cma_passes: int | None
    cma_learning_rate: float
    remine_passes: int

    def config(self, num_clips: int, objective: Literal["avid", "cma"] = "avid") -> TrainConfig:
        """The settings for ``num_clips`` training clips; a batch is no larger than those."""
        passes = self.passes if objective == "avid" else self.cma_passes
        size = min(self.train.batch_size, num_clips)
        steps = self.train.steps
        if passes is not None:
            steps = max(1, round(passes * self.clips_per_video * num_clips / size))
        settings = replace(self.train, steps=steps, batch_size=size)
        if objective == "avid":
            return settings
        remine_every = float(self.remine_passes * self.clips_per_video)  # `Trainer` takes one window a pass
        return replace(settings, learning_rate=self.cma_learning_rate, remine_every=remine_every)


_ADAM = TrainConfig(
    batch_size=256,
    optimizer="adam",
    learning_rate=2e-4,
    weight_decay=1e-5,
    schedule="constant",
    warmup=0.0,
    crop=0.3,
    colour=1.0,
)

# The paper's ablations: 100 K clips of AudioSet, 1e-4 "stepped". Where it steps is our choice, as is CMA's rate.
_PAPER_SMALL = Recipe(
    "paper-small",
    replace(_ADAM, learning_rate=1e-4, schedule="step", milestones=(0.6, 0.8)),
    num_negatives=1024,
    passes=100,
    clips_per_video=4,
    cma_passes=75,
    cma_learning_rate=1e-4,
    remine_passes=10,
)

RECIPES: dict[str, Recipe] = {
    # Ours, for minutes on a CPU. CMA's rate is half of AVID's: chosen, not tuned.
    "pocket": Recipe("pocket", TrainConfig(), 512, None, 1, None, cma_learning_rate=2e-3, remine_passes=5),
    "paper-small": _PAPER_SMALL,
    # Ours, for 20,000 videos and one GPU in half a day or less: the ablations' settings for a quarter of the windows.
    # Nobody has run it on a GPU yet.
    "one-gpu": replace(_PAPER_SMALL, clips_per_video=1),
    # The paper's main models, the first on Kinetics-400. Batches are those of one of the authors' machines.
    "paper": Recipe("paper", _ADAM, 1024, 30, 10, 20, cma_learning_rate=2e-4, remine_passes=5),
    "paper-audioset": Recipe(
        "paper",
        replace(_ADAM, batch_size=160, learning_rate=5e-4),
        num_negatives=1024,
        passes=40,
        clips_per_video=5,
        cma_passes=40,
        cma_learning_rate=1e-4,
        remine_passes=10,
    ),
}


@dataclass(frozen=True)
class Profile:
    """How big the notebooks' runs are on this machine (`avid_lab.profile()`)."""

    name: str
    world: str  # the foley preset that notebooks load
    model: str  # the model preset that notebooks build
    train: TrainConfig
    num_negatives: int


_GPU = TrainConfig(steps=1000, batch_size=256, learning_rate=5e-4, crop=0.3, colour=1.0)

PROFILES: dict[str, Profile] = {
    "smoke": Profile("smoke", "smoke", "pocket", TrainConfig(steps=6, batch_size=16), num_negatives=32),
    "cpu": Profile("cpu", "pocket", "pocket", TrainConfig(), num_negatives=512),
    # 256,000 windows of 12.4 GFLOP: estimated 4 minutes on a T4, 15 seconds on an H200, and as long as reading takes.
    "gpu": Profile("gpu", "full", "paper-small", _GPU, 1024),
}


def profile() -> Profile:
    """The profile that ``AVID_LAB_PROFILE`` names, or the one that fits the device found.

    Until the world ``full`` is rendered (`avid-lab data build full`), ``pocket`` stands in for it.

    Raises:
        ValueError: ``AVID_LAB_PROFILE`` names no profile.
    """
    name = os.environ.get("AVID_LAB_PROFILE")
    if name is None:
        import torch  # only needed to look for a GPU

        name = "gpu" if torch.cuda.is_available() else "cpu"
    if name not in PROFILES:
        rule = f"AVID_LAB_PROFILE must be one of {', '.join(PROFILES)}"
        raise ValueError(f"{rule}; got {name!r}. Unset it to choose by the device found.")
    chosen = PROFILES[name]
    rendered = (manifest for folder in data_dirs() for manifest in folder.glob("foley/full-*/manifest.csv"))
    if chosen.world == "full" and not any(rendered):
        return replace(chosen, world="pocket")
    return chosen


def course_profile() -> Profile:
    """The profile of what continues the course's reference runs: their small model and world, on a GPU too."""
    chosen, small = profile(), PROFILES["cpu"]
    return replace(small, name="gpu", train=replace(small.train, steps=2000)) if chosen.name == "gpu" else chosen


def data_dir() -> Path:
    """Where rendered worlds and decoded clips are kept: ``AVID_LAB_DATA``, or ``~/.cache/avid_lab``."""
    return Path(os.environ.get("AVID_LAB_DATA") or _own_data_dir()).expanduser()


def data_dirs() -> list[Path]:
    """Folders in which rendered worlds and decoded clips are looked for; new ones go to the last.

    A class shares one `data_dir()`. For those who cannot write there, what it lacks goes to ``~/.cache/avid_lab``.
    """
    shared, own = data_dir(), _own_data_dir()
    existing = next(place for place in (shared, *shared.parents) if place.exists())
    return [shared] if shared == own or os.access(existing, os.W_OK) else [shared, own]


def data_path(*names: str) -> Path:
    """The place of a file or folder: in the first of `data_dirs` that has it, otherwise in the last."""
    places = [folder.joinpath(*names) for folder in data_dirs()]
    return next((place for place in places if place.exists()), places[-1])


def _own_data_dir() -> Path:
    return Path.home() / ".cache" / "avid_lab"


def from_plain(kind: type[Config], values: object, where: str) -> Config:
    """A configuration from plain values, as JSON files, checkpoints and state strings hold them.

    Args:
        kind: One of the dataclasses above.
        values: By field; what is missing gets its default.
        where: What holds the values, for errors.

    Raises:
        ValueError: A field is unknown, of another type or outside its range.
    """
    return kind(**typed_fields(kind, values, where))


def typed_fields(kind: type, values: object, where: str) -> dict[str, Any]:
    """Plain values as the fields of a dataclass hold them: 1 becomes 1.0, and a list a tuple, where the field says so.

    Raises:
        ValueError: ``values`` is no mapping, a field is unknown, or a value is of another type.
    """
    hints = {f.name: get_type_hints(kind)[f.name] for f in fields(kind)}
    if not isinstance(values, Mapping):
        raise ValueError(f"{where}: must be an object with {', '.join(hints)}; got {values!r}")
    unknown = sorted(map(str, set(values) - set(hints)))
    if unknown:
        raise ValueError(f"{where}: has no {', '.join(unknown)}; it has {', '.join(hints)}")
    return {name: _typed(hints[name], value, f"{where}: {name}") for name, value in values.items()}


def _typed(hint: Any, value: Any, name: str) -> Any:
    options = get_args(hint)
    if NoneType in options:  # "float | None"
        hint = next(option for option in options if option is not NoneType)
        return None if value is None else _typed(hint, value, f"{name} (if not null)")
    if is_dataclass(hint):
        return from_plain(hint, value, name)  # pyright: ignore[reportArgumentType]
    if get_origin(hint) is tuple:
        if isinstance(value, list | tuple) and (options[-1] is Ellipsis or len(value) == len(options)):
            return tuple(_typed(options[0], item, name) for item in value)
        wanted = "a list" if options[-1] is Ellipsis else f"a list of {len(options)}"
    elif get_origin(hint) is list:
        if isinstance(value, list):
            return [_typed(options[0], item, name) for item in value]
        wanted = "a list"
    elif get_origin(hint) is dict:
        if isinstance(value, Mapping):
            return {_typed(options[0], key, name): _typed(options[1], item, name) for key, item in value.items()}
        wanted = "an object"
    elif get_origin(hint) is Literal:
        if isinstance(value, str) and value in options:
            return value
        wanted = f"one of {', '.join(map(repr, options))}"
    else:
        plain = value
        if isinstance(value, int) and not isinstance(value, bool) and hint in (int, float):
            if abs(value) >= 2**63:
                raise ValueError(f"{name} must be below 2**63; got a number of {value.bit_length()} bits")
            plain = float(value) if hint is float else value
        if isinstance(plain, hint) and (hint is bool or not isinstance(plain, bool)):
            return plain
        wanted = {float: "a number", int: "a whole number", bool: "true or false", str: "text"}[hint]
    raise ValueError(f"{name} must be {wanted}; got {value!r}")

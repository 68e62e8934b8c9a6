"""Outputs of a model, which does not change: embeddings, block features; and its untrained twin."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from tqdm.auto import tqdm

from avid_lab.datasets import ClipDataset
from avid_lab.encoders import AudioVisualModel
from avid_lab.transforms import InputPipeline

PIXELS = 4_014_080  # embedded at a time on a CPU
POOLED_SIDES = {"block1": 12, "block2": 8, "block3": 6, "block4": 4}  # side of the grid on which a block is probed


@dataclass(frozen=True)
class Embeddings:
    """A model's output for every clip, averaged over the clip's windows; all on the CPU.

    Attributes:
        video: (N, D) unit embeddings of pictures.
        audio: (N, D) unit embeddings of sounds.
        video_features: (N, F) pooled output of the last video block.
        audio_features: (N, F') pooled output of the last audio block.
        labels: (N,) classes.
        video_windows: (N, W, D) unit embeddings of the single windows of pictures.
        audio_windows: (N, W, D) unit embeddings of the single windows of sounds.
    """

    video: Float[Tensor, "N D"]
    audio: Float[Tensor, "N D"]
    video_features: Float[Tensor, "N F"]
    audio_features: Float[Tensor, "N G"]
    labels: Int64[Tensor, " N"]
    video_windows: Float[Tensor, "N W D"]
    audio_windows: Float[Tensor, "N W D"]


@torch.no_grad()
def embed(
    model: AudioVisualModel,
    clips: ClipDataset,
    pipeline: InputPipeline,
    *,
    windows: int = 2,
    batch_size: int | None = None,
    progress: bool = False,
) -> Embeddings:
    """Embed every clip without augmentation.

    Args:
        model: Used in evaluation mode and left in the mode it had.
        clips: Clips to embed.
        pipeline: The one the model was trained with (it holds the spectrogram statistics).
        windows: Windows per clip, evenly spaced in time; their embeddings are averaged.
        batch_size: Windows embedded at a time; None takes `windows_at_a_time`.
        progress: Whether to show a progress bar.

    Raises:
        ValueError: ``windows`` or ``batch_size`` is below one, or the clips are read for one sense only.
    """
    if clips.streams != "both":
        raise ValueError(f"embed needs clips with picture and sound; these are read for {clips.streams} only")
    rows: list[tuple[Tensor, ...]] = []
    with evaluating(model, pipeline):
        for inputs in _inputs(model, clips, pipeline, windows, batch_size, "embedding", progress):
            video, audio = inputs["video"], inputs["audio"]
            video_features, audio_features = model.video_encoder(video), model.audio_encoder(audio)
            heads = model.video_head(video_features), model.audio_head(audio_features)
            units = [nn.functional.normalize(x.float(), dim=1) for x in heads]
            rows.append(
                tuple(x.float().unflatten(0, (-1, windows)).cpu() for x in (*units, video_features, audio_features))
            )
    video, audio, video_features, audio_features = (torch.cat(column) for column in zip(*rows, strict=True))
    return Embeddings(
        video=nn.functional.normalize(video.mean(1), dim=1),
        audio=nn.functional.normalize(audio.mean(1), dim=1),
        video_features=video_features.mean(1),
        audio_features=audio_features.mean(1),
        labels=clips.labels,
        video_windows=video,
        audio_windows=audio,
    )


@dataclass(frozen=True)
class BlockFeatures:
    """Features of every block for every window, max-pooled to a small grid; all on the CPU.

    Attributes:
        video: By block, (N, W, F) features of pictures; empty if the clips are read for their sound only.
        audio: By block, (N, W, F) features of sounds; empty if they are read for their picture only.
        labels: (N,) classes.
    """

    video: dict[str, Float[Tensor, "N W _"]]
    audio: dict[str, Float[Tensor, "N W _"]]
    labels: Int64[Tensor, " N"]


@torch.no_grad()
def block_features(
    model: AudioVisualModel,
    clips: ClipDataset,
    pipeline: InputPipeline,
    *,
    windows: int = 2,
    batch_size: int | None = None,
    progress: bool = False,
) -> BlockFeatures:
    """The features that the paper probes: the map of each block, max-pooled over time and to 12, 8, 6 or 4 per side.

    A map that is already smaller, as in the pocket model, keeps its size. The paper's model has about 9,000 features
    per block: 37 kB per window.

    Args:
        model: The model; it runs in evaluation mode and does not change.
        clips: The clips.
        pipeline: The pipeline that the model was trained with.
        windows: Windows per clip, evenly spaced in time.
        batch_size: Windows per batch; None takes `windows_at_a_time`.
        progress: Whether to show a progress bar.

    Raises:
        ValueError: ``windows`` or ``batch_size`` is below one.
    """
    rows: dict[str, dict[str, list[Tensor]]] = {"video": {}, "audio": {}}
    encoders = {"video": model.video_encoder, "audio": model.audio_encoder}
    with evaluating(model, pipeline):
        for inputs in _inputs(model, clips, pipeline, windows, batch_size, "features", progress):
            for sense, x in inputs.items():
                maps = encoders[sense].block_maps(x)
                for name, side in POOLED_SIDES.items():
                    pooled = _max_pool(maps[name].float(), side)
                    rows[sense].setdefault(name, []).append(pooled.unflatten(0, (-1, windows)).cpu())
    video, audio = ({name: torch.cat(parts) for name, parts in kept.items()} for kept in rows.values())
    return BlockFeatures(video, audio, clips.labels)


def _max_pool(x: Tensor, side: int) -> Tensor:
    """(B, C, [T,] H, W) to (B, C * h * w), h and w at most ``side``."""
    if x.ndim == 5:
        x = x.amax(2)
    return nn.functional.adaptive_max_pool2d(x, (min(side, x.shape[2]), min(side, x.shape[3]))).flatten(1)


def _inputs(
    model: AudioVisualModel,
    clips: ClipDataset,
    pipeline: InputPipeline,
    windows: int,
    batch_size: int | None,
    what: str,
    progress: bool,
) -> Iterator[dict[str, Tensor]]:
    """Pictures and spectrograms of all windows, those of one clip together, on the model's device."""
    batch_size = windows_at_a_time(model) if batch_size is None else batch_size
    if windows < 1 or batch_size < 1:
        raise ValueError(f"windows and batch_size must be >= 1; got {windows} and {batch_size}")
    device = next(model.parameters()).device
    parts = torch.arange(len(clips)).split(max(1, batch_size // windows))
    batches = clips.batches(parts, windows, pin=device.type == "cuda")
    for batch in tqdm(batches, desc=what, unit="batch", total=len(parts), disable=not progress):
        yield {sense: x.to(device) for sense, x in pipeline.senses(batch).items()}


def windows_at_a_time(model: AudioVisualModel) -> int:
    """How many windows are embedded at once: 128 of a small model; fewer large pictures, which need memory.

    The paper's model takes 10 on a CPU (about 1 GB) and 100 on a GPU.
    """
    video = model.config.video
    pixels = video.frames * (video.size or 224) ** 2
    most = PIXELS * (1 if next(model.parameters()).device.type == "cpu" else 10)
    return max(1, min(128, most // pixels))


@contextmanager
def evaluating(*modules: nn.Module) -> Iterator[None]:
    """Evaluation mode; afterwards every layer returns to its own mode, also after an error."""
    modes = [(layer, layer.training) for module in modules for layer in module.modules()]
    for module in modules:
        module.eval()
    try:
        yield
    finally:
        for layer, mode in modes:
            layer.training = mode


def random_twin(
    model: AudioVisualModel, clips: ClipDataset, pipeline: InputPipeline, *, seed: int = 0
) -> AudioVisualModel:
    """The same architecture, untrained: the baseline for every trained model.

    Its batch-norm statistics are measured on a few batches of real clips. With statistics that do not fit its own
    activations, an untrained network would be too easy to beat.

    Args:
        model: The model whose architecture and device to copy.
        clips: Clips to measure the statistics on.
        pipeline: The model's input pipeline.
        seed: Seed of the random weights.
    """
    device = next(model.parameters()).device
    twin = AudioVisualModel(model.config, seed=seed).to(device)
    for norm in (m for m in twin.modules() if isinstance(m, nn.BatchNorm2d | nn.BatchNorm3d)):
        norm.momentum = None  # a plain average over the batches below
    twin.train()
    order = torch.randperm(len(clips), generator=torch.Generator().manual_seed(seed))
    with torch.no_grad(), evaluating(pipeline):
        for batch in clips.batches(
            [index for index in order[:256].split(max(2, min(64, windows_at_a_time(twin)))) if len(index) > 1]
        ):
            for sense, x in pipeline.senses(batch).items():
                {"video": twin.embed_video, "audio": twin.embed_audio}[sense](x.to(device))
    return twin.eval()

"""Clips from outside the set, to ask with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from avid_lab import media
from avid_lab.config import AudioSpec, VideoSpec
from avid_lab.datasets import ClipDataset, Manifest, Record
from avid_lab.encoders import AudioVisualModel
from avid_lab.evaluation import embed
from avid_lab.transforms import InputPipeline

OWN_SECONDS = 8.0  # of an uploaded file that are used


@dataclass(frozen=True)
class OwnClip:
    """A clip from outside the set.

    Attributes:
        name: What the file was called.
        path: A copy that plays.
        embedding: (D,) by modality, "video" and "audio".
    """

    name: str
    path: Path
    embedding: dict[str, Float[Tensor, " D"]]


def own_copy(source: Path, target: Path) -> Path:
    """The first seconds of any video as a plain mp4 file.

    Args:
        source: Anything that FFmpeg decodes, with picture and sound.
        target: Where to.

    Raises:
        MediaError: It is no such video.
    """
    info = media.probe(source)
    # What a browser records does not say how long it is; then a minute is tried, and what is missing cut off.
    length = min(info.duration_s if info.duration_s > 0.1 else OWN_SECONDS, OWN_SECONDS)
    fps = min((info.video.fps if info.video else None) or 15.0, 16.0)
    clip = media.read_clip(source, 0.0, VideoSpec(max(1, int(length * fps)), fps, None), AudioSpec(24_000, length, 1))
    return media.write_clip(target, clip)


def embed_file(
    path: Path, like: ClipDataset, model: AudioVisualModel, pipeline: InputPipeline
) -> dict[str, Float[Tensor, " D"]]:
    """What a model makes of one file, by modality.

    Args:
        path: A video with sound.
        like: Clips whose windows the model knows.
        model: It.
        pipeline: Its input pipeline.

    Raises:
        MediaError: The file is unusable.
    """
    record = Record("own", path.name, like.classes[0], media.probe(path).duration_s)
    manifest = Manifest(path.parent, [record])
    alone = ClipDataset(manifest, video=like.video, audio=like.audio, cache=False, progress=False)
    made = embed(model, alone, pipeline)
    return {"video": made.video[0].cpu(), "audio": made.audio[0].cpu()}

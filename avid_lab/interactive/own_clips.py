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
OWN_SIDE = 320  # pixels of its copy's shorter side at most, more than any preset of ours looks at


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
    """The first `OWN_SECONDS` in which a video has picture and sound, as a small mp4 file.

    Frames are scaled to at most `OWN_SIDE` while they are decoded, so length and size of the video hardly matter.

    Args:
        source: Anything that FFmpeg decodes, with picture and sound.
        target: Where to.

    Raises:
        MediaError: It is no such video.
    """
    info = media.probe(source)
    begin_s, end_s = next(iter(info.both_s), (0.0, OWN_SECONDS))
    # What a browser records may not say how long it is; then more is tried, and what is missing is silent and still.
    length_s = min(end_s - begin_s if end_s - begin_s > 0.1 else OWN_SECONDS, OWN_SECONDS)
    fps = min((info.video.fps if info.video else None) or 15.0, 16.0)
    video, audio = VideoSpec(max(1, int(length_s * fps)), fps, None), AudioSpec(24_000, length_s, 1)
    return media.write_clip(target, media.read_clip(source, begin_s, video, audio, short_side=OWN_SIDE))


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

"""Queries from outside the dataset."""

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
    """A clip from outside the dataset.

    Attributes:
        name: Name of the file.
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
        target: Destination.

    Raises:
        MediaError: The file is not such a video.
    """
    info = media.probe(source)
    begin_s, end_s = next(iter(info.both_s), (0.0, OWN_SECONDS))
    # A browser's recording may not give its length: then more is read, padded with silence and the last frame.
    length_s = min(end_s - begin_s if end_s - begin_s > 0.1 else OWN_SECONDS, OWN_SECONDS)
    fps = min((info.video.fps if info.video else None) or 15.0, 16.0)
    video, audio = VideoSpec(max(1, int(length_s * fps)), fps, None), AudioSpec(24_000, length_s, 1)
    return media.write_clip(target, media.read_clip(source, begin_s, video, audio, short_side=OWN_SIDE))


def embed_file(
    path: Path, like: ClipDataset, model: AudioVisualModel, pipeline: InputPipeline
) -> dict[str, Float[Tensor, " D"]]:
    """A model's embeddings of one file, by modality.

    Args:
        path: A video with sound.
        like: Clips with the windows that the model was trained on.
        model: The model.
        pipeline: Its input pipeline.

    Raises:
        MediaError: The file is unusable.
    """
    record = Record("own", path.name, like.classes[0], media.probe(path).duration_s)
    manifest = Manifest(path.parent, [record])
    alone = ClipDataset(manifest, video=like.video, audio=like.audio, cache=False, progress=False)
    made = embed(model, alone, pipeline)
    return {"video": made.video[0].cpu(), "audio": made.audio[0].cpu()}

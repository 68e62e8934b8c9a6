"""Reading the released files."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from avid_lab.config import ModelConfig
from avid_lab.encoders import AudioVisualModel
from avid_lab.encoders.released import CheckpointError, read_part, understanding
from avid_lab.fetching import STATISTICS
from avid_lab.memory import MemoryBank
from avid_lab.official.names import criterion_tensors
from avid_lab.transforms import InputPipeline

MOST_BYTES = 10**6  # of a spectrogram's statistics


@dataclass(frozen=True)
class OfficialCriterion:
    """The contents of a released training file in addition to the model.

    Attributes:
        memory: Video and audio memories of every training clip.
        partition: The shared Z; ``None`` if it was never estimated.
        positives: (N, k) mined positives; ``None`` in AVID files.
    """

    memory: MemoryBank
    partition: float | None
    positives: Int64[Tensor, "N k"] | None


def load_official(path: str | Path) -> AudioVisualModel:
    """The model of a released ``*_checkpoint.pth.tar`` file, in evaluation mode.

    Depth and widths are read from the file, so the depth-10 ablations load as well.

    Raises:
        CheckpointError: The file is missing or unreadable, or its keys or shapes differ from the paper's.
    """
    return AudioVisualModel.from_released_file(path)


def released_pipeline(path: str | Path, config: ModelConfig) -> InputPipeline | None:
    """The authors' input pipeline, if their spectrogram statistics are beside the weights; else None.

    Args:
        path: The weights' file.
        config: The network's.

    Raises:
        CheckpointError: The statistics are unreadable, or of another spectrogram.
    """
    path = Path(path).with_name(STATISTICS.place)
    if not path.is_file():
        return None
    bins, found = config.audio.bins, {}
    with understanding(path, "It must be the spectrogram's statistics: fetch it again."):
        with zipfile.ZipFile(path) as archive:
            if sum(part.file_size for part in archive.infolist()) > MOST_BYTES:
                raise ValueError(f"unpacked it is larger than {MOST_BYTES / 1e6:.0f} MB")
        with np.load(path) as file:
            found = {name: torch.from_numpy(file[name]) for name in ("mean", "std")}
    if any(x.shape != (bins,) for x in found.values()):
        shapes = " and ".join(str(tuple(x.shape)) for x in found.values())
        raise CheckpointError(f"{path}: mean and std must have {bins} values each; got {shapes}. Fetch it again.")
    pipeline = InputPipeline(config.video, config.audio)
    pipeline.spectrogram.mean.copy_(found["mean"])
    pipeline.spectrogram.std.copy_(found["std"] + 1e-5)  # as released
    return pipeline.eval()


def load_official_criterion(path: str | Path) -> OfficialCriterion:
    """Memories, partition constant and positives of a released training file.

    To continue the authors' training::

        found = load_official_criterion(path)
        objective = AVID(len(found.memory), 128, partition="shared")
        objective.memory.load_state_dict(found.memory.state_dict())
        objective.partition.fill_(found.partition)

    Raises:
        CheckpointError: The file is missing or unreadable, or has no memories.
    """
    path = Path(path)
    found = criterion_tensors(read_part(path, "train_criterion"))
    with understanding(path, "Download it again, or choose a released file."):
        return _criterion(path, found)


def _criterion(path: Path, found: dict[str, Tensor]) -> OfficialCriterion:
    absent = [name for name in ("memory.video", "memory.audio") if name not in found]
    if absent:
        raise CheckpointError(f"{path}: has no {' and no '.join(absent)}. Use a training file, which has memories.")
    video, audio = found["memory.video"].float(), found["memory.audio"].float()
    if video.ndim != 2 or video.shape != audio.shape:
        raise CheckpointError(f"{path}: memories must both be (N, D); got {tuple(video.shape)}, {tuple(audio.shape)}.")
    memory = MemoryBank(*video.shape, generator=torch.Generator())
    memory.video.copy_(torch.nn.functional.normalize(video, dim=1))
    memory.audio.copy_(torch.nn.functional.normalize(audio, dim=1))
    z = float(found["partition"]) if "partition" in found else -1.0
    positives = found["positives"].long() if "positives" in found else None
    return OfficialCriterion(memory, z if z > 0 else None, positives)


def load_official_memory(path: str | Path) -> MemoryBank:
    """The memories of a released training file; `load_official_criterion` has the rest.

    Raises:
        CheckpointError: The file is missing or unreadable, or has no memories.
    """
    return load_official_criterion(path).memory

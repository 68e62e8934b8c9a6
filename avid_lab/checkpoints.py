"""Saving and resuming training runs: whole files only, tensors and plain values only."""

from __future__ import annotations

import dataclasses
import os
import pickle
from pathlib import Path
from typing import Any

import torch

from avid_lab.config import AudioSpec, ModelConfig, VideoSpec
from avid_lab.encoders import AudioVisualModel
from avid_lab.official import CheckpointError, load_official, load_official_memory
from avid_lab.training import Trainer
from avid_lab.transforms import InputPipeline

__all__ = ["CheckpointError", "load_model", "load_official", "load_official_memory", "resume", "save"]

FORMAT = 1


def save(path: str | Path, trainer: Trainer) -> Path:
    """Write a training run so that it can go on exactly where it is.

    The file is written under a temporary name, flushed to disk and renamed: a crash leaves the old file or the new one,
    never half of one.

    Args:
        path: Where to; its folder is made.
        trainer: The run.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "format": FORMAT,
        "model_config": dataclasses.asdict(trainer.model.config),
        "train_config": dataclasses.asdict(trainer.config),
        "objective": type(trainer.objective).__name__,
        "weights": getattr(trainer.objective, "weights", {}),
        "clips": len(trainer.clips),
        "ids": [record.id for record in trainer.clips.manifest.records],
        "history": [dataclasses.asdict(step) for step in trainer.history],
        "trainer": trainer.state_dict(),
    }
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return path


def resume(path: str | Path, trainer: Trainer) -> None:
    """Bring a freshly built trainer to a saved state.

    Raises:
        CheckpointError: The file is unreadable or belongs to another model, objective, configuration or set of clips.
    """
    from avid_lab.training import Step

    content = _read(path)
    here = {
        "model_config": dataclasses.asdict(trainer.model.config),
        "objective": type(trainer.objective).__name__,
        "weights": getattr(trainer.objective, "weights", {}),
        "train_config": dataclasses.asdict(trainer.config),
        "clips": len(trainer.clips),
        "ids": [record.id for record in trainer.clips.manifest.records],
    }
    different = [name for name, value in here.items() if content.get(name) != value]
    if different:
        shown = [name for name in different if name != "ids"] or ["the clips' ids"]
        detail = "; ".join(f"{n}: saved {content.get(n)}, here {here.get(n)}" for n in shown if n in here)
        raise CheckpointError(
            f"{path}: belongs to another run ({', '.join(shown)} differ{'s' if len(shown) == 1 else ''}). {detail}"
        )
    trainer.load_state_dict(content["trainer"])
    trainer.history[:] = [Step(**step) for step in content["history"]]


def load_model(path: str | Path) -> tuple[AudioVisualModel, InputPipeline]:
    """The model of a saved run, with the input pipeline it was trained with, both in evaluation mode.

    Raises:
        CheckpointError: The file is missing, truncated or no checkpoint.
    """
    content = _read(path)
    settings = dict(content["model_config"])
    video, audio = VideoSpec(**settings.pop("video")), AudioSpec(**settings.pop("audio"))
    model = AudioVisualModel(ModelConfig(video=video, audio=audio, **settings))
    model.load_state_dict(content["trainer"]["model"])
    pipeline = InputPipeline(video, audio)
    pipeline.load_state_dict(content["trainer"]["pipeline"])
    return model.eval(), pipeline.eval()


def _read(path: str | Path) -> dict[str, Any]:
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(
            f"{path}: no such file. Give a checkpoint that `avid-lab train` or `checkpoints.save` wrote."
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, OSError, EOFError, pickle.UnpicklingError, ValueError) as error:
        raise CheckpointError(
            f"{path}: not a readable checkpoint ({error}). Train again or use another file."
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(f"{path}: not a checkpoint of this version (format {FORMAT}).")
    return content

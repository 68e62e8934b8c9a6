"""Saving and resuming training runs: whole files only, tensors and plain values only."""

from __future__ import annotations

import copy
import dataclasses
import errno
import os
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from avid_lab.atomic import DAY_S, remove_leftovers, replacing
from avid_lab.config import ModelConfig, from_plain
from avid_lab.encoders import AudioVisualModel
from avid_lab.encoders.released import read_tensors, understanding
from avid_lab.fetching import CATALOGUE, weights
from avid_lab.objectives import AVID, CMA
from avid_lab.official import CheckpointError, load_official, load_official_memory, released_pipeline
from avid_lab.training import Trainer, processes, rank
from avid_lab.training.step import from_columns, to_columns
from avid_lab.transforms import InputPipeline

__all__ = [
    "CheckpointError",
    "load_model",
    "load_objective",
    "load_official",
    "load_official_memory",
    "load_weights",
    "resume",
    "save",
]

FORMAT = 3
READABLE = (1, 2, 3)  # models of older formats load as well; their unfinished runs cannot resume
WITH_OBJECTIVE = 2  # the first format with all of an objective
FIX = "Train again or use another file."


def save(path: str | Path, trainer: Trainer) -> Path:
    """Save a training run so that it can resume exactly.

    A crash, a full disk or `kill -9` leaves the old file or the new one, never half of one (see `replacing`). Of
    several processes, the first writes.

    Args:
        path: Where to; its folder is made.
        trainer: The run.

    Raises:
        OSError: The disk is full, or the folder is not writable.
    """
    path = Path(path)
    if rank() == 0:
        content = {"format": FORMAT, **_identity(trainer), "history": to_columns(trainer.history)}
        with replacing(path) as temporary:
            try:
                torch.save({**content, "trainer": trainer.state_dict()}, temporary)
            except RuntimeError as error:  # what PyTorch makes of the system's refusal to write
                full = shutil.disk_usage(path.absolute().parent).free < 2**20
                code = errno.ENOSPC if full else errno.EIO
                raise OSError(code, os.strerror(code), str(path)) from error
    return path


def resume(path: str | Path, trainer: Trainer) -> None:
    """Bring a freshly built trainer to a saved state.

    Temporary files that a killed process left of this checkpoint are removed when they are a day old: a run that is
    complete does not save again.

    Raises:
        CheckpointError: The file is unreadable or belongs to another model, objective, configuration or set of clips;
            the message says what differs. The trainer is then as before.
    """
    content = _read(path)
    remove_leftovers(path, DAY_S)
    if content["format"] < FORMAT:
        raise CheckpointError(f"{path}: of an older version, whose unfinished runs cannot resume. Train again.")
    here = _identity(trainer)
    with understanding(path, FIX):
        different = [text for name in here for text in _differences(name, content.get(name), here[name])]
    if different:
        raise CheckpointError(f"{path}: belongs to another run. {'; '.join(different)}")
    before = copy.deepcopy(trainer.state_dict())
    try:
        with understanding(path, FIX):
            history = from_columns(content["history"])
            trainer.load_state_dict(content["trainer"])
            if trainer.steps_done != (history[-1].index if history else 0):
                raise ValueError("its history ends at another step")
    except CheckpointError:
        trainer.load_state_dict(before)
        raise
    trainer.history[:] = history


def _identity(trainer: Trainer) -> dict[str, Any]:
    """The settings that must match for a run to resume."""
    train = dataclasses.asdict(trainer.config)
    parts = processes() * train.pop("accumulate")  # however many processes share them
    return {
        "model_config": dataclasses.asdict(trainer.model.config),
        "train_config": {**train, "parts of a batch": parts},
        "objective": {"kind": type(trainer.objective).__name__, **trainer.objective_settings},
        "clips": [record.id for record in trainer.clips.manifest.records],
    }


def _differences(name: str, saved: Any, here: Any) -> list[str]:
    """One phrase for each value that differs."""
    if isinstance(saved, dict) and isinstance(here, dict):
        keys = dict.fromkeys([*saved, *here])
        return [text for k in keys for text in _differences(f"{name}.{k}", saved.get(k), here.get(k))]
    if saved == here:
        return []
    if isinstance(saved, list) and isinstance(here, list):
        if len(saved) != len(here):
            return [f"{name}: saved {len(saved)}, here {len(here)}"]
        where, (old, new) = next(
            (i, pair) for i, pair in enumerate(zip(saved, here, strict=True)) if pair[0] != pair[1]
        )
        return [f"{name}: number {where} is saved as {old!r}, here {new!r}"]
    return [f"{name}: saved {saved!r}, here {here!r}"]


def load_model(path: str | Path, *, ema: bool = False) -> tuple[AudioVisualModel, InputPipeline]:
    """The model of a saved run, with the input pipeline it was trained with, both in evaluation mode.

    Args:
        path: What `save` wrote.
        ema: Take the averaged weights, which a run with ``TrainConfig(ema=...)`` keeps.

    Raises:
        CheckpointError: The file is missing, truncated or no checkpoint, or keeps no averaged weights.
    """
    content = _read(path)
    with understanding(path, FIX):
        state = content["trainer"]
        weights = state["ema" if ema else "model"]
        if weights is None:
            raise CheckpointError(f"{path}: keeps no averaged weights. Train with ema=0.999, or load with ema=False.")
        config = from_plain(ModelConfig, content["model_config"], "model_config")
        _require_plausible(config, weights)
        model = AudioVisualModel(config)
        model.load_state_dict(weights)
        pipeline = InputPipeline(config.video, config.audio)
        pipeline.load_state_dict(state["pipeline"])
        return model.eval(), pipeline.eval()


def _require_plausible(config: ModelConfig, weights: dict[str, torch.Tensor]) -> None:
    """Refuse a configuration of a far larger network than the weights are, before it takes memory."""
    least = config.audio.n_fft + sum(
        a * b for widths in (config.video_widths, config.audio_widths) for a, b in pairwise(map(abs, widths))
    )
    least += sum(a * b for a, b in pairwise([*map(abs, config.head), abs(config.dim)])) + 64 * sum(config.video_blocks)
    have = sum(value.numel() for value in weights.values())
    if config.video_backbone == "avid" and least > 2 * have + 2**20:
        raise ValueError(f"it has {have:,} weights, and its configuration needs at least {least:,}")


def load_weights(source: str | Path) -> tuple[AudioVisualModel, InputPipeline | None]:
    """A network to start from or to look at, in evaluation mode, with its input pipeline.

    Args:
        source: The name of a released network that `avid-lab fetch` got, such as "avid-cma-audioset"; or a file: a
            released one, or a checkpoint that `save` wrote.

    Returns:
        The network, and the pipeline it was trained with. The pipeline of a released network is None where the authors'
        spectrogram statistics are not beside its file: fit one, ``InputPipeline(video, audio).fit(clips)``.

    Raises:
        CheckpointError: The file is missing or no such file.
        FileNotFoundError: The released network was not fetched; the message names the command.
    """
    path = weights(str(source)) if str(source) in CATALOGUE else Path(source)
    if not path.is_file():
        names = ", ".join(entry.name for entry in CATALOGUE.values() if entry.kind == "weights")
        raise CheckpointError(f"{source}: no such file, and no released network: those are {names}.")
    if _is_ours(path):
        return load_model(path)
    model = load_official(path)
    return model, released_pipeline(path, model.config)


def _is_ours(path: Path) -> bool:
    """Whether a file is of `save`, by its structure alone: tensors are not read."""
    try:
        content = read_tensors(path, FIX, device="meta")
    except CheckpointError:  # the loader of released files says what is wrong
        return False
    return isinstance(content, dict) and "format" in content


def load_objective(path: str | Path) -> AVID | CMA:
    """The objective of a saved run of AVID or CMA: memory, partition constants, positives, settings.

    Raises:
        CheckpointError: The file is missing, truncated or no checkpoint, or holds another kind of objective.
    """
    content = _read(path)
    if content["format"] < WITH_OBJECTIVE:
        raise CheckpointError(f"{path}: of an older version, which kept too little of its objective. Train again.")
    with understanding(path, FIX):
        settings = dict(content["objective"])
        kind = settings.pop("kind")
        if kind not in ("AVID", "CMA"):
            raise CheckpointError(f"{path}: must hold an AVID or a CMA; got a {kind}.")
        state = content["trainer"]["objective"]
        num_instances, dim = state["memory.video"].shape
        names = ["num_negatives", "temperature", "momentum", "partition", "weighting"]
        names += ["k", "agreement", "num_within_negatives"] if kind == "CMA" else []
        generator = torch.Generator()
        chosen = {name: settings[name] for name in names}
        objective = {"AVID": AVID, "CMA": CMA}[kind](num_instances, dim, generator=generator, **chosen)
        objective.load_state_dict(state)
        if content["trainer"]["objective_generator"] is not None:
            generator.set_state(content["trainer"]["objective_generator"])
        return objective


def _read(path: str | Path) -> dict[str, Any]:
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(
            f"{path}: no such file. Give a checkpoint that `avid-lab train` or `checkpoints.save` wrote."
        )
    content = read_tensors(path, FIX)
    if not (isinstance(content, dict) and isinstance(content.get("format"), int) and content["format"] in READABLE):
        raise CheckpointError(f"{path}: not a checkpoint of this version (format {FORMAT}).")
    return content

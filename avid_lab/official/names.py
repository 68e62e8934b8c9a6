"""Translates tensor names between the released files and this library, and finds the network that they belong to."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from torch import Tensor

from avid_lab.config import PRESETS, ModelConfig
from avid_lab.encoders import AudioVisualModel

# Parts of a block: our name, their name.
_BLOCK = {
    "spatial1": "spt_conv1",
    "spatial1_norm": "spt_bn1",
    "temporal1": "tmp_conv1",
    "temporal1_norm": "tmp_bn1",
    "spatial2": "spt_conv2",
    "spatial2_norm": "spt_bn2",
    "temporal2": "tmp_conv2",
    "out_norm": "out_bn",
    "shortcut": "res_conv",
    "conv1": "conv1",
    "norm1": "bn1",
    "conv2": "conv2",
    "norm2": "bn2",
}
_THEIRS = {theirs: ours for ours, theirs in _BLOCK.items()}


class CheckpointError(ValueError):
    """A checkpoint cannot be used; the message names the file, the problem and the fix."""


def from_official(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename a released model's tensors, with or without ``module.``, to ours. Unknown names stay as they are."""
    return {_our_name(name.removeprefix("module.")): x for name, x in state.items()}


def to_official(model: AudioVisualModel) -> dict[str, Tensor]:
    """The model's tensors under the released names, without ``module.``: the inverse of `from_official`."""
    depth10 = all(blocks == 1 for blocks in model.config.video_blocks)  # single blocks carry no index there
    return {_their_name(name, depth10): x for name, x in model.state_dict().items()}


def _our_name(name: str) -> str:
    name = re.sub(r"^(video|audio)_proj\.projection\.", r"\1_head.", name)
    name = re.sub(r"^(video|audio)_model\.conv1\.", r"\1_encoder.stages.stem.", name)
    block = re.fullmatch(r"video_model\.conv([2-5])x\.(?:(\d+)\.)?(\w+)\.(\w+)", name)
    if block and block[3] in _THEIRS:
        return f"video_encoder.stages.block{int(block[1]) - 1}.{block[2] or 0}.{_THEIRS[block[3]]}.{block[4]}"
    block = re.fullmatch(r"audio_model\.block([1-4])\.(\w+)\.(\w+)", name)
    if block and block[2] in _THEIRS:
        return f"audio_encoder.stages.block{block[1]}.{_THEIRS[block[2]]}.{block[3]}"
    return name


def _their_name(name: str, depth10: bool) -> str:
    name = re.sub(r"^(video|audio)_head\.", r"\1_proj.projection.", name)
    name = re.sub(r"^(video|audio)_encoder\.stages\.stem\.", r"\1_model.conv1.", name)
    if block := re.fullmatch(r"video_encoder\.stages\.block(\d)\.(\d+)\.(\w+)\.(\w+)", name):
        place = "" if depth10 else f"{block[2]}."
        return f"video_model.conv{int(block[1]) + 1}x.{place}{_BLOCK[block[3]]}.{block[4]}"
    if block := re.fullmatch(r"audio_encoder\.stages\.block(\d)\.(\w+)\.(\w+)", name):
        return f"audio_model.block{block[1]}.{_BLOCK[block[2]]}.{block[3]}"
    return name


def criterion_tensors(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a released ``train_criterion`` that are kept, under our names."""
    names = {
        "nce_average.view1_mem": "memory.video",
        "nce_average.view2_mem": "memory.audio",
        "nce_average.positive_set": "positives",
        "criterion.avg_exp_score": "partition",
    }
    plain = {name.removeprefix("module."): x for name, x in state.items()}
    return {ours: plain[theirs] for theirs, ours in names.items() if theirs in plain}


def config_of(path: Path, state: dict[str, Tensor]) -> ModelConfig:
    """Depth, widths and heads of the network that these tensors belong to, under our names.

    Raises:
        CheckpointError: They belong to no such network.
    """

    def size(name: str) -> int:
        if name not in state:
            raise CheckpointError(f"{path}: not a released AVID model: {name} is missing. {_summary(state)}")
        return len(state[name])

    stages = range(1, 5)
    blocks = tuple(
        len({n.split(".")[3] for n in state if n.startswith(f"video_encoder.stages.block{i}.")}) for i in stages
    )
    preset = PRESETS["paper-small" if blocks == (1, 1, 1, 1) else "paper"]
    video = [size(f"video_encoder.stages.block{i}.0.spatial1.weight") for i in stages]
    audio = [size(f"audio_encoder.stages.block{i}.conv1.weight") for i in stages]
    heads = sorted(int(n.split(".")[1]) for n in state if re.fullmatch(r"video_head\.\d+\.weight", n))
    if not heads:
        raise CheckpointError(f"{path}: not a released AVID model: no projection head. {_summary(state)}")
    widths = [size(f"video_head.{i}.weight") for i in heads]
    return dataclasses.replace(
        preset,
        video_widths=(size("video_encoder.stages.stem.0.weight"), *video),
        video_blocks=blocks,
        audio_widths=(size("audio_encoder.stages.stem.0.weight"), *audio),
        head=tuple(widths[:-1]),
        dim=widths[-1],
    )


def some(names: list[str]) -> str:
    """The first names of a list, for a message."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _summary(state: dict[str, Tensor]) -> str:
    return f"It has {len(state)} tensors: {some(list(state))}."

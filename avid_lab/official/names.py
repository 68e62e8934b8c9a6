"""Translates tensor names between the released files and this library."""

from __future__ import annotations

import re

from torch import Tensor

from avid_lab.encoders import AudioVisualModel
from avid_lab.encoders.released import BLOCK


def to_official(model: AudioVisualModel) -> dict[str, Tensor]:
    """The model's tensors under the released names, without ``module.``: the inverse of `from_official`."""
    depth10 = all(blocks == 1 for blocks in model.config.video_blocks)  # single blocks carry no index there
    return {_their_name(name, depth10): x for name, x in model.state_dict().items()}


def _their_name(name: str, depth10: bool) -> str:
    name = re.sub(r"^(video|audio)_head\.", r"\1_proj.projection.", name)
    name = re.sub(r"^(video|audio)_encoder\.stages\.stem\.", r"\1_model.conv1.", name)
    if block := re.fullmatch(r"video_encoder\.stages\.block(\d)\.(\d+)\.(\w+)\.(\w+)", name):
        place = "" if depth10 else f"{block[2]}."
        return f"video_model.conv{int(block[1]) + 1}x.{place}{BLOCK[block[3]]}.{block[4]}"
    if block := re.fullmatch(r"audio_encoder\.stages\.block(\d)\.(\w+)\.(\w+)", name):
        return f"audio_model.block{block[1]}.{BLOCK[block[2]]}.{block[3]}"
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

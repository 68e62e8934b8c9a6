"""The released files of the paper's networks: their tensors under our names, and the network that they belong to."""

from __future__ import annotations

import dataclasses
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from avid_lab.config import PRESETS, ModelConfig

# Parts of a block: our name, their name.
BLOCK = {
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
_THEIRS = {theirs: ours for ours, theirs in BLOCK.items()}


class CheckpointError(ValueError):
    """A checkpoint cannot be used; the message names the file, the problem and the fix."""


@contextmanager
def understanding(path: str | Path, fix: str) -> Iterator[None]:
    """Turn any error of the block, which reads and takes apart a file, into a `CheckpointError`.

    Damaged and foreign files make the readers of PyTorch and of the objects that take their values raise almost
    anything.

    Args:
        path: The file, for the message.
        fix: What the user can do, a sentence.
    """
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:
        problem = next(iter(str(error).splitlines()), "")
        reason = f"{type(error).__name__}: {problem}" if isinstance(error, LookupError) or not problem else problem
        raise CheckpointError(f"{path}: not a readable checkpoint ({reason}). {fix}") from error


def read_tensors(path: Path, fix: str, *, device: str = "cpu") -> Any:
    """What a file of PyTorch holds: tensors and plain values; nothing in it is executed.

    No file takes much more memory than its own size: records must be uncompressed, as PyTorch writes them, and a
    tensor no larger than the file.

    Args:
        path: The file.
        fix: As for `understanding`.
        device: Where the tensors are to be; "meta" reads their shapes only.

    Raises:
        CheckpointError: It is no such file.
    """
    with understanding(path, fix):
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if any(record.compress_type != zipfile.ZIP_STORED for record in archive.infolist()):
                    raise ValueError("its records are compressed, which PyTorch never does")
        content = torch.load(path, map_location=device, weights_only=True)
        if any(x.numel() * x.element_size() > path.stat().st_size for x in _tensors(content)):
            raise ValueError("one of its tensors claims to be larger than the file")
        return content


def _tensors(content: Any) -> Iterator[Tensor]:
    if isinstance(content, Tensor):
        yield content
    elif isinstance(content, dict | list | tuple):
        for value in content.values() if isinstance(content, dict) else content:
            yield from _tensors(value)


def from_official(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename a released model's tensors, with or without ``module.``, to ours. Unknown names stay as they are."""
    return {_our_name(name.removeprefix("module.")): x for name, x in state.items()}


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


def read_model(path: Path) -> tuple[ModelConfig, dict[str, Tensor]]:
    """The network of a released file and its tensors, under our names.

    Raises:
        CheckpointError: The file is missing or unreadable, or holds no such network.
    """
    state = from_official(read_part(path, "model"))
    return config_of(path, state), state


def fill(path: Path, model: nn.Module, state: dict[str, Tensor]) -> None:
    """Give a network the tensors of a released file.

    Raises:
        CheckpointError: They are others than the network's.
    """
    expected = model.state_dict()
    problems = {
        "missing": [name for name in expected if name not in state],
        "unexpected": [name for name in state if name not in expected],
        "of another shape": [n for n, x in state.items() if n in expected and x.shape != expected[n].shape],
    }
    if any(problems.values()):
        found = "; ".join(f"{len(names)} {kind}: {some(names)}" for kind, names in problems.items() if names)
        raise CheckpointError(f"{path}: not the paper's network. {found}. Use a released AVID or AVID-CMA file.")
    model.load_state_dict(state)


def read_part(path: Path, name: str) -> dict[str, Tensor]:
    """The tensors of one part of a released file: "model" or "train_criterion".

    Raises:
        CheckpointError: The file is missing or unreadable, or has no such part.
    """
    content = _read(path)
    part = content.get(name)
    if not isinstance(part, dict):
        raise CheckpointError(f"{path}: has no '{name}'; it has {some(list(content))}. Use another released file.")
    return {key: x for key, x in part.items() if isinstance(x, Tensor)}


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file. Give a released *_checkpoint.pth.tar file.")
    content = read_tensors(path, "Download it again, or choose a released file.")
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: must contain a dict with 'model'; got {type(content).__name__}.")
    return content

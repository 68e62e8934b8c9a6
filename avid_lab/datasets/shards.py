"""Clips in shards: tar archives in the WebDataset format, for network disks and object stores.

A shard holds some hundred clips of one split, in a random order that is the same every time. The manifest beside the
shards lists the clips in the order of the shards, so row i stays instance i wherever a set is read, and paths such as
``train-00003.tar/00003012.mp4`` lead into them. Any tool that knows WebDataset reads them, too: a sample is a clip,
``mp4``, with its row of the manifest, ``json``.
"""

from __future__ import annotations

import importlib.util
import json
import math
import re
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, no_type_check

import numpy as np

from avid_lab.atomic import replacing
from avid_lab.datasets.manifest import Manifest, Record

if TYPE_CHECKING:
    from jaxtyping import Int64
    from torch import Generator, Tensor

BUFFER = 8  # shards whose clips are mixed during training


@dataclass(frozen=True)
class Shard:
    """A shard to write: copies of these clips, made by ``copy``; the stamps of the originals tell changes."""

    path: Path
    records: tuple[Record, ...]
    tasks: tuple[Any, ...]
    stamps: tuple[tuple[int, int] | None, ...]


def require_webdataset() -> None:
    """Raise `ValueError` if the package that writes shards is missing."""
    if importlib.util.find_spec("webdataset") is None:
        raise ValueError('writing shards needs the package webdataset: pip install "avid-lab[shards]"')


def shuffled(manifest: Manifest) -> Manifest:
    """The clips split by split, each split in a random order that is always the same."""
    order = np.random.default_rng(0).permutation(len(manifest)).tolist()
    return manifest.subset(sorted(order, key=lambda i: manifest.records[i].split))


def places(manifest: Manifest, size: int) -> list[str]:
    """The path of each clip of a `shuffled` manifest in shards of ``size`` clips."""
    counts, found = Counter[str](), []
    for i, record in enumerate(manifest.records):
        shard = counts[record.split] // size
        counts[record.split] += 1
        found.append(f"{_safe(record.split)}-{shard:05d}.tar/{i:08d}.mp4")
    return found


def size_of(text: str) -> int:
    """The bytes that a text such as "500MB" or "1.5 GB" means.

    Raises:
        ValueError: The text is no size above zero.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(MB|GB)", text.strip(), re.IGNORECASE)
    size = float(found[1]) * {"MB": 1e6, "GB": 1e9}[found[2].upper()] if found else 0
    if size < 1:
        raise ValueError(f"shards must be a number of clips >= 1, or a size such as 500MB or 2GB; got {text!r}")
    return int(size)


def _safe(split: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in split) or "clips"


def write_shard(shard: Shard, copy: Callable[[Any, Path], dict[str, Any]]) -> dict[str, Any]:
    """Make the copies of a shard and pack them; return its size and the result of each copy."""
    from webdataset.writer import TarWriter

    results = []
    with (
        replacing(shard.path) as temporary,
        temporary.open("wb") as file,
        tempfile.TemporaryDirectory(dir=shard.path.parent, prefix=".copies-") as folder,
        TarWriter(file, encoder=False, mtime=0) as writer,
    ):
        for record, task in zip(shard.records, shard.tasks, strict=True):
            made = Path(folder) / "copy.mp4"
            results.append(result := copy(task, made))
            if "reason" not in result:
                row = asdict(record) | {"duration_s": result["duration_s"]}
                sample = {"__key__": Path(task.copy).stem, "mp4": made.read_bytes(), "json": json.dumps(row).encode()}
                writer.write(sample)
    return {"bytes": shard.path.stat().st_size, "results": results}


def is_whole(shard: Shard, result: dict[str, Any]) -> bool:
    """Whether a shard of an earlier run still exists."""
    return shard.path.is_file() and shard.path.stat().st_size == result.get("bytes")


@no_type_check
def pass_order(manifest: Manifest, size: int, parts: int, generator: Generator) -> Int64[Tensor, "M"]:
    """The clips of one pass in a random order; `Trainer` takes ``size`` at a time, for all ``parts`` of a batch.

    Files: any order is equally likely. Shards: each part reads its own stretch of a random order of the shards, one
    after the other, mixed as by a shuffle buffer of `BUFFER` shards; so a process only touches its share of the shards,
    and only a few at a time. Up to ``parts + size`` clips are left for another pass. The order depends on generator,
    size and parts alone: not on how many processes share the parts, nor on how far a shard has been read.

    Args:
        manifest: The clips.
        size: Clips in a batch.
        parts: Parts of a batch; a part is a contiguous piece of it.
        generator: Of the order.
    """
    import torch

    count = len(manifest)
    if manifest.shards is None:
        return torch.randperm(count, generator=generator)
    shard = torch.tensor(manifest.shards)
    shards = int(shard.max()) + 1
    order = torch.randperm(shards, generator=generator)[shard].argsort(stable=True)
    stretches = order[: count - count % parts].view(parts, -1)  # (P, L)
    length, piece = stretches.shape[1], size // parts
    buffer = min(length, math.ceil(BUFFER * count / shards))
    late = torch.arange(length) + buffer * torch.rand(parts, length, generator=generator, dtype=torch.float64)
    mixed = stretches.gather(1, late.argsort(dim=1, stable=True))[:, : length - length % piece]
    return mixed.view(parts, -1, piece).transpose(0, 1).reshape(-1)  # batch after batch, part after part

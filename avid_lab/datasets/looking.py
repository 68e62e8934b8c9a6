"""One file to look at, and the result of a file of no use. What looks is in `avid_lab.datasets.look`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avid_lab.datasets.manifest import Streams


@dataclass(frozen=True)
class Look:
    """One file to look at."""

    path: Path
    streams: Streams
    min_duration_s: float
    version: int = 2  # what was found by other rules is found again


def crashing(task: Look) -> dict[str, Any]:
    """The result of a file on which a worker died."""
    return useless("unreadable", "it crashes the decoder, or needs more memory than there is")


def useless(reason: str, detail: str) -> dict[str, Any]:
    """The result of a file of no use: ``reason`` is for counting, ``detail`` for reading."""
    return {"reason": reason, "detail": detail}

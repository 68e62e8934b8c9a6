"""One file to examine, and the result for an unusable file. `avid_lab.datasets.probe_file` examines it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avid_lab.datasets.manifest import Streams


@dataclass(frozen=True)
class ProbeTask:
    """One file to examine."""

    path: Path
    streams: Streams
    min_duration_s: float
    version: int = 4  # results of older rules are discarded


def crashed(task: ProbeTask) -> dict[str, Any]:
    """The result for a file on which a worker died."""
    return rejected("unreadable", "it crashes the decoder, or needs more memory than there is")


def rejected(reason: str, detail: str) -> dict[str, Any]:
    """The result for an unusable file: ``reason`` is for counting, ``detail`` for reading."""
    return {"reason": reason, "detail": detail}

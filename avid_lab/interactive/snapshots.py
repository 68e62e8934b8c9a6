"""Embeddings along training, as panels take them: from a run, or just two arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from avid_lab.plots.style import array


@dataclass(frozen=True)
class Moment:
    """Embeddings after some steps of training.

    Attributes:
        step: Steps done.
        video: (N, D) unit rows.
        audio: (N, D) unit rows.
    """

    step: int
    video: np.ndarray
    audio: np.ndarray


def moments(snapshots: Any, count: int | None = None) -> list[Moment]:
    """Snapshots as unit rows in single precision.

    Args:
        snapshots: Objects with ``.step``, ``.video`` and ``.audio``, oldest first; or one pair of
            arrays (video, audio).
        count: N, if it is known.

    Raises:
        ValueError: None, shapes that differ, or rows without a direction.
    """
    if isinstance(snapshots, tuple) and len(snapshots) == 2 and not hasattr(snapshots[0], "video"):
        snapshots = [SimpleNamespace(video=snapshots[0], audio=snapshots[1])]
    if hasattr(snapshots, "video"):
        snapshots = [snapshots]
    found = []
    for one in snapshots:
        video = array(one.video, "a snapshot's video", count, None)
        count = len(video)
        found.append(
            Moment(int(getattr(one, "step", 0)), _unit(video), _unit(array(one.audio, "its audio", count, None)))
        )
    if not found:
        raise ValueError("snapshots must hold at least one; got none. Was the run followed?")
    return found


def named_moments(snapshots: Any, count: int) -> dict[str, list[Moment]]:
    """Several runs by name; one run alone has no name.

    Raises:
        ValueError: See `moments`; or no run.
    """
    runs: Mapping[str, Sequence[Any]] = snapshots if isinstance(snapshots, Mapping) else {"": snapshots}
    if not runs:
        raise ValueError("snapshots must name at least one run; got none")
    return {str(name): moments(run, count) for name, run in runs.items()}


def _unit(rows: np.ndarray) -> np.ndarray:
    rows = rows.astype(np.float32)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    if not (np.isfinite(length) & (length > 0)).all():
        raise ValueError("embeddings must have a direction in every row; got a row of zeros, NaN or infinity")
    return rows / length

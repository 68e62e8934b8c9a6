"""The report of one optimiser step, and a whole run's reports as columns."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Step:
    """The report of one optimiser step.

    Attributes:
        index: Which step, from 1.
        total: Steps of the whole run.
        epoch: Passes over the clips so far, as a fraction.
        loss: The objective's loss, the mean over all processes.
        terms: Its terms by name, unweighted.
        learning_rate: Used in this step.
        seconds: Wall-clock time of the step.
        clips_per_s: Batch size / seconds.
        times: Seconds by activity: "data" (copying and augmenting), "forward" (embeddings and loss), "backward"
            (gradients and weights), "memory", "waiting" (for clips to be read); in some steps of CMA also "mining".
            What a second thread does meanwhile is not counted.
        skipped: Steps so far whose gradient overflowed in float16, so that they changed no weights.
    """

    index: int
    total: int
    epoch: float
    loss: float
    terms: dict[str, float]
    learning_rate: float
    seconds: float
    clips_per_s: float
    times: dict[str, float] = field(default_factory=dict)
    skipped: int = 0

    def row(self) -> dict[str, int | float]:
        """Everything as one flat row: ``terms`` becomes "terms.v2a" and so on."""
        flat: dict[str, int | float] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            named = {f"{f.name}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {f.name: value}
            flat |= named
        return flat


def to_columns(history: Sequence[Step]) -> dict[str, Tensor]:
    """A run's steps as one double-precision column per quantity, NaN where a step lacks it."""
    rows = [step.row() for step in history]
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: torch.tensor([row.get(name, math.nan) for row in rows], dtype=torch.float64) for name in names}


def from_columns(columns: dict[str, Tensor]) -> list[Step]:
    """The inverse of `to_columns`."""
    values = {name: column.tolist() for name, column in columns.items()}
    count = len(next(iter(values.values()), []))
    return [_from_row({name: column[i] for name, column in values.items()}) for i in range(count)]


def _from_row(row: dict[str, float]) -> Step:
    settings: dict[str, Any] = {"times": {}}
    for name, value in row.items():
        outer, _, inner = name.partition(".")
        if inner and not math.isnan(value):
            settings.setdefault(outer, {})[inner] = value
        elif not inner:
            settings[outer] = int(value) if outer in ("index", "total", "skipped") else value
    return Step(**settings)


class Stopwatch:
    """Splits the time of a step: each `lap` adds the time since the previous one to a name."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.times: dict[str, float] = {}
        self.begun = self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """Add the time since the last lap to ``name``; on a GPU, wait for the queued work first."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        now = time.perf_counter()
        self.times[name] = self.times.get(name, 0.0) + now - self._last
        self._last = now

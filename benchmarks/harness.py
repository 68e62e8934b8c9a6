"""Runs candidates in turns in one process, and compares their medians."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch


@dataclass(frozen=True)
class Row:
    """One candidate in one case: seconds for the work, over several turns."""

    case: str
    candidate: str
    median_s: float
    low_s: float  # quartiles
    high_s: float
    turns: int
    ratio: float | None = None  # how many times faster than the case's first candidate; median over turns
    required: float | None = None
    amount: float | None = None  # of work in one turn, in `unit`
    unit: str = ""
    share: float | None = None  # of the machine's limit: the least time that the work could take, over the median


def compare(
    case: str,
    candidates: dict[str, Callable[[], Any]],
    *,
    turns: int,
    required: dict[str, float] | None = None,
    amount: dict[str, float] | float = 1.0,
    unit: str = "call",
    warm: bool = True,
    least_s: dict[str, float] | None = None,
) -> list[Row]:
    """Run all candidates in turns; the others are compared with the first one.

    Args:
        case: Description of the work.
        candidates: Functions by name. They may do different amounts of the same work.
        turns: Number of runs of each.
        required: By candidate, the target ratio.
        amount: Work done in one call, for all or by candidate; times are per unit of it.
        unit: Unit of the amount.
        warm: Whether each runs once before.
        least_s: By candidate, the seconds that a call would take at the machine's measured limit.
    """
    amounts = amount if isinstance(amount, dict) else dict.fromkeys(candidates, amount)
    if warm:
        for run in candidates.values():
            run()
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(turns):
        for name, run in candidates.items():
            begun = time.perf_counter()
            run()
            times[name].append((time.perf_counter() - begun) / amounts[name])
    first = np.array(next(iter(times.values())))
    rows = []
    for name, values in times.items():
        low, median, high = np.percentile(values, (25, 50, 75))
        ratio = None if values is times[next(iter(times))] else float(np.median(first / np.array(values)))
        wanted = (required or {}).get(name)
        least = (least_s or {}).get(name)
        share = None if least is None else least / amounts[name] / float(median)
        rows.append(Row(case, name, median, low, high, turns, ratio, wanted, amounts[name], unit, share))
    for row in rows:
        print(line(row), flush=True)
    return rows


def line(row: Row) -> str:
    """One row of the table."""
    ratio = "" if row.ratio is None else f"{row.ratio:6.2f} x"
    wanted = "" if row.required is None else f"(at least {row.required:g})"
    share = "" if row.share is None else f"{row.share:4.0%} of the limit"
    span = f"{1e3 * row.low_s:.4g} to {1e3 * row.high_s:.4g}"
    time = f"{1e3 * row.median_s:10.4g} ms/{row.unit:8} [{span:>18}]"
    return f"  {row.case:44} {row.candidate:40} {time} {ratio} {wanted} {share}"


def as_json(rows: list[Row]) -> list[dict[str, Any]]:
    """Rows as plain values."""
    return [asdict(row) for row in rows]


def machine() -> dict[str, Any]:
    """The machine and the versions used."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        name = next(
            (x.split(":")[1].strip() for x in info.read_text().splitlines() if x.startswith("model name")), name
        )
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": name,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": f"{platform.system()} {platform.release()}",
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def limits(turns: int = 5) -> dict[str, float]:
    """The limits of this machine with the threads in use: GFLOP/s of products, GB/s of copies and gathers."""

    def best(run: Callable[[], Any]) -> float:
        run()
        times = []
        for _ in range(turns):
            begun = time.perf_counter()
            run()
            times.append(time.perf_counter() - begun)
        return min(times)  # a limit: the best run

    square = torch.randn(1536, 1536)
    half = square.bfloat16()
    big, copy = torch.zeros(2**25), torch.zeros(2**25)
    bank, picked = torch.zeros(232_000, 128), torch.randint(232_000, (65_536,))
    gathered = torch.empty(65_536, 128)
    return {
        "sgemm, GFLOP/s": 2 * 1536**3 / best(lambda: square @ square) / 1e9,
        "bf16 gemm, GFLOP/s": 2 * 1536**3 / best(lambda: half @ half) / 1e9,
        "copy, GB/s": 2 * 2**27 / best(lambda: copy.copy_(big)) / 1e9,
        "gather of 512-byte rows, GB/s": 65_536
        * 512
        / best(lambda: torch.index_select(bank, 0, picked, out=gathered))
        / 1e9,
    }

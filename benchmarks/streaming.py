"""Batches read from files ahead of training: what overlaps, and how soon a run on 20,000 files takes its first step."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from avid_lab import foley
from avid_lab.config import AudioSpec, VideoSpec
from avid_lab.datasets import ClipDataset, Manifest
from avid_lab.datasets.loader import load
from benchmarks.harness import Row, as_json, line

FILES = 20_000  # hard links of a few files
BATCH = 32


def run(quick: bool) -> dict[str, Any]:
    """An epoch with a simulated device, and the start of ``avid-lab train``."""
    with tempfile.TemporaryDirectory() as folder:
        world = foley.build(replace(foley.PRESETS["smoke"], clips=64), folder, progress=False)
        rows = epochs(world, 20 if quick else 60)
        return {"rows": as_json(rows), "first step": first_step(world, Path(folder), 2_000 if quick else FILES)}


def epochs(world: Manifest, steps: int) -> list[Row]:
    """Epochs in which a step only waits, as if a device computed, against the longer of reading and waiting.

    Nothing can overlap with reading the first batch or with the last wait; so an epoch has to have many steps.
    """
    how: dict[str, Any] = {"video": VideoSpec(8, 16.0, 112), "audio": AudioSpec(), "cache": False}
    ahead, alone = ClipDataset(world, **how), ClipDataset(world, **how, workers=0)

    def epoch(clips: ClipDataset, wait_s: float) -> float:
        batches = load(clips, _requests(steps))
        begun = time.perf_counter()
        for _ in batches:
            time.sleep(wait_s)
        return time.perf_counter() - begun

    epoch(ahead, 0.0)  # workers start
    rows: list[Row] = []
    for share in (0.5, 1.0, 2.0):
        loading = [epoch(ahead, 0.0) for _ in range(2)]
        wait_s = share * min(loading) / steps
        found = {"read ahead by workers": epoch(ahead, wait_s), "read in turn": epoch(alone, wait_s)}
        loading.append(epoch(ahead, 0.0))
        limit = max(sorted(loading)[1], steps * wait_s)  # the machine is shared: the loads around the epoch count
        case = f"epoch, a step waits {share:g} times a batch's reading"
        one = Row(
            case, "the longer of reading and waiting", limit / steps, limit / steps, limit / steps, 3, unit="step"
        )
        rows.append(one)
        for name, seconds in found.items():
            each, required = seconds / steps, 0.9 if "ahead" in name else None
            rows.append(Row(case, name, each, each, each, 1, limit / seconds, required, 1.0, "step"))
        for row in rows[-3:]:
            print(line(row), flush=True)
    return rows


def _requests(steps: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        index = torch.randperm(64, generator=generator)[:BATCH]
        yield index, torch.rand(BATCH, 2, dtype=torch.float64, generator=generator)


def first_step(world: Manifest, folder: Path, files: int) -> dict[str, Any]:
    """Seconds from the command to the first line of its log, and what it has put on disk by then."""
    root, records = folder / "links", []
    for i in range(files):
        record = world.records[i % len(world)]
        path = root / f"{i // 1000:03d}" / f"{i:06d}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(world.path(i % len(world)), path)
        spans = {"both_s": f"0-{record.duration_s:g}"}
        records.append(replace(record, id=str(i), path=path.relative_to(root).as_posix(), extras=spans))
    manifest = Manifest(root, records).write(root / "manifest.csv")
    out, data = folder / "run" / "checkpoint.pt", folder / "data"
    command = ["avid-lab", "train", "--data", str(manifest), "--preset", "paper-small", "--batch-size", "16"]
    command += ["--steps", "100", "--check-every", "0", "--out", str(out)]
    begun = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "avid_lab", *command[1:]],
        env=os.environ | {"AVID_LAB_DATA": str(data)},
        stderr=subprocess.PIPE,
        text=True,
    )
    log = out.with_name("log.csv")
    while not (log.exists() and len(log.read_text().splitlines()) > 1):
        if process.poll() is not None:
            raise RuntimeError(process.communicate()[1])
        time.sleep(0.1)
    seconds = time.perf_counter() - begun
    size = sum(path.stat().st_size for place in (out.parent, data) for path in place.rglob("*") if path.is_file())
    begun = time.perf_counter()
    process.send_signal(signal.SIGINT)
    said = process.communicate()[1]
    stopped = time.perf_counter() - begun
    shutil.rmtree(root)
    how = next(text for text in said.splitlines() if text.startswith(("Windows", "Clips")))
    print(
        f"  first step of {files:,} files after {seconds:.1f} s (at most 60), {size / 1e6:.1f} MB on disk (at most 200)"
    )
    print(f"  {how} Ctrl-C to the end: {stopped:.1f} s")
    return {
        "command": " ".join(command).replace(str(folder), "."),
        "files": files,
        "seconds": seconds,
        "required, s": 60,
        "on disk, MB": size / 1e6,
        "required, MB": 200,
        "Ctrl-C to the end, s": stopped,
        "said": how,
    }

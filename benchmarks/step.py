"""A whole training step of the pocket recipe: in two threads or with operations split, and with freed memory kept."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

from avid_lab import foley
from avid_lab.training import Trainer
from benchmarks.harness import Row, as_json, compare, line
from benchmarks.recipe import PRESENT, Run

# A process of its own: what it keeps cannot be undone. Core-seconds hardly depend on what else the machine does.
MEMORY = """
import resource, statistics, sys
from benchmarks.step import Run, PRESENT, clips_of
import avid_lab.training.trainer as module
if sys.argv[1] == "returned":
    module.keep_freed_memory = lambda: None
trainer = Run(PRESENT, clips_of(True), 0).trainer
def used():
    own = resource.getrusage(resource.RUSAGE_SELF)
    return own.ru_utime + own.ru_stime, own.ru_minflt
found = []
for _ in range(int(sys.argv[2])):
    begun = used()
    trainer.step()
    found.append([after - before for before, after in zip(begun, used())])
print(*map(statistics.median, zip(*found[3:])))
"""


def clips_of(quick: bool) -> Any:
    """The clips that are trained on: a batch of 64 at least."""
    return foley.load("smoke") if quick else foley.load("pocket", split="train")


def timed(trainer: Trainer, core_s: list[float]) -> Callable[[], None]:
    """A step that notes its processor time."""

    def run() -> None:
        begun = time.process_time()
        trainer.step()
        core_s.append(time.process_time() - begun)

    return run


def run(quick: bool) -> dict[str, Any]:
    """Seconds and core-seconds a step, in turns."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    split, beside = (Run(PRESENT, clips_of(quick), 0).trainer for _ in range(2))
    split.model.register_forward_hook(lambda *_: None)  # what surrounds both encoders keeps them in one thread
    core_s: dict[str, list[float]] = {"operations split": [], "step in two threads": []}
    rows = compare(
        "training step, pocket, B = 64, 2 threads",
        {name: timed(trainer, core_s[name]) for name, trainer in zip(core_s, (split, beside), strict=True)},
        turns=10 if quick else 40,
        required={"step in two threads": 1.2},
        unit="step",
    )
    torch.set_num_threads(threads)
    cores = {name: statistics.median(values[1:]) for name, values in core_s.items()}
    minutes = {row.candidate: PRESENT.train.steps * row.median_s / 60 for row in rows}
    print(f"  core-seconds a step: {cores}\n  minutes for {PRESENT.train.steps} steps: {minutes}", flush=True)
    more, faults = memory(2 if quick else 4)
    return {
        "rows": as_json(rows + more),
        "core-seconds a step": cores,
        f"minutes, {PRESENT.train.steps} steps": minutes,
        "page faults a step": faults,
    }


def memory(turns: int, steps: int = 11) -> tuple[list[Row], dict[str, float]]:
    """Core-seconds where glibc returns large blocks at once, and with `keep_freed_memory`; the page faults of each."""
    seconds: dict[str, list[float]] = {"returned": [], "kept": []}
    faults: dict[str, float] = {}
    for _ in range(turns):
        for how, found in seconds.items():
            command = [sys.executable, "-c", MEMORY, how, str(steps)]
            said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
            found.append(float(said[0]))
            faults[how] = float(said[1])
    rows = []
    for how, found in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(seconds["returned"], found, strict=True))
        times = statistics.median(found), min(found), max(found)
        shown = None if how == "returned" else ratio
        rows.append(Row("core-seconds of a training step, pocket, B = 64", f"freed memory {how}", *times, turns, shown))
        print(line(rows[-1]), flush=True)
    print(f"  page faults a step: {faults}", flush=True)
    return rows, faults

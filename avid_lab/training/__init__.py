"""The training loop as an iterator: the caller owns the loop, the trainer owns a step.

    for step in Trainer(model, objective, clips, TrainConfig(steps=600)):
        print(step.index, step.loss)

Leaving the loop pauses the run; iterating again continues it. The same code runs in one process and, under `torchrun`,
in many.
"""

from __future__ import annotations

from avid_lab.processes import process_group, processes, rank
from avid_lab.training.schedule import one_cycle, rate_factor
from avid_lab.training.step import Step
from avid_lab.training.trainer import Trainer, avid_trainer, resolve_device

__all__ = [
    "Step",
    "Trainer",
    "avid_trainer",
    "one_cycle",
    "process_group",
    "processes",
    "rank",
    "rate_factor",
    "resolve_device",
]

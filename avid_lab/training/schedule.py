"""The learning rate along a run, as a factor of its peak."""

from __future__ import annotations

import math

from avid_lab.config import TrainConfig


def rate_factor(done: int, config: TrainConfig) -> float:
    """Factor of the peak learning rate after ``done`` steps: a linear rise, then the schedule of ``config``."""
    if config.schedule == "one_cycle":
        return one_cycle(done, config.steps, config.warmup)
    rise = config.warmup * config.steps
    if done < rise:
        return (done + 1) / (rise + 1)
    passed = sum(done >= milestone * config.steps for milestone in config.milestones)
    return config.milestone_factor**passed  # no milestones: constant


def one_cycle(done: int, total: int, warmup: float) -> float:
    """Factor of the peak learning rate: a linear rise over ``warmup * total`` steps, then half a cosine to zero."""
    rise = warmup * total
    if done < rise:
        return (done + 1) / (rise + 1)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (done - rise) / max(1.0, total - rise))))

"""Settings that can change during training: read them, set them, and record the changes."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from avid_lab.interactive.vetting import set_loss
from avid_lab.losses import check_temperature
from avid_lab.objectives import Objective, name_of
from avid_lab.training import Trainer

MOST_NEGATIVES = 2**16  # per query
KNOBS = ("temperature", "negatives", "momentum", "rate")  # any other knob is the weight of a group of terms


def label_of(name: str) -> str:
    """What to call a knob on the page."""
    return "learning rate ×" if name == "rate" else name.replace("_", " ")


@dataclass(frozen=True)
class Change:
    """A change of a setting.

    Attributes:
        step: Steps done at the change.
        name: Name of the knob, as in `read`.
        value: Its new value; the name of a loss.
    """

    step: int
    name: str
    value: float | str

    @property
    def text(self) -> str:
        """For a mark on a curve."""
        if isinstance(self.value, str):
            return self.value
        return f"{label_of(self.name)} {self.value:g}"

    def __str__(self) -> str:
        """For a state string: ``120.temperature:0.2``."""
        value = self.value if isinstance(self.value, str) else repr(self.value).removesuffix(".0")
        return f"{self.step}.{self.name}:{value}"

    @classmethod
    def parse(cls, text: str) -> Change:
        """Read what ``str`` wrote.

        Raises:
            ValueError: The text is not a change.
        """
        match = re.fullmatch(r"(\d+)\.([a-z_]+):(.+)", text)
        if not match:
            raise ValueError(f"a change must look like '120.temperature:0.2'; got {text!r}")
        step, name, value = match.groups()
        if name != "loss" and not math.isfinite(float(value)):
            raise ValueError(f"a change must be to a finite number; got {text!r}")
        return cls(int(step), name, value if name == "loss" else float(value))


def read(trainer: Trainer) -> dict[str, float]:
    """The value of every knob that this training has, except the loss.

    "temperature", "negatives" (if it draws any), "momentum" of the memory, "rate" (multiplies the scheduled learning
    rate), and the weight of each group of terms under its own name.
    """
    objective = trainer.objective
    values = {"temperature": float(objective.temperature)}
    if isinstance(objective, Objective):
        values["negatives"] = float(objective.num_negatives)
    values |= {"momentum": float(objective.memory.momentum), "rate": float(trainer.learning_rate_scale)}
    return values | (objective.weights if isinstance(objective, Objective) else {})


def turn(trainer: Trainer, name: str, value: float) -> None:
    """Set one knob; the next step uses it.

    Raises:
        ValueError: There is no such knob, or its value is out of range.
    """
    objective, known = trainer.objective, read(trainer)
    if name not in known:
        raise ValueError(f"a knob must be one of {', '.join(known)}; got {name!r}")
    if not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number; got {value}")
    if name == "temperature":
        objective.temperature = check_temperature(float(value))
        objective.partition.fill_(torch.nan)  # a new temperature needs a new Z, which the next batch estimates
    elif name == "momentum":
        if not 0 <= value <= 1:
            raise ValueError(f"momentum must be in [0, 1]: the share of the old memory that is kept; got {value}")
        objective.memory.momentum = float(value)
    elif name == "rate":
        if value < 0:
            raise ValueError(f"rate must be >= 0: it multiplies the scheduled learning rate; got {value}")
        trainer.learning_rate_scale = float(value)
    elif name == "negatives":
        if not 1 <= value <= MOST_NEGATIVES:
            raise ValueError(f"negatives must be in [1, {MOST_NEGATIVES:,}]; got {value:g}")
        assert isinstance(objective, Objective)  # else it would have no such knob
        objective.num_negatives = int(value)
    else:
        assert isinstance(objective, Objective)
        objective.set_weights(**{name: float(value)})


def replay(trainer: Trainer, change: Change, losses: Mapping[str, Callable[..., Any]]) -> None:
    """Apply a recorded change.

    Raises:
        ValueError: Its knob or loss is unknown.
    """
    if change.name != "loss":
        turn(trainer, change.name, float(change.value))
    elif change.value in losses:
        set_loss(trainer, losses[str(change.value)])
    elif change.value != name_of(trainer.objective.loss):
        raise ValueError(
            f"the state asks for the loss {change.value!r} at step {change.step}; there are {', '.join(losses)}. "
            "Give your own functions by name: losses={'my_loss': my_loss}."
        )

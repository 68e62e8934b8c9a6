"""Describes a training by a few settings, and rebuilds it from them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from avid_lab.config import PRESETS, PROFILES, Profile, TrainConfig, from_plain
from avid_lab.datasets import ClipDataset
from avid_lab.interactive.knobs import MOST_NEGATIVES
from avid_lab.interactive.state import number
from avid_lab.training import Trainer, avid_trainer

SHORT = {"seed": "seed", "steps": "steps", "batch_size": "batch"}  # always included
RULES = {"weighting": "released", "partition": "per_term"}  # of the objective, included if they differ
MACHINE_FIELDS = ("device", "compile")  # of the machine, not of the run
OTHERS = tuple(f.name for f in dataclasses.fields(TrainConfig) if f.name not in (*SHORT, *MACHINE_FIELDS))


def describe(trainer: Trainer) -> dict[str, Any]:
    """The settings that define a training, except knobs and loss.

    They are the objective and the model by name ("own" for a model that is not a preset); the number of clips and, for
    a rendered world, its name and split; training settings that differ from the defaults; the current step; and
    ``start``, two sums that identify weights and memory.
    """
    config, objective, clips = trainer.config, trainer.objective, trainer.clips
    model = next((name for name, preset in PRESETS.items() if preset == trainer.model.config), "own")
    told: dict[str, Any] = {"objective": type(objective).__name__, "model": model, "clips": len(clips)}
    if world := _world_of(clips):
        told["world"] = world
    told |= {short: getattr(config, name) for name, short in SHORT.items()}
    plain = TrainConfig()
    changed = {name: getattr(config, name) for name in OTHERS if getattr(config, name) != getattr(plain, name)}
    told |= {name: list(value) if isinstance(value, tuple) else value for name, value in changed.items()}
    settings = objective.settings()
    told |= {name: settings[name] for name, plain in RULES.items() if settings.get(name, plain) != plain}
    if trainer.steps_done:
        told["from"] = trainer.steps_done
    parts = (trainer.model.parameters(), (objective.memory.video, objective.memory.audio))
    return told | {"start": ",".join(f"{sum(float(x.detach().double().sum()) for x in part):.6g}" for part in parts)}


def check(settings: Mapping[str, Any], trainer: Trainer) -> None:
    """Check that a training matches the description.

    Raises:
        ValueError: It differs; the first difference is named.
    """
    here = describe(trainer)
    if here.get("from", 0) != settings.get("from", 0):
        raise ValueError(
            f"the state's run began at step {settings.get('from', 0)}; this training has done {trainer.steps_done}. "
            "Bring it there first."
        )
    for name in ("objective", "model", "clips", *SHORT.values(), *OTHERS, *RULES):
        if settings.get(name) != here.get(name):
            raise ValueError(
                f"state has {name}={settings.get(name)}, this training {here.get(name)}; build it in the same way"
            )
    if not _same_start(str(settings.get("start", "")), here["start"]):
        raise ValueError(
            f"state has start={settings.get('start')}, this training {here['start']}: the weights or the memory that "
            "it begins with are others. Load the same ones, or use the same seed, and give "
            "LiveTraining(trainer, state=...)."
        )


def rebuild(settings: Mapping[str, Any], clips: ClipDataset | None = None) -> Trainer:
    """Build the described training.

    Args:
        settings: Result of `describe`, and the knob ``negatives``.
        clips: The same clips; by default the world in the settings.

    Raises:
        ValueError: The settings are not sufficient to build it.
    """
    missing = {"objective", "model", *SHORT.values(), "negatives", "start"} - set(settings)
    own = settings.get("objective") != "AVID" or str(settings.get("model")) not in PRESETS or "from" in settings
    if missing or own or set(RULES) & set(settings):
        raise ValueError(
            f"state must be of an AVID training of one of our models ({', '.join(PRESETS)}) from its first step on; "
            f"got {dict(settings)}. For another, build its trainer and give LiveTraining(trainer, state=...)."
        )
    model = PRESETS[settings["model"]]
    if clips is None:
        world, _, split = str(settings.get("world", "")).partition("/")
        if world not in {profile.world for profile in PROFILES.values()}:
            raise ValueError(
                f"the state's {settings.get('clips')} clips are not a world of this library: give them as clips="
            )
        from avid_lab import foley

        clips = foley.load(world, split=split or None, video=model.video, audio=model.audio)
    given = {name: settings[short] for name, short in SHORT.items()}
    given |= {name: settings[name] for name in OTHERS if name in settings}
    config = from_plain(TrainConfig, given, "state")
    negatives = number(settings, "negatives")
    if not 1 <= negatives <= MOST_NEGATIVES:
        raise ValueError(f"state: negatives must be in [1, {MOST_NEGATIVES:,}]; got {negatives:g}")
    size = Profile("state", "", settings["model"], config, int(negatives))
    return avid_trainer(clips, size)


def _world_of(clips: ClipDataset) -> str:
    """Which world these are the clips of, "pocket" or "pocket/train"; empty if of none."""
    from avid_lab import foley

    splits = {record.split for record in clips.manifest.records}
    for world in {profile.world for profile in PROFILES.values()}:
        if clips.manifest.root == foley.folder_of(world):
            return world if len(splits) > 1 else f"{world}/{splits.pop()}"
    return ""


def _same_start(one: str, other: str) -> bool:
    """Sums in single precision differ in their last digits from machine to machine."""
    try:
        pairs = [(float(a), float(b)) for a, b in zip(one.split(","), other.split(","), strict=True)]
    except ValueError:
        return False
    return all(math.isclose(a, b, rel_tol=1e-4, abs_tol=1e-3) for a, b in pairs)

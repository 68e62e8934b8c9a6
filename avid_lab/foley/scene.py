"""The base class of scenes. To write a new one, subclass `Scene` (about 20 lines) and add it to its family's tuple.

    class Triangle(Scene):
        name, look_group, sound_group = "triangle", "mallet", "ring"

        def timeline(self, rng, duration_s):
            return beats(rng, duration_s, (1.0, 2.0))        # when it is struck

        def picture(self, stage, events):
            stage.still.line(0, -1, 0, -0.5, 0.01, stage.palette.dark)  # stands still: painted once
            yield                                             # the set is complete; now the film
            rod = 1.0 - events.phase(stage.times)[0]          # 1 at a stroke, 0 before the next
            stage.moving.line(-0.4, 0.3, 0.4, 0.3, 0.04, stage.palette.pale)
            stage.moving.disc(0.3 * rod, 0.1, 0.1, stage.palette.main)

        def sound(self, studio, events):
            return studio.strike(events, [1700, 4100], [0.9, 0.4], [1, 0.5])

`stage.cue` and `studio.cue` in [0, 1] are how clearly this clip should differ from the other scenes of its look group
and of its sound group: fade distinctive details with them. Take colours from `stage.palette`; fixed colours would
reveal the class.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from avid_lab.foley.sound import Studio
from avid_lab.foley.stage import Stage
from avid_lab.foley.timeline import Array, Timeline


class Scene(ABC):
    """A kind of event that is seen and heard.

    Attributes:
        name: The class label.
        look_group: Scenes of one look group look alike.
        sound_group: Scenes of one sound group sound alike. No two scenes share both groups.
        small: Whether the picture is an object that may also appear, silent, in a corner of another scene.
    """

    name: ClassVar[str]
    look_group: ClassVar[str]
    sound_group: ClassVar[str]
    small: ClassVar[bool] = True

    @abstractmethod
    def timeline(self, rng: np.random.Generator, duration_s: float) -> Timeline:
        """Draw the times of the events."""

    @abstractmethod
    def picture(self, stage: Stage, events: Timeline) -> Iterator[None]:
        """Paint ``stage.still``, yield once, then paint ``stage.moving``."""

    @abstractmethod
    def sound(self, studio: Studio, events: Timeline) -> Array:
        """The sound, (samples,), at any level."""


def lift(phase: Array) -> Array:
    """A throw: 0 at an event, 1 half way to the next."""
    return 4 * phase * (1 - phase)

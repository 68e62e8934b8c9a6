"""The catalogue: every scene by name."""

from __future__ import annotations

from avid_lab.foley import impacts, machines, music, nature
from avid_lab.foley.scene import Scene

CATALOGUE: dict[str, Scene] = {s.name: s for s in (*impacts.SCENES, *music.SCENES, *nature.SCENES, *machines.SCENES)}
SCENES: tuple[str, ...] = tuple(CATALOGUE)

"""The catalogue: every scene by name."""

from __future__ import annotations

from avid_lab.foley import birds, fire, impacts, machines, music, water
from avid_lab.foley.scene import Scene

FAMILIES = (impacts, birds, music, fire, water, machines)
CATALOGUE: dict[str, Scene] = {scene.name: scene for family in FAMILIES for scene in family.SCENES}
SCENES: tuple[str, ...] = tuple(CATALOGUE)

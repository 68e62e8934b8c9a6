"""The rendered world: short scenes whose picture and sound come from one timeline, rendered by this package.

``foley.load("pocket")`` returns a dataset; `render` draws any single clip from its index. Drawing and synthesis are
array arithmetic on whole films and signals. A new scene takes 20 lines: see `avid_lab.foley.scene`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from avid_lab.foley.clip import PRESETS, FoleyConfig, render
from avid_lab.foley.scenes import CATALOGUE, SCENES

if TYPE_CHECKING:
    from avid_lab.foley.world import build, folder_of, load, to_clip

__all__ = ["CATALOGUE", "PRESETS", "SCENES", "FoleyConfig", "build", "folder_of", "load", "render", "to_clip"]


def __getattr__(name: str) -> Any:
    if name in ("build", "folder_of", "load", "to_clip"):  # these need torch and the media library
        return getattr(importlib.import_module("avid_lab.foley.world"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

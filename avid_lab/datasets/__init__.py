"""Which clips there are (`Manifest`, `index_folder`) and their tensors (`ClipDataset`)."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from avid_lab.datasets.folder import index_folder
from avid_lab.datasets.manifest import Manifest, Record, Unusable

if TYPE_CHECKING:
    from avid_lab.datasets.clips import ClipDataset

__all__ = ["ClipDataset", "Manifest", "Record", "Unusable", "index_folder"]


def __getattr__(name: str) -> Any:
    if name == "ClipDataset":  # loads torch, which making an index does not need
        return importlib.import_module("avid_lab.datasets.clips").ClipDataset
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

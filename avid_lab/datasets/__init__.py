"""Which clips there are (`Manifest`, `index_folder`) and their tensors (`ClipDataset`)."""

from avid_lab.datasets.clips import ClipDataset
from avid_lab.datasets.folder import index_folder
from avid_lab.datasets.manifest import Manifest, Record, Unusable

__all__ = ["ClipDataset", "Manifest", "Record", "Unusable", "index_folder"]

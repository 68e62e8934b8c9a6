"""Audio-visual instance discrimination with cross-modal agreement: encoders, losses, mining, and a course around them.

``import avid_lab as al`` gives the names that notebooks use; submodules hold the rest. Nothing heavier than torch is
imported until it is asked for.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

# Idle OpenMP threads must sleep, not spin: spinning slows shared cores tenfold. OpenMP reads this once, when torch is
# imported; afterwards it is left alone, so that the doctor sees what is in force.
PASSIVE_OPENMP = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"}
if "torch" not in sys.modules:
    for _name, _value in PASSIVE_OPENMP.items():
        os.environ.setdefault(_name, _value)

_NAMES = {
    "config": ("AudioSpec", "ModelConfig", "TrainConfig", "VideoSpec", "profile"),
    "datasets": ("ClipDataset", "Manifest", "index_folder"),
    "encoders": ("AudioVisualModel",),
    "losses": ("info_nce_loss", "nce_loss", "nce_softmax_loss", "sigmoid_loss"),
    "memory": ("MemoryBank",),
    "metrics": ("calibration", "knn_accuracy", "positive_precision", "retrieval", "separation"),
    "mining": ("agreement_scores", "mine_positives"),
    "objectives": ("AVID", "CMA", "InBatch"),
    "training": ("Trainer",),
    "transforms": ("InputPipeline",),
}
_MODULES = ("checkpoints", "course", "doctor", "evaluation", "foley", "interactive", "media", "plots", *_NAMES)
_HOME = {name: module for module, names in _NAMES.items() for name in names}

if TYPE_CHECKING:
    from avid_lab import (
        checkpoints,
        config,
        course,
        datasets,
        doctor,
        encoders,
        evaluation,
        foley,
        interactive,
        losses,
        media,
        memory,
        metrics,
        mining,
        objectives,
        plots,
        training,
        transforms,
    )
    from avid_lab.config import AudioSpec, ModelConfig, TrainConfig, VideoSpec, profile
    from avid_lab.datasets import ClipDataset, Manifest, index_folder
    from avid_lab.encoders import AudioVisualModel
    from avid_lab.losses import info_nce_loss, nce_loss, nce_softmax_loss, sigmoid_loss
    from avid_lab.memory import MemoryBank
    from avid_lab.metrics import calibration, knn_accuracy, positive_precision, retrieval, separation
    from avid_lab.mining import agreement_scores, mine_positives
    from avid_lab.objectives import AVID, CMA, InBatch
    from avid_lab.training import Trainer
    from avid_lab.transforms import InputPipeline

__all__ = sorted([*_HOME, *_MODULES])


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]

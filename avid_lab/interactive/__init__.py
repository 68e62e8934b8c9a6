"""Players and panels for notebooks. Players are plain HTML and work without a kernel.

Panels need a running kernel, and leave a snapshot for pages without one; they are imported on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from avid_lab.interactive.answers import answers, ask
from avid_lab.interactive.live import LiveLoss
from avid_lab.interactive.players import gallery, playable, player

if TYPE_CHECKING:
    from avid_lab.interactive.calibration import CalibrationExplorer
    from avid_lab.interactive.canvas import Canvas
    from avid_lab.interactive.embedding_map import EmbeddingMap
    from avid_lab.interactive.game import Game, game_rounds
    from avid_lab.interactive.live_training import LiveTraining
    from avid_lab.interactive.loss_lab import LossLab
    from avid_lab.interactive.microscope import NCEMicroscope
    from avid_lab.interactive.panel import brush
    from avid_lab.interactive.positives import PositiveBrowser
    from avid_lab.interactive.retrieval import RetrievalExplorer

_PANELS = {
    "CalibrationExplorer": "calibration",
    "Canvas": "canvas",
    "EmbeddingMap": "embedding_map",
    "Game": "game",
    "LiveTraining": "live_training",
    "LossLab": "loss_lab",
    "NCEMicroscope": "microscope",
    "PositiveBrowser": "positives",
    "RetrievalExplorer": "retrieval",
    "brush": "panel",
    "game_rounds": "game",
}


def __getattr__(name: str) -> Any:
    if name in _PANELS:
        return getattr(importlib.import_module(f"{__name__}.{_PANELS[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

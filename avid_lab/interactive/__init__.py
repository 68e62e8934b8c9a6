"""What moves, sounds or is touched in a notebook. Players are plain HTML: they play without a kernel."""

from __future__ import annotations

from avid_lab.interactive.live import LiveLoss
from avid_lab.interactive.players import gallery, playable, player

__all__ = ["LiveLoss", "gallery", "playable", "player"]

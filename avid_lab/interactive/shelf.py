"""Clips side by side as stills; the one that is pressed plays in its place. Files travel only when they are played."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import traitlets

from avid_lab.interactive.players import CLIP_BYTES, StrPath, playable, still
from avid_lab.interactive.ranking import two_digits
from avid_lab.interactive.script import Scripted, script, text
from avid_lab.media import MediaError


@dataclass(frozen=True)
class Stall:
    """One place on a shelf.

    Attributes:
        path: The clip's file.
        title: First line below.
        note: Second line, small.
        correct: Mark it as right (tick) or wrong (cross).
        score: Number beside the title.
        warning: What is faulty about the clip itself, marked with a sign of its own.
    """

    path: StrPath
    title: str
    note: str = ""
    correct: bool | None = None
    score: float | None = None
    warning: str = ""


class Shelf(Scripted):
    """A row of clips to play. Stills come at once; a file is fetched when its clip is played, with a sign meanwhile.

    One clip sounds at a time, and at most four players live in a page: older ones go back to their stills. Everything
    is reached with Tab, Enter and the players' own keys.

    Args:
        label: What the clips are, for those who do not see them.
        width: Pixels of a clip at most.
        clip_bytes: A larger file is sent as a smaller copy of about this size at most.

    Attributes:
        playing: Place of the clip that was last started, -1 for none; set it to start one.
    """

    _script = script("shelf.js")
    _css = text("shelf.css")

    playing = traitlets.Int(-1).tag(sync=True)

    _label = traitlets.Unicode().tag(sync=True)
    _width = traitlets.Int(150).tag(sync=True)
    _stalls = traitlets.List(traitlets.Dict()).tag(sync=True)

    def __init__(self, label: str, *, width: int = 150, clip_bytes: int = CLIP_BYTES) -> None:
        super().__init__(_label=label, _width=width)
        self._clip_bytes = clip_bytes
        self.stalls: list[Stall] = []
        self._keys: dict[tuple[str, int], int] = {}  # so that pages know a clip again without knowing its path
        self.on_msg(self._asked)

    def show(self, stalls: Sequence[Stall], play: int = -1) -> None:
        """Show these clips. One that stays in its place plays on.

        Args:
            stalls: From left to right.
            play: Place of the one to start, -1 for none.

        Raises:
            MediaError: A file is no video.
        """
        shown = [self._front(stall) for stall in stalls]
        if [one["key"] for one in shown] != [one["key"] for one in self._stalls]:
            self.playing = -1
        self.stalls = list(stalls)
        self._stalls = shown
        self.playing = play if play >= 0 else self.playing

    def _front(self, stall: Stall) -> dict[str, Any]:
        path = Path(stall.path)
        picture = still(path)
        key = self._keys.setdefault((str(path), path.stat().st_mtime_ns), len(self._keys))
        return {
            "key": key,
            "title": stall.title,
            "note": stall.note,
            "verdict": {None: "", True: "right", False: "wrong"}[stall.correct],
            "score": "" if stall.score is None else two_digits(stall.score),
            "warning": stall.warning,
            "still": f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}" if picture else "",
        }

    def _asked(self, _widget: Any, message: Any, _buffers: Any) -> None:
        place = message.get("fetch") if isinstance(message, dict) else None
        if not isinstance(place, int) or not 0 <= place < len(self.stalls):
            return
        answer = {"place": place, "key": self._stalls[place]["key"]}
        try:
            data = playable(self.stalls[place].path, self._clip_bytes)
        except (MediaError, ValueError, OSError) as problem:
            self.send(answer | {"problem": str(problem)})
        else:
            self.send(answer | {"type": "video/mp4"}, [data])

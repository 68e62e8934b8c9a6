"""The user's own clip from the page: a file, or a few seconds from camera and microphone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import traitlets

from avid_lab.interactive.script import Scripted, script, text

MOST_BYTES = 200_000_000


class Intake(Scripted):
    """Two buttons: one takes a video file, one records. The kernel gets the bytes.

    Files arrive in parts, because Jupyter's server silently drops messages above 10 MB. The page refuses files above
    the limit. Without a camera, permission or a secure page (https or localhost), the widget says so, and files still
    work.

    Args:
        received: Called with the file's bytes and its name; a recording is called ``recording.webm``.
        seconds: Length of a recording.
        refusal: Reason why no clip is accepted; the buttons are then disabled.
    """

    _script = script("intake.js")
    _css = text("intake.css")

    _seconds = traitlets.Float().tag(sync=True)
    _most = traitlets.Int(MOST_BYTES).tag(sync=True)
    _refusal = traitlets.Unicode().tag(sync=True)

    def __init__(self, received: Callable[[bytes, str], None], *, seconds: float = 4.0, refusal: str = "") -> None:
        super().__init__(_seconds=seconds, _refusal=refusal)
        self._received = received
        self._data = bytearray()
        self.on_msg(self._heard)

    def _heard(self, _widget: Any, message: Any, buffers: list[Any]) -> None:
        """A part of a file, in order: ``{"name": str, "at": first byte, "size": of the whole}`` and the bytes."""
        if message["at"] == 0:
            self._data = bytearray()
        for part in buffers:
            self._data += part
        if len(self._data) == message["size"]:
            data, self._data = bytes(self._data), bytearray()
            try:
                self._received(data, message["name"])
            finally:
                self.send({"done": message["name"]})

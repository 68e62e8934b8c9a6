"""A few seconds from the camera and microphone, where the browser lets a page have them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anywidget
import traitlets

HERE = Path(__file__).parent


class Recorder(anywidget.AnyWidget):
    """A button that records picture and sound in the browser and hands the file to the kernel.

    Where there is no camera, no permission or no secure page (https or localhost), it says so and stays harmless.

    Args:
        received: Called with the file's bytes and its ending, for example ``.webm``.
        seconds: Length of a recording.
    """

    _esm = HERE / "recorder.js"
    _css = HERE / "recorder.css"

    seconds = traitlets.Float(4.0).tag(sync=True)

    def __init__(self, received: Callable[[bytes, str], None], seconds: float = 4.0) -> None:
        super().__init__(seconds=seconds)
        self._received = received
        self.on_msg(self._heard)

    def _heard(self, _widget: Any, message: Any, buffers: list[Any]) -> None:
        if isinstance(message, dict) and "recorded" in message and buffers:
            ending = ".mp4" if "mp4" in str(message["recorded"]) else ".webm"
            self._received(bytes(buffers[0]), ending)

"""When panels draw, and pictures as messages.

A panel never draws while messages wait, never draws from a second thread, and never holds the kernel: a control only
says that something changed; the newest state is drawn once the kernel is free, roughly while it moves and fully once it
rests.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from io import BytesIO
from typing import Any

import ipywidgets as widgets
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

SCREEN_DPI = 96  # a figure of 8 inches is 768 pixels wide on the page
BREATH_S = 0.012  # between drawings: what waits in the kernel's queue is handled first, and only the newest is drawn


class PictureBox:
    """An `ipywidgets.Image` that shows matplotlib figures. Figures are drawn here and now, by Agg, without pyplot.

    Args:
        alt: What it shows, for those who do not see it.

    Attributes:
        widget: To put into a layout.
        drawn: Pictures shown so far.
    """

    def __init__(self, alt: str) -> None:
        self.widget = widgets.Image(format="png", tooltip=alt)
        self.widget.add_class("avid-picture")
        self.drawn = 0

    def show(self, figure: Figure, *, quick: bool = False) -> None:
        """Draw a figure and send it.

        Args:
            figure: What to show; its size in inches is kept on the page at 96 pixels an inch.
            quick: At the screen's plain resolution and lightly compressed, for pictures that are soon replaced.
        """
        data = encode_png(figure, quick=quick)
        with self.widget.hold_sync():
            self.widget.width = str(screen_width(figure))
            self.widget.value = data
        self.drawn += 1


def encode_png(figure: Figure, *, quick: bool = False) -> bytes:
    """A figure as PNG: one pixel for each on the screen if quick, else 1.5."""
    dpi = figure.dpi
    figure.dpi = SCREEN_DPI if quick else 1.5 * SCREEN_DPI
    try:
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        with BytesIO() as buffer:
            pixels = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
            pixels.save(buffer, format="png", compress_level=1 if quick else 6)
            return buffer.getvalue()
    finally:
        figure.dpi = dpi


def screen_width(figure: Figure) -> int:
    """Pixels on the page."""
    return round(SCREEN_DPI * figure.get_size_inches()[0])


class Coalescer:
    """Draws the newest of many requests: roughly while they come, fully once they stop.

    Call it as often as you like; it returns at once. Drawing happens on the event loop that was running when it was
    made (the kernel's), whichever thread asks; without a loop it happens at once and fully.

    Args:
        draw: Called with ``quick``.
        failed: Told of an exception in ``draw``; without it, it goes to the event loop.
        rest_s: How long nothing may have been asked before the full drawing.

    Attributes:
        latencies_ms: From each request to the first picture that holds it, the last 10,000.
        strangers: Requests from threads other than the loop's.
    """

    def __init__(
        self,
        draw: Callable[[bool], None],
        *,
        failed: Callable[[BaseException], None] | None = None,
        rest_s: float = 0.25,
    ) -> None:
        self._draw, self._failed, self._rest_s = draw, failed, rest_s
        try:
            self._loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            self._loop = None
        self._home = threading.get_ident()
        self._asked: deque[float] = deque()
        self._news: asyncio.Event | None = None
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self.latencies_ms: deque[float] = deque(maxlen=10_000)
        self.strangers = 0

    def __call__(self, *_: Any) -> None:
        """Ask for a picture of the state as it will be; fits ``widget.observe``."""
        if self._closed:
            return
        self._asked.append(time.perf_counter())
        if self._loop is None:
            self._now(quick=False)
        elif self.at_home():
            self._wake()
        else:
            self.strangers += 1
            self._loop.call_soon_threadsafe(self._wake)

    def at_home(self) -> bool:
        """Whether the caller is in the loop's own thread, as widget messages should be."""
        return threading.get_ident() == self._home

    def catch_up(self) -> None:
        """Draw roughly at once what was asked; the full drawing follows as ever. For the loop's own thread."""
        if self._asked and not self._closed and self.at_home():
            self._now(quick=True)

    def close(self) -> None:
        """Draw no more."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()

    def _wake(self) -> None:
        if self._closed or self._loop is None:
            return
        if self._task is None or self._task.done():
            self._news = asyncio.Event()
            self._task = self._loop.create_task(self._run(self._news))
        elif self._news is not None:
            self._news.set()

    async def _run(self, news: asyncio.Event) -> None:
        while True:
            await asyncio.sleep(BREATH_S)
            news.clear()
            if self._asked:
                self._now(quick=True)
            try:
                await asyncio.wait_for(news.wait(), self._rest_s)
            except TimeoutError:
                self._now(quick=False)
                if not self._asked:
                    return

    def _now(self, *, quick: bool) -> None:
        asked = [self._asked.popleft() for _ in range(len(self._asked))]
        try:
            self._draw(quick)
        except Exception as error:
            if self._failed is None:
                raise
            self._failed(error)
        done = time.perf_counter()
        self.latencies_ms.extend(1e3 * (done - at) for at in asked)

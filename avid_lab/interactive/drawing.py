"""Schedules the drawing of panels.

A panel never draws while messages wait, never draws from a second thread, and never blocks the kernel. A control only
reports a change; the newest state is drawn once the kernel is free, quickly during changes and fully once they stop.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

BREATH_S = 0.012  # between drawings: what waits in the kernel's queue is handled first, and only the newest is drawn


class Coalescer:
    """Draws the newest of many requests: quickly while they arrive, fully once they stop.

    Call it as often as you like; it returns at once. Drawing happens on the event loop that was running when it was
    made (the kernel's), whichever thread asks; without a loop it happens at once and fully.

    Args:
        draw: Called with ``quick``.
        failed: Called with an exception of ``draw``; without it, the exception goes to the event loop.
        rest_s: Seconds without requests before the full drawing.

    Attributes:
        latencies_ms: From each request to the first picture that holds it, the last 10,000.
        foreign_requests: Requests from threads other than the loop's.
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
        self.foreign_requests = 0

    def __call__(self, *_: Any) -> None:
        """Request a drawing of the newest state; works as a ``widget.observe`` callback."""
        if self._closed:
            return
        self._asked.append(time.perf_counter())
        if self._loop is None:
            self._now(quick=False)
        elif self.on_loop_thread():
            self._wake()
        else:
            self.foreign_requests += 1
            self._loop.call_soon_threadsafe(self._wake)

    def on_loop_thread(self) -> bool:
        """Whether the caller is in the loop's own thread, as widget messages should be."""
        return threading.get_ident() == self._home

    def catch_up(self) -> None:
        """Draw the request quickly and immediately; the full drawing follows. Call it from the loop's own thread."""
        if self._asked and not self._closed and self.on_loop_thread():
            self._now(quick=True)

    def close(self) -> None:
        """Stop drawing."""
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

"""A limit on the time of a student's code, which may never end.

A second thread raises an exception in the thread that runs the code, at its next Python instruction. Unlike a signal,
this works on every system and in every thread; unlike another process, it needs no copies of functions and tensors.
A single long call of torch is interrupted when it returns.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

AGAIN_S = 0.2  # a bare `except:` may swallow the exception, so it comes again
PATIENCE = 6.0  # how many times as long the code may take by the clock: on a busy machine it waits for its turn


class OutOfTime(BaseException):
    """The code ran too long. It is no `Exception`, so that `except Exception` does not swallow it."""


@contextmanager
def at_most(limit_s: float) -> Iterator[None]:
    """Interrupt the block after ``limit_s`` seconds of computing, or `PATIENCE` times as long by the clock.

    Raises:
        OutOfTime: The block ran longer.
    """
    thread, over, raised = threading.get_ident(), threading.Event(), threading.Event()
    computed, begin = _computing(thread), time.monotonic()
    at_first = computed()

    def watch() -> None:
        left_s = limit_s
        while not over.wait(max(left_s, 0.01)):
            left_s = min(limit_s - (computed() - at_first), PATIENCE * limit_s - (time.monotonic() - begin))
            if left_s <= 0 or raised.is_set():
                raised.set()
                raise_in(thread, OutOfTime)
                left_s = AGAIN_S

    watcher = threading.Thread(target=watch, daemon=True)
    try:
        watcher.start()
        yield
    finally:
        while watcher.is_alive():
            try:
                over.set()
                watcher.join()
            except OutOfTime:  # it arrived as the block ended
                continue
        if raised.is_set():
            raise_in(thread, None)  # one that has not arrived yet
    if raised.is_set():  # the block swallowed it
        raise OutOfTime


def _computing(thread: int) -> Callable[[], float]:
    """A clock of the seconds that a thread has computed; the clock on the wall where a system has none for threads."""
    try:
        clock = time.pthread_getcpuclockid(thread)  # not on Windows and macOS
    except (AttributeError, OSError):
        return time.monotonic
    return lambda: time.clock_gettime(clock)


def raise_in(thread: int, kind: type[BaseException] | None) -> None:
    """Raise an exception in another thread; None takes back one that has not arrived."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), None if kind is None else ctypes.py_object(kind))


def end(thread: threading.Thread) -> None:
    """Interrupt a thread again and again until it ends; one that waits ends when it wakes, if ever."""
    while thread.is_alive() and thread.ident is not None:
        raise_in(thread.ident, OutOfTime)
        thread.join(AGAIN_S)

"""Work spread over processes, with a progress bar, from scripts and notebooks alike."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from types import ModuleType
from typing import Any, TypeVar

from tqdm.auto import tqdm

Task = TypeVar("Task")
Result = TypeVar("Result")


def usable_cores() -> int:
    """Processor cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_workers(tasks: int) -> int:
    """Processes worth starting for so many tasks: a start costs seconds, so few tasks are done in this process (0)."""
    workers = min(usable_cores(), 32, tasks // 48)
    return workers if workers > 1 else 0


def parallel(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    *,
    workers: int | None,
    progress: bool,
    description: str,
    initial: int = 0,
) -> Iterator[Result]:
    """Yields ``function(task)`` for every task as results come in, in any order.

    Args:
        function: A function at a module's top level. Its exceptions are raised here.
        tasks: What to do.
        workers: Processes; None chooses, 0 works in this one.
        progress: Shows a bar.
        description: What the bar says.
        initial: Tasks that were done before, for the bar.

    Raises:
        RuntimeError: A worker died.
    """
    workers = default_workers(len(tasks)) if workers is None else workers
    total = initial + len(tasks)
    with tqdm(total=total, initial=initial, desc=description, unit="clip", disable=not progress or not tasks) as bar:
        for result in _results(function, tasks, workers):
            bar.update()
            yield result


def _results(function: Callable[[Task], Result], tasks: Sequence[Task], workers: int) -> Iterator[Result]:
    if workers == 0:
        yield from map(function, tasks)
        return
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_start_worker)
    try:
        with _workers_without_main():
            futures = [pool.submit(function, task) for task in tasks]
        for future in as_completed(futures):
            yield future.result()
    except BrokenProcessPool as error:
        raise RuntimeError(
            "a worker process died: out of memory, or a file crashes the decoder. What is done is kept; run again with "
            "workers=0 to see which file it is"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the parent, which ends its workers
    import torch

    torch.set_num_threads(1)


@contextmanager
def _workers_without_main() -> Iterator[None]:
    """Starts workers that do not run the caller's script again, as spawned processes otherwise do.

    So a plain script works without ``if __name__ == "__main__":``. Tasks never live in ``__main__``.
    """
    main: Any = sys.modules["__main__"]
    threads = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY")}
    sys.modules["__main__"] = ModuleType("__main__")
    os.environ.update(OMP_NUM_THREADS="1", OMP_WAIT_POLICY="passive")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
        for name, value in threads.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value

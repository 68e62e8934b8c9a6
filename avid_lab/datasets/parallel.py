"""Work spread over processes by joblib, with a progress bar, from scripts and notebooks alike."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, TypeVar

from joblib import Parallel, cpu_count, delayed, parallel_config
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import ProcessPoolExecutor, TerminatedWorkerError
from tqdm.auto import tqdm

WATCH_S = 1.0  # between two looks of a worker at its parent
SUSPECTS = 16  # tasks to retry alone after a worker died; the fatal one is among the first unfinished ones

Task = TypeVar("Task")
Result = TypeVar("Result")


def usable_cores() -> int:
    """Number of CPU cores that this process may use."""
    return cpu_count()


def default_workers(tasks: int) -> int:
    """Number of processes worth starting for this many tasks; 0 (this process) for few, as a start takes seconds."""
    workers = min(usable_cores(), 32, tasks // 48)
    return workers if workers > 1 else 0


def parallel(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    *,
    workers: int | None,
    progress: bool,
    description: str,
    unit: str = "clip",
    initial: int = 0,
    lost: Callable[[Task], Result] | None = None,
) -> Iterator[Result]:
    """Yield ``function(task)`` for every task as results arrive, in any order.

    Args:
        function: A function at a module's top level. Its exceptions are raised here.
        tasks: Its arguments.
        workers: Processes; None chooses, 0 works in this one.
        progress: Show a progress bar.
        description: Text of the bar.
        unit: What a task is called in the bar.
        initial: Number of tasks done before, for the bar.
        lost: Gives the result of a task whose worker dies, so that the others continue. None raises an error.

    Raises:
        RuntimeError: A worker died, and there is no ``lost``.
    """
    workers = default_workers(len(tasks)) if workers is None else workers
    total = initial + len(tasks)
    with tqdm(total=total, initial=initial, desc=description, unit=unit, disable=not progress or not tasks) as bar:
        for result in _results(function, tasks, workers, lost):
            bar.update()
            yield result


def _results(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    workers: int,
    lost: Callable[[Task], Result] | None,
) -> Iterator[Result]:
    if workers == 0:
        yield from map(function, tasks)
        return
    todo = dict(enumerate(tasks))
    while todo:
        try:
            for i, result in _spread(function, list(todo.items()), workers):
                del todo[i]
                yield result
        except TerminatedWorkerError as error:
            if lost is None:
                raise RuntimeError(
                    "a worker process died: out of memory, or a file crashes the decoder. Finished work is kept. Run "
                    "again with workers=0 to find the file."
                ) from error
            with ProcessPoolExecutor(1) as executor:
                for i in list(todo)[:SUSPECTS]:
                    task = todo.pop(i)
                    try:
                        yield executor.submit(function, task).result()
                    except TerminatedWorkerError:
                        yield lost(task)
                        break


def _spread(
    function: Callable[[Task], Result], tasks: Sequence[tuple[int, Task]], workers: int
) -> Iterator[tuple[int, Result]]:
    # Each worker has one thread. Where it cannot see that its parent was killed, it ends after half a minute.
    with parallel_config("loky", n_jobs=workers, inner_max_num_threads=1, idle_worker_timeout=30):
        calls = (delayed(_numbered)(os.getpid(), function, *task) for task in tasks)
        results: Any = Parallel(return_as="generator_unordered")(calls)
    try:
        yield from results
    finally:
        results.close()
        # Other work in the same processes would look like a memory leak to joblib, which then warns and restarts them.
        get_reusable_executor().shutdown()


def _numbered(parent: int, function: Callable[[Task], Result], number: int, task: Task) -> tuple[int, Result]:
    _end_with(parent)
    return number, function(task)


@lru_cache(maxsize=1)
def _end_with(parent: int) -> None:
    """Have this process end when its parent does, however that ends."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WATCH_S)
        os._exit(1)

    if os.getppid() == parent:
        threading.Thread(target=watch, name="avid-lab watch", daemon=True).start()

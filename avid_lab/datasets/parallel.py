"""Work spread over processes by joblib, with a progress bar, from scripts and notebooks alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from joblib import Parallel, cpu_count, delayed, parallel_config
from joblib.externals.loky.process_executor import TerminatedWorkerError
from tqdm.auto import tqdm

Task = TypeVar("Task")
Result = TypeVar("Result")


def usable_cores() -> int:
    """Processor cores that this process may run on."""
    return cpu_count()


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
    # Workers that outlive a killed parent end after half a minute without work; each has one thread.
    with parallel_config("loky", n_jobs=workers, inner_max_num_threads=1, idle_worker_timeout=30):
        results = Parallel(return_as="generator_unordered")(delayed(function)(task) for task in tasks)
    try:
        yield from results
    except TerminatedWorkerError as error:
        raise RuntimeError(
            "a worker process died: out of memory, or a file crashes the decoder. What is done is kept; run again with "
            "workers=0 to see which file it is"
        ) from error
    finally:
        results.close()

"""Long work over many files that can be stopped at any moment and goes on where it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from avid_lab.datasets.parallel import parallel

Task = TypeVar("Task")


def resumable(
    function: Callable[[Task], Any],
    tasks: Sequence[Task],
    files: Sequence[Path],
    journal: Path | None,
    *,
    is_done: Callable[[Task, Any], bool] = lambda task, result: True,
    workers: int | None,
    progress: bool,
    description: str,
) -> list[Any]:
    """``function(task)`` of every task, in order; what the journal already holds is not done again.

    The journal is a text file of one JSON line per finished task. A line counts as long as the task is the same and
    its file has the size and time that it had; a line cut short by an interruption is passed over.

    Args:
        function: At a module's top level; returns what JSON can hold.
        tasks: What to do; their ``repr`` tells them apart.
        files: The file that each task reads.
        journal: Where to remember; None remembers nothing.
        is_done: Whether a result of an earlier run still holds.
        workers: Processes; None chooses, 0 works in this one.
        progress: Shows a bar.
        description: What the bar says.

    Raises:
        RuntimeError: A worker died; what was finished is kept.
    """
    stamps = [_stamp(task, path) for task, path in zip(tasks, files, strict=True)]
    done = {} if journal is None else _read(journal)
    todo = [
        (stamp, task)
        for stamp, task in zip(stamps, tasks, strict=True)
        if stamp not in done or not is_done(task, done[stamp])
    ]
    results = parallel(
        partial(_stamped, function),
        todo,
        workers=workers,
        progress=progress,
        description=description,
        initial=len(tasks) - len(todo),
    )
    if journal is None:
        done |= dict(results)
    else:
        journal.parent.mkdir(parents=True, exist_ok=True)
        with journal.open("a", encoding="utf-8") as file:
            file.write("\n" if done or journal.stat().st_size else "")  # ends a line that was cut short
            for stamp, result in results:
                file.write(json.dumps([stamp, result]) + "\n")
                file.flush()
                done[stamp] = result
    return [done[stamp] for stamp in stamps]


def _stamp(task: object, path: Path) -> str:
    stat = path.stat() if path.is_file() else None
    told = repr((task, stat and (stat.st_size, stat.st_mtime_ns)))
    return hashlib.sha256(told.encode("utf-8", "surrogateescape")).hexdigest()[:20]


def _stamped(function: Callable[[Task], Any], item: tuple[str, Task]) -> tuple[str, Any]:
    stamp, task = item
    return stamp, function(task)


def _read(journal: Path) -> dict[str, Any]:
    done: dict[str, Any] = {}
    if journal.exists():
        for line in journal.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                stamp, result = json.loads(line)
            except ValueError:
                continue  # cut short: that task is done again
            done[stamp] = result
    return done

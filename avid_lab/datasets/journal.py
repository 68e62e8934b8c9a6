"""Long work over many files that can be interrupted at any time and resumes."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
    lost: Callable[[Task], Any] | None = None,
    workers: int | None,
    progress: bool,
    description: str,
    unit: str = "clip",
) -> list[Any]:
    """``function(task)`` of every task, in order; tasks already in the journal are not repeated.

    The journal is a text file with one line per finished task. A line is valid while the task, and the size and time of
    its file, are unchanged. Tasks of damaged or truncated lines are repeated.

    Args:
        function: A function at a module's top level; it returns a value that JSON can represent.
        tasks: The tasks; distinguished by their ``repr``.
        files: The file that each task reads.
        journal: File for the finished tasks; None keeps none.
        is_done: Whether a result of an earlier run is still valid.
        lost: As for `parallel`.
        workers: Processes; None chooses, 0 works in this one.
        progress: Show a progress bar.
        description: Text of the bar.
        unit: What a task is called in the bar.

    Raises:
        RuntimeError: A worker died; finished tasks are kept.
    """
    stamps = [_stamp(task, path) for task, path in zip(tasks, files, strict=True)]
    done: dict[str, Any] = {} if journal is None else dict(entries(journal))
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
        unit=unit,
        initial=len(tasks) - len(todo),
        lost=None if lost is None else partial(_stamped, lost),
    )
    if journal is None:
        done |= dict(results)
    else:
        with appending(journal) as append:
            for stamp, result in results:
                append([stamp, result])
                done[stamp] = result
    return [done[stamp] for stamp in stamps]


@contextmanager
def appending(journal: Path) -> Iterator[Callable[[Any], None]]:
    """Yield a function that appends an entry to a journal; when it returns, the entry is on disk."""
    journal.parent.mkdir(parents=True, exist_ok=True)
    with journal.open("ab") as file:
        if file.tell() and not journal.read_bytes().endswith(b"\n"):
            file.write(b"\n")  # ends a truncated line

        def append(entry: Any) -> None:
            line = json.dumps(entry)
            file.write(f"{_checksum(line)} {line}\n".encode())
            file.flush()

        yield append


def entries(journal: Path) -> Iterator[Any]:
    """The entries of a journal, without damaged or truncated lines."""
    if journal.exists():
        for line in journal.read_bytes().splitlines():
            checksum, _, text = line.decode("utf-8", "replace").partition(" ")
            if checksum == _checksum(text):
                yield json.loads(text)


def _checksum(line: str) -> str:
    return f"{zlib.crc32(line.encode()):08x}"


def _stamp(task: object, path: Path) -> str:
    stat = path.stat() if path.is_file() else None
    known = repr((task, stat and (stat.st_size, stat.st_mtime_ns)))
    return hashlib.sha256(known.encode("utf-8", "surrogateescape")).hexdigest()[:20]


def _stamped(function: Callable[[Task], Any], item: tuple[str, Task]) -> tuple[str, Any]:
    stamp, task = item
    return stamp, function(task)

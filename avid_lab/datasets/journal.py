"""Long work over many files that can be stopped at any moment and goes on where it was."""

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
) -> list[Any]:
    """``function(task)`` of every task, in order; what the journal already holds is not done again.

    The journal is a text file of one line per finished task. A line counts as long as the task is the same and its
    file has the size and time that it had. The task of a damaged line, or one cut short, is done again.

    Args:
        function: At a module's top level; returns what JSON can hold.
        tasks: What to do; their ``repr`` tells them apart.
        files: The file that each task reads.
        journal: Where to remember; None remembers nothing.
        is_done: Whether a result of an earlier run still holds.
        lost: As for `parallel`.
        workers: Processes; None chooses, 0 works in this one.
        progress: Shows a bar.
        description: What the bar says.

    Raises:
        RuntimeError: A worker died; what was finished is kept.
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
    """Gives a function that adds an entry to a journal; entries are on disk, whole, as soon as it returns."""
    journal.parent.mkdir(parents=True, exist_ok=True)
    with journal.open("ab") as file:
        if file.tell() and not journal.read_bytes().endswith(b"\n"):
            file.write(b"\n")  # ends a line that was cut short

        def append(entry: Any) -> None:
            line = json.dumps(entry)
            file.write(f"{_checksum(line)} {line}\n".encode())
            file.flush()

        yield append


def entries(journal: Path) -> Iterator[Any]:
    """The entries of a journal, without lines that are damaged or cut short."""
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

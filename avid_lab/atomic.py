"""Files that are whole or not there: written under a temporary name, flushed to disk, renamed."""

from __future__ import annotations

import contextlib
import glob
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

DAY_S = 24 * 3600.0


@contextmanager
def replacing(path: str | Path, *, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary name next to ``path``; the file written there replaces ``path`` when the block ends.

    A crash, a full disk or `kill -9` at any moment leaves the old file or the new one, never half of one. An error in
    the block leaves the old file and removes the temporary one. Only a process that is killed leaves that behind; a
    later call removes it when it is a day old.

    Args:
        path: The file to write; its folder is made.
        durable: Whether to wait until the disk has it, so that a power cut cannot lose it either. What can be made
            again cheaply need not wait.

    Example:
        >>> with replacing("/tmp/greeting.txt") as temporary:
        ...     _ = temporary.write_text("hello")
    """
    path = Path(path).absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path, DAY_S)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        if durable:
            _flush(temporary, os.O_RDWR)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    if durable and os.name == "posix":  # the folder holds the new name
        _flush(path.parent, os.O_RDONLY)


def remove_leftovers(path: str | Path, older_than_s: float = 0.0) -> None:
    """Remove temporary files that killed processes left of ``path``; at once only where it has no other writer."""
    path = Path(path).absolute()
    _remove_old(path.parent.glob(f".{glob.escape(path.name)}.*.part"), older_than_s)


def remove_parts(folder: Path) -> None:
    """Remove all temporary files that killed processes left in a folder of ours a day ago or earlier."""
    _remove_old(folder.rglob(".*.part"), DAY_S)


def _remove_old(paths: Iterable[Path], older_than_s: float) -> None:
    now = time.time()
    for path in paths:
        with contextlib.suppress(OSError):  # another process was faster, or may not be disturbed
            if now - path.stat().st_mtime >= older_than_s:
                path.unlink()


def is_part_of(found: Path, path: Path) -> bool:
    """Whether ``found`` is ``path`` or a temporary file that a killed process left of it."""
    part = found.name.startswith(f".{path.name}.") and found.suffix == ".part"
    return found == path or (part and found.parent == path.parent)


def _flush(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

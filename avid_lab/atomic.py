"""Files that are whole or not there: written under a temporary name, flushed to disk, renamed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | Path, *, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary name next to ``path``; the file written there replaces ``path`` when the block ends.

    A crash, a full disk or `kill -9` at any moment leaves the old file or the new one, never half of one. An error in
    the block leaves the old file and removes the temporary one; only a process that is killed leaves that behind, see
    `remove_leftovers`.

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


def remove_leftovers(path: str | Path) -> None:
    """Remove temporary files that killed processes left of ``path``; for its one writer, before it writes."""
    path = Path(path).absolute()
    for leftover in path.parent.glob(f".{path.name}.*.part"):
        leftover.unlink(missing_ok=True)


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

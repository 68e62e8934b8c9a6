"""Files inside tar archives, which a path names like files of a folder: ``shard.tar/clip.mp4``."""

from __future__ import annotations

import functools
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import TypeVar

OPEN = 256  # archives whose lists of files are kept
COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")  # how gzip, bzip2, xz and zstd begin

AnyPath = TypeVar("AnyPath", bound=PurePath)


@dataclass(frozen=True)
class Member:
    """A file inside an archive: the bytes ``[begin, begin + size)`` of it."""

    archive: Path
    begin: int
    size: int


def is_url(place: object) -> bool:
    """Whether a text names a place elsewhere, of any scheme: two letters or more and ``://``."""
    scheme, found, _ = str(place).partition("://")
    return isinstance(place, str) and bool(found) and len(scheme) > 1 and scheme.replace("+", "").isalnum()


def archive_of(path: AnyPath) -> AnyPath | None:
    """The archive that a path leads into, whether it exists or not; None for a path without one."""
    return next((parent for parent in path.parents if parent.suffix == ".tar"), None)


def find_member(path: Path) -> Member | None:
    """The member that a path names; None if it leads into no archive, or the archive has no such file.

    Raises:
        OSError: The archive is damaged or cannot be read.
    """
    archive = archive_of(path)
    if archive is None or not archive.is_file():
        return None
    stat = archive.stat()
    place = _members(str(archive), stat.st_size, stat.st_mtime_ns).get(path.relative_to(archive).as_posix())
    return None if place is None else Member(archive, *place)


@functools.lru_cache(OPEN)
def _members(archive: str, size: int, mtime_ns: int) -> dict[str, tuple[int, int]]:
    """`list_members`; size and time tell a replaced archive."""
    return list_members(Path(archive))


def list_members(archive: Path) -> dict[str, tuple[int, int]]:
    """Begin and size of every plain file in an uncompressed archive, by its name without a leading ``./``.

    Of several files with one name the last counts, as when tar unpacks them.

    Raises:
        OSError: It is compressed, damaged, not whole, or cannot be read.
    """
    try:
        with tarfile.open(archive, "r:") as tar:
            found = {
                PurePosixPath(member.name).as_posix(): (member.offset_data, member.size)
                for member in tar
                if member.isreg()
            }
    except (tarfile.TarError, ValueError, OverflowError) as error:
        with archive.open("rb") as file:
            if file.read(6).startswith(COMPRESSED):
                raise OSError(f"{archive} is compressed, so no file in it can be read alone: uncompress it") from error
        raise OSError(f"{archive} is not a whole tar archive ({error})") from error
    end = archive.stat().st_size
    if any(begin + size > end for begin, size in found.values()):
        raise OSError(f"{archive} is not a whole tar archive (it ends within a file)")
    return found

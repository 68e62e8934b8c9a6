"""Archives unpacked into a folder of their own: no member leaves it, and none fills the disk unawares."""

from __future__ import annotations

import os
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from tqdm.auto import tqdm

from avid_lab.fetching.transfer import require_room

ENDINGS = (".tar.gz", ".tar.bz2", ".tar.xz", ".tgz", ".tar", ".zip")
MOST_MEMBERS = 2_000_000
SPARE = 50 * 10**6  # bytes that are left free


def unpacked_folder(archive: Path) -> Path:
    """The folder of an archive's files: its name without ending.

    Raises:
        ValueError: It is not called like an archive that can be unpacked.
    """
    for ending in ENDINGS:
        if archive.name.lower().endswith(ending):
            return archive.with_name(archive.name[: -len(ending)])
    raise ValueError(f"{archive} must be called one of {', '.join('*' + ending for ending in ENDINGS)}")


def unpack(archive: Path, *, progress: bool = True) -> Path:
    """Unpack a zip or tar archive into `unpacked_folder`, which appears when all of it is there.

    Raises:
        OSError: The archive is damaged, a member leads out of the folder or is a device, or there is no room.
    """
    target = unpacked_folder(archive)
    making = target.with_name(f".{target.name}.unpacking")
    shutil.rmtree(making, ignore_errors=True)  # of a run that was killed
    making.mkdir(parents=True)
    try:
        with tqdm(desc=f"unpacking {archive.name}", unit="file", disable=not progress, mininterval=0.5) as bar:
            for _ in _zip_members(archive, making) if zipfile.is_zipfile(archive) else _tar_members(archive, making):
                bar.update()
                if bar.n > MOST_MEMBERS:
                    raise OSError(f"{archive}: has more than {MOST_MEMBERS:,} members, more than any known set.")
        if target.exists():
            shutil.rmtree(target)
        os.replace(making, target)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return target


def _zip_members(archive: Path, folder: Path) -> Iterator[None]:
    with _readable(archive), zipfile.ZipFile(archive) as opened:
        members = opened.infolist()
        for member in members:
            _check_name(archive, member.filename)
        require_room(folder, sum(member.file_size for member in members) + SPARE)
        for member in members:
            opened.extract(member, folder)  # fails at the announced size and at a wrong checksum
            yield


def _tar_members(archive: Path, folder: Path) -> Iterator[None]:
    with _readable(archive), tarfile.open(archive) as opened:
        for member in opened:
            _check_name(archive, member.name)
            require_room(folder, member.size + SPARE)
            opened.extract(member, folder, filter="data")
            yield


def _check_name(archive: Path, name: str) -> None:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[0:1]:
        raise OSError(f"{archive}: its member {name!r} leads out of the folder. Nothing was unpacked; do not use it.")


@contextmanager
def _readable(archive: Path) -> Iterator[None]:
    try:
        yield
    except tarfile.FilterError as error:
        raise OSError(f"{archive}: {error}. Nothing of it was unpacked; do not use it.") from error
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, NotImplementedError) as error:
        raise OSError(f"{archive}: is damaged or not an archive ({error}). Remove it and fetch it again.") from error

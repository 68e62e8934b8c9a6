"""Weights and public sets from their own servers, by name. Nothing here fetches unless it is told to.

Next to each file, ``NAME.source.json`` records where it came from, when, under which licence, and its SHA-256.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from avid_lab.atomic import replacing
from avid_lab.config import data_path
from avid_lab.fetching.catalogue import CATALOGUE, STATISTICS, Entry, Remote, find, size_text
from avid_lab.fetching.transfer import OFFLINE, download, look, require_online, require_room
from avid_lab.fetching.unpack import unpack, unpacked_folder

__all__ = [
    "CATALOGUE",
    "OFFLINE",
    "STATISTICS",
    "Entry",
    "Remote",
    "fetch",
    "find",
    "folder_of",
    "is_here",
    "require_online",
    "size_text",
    "weights",
]


def folder_of(entry: Entry, to: Path | None = None) -> Path:
    """Where an entry's files are: in ``to``, or below ``data_dir()``."""
    return to or data_path("fetched", entry.folder or entry.name)


def fetch(
    entry: Entry, to: Path | None = None, *, keep_archives: bool = False, progress: bool = True, say: Callable = print
) -> Path:
    """Fetch all files of an entry, and unpack its archives; what is here already is left alone.

    Args:
        entry: What to fetch.
        to: The folder; None takes `folder_of`.
        keep_archives: Whether archives stay after they are unpacked.
        progress: Whether to show progress bars.
        say: Called with a line for each file.

    Returns:
        The folder.

    Raises:
        OSError: A file cannot be fetched or unpacked; the message says why and what to do.
        ValueError: The entry can only be got by hand.
    """
    if not entry.files:
        raise ValueError(f"{entry.name} cannot be fetched by a command. {entry.by_hand} See {entry.page}")
    folder = folder_of(entry, to)
    missing = [remote for remote in entry.files if not _is_done(remote, folder)]
    if missing or entry.lists:
        require_online(entry.page)
        folder.mkdir(parents=True, exist_ok=True)
    offers = {remote: look(remote.url) for remote in missing}
    if missing and not entry.lists:  # archives of lists are fetched one after another, each if it fits
        guess = entry.size // len(entry.files)
        require_room(
            folder, sum((offers[remote].size or guess) * (1 + remote.unpack) for remote in missing)
        )  # unpacked
    for remote in [*entry.files, *_listed(entry, folder, progress)]:
        if _is_done(remote, folder):
            say(f"{remote.place}: here already")
            continue
        path = folder / remote.place
        checksum = download(remote.url, path, sha256=remote.sha256, offer=offers.get(remote), progress=progress)
        size = path.stat().st_size
        if remote.unpack:
            unpack(path, progress=progress)
            if not keep_archives:
                path.unlink()
        _record(entry, remote, path, size, checksum)
        say(f"{remote.place}: {size_text(size)}, SHA-256 {checksum}{'' if remote.sha256 else ' (none was known)'}")
    return folder


def is_here(entry: Entry, to: Path | None = None) -> bool:
    """Whether all of an entry was fetched: for lists of archives, whether their own files were."""
    return bool(entry.files) and all(_is_done(remote, folder_of(entry, to)) for remote in entry.files)


def weights(name: str) -> Path:
    """The file of fetched weights; the authors' ``STATISTICS`` are beside it.

    Raises:
        ValueError: There are no such weights.
        FileNotFoundError: They were not fetched; the message names the command.
    """
    entry = CATALOGUE.get(name)
    if entry is None or entry.kind != "weights":
        known = ", ".join(one.name for one in CATALOGUE.values() if one.kind == "weights")
        raise ValueError(f"name must be one of the released weights, {known}; got {name!r}")
    path = folder_of(entry) / entry.files[0].place
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not here. Run `avid-lab fetch {name}`; licence: {entry.licence}.")
    return path


def _listed(entry: Entry, folder: Path, progress: bool) -> Iterator[Remote]:
    """The archives in an entry's lists. They must be on the list's own server."""
    for url in entry.lists:
        path = folder / PurePosixPath(urlsplit(url).path).name
        download(url, path, progress=progress)
        for line in path.read_text(encoding="utf-8").split():
            if urlsplit(line)[:2] != urlsplit(url)[:2]:
                raise OSError(f"{url}: names {line!r}, on another server. The list has changed: see {entry.page}")
            part, name = PurePosixPath(urlsplit(line).path).parts[-2:]
            yield Remote(line, name=f"{part}/{name}", unpack=True)


def _is_done(remote: Remote, folder: Path) -> bool:
    path = folder / remote.place
    return _source(path).is_file() and (unpacked_folder(path).is_dir() if remote.unpack else path.is_file())


def _source(path: Path) -> Path:
    return path.with_name(f"{path.name}.source.json")


def _record(entry: Entry, remote: Remote, path: Path, size: int, checksum: str) -> None:
    content = {
        "name": entry.name,
        "url": remote.url,
        "page": entry.page,
        "licence": entry.licence,
        "fetched": datetime.now(UTC).isoformat(timespec="seconds"),
        "bytes": size,
        "sha256": checksum,
        "checksum": "as expected" if remote.sha256 else "none was known",
    }
    with replacing(_source(path)) as temporary:
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

"""Sets on a web server or object store: the manifest is copied here, and shards come when a clip of them is read.

A set is a manifest and the shards beside it (`prepare` with ``shards``), anywhere behind http or https. Each shard is
fetched once per machine, whole, into a folder below ``data_dir()`` that keeps a limited number of bytes: the shards
that were not used for longest make room.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from filelock import FileLock

from avid_lab.archives import archive_of, list_members
from avid_lab.atomic import replacing
from avid_lab.config import data_dirs
from avid_lab.fetching import require_online

SCHEMES = ("http", "https")  # nothing that runs a command or reads this machine's own files
TIMEOUT_S = 60.0  # without a byte
TRIES = 3
IN_USE_S = 10.0  # a shard used this recently is not removed
PIECE = 2**20
NOT_DATA = ("", ".csv", ".lock", ".part")  # of the files in these folders


def copy_manifest(url: str) -> tuple[Path, str]:
    """Copy a manifest here; return the copy, in the folder that its shards will be in, and the URL of its folder.

    A manifest that has changed gets a folder of its own.

    Raises:
        ValueError: The URL's scheme is not http or https.
        OSError: It cannot be fetched, or ``AVID_LAB_OFFLINE`` forbids it.
    """
    if urlsplit(url).scheme not in SCHEMES:
        raise ValueError(f"a remote manifest must have a URL that begins with http:// or https://; got {url!r}")
    require_online(url)
    with _opened(url) as answer:
        content = answer.read()
    base = url.partition("?")[0].rpartition("/")[0]
    path = _folder() / hashlib.sha256(base.encode() + content).hexdigest()[:20] / "manifest.csv"
    if not path.exists():
        with replacing(path) as temporary:
            temporary.write_bytes(content)
    return path, base


def fetch(base: str, root: Path, path: Path) -> None:
    """Fetch the file of a remote set that ``path`` needs: the shard that it leads into, or the file itself.

    Args:
        base: URL of the set's folder.
        root: The folder here.
        path: A clip's path in ``root``.

    Raises:
        OSError: It cannot be fetched, there is no room for it, or ``AVID_LAB_OFFLINE`` forbids it.
    """
    target = archive_of(path) or path
    if not _note_use(target):
        lock = root / ".locks" / hashlib.sha256(str(target).encode()).hexdigest()[:20]
        lock.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(lock):
            if not _note_use(target):
                require_online(base)
                _download(f"{base}/{quote(target.relative_to(root).as_posix())}", target)


def limit_bytes() -> int:
    """How many bytes of shards are kept: ``AVID_LAB_SHARDS_GB``, or half of the disk space that they could take.

    Raises:
        ValueError: ``AVID_LAB_SHARDS_GB`` is no number above zero.
    """
    text = os.environ.get("AVID_LAB_SHARDS_GB")
    if not text:
        folder = _folder()
        folder.mkdir(parents=True, exist_ok=True)
        return (shutil.disk_usage(folder).free + sum(path.stat().st_size for path in _kept())) // 2
    try:
        limit = float(text)
    except ValueError:
        limit = 0.0
    if not limit > 0:
        raise ValueError(f"AVID_LAB_SHARDS_GB must be a number of gigabytes above zero; got {text!r}")
    return int(limit * 1e9)


def _folder() -> Path:
    return data_dirs()[-1] / "shards"


def _kept() -> list[Path]:
    return [path for path in _folder().rglob("*") if path.is_file() and path.suffix not in NOT_DATA]


def _note_use(path: Path) -> bool:
    """Whether a file is here; its time of access is now, whatever the disk's own rule for it is."""
    try:
        stat = path.stat()
        if time.time() - stat.st_atime > IN_USE_S / 4:
            os.utime(path, ns=(time.time_ns(), stat.st_mtime_ns))
    except FileNotFoundError:
        return False
    return True


def _opened(url: str) -> Any:
    try:
        return urllib.request.urlopen(url, timeout=TIMEOUT_S)
    except (OSError, http.client.HTTPException) as error:
        raise OSError(f"{url} cannot be fetched ({error}). Check the address and the network.") from error


def _download(url: str, target: Path) -> None:
    for attempt in range(TRIES):
        try:
            with _opened(url) as answer, replacing(target, durable=False) as temporary:
                size = int(answer.headers.get("Content-Length") or 0)
                _make_room(size)
                with temporary.open("wb") as file:
                    shutil.copyfileobj(answer, file, PIECE)
                if size and temporary.stat().st_size != size:
                    raise ConnectionError(f"{url} ended after {temporary.stat().st_size} of {size} bytes")
                if target.suffix == ".tar":
                    _check_shard(url, temporary)
            return
        except (OSError, http.client.HTTPException) as error:
            permanent = isinstance(error.__cause__, urllib.error.HTTPError) and error.__cause__.code < 500
            if permanent or attempt == TRIES - 1:
                problem = str(error)  # a stalled connection says no more than "timed out"
                fix = "Check the network and the server, and try again."
                raise OSError(problem if url in problem else f"{url} cannot be fetched ({error}). {fix}") from error
            time.sleep(2**attempt / 2)


def _check_shard(url: str, path: Path) -> None:
    """Some servers answer with a page instead of an error, or end early without saying so."""
    try:
        list_members(path)
    except OSError as error:
        raise OSError(
            f"what {url} gave is not a whole tar archive. Check the address and the server's copy."
        ) from error


def _make_room(size: int) -> None:
    """Remove the shards that were not used for longest, until one of this size fits."""
    with FileLock(_folder() / ".room.lock"):
        kept = sorted((path.stat().st_atime, path.stat().st_size, path) for path in _kept())
        excess = sum(entry[1] for entry in kept) + size - limit_bytes()
        for used_s, held, path in kept:
            if excess <= 0 or time.time() - used_s < IN_USE_S:
                return
            path.unlink(missing_ok=True)
            excess -= held

"""One file from a server, whole or not at all.

`gdown` does the transfer: of the well-kept downloaders it is the one that resumes by byte range, checks what the server
answers to that, honours proxies and knows Google Drive (pooch starts again from nothing; huggingface_hub knows its own
hub only). Here are what it leaves open: whether an old part belongs to the file that is there now, room on the disk,
the checksum before the file gets its name, and errors that say what to do.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock, Timeout
from tqdm.auto import tqdm

from avid_lab.atomic import replacing
from avid_lab.fetching.catalogue import size_text

OFFLINE = "AVID_LAB_OFFLINE"
TIMEOUT_S = (20.0, 60.0)  # to connect, and without a byte
RETRIES = 4  # of a connection that was cut; and of a whole file where the server knows no byte ranges
AGENT = "avid_lab"


@dataclass(frozen=True)
class Offer:
    """What a server says of a file before it is sent.

    Attributes:
        url: Its address.
        size: Bytes, where the server says.
        version: The server's mark of this version of the file; "" without one.
        ranges: Whether the server sends a part of it.
    """

    url: str
    size: int | None = None
    version: str = ""
    ranges: bool = True


def look(url: str) -> Offer:
    """Ask the server for one byte of a file.

    Raises:
        OSError: The server or the file cannot be reached, `AVID_LAB_OFFLINE` is set, or the answer is a web page.
    """
    import requests

    require_online(url)
    if urlsplit(url).hostname == "drive.google.com":
        return Offer(url)  # it answers with pages of its own, which only gdown reads
    headers = {"Range": "bytes=0-0", "Accept-Encoding": "identity", "User-Agent": AGENT}
    try:
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as answer:
            if answer.status_code == 416:  # an empty file
                return Offer(url, ranges=False)
            answer.raise_for_status()
            sent = answer.headers
    except requests.RequestException as error:
        raise _explained(url, error) from error
    if sent.get("Content-Type", "").startswith("text/html") and not urlsplit(url).path.endswith((".html", "/")):
        raise OSError(f"{url}: the answer is a web page. The file has moved, or this network asks you to log in.")
    ranges = answer.status_code == 206
    size = sent.get("Content-Range", "").rpartition("/")[2] if ranges else sent.get("Content-Length", "")
    version = sent.get("ETag") or sent.get("Last-Modified") or ""
    return Offer(url, int(size) if size.isdigit() else None, version, ranges)


def download(url: str, target: Path, *, sha256: str = "", offer: Offer | None = None, progress: bool = True) -> str:
    """Fetch a file; return its SHA-256.

    A transfer that is cut goes on where it stopped, here and in the next call. The file gets its name when it is whole
    and its checksum is right. Proxies come from ``HTTP_PROXY``, ``HTTPS_PROXY`` and ``NO_PROXY``.

    Args:
        url: Its address.
        target: Where to; its folder is made.
        sha256: The checksum that it must have, if known.
        offer: What `look` has found; None looks now.
        progress: Whether to show bytes, rate and time left.

    Raises:
        OSError: It cannot be fetched, its checksum is wrong, there is no room for it, another process is fetching it,
            or `AVID_LAB_OFFLINE` is set. The message says whether the next call continues.
    """
    require_online(url)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(target.with_name(f".{target.name}.lock"), timeout=0):
            return _Transfer(url, target, sha256, progress).run(offer or look(url))
    except Timeout as error:
        raise OSError(f"{target}: another process is fetching it. Wait for that one, or stop it.") from error


class _Transfer:
    """A download in its folder: ``.NAME.fetch*`` are its unfinished files."""

    def __init__(self, url: str, target: Path, sha256: str, progress: bool) -> None:
        self.url, self.target, self.sha256, self.progress = url, target, sha256, progress
        self.staged = target.with_name(f".{target.name}.fetch")
        self.note = target.with_name(f".{target.name}.fetch.json")

    def run(self, offer: Offer) -> str:
        made, parts = json.dumps(asdict(offer)), self._parts()
        if not (offer.ranges and _text(self.note) == made) or len(parts) > 1:
            self._discard()  # no part can be continued, or it is of another version of the file
        elif parts and parts[0].stat().st_size == offer.size:  # stopped just before it got its name
            os.replace(parts[0], self.staged)
        self.note.write_text(made, encoding="utf-8")
        if not self.staged.exists():
            self._transfer(offer)
        with self.staged.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if self.sha256 and found != self.sha256:
            self._discard()
            raise OSError(
                f"{self.url}: the file has the SHA-256 {found}, but must have {self.sha256}. It was removed. "
                "Fetch it again; if it happens again, the file on the server is not the one that this version knows."
            )
        with replacing(self.target) as temporary:
            os.replace(self.staged, temporary)
        self._discard()
        return found

    def _transfer(self, offer: Offer) -> None:
        import gdown
        import requests

        if offer.size is not None:
            require_room(self.target.parent, offer.size - sum(path.stat().st_size for path in self._parts()))
        for attempt in range(1, RETRIES + 1):
            try:
                with self._bar(offer) as bar:
                    gdown.download(
                        self.url,
                        str(self.staged),
                        quiet=True,
                        use_cookies=False,
                        user_agent=None if offer.size is None else AGENT,
                        resume=True,
                        progress=self._watch(bar),
                        timeout=TIMEOUT_S,
                        retries=RETRIES if offer.ranges else 0,
                    )
                return
            except (requests.RequestException, gdown.DownloadError) as error:
                if not offer.ranges:
                    self._discard(keep_note=True)
                    if attempt < RETRIES:
                        continue
                raise self._with_rest(_explained(self.url, error)) from error
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    text = f"{self.target.parent}: the disk is full. Make room, or choose another folder with --to."
                    raise self._with_rest(OSError(text)) from error
                raise

    def _bar(self, offer: Offer) -> tqdm:
        done = sum(path.stat().st_size for path in self._parts())
        how = {"unit": "B", "unit_scale": True, "disable": not self.progress, "mininterval": 0.5}
        return tqdm(desc=self.target.name, total=offer.size, initial=done, **how)

    def _watch(self, bar: tqdm) -> Callable[[int, int | None], None]:
        checked = False

        def watch(done: int, total: int | None) -> None:
            nonlocal checked
            if not checked and total is not None:
                checked = True
                bar.total = total
                require_room(self.target.parent, total - done)
            bar.update(done - bar.n)

        return watch

    def _parts(self) -> list[Path]:
        return list(self.target.parent.glob(f"{glob.escape(self.staged.name)}????????.part"))

    def _discard(self, *, keep_note: bool = False) -> None:
        for path in [self.staged, *self._parts(), *([] if keep_note else [self.note])]:
            path.unlink(missing_ok=True)

    def _with_rest(self, error: OSError) -> OSError:
        """The error, with how much is here already; empty parts are removed."""
        for path in self._parts():
            if path.stat().st_size == 0:
                path.unlink()
        done = sum(path.stat().st_size for path in self._parts())
        if not done:
            self._discard()
            return error
        return OSError(f"{error} {size_text(done)} are kept: the same command continues from there.")


def require_online(url: str) -> None:
    """Check that fetching is allowed.

    Raises:
        OSError: ``AVID_LAB_OFFLINE`` is set to anything but 0.
    """
    if os.environ.get(OFFLINE, "0") not in ("", "0"):
        raise OSError(f"{url} is not fetched, because {OFFLINE} is set. Unset it to allow the network.")


def require_room(folder: Path, needed: int) -> None:
    """Check that there is room on the disk.

    Raises:
        OSError: There is not.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        fix = "Make room, or choose another folder with --to."
        raise OSError(f"{folder}: needs {size_text(needed)}, but {size_text(free)} are free. {fix}")


def _text(path: Path) -> str:
    with suppress(OSError):
        return path.read_text(encoding="utf-8")
    return ""


def _explained(url: str, error: Exception) -> OSError:
    """The error of a library, in words for a user."""
    import gdown
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        code, reason = error.response.status_code, error.response.reason
        fix = "It may have moved: see its page, in `avid-lab fetch NAME`." if code in (404, 410) else "Try again later."
        return OSError(f"{url}: the server answers {code} {reason}. {fix}")
    if isinstance(error, requests.exceptions.ProxyError):
        return OSError(f"{url}: the proxy refuses ({_reason(error)}). Check HTTP_PROXY, HTTPS_PROXY and NO_PROXY.")
    if isinstance(error, requests.exceptions.SSLError):
        return OSError(
            f"{url}: the server's certificate is not trusted ({_reason(error)}). Fetch the file with a browser."
        )
    if isinstance(error, gdown.exceptions.FileURLRetrievalError):
        return OSError(f"{url}: Google Drive does not give the file ({' '.join(str(error).split())})")
    if isinstance(error, gdown.DownloadError):
        return OSError(f"{url}: the transfer ended early ({str(error).splitlines()[0]})")
    return OSError(f"{url}: cannot be reached ({_reason(error)}). Check the address and the network.")


def _reason(error: BaseException) -> str:
    """The innermost complaint of nested errors, without the objects that they name."""
    while isinstance(inner := getattr(error, "reason", None) or (error.args[0] if error.args else None), BaseException):
        error = inner
    return str(error).rpartition(">: ")[2].rpartition("): ")[2]

"""What one student did, kept on disk: verdicts, predictions, notes.

One JSON file in ``AVID_LAB_STUDENT``, or in the folder that the system keeps for a user's data. Several kernels may
write at once: each takes a lock, reads the file, adds its own entries and replaces the file.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout
from platformdirs import user_data_dir

from avid_lab.atomic import replacing

Entries = dict[str, dict[str, Any]]  # kind -> key -> entry
Result = TypeVar("Result")

KINDS = ("exercises", "predictions", "notes")
WAITS_S = (0.05, 0.1, 0.2, 0.4)  # before trying again: a sync client or a virus scanner holds a file for a moment
LOCK_S = 5.0  # longest wait for another kernel that is writing

_LOCK = threading.RLock()
_UNSAVED: dict[tuple[str, str], dict[str, Any]] = {}  # what could not be written yet; the next write tries again


def folder() -> Path:
    """The folder of the record: ``AVID_LAB_STUDENT``, or the user's data folder."""
    return Path(os.environ.get("AVID_LAB_STUDENT") or user_data_dir("avid_lab", appauthor=False)).expanduser()


def record() -> Entries:
    """The whole record: ``{"exercises": {name: ...}, "predictions": {key: ...}, "notes": {key: ...}}``.

    It includes unsaved entries until the kernel stops. A damaged file is kept under another name, and a new record
    starts.
    """
    with _LOCK:
        try:
            return _merged(_patiently(_look))
        except OSError as error:
            print(f"Your progress cannot be read ({error}).")
            return _merged({})


def write(kind: str, key: str, **values: Any) -> bool:
    """Change some values of one entry.

    If saving fails, this prints a warning, and the next call tries to save the entry again.

    Args:
        kind: "exercises", "predictions" or "notes".
        key: The entry's key.
        values: JSON values; ``when`` is added.

    Returns:
        Whether the entry is on disk.

    Raises:
        TypeError: A value that JSON cannot hold.
    """
    json.dumps(values, ensure_ascii=False).encode()  # raises before it could spoil later calls
    with _LOCK:
        _UNSAVED.setdefault((kind, key), {}).update(values, when=_now())
        try:
            _patiently(lambda: _save((kind, key)))
        except OSError as error:
            print(
                f"Your progress is not saved ({error}). It is kept until the kernel stops, and the next answer tries "
                "to save it again. If that fails, too, set AVID_LAB_STUDENT to a folder that you can write to."
            )
            return False
        _UNSAVED.clear()
        return True


def _patiently(action: Callable[[], Result]) -> Result:
    for wait_s in WAITS_S:
        try:
            return action()
        except Timeout:
            raise  # it has waited long enough
        except OSError:
            time.sleep(wait_s)
    return action()


def _locked() -> FileLock:
    folder().mkdir(parents=True, exist_ok=True)
    return FileLock(folder() / "progress.lock", timeout=LOCK_S)


def _save(latest: tuple[str, str]) -> None:
    with _locked():
        _UNSAVED[latest]["when"] = _now()  # under the lock: entries are as new as the order in which kernels write
        everything = _merged(_read())
        with replacing(_path(), durable=False) as temporary:
            temporary.write_text(json.dumps(everything, indent=1, ensure_ascii=False), encoding="utf-8")


def _look() -> Entries:
    """The record on disk; only a damaged file needs the lock."""
    everything = _parsed()
    if everything is None:
        with _locked():
            everything = _read()
    return everything


def _read() -> Entries:
    """The record on disk, read under the lock; a damaged file is moved aside."""
    everything = _parsed()
    if everything is None:
        kept = _free_name()
        os.replace(_path(), kept)
        print(f"{_path()} was damaged; it is kept as {kept.name}, and a new record starts.")
    return everything or {}


def _parsed() -> Entries | None:
    """The record on disk, empty if there is no file, or None if it is damaged."""
    try:
        everything = json.loads(_path().read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError):
        return None
    kinds = [everything.get(kind, {}) for kind in KINDS] if isinstance(everything, dict) else [None]
    whole = all(isinstance(kind, dict) and all(isinstance(entry, dict) for entry in kind.values()) for kind in kinds)
    return everything if whole else None


def _merged(everything: Entries) -> Entries:
    """The record with unsaved entries; if both have a value, the newer entry wins.

    One from the future does not: the clock was wrong then, or is now.
    """
    merged = {kind: dict(everything.get(kind, {})) for kind in KINDS}
    now = _now()
    for (kind, key), ours in _UNSAVED.items():
        theirs = merged[kind].get(key, {})
        newer = ours["when"] < str(theirs.get("when", "")) <= now
        merged[kind][key] = ours | theirs if newer else theirs | ours
    return merged


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _path() -> Path:
    return folder() / "progress.json"


def _free_name() -> Path:
    """``progress.damaged.json``, or with a number: earlier files are never replaced."""
    kept, number = _path().with_suffix(".damaged.json"), 1
    while kept.exists():
        number += 1
        kept = _path().with_suffix(f".damaged-{number}.json")
    return kept

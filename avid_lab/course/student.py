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
    """Where the record lies: ``AVID_LAB_STUDENT``, or the user's data folder."""
    return Path(os.environ.get("AVID_LAB_STUDENT") or user_data_dir("avid_lab", appauthor=False)).expanduser()


def record() -> Entries:
    """All that is known: ``{"exercises": {name: ...}, "predictions": {key: ...}, "notes": {key: ...}}``.

    What could not be saved is part of it as long as the kernel lives. A damaged file is kept under another name, and a
    new record begins.
    """
    with _LOCK:
        try:
            return _merged(_patiently(_look))
        except OSError as error:
            print(f"Your progress cannot be read ({error}).")
            return _merged({})


def write(kind: str, key: str, **values: Any) -> bool:
    """Change some values of one entry.

    When that cannot be saved, it says so each time, and the next call saves it too, if it can.

    Args:
        kind: "exercises", "predictions" or "notes".
        key: Of the entry.
        values: JSON values; ``when`` is added.

    Returns:
        Whether it is on disk.

    Raises:
        TypeError: A value that JSON cannot hold.
    """
    json.dumps(values, ensure_ascii=False).encode()  # raises before it could spoil later calls
    with _LOCK:
        when = datetime.now(UTC).isoformat(timespec="milliseconds")
        _UNSAVED.setdefault((kind, key), {}).update(values, when=when)
        try:
            _patiently(_save)
        except OSError as error:
            print(
                f"Your progress is not saved ({error}). It is kept until the kernel stops, and saved with the next "
                "answer if that works. If it does not, set AVID_LAB_STUDENT to a folder that you may write to."
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


def _save() -> None:
    with _locked():
        everything = _merged(_read())
        with replacing(_path(), durable=False) as temporary:
            temporary.write_text(json.dumps(everything, indent=1, ensure_ascii=False), encoding="utf-8")


def _look() -> Entries:
    """What is on disk; only a damaged file needs the lock."""
    everything = _parsed()
    if everything is None:
        with _locked():
            everything = _read()
    return everything


def _read() -> Entries:
    """What is on disk, for the one that holds the lock; a damaged file is moved aside."""
    everything = _parsed()
    if everything is None:
        kept = _free_name()
        os.replace(_path(), kept)
        print(f"{_path()} was damaged; it is kept as {kept.name}, and a new record begins.")
    return everything or {}


def _parsed() -> Entries | None:
    """The record on disk, empty where there is no file, or None if it is damaged."""
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
    """The record with what is unsaved; where both have a value, the newer entry wins."""
    merged = {kind: dict(everything.get(kind, {})) for kind in KINDS}
    for (kind, key), ours in _UNSAVED.items():
        theirs = merged[kind].get(key, {})
        newer = str(theirs.get("when", "")) > ours["when"]
        merged[kind][key] = ours | theirs if newer else theirs | ours
    return merged


def _path() -> Path:
    return folder() / "progress.json"


def _free_name() -> Path:
    """``progress.damaged.json``, or with a number: what was kept before is never replaced."""
    kept, number = _path().with_suffix(".damaged.json"), 1
    while kept.exists():
        number += 1
        kept = _path().with_suffix(f".damaged-{number}.json")
    return kept

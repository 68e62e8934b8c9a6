"""What one student did, kept on disk: verdicts, predictions, notes.

One JSON file in ``AVID_LAB_STUDENT``, or in the folder that the system keeps for a user's data.
"""

from __future__ import annotations

import json
import os
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from platformdirs import user_data_dir

from avid_lab.atomic import replacing

_LOCK = threading.Lock()
_UNSAVED: dict[str, Any] | None = None  # the record of this session, where the folder cannot be written


def folder() -> Path:
    """Where the record lies: ``AVID_LAB_STUDENT``, or the user's data folder."""
    return Path(os.environ.get("AVID_LAB_STUDENT") or user_data_dir("avid_lab", appauthor=False)).expanduser()


def record() -> dict[str, dict[str, Any]]:
    """All that is known: ``{"exercises": {name: ...}, "predictions": {key: ...}, "notes": {key: ...}}``.

    A damaged file is kept under another name, and a new record begins.
    """
    if _UNSAVED is not None:
        return _UNSAVED
    path = folder() / "progress.json"
    empty: dict[str, dict[str, Any]] = {"exercises": {}, "predictions": {}, "notes": {}}
    try:
        return empty | json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return empty
    except (ValueError, TypeError):
        kept = path.with_suffix(".damaged.json")
        os.replace(path, kept)
        print(f"{path} was damaged; it is kept as {kept.name}, and a new record begins.")
        return empty


def write(kind: str, key: str, **values: Any) -> dict[str, Any]:
    """Change some values of one entry, and return the whole entry.

    Where the folder cannot be written, the record lives as long as the kernel does, and that is said once.

    Args:
        kind: "exercises", "predictions" or "notes".
        key: Of the entry.
        values: JSON values; ``when`` is added.
    """
    global _UNSAVED
    with _LOCK:
        everything = record()
        entry = everything[kind].setdefault(key, {})
        entry |= values | {"when": datetime.now(UTC).isoformat(timespec="seconds")}
        if _UNSAVED is None:
            try:
                _save(everything)
            except OSError as error:
                _UNSAVED = everything
                print(
                    f"Your progress cannot be saved ({error}); it lasts until the kernel stops. "
                    "Set AVID_LAB_STUDENT to a folder that you may write to."
                )
        return entry


def forget(kind: str, key: str) -> None:
    """Remove one entry, if there is one."""
    with _LOCK:
        everything = record()
        if everything[kind].pop(key, None) is not None and _UNSAVED is None:
            _save(everything)


def _save(everything: dict[str, Any]) -> None:
    with replacing(folder() / "progress.json", durable=False) as temporary:
        temporary.write_text(json.dumps(everything, indent=1, ensure_ascii=False), encoding="utf-8")

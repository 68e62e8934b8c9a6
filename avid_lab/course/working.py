"""A student's own copy of the notebooks: made once, never overwritten where it was edited."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from avid_lab.atomic import replacing

RECORD = ".avid_lab.json"  # by notebook, the digest of what was copied


def is_own(folder: Path) -> bool:
    """Whether a folder holds notebooks that are no copy of the course's."""
    return any(folder.glob("*.ipynb")) and not (folder / RECORD).exists()


def copy(course: Path, folder: Path, *, update: bool = False) -> list[str]:
    """Copy the course's notebooks that are not there yet; say what was done and what is newer.

    A notebook that the student changed (or only ran) is left as it is. ``update`` puts the new version of such a one
    beside it, and replaces those that nobody touched.

    Args:
        course: The folder of the course's notebooks.
        folder: The student's; made if need be.
        update: Whether to bring new versions.

    Returns:
        A line for every notebook that was copied, or is newer in the course.

    Raises:
        ValueError: There is nothing to copy.
    """
    notebooks = sorted(course.glob("[0-9][0-9]_*.ipynb"))
    if not notebooks:
        raise ValueError(f"{course} must hold the course's notebooks, NN_name.ipynb; found none")
    folder.mkdir(parents=True, exist_ok=True)
    record, said = _read(folder), []
    for notebook in notebooks:
        name, new = notebook.name, _digest(notebook)
        mine = folder / name
        if not mine.exists():
            shutil.copyfile(notebook, mine)
            record[name] = new
            said.append(f"{name}: copied")
        elif record.get(name) == new or _digest(mine) == new:
            record[name] = new  # the course has nothing newer
        elif not update:
            said.append(f"{name}: the course has a newer version. `avid-lab lab --update` brings it")
        elif _digest(mine) == record.get(name):
            shutil.copyfile(notebook, mine)
            record[name] = new
            said.append(f"{name}: replaced by the new version (you had not changed it)")
        else:
            beside = next(_names(mine, "new"))
            shutil.copyfile(notebook, beside)
            record[name] = new
            said.append(f"{name}: yours stays; the new version is {beside.name}")
    _write(folder, record)
    return said


def reset(course: Path, folder: Path, name: str) -> str:
    """Put a fresh copy of one notebook in its place; the old one is kept under another name.

    Args:
        course: The folder of the course's notebooks.
        folder: The student's.
        name: The start of the notebook's name, "05".

    Returns:
        What was done.

    Raises:
        ValueError: No notebook, or more than one, is so called.
    """
    found = sorted(course.glob(f"{name}*.ipynb")) if name else []
    if len(found) != 1:
        known = ", ".join(sorted(path.stem for path in course.glob("[0-9][0-9]_*.ipynb")))
        raise ValueError(f"notebook must be one of {known}; got {name!r}")
    folder.mkdir(parents=True, exist_ok=True)
    mine, kept = folder / found[0].name, ""
    if mine.exists():
        old = next(_names(mine, "old"))
        os.replace(mine, old)
        kept = f"; yours is kept as {old.name}"
    shutil.copyfile(found[0], mine)
    _write(folder, _read(folder) | {mine.name: _digest(mine)})
    return f"{mine} is fresh{kept}"


def _names(path: Path, kind: str) -> Iterator[Path]:
    """Free names beside a file: ``05_agreement.old-1.ipynb``, ..."""
    number = 1
    while True:
        beside = path.with_name(f"{path.stem}.{kind}-{number}.ipynb")
        if not beside.exists():
            yield beside
        number += 1


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _read(folder: Path) -> dict[str, str]:
    try:
        return json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:  # a damaged record: everything then counts as edited, which loses nothing
        return {}


def _write(folder: Path, record: dict[str, str]) -> None:
    with replacing(folder / RECORD, durable=False) as temporary:
        temporary.write_text(json.dumps(record, indent=1), encoding="utf-8")

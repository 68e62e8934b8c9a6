"""A student's own copy of the notebooks: made once; edited notebooks are never overwritten.

A copy has no outputs, so no result stands below a question before it is asked. It is signed, so JupyterLab shows all
of its text.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.sign import NotebookNotary

from avid_lab.atomic import remove_leftovers, replacing

RECORD = ".avid_lab.json"  # the digest of each copied notebook


def is_own(folder: Path) -> bool:
    """Whether a folder contains notebooks that are not a copy of the course's."""
    return any(folder.glob("*.ipynb")) and not (folder / RECORD).exists()


def copy(course: Path, folder: Path, *, update: bool = False) -> list[str]:
    """Copy the course's missing notebooks; report copies and newer versions.

    A notebook that the student changed (or only ran) stays as it is. ``update`` puts its new version next to it, and
    replaces notebooks that nobody touched.

    Args:
        course: The folder of the course's notebooks.
        folder: The student's folder; created if missing.
        update: Whether to copy new versions.

    Returns:
        A line for every notebook that was copied, or that is newer in the course.

    Raises:
        ValueError: There is nothing to copy.
    """
    notebooks = sorted(course.glob("[0-9][0-9]_*.ipynb"))
    if not notebooks:
        raise ValueError(f"{course} must contain the course's notebooks, NN_name.ipynb; found none")
    folder.mkdir(parents=True, exist_ok=True)
    record, said = _read(folder), []
    _write(folder, record)  # first: without it, a folder of notebooks counts as the student's own
    for notebook in notebooks:
        fresh = _without_outputs(notebook)
        name, new = notebook.name, _digest(fresh)
        mine = folder / name
        if not mine.exists():
            _put(fresh, mine)
            record[name] = new
            said.append(f"{name}: copied")
        elif record.get(name) == new or _digest(mine.read_bytes()) == new:
            record[name] = new  # the course has nothing newer
        elif not update:
            said.append(f"{name}: the course has a newer version. `avid-lab lab --update` copies it")
        elif _digest(mine.read_bytes()) == record.get(name):
            _put(fresh, mine)
            record[name] = new
            said.append(f"{name}: replaced by the new version (you had not changed it)")
        else:
            beside = next(_names(mine, "new"))
            _put(fresh, beside)
            record[name] = new
            said.append(f"{name}: yours stays; the new version is {beside.name}")
    _write(folder, record)
    return said


def reset(course: Path, folder: Path, name: str) -> str:
    """Replace one notebook with a fresh copy; the old one is kept under another name.

    Args:
        course: The folder of the course's notebooks.
        folder: The student's folder.
        name: The start of the notebook's name, "05".

    Returns:
        A message that says what happened.

    Raises:
        ValueError: No notebook, or more than one, has such a name.
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
    fresh = _without_outputs(found[0])
    _put(fresh, mine)
    _write(folder, _read(folder) | {mine.name: _digest(fresh)})
    return f"{mine} is fresh{kept}"


def sign(notebook: NotebookNode) -> None:
    """Have Jupyter trust a notebook; where its list of signatures cannot be written, the notebook stays untrusted."""
    try:
        NotebookNotary().sign(notebook)
    except (OSError, sqlite3.Error) as problem:
        print(f"The notebooks are not signed ({problem}): choose Trust Notebook in JupyterLab.")


def _without_outputs(path: Path) -> bytes:
    try:
        notebook = nbformat.read(path, as_version=4)
    except (ValueError, AttributeError) as problem:
        raise ValueError(f"{path} must be a notebook: {problem}. Install the course again.") from None
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return f"{nbformat.writes(notebook)}\n".encode()


def _put(notebook: bytes, path: Path) -> None:
    """Write a signed notebook, whole or not at all."""
    sign(nbformat.reads(notebook.decode(), as_version=4))
    remove_leftovers(path)
    with replacing(path) as temporary:
        temporary.write_bytes(notebook)


def _names(path: Path, kind: str) -> Iterator[Path]:
    """Free names next to a file: ``05_agreement.old-1.ipynb``, ..."""
    number = 1
    while True:
        beside = path.with_name(f"{path.stem}.{kind}-{number}.ipynb")
        if not beside.exists():
            yield beside
        number += 1


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _read(folder: Path) -> dict[str, str]:
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError, RecursionError):
        record = None
    return record if isinstance(record, dict) else {}  # damaged: everything counts as edited, which loses nothing


def _write(folder: Path, record: dict[str, str]) -> None:
    with replacing(folder / RECORD, durable=False) as temporary:
        temporary.write_text(json.dumps(record, indent=1), encoding="utf-8")

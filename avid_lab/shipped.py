"""The course's own files: notebooks and their sources, reference runs, a preview of the clips."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).parent


def shipped(*names: str) -> Path:
    """The place of a file or folder, such as ``shipped("data", "reference")``.

    In a checkout these are its own files; an installed wheel has copies in the package.
    """
    checkout = PACKAGE.parent
    root = checkout if (checkout / "notebooks" / "source").is_dir() else PACKAGE / "course_files"
    return root.joinpath(*names)

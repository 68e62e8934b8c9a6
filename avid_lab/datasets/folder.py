"""Makes a manifest of a folder of videos: every file is tried, and what cannot be used is reported."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from avid_lab.atomic import is_part_of, replacing
from avid_lab.datasets.journal import resumable
from avid_lab.datasets.layouts import LAYOUTS, Candidate, candidates
from avid_lab.datasets.looking import Look, crashing
from avid_lab.datasets.manifest import (
    COLUMNS,
    Manifest,
    Record,
    Unusable,
    begins_with,
    is_portable,
    place_below,
)
from avid_lab.datasets.recordings import duplicates, join_siblings, summary, trusted, with_splits

VIDEO_EXTENSIONS = frozenset(
    {".3g2", ".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf"}
    | {".ogv", ".ts", ".vob", ".webm", ".wmv"}
)
AUDIO_EXTENSIONS = frozenset({".aac", ".aif", ".aiff", ".flac", ".m4a", ".mp3", ".ogg", ".opus", ".wav"})
REPORT_COLUMNS = ("path", "reason", "detail")


def index_folder(
    root: str | os.PathLike[str],
    *,
    layout: str = "folder",
    fold: int = 1,
    min_duration_s: float = 0.5,
    strict: bool = False,
    workers: int | None = None,
    progress: bool = True,
    out: Path | None = None,
) -> Manifest:
    """Looks through a folder of real videos, one sub-folder per class, and lists the usable ones.

    Folders ``train``, ``val``, ``test`` above the class folders give the split; without them one clip in five of
    each class, chosen by name and whole recordings at a time, is "test". Another layout takes ids, classes and splits
    from the set's own lists, which lie anywhere in the folder. Folders that are links are followed, each folder once.
    Every file is opened and tried. What cannot be used is never dropped in silence: ``manifest.unusable`` and
    ``manifest.report()`` say which and why ("unreadable", "no picture", "no sound", "silent", "too short", "hidden",
    "no video file"; with lists also "missing", "not listed", "bad line", ...).

    Each clip's further columns say how far it can be trusted. Spans are seconds, "0-4.2;6-10".

    ================  =============================================================================================
    ``both_s``        where picture and sound both are
    ``both_share``    share of the file that this is
    ``offset_s``      how much later than the picture the sound begins
    ``gaps``          gaps in picture and sound
    ``restarts``      how often the timestamps jump back
    ``still``         where the picture does not move, as far as eight pictures from all over the file show
    ``silent``        where nothing is heard for a second or more, in the first ten seconds (if silent, further on)
    ``cancelled``     "yes" where the channels of the sound cancel each other
    ``hdr``           "PQ" or "HLG"
    ``duplicate_of``  id of the first clip with the same bytes, or the same picture and sound
    ``recording``     id of the first clip of the same recording, by content, the list's ids of videos, or names
    ================  =============================================================================================

    No recording is divided between training and test clips; where a set's own lists or folders do that, it is reported.
    A clip that is silent all through is left out.

    Args:
        root: The folder.
        layout: A key of `avid_lab.datasets.layouts.LAYOUTS`: "folder", or the name of a public set.
        fold: Which official division into training and test clips, where a set has several.
        min_duration_s: Shortest usable video, in seconds.
        strict: Leaves out of ``both_s`` what is still or silent, and clips of which nothing is left.
        workers: Processes; None chooses, 0 works in this one.
        progress: Shows a progress bar, what was left out, and what to know of the rest.
        out: Writes the manifest there, what was left out beside it as ``<name>.unusable.csv``, and what was found of
            each file as ``.<name>.seen``: so a run that was stopped goes on where it was, and a later one only looks
            at files that are new or changed. The list of what was left out is written also when nothing is usable.

    Raises:
        ValueError: No such folder, no usable video in it, lists that are not as the layout's are, or a file at ``out``
            that is no manifest.
    """
    root = Path(root)
    if layout not in LAYOUTS:
        raise ValueError(f"layout must be one of {', '.join(LAYOUTS)}; got {layout!r}")
    if not root.is_dir():
        raise ValueError(f"{root} is no folder. Give the folder that holds the videos.")
    streams = LAYOUTS[layout].streams
    extensions = AUDIO_EXTENSIONS | VIDEO_EXTENSIONS if streams == "audio" else VIDEO_EXTENSIONS
    report = out and out.with_name(f"{out.stem}.unusable.csv")
    journal = out and out.with_name(f".{out.name}.seen")
    if out is not None and report is not None:  # now, not after all files were looked at
        place_below(out, root)
        _require_ours(out, COLUMNS)
        _require_ours(report, REPORT_COLUMNS)
    names, unusable = _files(root, {path.absolute() for path in (out, report, journal) if path})
    media = [name for name in names if Path(name).suffix.lower() in extensions]
    others = [name for name in names if Path(name).suffix.lower() not in extensions]
    found = candidates(root, layout, fold, media, others)
    unusable += [item for item in found if isinstance(item, Unusable)]
    chosen = sorted((item for item in found if isinstance(item, Candidate)), key=lambda item: item.id)
    looks = [Look(root / item.path, streams, min_duration_s) for item in chosen]
    results = resumable(
        look,
        looks,
        [task.path for task in looks],
        journal,
        lost=crashing,
        workers=workers,
        progress=progress,
        description="looking at videos",
    )
    for item, result in zip(chosen, results, strict=True):
        if "reason" in result:
            unusable.append(Unusable(item.path, result["reason"], result["detail"]))
    unusable.sort(key=lambda item: (item.path, item.reason))
    usable = [(item, result) for item, result in zip(chosen, results, strict=True) if "reason" not in result]
    records, untested = _as_a_whole(root, usable, draw_splits=layout == "folder")
    whole = Manifest(root, records, unusable=unusable)
    manifest = trusted(whole, min_duration_s) if strict else whole
    if report is not None:
        write_unusable(report, manifest.unusable)
    if not manifest.records:
        what = "sound" if streams == "audio" else "video"
        where = f"\nAll of them are listed in {report}." if report is not None and manifest.unusable else ""
        raise ValueError(f"no usable {what} in {root}. {manifest.report() or 'It holds no files.'}{where}")
    if progress:
        for text in (manifest.report(), summary(whole, min_duration_s, untested)):
            if text:
                tqdm.write(text)
    if out is not None:
        manifest.write(out)
    return manifest


def _as_a_whole(
    root: Path, usable: Sequence[tuple[Candidate, dict[str, Any]]], *, draw_splits: bool
) -> tuple[list[Record], list[str]]:
    """The records with what only the whole set says: copies, recordings and splits; and classes without a test clip."""
    records = [
        Record(item.id, item.path, item.label, result["duration_s"], item.split, {**item.extras, **result["extras"]})
        for item, result in usable
    ]
    groups = duplicates([root / item.path for item, _ in usable], [result for _, result in usable])
    first = [groups.find(i) for i in range(len(records))]
    join_siblings(groups, records, [item.video for item, _ in usable])
    recordings = [records[groups.find(i)].id for i in range(len(records))]
    made = [
        replace(
            record,
            extras={**record.extras, "duplicate_of": records[j].id if i != j else "", "recording": recording},
        )
        for i, (record, j, recording) in enumerate(zip(records, first, recordings, strict=True))
    ]
    return with_splits(made, recordings) if draw_splits else (made, [])


def _require_ours(path: Path, columns: Sequence[str]) -> None:
    """Refuses to replace a file that was not written here."""
    if path.exists() and not (path.is_file() and begins_with(path, columns)):
        raise ValueError(
            f"{path} exists and is not a list that `avid-lab data index` wrote: it would be lost. "
            "Move it away, or write the manifest elsewhere with --out."
        )


def write_unusable(path: Path, unusable: Sequence[Unusable]) -> None:
    """Writes what was left out as CSV, path,reason,detail; or removes an older list when nothing was."""
    if not unusable:
        path.unlink(missing_ok=True)
        return
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(REPORT_COLUMNS)
        writer.writerows([item.path, item.reason, item.detail] for item in unusable)


def _files(root: Path, ours: Collection[Path]) -> tuple[list[str], list[Unusable]]:
    """Names of all files, relative to the root with forward slashes, sorted; and those that no manifest can hold."""
    names: list[str] = []
    unusable: list[Unusable] = []

    def refuse(path: Path, reason: str, detail: str) -> None:
        name = os.fsencode(path.relative_to(root).as_posix()).decode("utf-8", "backslashreplace")
        unusable.append(Unusable(name, reason, detail))

    for path in _walk(root, refuse):
        name = path.relative_to(root).as_posix()
        if any(is_part_of(path.absolute(), one) for one in ours):
            continue
        if any(part.startswith(".") for part in path.relative_to(root).parts):
            refuse(path, "hidden", "its name begins with a dot")
        elif not (is_portable(name) and os.fsencode(name).decode("utf-8", "replace") == name):
            refuse(path, "unportable name", "its name is not UTF-8, or means another place on Windows: rename it")
        elif path.exists() and not path.is_file():
            refuse(path, "no file", "it is a pipe, a socket or a device")
        else:
            names.append(name)
    return sorted(names), unusable


def _walk(root: Path, refuse: Callable[[Path, str, str], None]) -> Iterator[Path]:
    """All files below a folder, also through links; each folder once, by its own name if it has one here."""

    def unreadable(error: OSError) -> None:
        refuse(Path(error.filename), "unreadable folder", error.strerror or str(error))

    def place(folder: str | Path) -> str:
        return os.path.normcase(os.path.realpath(folder))

    visited: set[str] = set()
    starts = [root]  # the links come after what they may lead to
    for start in starts:
        for folder, folders, files in os.walk(start, onerror=unreadable):
            here = place(folder)
            if here in visited:
                refuse(Path(folder), "link", f"it leads to {here}, whose files are listed already")
                folders.clear()
                continue
            visited.add(here)
            starts += sorted(Path(folder) / name for name in folders if _is_link(Path(folder) / name))
            folders[:] = sorted(name for name in folders if not _is_link(Path(folder) / name))
            yield from (Path(folder) / name for name in files)


def _is_link(path: Path) -> bool:
    return path.is_symlink() or (hasattr(path, "is_junction") and path.is_junction())  # pyright: ignore


def look(task: Look) -> dict[str, Any]:
    """See `avid_lab.datasets.look.look`, which loads torch: the process that only counts does without."""
    from avid_lab.datasets import look

    return look.look(task)

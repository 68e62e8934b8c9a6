"""Makes a manifest of a folder of videos: tries every file, and reports those that cannot be used."""

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
from avid_lab.datasets.manifest import (
    COLUMNS,
    Manifest,
    Record,
    Unusable,
    begins_with,
    is_portable,
    place_below,
)
from avid_lab.datasets.probe_file import ProbeTask, crashed, probe_file
from avid_lab.datasets.recordings import duplicates, join_siblings, summary, trusted, with_splits

VIDEO_EXTENSIONS = frozenset(
    {".3g2", ".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf"}
    | {".ogv", ".ts", ".vob", ".webm", ".wmv"}
)
AUDIO_EXTENSIONS = frozenset({".aac", ".aif", ".aiff", ".flac", ".m4a", ".mp3", ".ogg", ".opus", ".wav"})
PREPARED = ".prepared"  # marks a folder of copies: the journal of finished tasks and the names of all files written
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
    """List the usable videos of a folder that has one sub-folder per class.

    Folders ``train``, ``val``, ``test`` above the class folders give the split. Without them, one clip in five of each
    class is "test", chosen by name; clips of one recording stay together. Other layouts take ids, classes and splits
    from the dataset's own lists, anywhere in the folder. Linked folders are followed, each folder once. Every file is
    opened and tried. ``manifest.unusable`` and ``manifest.report()`` name every file that is left out and the reason
    ("unreadable", "no picture", "no sound", "silent", "too short", "hidden", "no video file"; with lists also
    "missing", "not listed", "bad line", ...).

    Further columns describe the quality of each clip. Spans are in seconds, such as "0-4.2;6-10".

    ================  =============================================================================================
    ``both_s``        spans with both picture and sound
    ``both_share``    their share of the file
    ``offset_s``      start of the sound minus start of the picture, in seconds
    ``gaps``          gaps in picture and sound
    ``restarts``      number of backward jumps of the timestamps
    ``still``         spans in which the picture does not move, judged by eight pictures spread over the file
    ``silent``        spans of a second or more without sound, in the first ten seconds (if silent, later)
    ``cancelled``     "yes" if the sound's channels cancel each other
    ``damaged``       damaged packets in the parts of the file that were decoded
    ``hdr``           "PQ" or "HLG"
    ``duplicate_of``  id of the first clip with the same bytes, or the same picture and sound
    ``recording``     id of the first clip of the same recording, found by content, listed video ids, or names
    ================  =============================================================================================

    Clips of one recording are never divided between training and test; if the dataset's own lists or folders do so,
    this is reported. A clip without any sound is left out.

    Args:
        root: The folder.
        layout: A key of `avid_lab.datasets.layouts.LAYOUTS`: "folder", or the name of a public dataset.
        fold: The official division into training and test clips, if the dataset has several.
        min_duration_s: Shortest usable video, in seconds.
        strict: Also removes still and silent parts from ``both_s``, and clips without any other part.
        workers: Processes; None chooses, 0 works in this one.
        progress: Shows a progress bar, the files left out, and remarks on the others.
        out: Writes the manifest here, the files left out next to it as ``<name>.unusable.csv`` (even if no file is
            usable), and the findings of each file as ``.<name>.seen``. With these, an interrupted run resumes, and a
            later run only opens new or changed files.

    Raises:
        ValueError: There is no such folder, it has no usable video, its lists do not match the layout, or ``out``
            exists and is not a manifest.
    """
    root = Path(root)
    if layout not in LAYOUTS:
        raise ValueError(f"layout must be one of {', '.join(LAYOUTS)}; got {layout!r}")
    if not root.is_dir():
        raise ValueError(f"{root} is not a folder. Give the folder that contains the videos.")
    streams = LAYOUTS[layout].streams
    extensions = AUDIO_EXTENSIONS | VIDEO_EXTENSIONS if streams == "audio" else VIDEO_EXTENSIONS
    report = out and out.with_name(f"{out.stem}.unusable.csv")
    journal = out and out.with_name(f".{out.name}.seen")
    if out is not None and report is not None:  # fail now, not after opening all files
        place_below(out, root)
        _require_ours(out, COLUMNS)
        _require_ours(report, REPORT_COLUMNS)
    ours = {path.absolute() for path in (out, report, journal) if path}
    usual = root / "manifest.csv"
    if usual.is_file() and begins_with(usual, COLUMNS):  # of an earlier index, and what lies beside it
        ours |= {root.absolute() / name for name in ("manifest.csv", "manifest.unusable.csv", ".manifest.csv.seen")}
    names, unusable = _files(root, ours)
    media = [name for name in names if Path(name).suffix.lower() in extensions]
    others = [name for name in names if Path(name).suffix.lower() not in extensions]
    found = candidates(root, layout, fold, media, others)
    unusable += [item for item in found if isinstance(item, Unusable)]
    chosen = sorted((item for item in found if isinstance(item, Candidate)), key=lambda item: item.id)
    tasks = [ProbeTask(root / item.path, streams, min_duration_s) for item in chosen]
    results = resumable(
        probe_file,
        tasks,
        [task.path for task in tasks],
        journal,
        lost=crashed,
        workers=workers,
        progress=progress,
        description="examining videos",
    )
    for item, result in zip(chosen, results, strict=True):
        if "reason" in result:
            unusable.append(Unusable(item.path, result["reason"], result["detail"]))
    unusable.sort(key=lambda item: (item.path, item.reason))
    usable = [(item, result) for item, result in zip(chosen, results, strict=True) if "reason" not in result]
    records, untested = _complete(root, usable, draw_splits=layout == "folder")
    whole = Manifest(root, records, unusable=unusable)
    manifest = trusted(whole, min_duration_s) if strict else whole
    if report is not None:
        write_unusable(report, manifest.unusable)
    if not manifest.records:
        what = "sound" if streams == "audio" else "video"
        where = f"\nAll of them are listed in {report}." if report is not None and manifest.unusable else ""
        raise ValueError(f"no usable {what} in {root}. {manifest.report() or 'It contains no files.'}{where}")
    if progress:
        for text in (manifest.report(), summary(whole, min_duration_s, untested)):
            if text:
                tqdm.write(text)
    if out is not None:
        manifest.write(out)
    return manifest


def _complete(
    root: Path, usable: Sequence[tuple[Candidate, dict[str, Any]]], *, draw_splits: bool
) -> tuple[list[Record], list[str]]:
    """The records with duplicates, recordings and splits filled in, and the classes without a test clip."""
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
    """Refuse to overwrite a file that this module did not write."""
    if path.exists() and not (path.is_file() and begins_with(path, columns)):
        raise ValueError(
            f"{path} exists and was not written by `avid-lab data index`; it would be overwritten. "
            "Move it away, or choose another file with --out."
        )


def write_unusable(path: Path, unusable: Sequence[Unusable]) -> None:
    """Write the files left out as CSV (path,reason,detail); if there are none, remove an older list."""
    if not unusable:
        path.unlink(missing_ok=True)
        return
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(REPORT_COLUMNS)
        writer.writerows([item.path, item.reason, item.detail] for item in unusable)


def _files(root: Path, ours: Collection[Path]) -> tuple[list[str], list[Unusable]]:
    """Sorted names of all files, relative to the root with forward slashes; and those that a manifest cannot list."""
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
            refuse(path, "unportable name", "its name is not UTF-8, or is not valid on Windows: rename it")
        elif path.exists() and not path.is_file():
            refuse(path, "no file", "it is a pipe, a socket or a device")
        else:
            names.append(name)
    return sorted(names), unusable


def _walk(root: Path, refuse: Callable[[Path, str, str], None]) -> Iterator[Path]:
    """All files below a folder, including links; each folder once, by its own name rather than a link's."""

    def unreadable(error: OSError) -> None:
        refuse(Path(error.filename), "unreadable folder", error.strerror or str(error))

    def place(folder: str | Path) -> str:
        return os.path.normcase(os.path.realpath(folder))

    visited: set[str] = set()
    starts = [root]  # links come after the folders that they may lead to
    for start in starts:
        for folder, folders, files in os.walk(start, onerror=unreadable):
            here = place(folder)
            if here in visited:
                refuse(Path(folder), "link", f"it leads to {here}, whose files are listed already")
                folders.clear()
                continue
            visited.add(here)
            if PREPARED in files and Path(folder) != root:
                refuse(
                    Path(folder), "copies", "made by `avid-lab data prepare`: they would be listed beside the originals"
                )
                folders.clear()
                continue
            starts += sorted(Path(folder) / name for name in folders if _is_link(Path(folder) / name))
            folders[:] = sorted(name for name in folders if not _is_link(Path(folder) / name))
            yield from (Path(folder) / name for name in files)


def _is_link(path: Path) -> bool:
    return path.is_symlink() or (hasattr(path, "is_junction") and path.is_junction())  # pyright: ignore

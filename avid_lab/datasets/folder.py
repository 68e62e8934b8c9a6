"""Makes a manifest of a folder of videos: every file is tried, and what cannot be used is reported."""

from __future__ import annotations

import csv
import hashlib
import os
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath
from typing import Any

from tqdm.auto import tqdm

from avid_lab.atomic import replacing
from avid_lab.config import AudioSpec, VideoSpec
from avid_lab.datasets.journal import resumable
from avid_lab.datasets.layouts import LAYOUTS, Candidate, candidates
from avid_lab.datasets.manifest import Manifest, Record, Streams, Unusable, place_below
from avid_lab.media import MediaError, probe, read_clip

VIDEO_EXTENSIONS = frozenset(
    {".3g2", ".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf"}
    | {".ogv", ".ts", ".vob", ".webm", ".wmv"}
)
AUDIO_EXTENSIONS = frozenset({".aac", ".aif", ".aiff", ".flac", ".m4a", ".mp3", ".ogg", ".opus", ".wav"})
SILENCE = 5e-4  # peak below which a sound track counts as silent (-66 dB of full scale)
LISTEN_S = 10.0  # seconds listened to for that


@dataclass(frozen=True)
class Look:
    """One file to try."""

    path: Path
    streams: Streams
    min_duration_s: float


def index_folder(
    root: Path,
    *,
    layout: str = "folder",
    fold: int = 1,
    min_duration_s: float = 0.5,
    workers: int | None = None,
    progress: bool = True,
    out: Path | None = None,
) -> Manifest:
    """See `Manifest.from_folder`.

    With ``out`` the manifest is written there, what was left out beside it as ``<name>.unusable.csv``, and what was
    found of each file as ``.<name>.seen``: so a run that was stopped goes on where it was, and a later one only looks
    at files that are new or changed.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"layout must be one of {', '.join(LAYOUTS)}; got {layout!r}")
    if not root.is_dir():
        raise ValueError(f"{root} is no folder. Give the folder that holds the videos.")
    streams = LAYOUTS[layout].streams
    extensions = AUDIO_EXTENSIONS | VIDEO_EXTENSIONS if streams == "audio" else VIDEO_EXTENSIONS
    if out is not None:
        place_below(out, root)  # raises now, not after all files were looked at
    report = out and out.with_name(f"{out.stem}.unusable.csv")
    journal = out and out.with_name(f".{out.name}.seen")
    names, unusable = _files(root, {path.absolute() for path in (out, report, journal) if path})
    media = [name for name in names if Path(name).suffix.lower() in extensions]
    others = [name for name in names if Path(name).suffix.lower() not in extensions]
    found = candidates(root, layout, fold, media, others)
    unusable += [item for item in found if isinstance(item, Unusable)]
    chosen = sorted((item for item in found if isinstance(item, Candidate)), key=lambda item: item.id)
    looks = [Look(root / item.path, streams, min_duration_s) for item in chosen]
    files = [look.path for look in looks]
    results = resumable(
        _look, looks, files, journal, workers=workers, progress=progress, description="looking at videos"
    )
    records: list[Record] = []
    for item, result in zip(chosen, results, strict=True):
        if "reason" in result:
            unusable.append(Unusable(item.path, result["reason"], result["detail"]))
        else:
            extras = {**item.extras, **result["extras"]}
            records.append(Record(item.id, item.path, item.label, result["duration_s"], item.split, extras))
    unusable.sort(key=lambda item: (item.path, item.reason))
    manifest = Manifest(root, _with_splits(records) if layout == "folder" else records, unusable=unusable)
    if not records:
        what = "sound" if streams == "audio" else "video"
        raise ValueError(f"no usable {what} in {root}. {manifest.report() or 'It holds no files.'}")
    if progress and unusable:
        tqdm.write(manifest.report())
    if out is not None and report is not None:
        manifest.write(out)
        write_unusable(report, unusable)
    return manifest


def write_unusable(path: Path, unusable: Sequence[Unusable]) -> None:
    """Writes what was left out as CSV, path,reason,detail; or removes an older list when nothing was."""
    if not unusable:
        path.unlink(missing_ok=True)
        return
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "reason", "detail"])
        writer.writerows([item.path, item.reason, item.detail] for item in unusable)


def _files(root: Path, ours: Collection[Path]) -> tuple[list[str], list[Unusable]]:
    """Names of all files, relative to the root with forward slashes, sorted; and those that no manifest can hold."""
    names: list[str] = []
    unusable: list[Unusable] = []
    for path in _walk(root):
        name = path.relative_to(root).as_posix()
        shown = os.fsencode(name).decode("utf-8", "backslashreplace")
        if path.absolute() in ours:
            continue
        if any(part.startswith(".") for part in path.relative_to(root).parts):
            unusable.append(Unusable(shown, "hidden", "its name begins with a dot"))
        elif shown != name or PureWindowsPath(name).drive:
            detail = "its name is not UTF-8, or begins like a Windows drive: rename it"
            unusable.append(Unusable(shown, "unportable name", detail))
        else:
            names.append(name)
    return names, unusable


def _walk(root: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(root):
        folders.sort()
        yield from (Path(folder) / name for name in sorted(files))


def _look(task: Look) -> dict[str, Any]:
    """What is known of a file, or why it is of no use; as JSON can hold it."""
    try:
        info = probe(task.path)
        if info.video is None and task.streams != "audio":
            return _useless("no picture", "it has no video stream")
        if info.audio is None and task.streams != "video":
            return _useless("no sound", "it has no audio stream")
        if info.duration_s < task.min_duration_s:
            rule = f"it lasts {info.duration_s:.3f} s, less than {task.min_duration_s:g} s"
            return _useless("too short", rule)
        listen = AudioSpec(8000, max(0.1, min(info.duration_s, LISTEN_S)), frames=1, n_fft=2)
        watch = VideoSpec(1, 1.0, 32)
        heard = None if task.streams == "video" else listen
        clip = read_clip(task.path, 0.0, None if task.streams == "audio" else watch, heard)
    except MediaError as error:
        return _useless("unreadable", f"{error.problem}. {error.fix}")
    if clip.audio is not None and float(clip.audio.abs().max()) < SILENCE:
        return _useless("silent", f"nothing is heard in its first {listen.duration_s:.1f} s")
    extras = {}
    if info.video is not None:
        fps = "" if info.video.fps is None else f"{info.video.fps:g}"
        extras |= {"width": str(info.video.width), "height": str(info.video.height), "fps": fps}
    if info.audio is not None:
        extras["rate"] = str(info.audio.rate)
    return {"duration_s": info.duration_s, "extras": extras}


def _useless(reason: str, detail: str) -> dict[str, Any]:
    return {"reason": reason, "detail": detail}


def _with_splits(records: list[Record]) -> list[Record]:
    """Where the folders give no split, one clip in five of each class is "test", the same on every machine."""
    by_class: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if not record.split:
            by_class[record.label].append(record)
    test = set()
    for members in by_class.values():
        members.sort(key=lambda record: hashlib.sha256(record.path.encode()).digest())
        test |= {record.id for record in members[: round(len(members) / 5)]}
    return [r if r.split else replace(r, split="test" if r.id in test else "train") for r in records]

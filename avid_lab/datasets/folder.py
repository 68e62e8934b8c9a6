"""Makes a manifest of a folder of real videos: every file is tried, and what cannot be used is reported."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tqdm.auto import tqdm

from avid_lab.config import AudioSpec, VideoSpec
from avid_lab.datasets.manifest import Manifest, Record, Unusable
from avid_lab.datasets.parallel import parallel
from avid_lab.media import MediaError, probe, read_clip

EXTENSIONS = frozenset(
    {".3g2", ".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf"}
    | {".ogv", ".ts", ".vob", ".webm", ".wmv"}
)
SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
UNLABELLED = "unlabelled"
SILENCE = 5e-4  # peak below which a sound track counts as silent (-66 dB of full scale)
LISTEN_S = 10.0  # seconds listened to for that


def index_folder(root: Path, *, min_duration_s: float, workers: int | None, progress: bool) -> Manifest:
    """See `Manifest.from_folder`."""
    if not root.is_dir():
        raise ValueError(f"{root} is no folder. Give the folder that holds one sub-folder of videos per class.")
    records: list[Record] = []
    unusable: list[Unusable] = []
    candidates: list[tuple[str, str, float]] = []
    for path in _files(root):
        name = path.relative_to(root).as_posix()
        if any(part.startswith(".") for part in path.relative_to(root).parts):
            unusable.append(Unusable(name, "hidden", "its name begins with a dot"))
        elif path.suffix.lower() not in EXTENSIONS:
            unusable.append(Unusable(name, "no video file", f"its name ends in {path.suffix or 'nothing'}"))
        else:
            candidates.append((str(root), name, min_duration_s))
    for result in parallel(_try, candidates, workers=workers, progress=progress, description="looking at videos"):
        (records if isinstance(result, Record) else unusable).append(result)  # pyright: ignore[reportArgumentType]
    records.sort(key=lambda record: record.path)
    unusable.sort(key=lambda item: item.path)
    manifest = Manifest(root, _with_splits(records), unusable=unusable)
    if not records:
        raise ValueError(f"no usable video in {root}. {manifest.report() or 'It holds no files.'}")
    if progress and unusable:
        tqdm.write(manifest.report())
    return manifest


def _files(root: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(root):
        folders.sort()
        yield from (Path(folder) / name for name in sorted(files))


def _try(task: tuple[str, str, float]) -> Record | Unusable:
    root, name, min_duration_s = task
    path = Path(root) / name
    try:
        info = probe(path)
        if info.video is None:
            return Unusable(name, "no picture", "it has no video stream")
        if info.audio is None:
            return Unusable(name, "no sound", "it has no audio stream")
        if info.duration_s < min_duration_s:
            return Unusable(name, "too short", f"it lasts {info.duration_s:.3f} s, less than {min_duration_s:g} s")
        listen = AudioSpec(8000, max(0.1, min(info.duration_s, LISTEN_S)), frames=1, n_fft=2)
        clip = read_clip(path, 0.0, VideoSpec(1, 1.0, 32), listen)
    except MediaError as error:
        return Unusable(name, "unreadable", f"{error.problem}. {error.fix}")
    if clip.audio is not None and float(clip.audio.abs().max()) < SILENCE:
        return Unusable(name, "silent", f"nothing is heard in its first {listen.duration_s:.1f} s")
    *folders, _ = name.split("/")
    split = SPLITS.get(folders[0].lower(), "") if folders else ""
    folders = folders[1:] if split else folders
    extras = {
        "width": str(info.video.width),
        "height": str(info.video.height),
        "fps": "" if info.video.fps is None else f"{info.video.fps:g}",
        "rate": str(info.audio.rate),
    }
    return Record(name, name, folders[0] if folders else UNLABELLED, info.duration_s, split, extras)


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

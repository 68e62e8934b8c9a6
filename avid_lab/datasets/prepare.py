"""Small copies of a manifest's clips, fast to decode and all in one format."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from avid_lab.atomic import remove_parts
from avid_lab.datasets.folder import PREPARED, REPORT_COLUMNS, write_unusable
from avid_lab.datasets.journal import appending, entries, resumable
from avid_lab.datasets.manifest import COLUMNS, Manifest, Streams, Unusable, begins_with
from avid_lab.datasets.parallel import usable_cores
from avid_lab.datasets.probe_file import OF_THE_FILE
from avid_lab.datasets.shards import Shard, is_whole, places, require_webdataset, shuffled, size_of, write_shard
from avid_lab.datasets.windows import COLUMN, EXACT, cut, found_spans, listed_spans, read_parts
from avid_lab.media import Clip, MediaError, probe, write_clip
from avid_lab.media.write import AAC_RATES
from avid_lab.spans import Spans, to_text

SIDE = 256  # room for random crops of the largest preset, 224
# Of `write_clip`, measured by `benchmarks/loading.py`: reading a window costs a third less than from groups of two
# seconds with B-frames and without this tuning, and files are no larger.
ENCODING = {"preset": "veryfast", "crf": 26, "keyframe_s": 0.75, "seekable": True}

SAMPLE = 8  # copies made to learn how many clips fill a shard
TAR_BYTES = 2560  # of a clip in a shard, for headers and its row


@dataclass(frozen=True)
class Copy:
    """One copy to make."""

    source: Path
    copy: Path
    duration_s: float
    spans: Spans | None
    size: int
    fps: float
    rate: int
    encoding: str = repr((ENCODING, EXACT))  # copies of another encoding are made again


def prepare(
    manifest: Manifest,
    out: str | os.PathLike[str],
    *,
    size: int = SIDE,
    fps: float = 16.0,
    rate: int = 24_000,
    max_duration_s: float = 10.0,
    shards: int | str | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> Manifest:
    """Re-encode every clip as H.264 + AAC: a square of ``size`` pixels, the first seconds, mono.

    A copy contains the spans with both picture and sound, one after the other; the column ``both_s`` gives their times
    in the copy.

    Ids, labels, splits and order stay; ``out/manifest.csv`` lists the copies. Files are written atomically, and an
    interrupted run resumes: a copy is only made again if its source, the settings or the copy itself has changed.
    Unreadable clips are left out and listed in ``unusable`` and ``out/manifest.unusable.csv``.

    With ``shards``, copies are packed into tar archives in the WebDataset format, ``train-00000.tar`` and so on, for
    network disks and object stores; clips are then listed in a random order, split by split. A set of shards is read
    where it is: `Manifest.read` takes the manifest's path or its URL.

    Args:
        manifest: The clips.
        out: Folder of the copies; not the manifest's own.
        size: Side in pixels, even; the centre square is kept, as in `ClipDataset`. 256 suits every preset.
        fps: Frames per second.
        rate: Samples per second; one that AAC supports.
        max_duration_s: Keep only this many seconds of each clip, from the first that have picture and sound.
        shards: Clips per shard, such as 1000 (about 0.3 GB), or its size, such as "500MB": a sample of copies shows how
            many clips that is. None writes one file per clip.
        workers: Processes; None chooses, 0 works in this one.
        progress: Show a progress bar, and a report if clips are left out.

    Returns:
        The manifest of the copies.

    Raises:
        ValueError: The manifest is empty, a setting is invalid, or ``out`` contains files that this did not write.
    """
    out = Path(out)
    if len(manifest) == 0:
        raise ValueError(f"the manifest of {manifest.root} lists no clips")
    if out.resolve() == manifest.root.resolve():
        raise ValueError(f"the copies would overwrite the clips in {out}; choose another folder")
    if size < 16 or size % 2:
        raise ValueError(f"size must be even and >= 16 pixels; got {size}")
    if not (max_duration_s > 0 and fps > 0):
        raise ValueError(f"max_duration_s and fps must be > 0; got {max_duration_s} and {fps}")
    if rate not in AAC_RATES:
        raise ValueError(f"rate must be one that AAC supports, {', '.join(map(str, AAC_RATES))}; got {rate}")
    if shards is not None:
        if isinstance(shards, int) and shards < 1:
            raise ValueError(f"shards must be >= 1 clips per shard, or None; got {shards}")
        limit = size_of(shards) if isinstance(shards, str) else None
        require_webdataset()
        manifest = shuffled(manifest)
        if limit is not None:
            shards = _clips_in(limit, _tasks(manifest, out, [""] * len(manifest), max_duration_s, size, fps, rate), out)
        copies = places(manifest, int(shards))
        files = list(dict.fromkeys(copy.split("/")[0] for copy in copies))
    else:
        copies = files = _names(record.path for record in manifest.records)
    _require_ours(manifest, out, files)
    tasks = _tasks(manifest, out, copies, max_duration_s, size, fps, rate)
    if shards is None:
        results = resumable(
            _copy,
            tasks,
            [task.source for task in tasks],
            out / PREPARED,
            is_done=_is_whole,
            workers=workers,
            progress=progress,
            description="making copies",
        )
    else:
        results = _shards(manifest, tasks, out, workers=workers, progress=progress)
    records, unusable = [], []
    for record, copy, result in zip(manifest.records, copies, results, strict=True):
        if "reason" in result:
            unusable.append(Unusable(record.path, result["reason"], result["detail"]))
        else:
            past = OF_THE_FILE if COLUMN in record.extras else frozenset()  # columns that describe only the original
            kept = {name: value for name, value in record.extras.items() if name not in past}
            extras = {name: result["extras"].get(name, value) for name, value in kept.items()}
            # Windows must not cross the seams of a copy; clips in shards are never probed.
            if ";" in result["extras"][COLUMN] or shards is not None:
                extras[COLUMN] = result["extras"][COLUMN]
            extras[EXACT] = result["extras"][EXACT]
            records.append(replace(record, path=copy, duration_s=result["duration_s"], extras=extras))
    made = Manifest(out, records, classes=manifest.classes, unusable=unusable)
    if progress and unusable:
        tqdm.write(made.report())
    if not records:
        raise ValueError(f"no clip of {manifest.root} could be copied. {made.report()}")
    made.write(out / "manifest.csv")
    write_unusable(out / "manifest.unusable.csv", unusable)
    return made


def _tasks(
    manifest: Manifest, out: Path, copies: Sequence[str], max_duration_s: float, size: int, fps: float, rate: int
) -> list[Copy]:
    lengths = [min(record.duration_s, max_duration_s) for record in manifest.records]
    return [
        Copy(manifest.path(i), out / copies[i], lengths[i], listed_spans(record), size, fps, rate)
        for i, record in enumerate(manifest.records)
    ]


def _clips_in(limit: int, tasks: list[Copy], out: Path) -> int:
    """How many copies make up this many bytes, by the mean of a sample; a set once begun keeps the number."""
    key = repr(("clips in a shard", limit, replace(tasks[0], source=Path(), duration_s=0.0, spans=None)))
    if key in (known := dict(entries(out / PREPARED))):
        return known[key]
    sample = [tasks[i] for i in range(0, len(tasks), math.ceil(len(tasks) / SAMPLE))]
    with tempfile.TemporaryDirectory() as folder:
        made = [_copy(replace(task, copy=Path(folder) / "copy.mp4")) for task in sample]
    sizes = [result["bytes"] + TAR_BYTES for result in made if "bytes" in result]
    count = max(1, limit * len(sizes) // sum(sizes)) if sizes else len(tasks)
    with appending(out / PREPARED) as append:
        append([key, count])
    return count


def _require_ours(manifest: Manifest, out: Path, copies: Sequence[str]) -> None:
    """Refuse to overwrite anything but copies of an earlier call, and record the names of the new copies."""
    ours = {name for key, name in entries(out / PREPARED) if key == "copy"}
    originals = {os.path.realpath(manifest.path(i)) for i in range(len(manifest))}
    foreign = [
        path
        for name, columns in (("manifest.csv", COLUMNS), ("manifest.unusable.csv", REPORT_COLUMNS))
        if os.path.lexists(path := out / name) and not (ours and begins_with(path, columns))
    ]
    for name in copies:
        if os.path.realpath(out / name) in originals or (os.path.lexists(out / name) and name not in ours):
            foreign.append(out / name)
    if foreign:
        rule = f"{foreign[0]} was not made by an earlier call ({len(foreign)} such files) and would be overwritten"
        raise ValueError(f"{rule}. Choose an empty folder for the copies.")
    remove_parts(out)
    with appending(out / PREPARED) as append:
        for name in copies:
            if name not in ours:
                append(["copy", name])


def _names(paths: Iterable[str]) -> list[str]:
    """The path of each copy: that of its original, with the ending .mp4, all different."""
    taken: dict[str, None] = {}
    for path in paths:
        name = path if path.lower().endswith(".mp4") else f"{path}.mp4"
        while name in taken:
            name += ".mp4"
        taken[name] = None
    return list(taken)


def _copy(task: Copy) -> dict[str, Any]:
    """Copy the spans that have all streams of the original; return duration and size in bytes."""
    try:
        info = probe(task.source)
        streams: Streams = "audio" if info.video is None else "video" if info.audio is None else "both"
        spans = cut(task.spans or found_spans(task.source, streams), task.duration_s)
        parts = read_parts(task.source, spans, fps=task.fps, rate=task.rate, size=task.size, streams=streams)
    except MediaError as error:
        return {"reason": "unreadable", "detail": f"{error.problem}. {error.fix}"}
    pictures, sounds, spans, end_s = [], [], [], 0.0
    for part in parts:
        frames = int(part.length_s * task.fps + 1e-6)
        if frames < 1:
            continue
        # All spans but the last end with a whole frame, so that picture and sound of the next begin together.
        length_s = part.length_s if part is parts[-1] else frames / task.fps
        if part.clip.video is not None:
            pictures.append(part.clip.video[:, :frames])
        if part.clip.audio is not None:
            begin, end = round(end_s * task.rate), int((end_s + length_s) * task.rate + 1e-6)
            sounds.append(part.clip.audio[:, : end - begin])
        spans.append((end_s, end_s + length_s))
        end_s += frames / task.fps
    if not spans:
        length_s = max(part.length_s for part in parts)
        return {"reason": "too short", "detail": f"only {length_s:.3f} s have both picture and sound"}
    clip = Clip(
        video=torch.cat(pictures, 1) if pictures else None,
        audio=torch.cat(sounds, 1) if sounds else None,
        fps=task.fps if pictures else None,
        rate=task.rate if sounds else None,
    )
    write_clip(task.copy, clip, **ENCODING)
    extras = {"width": str(task.size), "height": str(task.size), "fps": f"{task.fps:g}", "rate": str(task.rate)}
    extras |= {COLUMN: to_text(tuple(spans)), EXACT: str(task.rate)}
    return {"duration_s": clip.duration_s, "extras": extras, "bytes": task.copy.stat().st_size}


def _shards(
    manifest: Manifest, tasks: list[Copy], out: Path, *, workers: int | None, progress: bool
) -> list[dict[str, Any]]:
    """Write the shards; return the result of every clip, in order."""
    bounds = [i for i, task in enumerate(tasks) if i == 0 or task.copy.parent != tasks[i - 1].copy.parent]
    shards = []
    for begin, end in zip(bounds, [*bounds[1:], len(tasks)], strict=True):
        own = tuple(tasks[begin:end])
        stats = [task.source.stat() if task.source.is_file() else None for task in own]
        stamps = tuple(None if stat is None else (stat.st_size, stat.st_mtime_ns) for stat in stats)
        shards.append(Shard(own[0].copy.parent, tuple(manifest.records[begin:end]), own, stamps))
    cores = min(usable_cores(), len(shards))
    made = resumable(
        _shard,
        shards,
        [out] * len(shards),
        out / PREPARED,
        is_done=is_whole,
        workers=(cores if cores > 1 else 0) if workers is None else workers,
        progress=progress,
        description="writing shards",
        unit="shard",
    )
    return [result for shard in made for result in shard["results"]]


def _shard(shard: Shard) -> dict[str, Any]:
    return write_shard(shard, lambda task, path: _copy(replace(task, copy=path)))


def _is_whole(task: Copy, result: dict[str, Any]) -> bool:
    """Whether a copy of an earlier run still exists; failed copies are tried again."""
    return task.copy.is_file() and task.copy.stat().st_size == result.get("bytes")

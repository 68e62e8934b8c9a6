"""Small copies of a manifest's clips, quick to decode and all of one kind."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from avid_lab.config import AudioSpec, VideoSpec
from avid_lab.datasets.folder import REPORT_COLUMNS, write_unusable
from avid_lab.datasets.journal import appending, entries, resumable
from avid_lab.datasets.manifest import COLUMNS, Manifest, Unusable, begins_with
from avid_lab.media import Clip, MediaError, probe, read_clip, write_clip
from avid_lab.media.write import AAC_RATES

JOURNAL = ".prepared"  # in the folder of the copies: what is done, and the names of all files that are ours
SIDE = 258  # ceil(1.15 * 224): the room that random crops of the largest preset need


@dataclass(frozen=True)
class Copy:
    """One copy to make."""

    source: Path
    copy: Path
    duration_s: float
    size: int
    fps: float
    rate: int


def prepare(
    manifest: Manifest,
    out: str | os.PathLike[str],
    *,
    size: int = SIDE,
    fps: float = 16.0,
    rate: int = 24_000,
    max_duration_s: float = 10.0,
    workers: int | None = None,
    progress: bool = True,
) -> Manifest:
    """Re-encodes every clip as H.264 + AAC: a square of ``size`` pixels, the first seconds, one channel of sound.

    Ids, labels, splits and order stay; ``out/manifest.csv`` lists the copies. Files are written whole or not at all,
    and a run that was stopped goes on where it was: copies are only made again when their source, the settings or the
    copy itself has changed. What cannot be read is left out and told: ``unusable``, ``out/manifest.unusable.csv``.

    Args:
        manifest: The clips.
        out: Folder of the copies; not the manifest's own.
        size: Side in pixels, even; the centre square is kept, as `ClipDataset` does. 258 suits every preset.
        fps: Frames per second.
        rate: Samples per second; one that AAC knows.
        max_duration_s: Seconds kept of each clip, from its beginning.
        workers: Processes; None chooses, 0 works in this one.
        progress: Shows a bar, and the report if anything was left out.

    Returns:
        The manifest of the copies.

    Raises:
        ValueError: An empty manifest, settings that make no sense, or ``out`` holds files that are no copies of ours.
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
        raise ValueError(f"rate must be one that AAC knows, {', '.join(map(str, AAC_RATES))}; got {rate}")
    copies = _names(record.path for record in manifest.records)
    _require_ours(manifest, out, copies)
    tasks = [
        Copy(manifest.path(i), out / copy, min(record.duration_s, max_duration_s), size, fps, rate)
        for i, (record, copy) in enumerate(zip(manifest.records, copies, strict=True))
    ]
    results = resumable(
        _copy,
        tasks,
        [task.source for task in tasks],
        out / JOURNAL,
        is_done=_is_whole,
        workers=workers,
        progress=progress,
        description="making copies",
    )
    records, unusable = [], []
    for record, copy, result in zip(manifest.records, copies, results, strict=True):
        if "reason" in result:
            unusable.append(Unusable(record.path, result["reason"], result["detail"]))
        else:
            extras = {name: result["extras"].get(name, value) for name, value in record.extras.items()}
            records.append(replace(record, path=copy, duration_s=result["duration_s"], extras=extras))
    made = Manifest(out, records, classes=manifest.classes, unusable=unusable)
    if progress and unusable:
        tqdm.write(made.report())
    if not records:
        raise ValueError(f"no clip of {manifest.root} could be copied. {made.report()}")
    made.write(out / "manifest.csv")
    write_unusable(out / "manifest.unusable.csv", unusable)
    return made


def _require_ours(manifest: Manifest, out: Path, copies: Sequence[str]) -> None:
    """Refuses to replace anything but copies of an earlier call, and remembers the names of those to come."""
    ours = {name for key, name in entries(out / JOURNAL) if key == "copy"}
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
        rule = f"{foreign[0]} was not made by an earlier call ({len(foreign)} such files): it would be lost"
        raise ValueError(f"{rule}. Choose an empty folder for the copies.")
    with appending(out / JOURNAL) as append:
        for name in copies:
            if name not in ours:
                append(["copy", name])


def _names(paths: Iterable[str]) -> list[str]:
    """The path of each copy: that of its original, as mp4, and no two alike."""
    taken: dict[str, None] = {}
    for path in paths:
        name = path if path.lower().endswith(".mp4") else f"{path}.mp4"
        while name in taken:
            name += ".mp4"
        taken[name] = None
    return list(taken)


def _copy(task: Copy) -> dict[str, Any]:
    """Makes one copy, cut where picture or sound of the original ends; tells its length and size in bytes."""
    try:
        info = probe(task.source)
        frames, samples = round(task.duration_s * task.fps), round(task.duration_s * task.rate)
        video = None if info.video is None else VideoSpec(max(1, frames), task.fps, task.size)
        audio = None if info.audio is None else AudioSpec(task.rate, max(1, samples) / task.rate, frames=1, n_fft=2)
        clip = read_clip(task.source, 0.0, video, audio)
    except MediaError as error:
        return {"reason": "unreadable", "detail": f"{error.problem}. {error.fix}"}
    picture, sound, lengths = clip.video, clip.audio, []
    if picture is not None:
        lengths.append((picture.shape[1] - clip.padded_frames) / task.fps)
    if sound is not None:
        lengths.append((sound.shape[1] - clip.padded_samples) / task.rate)
    frames, samples = int(min(lengths) * task.fps + 1e-6), int(min(lengths) * task.rate + 1e-6)
    if frames < 1:
        return {"reason": "too short", "detail": f"{min(lengths):.3f} s of it have both picture and sound"}
    clip = Clip(
        video=None if picture is None else picture[:, :frames],
        audio=None if sound is None else sound[:, :samples],
        fps=clip.fps,
        rate=clip.rate,
    )
    write_clip(task.copy, clip)
    extras = {"width": str(task.size), "height": str(task.size), "fps": f"{task.fps:g}", "rate": str(task.rate)}
    return {"duration_s": clip.duration_s, "extras": extras, "bytes": task.copy.stat().st_size}


def _is_whole(task: Copy, result: dict[str, Any]) -> bool:
    """Whether a copy of an earlier run is still there; what could not be copied then is tried again."""
    return task.copy.is_file() and task.copy.stat().st_size == result.get("bytes")

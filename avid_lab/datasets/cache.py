"""Decoded clips in flat memory-mapped files, so that training never waits for a decoder.

A cache is a folder of ``frames.u8`` (all frames of all clips, uint8 (total, S, S, 3)), ``sound.i16`` (all samples,
int16), ``index.npz`` (the spans of each clip, checksums) and ``meta.json``. It holds the spans of each clip that have
both picture and sound, one after the other. It is built in ``<key>.part``, resumes if interrupted, and is renamed
when complete.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import shutil
import time
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from filelock import FileLock
from tqdm.auto import tqdm

from avid_lab.archives import archive_of
from avid_lab.atomic import remove_parts, replacing
from avid_lab.config import AudioSpec, VideoSpec, data_dirs
from avid_lab.datasets.manifest import Manifest, Streams
from avid_lab.datasets.parallel import parallel
from avid_lab.datasets.windows import COLUMN, MAX_SPANS, found_spans, listed_spans, read_parts, usable
from avid_lab.media import MediaError
from avid_lab.spans import Spans

FORMAT = 3  # of the files; part of the key
FIELDS = ("begin_s", "length_s", "frame", "frames", "sample", "samples")  # of each span
UNUSED_S = 30 * 24 * 3600.0  # after which an unfinished or outdated cache is removed
CHECKED = 32  # clips whose checksums are verified when a cache is opened
SPARE_BYTES = 256 * 2**20  # disk space to leave free
KEPT_BYTES = 8 * 10**9  # of decoded clips that are worth keeping, unless more are wanted


@dataclass(frozen=True)
class Layout:
    """The place of each clip in the flat files: clip i is ``[begin[i], begin[i + 1])``, in frames and in samples."""

    side: int
    fps: float
    rate: int
    frame_begin: np.ndarray  # (N + 1,) int64
    sample_begin: np.ndarray  # (N + 1,) int64

    @property
    def frame_bytes(self) -> int:
        """Size of the file of frames."""
        return int(self.frame_begin[-1]) * self.side * self.side * 3

    @property
    def sound_bytes(self) -> int:
        """Size of the file of samples."""
        return int(self.sample_begin[-1]) * 2


class DecodedCache:
    """Frames and samples of every clip of a manifest; opened lazily, so that pickling it for a worker is cheap.

    Attributes:
        folder: The cache's folder.
        spans: For each clip (spans, 6), by `FIELDS`: begin and length in seconds in the file; first frame, number of
            frames, first sample and number of samples in the clip.
        failed: The problem of each clip that could not be read.
    """

    def __init__(self, folder: Path, layout: Layout, spans: list[np.ndarray], failed: dict[int, str]) -> None:
        self.folder, self.layout, self.spans, self.failed = folder, layout, spans, failed
        self._counts = [rows[:, 2:].astype(int).tolist() for rows in spans]
        self._maps: tuple[np.ndarray, np.ndarray] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_maps": None}

    @property
    def maps(self) -> tuple[np.ndarray, np.ndarray]:
        """Frames (total, S, S, 3) uint8 and samples (total,) int16, read-only."""
        if self._maps is None:
            self._maps = _open_maps(self.folder, self.layout, "r")
        return self._maps

    def frames(self, clips: np.ndarray, spans: np.ndarray, begins: np.ndarray, count: int) -> np.ndarray:
        """``count`` frames of these spans of these clips, from frame ``begins`` of the span: uint8 (B, count, S, S, 3).

        A window never runs into the next span. A short span is padded with its last frame.
        """
        whole = self.maps[0]
        out = np.empty((len(clips), count, *whole.shape[1:]), np.uint8)
        for row, clip, span, begin in zip(out, clips, spans, begins, strict=True):
            first, length = self._counts[clip][span][:2]
            first += self.layout.frame_begin[clip]
            begin = min(begin, max(length - count, 0))
            kept = min(count, length)
            row[:kept] = whole[first + begin : first + begin + kept]
            row[kept:] = row[kept - 1]
        return out

    def samples(self, clips: np.ndarray, spans: np.ndarray, begins: np.ndarray, count: int) -> np.ndarray:
        """``count`` samples of these spans of these clips: float32 (B, count) in [-1, 1], padded with zeros."""
        whole = self.maps[1]
        out = np.zeros((len(clips), count), np.float32)
        for row, clip, span, begin in zip(out, clips, spans, begins, strict=True):
            first, length = self._counts[clip][span][2:]
            first += self.layout.sample_begin[clip]
            begin = min(begin, max(length - count, 0))
            kept = min(count, length)
            np.multiply(whole[first + begin : first + begin + kept], np.float32(1 / 32767), out=row[:kept])
        return out


def open_cache(
    manifest: Manifest,
    video: VideoSpec,
    audio: AudioSpec,
    *,
    streams: Streams = "both",
    side: int,
    max_duration_s: float,
    workers: int | None,
    progress: bool,
) -> DecodedCache:
    """The cache of these clips at these specs: opened if it is complete on disk, else built.

    Raises:
        OSError: Too little disk space.
        RuntimeError: A worker process died.
    """
    layout = _layout(manifest, float(video.fps), audio.rate, streams, side, max_duration_s)
    folders = _places(manifest, layout)
    folder = folders[-1]
    remove_parts(folder)
    cache = next(filter(None, (_load(place, layout) for place in folders)), None)
    if cache is None:
        shutil.rmtree(folder, ignore_errors=True)  # absent or damaged
        try:
            _build(folder, manifest, layout, streams, workers=workers, progress=progress)
        except FileNotFoundError:
            if not folder.exists():  # otherwise another process has finished the same cache
                raise
        cache = _load(folder, layout)
    if cache is None:
        raise RuntimeError(f"the cache {folder} is damaged although it was just written. Check the disk.")
    return cache


def worth_keeping(
    manifest: Manifest,
    video: VideoSpec,
    audio: AudioSpec,
    streams: Streams,
    side: int,
    max_duration_s: float,
    wanted: bool | Literal["auto"] = "auto",
) -> tuple[bool, str]:
    """Whether clips are decoded once, and why: "auto" keeps up to `KEPT_BYTES`, and half of the free disk, on disk."""
    layout = _layout(manifest, float(video.fps), audio.rate, streams, side, max_duration_s)
    size, limit = layout.frame_bytes + layout.sound_bytes, f"the limit of {_size(KEPT_BYTES)}"
    once, files, takes = "clips are decoded once", "windows are read from the files", _size(size)
    if wanted is True:
        return True, f"{once}, as chosen: {takes} on disk"
    if wanted is False:
        return False, f"{files}, as chosen"
    if size > KEPT_BYTES:
        return False, f"{files}: decoded, they would take {takes}, over {limit}"
    folders = _places(manifest, layout)
    folders[-1].parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folders[-1].parent).free
    if size > free / 2 and not any(folder.exists() for folder in folders):
        return False, f"{files}: decoded, they would take {takes} of the {_size(free)} free"
    return True, f"{once}: they take {takes} on disk, below {limit}"


def _places(manifest: Manifest, layout: Layout) -> list[Path]:
    """The folders that may hold these decoded clips; they are decoded into the last."""
    key = _key(manifest, layout)
    return [folder / "decoded" / key for folder in data_dirs()]


def _size(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


def _layout(manifest: Manifest, fps: float, rate: int, streams: Streams, side: int, max_duration_s: float) -> Layout:
    # Room for the whole clip: its spans together are never longer.
    seconds = np.array([min(record.duration_s, max_duration_s) for record in manifest.records])
    counts = (np.maximum(np.floor(seconds * unit + 1e-6), 1).astype(np.int64) for unit in (fps, rate))
    # An unused stream takes no room.
    counts = [count * (streams != other) for count, other in zip(counts, ("audio", "video"), strict=True)]
    return Layout(side, fps, rate, *(np.concatenate([[0], np.cumsum(count)]).astype(np.int64) for count in counts))


def _key(manifest: Manifest, layout: Layout) -> str:
    digest = hashlib.sha256(repr((FORMAT, layout.side, layout.fps, layout.rate)).encode())
    digest.update(str(manifest.root.resolve()).encode())
    digest.update(layout.frame_begin.tobytes() + layout.sample_begin.tobytes())
    for i, record in enumerate(manifest.records):
        path = manifest.path(i)
        path = archive_of(path) or path
        stat = path.stat() if path.is_file() else None  # a replaced file is decoded again
        spans = record.extras.get(COLUMN, "")
        digest.update(repr((record.path, spans, stat and (stat.st_size, stat.st_mtime_ns))).encode())
    return digest.hexdigest()[:20]


def _open_maps(folder: Path, layout: Layout, mode: Any) -> tuple[np.ndarray, np.ndarray]:
    shape = (int(layout.frame_begin[-1]), layout.side, layout.side, 3)
    frames = _map(folder / "frames.u8", np.uint8, mode, shape)
    return frames, _map(folder / "sound.i16", np.int16, mode, (int(layout.sample_begin[-1]),))


def _map(path: Path, dtype: type, mode: Any, shape: tuple[int, ...]) -> np.ndarray:
    return np.memmap(path, dtype, mode, shape=shape) if math.prod(shape) else np.empty(shape, dtype)


def _load(folder: Path, layout: Layout) -> DecodedCache | None:
    """The cache in a folder, or None if it is absent, incomplete or damaged."""
    count = len(layout.frame_begin) - 1
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        with np.load(folder / "index.npz") as index:
            begins, rows, checksums = index["begins"], index["spans"], index["checksums"]
        sizes = (folder / "frames.u8").stat().st_size, (folder / "sound.i16").stat().st_size
        failed = {int(i): problem for i, problem in meta["failed"].items()}
        spans = [rows[begins[i] : begins[i + 1]] for i in range(count)]
        if meta["format"] != FORMAT or sizes != (layout.frame_bytes, layout.sound_bytes) or len(checksums) != count:
            return None
    except Exception:  # damage may raise anything; what is not whole is built again
        return None
    cache = DecodedCache(folder, layout, spans, failed)
    for i in np.linspace(0, count - 1, min(CHECKED, count)).astype(int):
        if i not in failed and _checksum(*cache.maps, layout, int(i)) != checksums[i]:
            return None
    return cache


def _checksum(frames: np.ndarray, sound: np.ndarray, layout: Layout, i: int) -> int:
    checksum = zlib.crc32(frames[layout.frame_begin[i] : layout.frame_begin[i + 1]].data)
    return zlib.crc32(sound[layout.sample_begin[i] : layout.sample_begin[i + 1]].data, checksum)


def _build(
    folder: Path, manifest: Manifest, layout: Layout, streams: Streams, *, workers: int | None, progress: bool
) -> None:
    part = folder.with_name(folder.name + ".part")
    part.mkdir(parents=True, exist_ok=True)
    if (removed := _remove_outdated(folder.parent)) and progress:
        tqdm.write(f"{removed} unfinished or outdated sets of decoded clips were removed from {folder.parent}.")
    with FileLock(part / "lock"):
        _reserve(part, layout)
    frames, sound = _open_maps(part, layout, "r+")
    count, shape = len(manifest), (MAX_SPANS, len(FIELDS))
    # On disk while building, so that a build can resume. For each clip: number of spans, checksum, spans.
    state = np.memmap(part / "state.f8", np.float64, "r+", shape=(count, 2 + math.prod(shape)))
    todo = [i for i in range(count) if not state[i, 0]]
    listed = [listed_spans(record) if streams == "both" else None for record in manifest.records]
    tasks = [Task(i, manifest.path(i), part, _slice(layout, i), streams, listed[i]) for i in todo]
    failed: dict[int, str] = {}
    for i, rows, problem in parallel(
        _decode, tasks, workers=workers, progress=progress, description="decoding clips", initial=count - len(todo)
    ):
        if problem is None:
            state[i, 1] = _checksum(frames, sound, layout, i)
            state[i, 2 : 2 + rows.size] = rows.ravel()
            state[i, 0] = len(rows)
        else:
            failed[i] = problem
    lengths = state[:, 0].astype(np.int64)
    spans = [state[i, 2:].reshape(shape)[: lengths[i]] for i in range(count)]
    begins = np.concatenate([[0], np.cumsum(lengths)])
    checksums = state[:, 1].astype(np.int64)
    with replacing(part / "index.npz") as temporary, temporary.open("wb") as file:
        np.savez(file, begins=begins, spans=np.concatenate(spans), checksums=checksums)
    meta = {"format": FORMAT, "clips": count, "side": layout.side, "fps": layout.fps, "rate": layout.rate}
    with replacing(part / "meta.json") as temporary:
        temporary.write_text(json.dumps({**meta, "failed": failed}), encoding="utf-8")
    del state, frames, sound
    try:
        os.replace(part, folder)
    except OSError:
        if _load(folder, layout) is None:  # otherwise another process was faster
            raise
        shutil.rmtree(part, ignore_errors=True)


def _remove_outdated(decoded: Path) -> int:
    """Remove what earlier versions and interrupted runs left, if it was not touched for a month; return how many."""
    removed = 0
    for found in decoded.iterdir():
        try:
            age_s = time.time() - max(path.stat().st_mtime for path in [found, *found.iterdir()])
            old = (
                found.suffix == ".part"
                or json.loads((found / "meta.json").read_text(encoding="utf-8"))["format"] < FORMAT
            )
        except (OSError, ValueError, AttributeError, TypeError, RecursionError):
            continue  # not ours, or another process is at it
        if old and age_s > UNUSED_S:
            shutil.rmtree(found, ignore_errors=True)
            removed += 1
    return removed


def _reserve(part: Path, layout: Layout) -> None:
    """Create the files at their full size, or report how much disk space is missing.

    The space is taken at once: writing to a mapped file on a full disk ends the process.
    """
    clips = len(layout.frame_begin) - 1
    sizes = {"frames.u8": layout.frame_bytes, "sound.i16": layout.sound_bytes}
    sizes["state.f8"] = clips * 8 * (2 + MAX_SPANS * len(FIELDS))
    there = {name: (part / name).stat().st_size if (part / name).exists() else 0 for name in sizes}
    if there != sizes:
        if shutil.disk_usage(part).free < sum(sizes.values()) + SPARE_BYTES:
            raise _no_space(part, sizes)
        for name in sizes:
            (part / name).unlink(missing_ok=True)
    for name, size in sizes.items():
        try:
            with (part / name).open("ab") as file:
                _allocate(file.fileno(), size)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise _no_space(part, sizes) from error
            raise


def _allocate(file: int, size: int) -> None:
    """Give an open file this size, with space on the disk for all of it where the system can promise that."""
    if size and hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file, 0, size)
            return
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):  # some network disks cannot
                raise
    os.truncate(file, size)


def _no_space(part: Path, sizes: dict[str, int]) -> OSError:
    needed, free = sum(sizes.values()) + SPARE_BYTES, shutil.disk_usage(part).free
    return OSError(
        f"decoding these clips needs {needed / 2**20:,.0f} MiB in {part.parent}; {free / 2**20:,.0f} MiB are free. "
        "Free some space, set AVID_LAB_DATA to a folder on another disk, or use fewer or smaller clips."
    )


@dataclass(frozen=True)
class Task:
    """One clip to decode into the files of ``part``; ``place`` is the layout of this clip alone."""

    clip: int
    path: Path
    part: Path
    place: Layout
    streams: Streams
    spans: Spans | None


def _slice(layout: Layout, i: int) -> Layout:
    """The layout of clip ``i`` alone, at its place in the whole files."""
    return replace(layout, frame_begin=layout.frame_begin[i : i + 2], sample_begin=layout.sample_begin[i : i + 2])


def _decode(task: Task) -> tuple[int, np.ndarray, str | None]:
    """Decode a clip in a worker; return its number, its spans by `FIELDS`, and the problem, if any."""
    place, rows = task.place, np.zeros((0, len(FIELDS)))
    room = [int(np.diff(begins)[0]) for begins in (place.frame_begin, place.sample_begin)]
    seconds = max(count / unit for count, unit in zip(room, (place.fps, place.rate), strict=True))
    try:
        spans = usable(task.spans or found_spans(task.path, task.streams), seconds)
        parts = read_parts(task.path, spans, fps=place.fps, rate=place.rate, size=place.side, streams=task.streams)
    except MediaError as error:
        return task.clip, rows, f"{error.problem}. {error.fix}"
    frames, sound = _open_maps(task.part, place, "r+")
    frame, sample = (int(begins[0]) for begins in (place.frame_begin, place.sample_begin))
    done, found = [0, 0], []
    for part in parts:
        counts = [0, 0]
        if part.clip.video is not None:
            picture = part.clip.video.permute(1, 2, 3, 0).numpy()[: room[0] - done[0]]
            frames[frame + done[0] : frame + done[0] + len(picture)] = picture
            counts[0] = len(picture)
        if part.clip.audio is not None:
            waveform = part.clip.audio[0].numpy()[: room[1] - done[1]]
            sound[sample + done[1] : sample + done[1] + len(waveform)] = np.rint(waveform * 32767).astype(np.int16)
            counts[1] = len(waveform)
        if all(count or not wanted for count, wanted in zip(counts, room, strict=True)):
            found.append((part.begin_s, part.length_s, done[0], counts[0], done[1], counts[1]))
        done = [before + count for before, count in zip(done, counts, strict=True)]
    return task.clip, np.array(found), None

"""Decoded clips in flat memory-mapped files, so that training never waits for a decoder.

A cache is a folder of ``frames.u8`` (all frames of all clips, uint8 (total, S, S, 3)), ``sound.i16`` (all samples,
int16), ``index.npz`` (how much of each clip is real, checksums) and ``meta.json``. It is built in ``<key>.part``, can
be interrupted and taken up again, and gets its name only when complete.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from avid_lab.config import AudioSpec, VideoSpec, data_dir
from avid_lab.datasets.manifest import Manifest, Streams
from avid_lab.datasets.parallel import parallel
from avid_lab.media import MediaError, read_clip

FORMAT = 1  # of the files; part of the key
CHECKED = 32  # clips whose checksum is compared when a cache is opened
SPARE_BYTES = 256 * 2**20  # disk left free beside the cache


@dataclass(frozen=True)
class Layout:
    """Where each clip lies in the flat files: clip i is ``[begin[i], begin[i + 1])``, in frames and in samples."""

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
    """Frames and samples of every clip of a manifest; opened lazily, so it travels to worker processes as a path."""

    def __init__(self, folder: Path, layout: Layout, usable_s: np.ndarray, failed: dict[int, str]) -> None:
        self.folder, self.layout, self.usable_s, self.failed = folder, layout, usable_s, failed
        self._maps: tuple[np.ndarray, np.ndarray] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_maps": None}

    @property
    def maps(self) -> tuple[np.ndarray, np.ndarray]:
        """Frames (total, S, S, 3) uint8 and samples (total,) int16, read-only."""
        if self._maps is None:
            self._maps = _open_maps(self.folder, self.layout, "r")
        return self._maps

    def frames(self, clips: np.ndarray, begins: np.ndarray, count: int) -> np.ndarray:
        """``count`` frames of each of these clips, from its frame ``begins`` on: uint8 (B, count, S, S, 3)."""
        out = np.empty((len(clips), count, *self.maps[0].shape[1:]), np.uint8)
        # A window never runs into the next clip, whatever the rounding.
        begins = np.minimum(self.layout.frame_begin[clips] + begins, self.layout.frame_begin[clips + 1] - count)
        for row, begin in zip(out, begins, strict=True):
            row[:] = self.maps[0][begin : begin + count]
        return out

    def samples(self, clips: np.ndarray, begins: np.ndarray, count: int) -> np.ndarray:
        """``count`` samples of each of these clips, from its sample ``begins`` on: float32 (B, count) in [-1, 1]."""
        out = np.empty((len(clips), count), np.float32)
        begins = np.minimum(self.layout.sample_begin[clips] + begins, self.layout.sample_begin[clips + 1] - count)
        for row, begin in zip(out, begins, strict=True):
            np.multiply(self.maps[1][begin : begin + count], np.float32(1 / 32767), out=row)
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
    """The cache of these clips at these specs, from disk if whole, else built.

    Raises:
        OSError: Too little disk.
        RuntimeError: A worker process died.
    """
    layout = _layout(manifest, video, audio, streams, side, max_duration_s)
    folder = data_dir() / "decoded" / _key(manifest, layout)
    cache = _load(folder, layout)
    if cache is None:
        shutil.rmtree(folder, ignore_errors=True)  # absent or damaged
        try:
            _build(folder, manifest, layout, workers=workers, progress=progress)
        except FileNotFoundError:
            if not folder.exists():  # else another process finished the same cache meanwhile
                raise
        cache = _load(folder, layout)
    if cache is None:
        raise RuntimeError(f"the cache {folder} is damaged right after it was written: check the disk")
    return cache


def _layout(
    manifest: Manifest, video: VideoSpec, audio: AudioSpec, streams: Streams, side: int, max_duration_s: float
) -> Layout:
    seconds = np.array([min(record.duration_s, max_duration_s) for record in manifest.records])
    # A clip shorter than the window is padded to it once, here.
    frames = np.maximum(np.floor(seconds * video.fps + 1e-6), video.frames).astype(np.int64)
    samples = np.maximum(np.floor(seconds * audio.rate + 1e-6), audio.samples).astype(np.int64)
    # What is not wanted takes no room.
    frames, samples = frames * (streams != "audio"), samples * (streams != "video")
    begins = [np.concatenate([[0], np.cumsum(counts)]).astype(np.int64) for counts in (frames, samples)]
    return Layout(side, float(video.fps), audio.rate, *begins)


def _key(manifest: Manifest, layout: Layout) -> str:
    digest = hashlib.sha256(repr((FORMAT, layout.side, layout.fps, layout.rate)).encode())
    digest.update(str(manifest.root.resolve()).encode())
    digest.update(layout.frame_begin.tobytes() + layout.sample_begin.tobytes())
    for i, record in enumerate(manifest.records):
        path = manifest.path(i)
        stat = path.stat() if path.is_file() else None  # a file that was replaced is decoded again
        digest.update(repr((record.path, stat and (stat.st_size, stat.st_mtime_ns))).encode())
    return digest.hexdigest()[:20]


def _open_maps(folder: Path, layout: Layout, mode: Any) -> tuple[np.ndarray, np.ndarray]:
    shape = (int(layout.frame_begin[-1]), layout.side, layout.side, 3)
    frames = _map(folder / "frames.u8", np.uint8, mode, shape)
    return frames, _map(folder / "sound.i16", np.int16, mode, (int(layout.sample_begin[-1]),))


def _map(path: Path, dtype: type, mode: Any, shape: tuple[int, ...]) -> np.ndarray:
    return np.memmap(path, dtype, mode, shape=shape) if math.prod(shape) else np.empty(shape, dtype)


def _load(folder: Path, layout: Layout) -> DecodedCache | None:
    """The cache in a folder, or None if it is absent, incomplete or damaged."""
    try:
        meta = json.loads((folder / "meta.json").read_text())
        with np.load(folder / "index.npz") as index:
            usable_s, checksums = index["usable_s"], index["checksums"]
        sizes = (folder / "frames.u8").stat().st_size, (folder / "sound.i16").stat().st_size
    except (OSError, ValueError, KeyError, EOFError):
        return None
    count = len(layout.frame_begin) - 1
    if sizes != (layout.frame_bytes, layout.sound_bytes) or len(usable_s) != count or meta.get("format") != FORMAT:
        return None
    failed = {int(i): problem for i, problem in meta["failed"].items()}
    cache = DecodedCache(folder, layout, usable_s, failed)
    for i in np.linspace(0, count - 1, min(CHECKED, count)).astype(int):
        if i not in failed and _checksum(*cache.maps, layout, int(i)) != checksums[i]:
            return None
    return cache


def _checksum(frames: np.ndarray, sound: np.ndarray, layout: Layout, i: int) -> int:
    checksum = zlib.crc32(frames[layout.frame_begin[i] : layout.frame_begin[i + 1]].data)
    return zlib.crc32(sound[layout.sample_begin[i] : layout.sample_begin[i + 1]].data, checksum)


def _build(folder: Path, manifest: Manifest, layout: Layout, *, workers: int | None, progress: bool) -> None:
    part = folder.with_name(folder.name + ".part")
    part.mkdir(parents=True, exist_ok=True)
    _reserve(part, layout)
    frames, sound = _open_maps(part, layout, "r+")
    count = len(manifest)
    # Kept on disk while building, so that a build can be taken up again: done, checksum, usable seconds of each clip.
    state = np.memmap(part / "state.f8", np.float64, "r+" if (part / "state.f8").exists() else "w+", shape=(count, 3))
    todo = [i for i in range(count) if state[i, 0] != 1]
    tasks = [Task(i, manifest.path(i), part, _slice(layout, i)) for i in todo]
    failed: dict[int, str] = {}
    for i, usable_s, problem in parallel(
        _decode, tasks, workers=workers, progress=progress, description="decoding clips", initial=count - len(todo)
    ):
        if problem is None:
            state[i, 1:] = _checksum(frames, sound, layout, i), usable_s
            state[i, 0] = 1
        else:
            failed[i] = problem
    np.savez(part / "index.npz", usable_s=state[:, 2], checksums=state[:, 1].astype(np.int64))
    meta = {"format": FORMAT, "clips": count, "side": layout.side, "fps": layout.fps, "rate": layout.rate}
    (part / "meta.json").write_text(json.dumps({**meta, "failed": failed}))
    del state, frames, sound
    try:
        os.replace(part, folder)
    except OSError:
        if _load(folder, layout) is None:  # else another process was first with the same cache
            raise
        shutil.rmtree(part, ignore_errors=True)


def _reserve(part: Path, layout: Layout) -> None:
    """Makes the flat files at their full size, or says how much disk is missing."""
    sizes = {"frames.u8": layout.frame_bytes, "sound.i16": layout.sound_bytes}
    there = {name: (part / name).stat().st_size if (part / name).exists() else 0 for name in sizes}
    needed = sum(sizes.values()) + SPARE_BYTES
    if there != sizes:
        free = shutil.disk_usage(part).free
        if free < needed:
            raise OSError(
                f"decoding these clips needs {needed / 2**20:,.0f} MiB in {part.parent}; "
                f"{free / 2**20:,.0f} MiB are free. "
                "Free some, set AVID_LAB_DATA to a folder on another disk, or use fewer or smaller clips."
            )
        (part / "state.f8").unlink(missing_ok=True)
        for name, size in sizes.items():
            with (part / name).open("wb") as file:
                file.truncate(size)


@dataclass(frozen=True)
class Task:
    """One clip to decode into its place in the files of ``part``; the layout is that of this clip alone."""

    clip: int
    path: Path
    part: Path
    place: Layout


def _slice(layout: Layout, i: int) -> Layout:
    """The layout of clip ``i`` alone, at its place in the whole files."""
    return replace(layout, frame_begin=layout.frame_begin[i : i + 2], sample_begin=layout.sample_begin[i : i + 2])


def _decode(task: Task) -> tuple[int, float, str | None]:
    """Runs in a worker; returns the clip's number, its usable seconds and what is wrong with it, if anything."""
    place = task.place
    frame_count, sample_count = int(np.diff(place.frame_begin)[0]), int(np.diff(place.sample_begin)[0])
    video = VideoSpec(frame_count, place.fps, place.side) if frame_count else None
    audio = AudioSpec(place.rate, sample_count / place.rate, frames=1, n_fft=2) if sample_count else None
    try:
        clip = read_clip(task.path, 0.0, video, audio)
    except MediaError as error:
        return task.clip, 0.0, f"{error.problem}. {error.fix}"
    frames, sound = _open_maps(task.part, place, "r+")
    usable_s = math.inf  # windows are drawn where there is both: a file may be truncated, or its sound shorter
    if clip.video is not None:
        frames[place.frame_begin[0] :] = clip.video.permute(1, 2, 3, 0).numpy()
        usable_s = (frame_count - clip.padded_frames) / place.fps
    if clip.audio is not None:
        sound[place.sample_begin[0] :] = np.rint(clip.audio[0].numpy() * 32767).astype(np.int16)
        usable_s = min(usable_s, (sample_count - clip.padded_samples) / place.rate)
    return task.clip, usable_s, None


def side_for(size: int) -> int:
    """Side of cached frames: 15 % more than the clips' size, as room for random crops."""
    return math.ceil(1.15 * size)

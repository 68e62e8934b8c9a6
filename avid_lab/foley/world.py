"""A world on disk: `build` renders missing or damaged files, `load` returns them as a dataset."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from avid_lab.atomic import remove_parts, replacing
from avid_lab.config import PRESETS as MODELS
from avid_lab.config import AudioSpec, VideoSpec, data_path
from avid_lab.datasets import ClipDataset, Manifest, Record
from avid_lab.datasets.journal import appending, entries
from avid_lab.datasets.parallel import parallel
from avid_lab.foley.clip import PRESETS, FoleyConfig, describe, render, scene_of, split_of
from avid_lab.media import Clip, write_clip

JOURNAL = "journal.jsonl"
BYTES_PER_CLIP = 56_000  # for 128x128 pixels and 4 s, a generous estimate
SPARE_BYTES = 64 * 2**20  # disk space to leave free


def build(
    preset: str | FoleyConfig,
    root: str | os.PathLike[str] | None = None,
    *,
    workers: int | None = None,
    progress: bool = True,
) -> Manifest:
    """Render the missing clips of a world, and return its manifest.

    You may interrupt it at any time: complete clips are kept, and the next call resumes. Each existing file is checked
    against its checksum, and rendered again if it is missing or damaged.

    Args:
        preset: A name from `PRESETS`, or your own configuration.
        root: Parent of the world's folder, which is named after preset, version and settings; by default ``foley`` in
            the data folder (``AVID_LAB_DATA``).
        workers: Processes; None chooses, 0 renders in this one.
        progress: Show a progress bar.

    Raises:
        ValueError: There is no such preset.
        OSError: Too little disk space.
    """
    name, config = _resolve(preset)
    folder = folder_of(preset, root)
    folder.mkdir(parents=True, exist_ok=True)
    remove_parts(folder)
    listed, known = _known(folder, config)
    known = {i: entry for i, entry in known.items() if _intact(folder / _path(i), *entry[:2])}
    missing = [i for i in range(config.clips) if i not in known]
    if not missing and listed is not None:
        with contextlib.suppress(OSError):  # others may read a finished world, and not write there
            (folder / JOURNAL).unlink(missing_ok=True)
        return listed
    if not os.access(folder, os.W_OK):
        problem = (
            f"{folder}: {len(missing)} of {config.clips} clips are missing or damaged, and you cannot write there."
        )
        fix = "Ask its owner to run `avid-lab data build`, or set AVID_LAB_DATA to a folder of your own."
        raise PermissionError(f"{problem} {fix}")
    _require_disk(folder, len(missing), config)
    with replacing(folder / "config.json") as temporary:
        temporary.write_text(json.dumps(describe(config), indent=1) + "\n", encoding="utf-8")
    with appending(folder / JOURNAL) as append:
        tasks = [(i, config, str(folder)) for i in missing]
        for result in parallel(
            _make, tasks, workers=workers, progress=progress, description=f"rendering {name}", initial=len(known)
        ):
            known[result[0]] = result[1:]
            append(result)
    records = [_record(i, config, *known[i]) for i in range(config.clips)]
    manifest = Manifest(folder, records, classes=config.scenes)
    manifest.write(folder / "manifest.csv")
    (folder / JOURNAL).unlink(missing_ok=True)  # another process may build the same world
    return manifest


def load(
    preset: str | FoleyConfig = "pocket",
    *,
    split: str | None = None,
    video: VideoSpec | None = None,
    audio: AudioSpec | None = None,
    root: str | os.PathLike[str] | None = None,
    cache: bool | Literal["auto"] = "auto",
    workers: int | None = None,
    progress: bool = True,
) -> ClipDataset:
    """The clips of a world as a dataset; renders them first if necessary.

    Args:
        preset: A name from `PRESETS`, or your own configuration.
        split: "train", "test", or None for both.
        video: Frames of a window; by default those of the model preset "pocket".
        audio: Sound of a window; by default that of the model preset "pocket".
        root: As for `build`.
        cache: As for `ClipDataset`.
        workers: Processes that render, and those of `ClipDataset`.
        progress: Show progress bars.

    Raises:
        ValueError: There is no such preset or split.
        OSError: Too little disk space.
    """
    manifest = build(preset, root, workers=workers, progress=progress)
    pocket = MODELS["pocket"]
    specs: dict[str, Any] = {"video": video or pocket.video, "audio": audio or pocket.audio}
    clips = ClipDataset(manifest, **specs, cache=cache, workers=workers, progress=progress)
    return clips if split is None else clips.select(split=split)


def folder_of(preset: str | FoleyConfig, root: str | os.PathLike[str] | None = None) -> Path:
    """The folder of a world, whether it exists or not: its name, and a digest of version and settings.

    Raises:
        ValueError: There is no such preset.
    """
    name, config = _resolve(preset)
    folder = f"{name}-{config.digest}"
    return data_path("foley", folder) if root is None else Path(root) / folder


def to_clip(picture: np.ndarray, sound: np.ndarray, config: FoleyConfig) -> Clip:
    """The result of `render`, as tensors for `write_clip`."""
    video = torch.from_numpy(picture).permute(3, 0, 1, 2)  # (3, T, H, W)
    return Clip(video=video, audio=torch.from_numpy(sound)[None], fps=config.fps, rate=config.rate)


def write_small(path: Path, clip: Clip) -> Path:
    """Write a clip with the encoder settings of the world: about 55 kB for 4 s of 128x128 pixels."""
    return write_clip(path, clip, crf=27, preset="superfast", audio_kbps=48)


def _resolve(preset: str | FoleyConfig) -> tuple[str, FoleyConfig]:
    if isinstance(preset, FoleyConfig):
        named = next((name for name, config in PRESETS.items() if config == preset), None)
        return named or f"clips{preset.clips}", preset
    if preset not in PRESETS:
        raise ValueError(f"preset must be one of {', '.join(PRESETS)}, or a FoleyConfig; got {preset!r}")
    return preset, PRESETS[preset]


def _path(index: int) -> str:
    return f"{index // 1000:03d}/{index:06d}.mp4"


def _make(task: tuple[int, FoleyConfig, str]) -> tuple[int, int, int, dict[str, str]]:
    """Render one file; return its index, size, checksum and ground truth."""
    index, config, folder = task
    picture, sound, truth = render(index, config)
    path = write_small(Path(folder) / _path(index), to_clip(picture, sound, config))
    content = path.read_bytes()
    return index, len(content), zlib.crc32(content), truth


def _record(index: int, config: FoleyConfig, size: int, checksum: int, truth: dict[str, str]) -> Record:
    extras = {**truth, "bytes": str(size), "crc32": f"{checksum:08x}"}
    name, scene, split = f"foley-{config.seed}-{index:06d}", scene_of(index, config), split_of(index, config)
    return Record(name, _path(index), scene, config.duration_s, split, extras)


def _known(folder: Path, config: FoleyConfig) -> tuple[Manifest | None, dict[int, tuple[int, int, dict[str, str]]]]:
    """What earlier calls finished: the manifest if it is whole, and of each clip size, checksum and ground truth.

    Damaged lines are ignored: their clips are rendered again.
    """
    found: dict[int, tuple[int, int, dict[str, str]]] = {}
    manifest, records = None, []
    try:
        manifest = Manifest.read(folder / "manifest.csv")
        records = manifest.records
    except (FileNotFoundError, ValueError):
        pass
    for i, record in enumerate(records[: config.clips]):
        try:
            truth = dict(record.extras)
            entry = int(truth.pop("bytes")), int(truth.pop("crc32"), 16), truth
        except (KeyError, ValueError):
            continue
        if record == _record(i, config, *entry):
            found[i] = entry
    whole = len(found) == len(records) == config.clips
    for index, *entry in entries(folder / JOURNAL):
        found[index] = tuple(entry)
    return manifest if whole else None, {i: entry for i, entry in found.items() if i < config.clips}


def _intact(path: Path, size: int, checksum: int) -> bool:
    return path.is_file() and path.stat().st_size == size and zlib.crc32(path.read_bytes()) == checksum


def _require_disk(folder: Path, clips: int, config: FoleyConfig) -> None:
    share = (config.size / 128) ** 2 * config.fps / 16 * config.duration_s / 4
    need, free = int(clips * BYTES_PER_CLIP * max(share, 0.3)) + SPARE_BYTES, shutil.disk_usage(folder).free
    if free < need:
        raise OSError(
            f"{folder}: {clips} clips need about {need / 1e6:,.0f} MB of disk space, {free / 1e6:,.0f} MB are free. "
            "Free some space, or set AVID_LAB_DATA to a folder on another disk."
        )

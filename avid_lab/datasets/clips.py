"""`ClipDataset`: windows of picture and sound as tensors, one at a time or in batches."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from avid_lab.config import AudioSpec, VideoSpec
from avid_lab.datasets.cache import DecodedCache, open_cache, side_for
from avid_lab.datasets.manifest import Manifest, Streams
from avid_lab.datasets.parallel import usable_cores
from avid_lab.media import MediaError, read_clip
from avid_lab.media.planes import read_planes

_VIDEO, _AUDIO = VideoSpec(), AudioSpec()


class ClipDataset(Dataset[dict[str, Any]]):
    """Clips of a manifest as tensors.

    Frames are squares of ``ceil(1.15 * video.size)`` pixels, the room that random crops need; `InputPipeline` cuts them
    to ``video.size``. With the cache, every file is decoded once (its first ``max_duration_s`` seconds) into
    memory-mapped files below ``data_dir()``, shared by all selections; without it, every access decodes. Windows lie
    where a file has both picture and sound; what is shorter than a window is padded.

    Args:
        manifest: The clips.
        video: Frames of a window; its ``size`` may be None only without the cache.
        audio: Sound of a window.
        streams: "audio" or "video" reads only that of each file, for sets that lack the other: batches then hold no
            "video" or no "audio" at all, rather than black pictures or silence that could pass for data.
        cache: Decode everything once, or on the fly.
        planes: On the fly, gives pictures as the decoder has them, for `InputPipeline` to augment in one step. From
            files of 320x240 pixels that is over half as fast again (README, "How fast"). Batches hold ``luma`` uint8
            (B, T, H, W), ``chroma`` uint8 (B, 2, T, H / 2, W / 2) and ``to_rgb`` (B, 3, 4) instead of ``video``.
            Frames keep the size of their files, which must be one; crops are drawn from all of it.
            `PlaneAugmentation` says how hue differs.
        progress: Shows a progress bar while decoding.
        workers: Processes that decode for the cache, threads without it; None chooses, 0 decodes in this one. In a
            worker process of a `torch.utils.data.DataLoader` there are no more threads.
        on_error: What an unusable file does: "raise" names it; "skip" leaves it out, lists it in ``skipped``, warns.
        max_duration_s: Seconds of each file that are used, from its beginning.

    Raises:
        MediaError: A file is unusable (with ``on_error="raise"``).
        ValueError: An empty manifest, or settings that contradict each other.
        OSError: Too little disk for the cache.
    """

    def __init__(
        self,
        manifest: Manifest,
        *,
        video: VideoSpec = _VIDEO,
        audio: AudioSpec = _AUDIO,
        streams: Streams = "both",
        cache: bool = True,
        planes: bool = False,
        progress: bool = True,
        workers: int | None = None,
        on_error: Literal["raise", "skip"] = "raise",
        max_duration_s: float = 10.0,
    ) -> None:
        if len(manifest) == 0:
            raise ValueError(f"the manifest of {manifest.root} lists no clips")
        if on_error not in ("raise", "skip"):
            raise ValueError(f"on_error must be 'raise' or 'skip'; got {on_error!r}")
        if streams not in ("both", "video", "audio"):
            raise ValueError(f"streams must be 'both', 'video' or 'audio'; got {streams!r}")
        if cache and video.size is None:
            raise ValueError("the cache needs frames of one size: give VideoSpec a size, or pass cache=False")
        if planes and (cache or streams == "audio"):
            raise ValueError("planes=True needs cache=False, and pictures: planes are read from the files each time")
        if on_error == "skip" and not cache:
            raise ValueError("on_error='skip' needs cache=True: only then are all files tried before the first is used")
        if not max_duration_s > 0:
            raise ValueError(f"max_duration_s must be > 0 seconds; got {max_duration_s!r}")
        self.manifest, self.video, self.audio, self.streams = manifest, video, audio, streams
        self.planes, self._workers = planes, usable_cores() if workers is None else workers
        self.skipped: tuple[tuple[str, str], ...] = ()
        self._read_as = video if video.size is None else replace(video, size=side_for(video.size))
        self._cache: DecodedCache | None = None
        self._rows = np.arange(len(manifest))  # where clip i is in the cache
        self._usable_s = np.array([min(record.duration_s, max_duration_s) for record in manifest.records])
        if cache:
            side = self._read_as.size
            assert side is not None
            self._cache = open_cache(
                manifest,
                video,
                audio,
                streams=streams,
                side=side,
                max_duration_s=max_duration_s,
                workers=workers,
                progress=progress,
            )
            self._usable_s = self._cache.usable_s
            self._handle(self._cache.failed, on_error)

    def _handle(self, failed: dict[int, str], on_error: str) -> None:
        if not failed:
            return
        first, problem = next(iter(sorted(failed.items())))
        if on_error == "raise" or len(failed) == len(self.manifest):
            others = f" ({len(failed)} files of {len(self.manifest)} are unusable.)" if len(failed) > 1 else ""
            fix = f'Take it out of the manifest, or pass on_error="skip".{others}'
            raise MediaError(self.manifest.path(first), problem.rstrip("."), fix)
        self.skipped = tuple((self.manifest.records[i].path, problem) for i, problem in sorted(failed.items()))
        warnings.warn(
            f"{len(failed)} of {len(self.manifest)} files are unusable and left out, "
            f"the first {self.skipped[0][0]}: {problem}",
            stacklevel=3,
        )
        kept = [i for i in range(len(self.manifest)) if i not in failed]
        self._take(kept)

    def _take(self, indices: list[int]) -> None:
        self.manifest = self.manifest.subset(indices)
        self._rows, self._usable_s = self._rows[indices], self._usable_s[indices]

    def __len__(self) -> int:
        return len(self.manifest)

    def __repr__(self) -> str:
        kind = "decoded on the fly" if self._cache is None else f"cached in {self._cache.folder}"
        video, audio = self.video, self.audio
        return (
            f"ClipDataset({len(self)} clips of {len(self.classes)} classes: "
            f"{video.frames} frames at {video.fps:g} fps, {audio.duration_s:g} s of sound at {audio.rate} Hz, {kind})"
        )

    @property
    def labels(self) -> Int64[Tensor, "N"]:
        """Class number of each clip."""
        return self.manifest.labels

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, by number."""
        return self.manifest.classes

    def path(self, index: int) -> Path:
        """The file of clip ``index``."""
        return self.manifest.path(index)

    def select(self, *, split: str) -> ClipDataset:
        """The clips of one split, numbered from 0 on; the cache is shared.

        Raises:
            ValueError: No such split.
        """
        self.manifest.select(split=split)  # raises for an unknown split
        return self.subset([i for i, record in enumerate(self.manifest.records) if record.split == split])

    def subset(self, indices: Iterable[int] | Tensor) -> ClipDataset:
        """The clips at these places, numbered from 0 on in this order; the cache is shared.

        Raises:
            IndexError: A place outside the dataset.
        """
        chosen = [int(i) for i in indices]
        self._check(chosen)
        result = ClipDataset.__new__(ClipDataset)
        result.__dict__.update(self.__dict__)
        result._take(chosen)
        return result

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Clip ``index``, its centre window: video uint8 (3, T, H, W), audio float32 (1, samples), index, label."""
        index = int(index) + (len(self) if index < 0 else 0)
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[dict[str, Any]]:
        """Several clips at once, as `torch.utils.data.DataLoader` asks for them."""
        batch = self.batch(torch.as_tensor(indices, dtype=torch.int64))
        label, index = batch["label"].tolist(), batch["index"].tolist()
        tensors = [name for name in batch if name not in ("index", "label")]
        return [
            {**{name: batch[name][i] for name in tensors}, "index": index[i], "label": label[i]}
            for i in range(len(indices))
        ]

    def batch(self, index: Int64[Tensor, "B"], generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """One window of each clip: video uint8 (B, 3, T, H, W), audio float32 (B, 1, samples), index and label (B,).

        Args:
            index: Clips.
            generator: None takes the centre window. Else a random one: the sound starts anywhere, the picture lies
                inside the sound's window or reaches out of it by at most half its own length.

        Raises:
            IndexError: An index outside the dataset.
            MediaError: Without the cache, a file is unusable.
        """
        index = index.cpu()
        video_s, audio_s = self.video.duration_s, self.audio.duration_s
        usable_s = self._usable(index)
        video_room_s, audio_room_s = np.maximum(usable_s - video_s, 0), np.maximum(usable_s - audio_s, 0)
        if generator is None:
            return self._gather(index, video_room_s / 2, audio_room_s / 2)
        draw = (
            torch.rand(len(index), 2, generator=generator, dtype=torch.float64, device=generator.device).cpu().numpy()
        )
        audio_start_s = draw[:, 0] * audio_room_s
        video_start_s = audio_start_s - video_s / 2 + draw[:, 1] * audio_s
        if self.streams == "video":
            video_start_s = draw[:, 1] * video_room_s
        return self._gather(index, np.clip(video_start_s, 0, video_room_s), audio_start_s)

    def windows(self, index: Int64[Tensor, "B"], count: int) -> dict[str, Tensor]:
        """``count`` evenly spaced windows of each clip, first to last, all of clip 0 before those of clip 1.

        As `batch`, with a leading dimension of B * count and ``index``, ``label`` repeated. One window is the centre.

        Raises:
            ValueError: ``count`` < 1.
            IndexError: An index outside the dataset.
        """
        if count < 1:
            raise ValueError(f"count must be >= 1 window per clip; got {count}")
        place = np.tile(np.linspace(0, 1, count) if count > 1 else np.array([0.5]), len(index))
        index = index.cpu().repeat_interleave(count)
        usable_s = self._usable(index)
        video_room_s = np.maximum(usable_s - self.video.duration_s, 0)
        return self._gather(index, place * video_room_s, place * np.maximum(usable_s - self.audio.duration_s, 0))

    def _usable(self, index: Tensor) -> np.ndarray:
        rows = index.tolist()
        self._check(rows)
        return self._usable_s[rows]

    def _check(self, indices: list[int]) -> None:
        outside = [i for i in indices if not 0 <= i < len(self)]
        if outside:
            raise IndexError(f"clip {outside[0]} is outside this dataset of {len(self)} clips, 0 to {len(self) - 1}")

    def _gather(self, index: Tensor, video_start_s: np.ndarray, audio_start_s: np.ndarray) -> dict[str, Tensor]:
        # On the cache's grid of frames and samples, with or without the cache.
        first_frame = np.floor(video_start_s * self.video.fps + 1e-6).astype(np.int64)
        first_sample = np.floor(audio_start_s * self.audio.rate + 1e-6).astype(np.int64)
        if self._cache is None:
            batch = self._from_files(index.tolist(), first_frame, first_sample)
        else:
            batch, rows = {}, self._rows[index.numpy()]
            if self.streams != "audio":
                frames = torch.from_numpy(self._cache.frames(rows, first_frame, self.video.frames))
                batch["video"] = frames.permute(0, 4, 1, 2, 3)  # (B, 3, T, H, W), channels last in memory
            if self.streams != "video":
                samples = self._cache.samples(rows, first_sample, self.audio.samples)
                batch["audio"] = torch.from_numpy(samples).unsqueeze(1)
        return {**batch, "index": index, "label": self.labels[index]}

    def _from_files(self, index: list[int], first_frame: np.ndarray, first_sample: np.ndarray) -> dict[str, Tensor]:
        def read(place: int) -> dict[str, Tensor]:
            path, start_s = self.path(index[place]), float(first_frame[place] / self.video.fps)
            audio_start_s = float(first_sample[place] / self.audio.rate)
            audio = None if self.streams == "video" else self.audio
            if self.planes:
                clip = read_planes(path, start_s, self.video, audio, audio_start_s=audio_start_s)
                found = {"luma": clip.luma, "chroma": clip.chroma, "to_rgb": clip.to_rgb, "audio": clip.audio}
            else:
                video = None if self.streams == "audio" else self._read_as
                clip = read_clip(path, start_s, video, audio, audio_start_s=audio_start_s)
                found = {"video": clip.video, "audio": clip.audio}
            return {name: tensor for name, tensor in found.items() if tensor is not None}

        threads = 1 if get_worker_info() else min(self._workers, len(index))
        if threads > 1:  # FFmpeg decodes without Python's lock
            with ThreadPoolExecutor(threads) as pool:
                clips = list(pool.map(read, range(len(index))))
        else:
            clips = [read(place) for place in range(len(index))]
        for name in ("video", "luma"):
            if len({clip[name].shape for clip in clips if name in clip}) > 1:
                fix = "take them one by one" if self.planes else "give VideoSpec a size, or take them one by one"
                raise ValueError(f"these clips differ in size: {fix}, or prepare copies of one size")
        return {name: torch.stack([clip[name] for clip in clips]) for name in (clips[0] if clips else ())}

"""`ClipDataset`: windows of picture and sound as tensors, one at a time or in batches."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from avid_lab.config import AudioSpec, VideoSpec, side_for
from avid_lab.datasets.cache import DecodedCache, open_cache
from avid_lab.datasets.manifest import Manifest, Streams
from avid_lab.datasets.parallel import usable_cores
from avid_lab.datasets.windows import Place, Places, cut, found_spans, listed_spans
from avid_lab.media import MediaError, read_clip
from avid_lab.media.planes import read_planes
from avid_lab.spans import Spans

_VIDEO, _AUDIO = VideoSpec(), AudioSpec()
Result = TypeVar("Result")


class ClipDataset(Dataset[dict[str, Any]]):
    """Clips of a manifest as tensors.

    Frames are squares a seventh larger than ``video.size`` (`side_for`), which leaves room for random crops;
    `InputPipeline` crops them to ``video.size``. With the cache, every file is decoded once (the first
    ``max_duration_s`` seconds of its spans) into memory-mapped files below ``data_dir()``, shared by all selections;
    without it, every access decodes. Windows are inside the spans that have both picture and sound: those in the
    manifest's column ``both_s``, otherwise those that `media.probe` finds. A span shorter than a window is padded.

    Args:
        manifest: The clips.
        video: Frames of a window; ``size`` may be None only without the cache.
        audio: Sound of a window.
        streams: "audio" or "video" reads only that stream, for datasets without the other. Batches then have no
            "video" or no "audio" entry, instead of black pictures or silence that could be mistaken for data.
        cache: Decode everything once (True) or on every access (False).
        planes: Without the cache, returns pictures as the decoder stores them, for `InputPipeline` to augment in one
            step. From files of 320x240 pixels this is over 50 % faster (README, "How fast"). Batches hold ``luma``
            uint8 (B, T, H, W), ``chroma`` uint8 (B, 2, T, H / 2, W / 2) and ``to_rgb`` (B, 3, 4) instead of ``video``.
            Frames keep the size of their files, which must all be equal; crops are drawn from the whole frame.
            `PlaneAugmentation` explains how hue differs.
        progress: Show a progress bar while decoding.
        workers: Decoding processes for the cache, threads without it; None chooses, 0 decodes in this process. A worker
            process of a `torch.utils.data.DataLoader` uses no further threads.
        on_error: For unusable files: "raise" raises an error; "skip" leaves them out, lists them in ``skipped`` and
            warns.
        max_duration_s: Use only this many seconds of each file, from the first that have picture and sound.

    Raises:
        MediaError: A file is unusable (with ``on_error="raise"``).
        ValueError: The manifest is empty, its spans are invalid, or settings contradict each other.
        OSError: Too little disk space for the cache.
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
        self.manifest, self.video, self.audio = manifest, video, audio
        self.streams: Streams = streams
        self.planes, self._workers = planes, usable_cores() if workers is None else workers
        self.skipped: tuple[tuple[str, str], ...] = ()
        self._read_as = video if video.size is None else replace(video, size=side_for(video.size))
        self._cache: DecodedCache | None = None
        self._rows = np.arange(len(manifest))  # where clip i is in the cache
        self._seconds = [min(record.duration_s, max_duration_s) for record in manifest.records]
        self._known: dict[int, Places] = {}
        # The spans with all wanted streams; without the cache, None until a clip is probed.
        self._spans: list[Spans | None] = [self._listed(i) for i in range(len(manifest))]
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
            self._spans = [tuple((row[0], row[0] + row[1]) for row in rows.tolist()) for rows in self._cache.spans]
            self._handle(self._cache.failed, on_error)

    def _handle(self, failed: dict[int, str], on_error: str) -> None:
        if not failed:
            return
        first, problem = next(iter(sorted(failed.items())))
        if on_error == "raise" or len(failed) == len(self.manifest):
            others = f" ({len(failed)} files of {len(self.manifest)} are unusable.)" if len(failed) > 1 else ""
            fix = f'Remove it from the manifest, or pass on_error="skip".{others}'
            raise MediaError(self.manifest.path(first), problem.rstrip("."), fix)
        self.skipped = tuple((self.manifest.records[i].path, problem) for i, problem in sorted(failed.items()))
        warnings.warn(
            f"{len(failed)} of {len(self.manifest)} files are unusable and left out. "
            f"The first is {self.skipped[0][0]}: {problem}",
            stacklevel=3,
        )
        kept = [i for i in range(len(self.manifest)) if i not in failed]
        self._take(kept)

    def _take(self, indices: list[int]) -> None:
        self.manifest = self.manifest.subset(indices)
        self._rows, self._known = self._rows[indices], {}
        self._seconds, self._spans = [self._seconds[i] for i in indices], [self._spans[i] for i in indices]

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

    @property
    def has_classes(self) -> bool:
        """Whether there are at least two classes: `Manifest.has_classes`."""
        return self.manifest.has_classes

    def name(self, index: int) -> str:
        """A readable name of clip ``index``: its class, or its file's name if the clips have no classes."""
        record = self.manifest.records[index]
        return record.label.replace("_", " ") if self.has_classes else Path(record.path).stem

    def path(self, index: int) -> Path:
        """The file of clip ``index``."""
        return self.manifest.path(index)

    def select(self, *, split: str) -> ClipDataset:
        """The clips of one split, numbered from 0; the cache is shared.

        Raises:
            ValueError: There is no such split.
        """
        self.manifest.select(split=split)  # raises for an unknown split
        return self.subset([i for i, record in enumerate(self.manifest.records) if record.split == split])

    def subset(self, indices: Iterable[int] | Tensor) -> ClipDataset:
        """The clips at these indices, renumbered from 0 in this order; the cache is shared.

        Raises:
            IndexError: An index is outside the dataset.
        """
        chosen = [int(i) for i in indices]
        self._check(chosen)
        result = ClipDataset.__new__(ClipDataset)
        result.__dict__.update(self.__dict__)
        result._take(chosen)
        return result

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The centre window of clip ``index``: video uint8 (3, T, H, W), audio float32 (1, samples), index, label."""
        index = int(index) + (len(self) if index < 0 else 0)
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[dict[str, Any]]:
        """Several clips at once; `torch.utils.data.DataLoader` calls this."""
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
            generator: None takes the centre window. A generator draws a random one: the sound starts anywhere; the
                picture is inside the sound's window or extends beyond it by at most half its own length.

        Raises:
            IndexError: An index is outside the dataset.
            MediaError: A file is unusable (without the cache).
        """
        index = index.cpu()
        places = self._places(index)
        if generator is None:
            return self._gather(index, [clip.at(0.5) for clip in places])
        draw = torch.rand(len(index), 2, generator=generator, dtype=torch.float64, device=generator.device).tolist()
        return self._gather(index, [clip.near(*drawn) for clip, drawn in zip(places, draw, strict=True)])

    def windows(self, index: Int64[Tensor, "B"], count: int) -> dict[str, Tensor]:
        """``count`` evenly spaced windows of each clip, first to last, all of clip 0 before those of clip 1.

        As `batch`, with a leading dimension of B * count and ``index``, ``label`` repeated. A single window is the
        centre one.

        Raises:
            ValueError: ``count`` < 1.
            IndexError: An index is outside the dataset.
        """
        if count < 1:
            raise ValueError(f"count must be >= 1 window per clip; got {count}")
        places = np.linspace(0, 1, count).tolist() if count > 1 else [0.5]
        found = [clip.at(place) for clip in self._places(index.cpu()) for place in places]
        return self._gather(index.cpu().repeat_interleave(count), found)

    def window_s(self, index: int, count: int = 1) -> tuple[float, float]:
        """The times, in the file of clip ``index``, of picture and sound of each window that `windows` returns.

        Raises:
            ValueError: ``count`` < 1.
            IndexError: An index is outside the dataset.
            MediaError: The file is unusable (without the cache).
        """
        if count < 1:
            raise ValueError(f"count must be >= 1 window per clip; got {count}")
        places, ends, wanted = self._places(torch.tensor([index]))[0], [], self.streams
        spans = self._spans[index]
        assert spans is not None
        for place in (places.at(0.0), places.at(1.0)) if count > 1 else (places.at(0.5),):
            span_s = spans[place.span][0]
            ends += [(span_s + place.video_s, self.video.duration_s)] * (wanted != "audio")
            ends += [(span_s + place.audio_s, self.audio.duration_s)] * (wanted != "video")
        return min(begin_s for begin_s, _ in ends), max(begin_s + length_s for begin_s, length_s in ends)

    def _listed(self, index: int) -> Spans | None:
        spans = listed_spans(self.manifest.records[index]) if self.streams == "both" else None
        return spans and cut(spans, self._seconds[index])

    def _places(self, index: Tensor) -> list[Places]:
        """Where windows of these clips may lie."""
        rows = index.tolist()
        self._check(rows)
        unknown = list({i for i in rows if self._spans[i] is None})
        found = self._side_by_side(lambda i: found_spans(self.path(i), self.streams), unknown)
        for i, spans in zip(unknown, found, strict=True):
            self._spans[i] = cut(spans, self._seconds[i])
        video_s, audio_s = self.video.duration_s * (self.streams != "audio"), self.audio.duration_s
        audio_s *= self.streams != "video"
        for i in {*rows} - self._known.keys():
            self._known[i] = Places([end_s - begin_s for begin_s, end_s in self._spans[i] or ()], video_s, audio_s)
        return [self._known[i] for i in rows]

    def _side_by_side(self, work: Callable[[int], Result], items: Sequence[int]) -> list[Result]:
        """Work on each item in threads: FFmpeg releases Python's lock while it decodes."""
        threads = 1 if get_worker_info() else min(self._workers, len(items))
        if threads < 2:
            return [work(item) for item in items]
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(work, items))

    def _check(self, indices: list[int]) -> None:
        outside = [i for i in indices if not 0 <= i < len(self)]
        if outside:
            raise IndexError(f"clip {outside[0]} is outside this dataset of {len(self)} clips, 0 to {len(self) - 1}")

    def _gather(self, index: Tensor, places: list[Place]) -> dict[str, Tensor]:
        # On the cache's grid of frames and samples, with or without the cache.
        spans = np.array([place.span for place in places], np.int64)
        first_frame = np.array([int(place.video_s * self.video.fps + 1e-6) for place in places], np.int64)
        first_sample = np.array([int(place.audio_s * self.audio.rate + 1e-6) for place in places], np.int64)
        if self._cache is None:
            batch = self._from_files(index.tolist(), spans, first_frame, first_sample)
        else:
            batch, rows = {}, self._rows[index.numpy()]
            if self.streams != "audio":
                frames = torch.from_numpy(self._cache.frames(rows, spans, first_frame, self.video.frames))
                batch["video"] = frames.permute(0, 4, 1, 2, 3)  # (B, 3, T, H, W), channels last in memory
            if self.streams != "video":
                samples = self._cache.samples(rows, spans, first_sample, self.audio.samples)
                batch["audio"] = torch.from_numpy(samples).unsqueeze(1)
        return {**batch, "index": index, "label": self.labels[index]}

    def _from_files(
        self, index: list[int], spans: np.ndarray, first_frame: np.ndarray, first_sample: np.ndarray
    ) -> dict[str, Tensor]:
        def read(place: int) -> dict[str, Tensor]:
            clip_spans = self._spans[index[place]]
            assert clip_spans is not None
            path, begin_s = self.path(index[place]), clip_spans[spans[place]][0]
            start_s = float(begin_s + first_frame[place] / self.video.fps)
            audio_start_s = float(begin_s + first_sample[place] / self.audio.rate)
            audio = None if self.streams == "video" else self.audio
            if self.planes:
                clip = read_planes(path, start_s, self.video, audio, audio_start_s=audio_start_s)
                found = {"luma": clip.luma, "chroma": clip.chroma, "to_rgb": clip.to_rgb, "audio": clip.audio}
            else:
                video = None if self.streams == "audio" else self._read_as
                clip = read_clip(path, start_s, video, audio, audio_start_s=audio_start_s)
                found = {"video": clip.video, "audio": clip.audio}
            return {name: tensor for name, tensor in found.items() if tensor is not None}

        clips = self._side_by_side(read, range(len(index)))
        for name in ("video", "luma"):
            if len({clip[name].shape for clip in clips if name in clip}) > 1:
                fix = "take them one by one" if self.planes else "give VideoSpec a size, or take them one by one"
                raise ValueError(f"these clips differ in size: {fix}, or prepare copies of one size")
        return {name: torch.stack([clip[name] for clip in clips]) for name in (clips[0] if clips else ())}

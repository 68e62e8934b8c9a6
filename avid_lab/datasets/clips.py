"""`ClipDataset`: windows of picture and sound as tensors, one at a time or in batches."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64
from torch import Tensor
from torch.utils.data import Dataset
from tqdm.auto import tqdm

from avid_lab.config import AudioSpec, VideoSpec, side_for
from avid_lab.datasets import loader
from avid_lab.datasets.cache import DecodedCache, open_cache, worth_keeping
from avid_lab.datasets.manifest import Manifest, Streams
from avid_lab.datasets.windows import EXACT, Place, Places, found_spans, listed_spans, read_window, usable
from avid_lab.media import MediaError
from avid_lab.spans import Spans

_VIDEO, _AUDIO = VideoSpec(), AudioSpec()
Wanted = Literal["video", "audio"] | None


class ClipDataset(Dataset[dict[str, Any]]):
    """Clips of a manifest as tensors.

    Frames are squares a seventh larger than ``video.size`` (`side_for`), which leaves room for random crops;
    `InputPipeline` crops them to ``video.size``. There are two ways to the same tensors, equal to the bit. With the
    cache, every file is decoded once (the first ``max_duration_s`` seconds of its spans) into memory-mapped files below
    ``data_dir()``, shared by all selections. Without it, windows are read from the files each time; `batches` and
    `Trainer` then read ahead in worker processes. Windows are inside the spans that have both picture and sound: those
    in the manifest's column ``both_s``, otherwise those that `media.probe` finds. A span shorter than a window is
    padded.

    Args:
        manifest: The clips.
        video: Frames of a window; ``size`` may be None only without the cache.
        audio: Sound of a window.
        streams: "audio" or "video" reads only that stream, for datasets without the other. Batches then have no
            "video" or no "audio" entry, instead of black pictures or silence that could be mistaken for data.
        cache: Decode everything once (True), read the files each time (False), or "auto": once if the decoded clips
            take at most 8 GB and half of the free disk. ``how`` says which, and why.
        progress: Show a progress bar while decoding.
        workers: Processes that decode: the cache, or windows ahead of training. None chooses, 0: this process only.
        on_error: For unusable files: "raise" raises an error; "skip" goes on without them. The cache leaves them out,
            lists them in ``skipped`` and warns. Without it, the next usable clip takes the place of such a clip in
            random batches, with a warning; ``failures`` lists them. `windows` of certain clips always raises; see
            `readable`.
        max_duration_s: Use only this many seconds of each file, from the first that have picture and sound.

    Attributes:
        how: Whether clips are decoded once or read each time, and why.
        failures: The problem of each file that failed while it was read, by path; shared by all selections.

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
        cache: bool | Literal["auto"] = "auto",
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
        if cache not in (True, False, "auto"):
            raise ValueError(f"cache must be True, False or 'auto'; got {cache!r}")
        if cache is True and video.size is None:
            raise ValueError("the cache needs frames of one size: give VideoSpec a size, or pass cache=False")
        if not max_duration_s > 0:
            raise ValueError(f"max_duration_s must be > 0 seconds; got {max_duration_s!r}")
        if workers is not None and workers < 0:
            raise ValueError(f"workers must be >= 0 processes, or None; got {workers}")
        self.manifest, self.video, self.audio = manifest, video, audio
        self.streams: Streams = streams
        self.on_error = on_error
        self.workers = loader.default_workers() if workers is None else workers
        self.pool = loader.pool(self.workers)  # shared by all selections
        self.skipped: tuple[tuple[str, str], ...] = ()
        self.failures: dict[str, str] = {}
        self._read_as = video if video.size is None else replace(video, size=side_for(video.size))
        self._cache: DecodedCache | None = None
        self._rows = np.arange(len(manifest))  # where clip i is in the cache
        self._seconds = [min(record.duration_s, max_duration_s) for record in manifest.records]
        self._known: dict[int, Places] = {}
        # The spans with all wanted streams; without the cache, None until a clip is probed.
        self._spans: list[Spans | None] = [self._listed(i) for i in range(len(manifest))]
        side = self._read_as.size
        if side is None:
            cache, self.how = False, "windows are read from the files each time"
        else:
            cache, self.how = worth_keeping(manifest, video, audio, streams, side, max_duration_s, cache)
        if cache:
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
        kind = "read from the files each time" if self._cache is None else f"cached in {self._cache.folder}"
        video, audio = self.video, self.audio
        return (
            f"ClipDataset({len(self)} clips of {len(self.classes)} classes: "
            f"{video.frames} frames at {video.fps:g} fps, {audio.duration_s:g} s of sound at {audio.rate} Hz, {kind})"
        )

    @property
    def decoded(self) -> bool:
        """Whether the clips are in the cache of decoded clips."""
        return self._cache is not None

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
        result = type(self).__new__(type(self))
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
        if generator is None:
            return self.at(index, 1)
        draw = torch.rand(len(index), 2, generator=generator, dtype=torch.float64, device=generator.device)
        return self.at(index, draw.cpu())

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
        return self.at(index, count)

    def batches(self, indices: Iterable[Tensor], count: int = 1, *, pin: bool = False) -> Iterator[dict[str, Tensor]]:
        """`windows` of each of these, in order; without the cache, worker processes read ahead.

        Args:
            indices: Clips of each batch, (B,).
            count: Windows of each clip.
            pin: Whether batches from files are in page-locked memory, from which a GPU copies in the background.

        Raises:
            IndexError: An index is outside the dataset.
            MediaError: A file is unusable (without the cache).
        """
        return loader.load(self, ((index, count) for index in indices), pin=pin)

    def sounds(self, index: Int64[Tensor, "B"]) -> Float32[Tensor, "B 1 samples"]:
        """The sound in the middle of each of these clips; with ``on_error="skip"``, of the next for unusable ones.

        Raises:
            IndexError: An index is outside the dataset.
            MediaError: A file is unusable (without the cache).
        """
        middle = (torch.full((len(part), 2), 0.5, dtype=torch.float64) for part in index.split(64))
        requests = zip(index.split(64), middle, strict=True)
        return torch.cat([batch["audio"] for batch in loader.load(self, requests, "audio")])

    def at(
        self, index: Int64[Tensor, "B"], where: Float64[Tensor, "B 2"] | int, wanted: Wanted = None
    ) -> dict[str, Tensor]:
        """Windows by their draws, two numbers in [0, 1] for each clip (see `batch`), or a number of windows."""
        index = index.cpu()
        self._check(index.tolist())
        if self._cache is not None:
            return self._gather(self._cache, index, where, wanted)
        batch = loader.Batch(self, index, where, wanted)
        for row in range(len(index)):
            batch.read(row)
        for notice in batch.notices:
            warnings.warn(notice, stacklevel=3)
        return batch.wait()

    def read(self, index: int, where: Float64[Tensor, "2"] | int, wanted: Wanted = None) -> dict[str, Tensor]:
        """The windows of one clip, from its file: each entry with a leading dimension of the number of windows.

        Raises:
            MediaError: The file is unusable.
        """
        streams, spans = wanted or self.streams, self.spans(index)
        video = None if streams == "audio" else self._read_as
        audio = None if streams == "video" else self.audio
        path = self.path(index)
        exact = self.manifest.records[index].extras.get(EXACT) == str(self.audio.rate)
        windows = [
            read_window(path, spans[place.span], place, video=video, audio=audio, exact=exact)
            for place in self._placed(index, where)
        ]
        # Stacked with their channels last, as they are in memory.
        return {
            name: torch.stack([window[name].movedim(0, -1) for window in windows]).movedim(-1, 1) for name in windows[0]
        }

    def spans(self, index: int) -> Spans:
        """The spans of clip ``index`` that have all wanted streams.

        Raises:
            MediaError: The file is unusable (without the cache).
        """
        spans = self._spans[index]
        if spans is None:
            self._spans[index] = spans = usable(found_spans(self.path(index), self.streams), self._seconds[index])
        return spans

    def note_spans(self, index: int, spans: Spans) -> None:
        """Keep the spans that a worker has found."""
        self._spans[index] = spans

    def readable(self, *, progress: bool = False) -> ClipDataset:
        """The clips that can be read, for an evaluation, in which no other clip may take a clip's place.

        With ``on_error="skip"`` and without the cache, the first and the last window of each clip are read to find out;
        a warning counts the clips that are left out. Otherwise all clips.

        Raises:
            MediaError: None can be read.
        """
        if self.decoded or self.on_error == "raise":
            return self
        index = torch.arange(len(self))
        ends = [(part, torch.full((len(part), 2), end).double()) for end in (0.0, 1.0) for part in index.split(64)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # nothing takes their place
            for _ in tqdm(loader.load(self, ends), "reading", total=len(ends), unit="batch", disable=not progress):
                pass
        result = self.subset(index)
        paths = (record.path for record in self.manifest.records)
        result._handle({i: self.failures[path] for i, path in enumerate(paths) if path in self.failures}, "skip")
        return result

    def instead(self, index: int, error: MediaError) -> int:
        """The clip that takes the place of one that failed.

        Raises:
            MediaError: None may.
        """
        if self.on_error == "raise":
            raise error
        self.failures[self.manifest.records[index].path] = error.problem
        other = self.stand_in(index)
        if other is None:
            raise error
        return other

    def stand_in(self, index: int) -> int | None:
        """The clip itself, or if it is known to fail, the next that is not."""
        order = itertools.chain(range(index, len(self)), range(index)) if self.failures else (index,)
        return next((i for i in order if self.manifest.records[i].path not in self.failures), None)

    def window_s(self, index: int, count: int = 1) -> tuple[float, float]:
        """The times, in the file of clip ``index``, of picture and sound of each window that `windows` returns.

        Raises:
            ValueError: ``count`` < 1.
            IndexError: An index is outside the dataset.
            MediaError: The file is unusable (without the cache).
        """
        if count < 1:
            raise ValueError(f"count must be >= 1 window per clip; got {count}")
        self._check([index])
        places, spans, ends, wanted = self._places(index), self.spans(index), [], self.streams
        for place in (places.at(0.0), places.at(1.0)) if count > 1 else (places.at(0.5),):
            span_s = spans[place.span][0]
            ends += [(span_s + place.video_s, self.video.duration_s)] * (wanted != "audio")
            ends += [(span_s + place.audio_s, self.audio.duration_s)] * (wanted != "video")
        return min(begin_s for begin_s, _ in ends), max(begin_s + length_s for begin_s, length_s in ends)

    def _listed(self, index: int) -> Spans | None:
        spans = listed_spans(self.manifest.records[index]) if self.streams == "both" else None
        return spans and usable(spans, self._seconds[index])

    def _places(self, index: int) -> Places:
        """Where windows of a clip may lie."""
        if index not in self._known:
            lengths_s = [end_s - begin_s for begin_s, end_s in self.spans(index)]
            video_s, audio_s = self.video.duration_s, self.audio.duration_s
            self._known[index] = Places(
                lengths_s, video_s * (self.streams != "audio"), audio_s * (self.streams != "video")
            )
        return self._known[index]

    def _placed(self, index: int, where: Tensor | int) -> list[Place]:
        places = self._places(index)
        if isinstance(where, Tensor):
            return [places.near(*where.tolist())]
        return [places.at(place) for place in (np.linspace(0, 1, where).tolist() if where > 1 else [0.5])]

    def _check(self, indices: list[int]) -> None:
        outside = [i for i in indices if not 0 <= i < len(self)]
        if outside:
            raise IndexError(f"clip {outside[0]} is outside this dataset of {len(self)} clips, 0 to {len(self) - 1}")

    def _gather(self, cache: DecodedCache, index: Tensor, where: Tensor | int, wanted: Wanted) -> dict[str, Tensor]:
        count = where if isinstance(where, int) else 1
        wheres = [where] * len(index) if isinstance(where, int) else list(where)
        places = [place for i, at in zip(index.tolist(), wheres, strict=True) for place in self._placed(i, at)]
        index = index.repeat_interleave(count)
        rows, streams = self._rows[index.numpy()], wanted or self.streams
        spans = np.array([place.span for place in places], np.int64)
        batch: dict[str, Tensor] = {}
        if streams != "audio":
            first = np.array([int(place.video_s * self.video.fps + 1e-6) for place in places], np.int64)
            frames = torch.from_numpy(cache.frames(rows, spans, first, self.video.frames))
            batch["video"] = frames.permute(0, 4, 1, 2, 3)  # (B, 3, T, H, W), channels last in memory
        if streams != "video":
            first = np.array([int(place.audio_s * self.audio.rate + 1e-6) for place in places], np.int64)
            batch["audio"] = torch.from_numpy(cache.samples(rows, spans, first, self.audio.samples)).unsqueeze(1)
        return {**batch, "index": index, "label": self.labels[index]}

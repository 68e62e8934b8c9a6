"""An open media file: its best streams, its clock, and its decoded frames from any moment on."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
import av.error
from av.stream import Disposition

from avid_lab.media.types import MediaError

Kind = Literal["video", "audio"]

LEADS_S = (0.0, 2.0, math.inf)  # how far before a moment decoding starts: further back until it was far enough
SKIPPABLE = ("h264", "hevc")  # decoders that can leave out frames which no other frame refers to ...
SKIP_MARGIN_S = 0.5  # ... which is done where they end this long before the moment wanted


@contextmanager
def open_source(path: str | os.PathLike[str]) -> Iterator[Source]:
    """Opens a file and turns whatever FFmpeg says about it into a `MediaError`."""
    path = Path(path)
    if not path.exists():
        raise MediaError(path, "no such file", "Check the path.")
    if not path.is_file():
        raise MediaError(path, "is a folder or a device, not a file", "Give the path of one video file.")
    if path.stat().st_size == 0:
        raise MediaError(path, "is empty (0 bytes)", "Download or copy it again.")
    source = None
    try:
        source = Source(path)
        yield source
    except (av.error.FFmpegError, PermissionError) as error:
        fix = "It is damaged, no media or not readable by you: get it again, or leave it out."
        raise MediaError(path, f"cannot be read as a video ({error.strerror})", fix) from error
    finally:
        if source is not None:
            source.close()


class Source:
    """See `open_source`.

    Attributes:
        video: PyAV's best picture stream, or None; a new object after each rewinding.
        audio: The best sound stream, or None.
        origin_s: The file's own timestamp, in seconds, of what is second 0 here.
        corrupt_packets: Damaged packets passed over so far.
        last_error: What FFmpeg said last, or "".
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.corrupt_packets = 0
        self.last_error = ""
        self._open()
        starts = [s.start_time * s.time_base for s in (self.video, self.audio) if s and s.start_time is not None]
        self.origin_s = float(min(starts, default=0))

    def _open(self) -> None:
        # An absolute path is never taken for a protocol or an option, whatever the file is called.
        self.container = av.open(str(self.path.absolute()), metadata_errors="replace")
        self.video, self.audio = self._best("video"), self._best("audio")
        self._untouched = True
        for stream in (self.video, self.audio):
            if stream and stream.codec_context:
                stream.codec_context.thread_count = 1  # whoever reads many files reads one on each core

    def _best(self, kind: Kind) -> Any:
        # The best stream is one with a decoder; where none has, the first is named in the error.
        stream = self.container.streams.best(kind) or next(iter(getattr(self.container.streams, kind)), None)
        return None if stream and stream.disposition & Disposition.attached_pic else stream  # cover art is no picture

    def close(self) -> None:
        """Closes the file."""
        self.container.close()

    def check(self, kind: Kind) -> None:
        """Raises `MediaError` where the file has no such stream or no decoder for it."""
        stream = getattr(self, kind)
        if stream is None:
            fix = f"Choose a file that has one, or read it without {kind}."
            raise MediaError(self.path, f"has no {kind} stream", fix)
        if stream.codec_context is None:
            problem = f"no decoder for its {kind} (FFmpeg {av.ffmpeg_version_info})"
            raise MediaError(self.path, problem, "Re-encode it as H.264 + AAC.")

    def nothing_decoded(self, kind: Kind) -> MediaError:
        """The error of a stream that gives no frame."""
        reason = f" ({self.last_error})" if self.last_error else ""
        fix = "It is damaged or empty: get it again, or leave it out."
        return MediaError(self.path, f"nothing of its {kind} can be decoded{reason}", fix)

    def begin_s(self, kind: Kind) -> float:
        """When a stream starts."""
        stream = getattr(self, kind)
        return float(stream.start_time * stream.time_base) - self.origin_s if stream.start_time is not None else 0.0

    def duration_s(self, kind: Kind) -> float:
        """How long a stream lasts; a scan of its packets where the header does not tell."""
        stream, begin_s = getattr(self, kind), self.begin_s(kind)
        if stream.duration is not None:
            return float(stream.duration * stream.time_base)
        if self.container.duration is not None:
            return max(0.0, self.container.duration / av.time_base - begin_s)
        end_s = begin_s
        self._rewind()
        self._untouched = False
        for packet in self.container.demux(getattr(self, kind)):
            if packet.pts is not None:
                end_s = max(end_s, float((packet.pts + (packet.duration or 0)) * packet.time_base) - self.origin_s)
        return end_s - begin_s

    def frames(self, kind: Kind, start_s: float) -> Iterator[tuple[float, Any]]:
        """Frames in order with the second each is shown at; the first is at or before ``start_s`` if any is."""
        first, frames = None, iter(())
        for lead_s in LEADS_S:
            self._seek(kind, start_s - lead_s)
            frames = self._decode(kind, start_s)
            first = next(frames, None)
            if first is None:
                continue
            complete = kind == "audio" or first[1].key_frame  # an index may lead to frames that need earlier ones
            if complete and first[0] <= max(start_s, self.begin_s(kind)) + 1e-3:
                break
        if first is not None:
            yield first
            yield from frames

    def frame_s(self, kind: Kind, frame: Any) -> float:
        """How long a frame lasts."""
        if kind == "audio":
            return frame.samples / frame.sample_rate
        if frame.duration:
            return frame.duration * float(frame.time_base)
        stream = getattr(self, kind)
        rate = stream.average_rate or stream.guessed_rate
        return float(1 / rate) if rate else 0.04

    def _seek(self, kind: Kind, start_s: float) -> None:
        if start_s > self.begin_s(kind):
            stream = getattr(self, kind)
            try:
                tick = math.floor(Fraction(start_s + self.origin_s) / stream.time_base)
                self.container.seek(min(tick, 2**62), stream=stream)
                self._untouched = False
                return
            except av.error.FFmpegError as error:  # a format that cannot seek is read from its beginning
                self.last_error = error.strerror
        self._rewind()

    def _rewind(self) -> None:
        if not self._untouched:  # a fresh container, because not every format can seek to its beginning
            self.container.close()
            self._open()

    def _decode(self, kind: Kind, wanted_s: float) -> Iterator[tuple[float, Any]]:
        stream = getattr(self, kind)
        self._untouched = False
        time_s, last = self.begin_s(kind), None
        packets, skips = self.container.demux(stream), stream.codec_context.name in SKIPPABLE
        tick_s = float(stream.time_base)
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    return
                if skips:
                    early = self._ends_early(packet, tick_s, wanted_s)
                    stream.codec_context.skip_frame = "NONREF" if early else "DEFAULT"
                frames = packet.decode()
            except av.error.EOFError:
                return
            except av.error.FFmpegError as error:  # as players do, go on after a damaged packet; the clip counts them
                self.corrupt_packets += 1
                self.last_error = error.strerror
                continue
            for frame in frames:
                if frame.pts is not None:
                    time_s = frame.time - self.origin_s
                elif last is not None:
                    time_s += self.frame_s(kind, last)
                last = frame
                yield time_s, frame

    def _ends_early(self, packet: Any, tick_s: float, wanted_s: float) -> bool:
        if packet.pts is None or not packet.duration:
            return False
        return packet.pts * tick_s - self.origin_s + max(SKIP_MARGIN_S, packet.duration * tick_s) <= wanted_s

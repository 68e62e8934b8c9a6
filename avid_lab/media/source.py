"""An open media file: its best streams, its clock, and its decoded frames from any moment on."""

from __future__ import annotations

import errno
import math
import os
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import av
import av.error
from av.stream import Disposition

from avid_lab.archives import Member, archive_of, find_member
from avid_lab.media.clock import GAP_S, KINDS, Clock, Kind, Parts, Track, make_clock
from avid_lab.media.transport import programmes
from avid_lab.media.types import MediaError

LEADS_S = (0.0, 2.0, math.inf)  # how far before a moment decoding starts: further back until it was far enough
SKIPPABLE = ("h264", "hevc")  # decoders that can leave out frames which no other frame refers to ...
REORDERED = 32  # ... once it is known how long each is shown, from at most this many packets after it
TICK_S = 1e-3  # the coarsest unit of common timestamps
SEEKS_BADLY = ("mpeg",)  # formats whose packets are timed otherwise after a seek than before
FIRST_PACKETS = 200  # packets in which a scan looks for the first frame
FIRST_S = 3600  # no stream begins this long before 0
MOST_FPS = 1000  # a higher average is no rate of frames
MAX_PIXELS = 8192 * 8192  # of a frame: a small file may claim more than memory holds

# Titles and the like may be in any encoding. PyAV 18 stops at such a text unless told otherwise; later versions do not.
LENIENT: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}

# Formats whose files refer to other files, which a user who opens a video does not expect to be read.
REFERRING = {"applehttp", "avisynth", "concat", "dash", "hls", "imf", "image2", "lavfi", "rtp", "rtsp", "sap", "sdp"}
REFERRING |= {"vapoursynth", "vobsub", "webm_dash_manifest"}
ALLOWED = ",".join(sorted(av.formats_available - REFERRING))
PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"<?xml", b"<MPD", b"v=0")  # how such files begin

_clocks: dict[tuple[str, int, int], Clock] = {}  # of files already scanned, by path, size and time of change
MAX_CLOCKS = 50_000


@contextmanager
def open_source(path: str | os.PathLike[str]) -> Iterator[Source]:
    """Open a file, and convert every error in it to a `MediaError`."""
    path, member = Path(path), None
    if not path.exists():
        member = _member(path)
    elif not path.is_file():
        raise MediaError(path, "is a folder or a device, not a file", "Give the path of one video file.")
    if (path.stat().st_size if member is None else member.size) == 0:
        raise MediaError(path, "is empty (0 bytes)", "Download or copy it again.")
    source = None
    try:
        source = Source(path, member)
        yield source
    except MediaError:
        raise
    except BAD_MEDIA as error:
        if isinstance(error, OSError) and error.errno == errno.EINVAL and _refers(path):
            fix = "Give the videos themselves: files that another file refers to are never read."
            raise MediaError(path, "is a list of other files, not a video", fix) from error
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        fix = "It is damaged, not a media file, or you may not read it. Download or copy it again, or leave it out."
        raise MediaError(path, f"cannot be read as a video ({reason})", fix) from error
    finally:
        if source is not None:
            source.close()


# Raised by PyAV for inconsistent files: an undeclared stream, a rate of zero, a side too long.
BAD_MEDIA = (av.error.FFmpegError, OSError, IndexError, ArithmeticError, ValueError, MemoryError, NotImplementedError)


def _member(path: Path) -> Member:
    """The file inside an archive that a path names."""
    try:
        member = find_member(path)
    except OSError as error:
        raise MediaError(path, str(error), "Download or copy the archive again.") from error
    if member is None:
        archive = archive_of(path)
        missing = "no such file" if archive is None or not archive.exists() else f"{archive.name} has no such file"
        raise MediaError(path, missing, "Check the path.")
    return member


def _refers(path: Path) -> bool:
    if not path.is_file():  # a file inside an archive
        return False
    with path.open("rb") as file:
        return file.read(64).lstrip(b"\xef\xbb\xbf \r\n\t").startswith(PLAYLISTS)


class Source:
    """See `open_source`.

    Attributes:
        video: PyAV's best picture stream, or None; a new object after each rewinding.
        audio: The best sound stream of the same programme, or None.
        programmes: Programmes in the file.
        clock: Converts the file's timestamps to seconds.
        first_frame: The first frame of the picture, once `scan` was called.
        corrupt_packets: Damaged packets passed over so far.
        last_error: What FFmpeg said last, or "".
    """

    def __init__(self, path: Path, member: Member | None = None) -> None:
        self.path, self._member = path, member
        self.corrupt_packets = 0
        self.last_error = ""
        self.first_frame: Any = None
        self.video: Any = None
        self.audio: Any = None
        self._scanned = False
        self._late: int | None = None
        self._programmes: dict[int, frozenset[int]] | None = None
        self._open()
        stat = (path if member is None else member.archive).stat()
        self._key = str(path.absolute()), stat.st_size, stat.st_mtime_ns
        self.clock = _clocks.get(self._key) or Clock(self._header_origin_s())
        if self._key not in _clocks and not self._steady():
            self.scan()

    def _open(self) -> None:
        # An absolute path cannot be mistaken for a protocol or an option.
        url, protocols, member = str(self.path.absolute()), "file", self._member
        if member is not None:
            end = member.begin + member.size
            url, protocols = f"subfile,,start,{member.begin},end,{end},,:{member.archive.absolute()}", "file,subfile"
        options = {"protocol_whitelist": protocols, "format_whitelist": ALLOWED, "max_pixels": str(MAX_PIXELS)}
        self.container = av.open(url, options=options, **LENIENT)
        self._choose()
        self._untouched = True
        for stream in (self.video, self.audio):
            if stream and stream.codec_context:
                stream.codec_context.thread_count = 1  # one thread per file; callers parallelise over files
        if self.video and self.video.codec_context:
            self.video.codec_context.options = {"max_pixels": str(MAX_PIXELS)}

    def _choose(self) -> None:
        """Takes the best picture, and the best sound of the same programme."""
        several = len(self.container.streams.video) > 1 or len(self.container.streams.audio) > 1
        if self._programmes is None:
            transport = self.container.format.name == "mpegts"
            self._programmes = programmes(self.path) if transport and self._member is None else {}
        self.video, self.audio = self._best("video"), self._best("audio")
        if not several or len(self._programmes) < 2 or self.video is None or self.audio is None:
            return
        of = [
            tuple([s for s in getattr(self.container.streams, kind) if s.id in ids] for kind in KINDS)
            for ids in self._programmes.values()
        ]
        whole = [streams for streams in of if all(streams)]
        ours = [streams for streams in whole if self.video in streams[0]] or whole
        if not ours:
            self.audio = None if any(self.video in videos for videos, _ in of) else self.audio
        elif self.video not in ours[0][0]:
            self.video, self.audio = ours[0][0][0], ours[0][1][0]
        elif self.audio not in ours[0][1]:
            self.audio = self.container.streams.best("audio", related=self.video)

    @property
    def programmes(self) -> int:
        """Programmes in the file."""
        return max(1, len(self._programmes or ()))

    @property
    def origin_s(self) -> float:
        """The file's own timestamp of second 0, in seconds."""
        return self.clock.origin_s

    def _header_origin_s(self) -> float:
        starts_s = [self._start_s(kind) for kind in KINDS if getattr(self, kind) is not None]
        return min((start_s for start_s in starts_s if start_s is not None), default=0.0)

    def _lateness(self) -> int:
        """Delay of frames after their packets, in ticks."""
        if self._late is not None:
            return self._late
        self._rewind()
        self._untouched, late, first = False, 0, None
        for packet in self._demux(self.video):
            first = packet.dts if first is None else first
            if frames := self._frames_of(packet):
                late = (frames[0].dts or 0) - (first or 0)
                break
        self._late = late
        return late

    @property
    def _in_order(self) -> bool:
        """Whether the file times its packets in the order of decoding only, and says nothing of that of showing."""
        return self.container.format.name == "avi"

    def _steady(self) -> bool:
        """Whether the timestamps cannot restart, because they are made from one index; then no scan is needed."""
        name = self.container.format.name
        if name.startswith("mov,"):
            return all(stream.frames > 0 for stream in (self.video, self.audio) if stream)  # else it is in fragments
        return name in ("avi", "wav")

    def scan(self) -> None:
        """Read all packets to find the spans of picture and sound, and decode the first frame."""
        if self._scanned or not (self.video or self.audio):
            return
        self._scanned = True
        streams: dict[int, Kind] = {s.index: kind for kind in KINDS if (s := getattr(self, kind)) is not None}
        tracks: dict[Kind, Track] = {kind: Track() for kind in streams.values()}
        parts = Parts()
        self._rewind()
        self._untouched = False
        waiting = FIRST_PACKETS if self.video is not None and self.video.codec_context else 0
        ticks_s = {kind: float(getattr(self, kind).time_base or 0) for kind in tracks}
        seen_key = False
        for packet in self._demux(*(getattr(self, kind) for kind in tracks)):
            kind = streams[packet.stream.index]
            if waiting and kind == "video":
                waiting -= 1
                frames = self._frames_of(packet)
                if frames:
                    self.first_frame, waiting = frames[0], 0
            pts, tick_s = None if self._in_order else packet.pts, ticks_s[kind]
            dts = packet.pts if packet.dts is None else packet.dts
            if dts is None and not packet.size:  # the decoder's signal that the file is over
                continue
            # Only the order of decoding, or that of whole pictures, never goes back within a part.
            steady = packet.dts is not None or packet.is_keyframe
            number = parts.part(kind, dts * tick_s if steady and dts is not None else None)
            if packet.is_discard:
                continue
            track = tracks[kind]
            if kind == "video" and not seen_key and packet.is_keyframe:
                tracks[kind] = track = Track()  # what comes before the first whole picture cannot be decoded
                seen_key = True
            track.add(number, None if dts is None else (dts if pts is None else pts) * tick_s, packet.duration * tick_s)
        self.corrupt_packets = 0
        starts_s: dict[Kind, float | None] = {kind: self._start_s(kind) for kind in streams.values()}
        origin_s = self._header_origin_s() if self._steady() else None
        self.clock = make_clock(tracks, parts, starts_s, self.typical_s, origin_s)
        if len(_clocks) >= MAX_CLOCKS:
            _clocks.clear()
        _clocks[self._key] = self.clock

    def _start_s(self, kind: Kind) -> float | None:
        stream = getattr(self, kind)
        return None if stream.start_time is None else float(stream.start_time * stream.time_base)

    def _demux(self, *streams: Any) -> Iterator[Any]:
        """Packets until the file ends or cannot be read."""
        packets = self.container.demux(*streams)
        while True:
            try:
                packet = next(packets, None)
            except av.error.FFmpegError as error:  # the packets before the error remain usable
                self.corrupt_packets += 1
                self.last_error = error.strerror
                return
            if packet is None:
                return
            yield packet

    def _best(self, kind: Kind) -> Any:
        # The best stream is one with a decoder; where none has, the first is named in the error.
        stream = self.container.streams.best(kind) or next(iter(getattr(self.container.streams, kind)), None)
        return None if stream and stream.disposition & Disposition.attached_pic else stream  # cover art is no picture

    def close(self) -> None:
        """Close the file."""
        self.container.close()

    def check(self, kind: Kind) -> None:
        """Raise `MediaError` if the file has no such stream or no decoder for it."""
        stream = getattr(self, kind)
        if stream is None:
            fix = f"Choose a file that has one, or read it without {kind}."
            raise MediaError(self.path, f"has no {kind} stream", fix)
        if stream.codec_context is None:
            problem = f"no decoder for its {kind} (FFmpeg {av.ffmpeg_version_info})"
            raise MediaError(self.path, problem, "Re-encode it as H.264 + AAC.")
        if kind == "video" and stream.codec_context.width * stream.codec_context.height > MAX_PIXELS:
            size = f"{stream.codec_context.width}x{stream.codec_context.height}"
            raise MediaError(self.path, f"its picture of {size} pixels is too large to decode", "Re-encode it smaller.")

    def nothing_decoded(self, kind: Kind) -> MediaError:
        """The error for a stream without a decodable frame."""
        reason = f" ({self.last_error})" if self.last_error else ""
        fix = "It is damaged or empty. Download or copy it again, or leave it out."
        return MediaError(self.path, f"none of its {kind} can be decoded{reason}", fix)

    def begin_s(self, kind: Kind) -> float:
        """When a stream starts."""
        spans, start_s = self.clock.spans[kind], self._start_s(kind)
        if spans:
            return spans[0][0]
        return 0.0 if start_s is None else start_s - self.origin_s

    def frames(self, kind: Kind, start_s: float, instants_s: Sequence[float] = ()) -> Iterator[tuple[float, Any]]:
        """Frames in order with the second each is shown at; the first is at or before ``start_s`` if any is.

        With ``instants_s``, sorted, some frames that are shown at none of these instants are left out.
        """
        first, frames = None, iter(())
        if kind == "video" and self._in_order:
            self._lateness()
        for lead_s in LEADS_S:
            frames = self._decode(kind, self._packets(kind, start_s - lead_s), instants_s)
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
        return frame.duration * float(frame.time_base) if frame.duration else self.typical_s

    @property
    def typical_s(self) -> float:
        """How long most frames of the picture last."""
        rate = self.rate
        return float(1 / rate) if rate else 0.04

    @property
    def rate(self) -> Fraction | None:
        """Frames a second of the picture, as far as the file says; DV's average is that of its clock."""
        average = self.video and self.video.average_rate
        found = average if average and average <= MOST_FPS else self.video and self.video.guessed_rate
        return Fraction(found.numerator, found.denominator) if found else None

    def _packets(self, kind: Kind, from_s: float) -> Iterator[Any]:
        """Packets of a stream from the last key frame before a moment, with times that ignore restarts."""
        if not self.clock.restarts and self.container.format.name not in SEEKS_BADLY:
            self._seek(kind, from_s)
            return self._demux(getattr(self, kind))
        self._rewind()
        self._untouched = False
        return self._passed_by(kind, from_s)

    def _passed_by(self, kind: Kind, from_s: float) -> Iterator[Any]:
        """As `_packets`, for files without seeking: all packets are read, but only the last few decoded."""
        held: list[Any] | None = []
        for number, packet in enumerate(self._demux(getattr(self, kind))):
            late = not packet.size
            if packet.size:
                shift = round(self.clock.shift_s(kind, number) / packet.time_base)
                packet.pts = None if packet.pts is None else packet.pts + shift
                packet.dts = None if packet.dts is None else packet.dts + shift
                tick = packet.dts if packet.pts is None else packet.pts
                late = tick is not None and float(tick * packet.time_base) - self.origin_s > from_s
            if held is not None and late:
                yield from held
                held = None
            if held is None:
                yield packet
            elif packet.is_keyframe:
                held = [packet]
            else:
                held.append(packet)

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
        self._rewind(kind)
        self._untouched = False

    def _rewind(self, kind: Kind | None = None) -> None:
        """Return to the beginning of the file; of all streams, unless one is named."""
        if self._untouched:
            return
        if kind and self.container.format.name.startswith("mov,") and self._steady():
            stream = getattr(self, kind)
            self.container.seek(-math.ceil(FIRST_S / stream.time_base), stream=stream)  # to its first packet
            return
        self.container.close()  # a fresh container, because not every format can seek to its beginning
        self._open()

    def _frames_of(self, packet: Any) -> list[Any]:
        """The frames that a packet completes."""
        try:
            return packet.decode()
        except av.error.EOFError:
            return []
        except av.error.FFmpegError as error:  # as players do, continue after a damaged packet; the clip counts them
            self.corrupt_packets += 1
            self.last_error = error.strerror
            return []

    def _decode(self, kind: Kind, packets: Iterator[Any], instants_s: Sequence[float]) -> Iterator[tuple[float, Any]]:
        time_s, last = self.begin_s(kind), None
        context, tick_s = getattr(self, kind).codec_context, float(getattr(self, kind).time_base)
        skips = bool(instants_s) and context.name in SKIPPABLE and not self._in_order
        late = self._late if kind == "video" and self._in_order else None
        for packet, unseen in self._unseen(packets, instants_s) if skips else zip(packets, repeat(False)):
            if skips:
                context.skip_frame = "NONREF" if unseen else "DEFAULT"
            for frame in self._frames_of(packet):
                if late is not None and frame.dts is not None:
                    time_s = (frame.dts - late) * tick_s - self.origin_s
                elif frame.pts is not None:
                    time_s = frame.time - self.origin_s
                elif last is not None:
                    time_s += self.frame_s(kind, last)
                last = frame
                yield time_s, frame

    def _unseen(self, packets: Iterator[Any], instants_s: Sequence[float]) -> Iterator[tuple[Any, bool]]:
        """Each packet, and whether its frame is surely shown at none of the instants.

        A frame is shown until the next one's timestamp, which comes among the next packets: no later packet is shown
        before it is decoded. One frame in half of `GAP_S` is kept, so that what is left out is no gap.
        """
        second = 1 / float(self.video.time_base)  # in ticks
        instants = [(instant_s + self.origin_s) * second for instant_s in instants_s]
        early, apart = TICK_S * second, GAP_S / 2 * second
        ahead: deque[tuple[Any, int | None]] = deque()  # packets and their timestamps
        kept, dts = -math.inf, None
        for packet in chain(packets, (None,)):
            if packet is not None:
                ahead.append((packet, packet.pts))
                dts = packet.dts
            while ahead and (packet is None or len(ahead) > REORDERED or _follows(dts, ahead[0][1])):
                first, pts = ahead.popleft()
                unseen = False
                if pts is not None and ahead:
                    later = [other for _, other in ahead if other is not None and other > pts]
                    end = min(later, default=math.inf)
                    place = bisect_left(instants, pts - early)
                    unseen = end < instants[-1] and instants[place] >= end + early and abs(pts - kept) < apart
                    kept = kept if unseen else pts
                yield first, unseen


def _follows(dts: int | None, pts: int | None) -> bool:
    """Whether all that is decoded from ``dts`` on is shown after ``pts``."""
    return pts is None or (dts is not None and dts >= pts)

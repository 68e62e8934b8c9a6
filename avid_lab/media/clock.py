"""One clock for picture and sound of a file, and the spans that each covers, from a scan of its packets.

A header may give a wrong length (for a recording that starts at one hour). It does not list gaps, or the restarts of
timestamps in a file joined from two. The packets contain all of this, without decoding.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from avid_lab.spans import Spans

Kind = Literal["video", "audio"]
KINDS: tuple[Kind, Kind] = ("video", "audio")

GAP_S = 0.5  # a gap parts two spans if it is longer than this and than two frames; a held picture is none
RESTART_S = 0.2  # a larger backward jump of a stream's timestamps is a restart
UNTIMED_S = 0.04  # duration of a packet that has neither a time nor a duration
PARTS_APART_S = 10.0  # how far apart the streams of one part may start, to be taken for one


@dataclass
class Clock:
    """Converts a file's timestamps to seconds.

    A file whose timestamps restart has several parts. They follow each other; both streams of a part shift together.

    Attributes:
        origin_s: The timestamp of second 0.
        first: For each stream and part, the number of the stream's first packet in the part.
        shifts_s: Shift of each part's timestamps, in addition to ``-origin_s``; 0 for the first part.
        spans: The spans in which each stream has frames or samples.
    """

    origin_s: float = 0.0
    first: dict[Kind, list[int]] = field(default_factory=lambda: {kind: [0] for kind in KINDS})
    shifts_s: list[float] = field(default_factory=lambda: [0.0])
    spans: dict[Kind, Spans] = field(default_factory=lambda: {kind: () for kind in KINDS})

    @property
    def restarts(self) -> int:
        """Number of backward jumps of the timestamps."""
        return len(self.shifts_s) - 1

    def shift_s(self, kind: Kind, number: int) -> float:
        """Shift of the timestamp of a stream's packet ``number``."""
        part = sum(first <= number for first in self.first[kind]) - 1
        return self.shifts_s[part]


class Parts:
    """Assigns packets, in file order, to the parts of a file: before and after each restart."""

    def __init__(self) -> None:
        self.first: dict[Kind, list[int]] = {kind: [0] for kind in KINDS}
        self._count: dict[Kind, int] = dict.fromkeys(KINDS, 0)
        self._last_s: dict[Kind, float | None] = dict.fromkeys(KINDS)
        self._now_s: list[float | None] = [None]  # the latest timestamp of each part

    def part(self, kind: Kind, time_s: float | None) -> int:
        """The part of the next packet of a stream, whose timestamp in decoding order is ``time_s``."""
        firsts, newest = self.first[kind], len(self._now_s) - 1
        part, last_s = len(firsts) - 1, self._last_s[kind]
        if time_s is not None:
            fell = last_s is not None and time_s < last_s - RESTART_S
            new_s, now_s = self._now_s[newest], self._now_s[part]
            if fell and not (part < newest and _near(time_s, new_s, PARTS_APART_S)):
                self._now_s.append(None)
                newest += 1
                fell = True
            elif not fell and part < newest and new_s is not None and now_s is not None:
                # The other stream is already in a newer part: this packet belongs to the nearer clock.
                fell = abs(time_s - new_s) < abs(time_s - now_s)
            if fell:
                firsts += [self._count[kind]] * (newest - part)
                part = newest
            latest_s = self._now_s[part]
            self._now_s[part] = time_s if latest_s is None else max(latest_s, time_s)
            self._last_s[kind] = time_s
        self._count[kind] += 1
        return part

    @property
    def count(self) -> int:
        """Number of parts so far."""
        return len(self._now_s)


def _near(time_s: float, other_s: float | None, limit_s: float) -> bool:
    return other_s is not None and abs(time_s - other_s) < limit_s


@dataclass
class Track:
    """The packets of one stream, in file order."""

    part: list[int] = field(default_factory=list)
    begin_s: list[float] = field(default_factory=list)
    length_s: list[float] = field(default_factory=list)

    def add(self, part: int, begin_s: float | None, length_s: float) -> None:
        """Add a packet; a packet without a time follows the previous one."""
        if begin_s is None:
            begin_s = self.begin_s[-1] + (self.length_s[-1] or UNTIMED_S) if self.begin_s else 0.0
        self.part.append(part)
        self.begin_s.append(begin_s)
        self.length_s.append(length_s)


def make_clock(
    tracks: dict[Kind, Track], parts: Parts, start_s: dict[Kind, float | None], frame_s: float, origin_s: float | None
) -> Clock:
    """The clock of a file.

    Args:
        tracks: Packets of its streams, with the file's times.
        parts: The assignment of packets to parts.
        start_s: Start of each stream in the header, which accounts for discarded samples.
        frame_s: Duration of a frame in the header.
        origin_s: Second 0, if known; otherwise the start of the first stream.
    """
    arrays: dict[Kind, tuple[np.ndarray, np.ndarray, np.ndarray]] = {
        kind: (np.array(track.part, int), np.array(track.begin_s), np.array(track.length_s))
        for kind, track in tracks.items()
    }
    for kind, (part, begin_s, _) in arrays.items():
        header_s, of_first = start_s.get(kind), part == 0
        if header_s is not None and of_first.any() and 0 < header_s - begin_s[of_first].min() < GAP_S:
            begin_s[of_first] = np.maximum(begin_s[of_first], header_s)  # priming, and pictures that cannot be decoded
    starts = [float(begin_s[part == 0].min()) for part, begin_s, _ in arrays.values() if (part == 0).any()]
    clock = Clock(min(starts, default=0.0) if origin_s is None else origin_s, parts.first)
    spans: dict[Kind, list[tuple[float, float]]] = {kind: [] for kind in KINDS}
    end_s = 0.0
    for number in range(parts.count):
        inside: dict[Kind, tuple[np.ndarray, np.ndarray]] = {
            kind: (begin_s[part == number], length_s[part == number])
            for kind, (part, begin_s, length_s) in arrays.items()
        }
        if number:
            begins = [float(begin_s.min()) for begin_s, _ in inside.values() if len(begin_s)]
            clock.shifts_s.append(end_s - (min(begins, default=0.0) - clock.origin_s))
        for kind, (begin_s, length_s) in inside.items():
            if len(begin_s):
                begin_s = begin_s - clock.origin_s + clock.shifts_s[number]
                spans[kind] += _lasting(kind, begin_s, length_s, frame_s)
        end_s = max((found[-1][1] for found in spans.values() if found), default=end_s)
    clock.spans = {kind: tuple(found) for kind, found in spans.items()}
    return clock


def _lasting(kind: Kind, begin_s: np.ndarray, length_s: np.ndarray, frame_s: float) -> Spans:
    """The spans of frames or packets that begin at these moments and last as long as these, or 0 where unknown."""
    order = np.argsort(begin_s, kind="stable")
    begin_s, length_s = begin_s[order], length_s[order]
    steps_s = np.diff(begin_s)
    steps_s = steps_s[steps_s > 0]
    typical_s = float(np.median(steps_s)) if len(steps_s) else frame_s
    # Recordings with a variable rate have longer steps that are not gaps.
    limit_s = max(GAP_S, 2 * (float(np.quantile(steps_s, 0.9)) if len(steps_s) else typical_s))
    # The last frame before a gap may have the gap's duration, or none.
    known = (length_s > 0) & ((length_s <= limit_s) | (len(begin_s) == 1))
    end_s = begin_s + np.where(known, length_s, typical_s)
    if kind == "video":  # a frame stays until the next one: only a wait of more than two frames is a gap
        limit_s -= typical_s - 1e-6
    # A span ends where the next frame begins too long after the latest end.
    latest_s = np.maximum.accumulate(end_s)
    parted = np.flatnonzero(begin_s[1:] - latest_s[:-1] > limit_s)
    begins, ends = np.concatenate([[0], parted + 1]), np.concatenate([parted, [len(begin_s) - 1]])
    spans = zip(begin_s[begins].tolist(), latest_s[ends].tolist(), strict=True)
    return tuple((begin, end) for begin, end in spans if end > max(begin, 0.0))

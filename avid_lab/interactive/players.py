"""Clips that play in a page or notebook: plain HTML with the videos inside, no widgets, no scripts.

An excerpt is embedded: the window that a model saw or that was requested, with `CONTEXT_S` seconds around it. So a page
stays small for files of any length. A clip that cannot be shown is a placeholder with the reason.

Every clip has the browser's own controls, so it plays from the keyboard; colours are the notebook theme's, light or
dark; a verdict is a symbol and words as well as a colour.
"""

from __future__ import annotations

import base64
import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import numpy as np
from IPython.display import HTML
from matplotlib import colormaps
from matplotlib.colors import to_rgb
from matplotlib.image import imsave
from torch import Tensor
from torch.nn.functional import interpolate

from avid_lab import media
from avid_lab.config import AudioSpec, VideoSpec
from avid_lab.datasets import ClipDataset
from avid_lab.datasets.parallel import usable_cores
from avid_lab.datasets.probe_file import SILENCE
from avid_lab.plots.clips import mel_image
from avid_lab.plots.statistics import log_spectrogram
from avid_lab.plots.style import AUDIO, BAD, GOOD

StrPath = str | os.PathLike[str]
Window = tuple[float | int, float | int]  # begin and end in the file, in seconds
Part = Literal["both", "picture", "sound"]  # of a file that is shown; half of it says nothing about the rest

# What one clip may weigh in a page: two galleries of ten then fit in a notebook of under 2 MB.
CLIP_BYTES = 60_000

CONTEXT_S = 2.0  # shown before and after a window
LONGEST_S = 20.0  # of an excerpt
UNASKED_S = 8.0  # the middle of a file that is longer than LONGEST_S, where no window is asked about
SHORTEST_S = 1.0  # of an excerpt that was shortened to fit

EAR_DB = 70.0  # range of a spectrum's colours

SIDE, FPS, RATE = 192, 15.0, 24_000  # of a copy at its best: shorter side in pixels, frames and samples a second

# Copies from best to smallest: shorter side in pixels, every which frame, x264 quality, AAC kbit/s, and about what
# share of the best copy's bytes that takes.
SHRINKING = (
    (192, 1, 27, 48, 1.0),
    (160, 1, 29, 48, 0.65),
    (128, 1, 31, 40, 0.48),
    (128, 1, 34, 32, 0.38),
    (96, 2, 37, 24, 0.22),
    (96, 3, 40, 20, 0.17),
)

BROWSERS_PLAY = ("h264", "vp8", "vp9", "av1")  # in an mp4 file; sound: "aac", "mp3", "opus"
BROWSERS_HEAR = ("aac", "mp3", "mp3float", "opus")

# Without a menu of rarely used entries the browser finds room for the play button in small players.
CONTROLS = (
    'controls controlslist="nodownload noplaybackrate noremoteplayback" disablepictureinpicture playsinline '
    'preload="metadata"'
)

# Notebooks that are not trusted lose the style sheet and keep these: a plain row of framed clips.
BARE = "display:inline-block;vertical-align:top;width:150px;margin:0 10px 14px 0"

STYLE = f"<style>{Path(__file__).with_suffix('.css').read_text(encoding='utf-8')}</style>"


class Players(HTML):
    """HTML that plays clips.

    Attributes:
        problems: One line for each clip that is a placeholder: its file and why it cannot be shown.
    """

    def __init__(self, data: str, problems: Sequence[str] = ()) -> None:
        super().__init__(data)
        self.problems = tuple(problems)


def player(
    path: StrPath,
    caption: str = "",
    *,
    window: Window | None = None,
    correct: bool | None = None,
    score: int | float | None = None,
    width: int = 260,
    poster: bool = True,
    embed: bool = True,
    relative_to: StrPath = ".",
    clip_bytes: int = CLIP_BYTES,
) -> Players:
    """One clip to play, or a placeholder that says why it cannot be shown.

    Args:
        path: A file with picture, sound or both.
        caption: Text below. If not all of the file plays, a line says which part does.
        window: Seconds of the file that were asked about; they are played with `CONTEXT_S` around them. Without a
            window the whole file plays, or the middle of a long one.
        correct: Frame it as right (tick) or wrong (cross).
        score: Number next to the caption.
        width: Pixels on the page.
        poster: Show a still until it plays.
        embed: Put the excerpt into the page; otherwise link the file.
        relative_to: Folder of the page that links it.
        clip_bytes: Most that the excerpt weighs.
    """
    source = _Source(poster, embed, Path(relative_to))
    item = _Item(Path(path), window, caption, correct, score)
    figure = source.figure(item, source.load([item], clip_bytes)[0])
    page = f'{STYLE}<div class="avid"><div style="max-width:{width:d}px">{figure}</div></div>'
    return Players(page, source.problems)


def gallery(
    query_path: StrPath | None,
    paths: Sequence[StrPath],
    captions: Sequence[str],
    correct: Sequence[Any] | np.ndarray | Tensor | None = None,
    scores: Sequence[Any] | np.ndarray | Tensor | None = None,
    *,
    query_window: Window | None = None,
    windows: Sequence[Window | None] | None = None,
    query_part: Part = "both",
    part: Part = "both",
    query_caption: str = "query",
    title: str | None = None,
    columns: int = 5,
    poster: bool = True,
    embed: bool = True,
    relative_to: StrPath = ".",
    clip_bytes: int = CLIP_BYTES,
    limit_bytes: int = 3_000_000,
) -> Players:
    """A query and what it retrieved, best first, all to play; or, without a query, a grid of clips.

    A clip that cannot be shown is a placeholder with its reason. Where the clips together weigh more than
    ``limit_bytes``, the largest are made smaller until they fit.

    Args:
        query_path: File of the query, or ``None``.
        paths: Files of the results.
        captions: One text a result, its class for instance.
        correct: Whether each result is right: framed green with a tick, or orange with a cross.
        scores: One number a result, its similarity for instance.
        query_window: Seconds of the query's file that were asked about, as in `player`.
        windows: The same of each result.
        query_part: Whether the query shows only its picture, or only its sound.
        part: The same of all results.
        query_caption: Text below the query.
        title: Heading.
        columns: Most results in a row; narrow pages show fewer.
        poster: Show a still of each clip until it plays.
        embed: Put the excerpts into the page; otherwise link the files.
        relative_to: Folder of the page that links them.
        clip_bytes: Most that one excerpt weighs.
        limit_bytes: Most that the whole gallery weighs.

    Raises:
        ValueError: Lengths that differ, or fewer than one column.
    """
    for name, values in (("captions", captions), ("correct", correct), ("scores", scores), ("windows", windows)):
        if values is not None and len(values) != len(paths):
            raise ValueError(f"{name} must have one entry for each of the {len(paths)} paths; got {len(values)}")
    if columns < 1:
        raise ValueError(f"columns must be >= 1; got {columns}")
    items = []
    if query_path is not None:
        items.append(_Item(Path(query_path), query_window, query_caption, part=query_part))
    for number, (path, caption) in enumerate(zip(paths, captions, strict=True)):
        window = None if windows is None else windows[number]
        verdict = None if correct is None else bool(correct[number])
        score = None if scores is None else float(scores[number])
        items.append(_Item(Path(path), window, caption, verdict, score, f"{number + 1}. ", part))
    columns = min(columns, max(len(paths), 1)) if query_path is not None else columns

    def page(source: _Source, clips: Sequence[Excerpt | str]) -> str:
        source.problems.clear()
        figures = [source.figure(item, clip) for item, clip in zip(items, clips, strict=True)]
        query = f'<div class="avid-query">{figures.pop(0)}</div>' if query_path is not None else ""
        heading = f'<div class="avid-title">{escape(title)}</div>' if title else ""
        return (
            f'{STYLE}<div class="avid" role="group" aria-label="{escape(title or "clips")}">{heading}'
            f'<div class="avid-row">{query}<div class="avid-grid" style="--avid-columns:{columns:d}">{"".join(figures)}'
            "</div></div></div>"
        )

    source = _Source(poster, embed, Path(relative_to))
    clips = source.load(items, clip_bytes)
    shown = page(source, clips)
    while embed and len(shown) > limit_bytes and clip_bytes > 0:
        sizes = [len(clip.data) for clip in clips if isinstance(clip, Excerpt)]
        room = sum(sizes) - 0.76 * (len(shown) - limit_bytes)  # three bytes are four letters
        clip_bytes = min(_level(sizes, room), int(0.9 * clip_bytes))
        clips = source.load(items, clip_bytes)
        shown = page(source, clips)
    return Players(shown, source.problems)


def _level(sizes: Sequence[int], room: float) -> int:
    """The height at which to cut these sizes so that they sum up to ``room``."""
    for count, size in enumerate(ordered := sorted(sizes)):
        level = (room - sum(ordered[:count])) / (len(sizes) - count)
        if level <= size:
            return max(0, int(level))
    return max(sizes, default=0)


def playable(path: StrPath, max_bytes: int = CLIP_BYTES, window: Window | None = None) -> bytes:
    """The excerpt of a file that `excerpt` makes, as an mp4 file's bytes.

    Raises:
        MediaError: The file cannot be played.
        ValueError: ``max_bytes`` is too small for any copy.
    """
    return excerpt(path, window, max_bytes).data


@dataclass(frozen=True)
class Excerpt:
    """A part of a file, ready to play.

    Attributes:
        data: An mp4 file.
        still: Its middle frame as JPEG; of a sound without picture, its waveform.
        begin_s: Where in the original file it begins.
        end_s: Where in the original file it ends.
        duration_s: How long the original file is.
        seen: Whether it has a picture.
        heard: Whether anything is heard in it.
    """

    data: bytes
    still: bytes
    begin_s: float
    end_s: float
    duration_s: float
    seen: bool
    heard: bool

    @property
    def whole(self) -> bool:
        """Whether it is the whole file."""
        return self.begin_s <= 0.05 and self.end_s >= self.duration_s - 0.1

    @property
    def missing(self) -> str:
        """What it lacks, in words: "silent", "no picture", or "" for nothing."""
        return "" if self.seen and self.heard else "silent" if self.seen else "no picture"

    def place(self, window: Window | None = None) -> str:
        """Its place in the file, such as "12.5–16.5 s of 3:41, plays 10.5–18.5 s"; "" for the whole file.

        Args:
            window: The requested window, if any.
        """
        if self.whole:
            return ""
        shown = _range(self.begin_s, self.end_s)
        of = f" of {clock(self.duration_s)}"
        asked = shown if window is None else _range(window[0], min(window[1], self.duration_s))
        return f"{asked}{of}" if asked == shown else f"{asked}{of}, plays {shown}"


def clock(seconds: float) -> str:
    """A length in words: "13.6 s", "3:41", "1:02:03"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"


def _range(begin_s: float, end_s: float) -> str:
    if end_s < 60:
        return f"{begin_s:.1f}–{end_s:.1f} s"

    def moment(tenths: int) -> str:
        return f"{tenths // 600}:{tenths % 600 // 10:02d}.{tenths % 10}"

    return f"{moment(round(10 * begin_s))}–{moment(round(10 * end_s))}"


def excerpt(
    path: StrPath,
    window: Window | None = None,
    max_bytes: int = CLIP_BYTES,
    *,
    context_s: float | int = CONTEXT_S,
    part: Part = "both",
) -> Excerpt:
    """A part of a file as a small mp4 that every browser plays; of a small mp4 that is shown whole, the file itself.

    Frames are scaled while they are decoded, and only the excerpt is decoded: a long file, or one of many pixels, costs
    little more than a short one. Size, rate and quality are lowered until the copy fits, in the end also its length.
    The same file and arguments give the same bytes.

    Args:
        path: A file with picture, sound or both.
        window: Seconds of the file that must be in it. None: the whole file, or the middle of one that is longer than
            `LONGEST_S`.
        max_bytes: Most it weighs.
        context_s: Seconds shown before and after the window.
        part: Whether only the picture, or only the sound, is in it.

    Raises:
        MediaError: Neither picture nor sound can be decoded, or the file has no such part.
        ValueError: ``max_bytes`` is too small for any copy.
    """
    path = Path(path)
    window = None if window is None else (float(window[0]), float(window[1]))
    return _excerpt(path, _modified(path), window, max_bytes, float(context_s), part)


def _modified(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


@lru_cache(maxsize=256)
def _excerpt(
    path: Path, _modified: int, window: Window | None, max_bytes: int, context_s: float, part: Part
) -> Excerpt:
    info = media.probe(path)
    begin_s, end_s = _span(info, window, context_s)
    info = _only(info, part)
    clip = _read(info, begin_s, end_s)
    middle_s = (begin_s + end_s if window is None else window[0] + min(window[1], info.duration_s)) / 2
    picture = _waveform(clip) if clip.video is None else _jpeg(clip.video[:, _frame_at(clip, middle_s)])
    found = Excerpt(b"", picture, begin_s, end_s, info.duration_s, clip.video is not None, _sounds(clip))
    if found.whole and part == "both" and _plays_as_it_is(info, max_bytes):
        return replace(found, data=path.read_bytes())
    while True:
        data = _fitting(clip, max_bytes)
        if len(data) <= max_bytes:
            return replace(found, data=data, begin_s=begin_s, end_s=end_s)
        length_s = end_s - begin_s
        if length_s <= SHORTEST_S:
            size, limit = f"{len(data) / 1e3:.1f} kB", f"{max_bytes / 1e3:.1f} kB"
            raise ValueError(
                f"{path.name}: {length_s:.1f} s of it weigh {size}; the limit is {limit}. Raise clip_bytes."
            )
        length_s = max(SHORTEST_S, length_s * min(0.8, max_bytes / len(data)))
        first_s = min(max(begin_s, middle_s - length_s / 2), end_s - length_s)
        clip, begin_s, end_s = _cut(clip, first_s - begin_s, length_s), first_s, first_s + length_s


def dubbed(
    path: StrPath,
    sound: StrPath,
    window: Window | None = None,
    sound_window: Window | None = None,
    max_bytes: int = CLIP_BYTES,
) -> Excerpt:
    """The picture of one clip with the sound of another, from the beginnings of what `excerpt` shows of each.

    Args:
        path: The file that is seen.
        sound: The file that is heard.
        window: Seconds of the first, as in `excerpt`.
        sound_window: Seconds of the second.
        max_bytes: About what it weighs at most.

    Raises:
        MediaError: The first has no picture, or the second no sound.
    """
    parts, whole = [], 0.0
    halves: tuple[tuple[StrPath, Window | None, Part], ...]
    halves = (path, window, "picture"), (sound, sound_window, "sound")
    for file, asked, half in halves:
        info = _only(media.probe(Path(file)), half)
        parts.append((info, *_span(info, asked, CONTEXT_S)))
        whole = whole or info.duration_s
    length_s = min(end_s - begin_s for _, begin_s, end_s in parts)
    seen, heard = (_read(info, begin_s, begin_s + length_s) for info, begin_s, _ in parts)
    begin_s, data = parts[0][1], _fitting(media.Clip(seen.video, heard.audio, seen.fps, heard.rate), max_bytes)
    return Excerpt(data, b"", begin_s, begin_s + length_s, whole, seen=True, heard=_sounds(heard))


def _sounds(clip: media.Clip) -> bool:
    return clip.audio is not None and float(clip.audio.abs().max()) > SILENCE


def spectrum(data: bytes) -> bytes:
    """What sounds in an excerpt's mp4 as a picture, JPEG: time to the right, pitch upwards; empty without sound."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        path.write_bytes(data)
        info = media.probe(path)
        if info.audio is None:
            return b""
        wave = media.read_clip(path, 0.0, None, AudioSpec(RATE, max(info.duration_s, 0.1), frames=1)).audio
    assert wave is not None
    image = mel_image(log_spectrogram(wave[0].numpy(), RATE, range_db=EAR_DB), 96)[::-1]
    return _encoded(colormaps["magma"](image / EAR_DB + 1, bytes=True)[..., :3])


def _only(info: media.MediaInfo, part: Part) -> media.MediaInfo:
    """The file without what is not to be in an excerpt.

    Raises:
        MediaError: It has no such part.
    """
    if part == "both":
        return info
    info = replace(info, **({"audio": None} if part == "picture" else {"video": None}))
    if info.video is None and info.audio is None:
        raise media.MediaError(info.path, f"it has no {part}", "Choose another clip.")
    return info


def _span(info: media.MediaInfo, window: Window | None, context_s: float) -> tuple[float, float]:
    """The part of a file to show, in seconds."""
    if window is None:
        if info.duration_s <= LONGEST_S:
            return 0.0, info.duration_s
        first_s, last_s = max(info.both_s, key=lambda span: span[1] - span[0], default=(0.0, info.duration_s))
        window = (max(first_s, (first_s + last_s - UNASKED_S) / 2), min(last_s, (first_s + last_s + UNASKED_S) / 2))
        context_s = 0.0
    begin_s, end_s = max(0.0, window[0] - context_s), min(info.duration_s, window[1] + context_s)
    spare_s = max(0.0, end_s - begin_s - LONGEST_S)
    return begin_s + spare_s / 2, end_s - spare_s / 2


def _read(info: media.MediaInfo, begin_s: float, end_s: float) -> media.Clip:
    """What is to be shown, small; one of picture and sound where the other cannot be decoded."""
    length_s = max(end_s - begin_s, 0.1)
    fps = min((info.video.fps if info.video else None) or FPS, FPS)
    video = VideoSpec(max(1, int(length_s * fps)), fps, None) if info.video else None
    audio = AudioSpec(RATE, length_s, frames=1) if info.audio else None
    try:
        return media.read_clip(info.path, begin_s, video, audio, short_side=SIDE)
    except media.MediaError:
        for half in ((video, None), (None, audio)) if video and audio else ():
            try:
                return media.read_clip(info.path, begin_s, *half, short_side=SIDE)
            except media.MediaError:
                continue
        raise


def _plays_as_it_is(info: media.MediaInfo, max_bytes: int) -> bool:
    return (
        info.path.suffix.lower() in (".mp4", ".m4v")
        and info.path.stat().st_size <= max_bytes
        and (info.video is None or info.video.codec in BROWSERS_PLAY)
        and (info.audio is None or info.audio.codec in BROWSERS_HEAR)
    )


def _fitting(clip: media.Clip, max_bytes: int) -> bytes:
    """The best copy of at most ``max_bytes``, else the smallest."""
    data, best = b"", 0
    with tempfile.TemporaryDirectory() as folder:
        for side, nth, crf, kbps, share in SHRINKING:
            best = best or len(data)
            if share * best > 1.2 * max_bytes and share > SHRINKING[-1][-1]:
                continue  # most likely too large as well
            frames = None if clip.video is None else _resized(clip.video[:, ::nth], side)
            fps = None if clip.fps is None else clip.fps / nth
            copy = media.Clip(frames, clip.audio, fps, clip.rate)
            data = media.write_clip(Path(folder) / "copy.mp4", copy, crf=crf, audio_kbps=kbps).read_bytes()
            if len(data) <= max_bytes:
                break
    return data


def _cut(clip: media.Clip, begin_s: float, length_s: float) -> media.Clip:
    """A part of a clip, its beginning counted from the clip's own."""
    video, audio = clip.video, clip.audio
    if video is not None and clip.fps:
        first = int(begin_s * clip.fps)
        video = video[:, first : first + max(1, round(length_s * clip.fps))]
    if audio is not None and clip.rate:
        first = int(begin_s * clip.rate)
        audio = audio[:, first : first + max(1, round(length_s * clip.rate))]
    return media.Clip(video, audio, clip.fps, clip.rate)


def _frame_at(clip: media.Clip, at_s: float) -> int:
    assert clip.video is not None and clip.fps
    return min(max(int((at_s - clip.start_s) * clip.fps), 0), clip.video.shape[1] - 1)


def _resized(frames: Tensor, side: int) -> Tensor:
    """Frames with a shorter side of at most ``side`` and even sides, as H.264 wants them: uint8 (3, T, H, W)."""
    height, width = frames.shape[-2:]
    scale = min(1.0, side / min(height, width))
    size = [max(2, 2 * round(scale * length / 2)) for length in (height, width)]
    if size == [height, width]:
        return frames
    return interpolate(frames.transpose(0, 1), size, mode="bilinear", antialias=True).transpose(0, 1)


@dataclass(frozen=True)
class _Item:
    """One clip of a page: its file, and what is said about it."""

    path: Path
    window: Window | None
    caption: str
    correct: bool | None = None
    score: float | None = None
    number: str = ""  # its place among the results
    part: Part = "both"


class _Source:
    """How the clips of one page come in: embedded or linked, with or without a still.

    Attributes:
        problems: Files that could not be shown so far, with the reason.
    """

    def __init__(self, poster: bool, embed: bool, relative_to: Path) -> None:
        self.poster, self.embed, self.relative_to = poster, embed, relative_to
        self.problems: list[str] = []

    def load(self, items: Sequence[_Item], clip_bytes: int) -> list[Excerpt | str]:
        """The excerpt of each clip, or why there is none; several at a time, since FFmpeg needs no lock of Python's."""

        def one(item: _Item) -> Excerpt | str:
            try:
                if not self.embed and item.part == "both":  # a link is to all of a file
                    return self._link(item)
                return excerpt(item.path, item.window, clip_bytes, part=item.part)
            except media.MediaError as error:
                return f"{item.path.name}: {error.problem}"
            except (ValueError, OSError) as error:
                return str(error)

        with ThreadPoolExecutor(max(1, min(usable_cores(), len(items)))) as pool:
            return list(pool.map(one, items))

    def _link(self, item: _Item) -> Excerpt:
        info = media.probe(item.path)
        begin_s, end_s = _span(info, item.window, CONTEXT_S)
        picture = still(item.path, item.window) if self.poster else b""
        return Excerpt(b"", picture, begin_s, end_s, info.duration_s, info.video is not None, info.audio is not None)

    def figure(self, item: _Item, clip: Excerpt | str) -> str:
        """One clip with its caption and verdict, or a placeholder with its reason."""
        kind, symbol, words, colour = {
            None: ("", "", "", "#8f99a3"),
            True: ("avid-good", "✓", "right", GOOD),
            False: ("avid-bad", "✗", "wrong", BAD),
        }[item.correct]
        number = "" if item.score is None else f"{item.score:.2f}"
        if isinstance(clip, str):
            self.problems.append(clip)
            kind, place, mute = f"{kind} avid-missing".strip(), "", ""
        elif item.part != "both":
            place, mute = "", ""
        else:
            place = clip.place(item.window)
            mute = clip.missing
        spoken = [f"{item.number}{item.caption}".replace("\n", ", "), words, f"score {number}" if number else ""]
        spoken += [place, mute, f"cannot be shown: {clip}" if isinstance(clip, str) else ""]
        label = escape(", ".join(part for part in spoken if part) or "clip")
        if symbol:
            badge = f'<span class="avid-badge" aria-hidden="true">{symbol}</span>'
            symbol = f'{badge} <span class="avid-words">{words}</span>'
        if isinstance(clip, str):
            screen = f'<div class="avid-reason" role="img" aria-label="{label}">Cannot be shown: {escape(clip)}</div>'
        else:
            source, poster = self._address(item, clip), self._poster(clip)
            about = f'data-part="{item.part}" aria-label="{label}"'
            screen = f'<video {CONTROLS} {about} width="100%" src="{source}"{poster}></video>'
        number = f' <span class="avid-score">{number}</span>' if number else ""
        notes = "".join(f'\n<span class="avid-place">{escape(note)}</span>' for note in (place, mute) if note)
        return (
            f'<figure class="{kind}" style="{BARE}"><div class="avid-frame" style="border:3px solid {colour}">'
            f"{screen}{symbol}</div><figcaption>{escape(item.caption)}{number}{notes}</figcaption></figure>"
        )

    def _address(self, item: _Item, clip: Excerpt) -> str:
        if clip.data:
            return f"data:video/mp4;base64,{base64.b64encode(clip.data).decode()}"
        part = "" if clip.whole else f"#t={clip.begin_s:.1f},{clip.end_s:.1f}"
        return escape(quote(Path(os.path.relpath(item.path, self.relative_to)).as_posix()) + part)

    def _poster(self, clip: Excerpt) -> str:
        data = clip.still if self.poster else b""
        return f' poster="data:image/jpeg;base64,{base64.b64encode(data).decode()}"' if data else ""


def still(path: StrPath, window: Window | None = None) -> bytes:
    """One frame of a clip as JPEG, at most `SIDE` pixels on its shorter side; empty where there is no picture.

    Args:
        path: A video file.
        window: Seconds of the file; the frame in the middle of it is taken. None: of what `excerpt` shows.

    Raises:
        MediaError: The file is no video.
    """
    path = Path(path)
    return _still(path, _modified(path), None if window is None else (float(window[0]), float(window[1])))


def window_seen(clips: ClipDataset, index: int, count: int = 1) -> Window | None:
    """The seconds of a clip that a model saw; None if its file cannot be read: then its player says why.

    Args:
        clips: The clips.
        index: Which clip.
        count: Windows per clip that the model's answers average.
    """
    try:
        return clips.window_s(index, count)
    except media.MediaError:
        return None


def glimpse(path: StrPath, window: Window | None = None) -> bytes:
    """The same for pictures that can do without it: empty where the clip cannot be shown."""
    try:
        return still(path, window)
    except media.MediaError:
        return b""


def whisper(path: StrPath, window: Window | None = None) -> bytes:
    """The sound of a clip as an mp4 file; empty where it cannot be heard."""
    try:
        return excerpt(path, window, context_s=0.0, part="sound").data
    except (media.MediaError, ValueError):
        return b""


@lru_cache(maxsize=4096)
def _still(path: Path, _modified: int, window: Window | None) -> bytes:
    info = media.probe(path)
    if info.video is None:
        return b""
    begin_s, end_s = _span(info, window, 0.0)
    middle_s = (begin_s + end_s) / 2
    frame = media.read_clip(path, middle_s, VideoSpec(1, info.video.fps or FPS, None), None, short_side=SIDE).video
    assert frame is not None  # a video was asked for
    return _jpeg(frame[:, 0])


def _waveform(clip: media.Clip, width: int = 320, height: int = 180) -> bytes:
    """A sound as a picture, loudest amplitude of each column."""
    assert clip.audio is not None
    loudness = np.array([float(part.abs().max()) for part in clip.audio[0].tensor_split(width) if part.numel()])
    rows = np.abs(np.linspace(1, -1, height))[:, None]
    drawn = rows <= 0.9 * np.maximum(
        np.interp(np.linspace(0, 1, width), np.linspace(0, 1, len(loudness)), loudness), 0.01
    )
    ground, ink = np.array([20, 24, 29], np.uint8), (255 * np.array(to_rgb(AUDIO))).astype(np.uint8)
    return _encoded(np.where(drawn[..., None], ink, ground))


def _jpeg(frame: Tensor) -> bytes:
    """uint8 (3, H, W) as JPEG."""
    return _encoded(np.ascontiguousarray(_resized(frame[:, None], SIDE)[:, 0].permute(1, 2, 0).numpy()))  # (H, W, 3)


def _encoded(picture: np.ndarray) -> bytes:
    with BytesIO() as buffer:
        imsave(buffer, picture, format="jpg", pil_kwargs={"quality": 72, "optimize": True})
        return buffer.getvalue()

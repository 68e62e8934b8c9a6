"""Clips that play in a page or notebook: plain HTML with the videos inside, no widgets, no scripts.

Every clip has the browser's own controls, so it plays from the keyboard; colours are the notebook theme's, light or
dark; a verdict is a symbol and words as well as a colour.
"""

from __future__ import annotations

import base64
import os
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from IPython.display import HTML
from matplotlib.image import imsave
from torch import Tensor
from torch.nn.functional import interpolate

from avid_lab import media
from avid_lab.config import AudioSpec, VideoSpec
from avid_lab.plots.style import BAD, GOOD

StrPath = str | os.PathLike[str]

# What one clip may weigh in a page: two galleries of ten then fit in a notebook of under 2 MB.
CLIP_BYTES = 60_000

# Shorter side in pixels, x264 quality and AAC kbit/s, tried from best to smallest.
SHRINKING = ((192, 27, 48), (160, 29, 48), (128, 31, 40), (128, 34, 32), (96, 37, 24))

# Without a menu of rarely used entries the browser finds room for the play button in small players.
CONTROLS = (
    'controls controlslist="nodownload noplaybackrate noremoteplayback" disablepictureinpicture loop playsinline '
    'preload="metadata"'
)

# Notebooks that are not trusted lose the style sheet and keep these: a plain row of framed clips.
BARE = "display:inline-block;vertical-align:top;width:150px;margin:0 10px 14px 0"

STYLE = f"<style>{Path(__file__).with_suffix('.css').read_text(encoding='utf-8')}</style>"


def player(
    path: StrPath,
    caption: str = "",
    *,
    correct: bool | None = None,
    score: int | float | None = None,
    width: int = 260,
    poster: bool = True,
    embed: bool = True,
    relative_to: StrPath = ".",
    clip_bytes: int = CLIP_BYTES,
) -> HTML:
    """One clip to play.

    Args:
        path: A video file.
        caption: Text below.
        correct: Frame it as right (tick) or wrong (cross).
        score: Number beside the caption.
        width: Pixels on the page.
        poster: Show its middle frame until it plays.
        embed: Put the clip into the page; if not, link the file where it lies.
        relative_to: Folder of the page that links it.
        clip_bytes: A larger file is embedded as a smaller copy of about this size at most.

    Raises:
        MediaError: The file is no video.
        ValueError: The clip cannot be made small enough.
    """
    source = _Source(poster, embed, Path(relative_to), clip_bytes)
    figure = source.figure(path, caption, correct, score)
    return HTML(f'{STYLE}<div class="avid"><div style="max-width:{width:d}px">{figure}</div></div>')


def gallery(
    query_path: StrPath | None,
    paths: Sequence[StrPath],
    captions: Sequence[str],
    correct: Sequence[Any] | np.ndarray | Tensor | None = None,
    scores: Sequence[Any] | np.ndarray | Tensor | None = None,
    *,
    query_caption: str = "query",
    title: str | None = None,
    columns: int = 5,
    poster: bool = True,
    embed: bool = True,
    relative_to: StrPath = ".",
    clip_bytes: int = CLIP_BYTES,
    limit_bytes: int = 3_000_000,
) -> HTML:
    """A query and what it retrieved, best first, all to play; or, without a query, a grid of clips.

    Args:
        query_path: Video file of the query, or ``None``.
        paths: Video files of the results.
        captions: One text a result, its class for instance.
        correct: Whether each result is right: framed green with a tick, or orange with a cross.
        scores: One number a result, its similarity for instance.
        query_caption: Text below the query.
        title: Heading.
        columns: Most results in a row; narrow pages show fewer.
        poster: Show each clip's middle frame until it plays.
        embed: Put the clips into the page; if not, link the files where they lie.
        relative_to: Folder of the page that links them.
        clip_bytes: A larger file is embedded as a smaller copy of about this size at most.
        limit_bytes: Most that the whole gallery may weigh.

    Raises:
        MediaError: A file is no video.
        ValueError: Lengths that differ, or more than ``limit_bytes``.
    """
    for name, values in (("captions", captions), ("correct", correct), ("scores", scores)):
        if values is not None and len(values) != len(paths):
            raise ValueError(f"{name} must have one entry for each of the {len(paths)} paths; got {len(values)}")
    if columns < 1:
        raise ValueError(f"columns must be >= 1; got {columns}")
    source = _Source(poster, embed, Path(relative_to), clip_bytes)
    cells = []
    for number, (path, caption) in enumerate(zip(paths, captions, strict=True)):
        verdict = None if correct is None else bool(correct[number])
        score = None if scores is None else float(scores[number])
        cells.append(source.figure(path, caption, verdict, score, f"{number + 1}. "))
    query = (
        f'<div class="avid-query">{source.figure(query_path, query_caption)}</div>' if query_path is not None else ""
    )
    heading = f'<div class="avid-title">{escape(title)}</div>' if title else ""
    columns = min(columns, max(len(cells), 1)) if query else columns
    page = (
        f'{STYLE}<div class="avid" role="group" aria-label="{escape(title or "clips")}">{heading}'
        f'<div class="avid-row">{query}<div class="avid-grid" style="--avid-columns:{columns:d}">{"".join(cells)}'
        "</div></div></div>"
    )
    if len(page) > limit_bytes:
        raise ValueError(
            f"a gallery may weigh at most limit_bytes = {limit_bytes / 1e6:.1f} MB; these {len(paths)} clips weigh "
            f"{len(page) / 1e6:.1f} MB. Show fewer, lower clip_bytes, or link the files with embed=False."
        )
    return HTML(page)


def playable(path: StrPath, max_bytes: int = CLIP_BYTES) -> bytes:
    """A clip's bytes, small enough to embed: the file itself, or a copy of smaller picture size and quality.

    Args:
        path: A video file.
        max_bytes: Most it may weigh.

    Raises:
        MediaError: The file is no video.
        ValueError: No copy is small enough; the clip is too long.
    """
    path = Path(path)
    if path.suffix.lower() in (".mp4", ".m4v") and path.is_file() and 0 < path.stat().st_size <= max_bytes:
        media.probe(path)  # a broken file is found here, and not by a player that stays black
        return path.read_bytes()
    stamp = path.stat().st_mtime_ns if path.exists() else 0
    return _smaller(path, stamp, max_bytes)


@lru_cache(maxsize=256)
def _smaller(path: Path, _modified: int, max_bytes: int) -> bytes:
    """The best copy of at most ``max_bytes``."""
    info = media.probe(path)
    fps = min((info.video.fps if info.video else None) or 15.0, 15.0)
    video = VideoSpec(max(1, int(info.duration_s * fps)), fps, None) if info.video else None
    audio = AudioSpec(24_000, info.duration_s, frames=1) if info.audio else None
    clip = media.read_clip(path, 0.0, video, audio)
    data = b""
    with tempfile.TemporaryDirectory() as folder:
        for side, crf, kbps in SHRINKING:
            frames = None if clip.video is None else _resized(clip.video, side)
            copy = media.Clip(frames, clip.audio, clip.fps, clip.rate)
            data = media.write_clip(Path(folder) / "copy.mp4", copy, crf=crf, audio_kbps=kbps).read_bytes()
            if len(data) <= max_bytes:
                return data
    raise ValueError(
        f"{path} lasts {info.duration_s:.1f} s and cannot be made smaller than {len(data) / 1e3:.0f} kB; the limit is "
        f"{max_bytes / 1e3:.0f} kB. Raise clip_bytes, cut the clip, or link it with embed=False."
    )


def _resized(frames: Tensor, side: int) -> Tensor:
    """Frames with a shorter side of at most ``side`` and even sides, as H.264 wants them: uint8 (3, T, H, W)."""
    height, width = frames.shape[-2:]
    scale = min(1.0, side / min(height, width))
    size = [max(2, 2 * round(scale * length / 2)) for length in (height, width)]
    if size == [height, width]:
        return frames
    resized = interpolate(frames.transpose(0, 1).float(), size, mode="bilinear", antialias=True)  # (T, 3, H, W)
    return resized.round().clamp(0, 255).byte().transpose(0, 1).contiguous()


class _Source:
    """How the clips of one page come in: embedded or linked, with or without a still."""

    def __init__(self, poster: bool, embed: bool, relative_to: Path, clip_bytes: int) -> None:
        self.poster, self.embed, self.relative_to, self.clip_bytes = poster, embed, relative_to, clip_bytes

    def figure(
        self, path: StrPath, caption: str, correct: bool | None = None, score: float | None = None, place: str = ""
    ) -> str:
        """One clip with its caption and verdict."""
        kind, symbol, words, colour = {
            None: ("", "", "", "#8f99a3"),
            True: ("avid-good", "✓", "right", GOOD),
            False: ("avid-bad", "✗", "wrong", BAD),
        }[correct]
        number = "" if score is None else f"{score:.2f}"
        spoken = [f"{place}{caption}".replace("\n", ", "), words, f"score {number}" if number else ""]
        label = escape(", ".join(part for part in spoken if part) or "clip")
        video = f'<video {CONTROLS} aria-label="{label}"'
        if symbol:
            badge = f'<span class="avid-badge" aria-hidden="true">{symbol}</span>'
            symbol = f'{badge} <span class="avid-words">{words}</span>'
        number = f' <span class="avid-score">{number}</span>' if number else ""
        return (
            f'<figure class="{kind}" style="{BARE}"><div class="avid-frame" style="border:3px solid {colour}">'
            f'{video} width="100%" src="{self._address(path)}"{self._poster(path)}></video>{symbol}</div>'
            f"<figcaption>{escape(caption)}{number}</figcaption></figure>"
        )

    def _address(self, path: StrPath) -> str:
        if self.embed:
            return f"data:video/mp4;base64,{base64.b64encode(playable(path, self.clip_bytes)).decode()}"
        media.probe(path)
        return escape(quote(Path(os.path.relpath(path, self.relative_to)).as_posix()))

    def _poster(self, path: StrPath) -> str:
        data = still(path) if self.poster else b""
        return f' poster="data:image/jpeg;base64,{base64.b64encode(data).decode()}"' if data else ""


def still(path: StrPath) -> bytes:
    """A clip's middle frame as JPEG, at most 192 pixels on its shorter side; empty where there is no picture.

    Args:
        path: A video file.

    Raises:
        MediaError: The file is no video.
    """
    path = Path(path)
    return _still(path, path.stat().st_mtime_ns if path.exists() else 0)


@lru_cache(maxsize=4096)
def _still(path: Path, _modified: int) -> bytes:
    info = media.probe(path)
    if info.video is None:
        return b""
    middle = info.video.start_s + info.video.duration_s / 2
    frame = media.read_clip(path, middle, VideoSpec(1, info.video.fps or 15.0, None), None).video
    assert frame is not None  # a video was asked for
    return _jpeg(_resized(frame, 192))


def _jpeg(frame: Tensor) -> bytes:
    with BytesIO() as buffer:
        picture = np.ascontiguousarray(frame[:, 0].permute(1, 2, 0).numpy())  # (H, W, 3)
        imsave(buffer, picture, format="jpg", pil_kwargs={"quality": 72, "optimize": True})
        return buffer.getvalue()

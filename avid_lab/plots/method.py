"""A picture of the whole method, of which parts can be lit, and a film of a few training steps."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import numpy as np
from matplotlib.axes import Axes
from PIL import Image

from avid_lab.plots.chart import Area, Axis, Bars, Line, Mark, Plot, Text
from avid_lab.plots.render import draw
from avid_lab.plots.style import AUDIO, GOOD, VIDEO

KINDS = ("cross", "self", "joint", "cma")
PARTS = ("clip", "encoders", "heads", "memory", "negatives", "positives", "loss", "gradient", "update")

PULL, PUSH = GOOD, "#b5478c"
FILM = Path(__file__).with_suffix(".gif")
# A dark notebook reverses the film's lightness and keeps its hues.
ON_DARK = '<style>[data-jp-theme-light="false"] .avid-film{filter:invert(.925) hue-rotate(180deg)}</style>'
SIZE = (760, 422)  # of the picture, in screen pixels
UP, DOWN = 308.0, 118.0  # heights of the picture's row and the sound's row
CENTRE, RADIUS = (646.0, 213.0), 92.0  # of the circle
TABLE, ROW, ROWS = (388.0, 462.0), 14.0, 9  # of the memory: left and right edge, height of a row, rows of a table
OWN, DRAWN, AGREE = 4, (0, 2, 6, 8), (3, 5, 7)  # rows: of the clip, of its negatives, of its positives
TEMPERATURE, RATE, MOMENTUM = 0.35, 0.05, 0.5  # of the drawn training


@dataclass(frozen=True, eq=False)
class Moment:
    """Angles on the drawn circle, in radians.

    Attributes:
        video: Of the picture's embedding.
        audio: Of the sound's embedding.
        video_notes: Of notes of pictures, the clip's own first.
        audio_notes: Of notes of sounds, the clip's own first.
    """

    video: float
    audio: float
    video_notes: np.ndarray
    audio_notes: np.ndarray

    def towards(self, other: Moment, share: float) -> Moment:
        """A moment on the way to another."""
        both = ((getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        return Moment(*(a + share * (b - a) for a, b in both))


START = Moment(np.radians(35), np.radians(140), np.radians([18, 205, 255, 305]), np.radians([118, 88, 350, 275]))
Z = float(np.exp(np.cos(START.video - START.audio_notes[1:]) / TEMPERATURE).mean())  # estimated at the start, then kept
AGREEING = np.radians([[53, 68], [158, 173]])  # notes of positives: of pictures, of sounds


def method(
    lit: str | Sequence[str] | None = None, *, kind: str = "cross", title: str = "", ax: Axes | None = None
) -> Axes:
    """The method in one picture: a clip, two networks, the memory, the comparison, the gradient.

    Args:
        lit: The parts to show in colour, names from `PARTS`; the others become pale. None shows all in colour.
        kind: What is compared: across the senses ("cross"), within them ("self"), both ("joint"), or across them and
            with mined positives within ("cma").
        title: Title.
        ax: Axes to draw in.

    Raises:
        ValueError: A part or kind that does not exist.
    """
    return draw(method_plot(lit, kind=kind, title=title), ax, (SIZE[0] / 96, (SIZE[1] + 24 * bool(title)) / 96))


def method_plot(
    lit: str | Sequence[str] | None = None, *, kind: str = "cross", title: str = "", moment: Moment = START
) -> Plot:
    """What `method` draws.

    Args:
        lit: As there.
        kind: As there.
        title: As there.
        moment: Where embeddings and notes are on the circle.
    """
    bright = PARTS if lit is None else (lit,) if isinstance(lit, str) else tuple(lit)
    if unknown := sorted(set(bright) - set(PARTS)):
        raise ValueError(f"lit must be of {', '.join(PARTS)}; got {', '.join(unknown)}")
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}; got {kind!r}")
    parts = {
        "gradient": _gradient(),
        "update": _update(),
        "clip": _clip(),
        "encoders": _encoders(),
        "heads": _heads(),
        "memory": _memory(),
        "positives": _positives(moment) if kind == "cma" else [],
        "negatives": _negatives(moment),
        "loss": _loss(kind, moment),
        "points": _points(moment),
    }
    if {"loss", "update", "heads"} & set(bright):
        bright = (*bright, "points")
    marks = [
        replace(cast(Any, mark), name=part) if part in bright else _pale(mark, part)
        for part, own in parts.items()
        for mark in own
    ]
    return Plot(marks, Axis(0, SIZE[0], ticks="none"), Axis(0, SIZE[1], ticks="none"), title, equal=True)


class Film:
    """A short moving picture, which a notebook shows by itself and repeats.

    Attributes:
        gif: The file.
        alt: What it shows.
    """

    def __init__(self, gif: bytes, alt: str) -> None:
        self.gif, self.alt = gif, alt

    def _repr_html_(self) -> str:
        data = base64.b64encode(self.gif).decode()
        alt = html.escape(self.alt, quote=True)
        return f'{ON_DARK}<img class="avid-film" src="data:image/gif;base64,{data}" alt="{alt}" style="max-width:100%">'

    def __repr__(self) -> str:
        return f"Film({self.alt!r})"


def method_film() -> Film:
    """Two training steps of Cross-AVID on a circle: the forces of NCE's gradient, its step, the notes that follow."""
    what = "Two training steps: pull and pushes, a step of the gradient, the clip's notes follow"
    return Film(FILM.read_bytes(), what)


def draw_film(steps: int = 2) -> bytes:
    """The GIF of `method_film`: ``FILM.write_bytes(draw_film())`` draws it anew.

    Args:
        steps: Number of training steps.
    """
    pictures, times = [], []
    for lit, title, moment, milliseconds in _scenes(steps):
        plot = method_plot(lit, title=title, moment=moment)
        figure: Any = draw(plot, None, (SIZE[0] / 96, (SIZE[1] + 24) / 96)).get_figure(root=True)
        with BytesIO() as buffer:
            figure.savefig(buffer, format="png", dpi=120)
            pictures.append(Image.open(buffer).convert("RGB"))
        times.append(milliseconds)
    palette = pictures[-1].quantize(192, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    small = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    with BytesIO() as buffer:
        small[0].save(buffer, "gif", save_all=True, append_images=small[1:], duration=times, loop=0, optimize=False)
        return buffer.getvalue()


# --- a few training steps ---------------------------------------------------------------------------------------------


def _scenes(steps: int) -> Iterator[tuple[tuple[str, ...], str, Moment, int]]:
    """Parts to light, title, moment and milliseconds of each picture of the film."""
    now, shares = START, (0.2, 0.4, 0.6, 0.8, 1.0)
    yield ("clip", "encoders", "heads"), "A clip becomes two points on a circle", now, 1800
    for step in range(1, steps + 1):
        moved, followed = _step(now)
        yield ("memory", "negatives"), f"Step {step}: the clip's own notes, and K others", now, 1600
        yield ("loss", "negatives"), f"Step {step}: one pull, and a push from each negative", now, 2200
        title = f"Step {step}: the gradient changes the networks"
        for share in shares:
            yield ("loss", "gradient"), title, now.towards(moved, share), 100 if share < 1 else 900
        title = f"Step {step}: the clip's own notes follow"
        for share in shares:
            yield ("memory", "update"), title, moved.towards(followed, share), 100 if share < 1 else 1400
        now = followed
    yield PARTS, "And again, with other clips", now, 3000


def _step(now: Moment) -> tuple[Moment, Moment]:
    """The moment after the gradient's step, and after the update of the clip's own notes."""
    video = now.video - RATE * _slope(now.video, now.audio_notes)
    audio = now.audio - RATE * _slope(now.audio, now.video_notes)
    moved = replace(now, video=video, audio=audio)
    notes = [
        np.concatenate([[MOMENTUM * old[0] + (1 - MOMENTUM) * new], old[1:]])
        for old, new in ((now.video_notes, video), (now.audio_notes, audio))
    ]
    return moved, replace(moved, video_notes=notes[0], audio_notes=notes[1])


def _beliefs(query: float, notes: np.ndarray) -> np.ndarray:
    """P(real) of every note; for the first, the clip's own, 1 - P(real): the sizes of pull and pushes."""
    odds = np.exp(np.cos(query - notes) / TEMPERATURE) / ((len(notes) - 1) * Z)
    real = odds / (1 + odds)
    return np.concatenate([1 - real[:1], real[1:]])


def _slope(query: float, notes: np.ndarray) -> float:
    """The gradient of the NCE loss with respect to a query's angle."""
    sizes = _beliefs(query, notes) * np.array([-1, *[1] * (len(notes) - 1)])
    return float((sizes * -np.sin(query - notes)).sum() / TEMPERATURE)


# --- the parts --------------------------------------------------------------------------------------------------------


def _pale(mark: Mark, part: str) -> Mark:
    """A mark in the colour of what is not talked about."""
    if isinstance(mark, (Area, Text)) and mark.colour == "paper":
        return replace(mark, name=part)
    if isinstance(mark, Bars):
        return replace(mark, colours="faint", alpha=0.35 * float(mark.alpha), name=part)
    if isinstance(mark, Area):
        return replace(mark, colour="faint", alpha=0.35 * float(mark.alpha), name=part)
    return replace(cast(Any, mark), colour="faint", name=part)


def _box(
    left: float | int, low: float | int, right: float | int, high: float | int, colour: str, alpha: float | int = 0.16
) -> Area:
    """A rectangle with round corners."""
    r = min(6.0, (high - low) / 2, (right - left) / 2)
    turn = np.linspace(0, np.pi / 2, 8)
    corners = ((right - r, high - r, 0), (left + r, high - r, 1), (left + r, low + r, 2), (right - r, low + r, 3))
    x = np.concatenate([cx + r * np.cos(turn + q * np.pi / 2) for cx, _, q in corners])
    y = np.concatenate([cy + r * np.sin(turn + q * np.pi / 2) for _, cy, q in corners])
    return Area(np.append(x, x[0]), np.append(y, y[0]), None, colour, alpha=alpha, width=1.4)


def _arrow(
    path: Sequence[Any], colour: str = "muted", width: float | int = 1.6, dash: tuple[int, ...] = ()
) -> list[Mark]:
    """A line through points, with a head at the last."""
    points = np.array(path, dtype=float)
    along = (points[-1] - points[-2]) / max(float(np.linalg.norm(points[-1] - points[-2])), 1e-9)
    across, size = np.array([-along[1], along[0]]), 8 + 1.7 * width
    head = [
        points[-1],
        points[-1] - size * along + 0.42 * size * across,
        points[-1] - size * along - 0.42 * size * across,
    ]
    points[-1] -= 0.8 * size * along
    x, y = np.array([*head, head[0]]).T
    return [
        Line(points[:, 0], points[:, 1], colour, width=width, dash=dash),
        Area(x, y, None, colour, alpha=1.0, width=0.5),
    ]


def _between(start: np.ndarray, end: np.ndarray, colour: str, width: float | int) -> list[Mark]:
    """An arrow between two points of the circle, which leaves the points free."""
    gap = (end - start) / max(float(np.linalg.norm(end - start)), 1e-9)
    return _arrow([start + 9 * gap, end - 9 * gap], colour, width)


def _words(
    x: float | int, y: float | int, words: str, colour: str = "ink", *, bold: bool = False, size: int = 14
) -> Text:
    return Text(x, y, words, colour, align="center", bold=bold, size=size)


def _clip() -> list[Mark]:
    marks: list[Mark] = []
    for back, ball in ((2, 10), (1, 22), (0, 6)):  # three frames of a bouncing ball
        left, low = 14 + 9 * back, UP - 24 + 9 * back
        frame = _box(left, low, left + 58, low + 46, VIDEO, 0.3)
        marks += [replace(frame, colour="paper", alpha=1.0), replace(frame, alpha=0.16)]
        turn = np.linspace(0, 2 * np.pi, 20)
        marks.append(
            Area(left + 29 + 7 * np.cos(turn), low + 6 + ball + 7 * np.sin(turn), None, VIDEO, alpha=0.9, width=0)
        )
    time = np.linspace(0, 1, 240)
    hits = sum(np.exp(-14 * (time - at)) * (time >= at) for at in (0.08, 0.42, 0.72))
    wave = 24 * hits * np.sin(260 * time)
    marks += [_box(12, DOWN - 28, 92, DOWN + 28, AUDIO), Line(18 + 68 * time, DOWN + wave, AUDIO, width=1.1)]
    marks += [_words(52, 222, "one clip i", bold=True), _words(52, 203, "no label", "muted", size=13)]
    marks += [Line([52, 52], [238, UP - 30], "muted", width=1.2), Line([52, 52], [190, DOWN + 34], "muted", width=1.2)]
    return marks


def _encoders() -> list[Mark]:
    marks: list[Mark] = []
    for y, colour, name in ((UP, VIDEO, "video"), (DOWN, AUDIO, "audio")):
        x = [126, 126, 202, 202, 126]
        marks += _arrow([(98, y), (122, y)])
        marks.append(Area(x, [y - 44, y + 44, y + 27, y - 27, y - 44], None, colour, alpha=0.16, width=1.4))
        marks += [_words(163, y + 9, name, colour, bold=True), _words(163, y - 9, "encoder", colour)]
    return marks


def _heads() -> list[Mark]:
    marks: list[Mark] = []
    for y, colour, name in ((UP, VIDEO, "v"), (DOWN, AUDIO, "a")):
        marks += [*_arrow([(206, y), (224, y)]), _box(228, y - 20, 272, y + 20, colour), _words(250, y, "head", colour)]
        marks += [
            *_arrow([(276, y), (292, y)]),
            _embedding(304, y, colour),
            _words(304, y + 50, f"{name}ᵢ", colour, bold=True, size=16),
        ]
    return marks


def _embedding(x: float | int, y: float | int, colour: str) -> Bars:
    """A vector as a column of cells."""
    low = y - 30 + 10 * np.arange(6)
    return Bars([x - 6] * 6, [x + 6] * 6, low, low + 9, colour, alpha=0.75)


def _rows(y: float | int, rows: Sequence[int], colour: str, alpha: float | int) -> Bars:
    low = y + ROW * ((ROWS - 1) / 2 - np.array(rows)) - ROW / 2 + 1.5
    return Bars([TABLE[0]] * len(rows), [TABLE[1]] * len(rows), low, low + ROW - 3, colour, alpha=alpha)


def _memory() -> list[Mark]:
    middle, half = sum(TABLE) / 2, ROW * ROWS / 2
    marks: list[Mark] = [_words(middle, 213, "memory", bold=True)]
    for y, colour, name, side in ((UP, VIDEO, "notes of pictures v̄", 1), (DOWN, AUDIO, "notes of sounds ā", -1)):
        marks.append(_box(TABLE[0] - 6, y - half - 4, TABLE[1] + 6, y + half + 4, colour, 0.05))
        marks += [_rows(y, range(ROWS), colour, 0.18), _rows(y, [OWN], colour, 0.95)]
        marks.append(_words(middle, y + side * (half + 17), name, colour, size=13))
        marks.append(_words(middle, y, "i", "paper", bold=True, size=13))
    return marks


def _negatives(moment: Moment) -> list[Mark]:
    marks: list[Mark] = [_rows(y, DRAWN, PUSH, 0.75) for y in (UP, DOWN)]
    marks += [Text(478, UP + 60, "K negatives,", PUSH, size=13), Text(478, UP + 43, "drawn at random", PUSH, size=13)]
    for notes, colour in ((moment.video_notes, VIDEO), (moment.audio_notes, AUDIO)):
        x, y = _on_circle(notes[1:])
        marks.append(Line(x, y, colour, width=0, dots=4.5, hollow=True))
    return marks


def _positives(moment: Moment) -> list[Mark]:
    marks: list[Mark] = [_rows(y, AGREE, PULL, 0.85) for y in (UP, DOWN)]
    marks += [
        Text(TABLE[1] + 14, 222, "positives:", PULL, size=13),
        Text(TABLE[1] + 14, 205, "they agree", PULL, size=13),
    ]
    for query, angles, colour in zip((moment.video, moment.audio), AGREEING, (VIDEO, AUDIO), strict=True):
        here = np.array(_on_circle(query))
        for place in np.stack(_on_circle(angles), axis=1):
            marks += [
                *_between(here, place, PULL, 1.2),
                Line(place[:1], place[1:], colour, width=0, dots=5, hollow=True),
            ]
    return marks


def _loss(kind: str, moment: Moment) -> list[Mark]:
    turn = np.linspace(0, 2 * np.pi, 90)
    circle = Line(CENTRE[0] + RADIUS * np.cos(turn), CENTRE[1] + RADIUS * np.sin(turn), "faint", width=1.4)
    marks: list[Mark] = [*_comparisons(kind), circle]
    for query, notes in ((moment.video, moment.audio_notes), (moment.audio, moment.video_notes)):
        here, places = np.array(_on_circle(query)), np.stack(_on_circle(notes), axis=1)
        for place, size, own in zip(places, _beliefs(query, notes), (True, *[False] * (len(notes) - 1)), strict=True):
            if size > 0.04:
                width = 0.8 + 2.6 * float(size)
                marks += _between(here, place, PULL, width) if own else _between(place, here, PUSH, width)
    for down, words, colour in ((6, "NCE loss", "ink"), (28, "pull", PULL), (48, "pushes", PUSH)):
        marks.append(_words(CENTRE[0], CENTRE[1] - down, words, colour, bold=True))
    return marks


def _points(moment: Moment) -> list[Mark]:
    """The clip's embeddings and its own notes."""
    marks: list[Mark] = []
    for query, own, colour, name in (
        (moment.video, moment.video_notes[0], VIDEO, "v"),
        (moment.audio, moment.audio_notes[0], AUDIO, "a"),
    ):
        (x, y), (note_x, note_y) = _on_circle(query), _on_circle(own)
        marks.append(Line([note_x], [note_y], colour, width=0, dots=6.5, hollow=True))
        marks.append(Line([x], [y], colour, width=0, dots=7.5))
        out_x, out_y = _on_circle(query, 1.22)
        marks.append(_words(out_x, out_y, f"{name}ᵢ", colour, bold=True, size=15))
    marks.append(_words(CENTRE[0], CENTRE[1] - RADIUS - 20, "● now   ○ note", "muted", size=13))
    return marks


def _comparisons(kind: str) -> list[Mark]:
    """Lines from the embeddings to the notes that they are compared with, and on to the circle."""
    marks: list[Mark] = []
    pairs = {"across": ((UP, DOWN, VIDEO), (DOWN, UP, AUDIO)), "within": ((UP, UP, VIDEO), (DOWN, DOWN, AUDIO))}
    for name in {"cross": ("across",), "self": ("within",), "joint": ("across", "within"), "cma": ("across", "within")}[
        kind
    ]:
        for start, end, colour in pairs[name]:
            shift = -14 if name == "within" else 0
            marks += _arrow([(314, start + shift), (374, end + shift)], colour, 2.2)
    for y in (UP, DOWN):
        marks += _arrow([(474, y), (CENTRE[0] - RADIUS - 16, CENTRE[1] + 0.2 * (y - CENTRE[1]))])
    return marks


def _gradient() -> list[Mark]:
    marks: list[Mark] = []
    x, right = 163.0, CENTRE[0]
    for start, bottom, y in ((CENTRE[1] - RADIUS - 34, 26, DOWN - 50), (CENTRE[1] + RADIUS + 16, SIZE[1] - 8, UP + 50)):
        marks += _arrow([(right, start), (right, bottom), (x, bottom), (x, y)], "ink", 1.6, (6, 4))
    marks.append(Text(TABLE[0] + 20, 11, "gradient: into the networks, never into the notes", align="center", size=13))
    return marks


def _update() -> list[Mark]:
    marks: list[Mark] = []
    for y, colour in ((UP, VIDEO), (DOWN, AUDIO)):
        marks += _arrow([(314, y + 16), (374, y + 6)], colour, 1.4, (3, 3))
    marks.append(_words(344, UP + 34, "update", "muted", size=13))
    return marks


def _on_circle(angle: Any, reach: float = 1.0) -> tuple[Any, Any]:
    return CENTRE[0] + reach * RADIUS * np.cos(angle), CENTRE[1] + reach * RADIUS * np.sin(angle)

"""Clips side by side as stills; a click plays one in place. Files are sent only when they are played."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import traitlets
from matplotlib.image import imread

from avid_lab.interactive.players import (
    Excerpt,
    Part,
    StrPath,
    Window,
    clock,
    dubbed,
    excerpt,
    glimpse,
    spectrum,
    still,
)
from avid_lab.interactive.ranking import two_digits
from avid_lab.interactive.script import Scripted, script, text
from avid_lab.media import MediaError
from avid_lab.plots.style import AUDIO, FAINT, VIDEO, NotebookFigure, add_axes

CLIP_BYTES = 250_000  # of one message; nothing of it stays in the notebook
PIECE_S = 15.0  # of a file that plays from its beginning, at a time


@dataclass(frozen=True)
class ShelfItem:
    """One clip on a shelf.

    Attributes:
        path: The clip's file.
        title: First line of the caption.
        note: Second line, in small type.
        correct: Whether to mark it as right (tick) or wrong (cross); None for neither.
        score: Number next to the title.
        warning: A fault of the clip itself, which has a mark of its own.
        window: The relevant seconds of the file; they play first, the rest on demand.
        part: Whether it is only heard, or only seen. What is only seen plays in a loop, next to the others.
        dub: Another clip, and its window, whose sound is heard instead of its own.
    """

    path: StrPath
    title: str
    note: str = ""
    correct: bool | None = None
    score: float | None = None
    warning: str = ""
    window: Window | None = None
    part: Part = "both"
    dub: tuple[StrPath, Window | None] | None = None


class Shelf(Scripted):
    """A row of clips to play. Stills appear at once; an excerpt is fetched when its clip is played.

    For a longer file, the relevant window plays first, with a few seconds around it. A button below it plays the whole
    file in pieces, from any position.

    Only one clip plays at a time, and a page has at most four players: older ones turn back into stills. Tab, Enter and
    the players' own keys reach everything.

    Args:
        label: Description of the clips, for screen readers.
        width: Largest width of a clip in pixels.
        clip_bytes: Size limit of an excerpt, in bytes.
        letters: Whether the keys A, B, ... play the clips while the panel has the focus.
        ear: Whether a clip that plays shows its spectrogram, with a line at what sounds now.

    Attributes:
        playing: Position of the clip that was started last, -1 for none; set it to start a clip.
    """

    _script = script("dom.js", "shelf.js")
    _css = text("shelf.css")

    playing = traitlets.Int(-1).tag(sync=True)

    _label = traitlets.Unicode().tag(sync=True)
    _width = traitlets.Int(150).tag(sync=True)
    _letters = traitlets.Bool().tag(sync=True)
    _items = traitlets.List(traitlets.Dict()).tag(sync=True)

    def __init__(
        self, label: str, *, width: int = 150, clip_bytes: int = CLIP_BYTES, letters: bool = False, ear: bool = False
    ) -> None:
        super().__init__(_label=label, _width=width, _letters=letters)
        self._clip_bytes, self._ear = clip_bytes, ear
        self.items: list[ShelfItem] = []
        self._keys: dict[tuple[Any, ...], int] = {}  # a page recognises a clip by its key and never sees its path
        self.on_msg(self._asked)

    def show(self, items: Sequence[ShelfItem], play: int = -1) -> None:
        """Show these clips. A clip that keeps its position continues to play.

        Args:
            items: The clips, from left to right. One that cannot be shown is replaced by the reason.
            play: Position of the clip to start, -1 for none.
        """
        shown = [self._front(item) for item in items]
        if [one["key"] for one in shown] != [one["key"] for one in self._items]:
            self.playing = -1
        self.items = list(items)
        self._items = shown
        self.playing = play if play >= 0 else self.playing

    def _front(self, item: ShelfItem) -> dict[str, Any]:
        path = Path(item.path)
        picture, problem, modified = b"", "", 0
        try:
            picture, modified = still(path, item.window), path.stat().st_mtime_ns
            picture = b"" if item.part == "sound" else picture
        except MediaError as error:
            problem = f"Cannot be shown: {path.name}: {error.problem}."
        key = self._keys.setdefault((str(path), modified, item.window, item.part, item.dub), len(self._keys))
        return {
            "key": key,
            "title": item.title,
            "note": item.note,
            "verdict": {None: "", True: "right", False: "wrong"}[item.correct],
            "score": "" if item.score is None else two_digits(item.score),
            "warning": item.warning,
            "problem": problem,
            "part": item.part,
            "still": f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}" if picture else "",
        }

    def _asked(self, _widget: Any, message: Any, _buffers: Any) -> None:
        """``{"fetch": place}`` requests an excerpt, ``{"fetch": place, "at": seconds}`` the file from that time on."""
        place = message.get("fetch") if isinstance(message, dict) else None
        if not isinstance(place, int) or not 0 <= place < len(self.items):
            return
        answer, at_s = {"place": place, "key": self._items[place]["key"]}, message.get("at")
        try:
            data = self._excerpt(self.items[place], at_s if isinstance(at_s, int | float) else None)
        except MediaError as error:  # without the folders of its path
            self.send(answer | {"problem": f"{Path(error.path).name}: {error.problem}. {error.fix}"})
        except (ValueError, OSError) as problem:
            self.send(answer | {"problem": str(problem)})
        else:
            window = self.items[place].window if at_s is None else None
            about = {
                "begin": data.begin_s,
                "end": data.end_s,
                "length": data.duration_s,
                "clock": clock(data.duration_s),
            }
            # Its place in the file would say which file it is; a dubbed clip has no rest.
            hidden = self.items[place].part != "both" or self.items[place].dub is not None
            said = [] if hidden else [data.place(window)]
            if self.items[place].part == "both":
                said.append(data.missing)
            about |= {"whole": hidden or data.whole, "part": ", ".join(filter(None, said))}
            ear = [spectrum(data.data)] if self._ear and data.heard else []
            self.send(answer | {"type": "video/mp4"} | about, [data.data, *ear])

    def _excerpt(self, item: ShelfItem, at_s: int | float | None) -> Excerpt:
        if item.dub:
            return dubbed(item.path, item.dub[0], item.window, item.dub[1], self._clip_bytes)
        if at_s is None:
            return excerpt(item.path, item.window, self._clip_bytes, part=item.part)
        at_s = max(0.0, at_s)
        return excerpt(item.path, (at_s, at_s + PIECE_S), self._clip_bytes, context_s=0.0)


def draw_stills(figure: NotebookFigure, cells: Sequence[Any], items: Sequence[ShelfItem]) -> None:
    """Draw clips of a shelf as stills in the cells of a figure; the frame shows the verdict."""
    for cell, item in zip(cells, items, strict=False):
        ax = add_axes(figure, cell)
        if frame := glimpse(item.path, item.window):
            ax.imshow(imread(BytesIO(frame), format="jpg"))
        sign = {None: "", True: "✓ ", False: "✗ "}[item.correct]
        ax.set_title(f"{sign}{item.title}", fontsize=8, pad=3)
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set(visible=True, linewidth=2.5, color={None: FAINT, True: VIDEO, False: AUDIO}[item.correct])

"""Controls to choose a query by number, class, at random or by difficulty; and pages of results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import ipywidgets as widgets
import numpy as np
import traitlets

from avid_lab.interactive.panel import Panel
from avid_lab.interactive.shelf import Shelf, ShelfItem

FLOW = {"flex_flow": "row wrap", "align_items": "center"}
NARROW = {"width": "auto"}
MOST_NAMED = 6  # classes in a census
FRAME_MS = 600  # of a film: points fly for half of it


def census(selected: Sequence[int], labels: np.ndarray, classes: Sequence[str]) -> str:
    """What a lasso caught, as HTML: "37 clips: 81 % gong, 19 % bell"; empty for fewer than two clips."""
    if len(selected) < 2:
        return ""
    counts = Counter(classes[int(labels[i])] for i in selected).most_common()
    parts = ", ".join(f"{count / len(selected):.0%} {escape(name)}" for name, count in counts[:MOST_NAMED])
    rest = len(counts) - MOST_NAMED
    return f"<b>{len(selected)} clips</b>: {parts}{f' and {rest} more classes' if rest > 0 else ''}"


def film(snapshot: widgets.IntSlider) -> widgets.Play:
    """A button that runs through the snapshots of a training; hidden if there is only one."""
    play = widgets.Play(min=snapshot.min, max=snapshot.max, interval=FRAME_MS, show_repeat=False)
    play.layout.display = "none" if snapshot.max == snapshot.min else ""
    play.layout.width = "100px"
    # In the kernel, not in the page: a slider that restores a state then leads, and the button follows.
    traitlets.link((snapshot, "value"), (play, "value"))
    return play


class QueryPicker:
    """Controls that choose one clip as the query of a panel; its number is the panel's control ``query``.

    Args:
        panel: The panel.
        labels: (N,) class of each clip.
        classes: Names of the classes.
        badness: Returns (N,) numbers; the button goes through the clips from the highest number down.
        hard: Label of the button that steps through the hard clips.
        hard_tip: Tooltip of that button.

    Attributes:
        row: The widgets.
    """

    def __init__(
        self,
        panel: Panel,
        labels: np.ndarray,
        classes: Sequence[str],
        badness: Callable[[], np.ndarray],
        hard: str,
        hard_tip: str,
    ) -> None:
        self._labels, self._badness, self._place = labels, badness, -1
        self._random = np.random.default_rng(0)
        slider = widgets.IntSlider(0, 0, len(labels) - 1, description="query", layout={"width": "310px"})
        self.number = panel.add_control("query", slider)
        present = sorted(set(labels.tolist()))
        self.of_class = widgets.Dropdown(
            options=[("any class", -1), *((classes[c], c) for c in present)],
            tooltip="Queries of this class only",
            layout={"width": "130px"},
        )
        self.random = widgets.Button(description="random", tooltip="A random query", layout=NARROW)
        self.hard = widgets.Button(description=hard, tooltip=hard_tip, layout=NARROW)
        self.row = [self.number, self.of_class, self.random, self.hard]
        self.of_class.observe(self._of_another_class, "value")
        self.random.on_click(lambda _: self.go(int(self._random.choice(self.candidates()))))
        self.hard.on_click(lambda _: self.go(self.next_hard()))

    def go(self, query: int) -> None:
        """Choose another clip as the query."""
        self.number.value = query

    def candidates(self) -> list[int]:
        """Clips of the chosen class."""
        wanted = self.of_class.value
        return [i for i, label in enumerate(self._labels.tolist()) if wanted in (-1, label)]

    def next_hard(self) -> int:
        """The hardest query; the next call returns the next one in order."""
        badness = self._badness()
        order = sorted(self.candidates(), key=lambda i: (-badness[i], i))
        self._place = (self._place + 1) % len(order)
        return order[self._place]

    def restart(self, _change: Any = None) -> None:
        """Start again at the hardest query; fits ``widget.observe``."""
        self._place = -1

    def _of_another_class(self, _change: Any) -> None:
        self.restart()
        if self.number.value not in (candidates := self.candidates()):
            self.go(candidates[0])


class Pages:
    """A shelf that shows a long row of clips page by page.

    Args:
        label: Description of the clips.
        size: Clips per page.
        turned: Called when the user turns the page.
        width: Largest width of a clip in pixels.

    Attributes:
        widget: The root.
        first: Position of the first clip shown.
    """

    def __init__(self, label: str, size: int, turned: Callable[[], None], *, width: int = 129) -> None:
        self.size, self.first, self._turned = size, 0, turned
        self.shelf = Shelf(label, width=width)
        self.place = widgets.HTML()
        self.back, self.on = (
            widgets.Button(description=sign, tooltip=tip, layout={"width": "38px"})
            for sign, tip in (("‹", "Earlier ones"), ("›", "Further ones"))
        )
        self.back.on_click(lambda _: self._turn(-size))
        self.on.on_click(lambda _: self._turn(size))
        self.widget = widgets.VBox([widgets.HBox([self.back, self.on, self.place], layout=FLOW), self.shelf])

    def places(self, count: int) -> range:
        """The positions, among ``count`` clips, that are shown."""
        self.first = max(0, min(self.first, (count - 1) // self.size * self.size))
        return range(self.first, min(self.first + self.size, count))

    def show(self, items: Sequence[ShelfItem], count: int, what: str) -> None:
        """Show the clips of the current page.

        Args:
            items: The clips at `places`.
            count: Number of clips on all pages.
            what: Text before and after "1–6 of 32", separated by a bar: "Positives | ringed".
        """
        before, _, after = what.partition("|")
        last = self.first + len(items)
        self.place.value = f"{before} <b>{self.first + 1}–{last}</b> of {count}{after}"
        self.back.disabled, self.on.disabled = self.first == 0, last >= count
        self.shelf.show(items)

    def _turn(self, by: int) -> None:
        self.first += by
        self._turned()

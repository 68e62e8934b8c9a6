"""Positives to play: one query, the clips that agree with it, and the boundary of each rule of agreement.

All instances are ranked once for each query (`ranking.rank`). The first K of this ranking (`ranking.choose`) are cheap
enough to follow a slider.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import numpy as np
import torch
from torch import Tensor

from avid_lab.datasets import ClipDataset, Manifest
from avid_lab.interactive.canvas import Canvas
from avid_lab.interactive.panel import Panel
from avid_lab.interactive.players import Window, glimpse, whisper, window_seen
from avid_lab.interactive.queries import FLOW, NARROW, Pages, QueryPicker, census
from avid_lab.interactive.ranking import (
    KINDS,
    UNJUDGED,
    Choice,
    choose,
    faults,
    rank,
    two_digits,
    view_of,
)
from avid_lab.interactive.shelf import Shelf, ShelfItem, draw_stills
from avid_lab.mining import AGREEMENTS, mine_positives
from avid_lab.plots.agreement import plane_plot
from avid_lab.plots.chart import Chart, Points
from avid_lab.plots.style import VIDEO, NotebookFigure, class_colour, new_figure, styled

SHELF = 6  # positives shown at a time
MOST_POSITIVES = 128
MINED_AT_REST = 4096  # instances up to which all queries are mined unasked: about 0.25 s for 1,638


class PositiveBrowser(Panel):
    """A query and its positives as clips to play, next to the agreement plane that chose them.

    Every other clip is a point: how much it looks like the query against how much it sounds like it. A line marks the K
    best of each rule of agreement; the region of the chosen rule is tinted. Click a point or a clip to play it.

    Args:
        memory: Unit embeddings ``.video`` and ``.audio`` of every clip, (N, D); or the two as a tuple.
        clips: The same clips: a dataset or a manifest, with ground truth if its columns hold any.
        labels: Class of each clip, into ``clips.classes``; the dataset's own if not given.
        state: State of another browser.

    Raises:
        ValueError: The memory has another number of clips, or fewer than two.
    """

    def __init__(
        self, memory: Any, clips: ClipDataset | Manifest, labels: Tensor | np.ndarray | None = None, *, state: str = ""
    ) -> None:
        rows = memory if isinstance(memory, tuple) else (memory.video, memory.audio)
        self.video, self.audio = (torch.as_tensor(x).detach().float().cpu() for x in rows)
        self.judged = clips.has_classes if labels is None else len(np.unique(np.asarray(labels))) > 1
        self.labels = np.asarray(clips.labels if labels is None else labels)
        count = len(self.video)
        if count < 2 or len(clips) != count or len(self.labels) != count:
            got = f"{count} in the memory, {len(clips)} clips, {len(self.labels)} labels"
            raise ValueError(f"memory, clips and labels must be of the same clips, at least two; got {got}")
        canvas = Canvas(self._of(glimpse), self._of(whisper), lasso=True)
        super().__init__("Positives by agreement", canvas)
        self.clips = clips
        self.classes = [str(name).replace("_", " ") for name in clips.classes]
        self.faults = faults(clips.manifest if isinstance(clips, ClipDataset) else clips)
        self.faulty = np.array([bool(text) for text in self.faults])
        self.ranking = rank(self.video, self.audio, 0)
        self._mined: dict[str, np.ndarray] = {}  # by agreement: whether each of all queries' positives is right
        self._named = -1  # the query whose labels the canvas holds
        self._build(count)
        if "query=" not in state and self.judged and count <= MINED_AT_REST:
            self.queries.go(self._telling())
        self.restore(state)
        self.draw(True)
        self.redraw()  # clips and means follow once the panel is on the page

    def _build(self, count: int) -> None:
        most = min(MOST_POSITIVES, count - 1)
        tip = "Go through the queries with most positives of another class"
        self.queries = QueryPicker(self, self.labels, self.classes, self._wrong, "many wrong positives", tip)
        rules = widgets.Dropdown(options=list(AGREEMENTS), description="agreement", layout={"width": "200px"})
        agreement = self.add_control("agreement", rules)
        k = self.add_control("k", widgets.IntSlider(min(32, most), 1, most, description="k", layout={"width": "310px"}))
        colours = widgets.Dropdown(
            options=["right and wrong", "class"], description="colour", layout={"width": "210px"}
        )
        colour = self.add_control("colour", colours)
        near = widgets.ToggleButton(description="zoom", tooltip="Only the tenth that agrees most", layout=NARROW)
        self.add_control("near", near)
        self.pair = Shelf("the query and the clip pressed in the plane", width=140)
        self.best = Pages("positives, best first", SHELF, self._turned)
        self.precision, self.list = widgets.HTML(), widgets.HTML()
        places = {"plane": widgets.VBox([self.canvas, self.list]), "pair": self.pair, "shares": self.precision}
        for place, part in places.items():
            part.layout.grid_area = place
        around = widgets.Box(list(places.values()))
        around.add_class("avid-around")
        frame = widgets.VBox([around])
        frame.add_class("avid-frame")
        self.body.children = [
            widgets.HBox(self.queries.row, layout=FLOW),
            widgets.HBox([k, agreement, colour, near], layout=FLOW),
            frame,
            self.best.widget,
        ]
        for control in (k, rules):
            control.observe(self.queries.restart, "value")
        self.canvas.observe(lambda change: self.press(change["new"]), "clicked")
        self.canvas.observe(lambda _: self._list(), "selected")

    # What is shown

    @property
    def choice(self) -> Choice:
        """The positives of the query for the current controls."""
        query = self.controls["query"].value
        if self.ranking.query != query:
            self.ranking, self.best.first = rank(self.video, self.audio, query), 0
        return choose(
            self.ranking, self.controls["agreement"].value, self.controls["k"].value, self.labels, self.faulty
        )

    def draw(self, quick: bool) -> None:
        """Draw points and lines at once; labels, clips and the mean over all queries once the controls rest."""
        choice, agreement = self.choice, self.controls["agreement"].value
        with self.canvas.hold_sync():
            super().draw(quick)
            if not quick and self._named != self.ranking.query:
                self.canvas.labels = [self._label(i) for i in range(len(self.labels))]
                self._named = self.ranking.query
        if self.judged and not quick and len(self.labels) <= MINED_AT_REST:
            self._all_right(agreement)
        self.precision.value = self._table_html(choice)
        if not quick:
            self._show_clips(choice)

    def chart(self) -> Chart:
        """The plane of agreement."""
        choice, ranking = self.choice, self.ranking
        kinds = choice.kind, KINDS
        if not self.judged:
            chosen = np.isin(np.arange(len(self.labels)), choice.positives).astype(np.uint8)
            chosen[ranking.query] = 2
            kinds = chosen, UNJUDGED
        plot = plane_plot(
            (ranking.video, ranking.audio),
            kinds,
            {AGREEMENTS[name]: at for name, at in choice.threshold.items()},
            AGREEMENTS[self.controls["agreement"].value],
            view_of(ranking, self.controls["near"].value),
            ringed=self._shown(choice),
            travel=True,
        )
        if self.controls["colour"].value == "class":
            recolour = {"kind": self.labels, "colours": tuple(map(class_colour, range(len(self.classes))))}
            names = tuple(name if i in self.labels else "" for i, name in enumerate(self.classes))
            marks = [replace(m, names=names, **recolour) if isinstance(m, Points) else m for m in plot.marks]
            plot = replace(plot, marks=marks)
        return Chart([plot], "Clips by how much they look and how much they sound like the query.", 470)

    def _of(self, make: Callable[..., bytes]) -> Callable[[int], bytes]:
        return lambda i: make(self.clips.path(i), self._window(i))

    def _telling(self) -> int:
        """A query for which the best rule is most ahead of similarity of pictures alone."""
        k = self.controls["k"].value
        right = {name: self._all_right(name)[:, :k].mean(1) for name in ("consensus", "video")}
        return int((right["consensus"] - right["video"]).argmax())

    def _list(self) -> None:
        """Say what the lasso caught."""
        self.list.value = census(self.canvas.selected, self.labels, self.classes) if self.judged else ""

    def _label(self, i: int) -> str:
        ranking = self.ranking
        likeness = f"look {two_digits(ranking.video[i])} · sound {two_digits(ranking.audio[i])}"
        return "\n".join(filter(None, [f"{self._name(i)}, clip {i}", likeness, self.faults[i]]))

    def _name(self, i: int) -> str:
        return self.classes[int(self.labels[i])] if self.judged else Path(self.clips.path(i)).stem

    def _right(self, i: int) -> bool | None:
        """Whether a clip is of the query's class; None where there are no classes."""
        return bool(self.labels[i] == self.labels[self.ranking.query]) if self.judged else None

    def _shown(self, choice: Choice) -> list[int]:
        return choice.positives[list(self.best.places(len(choice.positives)))].tolist()

    def _show_clips(self, choice: Choice) -> None:
        self.best.show(self._best(choice), len(choice.positives), "Positives |, ringed in the plane")
        self.pair.show([self._item(self.ranking.query, "query"), *self._pressed()])

    def _best(self, choice: Choice) -> list[ShelfItem]:
        """The positives of the page that is open."""
        ranking, items = self.ranking, []
        score = ranking.score[self.controls["agreement"].value]
        for place in self.best.places(len(choice.positives)):
            i = int(choice.positives[place])
            note = f"look {two_digits(ranking.video[i])} · sound {two_digits(ranking.audio[i])}"
            right = self._right(i)
            title = f"{place + 1}. {self._name(i)}"
            window = self._window(i)
            items.append(ShelfItem(self.clips.path(i), title, note, right, float(score[place]), self.faults[i], window))
        return items

    def _item(self, i: int, title: str) -> ShelfItem:
        note = f"clip {i}" if i == self.ranking.query else f"clip {i}, {self._label(i).splitlines()[1]}"
        verdict = None if i == self.ranking.query else self._right(i)
        name, faults = f"{title}: {self._name(i)}", self.faults[i]
        return ShelfItem(self.clips.path(i), name, note, verdict, None, faults, self._window(i))

    def _window(self, i: int) -> Window | None:
        """The middle window of a clip; training takes windows from anywhere in it."""
        return window_seen(self.clips, i) if isinstance(self.clips, ClipDataset) else None

    def _pressed(self) -> list[ShelfItem]:
        i = self.canvas.clicked
        return [self._item(i, "pressed")] if 0 <= i < len(self.labels) and i != self.ranking.query else []

    def _table_html(self, choice: Choice) -> str:
        chosen, k = self.controls["agreement"].value, len(choice.positives)
        if not self.judged:
            text = "These clips have no classes: only your eyes and ears can say which positives are right."
            return f'<div class="avid-soft" style="margin-top:10px;line-height:1.45">{text}</div>'
        rows = []
        for name, share in choice.precision.items():
            colour, weight = (VIDEO, 650) if name == chosen else ("#8f99a3", 400)
            bar = (
                f'<div style="position:relative;width:130px;height:11px;background:var(--jp-layout-color2,#eceff2)">'
                f'<div style="width:{100 * share:.1f}%;height:100%;background:{colour}"></div><div style="position:'
                f"absolute;left:{100 * choice.chance:.1f}%;top:-2px;width:2px;height:15px;"
                'background:var(--jp-ui-font-color1,#1d2733)"></div></div>'
            )
            rows.append(
                f'<tr style="font-weight:{weight}"><td style="padding:1px 10px 1px 0">{name}</td><td>{bar}</td>'
                f'<td style="padding-left:8px;text-align:right">{share:.0%}</td></tr>'
            )
        same = html.escape(self._name(self.ranking.query))
        lines = [
            f"The tick is chance, {choice.chance:.0%}. {choice.missed} more of its class are not among the {k}: "
            "drawn as negatives, they would be false ones."
        ]
        if (mean := self._mean(chosen, k)) is not None:
            lines.append(f"All {len(self.labels):,} queries by {chosen}: <b>{mean:.0%}</b>.")
        return (
            f'<div style="margin-top:10px;line-height:1.45"><b>Positives of its class, {same}, among {k}</b>'
            f'<table style="margin:4px 0">{"".join(rows)}</table><div class="avid-soft">{" ".join(lines)}</div></div>'
        )

    # Actions

    def press(self, i: int) -> None:
        """Play a clip of the plane next to the query."""
        if i >= 0:
            self.pair.show(
                [self._item(self.ranking.query, "query"), *self._pressed()], play=int(i != self.ranking.query)
            )

    def _turned(self) -> None:
        super().draw(False)
        self._show_clips(self.choice)

    def _all_right(self, agreement: str) -> np.ndarray:
        """Whether each positive of each query is of its class, best first: (N, most positives)."""
        if agreement not in self._mined:
            index = mine_positives(self.video, self.audio, self.controls["k"].max, agreement).index.numpy()
            self._mined[agreement] = self.labels[index] == self.labels[:, None]
        return self._mined[agreement]

    def _mean(self, agreement: str, k: int) -> float | None:
        return float(self._mined[agreement][:, :k].mean()) if agreement in self._mined else None

    def _wrong(self) -> np.ndarray:
        """How many positives of each query are of another class; without classes, how little the best one agrees."""
        if not self.judged:
            return -mine_positives(self.video, self.audio, 1, self.controls["agreement"].value).score[:, 0].numpy()
        return (~self._all_right(self.controls["agreement"].value)[:, : self.controls["k"].value]).sum(1)

    # Without a kernel

    def table(self) -> Sequence[tuple[str, str]]:
        """The query, its rule, and precision with chance."""
        choice, k = self.choice, self.controls["k"].value
        shares = [(f"{name}: positives of its class", f"{share:.0%}") for name, share in choice.precision.items()]
        query = f"clip {self.ranking.query}, {self._name(self.ranking.query)}"
        named = [("query", query), ("agreement", self.controls["agreement"].value), ("k", str(k))]
        if not self.judged:
            return named
        return [*named, *shares, ("chance", f"{choice.chance:.0%}"), ("of its class, not chosen", str(choice.missed))]

    @styled
    def figure(self) -> NotebookFigure:
        """The plane, the query and its first positives."""
        page = new_figure(9.6, 5.6)
        grid = page.add_gridspec(3, 5, width_ratios=[1, 1, 1, 0.75, 0.75])
        self.canvas.draw(page, grid[:, :3])
        cells = [grid[place // 2, 3 + place % 2] for place in range(6)]
        draw_stills(page, cells, [self._item(self.ranking.query, "query"), *self._best(self.choice)])
        return page

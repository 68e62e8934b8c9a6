"""Interactive retrieval: query with any clip, including your own, and play the results."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import numpy as np
import torch

from avid_lab import media
from avid_lab.datasets import ClipDataset
from avid_lab.encoders import AudioVisualModel
from avid_lab.interactive.canvas import Canvas
from avid_lab.interactive.intake import Intake
from avid_lab.interactive.own_clips import OwnClip, embed_file, own_copy
from avid_lab.interactive.panel import Panel
from avid_lab.interactive.players import Window, glimpse, whisper, window_seen
from avid_lab.interactive.queries import FLOW, Pages, QueryPicker, census
from avid_lab.interactive.ranking import faults, senses, two_digits
from avid_lab.interactive.search import DIRECTIONS, MARKS, UNJUDGED, Found, confident_wrong, marks, search
from avid_lab.interactive.shelf import Shelf, ShelfItem, draw_stills
from avid_lab.metrics import Retrieval, retrieval
from avid_lab.plots.chart import Axis, Chart, Guide, Plot, Points, limits
from avid_lab.plots.style import GOOD, NotebookFigure, new_figure, styled
from avid_lab.transforms import InputPipeline

SHELF = 6  # results shown at a time
MOST_RESULTS = 50
RANKS_SHOWN = 60
WORST, CONFIDENT = "own answer ranks worst", "surest wrong answers"


class RetrievalExplorer(Panel):
    """Query with a picture or a sound and play the results, best first.

    Args:
        embeddings: Unit embeddings ``.video`` and ``.audio`` of every clip, (N, D); or the two as a tuple.
        clips: The same clips.
        model: The model that made them, for clips of your own.
        pipeline: Its input pipeline.
        state: State of another explorer.

    Attributes:
        own: Your own clip that is the current query, or None.

    Raises:
        ValueError: The embeddings do not fit the clips (see `senses`), or these are fewer than two; or only one of
            model and pipeline is given.
    """

    def __init__(
        self,
        embeddings: Any,
        clips: ClipDataset,
        model: AudioVisualModel | None = None,
        pipeline: InputPipeline | None = None,
        *,
        state: str = "",
    ) -> None:
        if len(clips) < 2:
            raise ValueError(f"retrieval needs at least two clips; got {len(clips)}")
        self.spaces = senses(embeddings, len(clips))
        singles = getattr(embeddings, "video_windows", None)
        self.windows = 1 if singles is None else singles.shape[1]  # of each clip, averaged in its embedding
        if (model is None) != (pipeline is None):
            raise ValueError("model and pipeline go together: give both, to ask with your own clips, or neither")
        super().__init__("Retrieval", Canvas(self._of(glimpse), self._of(whisper), lasso=True))
        self.clips, self.model, self.pipeline = clips, model, pipeline
        self.judged = clips.has_classes  # else nothing is right or wrong, except a clip's own other half
        self.labels = clips.labels.numpy() if self.judged else np.arange(len(clips))
        self.classes = [str(name).replace("_", " ") for name in clips.classes]
        self.faults = faults(clips.manifest)
        self.own: OwnClip | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._found: tuple[tuple[Any, ...], Found] | None = None
        self._measured: dict[tuple[str, bool], Retrieval | str] = {}
        self._named: tuple[Any, ...] = ()
        self._build(len(clips))
        self.restore(state)
        self.draw(True)
        self.redraw()  # clips and the whole set's numbers follow once the panel is on the page

    def _build(self, count: int) -> None:
        most = min(MOST_RESULTS, count - 1)
        tip = "Go through the queries that fare worst"
        self.queries = QueryPicker(self, self.clips.labels.numpy(), self.classes, self._badness, "next failure", tip)
        failures = widgets.Dropdown(options=[WORST, CONFIDENT], layout={"width": "190px"}, tooltip="Which failures")
        self.add_control("failures", failures, redraw=False)
        ways = widgets.Dropdown(options=list(DIRECTIONS), description="find", layout={"width": "230px"})
        self.add_control("direction", ways)
        k = self.add_control("k", widgets.IntSlider(min(10, most), 1, most, description="k", layout={"width": "310px"}))
        refusal = "" if self.model is not None else "Give model and pipeline to ask with your own clips"
        self.intake = Intake(self._offer, refusal=refusal)
        self.drop = widgets.Button(description="back to the set", tooltip="Ask with a clip of the set again")
        self.pair = Shelf("the query and the clip pressed in the ranking", width=140, ear=True)
        tip = "Play the query's picture with the sound of the clip pressed in the ranking, and the other way round"
        layout = {"width": "auto", "align_self": "flex-start"}
        swap = widgets.ToggleButton(description="swap the sounds", tooltip=tip, layout=layout)
        self.add_control("swap", swap, redraw=False)
        self.results = Pages("results, best first", SHELF, self._show_clips)
        self.verdict, self.whole = widgets.HTML(), widgets.HTML()
        self.list = widgets.HTML()
        side = widgets.VBox([self.pair, swap, self.verdict], layout={"flex": "0 1 300px", "min_width": "240px"})
        middle = widgets.VBox([self.canvas, self.list], layout={"flex": "1 1 340px", "min_width": "280px"})
        self.body.children = [
            widgets.HBox([*self.queries.row, failures], layout=FLOW),
            widgets.HBox([ways, k, self.intake, self.drop], layout=FLOW),
            widgets.HBox([side, middle], layout={"flex_flow": "row wrap", "grid_gap": "0 14px"}),
            self.results.widget,
            self.whole,
        ]
        for control in (ways, failures):
            control.observe(self.queries.restart, "value")
        self.queries.number.observe(lambda _: self.back_to_the_set(), "value")
        self.drop.on_click(lambda _: self.back_to_the_set())
        swap.observe(self._swap, "value")
        self.drop.layout.display = "none"
        self.canvas.observe(lambda change: self.press(change["new"]), "clicked")
        self.canvas.observe(lambda _: self._list(), "selected")

    # What is shown

    @property
    def found(self) -> Found:
        """The gallery in the order of the query, as the controls stand."""
        query, (asks, answers) = self.controls["query"].value, DIRECTIONS[self.controls["direction"].value]
        key = (query, asks, answers, self.own)
        if self._found is None or self._found[0] != key:
            itself = None if self.own else query
            embedding = self.own.embedding[asks] if self.own else self.spaces[asks][query]
            found = search(embedding, self.spaces[answers], self.labels, itself=itself, within=asks == answers)
            chosen = self._found[1].order[self.canvas.selected] if self._found else []
            self._found = key, found
            self.results.first = 0
            self.canvas.selected = np.flatnonzero(np.isin(found.order, chosen)).tolist()  # where these clips are now
        return self._found[1]

    def draw(self, quick: bool) -> None:
        """The ranking at once; clips and the whole set's table once the controls rest."""
        with self.canvas.hold_sync():
            super().draw(quick)
            if not quick and (key := self._found[0] if self._found else ()) != self._named:
                self.canvas.labels = [self._label(place) for place in range(len(self.found.order))]
                self._named = key
        self.verdict.value = self._verdict_html(self.found, self.controls["k"].value)
        if not quick:
            self._show_clips()
            self.whole.value = self._whole_html()

    def chart(self) -> Chart:
        """The gallery by similarity, best first, and the cut at K."""
        found, k = self.found, self.controls["k"].value
        kinds, kind = MARKS, marks(found, k)
        if self.own or not self.judged:
            kinds, kind = UNJUDGED, (np.arange(len(found.order)) < k).astype(np.uint8)
            if found.own is not None:
                kind[found.own] = len(kinds)
                kinds = kinds | {"its own": MARKS["its own"]}
        if found.own is None:
            kinds = {name: look for name, look in kinds.items() if name != "its own"}
        count, ringed = len(found.order), () if found.own is None else (found.own,)
        shown, radius = min(RANKS_SHOWN, count), float(np.clip(130 / count**0.5, 2.6, 6.5))
        options = {"radius": radius, "ringed": ringed, "travel": True}
        points = Points.of_kinds(np.arange(1, count + 1), found.similarity, kind, kinds, **options)
        cut = Guide(k + 0.5, words=f"K = {k}", colour=GOOD, width=1.8, dash=())
        low, high = limits(found.similarity[:shown], pad=0.07)
        x, y = Axis(0, shown + 0.5, "rank", grid=True), Axis(low, high, "similarity to the query", grid=True)
        return Chart([Plot([points, cut], x, y, legend="below")], "Similarity to the query by rank.", 300)

    def clip_of(self, item: int) -> int:
        """The clip at a place of the ranking."""
        return self._at(item)

    def _at(self, place: int) -> int:
        order = self.found.order
        return int(order[min(place, len(order) - 1)])

    def _of(self, make: Callable[..., bytes]) -> Callable[[int], bytes]:
        return lambda place: make(self.clips.path(self._at(place)), self._window(self._at(place)))

    def _list(self) -> None:
        """Say what the lasso caught."""
        self.list.value = census(self.selection.tolist(), self.labels, self.classes) if self.judged else ""

    def _label(self, place: int) -> str:
        i, found = self._at(place), self.found
        own = ", its own" if place == found.own else ""
        lines = (
            f"{place + 1}. {self._name(i)}{own}",
            f"similarity {two_digits(found.similarity[place])}",
            self.faults[i],
        )
        return "\n".join(filter(None, lines))

    def _name(self, i: int) -> str:
        return self.clips.name(i)

    def _window(self, i: int) -> Window | None:
        """The part of a clip that the model saw."""
        return window_seen(self.clips, i, self.windows)

    def _result(self, place: int, before: str) -> ShelfItem:
        i, found = self._at(place), self.found
        right = None if self.own or not self.judged else bool(found.right[place])
        right = True if place == found.own else right
        own = "its own" if place == found.own else f"clip {i}"
        title, score = f"{before}{place + 1}. {self._name(i)}", float(found.similarity[place])
        return ShelfItem(self.clips.path(i), title, own, right, score, self.faults[i], self._window(i))

    def _query(self) -> ShelfItem:
        if self.own:
            return ShelfItem(self.own.path, f"asks: {self.own.name}", "your clip")
        i = self.controls["query"].value
        asks = DIRECTIONS[self.controls["direction"].value][0]
        title, note = f"asks: {self._name(i)}", f"clip {i}, its {asks}"
        return ShelfItem(self.clips.path(i), title, note, None, None, self.faults[i], self._window(i))

    def _pair(self) -> list[ShelfItem]:
        """The query and the pressed clip, each with its own sound or with the other's."""
        pair = [self._query(), *self._pressed()]
        if not self.controls["swap"].value or len(pair) < 2:
            return pair
        note = "with the sound of the other"
        return [
            replace(item, dub=(other.path, other.window), note=note, warning="")
            for item, other in zip(pair, reversed(pair), strict=True)
        ]

    def _pressed(self) -> list[ShelfItem]:
        place = self.canvas.clicked
        return [self._result(place, "pressed: ")] if 0 <= place < len(self.found.order) else []

    def _show_clips(self) -> None:
        count = min(self.controls["k"].value, len(self.found.order))
        items = [self._result(place, "") for place in self.results.places(count)]
        self.results.show(items, count, f"{self.controls['direction'].value}: results ")
        self.pair.show(self._pair())

    def _verdict_html(self, found: Found, k: int) -> str:
        if self.own:
            name, count = self._most(found, k)
            text = f"Most of the {k} nearest are <b>{escape(name)}</b>: {count} of them."
            text = text if self.judged else f"The nearest is <b>{escape(name)}</b>."
        else:
            chance = (found.right.sum()) / len(found.order)
            text = f"<b>{found.right[:k].mean():.0%}</b> of the {k} nearest are of its class (chance {chance:.0%})."
            text = text if self.judged else "These clips have no classes: only your eyes and ears can judge."
            if found.own is not None:
                text += f"<br>Its own {DIRECTIONS[self.controls['direction'].value][1]} comes at rank "
                text += f"<b>{found.own + 1}</b> of {len(found.order)}."
        return f'<div style="margin-top:8px;line-height:1.5">{text}</div>'

    def _most(self, found: Found, k: int) -> tuple[str, int]:
        """The most frequent class among the K nearest, and its count; without classes, the nearest clip."""
        if not self.judged:
            return self._name(int(found.order[0])), 1
        counts = np.bincount(self.labels[found.order[:k]])
        return self.classes[int(counts.argmax())], int(counts.max())

    # The whole set

    def measured(self, direction: str, by_class: bool) -> Retrieval | str:
        """Retrieval of all clips, or the reason why it cannot be measured; computed on first use."""
        if (direction, by_class) not in self._measured:
            asks, answers = DIRECTIONS[direction]
            ks = [k for k in (1, 5, 10) if k < len(self.labels)]
            labels = torch.as_tensor(self.labels) if by_class else None
            spaces = self.spaces[asks], self.spaces[answers]
            try:
                result = retrieval(*spaces, labels, labels, ks=ks, exclude_self=asks == answers)
            except ValueError as reason:  # a class of one clip has no right answer within its own modality
                result = str(reason)
            self._measured[direction, by_class] = result
        return self._measured[direction, by_class]

    def _kinds(self) -> list[tuple[str, bool]]:
        asks, answers = DIRECTIONS[self.controls["direction"].value]
        kinds = [("its own other half", False)] if asks != answers else []
        return [*kinds, ("its class", True)] if self.judged else kinds

    def _whole_html(self) -> str:
        direction = self.controls["direction"].value
        rows, cell = [], 'style="padding:2px 18px 2px 0;text-align:left"'
        for name, by_class in self._kinds():
            result = self.measured(direction, by_class)
            if isinstance(result, str):
                rows.append(f'<tr><td {cell}>{name}</td><td colspan="5">not measured: {escape(result)}</td></tr>')
                continue
            chance = [f'<span class="avid-soft">chance {share:.0%}</span>' for share in result.chance_recall.values()]
            found = zip(result.recall.values(), chance, strict=True)
            shares = "".join(f"<td {cell}><b>{share:.0%}</b> {beside}</td>" for share, beside in found)
            rows.append(f"<tr><td {cell}>{name}</td>{shares}<td {cell}>{result.median_rank:g}</td></tr>")
        ks = [k for k in (1, 5, 10) if k < len(self.labels)]
        heads = "".join(f"<th {cell}>{text}</th>" for text in ("found", *(f"R@{k}" for k in ks), "median rank"))
        return (
            f'<div style="margin-top:10px"><b>All {len(self.labels):,} clips, {direction}</b><table style="margin-top:'
            f'3px"><tr>{heads}</tr>{"".join(rows)}</table></div>'
        )

    def _badness(self) -> np.ndarray:
        """The difficulty of each clip, by the measure chosen in the menu."""
        direction = self.controls["direction"].value
        asks, answers = DIRECTIONS[direction]
        if self.controls["failures"].value == WORST and asks != answers:
            result = self.measured(direction, False)
            assert isinstance(result, Retrieval)  # every clip has its other half
            return result.first_rank.numpy()
        return confident_wrong(self.spaces[asks], self.spaces[answers], self.labels, within=asks == answers)

    # Actions

    def press(self, place: int) -> None:
        """Play a clip of the ranking next to the query."""
        if 0 <= place < len(self.found.order):
            self.notify("", key="swap")
            self.pair.show(self._pair(), play=1)

    def _swap(self, change: dict[str, Any]) -> None:
        """Play the clip that was played last, now with the other sound."""
        pair = self._pair()
        self.pair.show(pair, play=self.pair.playing)
        alone = change["new"] and len(pair) < 2
        self.notify("Press a clip in the ranking: it swaps its sound with the query." * alone, key="swap")

    def back_to_the_set(self) -> None:
        """Query with a clip of the dataset again."""
        if self.own is not None:
            self.own = None
            self.drop.layout.display = "none"
            self.redraw()

    def ask(self, path: str | Path, name: str = "") -> None:
        """Query with your own file; only its first seconds are used.

        Args:
            path: Any video with sound that FFmpeg decodes.
            name: Name to show.

        Raises:
            MediaError: The file is unusable.
            ValueError: The panel was made without a model.
        """
        if self.model is None or self.pipeline is None:
            raise ValueError("ask needs the model: RetrievalExplorer(embeddings, clips, model, pipeline)")
        self._folder = self._folder or tempfile.TemporaryDirectory(prefix="avid-lab-")
        folder = Path(tempfile.mkdtemp(dir=self._folder.name))
        copy = own_copy(Path(path), folder / "clip.mp4")
        self.own = OwnClip(name or Path(path).name, copy, embed_file(copy, self.clips, self.model, self.pipeline))
        self.drop.layout.display = ""
        self.redraw()

    def _offer(self, data: bytes, name: str) -> None:
        """Query with bytes from the browser; problems are shown in the panel."""
        self.notify("", key="own")
        try:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / f"file{Path(name).suffix[:16]}"
                path.write_bytes(data)
                self.ask(path, name)
        except media.MediaError as error:
            self.notify(f"{name} {error.problem}. {error.fix}", key="own", error=True, for_s=20)
        except Exception as error:  # from a callback it would only reach the log
            self.fail(error, doing=f"asking with {name}")

    def close(self) -> None:
        """Remove the panel and the copies of your clips."""
        super().close()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    # Without a kernel

    def table(self) -> Sequence[tuple[str, str]]:
        """The query, its results, and the whole dataset's recall with chance."""
        found, k, direction = self.found, self.controls["k"].value, self.controls["direction"].value
        query = self.own.name if self.own else f"clip {self.controls['query'].value}, "
        query += "" if self.own else self._name(self.controls["query"].value)
        rows = [("query", query), ("find", direction)]
        if self.own:
            name, count = self._most(found, k)
            rows.append((f"most among {k}", f"{name}, {count}") if self.judged else ("nearest", name))
        elif self.judged:
            rows.append((f"of its class among {k}", f"{found.right[:k].mean():.0%}"))
        if found.own is not None:
            rows.append(("rank of its own", f"{found.own + 1} of {len(found.order)}"))
        for name, by_class in self._kinds():
            result = self.measured(direction, by_class)
            if isinstance(result, Retrieval):
                for k, share in result.recall.items():
                    rows.append((f"all clips, {name}: R@{k}", f"{share:.1%} (chance {result.chance_recall[k]:.1%})"))
        return rows

    @styled
    def figure(self) -> NotebookFigure:
        """The ranking, the query and its first results."""
        page = new_figure(9.6, 4.9)
        grid = page.add_gridspec(2, SHELF + 1, height_ratios=[2.4, 1])
        self.canvas.draw(page, grid[0, :])
        places = self.results.places(min(self.controls["k"].value, len(self.found.order)))
        items = [self._query(), *(self._result(place, "") for place in places)]
        draw_stills(page, [grid[1, column] for column in range(SHELF + 1)], items)
        return page

"""Two linked maps of the video and the audio embeddings: hover to see, click to play, lasso to list."""

from __future__ import annotations

import asyncio
import importlib.util
import math
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets as widgets
import numpy as np
from jaxtyping import Float
from scipy.linalg import orthogonal_procrustes

from avid_lab.interactive.canvas import Canvas
from avid_lab.interactive.forces import arrows, forces
from avid_lab.interactive.panel import Panel
from avid_lab.interactive.players import StrPath, glimpse, whisper
from avid_lab.interactive.queries import FLOW, census, film
from avid_lab.interactive.shelf import Shelf, ShelfItem
from avid_lab.interactive.snapshots import moments
from avid_lab.plots.chart import Axis, Chart, Mark, Plot, Points, Text, limits, side_by_side
from avid_lab.plots.statistics import principal_plane
from avid_lab.plots.style import MARKERS, array, class_colour, class_marker

Places = Float[np.ndarray, "N 2"]
LISTED = 6  # selected clips on the shelf
TEMPERATURE = 0.07  # of the forces, as in training


def aligned(points: Places, target: Places) -> Places:
    """Points rotated or mirrored to be as close to others as possible (orthogonal Procrustes).

    Distances between the points stay as they are.

    Args:
        points: Points to rotate about their mean, which becomes the origin.
        target: Points to match; their scale does not matter.
    """
    centred = points - points.mean(axis=0)
    return centred @ orthogonal_procrustes(centred, target - target.mean(axis=0))[0]


def tsne(rows: Float[np.ndarray, "N D"], start: Places) -> Places:
    """t-SNE of unit rows with cosine distance, started from an existing map, so that the two can be compared."""
    from sklearn.manifold import TSNE

    start = (1e-4 * start / max(float(start.std()), 1e-12)).astype(np.float32)
    options: dict[str, Any] = {"metric": "cosine", "init": start, "perplexity": min(30.0, (len(rows) - 1) / 3)}
    return TSNE(**options, random_state=0).fit_transform(rows)


def umap(rows: Float[np.ndarray, "N D"], start: Places) -> Places:
    """UMAP of unit rows with cosine distance, started from an existing map."""
    from umap import UMAP  # pyright: ignore[reportMissingImports] (the user's own choice to install)

    start, neighbours = 10 * start / np.abs(start).max(), min(15, len(rows) - 1)
    return UMAP(metric="cosine", init=start, n_neighbors=neighbours, random_state=0).fit_transform(rows)


# By name: the function, the module it needs, and how to get that.
METHODS: dict[str, tuple[Callable[[np.ndarray, np.ndarray], np.ndarray], str, str]] = {
    "t-SNE": (tsne, "sklearn", "scikit-learn"),
    "UMAP": (umap, "umap", "umap-learn"),
}


class EmbeddingMap(Panel):
    """Video space and audio space side by side along training; clips touched in one are highlighted in the other.

    PCA appears immediately. Maps are rotated, never stretched, so that each resembles the previous one, and the two
    spaces resemble each other as far as they agree. t-SNE and UMAP take seconds; they are computed in the background,
    for the shown snapshot. "forces" shows what the NCE loss does to the clip that was clicked: its positive pulls, the
    negatives push, the more the lower the temperature is and the more similar they are.

    Args:
        snapshots: Objects with ``.step``, ``.video`` (N, D) and ``.audio`` (N, D), oldest first; or one pair of arrays.
        labels: Class of each clip, (N,).
        classes: Class names.
        paths: Video files of the clips: hovering then shows a picture, clicking plays.
        state: Of an earlier panel.

    Attributes:
        selected: Clips of the last lasso or click.

    Raises:
        ValueError: Lengths differ, labels are outside ``classes``, or there are fewer than three clips.
    """

    def __init__(
        self,
        snapshots: Any,
        labels: Any,
        classes: Sequence[str],
        *,
        paths: Sequence[StrPath] | None = None,
        state: str = "",
    ) -> None:
        makes = (None, None) if paths is None else (lambda i: glimpse(paths[i]), lambda i: whisper(paths[i]))
        super().__init__("Embedding map", Canvas(*makes, lasso=True))
        self._labels = array(labels, "labels", None).astype(int)
        count = len(self._labels)
        self.moments = moments(snapshots, count)
        if count < 3:
            raise ValueError(f"a map needs at least three clips; got {count}")
        if self._labels.min() < 0 or self._labels.max() >= len(classes):
            raise ValueError(f"labels must be indices into the {len(classes)} classes; got up to {self._labels.max()}")
        if paths is not None and len(paths) != count:
            raise ValueError(f"paths must have one file per clip, {count}; got {len(paths)}")
        self._classes, self._paths = [str(name).replace("_", " ") for name in classes], paths
        self._found: dict[tuple[str, int], dict[str, Places]] = {("PCA", i): m for i, m in enumerate(self._planes())}
        self._working: set[tuple[str, int]] = set()
        try:
            self._loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            self._loop = None

        last = len(self.moments) - 1
        wide = {"style": {"description_width": "70px"}}
        place = widgets.IntSlider(
            last, 0, last, description="snapshot", readout=False, layout={"width": "340px"}, **wide
        )
        self.add_control("snapshot", place)
        methods = widgets.Dropdown(options=["PCA", *METHODS], description="map by", layout={"width": "180px"}, **wide)
        self.add_control("method", methods)
        clip = widgets.BoundedIntText(-1, -1, count - 1, description="clip", layout={"width": "150px"}, **wide)
        self.add_control("clip", clip, redraw=False)
        clip.observe(lambda _: self._show_clip(), "value")
        clip.observe(lambda _: self.redraw() if self.controls["forces"].value else None, "value")
        shown = widgets.ToggleButton(description="forces", tooltip="What the loss does to the clip that was clicked")
        shown.layout.width = "80px"
        self.add_control("forces", shown)
        low = math.log10(TEMPERATURE) - 0.8  # a grid that contains it, because the page rounds values to the grid
        log = {"min": low, "max": low + 2, "step": 0.05, "readout_format": ".3g", "description": "temperature"}
        look = {"layout": {"width": "290px"}, "style": {"description_width": "90px"}}
        self.add_control("temperature", widgets.FloatLogSlider(TEMPERATURE, **look, **log))
        self.step = widgets.HTML()
        self.canvas.labels = [f"clip {i}\n{self._classes[order]}" for i, order in enumerate(self._labels.tolist())]
        self.canvas.observe(lambda _: self._list(), "selected")
        self.canvas.observe(lambda change: clip.set_trait("value", change["new"]), "clicked")
        self.list = widgets.HTML()
        self.shelf = Shelf("clips touched on the map", width=129)
        c = self.controls
        if last == 0:
            c["snapshot"].layout.display = "none"
        self.film = film(c["snapshot"])
        self.body.children = [
            widgets.HBox(
                [self.film, c["snapshot"], self.step, c["method"], c["clip"], c["forces"], c["temperature"]],
                layout=FLOW,
            ),
            self.canvas,
            self.list,
            self.shelf,
        ]
        self.restore(state)
        self.draw(False)
        self._show_clip()

    def _planes(self) -> list[dict[str, Places]]:
        """PCA of every snapshot; from the last to the first, each is aligned with the next, and audio with video."""
        planes: list[dict[str, Places]] = []
        for moment in reversed(self.moments):
            plane = {side: principal_plane(getattr(moment, side).astype(float)).points for side in ("video", "audio")}
            if planes:
                plane = {side: aligned(plane[side], planes[-1][side]) for side in plane}
            else:
                plane["audio"] = aligned(plane["audio"], plane["video"])
            planes.append(plane)
        return planes[::-1]

    @property
    def selected(self) -> list[int]:
        """Clips of the last lasso or click."""
        return list(self.canvas.selected)

    def draw(self, quick: bool) -> None:
        """Move the points according to the controls; compute a new map only if the controls have stopped moving."""
        place, method = self.controls["snapshot"].value, self.controls["method"].value
        self.step.value = f"step {self.moments[place].step}" if len(self.moments) > 1 else ""
        if method == "PCA":
            self.notify("")
        elif not quick and (method, place) not in self._found:
            self._work(method, place)
        super().draw(quick)

    def places(self) -> dict[str, Places]:
        """Positions of the clips in each map; from PCA until another method has finished."""
        place, method = self.controls["snapshot"].value, self.controls["method"].value
        return self._found.get((method, place), self._found["PCA", place])

    def chart(self) -> Chart:
        """Both maps side by side."""
        shapes = [MARKERS.index(class_marker(label)) for label in self._labels.tolist()]
        radius = float(np.clip(130 / len(shapes) ** 0.5, 2.6, 6.5))
        colours, names = tuple(map(class_colour, range(len(self._classes)))), tuple(self._classes)
        plots = []
        for side, points in self.places().items():
            x, y = points.T
            clips = Points(x, y, self._labels, shapes, colours, names, radius=radius, travel=True)
            across, up = (Axis(*limits(values), ticks="none") for values in (x, y))
            marks = [*self._forces(side, points), clips]
            plots.append(Plot(marks, across, up, f"{side} space", equal=True))
        return side_by_side(plots, "Maps of the video space and of the audio space.", 340, legend=True)

    def _forces(self, side: str, points: Places) -> list[Mark]:
        """What the loss of the clip that was clicked does to it, on a map by PCA."""
        c, moment = self.controls, self.moments[self.controls["snapshot"].value]
        c["temperature"].layout.display = "" if c["forces"].value else "none"
        if not c["forces"].value:
            return []
        if c["method"].value != "PCA" or c["clip"].value < 0:
            words = "Click a clip to see its forces." if c["method"].value == "PCA" else "Forces need the map by PCA."
            return [Text(0.5, 0.02, words, "muted", across="share", up="share", align="center")]
        query, answers = moment.video, moment.audio
        if side == "audio":
            query, answers = answers, query
        found = forces(query, answers, points, c["clip"].value, c["temperature"].value)
        words = f"pull {found.attraction:.2f}, strongest push {found.strength.max():.2f}"
        said = Text(0.98, 0.02, words, across="share", up="share", align="right", bold=True, halo=True)
        return [*arrows(found, points[c["clip"].value], float(np.ptp(points, axis=0).max())), said]

    def _work(self, method: str, place: int) -> None:
        """Compute a map in a thread; without an event loop, compute it directly."""
        function, module, package = METHODS[method]
        if importlib.util.find_spec(module) is None:
            self.notify(f"{method} needs {package}: run `%pip install {package}` and choose it again. Until then: PCA.")
            return
        self.notify("")
        if (method, place) in self._working:
            return
        self._working.add((method, place))
        if self._loop is None:
            self._compute(function, method, place)
            return
        self.notify(f"{method} of {len(self._labels)} clips …")
        threading.Thread(target=self._compute, args=(function, method, place), daemon=True).start()

    def _compute(self, function: Callable[..., np.ndarray], method: str, place: int) -> None:
        start, moment = self._found["PCA", place], self.moments[place]
        try:
            made = {side: function(getattr(moment, side), start[side]).astype(float) for side in start}
            made["video"] = aligned(made["video"], start["video"])
            made["audio"] = aligned(made["audio"], made["video"])
        except Exception as error:
            if self._loop is None:
                raise
            self._loop.call_soon_threadsafe(self._failed, method, error)
            return
        self._found[method, place] = made
        self._working.discard((method, place))
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._ready)

    def _ready(self) -> None:
        if not self.closed:
            self.notify("")
            self.redraw()

    def _failed(self, method: str, error: Exception) -> None:
        if not self.closed:
            self.notify("")
            self.fail(error, doing=method)
            self.controls["method"].value = "PCA"

    def _show_clip(self) -> None:
        """Mark a clip in both maps and play it."""
        clip = self.controls["clip"].value
        self.controls["clip"].layout.display = "none" if clip < 0 else ""
        with self.canvas.hold_sync():
            self.canvas.clicked = clip
            if clip >= 0 and clip not in self.canvas.selected:
                self.canvas.selected = [clip]

    def _list(self) -> None:
        """List the selected clips, and put some of them on the shelf."""
        self.list.value = census(self.selected, self._labels, self._classes)
        if self._paths is not None:
            shown = self._spread(self.selected)
            items = [ShelfItem(self._paths[i], f"{self._classes[self._labels[i]]}", f"clip {i}") for i in shown]
            self.shelf.show(items, play=0 if len(self.selected) == 1 else -1)

    def _spread(self, index: Sequence[int]) -> list[int]:
        """A few of the clips, from as many classes as possible."""
        seen: Counter[int] = Counter()
        turn = []
        for i in index:
            turn.append((seen[self._labels[i]], i))
            seen[self._labels[i]] += 1
        return [i for _, i in sorted(turn)[:LISTED]]

    def table(self) -> Sequence[tuple[str, str]]:
        """Settings and selected clips."""
        chosen = Counter(self._classes[self._labels[i]] for i in self.selected).most_common()
        listed = [("selected", ", ".join(f"{count} {name}" for name, count in chosen))] if chosen else []
        hidden = ("snapshot", *(("temperature",) if not self.controls["forces"].value else ()))
        rows = [(name, value) for name, value in super().table() if name not in hidden]
        return [("step", str(self.moments[self.controls["snapshot"].value].step)), *rows, *listed]

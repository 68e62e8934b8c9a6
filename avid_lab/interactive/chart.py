"""Histograms, bars and lines with a line to drag and bars to click: one description, drawn in the page and on paper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import traitlets
from matplotlib.colors import to_rgba
from matplotlib.gridspec import GridSpec

from avid_lab.interactive.script import Scripted, script, text
from avid_lab.plots.style import FAINT, INK, MUTED, NotebookFigure, panel, picture, styled

NAMED = {"ink": INK, "muted": MUTED, "faint": FAINT}  # in the page these follow the theme


class Chart(Scripted):
    """Panels on a grid. `show` takes a description; the page draws it and tells the kernel what was touched.

    A panel is a dict: ``cell`` (row, column, rows it spans), ``xlim``, ``ylim``; and if wanted ``title``, ``xlabel``,
    ``ylabel``, ``xticks``, ``yticks``, ``guide`` (the line to drag crosses it), and marks,
    each a dict with a ``colour``:

    * ``areas``: histograms, ``start``, ``step``, ``heights``;
    * ``bars``: ``x`` (from, to), ``y``, ``id`` to click, ``label`` to hover;
    * ``lines``: ``points``, and ``wide``, ``dash``, ``dots``;
    * ``texts``: ``words`` ``at`` a place in shares of the panel, ``align``, ``bold``.

    Args:
        about: What it shows, for those who do not see it.
        columns: Relative widths.
        rows: Relative heights.
        height: Pixels.
        guide: Lowest and highest place of the line to drag, and its step.

    Attributes:
        guide: Where the line stands.
        clicked: ``id`` of the bar last clicked, -1 for none.
        hovered: ``id`` of the bar under the pointer, -1 for none.
    """

    _script = script("canvas.js", "chart.js")
    _css = text("canvas.css")

    guide = traitlets.Float(0.0).tag(sync=True)
    clicked = traitlets.Int(-1).tag(sync=True)
    hovered = traitlets.Int(-1).tag(sync=True)
    _spec = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        about: str,
        columns: Sequence[float | int],
        rows: Sequence[float | int],
        height: int,
        guide: tuple[float, float, float] | None = None,
    ) -> None:
        self._frame = {"about": about, "columns": list(columns), "rows": list(rows), "height": height}
        if guide is not None:
            self._frame["guide"] = dict(zip(("low", "high", "step"), guide, strict=True))
        super().__init__(_spec={**self._frame, "panels": []})

    @property
    def panels(self) -> list[dict[str, Any]]:
        """What is shown."""
        return self._spec["panels"]

    def show(self, panels: Sequence[dict[str, Any]]) -> None:
        """Show these panels."""
        self._spec = {**self._frame, "panels": list(panels)}

    @styled
    def draw(self, width: float = 9.0) -> NotebookFigure:
        """The same picture by matplotlib, for pages without a kernel.

        Args:
            width: Inches.
        """
        spec: dict[str, Any] = self._spec
        figure = picture(width, spec["height"] / 96)
        ratios = {"width_ratios": spec["columns"], "height_ratios": spec["rows"]}
        grid = GridSpec(len(spec["rows"]), len(spec["columns"]), figure=figure, **ratios)
        for given in self.panels:
            row, column, deep = given["cell"]
            self._draw_panel(panel(figure, grid[row : row + deep, column]), given)
        return figure

    def _draw_panel(self, ax: Any, given: dict[str, Any]) -> None:
        def ink(colour: str) -> str:
            return NAMED.get(colour, colour)

        for one in given.get("areas", ()):
            edges = one["start"] + one["step"] * np.arange(len(one["heights"]) + 1)
            fill = to_rgba(ink(one["colour"]), 0.4)
            ax.stairs(one["heights"], edges, fill=True, facecolor=fill, edgecolor=ink(one["colour"]), linewidth=1.2)
        for one in given.get("bars", ()):
            left, right = one["x"]
            ax.bar(left, one["y"], right - left, align="edge", color=ink(one["colour"]))
            if one["id"] == self.clicked:
                ax.axvspan(left, right, color=INK, alpha=0.14, linewidth=0)
        for one in given.get("lines", ()):
            style = {"linestyle": "--" if one.get("dash") else "-", "marker": "o" if one.get("dots") else ""}
            points = np.reshape(one["points"], (-1, 2))
            ax.plot(*points.T, color=ink(one["colour"]), linewidth=one.get("wide", 1.8), markersize=4, **style)
        for one in given.get("texts", ()):
            weight = "bold" if one.get("bold") else "normal"
            style = {"color": ink(one["colour"]), "ha": one.get("align", "left"), "weight": weight, "fontsize": 9}
            ax.text(*one["at"], one["words"], transform=ax.transAxes, **style)
        if given.get("guide"):
            ax.axvline(self.guide, color=INK, linewidth=1.6)
        ax.set(xlim=given["xlim"], ylim=given["ylim"])
        ax.set(xlabel=given.get("xlabel", ""), ylabel=given.get("ylabel", ""))
        if not given.get("xticks"):
            ax.set_xticks([])
        if not given.get("yticks"):
            ax.set_yticks([])
            ax.spines["left"].set_visible(False)
        if given.get("title"):
            ax.set_title(given["title"])

"""Points on circles: small worlds that can be seen whole."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping

import numpy as np
from jaxtyping import Num
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from torch import Tensor

from avid_lab.plots.chart import Axis, Line, Mark, Plot, Points, Text, side_by_side
from avid_lab.plots.render import draw_chart
from avid_lab.plots.style import array, require_some

HUES = 36
OUTSIDE = 1.15  # radius of the sounds' ring


def circles(
    worlds: Mapping[str, Num[np.ndarray | Tensor, "2 N 2"]],
    angles: Num[np.ndarray | Tensor, " N"],
    *,
    title: str = "",
) -> Figure:
    """Embeddings on circles side by side: pictures on an inner ring, sounds on an outer one, the event as colour.

    Args:
        worlds: By name, which is written inside and may have several lines: unit vectors of all pictures and sounds.
        angles: The true angle of each event in radians, which gives its colour.
        title: Title of the figure.

    Raises:
        ValueError: No worlds, or one of another shape.
    """
    require_some(worlds, "worlds", "name with its points")
    turn = array(angles, "angles", None) / (2 * np.pi) % 1
    kinds = (turn * HUES).astype(int) % HUES
    colours = tuple(_hex(hue / HUES) for hue in range(HUES))
    ring = np.linspace(0, 2 * np.pi, 100)
    plots = []
    for name, points in worlds.items():
        marks: list[Mark] = [Line(np.cos(ring), np.sin(ring), "faint", "ring", width=1)]
        pictures, sounds = array(points, f"worlds[{name!r}]", 2, len(turn), 2)
        for side, place, shape in (("pictures", pictures, 0), ("sounds", OUTSIDE * sounds, 2)):
            shapes = np.full(len(turn), shape)
            marks.append(Points(place[:, 0], place[:, 1], kinds, shapes, colours, name=side, radius=3.6, alpha=0.7))
        for line, words in enumerate(lines := name.split("\n")):
            up = 0.16 * ((len(lines) - 1) / 2 - line)
            marks.append(Text(0, up, words, align="center", bold=line == 0, size=14))
        axis = Axis(-1.3, 1.3, ticks="none")
        plots.append(Plot(marks, axis, axis, equal=True))
    about = "Embeddings of pictures (circles, inside) and sounds (triangles, outside)."
    return draw_chart(side_by_side(plots, about, 330), width=3.0 * len(plots), title=title)


def _hex(hue: float) -> str:
    return to_hex(colorsys.hsv_to_rgb(hue, 0.85, 0.82))

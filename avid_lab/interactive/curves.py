"""Curves drawn in the page: the kernel only sends numbers, so that they can follow a training many times a second."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import traitlets

from avid_lab.interactive.script import Scripted, script, text


@dataclass(frozen=True)
class Line:
    """One curve.

    Attributes:
        x: (n,) across.
        y: (n,) up; NaN interrupts it.
        colour: CSS colour; empty is the page's ink.
        end: Its name, written where it ends; empty for none.
        width: Pixels.
        alpha: Opacity.
        dash: Dashed.
        base: Fill down to this height; ``None`` does not fill.
    """

    x: np.ndarray
    y: np.ndarray
    colour: str = ""
    end: str = ""
    width: float = 1.8
    alpha: float = 1.0
    dash: bool = False
    base: float | None = None


class Curves(Scripted):
    """A chart of lines.

    Args:
        title: Above it.
        xlabel: Below it.
        height: Pixels.
        room: Pixels at the right for the names of curves.
        percent: Heights are shares, written in per cent.
        whole: Only whole numbers along the bottom.
    """

    _script = script("canvas.js", "curves.js")
    _css = text("canvas.css")

    _data = traitlets.Bytes().tag(sync=True)  # float32, of each line all x, then all y
    _series = traitlets.List(traitlets.Dict()).tag(sync=True)
    _marks = traitlets.List(traitlets.Dict()).tag(sync=True)
    _look = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        title: str,
        *,
        xlabel: str = "step",
        height: int = 230,
        room: int = 70,
        percent: bool = False,
        whole: bool = True,
    ) -> None:
        look = {"title": title, "xlabel": xlabel, "height": height, "room": room, "percent": percent, "whole": whole}
        super().__init__(_look={**look, "x": [0.0, 1.0], "y": [0.0, 1.0], "rows": [], "said": "empty"})
        self.lines: list[Line] = []

    def show(
        self,
        lines: Sequence[Line],
        *,
        x: tuple[float, float] | None = None,
        y: tuple[float, float] | None = None,
        marks: Sequence[tuple[float, str]] = (),
        rows: Sequence[tuple[float, str, str]] = (),
        title: str | None = None,
    ) -> None:
        """Replace what is shown, in one message.

        Args:
            lines: What to draw, the first at the bottom.
            x: Limits across; those of the lines if not given.
            y: Limits up; those of the lines if not given.
            marks: Places across, and what happened there.
            rows: Instead of numbers at the left: a height, a name for it, and a text at the right.
            title: A new title.
        """
        self.lines = list(lines)
        look: dict[str, Any] = dict(self._look)
        look["x"] = _limits([line.x for line in lines], 0.0) if x is None else [float(x[0]), float(x[1])]
        look["y"] = _limits([line.y for line in lines], 0.05) if y is None else [float(y[0]), float(y[1])]
        look["rows"] = [[float(at), name, text] for at, name, text in rows]
        look["said"] = "; ".join(self._said(lines, rows)) or "empty"
        look["title"] = look["title"] if title is None else title
        with self.hold_sync():
            self._series = [
                {
                    "n": len(line.x),
                    "colour": line.colour,
                    "end": line.end,
                    "width": line.width,
                    "alpha": line.alpha,
                    "dash": line.dash,
                    "fill": line.base is not None,
                    "base": float(line.base or 0.0),
                }
                for line in lines
            ]
            self._data = b"".join(np.concatenate([line.x, line.y]).astype(np.float32).tobytes() for line in lines)
            self._marks = [{"x": float(at), "text": text} for at, text in marks]
            self._look = look

    @staticmethod
    def _said(lines: Sequence[Line], rows: Sequence[tuple[float, str, str]]) -> list[str]:
        """What someone who does not see the chart is told: where each named curve ends."""
        ends = [f"{line.end} {line.y[-1]:.3g}" for line in lines if line.end and len(line.y)]
        return ends + [f"{name} {text}" for _, name, text in rows]


def _limits(values: Sequence[np.ndarray], pad: float) -> list[float]:
    """The 0.25th and 99.75th percentile, so that a few wild steps do not squash the rest."""
    flat = np.concatenate([np.empty(0), *values])
    flat = flat[np.isfinite(flat)]
    if not len(flat):
        return [0.0, 1.0]
    low, high = (float(side) for side in (np.quantile(flat, [0.0025, 0.9975]) if pad else (flat.min(), flat.max())))
    room = max(high - low, 1e-6 * max(abs(high), 1.0))
    return [low - pad * room, low + (1 + pad) * room]

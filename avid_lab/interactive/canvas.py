"""A chart in the page: hover, click, lasso, drag and keys are answered there, so that the pointer never waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import traitlets

from avid_lab.interactive.script import Scripted, script, text
from avid_lab.plots.chart import Bars, Chart, Points
from avid_lab.plots.render import draw_chart
from avid_lab.plots.style import NotebookFigure


class Canvas(Scripted):
    """Shows a chart; assign another to change it. The page draws; the kernel only receives the user's actions.

    A click selects a point or a bar, a lasso selects points (Shift adds), a click elsewhere clears. A point sounds when
    the pointer rests on it. Over a plot with a crosshair, all such plots show the values of their curves at the
    pointer. With the keyboard: arrows move to the nearest point, the next bar, or move the guide or the crosshair
    (beside points, Home or End begins it); Enter selects, Escape clears and silences. A click on a name in the legend
    shows only its kind.

    Args:
        thumbnail: Given the number of a point or bar, the bytes of a JPEG to show next to its label; empty for none.
        sound: Given the number of a point, the bytes of an mp4 file with its sound; empty for none.
        lasso: Whether points can be selected with a lasso.

    Attributes:
        guide: Position of the guide that the user drags.
        clicked: The point or bar last clicked, -1 for none.
        hovered: The one under the pointer, -1 for none.
        selected: Points of the last lasso or click.
        focused: The kind of points shown alone, -1 for all.
        labels: What hovering shows, by number.
    """

    _script = script("dom.js", "canvas.js")
    _css = text("canvas.css")

    guide = traitlets.Float(0.0).tag(sync=True)
    clicked = traitlets.Int(-1).tag(sync=True)
    hovered = traitlets.Int(-1).tag(sync=True)
    selected = traitlets.List(traitlets.Int()).tag(sync=True)
    focused = traitlets.Int(-1).tag(sync=True)
    labels = traitlets.List(traitlets.Unicode()).tag(sync=True)
    _chart = traitlets.Dict().tag(sync=True)
    _thumbnails = traitlets.Bool().tag(sync=True)
    _sounds = traitlets.Bool().tag(sync=True)
    _lasso = traitlets.Bool().tag(sync=True)

    def __init__(
        self,
        thumbnail: Callable[[int], bytes] | None = None,
        sound: Callable[[int], bytes] | None = None,
        *,
        lasso: bool = False,
    ) -> None:
        self._shown, self._answers = Chart((), "nothing yet", 0), {"thumbnail": thumbnail, "sound": sound}
        traits = {"_thumbnails": thumbnail is not None, "_sounds": sound is not None, "_lasso": lasso}
        super().__init__(_chart=self._shown.to_dict(), **traits)
        self.on_msg(self._asked)

    @property
    def chart(self) -> Chart:
        """What is shown."""
        return self._shown

    @chart.setter
    def chart(self, chart: Chart) -> None:
        self._shown, self._chart = chart, chart.to_dict()

    @property
    def count(self) -> int:
        """Number of points or bars in the chart."""
        marks = [mark for plot in self.chart.plots for mark in plot.marks if isinstance(mark, Points | Bars)]
        return max((len(mark.x if isinstance(mark, Points) else mark.left) for mark in marks), default=0)

    def draw(
        self, figure: NotebookFigure | None = None, cell: Any = None, *, width: float | int = 9.6
    ) -> NotebookFigure:
        """The same by matplotlib, for pages without a kernel.

        Args:
            figure: To draw in; a new one if not given.
            cell: Of the figure's grid.
            width: Of a new figure, in inches.
        """
        return draw_chart(self.chart, figure, cell, width=width, selected=self.selected, clicked=self.clicked)

    def _asked(self, _widget: Any, message: Any, _buffers: Any) -> None:
        for kind, answer in self._answers.items():
            number = message.get(kind) if isinstance(message, dict) else None
            if answer is not None and isinstance(number, int) and 0 <= number < len(self.labels):
                data = answer(number)
                self.send({kind: number}, [data] if data else [])

"""The base class of panels: widgets, a chart, a state to copy, a snapshot for pages without a kernel."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import hashlib
import os
import sys
import time
import traceback
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import torch
from anywidget import AnyWidget
from IPython.core.getipython import get_ipython
from IPython.display import HTML, display
from jaxtyping import Int64
from matplotlib.figure import Figure
from torch import Tensor
from traitlets import TraitError

from avid_lab.interactive.canvas import Canvas
from avid_lab.interactive.drawing import Coalescer
from avid_lab.interactive.state import pack, unpack
from avid_lab.plots.chart import Chart
from avid_lab.plots.style import encode

STYLE = f"<style>{Path(__file__).with_suffix('.css').read_text(encoding='utf-8')}</style>"
WIDGET = "application/vnd.jupyter.widget-view+json"


@dataclass(frozen=True)
class Snapshot:
    """What a panel showed: a picture and a table, as a page without a kernel can show them.

    Attributes:
        title: Of the panel.
        png: The picture; ``None`` if there was nothing to draw.
        rows: Names and values, as text.
        width: Of the picture on the page, in pixels.
        page: HTML to show instead of the picture and the table.
    """

    title: str
    png: bytes | None
    rows: Sequence[tuple[str, str]]
    width: int = 0
    page: str = ""

    @property
    def html(self) -> str:
        """Everything on one page, the picture inside."""
        head = f'{STYLE}<div class="avid-snapshot"><p><b>{escape(self.title)}</b></p>'
        if self.page:
            return f"{head}{self.page}</div>"
        alt = "; ".join(f"{name}: {value}" for name, value in self.rows)
        picture = ""
        if self.png is not None:
            data = base64.b64encode(self.png).decode()
            picture = f'<img alt="{escape(alt)}" width="{self.width}" src="data:image/png;base64,{data}">'
        cells = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in self.rows)
        table = f"<table>{cells}</table>" if cells else ""
        return f"{head}{picture}{table}</div>"

    def _repr_html_(self) -> str:
        return self.html


class Panel:
    """A panel: controls, what they show, and a state.

    A subclass makes its widgets in ``__init__`` (`add_control` for each that belongs to the state), puts them into
    ``self.body.children``, overrides `chart` (or `draw`), and ends with ``self.draw(False)``::

        class Powers(Panel):
            def __init__(self, state: str = "") -> None:
                super().__init__("Powers")
                self.add_control("power", widgets.IntSlider(2, 1, 5, description="power"))
                self.body.children = [self.controls["power"], self.canvas]
                self.restore(state)
                self.draw(False)

            def chart(self) -> Chart:                            # pure: state -> description
                x = np.linspace(0, 1)
                line = Line(x, x ** self.controls["power"].value)
                return Chart([Plot([line], Axis(0, 1, "x"), Axis(0, 1, "power of x"))], "a power of x", 300)

    The canvas shows the chart in the page, the snapshot has it drawn by matplotlib.

    A panel made by a cell closes those that the same cell made when it ran before.

    Args:
        title: Heading; empty for none.
        canvas: What shows the chart; a plain one if not given.

    Attributes:
        canvas: What shows the chart.
        widget: The root, to put into your own layout.
        body: Where the content goes.
        controls: Widgets that make up the state, by name.
        redraw: The `Coalescer` in front of `draw`.
    """

    def __init__(self, title: str = "", canvas: Canvas | None = None) -> None:
        self.title, self.canvas = title, canvas or Canvas()
        self.controls: dict[str, Any] = {}
        self.closed = False
        self.redraw = Coalescer(self._draw_checked, failed=self.fail)
        heading = f'<div class="avid-title" role="heading" aria-level="3">{escape(title)}</div>' if title else ""
        self._head = widgets.HTML(STYLE + heading)
        self._notice, self._alert = widgets.HTML(), widgets.HTML()
        self._alert.add_class("avid-alert")  # lies over the panel: what comes and goes must not move its buttons
        self._notices: dict[str, str] = {}
        self._still: _Still | None = None
        self.body = widgets.VBox()
        self.widget = widgets.VBox([self._head, self._notice, self._alert, self.body])
        self.widget.add_class("avid-panel")
        if notice := host_notice():
            self.notify(notice, key="host")
        _close_predecessors(self)

    def __init_subclass__(cls, **settings: Any) -> None:
        """Have a panel that cannot be made, because its state is refused, leave no widgets and no thread behind."""
        super().__init_subclass__(**settings)
        make: Any = cls.__init__

        @functools.wraps(make)
        def make_or_close(self: Panel, *arguments: Any, **named: Any) -> None:
            try:
                make(self, *arguments, **named)
            except BaseException:
                if hasattr(self, "closed"):
                    with contextlib.suppress(AttributeError):  # some of its parts may not be there yet
                        self.close()
                    Panel.close(self)
                raise

        cls.__init__ = make_or_close

    # What subclasses override

    def chart(self) -> Chart | None:
        """What the canvas shows, as the state says."""
        return None

    def draw(self, quick: bool) -> None:
        """Update the panel to its state; ``quick`` asks for a fast, simplified drawing."""
        if (chart := self.chart()) is not None:
            self.canvas.chart = chart

    def figure(self) -> Figure | None:
        """The picture of the snapshot."""
        return self.canvas.draw() if self.canvas.chart.plots else None

    def table(self) -> Sequence[tuple[str, str]]:
        """Names and values below the picture of the snapshot."""
        return [(name, str(control.value)) for name, control in self.controls.items()]

    # State

    def add_control(self, name: str, control: Any, *, redraw: bool = True) -> Any:
        """Make a widget part of the state; a change of its value asks for a drawing.

        Args:
            name: In the state string.
            control: A widget with ``.value`` that JSON can hold.
            redraw: Whether a change asks for a drawing.

        Returns:
            The control.
        """
        self.controls[name] = control
        if getattr(control, "tooltip", "") is None:
            control.tooltip = control.description or name.replace("_", " ")
        if redraw:
            control.observe(self.redraw, "value")
        return control

    @property
    def state(self) -> str:
        """The controls' values as one short string; `restore` takes it back."""
        return pack({name: control.value for name, control in self.controls.items()})

    def restore(self, state: str) -> None:
        """Set the controls to what a state string says; those it does not name stay.

        Raises:
            ValueError: It names a control that this panel lacks, or a value that the control does not take.
        """
        settings = unpack(state)
        before = {name: control.value for name, control in self.controls.items()}
        for name in settings:
            if name not in self.controls:
                known = ", ".join(self.controls)
                raise ValueError(f"state of {type(self).__name__} may name {known}; got {name!r}")
        for name, value in settings.items():
            try:
                self.controls[name].value = tuple(value) if isinstance(value, list) else value
            except (TraitError, TypeError, ValueError, LookupError, OverflowError) as error:  # as the control likes
                for kept, old in before.items():
                    self.controls[kept].value = old
                raise ValueError(f"state of {type(self).__name__}: {name} cannot be {value!r} ({error})") from error

    @property
    def latencies_ms(self) -> list[float]:
        """From each change of a control to the first picture that shows it, in milliseconds."""
        return list(self.redraw.latencies_ms)

    # Selection

    def clip_of(self, item: int) -> int:
        """The clip that a point or bar stands for."""
        return item

    @property
    def selection(self) -> Int64[Tensor, " M"]:
        """(M,) clips selected in the chart, by a lasso or a click; an index into embeddings, labels, ... .

        Assign clips to select them; those that the chart does not show are left out.
        """
        return torch.tensor([self.clip_of(item) for item in self.canvas.selected], dtype=torch.int64)

    @selection.setter
    def selection(self, clips: Tensor | Sequence[int]) -> None:
        wanted = set(torch.as_tensor(clips).tolist())
        self.canvas.selected = [i for i in range(self.canvas.count) if self.clip_of(i) in wanted]

    # Notices

    @property
    def notice(self) -> str:
        """What is said above the panel, as HTML; empty for nothing."""
        return self._notice.value + self._alert.value

    def notify(
        self, text: str, *, key: str = "note", error: bool = False, details: str = "", for_s: float | int = 0
    ) -> None:
        """Say something above the panel until it is taken back with an empty text; one notice per key.

        Args:
            text: Plain text.
            key: Which notice this replaces.
            error: Mark it as trouble.
            details: A traceback, shown folded.
            for_s: Seconds until it goes by itself; 0 for never.
        """
        more = f"<details><summary>details</summary><pre>{escape(details)}</pre></details>" if details else ""
        kind = ' class="avid-notice avid-error" role="alert"' if error else ' class="avid-notice" role="status"'
        self._notices.pop(key, None)
        if text:
            self._notices[key] = f"<div{kind}>{escape(text)}{more}</div>"
        lasting = [notice for key, notice in self._notices.items() if key in LASTING]
        self._notice.value = "".join(lasting)
        self._alert.value = "".join(notice for notice in self._notices.values() if notice not in lasting)
        if text and for_s:
            with contextlib.suppress(RuntimeError):  # without an event loop it stays
                asyncio.get_running_loop().call_later(for_s, self._expire, key, self._notices[key])

    def _expire(self, key: str, notice: str) -> None:
        if self._notices.get(key) == notice and not self.closed:
            self.notify("", key=key)

    def fail(self, error: BaseException, *, doing: str = "drawing") -> None:
        """Show an exception with its traceback in the panel."""
        trace = "".join(traceback.format_exception(error))
        self.notify(f"{doing} failed: {type(error).__name__}: {error}", key=doing, error=True, details=trace)

    # Showing

    def snapshot(self) -> Snapshot:
        """A static picture and table of the state as it is now, also where the cell that set it still runs."""
        self.redraw.catch_up()
        figure, rows = self.figure(), list(self.table())
        if figure is None:
            return Snapshot(self.title, None, rows)
        return Snapshot(self.title, encode(figure)[1], rows, round(96 * figure.get_size_inches()[0]))

    def close(self) -> None:
        """Remove the panel from the page and free its widgets; `snapshot` still works."""
        if not self.closed:
            self.closed = True
            self.redraw.close()
            if self._still is not None:
                self._still.close()
            own = [part for part in vars(self).values() if isinstance(part, widgets.Widget)]  # not all need be shown
            roots = [*own, *self.controls.values()]
            for part in reversed([part for root in roots for part in _descendants(root)]):
                part.close()

    def _ipython_display_(self) -> None:
        """Show the panel, and in Jupyter's own pages a snapshot behind it.

        The page shows the snapshot where the panel has no kernel: after a restart, or in a notebook opened again. It
        follows the panel.
        """
        if self.closed or host_notice():
            bundle, metadata = self._repr_mimebundle_()
        else:
            if self._still is not None:
                self._still.close()
            self._still = _Still(self)
            bundle, metadata = self._live()
        display(bundle, metadata=metadata, raw=True)

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        page = {"text/html": self.snapshot().html}
        if self.closed:
            return {"text/plain": repr(self)} | page, {}
        bundle, metadata = self._live()
        return bundle | page, metadata

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.state!r})"

    def _live(self) -> tuple[dict[str, Any], dict[str, Any]]:
        bundle: dict[str, Any] = {"text/plain": repr(self)}
        bundle[WIDGET] = {"version_major": 2, "version_minor": 0, "model_id": self.widget.model_id}
        # In Colab, each output must name the source of the scripts of custom widgets.
        ours = [part for part in _descendants(self.widget) if isinstance(part, AnyWidget)]
        return bundle, (ours[0]._repr_mimebundle_() or ({}, {}))[1] if ours else {}

    def _draw_checked(self, quick: bool) -> None:
        if self.redraw.foreign_requests:
            self.notify(SUBSHELLS, key="subshells")
        self.draw(quick)
        if "drawing" in self._notices:
            self.notify("", key="drawing")
        if not quick:
            self.changed()

    def changed(self) -> None:
        """Have the snapshot behind the panel follow, once the panel rests."""
        if self._still is not None:
            self._still.ask()


def brush(*panels: Panel) -> None:
    """Let panels of the same clips share one selection: what is selected in one is selected in all.

    Args:
        panels: The panels.
    """
    together = list(panels)
    for panel in panels:
        panel.canvas.observe(lambda _, source=panel: _follow(source, together), "selected")


def _follow(source: Panel, panels: Sequence[Panel]) -> None:
    for panel in panels:
        if panel is not source and not panel.closed and set(panel.selection.tolist()) != set(source.selection.tolist()):
            panel.selection = source.selection


class _Still:
    """The snapshot behind a panel in a notebook. It is drawn again when the panel rests, and from time to time if not.

    Args:
        panel: The panel.
    """

    def __init__(self, panel: Panel) -> None:
        self._panel = weakref.ref(panel)
        self._timer: asyncio.TimerHandle | None = None
        self._since = 0.0  # the first change that is not in it
        # Only pages name their cells. A notebook that is executed for others keeps what the cell showed.
        self._follows = "cellId" in (_request(get_ipython()).get("metadata") or {})
        self._handle = display(HTML(self._html(panel)), display_id=True)

    def ask(self) -> None:
        """Draw it soon."""
        if not self._follows:
            return
        now = time.monotonic()
        if self._timer is None:
            self._since = now
        elif now - self._since > LONGEST_S:
            return
        else:
            self._timer.cancel()
        try:
            self._timer = asyncio.get_running_loop().call_later(REST_S, self._draw)
        except RuntimeError:  # no event loop: nothing is shown live either
            self._timer = None

    def close(self) -> None:
        """Draw it no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _draw(self) -> None:
        self._timer = None
        if (panel := self._panel()) is not None and not panel.closed and self._handle is not None:
            self._handle.update(HTML(self._html(panel)))

    def _html(self, panel: Panel) -> str:
        gone = '<p class="avid-soft">The panel as it last was. Run its cell to use it.</p>'
        return panel.snapshot().html.replace('class="avid-snapshot">', f'class="avid-snapshot avid-behind">{gone}', 1)


REST_S, LONGEST_S = 3.0, 30.0  # before the snapshot behind a panel is drawn again
LASTING = ("host", "subshells")  # notices that stay, and may take room


SUBSHELLS = (
    "JupyterLab sends widget messages through a second thread here. Pictures are drawn between cells all the same, but "
    "later than they could be. Settings > Kernels > Kernel Comms over subshells > Disabled fixes it; "
    "`avid-lab doctor` checks it."
)


def host_notice() -> str:
    """The features that do not work in this notebook host; empty in JupyterLab."""
    idle = "controls and pictures work while no cell runs"
    more = "JupyterLab does more: `avid-lab lab` opens it."
    if "google.colab" in sys.modules:
        return f"Colab: {idle}; after a page reload, make the panel again. {more}"
    if "VSCODE_PID" in os.environ or "VSCODE_CWD" in os.environ:
        return f"VS Code: {idle}; a reopened notebook makes its panels again. {more}"
    return ""


def _descendants(widget: Any) -> Iterator[Any]:
    """A widget, everything inside it, and their layouts and styles."""
    yield widget
    for name in ("layout", "style"):
        if isinstance(part := getattr(widget, name, None), widgets.Widget):
            yield part
    for child in getattr(widget, "children", ()):
        yield from _descendants(child)


# By cell: which run of it made these panels.
_made: dict[str, tuple[str, list[Panel]]] = {}


def _request(shell: Any) -> dict[str, Any]:
    """The message that the kernel is working on; empty without one."""
    return getattr(shell, "get_parent", dict)() or {}


def _close_predecessors(panel: Panel) -> None:
    """Close the panels that this cell made when it ran before."""
    shell = get_ipython()
    if shell is None or not hasattr(shell, "kernel"):
        return
    parent = _request(shell)
    header, content = parent.get("header", {}), parent.get("content", {})
    if header.get("msg_type") != "execute_request":
        return
    cell = (parent.get("metadata") or {}).get("cellId") or hashlib.sha1(content["code"].encode()).hexdigest()
    run, panels = _made.get(cell, ("", []))
    if run != header["msg_id"]:
        for old in panels:
            old.close()
            _forget(shell, old)
        panels = []
    _made[cell] = (header["msg_id"], [*panels, panel])


def _forget(shell: Any, panel: Panel) -> None:
    """Remove a closed panel from IPython's history of outputs, which would keep it and its trainings alive."""
    # IPython keeps hidden names with their values in `user_ns_hidden`.
    names, namespace = ("_", "__", "___"), getattr(shell, "user_ns", {})
    hidden, hook = getattr(shell, "user_ns_hidden", {}), getattr(shell, "displayhook", None)
    for kept in (namespace, namespace.get("_oh", {}), hidden):
        for name in [name for name, value in kept.items() if value is panel]:
            if str(name).strip("_").isdecimal():
                del kept[name]
            elif name in names:
                kept[name] = ""
    for name in names:
        if getattr(hook, name, None) is panel:
            setattr(hook, name, "")  # as in the namespace: where they differ, IPython thinks that `_` is the user's own

"""What every panel is made of: widgets, a picture that follows them, a state to copy, a snapshot for pages without one.

A panel never draws while messages wait, never draws from a second thread, and never holds the kernel: a control only
says that something changed; the newest state is drawn once the kernel is free, roughly while it moves and fully once it
rests.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

import ipywidgets as widgets
import numpy as np
from anywidget import AnyWidget
from IPython.core.getipython import get_ipython
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

STYLE = f"<style>{Path(__file__).with_suffix('.css').read_text(encoding='utf-8')}</style>"
WIDGET = "application/vnd.jupyter.widget-view+json"
SCREEN_DPI = 96  # a figure of 8 inches is 768 pixels wide on the page
BREATH_S = 0.012  # between drawings: what waits in the kernel's queue is handled first, and only the newest is drawn


@dataclass(frozen=True)
class Snapshot:
    """What a panel showed: a picture and a table, as a page without a kernel can show them.

    Attributes:
        title: Of the panel.
        png: The picture; ``None`` if there was nothing to draw.
        rows: Names and values, as text.
        width: Of the picture on the page, in pixels.
    """

    title: str
    png: bytes | None
    rows: Sequence[tuple[str, str]]
    width: int = 0

    @property
    def html(self) -> str:
        """Everything on one page, the picture inside."""
        alt = "; ".join(f"{name}: {value}" for name, value in self.rows)
        picture = ""
        if self.png is not None:
            data = base64.b64encode(self.png).decode()
            picture = f'<img alt="{escape(alt)}" width="{self.width}" src="data:image/png;base64,{data}">'
        cells = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in self.rows)
        table = f"<table>{cells}</table>" if cells else ""
        return f'{STYLE}<div class="avid-snapshot"><p><b>{escape(self.title)}</b></p>{picture}{table}</div>'

    def _repr_html_(self) -> str:
        return self.html


class PictureBox:
    """An `ipywidgets.Image` that shows matplotlib figures. Figures are drawn here and now, by Agg, without pyplot.

    Args:
        alt: What it shows, for those who do not see it.

    Attributes:
        widget: To put into a layout.
        drawn: Pictures shown so far.
    """

    def __init__(self, alt: str) -> None:
        self.widget = widgets.Image(format="png", tooltip=alt)
        self.widget.add_class("avid-picture")
        self.drawn = 0

    def show(self, figure: Figure, *, quick: bool = False) -> None:
        """Draw a figure and send it.

        Args:
            figure: What to show; its size in inches is kept on the page at 96 pixels an inch.
            quick: At the screen's plain resolution and lightly compressed, for pictures that are soon replaced.
        """
        data = encode_png(figure, quick=quick)
        with self.widget.hold_sync():
            self.widget.width = str(screen_width(figure))
            self.widget.value = data
        self.drawn += 1


def encode_png(figure: Figure, *, quick: bool = False) -> bytes:
    """A figure as PNG: one pixel for each on the screen if quick, else 1.5."""
    dpi = figure.dpi
    figure.dpi = SCREEN_DPI if quick else 1.5 * SCREEN_DPI
    try:
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        with BytesIO() as buffer:
            pixels = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
            pixels.save(buffer, format="png", compress_level=1 if quick else 6)
            return buffer.getvalue()
    finally:
        figure.dpi = dpi


def screen_width(figure: Figure) -> int:
    """Pixels on the page."""
    return round(SCREEN_DPI * figure.get_size_inches()[0])


class Coalescer:
    """Draws the newest of many requests: roughly while they come, fully once they stop.

    Call it as often as you like; it returns at once. Drawing happens on the event loop that was running when it was
    made (the kernel's), whichever thread asks; without a loop it happens at once and fully.

    Args:
        draw: Called with ``quick``.
        failed: Told of an exception in ``draw``; without it, it goes to the event loop.
        rest_s: How long nothing may have been asked before the full drawing.

    Attributes:
        latencies_ms: From each request to the first picture that holds it, the last 10,000.
        strangers: Requests from threads other than the loop's.
    """

    def __init__(
        self,
        draw: Callable[[bool], None],
        *,
        failed: Callable[[BaseException], None] | None = None,
        rest_s: float = 0.25,
    ) -> None:
        self._draw, self._failed, self._rest_s = draw, failed, rest_s
        try:
            self._loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            self._loop = None
        self._home = threading.get_ident()
        self._asked: deque[float] = deque()
        self._news: asyncio.Event | None = None
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self.latencies_ms: deque[float] = deque(maxlen=10_000)
        self.strangers = 0

    def __call__(self, *_: Any) -> None:
        """Ask for a picture of the state as it will be; fits ``widget.observe``."""
        if self._closed:
            return
        self._asked.append(time.perf_counter())
        if self._loop is None:
            self._now(quick=False)
        elif self.at_home():
            self._wake()
        else:
            self.strangers += 1
            self._loop.call_soon_threadsafe(self._wake)

    def at_home(self) -> bool:
        """Whether the caller is in the loop's own thread, as widget messages should be."""
        return threading.get_ident() == self._home

    def catch_up(self) -> None:
        """Draw roughly at once what was asked; the full drawing follows as ever. For the loop's own thread."""
        if self._asked and not self._closed and self.at_home():
            self._now(quick=True)

    def close(self) -> None:
        """Draw no more."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()

    def _wake(self) -> None:
        if self._closed or self._loop is None:
            return
        if self._task is None or self._task.done():
            self._news = asyncio.Event()
            self._task = self._loop.create_task(self._run(self._news))
        elif self._news is not None:
            self._news.set()

    async def _run(self, news: asyncio.Event) -> None:
        while True:
            await asyncio.sleep(BREATH_S)
            news.clear()
            if self._asked:
                self._now(quick=True)
            try:
                await asyncio.wait_for(news.wait(), self._rest_s)
            except TimeoutError:
                self._now(quick=False)
                if not self._asked:
                    return

    def _now(self, *, quick: bool) -> None:
        asked = [self._asked.popleft() for _ in range(len(self._asked))]
        try:
            self._draw(quick)
        except Exception as error:
            if self._failed is None:
                raise
            self._failed(error)
        done = time.perf_counter()
        self.latencies_ms.extend(1e3 * (done - at) for at in asked)


class Panel:
    """A panel: controls, what they show, and a state.

    A subclass makes its widgets in ``__init__`` (`add_control` for each that belongs to the state), puts them into
    ``self.body.children``, overrides `draw`, and ends with ``self.draw(False)``::

        class Squares(Panel):
            def __init__(self, state: str = "") -> None:
                super().__init__("Squares")
                self.picture = PictureBox("x against its square")
                self.add_control("power", widgets.IntSlider(2, 1, 5, description="power"))
                self.body.children = [self.controls["power"], self.picture.widget]
                self.restore(state)
                self.draw(False)

            def figure(self) -> Figure: ...                      # for the snapshot; pure: state -> figure

            def draw(self, quick: bool) -> None:
                self.picture.show(self.figure(), quick=quick)

    A panel made by a cell closes those that the same cell made when it ran before.

    Args:
        title: Heading; empty for none.

    Attributes:
        widget: The root, to put into a layout of your own.
        body: Where the content goes.
        controls: Widgets that make up the state, by name.
        redraw: The `Coalescer` in front of `draw`.
    """

    def __init__(self, title: str = "") -> None:
        self.title = title
        self.controls: dict[str, Any] = {}
        self.closed = False
        self.redraw = Coalescer(self._draw_checked, failed=self.fail)
        heading = f'<div class="avid-title" role="heading" aria-level="3">{escape(title)}</div>' if title else ""
        self._head = widgets.HTML(STYLE + heading)
        self._notice = widgets.HTML()
        self._notices: dict[str, str] = {}
        self.body = widgets.VBox()
        self.widget = widgets.VBox([self._head, self._notice, self.body])
        self.widget.add_class("avid-panel")
        if notice := host_notice():
            self.notify(notice, key="host")
        _close_predecessors(self)

    # What subclasses override

    def draw(self, quick: bool) -> None:
        """Bring what is shown up to date with the state; roughly if quick."""

    def figure(self) -> Figure | None:
        """The picture of the snapshot."""
        return None

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
        for name, value in unpack(state).items():
            if name not in self.controls:
                known = ", ".join(self.controls)
                raise ValueError(f"state of {type(self).__name__} may name {known}; got {name!r}")
            self.controls[name].value = tuple(value) if isinstance(value, list) else value

    @property
    def latencies_ms(self) -> list[float]:
        """From each change of a control to the first picture that shows it, in milliseconds."""
        return list(self.redraw.latencies_ms)

    # Telling

    def notify(self, text: str, *, key: str = "note", error: bool = False, details: str = "") -> None:
        """Say something above the panel until it is taken back with an empty text; one notice per key.

        Args:
            text: Plain text.
            key: Which notice this replaces.
            error: Mark it as trouble.
            details: A traceback, shown folded.
        """
        more = f"<details><summary>details</summary><pre>{escape(details)}</pre></details>" if details else ""
        kind = ' class="avid-notice avid-error" role="alert"' if error else ' class="avid-notice" role="status"'
        self._notices.pop(key, None)
        if text:
            self._notices[key] = f"<div{kind}>{escape(text)}{more}</div>"
        self._notice.value = "".join(self._notices.values())

    def fail(self, error: BaseException, *, doing: str = "drawing") -> None:
        """Show an exception with its traceback in the panel."""
        trace = "".join(traceback.format_exception(error))
        self.notify(f"{doing} failed: {type(error).__name__}: {error}", key=doing, error=True, details=trace)

    # Showing

    def snapshot(self) -> Snapshot:
        """A static picture and table of the state as it is now, also where the cell that set it still runs."""
        self.redraw.catch_up()
        figure = self.figure()
        png, width = (None, 0) if figure is None else (encode_png(figure), screen_width(figure))
        return Snapshot(self.title, png, list(self.table()), width)

    def close(self) -> None:
        """Remove the panel from the page and free its widgets; `snapshot` still works."""
        if not self.closed:
            self.closed = True
            self.redraw.close()
            roots = [self.widget, *self.controls.values()]  # a control need not be shown
            for part in reversed([part for root in roots for part in _descendants(root)]):
                part.close()

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        snapshot = self.snapshot()
        bundle: dict[str, Any] = {"text/plain": f"{type(self).__name__}({self.state!r})", "text/html": snapshot.html}
        if self.closed:
            return bundle, {}
        bundle[WIDGET] = {"version_major": 2, "version_minor": 0, "model_id": self.widget.model_id}
        # Colab must be told with each output where the scripts of widgets like ours come from.
        ours = [part for part in _descendants(self.widget) if isinstance(part, AnyWidget)]
        return bundle, (ours[0]._repr_mimebundle_() or ({}, {}))[1] if ours else {}

    def _draw_checked(self, quick: bool) -> None:
        if self.redraw.strangers:
            self.notify(SUBSHELLS, key="subshells")
        self.draw(quick)
        if "drawing" in self._notices:
            self.notify("", key="drawing")


SUBSHELLS = (
    "JupyterLab sends widget messages through a second thread here. Pictures are drawn between cells all the same, but "
    "later than they could be. Settings > Kernels > Kernel Comms over subshells > Disabled mends it; "
    "`avid-lab doctor` checks it."
)


def host_notice() -> str:
    """What does not work in this notebook host; empty in JupyterLab."""
    idle = "controls and pictures work while no cell runs"
    more = "JupyterLab does more: `avid-lab lab` opens it."
    if "google.colab" in sys.modules:
        return f"Colab: {idle}; after a page reload, make the panel again. {more}"
    if "VSCODE_PID" in os.environ or "VSCODE_CWD" in os.environ:
        return f"VS Code: {idle}; a reopened notebook makes its panels again. {more}"
    return ""


def pack(settings: Mapping[str, Any]) -> str:
    """Settings as one short string, ``k=32&agreement=consensus``, as in a web address."""
    return urlencode({name: _text(value) for name, value in settings.items()}, quote_via=quote, safe="[],{}:/ ")


def unpack(state: str) -> dict[str, Any]:
    """The settings that `pack` made a string of.

    Raises:
        ValueError: It is no such string.
    """
    try:
        pairs = parse_qsl(state.strip(), keep_blank_values=True, strict_parsing=bool(state.strip()))
    except ValueError:
        raise ValueError(
            f"state must look like 'k=32&agreement=consensus', as a panel's .state; got {state!r}"
        ) from None
    return {name: _value(text) for name, text in pairs}


def _text(value: Any) -> str:
    """JSON, but plain text without its quotes where that cannot be misread."""
    if isinstance(value, str):
        plain = isinstance(_value(value), str) and not value.startswith('"') and value == value.strip()
        return value if plain else json.dumps(value)
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    return json.dumps(value, separators=(",", ":"))


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


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


def _close_predecessors(panel: Panel) -> None:
    """Close the panels that this cell made when it ran before."""
    shell = get_ipython()
    if shell is None or not hasattr(shell, "kernel"):
        return
    parent: dict[str, Any] = getattr(shell, "get_parent", dict)() or {}
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
    """IPython keeps what cells returned, so a panel that was closed would live on, its trainings with it."""
    # What a name is hidden from listings by, IPython remembers with the value itself: `user_ns_hidden`.
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

"""Panels: only the newest state is drawn, never from a thread; states and snapshots can be kept."""

from __future__ import annotations

import asyncio
import base64
import io
import re
import sys
import threading
from types import SimpleNamespace

import ipywidgets as widgets
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from avid_lab.interactive import panel as module
from avid_lab.interactive.drawing import Coalescer
from avid_lab.interactive.panel import WIDGET, Panel
from avid_lab.interactive.state import pack, unpack
from avid_lab.plots.chart import Axis, Chart, Line, Plot


class Lines(Panel):
    """A line with the state as its slope."""

    def __init__(self, state=""):
        super().__init__("Lines & more")
        self.drawings = []
        self.add_control("slope", widgets.IntSlider(1, 0, 10, description="slope"))
        self.add_control("kind", widgets.Dropdown(options=["consensus", "union"], description="kind"))
        self.body.children = [*self.controls.values(), self.canvas]
        self.restore(state)
        self.draw(False)

    def chart(self):
        line = Line([0, 1], [0, self.controls["slope"].value])
        return Chart([Plot([line], Axis(0, 1), Axis(0, 10))], "a line", 96)

    def draw(self, quick):
        self.drawings.append((self.controls["slope"].value, quick))
        super().draw(quick)


def size(png):
    return Image.open(io.BytesIO(png)).size


# Drawing


def test_without_a_loop_each_change_is_drawn_at_once_and_fully():
    panel = Lines()
    panel.controls["slope"].value = 5
    assert panel.drawings == [(1, False), (5, False)]
    assert panel.canvas.chart.plots[0].marks[0].y.tolist() == [0, 5]
    assert len(panel.latencies_ms) == 1


def test_a_burst_is_one_rough_and_one_full_picture_of_the_newest_state():
    async def drag():
        panel = Lines()
        for slope in range(2, 11):
            panel.controls["slope"].value = slope
        assert panel.drawings == [(1, False)], "nothing is drawn while messages are handled"
        await asyncio.sleep(0.6)
        return panel

    panel = asyncio.run(drag())
    assert panel.drawings == [(1, False), (10, True), (10, False)]
    assert len(panel.latencies_ms) == 9


def test_slow_drawings_do_not_pile_up_and_the_last_state_is_drawn_fully():
    drawn, state = [], {"value": 0}

    async def drag():
        redraw = Coalescer(lambda quick: drawn.append((state["value"], quick)), rest_s=0.1)
        for state["value"] in range(1, 101):
            redraw()
            if state["value"] % 10 == 0:  # messages come ten at a time
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.4)
        return redraw

    redraw = asyncio.run(drag())
    assert drawn[-1] == (100, False) and drawn[-2] == (100, True)
    assert len(drawn) <= 20 and [value for value, _ in drawn] == sorted(value for value, _ in drawn)
    assert len(redraw.latencies_ms) == 100


def test_a_snapshot_is_of_what_was_set_in_the_same_cell():
    async def cell():
        panel = Lines()
        panel.controls["slope"].value = 8
        panel.snapshot()
        at_once = panel.drawings[-1]
        panel.snapshot()  # nothing new
        await asyncio.sleep(0.5)
        return at_once, panel.drawings

    at_once, drawings = asyncio.run(cell())
    assert at_once == (8, True) and drawings == [(1, False), (8, True), (8, False)]


def test_a_thread_that_asks_does_not_draw():
    threads = []

    async def drag():
        redraw = Coalescer(lambda quick: threads.append(threading.get_ident()), rest_s=0.05)
        worker = threading.Thread(target=redraw)
        worker.start()
        worker.join()
        await asyncio.sleep(0.2)
        return redraw

    redraw = asyncio.run(drag())
    assert set(threads) == {threading.get_ident()} and redraw.foreign_requests == 1


def test_what_fails_while_drawing_is_shown_and_goes_when_it_works_again():
    class Broken(Lines):
        def draw(self, quick):
            if self.controls["slope"].value == 7:
                raise RuntimeError("seven <is> out")
            super().draw(quick)

    panel = Broken()
    panel.controls["slope"].value = 7
    assert "RuntimeError: seven &lt;is&gt; out" in panel.notice and "Traceback" in panel.notice
    panel.controls["slope"].value = 8
    assert panel.notice == "" and panel.drawings[-1] == (8, False)


def test_a_refusal_goes_by_itself_and_does_not_move_the_panel():
    async def refuse():
        panel = Lines()
        panel.notify("no gradient", key="loss", error=True, for_s=0.05)
        panel.notify("still broken", key="training", error=True)
        shown = panel.notice
        await asyncio.sleep(0.2)
        return panel, shown

    panel, shown = asyncio.run(refuse())
    assert "no gradient" in shown and "still broken" in shown
    assert "no gradient" not in panel.notice and "still broken" in panel.notice
    over = [part for part in panel.widget.children if "avid-alert" in part._dom_classes]
    assert [part.value for part in over] == [panel.notice]


# State


@example({"a": " "})
@given(
    st.dictionaries(
        st.from_regex(r"[a-z_]{1,8}", fullmatch=True),
        st.one_of(st.integers(), st.booleans(), st.text(), st.none(), st.lists(st.integers(), max_size=3)),
    )
)
def test_a_state_string_gives_the_settings_back(settings):
    assert unpack(pack(settings)) == settings


def test_a_state_string_is_short_and_readable():
    assert pack({"k": 32, "agreement": "consensus", "t": 0.07}) == "k=32&agreement=consensus&t=0.07"


def test_a_panel_is_rebuilt_from_its_state():
    panel = Lines()
    panel.controls["slope"].value, panel.controls["kind"].value = 7, "union"
    again = Lines(panel.state)
    assert again.state == panel.state == "slope=7&kind=union"
    assert again.drawings == [(7, False), (7, False)] or again.drawings[-1] == (7, False)


@pytest.mark.parametrize("state, message", [("slopes=3", "slope, kind; got 'slopes'"), ("nonsense", "must look like")])
def test_a_wrong_state_is_refused(state, message):
    with pytest.raises(ValueError, match=message):
        Lines(state)


# Showing


def test_a_notebook_gets_the_live_view_and_a_snapshot_that_needs_no_kernel():
    panel = Lines()
    bundle, metadata = panel._repr_mimebundle_()
    assert metadata == {}
    assert bundle[WIDGET]["model_id"] == panel.widget.model_id
    html = bundle["text/html"]
    (data,) = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    assert size(base64.b64decode(data)) == (1403, 165)  # 9.6 x 1 inches, and a margin
    assert (
        "Lines &amp; more" in html and "<th>slope</th><td>1</td>" in html and 'alt="slope: 1; kind: consensus"' in html
    )


def test_a_closed_panel_frees_its_widgets_and_keeps_its_snapshot():
    before = len(widgets.widget._instances if hasattr(widgets.widget, "_instances") else {})
    panels = [Lines() for _ in range(3)]
    for panel in panels:
        panel.close()
        assert WIDGET not in panel._repr_mimebundle_()[0] and panel.snapshot().png
        panel.controls["slope"].value = 9  # no one draws for nobody
        assert panel.drawings == [(1, False)]
    assert len(widgets.widget._instances if hasattr(widgets.widget, "_instances") else {}) == before


class Kernel:
    """What IPython's shell reports about the current message."""

    kernel = None

    def __init__(self, cell, run, kept=()):
        self.user_ns_hidden = {f"_{i}": value for i, value in enumerate(kept)}
        self.user_ns = {"_oh": dict(enumerate(kept)), **self.user_ns_hidden}
        self.message = {
            "header": {"msg_type": "execute_request", "msg_id": run},
            "metadata": {"cellId": cell},
            "content": {"code": "Lines()"},
        }

    def get_parent(self):
        return self.message


def test_a_cell_that_runs_again_closes_its_panels_and_no_others(monkeypatch):
    def run(cell, number, count=1):
        monkeypatch.setattr(module, "get_ipython", lambda: Kernel(cell, f"{cell}-{number}"))
        return [Lines() for _ in range(count)]

    monkeypatch.setattr(module, "_made", {})
    other, first = run("other", 1), run("mine", 1, count=2)
    assert not any(panel.closed for panel in (*other, *first))
    second = run("mine", 2)
    assert [panel.closed for panel in (*other, *first, *second)] == [False, True, True, False]


def test_a_panel_that_was_closed_is_not_kept_by_what_cells_returned(monkeypatch):
    monkeypatch.setattr(module, "_made", {})
    monkeypatch.setattr(module, "get_ipython", lambda: Kernel("mine", "1"))
    first = Lines()
    again = Kernel("mine", "2", kept=(1, first))
    again.user_ns["_"], again.user_ns["mine"] = first, first
    monkeypatch.setattr(module, "get_ipython", lambda: again)
    Lines()
    assert first.closed
    assert again.user_ns == {"_oh": {0: 1}, "_0": 1, "_": "", "mine": first}  # what has a name of one's own stays
    assert again.user_ns_hidden == {"_0": 1}


@pytest.fixture(params=["VSCODE_PID", "VSCODE_CWD", "google.colab"])
def host(request, monkeypatch):
    """The host as a kernel sees it: VS Code's variables, or Colab's modules with the address of its widget manager."""
    if request.param != "google.colab":
        monkeypatch.setenv(request.param, "1")
        return "VS Code"
    output = SimpleNamespace(enable_custom_widget_manager=lambda: None, _widgets=SimpleNamespace(_installed_url="u://"))
    monkeypatch.setitem(sys.modules, "google.colab", SimpleNamespace(output=output))
    monkeypatch.setitem(sys.modules, "google.colab.output", output)
    return "Colab"


def test_hosts_that_do_less_say_so_and_what_to_do(host):
    assert Lines().notice.startswith(f'<div class="avid-notice" role="status">{host}: controls and pictures work')
    assert "while no cell runs" in Lines().notice and "`avid-lab lab`" in Lines().notice


def test_jupyterlab_needs_no_notice(monkeypatch):
    for name in ("VSCODE_PID", "VSCODE_CWD"):
        monkeypatch.delenv(name, raising=False)
    assert Lines().notice == ""


def test_colab_is_told_where_the_scripts_of_a_panel_come_from(host):
    bundle, metadata = Lines()._repr_mimebundle_()
    assert WIDGET in bundle
    assert metadata == ({WIDGET: {"colab": {"custom_widget_manager": {"url": "u://"}}}} if host == "Colab" else {})


def test_panels_work_between_cells_where_no_message_comes_while_one_runs(host):
    async def notebook():
        panel = Lines()
        for value in (3, 5, 8):  # a cell that runs: messages wait, then come all at once
            panel.controls["slope"].value = value
        assert panel.drawings == [(1, False)]
        in_the_cell = panel.snapshot()  # flushes
        await asyncio.sleep(0.5)  # between cells
        return panel, in_the_cell

    panel, in_the_cell = asyncio.run(notebook())
    assert panel.drawings == [(1, False), (8, True), (8, False)] and ("slope", "8") in in_the_cell.rows
    assert host in panel.notice

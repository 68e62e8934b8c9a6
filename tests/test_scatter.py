"""The canvas of points: what the page is sent, what it sends back, and the picture without a kernel."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest

from avid_lab.interactive.scatter import Scatter
from avid_lab.interactive.script import HERE
from avid_lab.plots.style import COLOURS, MARKERS

CLASSES = np.array([0, 1, 2, 1, 25])


def scatter(**options):
    x = np.array([0.0, 1.0, 2.0, 3.0, 4.0])
    return Scatter(x, x**2, CLASSES, [f"clip {i}" for i in range(5)], title="squares", **options)


def test_the_page_is_sent_places_colours_and_shapes():
    state = scatter().get_state()
    assert np.frombuffer(state["_points"], np.float32).tolist() == [0, 1, 2, 3, 4, 0, 1, 4, 9, 16]
    assert list(state["_colours"]) == [0, 1, 2, 1, 25 % len(COLOURS)]
    assert [MARKERS[i] for i in state["_markers"]][:4] == ["o", "s", "^", "s"]
    left, right, bottom, top = state["_view"]
    assert left < 0 < 4 < right and bottom < 0 < 16 < top
    assert "_thumbnail" not in state


def test_class_25_differs_from_class_1_by_its_shape():
    state = scatter().get_state()
    assert state["_colours"][4] == state["_colours"][1] and state["_markers"][4] != state["_markers"][1]


def test_points_move_and_the_view_follows_unless_it_is_fixed():
    free, fixed = scatter(), scatter(limits=(0.0, 1.0, 0.0, 1.0))
    for one in (free, fixed):
        one.set_points(np.full(5, 100.0), np.arange(5.0))
        assert one.points.tolist() == [[100.0, i] for i in range(5)]
    assert free.get_state()["_view"][0] < 100 < free.get_state()["_view"][1]
    assert fixed.get_state()["_view"] == [0.0, 1.0, 0.0, 1.0]


def test_moving_sends_points_and_view_and_nothing_else():
    one, sent = scatter(), []
    one.observe(lambda change: sent.append(change["name"]), names=list(one.keys))
    one.set_points(np.zeros(5), np.arange(5.0))
    assert set(sent) == {"_points", "_view"}


def test_points_are_coloured_anew():
    one = scatter(names=["a", "b"])
    one.set_colors([2, 1, 0, 1, 0], list("ososo"), palette=["red", "green", "blue"])
    state = one.get_state()
    assert list(state["_colours"]) == [2, 1, 0, 1, 0]
    assert [MARKERS[i] for i in state["_markers"]] == list("ososo")
    assert (state["_look"]["palette"], state["_look"]["names"]) == (["red", "green", "blue"], ["a", "b"])
    assert one.view == tuple(state["_view"])


def test_overlays_replace_each_other_and_keep_what_is_not_given():
    one = scatter()
    line = {"points": [(0, 0), (1, 1)], "label": "diagonal", "dash": True}
    one.set_overlay(lines=[np.zeros((3, 2)), line], highlight=[4])
    one.set_overlay(highlight={"#ff0000": [1, 2], "blue": []})
    assert [line.get("label") for line in one._lines] == [None, "diagonal"]
    assert one._lines[1]["points"] == [[0.0, 0.0], [1.0, 1.0]]
    assert one._rings == [{"colour": "#ff0000", "index": [1, 2]}, {"colour": "blue", "index": []}]
    one.set_overlay(lines=[])
    assert one._lines == [] and len(one._rings) == 2


def test_a_thumbnail_is_sent_when_the_page_asks_for_one_that_exists():
    one = scatter(thumbnail=lambda i: b"jpeg %d" % i)
    sent = []
    one.send = lambda message, buffers: sent.append((message, buffers))
    for message in ({"thumbnail": 3}, {"thumbnail": 7}, {"thumbnail": "3"}, {"other": 1}):
        one._handle_custom_msg(message, [])
    assert sent == [({"thumbnail": 3}, [b"jpeg 3"])]


def test_the_static_picture_has_every_point_line_and_ring():
    one = scatter(xlabel="across", ticks=False)
    one.set_overlay(lines=[{"points": [(0, 0), (4, 16)], "label": "chord"}], highlight=[2])
    ax = one.draw()
    places = np.concatenate([found.get_offsets() for found in ax.collections])
    assert {tuple(place) for place in one.points} <= {tuple(place) for place in places}
    assert len(places) == 5 + 1  # and one ring
    assert ax.lines[0].get_xydata().tolist() == [[0, 0], [4, 16]]
    assert ax.get_title(loc="left") == "squares" and ax.get_xlabel() == "across" and not len(ax.get_xticks())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"labels": ["one"]}, "one text a point, 5; got 1"),
        ({"x": np.zeros(4)}, "x must have shape"),
        ({"y": np.full(5, np.nan)}, "x and y must be finite; got 5"),
        ({"markers": ["o"] * 4 + ["?"]}, "markers must be 5 of"),
    ],
)
def test_bad_points_are_refused(change, told):
    good = {"x": np.zeros(5), "y": np.zeros(5), "color_index": CLASSES, "labels": ["a"] * 5}
    with pytest.raises(ValueError, match=told):
        Scatter(**good | change)


def test_bad_changes_are_refused():
    one = scatter()
    with pytest.raises(ValueError, match=r"points in \[0, 5\); got 5"):
        one.set_overlay(highlight=[0, 5])
    with pytest.raises(ValueError, match="a line's points must have shape"):
        one.set_overlay(lines=[np.zeros((2, 3))])
    with pytest.raises(ValueError, match="one text a point"):
        one.set_labels(["a"])


@pytest.mark.skipif(shutil.which("node") is None, reason="no node on the path")
@pytest.mark.parametrize("name", ["scatter.js", "chart.js"])
def test_the_script_is_a_valid_module(tmp_path, name):
    script = tmp_path / "widget.mjs"
    script.write_text("\n".join((HERE / file).read_text() for file in ("canvas.js", name)))
    shown = subprocess.run(["node", "--check", str(script)], capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr


def test_a_view_can_be_set_and_has_no_empty_sides():
    one = Scatter([0.0, 1.0], [0.0, 1.0], [0, 0], ["a", "b"])
    one.view = (-1.0, 2.0, 0.25, 0.5)
    assert one.get_state()["_view"] == [-1.0, 2.0, 0.25, 0.5]
    with pytest.raises(ValueError, match="left < right"):
        one.view = (2.0, 2.0, 0.0, 1.0)
    assert one.view == (-1.0, 2.0, 0.25, 0.5)

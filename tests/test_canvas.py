"""Charts: valid parts, messages to and from the page, and the picture without a kernel."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest

from avid_lab.interactive.canvas import Canvas
from avid_lab.interactive.script import HERE
from avid_lab.plots import chart as vocabulary
from avid_lab.plots import dark
from avid_lab.plots.chart import Area, Axis, Bars, Chart, Guide, Line, Plot, Points, Text, limits, segments, steps
from avid_lab.plots.render import draw, draw_chart

AXES = Axis(0, 4, "across"), Axis(0, 16, "up")
KINDS = {"even": ("#0072b2", "o"), "odd": ("#e06a1b", "X")}


def points(**options):
    x = np.arange(5.0)
    return Points.of_kinds(x, x**2, [0, 1, 0, 1, 0], KINDS, **options)


def chart(*marks, **options):
    return Chart([Plot(marks, *AXES, title="squares", **options)], "squares of numbers", 300)


def lines_of(ax):
    return {line.get_gid(): line.get_xydata() for line in ax.lines}


class TestDescription:
    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: Line([0, 1], [0]), r"y of Line must have shape \(2,\), as x; got \(1,\)"),
            (lambda: Area(np.zeros((2, 2)), [0, 1]), r"x of Area must have shape \(n,\); got \(2, 2\)"),
            (lambda: Bars([0], [1], [0], [1, 2]), r"top of Bars must have shape \(1,\), as left"),
        ],
    )
    def test_numbers_of_one_length(self, make, message):
        with pytest.raises(ValueError, match=message):
            make()

    def test_kinds_give_colours_names_and_shapes(self):
        found = points()
        assert (found.colours, found.names) == (("#0072b2", "#e06a1b"), ("even", "odd"))
        assert found.shape.tolist() == [0, 6, 0, 6, 0]

    def test_arrays_travel_as_bytes_and_all_else_as_json(self):
        found = chart(points(), Guide(1, drag=(0, 4, 0.5))).to_dict()
        dots, guide = found["plots"][0]["marks"]
        assert np.frombuffer(dots["y"], np.float32).tolist() == [0, 1, 4, 9, 16]
        assert (dots["type"], dots["colours"], guide["drag"]) == ("Points", ["#0072b2", "#e06a1b"], [0, 4, 0.5])
        assert found["plots"][0]["x"] == {
            "type": "Axis",
            "low": 0,
            "high": 4,
            "label": "across",
            "ticks": "numbers",
            "grid": False,
        }

    def test_limits_leave_room_and_bear_anything(self):
        assert limits([0.0, 10.0], pad=0.1) == pytest.approx((-1, 11))
        assert limits([np.nan, 3.0], [np.inf]) == (2.5, 3.5) and limits([]) == (0, 1)
        low, high = limits([*range(1000), 1e9], pad=0, share=0.99)
        assert low > 0 and high < 1000

    def test_steps_and_segments(self):
        x, y = steps([0, 1, 2], [5, 7])
        assert (x.tolist(), y.tolist()) == ([0, 1, 1, 2], [5, 5, 7, 7])
        assert np.isnan(segments([0, 1], 2)[2::3]).all() and segments([0, 1], 2)[[0, 1, 3, 4]].tolist() == [0, 2, 1, 2]


class TestRenderer:
    def test_every_mark_is_drawn_where_it_is_in_the_order_given(self):
        marks = [
            Area([0, 4], [1, 2], 0, name="area"),
            Bars([0, 2], [1, 3], [0, 0], [4, 6], ("#ff0000", "ink"), "bars"),
            Line([0, 4], [0, 16], "muted", "line", end="ends here"),
            points(name="dots", ringed=(2,)),
            Guide(3, words="three", name="guide"),
            Text(1, 1, "words", name="text"),
        ]
        ax = draw(Plot(marks, *AXES, title="squares", legend="inside"))
        bars = [bar for bar in ax.patches if bar.get_gid() == "bars"]
        assert [(bar.get_x(), bar.get_width(), bar.get_height()) for bar in bars] == [(0, 1, 4), (2, 1, 6)]
        assert lines_of(ax)["line"].tolist() == [[0, 0], [4, 16]] and lines_of(ax)["guide"][0, 0] == 3
        dots = {found.get_gid(): np.asarray(found.get_offsets()).tolist() for found in ax.collections}
        assert dots["dots even"] == [[0, 0], [2, 4], [4, 16]] and dots["ringed"] == [[2, 4]]
        assert {"words", "three", "ends here"} <= {text.get_text() for text in ax.texts}
        assert (ax.get_title("left"), ax.get_xlabel(), ax.get_xlim()) == ("squares", "across", (0, 4))
        assert [text.get_text() for text in ax.get_legend().get_texts()] == ["even", "odd"]
        zorders = [bars[0].get_zorder(), ax.lines[1].get_zorder(), ax.texts[-2].get_zorder()]
        assert zorders == sorted(zorders) and len(set(zorders)) == 3

    @pytest.mark.parametrize(
        ("ticks", "shown"),
        [("percent", "40 %"), (((0.25, "first"), (0.75, "second")), "second"), ("none", None), ("whole", "1")],
    )
    def test_ticks_are_written_as_asked_for(self, ticks, shown):
        ax = draw(Plot([], Axis(0, 1, ticks=ticks), Axis(0, 1)))
        ax.figure.draw_without_rendering()
        written = [label.get_text() for label in ax.get_xticklabels()]
        assert shown in written if shown else not written

    def test_what_is_not_selected_is_dimmed_and_what_is_clicked_is_marked(self):
        ax = draw(Plot([points()], *AXES), selected=[0, 1], clicked=4)
        alphas = {found.get_alpha(): len(found.get_offsets()) for found in ax.collections if found.get_alpha()}
        assert set(alphas) == {0.8, 0.13}
        assert [4, 16] in np.concatenate(
            [found.get_offsets() for found in ax.collections if found.get_gid() == "ringed"]
        ).tolist()

    def test_dark_paper_has_light_ink_and_colours_that_show(self):
        with dark():
            ax = draw(Plot([Line([0, 1], [0, 1], "#000080", "line"), Line([0, 1], [1, 0], name="ink")], *AXES))
        background = np.array(ax.figure.get_facecolor()[:3])
        for line in ax.lines:
            colour = line.get_color().lstrip("#")
            rgb = np.array([int(colour[at : at + 2], 16) / 255 for at in (0, 2, 4)])
            assert rgb @ (0.2126, 0.7152, 0.0722) - background @ (0.2126, 0.7152, 0.0722) > 0.3
        assert draw(Plot([], *AXES)).figure.get_facecolor()[:3] == (1, 1, 1)  # the next one is light again

    def test_a_chart_has_its_plots_in_their_cells(self):
        cells = [(0, 0, 1), (1, 0, 1), (0, 1, 2)]
        plots = [Plot([points()], *AXES, title=str(i), cell=cell) for i, cell in enumerate(cells)]
        figure = draw_chart(Chart(plots, "three", 300, (1, 2), (1, 1), legend=True))
        spans = [(ax.get_subplotspec().rowspan.start, ax.get_subplotspec().colspan.start) for ax in figure.axes]
        assert spans == [(0, 0), (1, 0), (0, 1)] and figure.axes[2].get_subplotspec().rowspan.stop == 2
        assert [text.get_text() for text in figure.legends[0].get_texts()] == ["even", "odd"]


class TestCanvas:
    def test_the_page_is_sent_a_chart_when_it_differs(self):
        canvas, sent = Canvas(), []
        canvas.observe(lambda change: sent.append(change["name"]), names=list(canvas.keys))
        canvas.chart = chart(points())
        canvas.chart = chart(points())  # the same again
        assert sent == ["_chart"] and canvas.get_state()["_chart"] == canvas.chart.to_dict()

    def test_a_thumbnail_is_sent_when_the_page_asks_for_one_that_exists(self):
        canvas = Canvas(lambda i: b"jpeg %d" % i)
        canvas.labels = [f"clip {i}" for i in range(5)]
        sent = []
        canvas.send = lambda message, buffers: sent.append((message, buffers))
        for message in ({"thumbnail": 3}, {"thumbnail": 7}, {"thumbnail": "3"}, {"other": 1}):
            canvas._handle_custom_msg(message, [])
        assert sent == [({"thumbnail": 3}, [b"jpeg 3"])]

    def test_a_clip_without_a_picture_sends_none(self):
        canvas, sent = Canvas(lambda _: b"", lambda _: b""), []
        canvas.labels = ["gone"]
        canvas.send = lambda message, buffers: sent.append((message, buffers))
        canvas._handle_custom_msg({"thumbnail": 0}, [])
        canvas._handle_custom_msg({"sound": 0}, [])
        assert sent == [({"thumbnail": 0}, []), ({"sound": 0}, [])]  # an empty picture would be drawn as a broken one

    def test_a_sound_is_sent_where_there_are_sounds(self):
        sent = []
        for canvas in (Canvas(lambda i: b"jpeg", lambda i: b"mp4 %d" % i), Canvas()):
            canvas.labels = ["clip 0", "clip 1"]
            canvas.send = lambda message, buffers: sent.append((message, buffers))
            canvas._handle_custom_msg({"sound": 1}, [])
        assert sent == [({"sound": 1}, [b"mp4 1"])]

    def test_the_picture_without_a_page_shows_what_was_touched(self):
        canvas = Canvas()
        canvas.chart = chart(points())
        canvas.clicked = 3
        (ax,) = canvas.draw().axes
        rings = [found for found in ax.collections if found.get_gid() == "ringed"]
        assert np.asarray(rings[0].get_offsets()).tolist() == [[3, 9]]


@pytest.mark.skipif(shutil.which("node") is None, reason="no node on the path")
def test_the_script_is_a_valid_module_that_knows_every_mark(tmp_path):
    script, source = tmp_path / "widget.mjs", (HERE / "canvas.js").read_text()
    script.write_text(source)
    shown = subprocess.run(["node", "--check", str(script)], capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
    for mark in vocabulary.Mark.__subclasses__():
        assert f"        {mark.__name__}(p, box, mark)" in source

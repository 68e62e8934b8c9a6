"""Comparisons of methods, read from their artists."""

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

import avid_lab as al
from avid_lab import plots
from avid_lab.plots.style import AUDIO, BAD, GOOD, VIDEO


def by_gid(where, gid):
    return [artist for artist in where.findobj() if artist.get_gid() == gid]


def texts(where):
    return [artist.get_text() for artist in where.findobj(mpl.text.Text) if artist.get_text()]


def test_a_difference_is_coloured_only_if_its_interval_leaves_zero():
    sure, worse, open_ = [2.0, 2.1, 2.2], [-1.0, -1.1, -0.9], [-1.0, 0.5, 2.0]
    figure = plots.seed_differences({"early": {"a": sure, "b": worse}, "late": {"a": open_, "c": [3.0]}})
    early, late = figure.axes
    assert [by_gid(early, f"mean {name}")[0].get_color() for name in "ab"] == [to_hex(GOOD), to_hex(BAD)]
    assert len({by_gid(late, f"mean {name}")[0].get_color() for name in "ac"}) == 1
    assert by_gid(early, "seeds a")[0].get_xdata() == pytest.approx(sure)
    assert by_gid(early, "interval a")[0].get_xdata() == pytest.approx([2.1 - 0.2484, 2.1 + 0.2484], abs=1e-3)
    assert [label.get_text() for label in early.get_yticklabels()] == ["a", "b", "c"]
    assert early.get_xlim() == late.get_xlim() and "+2.1" in texts(early)
    assert early.get_xlabel() == "points; 95 % intervals over seeds"


def test_an_interval_of_two_seeds_does_not_squash_the_figure():
    (ax,) = plots.seed_differences({"": {"a": [0.0, 1.0]}}).axes
    low, high = by_gid(ax, "interval a")[0].get_xdata()
    assert low >= ax.get_xlim()[0] and high <= ax.get_xlim()[1] < 3
    (dots,) = plots.seed_differences({"": {"a": [0.0, 1.0]}}, intervals=False).axes
    assert not by_gid(dots, "interval a") and dots.get_xlabel() == "points"
    with pytest.raises(ValueError, match="at least one row"):
        plots.seed_differences({"": {"a": []}})


def test_every_measure_has_its_own_scale_and_one_legend_names_the_runs():
    steps = np.arange(5)
    panels = {"rank": {"A": (steps, steps + 1), "B": (steps, 3 - steps)}, "loss": {"A": (steps, 100.0 * steps)}}
    figure = plots.tracks(panels, marks={"swap": 2.0}, levels={"rank": {"a line": 1.0}}, title="Two runs")
    rank, loss = figure.axes
    assert by_gid(rank, "B")[0].get_ydata() == pytest.approx(3 - steps) and loss.get_ylim()[1] > 390
    assert by_gid(rank, "mark swap")[0].get_xdata() == pytest.approx([2, 2]) and "a line" in texts(rank)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["A", "B"]
    with pytest.raises(ValueError, match="at least one title"):
        plots.tracks({})


def test_promises_leave_out_empty_bins():
    ax = plots.reliability_curves({"own": (np.array([0.1, np.nan, 0.9]), np.array([0.2, np.nan, 0.8]))})
    assert by_gid(ax, "own")[0].get_ydata() == pytest.approx([0.2, 0.8])


def test_parts_lie_side_by_side_and_small_ones_have_no_number():
    ax = plots.shares({"video": {"right": 0.7, "wrong": 0.28, "rest": 0.02}, "audio": {"right": 1.0}})
    first, second = (by_gid(ax, name)[0] for name in ("wrong", "rest"))
    assert first.get_x() == pytest.approx(0.7) and second.get_x() + second.get_width() == pytest.approx(1)
    assert {"70", "28", "100"} <= set(texts(ax)) and "2" not in texts(ax)


def test_parts_that_sound_or_look_alike_have_the_colours_of_the_senses():
    parts = {"right": 0.4, "wrong: looks alike": 0.3, "wrong: sounds alike": 0.2, "rest": 0.1}
    ax = plots.shares({"video": parts})
    drawn = {name: to_hex(by_gid(ax, name)[0].get_facecolor()) for name in parts}
    assert list(drawn.values())[:3] == [GOOD, VIDEO, AUDIO] and len(set(drawn.values())) == 4


def test_a_bar_joins_the_first_two_dots():
    ax = plots.dumbbells({"gong": {"sight": 0.2, "hearing": 0.9, "both": 0.8}})
    assert by_gid(ax, "bar")[0].get_xdata() == pytest.approx([0.2, 0.9])
    assert by_gid(ax, "both")[0].get_xdata() == pytest.approx([0.8])
    with pytest.raises(ValueError, match="same names"):
        plots.dumbbells({"a": {"x": 0.1}, "b": {"y": 0.1}})


def test_beliefs_lie_over_histograms_of_any_size():
    x = torch.linspace(-0.5, 1, 40)
    ax = plots.beliefs({"random": torch.zeros(3, 5), "positives": np.full(2, 0.9)}, {"own Z": (x, x.clip(0, 1))})
    assert by_gid(ax, "own Z")[0].get_ydata() == pytest.approx(x.clip(0, 1).numpy())
    assert ax.get_xlim() == pytest.approx((-0.5, 1)) and ax.get_ylim()[1] < 1.1


def test_planes_show_what_each_rule_chooses():
    torch.manual_seed(0)
    labels = torch.arange(60) % 3
    rows = [torch.nn.functional.normalize(torch.randn(3, 8)[labels] + torch.randn(60, 8), dim=1) for _ in range(2)]
    mined = {rule: al.mine_positives(*rows, 8, rule) for rule in ("video", "consensus", "union")}
    figure = plots.agreement_planes(tuple(rows), 5, mined, labels, title="one query")
    assert [ax.get_title("left").split(":")[0] for ax in figure.axes] == list(mined)
    for ax, found in zip(figure.axes, mined.values(), strict=True):
        right = 100 * (labels[found.index[5]] == labels[5]).double().mean()
        assert f"{right:.0f} % of 8 are right" in ax.get_title("left")
        assert len(by_gid(ax, "ringed")[0].get_offsets()) == 8
    with pytest.raises(ValueError, match="at least one rule"):
        plots.agreement_planes(tuple(rows), 5, {}, labels)


def test_scenes_stand_where_their_groups_cross():
    ax = plots.scene_grid(["gong", "bell", "gong"], ["disc", "cone", "disc"], ["ring", "ring", "ring"])
    assert {"gong", "bell"} <= set(texts(ax)) and ax.get_title("left").startswith("2 looks, 1 sounds")

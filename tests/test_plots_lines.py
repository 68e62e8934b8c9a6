"""Curves, differences, seeds, histograms and blocks, read from their artists."""

import numpy as np
import pytest
import torch
from test_plots_evaluation import Estimate, by_gid

from avid_lab import plots


def test_curves_share_positions_and_have_bands_only_where_there_are_intervals():
    rows = [Estimate(0.2, 0.1, 0.3), Estimate(0.5, 0.4, 0.6)]
    ax = plots.curves(
        [1, 10], {"pictures": rows, "untrained": [0.1, 0.1]}, levels={"chance": 0.05}, log="x", percent=True
    )
    (line,), (blank,) = by_gid(ax, "pictures"), by_gid(ax, "untrained")
    assert line.get_xdata() == pytest.approx([0, 1]) and line.get_ydata() == pytest.approx([0.2, 0.5])
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["1", "10"]
    assert len(by_gid(ax, "band pictures")) == 1 and not by_gid(ax, "band untrained")
    assert by_gid(ax, "chance")[0].get_ydata() == pytest.approx([0.05, 0.05])
    assert line.get_color() != blank.get_color() and blank.get_markerfacecolor() == "#ffffff"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["pictures", "untrained", "chance"]


def test_the_lowest_point_is_ringed_and_a_level_may_follow_the_positions():
    ax = plots.curves([1, 2, 3], {"loss": [3.0, 1.0, 2.0]}, levels={"log B": [1, 2, 3]}, lowest=True)
    assert [artist.get_xdata().tolist() for artist in by_gid(ax, "lowest loss")] == [[2.0]]
    assert by_gid(ax, "log B")[0].get_ydata().tolist() == [1, 2, 3]


def test_panels_share_their_scale_and_one_legend():
    figure = plots.curve_panels([1, 2], {"video": {"CMA": [1.0, 9.0]}, "audio": {"CMA": [2.0, 3.0]}}, title="By block")
    first, second = figure.axes
    assert first.get_ylim() == second.get_ylim() and first.get_title(loc="left") == "video"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["CMA"]


def test_whole_positions_have_whole_ticks():
    blocks, biases = (plots.curves(x, {"a": [1, 2, 3]}) for x in ([1, 2, 3], [1, 1.5, 2]))
    assert all(tick == round(tick) for tick in blocks.get_xticks())
    assert not all(tick == round(tick) for tick in biases.get_xticks())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"x": [1, 2], "lines": {}}, "at least one"),
        ({"x": [1, 2], "lines": {"a": [1]}}, "each of the 2 positions; got 1"),
        ({"x": [0, 2], "lines": {"a": [1, 2]}, "log": "x"}, "x must be above zero"),
    ],
)
def test_curves_say_what_is_wrong(arguments, message):
    with pytest.raises(ValueError, match=message):
        plots.curves(**arguments)


def test_differences_are_coloured_by_where_zero_lies():
    rows = {"up": Estimate(0.02, 0.01, 0.03), "down": Estimate(-0.02, -0.03, -0.01), "open": Estimate(0.0, -0.01, 0.01)}
    ax = plots.differences(rows)
    colours = {name: by_gid(ax, f"mean {name}")[0].get_color() for name in rows}
    assert len(set(colours.values())) == 3
    assert by_gid(ax, "interval up")[0].get_xdata() == pytest.approx([1, 3])
    with pytest.raises(ValueError, match="at least one"):
        plots.differences({})


def test_every_seed_is_a_dot_beside_the_untrained_ones_and_chance():
    ax = plots.seed_rows({"kNN": [0.6, 0.7], "probe": [0.9, 0.8]}, {"kNN": [0.2]}, {"probe": 0.05}, label="CMA")
    assert by_gid(ax, "seeds kNN")[0].get_xdata() == pytest.approx([0.6, 0.7])
    assert by_gid(ax, "untrained kNN") and not by_gid(ax, "untrained probe")
    assert by_gid(ax, "chance probe") and not by_gid(ax, "chance kNN")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["CMA", "untrained", "chance"]
    with pytest.raises(ValueError, match="at least one"):
        plots.seed_rows({}, {}, {})


def test_histograms_have_an_area_of_one_each_or_together_if_weighted():
    groups = {"intact": torch.tensor([0.0, 0.2, 0.2, 1.0]), "off-screen": torch.tensor([0.9, 1.0])}

    def heights(ax, name):
        outline = by_gid(ax, name)[0].get_paths()[0].vertices[:, 1] if by_gid(ax, name) else np.zeros(1)
        return outline.max()

    ax = plots.histograms(groups, bins=2, reach=(0, 1))
    assert heights(ax, "intact") == pytest.approx(0.75) and heights(ax, "off-screen") == pytest.approx(1.0)
    weighed = {name: (values, torch.full_like(values, 4 / len(values))) for name, values in groups.items()}
    ax = plots.histograms(weighed, bins=2, reach=(0, 1))
    assert heights(ax, "intact") == pytest.approx(3 / 8) and heights(ax, "off-screen") == pytest.approx(4 / 8)
    with pytest.raises(ValueError, match="weights must have"):
        plots.histograms(groups | {"intact": weighed["intact"]})
    with pytest.raises(ValueError, match="weights must have"):
        plots.histograms({"intact": (torch.zeros(4), torch.ones(3))})


def test_blocks_are_named_once_for_each_group():
    figure = plots.blocks({"hard": torch.eye(4), "soft": torch.full((4, 4), 0.25)}, ["bell", "bell", "drum", "drum"])
    across, down = (
        [tick.get_text() for tick in labels]
        for ax in figure.axes[:1]
        for labels in (ax.get_xticklabels(), ax.get_yticklabels())
    )
    assert across == down == ["bell", "drum"] and not [t for t in figure.axes[1].get_yticklabels() if t.get_text()]
    with pytest.raises(ValueError, match="shape"):
        plots.blocks({"hard": torch.eye(3)}, ["bell", "drum"])

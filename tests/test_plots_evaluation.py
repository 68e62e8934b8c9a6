"""Plots of evaluations, read from their artists."""

from dataclasses import dataclass, replace

import matplotlib as mpl
import numpy as np
import pytest
import torch

from avid_lab import plots


@dataclass
class Estimate:
    value: float
    low: float
    high: float
    chance: float = 0.1
    random: float = 0.3


BLOCKS = {
    f"{m} block{i}": Estimate(0.1 * i, 0.1 * i - 0.05, 0.1 * i + 0.05) for m in ("video", "audio") for i in (1, 4)
}


def by_gid(where, gid):
    return [artist for artist in where.findobj() if artist.get_gid() == gid]


def texts(where):
    return [artist.get_text() for artist in where.findobj(mpl.text.Text) if artist.get_text()]


def test_an_estimate_is_a_dot_in_its_interval_with_a_ring_and_a_tick():
    ax = plots.estimate_rows(BLOCKS, title="Probes")
    (dots,), (rings,), (ticks,) = by_gid(ax, "value "), by_gid(ax, "random "), by_gid(ax, "chance")
    assert dots.get_xdata() == pytest.approx([0.1, 0.4, 0.1, 0.4])
    assert rings.get_xdata() == pytest.approx([0.3] * 4)
    assert ticks.get_xdata()[::3] == pytest.approx([0.1] * 4)
    (intervals,) = by_gid(ax, "interval ")
    assert intervals.get_xdata()[3:5] == pytest.approx((0.35, 0.45))
    assert [label.get_text() for label in ax.get_yticklabels()] == list(BLOCKS)


def test_two_models_share_the_rows_chosen_and_do_not_cover_each_other():
    ax = plots.estimate_rows({"AVID": BLOCKS, "CMA": BLOCKS}, rows=["audio block4"])
    first, second = (by_gid(ax, f"value {name}")[0].get_ydata()[0] for name in ("AVID", "CMA"))
    assert abs(first - second) > 0.2
    with pytest.raises(ValueError, match="CMA lacks"):
        plots.estimate_rows({"AVID": BLOCKS, "CMA": {"video block1": BLOCKS["video block1"]}})
    with pytest.raises(ValueError, match="at least one row"):
        plots.estimate_rows({})


def test_what_is_not_known_is_not_in_the_legend():
    lone = {"kNN": replace(BLOCKS["video block1"], chance=np.nan, random=np.nan)}
    legend = [text.get_text() for text in plots.estimate_rows(lone).get_legend().get_texts()]
    assert legend == ["with 95 % interval"]


def test_collapse_has_a_panel_for_each_sign():
    names = ["alignment picture-sound"] + [
        f"{m} {kind}" for m in ("video", "audio") for kind in ("alignment of windows", "uniformity", "effective rank")
    ]
    signs = {"uniformity": -1.0}
    table = {n: Estimate(*(signs.get(n.split()[-1], 1.0) * np.array([2.0, 1.9, 2.1]))) for n in names}
    figure = plots.collapse_panels({"AVID": table, "CMA": table})
    titles = [ax.get_title("left") for ax in figure.axes]
    assert [title.split(":")[0] for title in titles] == ["Alignment", "Uniformity", "Effective rank"]
    assert [len(by_gid(ax, "value CMA")[0].get_xdata()) for ax in figure.axes] == [3, 2, 2]
    assert figure.axes[1].get_xlim()[1] == 0


def test_real_results_can_be_drawn():
    from avid_lab.evaluation import Embeddings, collapse_table, similarity_report

    torch.manual_seed(0)
    labels = torch.arange(40) % 4
    x = torch.nn.functional.normalize(torch.randn(4, 8)[labels] + 0.5 * torch.randn(40, 8), dim=1)
    space = Embeddings(x, x.flip(1), x, x, labels, x[:, None], x.flip(1)[:, None])
    report = similarity_report(space)
    for drawn in (
        plots.estimate_rows(report.table, rows=["v-v AUC", "a-a AUC"]),
        plots.similarity_histograms(report.histograms),
    ):
        assert drawn._repr_png_()
    assert plots.collapse_panels(collapse_table(space))._repr_png_()

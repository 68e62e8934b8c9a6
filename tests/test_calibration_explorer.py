"""The calibration explorer: its counts against the exact metrics; dragging, scrubbing and fitting."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avid_lab.interactive import calibration as module
from avid_lab.interactive.calibration import COLOURS, SPACES, CalibrationExplorer, pair_histogram
from avid_lab.metrics import fit_probability, pairs, separation
from avid_lab.plots.chart import Text

LABELS = np.arange(60) % 5


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def run(*strengths, seed=0, first=0):
    """Snapshots whose classes separate over time; sounds have a common offset that makes them similar."""
    rng = np.random.default_rng(seed)
    classes, noise = rng.normal(size=(5, 16)), rng.normal(size=(2, 60, 16))
    return [
        SimpleNamespace(
            step=first + 100 * i,
            video=unit(a * classes[LABELS] + noise[0]).astype(np.float16),
            audio=torch.from_numpy(unit(a * classes[LABELS] + noise[1] + 2.0)),
        )
        for i, a in enumerate(strengths)
    ]


def shown(panel, column=0):
    """Title and texts of the histograms of one column."""
    found = [plot for plot in panel.canvas.chart.plots[:-1] if plot.cell[1] == column]
    return [(plot.title, *(mark.words for mark in plot.marks if isinstance(mark, Text))) for plot in found]


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 1000), strength=st.floats(0, 2))
def test_counts_agree_with_the_exact_metrics(seed, strength):
    one = run(strength, seed=seed)[0]
    video, audio = unit(one.video.astype(np.float32)), one.audio.numpy()
    for left, right in ((video, video), (video, audio)):
        found = pair_histogram(left, right, LABELS)
        exact = separation(torch.from_numpy(left), torch.from_numpy(right), torch.from_numpy(LABELS))
        assert found.auc == pytest.approx(exact.auc, abs=2e-3)
        assert found.d_prime == pytest.approx(exact.d_prime, rel=1e-3, abs=1e-3)
        assert found.overlap == pytest.approx(exact.overlap, abs=2e-2)
        for threshold in (-0.2, 0.0, 0.33):
            hits, alarms = found.above(threshold)
            assert hits == pytest.approx((exact.same >= threshold).double().mean().item(), abs=5e-3)
            assert alarms == pytest.approx((exact.different >= threshold).double().mean().item(), abs=5e-3)


def test_the_calibration_error_is_that_of_a_loop_over_pairs():
    one = run(1.0)[0]
    audio = one.audio.numpy()
    curve, error = pair_histogram(audio, audio, LABELS).reliability(0.6, 0.05)
    by_bin: dict[int, list[tuple[float, bool]]] = {}
    for i in range(60):
        for j in range(60):
            if i != j:
                p = 1 / (1 + np.exp(-(float(audio[i] @ audio[j]) - 0.6) / 0.05))
                by_bin.setdefault(min(int(p * 10), 9), []).append((p, LABELS[i] == LABELS[j]))
    gaps = [abs(sum(p for p, _ in held) - sum(same for _, same in held)) for held in by_bin.values()]
    assert error == pytest.approx(sum(gaps) / (60 * 59), abs=4e-3)
    assert curve[:, 2].sum() == pytest.approx(1, abs=1e-3)
    assert (np.diff(curve[:, 0]) > 0).all()


def test_probability_equal_to_truth_has_no_error():
    rng = np.random.default_rng(0)
    rows = unit(rng.normal(size=(60, 16)))
    found = pair_histogram(rows, rows, LABELS)
    assert found.reliability(50.0, 0.5)[1] == pytest.approx(found.base_rate, abs=1e-6)  # p = 0 everywhere


def test_scrubbing_shows_each_snapshot():
    panel = CalibrationExplorer(run(0.0, 0.7, 2.0), LABELS)
    seen = []
    for place in (0, 1, 2):
        panel.controls["snapshot"].value = place
        seen.append(shown(panel))
    assert [one[0][0].split("· ")[1] for one in seen] == ["step 0", "step 100", "step 200"]
    assert [words[1] for words in seen[0]] == list(SPACES)
    aucs = [float(one[2][2].split()[1]) for one in seen]
    assert aucs == sorted(aucs) and aucs[0] < 0.6 and aucs[2] > 0.95


def test_the_threshold_is_one_whether_slid_or_dragged():
    panel = CalibrationExplorer(run(1.0), LABELS)
    assert panel.canvas.guide == panel.controls["threshold"].value == 0.5
    panel.controls["threshold"].value = 0.2
    assert panel.canvas.guide == 0.2
    panel.canvas.guide = -0.31
    assert panel.controls["threshold"].value == -0.31
    hits, alarms = panel.histogram("", "video–audio").above(-0.31)
    assert f"{100 * hits:.0f} %" in panel.figures.value and f"{100 * alarms:.0f} %" in panel.figures.value


@pytest.mark.parametrize("space", SPACES)
def test_fit_finds_the_logistic_curve_and_lowers_the_error(space):
    panel = CalibrationExplorer(run(0.8), LABELS, state=f"threshold=-0.5&temperature=0.5&space={space}")
    before = panel.histogram("", space).reliability(-0.5, 0.5)[1]
    panel.fit.click()
    threshold, temperature = (panel.controls[name].value for name in ("threshold", "temperature"))
    assert panel.histogram("", space).reliability(threshold, temperature)[1] < 0.5 * before
    left, right = (torch.from_numpy(getattr(panel.moment(""), side)) for side in SPACES[space])
    found = pairs(left, right, torch.from_numpy(LABELS))
    curve = fit_probability(found.similarity, found.same)
    x = torch.linspace(-0.2, 0.9, 12, dtype=torch.float64)
    assert torch.allclose(((x - threshold) / temperature).sigmoid(), curve(x), atol=0.02)


def test_two_runs_stand_side_by_side_and_the_shorter_stays_at_its_end():
    panel = CalibrationExplorer({"AVID": run(0.2, 0.5, 0.9), "CMA": run(1.5, first=300)}, LABELS)
    panel.controls["snapshot"].value = 0
    assert shown(panel, 0)[0][0] == "AVID · step 0" and shown(panel, 1)[0][0] == "CMA"
    panel.controls["snapshot"].value = 2
    assert shown(panel, 0)[0][0] == "AVID · step 200" and shown(panel, 1)[0][0] == "CMA"
    curves = panel.canvas.chart.plots[-1].marks
    assert [(line.legend, bool(line.dash)) for line in curves if line.legend] == [("AVID", True), ("CMA", False)]
    assert [bool(line.dash) for line in curves if line.colour in COLOURS.values()] == [True] * 3 + [False] * 3


def test_state_and_snapshot():
    one = CalibrationExplorer(run(0.2, 1.0), LABELS)
    one.controls["threshold"].value, one.controls["snapshot"].value = 0.25, 0
    again = CalibrationExplorer(run(0.2, 1.0), LABELS, state=one.state)
    assert again.state == one.state and again.chart().to_dict() == one.chart().to_dict() and again.canvas.guide == 0.25
    snapshot = again.snapshot()
    assert snapshot.png is not None and snapshot.png.startswith(b"\x89PNG")
    rows = dict(snapshot.rows)
    assert rows["threshold"] == "0.25" and rows["video–video"].startswith("AUC 0.")


def test_pairs_of_arrays_will_do_and_wrong_shapes_are_reported():
    one = run(1.0)[0]
    assert len(CalibrationExplorer((one.video, one.audio), LABELS).chart().plots) == 4
    with pytest.raises(ValueError, match="a snapshot's video must have shape"):
        CalibrationExplorer((one.video[:5], one.audio), LABELS)
    with pytest.raises(ValueError, match="at least one; got none"):
        CalibrationExplorer([], LABELS)
    with pytest.raises(ValueError, match="two clips of one class"):
        CalibrationExplorer((one.video, one.audio), np.arange(60))
    with pytest.raises(ValueError, match="direction in every row"):
        CalibrationExplorer((np.zeros((60, 4)), one.audio), LABELS)


def test_dragging_does_not_count_pairs_again(monkeypatch):
    panel = CalibrationExplorer({"AVID": run(0.2, 0.5), "CMA": run(1.0, 1.5)}, LABELS)
    monkeypatch.setattr(module, "pair_histogram", lambda *_: pytest.fail("pairs were counted while dragging"))
    before = panel.canvas.chart.to_dict()
    panel.canvas.guide = 0.3
    assert panel.canvas.chart.to_dict() != before
    assert "same above" in dict(panel.table())["AVID video–video"]

"""The comparison of losses from nothing: every loss takes a batch, and finished runs are not made again."""

import json

import pytest
import torch
import torch.nn.functional as F

from avid_lab import reference
from benchmarks import losses


@pytest.mark.parametrize("method", losses.METHODS)
def test_every_loss_trains_both_encoders(method):
    objective = losses.METHODS[method](100, 0.2, torch.Generator().manual_seed(0))
    rows = [torch.randn(8, losses.PRESENT.model.dim, generator=torch.Generator().manual_seed(s)) for s in (0, 1)]
    video, audio = (F.normalize(x, dim=1).requires_grad_() for x in rows)
    objective(video, audio, torch.arange(8)).loss.backward()
    assert video.grad.abs().max() > 0 and audio.grad.abs().max() > 0


def test_settings_are_chosen_on_validation_and_judged_on_test(tmp_path, monkeypatch):
    """From a file with every run: nothing is trained, and the best setting of the search is the one that is judged."""
    grid, method = [(0.07, 2e-3), (0.3, 4e-3)], "InfoNCE, batch"
    scores = {(0.07, 2e-3): 0.4, (0.3, 4e-3): 0.6}
    runs = [
        dict(method=method, temperature=t, rate=r, seed=losses.SEARCH_SEED, steps=2, judged="validation", v2a=s, a2v=s)
        for (t, r), s in scores.items()
    ]
    best = dict(method=method, temperature=0.3, rate=4e-3, steps=4, judged="test", core_s=1.0)
    runs += [best | {"seed": seed} | dict.fromkeys(losses.SCORES, 0.5 + seed / 10) for seed in (0, 1)]
    (tmp_path / "losses.json").write_text(json.dumps({"runs": runs}))
    comparison = losses.Comparison(tmp_path / "losses.json", steps=4, search_steps=2, seeds=(0, 1), settings=grid)
    assert comparison.full(method) == runs[2:]
    assert "| InfoNCE, batch | 0.3 | 0.004 | 55.0 ± 7.1 |" in losses.table({method: comparison.full(method)})
    worse = [run | {key: run[key] - 0.02 for key in losses.SCORES} for run in runs[2:]]
    assert f"| {method} | +2.0 [+2.0, +2.0] |" in losses.differences({losses.REFERENCE: runs[2:], method: worse})
    monkeypatch.setattr(reference, "folder", lambda: tmp_path)
    assert reference.losses() == {method: runs[2:]}

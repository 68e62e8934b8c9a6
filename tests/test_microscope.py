"""The NCE microscope: its numbers equal the loss and autograd."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avid_lab import losses
from avid_lab.interactive.microscope import FALSE_NEGATIVE, SHOWN, TERMS, NCEMicroscope, nce_parts
from avid_lab.objectives import AVID

LABELS = np.arange(80) % 4
NAMES = ["rain", "surf", "fire", "bell"]


def embeddings(seed=0, count=80):
    rows = torch.nn.functional.normalize(torch.randn(2, count, 8, generator=torch.Generator().manual_seed(seed)), dim=2)
    return rows[0], rows[1]


def microscope(**options):
    return NCEMicroscope(embeddings(), LABELS, NAMES, **options)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 1000),
    k=st.integers(1, 50),
    temperature=st.floats(0.01, 2.0),
    partition=st.floats(1e-2, 1e6),
)
def test_loss_and_gradients_are_those_of_autograd(seed, k, temperature, partition):
    similarity = 2 * torch.rand(1 + k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 1
    scores = (similarity / temperature).requires_grad_()
    loss = losses.nce_loss(scores[None, :1], scores[None, 1:], partition)
    (gradient,) = torch.autograd.grad(loss, scores)
    parts = nce_parts(similarity.numpy(), temperature, partition)
    assert parts.loss.sum() == pytest.approx(loss.item(), rel=1e-9)
    assert np.allclose(parts.gradient, gradient.numpy(), rtol=1e-7, atol=1e-12)
    kz = k * partition
    if max(parts.scores) < 300:
        assert np.allclose(parts.probability, np.exp(parts.scores) / (np.exp(parts.scores) + kz))
    assert np.isfinite(parts.loss).all()


def test_the_gradient_by_the_embedding_follows_from_the_bars():
    panel = microscope(state="query=5&k=16&temperature=0.1")
    video, audio = embeddings()
    query = video[5].double().requires_grad_()
    scores = audio.double()[panel.similarities()[0]] @ query / panel.controls["temperature"].value
    losses.nce_loss(scores[None, :1], scores[None, 1:], panel.partition).backward()
    parts, answers = panel.parts(), audio.double()[panel.similarities()[0]].numpy()
    expected = parts.gradient @ answers / panel.controls["temperature"].value
    assert query.grad is not None
    assert np.allclose(query.grad.numpy(), expected, atol=1e-6)


@pytest.mark.parametrize(("words", "sides"), TERMS.items())
def test_each_term_asks_one_modality_and_hears_the_other(words, sides):
    panel = microscope(state=f"term={words}&query=3&k=4")
    rows = dict(zip("va", (x.numpy() for x in embeddings()), strict=True))
    clips, similarity = panel.similarities()
    assert clips[0] == 3 and 3 not in clips[1:] and len(set(clips.tolist())) == 5
    assert np.allclose(similarity, rows[sides[1]][clips] @ rows[sides[0]][3], atol=1e-6)


def test_negatives_stay_while_k_grows_and_are_all_others_at_the_end():
    panel = microscope(state="query=7")
    panel.controls["k"].value = 8
    few = panel.negatives().tolist()
    panel.controls["k"].value = 79
    assert panel.negatives().tolist()[:8] == few
    assert sorted(panel.negatives().tolist()) == [i for i in range(80) if i != 7]


def test_z_is_estimated_as_training_does_until_told_otherwise():
    panel = microscope(state="temperature=0.2")
    scores = panel.similarities()[1][1:] / panel.controls["temperature"].value
    assert panel.partition == pytest.approx(float(np.exp(scores).mean()), rel=1e-5)
    assert panel.controls["z"].disabled and panel.controls["z"].value == pytest.approx(panel.partition)
    panel.controls["estimate"].value = False
    panel.controls["z"].value = 10.0
    assert panel.partition == 10.0 and not panel.controls["z"].disabled
    assert panel.parts().log_kz == pytest.approx(math.log(79 * 10))


def test_bars_are_the_positive_and_the_hardest_negatives():
    panel = microscope(state="query=1")
    bars = [plot.marks[0] for plot in panel.canvas.chart.plots]
    assert [len(row.top) for row in bars] == [SHOWN] * 3 and len(panel.canvas.labels) == SHOWN
    scores = bars[0].top
    hardest = np.sort(panel.parts().scores[1:])[::-1][: SHOWN - 1]
    assert scores[0] == pytest.approx(panel.parts().scores[0]) and np.allclose(scores[1:], hardest)
    clips = panel.similarities()[0][panel.places]
    yellow = [colour == FALSE_NEGATIVE for colour in bars[0].colours]
    assert yellow == [False, *(LABELS[clips[1:]] == LABELS[1]).tolist()]
    push = f"push of all 79 negatives {panel.parts().gradient[1:].sum():.3f}"
    assert push in panel.canvas.chart.plots[2].marks[-1].words


def test_a_click_writes_the_arithmetic_of_that_bar():
    panel = microscope(state="query=1&temperature=0.5&k=16")
    for bar in (0, 3):
        panel.canvas.clicked = bar
        place, parts = panel.places[bar], panel.parts()
        words = re.sub("<[^>]+>", "", panel.words.value).replace("−", "-")
        assert f"= {parts.scores[place]:.3f}" in words
        assert f"= {parts.probability[place]:.4g}" in words
        assert ("p - 1 = " if bar == 0 else "∂loss/∂s = p = ") + f"{parts.gradient[place]:.4g}" in words
        e, kz = math.exp(parts.scores[place]), 16 * panel.partition
        assert f"{e:.4g} / ({e:.4g} + {kz:.4g})" in words
    assert "bar=3" in panel.state


def test_fewer_bars_than_the_clicked_one_fall_back_to_the_last():
    panel = microscope(state="k=16")
    panel.canvas.clicked = 12
    panel.controls["k"].value = 2
    assert panel.canvas.clicked == panel.controls["bar"].value == 2


def test_an_objective_brings_its_memories_and_settings():
    objective = AVID(40, 8, num_negatives=16, temperature=0.1, generator=torch.Generator().manual_seed(0))
    panel = NCEMicroscope(objective)
    assert panel.controls["k"].value == 16 and panel.controls["temperature"].value == pytest.approx(0.1)
    clips, similarity = panel.similarities()
    assert np.allclose(similarity, (objective.memory.audio[clips] @ objective.memory.video[0]).numpy(), atol=1e-6)
    # The same query and negatives through the objective itself.
    video, audio = objective.memory.video[:1], objective.memory.audio[:1]
    terms = objective(video, audio, torch.tensor([0]), torch.from_numpy(clips[None, 1:].astype(np.int64))).terms
    assert panel.parts().loss.sum() == pytest.approx(terms["v2a"].item(), rel=1e-4)


def test_state_and_snapshot():
    one = microscope(state="query=9&k=32&temperature=0.3&estimate=false&z=100&bar=4")
    again = microscope(state=one.state)
    assert again.state == one.state and again.words.value == one.words.value
    snapshot = again.snapshot()
    assert snapshot.png is not None
    assert dict(snapshot.rows)["Z"] == "100"


def test_too_few_clips_are_reported(unchecked):
    with pytest.raises(ValueError, match="at least two clips"):
        NCEMicroscope(embeddings(count=1))
    with pytest.raises(ValueError, match="temperature > 0 and Z > 0"):
        nce_parts(np.zeros(3), 0.0, 1.0)

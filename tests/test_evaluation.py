"""Frozen means frozen, and every score is what a naive computation says."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch

from avid_lab import evaluation
from avid_lab.config import PRESETS
from avid_lab.encoders import AudioVisualModel
from avid_lab.evaluation import chance_scores, embed, linear_probe, random_twin, score
from avid_lab.transforms import InputPipeline

TINY = dataclasses.replace(
    PRESETS["pocket"], video_widths=(4, 4, 4, 8, 8), audio_widths=(4, 4, 4, 8, 8), head=(8,), dim=16
)


@pytest.fixture(scope="module")
def pipeline(smoke_world):
    return InputPipeline(smoke_world.video, smoke_world.audio).fit(smoke_world)


@pytest.fixture
def model():
    return AudioVisualModel(TINY, seed=0)


def test_evaluation_changes_nothing_in_the_model(smoke_world, pipeline, model):
    model.train()
    before = copy.deepcopy(model.state_dict())
    made = embed(model, smoke_world, pipeline)
    score(made, made)
    random_twin(model, smoke_world, pipeline)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_embeddings_are_units_in_the_order_of_the_clips_for_any_batch_size(smoke_world, pipeline, model):
    small, large = (embed(model, smoke_world, pipeline, batch_size=size) for size in (6, 128))
    torch.testing.assert_close(small.video, large.video, atol=1e-5, rtol=0)
    assert (small.audio.norm(dim=1) - 1).abs().max() < 1e-5
    assert torch.equal(small.labels, smoke_world.labels)
    alone = embed(model, smoke_world.subset(torch.tensor([5])), pipeline)
    torch.testing.assert_close(alone.video[0], small.video[5], atol=1e-5, rtol=0)


def test_a_probe_finds_what_is_linear_and_only_that():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(300) % 3
    directions = torch.randn(3, 10, generator=generator)
    features = 4 * directions[labels] + torch.randn(300, 10, generator=generator)
    assert linear_probe(features[:200], labels[:200], features[200:], labels[200:]) > 0.95
    noise = torch.randn(300, 10, generator=generator)
    assert linear_probe(noise[:200], labels[:200], noise[200:], labels[200:]) < 0.5


def test_a_probe_ignores_scale_and_constant_features():
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(90) % 3
    features = torch.nn.functional.one_hot(labels).float() + 0.1 * torch.randn(90, 3, generator=generator)
    odd = torch.cat([1e4 * features, torch.full((90, 1), 7.0)], 1)
    assert linear_probe(odd[:60], labels[:60], odd[60:], labels[60:]) == 1.0


def test_a_probe_agrees_with_logistic_regression():
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    generator = torch.Generator().manual_seed(2)
    labels = torch.randint(4, (400,), generator=generator)
    features = torch.randn(4, 12, generator=generator)[labels] + 1.5 * torch.randn(400, 12, generator=generator)
    ours = linear_probe(features[:300], labels[:300], features[300:], labels[300:], weight_decay=1e-3)
    scaler = StandardScaler().fit(features[:300])
    peer = LogisticRegression(C=1 / (300 * 1e-3), max_iter=1000).fit(scaler.transform(features[:300]), labels[:300])
    assert ours == pytest.approx(peer.score(scaler.transform(features[300:]), labels[300:]), abs=0.011)


def test_the_twin_is_untrained_but_well_normalised(smoke_world, pipeline, model):
    twin = random_twin(model, smoke_world, pipeline, seed=5)
    fresh = AudioVisualModel(TINY, seed=5)
    for (name, ours), theirs in zip(twin.named_parameters(), fresh.parameters(), strict=True):
        assert torch.equal(ours, theirs), name
    assert not torch.equal(twin.video_encoder.stages["stem"][1].running_mean, torch.zeros(4))
    assert not twin.training


def test_chance_stands_beside_every_score(smoke_world, pipeline, model):
    made = embed(model, smoke_world, pipeline)
    ours, chance = score(made, made), chance_scores(made, made)
    assert {name for name, _ in ours.rows()} == {name for name, _ in chance.rows()}
    assert chance.v2a_recall_at_10 == pytest.approx(10 / len(smoke_world))
    text = evaluation.table({"trained": ours, "chance": chance})
    assert "video probe" in text and "v→a precision at 10" in text and "%" in text


@pytest.mark.parametrize("settings", [{"windows": 0}, {"batch_size": 0}])
def test_bad_settings_are_named(smoke_world, pipeline, model, settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        embed(model, smoke_world, pipeline, **settings)

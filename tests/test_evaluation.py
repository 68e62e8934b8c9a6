"""Evaluation does not change the model, and every score equals a naive computation."""

from __future__ import annotations

import copy
import dataclasses
import json

import pytest
import torch

from avid_lab import evaluation
from avid_lab.config import PRESETS
from avid_lab.encoders import AudioVisualModel
from avid_lab.evaluation import (
    FineTuneConfig,
    block_features,
    chance_scores,
    embed,
    fine_tune,
    labelled_subset,
    linear_probe,
    probe_table,
    random_twin,
    score,
)
from avid_lab.evaluation.probes import fit_svm, over_runs
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
    model.audio_head.eval()  # a mixed mode comes back as it was
    modes = [layer.training for layer in model.modules()]
    made = embed(model, smoke_world, pipeline)
    score(made, made)
    some = smoke_world.subset(torch.arange(24))
    features = block_features(model, some, pipeline)
    probe_table(features, features)
    fine_tune(model, some, some, pipeline, "audio", FineTuneConfig(epochs=1, windows=1))
    assert [layer.training for layer in model.modules()] == modes
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


def test_every_score_has_its_chance(smoke_world, pipeline, model):
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


def test_block_features_are_the_max_over_the_grid_of_every_window(smoke_world, pipeline, model):
    some = smoke_world.subset(torch.tensor([3, 8, 1]))
    made = block_features(model, some, pipeline, windows=2, batch_size=2)
    alone = block_features(model, some, pipeline, windows=2)
    model.eval()
    pipeline.eval()
    with torch.no_grad():
        video, audio = pipeline(some.windows(torch.tensor([1]), 2))
        maps = model.video_encoder.block_maps(video)
        features = model.audio_encoder(audio)
    assert list(made.video) == list(made.audio) == ["block1", "block2", "block3", "block4"]
    torch.testing.assert_close(made.video["block1"], alone.video["block1"], atol=1e-5, rtol=1e-4)
    last = maps["block4"].amax(2)  # (2, C, H, W), small enough to be kept as it is
    torch.testing.assert_close(made.video["block4"][1], last.flatten(1), atol=1e-5, rtol=1e-4)
    first = torch.nn.functional.adaptive_max_pool2d(maps["block1"].amax(2), 12).flatten(1)
    torch.testing.assert_close(made.video["block1"][1], first, atol=1e-5, rtol=1e-4)
    grid = made.audio["block4"][1].unflatten(1, (8, -1)).amax(2)
    torch.testing.assert_close(grid, features[:, -8:], atol=1e-5, rtol=1e-4)  # the last block comes last
    assert torch.equal(made.labels, some.labels)


def test_a_support_vector_machine_takes_one_class_against_all_others():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(120) % 3 * 2  # classes 1 and 3 have no examples
    features = 3 * torch.randn(5, 6, generator=generator)[labels] + torch.randn(120, 6, generator=generator)
    machine = fit_svm(features, labels, 5)
    assert (machine(features).argmax(1) == labels).double().mean() > 0.95
    two = labels < 4
    pair = fit_svm(features[two], labels[two], 5)
    assert (pair(features[two]).argmax(1) == labels[two]).double().mean() > 0.95


def test_every_class_keeps_its_share_of_labels():
    labels = torch.tensor([0] * 100 + [1] * 40 + [2] * 3)
    chosen = labelled_subset(labels, 0.1, seed=0)
    assert labels[chosen].bincount().tolist() == [10, 4, 1]
    assert len(labelled_subset(labels, 1.0)) == len(labels)
    assert not torch.equal(chosen, labelled_subset(labels, 0.1, seed=1))
    with pytest.raises(ValueError, match=r"fraction must be in \(0, 1\]; got 0"):
        labelled_subset(labels, 0.0)


def test_an_interval_over_runs_holds_the_spread_of_the_runs():
    runs = torch.tensor([[1.0] * 50, [0.0] * 50], dtype=torch.float64)
    made = over_runs(runs, 0.1)
    assert (made.value, made.low, made.high, made.chance) == (0.5, 0.0, 1.0, 0.1)


def test_fine_tuning_learns_and_repeats_with_its_seed(smoke_world, pipeline, model):
    some = smoke_world.subset(torch.nonzero(smoke_world.labels < 3).flatten())
    settings = FineTuneConfig(epochs=30, batch_size=8, windows=2, learning_rate=1e-2, dropout=0.0)
    state = torch.get_rng_state()
    made = fine_tune(model, some, some, pipeline, "audio", settings, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    again = fine_tune(model, some, some, pipeline, "audio", settings, seed=1)
    assert made.losses == again.losses and len(made.losses) == 30
    assert made.losses[-1] < 0.7 * made.losses[0]
    torch.testing.assert_close(made.probabilities.sum(1), torch.ones(len(some)))
    assert made.accuracy > 0.5
    with pytest.raises(ValueError, match=r"FineTuneConfig.epochs must be >= 1; got 0"):
        FineTuneConfig(epochs=0)


def test_every_protocol_has_chance_random_and_an_interval(smoke_world, pipeline, model):
    train, test = (smoke_world.subset(torch.arange(64)[start::2]) for start in (0, 1))
    subject = evaluation.Subject(model, pipeline, train, test, fine_tuning=FineTuneConfig(epochs=1, windows=2))
    tables = dict(evaluation.evaluate(subject, list(evaluation.PROTOCOLS)))
    assert list(tables) == list(evaluation.PROTOCOLS)
    for table in tables.values():
        assert len(table) > 0
        for name, row in table.items():
            numbers = torch.tensor([row.value, row.random, row.chance, row.low, row.high])
            assert numbers.isfinite().all(), name
            assert row.low <= row.high, name
        difference = table - table
        assert all(row.value == row.low == row.high == 0 for row in difference.values())
        assert "95 % interval" in table.text(table) and "difference" in table.text(table)
        assert repr(table).startswith(table.title)
        assert set(table.plain()) == set(table)
    alone = smoke_world.subset([smoke_world.labels.tolist().index(label) for label in range(3)])  # one of each class
    few = evaluation.Subject(model, pipeline, train, alone)
    (name, table), (_, found) = evaluation.evaluate(few, ["similarity", "retrieval"])
    assert (name, len(table)) == ("similarity", 0) and "Not measured" in table.text(table)
    assert found.note.startswith("3 clip(s) are alone") and "v→v class mAP" not in found
    with pytest.raises(ValueError, match="what must be some of retrieval"):
        list(evaluation.evaluate(subject, ["magic"]))


def test_retrieval_knows_all_four_directions(smoke_world, pipeline, model):
    space = embed(model, smoke_world, pipeline)
    table = evaluation.retrieval_table(space)
    for direction in ("v→a", "a→v", "v→v", "a→a"):
        assert {f"{direction} instance R@1", f"{direction} class mAP", f"{direction} class median rank"} <= set(table)
    one = evaluation.retrieval_table(embed(model, smoke_world, pipeline, windows=1))
    assert "v→v instance R@1" not in one and "v→a instance R@1" in one
    same = dataclasses.replace(space, video_windows=space.video[:, None].expand(-1, 2, -1))
    assert evaluation.retrieval_table(same)["v→v instance R@1"].value == 1.0  # both windows of a clip are alike


def test_positives_and_false_negatives_agree_with_the_metrics(smoke_world, pipeline, model):
    from avid_lab.metrics import false_negative_rate, positive_precision
    from avid_lab.mining import mine_positives

    space = embed(model, smoke_world, pipeline)
    table = evaluation.positives_table(space, ks=(1, 8))
    positives = mine_positives(space.video, space.audio, 8)
    assert table["consensus P@8"].value == pytest.approx(positive_precision(positives, space.labels))
    left_out = table["false negatives, consensus K=8 left out"]
    assert left_out.value == pytest.approx(false_negative_rate(space.labels, positives))
    assert table["union P@1"].chance == pytest.approx(false_negative_rate(space.labels))


def test_the_command_names_every_protocol_and_compares_two_checkpoints(smoke_world, tmp_path, capsys, monkeypatch):
    from avid_lab import checkpoints, cli
    from avid_lab.commands.models import PROTOCOLS
    from avid_lab.config import TrainConfig
    from avid_lab.objectives import AVID
    from avid_lab.training import Trainer

    assert list(PROTOCOLS) == list(evaluation.PROTOCOLS)
    assert [name for name, text in PROTOCOLS.items() if text.startswith("*")] == list(evaluation.QUICK)
    monkeypatch.setenv("AVID_LAB_PROFILE", "smoke")
    paths = [str(tmp_path / f"{seed}.pt") for seed in (0, 1)]
    for seed, path in enumerate(paths):
        objective = AVID(len(smoke_world), TINY.dim, num_negatives=8)
        network = AudioVisualModel(TINY, seed=seed)
        checkpoints.save(path, Trainer(network, objective, smoke_world, TrainConfig(steps=1, batch_size=8)))
    out = tmp_path / "numbers" / "all.json"
    assert cli.main(["evaluate", paths[0], "--compare", paths[1], "--what", "knn", "--json", str(out)]) == 0
    text = capsys.readouterr().out
    assert "20 nearest neighbours" in text and "difference" in text and "random init" in text
    kept = json.loads(out.read_text())
    assert kept["tables"]["knn"]["video"].keys() == {"value", "low", "high", "random", "chance", "percent"}
    ours, other = (kept[key]["tables"] if key else kept["tables"] for key in ("", "compare"))
    difference = kept["compare"]["differences"]["knn"]["audio"]["value"]
    assert difference == pytest.approx(other["knn"]["audio"]["value"] - ours["knn"]["audio"]["value"])


def test_one_curve_fails_where_kinds_of_pairs_have_other_levels_and_standardising_helps():
    from types import SimpleNamespace

    torch.manual_seed(0)
    labels = torch.arange(240) % 6
    kinds = torch.randn(6, 12)[labels]

    def space():
        draw = lambda: torch.nn.functional.normalize(kinds + 0.7 * torch.randn(240, 12), dim=1)  # noqa: E731
        common = torch.zeros(240, 2)
        common[:, 0] = 2.0  # lifts v-v and a-a, and leaves v-a at a lower level
        video, audio = torch.cat([draw(), common], 1), torch.cat([draw(), common.flip(1)], 1)
        return SimpleNamespace(
            video=torch.nn.functional.normalize(video, dim=1), audio=torch.nn.functional.normalize(audio, dim=1)
        )

    memory = space()
    found = evaluation.curve_errors(space(), labels, memory)
    assert list(found) == ["its own curve", "the curve of v-a", "one curve for all", "one curve, standardised"]
    mean = {name: sum(row.values()) / 3 for name, row in found.items()}
    assert found["the curve of v-a"]["v-a"] == pytest.approx(found["its own curve"]["v-a"])
    assert mean["the curve of v-a"] > mean["one curve for all"] > 2 * mean["one curve, standardised"]
    assert evaluation.levels(memory)["v-v"][0] > 0.5 > evaluation.levels(memory)["v-a"][0]

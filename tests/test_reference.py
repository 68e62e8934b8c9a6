"""Reference runs: finished ones are kept, missing ones added, those of other settings refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from avid_lab import reference
from avid_lab.config import PROFILES, TrainConfig

SMOKE = dataclasses.replace(PROFILES["smoke"], train=TrainConfig(steps=2, batch_size=8))
COMMITTED = Path(__file__).parents[1] / "data" / "reference" / "avid.json"


def test_runs_are_added_never_repeated(smoke_world, tmp_path):
    path = tmp_path / "runs.json"
    first = reference.run_all(path, SMOKE, variants=["cross"], seeds=[0], progress=False)
    both = reference.run_all(path, SMOKE, variants=["cross", "self"], seeds=[0], progress=False)
    assert [(run["variant"], run["seed"]) for run in both["runs"]] == [("cross", 0), ("self", 0)]
    assert both["runs"][0] == first["runs"][0]
    assert json.loads(path.read_text()) == both
    assert [file.name for file in tmp_path.iterdir()] == ["runs.json"]
    run = both["runs"][1]
    assert len(run["loss"]) == 2 and run["seconds"] > 0
    assert set(run["trained"]) == set(run["random"]) == set(run["chance"])


def test_runs_of_other_settings_are_not_mixed(smoke_world, tmp_path):
    path = tmp_path / "runs.json"
    reference.run_all(path, SMOKE, variants=["cross"], seeds=[0], progress=False)
    other = dataclasses.replace(SMOKE, num_negatives=8)
    with pytest.raises(ValueError, match=r"runs\.json: holds runs of other settings"):
        reference.run_all(path, other, variants=["cross"], seeds=[1], progress=False)


def test_the_report_gives_mean_and_spread_over_seeds(smoke_world, tmp_path):
    results = reference.run_all(tmp_path / "runs.json", SMOKE, variants=["cross"], seeds=[0, 1], progress=False)
    for run, value in zip(results["runs"], (0.4, 0.6), strict=True):
        run["trained"]["video_probe"] = value
    page = reference.report(results)
    assert "| video probe | 50.0 ± 14.1 |" in page
    assert "Cross-AVID | untrained | chance" in page
    assert "seeds [0, 1]" in page and "avid-lab reference" in page


def test_the_committed_page_is_that_of_the_committed_runs():
    assert (COMMITTED.parent / "README.md").read_text(encoding="utf-8") == reference.report(
        json.loads(COMMITTED.read_text())
    )


def test_an_unknown_variant_is_named(smoke_world):
    with pytest.raises(ValueError, match="variant must be one of cross, self, joint; got 'both'"):
        reference.run("both", 0, smoke_world, smoke_world, SMOKE)


def test_committed_runs_are_whole_and_of_todays_settings():
    committed = json.loads(COMMITTED.read_text())
    done = {(run["variant"], run["seed"]) for run in committed["runs"]}
    assert done == {(variant, seed) for variant in reference.VARIANTS for seed in (0, 1, 2)}
    assert committed["made_with"]["profile"] == json.loads(json.dumps(dataclasses.asdict(PROFILES["cpu"])))
    for run in committed["runs"]:
        assert run["learning_rate"] == reference.VARIANTS[run["variant"]].learning_rate
        assert len(run["loss"]) == PROFILES["cpu"].train.steps

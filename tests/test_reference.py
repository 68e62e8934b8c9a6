"""Reference runs: finished runs are kept, missing runs added, runs with other settings rejected."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from avid_lab import reference
from avid_lab.config import PROFILES, TrainConfig
from avid_lab.evaluation import embed
from avid_lab.reference import runs
from avid_lab.reference.report import readable

SMOKE = dataclasses.replace(PROFILES["smoke"], train=TrainConfig(steps=4, batch_size=8))


@pytest.fixture(scope="module")
def folders(smoke_world, tmp_path_factory):
    """Cross-AVID and its two continuations, as the command makes them."""
    base = tmp_path_factory.mktemp("reference")
    reference.run_all(base / "out", base / "work", SMOKE, variants=["avid", "cma"], seeds=[0], progress=False)
    return base / "out", base / "work"


def test_a_continued_run_brings_its_start_along(folders):
    out, work = folders
    found = json.loads((out / "runs.json").read_text())
    assert [run["variant"] for run in found["runs"]] == ["cross", "long", "avid", "cma"]
    assert [len(run["loss"]) for run in found["runs"]] == [4, 2, 2, 2]
    kept = {"cross-0.safetensors", "long-0.safetensors", "avid-0.safetensors", "cma-0.safetensors"}
    assert {file.name for file in work.iterdir()} == kept
    assert {file.name for file in out.iterdir()} == kept | {"runs.json", "README.md"}


def test_what_is_finished_is_not_done_again(folders, smoke_world):
    out, work = folders
    before = (out / "runs.json").read_text()
    written = {file: file.stat().st_mtime_ns for file in work.iterdir()}
    reference.run_all(out, work, SMOKE, variants=["cross", "avid"], seeds=[0], progress=False)
    assert (out / "runs.json").read_text() == before
    assert {file: file.stat().st_mtime_ns for file in work.iterdir()} == written


def test_runs_of_other_settings_are_not_mixed(folders, smoke_world):
    out, work = folders
    other = dataclasses.replace(SMOKE, num_negatives=8)
    with pytest.raises(ValueError, match=r"runs\.json: contains runs with other settings"):
        reference.run_all(out, work, other, variants=["cross"], seeds=[1], progress=False)


def test_a_run_comes_back_as_it_was_saved(folders, smoke_world):
    out, work = folders
    whole, small = runs.read(work / "cma-0.safetensors"), runs.read(out / "cma-0.safetensors")
    assert whole.partition == small.partition and set(whole.partition) >= {"instance_v2a", "positive_v2v"}
    test = smoke_world.select(split="test")
    last = whole.snapshots[-1]
    space = embed(whole.model(), test, whole.pipeline(), windows=1)
    torch.testing.assert_close(space.video, last.video)
    torch.testing.assert_close(
        embed(small.model(), test, small.pipeline(), windows=1).video, last.video, atol=0.02, rtol=0.0
    )
    assert [snapshot.step for snapshot in whole.snapshots] == [0, 1, 2]
    torch.testing.assert_close(small.memory.audio, whole.memory.audio, atol=1e-3, rtol=0.0)
    assert small.objective(num_negatives=4).memory.video.norm(dim=1).allclose(torch.ones(len(small.memory)))


def test_a_continuation_begins_where_its_start_ended(folders, smoke_world):
    test = smoke_world.select(split="test")
    _, work = folders
    start, then = runs.read(work / "long-0.safetensors"), runs.read(work / "avid-0.safetensors")
    torch.testing.assert_close(then.snapshots[0].audio, embed(start.model(), test, start.pipeline(), windows=1).audio)
    assert then.partition == start.partition


def test_a_continuation_without_its_start_is_refused(smoke_world):
    with pytest.raises(ValueError, match="cma continues long of seed 0; got None"):
        runs.train("cma", 0, smoke_world, smoke_world, SMOKE)


def test_the_report_gives_mean_spread_and_verdict_over_seeds():
    def run(variant, seed, value):
        scores = {"video_probe": value, "audio_probe": 0.5, "video_block1": value}
        return {"variant": variant, "seed": seed, "seconds": 1.0, "scores": scores}

    made = {"command": "c", "hardware": "h", "python": "p", "torch": "t", "profile": dataclasses.asdict(SMOKE)}
    values = {"cross": (0.5, 0.6, 0.7), "self": (0.3, 0.41, 0.5)}
    found = {
        "made_with": made,
        "chance": {"video_block1": 0.05},
        "untrained": {"0": {"video_block1": 0.2}, "1": {"video_block1": 0.2}},
        "runs": [run(name, seed, value) for name, row in values.items() for seed, value in enumerate(row)],
    }
    page = reference.report(found)
    assert "| video block 1 | 60.0 ± 10.0 | 40.3 ± 10.0 | 20.0 ± 0.0 | 5.0 |" in page
    mean, half, verdict = reference.difference(found, "cross", "self", "video_probe")
    assert (
        mean == pytest.approx(59 / 3)
        and half == pytest.approx(4.3027 * (1 / 3) ** 0.5 / 3**0.5, rel=1e-4)
        and verdict == "appears"
    )
    assert reference.difference(found, "self", "cross", "video_probe")[2] == "reversed"
    assert reference.difference(found, "cross", "self", "audio_probe")[2] == "open"
    assert reference.difference(found, "cross", "cma", "video_probe") is None
    assert readable("v2v_auc") == "v-v AUC"


def test_an_unknown_variant_is_named(tmp_path):
    with pytest.raises(ValueError, match="variant must be one of cross, self, .*; got 'both'"):
        reference.run_all(tmp_path, tmp_path, SMOKE, variants=["both"])

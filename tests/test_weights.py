"""The authors' networks on other clips: every command and panel that takes a model takes them, by name or by file."""

from __future__ import annotations

import csv
import json
import wave
from pathlib import Path

import numpy as np
import pytest
import torch
from test_official import released_forward, released_state, write

import avid_lab as al
from avid_lab import checkpoints, cli, evaluation, fetching
from avid_lab.datasets import ClipDataset, Manifest
from avid_lab.fetching import STATISTICS
from avid_lab.interactive.positives import PositiveBrowser
from avid_lab.interactive.retrieval import RetrievalExplorer
from avid_lab.media import Clip, write_clip
from avid_lab.official import CheckpointError, released_pipeline

NAME = "avid-cma-audioset"


@pytest.fixture
def weights(tmp_path, monkeypatch) -> Path:
    """A small file in the released format where `avid-lab fetch` puts it, with statistics beside it."""
    monkeypatch.setenv("AVID_LAB_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("AVID_LAB_PROFILE", "smoke")
    entry = fetching.CATALOGUE[NAME]
    path = fetching.folder_of(entry) / entry.files[0].place
    path.parent.mkdir(parents=True)
    write(path, released_state())
    mean, std = np.linspace(-10, -50, 257, dtype=np.float32), np.full(257, 20, np.float32)
    np.savez(path.with_name(STATISTICS.place), mean=mean, std=std)
    return path


@pytest.fixture
def few(smoke_world, tmp_path) -> Path:
    """The manifest of 12 clips of the smoke world: 8 to train on, 4 to test on."""
    records = smoke_world.manifest.records
    rows = [i for split, n in (("train", 8), ("test", 4)) for i in _first(records, split, n)]
    chosen = smoke_world.manifest.subset(rows)
    path = tmp_path / "few" / "manifest.csv"
    for i, record in enumerate(chosen.records):
        target = path.parent / record.path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(chosen.path(i).read_bytes())
    Manifest(path.parent, chosen.records).write(path)
    return path


def _first(records, split, count):
    return [i for i, record in enumerate(records) if record.split == split][:count]


def test_weights_come_with_the_authors_pipeline(weights):
    for source in (NAME, weights, str(weights)):
        model, pipeline = checkpoints.load_weights(source)
        assert pipeline is not None and not pipeline.training and not model.training
        assert pipeline.spectrogram.mean[[0, -1]].tolist() == [-10, -50]
        assert pipeline.spectrogram.std[0].item() == pytest.approx(20.00001, abs=1e-5)  # a little is added, as released
        assert pipeline.size == 224 and pipeline.spectrogram.spec.frames == 200
    np.savez(weights.with_name(STATISTICS.place), mean=np.zeros(129), std=np.ones(129))
    with pytest.raises(CheckpointError, match=r"must have 257 values each; got \(129,\) and \(129,\)"):
        released_pipeline(weights, model.config)
    weights.with_name(STATISTICS.place).write_bytes(b"no statistics")
    with pytest.raises(CheckpointError, match="must be the spectrogram's statistics"):
        checkpoints.load_weights(NAME)
    weights.with_name(STATISTICS.place).unlink()
    assert checkpoints.load_weights(NAME)[1] is None


def test_what_is_no_weights_is_named(weights, capsys):
    with pytest.raises(CheckpointError, match="nothing.pt: no such file, and no released network: those are avid-cma-"):
        checkpoints.load_weights("nothing.pt")
    with pytest.raises(FileNotFoundError, match="Run `avid-lab fetch avid-kinetics`"):
        checkpoints.load_weights("avid-kinetics")
    weights.write_bytes(b"no weights")
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        checkpoints.load_weights(NAME)
    assert cli.main(["evaluate"]) == 2
    assert "give either a CHECKPOINT or --weights NAME|PATH" in capsys.readouterr().err
    assert cli.main(["train", "--from", "a.pt", "--weights", NAME]) == 2
    assert "--from and --weights exclude each other" in capsys.readouterr().err


def test_clips_are_embedded_in_the_networks_own_format(weights, few):
    model, pipeline = checkpoints.load_weights(NAME)
    clips = ClipDataset(Manifest.read(few), video=model.config.video, audio=model.config.audio, cache=False, workers=0)
    found = evaluation.embed(model, clips.subset([3]), pipeline, windows=1)
    inputs = pipeline(clips.batch(torch.tensor([3])))
    assert [tuple(x.shape) for x in inputs] == [(1, 3, 8, 224, 224), (1, 1, 200, 257)]
    expected = released_forward(released_state(), *inputs)
    torch.testing.assert_close((found.video, found.audio), expected, atol=1e-5, rtol=1e-5)


def test_evaluate_and_mine_take_released_weights(weights, few, tmp_path, capsys):
    common = ["--data", str(few), "--decode", "stream", "--workers", "0"]
    kept = tmp_path / "kept.json"
    assert cli.main(["evaluate", "--weights", NAME, *common, "--what", "retrieval", "knn", "--json", str(kept)]) == 0
    assert f"{NAME}: 8 training and 4 test clips" in capsys.readouterr().out
    assert json.loads(kept.read_text())["checkpoint"] == NAME
    out = tmp_path / "positives.csv"
    assert cli.main(["mine", "--weights", str(weights), *common, "-k", "3", "--out", str(out)]) == 0
    with out.open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 3 * 8
    weights.with_name(STATISTICS.place).unlink()
    assert cli.main(["mine", "--weights", NAME, *common, "-k", "3", "--out", str(out)]) == 0
    assert "has no spectrogram statistics beside it" in capsys.readouterr().err


@pytest.mark.parametrize("objective", ["avid", "cma"])
def test_training_starts_from_released_weights(weights, few, tmp_path, capsys, objective):
    out = tmp_path / "run" / "checkpoint.pt"
    command = ["train", "--weights", NAME, "--objective", objective, "--data", str(few), "--out", str(out)]
    command += ["--steps", "1", "--batch-size", "4", "--num-negatives", "4", "--decode", "stream", "--workers", "0"]
    command += ["--learning-rate", "1e-9", *(["--k", "3"] if objective == "cma" else [])]
    assert cli.main(command) == 0, capsys.readouterr().err
    model, pipeline = checkpoints.load_model(out)
    start, authors = checkpoints.load_weights(NAME)
    assert authors is not None and torch.equal(pipeline.spectrogram.mean, authors.spectrogram.mean)
    weight = "video_encoder.stages.block4.0.spatial1.weight"
    torch.testing.assert_close(model.state_dict()[weight], start.state_dict()[weight], atol=1e-7, rtol=0)
    memory = checkpoints.load_objective(out).memory
    train = ClipDataset(Manifest.read(few), video=model.config.video, audio=model.config.audio, cache=False, workers=0)
    expected = evaluation.embed(start, train.select(split="train"), authors, windows=1)
    untouched = (memory.video * expected.video).sum(1) > 0.99999
    assert untouched.sum() >= 4  # the step moved the memories of its batch of 4, towards augmented views
    assert json.loads((out.parent / "run.json").read_text())["weights"] == NAME


def test_panels_show_a_released_network(weights, few):
    model, pipeline = checkpoints.load_weights(NAME)
    clips = ClipDataset(Manifest.read(few), video=model.config.video, audio=model.config.audio, cache=False, workers=0)
    space = evaluation.embed(model, clips, pipeline, windows=1)
    explorer = RetrievalExplorer(space, clips, model, pipeline)
    explorer.ask(clips.path(2), "mine")
    assert explorer.own is not None and explorer.snapshot().png
    browser = PositiveBrowser((space.video, space.audio), clips)
    assert browser.snapshot().png


# ---- sets of one sense


@pytest.fixture
def sounds(tmp_path) -> Path:
    """A miniature of ESC-50: noise and tones, 16 files of a second; fold 1 is the test set."""
    rows, folder = ["filename,fold,target,category,esc10,src_file,take"], tmp_path / "esc" / "audio"
    folder.mkdir(parents=True)
    noise = np.random.default_rng(0)
    for i in range(16):
        name, tone = f"{1 + i % 4}-{i}-A-{i % 2}.wav", np.sin(np.arange(48_000) * (0.1 + 0.01 * i))
        rows.append(f"{name},{1 + i // 2 % 4},{i % 2},{('noise', 'tone')[i % 2]},False,{i},A")
        with wave.open(str(folder / name), "wb") as file:
            file.setparams((1, 2, 24_000, 0, "NONE", ""))
            samples = tone if i % 2 else noise.standard_normal(48_000) / 4
            file.writeframes((samples * 16_000).clip(-32_000, 32_000).astype(np.int16).tobytes())
    (tmp_path / "esc" / "esc50.csv").write_text("\n".join(rows))
    return tmp_path / "esc"


def test_esc50_is_classified_from_what_the_network_hears(weights, sounds, capsys):
    assert cli.main(["data", "index", str(sounds), "--layout", "esc50", "--workers", "0"]) == 0
    manifest = str(sounds / "manifest.csv")
    command = ["evaluate", "--weights", NAME, "--data", manifest, "--streams", "audio", "--what", "svm", "retrieval"]
    assert cli.main([*command, "--workers", "0"]) == 0
    shown = capsys.readouterr().out
    assert "audio block4" in shown and "video block4" not in shown
    assert "it compares picture and sound, and the clips are read for audio" in shown


def test_ucf101_is_classified_from_what_the_network_sees(weights, tmp_path, capsys):
    generator, lists = torch.Generator().manual_seed(0), {"train": [], "test": []}
    for i in range(8):
        name = f"{('Dark', 'Light')[i % 2]}/v_{i}_g01_c01.avi"
        picture = torch.randint(0, 90, (3, 16, 32, 32), generator=generator, dtype=torch.uint8) + 150 * (i % 2)
        write_clip(tmp_path / "u" / "x.mp4", Clip(picture, None, 16.0, None))
        (tmp_path / "u" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "u" / "x.mp4").rename(tmp_path / "u" / name)
        lists["test" if i > 5 else "train"].append(name)
    for split, names in lists.items():
        (tmp_path / "u" / f"{split}list01.txt").write_text("\n".join(names))
    assert cli.main(["data", "index", str(tmp_path / "u"), "--layout", "ucf101", "--workers", "0"]) == 0
    command = ["evaluate", "--weights", NAME, "--data", str(tmp_path / "u" / "manifest.csv"), "--streams", "video"]
    assert cli.main([*command, "--workers", "0", "--what", "svm", "finetune", "--epochs", "1"]) == 0
    shown = capsys.readouterr().out
    assert "video block4" in shown and "video, 100 % of labels" in shown and "audio block" not in shown


def test_a_released_model_is_what_the_name_says(weights):
    model = al.AudioVisualModel.released(NAME)
    assert (model.config.video.size, model.config.audio.bins) == (224, 257)

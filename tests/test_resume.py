"""A training that is killed and restarted gives bit for bit the same result as one that never stopped."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from avid_lab import checkpoints, cli
from avid_lab.atomic import remove_leftovers, replacing
from avid_lab.commands.train import check
from avid_lab.commands.train_logs import sibling
from avid_lab.training import Trainer

STEPS = 24
OPTIONS = ["--steps", str(STEPS), "--batch-size", "8", "--save-every", "2", "--check-every", "2", "--ema", "0.9"]


def start(out):
    command = [sys.executable, "-m", "avid_lab", "train", *OPTIONS, "--out", str(out)]
    environment = os.environ | {"AVID_LAB_PROFILE": "smoke", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def kill_when(process, happened):
    """`kill -9` as soon as something appears on disk."""
    deadline = time.monotonic() + 200
    while not happened():
        assert process.poll() is None, f"the run ended before: {process.communicate()[1]}"
        assert time.monotonic() < deadline
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL


def leftovers(folder):
    return list(folder.glob(".*.part"))


def steps_logged(out):
    try:
        return len(sibling(out, "log.csv").read_text().splitlines()) - 1
    except FileNotFoundError:
        return 0


def curve(out):
    with sibling(out, "log.csv").open(newline="") as file:
        return [(row["index"], row["loss"], row["terms.v2a"], row["learning_rate"]) for row in csv.DictReader(file)]


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kills by signal")
def test_killed_at_any_moment_and_resumed_is_as_never_interrupted(smoke_world, tmp_path):
    whole, killed = tmp_path / "whole" / "checkpoint.pt", tmp_path / "killed" / "checkpoint.pt"
    uninterrupted = start(whole)
    assert uninterrupted.wait(timeout=200) == 0, uninterrupted.communicate()[1]
    uninterrupted.communicate()

    kill_when(start(killed), lambda: steps_logged(killed) >= 1)  # before the first checkpoint, or about there
    for _ in range(5):  # during a write: its temporary file is there; now and then it is done before the signal comes
        kill_when(start(killed), lambda: any(".unfinished." in path.name for path in leftovers(killed.parent)))
        if leftovers(killed.parent):
            break
    else:
        pytest.fail("no kill hit a checkpoint's write")
    # What is there is whole, whatever happened; and where the very first write was hit, nothing is there.
    saved = killed.with_suffix(".unfinished")
    before = checkpoints._read(saved)["trainer"]["steps_done"] if saved.exists() else 0
    assert before < STEPS
    kill_when(start(killed), lambda: steps_logged(killed) >= before + 3)  # between two checkpoints
    resumed = start(killed)
    assert resumed.wait(timeout=200) == 0, resumed.communicate()[1]
    resumed.communicate()

    assert curve(killed) == curve(whole) and len(curve(whole)) == STEPS
    a, b = (torch.load(path, weights_only=True)["trainer"] for path in (whole, killed))
    for part in ("model", "ema", "objective"):
        for name, value in a[part].items():
            same = torch.equal(value, b[part][name]) if isinstance(value, torch.Tensor) else value == b[part][name]
            assert same, f"{part}: {name}"
    (model, pipeline), (other, _) = checkpoints.load_model(whole), checkpoints.load_model(killed)
    with torch.no_grad():
        inputs = pipeline(smoke_world.batch(torch.arange(4)))
        assert all(torch.equal(x, y) for x, y in zip(model(*inputs), other(*inputs), strict=True))
    checks = [sibling(path, "checks.csv").read_text() for path in (whole, killed)]
    assert checks[0] == checks[1]
    assert sorted(path.name for path in killed.parent.iterdir()) == [
        "checkpoint.pt",
        "checks.csv",
        "log.csv",
        "run.json",
    ]


def train(*options):
    return cli.main(["train", "--steps", "2", *map(str, options)])


def test_a_run_is_repeated_by_its_own_record(smoke_world, tmp_path, monkeypatch):
    monkeypatch.setenv("AVID_LAB_PROFILE", "smoke")
    settings = ["--within", 0.5, "--schedule", "step", "--milestones", "0.5,0.8", "--clip-norm", 1, "--seed", 3]
    assert train(*settings, "--out", tmp_path / "a" / "checkpoint.pt") == 0
    record = json.loads((tmp_path / "a" / "run.json").read_text())
    assert (
        record["train"]["milestones"] == [0.5, 0.8] and record["loss"]["within"] == 0.5 and record["world"] == "smoke"
    )
    assert {"command", "device", "python", "torch", "avid_lab"} <= set(record["made_with"])

    assert cli.main(["train", "--config", str(tmp_path / "a" / "run.json"), "--out", str(tmp_path / "b.pt")]) == 0
    assert curve(tmp_path / "a" / "checkpoint.pt") == curve(tmp_path / "b.pt")
    again = json.loads((tmp_path / "b.run.json").read_text())
    assert {k: v for k, v in again.items() if k != "made_with"} == {k: v for k, v in record.items() if k != "made_with"}

    config = ["--config", tmp_path / "a" / "run.json", "--learning-rate", 0.001]
    assert train(*config, "--out", tmp_path / "c.pt") == 0
    assert json.loads((tmp_path / "c.run.json").read_text())["train"]["learning_rate"] == 0.001
    assert curve(tmp_path / "c.pt") != curve(tmp_path / "b.pt")


def test_cma_goes_on_from_a_trained_avid(smoke_world, tmp_path, monkeypatch):
    monkeypatch.setenv("AVID_LAB_PROFILE", "smoke")
    avid, cma = tmp_path / "avid.pt", tmp_path / "cma.pt"
    assert train("--out", avid) == 0
    assert train("--objective", "cma", "--from", avid, "--k", 4, "--remine-every", 0.5, "--out", cma) == 0
    trained = checkpoints.load_objective(cma)
    assert trained.positives.shape[1] == 4 and float(trained.mined_at) > 0
    assert set(trained.term_names()) == {"instance_v2a", "instance_a2v", "positive_v2v", "positive_a2a"}
    header = sibling(cma, "log.csv").read_text().splitlines()[0]
    assert "terms.positive_v2v" in header and "times.mining" in header
    assert json.loads((tmp_path / "cma.run.json").read_text())["loss"]["k"] == 4
    assert train("--from", avid, "--within", 0.5, "--out", tmp_path / "more.pt") == 0  # AVID may go on as well
    assert checkpoints.load_objective(tmp_path / "more.pt").weights == {"cross": 1.0, "within": 0.5}


def test_tensorboard_has_what_the_csv_has(smoke_world, tmp_path, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setenv("AVID_LAB_PROFILE", "smoke")
    assert train("--tensorboard", "--out", tmp_path / "run.pt") == 0
    board = EventAccumulator(str(tmp_path / "run.tensorboard")).Reload()
    assert [event.step for event in board.Scalars("loss")] == [1, 2]
    assert {"terms/v2a", "learning_rate", "times/data", "check/video kNN"} <= set(board.Tags()["scalars"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--objective", "cma"], "--objective cma needs --from CHECKPOINT"),
        (["--k", "4"], "k: for CMA only"),
        (["--config", "no.json"], "no.json"),
        (["--batch-size", "9", "--accumulate", "2"], "TrainConfig.accumulate must be"),
        (["--schedule", "step"], "TrainConfig.milestones must be given for the schedule 'step'"),
        (["--remine-every", "1"], "remine_every is for CMA"),
        (["--save-every", "0"], "--save-every must be >= 1"),
        (["--learning-rate", "1e30"], "No checkpoint was saved yet"),
    ],
)
def test_mistakes_are_one_clear_line(options, message, smoke_world, tmp_path, capsys, unchecked, monkeypatch):
    monkeypatch.setenv("AVID_LAB_PROFILE", "smoke")
    assert cli.main(["train", *options, "--out", str(tmp_path / "run.pt")]) == 2
    shown = capsys.readouterr().err.splitlines()[-1]
    assert shown.startswith("avid-lab: error: ") and message in shown


def test_tensorboard_missing_is_reported_before_anything_is_computed(tmp_path, capsys, unchecked, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    assert train("--tensorboard", "--out", tmp_path / "run.pt") == 2
    assert 'pip install "avid-lab[tensorboard]"' in capsys.readouterr().err


def test_an_unfinished_run_of_other_settings_is_not_overwritten(smoke_world, tmp_path, capsys, unchecked, monkeypatch):
    monkeypatch.setenv("AVID_LAB_PROFILE", "smoke")
    stop = KeyboardInterrupt("as Ctrl-C after the first save")
    saved = checkpoints.save

    def save_and_stop(*arguments):
        saved(*arguments)
        raise stop

    monkeypatch.setattr(checkpoints, "save", save_and_stop)
    assert train("--save-every", 1, "--out", tmp_path / "run.pt") == cli.INTERRUPTED
    before = (tmp_path / "run.unfinished").read_bytes()
    assert train("--save-every", 1, "--seed", 7, "--out", tmp_path / "run.pt") == 2
    assert "train_config.seed: saved 0, here 7" in capsys.readouterr().err
    assert (tmp_path / "run.unfinished").read_bytes() == before


def test_a_check_leaves_the_run_as_it_is(smoke_world):
    from test_training import make

    trainer, twin = make(smoke_world), make(smoke_world)
    for _ in range(2):
        trainer.step()
        scores = check(trainer, smoke_world)
        assert set(scores) == {"video kNN", "audio kNN", "v2a recall at 10"}
    assert [step.loss for step in list(trainer)] == [step.loss for step in list(twin)][2:]
    assert isinstance(trainer, Trainer)


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "file.txt"
    with replacing(path) as temporary:
        temporary.write_text("one")
        assert not path.exists()
    assert path.read_text() == "one"
    with pytest.raises(OSError, match="full"), replacing(path, durable=False) as temporary:
        temporary.write_text("half")
        raise OSError("disk full")
    assert path.read_text() == "one" and [p.name for p in path.parent.iterdir()] == ["file.txt"]
    (path.parent / ".file.txt.123.part").write_text("of a killed process")
    remove_leftovers(path)
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]

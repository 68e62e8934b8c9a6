"""The command line: immediate help, and one clear line if something is wrong."""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from avid_lab import checkpoints, cli, reference
from avid_lab.commands import course


def avid_lab(*arguments, **environment):
    """Run ``python -m avid_lab`` to its end."""
    command = [sys.executable, "-m", "avid_lab", *map(str, arguments)]
    environment = {**os.environ, "AVID_LAB_PROFILE": "smoke", **environment}
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, stdin=subprocess.DEVNULL, check=False
    )


COMMANDS = [
    "lab",
    "demo",
    "doctor",
    "data build",
    "data info",
    "data index",
    "data prepare",
    "train",
    "mine",
    "evaluate",
    "class",
    "fetch",
    "reference",
    "publish",
]


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([*command.split(), "--help"])
    assert stop.value.code == 0
    assert f"avid-lab {command}".strip() in capsys.readouterr().out


def test_help_lists_every_command_and_imports_nothing_heavy():
    code = "import sys, avid_lab.cli as cli\ntry: cli.main(['--help'])\nexcept SystemExit: print(sorted(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    text, modules = shown.split("['", 1)
    assert all(command.split()[0] in text for command in COMMANDS)
    assert not {"torch", "numpy", "matplotlib", "jupyterlab"} & set(modules.replace("'", "").strip("]\n").split(", "))


@pytest.mark.parametrize(
    ("first", "policy"),
    [("avid_lab, torch", "passive 0"), ("torch, avid_lab", "None None")],
    ids=["in time", "too late"],
)
def test_idle_threads_sleep_if_the_course_is_imported_before_torch(first, policy):
    code = f"import os, {first}; print(os.environ.get('OMP_WAIT_POLICY'), os.environ.get('GOMP_SPINCOUNT'))"
    bare = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=bare, check=True)
    assert shown.stdout == f"{policy}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data", "build", "huge"], r"preset must be one of smoke, pocket, full"),
        (["data", "info", "huge"], "preset must be one of smoke, pocket, full, or a FoleyConfig; got 'huge'"),
        (["demo", "--world", "huge"], "preset must be one of"),
        (["demo", "--steps", "0"], "TrainConfig.steps must be >= 1; got 0"),
        (["demo", "--data", "/no/such/folder"], "/no/such/folder"),
        (["evaluate", "/no/such/checkpoint.pt"], "/no/such/checkpoint.pt: no such file"),
        (["publish", "--source", "/no/such/folder"], "/no/such/folder"),
        (["lab", "/no/such/folder"], "/no/such/folder: no such folder"),
        (["evaluate", "x.pt", "--device", "tpu"], "device 'tpu' is not on this machine, which has cpu"),
        (["train", "--device", "cuda:7"], "device 'cuda:7' is not on this machine, which has cpu"),
        (["train", "--device", "mps:0"], "device 'mps:0' is not on this machine, which has cpu"),
        (["lab", ".", "--port", "99999"], "--port must be between 1 and 65535; got 99999"),
    ],
)
def test_a_mistake_is_one_clear_line(arguments, message, capsys, smoke_world, unchecked, monkeypatch):
    monkeypatch.setenv("AVID_LAB_PROFILE", "smoke")
    assert cli.main(arguments) == 2
    shown = capsys.readouterr().err.splitlines()[-1]
    assert shown.startswith("avid-lab: error: ")
    assert message in shown


def test_a_wrong_profile_is_named(capsys, unchecked, monkeypatch):
    monkeypatch.setenv("AVID_LAB_PROFILE", "laptop")
    assert cli.main(["demo"]) == 2
    assert "AVID_LAB_PROFILE must be one of smoke, cpu, gpu; got 'laptop'" in capsys.readouterr().err


def test_an_unknown_option_is_refused_except_by_lab_which_hands_it_on(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["doctor", "--colour"])
    assert stop.value.code == 2
    assert "--colour" in capsys.readouterr().err


def test_a_taken_port_is_named_with_what_to_do(tmp_path, capsys, unchecked):
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert cli.main(["lab", str(tmp_path), "--port", str(port)]) == 2
    error = capsys.readouterr().err
    assert f"port {port} is taken" in error
    assert "leave --port out" in error


def test_bugs_keep_their_traceback(smoke_world, tmp_path):
    def someone_elses():
        int("twelve")

    for raising, ours in ((someone_elses, False), (lambda: course._require_free(-1), True)):
        try:
            raising()
        except ValueError as error:
            assert cli._is_ours(error) is ours
    assert cli._is_ours(FileNotFoundError())


def test_train_mine_and_evaluate_follow_each_other(smoke_world, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("AVID_LAB_PROFILE", "smoke")
    checkpoint, positives = tmp_path / "run" / "checkpoint.pt", tmp_path / "positives.csv"
    assert cli.main(["train", "--steps", "2", "--seed", "3", "--out", str(checkpoint)]) == 0
    assert cli.main(["mine", str(checkpoint), "-k", "4", "--out", str(positives)]) == 0
    capsys.readouterr()
    assert cli.main(["mine", str(checkpoint), "-k", "0"]) == 2
    assert "-k must be between 1 and" in capsys.readouterr().err
    assert cli.main(["evaluate", str(checkpoint)]) == 0
    table = capsys.readouterr().out
    assert all(word in table for word in ("video block4", "95 % interval", "random init", "chance"))
    with positives.open(newline="") as file:
        rows = list(csv.DictReader(file))
    train = smoke_world.select(split="train")
    assert len(rows) == 4 * len(train)
    assert [row["rank"] for row in rows[:4]] == ["1", "2", "3", "4"]
    assert {row["clip"] for row in rows} == {record.id for record in train.manifest.records}
    assert all(row["clip"] != row["positive"] for row in rows)


def test_a_finished_training_is_not_trained_again(smoke_world, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("AVID_LAB_PROFILE", "smoke")
    checkpoint = tmp_path / "checkpoint.pt"
    command = ["train", "--steps", "2", "--out", str(checkpoint)]
    assert cli.main(command) == 0
    before = checkpoint.stat()
    capsys.readouterr()
    assert cli.main(command) == 0
    assert "finished before" in capsys.readouterr().out and checkpoint.stat().st_mtime_ns == before.st_mtime_ns
    assert cli.main([*command, "--fresh"]) == 0
    assert "saved as" in capsys.readouterr().out and checkpoint.stat().st_mtime_ns > before.st_mtime_ns
    assert cli.main(["train", "--steps", "3", "--out", str(checkpoint)]) == 0
    assert "saved as" in capsys.readouterr().out


def test_the_demo_ends_with_a_table_and_a_report_that_stands_alone(smoke_world, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("AVID_LAB_PROFILE", "smoke")
    assert cli.main(["demo", "--steps", "2", "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    assert "video probe" in shown.out and "chance" in shown.out
    assert str(tmp_path / "report.html") in shown.out
    assert "2/2" in shown.err and "loss=" in shown.err  # the progress line
    page = (tmp_path / "report.html").read_text()
    assert page.count("<video") == 4 * 6 and page.count("<img") >= 4
    assert 'src="http' not in page
    names = ["checkpoint.pt", "report.html", "run.json", "scores.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


@pytest.fixture
def folder_of(smoke_world, tmp_path):
    """Copies of the first clips, each in the folder that ``place`` names for its number."""

    def copy(count, place):
        manifest = smoke_world.manifest
        for index, record in enumerate(manifest.records[:count]):
            path = tmp_path / "videos" / place(index) / f"{record.id}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(manifest.path(index).read_bytes())
        return tmp_path / "videos"

    return copy


def test_the_demo_adapts_the_committed_network_to_few_videos_and_shows_both(folder_of, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("AVID_LAB_PROFILE", "smoke")
    videos = folder_of(20, lambda i: ("$x_{\\frac$", "$$")[i % 2])  # names that a formula would stumble over
    assert cli.main(["demo", "--data", str(videos), "--steps", "2", "--out", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert "adapting the committed network" in shown and "Report" in shown and "placeholders" not in shown
    head = next(line for line in shown.splitlines() if "untrained" in line).split()
    assert head == ["adapted", "reference", "untrained", "chance"]
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert "v→a recall at 10" in shown and "left out: with so few clips" in shown
    assert set(scores) == set(head)
    adapted, _ = checkpoints.load_model(tmp_path / "out" / "checkpoint.pt")
    weights = [next(model.parameters()) for model in (adapted, reference.load("cma").model())]
    assert weights[0].shape == weights[1].shape and not torch.equal(*weights)
    assert "Reference, as it came" in (tmp_path / "out" / "report.html").read_text()


def test_videos_without_classes_are_scored_by_instance(folder_of, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("AVID_LAB_PROFILE", "smoke")
    assert (
        cli.main(["demo", "--data", str(folder_of(30, lambda i: "")), "--steps", "2", "--out", str(tmp_path / "o")])
        == 0
    )
    shown = capsys.readouterr().out
    assert "there are no scores by class" in shown and "Only 6 held-out clips" in shown
    assert not {"probe", "knn", "precision"} & set(shown.split())
    rows = json.loads((tmp_path / "o" / "scores.json").read_text())["adapted"]
    assert {name: row["chance"] for name, row in rows.items()} == pytest.approx(
        {
            "sound of a picture R@1": 1 / 6,
            "sound of a picture R@5": 5 / 6,
            "sound of a picture median rank": 3,
            "picture of a sound R@1": 1 / 6,
            "picture of a sound R@5": 5 / 6,
            "picture of a sound median rank": 3,
        }
    )
    page = (tmp_path / "o" / "report.html").read_text()
    assert "of its class" not in page and page.count("<video") >= 3 * 6
    assert cli.main(["evaluate", str(tmp_path / "o" / "checkpoint.pt"), "--data", str(tmp_path / "videos")]) == 0
    told = capsys.readouterr().out
    assert told.count("Not measured: it asks about classes") == 4 and "v→a instance R@1" in told
    assert "v→a class" not in told


def test_a_finished_demo_is_not_trained_again(folder_of, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("AVID_LAB_PROFILE", "smoke")
    videos, out = folder_of(20, lambda i: "ab"[i % 2]), tmp_path / "out"
    command = ["demo", "--data", str(videos), "--steps", "3", "--out", str(out)]
    assert cli.main(command) == 0
    scores, weights = (out / "scores.json").read_text(), (out / "checkpoint.pt").stat().st_mtime_ns
    (out / "report.html").unlink()
    capsys.readouterr()
    assert cli.main(command) == 0  # as after a crash while the report was drawn
    shown = capsys.readouterr()
    assert "A finished run of these clips and settings is loaded" in shown.out and "/3" not in shown.err
    assert (out / "checkpoint.pt").stat().st_mtime_ns == weights and (out / "scores.json").read_text() == scores
    assert (out / "report.html").exists()
    for change in (["--seed", "1"], ["--fresh"]):
        assert cli.main([*command, *change]) == 0
        assert "3/3" in capsys.readouterr().err
    first = next(videos.rglob("*.mp4"))
    first.write_bytes(first.read_bytes() + bytes(8))  # another file of the same name
    assert cli.main([*command, "--seed", "0"]) == 0
    shown = capsys.readouterr()
    assert "with other clips or settings" in shown.out and "3/3" in shown.err


def test_too_few_videos_are_reported_before_anything_is_decoded(smoke_world, tmp_path, capsys):
    for name, index in (("loud", 0), ("quiet", 1)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "only.mp4").write_bytes(smoke_world.manifest.path(index).read_bytes())
    assert cli.main(["demo", "--data", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err
    assert "it has 2 'train' (loud 1, quiet 1)" in told and "at least 3 of one class" in told
    assert "decoding" not in told and not (tmp_path / "out").exists()


def test_data_info_lists_the_clips(smoke_world, capsys):
    assert cli.main(["data", "info", "smoke"]) == 0
    shown = capsys.readouterr().out
    assert "smoke: 64 clips" in shown
    assert smoke_world.classes[0] in shown


@pytest.mark.skipif(os.name != "posix", reason="interrupts by signal")
def test_an_interrupted_build_goes_on_where_it_stopped(tmp_path):
    environment = {**os.environ, "AVID_LAB_DATA": str(tmp_path)}
    command = [sys.executable, "-m", "avid_lab", "data", "build", "pocket", "--workers", "1"]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 200
    while len(list(tmp_path.rglob("*.mp4"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)  # what a terminal does on Ctrl-C
    error = process.communicate(timeout=120)[1]
    assert process.returncode == 130
    assert error.rstrip().endswith("avid-lab: stopped. Run the same command again to resume.")
    assert "Traceback" not in error
    assert len(list(tmp_path.rglob("*.mp4"))) >= 3
    assert not list(tmp_path.rglob("manifest.csv"))


@pytest.mark.skipif(os.name != "posix", reason="interrupts by signal")
def test_interrupted_training_goes_on_and_ends_as_if_never_stopped(smoke_world, tmp_path):
    environment = os.environ | {"AVID_LAB_PROFILE": "smoke"}

    def start(name):
        command = [sys.executable, "-m", "avid_lab", "train", "--steps", "40", "--save-every", "5"]
        command += ["--out", str(tmp_path / name)]
        return subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )

    stopped = start("stopped.pt")
    deadline = time.monotonic() + 200
    while not (tmp_path / "stopped.unfinished").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(stopped.pid, signal.SIGINT)
    stopped.communicate(timeout=120)
    assert stopped.returncode == 130
    assert not (tmp_path / "stopped.pt").exists()

    resumed, whole = start("stopped.pt"), start("whole.pt")
    ends = [process.communicate(timeout=300)[0].splitlines()[-1] for process in (resumed, whole)]
    losses = [end.split(",")[0] for end in ends]
    assert losses[0].startswith("loss ") and losses[0] == losses[1], ends
    assert not (tmp_path / "stopped.unfinished").exists()


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc to see what a process has loaded")
def test_an_interrupt_while_the_library_loads_ends_the_command():
    command = [sys.executable, "-m", "avid_lab", "train", "--steps", "2"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    maps, deadline = Path(f"/proc/{process.pid}/maps"), time.monotonic() + 60
    while "libtorch" not in maps.read_text() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130 and "stopped" in error and "Traceback" not in error


def test_python_dash_m_is_the_command():
    shown = avid_lab("data", "build", "huge")
    assert shown.returncode == 2
    assert shown.stderr.startswith("avid-lab: error: preset must be one of")
    assert "Traceback" not in shown.stderr


@pytest.mark.parametrize(
    ("manifest", "out"), [("folder", "copies"), ("absent.csv", "copies"), ("m.csv", "file/copies")]
)
def test_a_path_that_the_system_refuses_is_named_with_the_rule(tmp_path, capsys, manifest, out):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "m.csv").write_text("id,path,label,duration_s,split\na,a.mp4,x,1,train\n")
    assert cli.main(["data", "prepare", str(tmp_path / manifest), str(tmp_path / out)]) == cli.USER_ERROR
    shown = capsys.readouterr().err
    assert str(tmp_path) in shown and "Errno" not in shown and shown.count("\n") == 1

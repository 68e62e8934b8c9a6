"""Each check, with the facts of healthy and of faulty machines."""

import dataclasses
import json
import os
import sys
from pathlib import Path

import pytest

from avid_lab import cli, doctor, doctor_bench

FITTING = {"torch": "2.14.1+cu130", "torchvision": "0.29.2", "torchaudio": "2.11.0"}


@pytest.mark.parametrize(("version", "status"), [((3, 10), "fail"), ((3, 11), "ok"), ((3, 13), "ok"), ((4, 0), "ok")])
def test_python(version, status):
    assert doctor.check_python(version).status == status


@pytest.mark.parametrize(("torch", "vision"), [("2.11.0", "0.26.0"), ("2.12.0+cpu", "0.27.1"), ("2.14.1", "0.29.2")])
def test_torch_and_torchvision_that_belong_together(torch, vision):
    assert doctor.check_torch({**FITTING, "torch": torch, "torchvision": vision}, None).status == "ok"


def test_the_trap_of_torch_2_15_is_named_even_before_it_is_imported():
    check = doctor.check_torch({**FITTING, "torch": "2.15.0", "torchvision": "0.30.0"}, None)
    assert check.status == "fail"
    assert "import torchaudio" in check.detail and "CUDA" in check.detail
    assert check.fix == 'pip install "torch>=2.14,<2.15" torchvision torchaudio'


@pytest.mark.parametrize(
    ("versions", "error", "told"),
    [
        ({"torch": "2.14.1", "torchvision": "0.28.0"}, None, "torch 2.14 needs torchvision 0.29"),
        ({"torchaudio": None}, None, "torchaudio missing"),
        ({}, "import torchaudio: undefined symbol", "undefined symbol"),
    ],
)
def test_torch_that_cannot_work(versions, error, told):
    found = {name: version for name, version in {**FITTING, **versions}.items() if version}
    check = doctor.check_torch(found, error)
    assert check.status == "fail"
    assert told in check.detail
    assert "pip install" in check.fix


@pytest.mark.parametrize(
    ("found", "status", "told"),
    [
        ({"jupyterlab": "4.4.0", "ipykernel": "7.0.1"}, "ok", "2 found"),
        ({"jupyterlab": "4.5.0rc1", "ipykernel": "7.4"}, "ok", "2 found"),
        ({"jupyterlab": "4.3.9", "ipykernel": "7.4"}, "fail", "jupyterlab<5,>=4.4 (found 4.3.9)"),
        ({"jupyterlab": "4.4.0"}, "fail", "ipykernel>=7 (found none)"),
    ],
)
def test_packages(found, status, told):
    check = doctor.check_packages(["jupyterlab>=4.4,<5", "ipykernel>=7", "ruff>=9; extra == 'dev'"], found)
    assert check.status == status
    assert told in check.detail
    assert bool(check.fix) == (status == "fail")


def test_codecs_go_there_and_back(tmp_path):
    assert doctor.check_codecs(tmp_path) == doctor.Check("Codecs", "ok", "H.264 and AAC written and read back")


def test_codecs_that_cannot_write_are_a_failed_check(tmp_path):
    check = doctor.check_codecs(tmp_path / "a file" / "in the way") if _blocked(tmp_path / "a file") else None
    assert check is not None and check.status == "fail"
    assert "av" in check.fix


def _blocked(path: Path) -> bool:
    path.write_text("not a folder")
    return True


@pytest.mark.parametrize(("value", "status"), [("disabled", "ok"), ("perCommTarget", "fail"), (None, "fail")])
def test_settings(value, status):
    check = doctor.check_settings(value, "default")
    assert check.status == status
    assert ("Kernel Comms over subshells" in check.fix) == (status == "fail")


def test_the_installed_override_is_what_jupyterlab_will_use(tmp_path, monkeypatch):
    """JupyterLab's own answer, with a user's settings, and with another lab folder."""
    from jupyterlab.commands import get_app_dir

    monkeypatch.setenv("JUPYTERLAB_SETTINGS_DIR", str(tmp_path))
    assert doctor._setting_in_force() == ("disabled", "override")
    plugin, _, name = doctor.SETTING[0].partition(":")
    mine = tmp_path / plugin / f"{name}.jupyterlab-settings"
    mine.parent.mkdir(parents=True)
    mine.write_text('{"commsOverSubshells": "perComm"}')
    assert doctor._setting_in_force() == ("perComm", "user")
    mine.unlink()
    lab = tmp_path / "lab"
    lab.mkdir()
    (lab / "schemas").symlink_to(Path(get_app_dir()) / "schemas")
    monkeypatch.setenv("JUPYTERLAB_DIR", str(lab))
    assert doctor._setting_in_force() == ("perCommTarget", "default")


def test_the_override_in_the_sources_is_the_one_installed():
    source = Path(doctor.__file__).parent / "jupyter" / "overrides.json"
    installed = Path(sys.prefix) / "share" / "jupyter" / "lab" / "settings" / "overrides.d" / "avid_lab.json"
    assert json.loads(installed.read_text()) == json.loads(source.read_text())
    plugin, key, value = doctor.SETTING
    assert json.loads(source.read_text())[plugin][key] == value


def test_kernel():
    here = Path(sys.executable)
    assert doctor.check_kernel(here, here).status == "ok"
    assert doctor.check_kernel(doctor._kernel_python(), here).status == "ok"
    assert doctor.check_kernel(None, here).status == "fail"
    other = doctor.check_kernel(Path("/usr/bin/python3"), here)
    assert other.status == "fail" and "/usr/bin/python3" in other.detail


@pytest.mark.parametrize(
    ("environ", "status"),
    [
        ({"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}, "ok"),
        ({"OMP_WAIT_POLICY": "active", "GOMP_SPINCOUNT": "0"}, "warn"),
        ({}, "warn"),
    ],
)
def test_openmp(environ, status):
    assert doctor.check_openmp(environ).status == status


def test_disk(tmp_path):
    assert doctor.check_disk(tmp_path, 3 * 10**9, 2 * 10**9).status == "ok"
    full = doctor.check_disk(tmp_path, 5 * 10**8, 2 * 10**9)
    assert full.status == "fail"
    assert "0.5 GB free" in full.detail and "1.5 GB" in full.fix and "AVID_LAB_DATA" in full.fix


def test_writable(tmp_path):
    assert doctor.check_writable(tmp_path / "new" / "folder").status == "ok"
    (tmp_path / "file").write_text("in the way")
    blocked = doctor.check_writable(tmp_path / "file" / "folder")
    assert blocked.status == "fail"
    assert str(tmp_path / "file") in blocked.detail


def test_world_and_machine():
    assert doctor.check_world("pocket", True).status == "ok"
    assert doctor.check_world("pocket", False).fix == "avid-lab data build pocket"
    assert doctor.check_machine(2, 2**34, None).status == "ok"
    assert "H200" in doctor.check_machine(16, None, "NVIDIA H200").detail
    assert doctor.check_machine(1, 2**31, None).status == "warn"


def test_a_table_shows_each_fix_below_its_problem():
    checks = [doctor.Check("Disk", "ok", "plenty"), doctor.Check("Kernel", "fail", "none", "install one")]
    assert doctor.table(checks).splitlines() == [
        "ok    Disk                 plenty",
        "FAIL  Kernel               none",
        "                           fix: install one",
    ]


@pytest.mark.parametrize("json_wanted", [False, True])
def test_this_machine_is_ready(tmp_path, monkeypatch, capsys, json_wanted):
    monkeypatch.setenv("AVID_LAB_DATA", str(tmp_path / "data"))
    code = cli.main(["doctor", *(["--json"] if json_wanted else [])])
    shown = capsys.readouterr().out
    assert code == 0, shown
    if json_wanted:
        checks = json.loads(shown)
        assert {check["name"] for check in checks} >= {"Python", "PyTorch", "Codecs", "JupyterLab settings", "Disk"}
        assert all(check["fix"] for check in checks if check["status"] != "ok")
    else:
        assert shown.endswith("Ready.\n")


def test_one_failed_check_is_exit_code_one(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("AVID_LAB_DATA", os.fspath(tmp_path / "file"))
    assert cli.main(["doctor"]) == 1
    shown = capsys.readouterr().out
    assert "FAIL  Cache folder" in shown
    assert "1 of" in shown


def test_the_table_of_speeds_lines_up():
    rows = [
        doctor_bench.Measure("copies in memory, one thread", 12.345, "GB/s", 25.0),
        doctor_bench.Measure("training step, batch of 64", 0.5, "s"),
    ]
    lines = doctor_bench.table(rows).splitlines()
    assert lines[1].split() == ["copies", "in", "memory,", "one", "thread", "12.3", "GB/s", "25"]
    assert lines[1].index("12.3") + 4 == lines[2].index("0.5") + 3 and len(lines[0]) == len(lines[1])


def test_a_training_is_predicted_from_its_own_files(smoke_world, tmp_path, capsys):
    manifest = smoke_world.manifest
    found = doctor_bench.predict("pocket", manifest, sample=8)
    clips = sum(record.split == "train" for record in manifest.records)
    assert (found.clips, found.batch, found.bound) == (clips, 8, "both")
    assert found.rate == pytest.approx(1 / (1 / found.training + 1 / (found.reading * found.cores)))
    windows, hours = found.hours["AVID"]
    assert windows == 1100 * min(64, clips) and hours == pytest.approx(windows / found.rate / 3600)
    assert cli.main(["doctor", "--bench", "--preset", "pocket", str(manifest.root / "manifest.csv"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["preset"] == "pocket" and told["reading"] > 0 and told["training"] > 0
    shown = str(found)
    assert f"AVID of pocket, {clips} clips: {windows:,} windows" in shown and "reading and training share" in shown
    bounded = dataclasses.replace(found, device="cuda:0", bound="reading", hours={"AVID": (10**6, 2.5)})
    assert "reading bounds it" in str(bounded) and "1,000,000 windows, 2.5 hours" in str(bounded)


def test_predictions_that_cannot_be_made(smoke_world, capsys):
    with pytest.raises(ValueError, match="preset must be one of .*one-gpu.*; got 'huge'"):
        doctor_bench.predict("huge", smoke_world.manifest)
    with pytest.raises(ValueError, match="at least four training clips"):
        doctor_bench.predict("pocket", smoke_world.manifest.subset([0, 1]))
    assert cli.main(["doctor", "manifest.csv"]) == 2
    assert "add --bench" in capsys.readouterr().err


@pytest.mark.slow
def test_speeds_are_measured_and_printed_as_json(capsys):
    assert cli.main(["doctor", "--bench", "--json"]) == 0
    found = {row["name"]: row["value"] for row in json.loads(capsys.readouterr().out)}
    assert all(value > 0 for value in found.values())
    assert found["the course's training, 1100 steps"] == pytest.approx(found["training step, batch of 64"] * 1100 / 60)

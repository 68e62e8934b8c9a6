"""The wheel is the whole course: built here, installed alone, used in an empty folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import tomllib
import urllib.request
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
MOST_BYTES = 40e6
LAB = str(Path(sys.prefix) / "share" / "jupyter" / "lab")  # of the environment that has JupyterLab
pytestmark = pytest.mark.slow


@pytest.fixture
def run(installed, tmp_path, monkeypatch):
    monkeypatch.delenv("PYTHONPATH", raising=False)

    def call(*command: str, folder: Path = tmp_path) -> str:
        done = subprocess.run([installed / command[0], *command[1:]], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return call


def test_the_wheel_has_the_course_and_stays_small(wheel):
    with zipfile.ZipFile(wheel) as opened:
        names = set(opened.namelist())
    assert wheel.stat().st_size < MOST_BYTES
    for folder in ("notebooks", "data", "docs"):
        files = subprocess.run(["git", "ls-files", folder], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        missing = {f"avid_lab/course_files/{name}" for name in files.splitlines()} - names
        assert files and not missing
    assert any(name.endswith("/licenses/LICENSE") for name in names)


def test_the_source_distribution_builds_the_same_wheel(wheel, tmp_path):
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", tmp_path], cwd=ROOT, check=True)
    source = next(tmp_path.glob("*.tar.gz"))
    subprocess.run(["tar", "-xf", source, "-C", tmp_path], check=True)
    unpacked = tmp_path / source.name.removesuffix(".tar.gz")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path], cwd=unpacked, check=True
    )
    contents = []
    for path in (wheel, next(tmp_path.glob("*.whl"))):
        with zipfile.ZipFile(path) as opened:
            contents.append({item.filename: item.CRC for item in opened.infolist()})
    assert contents[0] == contents[1]


def test_every_command_of_the_course_works_in_an_empty_folder(run, tmp_path):
    code = "import avid_lab; from avid_lab import reference; print(avid_lab.__file__, reference.load('cma').variant)"
    assert str(ROOT) not in run("python", "-c", code)
    assert "00_start_here" in run("avid-lab", "publish", "--no-execute", "00")
    assert (tmp_path / "notebooks" / "00_start_here.ipynb").is_file()
    for kind in ("student", "instructor"):
        run("avid-lab", "edition", kind, kind, "02")
        assert list((tmp_path / kind).rglob("02_contrast.ipynb"))


def test_doctor_and_demo_work_in_an_empty_folder(run, smoke_world, tmp_path, monkeypatch):
    monkeypatch.setenv("AVID_LAB_PROFILE", "smoke")
    monkeypatch.setenv("JUPYTERLAB_DIR", LAB)
    assert run("avid-lab", "doctor").endswith("Ready.\n")
    run("avid-lab", "demo", "--steps", "2")
    assert (tmp_path / "runs" / "demo" / "report.html").is_file()


def test_one_command_runs_the_course_once(wheel, tmp_path):
    """`uvx --from WHEEL avid-lab`; its dependencies are those of this environment, so that nothing is fetched."""
    uvx = shutil.which("uvx", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if uvx is None:
        pytest.skip("uv is not installed")
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    overrides = tmp_path / "nothing.txt"
    overrides.write_text("".join(f"{Requirement(line).name}; python_version < '3'\n" for line in needed))
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    environment = os.environ | {"PYTHONPATH": packages, "UV_CACHE_DIR": str(tmp_path / "cache")}
    command = [uvx, "--offline", "--python", sys.executable, "--overrides", overrides, "--from", wheel, "avid-lab"]
    command += ["publish", "--no-execute", "00"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "notebooks" / "00_start_here.ipynb").is_file()


def test_the_lab_opens_a_copy_of_the_notebooks(installed, run, tmp_path):
    command = [installed / "avid-lab", "lab", "--no-browser", "--port", "9917"]
    environment = os.environ | {"JUPYTERLAB_DIR": LAB}
    log = tmp_path / "log.txt"
    with log.open("w") as file:
        server = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=file, stderr=file)
    try:
        end = time.monotonic() + 120
        while time.monotonic() < end and server.poll() is None:
            try:
                with urllib.request.urlopen("http://localhost:9917/api", timeout=5) as answer:
                    assert answer.status == 200
                break
            except OSError:
                time.sleep(0.2)
        else:
            pytest.fail(log.read_text())
    finally:
        server.terminate()
        server.wait(timeout=30)
    assert len(list((tmp_path / "my_course").glob("*.ipynb"))) == 11
    run("avid-lab", "reset", "05")

"""The project's own promises: one list of dependencies, commands that exist, floors that hold, cheap imports."""

import re
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def tool(*command):
    """Run a tool of this environment in the project's folder."""
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def test_environment_yml_leaves_the_list_to_pyproject():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, pip, pins = environment["dependencies"]
    assert environment["name"] == "avid_lab"
    assert python == f"python{PROJECT['requires-python']}"
    assert (pip, pins) == ("pip", {"pip": ["-e ."]})


def targets():
    return set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_readme_commands_exist():
    readme = (ROOT / "README.md").read_text()
    assert set(re.findall(r"\bmake ([a-z]+)", readme)) <= targets()
    assert {"lab", "test", "demo"} <= targets()
    shown = tool("avid_lab", "--help").stdout
    commands = set(re.findall(r"\bavid-lab ([a-z]+)", readme))
    assert commands
    assert all(re.search(rf"^ +{command}\b", shown, re.MULTILINE) for command in commands)


def test_readme_files_exist():
    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text())
    missing = [link for link in links if not link.startswith("https://") and not (ROOT / link).exists()]
    assert not missing


def test_make_says_what_it_can_do():
    shown = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert {line.split()[1] for line in shown.splitlines()} == targets()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(["PYTHON="], "needs Python 3.11 or newer"), (["PYTHON=false"], "needs Python 3.11 or newer; false is")],
)
def test_make_without_a_python_says_what_is_missing(tmp_path, arguments, told):
    command = ["make", "-f", str(ROOT / "Makefile"), "lab", f"VENV={tmp_path / 'venv'}", *arguments]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert shown.returncode != 0
    assert told in shown.stdout
    assert not (tmp_path / "venv").exists()


def test_ruff():
    for command in (["check"], ["format", "--check"]):
        shown = tool("ruff", *command)
        assert shown.returncode == 0, shown.stdout + shown.stderr


def test_imports_go_down_only():
    shown = subprocess.run([Path(sys.executable).parent / "lint-imports"], cwd=ROOT, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stdout


@pytest.mark.slow
def test_pyright():
    shown = tool("pyright")
    assert shown.returncode == 0, shown.stdout


def test_import_is_light_and_quick():
    code = (
        "import time, torch, sys; begun = time.perf_counter()\n"
        "import avid_lab as al; al.AVID; al.AudioVisualModel; al.nce_loss; al.mine_positives\n"
        "print(time.perf_counter() - begun, *{name.split('.')[0] for name in sys.modules})"
    )
    seconds = []
    for _ in range(3):  # the quickest of three: the machine may be busy
        shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
        assert not {"matplotlib", "ipywidgets", "av", "IPython"} & set(shown)
        seconds.append(float(shown[0]))
        if seconds[-1] < 2:
            break
    assert min(seconds) < 2


def test_help_is_there_at_once():
    seconds = []
    for _ in range(3):
        begun = time.perf_counter()
        assert tool("avid_lab", "--help").returncode == 0
        seconds.append(time.perf_counter() - begun)
        if seconds[-1] < 1:
            break
    assert min(seconds) < 1


def test_ci_runs_the_command_of_the_readme():
    assert "make test" in (ROOT / ".ci" / "run").read_text()
    assert "make test" in (ROOT / "README.md").read_text()

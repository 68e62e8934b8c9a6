"""The recipes of CONTRIBUTING.md, followed literally in a copy of the package."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SECTIONS = dict(
    re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL | re.MULTILINE)
)
STEP = re.compile(
    r"^(?P<prose>[^\n`]*(?:`[^`\n]*`[^\n`]*)*:)\n\n```python\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE
)


def change(package: Path, prose: str, code: str) -> bool:
    """Make the change that a step describes; False if it describes none."""
    if found := re.match(r"At the end of `(\S+)`, add:", prose):
        file = package / found[1]
        file.write_text(f"{file.read_text().rstrip()}\n\n\n{code}")
    elif found := re.match(r"In `(\S+)`, after `(.+)`, add:", prose):
        file = package / found[1]
        lines = file.read_text().splitlines(keepends=True)
        places = [i for i, line in enumerate(lines) if line.startswith(found[2])]
        assert len(places) == 1, f"{found[1]} has {len(places)} lines that begin with {found[2]!r}"
        lines.insert(places[0] + 1, code)
        file.write_text("".join(lines))
    elif found := re.match(r"Create `(\S+)`:", prose):
        (package / found[1]).write_text(code)
    else:
        return False
    return True


@pytest.mark.parametrize("name", SECTIONS)
def test_the_recipe_works(name, tmp_path):
    shutil.copytree(ROOT / "avid_lab", tmp_path / "avid_lab", ignore=shutil.ignore_patterns("__pycache__"))
    steps = [(step["prose"], step["code"]) for step in STEP.finditer(SECTIONS[name])]
    assert [change(tmp_path, *step) for step in steps] == [True] * (len(steps) - 1) + [False]
    (tmp_path / "check.py").write_text(steps[-1][1])
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "AVID_LAB_STUDENT": str(tmp_path / "student")}
    command = [sys.executable, "check.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    if name == "An exercise":
        assert "Axis 0 runs over frames" in done.stdout


def test_an_agreement_is_added_in_one_place_of_ten_lines():
    steps = [step for step in STEP.finditer(SECTIONS["An agreement"])]
    assert len(steps) == 2 and steps[0]["code"].count("\n") <= 10  # the change, and its check

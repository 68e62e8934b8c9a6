"""Work that is killed at any moment resumes to the same result; damaged files give documented errors only."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forks of one process")
@pytest.mark.parametrize("command", [("tests.kills", "60"), ("tests.mutations", "2000")], ids=["kills", "mutations"])
def test_nothing_is_lost_and_no_error_is_undocumented(command):
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr
    count, what = command[1], "kills" if "kills" in command[0] else "cases"
    assert f"{count} {what}" in done.stdout.splitlines()[-1] or what == "cases"
    assert done.stdout.rstrip().endswith(" 0 problems")

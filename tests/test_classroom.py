"""A folder that a class shares: everyone reads it, nobody but its owner changes it."""

import ctypes
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="permissions are those of Linux"),
]
AS_ROOT = os.name == "posix" and os.geteuid() == 0
NOBODY = 65534  # owns what is shared, where root runs the tests

STUDENT = """
import json
from dataclasses import replace
from avid_lab import config, doctor, foley
from avid_lab.course import student
size = config.PRESETS["pocket"]
shared = foley.load("smoke", progress=False)
other = foley.load("smoke", video=replace(size.video, size=32), progress=False)
assert len(shared) == len(other) == 64 and student.write("notes", "00-1", text="seen")
print(json.dumps({check.name: check.detail for check in doctor.examine() if check.status == "ok"}))
"""


@pytest.fixture(scope="module")
def room(smoke_world):
    """A class's folder that belongs to somebody else, and a student's empty home."""
    place = Path(tempfile.mkdtemp())
    home = place / "home"
    home.mkdir()
    world = smoke_world.path(0).parents[1]
    shutil.copytree(world, place / "room" / "data" / "foley" / world.name)  # rendered once
    environment = os.environ | {"AVID_LAB_PROFILE": "smoke"}
    command = [sys.executable, "-m", "avid_lab", "class", str(place / "room")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for path in (place / "room", *(place / "room").rglob("*")):
        if AS_ROOT:
            os.chown(path, NOBODY, NOBODY)
        else:
            path.chmod(path.stat().st_mode & ~0o222)
    yield place / "room", home
    for path in (place / "room", *(place / "room").rglob("*")):
        path.chmod(0o755)
    shutil.rmtree(place)


def obey_permissions():
    """Root may read and write everything: the program that starts now may not."""
    if AS_ROOT:
        drop, override, read_search = 24, 1, 2  # PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH of Linux
        for capability in (override, read_search):
            ctypes.CDLL(None).prctl(drop, capability, 0, 0, 0)


def as_student(home, *command, **more):
    environment = os.environ | {"HOME": str(home), "AVID_LAB_PROFILE": "smoke"} | more
    for name in ("AVID_LAB_STUDENT", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
        environment.pop(name, None)
    return subprocess.run(
        command, cwd=home, env=environment, capture_output=True, text=True, preexec_fn=obey_permissions
    )


def test_one_command_prepares_clips_notebooks_and_the_hubs_settings(room):
    folder, home = room
    assert sorted(path.name for path in folder.iterdir()) == ["data", "instructor", "jupyterhub_config.py", "notebooks"]
    assert (
        len(list((folder / "notebooks").glob("*.ipynb"))) == len(list((folder / "instructor/source").iterdir())) == 11
    )
    assert str(folder / "data") in (folder / "jupyterhub_config.py").read_text()
    if AS_ROOT:  # then it belongs to somebody else
        assert as_student(home, "ls", str(folder / "notebooks")).returncode == 0
        assert "denied" in as_student(home, "ls", str(folder / "instructor")).stderr


def test_students_read_what_is_shared_and_write_to_their_own_folders(room):
    folder, home = room
    before = sorted((folder / "data").rglob("*"))
    assert len(list((folder / "data/decoded").iterdir())) == 1
    done = as_student(home, sys.executable, "-c", STUDENT, AVID_LAB_DATA=str(folder / "data"))
    assert done.returncode == 0, done.stderr
    own = home / ".cache" / "avid_lab"
    assert len(list((own / "decoded").iterdir())) == 1  # of the two sizes, the one that is not shared
    assert json.loads(done.stdout)["Cache folder"] == f"{folder / 'data'} is read-only; {own} is writable"
    assert sorted((folder / "data").rglob("*")) == before
    assert (home / ".local/share/avid_lab/progress.json").exists()


def test_a_clip_missing_from_what_is_shared_is_named_with_its_fix(room):
    folder, home = room
    clip = next((folder / "data").rglob("000005.mp4"))
    clip.parent.chmod(0o755)
    clip.rename(folder / "moved.mp4")
    code = "from avid_lab import foley; foley.load('smoke', progress=False)"
    done = as_student(home, sys.executable, "-c", code, AVID_LAB_DATA=str(folder / "data"))
    assert "PermissionError" in done.stderr and "1 of 64 clips are missing or damaged" in done.stderr
    assert "Ask its owner to run `avid-lab data build`" in done.stderr

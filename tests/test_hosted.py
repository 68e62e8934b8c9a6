"""Notebooks where nobody starts `avid-lab lab`: plain servers below a base URL, and programs that run notebooks.

Each has an environment of its own with the wheel, or with nothing, and an empty home.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from browser import CHROMIUM, keep_screenshot, open_notebook, run_cell, running_lab
from test_browsing_in_jupyterlab import PLAYED, POSITIVES, TELL_POSITIVES, drag_to, press_point, sha256

from avid_lab.course import publish

pytestmark = pytest.mark.slow
SOURCES = Path(__file__).parents[1] / "notebooks" / "source"
SHARE = Path(sys.prefix) / "share" / "jupyter"  # what Jupyter's packages installed next to this environment
FACTS = """
import json, os
print(json.dumps([avid_lab.__file__, os.environ["OMP_WAIT_POLICY"], os.environ["GOMP_SPINCOUNT"]]))
"""


@pytest.fixture
def fresh(smoke_world, tmp_path):
    """Environment variables of a new user, whose JupyterLab has its own defaults instead of the course's."""
    lab = tmp_path / "jupyterlab"
    for name in ("schemas", "static", "themes"):
        if (SHARE / "lab" / name).exists():
            lab.mkdir(exist_ok=True)
            (lab / name).symlink_to(SHARE / "lab" / name)
    home = tmp_path / "home"
    home.mkdir()
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "AVID_LAB_DATA", "TMPDIR")}
    return kept | {
        "HOME": str(home),
        "AVID_LAB_PROFILE": "smoke",
        "JUPYTER_PATH": str(SHARE),
        "JUPYTERLAB_DIR": str(lab),
    }


def executed(path, command, environment):
    """Run a program on a notebook; the code cells' outputs, without those that carry no text."""
    done = subprocess.run(command, env=environment, cwd=path.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in cells)
    return [cell.outputs for cell in cells]


def test_the_first_cell_installs_the_course_where_it_is_missing_and_is_silent_where_it_is_there(
    bare, wheel, fresh, tmp_path
):
    path = publish.build(SOURCES / "01_see_and_hear.py", tmp_path / "own", execute=False)
    pip = {"NO_INDEX": "1", "NO_DEPS": "1", "IGNORE_INSTALLED": "1", "FIND_LINKS": str(wheel.parent)}
    environment = fresh | {f"PIP_{name}": value for name, value in pip.items()}
    code = "import sys; from nbclient.cli import main; sys.argv[1:] = ['--inplace', sys.argv[1]]; main()"
    command = [bare / "python", "-c", code, path]
    nothing = environment | {"PIP_FIND_LINKS": str(tmp_path)}
    failed = subprocess.run(command, env=nothing, cwd=path.parent, capture_output=True, text=True)
    assert failed.returncode and "avid-lab was not installed: pip says why above" in failed.stdout + failed.stderr
    first, *others = executed(path, command, environment)
    assert "restart the kernel" in str(first) and "avid_lab" not in str(first) and len(others) > 5
    assert not [output for outputs in others for output in outputs if output.output_type == "error"]
    first, *_ = executed(path, command, nothing)
    assert first == []


def test_a_notebook_of_the_course_runs_in_papermill(installed, fresh, tmp_path):
    pytest.importorskip("papermill", reason="papermill is not installed")
    path = publish.build(SOURCES / "05_agreement.py", tmp_path / "own", execute=False)
    first, *_ = executed(path, [installed / "python", "-m", "papermill", path, path, "-k", "python3"], fresh)
    assert first == []


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the path: apt install chromium")
@pytest.mark.parametrize(("app", "view"), [("jupyterlab", "lab/tree"), ("notebook", "notebooks")])
def test_players_and_panels_work_in_a_plain_server_below_a_base_url(app, view, installed, fresh, tmp_path, browser):
    pytest.importorskip(app, reason=f"{app} is not installed")
    command = [
        installed / "python",
        "-m",
        app,
        "--allow-root",
        f"--ServerApp.root_dir={tmp_path / 'lab' / 'notebooks'}",
    ]
    page = browser.new_page(viewport={"width": 1360, "height": 900})
    with running_lab(tmp_path / "lab", command, base_url="/user/ada/", view=view, environment=fresh) as lab:
        lab.write("panel", publish.SETUP + FACTS, POSITIVES, TELL_POSITIVES)
        open_notebook(page, lab, "panel")
        errors = []  # those of the server's own start are not ours
        page.on("pageerror", lambda error: errors.append(f"{error} {error.stack}"))
        place, *threads = json.loads(run_cell(page, 0))
        assert place.startswith(str(installed.parent)) and threads == ["passive", "0"]
        run_cell(page, 1, 240_000)
        panel = page.locator(".avid-panel").first
        page.wait_for_function("() => document.querySelectorAll('.avid-shelf .avid-start').length >= 7", timeout=60_000)
        drag_to(page, panel.locator(".widget-slider", has_text="K"), 0.1)
        panel.get_by_text("among 7", exact=False).first.wait_for(timeout=30_000)
        fix = "Settings > Kernels > Kernel Comms over subshells > Disabled"
        panel.get_by_role("status").filter(has_text=fix).wait_for(timeout=30_000)
        press_point(panel.locator("canvas.avid-touch"), 30)
        pressed = panel.locator(".avid-shelf").first.locator("video")
        pressed.wait_for(timeout=30_000)
        played, told = pressed.evaluate(PLAYED), json.loads(run_cell(page, 2))
        assert told["clicked"] == 30 and played["at"] > 0 and played["file"] == sha256(told["pressed"])
        keep_screenshot(page, f"plain-{app}")
        assert errors == []
        lab.shut_down_kernels()
    page.close()

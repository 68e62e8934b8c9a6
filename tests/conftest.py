"""Shared fixtures. Shapes and types in avid_lab's signatures are checked at run time in every test."""

import os
import signal
import subprocess
import sys
import venv
from pathlib import Path

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # a suite started in the background; its children inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch: spinning threads slow shared cores tenfold
os.environ.setdefault("GOMP_SPINCOUNT", "0")

from jaxtyping import config as jaxtyping_config
from jaxtyping import install_import_hook

install_import_hook("avid_lab", "beartype.beartype")

import pytest
from browser import CHROMIUM, OPTIONS, running_lab

ROOT = Path(__file__).parents[1]


@pytest.fixture
def unchecked():
    """Turn off the run-time shape checks, so that the library's own errors appear."""
    jaxtyping_config.update("jaxtyping_disable", True)
    yield
    jaxtyping_config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def smoke_world(tmp_path_factory):
    """The 64-clip world, rendered once per session into a temporary folder, or into AVID_LAB_TEST_DATA to be kept."""
    from avid_lab import foley

    folder = os.environ.get("AVID_LAB_TEST_DATA") or tmp_path_factory.mktemp("avid_lab_data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AVID_LAB_DATA", str(folder))
        yield foley.load("smoke", progress=False)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """The wheel of this project."""
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", out], cwd=ROOT, check=True)
    return next(out.glob("*.whl"))


def environment_without_the_course(place):
    """A virtual environment with this one's packages, without this project; returns its folder of programs."""
    venv.create(place, with_pip=True)
    site = next(place.glob("lib/python*/site-packages"))
    (site / "dependencies.pth").write_text(next(path for path in sys.path if path.endswith("site-packages")))
    return place / "bin"


@pytest.fixture
def bare(tmp_path):
    """The programs of an environment without the course."""
    return environment_without_the_course(tmp_path / "bare")


@pytest.fixture(scope="session")
def installed(wheel, tmp_path_factory):
    """The programs of an environment with the wheel; its dependencies are those of this one."""
    scripts = environment_without_the_course(tmp_path_factory.mktemp("installed"))
    subprocess.run([scripts / "pip", "install", "--quiet", "--no-deps", "--no-index", wheel], check=True)
    return scripts


@pytest.fixture(scope="session")
def lab(smoke_world, tmp_path_factory):
    """One JupyterLab for all browser tests."""
    with running_lab(tmp_path_factory.mktemp("home")) as lab:
        yield lab


@pytest.fixture(scope="module")
def browser():
    """Chromium; not for the whole session, because its event loop occupies this thread."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser, lab):
    """An empty page that collects its errors and the console's messages; kernels end with it."""
    context = browser.new_context(viewport={"width": 1360, "height": 900})
    page = context.new_page()
    page.errors, page.complaints = [], []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.on("console", lambda said: page.complaints.append(said.text) if said.type == "error" else None)
    yield page
    context.close()
    lab.shut_down_kernels()

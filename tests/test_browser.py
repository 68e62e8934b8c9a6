"""The course as a newcomer meets it: the real JupyterLab in a real browser, every cell of every notebook run.

Set ``AVID_LAB_SCREENSHOTS`` to a folder to keep what the browser showed.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from avid_lab.course import publish

ROOT = Path(__file__).parents[1]
CHROMIUM = shutil.which("chromium")
TOKEN = "let-the-tests-in"
QUIET = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic"]
SOURCES = publish.sources(ROOT / "notebooks" / "source")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the path: apt install chromium"),
]

# What JavaScript sees of a notebook whose cells are all attached.
FINISHED = """count => {
    const prompts = [...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].map(prompt => prompt.textContent)
    const done = prompts.length === count && prompts.every(text => /\\[\\d+\\]/.test(text))
    return done || document.querySelector('.jp-Notebook').textContent.includes('Traceback (most recent call last)')
}"""
STARTED = """() => /\\[(\\d+|\\*)\\]/.test(document.querySelector('.jp-CodeCell .jp-InputPrompt').textContent)"""
PLAY = """async video => {
    video.muted = true
    await video.play()
    for (let i = 0; i < 100 && video.currentTime === 0; i++) await new Promise(done => setTimeout(done, 50))
    video.pause()
    const {readyState, currentTime, videoWidth, webkitAudioDecodedByteCount} = video
    return {ready: readyState, at: currentTime, width: videoWidth, sound: webkitAudioDecodedByteCount}
}"""
IMAGES = "images => images.filter(image => !(image.complete && image.naturalWidth > 0)).length"


@pytest.fixture(scope="module")
def server(smoke_world, tmp_path_factory):
    """``avid-lab lab`` on a copy of the notebooks without outputs; its address."""
    home = tmp_path_factory.mktemp("home")
    for source in SOURCES:
        publish.build(source, home / "notebooks", execute=False)
    (home / "data").symlink_to(ROOT / "data")
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "avid_lab", "lab", str(home / "notebooks"), "--no-browser", "--port", str(port)]
    settings = {"AVID_LAB_PROFILE": "smoke", "JUPYTER_TOKEN": TOKEN, "JUPYTER_CONFIG_DIR": str(home / "jupyter")}
    bare = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    log = (home / "jupyter.log").open("w")
    process = subprocess.Popen(command, env=bare | settings, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    address = f"http://localhost:{port}"
    try:
        _wait_for(address, process, home / "jupyter.log")
        yield address
    finally:
        process.terminate()
        process.wait(timeout=30)
        log.close()


def _wait_for(address, process, log):
    for _ in range(120):
        if process.poll() is not None:
            break
        try:
            urllib.request.urlopen(f"{address}/api/status?token={TOKEN}", timeout=5).close()
            return
        except OSError:
            time.sleep(0.5)
    raise AssertionError(f"JupyterLab did not start:\n{log.read_text()}")


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    options = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--autoplay-policy=no-user-gesture-required", *QUIET]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser):
    context = browser.new_context(viewport={"width": 1360, "height": 900})
    page = context.new_page()
    page.errors = []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    yield page
    context.close()


def open_notebook(page, server, name):
    page.goto(f"{server}/lab/tree/{name}.ipynb?token={TOKEN}&reset", timeout=90_000)
    page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=90_000)
    # The page calls a notebook idle before it has a kernel at all, so the server is asked.
    deadline = time.monotonic() + 90
    while not _kernel_is_ready(server, name):
        assert time.monotonic() < deadline, f"no kernel for {name}"
        page.wait_for_timeout(200)
    page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status='idle']", timeout=90_000)


def _kernel_is_ready(server, name):
    with urllib.request.urlopen(f"{server}/api/sessions?token={TOKEN}", timeout=30) as answer:
        sessions = [session for session in json.load(answer) if session["path"] == f"{name}.ipynb"]
    kernels = [session["kernel"] for session in sessions]
    return any(kernel["execution_state"] == "idle" and kernel["connections"] > 0 for kernel in kernels)


def run_all(page):
    """Press Run All Cells, and see that it took: the first cell waits, runs or has run."""
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    page.wait_for_function(STARTED, timeout=30_000)


def prompts(page):
    return page.locator(".jp-CodeCell .jp-InputPrompt").all_text_contents()


def keep_screenshots(page, name):
    """Picture after picture down the notebook, for a person to look at."""
    folder = os.environ.get("AVID_LAB_SCREENSHOTS")
    if not folder:
        return
    Path(folder).mkdir(parents=True, exist_ok=True)
    panel = page.locator(".jp-WindowedPanel-outer").first
    height, step = panel.evaluate("panel => [panel.scrollHeight, panel.clientHeight]")
    for number, top in enumerate(range(0, height, step - 60)):
        panel.evaluate("(panel, top) => { panel.scrollTop = top }", top)
        page.wait_for_timeout(300)
        page.screenshot(path=f"{folder}/{name}-{number:02d}.png")


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_every_cell_runs_and_what_it_shows_can_be_seen_and_heard(page, server, source):
    open_notebook(page, server, source.stem)
    cells = sum(cell.cell_type == "code" for cell in publish.read_source(source).cells)
    run_all(page)
    try:
        page.wait_for_function(FINISHED, arg=cells, timeout=240_000)
        page.wait_for_timeout(500)
    except Exception as error:
        error.add_note(f"prompts: {prompts(page)} of {cells} cells")
        raise
    finally:
        keep_screenshots(page, source.stem)

    outputs = page.locator(".jp-OutputArea-output")
    said = page.locator("[data-mime-type='application/vnd.jupyter.stderr']").all_text_contents()  # tracebacks, too
    assert not [text for text in said if "Warning" in text or "Error" in text]
    assert outputs.locator("img").count() + outputs.locator("svg").count() > 0
    assert outputs.locator("img").evaluate_all(IMAGES) == 0, "broken images"
    videos = outputs.locator("video")
    assert videos.count() > 0
    for number in range(videos.count()):
        played = videos.nth(number).evaluate(PLAY)
        assert played["ready"] >= 2 and played["at"] > 0 and played["width"] > 0, (number, played)
        assert played["sound"] > 0, f"video {number} is mute"
    assert page.errors == []


def test_the_kernel_and_the_page_are_set_up_for_the_course(page, server):
    """Idle threads sleep in the kernel, and JupyterLab sends widget messages between cells."""
    open_notebook(page, server, "00_start_here")
    plugin = "@jupyterlab/apputils-extension:kernels-settings"
    setting = page.evaluate(
        "async url => (await fetch(url)).json()", f"{server}/lab/api/settings/{plugin}?token={TOKEN}"
    )
    assert setting["schema"]["properties"]["commsOverSubshells"]["default"] == "disabled"
    run_all(page)
    page.get_by_text("idle threads sleep").wait_for(timeout=90_000)

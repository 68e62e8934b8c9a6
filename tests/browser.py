"""A real JupyterLab for the browser tests, with the actions of a user.

Set ``AVID_LAB_SCREENSHOTS`` to a folder to keep what the browser showed.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat

CHROMIUM = shutil.which("chromium")
TOKEN = "let-the-tests-in"
QUIET = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic"]
OPTIONS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--autoplay-policy=no-user-gesture-required", *QUIET]

STARTED = """() => /\\[(\\d+|\\*)\\]/.test(document.querySelector('.jp-CodeCell .jp-InputPrompt').textContent)"""
RAN = """([cell, before]) => {
    const prompt = document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')[cell].textContent
    return /\\[\\d+\\]/.test(prompt) && prompt !== before
}"""


class Lab:
    """A Jupyter server on a folder of notebooks.

    Attributes:
        address: URL of the server.
        folder: Folder of the notebooks.
        view: Where the server shows a notebook.
    """

    def __init__(self, address, folder, view):
        self.address, self.folder, self.view = address, folder, view

    def write(self, name, *cells):
        """Make a notebook of code cells."""
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}  # without, JupyterLab asks for one
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells], metadata=kernel)
        nbformat.write(notebook, self.folder / f"{name}.ipynb")

    def sessions(self):
        """The notebooks that have a kernel."""
        with urllib.request.urlopen(f"{self.address}/api/sessions?token={TOKEN}", timeout=30) as answer:
            return json.load(answer)

    def set(self, plugin, settings):
        """Change a plugin's settings as a user does; empty settings restore the defaults."""
        address, body = f"{self.address}/lab/api/settings/{plugin}?token={TOKEN}", {"raw": json.dumps(settings)}
        change = urllib.request.Request(address, json.dumps(body).encode(), method="PUT")
        urllib.request.urlopen(change, timeout=30).close()

    def shut_down_kernels(self):
        """Stop kernels that earlier tests left running."""
        for session in self.sessions():
            address = f"{self.address}/api/sessions/{session['id']}?token={TOKEN}"
            urllib.request.urlopen(urllib.request.Request(address, method="DELETE"), timeout=30).close()


@contextlib.contextmanager
def running_lab(home, command=None, *, base_url="/", view="lab/tree", environment=None):
    """Start a server in a folder and stop it at the end.

    ``command`` starts another server than ``avid-lab lab``, and ``environment`` replaces the variables of this process.
    """
    notebooks = home / "notebooks"
    notebooks.mkdir(parents=True)
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    command = command or [sys.executable, "-m", "avid_lab", "lab", str(notebooks)]
    command = [*command, "--no-browser", "--port", str(port), f"--ServerApp.base_url={base_url}"]
    settings = {"AVID_LAB_PROFILE": "smoke", "JUPYTER_TOKEN": TOKEN, "JUPYTER_CONFIG_DIR": str(home / "jupyter")}
    given = os.environ if environment is None else environment
    bare = {name: value for name, value in given.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    log = (home / "jupyter.log").open("w")
    streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
    process = subprocess.Popen(command, env=bare | settings, cwd=home if environment else None, **streams)
    lab = Lab(f"http://localhost:{port}{base_url.rstrip('/')}", notebooks, view)
    try:
        _wait_for(lab.address, process, home / "jupyter.log")
        yield lab
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


def open_notebook(page, lab, name):
    """Open a notebook and wait until its kernel is ready."""
    page.goto(f"{lab.address}/{lab.view}/{name}.ipynb?token={TOKEN}&reset", timeout=90_000)
    page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=90_000)
    # The page calls a notebook idle before it has a kernel at all, so the server is asked.
    deadline = time.monotonic() + 90
    while not _kernel_is_ready(lab, name):
        assert time.monotonic() < deadline, f"no kernel for {name}"
        page.wait_for_timeout(200)
    if lab.view == "lab/tree":  # Jupyter Notebook has no such indicator
        page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status='idle']", timeout=90_000)


def _kernel_is_ready(lab, name):
    kernels = [session["kernel"] for session in lab.sessions() if session["path"] == f"{name}.ipynb"]
    return any(kernel["execution_state"] == "idle" and kernel["connections"] > 0 for kernel in kernels)


def run_all(page):
    """Press Run All Cells and check that it worked: the first cell waits, runs or has run."""
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    page.wait_for_function(STARTED, timeout=30_000)


def run_cell(page, number, timeout_ms=60_000):
    """Run one code cell, counted from 0, wait until it has finished, and return its text output."""
    cell = page.locator(".jp-CodeCell").nth(number)
    before = cell.locator(".jp-InputPrompt").first.text_content()
    cell.locator(".cm-content").first.click()
    page.keyboard.press("Control+Enter")
    page.wait_for_function(RAN, arg=[number, before], timeout=timeout_ms)
    return "\n".join(cell.locator(".jp-OutputArea-output pre").all_text_contents())


def ask(page, number, code, timeout_ms=60_000):
    """Put code into a cell, run it, and return what it printed."""
    page.locator(".jp-CodeCell").nth(number).locator(".cm-content").first.click()
    page.keyboard.press("Control+A")
    page.keyboard.insert_text(code)
    return run_cell(page, number, timeout_ms)


def prompts(page):
    """The prompts in front of the cells."""
    return page.locator(".jp-CodeCell .jp-InputPrompt").all_text_contents()


def keep_screenshot(target, name):
    """Save a screenshot of a page or a part of it."""
    if folder := os.environ.get("AVID_LAB_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        target.screenshot(path=f"{folder}/{name}.png")


def keep_screenshots(page, name):
    """Save screenshots from the top to the bottom of the notebook."""
    if not os.environ.get("AVID_LAB_SCREENSHOTS"):
        return
    panel = page.locator(".jp-WindowedPanel-outer").first
    height, step = panel.evaluate("panel => [panel.scrollHeight, panel.clientHeight]")
    for number, top in enumerate(range(0, height, step - 60)):
        panel.evaluate("(panel, top) => { panel.scrollTop = top }", top)
        page.wait_for_timeout(300)
        keep_screenshot(page, f"{name}-{number:02d}")

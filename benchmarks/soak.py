"""Random use of all panels in the real JupyterLab for a while: does memory grow? ``python -m benchmarks.soak``.

A simulated user drags sliders, chooses from menus, presses buttons and points, plays clips, forks trainings and runs
cells again, two or three times a second. Once a minute, the memory of the kernel and of the page is recorded, after
garbage collection. The actions are random, with a fixed seed.

JupyterLab's cell toolbar is turned off because it leaks: in a notebook of three numbers, each click into another cell
keeps about 250 nodes, 790 listeners and 0.1 MB (JupyterLab 4.6.6), which would hide the panels' share.

The remaining growth of the page is also JupyterLab's: it keeps the comm handler of every closed widget, with the model
and the last view. A cell that closes 30 plain sliders and makes 30 new ones leaves 392 nodes, 150 listeners and 0.7 MB
per run; a cell that makes a PositiveBrowser leaves 361, 10 and 0.5 MB.

For the kernel, "heap free" is freed memory that glibc keeps in its arenas; "in use" is the rest.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import machine
from tests.browser import CHROMIUM, OPTIONS, ask, open_notebook, run_cell, running_lab

FOLDER = Path(__file__).parent / "results"
MAKE = """
FIELDS = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()
import ctypes, dataclasses, gc, json, os, threading
from types import SimpleNamespace
import ipywidgets as widgets
import numpy as np
import torch
import avid_lab as al
from avid_lab import foley
from avid_lab.interactive import *
from avid_lab.interactive import CalibrationExplorer, EmbeddingMap, LiveTraining, NCEMicroscope, PositiveBrowser
from avid_lab.interactive import RetrievalExplorer
from avid_lab.training import avid_trainer
from avid_lab.transforms import InputPipeline
clips = foley.load("smoke", progress=False)
size = al.profile()
size = dataclasses.replace(size, train=dataclasses.replace(size.train, steps=1_000_000))
labels, rng = clips.labels.numpy(), np.random.default_rng(0)
classes = rng.normal(size=(len(clips.classes), 64))[labels]
rows = [a * classes + rng.normal(size=classes.shape) for a in (0.5, 1, 2)]
snapshots = [SimpleNamespace(step=i, video=row, audio=row + rng.normal(size=row.shape)) for i, row in enumerate(rows)]
pair = (snapshots[-1].video, snapshots[-1].audio)
unit = [torch.nn.functional.normalize(torch.tensor(x), dim=1).float() for x in pair]
model = al.AudioVisualModel.preset("pocket", seed=0)
spaces = [torch.nn.functional.normalize(torch.randn(len(clips), model.config.dim), dim=1) for _ in range(2)]
trainer = avid_trainer(clips, size)
"""
PANELS = (
    "live = LiveTraining(trainer); live.speed.value = '5 steps/s'; live",
    "lab = live.fork(temperature=0.2); lab.speed.value = '1 step/s'; lab",
    "PositiveBrowser(tuple(unit), clips)",
    "CalibrationExplorer({'A': snapshots, 'B': snapshots[:2]}, labels)",
    "RetrievalExplorer(tuple(spaces), clips, model, InputPipeline(clips.video, clips.audio))",
    "EmbeddingMap(snapshots, labels, clips.classes, paths=[clips.path(i) for i in range(len(clips))])",
    "NCEMicroscope(tuple(unit), labels, clips.classes)",
)
TELL = """
gc.collect()
resident = int(next(x for x in open("/proc/self/status") if x.startswith("VmRSS")).split()[1]) / 1024
heap = ctypes.CDLL(None).mallinfo2  # glibc's: what is in use, and what it holds without using it
heap.restype = type("Heap", (ctypes.Structure,), {"_fields_": [(x, ctypes.c_size_t) for x in FIELDS]})
heap = heap()
print(json.dumps({"kernel, MB": resident, "heap in use, MB": (heap.hblkhd + heap.uordblks) / 2**20,
                  "heap free, MB": heap.fordblks / 2**20,
                  "widgets": len(widgets.widget._instances), "objects": len(gc.get_objects()),
                  "threads": threading.active_count(), "steps": trainer.steps_done}))
"""


class Hand:
    """Performs random actions on the panels of a page."""

    def __init__(self, page: Any, seed: int) -> None:
        self.page, self.random = page, random.Random(seed)
        self.done: collections.Counter[str] = collections.Counter()
        self.missed: collections.Counter[str] = collections.Counter()
        self.acts = {
            self.slide: 8,
            self.point: 6,
            self.choose: 3,
            self.press: 5,
            self.play: 3,
            self.lasso: 1,
            self.run_again: 0.6,
        }

    def act(self) -> None:
        """One action on one panel; missing, hidden or disabled controls are skipped."""
        act = self.random.choices(list(self.acts), list(self.acts.values()))[0]
        cell = self.random.randrange(1, 1 + len(PANELS))
        try:
            happened = act(self.page.locator(".jp-CodeCell").nth(cell), cell)
        except Exception as error:  # the control disappeared meanwhile: counted and reported
            happened, name = False, type(error).__name__
            self.missed[f"{act.__name__}: {name}"] += 1
        self.done[act.__name__] += bool(happened)

    def one(self, cell: Any, what: str) -> Any:
        """One of the things that can be seen in a panel."""
        there = [x for x in cell.locator(f".avid-panel {what}").all() if x.is_visible() and x.is_enabled()]
        return self.random.choice(there) if there else None

    def slide(self, cell: Any, _: int) -> bool:
        if handle := self.one(cell, ".noUi-handle"):
            handle.focus(timeout=2000)
            for _ in range(self.random.randint(1, 6)):
                self.page.keyboard.press(self.random.choice(["ArrowRight", "ArrowLeft", "PageUp", "PageDown"]))
        return bool(handle)

    def point(self, cell: Any, _: int) -> bool:
        if canvas := self.one(cell, "canvas.avid-touch"):
            box = canvas.bounding_box()
            place = {"x": self.random.uniform(10, box["width"] - 10), "y": self.random.uniform(10, box["height"] - 10)}
            canvas.click(position=place, timeout=2000)
        return bool(canvas)

    def lasso(self, cell: Any, _: int) -> bool:
        if canvas := self.one(cell, "canvas.avid-touch"):
            canvas.scroll_into_view_if_needed(timeout=2000)
            box = canvas.bounding_box()
            x, y, w, h = box["x"], box["y"], box["width"], box["height"]
            self.page.mouse.move(x + 0.2 * w, y + 0.2 * h)
            self.page.mouse.down()
            for a, b in ((0.8, 0.2), (0.8, 0.8), (0.2, 0.8)):
                self.page.mouse.move(x + a * w, y + b * h, steps=3)
            self.page.mouse.up()
        return bool(canvas)

    def choose(self, cell: Any, _: int) -> bool:
        if menu := self.one(cell, "select"):
            # Full speed would take both cores, and t-SNE a while.
            names = [name for name in menu.locator("option").all_text_contents() if name not in ("full speed", "t-SNE")]
            menu.select_option(self.random.choice(names), timeout=2000)
        return bool(menu)

    def press(self, cell: Any, _: int) -> bool:
        if button := self.one(cell, "button.jupyter-button:not(.avid-intake button), .avid-panel .avid-legend button"):
            button.click(timeout=2000)
        return bool(button)

    def play(self, cell: Any, _: int) -> bool:
        if still := self.one(cell, ".avid-start"):
            still.click(timeout=2000)
        return bool(still)

    def run_again(self, _: Any, number: int) -> bool:
        run_cell(self.page, number)
        return True


def main() -> int:
    """Use the panels, write results/soak.json."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pause", type=float, default=0.25, help="seconds between two acts")
    arguments = parser.parse_args()
    if CHROMIUM is None:
        parser.error("no chromium on the path: apt install chromium")
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright, contextlib.ExitStack() as stack:
        lab = stack.enter_context(running_lab(without(Path(folder), "@jupyterlab/cell-toolbar-extension")))
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        context = chromium.new_context(viewport={"width": 1360, "height": 900})
        page, errors = context.new_page(), list[str]()
        page.on("pageerror", lambda error: errors.append(str(error)))
        lab.write("soak", MAKE, *PANELS, TELL)
        open_notebook(page, lab, "soak")
        for cell in range(len(PANELS) + 1):
            trouble = run_cell(page, cell, 300_000)
            assert "Traceback" not in trouble, trouble
        hand, rows = Hand(page, arguments.seed), list[dict[str, float]]()
        inspector, begun = context.new_cdp_session(page), time.monotonic()
        inspector.send("Performance.enable")
        while True:
            rows.append(measure(page, inspector, time.monotonic() - begun, hand))
            print(rows[-1], flush=True)
            if time.monotonic() - begun >= 60 * arguments.minutes:
                break
            until = time.monotonic() + min(60.0, 20 * arguments.minutes)
            while time.monotonic() < until:
                hand.act()
                page.wait_for_timeout(1e3 * arguments.pause)
        made = {
            "command": f"python -m benchmarks.soak --minutes {arguments.minutes:g} --seed {arguments.seed}",
            "machine": machine(),
            "done": hand.done,
            "missed": hand.missed,
            "page errors": errors,
            "growth": growth(rows),
            "rows": rows,
        }
        FOLDER.mkdir(exist_ok=True)
        (FOLDER / "soak.json").write_text(json.dumps(made, indent=1) + "\n")
        print(json.dumps({name: made[name] for name in ("done", "missed", "page errors", "growth")}, indent=1))
        chromium.close()
    return 0


def without(home: Path, *plugins: str) -> Path:
    """Have JupyterLab leave plugins out."""
    config = home / "jupyter" / "labconfig" / "page_config.json"
    config.parent.mkdir(parents=True)
    config.write_text(json.dumps({"disabledExtensions": dict.fromkeys(plugins, True)}))
    return home


def measure(page: Any, inspector: Any, seconds: float, hand: Hand) -> dict[str, float]:
    """Memory of the kernel and of the page."""
    kernel = json.loads(ask(page, len(PANELS) + 1, TELL, 120_000).strip().splitlines()[-1])
    for _ in range(2):
        inspector.send("HeapProfiler.collectGarbage")
    metrics = {one["name"]: one["value"] for one in inspector.send("Performance.getMetrics")["metrics"]}
    return {
        "minute": round(seconds / 60, 2),
        "acts": sum(hand.done.values()),
        **kernel,
        "page heap, MB": round(metrics["JSHeapUsedSize"] / 2**20, 1),
        "page nodes": metrics["Nodes"],
        "page listeners": metrics["JSEventListeners"],
    }


def growth(rows: list[dict[str, float]]) -> dict[str, Any]:
    """For each number: its start, its end, and its slope per hour over the second half of the run."""
    half = rows[len(rows) // 2 :]
    return {
        name: {
            "first": rows[0][name],
            "last": rows[-1][name],
            "an hour": round(float(np.polyfit([x["minute"] / 60 for x in half], [x[name] for x in half], 1)[0]), 2)
            if len(half) > 2
            else None,
        }
        for name in rows[0]
        if name not in ("minute", "acts")
    }


if __name__ == "__main__":
    raise SystemExit(main())

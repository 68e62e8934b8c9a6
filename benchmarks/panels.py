"""Panels in the real JupyterLab and Chromium: time from pointer to picture, and the cost of watching a training.

A stamp, a short text that the panel sends right after each picture, identifies the picture. A move's time is that of
its event in the page; a picture's time is when its frame was handed to the screen. So the numbers include the whole
wait: slider, websocket, server, kernel, drawing, the way back, and the canvas.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from tests.browser import CHROMIUM, OPTIONS, open_notebook, run_cell, running_lab

MAKE = """
import json
from types import SimpleNamespace
import ipywidgets as widgets
import torch
from IPython.display import display
from avid_lab import foley, reference
from avid_lab.interactive import CalibrationExplorer, NCEMicroscope, PositiveBrowser
from avid_lab.memory import MemoryBank

if {trained}:
    clips, test = (foley.load("pocket", split=split, progress=False) for split in ("train", "test"))
    runs = {{name: reference.load(name) for name in ("avid", "cma")}}
    memory, snapshots = runs["cma"].memory, {{name: run.snapshots for name, run in runs.items()}}
else:
    clips = test = foley.load("smoke", progress=False)
    memory = snapshots = MemoryBank(len(clips), 128, generator=torch.Generator().manual_seed(0))

def stamped(panel, control, form):
    "Show a panel that says after each picture which value of a control it is of."
    stamp, draw = widgets.HTML(), panel.draw
    stamp.add_class("avid-stamp")
    def draw_and_say(quick):
        draw(quick)
        stamp.value = format(panel.controls[control].value, form)
    panel.draw = draw_and_say
    display(panel, stamp)
"""
# By name: what makes the panel, the control and its form on the page, the line to drag and the value's place there.
DRAGS = {
    "PositiveBrowser, K": ("stamped(PositiveBrowser(memory, clips), 'k', 'd')", "K"),
    "CalibrationExplorer, threshold": ("stamped(CalibrationExplorer(snapshots, test.labels), 'threshold', 'g')", ""),
    "CalibrationExplorer, temperature": (
        "stamped(CalibrationExplorer(snapshots, test.labels), 'temperature', '.3f')",
        "temperature",
    ),
    "NCEMicroscope, temperature": (
        "stamped(NCEMicroscope(memory, clips.labels, clips.classes), 'temperature', '.3g')",
        "temperature",
    ),
}
WATCH = """([cell, values]) => {
    const output = document.querySelectorAll('.jp-CodeCell')[cell].querySelector('.jp-Cell-outputArea')
    const stamp = output.querySelector('.avid-stamp'), value = output.querySelector(values)
    const log = window.dragged = {moves: [], pictures: []}
    let moved = 0
    window.addEventListener('pointermove', event => { moved = event.timeStamp }, true)
    const text = {childList: true, subtree: true, characterData: true}
    new MutationObserver(() => log.moves.push([moved, value.textContent.trim()])).observe(value, text)
    new MutationObserver(() => {
        const shown = stamp.textContent.trim()
        requestAnimationFrame(() => {
            const after = new MessageChannel()
            after.port1.onmessage = () => log.pictures.push([performance.now(), shown])
            after.port2.postMessage(0)  // the frame's own work, the canvas too, is done
        })
    }).observe(stamp, text)
}"""
TRAIN = """
import asyncio, json, threading, time
import ipywidgets as widgets
import torch
from IPython.display import display
from avid_lab import foley
from avid_lab.config import PROFILES
from avid_lab.interactive import LiveTraining
from avid_lab.training import avid_trainer
size = PROFILES[{profile!r}]
trainer = avid_trainer(foley.load(size.world, progress=False), size)
live, said = LiveTraining(trainer), widgets.HTML()
seconds, busy = {{"watched": [], "alone": []}}, {{"watched": [], "alone": []}}
said.add_class("avid-stamp")

def watched(steps):
    live.runner.pause_at = trainer.steps_done + steps
    live.runner.start().result()
    return lambda: live.runner.state != "running"

def alone(steps, threads=torch.get_num_threads()):
    def work():
        torch.set_num_threads(threads)  # a setting of each thread
        for _ in range(steps):
            trainer.step()
    thread = threading.Thread(target=work)
    thread.start()
    return lambda: not thread.is_alive()

async def turns(count, steps):
    await asyncio.sleep(2)  # the panel is on the page
    for turn in range(-1, count):  # the first is to warm up
        for way in (watched, alone) if turn % 2 else (alone, watched):
            begun, used = time.perf_counter(), time.process_time()
            done = way(steps)
            while not done():
                await asyncio.sleep(0.05)  # to ask more often would slow what it measures
            if turn >= 0:
                seconds[way.__name__].append((time.perf_counter() - begun) / steps)
                busy[way.__name__].append((time.process_time() - used) / steps)
            await asyncio.sleep(1)  # the last picture is on the page
    said.value = "done"

display(live, said)
turning = asyncio.get_running_loop().create_task(turns({turns}, {steps}))
"""


def run(quick: bool) -> dict[str, Any]:
    """Drag, then train; nothing without Chromium."""
    if CHROMIUM is None:
        print("  panels: skipped, no chromium on the path (apt install chromium)")
        return {}
    from playwright.sync_api import sync_playwright

    with (
        tempfile.TemporaryDirectory() as home,
        running_lab(Path(home)) as lab,
        sync_playwright() as playwright,
    ):
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        page = chromium.new_page(viewport={"width": 1360, "height": 900})
        made = {"drag to picture, ms": drags(page, lab, quick)}
        lab.shut_down_kernels()
        made["live view"] = live_view(page, lab, quick)
        lab.shut_down_kernels()
        chromium.close()
    return made


def drags(page: Any, lab: Any, quick: bool) -> dict[str, Any]:
    """Milliseconds from each move of the pointer to the first picture that shows it."""
    lab.write("drags", MAKE.format(trained=not quick), *(code for code, _ in DRAGS.values()))
    open_notebook(page, lab, "drags")
    run_cell(page, 0, 300_000)
    found = {}
    for cell, (name, (_, slider)) in enumerate(DRAGS.items(), start=1):
        trouble = run_cell(page, cell, 300_000)
        assert "Traceback" not in trouble, trouble
        output = page.locator(".jp-CodeCell").nth(cell)
        output.locator(".avid-panel canvas").first.wait_for()
        page.wait_for_timeout(2000)
        control = output.locator(".widget-slider", has_text=slider) if slider else output.locator("canvas.avid-touch")
        control.first.scroll_into_view_if_needed()
        values = ".avid-told" if not slider else None
        if slider:
            control.first.evaluate("node => node.querySelector('.widget-readout').classList.add('avid-dragged')")
        page.evaluate(WATCH, [cell, values or ".avid-dragged"])
        latencies = []
        for turn in range(2 if quick else 6):
            latencies += sweep(page, control.first, forward=turn % 2 == 0)
        found[name] = summary(latencies)
        print(f"  {name:36} {found[name]}", flush=True)
        page.evaluate("cell => document.querySelectorAll('.jp-CodeCell')[cell].scrollIntoView()", cell)
    return found


def sweep(page: Any, control: Any, *, forward: bool, moves: int = 60) -> list[float]:
    """Drag from one end to the other within a second or two, wait for the last picture, and match pictures to moves."""
    handle = control.locator(".noUi-handle")
    if handle.count():
        rail, held = (one.bounding_box() for one in (control.locator(".noUi-base"), handle))
        left, right = rail["x"] + 0.04 * rail["width"], rail["x"] + 0.9 * rail["width"]
        grip, y = held["x"] + held["width"] / 2, held["y"] + held["height"] / 2
    else:  # the line on a canvas, which crosses its first panel
        box = control.bounding_box()
        (left, y), (right, _) = (control.evaluate("(c, x) => c.place(0, x, 0.4)", x) for x in (-0.7, 0.9))
        left, right, y = left + box["x"], right + box["x"], y + box["y"]
        grip = left
    begin, end = (left, right) if forward else (right, left)
    page.mouse.move(grip, y)
    page.mouse.down()
    page.mouse.move(begin, y, steps=5)
    page.wait_for_timeout(1000)
    page.evaluate("() => { dragged.moves.length = dragged.pictures.length = 0 }")
    for i in range(1, moves + 1):
        page.mouse.move(begin + i / moves * (end - begin), y)
        page.wait_for_timeout(16)
    page.mouse.up()
    page.wait_for_timeout(1500)
    log = page.evaluate("() => dragged")
    return match(log["moves"], log["pictures"])


def match(moves: list[tuple[float, str]], pictures: list[tuple[float, str]]) -> list[float]:
    """Milliseconds from each move to the first picture of its value or of a later one."""
    order = {value: place for place, (_, value) in enumerate(moves)}
    shown = [(at, order[value]) for at, value in pictures if value in order]
    assert shown and shown[-1][1] == len(moves) - 1, f"the last of {len(moves)} moves was never drawn: {pictures[-3:]}"
    return [min(at for at, holds in shown if holds >= place) - moved for place, (moved, _) in enumerate(moves)]


def summary(latencies: list[float]) -> dict[str, float]:
    """The distribution in five numbers, and the count."""
    shares = {"p5": 5, "median": 50, "p95": 95, "p99": 99, "max": 100}
    return {name: round(float(np.percentile(latencies, share)), 1) for name, share in shares.items()} | {
        "moves": len(latencies)
    }


def live_view(page: Any, lab: Any, quick: bool) -> dict[str, Any]:
    """Seconds of a step in the panel and in a plain loop, each in a background thread of one kernel, by turns.

    The page is open all the time. While the plain loop runs, nothing is published to it.
    """
    size = {"profile": "smoke" if quick else "cpu", "turns": 2 if quick else 30, "steps": 2 if quick else 10}
    lab.write("live", TRAIN.format(**size), "print(json.dumps([seconds, busy, live.publishing_ms]))")
    open_notebook(page, lab, "live")
    run_cell(page, 0, 300_000)
    page.locator(".avid-panel").scroll_into_view_if_needed()
    load = os.getloadavg()[0]
    page.wait_for_function("() => document.querySelector('.avid-stamp')?.textContent === 'done'", timeout=600_000)
    seconds, busy, publishing = json.loads(run_cell(page, 1).strip().splitlines()[-1])
    slower, busier = (np.array(of["watched"]) / np.array(of["alone"]) - 1 for of in (seconds, busy))
    found = {
        "step alone, s": round(float(np.median(seconds["alone"])), 4),
        "step watched, s": round(float(np.median(seconds["watched"])), 4),
        "slower by, median over turns": round(float(np.median(slower)), 4),
        "slower by, quartiles": [round(float(x), 4) for x in np.percentile(slower, (25, 75))],
        "slower by, each turn": [round(float(x), 4) for x in slower],
        "kernel's CPU time more by, median over turns": round(float(np.median(busier)), 4),
        "kernel's CPU time more by, quartiles": [round(float(x), 4) for x in np.percentile(busier, (25, 75))],
        "publishing, ms": round(float(np.median(publishing)), 1),
        "load before": round(load, 2),
        **size,
    }
    print(f"  live view: {found}", flush=True)
    return found

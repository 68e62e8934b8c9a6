"""LiveTraining and LossLab in a real JupyterLab: buttons, sliders, keys and page reloads."""

import json
import re

import pytest
from browser import CHROMIUM, ask, keep_screenshot, open_notebook, run_all, run_cell

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the path: apt install chromium"),
]

MAKE = """
import dataclasses, json
import avid_lab as al
from avid_lab import foley
from avid_lab.training import avid_trainer
from avid_lab.interactive.live_training import LiveTraining
size = al.profile()
clips = foley.load(size.world, progress=False)
size = dataclasses.replace(size, train=dataclasses.replace(size.train, steps=4000))
trainer = avid_trainer(clips, size)
"""
TELL = """
import threading
print(json.dumps({
    "state": live.runner.state, "step": trainer.steps_done, "temperature": trainer.objective.temperature,
    "loss": trainer.objective.loss.__name__, "closed": live.closed, "changes": [str(c) for c in live.run.changes],
    "threads": sum(t.name == "avid-lab training" for t in threading.enumerate()),
    "publishing_ms": sorted(live.publishing_ms)[len(live.publishing_ms) // 2] if live.publishing_ms else 0,
}))
"""
# Of one of the plots of a canvas, columns times rows: shares that are not background, and that are coloured.
INK = """(canvas, [plot, columns, rows]) => {
    const wide = Math.floor(canvas.width / columns), high = Math.floor(canvas.height / rows)
    const left = plot % columns * wide, top = Math.floor(plot / columns) * high
    const {data} = canvas.getContext('2d').getImageData(left, top, wide, high)
    let drawn = 0, coloured = 0
    for (let i = 0; i < data.length; i += 4) {
        const [r, g, b, a] = data.slice(i, i + 4)
        drawn += a > 40
        coloured += a > 40 && Math.max(r, g, b) - Math.min(r, g, b) > 60
    }
    return [drawn / (data.length / 4), coloured / (data.length / 4)]
}"""


def button(panel, name):
    """A button by its text; its accessible name also has the icon's glyph."""
    return panel.locator("button").filter(has_text=re.compile(f"^{name}$"))


def told(page, cell=2):
    return json.loads(run_cell(page, cell))


def step_shown(page):
    text = page.locator(".avid-panel").first.get_by_role("status").last.text_content()
    return int(re.search(r"step ([\d,]+) of", text)[1].replace(",", ""))


def test_a_training_is_watched_paused_and_changed(page, lab):
    lab.write("live", MAKE, "live = LiveTraining(trainer)\nlive", TELL, "pass")
    open_notebook(page, lab, "live")
    run_all(page)
    panel = page.locator(".avid-panel")
    button(panel, "Start").wait_for(timeout=90_000)
    panel.scroll_into_view_if_needed()

    # Start, and see steps go by while cells can run: the kernel is free.
    button(panel, "Start").click()
    page.wait_for_function("() => /step [1-9]/.test(document.querySelector('.avid-panel').textContent)", timeout=60_000)
    assert told(page)["state"] == "running"

    # A slider, by keys: the kernel's value follows and the curve is marked.
    assert told(page)["changes"] == [], "showing a slider changes nothing"
    handle = panel.locator(".widget-slider", has_text="temperature").locator(".noUi-handle")
    handle.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.wait_for_timeout(1500)
    after = told(page)
    assert after["temperature"] == 0.2 and "temperature" in after["changes"][0] and after["state"] == "running"

    # A new loss, from another cell, while it runs; then one that cannot train.
    page.locator(".jp-CodeCell").nth(3).scroll_into_view_if_needed()
    ask(page, 3, "def mine(p, n, z):\n    return (n.logsumexp(1) - p.mean(1)).mean()\nlive.loss = mine")
    assert told(page)["loss"] == "mine"
    refusal = ask(page, 3, "live.loss = lambda p, n, z: p.detach().mean()")
    assert "LossRefused" in refusal and "no gradient" in refusal
    assert "no gradient" in panel.get_by_role("alert").first.text_content()
    assert told(page)["loss"] == "mine"
    ask(page, 3, "live.loss = mine")

    # Pause, step, and pictures that are there.
    button(panel, "Pause").click()
    button(panel, "Start").wait_for(timeout=30_000)
    paused = told(page)
    button(panel, "Step").click()
    page.wait_for_timeout(2500)
    stepped = told(page)
    assert (paused["state"], stepped["state"]) == ("paused", "paused") and stepped["step"] == paused["step"] + 1
    for number in range(4):
        drawn, coloured = panel.locator("canvas.avid-marks").evaluate(INK, [number, 2, 2])
        assert drawn > 0.02 and coloured > 0.001, (number, drawn, coloured)
    said = panel.locator("canvas.avid-touch").get_attribute("aria-label")  # for those who do not see it
    assert re.search(r"Loss and its terms: .*loss [\d.]+", said) and "auc video-audio: AUC 0." in said, said
    keep_screenshot(panel, "live-light")
    keep_screenshot(page, "live-page")

    # The page is loaded again: the panel finds its training.
    page.keyboard.press("Control+S")
    page.wait_for_timeout(1000)
    page.reload()
    panel = page.locator(".avid-panel")
    button(panel, "Start").wait_for(timeout=90_000)
    assert step_shown(page) == stepped["step"]
    assert panel.locator("canvas.avid-marks").evaluate(INK, [0, 2, 2])[1] > 0.001
    button(panel, "Start").click()
    button(panel, "Pause").wait_for(timeout=30_000)

    # The cell is run again: one panel, one thread, and the same training goes on.
    run_cell(page, 1)
    again = told(page)
    assert page.locator(".avid-panel").count() == 1
    assert again["state"] == "ready" and again["threads"] <= 1 and again["step"] >= stepped["step"]
    button(panel, "Start").click()
    button(panel, "Stop").click()
    page.wait_for_timeout(1500)
    assert told(page)["state"] == "stopped"
    assert page.errors == [] and complaints(page) == []


def test_two_runs_side_by_side(page, lab):
    making = "from avid_lab.interactive.loss_lab import LossLab\n"
    making += "fork = LossLab(trainer, b={'loss': 'no negatives'})\nfork"
    asking = "print(json.dumps([[s.trainer.steps_done for s in (fork.a, fork.b)], fork.b.loss.__name__, fork.state]))"
    lab.write("fork", MAKE, making, asking)
    open_notebook(page, lab, "fork")
    run_all(page)
    panel = page.locator(".avid-panel")
    button(panel, "Start").wait_for(timeout=90_000)
    button(panel, "Start").click()
    page.wait_for_function("() => /step [4-9]/.test(document.querySelector('.avid-panel').textContent)", timeout=60_000)
    panel.get_by_label("loss of B").select_option("triplet")
    page.wait_for_timeout(1500)
    button(panel, "Pause").click()
    button(panel, "Start").wait_for(timeout=30_000)
    steps, loss, _ = json.loads(run_cell(page, 2))
    assert steps[0] == steps[1] >= 4 and loss == "triplet"
    for number in range(6):
        assert panel.locator("canvas.avid-marks").evaluate(INK, [number, 2, 3])[0] > 0.01, number
    keep_screenshot(panel, "fork-light")
    assert page.errors == [] and complaints(page) == []


def test_two_notebooks_train_at_once(page, lab):
    for name in ("one", "two"):
        lab.write(name, MAKE, "live = LiveTraining(trainer)\nlive.speed.value = '5 steps/s'\nlive", TELL)
    other = page.context.new_page()
    other.on("pageerror", lambda error: page.errors.append(str(error)))
    both = {"one": page, "two": other}
    for name, tab in both.items():
        open_notebook(tab, lab, name)
        run_cell(tab, 0, 120_000)
        run_cell(tab, 1, 120_000)
        button(tab.locator(".avid-panel"), "Start").click()
    for tab in both.values():
        moved = "() => /step ([4-9]|\\d\\d)/.test(document.querySelector('.avid-panel').textContent)"
        tab.wait_for_function(moved, timeout=90_000)
    # One is paused: the other goes on, and each has its own kernel and thread.
    button(page.locator(".avid-panel"), "Pause").click()
    button(page.locator(".avid-panel"), "Start").wait_for(timeout=30_000)
    first, second = told(page), told(other)
    assert (first["state"], second["state"]) == ("paused", "running")
    assert first["threads"] == second["threads"] == 1
    page.wait_for_timeout(2000)
    assert told(page)["step"] == first["step"] and told(other)["step"] > second["step"]
    assert page.errors == [] and complaints(page) == []
    other.close()


def complaints(page):
    """The console's errors, apart from optional files that JupyterLab requests."""
    return [text for text in page.complaints if "Failed to load resource" not in text]


TIPS = """() => [...document.querySelectorAll('.avid-tip')]
    .filter(tip => tip.checkVisibility()).map(tip => tip.innerText)"""
TWICE = """
async def until(step):
    live.runner.pause_at = step
    live.start()
    await live.finished()
await until(8)
live.rewind()
await until(4)
marks = {mark.name: mark for mark in live.chart().plots[0].marks}
print(json.dumps([[float(marks[name].y[2]) for name in ("smooth loss", "earlier loss")], live.run.scores[3][1]]))
"""


def test_a_crosshair_shows_the_values_of_all_curves_at_a_step(page, lab):
    short = MAKE.replace("steps=4000", "steps=100")  # each is measured
    blocked = "import pathlib, time\nwhile not pathlib.Path('go').exists():\n    time.sleep(0.1)"
    lab.write("cross", short, "live = LiveTraining(trainer)\nlive", TWICE, blocked)
    open_notebook(page, lab, "cross")
    for cell in (0, 1):
        run_cell(page, cell, 120_000)
    losses, scores = json.loads(run_cell(page, 2))
    panel = page.locator(".avid-panel")
    touch = panel.locator("canvas.avid-touch")

    def point(step, plot=0):
        touch.scroll_into_view_if_needed()
        box, (x, _) = touch.bounding_box(), touch.evaluate("(c, [plot, x]) => c.place(plot, x, 0)", [plot, step])
        page.mouse.move(box["x"] + x, box["y"] + (plot // 2 + 0.45) * box["height"] / 2)
        return page.evaluate(TIPS)

    # While the kernel is busy, so nothing can come from there.
    page.locator(".jp-CodeCell").nth(3).locator(".cm-content").click()
    page.keyboard.press("Control+Enter")
    for plot in (0, 1):
        first, second = (tip.replace("\xa0", " ").split("\n") for tip in point(3, plot))
        assert first[0] == second[0] == "step 3"
        shown = re.fullmatch(r"loss ([\d.]+) \(earlier ([\d.]+)\)", first[1])
        assert [float(value) for value in shown.groups()] == pytest.approx(losses, rel=0.01)
        kinds = [line.rsplit(" (earlier", 1)[0].rsplit(" ", 2)[0] for line in second[1:]]
        assert sorted(kinds) == sorted([*scores, "chance"])
        audio = next(line for line in second if line.startswith("audio kNN"))
        assert float(audio.split()[2]) == pytest.approx(100 * scores["audio kNN"], rel=0.01)
    keep_screenshot(page, "crosshair")
    button(panel, "Start").focus()  # this may scroll the chart away from the pointer
    assert "loss – (earlier " in point(7)[0]
    (lab.folder / "go").touch()

    # The training goes on, and reaches the step.
    page.keyboard.press("Enter")
    page.wait_for_function(
        "() => /step 7\\nloss \\d/.test(document.querySelector('.avid-tip').innerText)", timeout=90_000
    )
    page.keyboard.press("Escape")
    assert page.evaluate(TIPS) == []
    assert len(point(2)) == 2 and "step" not in " ".join(point(0.5, 3))  # the map has clips
    point(2)
    page.mouse.move(0, 0)
    assert page.evaluate(TIPS) == []

    # By keys; without a crosshair arrows go to the points of the map.
    page.wait_for_function(
        "() => /done.*step 100/.test(document.querySelector('.avid-panel').textContent)", timeout=90_000
    )
    touch.focus()
    for key, said in (("Home", "step 0"), ("ArrowRight", "step 1"), ("Shift+ArrowRight", "step 11")):
        page.keyboard.press(key)
        assert [tip.split("\n")[0] for tip in page.evaluate(TIPS)] == [said] * 2
        assert said in panel.locator(".avid-told").first.text_content()
    page.keyboard.press("Escape")
    assert page.evaluate(TIPS) == []
    page.keyboard.press("ArrowRight")
    assert "clip" in " ".join(page.evaluate(TIPS))
    assert page.errors == [] and complaints(page) == []


def test_changes_of_the_lab_are_taken_back(page, lab):
    making = "from avid_lab.interactive.loss_lab import LossLab\nfork = LossLab(trainer)\nfork"
    asking = "print(json.dumps([fork.b.loss.__name__, fork.a.trainer.objective.temperature]))"
    lab.write("undo", MAKE, making, asking)
    open_notebook(page, lab, "undo")
    for cell in (0, 1):
        run_cell(page, cell, 120_000)
    panel = page.locator(".avid-panel")
    undo = button(panel, "Undo")
    assert undo.is_disabled() and undo.get_attribute("title").startswith("Nothing to undo")
    panel.get_by_label("loss of B").select_option("triplet")
    page.wait_for_function("() => document.querySelector('[title=\"B goes back to nce_loss\"]')", timeout=90_000)
    button(panel, "Start").click()
    button(panel, "settings").click()
    handle = panel.locator(".widget-slider", has_text="A: temperature").locator(".noUi-handle")
    handle.wait_for()
    handle.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function(
        "() => document.querySelector('[title=\"A goes back to temperature 0.07\"]')", timeout=90_000
    )
    assert json.loads(run_cell(page, 2)) == ["triplet", 0.1]
    undo.focus()
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelector('[title=\"B goes back to nce_loss\"]')", timeout=90_000)
    assert json.loads(run_cell(page, 2)) == ["triplet", 0.07]
    undo.click()
    page.wait_for_function("() => document.querySelector('[title^=\"Nothing to undo\"]')", timeout=90_000)
    assert undo.is_disabled() and json.loads(run_cell(page, 2)) == ["nce_loss", 0.07]
    assert panel.get_by_label("loss of B").evaluate("menu => menu.selectedOptions[0].text") == "NCE"
    keep_screenshot(panel, "undone")
    assert page.errors == [] and complaints(page) == []

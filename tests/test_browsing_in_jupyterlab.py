"""PositiveBrowser and RetrievalExplorer in a real JupyterLab, used with mouse and keyboard."""

import base64
import hashlib
import json
import struct
from pathlib import Path

import pytest
from browser import CHROMIUM, OPTIONS, ask, keep_screenshot, open_notebook, run_cell

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the path: apt install chromium"),
]

POSITIVES = """
import json, torch
from avid_lab import foley
from avid_lab.interactive.positives import PositiveBrowser
from avid_lab.memory import MemoryBank
clips = foley.load("smoke", progress=False)
panel = PositiveBrowser(MemoryBank(len(clips), 16, generator=torch.Generator().manual_seed(0)), clips)
panel
"""
TELL_POSITIVES = """
print(json.dumps({
    "state": panel.state, "clicked": panel.canvas.clicked, "pressed": str(clips.path(max(panel.canvas.clicked, 0))),
    "best": [str(clips.path(int(i))) for i in panel.choice.positives], "latencies_ms": panel.latencies_ms,
}))
"""
RETRIEVAL = """
import json, torch
from avid_lab import AudioVisualModel, foley
from avid_lab.interactive.retrieval import RetrievalExplorer
from avid_lab.memory import MemoryBank
from avid_lab.transforms import InputPipeline
torch.set_num_threads(1)
clips = foley.load("smoke", progress=False)
model = AudioVisualModel.preset("pocket", seed=0)
spaces = MemoryBank(len(clips), model.config.dim, generator=torch.Generator().manual_seed(0))
panel = RetrievalExplorer(spaces, clips, model, InputPipeline(clips.video, clips.audio))
panel
"""
TELL_RETRIEVAL = """
print(json.dumps({
    "state": panel.state, "pressed": str(panel.pair.items[-1].path), "own": panel.own and panel.own.name,
    "notice": panel.notice, "query": str(panel.pair.items[0].path),
}))
"""
LONG = """
import tempfile, torch
from pathlib import Path
from avid_lab import media
from avid_lab.interactive.shelf import Shelf, ShelfItem
folder = Path(tempfile.mkdtemp())
frames = torch.arange(64, dtype=torch.uint8)[None, :, None, None].mul(3).expand(3, -1, 90, 160).contiguous()
path = media.write_clip(folder / "long.mp4", media.Clip(frames, torch.rand(1, 32 * 8000) / 9, 2.0, 8000))
shelf = Shelf("clips")
shelf.show([ShelfItem(path, "long", window=(20.0, 22.0)), ShelfItem(folder / "gone.mp4", "gone")])
shelf
"""
LENGTH = """async video => {
    for (let i = 0; i < 100 && !(video.duration > 0); i++) await new Promise(done => setTimeout(done, 50))
    return video.duration
}"""
# What a player plays: how far it came, and which bytes.
PLAYED = """async video => {
    for (let i = 0; i < 200 && video.currentTime === 0; i++) await new Promise(done => setTimeout(done, 50))
    const bytes = await (await fetch(video.src)).arrayBuffer()
    const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes))
    const file = [...hash].map(byte => byte.toString(16).padStart(2, '0')).join('')
    return {at: video.currentTime, width: video.videoWidth, sound: video.webkitAudioDecodedByteCount, file}
}"""
PICTURED = """async image => {
    const bytes = new Uint8Array(await (await fetch(image.src)).arrayBuffer())
    return btoa(bytes.reduce((text, byte) => text + String.fromCharCode(byte), ''))
}"""
COLOURED = """canvas => {
    const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height)
    const seen = new Map()
    for (let i = 0; i < data.length; i += 4) if (data[i + 3] > 200) {
        const [r, g, b] = data.slice(i, i + 3)
        if (r > g + 70 && r > b + 70) seen.set('orange', 1 + (seen.get('orange') ?? 0))
    }
    return seen.get('orange') ?? 0
}"""


@pytest.fixture(scope="module")
def browser():
    """Chromium with a fake camera and microphone."""
    from playwright.sync_api import sync_playwright

    camera = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=[*OPTIONS, *camera])
        yield chromium
        chromium.close()


def sha256(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def drag_to(page, slider, share):
    """Drag a slider's handle to a share of its length, in many small steps."""
    handle, track = slider.locator(".noUi-handle").bounding_box(), slider.locator(".noUi-base").bounding_box()
    y = handle["y"] + handle["height"] / 2
    page.mouse.move(handle["x"] + handle["width"] / 2, y)
    page.mouse.down()
    page.mouse.move(track["x"] + share * track["width"], y, steps=20)
    page.mouse.up()


def press_point(canvas, number):
    """Scroll a point of a scatter plot into view and click it; running another cell has scrolled the page."""
    x, y = canvas.evaluate("(canvas, i) => canvas.spot(i)", number)
    canvas.click(position={"x": x, "y": y})


def upload(page, panel, file):
    """Press the upload button and choose a file; the button creates its input outside the page."""
    with page.expect_file_chooser() as chosen:
        panel.get_by_role("button", name="your clip", exact=True).click()
    chosen.value.set_files(file)


def test_positives_follow_k_and_a_pressed_point_plays(page, lab):
    lab.write("positives", POSITIVES, TELL_POSITIVES)
    open_notebook(page, lab, "positives")
    run_cell(page, 0, 120_000)
    panel = page.locator(".avid-panel").first
    panel.scroll_into_view_if_needed()
    stills = panel.locator(".avid-shelf .avid-start")
    page.wait_for_function("() => document.querySelectorAll('.avid-shelf .avid-start').length >= 7", timeout=60_000)
    canvas = panel.locator("canvas.avid-touch")
    before = panel.locator("canvas.avid-marks").evaluate(COLOURED)

    # Dragging K: the kernel's state, the words and the picture follow.
    drag_to(page, panel.locator(".widget-slider", has_text="K"), 0.1)
    panel.get_by_text("among 7", exact=False).first.wait_for(timeout=30_000)
    told = json.loads(run_cell(page, 1))
    assert "k=7" in told["state"] and len(told["best"]) == 7 and told["latencies_ms"]
    assert 0 < panel.locator("canvas.avid-marks").evaluate(COLOURED) < before  # fewer wrong ones

    # Pressing a point: the clip that the kernel calls pressed is what plays.
    press_point(canvas, 30)
    pressed = panel.locator(".avid-shelf").first.locator("video")
    pressed.wait_for(timeout=30_000)
    played = pressed.evaluate(PLAYED)
    told = json.loads(run_cell(page, 1))
    assert told["clicked"] == 30 and played["file"] == sha256(told["pressed"])
    assert played["at"] > 0 and played["width"] > 0 and played["sound"] > 0
    keep_screenshot(page, "positives")

    # By keyboard: Enter on the first positive plays it, and the other falls silent.
    stills.nth(1 if stills.nth(1).is_visible() else 2).scroll_into_view_if_needed()
    first = panel.locator(".avid-shelf").nth(1).locator(".avid-start").first
    first.focus()
    page.keyboard.press("Enter")
    best = panel.locator(".avid-shelf").nth(1).locator("video")
    best.wait_for(timeout=30_000)
    played = best.evaluate(PLAYED)
    assert played["at"] > 0 and played["file"] == sha256(told["best"][0])
    assert pressed.evaluate("video => video.paused")

    # Another rule, and a run of the cell again: one panel, not two.
    panel.get_by_label("agreement").select_option("video")
    panel.get_by_text("by video", exact=False).wait_for(timeout=30_000)
    run_cell(page, 0, 120_000)
    page.wait_for_function("() => document.querySelectorAll('.avid-panel').length === 1", timeout=30_000)
    assert page.errors == [] and page.complaints == []


def test_results_play_and_clips_of_ones_own_ask(page, lab):
    lab.write("retrieval", RETRIEVAL, TELL_RETRIEVAL)
    open_notebook(page, lab, "retrieval")
    run_cell(page, 0, 120_000)
    panel = page.locator(".avid-panel").first
    panel.scroll_into_view_if_needed()
    panel.get_by_text("median rank").wait_for(timeout=60_000)
    press_point(panel.locator("canvas.avid-touch"), 3)
    pressed = panel.locator(".avid-shelf").first.locator("video")
    pressed.wait_for(timeout=30_000)
    told = json.loads(run_cell(page, 1))
    played = pressed.evaluate(PLAYED)
    assert played["at"] > 0 and played["file"] == sha256(told["pressed"])
    ear = panel.locator(".avid-shelf").first.locator(".avid-ear")  # its spectrogram, with a line at what sounds
    assert ear.locator("img").evaluate("image => image.naturalWidth") > 50
    line = ear.locator(".avid-now").evaluate("line => parseFloat(line.style.left)")
    assert 0 < line <= 100
    keep_screenshot(page, "retrieval")

    # The sounds swapped: another file, whose picture is the same.
    panel.get_by_role("button", name="swap the sounds").click()
    panel.get_by_text("with the sound of the other").first.wait_for(timeout=30_000)
    pressed.wait_for(timeout=30_000)  # what played goes on playing
    assert pressed.evaluate(PLAYED)["file"] != played["file"]
    keep_screenshot(page, "retrieval-swapped")
    panel.get_by_role("button", name="swap the sounds").click()

    # A file of one's own, first one that is none.
    upload(page, panel, {"name": "notes.mp4", "mimeType": "video/mp4", "buffer": b"no video" * 50})
    panel.get_by_role("alert").get_by_text("notes.mp4").wait_for(timeout=30_000)
    upload(page, panel, told["query"])
    panel.get_by_text("your clip", exact=True).wait_for(timeout=60_000)
    told = json.loads(run_cell(page, 1))
    assert told["own"] == Path(told["query"]).name or told["own"].endswith(".mp4")
    assert "alert" not in told["notice"]

    # A recording.
    panel.get_by_text("record", exact=False).first.click()
    panel.get_by_text("asks: recording", exact=False).wait_for(timeout=60_000)
    told = json.loads(run_cell(page, 1))
    assert told["own"].startswith("recording") and told["notice"] == ""
    keep_screenshot(page, "retrieval-recorded")

    # Where a page may not record, it says so and the rest works.
    page.evaluate("() => Object.defineProperty(navigator, 'mediaDevices', {value: undefined})")
    run_cell(page, 0, 120_000)
    page.get_by_text("No recording here", exact=False).wait_for(timeout=30_000)
    assert page.locator(".avid-panel").count() == 1
    assert page.errors == [] and page.complaints == []


def test_the_rest_of_a_long_file_is_a_click_away(page, lab):
    lab.write("long", LONG)
    open_notebook(page, lab, "long")
    run_cell(page, 0, 60_000)
    shelf = page.locator(".avid-shelf")
    shelf.locator(".avid-start").first.click()
    video = shelf.locator("video")
    video.wait_for(timeout=30_000)
    assert video.evaluate(LENGTH) == pytest.approx(6, abs=0.3)
    shelf.get_by_text("20.0–22.0 s of 32.0 s, plays 18.0–24.0 s").wait_for(timeout=10_000)
    keep_screenshot(page, "shelf-window")
    shelf.get_by_text("whole file, 32.0 s").click()
    shelf.get_by_text("from 0:00 of 32.0 s").wait_for(timeout=30_000)
    assert video.evaluate(LENGTH) == pytest.approx(15, abs=0.3)
    video.evaluate("video => { video.currentTime = 14.5; return video.play() }")  # the next piece follows by itself
    shelf.get_by_text("from 0:15 of 32.0 s").wait_for(timeout=30_000)
    along = shelf.get_by_role("slider", name="place in the file")
    along.evaluate("input => { input.value = 5; input.dispatchEvent(new Event('change')) }")
    shelf.get_by_text("from 0:05 of 32.0 s").wait_for(timeout=30_000)
    keep_screenshot(page, "shelf-whole")
    events = "['retire', 'play', 'timeupdate', 'ended']"  # the clip goes; its last events come late
    video.evaluate(f"video => {events}.forEach(type => video.dispatchEvent(new Event(type)))")
    assert shelf.get_by_text("no such file").count() == 1  # the clip that is gone says so in its place
    assert page.errors == [] and page.complaints == []


def test_the_picture_next_to_the_pointer_is_of_the_clip_under_it(page, lab):
    lab.write("stills", RETRIEVAL, "pass")
    open_notebook(page, lab, "stills")
    run_cell(page, 0, 120_000)
    panel = page.locator(".avid-panel").first
    canvas, picture = panel.locator("canvas.avid-touch"), panel.locator(".avid-tip img")
    panel.get_by_text("median rank").wait_for(timeout=60_000)

    def seen(place):
        """The picture in the page, and the expected one: of the clip at this place for the current query."""
        x, y = canvas.evaluate("(canvas, i) => canvas.spot(i)", place)
        canvas.hover(position={"x": x, "y": y})
        picture.wait_for(timeout=30_000)
        page.wait_for_timeout(500)
        shown = base64.b64decode(picture.evaluate(PICTURED))
        code = "import hashlib\nfrom avid_lab.interactive.players import still\n"
        code += f"i = int(panel.found.order[{place}]); print(i, hashlib.sha256(still(clips.path(i))).hexdigest())"
        clip, wanted = ask(page, 1, code).split()
        return clip, hashlib.sha256(shown).hexdigest(), wanted

    first, shown, wanted = seen(3)
    assert shown == wanted
    ask(page, 1, "panel.controls['query'].value = 9")
    page.wait_for_timeout(1500)
    second, shown, wanted = seen(3)
    assert second != first and shown == wanted
    assert page.errors == [] and page.complaints == []


def test_a_large_file_arrives_whole_and_one_above_the_limit_is_refused_in_the_page(page, lab):
    lab.write("large", RETRIEVAL, TELL_RETRIEVAL, "pass")
    open_notebook(page, lab, "large")
    run_cell(page, 0, 120_000)
    panel = page.locator(".avid-panel").first
    panel.get_by_text("median rank").wait_for(timeout=60_000)
    small = Path(json.loads(run_cell(page, 1))["query"]).read_bytes()
    # 12 MB, more than Jupyter's server takes in one message: a real film and a box that players skip.
    large = small + struct.pack(">I4s", 12_000_000, b"free") + bytes(12_000_000 - 8)
    upload(page, panel, {"name": "large.mp4", "mimeType": "video/mp4", "buffer": large})
    panel.get_by_text("asks: large.mp4").wait_for(timeout=60_000)
    told = json.loads(run_cell(page, 1))
    assert told["own"] == "large.mp4" and told["notice"] == ""
    ask(page, 2, "panel.intake._most = 5_000_000")
    upload(page, panel, {"name": "larger.mp4", "mimeType": "video/mp4", "buffer": large})
    panel.get_by_text("larger.mp4 has 12 MB; at most 5 MB", exact=False).wait_for(timeout=30_000)
    assert json.loads(run_cell(page, 1))["own"] == "large.mp4"
    keep_screenshot(panel, "refused")
    assert page.errors == [] and page.complaints == []


def test_where_the_setting_is_not_in_force_the_panel_says_so_and_works(page, lab):
    lab.set("@jupyterlab/apputils-extension:kernels-settings", {"commsOverSubshells": "perCommTarget"})
    try:
        lab.write("subshells", POSITIVES, TELL_POSITIVES)
        open_notebook(page, lab, "subshells")
        run_cell(page, 0, 120_000)
        panel = page.locator(".avid-panel").first
        page.wait_for_function("() => document.querySelectorAll('.avid-shelf .avid-start').length >= 7", timeout=60_000)
        drag_to(page, panel.locator(".widget-slider", has_text="K"), 0.1)
        panel.get_by_text("among 7", exact=False).first.wait_for(timeout=30_000)
        notice = panel.get_by_role("status").filter(has_text="avid-lab doctor")
        notice.wait_for(timeout=30_000)
        press_point(panel.locator("canvas.avid-touch"), 30)
        pressed = panel.locator(".avid-shelf").first.locator("video")
        pressed.wait_for(timeout=30_000)
        played, told = pressed.evaluate(PLAYED), json.loads(run_cell(page, 1))
        assert told["clicked"] == 30 and played["at"] > 0 and played["file"] == sha256(told["pressed"])
        assert "k=7" in told["state"] and len(told["best"]) == 7
        keep_screenshot(panel, "subshells")
    finally:
        lab.set("@jupyterlab/apputils-extension:kernels-settings", {})
    assert page.errors == [] and page.complaints == []

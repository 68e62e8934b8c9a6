"""The course for a new user: the real JupyterLab in a real browser, with every cell of every notebook run."""

from pathlib import Path

import pytest
from browser import CHROMIUM, TOKEN, keep_screenshots, open_notebook, prompts, run_all

from avid_lab.course import publish

ROOT = Path(__file__).parents[1]
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
PLAY = """async video => {
    video.muted = true
    const late = new Promise((_, fail) => setTimeout(() => fail(new Error('does not start to play')), 20000))
    await Promise.race([video.play(), late])
    for (let i = 0; i < 100 && video.currentTime === 0; i++) await new Promise(done => setTimeout(done, 50))
    video.pause()
    const {readyState, currentTime, videoWidth, webkitAudioDecodedByteCount} = video
    return {ready: readyState, at: currentTime, width: videoWidth, sound: webkitAudioDecodedByteCount}
}"""
BROKEN = """images => images.filter(image => image.offsetParent && !(image.complete && image.naturalWidth > 0))
    .map(image => image.outerHTML.slice(0, 200))"""


@pytest.fixture(scope="module", autouse=True)
def notebooks(lab):
    """Copies of the notebooks without outputs."""
    for source in SOURCES:
        publish.build(source, lab.folder, execute=False)
    (lab.folder.parent / "data").symlink_to(ROOT / "data")


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_every_cell_runs_and_what_it_shows_can_be_seen_and_heard(page, lab, source):
    open_notebook(page, lab, source.stem)
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
    assert outputs.locator("img").evaluate_all(BROKEN) == []
    videos = outputs.locator("video[src], video:has(source)")  # not the empty frame that waits for a recording
    if any(player in source.read_text(encoding="utf-8") for player in ("gallery(", "player(", "lab.ask(")):
        assert videos.count() > 0
    for number in range(videos.count()):
        played = videos.nth(number).evaluate(PLAY)
        part = videos.nth(number).get_attribute("data-part")  # a game shows pictures and sounds apart
        assert played["ready"] >= 2 and played["at"] > 0, (number, played)
        assert played["width"] > 0 or part == "sound", f"video {number} shows nothing"
        assert played["sound"] > 0 or part == "picture", f"video {number} is mute"
    assert page.errors == []


def test_the_kernel_and_the_page_are_set_up_for_the_course(page, lab):
    """Idle threads sleep in the kernel, and JupyterLab sends widget messages between cells."""
    open_notebook(page, lab, "00_start_here")
    plugin = "@jupyterlab/apputils-extension:kernels-settings"
    setting = page.evaluate(
        "async url => (await fetch(url)).json()", f"{lab.address}/lab/api/settings/{plugin}?token={TOKEN}"
    )
    assert setting["schema"]["properties"]["commsOverSubshells"]["default"] == "disabled"
    run_all(page)
    page.get_by_text("idle threads sleep").wait_for(timeout=90_000)

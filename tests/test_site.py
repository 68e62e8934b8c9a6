"""The web pages: built by Sphinx, complete, and alive without a network, a server or a kernel."""

import math
import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest
import torch
from browser import CHROMIUM, keep_screenshot
from matplotlib.figure import Figure
from nbformat import write
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from avid_lab import reference
from avid_lab.course import explore, frames, publish, showcase, site
from avid_lab.metrics import mean_and_spread
from avid_lab.mining import mine_positives

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks" / "source").glob("[0-9]*.py"))


def test_the_readme_shows_the_scores_of_the_reference_runs():
    text = (ROOT / "README.md").read_text()
    assert showcase.MARKS.search(text)
    results = reference.results()
    assert showcase.table(results) in text, "run `make pictures`"
    right = [100 * run["scores"]["a2a_precision_at_10"] for run in results["runs"] if run["variant"] == "cma"]
    mean, spread = mean_and_spread(right)
    assert re.search(rf"\| CMA, consensus: [\d,]+ steps \|.*\| {mean:.1f} ± {spread:.1f} \|\n", text)


def test_what_the_page_of_findings_says_holds():
    results = reference.results()

    def mean(way, score):
        found = [run["scores"][score] for run in results["runs"] if run["variant"] == way]
        return sum(found) / len(found)

    def verdict(better, worse, score):
        return reference.difference(results, better, worse, score)[2]

    assert all(verdict("cross", other, "video_probe") == "appears" for other in ("self", "joint"))
    assert all(mean(way, "video_block1") >= mean(way, "video_block4") for way in ("cross", "joint", "self"))
    assert all(verdict("cma", "avid", f"{pair}_precision_at_10") == "appears" for pair in ("v2a", "a2v", "v2v", "a2a"))
    assert verdict("cma", "avid", "v2v_auc") == "appears"
    starts = ("cma-early", "long"), ("cma", "avid")
    probes = [verdict(*pair, f"{sense}_probe") for pair in starts for sense in ("video", "audio")]
    assert sorted(probes) == ["appears", "open", "open", "open"]
    assert abs(mean("long", "positives_consensus") - mean("long", "positives_video")) < 0.02
    assert mean("long", "positives_audio") < mean("long", "positives_consensus") - 0.02


def test_the_film_of_the_readme_is_small_and_moves():
    from PIL import Image

    path = ROOT / "docs" / "images" / "film.webp"
    with Image.open(path) as film:
        assert film.n_frames > 30 and path.stat().st_size < 1_500_000


def test_a_missing_builder_is_named_with_its_extra(tmp_path):
    code = (
        "import sys; sys.modules['sphinx'] = None\n"
        "from avid_lab import cli; sys.exit(cli.main(['publish', '--out', sys.argv[1], '--site-only']))"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True)
    assert done.returncode != 0 and "not installed: sphinx" in done.stderr and "avid-lab[docs]" in done.stderr


def test_a_site_needs_notebooks(tmp_path):
    with pytest.raises(ValueError, match="needs notebooks"):
        site.build_site([], tmp_path)


def test_quantised_embeddings_keep_their_similarities():
    rows = torch.nn.functional.normalize(torch.randn(64, 128, generator=torch.Generator().manual_seed(0)), dim=1)
    small = torch.nn.functional.normalize(torch.from_numpy(explore.quantised(rows.numpy())).float(), dim=1)
    assert (small @ small.T - rows @ rows.T).abs().max() < 0.01


# The whole site, once: the notebooks without outputs, but one with a slider, and runs of a few clips.

CLASSES_APART = 0.35


@pytest.fixture(scope="module")
def clips(smoke_world):
    return smoke_world


@pytest.fixture(scope="module")
def runs(clips):
    """A run that learns: rows come closer to a direction of their class."""
    generator = torch.Generator().manual_seed(0)

    common = torch.randn(len(clips.classes), 128, generator=generator)  # of a class's pictures and sounds

    def rows(share):
        own = torch.randn(len(clips), 128, generator=generator)
        return torch.nn.functional.normalize(own + share * common[clips.labels], dim=1)

    moments = [reference.Snapshot(step, rows(share), rows(share)) for step, share in ((0, 0.0), (100, CLASSES_APART))]
    return {"first": moments[:1], "second": moments}


@pytest.fixture(scope="module")
def pages(clips, runs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    for source in NOTEBOOKS:
        publish.build(source, folder / "notebooks", execute=False)
    opening = new_markdown_cell("# 02 · Contrast\n\n* say what $\\mathbf{v} / Z$ is, and `$code$`\n\n$$\\frac{1}{2}$$")
    cells, language = (
        [opening, new_code_cell("\n".join(["frames"] * 20))],
        {"name": "python", "pygments_lexer": "ipython3"},
    )
    notebook = new_notebook(cells=cells, metadata={"language_info": language})
    shown = frames(lambda value: Figure(figsize=(2, 1)).subplots(), ["cold", "warm"], label="temperature", start=0)
    notebook.cells[1].outputs = [new_output("display_data", {"text/html": shown.markup})]
    write(notebook, folder / "notebooks" / "02_contrast.ipynb")
    site.build_site(sorted((folder / "notebooks").glob("*.ipynb")), folder / "site", strict=True)
    explore.write_explorer(folder / "site" / "_static" / "explore", clips, runs)
    return folder / "site"


@pytest.fixture
def opened(browser):
    """A page that collects its errors and what it asks of the network."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.errors, page.asked = [], []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.on("request", lambda request: page.asked.append(request.url))
    yield page
    assert not page.errors
    assert not [url for url in page.asked if url.startswith("http")]
    context.close()


in_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the path: apt install chromium")


@pytest.mark.slow
def test_pages_have_formulas_folded_code_and_docstrings(pages):
    text = (pages / "notebooks" / "02_contrast.html").read_text()
    assert "<mfrac>" in text and "&#x1D42F;" in text and "$code$" in text  # a bold v
    assert "Show 20 lines of code" in text and "Copy" in (pages / "_static" / "copybutton.js").read_text()
    scripts = re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(http[^"]+)', text)
    assert not scripts
    assert "noise-contrastive" in (pages / "docs" / "api" / "objectives.html").read_text().lower()
    assert (pages / "docs" / "api" / "objectives.html").read_text().count('id="avid_lab.losses.nce_loss"') == 1
    assert (pages / "data" / "reference" / "README.html").is_file()
    objectives = (pages / "docs" / "api" / "objectives.html").read_text()
    assert (
        len(re.findall(r"<pre>.*?(?:AVID|QueueAVID|InBatch).*?</pre>", objectives, re.DOTALL)) > 1
    )  # tables in docstrings
    assert re.search(r"<strong>dim</strong> – D\.", objectives) and "<ol" not in objectives


@pytest.mark.slow
def test_links_between_pages_lead_somewhere(pages):
    texts = {page: page.read_text() for page in pages.rglob("*.html") if "_static" not in page.parts}
    for page, text in texts.items():
        for link in re.findall(
            r'href="(?!https?:|data:|mailto:)([^"]+)"', re.sub(r"<script.*?</script>", "", text, flags=re.S)
        ):
            path, _, place = unescape(link).partition("#")
            target = (page.parent / path.partition("?")[0]).resolve() if path else page
            assert target.exists(), (page.name, link)
            assert not place or target not in texts or f'id="{place}"' in texts[target], (page.name, link)


@pytest.mark.slow
def test_no_page_shows_the_source_of_a_formula(pages):
    for page in pages.rglob("*.html"):
        text = re.sub(r"<(script|style|pre|code)\b.*?</\1>", "", page.read_text(), flags=re.DOTALL)
        text = unescape(re.sub(r"<[^>]+>", "", text))
        assert (found := re.search(r".{0,40}\\(?:math|frac|text|bar|sum|big|left|[{}]).{0,40}", text)) is None, (
            page,
            found,
        )


@pytest.mark.slow
@in_a_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_notebook_reads_and_slides_without_a_kernel(opened, pages, scheme):
    opened.emulate_media(color_scheme=scheme)
    opened.goto((pages / "index.html").as_uri())
    opened.get_by_role("link", name="Contrast from scratch").first.click()
    ink, paper = opened.locator("body").evaluate(
        "b => [getComputedStyle(b).color, getComputedStyle(b).backgroundColor]"
    )
    light = {name: sum(map(int, re.findall(r"\d+", colour)[:3])) for name, colour in (("ink", ink), ("paper", paper))}
    assert abs(light["ink"] - light["paper"]) > 450 and (light["paper"] > light["ink"]) == (scheme == "light")
    pictures = opened.locator("figure img")
    assert pictures.nth(0).is_visible() and not pictures.nth(1).is_visible()
    opened.get_by_label("temperature").fill("1")
    assert pictures.nth(1).is_visible() and not pictures.nth(0).is_visible()
    assert opened.locator("figure output").inner_text() == "warm"
    code = opened.locator("details .highlight")
    assert not code.is_visible()
    opened.get_by_text("Show 20 lines of code").click()
    assert code.is_visible()


@pytest.mark.slow
@in_a_browser
def test_pages_from_disk_are_searched(opened, pages):
    opened.goto((pages / "search.html").as_uri() + "?q=agreement")
    opened.wait_for_function("document.querySelectorAll('#search-results li').length > 3")


@pytest.mark.slow
@in_a_browser
@pytest.mark.parametrize("width", [1440, 1280, 390])
def test_no_page_is_wider_than_the_screen(opened, pages, width):
    opened.set_viewport_size({"width": width, "height": 900})
    for name in ("index", "docs/explore", "docs/speed", "notebooks/02_contrast", "docs/api/objectives"):
        opened.goto((pages / f"{name}.html").as_uri())
        assert opened.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, name
        keep_screenshot(opened, f"site-{name.replace('/', '-')}-{width}")


@pytest.mark.slow
@in_a_browser
def test_positives_map_and_calibration_are_computed_in_the_page(opened, pages, clips, runs):
    opened.goto((pages / "docs" / "explore.html").as_uri() + "#query=5&k=7&run=1")
    opened.wait_for_function("window.avidExplore?.shown.calibration")
    sides = [explore.quantised(getattr(runs["second"][-1], side).numpy()) for side in ("video", "audio")]
    memory = [torch.nn.functional.normalize(torch.from_numpy(side).float(), dim=1) for side in sides]
    for rule in ("consensus", "union", "video", "audio"):
        opened.get_by_label("rule").select_option(rule)
        opened.wait_for_function(f"window.avidExplore.state.rule === '{rule}'")
        opened.wait_for_timeout(100)
        shown = opened.evaluate("window.avidExplore.shown.positives")
        assert shown == mine_positives(*memory, k=7, agreement=rule).index[5].tolist()
    same = clips.labels[torch.tensor(shown)] == clips.labels[5]
    assert opened.evaluate("window.avidExplore.shown.precision.audio") == pytest.approx(same.float().mean().item())

    # A press in the plane plays the clip beside the query.
    plane = opened.locator("#avid-plane .avid-touch")
    plane.scroll_into_view_if_needed()
    x, y = plane.evaluate("(canvas, i) => canvas.spot(i)", shown[0])
    plane.click(position={"x": x, "y": y})
    opened.wait_for_function("window.avidExplore.state.pressed >= 0")
    clip = opened.locator("#avid-query video").nth(1)
    clip.evaluate("async video => { video.muted = true; await video.play() }")
    assert clip.evaluate("video => video.videoWidth > 0 && video.duration > 1")

    # The map has every snapshot of the run that was followed.
    opened.get_by_label("snapshot").fill("0")
    opened.wait_for_function("window.avidExplore.shown.step === 0")

    # A run of one snapshot has no film; its button changes to the run that was followed.
    opened.get_by_label("Network").select_option("0")
    opened.wait_for_function("!document.querySelector('[name=moment]').checkVisibility()")
    opened.get_by_role("button", name="play the training of second").click()
    opened.wait_for_function("window.avidExplore.state.run === 1 && window.avidExplore.shown.step === 100")

    # Where similarity says nothing, no threshold fits: the page says so, and predicts nearly the rate of all pairs.
    blind, curve = opened.evaluate("""() => {
        const {fit, pairs, spaces} = window.avidExplore, found = pairs(0, spaces[2])
        return [fit(found), found.rate]
    }""")
    assert blind["poor"] and 1 / (1 + math.exp(1 / blind["temperature"])) == pytest.approx(curve, rel=0.5)

    # The line is dragged by keys, and a fit lowers the error of calibration.
    before = opened.evaluate("window.avidExplore.shown.calibration")
    touch = opened.locator("#avid-pairs .avid-touch")
    touch.focus()
    touch.press("Shift+ArrowLeft")
    opened.wait_for_function("Math.abs(window.avidExplore.state.threshold - 0.4) < 1e-6")
    opened.get_by_role("button", name="fit", exact=True).click()
    opened.wait_for_function("window.avidExplore.state.threshold !== 0.4")
    opened.wait_for_timeout(100)
    after = opened.evaluate("window.avidExplore.shown.calibration")
    assert after[-1] < before[-1]
    assert "threshold=" in opened.url and "k=7" in opened.url


@pytest.mark.slow
@in_a_browser
def test_the_living_page_takes_any_address_and_any_number(opened, pages, clips):
    nonsense = "#query=3.6&k=2.4&run=1&moment=99&pressed=99999&rule=none&temperature=x&space=-1"
    opened.goto((pages / "docs" / "explore.html").as_uri() + nonsense)
    opened.wait_for_function("window.avidExplore?.shown.calibration")
    state = opened.evaluate("window.avidExplore.state")
    assert (state["query"], state["k"], state["rule"], state["space"]) == (4, 2, "consensus", 0)
    assert state["pressed"] == len(clips) - 1 and state["temperature"] == 0.1
    query = opened.get_by_role("spinbutton", name="query")
    asked = opened.get_by_role("button", name="ask with the pressed clip")
    assert asked.is_enabled()
    for typed, used in (("-5", 0), ("100000", len(clips) - 1), ("", 0)):
        query.fill(typed)
        query.press("Tab")
        assert query.input_value() == str(used) and opened.evaluate("window.avidExplore.state.query") == used
    opened.wait_for_function("document.querySelector('#avid-ask').disabled")  # nothing is pressed

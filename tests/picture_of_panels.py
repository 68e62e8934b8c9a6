"""The README's picture of four panels, as a real JupyterLab shows them (``make pictures``; needs Chromium).

python tests/picture_of_panels.py docs/images/panels.webp
"""

import sys
import tempfile
from io import BytesIO
from pathlib import Path

from browser import CHROMIUM, OPTIONS, open_notebook, run_cell, running_lab
from PIL import Image
from playwright.sync_api import sync_playwright

SETUP = """
from avid_lab import foley, reference
from avid_lab.interactive import CalibrationExplorer, EmbeddingMap, Game, PositiveBrowser
cross, cma = reference.load("cross"), reference.load("cma")
train, test = (foley.load("pocket", split=split, progress=False) for split in ("train", "test"))
"""
PANELS = (
    "Game(test, {'untrained': cross.snapshots[0], 'trained': cross.snapshots[-1]}, state='answers=A-----')",
    "PositiveBrowser(cma.memory, train)",
    "EmbeddingMap(cross.snapshots, test.labels, test.classes, state='clip=40&forces=true&temperature=0.02')",
    "CalibrationExplorer({'AVID': cross.snapshots, 'CMA': cma.snapshots}, test.labels)",
)
COLUMNS = 2
GAP, WIDTH = 24, 1400  # pixels between panels, and of the picture


def photographs() -> list[Image.Image]:
    """Each panel, after it came to rest."""
    with (
        tempfile.TemporaryDirectory() as home,
        running_lab(Path(home) / "home") as lab,
        sync_playwright() as playwright,
    ):
        lab.write("panels", SETUP, *PANELS)
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        page = chromium.new_page(viewport={"width": 1290, "height": 1100}, device_scale_factor=1.5)
        open_notebook(page, lab, "panels")
        run_cell(page, 0, 300_000)
        taken = []
        for number in range(1, 1 + len(PANELS)):
            run_cell(page, number, 120_000)
            panel = page.locator(".jp-CodeCell").nth(number).locator(".avid-panel").first
            panel.scroll_into_view_if_needed()
            page.mouse.move(0, 0)
            page.wait_for_timeout(5000)
            taken.append(Image.open(BytesIO(panel.screenshot())).convert("RGB"))
        chromium.close()
    return taken


def sheet(pictures: list[Image.Image]) -> Image.Image:
    """The pictures in columns, from the top of each to its bottom."""
    each = len(pictures) // COLUMNS
    columns = [pictures[i : i + each] for i in range(0, len(pictures), each)]
    wide = max(picture.width for picture in pictures)
    high = max(sum(picture.height + GAP for picture in column) for column in columns)
    page = Image.new("RGB", (COLUMNS * wide + (COLUMNS + 1) * GAP, high + GAP), "white")
    for place, column in enumerate(columns):
        top = GAP
        for picture in column:
            page.paste(picture, (GAP + place * (wide + GAP), top))
            top += picture.height + GAP
    return page.resize((WIDTH, round(page.height * WIDTH / page.width)), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    sheet(photographs()).save(sys.argv[1], quality=82, method=6)

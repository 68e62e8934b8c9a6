"""The report: one complete, valid, self-contained page."""

import re

import numpy as np
import pytest
from IPython.display import HTML
from matplotlib.figure import Figure
from test_players import Page

from avid_lab import plots
from avid_lab.report import Section, SummaryRow, write_report

ROW = SummaryRow("Video <probe>", 0.843, random_initialisation=0.322, chance=1 / 14, spread=0.015)


def page_of(path):
    return Page(path.read_text(encoding="utf-8"))


def test_numbers_have_their_baselines(tmp_path):
    path = write_report(tmp_path / "new" / "report.html", title="A & B", summary_rows=[ROW], sections=[], lead="x < y")
    page = page_of(path)
    assert path == tmp_path / "new" / "report.html"
    for text in ("A & B", "x < y", "Video <probe>", "84.3", "± 1.5", "32.2", "7.1", "Chance", "Random initialisation"):
        assert text in page.text
    assert [b["style"] for b in page.all("b")] == ["width:84.3%"]
    assert [i["style"] for i in page.all("i") if "style" in i] == ["left:7.1%", "left:32.2%"]


def test_missing_baselines_are_dashes(tmp_path):
    page = page_of(write_report(tmp_path / "r.html", title="t", summary_rows=[SummaryRow("a", 0.5)], sections=[]))
    assert page.text.count("–") == 2


def test_a_reference_and_intervals_have_their_place(tmp_path):
    rows = [SummaryRow("R@1", 0.5, 0.1, 0.05, reference=0.25, interval=(0.4, 0.6)), SummaryRow("R@5", 0.75)]
    page = page_of(write_report(tmp_path / "r.html", title="t", summary_rows=rows, sections=[], trained="Adapted"))
    assert all(text in page.text for text in ("Adapted", "Reference, as it came", "25.0", "40 to 60", "95 % interval"))
    assert len([1 for tag, _ in page.elements if tag == "td"]) == 1 + 2 * 5


def test_sections_hold_text_pictures_players_and_names(tmp_path):
    axes = plots.loss_terms({"loss": np.arange(5.0)}, title="Loss <1>")
    plain = Figure()
    plain.suptitle("plain")
    items = [
        "a <i>text</i>",
        axes,
        axes.get_figure(),
        plain,
        HTML("<video controls></video>"),
        {"seed": 0, "a<b": "c&d"},
    ]
    path = write_report(
        tmp_path / "r.html",
        title="t",
        summary_rows=[],
        sections=[Section("Things", items)],
        provenance={"command": "avid-lab demo"},
    )
    page = page_of(path)
    assert "a <i>text</i>" in page.text and "a<b" in page.text and "c&d" in page.text
    assert [image["alt"] for image in page.all("img")] == ["Loss <1>", "Loss <1>", "plain"]
    assert all(image["src"].startswith("data:image/png;base64,") for image in page.all("img"))
    assert len(page.all("video")) == 1
    assert page.text.index("Things") < page.text.index("How it was made") < page.text.index("avid-lab demo")


def test_the_page_needs_nothing_from_outside(tmp_path):
    axes = plots.confusion(np.eye(2), ["a", "b"])
    path = write_report(tmp_path / "r.html", title="t", summary_rows=[ROW], sections=[Section("s", [axes])])
    html = path.read_text(encoding="utf-8")
    page = Page(html)
    assert not page.all("link") and not page.all("script") and not re.search(r"https?://|url\(|@import", html)
    assert "prefers-color-scheme: dark" in html and "@media print" in html
    assert page.all("html") == [{"lang": "en"}] and len(page.all("h1")) == 1


def test_a_failing_report_leaves_the_old_one(tmp_path, unchecked):
    path = write_report(tmp_path / "r.html", title="old", summary_rows=[], sections=[])
    with pytest.raises(TypeError, match="a report holds text, figures, axes, HTML and mappings; got int"):
        write_report(path, title="new", summary_rows=[], sections=[Section("s", [3])])  # pyright: ignore
    assert "old" in path.read_text() and [p.name for p in tmp_path.iterdir()] == ["r.html"]


@pytest.mark.parametrize("row", [SummaryRow("probe", 84.3), SummaryRow("probe", 0.5, chance=-0.1)])
def test_headline_numbers_are_shares(tmp_path, row):
    with pytest.raises(ValueError, match=r"summary row 'probe' must hold shares in \[0, 1\]; got"):
        write_report(tmp_path / "r.html", title="t", summary_rows=[row], sections=[])
    assert not list(tmp_path.iterdir())

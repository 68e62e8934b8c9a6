"""Every notebook runs from top to bottom, and is the one that its source gives."""

import os
from pathlib import Path

import pytest

from avid_lab.course import publish

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
SOURCES = publish.sources(NOTEBOOKS / "source")
by_name = pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)


@by_name
def test_notebook_is_the_one_of_its_source(source):
    assert publish.drift(source, NOTEBOOKS / f"{source.stem}.ipynb") == []


def test_no_notebook_is_without_a_source():
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} == {path.stem for path in SOURCES}


@by_name
def test_notebook_was_run_before_it_was_published(source):
    built = publish.nbformat.read(NOTEBOOKS / f"{source.stem}.ipynb", as_version=4)
    counts = [cell.execution_count for cell in built.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))


@pytest.mark.slow
@by_name
def test_notebook_runs_from_top_to_bottom(source, smoke_world, monkeypatch):
    """With the small profile; warnings that a reader would see are failures too."""
    monkeypatch.setenv("AVID_LAB_PROFILE", "smoke")
    assert os.environ["AVID_LAB_DATA"]  # the session's own world, rendered once
    notebook = publish.read_source(source)
    publish.run(notebook, NOTEBOOKS, name=source.stem, timeout_s=300)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    warned = [output.text for output in outputs if output.output_type == "stream" and "Warning" in output.text]
    assert not warned

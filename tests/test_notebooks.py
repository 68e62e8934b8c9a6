"""Every notebook runs from top to bottom, whatever the student wrote, and matches its source."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from answers import odd
from test_fetching import Handler, Service, running
from test_official import released_state, write

from avid_lab import fetching
from avid_lab.course import publish
from avid_lab.course.exercises import EXERCISES
from avid_lab.course.filling import exercises_in, fill
from avid_lab.fetching import Remote

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
SOURCES = publish.sources(NOTEBOOKS / "source")
by_name = pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)


def asked(source):
    """Exercises of a notebook, in order."""
    cells = publish.read_source(source).cells
    return [name for cell in cells if cell.cell_type == "code" for name in exercises_in(cell.source)]


def answered(source, answers):
    """A notebook with these answers in its exercises."""
    notebook = publish.read_source(source)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.source = fill(cell.source, answers)
    return notebook


STATES = {
    "blank": {},
    "solved": {name: exercise.reference for name, exercise in EXERCISES.items()},
    # Wrong answers that call no helper of their module, so that they stand alone in a cell.
    "wrong": {
        name: next(f for f in exercise.wrong if not any(called.startswith("_") for called in f.__code__.co_names))
        for name, exercise in EXERCISES.items()
    },
    "odd": {name: odd(name) for name in EXERCISES},  # right, but its results are arrays, numbers or lists
}
WITH_EXERCISES = [source for source in SOURCES if asked(source)]


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


@by_name
def test_exercises_are_known_asked_once_and_have_the_references_parameters(source):
    names = asked(source)
    assert set(names) <= set(EXERCISES) and len(set(names)) == len(names)
    for answers in STATES.values():
        answered(source, answers)


def run(notebook, source, tmp_path, monkeypatch):
    monkeypatch.setenv("AVID_LAB_PROFILE", "smoke")
    monkeypatch.setenv("AVID_LAB_STUDENT", str(tmp_path))
    assert os.environ["AVID_LAB_DATA"]  # the session's own world, rendered once
    publish.run(notebook, NOTEBOOKS, name=source.stem, timeout_s=300)
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


@pytest.mark.slow
@by_name
def test_notebook_runs_from_top_to_bottom(source, smoke_world, tmp_path, monkeypatch):
    """With the small profile; warnings that a reader would see count as failures. Claims run, and are not judged."""
    outputs = run(publish.read_source(source, claims=True), source, tmp_path, monkeypatch)
    warned = [output.text for output in outputs if output.output_type == "stream" and "Warning" in output.text]
    assert not warned


@pytest.mark.slow
def test_the_capstone_takes_a_students_folder_without_kinds(smoke_world, tmp_path, monkeypatch):
    source = next(source for source in SOURCES if source.stem.startswith("10"))
    videos = tmp_path / "mine"
    videos.mkdir()
    for i in range(12):
        (videos / f"film {i}.mp4").write_bytes(smoke_world.path(i).read_bytes())
    notebook = publish.read_source(source)
    for cell in notebook.cells:
        for name, path in (("MY_VIDEOS", videos), ("MY_CLIP", smoke_world.path(20))):
            cell.source = cell.source.replace(f"\n{name} = None", f"\n{name} = {str(path)!r}")
    printed = "".join(output.get("text", "") for output in run(notebook, source, tmp_path, monkeypatch))
    assert "10 clips to learn from, 2 held out, no kinds" in printed and "one clip is 50 points" in printed
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["mine"]  # nothing lies beside it


@pytest.mark.slow
def test_the_capstone_asks_the_authors_network_once_it_was_fetched(smoke_world, tmp_path, monkeypatch):
    source = next(source for source in SOURCES if source.stem.startswith("10"))
    entry = fetching.CATALOGUE["avid-cma-audioset"]
    folder, weights, statistics = fetching.folder_of(entry), *(tmp_path / remote.place for remote in entry.files)
    write(weights, released_state())
    np.savez(statistics, mean=np.full(257, -40.0), std=np.full(257, 20.0))
    service = Service(files={path.name: path.read_bytes() for path in (weights, statistics)})
    assert not folder.exists()
    outputs = run(publish.read_source(source), source, tmp_path, monkeypatch)
    printed = "".join(output.get("text", "") for output in outputs)
    assert "Run `avid-lab fetch avid-cma-audioset`" in printed and "the committed network: 30 of your clips" in printed
    try:
        with running(type("Served", (Handler,), {"service": service})) as service.address:
            files = tuple(Remote(service.url("ranges", remote.place)) for remote in entry.files)
            fetching.fetch(replace(entry, files=files), progress=False)
        outputs = run(publish.read_source(source), source, tmp_path, monkeypatch)
        printed = "".join(output.get("text", "") for output in outputs)
        assert "the authors' network avid-cma-audioset: 30 of your clips" in printed and "committed" not in printed
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.parametrize("state", ["solved", "wrong", "odd"])  # blank is as it is published: the first of these tests
@pytest.mark.parametrize("source", WITH_EXERCISES, ids=lambda source: source.stem)
def test_run_all_reaches_the_end_whatever_the_student_wrote(source, state, smoke_world, tmp_path, monkeypatch):
    outputs = run(answered(source, STATES[state]), source, tmp_path, monkeypatch)
    pages = [output.data.get("text/html", "") for output in outputs if "data" in output]
    badge = "avid-wrong" if state == "wrong" else "avid-right"
    assert sum(badge in page and "<code>" in page for page in pages) >= len(asked(source))
    if state != "wrong":  # a right answer stays right with everything that the notebook passes
        assert not [page for page in pages if "avid-wrong" in page]

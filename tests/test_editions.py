"""Working copies that are never overwritten, and editions for students and teachers."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.sign import NotebookNotary

from avid_lab.course import editions, working
from avid_lab.course.exercises import EXERCISES
from avid_lab.course.filling import blank_cell, exercises_in, fill

SOURCE = f"""\
# %% [markdown]
# # 02 · Contrast: from scratch
#
# After this notebook you can
#
# * say what $Z$ is *for*, and what
#   goes wrong without it,
# * write the loss.
#
# A lesson on $\\mathbf v_i$ with `$code$` and $a,
# b$ and
#
# $$ \\frac{{a}}{{b}} $$

# %% [markdown] tags=["instructor"]
# **Teaching note.** Ask for hands.

# %%
import math

import torch
import torch.nn.functional as F

from avid_lab.course import exercise

# %%
{blank_cell(EXERCISES["nce_loss"])}
"""


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "02_contrast.py").write_text(SOURCE)
    return folder


@pytest.fixture
def course(tmp_path):
    folder = tmp_path / "course"
    folder.mkdir()
    for name in ("00_start", "05_agree"):
        _write(folder / f"{name}.ipynb", f"{name} one")
    return folder


def _write(path, code):
    """A notebook of one question and one cell that was run."""
    outputs = [nbformat.v4.new_output("stream", text="It is consensus.\n")]
    cells = [
        nbformat.v4.new_markdown_cell("Which rule?", id="question"),
        nbformat.v4.new_code_cell(code, id="reveal", execution_count=3, outputs=outputs),
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)


def _code(path):
    return nbformat.read(path, as_version=4).cells[1].source


def test_a_copy_has_no_outputs_and_is_trusted(course, tmp_path, source, monkeypatch):
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter"))
    working.copy(course, tmp_path / "mine")
    working.reset(course, tmp_path / "mine", "05")
    (edition,) = editions.student(source, tmp_path / "out")
    for path in (*(tmp_path / "mine").glob("*.ipynb"), edition):
        notebook = nbformat.read(path, as_version=4)
        ran = [cell for cell in notebook.cells if cell.cell_type == "code" and (cell.outputs or cell.execution_count)]
        assert ran == [] and NotebookNotary().check_signature(notebook), path
    assert "consensus" in (course / "05_agree.ipynb").read_text()  # the course keeps its own


def test_new_outputs_alone_are_no_new_version(course, tmp_path):
    working.copy(course, tmp_path / "mine")
    path = course / "05_agree.ipynb"
    path.write_text(path.read_text().replace("consensus", "union"))
    assert working.copy(course, tmp_path / "mine", update=True) == []


def test_a_course_that_is_damaged_is_named(course, tmp_path):
    (course / "05_agree.ipynb").write_text("no notebook")
    with pytest.raises(ValueError, match=r"05_agree\.ipynb must be a notebook"):
        working.copy(course, tmp_path / "mine")


def test_a_copy_is_made_once_and_edits_are_never_overwritten(course, tmp_path):
    mine = tmp_path / "my_course"
    assert len(working.copy(course, mine)) == 2
    (mine / "05_agree.ipynb").write_text("edited")
    for path in course.glob("*.ipynb"):
        _write(path, "two")
    assert all("newer version" in line for line in working.copy(course, mine))
    assert (mine / "05_agree.ipynb").read_text() == "edited" and _code(mine / "00_start.ipynb") == "00_start one"
    working.copy(course, mine, update=True)
    assert (mine / "05_agree.ipynb").read_text() == "edited"
    assert _code(mine / "05_agree.new-1.ipynb") == _code(mine / "00_start.ipynb") == "two"
    assert working.copy(course, mine, update=True) == []  # brought once


def test_without_its_record_a_copy_counts_as_edited(course, tmp_path):
    mine = tmp_path / "my_course"
    working.copy(course, mine)
    (mine / working.RECORD).write_text("{damaged")
    _write(course / "05_agree.ipynb", "two")
    working.copy(course, mine, update=True)
    assert _code(mine / "05_agree.ipynb") == "05_agree one"
    assert working.is_own(course) and not working.is_own(mine)


def test_reset_keeps_the_old_one(course, tmp_path, unchecked):
    mine = tmp_path / "my_course"
    working.copy(course, mine)
    for number in (1, 2):
        (mine / "05_agree.ipynb").write_text(f"edit {number}")
        assert f"old-{number}" in working.reset(course, mine, "05")
    assert _code(mine / "05_agree.ipynb") == "05_agree one"
    assert (mine / "05_agree.old-2.ipynb").read_text() == "edit 2"
    with pytest.raises(ValueError, match="must be one of 00_start, 05_agree; got '7'"):
        working.reset(course, mine, "7")


def test_students_get_neither_answers_nor_teaching_notes(source, tmp_path):
    (path,) = editions.student(source, tmp_path / "out")
    text = path.read_text()
    assert "Teaching note" not in text and "softplus" not in text and "    ..." in text


def test_instructors_get_answers_notes_and_marks(source, tmp_path):
    (path,) = editions.instructor(source, tmp_path / "out")
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    marks = {cell.metadata.nbgrader.grade_id: cell for cell in notebook.cells if "nbgrader" in cell.metadata}
    assert set(marks) == {"nce_loss", "test_nce_loss"}
    assert "### BEGIN SOLUTION" in marks["nce_loss"].source and "softplus" in marks["nce_loss"].source
    assert marks["test_nce_loss"].metadata.nbgrader.points == editions.POINTS
    notes = [cell.source for cell in notebook.cells if "instructor" in cell.metadata.get("tags", [])]
    assert len(notes) == 2 and "Ask for hands" in notes[0] and "K is missing before Z" in notes[1]
    assert "K is missing before Z" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.slow
def test_nbgrader_hands_out_collects_grades_and_answers(source, tmp_path):
    pytest.importorskip("nbgrader", reason="nbgrader is not installed")
    course = tmp_path / "out"
    (path,) = editions.instructor(source, course)
    tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # nbgrader calls alembic by its name
    environment = os.environ | {"AVID_LAB_PROFILE": "smoke", "HOME": str(tmp_path / "home"), "PATH": tools}

    def nbgrader(*arguments):
        command = [sys.executable, "-m", "nbgrader", *arguments]
        done = subprocess.run(command, cwd=course, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    nbgrader("validate", str(path))
    nbgrader("generate_assignment", "02_contrast", "--create")
    released = course / "release" / "02_contrast" / "02_contrast.ipynb"
    text = released.read_text()
    assert "NotImplementedError" in text
    assert not any(word in text for word in ("softplus", "Ask for hands", "K is missing"))

    exercise = EXERCISES["nce_loss"]
    softmax = next(answer for answer in exercise.wrong if answer.__name__ == "_softmax")
    answers = {"ada": exercise.reference, "bob": softmax, "eve": None}
    for student, answer in answers.items():
        notebook = nbformat.read(released, as_version=4)
        for cell in notebook.cells:
            if answer and exercises_in(cell.source):
                cell.source = fill(cell.source, {"nce_loss": answer})
        handed_in = course / "submitted" / student / "02_contrast" / "02_contrast.ipynb"
        handed_in.parent.mkdir(parents=True)
        nbformat.write(notebook, handed_in)
    nbgrader("autograde", "02_contrast", "--create")
    nbgrader("generate_feedback", "02_contrast")
    nbgrader("export", "--to", str(tmp_path / "grades.csv"))
    with (tmp_path / "grades.csv").open(newline="") as file:
        grades = {row["student_id"]: (float(row["score"]), float(row["max_score"])) for row in csv.DictReader(file)}
    assert grades == {"ada": (2.0, 2.0), "bob": (0.0, 2.0), "eve": (0.0, 2.0)}
    pages = {name: (course / "feedback" / name / "02_contrast" / "02_contrast.html").read_text() for name in answers}
    said = {name: "this is softmax (InfoNCE), not NCE" in page for name, page in pages.items()}
    assert said == {"ada": False, "bob": True, "eve": False}
    assert not (tmp_path / "home" / ".local" / "share" / "avid_lab").exists()  # the teacher's own progress

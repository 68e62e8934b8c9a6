"""Editions of the course: the student's, and the instructor's with answers, teaching notes and nbgrader's marks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from avid_lab.course import publish, working
from avid_lab.course.checks import Exercise
from avid_lab.course.exercises import EXERCISES
from avid_lab.course.filling import answered_function, exercises_in, fill

POINTS = 2  # per exercise
CONFIG = '''"""nbgrader's settings of this course. Each notebook is an assignment."""

import os
import tempfile

from nbconvert.preprocessors import TagRemovePreprocessor
from nbgrader.converters import GenerateAssignment

c = get_config()  # noqa: F821
c.TagRemovePreprocessor.enabled = True
c.TagRemovePreprocessor.remove_cell_tags = {"instructor"}  # teaching notes stay with the teacher
c.GenerateAssignment.preprocessors = [TagRemovePreprocessor, *GenerateAssignment().preprocessors]
c.CourseDirectory.course_id = "avid_lab"
c.ClearSolutions.code_stub = {"python": "raise NotImplementedError()"}
c.ExecutePreprocessor.timeout = 3600
os.environ["AVID_LAB_STUDENT"] = tempfile.mkdtemp()  # answers that are graded are no progress of yours
'''


def student(source: Path, out: Path, names: tuple[str, ...] = ()) -> list[Path]:
    """Signed notebooks without outputs, answers and teaching notes.

    Args:
        source: The folder of notebook sources.
        out: The output folder; notebooks in it are replaced.
        names: The starts of the notebooks' names; empty means all.

    Raises:
        ValueError: There are no such sources.
    """
    made = [publish.build(path, out, execute=False) for path in publish.sources(source, names)]
    for path in made:
        working.sign(nbformat.read(path, as_version=4))
    return made


def instructor(source: Path, out: Path, names: tuple[str, ...] = ()) -> list[Path]:
    """Notebooks with solutions, teaching notes and misconceptions, laid out as an nbgrader course.

    ``out/source/NN_name/NN_name.ipynb`` are nbgrader's assignments; ``out/README.md`` lists misconceptions and hints.

    Args:
        source: The folder of notebook sources.
        out: The output folder; existing files are replaced.
        names: The starts of the notebooks' names; empty means all.

    Raises:
        ValueError: There are no such sources, or an exercise's parameters differ from its reference's.
    """
    made = []
    for path in publish.sources(source, names):
        notebook = publish.read_source(path, instructor=True)
        notebook.cells = [new for cell in notebook.cells for new in _taught(cell)]
        nbformat.validate(notebook)
        target = out / "source" / path.stem / path.name.replace(".py", ".ipynb")
        made.append(publish.write_text(target, nbformat.writes(notebook) + "\n"))
    publish.write_text(out / "nbgrader_config.py", CONFIG)
    publish.write_text(out / "README.md", _handbook())
    return made


def _taught(cell: NotebookNode) -> list[NotebookNode]:
    """A cell of the instructor's edition, followed by its test and notes."""
    found = [name for name in exercises_in(cell.source) if name in EXERCISES] if cell.cell_type == "code" else []
    if not found:
        return [cell]
    (name,) = found
    exercise = EXERCISES[name]
    cell.source = fill(cell.source, {name: exercise.reference}, marked=True)
    cell.metadata["nbgrader"] = _mark(name, solution=True)
    function = answered_function(cell.source)
    test = nbformat.v4.new_code_cell(
        f"verdict = {function}.verdict\n"
        f'assert verdict.status == "right", f"{{verdict.status}}: {{verdict.title}} {{verdict.explanation}}"',
        id=f"test-{cell.id}",
        metadata={"nbgrader": _mark(f"test_{name}", grade=True, points=POINTS)},
    )
    notes = nbformat.v4.new_markdown_cell(
        _notes(exercise), id=f"notes-{cell.id}", metadata={"tags": [publish.INSTRUCTOR]}
    )
    return [cell, test, notes]


def _mark(grade_id: str, *, grade: bool = False, solution: bool = False, points: int | None = None) -> dict[str, Any]:
    """Metadata that nbgrader needs for a code cell, schema 3."""
    mark: dict[str, Any] = {"schema_version": 3, "grade_id": grade_id, "cell_type": "code", "task": False}
    mark |= {"grade": grade, "solution": solution, "locked": not solution}
    return mark | ({} if points is None else {"points": points})


def _notes(exercise: Exercise) -> str:
    """Teaching notes of an exercise: its misconceptions and hints."""
    wrong = [f"* *{title}.* {' '.join(text.split())}" for title, (_, text) in exercise.mistakes.items()]
    hints = [f"{number}. {hint}" for number, hint in enumerate(exercise.hints, 1)]
    head = f"**Teaching notes: `{exercise.name}`.** The badge names these common misconceptions:"
    return "\n".join([head, "", *wrong, "", "Hints, in order:", "", *hints])


def _handbook() -> str:
    head = (
        "# The instructor's edition\n\n"
        "Each notebook in `source/` is an nbgrader assignment, with solutions between `### BEGIN SOLUTION` and "
        f"`### END SOLUTION` and a test cell of {POINTS} points after every exercise. "
        "`nbgrader generate_assignment NN_name` removes the solutions; "
        "`nbgrader validate source/NN_name/NN_name.ipynb` runs it. Set `AVID_LAB_PROFILE=smoke` for a quick run.\n"
    )
    return head + "".join(f"\n## {e.notebook}: {e.name}\n\n{e.task}\n\n{_notes(e)}\n" for e in EXERCISES.values())

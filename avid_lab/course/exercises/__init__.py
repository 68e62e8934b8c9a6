"""The course's exercises, one module per notebook.

References and wrong answers look like a student's code, without annotations: references are shown as solutions. The
docstring of a wrong answer names the mistake and explains it to its author.
"""

from __future__ import annotations

from importlib import import_module

from avid_lab.course.checks import Exercise

NOTEBOOKS = ("01", "02", "03", "04", "05", "06", "07", "08", "09", "10")

EXERCISES: dict[str, Exercise] = {
    exercise.name: exercise
    for notebook in NOTEBOOKS
    for exercise in import_module(f"{__name__}.notebook_{notebook}").EXERCISES
}

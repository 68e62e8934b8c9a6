"""``@exercise("name")``: run the student's code if it is right, the reference otherwise."""

from __future__ import annotations

import ast
import difflib
import functools
import hashlib
import inspect
import re
from collections.abc import Callable
from typing import Any

from IPython.core.getipython import get_ipython
from IPython.display import display

from avid_lab.course import student
from avid_lab.course.badge import Box, prose, verdict_box
from avid_lab.course.checks import Exercise, Function, Verdict, judge

VERDICTS: dict[str, Verdict] = {}  # of this kernel, by exercise


def exercise(name: str) -> Callable[[Function], Function]:
    """Make a function the answer to an exercise.

    This checks the answer and shows a badge with the result. The decorated name then calls the student's function if it
    is right, and the reference if it is blank or wrong.

    Args:
        name: Name of the exercise, see `avid_lab.course.exercises`; the function itself may have any name.

    Returns:
        A decorator; the decorated function has ``.verdict`` and ``.credit`` ("your code" or "reference").

    Raises:
        ValueError: There is no such exercise.
    """
    asked = find(name)

    def decorate(function: Function) -> Function:
        function = getattr(function, "answer", function)  # decorated twice, in a copied cell
        verdict = judge(asked, function)
        VERDICTS[name] = verdict
        _remember(verdict, function)
        display(verdict_box(asked, verdict))
        return _driven(asked, function, verdict)

    return decorate


def find(name: str) -> Exercise:
    """The exercise with this name.

    Raises:
        ValueError: There is none.
    """
    from avid_lab.course.exercises import EXERCISES

    if name not in EXERCISES:
        near = difflib.get_close_matches(str(name), EXERCISES, n=1)
        fix = f"Did you mean {near[0]!r}?" if near else f"There are {', '.join(EXERCISES)}."
        raise ValueError(f"exercise must name one of the course's; got {name!r}. {fix}")
    return EXERCISES[name]


def _driven(asked: Exercise, function: Function, verdict: Verdict) -> Function:
    """The function that the notebook calls from now on; a right answer's results have the reference's form."""
    fitted = asked.fitted(function)
    signature = inspect.signature(function)

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        if run.__dict__["verdict"].status != "right":
            return asked.reference(*args, **kwargs)
        try:
            return fitted(*signature.bind(*args, **kwargs).args)
        except Exception as error:  # it passed on small inputs: report it, and let the notebook continue
            _demote(run, asked, error)
            return asked.reference(*args, **kwargs)

    run.__dict__.update(verdict=verdict, answer=function, credit=_credit(verdict))
    return run


def _demote(run: Function, asked: Exercise, error: Exception) -> None:
    text = f"It passed the checks, but here it stops with {type(error).__name__}: {error}"
    verdict = Verdict(asked.name, "wrong", "it fails on this input", text)
    run.__dict__.update(verdict=verdict, credit=_credit(verdict))
    VERDICTS[asked.name] = verdict
    display(verdict_box(asked, verdict))


def _credit(verdict: Verdict) -> str:
    return "your code" if verdict.status == "right" else "reference"


def _remember(verdict: Verdict, function: Function) -> None:
    before = student.record()["exercises"].get(verdict.name, {})
    code = function.__code__
    answer = hashlib.sha1(repr((code.co_code, code.co_consts, code.co_names)).encode()).hexdigest()[:12]
    new = verdict.status != "blank" and answer != before.get("answer")
    mistakes = before.get("mistakes", [])
    if verdict.status == "wrong" and new:
        mistakes = [*mistakes, verdict.title]
    student.write(
        "exercises",
        verdict.name,
        status=verdict.status,
        title=verdict.title,
        answer=answer,
        attempts=before.get("attempts", 0) + new,
        mistakes=mistakes,  # in the order in which they were made
        **({"solved": True} if verdict.status == "right" else {}),  # never taken back, not even by another kernel
    )


def hint(name: str, level: int | None = None) -> None:
    """Show the next hint of an exercise, or the one of this level, 1 to 3.

    Raises:
        ValueError: There is no such exercise or level.
    """
    asked = find(name)
    seen = student.record()["exercises"].get(name, {}).get("hints", 0)
    level = min(seen + 1, 3) if level is None else level
    if level not in (1, 2, 3):
        raise ValueError(f"level must be 1, 2 or 3; got {level!r}")
    student.write("exercises", name, hints=max(seen, level))
    more = f" <i>There is more: <code>lab.hint({name!r})</code> again.</i>" if level < 3 else ""
    display(Box("plain", f"<b>Hint {level} of 3 for <code>{name}</code>.</b> {prose(asked.hints[level - 1])}{more}"))


def solution(name: str) -> None:
    """Show a solution of an exercise.

    Raises:
        ValueError: There is no such exercise.
    """
    asked = find(name)
    student.write("exercises", name, solution_seen=True)
    display(Box("plain", f"<b>One solution of <code>{name}</code></b><pre>{prose(asked.solution)}</pre>"))


def credit(*names: str) -> str:
    """Whose code made a figure: "your code", "reference", or a list of the student's functions.

    Args:
        names: Exercises that matter for the figure; none means all that this notebook has defined so far.

    Raises:
        ValueError: There is no such exercise.
    """
    chosen = [find(name).name for name in names] or list(VERDICTS)
    yours = [name for name in chosen if name in VERDICTS and VERDICTS[name].status == "right"]
    if not yours:
        return "reference"
    return "your code" if len(yours) == len(chosen) else f"your {', '.join(yours)}; the rest reference"


def unreadable(name: str, line: int, text: str) -> Function:
    """The reference, for a cell that Python cannot read; a badge says where. Later cells run as usual."""
    verdict = Verdict(name, "wrong", "Python cannot read this cell", f"Line {line}: {text}.")
    VERDICTS[name] = verdict
    student.write("exercises", name, status="wrong", title=verdict.title)
    display(verdict_box(find(name), verdict))
    return _driven(find(name), find(name).reference, verdict)


def _readable(lines: list[str]) -> list[str]:
    """An input transformer: one message for an exercise's cell with a syntax error, instead of NameErrors below."""
    cell = "".join(lines)
    found = re.search(r"^@exercise\(\s*[\"'](\w+)[\"']\s*\)\s*\ndef\s+(\w+)", cell, re.MULTILINE)
    if found is None:
        return lines
    try:
        ast.parse(cell)
    except SyntaxError as error:
        exercise_name, name = found.groups()
        call = f"unreadable({exercise_name!r}, {error.lineno or 0}, {str(error.msg)!r})"
        return [f"from {__name__} import unreadable\n", f"{name} = {call}\n"]
    return lines


if (_shell := get_ipython()) is not None and _readable not in _shell.input_transformers_post:
    _shell.input_transformers_post.append(_readable)

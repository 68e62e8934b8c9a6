"""Exercise cells, blank and filled in: for notebooks, editions and the tests of Run All."""

from __future__ import annotations

import ast
import inspect
import textwrap

from avid_lab.course.checks import Exercise, Function

IMPORTS = {"math": "import math", "torch": "import torch", "F": "import torch.nn.functional as F"}
BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"


def blank_cell(exercise: Exercise) -> str:
    """The cell that a notebook shows: decorator, signature, docstring, ``...``."""
    function = _definition(exercise.solution)
    lines = exercise.solution.splitlines()
    head = lines[: _docstring_end(function)]
    return "\n".join([f'@exercise("{exercise.name}")', *head, "    ..."])


def exercises_in(cell: str) -> list[str]:
    """Names of the exercises that a cell's code answers; empty for code that is not Python (magics)."""
    return [name for name, _ in _answers(cell)]


def answered_function(cell: str) -> str:
    """The student's name for the function of the cell's exercise."""
    return _answers(cell)[0][1].name


def fill(cell: str, bodies: dict[str, Function], *, marked: bool = False) -> str:
    """Replace the bodies of the answers in a cell; signature and docstring stay.

    Args:
        cell: Code of a cell.
        bodies: A function by exercise, whose body replaces the answer's. It must have the cell's parameter names.
        marked: Whether to put nbgrader's marks around the solution.

    Raises:
        ValueError: Parameters differ.
    """
    lines = cell.splitlines()
    for name, function in reversed(_answers(cell)):
        if name not in bodies:
            continue
        body, parameters = _body(bodies[name])
        if parameters != [a.arg for a in function.args.args]:
            got = [a.arg for a in function.args.args]
            raise ValueError(f"exercise {name!r} must have the parameters {parameters} in the notebook; got {got}")
        if marked:
            body = [BEGIN, *body, END]
        assert function.end_lineno is not None
        indented = textwrap.indent("\n".join(body), "    ").splitlines()
        lines[_docstring_end(function) : function.end_lineno] = indented
    return "\n".join(lines)


def _answers(cell: str) -> list[tuple[str, ast.FunctionDef]]:
    try:
        tree = ast.parse(cell)
    except SyntaxError:
        return []
    found = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func).endswith("exercise") and mark.args:
                    found.append((str(ast.literal_eval(mark.args[0])), node))
    return found


def _body(function: Function) -> tuple[list[str], list[str]]:
    """The lines of a function's body without its docstring, and its parameters."""
    source = textwrap.dedent(inspect.getsource(function))
    definition = _definition(source)
    lines = source.splitlines()[_docstring_end(definition) : definition.end_lineno]
    return textwrap.dedent("\n".join(lines)).splitlines(), [a.arg for a in definition.args.args]


def _definition(source: str) -> ast.FunctionDef:
    return next(node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef))


def _docstring_end(function: ast.FunctionDef) -> int:
    """The number of lines up to the end of the docstring, or of the signature where there is none."""
    first = function.body[0]
    has_docstring = (
        isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    )
    end = first.end_lineno if has_docstring else first.lineno - 1
    assert end is not None
    return end

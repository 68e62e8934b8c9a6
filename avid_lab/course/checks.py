"""Say in words what is wrong with a student's function.

`judge` runs the function on small probes and compares its behaviour (values, shapes, gradients, changed arguments)
with the reference. If they differ, it compares with each known wrong answer: a mistake that behaves like a known one
gets its name. Properties decide for functions that draw random numbers.

Nothing else of the student's code runs.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import textwrap
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

Function = Callable[..., Any]
Status = Literal["blank", "wrong", "right"]


class Blank(Exception):
    """The function is not written yet, or still contains ``...``."""


@dataclass(frozen=True)
class Property:
    """Something that every right answer does.

    Args:
        name: The mistake if the property does not hold, in plain words: "the query is among its own negatives".
        check: Takes the function; returns None if the property holds, else a sentence of evidence.
    """

    name: str
    check: Callable[[Function], str | None]


@dataclass(frozen=True)
class Exercise:
    """A function that students write.

    Args:
        task: What to write, in one sentence.
        reference: A right answer; the notebook shows its parameters and docstring.
        probes: Each call makes new arguments for the function. Gradients are compared, too, for tensors that require
            them.
        wrong: Known wrong answers. The first sentence of a docstring names the mistake in plain words; the rest, which
            the author of such an answer sees, explains it.
        hints: Three, each more detailed than the one before.
        properties: Checked in order before the values are compared.
        remarks: Like properties, but a failed one does not make an answer wrong.
        random: Whether right answers may differ in value, so that only properties decide.
        open: Whether any answer with these properties is right: an experiment.
    """

    task: str
    reference: Function
    probes: tuple[Callable[[], tuple[Any, ...]], ...]
    wrong: tuple[Function, ...]
    hints: tuple[str, str, str]
    properties: tuple[Property, ...] = ()
    remarks: tuple[Property, ...] = ()
    random: bool = False
    open: bool = False

    @property
    def name(self) -> str:
        """Its name, unique in the course: that of the reference."""
        return self.reference.__name__

    @property
    def notebook(self) -> str:
        """The notebook that asks for it, "02": that of the reference's module."""
        return self.reference.__module__[-2:]

    @property
    def mistakes(self) -> dict[str, tuple[Function, str]]:
        """The wrong answers by title, each with its explanation."""
        return {title: (answer, text) for answer in self.wrong for title, text in [_mistake(answer)]}

    @property
    def solution(self) -> str:
        """Source of the reference."""
        return textwrap.dedent(inspect.getsource(self.reference))


def _mistake(answer: Function) -> tuple[str, str]:
    """Title and explanation of a wrong answer; a title begins with a small letter, but for names such as K."""
    title, _, text = (inspect.getdoc(answer) or "").partition(". ")
    first = title.split()[0]
    return title if first.isupper() and first != "A" else title[0].lower() + title[1:], text


@dataclass(frozen=True)
class Verdict:
    """What the checks say about an answer.

    Attributes:
        name: Name of the exercise.
        status: "blank" (not written yet), "wrong" or "right".
        title: The mistake in plain words; empty unless wrong.
        explanation: Why it matters and where to look, or a remark on a right answer.
        printed: What the function printed on the first probe.
    """

    name: str
    status: Status
    title: str = ""
    explanation: str = ""
    printed: str = ""


@dataclass(frozen=True)
class _Seen:
    """What a function did on one probe: named values (of its result, of gradients, of arguments after the call)."""

    values: dict[str, Tensor | str]
    error: str = ""
    printed: str = field(default="", compare=False)


def judge(exercise: Exercise, function: Function) -> Verdict:
    """Try a function and say what is wrong with it.

    The global random state does not change.
    """
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        try:
            return _judge(exercise, function)
        except Blank:
            return Verdict(exercise.name, "blank")


def _judge(exercise: Exercise, function: Function) -> Verdict:
    def wrong(title: str, explanation: str = "") -> Verdict:
        return Verdict(exercise.name, "wrong", title, explanation, printed)

    printed = ""
    if problem := _parameters(exercise, function):
        return wrong("the parameters differ from the exercise's", problem)
    ours = [_observe(function, probe) for probe in exercise.probes]
    printed = ours[0].printed
    # Name the mistake if it behaves like a known one.
    right = [_observe(exercise.reference, probe) for probe in exercise.probes]
    compared = not (exercise.random or exercise.open)
    if compared and not _alike(ours, right):
        for title, (answer, text) in exercise.mistakes.items():
            if _alike(ours, [_observe(answer, probe) for probe in exercise.probes]):
                return wrong(title, text)
    for number, seen in enumerate(ours, 1):
        if seen.error:
            return wrong("it stops with an error", f"{seen.error} (on test input {number} of {len(ours)})")
    for number, (mine, theirs) in enumerate([] if exercise.open else zip(ours, right, strict=True), 1):
        if problem := _form(mine, theirs, values=False):
            return wrong(problem[0], f"{problem[1]} (on test input {number} of {len(ours)})")
    for rule in exercise.properties:
        if evidence := _hold(rule, function):
            text = exercise.mistakes[rule.name][1] if rule.name in exercise.mistakes else ""
            return wrong(rule.name, f"{evidence} {text}".strip())
    if compared:
        for number, (mine, theirs) in enumerate(zip(ours, right, strict=True), 1):
            if problem := _form(mine, theirs, values=True):
                return wrong(problem[0], f"{problem[1]} (on test input {number} of {len(ours)})")
    remarks = [evidence for rule in exercise.remarks if (evidence := _hold(rule, function))]
    return Verdict(exercise.name, "right", explanation=" ".join(remarks), printed=printed)


def _parameters(exercise: Exercise, function: Function) -> str:
    wanted = list(inspect.signature(exercise.reference).parameters)
    try:
        inspect.signature(function).bind(*wanted)
    except TypeError:
        got = ", ".join(inspect.signature(function).parameters)
        return f"The notebook calls {exercise.name}({', '.join(wanted)}); yours takes ({got})."
    return ""


def _hold(rule: Property, function: Function) -> str | None:
    """The evidence against a property; an error is evidence, too."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return rule.check(function)
    except Exception as error:
        return f"It stops with {_in_words(error)}."


def _observe(function: Function, probe: Callable[[], tuple[Any, ...]]) -> _Seen:
    arguments = probe()
    before = {f"argument {i}": x.detach().clone() for i, x in enumerate(arguments) if isinstance(x, Tensor)}
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            result = function(*arguments)
    except NotImplementedError:
        raise Blank from None
    except Exception as error:
        if "ellipsis" in str(error):  # a `...` is still there
            raise Blank from None
        return _Seen({}, _in_words(error), said.getvalue())
    if result is ... or (result is None and _is_empty(function)):
        raise Blank
    values: dict[str, Tensor | str] = {}
    for name, value in _flatten("the result", result):
        values[name] = value if isinstance(value, str) else value.detach()
    values |= _gradients(arguments, result)
    for i, x in enumerate(arguments):
        if isinstance(x, Tensor) and not _close(x.detach(), before[f"argument {i}"]):
            values[f"argument {i}"] = x.detach()
    return _Seen(values, printed=said.getvalue())


def _flatten(name: str, value: Any) -> Iterator[tuple[str, Tensor | str]]:
    """Named tensors of a result: of numbers, arrays, tuples, lists and dicts; words for anything else."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, Mapping):
        yield f"the keys of {name}", ", ".join(sorted(map(str, value)))
        for key in sorted(value, key=str):
            yield from _flatten(f"{name}[{key!r}]", value[key])
    elif isinstance(value, (tuple, list)) and any(isinstance(x, (Tensor, tuple, list, Mapping)) for x in value):
        for i, x in enumerate(value):
            yield from _flatten(f"{name}[{i}]", x)
    else:
        try:
            yield name, torch.as_tensor(value)
        except (TypeError, ValueError, RuntimeError):
            yield name, "None" if value is None else f"a {type(value).__name__}"


def _gradients(arguments: tuple[Any, ...], result: Any) -> dict[str, Tensor | str]:
    """Gradients of a fixed mixture of the results, for each argument that requires one."""
    wanted = {i: x for i, x in enumerate(arguments) if isinstance(x, Tensor) and x.requires_grad}
    if not wanted:
        return {}
    outputs = [x for _, x in _flatten("", result) if isinstance(x, Tensor) and x.requires_grad]
    if not outputs:
        return {f"the gradient of argument {i}": "none" for i in wanted}
    mixed = [(x * torch.linspace(1, 2, max(1, x.numel())).reshape(x.shape).to(x)).sum() for x in outputs]
    total = torch.stack(mixed).sum()
    found = torch.autograd.grad(total, list(wanted.values()), allow_unused=True)
    return {f"the gradient of argument {i}": "none" if g is None else g for i, g in zip(wanted, found, strict=True)}


def _alike(ours: list[_Seen], theirs: list[_Seen]) -> bool:
    return all(bool(a.error) == bool(b.error) and _same(a, b) for a, b in zip(ours, theirs, strict=True))


def _same(a: _Seen, b: _Seen) -> bool:
    if a.error or b.error:
        return a.error == b.error
    return a.values.keys() == b.values.keys() and all(_close(a.values[name], b.values[name]) for name in a.values)


def _close(a: Tensor | str, b: Tensor | str) -> bool:
    if isinstance(a, str) or isinstance(b, str):
        return isinstance(a, str) and a == b
    return a.shape == b.shape and _kind(a) == _kind(b) and _equal(a, b)


def _equal(a: Tensor, b: Tensor) -> bool:
    return torch.allclose(a.double().cpu(), b.double().cpu(), rtol=1e-4, atol=1e-5, equal_nan=True)


def _kind(x: Tensor) -> str:
    if x.dtype == torch.bool:
        return "True or False"
    return "fractions" if x.dtype.is_floating_point else "whole numbers"


def _form(mine: _Seen, theirs: _Seen, *, values: bool) -> tuple[str, str] | None:
    """The first difference to the reference, as title and explanation: of form, or also of values."""
    for name, right in theirs.values.items():
        if name not in mine.values:
            return "a part of the result is missing", f"The answer should contain {name}."
        got = mine.values[name]
        is_gradient = name.startswith("the gradient")
        if isinstance(got, str) or isinstance(right, str):
            if got == right or (is_gradient and not values):
                continue
            if is_gradient:
                return "the gradient does not flow as it should", _no_gradient(name, got)
            if got == "None":
                return "nothing is returned", "Does it end in `return ...`?"
            wanted = right if isinstance(right, str) else f"a tensor of shape {tuple(right.shape)}"
            return "the result has the wrong type", f"{name} should be {wanted}; yours is {_words(got)}."
        if got.shape != right.shape:
            should = f"{name} should have shape {tuple(right.shape)}; yours has {tuple(got.shape)}."
            return "the shape is wrong", f"{should} {_about_shape(got, right)}".strip()
        if _kind(got) != _kind(right):
            return "the type of number is wrong", f"{name} should hold {_kind(right)}; yours holds {_kind(got)}."
        if got.is_floating_point() and right.isfinite().all() and not got.isfinite().all():
            return "the result is NaN or infinite", f"{name} should be finite: a logarithm of 0, or a division by 0?"
        if values and not _equal(got, right):
            if is_gradient:
                return "the value is right, but its gradient is wrong", "Is something detached, or under no_grad?"
            return "the numbers differ", _about_values(name, got.double(), right.double())
    if values and (changed := [name for name in mine.values if name not in theirs.values]):
        return "it changes what it was given", f"{changed[0]} has changed: work on a copy (`x.clone()`)."
    return None


def _no_gradient(name: str, got: Tensor | str) -> str:
    if isinstance(got, str):
        return f"{name} is missing: is something detached, under no_grad, or made a Python number by .item()?"
    return f"{name} should not exist: treat this argument as a constant (detach it)."


def _about_shape(got: Tensor, right: Tensor) -> str:
    if right.ndim == 0 and got.numel() > 1:
        return "The result should be one number: take the mean over the queries at the end."
    if sorted(got.shape) == sorted(right.shape):
        return "The axes are in another order: you swapped rows and columns."
    if got.numel() == right.numel():
        return "The size fits, but there is an extra or missing axis of length one (keepdim? squeeze?)."
    return "Along which axis did you sum or average?"


def _about_values(name: str, got: Tensor, right: Tensor) -> str:
    ratio = got[right.abs() > 1e-6] / right[right.abs() > 1e-6]
    place = (got - right).abs().nan_to_num(torch.inf).argmax()
    mine, theirs = got.flatten()[place], right.flatten()[place]
    where = "" if right.ndim == 0 else f" at position {tuple(int(i) for i in torch.unravel_index(place, right.shape))}"
    text = f"{name} should be {theirs:.4g}{where}; yours is {mine:.4g}."
    if len(ratio) and (ratio - ratio.flatten()[0]).abs().max() < 1e-3 and ratio.flatten()[0].abs() > 1e-6:
        factor = float(ratio.flatten()[0])
        text += (
            " The sign is flipped." if abs(factor + 1) < 1e-3 else f" All are {factor:.3g} times what they should be."
        )
    return text


def _words(value: Tensor | str) -> str:
    return value if isinstance(value, str) else f"a tensor of shape {tuple(value.shape)}"


def _in_words(error: Exception) -> str:
    lines = [f"line {frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
    own = lines[1:2] if len(lines) > 1 else []  # the first frame is ours, the next is the student's function
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else ''}" + (f" [{own[0]} of the cell]" if own else "")


def _is_empty(function: Function) -> bool:
    """Whether a function does nothing at all: ``...``, ``pass``, a docstring."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return code is not None and not code.co_names and len(code.co_varnames) == code.co_argcount

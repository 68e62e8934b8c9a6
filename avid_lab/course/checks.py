"""Say in words what is wrong with a student's function.

`judge` runs the function on small probes and compares its behaviour (values, shapes, gradients, changed arguments)
with the reference. If they differ, it looks for a mistake that behaves the same: among the exercise's known wrong
answers, then among mutants of the reference (`avid_lab.course.mutants`). Properties decide for functions that draw
random numbers.

Nothing else of the student's code runs, and not for longer than ``LIMIT_S``.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import io
import textwrap
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from avid_lab.course import mutants
from avid_lab.limits import OutOfTime, at_most

Function = Callable[..., Any]
Status = Literal["blank", "wrong", "right"]

LIMIT_S = 10.0  # for all of a check; a right answer takes milliseconds
LARGE_S = 2.0  # for one call on an input of the notebook's size
SLOW_S, SLOWER = 0.1, 20.0  # such a call gets a remark if it takes this long, and this many times the reference's time
SAME = 1e-3  # tolerance of ratios


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
        hints: Three, each more detailed than the one before; none is the answer.
        forms: The reference written in other ways: its mutants are looked for in these, too.
        large: Makes arguments of the notebook's size. An answer that is slow on them gets a remark.
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
    forms: tuple[Function, ...] = ()
    large: Callable[[], tuple[Any, ...]] | None = None
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
    def compared(self) -> bool:
        """Whether values decide."""
        return not (self.random or self.open)

    @functools.cached_property
    def pattern(self) -> Any:
        """What the reference returns: its containers and dtypes."""
        return self.reference(*self.probes[0]())

    @functools.cached_property
    def right(self) -> list[Seen]:
        """What the reference does on the probes."""
        return self.tried(self.reference)

    @functools.cached_property
    def wrong_seen(self) -> list[tuple[str, str, list[Seen]]]:
        """Title, explanation and behaviour of each known wrong answer."""
        return [(title, text, self.tried(answer)) for title, (answer, text) in self.mistakes.items()]

    def fitted(self, function: Function) -> Function:
        """The function, called with tensors where the probes have tensors, and its result in the reference's form."""
        are_tensors = [isinstance(x, Tensor) for x in self.probes[0]()]

        def fitted(*args: Any) -> Any:
            numbers = zip(args, are_tensors, strict=True)
            args = tuple(torch.tensor(x) if t and isinstance(x, (int, float)) else x for x, t in numbers)
            return conform(function(*args), self.pattern)

        fitted.__dict__["__wrapped__"] = function
        return fitted

    def tried(self, function: Function) -> list[Seen]:
        """What a function does on the probes."""
        fitted, names = self.fitted(function), list(inspect.signature(self.reference).parameters)
        return [_observe(fitted, names, probe) for probe in self.probes]

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
class Seen:
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
        except OutOfTime:
            text = (
                "Does a loop wait for something that never happens? A right answer takes milliseconds on these inputs."
            )
            return Verdict(exercise.name, "wrong", f"it does not end: it was stopped after {LIMIT_S:g} seconds", text)


def _judge(exercise: Exercise, function: Function) -> Verdict:
    def wrong(title: str, explanation: str = "") -> Verdict:
        return Verdict(exercise.name, "wrong", title, explanation, printed)

    printed = ""
    if problem := _parameters(exercise, function):
        return wrong("the parameters differ from the exercise's", problem)
    right = exercise.right
    with at_most(LIMIT_S):
        ours = exercise.tried(function)
    printed, many = ours[0].printed, len(ours)
    if exercise.compared and not alike(ours, right) and (known := _named(exercise, ours)):
        return wrong(*known)
    for number, seen in enumerate(ours, 1):
        if seen.error:
            return wrong("it stops with an error", f"{seen.error} (on test input {number} of {many})")
    for number, (mine, theirs) in enumerate([] if exercise.open else zip(ours, right, strict=True), 1):
        if problem := _form(mine, theirs):
            return wrong(problem[0], f"{problem[1]} (on test input {number} of {many})")
    fitted = exercise.fitted(function)
    for rule in exercise.properties:
        try:
            with at_most(LIMIT_S):
                evidence = _quietly(rule.check, fitted)
        except Exception as error:
            return wrong("it stops with an error", f"{_in_words(error, function)} (on a further test input)")
        if evidence:
            return wrong(rule.name, evidence)
    for number, (mine, theirs) in enumerate(zip(ours, right, strict=True) if exercise.compared else [], 1):
        if problem := _difference(mine, theirs):
            return wrong(problem[0], f"{problem[1]} (on test input {number} of {many}){_proportion(ours, right)}")
    remarks = []
    for rule in exercise.remarks:
        with contextlib.suppress(Exception):  # an error on an odd input is no reason for a remark
            remarks += filter(None, [_quietly(rule.check, fitted)])
    if exercise.large and (problem := _at_full_size(exercise, function, remarks)):
        return wrong(*problem)
    return Verdict(exercise.name, "right", explanation=" ".join(remarks), printed=printed)


def _quietly(function: Function, *args: Any) -> Any:
    with contextlib.redirect_stdout(io.StringIO()):
        return function(*args)


def _named(exercise: Exercise, ours: list[Seen]) -> tuple[str, str] | None:
    """The known mistake that behaves in the same way, as title and explanation."""
    for title, text, seen in exercise.wrong_seen:
        if alike(ours, seen):
            return title, text
    if any(seen.error for seen in ours):
        return None
    with warnings.catch_warnings(action="ignore"):  # mutants do odd things
        for title, answer in mutants.candidates(exercise, _fingerprint(ours), _fingerprint(exercise.right)):
            with contextlib.suppress(Blank):
                if alike(ours, exercise.tried(answer)):
                    return title, "On all test inputs, your function does what the solution does with this change."
    return None


def _at_full_size(exercise: Exercise, function: Function, remarks: list[str]) -> tuple[str, str] | None:
    """What goes wrong on an input of the notebook's size; a remark is added for an answer that is slow."""
    assert exercise.large is not None
    names, begin = list(inspect.signature(exercise.reference).parameters), time.thread_time()
    theirs = _observe(exercise.fitted(exercise.reference), names, exercise.large)
    usual_s, begin = time.thread_time() - begin, time.thread_time()
    try:
        with at_most(LARGE_S):
            mine = _observe(exercise.fitted(function), names, exercise.large)
        taken_s, longer = time.thread_time() - begin, ""
    except OutOfTime:
        mine, taken_s, longer = theirs, LARGE_S, "more than "
    if taken_s > max(SLOW_S, SLOWER * usual_s):
        remarks.append(
            f"One remark: on an input of the notebook's size it takes {longer}{taken_s:.1g} s; the solution takes "
            f"{1000 * usual_s:.1g} ms. Replace loops over rows by operations on whole tensors."
        )
    if mine.error:
        return "it stops with an error on an input of the notebook's size", mine.error
    differ = _form if exercise.random else _difference
    return None if exercise.open else differ(mine, theirs)


def conform(value: Any, like: Any) -> Any:
    """A value in the form of another: tensors instead of numbers, arrays and lists of them; tuples; dicts.

    What has no such form stays as it is.
    """
    if isinstance(like, Mapping):
        same = isinstance(value, Mapping) and value.keys() == like.keys()
        return {key: conform(value[key], like[key]) for key in like} if same else value
    if isinstance(like, tuple):
        listed = isinstance(value, (tuple, list, np.ndarray, Tensor)) and getattr(value, "ndim", 1) > 0
        same = listed and len(value) == len(like)
        return tuple(conform(*both) for both in zip(value, like, strict=True)) if same else value
    if not isinstance(like, Tensor):
        return value
    try:
        made = _tensor(value)
    except (TypeError, ValueError, RuntimeError):
        return value
    if _kind(made) != _kind(like):
        return made
    fraction = isinstance(value, Tensor) and made.is_floating_point()  # keep a higher precision
    return made.to(torch.promote_types(made.dtype, like.dtype) if fraction else like.dtype)


def _tensor(value: Any) -> Tensor:
    if isinstance(value, Tensor):
        return value
    if isinstance(value, (list, tuple)) and any(isinstance(x, Tensor) for x in value):
        return torch.stack([_tensor(x) for x in value])
    return torch.as_tensor(np.asarray(value))


def _parameters(exercise: Exercise, function: Function) -> str:
    wanted = list(inspect.signature(exercise.reference).parameters)
    try:
        inspect.signature(function).bind(*wanted)
    except TypeError:
        got = ", ".join(inspect.signature(function).parameters)
        return f"The notebook calls {exercise.name}({', '.join(wanted)}); yours takes ({got})."
    return ""


def _observe(function: Function, names: list[str], probe: Callable[[], tuple[Any, ...]]) -> Seen:
    given = dict(zip(names, probe(), strict=True))
    before = {name: x.detach().clone() for name, x in given.items() if isinstance(x, Tensor)}
    said, values = io.StringIO(), {}
    try:
        with contextlib.redirect_stdout(said):
            result = function(*given.values())
        if result is ... or (result is None and _is_empty(function)):
            raise Blank
        values = dict(_flatten("the result", result))
        gradients = _gradients(given, values)
    except NotImplementedError:
        raise Blank from None
    except Exception as error:
        if isinstance(error, Blank) or ("ellipsis" in str(error) and not isinstance(error, IndexError)):
            raise Blank from None  # a `...` is still there
        return Seen({}, _in_words(error, function), said.getvalue())
    values = {name: x.detach() if isinstance(x, Tensor) else x for name, x in values.items()} | gradients
    for name, old in before.items():
        if not _close(given[name].detach(), old):
            values[f"`{name}`"] = given[name].detach()
    return Seen(values, printed=said.getvalue())


def _flatten(name: str, value: Any) -> Iterator[tuple[str, Tensor | str]]:
    """Named tensors of a result; words for anything else."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, Mapping):
        yield f"the keys of {name}", ", ".join(sorted(map(str, value)))
        for key in sorted(value, key=str):
            yield from _flatten(f"{name}[{key!r}]", value[key])
    elif isinstance(value, tuple) and any(isinstance(x, (Tensor, tuple, Mapping)) for x in value):
        for i, x in enumerate(value):
            yield from _flatten(f"{name}[{i}]", x)
    else:
        yield name, "None" if value is None else f"a {type(value).__name__}"


def _gradients(given: Mapping[str, Any], values: Mapping[str, Tensor | str]) -> dict[str, Tensor | str]:
    """Gradients of a fixed mixture of the results, for each argument that requires one."""
    wanted = {name: x for name, x in given.items() if isinstance(x, Tensor) and x.requires_grad}
    outputs = [x for x in values.values() if isinstance(x, Tensor) and x.requires_grad]
    if not wanted:
        return {}
    found: Sequence[Tensor | None] = [None] * len(wanted)
    if outputs:
        mixed = [(x * torch.linspace(1, 2, max(1, x.numel())).reshape(x.shape).to(x)).sum() for x in outputs]
        total = torch.stack(mixed).sum()
        found = torch.autograd.grad(total, list(wanted.values()), allow_unused=True)
    pairs = zip(wanted.items(), found, strict=True)
    return {f"the gradient of `{name}`": "none" if g is None else _tangential(g, x) for (name, x), g in pairs}


def _tangential(gradient: Tensor, x: Tensor) -> Tensor:
    """For unit vectors only directions along the sphere matter: they are normalised, once or twice."""
    x = x.detach()
    if x.ndim == 2 and x.shape[1] > 1 and torch.allclose(x.norm(dim=1), torch.ones(len(x))):
        return gradient - (gradient * x).sum(1, keepdim=True) * x
    return gradient


def alike(ours: list[Seen], theirs: list[Seen]) -> bool:
    """Whether two functions did the same on all probes."""
    return all(_same(a, b) for a, b in zip(ours, theirs, strict=True))


def behaviour(exercise: Exercise, function: Function) -> float | None:
    """The fingerprint of what a function does, None if it fails."""
    try:
        with warnings.catch_warnings(action="ignore"):
            seen = exercise.tried(function)
    except Blank:
        return None
    return None if any(probe.error for probe in seen) else _fingerprint(seen)


def _fingerprint(seen: list[Seen]) -> float:
    """One number that two functions which do the same have in common, up to rounding."""
    total = 0.0
    for place, (name, value) in enumerate(pair for probe in seen for pair in probe.values.items()):
        words = f"{place} {name} {value if isinstance(value, str) else (*value.shape, _kind(value))}"
        total += int.from_bytes(hashlib.sha1(words.encode()).digest()[:4]) / 2**32
        if isinstance(value, Tensor):
            x = value.detach().double().flatten().nan_to_num(7.0, 8.0, -8.0)
            total += float((x / (1 + x.abs()) * torch.arange(1, len(x) + 1).mul(1.7 + place).sin()).sum())
    return total


def _same(a: Seen, b: Seen) -> bool:
    if a.error or b.error:
        return a.error == b.error
    return a.values.keys() == b.values.keys() and all(_close(a.values[name], b.values[name]) for name in a.values)


def _close(a: Tensor | str, b: Tensor | str) -> bool:
    if isinstance(a, str) or isinstance(b, str):
        return isinstance(a, str) and a == b
    return a.shape == b.shape and _kind(a) == _kind(b) and _equal(a, b)


def _equal(a: Tensor, b: Tensor) -> bool:
    a, b = a.double().cpu(), b.double().cpu()
    size = b[b.isfinite()].abs().amax().clamp(min=1.0) if b.isfinite().any() else 1.0
    return torch.allclose(a, b, rtol=1e-4, atol=1e-5 * float(size), equal_nan=True)


def _kind(x: Tensor) -> str:
    if x.dtype == torch.bool:
        return "True or False"
    return "fractions" if x.dtype.is_floating_point else "whole numbers"


def _form(mine: Seen, theirs: Seen) -> tuple[str, str] | None:
    """The first difference of form to the reference, as title and explanation."""
    for name, right in theirs.values.items():
        if name.startswith("the gradient"):
            continue
        got = mine.values.get(name)
        if got is None or isinstance(got, str) or isinstance(right, str):
            if got != right:
                return _about_type(name, got, right, mine)
            continue
        if got.shape != right.shape:
            should = f"{name} should have shape {tuple(right.shape)}; yours has {tuple(got.shape)}."
            return "the shape is wrong", f"{should} {_about_shape(got, right)}".strip()
        if _kind(got) != _kind(right):
            count = " Is it a count, where a share belongs?" if _kind(right) == "fractions" and right.ndim == 0 else ""
            return "the type of number is wrong", f"{name} should hold {_kind(right)}; yours holds {_kind(got)}.{count}"
        if got.is_floating_point() and right.isfinite().all() and not got.isfinite().all():
            return "the result is NaN or infinite", f"{name} should be finite: a logarithm of 0, or a division by 0?"
    return None


def _difference(mine: Seen, theirs: Seen) -> tuple[str, str] | None:
    """The first difference to the reference, of form or of values."""
    if problem := _form(mine, theirs):
        return problem
    for name, right in theirs.values.items():
        got = mine.values[name]
        if _close(got, right):
            continue
        if not name.startswith("the gradient"):
            assert isinstance(got, Tensor) and isinstance(right, Tensor)
            return "the numbers differ", _about_values(name, got.double(), right.double())
        if isinstance(got, str):
            text = f"{name} is missing: is something detached, under no_grad, or made a Python number by .item()?"
        elif isinstance(right, str):
            text = f"{name} should not exist: treat this argument as a constant (detach it)."
        elif not got.any():
            text = f"{name} is zero: is something detached, or rounded?"
        else:
            text = f"{_about_values(name, got.double(), right.double())} Does every part of the formula depend on it?"
        return "the value is right, but its gradient is wrong", text
    if changed := [name for name in mine.values if name not in theirs.values]:
        return "it changes what it was given", f"{changed[0]} has changed: work on a copy (`x.clone()`)."
    return None


def _about_type(name: str, got: Tensor | str | None, right: Tensor | str, mine: Seen) -> tuple[str, str]:
    if "None" in mine.values.values():
        return "nothing is returned", "Does it end in `return ...`?"
    if name.startswith("the keys"):
        return "the result has other keys", f"They should be {right}; yours are {got or 'missing'}."
    wanted = right if isinstance(right, str) else f"a tensor of shape {tuple(right.shape)}"
    if got is None:
        got = f"made of {', '.join(mine.values)}" if len(mine.values) > 1 else "one tensor"
    return "the result has the wrong type", f"{name} should be {wanted}; yours is {_words(got)}."


def _about_shape(got: Tensor, right: Tensor) -> str:
    if right.ndim == 0 and got.numel() > 1:
        return "The result should be one number: take the mean over the queries at the end."
    if sorted(got.shape) == sorted(right.shape):
        return "The axes are in another order: you swapped rows and columns."
    if got.numel() == right.numel():
        return "The size fits, but there is an extra or missing axis of length one (keepdim? squeeze?)."
    return "Along which axis did you sum or average?"


def _about_values(name: str, got: Tensor, right: Tensor) -> str:
    off = (got - right).abs().nan_to_num(torch.inf)
    place = off.masked_fill((got.isnan() & right.isnan()) | (got == right), 0).argmax()
    mine, theirs = got.flatten()[place], right.flatten()[place]
    where = "" if right.ndim == 0 else f" at position {tuple(int(i) for i in torch.unravel_index(place, right.shape))}"
    return f"{name} should be {theirs:.4g}{where}; yours is {mine:.4g}."


def _proportion(ours: list[Seen], theirs: list[Seen]) -> str:
    """A sentence if all numbers of all probes, three or more, are wrong by the same factor."""
    ratios: list[Tensor] = []
    for a, b in zip(ours, theirs, strict=True):
        for name, right in b.values.items():
            got = a.values.get(name)
            if isinstance(got, str) or isinstance(right, str) or got is None or got.shape != right.shape:
                continue
            if right.is_floating_point():
                ratios.append((got.double() / right.double())[right.abs() > 1e-4].flatten())
    every = torch.cat(ratios) if ratios else torch.empty(0)
    if len(every) < 3 or not every.isfinite().all() or (every / every[0] - 1).abs().max() > SAME:
        return ""
    factor = float(every.mean())
    if abs(factor + 1) < SAME:
        return " On all inputs the sign is flipped."
    return "" if abs(factor - 1) < 10 * SAME else f" On all inputs it is {factor:.3g} times what it should be."


def _words(value: Tensor | str) -> str:
    return value if isinstance(value, str) else f"a tensor of shape {tuple(value.shape)}"


def _in_words(error: Exception, function: Function) -> str:
    """The error and the line of the student's cell that it comes from."""
    cell = getattr(getattr(inspect.unwrap(function), "__code__", None), "co_filename", "")
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == cell]
    text = str(error).strip().splitlines()
    place = f" [line {lines[-1]} of the cell]" if lines else ""
    return f"{type(error).__name__}: {text[0] if text else ''}{place}"


def _is_empty(function: Function) -> bool:
    """Whether a function does nothing at all: ``...``, ``pass``, a docstring."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return code is not None and not code.co_names and len(code.co_varnames) == code.co_argcount

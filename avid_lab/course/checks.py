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
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from avid_lab.course import mutants, relations
from avid_lab.limits import PATIENCE, OutOfTime, at_most

Function = Callable[..., Any]
Status = Literal["blank", "wrong", "right"]

LIMIT_S = 10.0  # of computing, for all of a check; a right answer takes milliseconds
LARGE_S = 2.0  # for one call on an input of the notebook's size
SLOW_S, SLOWER = 0.1, 20.0  # such a call gets a remark if it takes this long, and this many times the reference's time
RESULT = "the result"
OTHER_VALUES = "the numbers differ"  # a title that says little

# What PyTorch and Python say about common slips, and a title that says it in plain words.
ERRORS = {
    "inplace operation": "it changes a tensor that its gradient needs",
    "in-place operation": "it changes a tensor that its gradient needs",
    "must match the size of tensor": "two shapes do not fit together",
    "shapes cannot be multiplied": "two shapes do not fit together",
    "Sizes of tensors must match": "two shapes do not fit together",
    "size mismatch": "two shapes do not fit together",
    "could not be broadcast": "two shapes do not fit together",
    "shape mismatch": "two shapes do not fit together",
    "is invalid for input of size": "two shapes do not fit together",
    "inconsistent tensor size": "two shapes do not fit together",
    "must have same reduction dim": "two shapes do not fit together",
    "stack expects each tensor to be equal size": "two shapes do not fit together",
    "Dimension out of range": "an axis does not exist",
    "is out of bounds for dimension": "an index is too large",
    "index out of range": "an index is too large",
    "selected index k out of range": "an index is too large",
    "NameError": "a name is not known",
    "UnboundLocalError": "a variable is used before it has a value",
    "more than one value is ambiguous": "`if` needs one value, not a tensor of many",
    "requires grad. Use tensor.detach()": "a tensor with a gradient cannot become an array: `detach` it first",
    "expected scalar type": "two tensors hold different types of numbers",
    "expected m1 and m2 to have the same dtype": "two tensors hold different types of numbers",
    "used as indices must be": "an index is not a whole number",
    "only integer tensors": "an index is not a whole number",
    "has no attribute": "a function or method does not exist",
    "unexpected keyword argument": "a function gets an argument that it does not have",
    "not subscriptable": "something is indexed that has no entries",
    "not callable": "something is called that is no function",
}


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

    def tried(self, function: Function, many: int | None = None) -> list[Seen]:
        """What a function does on the probes, or on the first few."""
        fitted, names = self.fitted(function), list(inspect.signature(self.reference).parameters)
        return [_observe(fitted, names, probe) for probe in self.probes[:many]]

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
                f"It was stopped after {LIMIT_S:g} seconds of computing, or {PATIENCE * LIMIT_S:g} by the clock. "
                "A right answer takes milliseconds here. Does a loop wait for something that never happens?"
            )
            return Verdict(exercise.name, "wrong", "it does not end", text)


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
            return wrong(_kind_of(seen.error), f"{seen.error} (on test input {number} of {many})")
        if seen.values.get(RESULT) == "None":
            return wrong("nothing is returned", "Does it end in `return ...`?")
    for number, (mine, theirs) in enumerate([] if exercise.open else zip(ours, right, strict=True), 1):
        if problem := _form(mine, theirs):
            known = (
                relations.found(exercise, ours, right) if problem[0] == "whole numbers instead of fractions" else None
            )
            return wrong(*known) if known else wrong(problem[0], f"{problem[1]} (on test input {number} of {many})")
    fitted = exercise.fitted(function)
    for rule in exercise.properties:
        try:
            with at_most(LIMIT_S):
                evidence = _quietly(rule.check, fitted)
        except Exception as error:
            text = _in_words(error, function)
            return wrong(_kind_of(text), f"{text} (on a further test input)")
        if evidence:
            return wrong(rule.name, evidence)
    for number, (mine, theirs) in enumerate(zip(ours, right, strict=True) if exercise.compared else [], 1):
        if problem := _difference(mine, theirs):
            known = relations.found(exercise, ours, right) if problem[0] == OTHER_VALUES else None
            place = f"(on test input {number} of {many})"
            return wrong(known[0] if known else problem[0], f"{known[1] if known else ''} {problem[1]} {place}".strip())
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
    """The mistake, or two, that behave in the same way, as title and explanation: the surest first."""
    for title, text, seen in exercise.wrong_seen:
        if alike(ours, seen):
            return title, text
    if any(seen.error for seen in ours):
        return None
    with warnings.catch_warnings(action="ignore"):  # mutants do odd things
        found = list(mutants.candidates(exercise, _fingerprint(ours), _fingerprint(exercise.right)))
        for surest in (True, False):
            for mutant in found:
                if mutant.natural == surest and (surest or _tell(ours, exercise.right, 3 if mutant.two else 2)):
                    with contextlib.suppress(Blank):
                        if alike(ours, exercise.tried(mutant.function)):
                            return mutant.title, mutant.explanation
            if surest and (known := _known_and_more(exercise, ours)):
                return known
    return _on_most(exercise, ours)


def _known_and_more(exercise: Exercise, ours: list[Seen]) -> tuple[str, str] | None:
    """A known mistake and a factor, or a known mistake and another use of an argument."""
    if not _tell(ours, exercise.right) or relations.factor_of_all(exercise, ours, exercise.right):
        return None
    for title, _, seen in exercise.wrong_seen:
        if not any(x.error for x in seen) and (factor := relations.factor_of_all(exercise, ours, seen)):
            return mutants.both(title, f"the result is multiplied by {factor}")
    for title, answer in mutants.known_and_one(exercise):
        with contextlib.suppress(Blank):
            if _same(ours[0], exercise.tried(answer, 1)[0]) and alike(ours, exercise.tried(answer)):
                return mutants.both(*title)
    return None


def _on_most(exercise: Exercise, ours: list[Seen]) -> tuple[str, str] | None:
    """The only known mistake that behaves in the same way on most test inputs where the answer is wrong."""
    wrong = [i for i, seen in enumerate(ours) if not _same(seen, exercise.right[i])]
    fit = []
    for title, text, seen in exercise.wrong_seen:
        same = [i for i in wrong if _same(ours[i], seen[i])]
        if same and 2 * len(same) >= len(wrong) and _tell([ours[i] for i in same], [exercise.right[i] for i in same]):
            fit.append((title, text, len(same)))
    if len(fit) != 1:
        return None
    ((title, text, count),) = fit
    where = (
        f"This fits {count} of the {len(wrong)} test inputs on which your answer is wrong; on the others, more differs."
    )
    return title, f"{text} {where}"


def _tell(ours: list[Seen], right: list[Seen], enough: int = 3) -> bool:
    """Whether so many numbers are wrong, in so many ways, that another mistake will hardly give the same by chance."""
    numbers: set[float] = set()
    entries = 0
    for a, b in zip(ours, right, strict=True):
        for name, x in b.values.items():
            got = a.values.get(name)
            if isinstance(got, str) or isinstance(x, str) or got is None or got.shape != x.shape:
                continue
            off = ~torch.isclose(got.double(), x.double(), rtol=1e-4, atol=1e-6, equal_nan=True)
            entries += int(off.sum())
            numbers |= {
                round(float(y), 6) for y in got[off].flatten()[:20] if y.isfinite() and float(y) not in (0, 1, -1)
            }
    return len(numbers) >= enough or entries >= 12


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
        values = dict(_flatten(RESULT, result))
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
            should = f"{called(name)} should have shape {tuple(right.shape)}; yours has {tuple(got.shape)}."
            title, text = _about_shape(got, right)
            return title, f"{should} {text}".strip()
        if _kind(got) != _kind(right):
            return (
                f"{_kind(got)} instead of {_kind(right)}",
                f"{called(name)} should hold {_kind(right)}; yours holds {_kind(got)}.",
            )
        if got.is_floating_point() and right.isfinite().all() and not got.isfinite().all():
            few = f"{int((~got.isfinite()).sum())} of {got.numel()} numbers are NaN or infinite"
            return "the result is NaN or infinite", f"{called(name)}: {few}. A logarithm of 0, or a division by 0?"
    return None


def called(name: str) -> str:
    """A part of the result in words: `result[0]`."""
    return f"`{name.removeprefix('the ')}`" if name.startswith(f"{RESULT}[") else name


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
            return OTHER_VALUES, _about_values(name, got.double(), right.double()) + _the_rest(mine, theirs)
        whose = name.removeprefix("the gradient of ")
        if isinstance(got, str):
            text = "The value is right. Is something detached, under no_grad, or made a Python number by .item()?"
            return f"no gradient reaches {whose}", text
        if isinstance(right, str):
            return f"a gradient reaches {whose}", "The value is right. Treat this argument as a constant: `detach` it."
        if not got.any():
            text = f"{name} is zero: is something detached, or rounded?"
        else:
            text = f"{_about_values(name, got.double(), right.double())} Is a part of the formula detached from it?"
            if float((got * right).sum()) < 0.999 * float((right * right).sum()):
                return "the value is right, but a part of the gradient is missing", text
        return "the value is right, but its gradient is wrong", text
    if changed := [name for name in mine.values if name not in theirs.values]:
        return "it changes what it was given", f"{changed[0]} has changed: work on a copy (`x.clone()`)."
    return None


def _about_type(name: str, got: Tensor | str | None, right: Tensor | str, mine: Seen) -> tuple[str, str]:
    if name.startswith("the keys"):
        own = f"yours are {got}" if got else "yours is no dictionary"
        return (
            "the result has other keys" if got else "the result is no dictionary",
            f"The keys should be {right}; {own}.",
        )
    parts = [part for part in mine.values if part.startswith(f"{RESULT}[")]
    if got is None and name.startswith(f"{RESULT}["):
        own = f"yours has {len(parts)}" if parts else "yours is one thing"
        return "the result has too few parts", f"There should be a part {called(name)}; {own}."
    wanted = right if isinstance(right, str) else f"a tensor of shape {tuple(right.shape)}"
    if got is None:
        got = f"a group of {len(parts)}"
    return "the result has the wrong type", f"{called(name)} should be {wanted}; yours is {_words(got)}."


def _about_shape(got: Tensor, right: Tensor) -> tuple[str, str]:
    if right.ndim == 0 and got.numel() > 1:
        return "the result should be one number", "Sum or average over the axes that are left: the queries, at the end."
    if got.ndim == 0:
        return (
            "the result is one number",
            "Did you sum, average or choose over all axes? Keep those that the result has.",
        )
    if sorted(got.shape) == sorted(right.shape):
        return "the axes are in another order", "You swapped rows and columns."
    if got.numel() == right.numel():
        return (
            "the shape is wrong",
            "The size fits, but there is an extra or missing axis of length one (keepdim? squeeze?).",
        )
    if got.ndim == right.ndim:
        off = [i for i in range(right.ndim) if got.shape[i] != right.shape[i]]
        axes = " and ".join(f"axis {i} has size {got.shape[i]} instead of {right.shape[i]}" for i in off)
        return axes, "Along which axis did you sum, average, choose or look up?"
    missing = Counter(right.shape) - Counter(got.shape)
    if got.ndim < right.ndim and missing:
        return (
            f"an axis of {next(iter(missing))} is missing",
            "Did you sum, average or choose along it, or pair things up that should all meet?",
        )
    extra = Counter(got.shape) - Counter(right.shape)
    if got.ndim > right.ndim and extra:
        return f"an axis of {next(iter(extra))} is left over", "Sum, average or choose along it."
    return "the shape is wrong", "Along which axis did you sum or average?"


def _the_rest(mine: Seen, theirs: Seen) -> str:
    """Which parts of a result are right, if some are."""
    parts = [name for name in theirs.values if name.startswith(f"{RESULT}[")]
    right = [called(name) for name in parts if _close(mine.values[name], theirs.values[name])]
    return f" {' and '.join(right)} {'is' if len(right) == 1 else 'are'} right." if right else ""


def _about_values(name: str, got: Tensor, right: Tensor) -> str:
    off = (got - right).abs().nan_to_num(torch.inf)
    place = off.masked_fill((got.isnan() & right.isnan()) | (got == right), 0).argmax()
    mine, theirs = got.flatten()[place], right.flatten()[place]
    where = "" if right.ndim == 0 else f" at position {tuple(int(i) for i in torch.unravel_index(place, right.shape))}"
    return f"{called(name)} should be {theirs:.4g}{where}; yours is {mine:.4g}."


def _words(value: Tensor | str) -> str:
    return value if isinstance(value, str) else f"a tensor of shape {tuple(value.shape)}"


def _in_words(error: Exception, function: Function) -> str:
    """The error and the line of the student's cell that it comes from."""
    cell = getattr(getattr(inspect.unwrap(function), "__code__", None), "co_filename", "")
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == cell]
    text = str(error).strip().splitlines()
    place = f" [line {lines[-1]} of the cell]" if lines else ""
    return f"{type(error).__name__}: {text[0] if text else ''}{place}"


def _kind_of(error: str) -> str:
    """A title for an error."""
    return next((f"it stops: {title}" for text, title in ERRORS.items() if text in error), "it stops with an error")


def _is_empty(function: Function) -> bool:
    """Whether a function does nothing at all: ``...``, ``pass``, a docstring."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return code is not None and not code.co_names and len(code.co_varnames) == code.co_argcount

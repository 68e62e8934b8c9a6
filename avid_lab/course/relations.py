"""How the numbers of a wrong answer are related to the right ones: a factor, an order, a direction.

What is said is what was seen on all test inputs. Sizes have the letters of the exercise's docstring, such as B or K.
"""

from __future__ import annotations

import inspect
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from avid_lab.course.checks import Exercise, Seen

SAME = 1e-3  # tolerance of ratios

# What may have been done to the right numbers, or be left to do.
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "the exponential of what it should be": torch.exp,
    "the logarithm of what it should be": torch.log,
    "1 minus what it should be": lambda x: 1 - x,
    "the square of what it should be": torch.square,
    "the square root of what it should be": torch.sqrt,
    "1 divided by what it should be": torch.reciprocal,
    "the absolute value of what it should be": torch.abs,
    "what it should be, but never below 0": lambda x: x.clamp(min=0),
    "what it should be, but each row divided by its sum": lambda x: x / x.sum(-1, keepdim=True),
    "the softmax of what it should be": lambda x: x.softmax(-1),
}


def found(exercise: Exercise, ours: list[Seen], right: list[Seen]) -> tuple[str, str] | None:
    """The relation of the first wrong part of the result to the right one, as title and explanation."""
    names = [name for name in right[0].values if not name.startswith("the gradient")]
    parts = {name: _numbers(name, ours, right) for name in names}
    wrong = [name for name in names if (part := parts[name]) and not all(_near(a, b) for a, b in part)]
    if not wrong:
        return None
    for one, other in itertools.permutations(wrong, 2):
        if all(_near(x.values[one], y.values[other]) for x, y in zip(ours, right, strict=True)):
            return "the parts of the result are in another order", f"{_name(one)} is what {_name(other)} should be."
    part = parts[wrong[0]]
    assert part is not None
    name = _name(wrong[0])
    if "." not in (kind := _kinds(part)):
        return (kind, f"{name} should be a share.") if kind else None
    for words in (
        _by_factor(exercise, part),
        _by_function(part),
        _by_order(part),
        _by_direction(part),
        _by_step(exercise, part),
    ):
        if words:
            title, text = words
            return title.format(name=name), text.format(name=name)
    return None


def factor_of_all(exercise: Exercise, ours: list[Seen], theirs: list[Seen]) -> str:
    """The factor between all numbers of two functions, gradients too: one letter or a number; else empty."""
    pairs = []
    for a, b in zip(ours, theirs, strict=True):
        if a.values.keys() != b.values.keys():
            return ""
        for name, x in b.values.items():
            y = a.values[name]
            if isinstance(x, str) or isinstance(y, str) or x.shape != y.shape:
                return ""
            if not x.is_floating_point() or not y.is_floating_point():
                return ""
        mine, other = ([x.flatten().double() for x in seen.values.values() if isinstance(x, Tensor)] for seen in (a, b))
        pairs.append((torch.cat(mine), torch.cat(other)))
    ratios = [_ratio(a, b) for a, b in pairs]
    if any(r is None or abs(r - 1) < SAME for r in ratios):
        return ""
    words = _in_letters(exercise, [r for r in ratios if r is not None])
    return words if len(re.findall(r"[A-Za-z]\w*", words)) < 2 else ""


def _name(name: str) -> str:
    return f"`{name.removeprefix('the ')}`" if "[" in name else name


def _numbers(name: str, ours: list[Seen], right: list[Seen]) -> list[tuple[Tensor, Tensor]] | None:
    """A part of the result on all test inputs, ours and the right one; None if it has another form."""
    pairs = [(a.values.get(name), b.values[name]) for a, b in zip(ours, right, strict=True)]
    same = [(a, b) for a, b in pairs if isinstance(a, Tensor) and isinstance(b, Tensor) and a.shape == b.shape]
    return same if len(same) == len(pairs) else None


def _near(a: Tensor | str, b: Tensor | str) -> bool:
    if isinstance(a, str) or isinstance(b, str) or a.shape != b.shape:
        return False
    return torch.allclose(a.double(), b.double(), rtol=1e-4, atol=1e-5, equal_nan=True)


def _kinds(part: list[tuple[Tensor, Tensor]]) -> str:
    """A title if counts stand where shares belong, "." if both are numbers of one kind, else nothing."""
    if all(a.is_floating_point() == b.is_floating_point() for a, b in part):
        return "."
    ratios = [_ratio(a.double(), b.double()) for a, b in part if b.is_floating_point() and b.any()]
    whole = ratios and all(r is not None and r > 1.5 and abs(r - round(r)) < SAME * r for r in ratios)
    return "a count instead of a share" if whole else ""


def _ratio(a: Tensor, b: Tensor) -> float | None:
    """The factor between all numbers of two tensors; None if there is none, NaN if all are zero."""
    keep = b.abs() > 1e-4 * b.abs().max().clamp(min=1e-3) if b.numel() else b.bool()
    if not keep.any() or not torch.allclose(a[~keep], b[~keep], atol=1e-3):
        return None
    ratios = (a[keep] / b[keep]).double()
    middle = ratios.median()
    return float(middle) if ratios.isfinite().all() and (ratios / middle - 1).abs().max() < SAME else None


def _in_letters(exercise: Exercise, ratios: Sequence[float]) -> str:
    """The expression in the exercise's letters, or the number, that is each of these factors; else empty."""
    for words, values in _expressions(_letters(exercise)):
        if all(abs(r / v - 1) < SAME for r, v in zip(ratios, values, strict=True)):
            return words
    constant = all(abs(r / ratios[0] - 1) < SAME for r in ratios)
    return f"{ratios[0]:.3g}" if constant and abs(ratios[0] - 1) > 10 * SAME else ""


def _expressions(letters: list[dict[str, float]]) -> Iterator[tuple[str, list[float]]]:
    """Letters, and products and quotients of two, whose values differ between the test inputs: the simplest first."""
    one = {name: [each[name] for each in letters] for name in letters[0] if all(name in each for each in letters)}
    more = {f"({name} {sign} 1)": [x + by for x in values] for name, values in one.items() if name[0].isupper()
            for sign, by in (("+", 1), ("-", -1))}  # fmt: skip
    pairs = list(itertools.permutations(one, 2))
    every = itertools.chain(
        (one | more).items(),
        ((f"1 / {x}", [1 / v if v else 0 for v in values]) for x, values in (one | more).items()),
        ((f"{x} / {y}", [v / w if w else 0 for v, w in zip(one[x], one[y], strict=True)]) for x, y in pairs),
        ((f"{x} * {y}", [v * w for v, w in zip(one[x], one[y], strict=True)]) for x, y in pairs if x < y),
        (
            (f"1 / ({x} * {y})", [1 / (v * w) if v * w else 0 for v, w in zip(one[x], one[y], strict=True)])
            for x, y in [*((x, x) for x in one), *((x, y) for x, y in pairs if x < y)]
        ),
    )
    for words, values in every:
        if all(v not in (0, 1) for v in values) and len({round(v, 6) for v in values}) > 1:
            yield words, values


def _letters(exercise: Exercise) -> list[dict[str, float]]:
    """For each test input, the sizes by their letters in the docstring, and the numbers among the arguments."""
    names = list(inspect.signature(exercise.reference).parameters)
    shapes: dict[str, list[str]] = {}
    for some, axes in re.findall(r"((?:\w+, )*\w+) \(([^()]*)\)", inspect.getdoc(exercise.reference) or ""):
        for name in some.split(", "):
            shapes.setdefault(name, [axis.strip() for axis in axes.split(",")])
    every = []
    for probe in exercise.probes:
        letters: dict[str, float] = {}
        for name, value in zip(names, probe(), strict=True):
            if isinstance(value, Tensor) and value.ndim:
                sizes = zip(shapes.get(name, []), value.shape, strict=False)
                letters |= {axis: float(size) for axis, size in sizes if axis.isidentifier()}
            elif isinstance(value, (int, float, Tensor)) and not isinstance(value, bool):
                letters[name] = float(value)
        every.append(letters)
    return every


def _by_factor(exercise: Exercise, part: list[tuple[Tensor, Tensor]]) -> tuple[str, str] | None:
    if not all(b.is_floating_point() for _, b in part):
        return None
    telling = [(i, r) for i, (a, b) in enumerate(part) for r in [_ratio(a.double(), b.double())]]
    if any(r is None for _, r in telling):
        return None
    ratios = [r for _, r in telling if r is not None]
    if all(abs(r + 1) < SAME for r in ratios):
        return "the sign is flipped", "On all inputs, {name} has the other sign."
    factor = _in_letters(exercise, ratios)
    many = sum(b.numel() for _, b in part)
    if not factor or (factor[0].isdigit() and factor.replace(".", "").isdigit() and many < 3):
        return None
    return (
        f"the result is {factor} times what it should be",
        f"On all inputs, {{name}} is {factor} times what it should be. Does a sum stand where a mean belongs, a mean "
        "where a sum belongs, or is something divided too often or too rarely?",
    )


def _by_function(part: list[tuple[Tensor, Tensor]]) -> tuple[str, str] | None:
    if sum(b.numel() for _, b in part) < 3 or not all(b.is_floating_point() for _, b in part):
        return None
    for words, function in FUNCTIONS.items():
        if all(a.ndim or ("row" not in words and "softmax" not in words) for a, _ in part) and all(
            _near(a, function(b)) for a, b in part
        ):
            return f"the result is {words}", f"On all inputs, {{name}} is {words}."
    gaps = [(a - b).double() for a, b in part]
    if all(gap.numel() > 2 and float(gap.max() - gap.min()) < SAME * float(gap.abs().max()) for gap in gaps):
        sizes = ", ".join(f"{float(gap.mean()):.3g}" for gap in gaps)
        return (
            "all numbers are off by the same amount",
            f"On each input, one number is added to all of {{name}} ({sizes}): by a term too many, or too few?",
        )
    return None


def _by_order(part: list[tuple[Tensor, Tensor]]) -> tuple[str, str] | None:
    if not all(b.ndim > 0 and b.shape[-1] > 1 and _distinct(b) for _, b in part):
        return None
    if all(_near(a.sort(-1).values, b.sort(-1).values) for a, b in part):
        if all(_near(a, b.flip(-1)) for a, b in part):
            return "the order is reversed", "{name} has the right numbers from the last to the first."
        if all(_near(a, a.sort(-1).values) for a, _ in part) and not all(_near(b, b.sort(-1).values) for _, b in part):
            return "the right numbers are sorted by size", "{name} has the right numbers, but in rising order."
        return "the right numbers are in the wrong order", "{name} has the right numbers, but in another order."
    if all(b.ndim == 2 and b.shape[0] == b.shape[1] and _near(a, b.T) for a, b in part):
        return "rows and columns are swapped", "{name} is transposed."
    if all(b.ndim == 2 and b.shape[0] > 1 and _near(a.sort(0).values, b.sort(0).values) for a, b in part):
        return "the right rows are in the wrong order", "{name} has the right rows, but at other places."
    return None


def _distinct(x: Tensor) -> bool:
    """Whether no row holds a number twice, so that an order means something."""
    return bool((x.double().sort(-1).values.diff(dim=-1) != 0).all())


def _by_direction(part: list[tuple[Tensor, Tensor]]) -> tuple[str, str] | None:
    """Vectors, the whole or the rows, of the right direction and the wrong length."""
    if not all(b.is_floating_point() and b.ndim in (1, 2) and b.shape[-1] > 2 for _, b in part):
        return None
    turned = [torch.nn.functional.cosine_similarity(a.double(), b.double(), dim=-1) for a, b in part]
    if not all((cosine > 1 - 1e-6).all() for cosine in turned):
        return None
    unit = all(torch.allclose(a.norm(dim=-1), torch.ones(()).to(a), atol=1e-4) for a, _ in part)
    title = "the length is wrong, the direction right"
    return title, "{name} points in the right direction" + (
        ", but it is normalised to length one: it should not be." if unit else ", but its length is wrong."
    )


def _by_step(exercise: Exercise, part: list[tuple[Tensor, Tensor]]) -> tuple[str, str] | None:
    """A step from an argument that is too long or too short."""
    names = list(inspect.signature(exercise.reference).parameters)
    for name, place in zip(names, range(len(names)), strict=True):
        starts = [probe()[place] for probe in exercise.probes]
        if not all(isinstance(x, Tensor) and x.shape == b.shape for x, (_, b) in zip(starts, part, strict=True)):
            continue
        ratios = [
            _ratio(a.double() - x.double(), b.double() - x.double()) for x, (a, b) in zip(starts, part, strict=True)
        ]
        if any(r is None for r in ratios):
            continue
        factor = _in_letters(exercise, [r for r in ratios if r is not None])
        if factor:
            return (
                f"the step from `{name}` is {factor} times what it should be",
                f"On all inputs, {{name}} minus `{name}` is {factor} times what it should be.",
            )
    return None

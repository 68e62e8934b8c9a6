"""Mistakes by mutation: an exercise's solution with one or two things changed, each change with its sentence.

A wrong answer that behaves like such a mutant has made that mistake, however it is written. There are thousands of
pairs of changes, so their behaviour is computed once (`build`, when the course is published) and kept as one number
each in ``mutants.npz``. `candidates` looks there, and the caller runs the few that it finds.
"""

from __future__ import annotations

import ast
import copy
import functools
import hashlib
import inspect
import itertools
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

if TYPE_CHECKING:
    from avid_lab.course.checks import Exercise

    Function = Callable[..., Any]

TABLE = Path(__file__).with_name("mutants.npz")
NEAR, SAME = 3e-4, 1e-5  # how far the numbers of two functions, or mutants, that do the same may differ
NONE = 2**16 - 1  # no second change

# What students write instead of parts of the solution. A, B, C stand for any code, I for a name, *X for further
# arguments; ALL, GRAD, ... for each argument of a kind, see `KINDS`. The most natural comes first: a mistake gets the
# first sentence that fits. Lines below "odd" are only tried alone.
CHANGES = """
GRAD = GRAD.detach() | `GRAD` is detached: no gradient reaches it
LIST = torch.arange(len(LIST)) | the numbers 0, 1, 2, ... of the rows stand in the place of `LIST`
RATE = RATE * 0 + 1 | `RATE` is missing: it has the effect of 1
RATE = RATE * 0 | `RATE` is missing: it has the effect of 0
RATE = RATE * 0 + 0.5 | `RATE` is missing: it has the effect of 0.5
RATE = 1 / RATE | `RATE` is used the wrong way round: multiply or divide?
RATE = 1 - RATE | `RATE` is the wrong way round: it and 1 - `RATE` are exchanged
RATE = RATE**2 | `RATE` is applied twice
RATE = -RATE | the sign of `RATE` is flipped
RATE = math.exp(RATE) | the exponential of `RATE` is used: its logarithm is missing
COUNT = COUNT + 1 | one too many: `COUNT` is off by one
COUNT = COUNT - 1 | one too few: `COUNT` is off by one
COUNT = 1 | `COUNT` is ignored, as if it were 1
ALL, LIKE = LIKE, ALL | `ALL` and `LIKE` are swapped
ALL = LIKE | `ALL` is not used: `LIKE` stands in its place
GRAD = -GRAD | the sign of `GRAD` is flipped
VECTOR = VECTOR.mean()[None].expand_as(VECTOR) | `VECTOR` is averaged first: only its mean counts
FLOATS = F.normalize(FLOATS, dim=0) | `FLOATS` is normalised along the wrong axis
A.mean(*X) -> A.sum(*X) | a sum instead of a mean
A.sum(*X) -> A.mean(*X) | a mean instead of a sum
A.log().sum(*X) -> A.sum(*X).log() | the log of the sum instead of the sum of the logs
A.log().mean(*X) -> A.mean(*X).log() | the log of the mean instead of the mean of the logs
A.exp().mean(*X) -> A.mean(*X).exp() | the exponential of the mean instead of the mean of the exponential
A.mean(1) -> A.mean() | the mean runs over everything instead of along axis 1
A.mean(2) -> A.mean(1) | the mean runs along the wrong axis
A.mean(1) -> A.mean(0) | the mean runs along the wrong axis
A.sum(1) -> A.sum(0) | the sum runs along the wrong axis
A.sum(0) -> A.sum(1) | the sum runs along the wrong axis
A.sum(1) -> A.sum() | the sum runs over everything instead of along axis 1
A.sum(1) -> A.sum(1) * TABLE.shape[1] | {A} counts once for each column of `TABLE`: combined before the sum?
A.sum(1) -> A.sum(1) / TABLE.shape[1] | {A} is divided by the number of columns of `TABLE`
A.mean(1) -> A.mean(1) / TABLE.shape[1] | {A} is divided by the number of columns of `TABLE` once more
A.sum(1, keepdim=True) -> A.sum(1) | an axis is lost (`keepdim`)
A.mean() -> A | the mean at the end is missing: the result should be one number
A.mean() -> A.mean(-1) | one number for each row: the mean over the rows is missing
A.mean() -> A.mean(0) | one number for each column: the mean over the columns is missing
A.sum() -> A.sum(1) | one number for each row: the sum over the rows is missing
A.max() -> A.min() | the minimum instead of the maximum
A.max() -> A.amax(0) | the maximum of each column instead of all
A.max() -> A.amax(1, keepdim=True) | the maximum of each row instead of all
A.exp() -> A | `exp` is missing
A.log() -> A | `log` is missing
math.log(A) -> A | `log` is missing
A.log10() -> A | `log10` is missing
A.log10() -> A.log() | the natural logarithm instead of `log10`
A.softmax(1) -> A | the softmax is missing
A.softmax(1) -> A.softmax(0) | the softmax runs along the wrong axis
A.softmax(0) -> A.softmax(1) | the softmax runs along the wrong axis
A.softmax(1) -> A.sigmoid() | a sigmoid instead of a softmax
A.softmax(1) -> A.softmax(1).softmax(1) | the softmax is taken twice
A.detach() -> A | a gradient flows where a constant belongs: `detach` is missing
A.clone() -> A | it works on what it was given: `clone` is missing
A.clamp(min=B) -> A | `clamp` is missing: there is no lower bound
A.clamp(max=B) -> A | `clamp` is missing: there is no upper bound
A.clamp(min=B) -> A.clamp(max=B) | `clamp(max=...)` instead of `clamp(min=...)`
A.std(correction=0) -> A.std() | divided by B - 1 (unbiased) instead of B
A.std(correction=0) -> A.var(correction=0) | the variance instead of the standard deviation
A.long() -> A.round().long() | rounded to the nearest instead of down
A.argmax(1) -> A.argmin(1) | the smallest instead of the largest
A.argmax(1) -> A.amax(1) | the largest count instead of the class that has it
A.sort(dim=1, descending=True, stable=True) -> A.sort(dim=1, stable=True) | the worst instead of the best: rising order
A.sort(dim=1, descending=True, stable=True) -> A.sort(dim=0, descending=True, stable=True) | the wrong axis
A.topk(B, dim=1) -> A.topk(B, dim=1, largest=False) | the smallest instead of the largest
A.topk(B, dim=1) -> A.topk(B, dim=0) | `topk` runs along the wrong axis
A.fill_diagonal_(B) -> A | the diagonal is not excluded
A.indices -> A.values | values instead of indices
A.T -> A | not transposed: `.T` is missing
F.normalize(A, dim=1) -> A | you forgot to normalise
F.normalize(A, dim=1) -> F.normalize(A, dim=0) | normalised along the wrong axis
F.normalize(A, dim=1) -> A / A.norm() | divided by one length of everything instead of each row's
F.normalize(A, dim=1) -> A / A.sum(1, keepdim=True) | divided by each row's sum instead of its length: not normalised
F.softplus(A) -> A.sigmoid() | the logarithm is missing: probabilities instead of their logarithms
F.softplus(A - B) -> F.softplus(B - A) | the sign is flipped: the difference is the wrong way round
F.logsigmoid(A) -> A.sigmoid() | the logarithm of the sigmoid is missing
F.cross_entropy(A, B) -> F.cross_entropy(A, B, reduction="sum") | the batch is summed instead of averaged
A @ B.T -> torch.cdist(A, B) | distances instead of similarities
A @ B.T -> F.normalize(A, dim=1) @ F.normalize(B, dim=1).T | rows are normalised that should stay as they are
F.normalize(A, dim=1) -> A / A.square().sum(1, keepdim=True) | divided by the squared length instead of the length
torch.minimum(A, B) -> torch.minimum(A.abs(), B.abs()) | absolute values: opposite counts as alike
torch.minimum(A, B) -> torch.maximum(A, B) | the larger instead of the smaller
torch.minimum(A, B) -> A + B | the sum instead of the smaller (or the average, if only the order counts)
torch.minimum(A, B) -> A | only the first of the two counts
torch.minimum(A, B) -> B | only the second of the two counts
torch.special.ndtr(A) -> A.sigmoid() | a logistic curve instead of the normal distribution
torch.special.ndtr(A) -> torch.erf(A) | `erf` instead of the normal distribution
torch.special.ndtr(A) -> A | the normal distribution (`ndtr`) is missing
torch.cat([A, B], dim=1) -> torch.cat([B, A], dim=1) | two parts are joined in the wrong order
A.unflatten(1, (-1, 2)) -> A.unflatten(1, (2, -1)) | pairs along the wrong axis: of far bins, not of neighbours
A.shape[1] -> A.shape[0] | the number of rows (the batch) of {A} instead of its columns
A.shape[1] -> 1 | the number of columns of {A} is missing
A.shape[1] -> A.numel() | the size of everything instead of the number of columns of {A}
len(ALL) -> len(LIKE) | the number of rows of `LIKE` instead of those of `ALL`
len(ALL) -> LIKE.shape[1] | the number of columns of `LIKE` instead of the rows of `ALL`
ALL.shape[1] -> LIKE.shape[1] | the number of columns of `LIKE` instead of those of `ALL`
ALL.shape[1] -> len(LIKE) | the number of rows of `LIKE` instead of the columns of `ALL`
ALL.shape[1] -> (ALL.shape[1] + LIKE.shape[1]) | the columns of `LIKE` are counted, too, not only those of `ALL`
A.shape[1] -> (A.shape[1] + 1) | one too many: the number of columns of {A} plus 1
A.shape[1] -> (A.shape[1] - 1) | one too few: the number of columns of {A} minus 1
len(A) -> A.shape[1] | the number of columns of {A} instead of its rows
len(A) -> 1 | the number of rows of {A} is missing
A[I] -> A[:len(I)] | the first rows of {A} are used: nothing is looked up by its number
A[I] -> I | {A} is not looked up: the numbers of instances are used as they are
A[:, None] -> A | `[:, None]` is missing: rows and columns are mixed up
A[:, :B] -> A[:, 1:B + 1] | the first column is skipped
A[:, :B] -> A | all columns instead of the first few
A[:, 1:] -> A[:, :-1] | the last is left out instead of the first: `1:` leaves out the lowest
A[:, 1:] -> A | nothing is left out: `1:` is missing
A[:, :1] -> A[:, :0] | the first column of {A} is missing
A / B + C -> (A + C) / B | brackets: {C} is added before the division, not after it
A * (B + C) -> A * B + C | brackets: {C} stands outside the product
A * (B - C) -> A * B - C | brackets: {C} stands outside the product
A + B -> A | the second of two terms is missing: {B}
A + B -> B | the first of two terms is missing: {A}
A + B -> A - B | a sign is flipped: minus instead of plus before {B}
A + B -> B - A | a sign is flipped: minus instead of plus before {A}
A + B -> A * B | a product instead of a sum
A - B -> A | a subtraction is missing: {B}
A - B -> B - A | the sign is flipped: the difference is the wrong way round
A - B -> A + B | the sign is wrong: plus instead of minus before {B}
A - B -> -B | {A} is missing: only what is subtracted remains
A - B -> B | what should be subtracted from {A} stands alone
A * B -> B | a factor is missing: {A}
A * B -> A | a factor is missing: {B}
A * B -> A + B | a sum instead of a product of {A} and {B}
A * B -> A / B | divided instead of multiplied: {B}
A / B -> A | a division is missing: {B}
A / B -> A * B | multiplied instead of divided: {B}
A / B -> A / B / B | divided twice: {B}
A / B -> 1 / B | a numerator is missing: {A}
A @ B -> (A @ B).T | rows and columns are swapped: the product is the wrong way round
-A -> A | the sign is flipped: a minus is missing
A > B -> A >= B | `>=` instead of `>`: equal values count, too
A > B -> A < B | `<` instead of `>`
A < B -> A <= B | `<=` instead of `<`: one more counts
A < B -> A >= B | the comparison is the wrong way round: `>=` instead of `<`
A < B -> A == B | `==` instead of `<`: only one rank counts
A == B -> A != B | the comparison is the wrong way round: `!=` instead of `==`
A == B -> A >= B | `>=` instead of `==`
return A -> return -A | the sign of the result is flipped
return A -> return A.log() | a logarithm too many at the end
return A -> return A.exp() | an `exp` too many at the end
return A -> return 2 * A - 1 | rescaled: twice the result, minus 1
return A -> return A.T | rows and columns of the result are swapped
return A -> return A.detach() | the result is detached: no gradient flows
return A, B -> return B, A | the results are in the wrong order
return A, B -> return A | only the first result is returned
return A, B -> return A, 1 - B | the second result is 1 minus what it should be
return A -> return A * FLOATS.shape[0] | the batch (the rows of `FLOATS`) is summed, not averaged
return A -> return A / FLOATS.shape[0] | averaged over the rows of `FLOATS` once too often
return A -> return A * TABLE.shape[1] | summed instead of averaged over the columns of `TABLE`
return A -> return A / TABLE.shape[1] | averaged instead of summed over the columns of `TABLE`
odd
A.mean() -> A.median() | the median instead of the mean
A.mean(*X) -> A.amax(*X) | the maximum instead of the mean
A.log() -> A.log2() | `log2` instead of the natural logarithm
A.sum(0) -> A.mean() | a mean of everything instead of a sum along axis 0
return A -> return 2 * A | the result is twice what it should be
return A -> return A / 2 | the result is half of what it should be
return A -> return 100 * A | the result is in per cent instead of a share: 100 times too large
return A -> return 1 - A | the opposite is counted: 1 minus what it should be
return A -> return A * RATE | the result is multiplied by `RATE`
return A -> return A / COUNT | the result is divided by `COUNT`
return A -> return A.mean() | a mean too many at the end
return A -> return A.mean(0) | a mean over the rows too many at the end
return A -> return A.amin(1) | a minimum too many at the end
return A -> return A.abs() | negative results lose their sign: an absolute value too many
return A -> return A.clamp(min=0) | negative results are clamped to 0
return A -> return A.softmax(1) | a softmax too many at the end
return A -> return A / A.sum() | divided by the sum: normalised once too often
return A -> return A - A.max() | the largest value is subtracted from the result
return A -> return A.flip(1) | the order within each row is reversed
100 -> 80 | 80 instead of 100
100 -> 20 | 20 instead of 100: a factor of 100 is 20 dB
ALL -> LIKE | `LIKE` stands in a place where `ALL` belongs
GRAD -> GRAD.detach() | `GRAD` is detached in one place: a part of its gradient is lost
FLOATS -> FLOATS.abs() | `FLOATS` loses its sign in one place: an absolute value
COUNT -> (COUNT + 1) | `COUNT + 1` stands in a place where `COUNT` belongs
COUNT -> (COUNT - 1) | `COUNT - 1` stands in a place where `COUNT` belongs
A.mean() -> A[0].mean() | only the first row counts
TABLE = TABLE[:, :1] | only the first column of `TABLE` counts
ALL = ALL[:1].expand_as(ALL) | all rows use the first row of `ALL`
FLOATS = FLOATS.T | rows and columns of `FLOATS` are swapped
FLOATS = F.normalize(FLOATS, dim=1) | the rows of `FLOATS` are normalised, but they should stay as they are
FLOATS = FLOATS.softmax(1) | a softmax is taken of `FLOATS` first
FLOATS = FLOATS.mean(1, keepdim=True) | the rows of `FLOATS` are averaged first
FLOATS = FLOATS.amax(1, keepdim=True) | only the largest in each row of `FLOATS` counts
FLOATS = FLOATS.abs() | `FLOATS` loses its sign: an absolute value too many
"""

KINDS: dict[str, Callable[[Any], bool]] = {
    "ALL": lambda x: isinstance(x, Tensor) and x.ndim > 0,
    "GRAD": lambda x: isinstance(x, Tensor) and x.requires_grad,
    "TABLE": lambda x: isinstance(x, Tensor) and x.ndim == 2,
    "FLOATS": lambda x: isinstance(x, Tensor) and x.ndim == 2 and x.is_floating_point(),
    "VECTOR": lambda x: isinstance(x, Tensor) and x.ndim == 1 and x.is_floating_point(),
    "LIST": lambda x: isinstance(x, Tensor) and x.ndim == 1 and not x.is_floating_point(),
    "RATE": lambda x: isinstance(x, float) or (isinstance(x, Tensor) and x.ndim == 0),
    "COUNT": lambda x: isinstance(x, int),
}


@dataclass(frozen=True)
class Change:
    """A line of `CHANGES` for one exercise; a statement for the beginning of the function has no pattern."""

    pattern: ast.AST | None
    instead: ast.AST
    sentence: str
    odd: bool


@dataclass(frozen=True)
class Single:
    """A change at one place of one form of the solution."""

    form: int
    place: int  # of the node, in the order of `ast.walk`
    change: Change
    sentence: str


@dataclass(frozen=True)
class Mutant:
    """A changed solution, what to say of an answer that behaves like it, and whether one natural change makes it."""

    title: str
    explanation: str
    function: Function
    natural: bool
    two: bool = False


ONE = "On all test inputs, a right answer with this one change does the same as yours. Your code may look different."
BOTH = "On all test inputs, a right answer with both changes does the same as yours. Your code may look different."


def both(one: str, other: str) -> tuple[str, str]:
    """What to say of an answer that behaves as if it had two mistakes: title and explanation."""
    return f"the numbers fit two mistakes at once: {one}; and {other}", BOTH


class Mutants:
    """All changes of an exercise's solution, the most natural first."""

    def __init__(self, exercise: Exercise) -> None:
        self.forms = (exercise.reference, *exercise.forms)
        self.sources = [textwrap.dedent(inspect.getsource(form)) for form in self.forms]
        self.trees = [_parse(source) for source in self.sources]
        given = dict(zip(inspect.signature(exercise.reference).parameters, exercise.probes[0](), strict=True))
        kinds: list[dict[type, list[tuple[int, ast.AST]]]] = []  # of nodes, for speed
        for tree in self.trees:
            kinds.append({})
            for place, node in enumerate(ast.walk(tree)):
                kinds[-1].setdefault(type(node), []).append((place, node))
        origins = [_origins(tree, given) for tree in self.trees]
        self.singles = [
            Single(form, place, change, _worded(change, found, node, origins[form], given))
            for change in _changes(given)
            for form in range(len(self.trees))
            for place, node in kinds[form].get(type(change.pattern or self.trees[form]), ())
            if (found := _match(change.pattern, node) if change.pattern else {}) is not None
        ]
        code = [ast.unparse(tree) for tree in self.trees]
        code += [f"{s.place} {s.change.odd} {ast.unparse(s.change.instead)}" for s in self.singles]
        self.digest = hashlib.sha1("".join(code).encode()).hexdigest()[:12]

    def pairs(self) -> Iterator[tuple[int, int]]:
        """Two changes at different places of the form in which most can be changed: the plainest."""
        natural = [s.form for s in self.singles if not s.change.odd]
        plainest = max(reversed(range(len(self.forms))), key=natural.count)
        last = [(i, s) for i, s in enumerate(self.singles) if s.form == plainest and not s.change.odd]
        for (i, a), (j, b) in itertools.combinations(last, 2):
            if a.place != b.place or a.place == 0:
                yield i, j

    def made(self, *chosen: int) -> Mutant:
        """The solution with one or two changes.

        Raises:
            SyntaxError: They do not fit together.
        """
        singles = [self.singles[i] for i in chosen if i != NONE]
        form = self.forms[singles[0].form]
        tree = _parse(self.sources[singles[0].form])
        for place, node in enumerate(ast.walk(tree)):
            node.__dict__["place"] = place
        function = _compiled(_Rewrite(singles).visit(tree), form)
        sentences = list(dict.fromkeys(single.sentence for single in singles))
        if len(sentences) > 1:
            return Mutant(*both(*sentences), function, natural=False, two=True)
        if any(single.change.odd for single in singles):
            return Mutant(f"the numbers fit this change: {sentences[0]}", ONE, function, False)
        return Mutant(sentences[0], ONE, function, True)


def _compiled(tree: ast.AST, like: Function) -> Function:
    """A function of this code in the module of another."""
    space = dict(inspect.unwrap(like).__globals__)
    try:
        exec(compile(ast.fix_missing_locations(ast.Module([tree], [])), "<mutant>", "exec"), space)  # type: ignore[arg-type]
    except ValueError as error:  # something that nothing can be assigned to
        raise SyntaxError(str(error)) from None
    return space[like.__name__]


def known_and_one(exercise: Exercise) -> Iterator[tuple[tuple[str, str], Function]]:
    """Each known mistake together with another use of an argument: their two sentences and the function."""
    begins = {
        s.sentence: s.change for s in mutants_of(exercise).singles if s.change.pattern is None and not s.change.odd
    }
    for title, (answer, _) in exercise.mistakes.items():
        for sentence, change in begins.items():
            tree = _parse(textwrap.dedent(inspect.getsource(answer)))
            assert isinstance(change.instead, ast.stmt)
            tree.body.insert(0, copy.deepcopy(change.instead))
            try:
                yield (title, sentence), _compiled(tree, answer)
            except SyntaxError:
                continue


def candidates(exercise: Exercise, fingerprint: float, solution: float) -> Iterator[Mutant]:
    """Mutants that may behave like a function with this fingerprint, the most natural first.

    Args:
        exercise: The exercise.
        fingerprint: Of the student's function.
        solution: Of the reference. If it is not that of the table, only single changes are tried.
    """
    known = mutants_of(exercise)
    chosen: Iterable[tuple[int, ...]] = ((i,) for i in range(len(known.singles)))
    if is_current(exercise, solution):
        rows = _table()[exercise.name][1:]
        chosen = rows[np.abs(rows["fingerprint"] - fingerprint) < NEAR][["a", "b"]].tolist()
    for numbers in chosen:
        try:
            yield known.made(*numbers)
        except SyntaxError:
            continue


def is_current(exercise: Exercise, solution: float) -> bool:
    """Whether the table was made with this solution, these changes, and probes that give the solution's fingerprint."""
    rows = _table().get(exercise.name, ())
    same = len(rows) > 0 and _table()[f"{exercise.name}.digest"] == mutants_of(exercise).digest
    return bool(same and abs(rows["fingerprint"][0] - solution) < NEAR)


@functools.cache
def mutants_of(exercise: Exercise) -> Mutants:
    """The mutants of an exercise."""
    return Mutants(exercise)


@functools.cache
def _table() -> Mapping[str, Any]:
    return dict(np.load(TABLE)) if TABLE.exists() else {}


def build(exercises: Iterable[Exercise], behaviour: Callable[[Exercise, Function], float | None]) -> str:
    """Bring the table up to date; exercises that did not change keep their rows.

    Args:
        exercises: Some that are judged by their values.
        behaviour: The fingerprint of a function, None if it fails.

    Returns:
        What was made.
    """
    table = dict(_table())
    for exercise in exercises:
        known, solution = mutants_of(exercise), behaviour(exercise, exercise.reference)
        assert solution is not None
        if is_current(exercise, solution):
            continue
        rows = [(solution, NONE, NONE)]
        for numbers in itertools.chain(((i, NONE) for i in range(len(known.singles))), known.pairs()):
            try:
                found = behaviour(exercise, known.made(*numbers).function)
            except SyntaxError:
                continue
            if found is not None:
                rows.append((found, *numbers))
        made = np.array(rows, [("fingerprint", "f4"), ("a", "u2"), ("b", "u2")])
        _, first = np.unique(np.round(made["fingerprint"] / SAME), return_index=True)  # the most natural of equals
        table[exercise.name], table[f"{exercise.name}.digest"] = made[np.sort(first)], np.array(known.digest)
        np.savez_compressed(TABLE, **table)
    return f"{sum(len(rows) for name, rows in table.items() if '.' not in name)} mutants"


# --- code -------------------------------------------------------------------------------------------------------------


def _parse(source: str) -> ast.FunctionDef:
    (tree,) = ast.parse(source).body
    assert isinstance(tree, ast.FunctionDef)
    if ast.get_docstring(tree) is not None:
        del tree.body[0]
    return tree


def _changes(given: Mapping[str, Any]) -> Iterator[Change]:
    """The lines of `CHANGES`, one for each argument of the kinds that they name."""
    odd = False
    for line in CHANGES.strip().splitlines():
        odd |= line == "odd"
        for text in _for_each_argument(line, given) if " | " in line else ():
            code, sentence = text.split(" | ")
            before, _, after = code.rpartition(" -> ")
            yield Change(_statement(before) if before else None, _statement(after), sentence, odd)


def _for_each_argument(line: str, given: Mapping[str, Any]) -> Iterator[str]:
    kind = next((kind for kind in KINDS if re.search(rf"\b{kind}\b", line)), None)
    for name in given if kind else ():
        text = re.sub(rf"\b{kind}\b", name, line)
        if kind and KINDS[kind](given[name]) and "LIKE" not in text:
            yield text
        elif kind and KINDS[kind](given[name]):
            fits = _alike if re.search(r"\bLIKE\b(?!\.shape|\))", text.split(" | ")[0]) else _countable
            columns = "LIKE.shape" in text
            yield from (
                text.replace("LIKE", other)
                for other in given
                if other != name and fits(given[name], given[other]) and (not columns or given[other].ndim > 1)
            )
    if kind is None:
        yield line


def _alike(a: Tensor, b: Any) -> bool:
    return isinstance(b, Tensor) and a.ndim == b.ndim and a.is_floating_point() == b.is_floating_point()


def _countable(_: Tensor, other: Any) -> bool:
    return isinstance(other, Tensor) and other.ndim > 0


def _statement(code: str) -> ast.AST:
    (node,) = ast.parse(code).body
    return node.value if isinstance(node, ast.Expr) else node


def _match(pattern: Any, node: Any) -> dict[str, Any] | None:
    """What the letters of a pattern stand for in a node; None if it does not match."""
    if isinstance(pattern, ast.Name) and re.fullmatch("[A-E]", pattern.id):
        return {pattern.id: node} if isinstance(node, ast.expr) else None
    if isinstance(pattern, ast.Name) and pattern.id == "I":
        return {"I": node} if isinstance(node, ast.Name) else None
    if isinstance(pattern, ast.Call) and isinstance(node, ast.Call) and _is_open(pattern):
        found = _match(pattern.func, node.func)
        return None if found is None else found | {"X": (node.args, node.keywords)}
    if isinstance(pattern, list):
        parts = zip(pattern, node, strict=True) if isinstance(node, list) and len(node) == len(pattern) else None
    elif isinstance(pattern, ast.AST):
        fields = [name for name in pattern._fields if name not in ("ctx", "kind")]
        same = type(pattern) is type(node)
        parts = ((getattr(pattern, name), getattr(node, name)) for name in fields) if same else None
    else:
        return {} if pattern == node and type(pattern) is type(node) else None
    bound: dict[str, Any] = {}
    for found in (_match(*pair) for pair in parts) if parts is not None else [None]:
        if found is None:
            return None
        bound |= found
    return bound


def _is_open(call: ast.Call) -> bool:
    """Whether a call of a pattern takes any arguments, ``*X``."""
    return isinstance(call.args[-1] if call.args else None, ast.Starred)


class _Rewrite(ast.NodeTransformer):
    """Makes changes at their places, the inner ones first."""

    def __init__(self, singles: list[Single]) -> None:
        self.singles = singles

    def visit(self, node: ast.AST) -> Any:
        place = node.__dict__.get("place")
        node = self.generic_visit(node)
        for change in (single.change for single in self.singles if single.place == place):
            if change.pattern is None:
                assert isinstance(node, ast.FunctionDef) and isinstance(change.instead, ast.stmt)
                node.body.insert(0, copy.deepcopy(change.instead))
                continue
            found = _match(change.pattern, node)
            if found is None:
                raise SyntaxError("the other change has taken away what this one changes")
            new = _Fill(found).visit(copy.deepcopy(change.instead))
            if hasattr(node, "ctx"):
                new.ctx = node.ctx  # type: ignore[attr-defined]
            node = new
        return node


class _Fill(ast.NodeTransformer):
    """Puts code in the place of letters."""

    def __init__(self, found: Mapping[str, Any]) -> None:
        self.found = found

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return self.found.get(node.id, node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if _is_open(node):
            node.args, node.keywords = self.found["X"]
            node.func = self.visit(node.func)
            return node
        return self.generic_visit(node)


# --- words ------------------------------------------------------------------------------------------------------------


def _worded(
    change: Change,
    found: Mapping[str, Any],
    node: ast.AST,
    origins: Callable[[ast.AST], set[str]],
    given: Mapping[str, Any],
) -> str:
    """The sentence of a change, with code that students know and the arguments that its place depends on."""
    tensors = [name for name in given if isinstance(given[name], Tensor)]

    def near(names: set[str]) -> str:
        chosen = [f"`{name}`" for name in tensors if name in names]
        return " and ".join(chosen) if 0 < len(chosen) <= min(2, len(tensors) - 1) else ""

    sentence = change.sentence
    letters = {letter: part for letter, part in found.items() if letter != "X"}
    for letter, part in letters.items():
        code = ast.unparse(part)
        known = {n.id for n in ast.walk(part) if isinstance(n, ast.Name)} <= {*given, "len", "K"}
        others = set().union(*(origins(letters[other]) for other in letters if other != letter))
        where = near(origins(part) - others) or near(origins(part))
        words = f"the part with {where}" if where else "a part"
        sentence = sentence.replace(f"{{{letter}}}", f"`{code}`" if known and len(code) < 32 else words)
    sentence = sentence.removesuffix(": a part").removesuffix(" of a part and a part")
    where = near(origins(node)) if change.pattern is not None and "the part with" not in sentence else ""
    return (
        f"{sentence} (in the part with {where})"
        if where and not all(n in sentence for n in where.split(" and "))
        else sentence
    )


def _origins(tree: ast.FunctionDef, given: Mapping[str, Any]) -> Callable[[ast.AST], set[str]]:
    """A function that says on which arguments a piece of code depends."""
    made = {name: {name} for name in given}

    def names(node: ast.AST) -> set[str]:
        if isinstance(node, ast.Name):
            return made.get(node.id, set())
        if (isinstance(node, ast.Attribute) and node.attr == "shape") or ast.unparse(node).startswith("len("):
            return set()  # a size says nothing about the values
        return set().union(*map(names, ast.iter_child_nodes(node)))

    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.For):
            target, value = (node.targets[0], node.value) if isinstance(node, ast.Assign) else (node.target, node.iter)
            for name in (n.id for n in ast.walk(target) if isinstance(n, ast.Name)):
                made[name] = made.get(name, set()) | names(value)
    return names

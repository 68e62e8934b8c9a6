"""Notebook 07: your own loss. Any function with these properties trains."""

from __future__ import annotations

import torch

from avid_lab.course.checks import Exercise, Property
from avid_lab.course.exercises.inputs import normal


def my_loss(positive, negative, Z):
    """positive (B, P), negative (B, K): similarity / temperature; Z: a constant you may ignore -> one number, to minimise."""
    margin = 1.0 / 0.07 * 0.2  # a similarity of 0.2, as a score
    return (margin + negative[:, None] - positive[:, :, None]).clamp(min=0).mean()


def _turned(positive, negative, Z):
    """It pulls the wrong way. The gradient pushes the positives away. A loss must *fall* when a positive's score
    rises.
    """
    return -my_loss(positive, negative, Z)


def _no_push(positive, negative, Z):
    """Negatives do not count. Without negatives, the loss is perfect when all clips map to one point. That is
    collapse.
    """
    return -positive.mean()


def _no_pull(positive, negative, Z):
    """Positives do not count. Nothing pulls a picture to its own sound: use `positive`."""
    return negative.logsumexp(1).mean()


def _vector(positive, negative, Z):
    """The result is not one number. Return one number: end with `.mean()`."""
    return negative.logsumexp(1) - positive.mean(1)


def _summed(positive, negative, Z):
    """The loss depends on the size of the batch. Average over the batch instead of summing. Otherwise the learning rate
    has to change with the batch size.
    """
    return (negative.logsumexp(1) - positive.mean(1)).sum()


def _overflows(positive, negative, Z):
    """The result is NaN or infinite. Subtract before `exp`, or use `logsumexp`, `softplus`, `logsigmoid`: they
    compute the same formulas, safely at any score.
    """
    return (negative.exp().sum(1).square().square().log() - positive.mean(1)).mean()


def _one_query(positive, negative, Z):
    """The order of the queries matters. Every query of the batch must count: end with a mean over all of them."""
    return (negative.logsumexp(1) - positive.mean(1))[0]


def _one_positive(positive, negative, Z):
    """The order of the positives matters. CMA has several positives per query, and all must count."""
    return (negative.logsumexp(1) - positive[:, 0]).mean()


def _order(positive, negative, Z):
    """The order of the negatives matters. The order of the negatives is random, so your loss must not depend on it."""
    weight = torch.linspace(1, 2, negative.shape[1])
    return ((negative * weight).logsumexp(1) - positive.mean(1)).mean()


def _scores(P=1):
    return (
        normal(6, P, seed=0, scale=2.0, grad=True),
        normal(6, 9, seed=1, scale=2.0, grad=True),
        torch.tensor(1.5),
    )


def _confused():
    """A network that has it the wrong way round: positives score low and negatives high."""
    positive, negative, z = _scores()
    return (positive - 4).detach().requires_grad_(), (negative + 4).detach().requires_grad_(), z


def _gradients(function):
    positive, negative, z = _confused()
    value = function(positive, negative, z)
    return torch.autograd.grad(value.sum(), (positive, negative), allow_unused=True)


def _one_number(function):
    value = function(*_scores())
    if not isinstance(value, torch.Tensor) or value.ndim == 0:
        return None
    return f"It has shape {tuple(value.shape)}."


def _has_slope(function):
    value = function(*_scores())
    if not isinstance(value, torch.Tensor):
        return f"It is a {type(value).__name__}, not a tensor: `.item()` and `float()` cut the gradient off."
    if not value.requires_grad:
        return "No gradient reaches the scores. Comparisons, `round` and `argmax` have no slope; `detach` and `no_grad` cut it off."
    return None


def _many_positives(function):
    function(*_scores())
    try:
        function(*_scores(3))
    except Exception as error:
        first = str(error).splitlines()[0] if str(error) else ""
        return f"With positives (6, 3) and negatives (6, 9): {type(error).__name__}: {first}"
    return None


def _pulls(function):
    pull = _gradients(function)[0]
    return "The positives have no gradient at all." if pull is None or not pull.any() else None


def _pushes(function):
    push = _gradients(function)[1]
    return "The negatives have no gradient at all." if push is None or not push.any() else None


def _direction(function):
    pull, push = _gradients(function)
    if pull is not None and pull.sum() > 0:
        return "Where positives score low, raising their scores raises your loss."
    if push is not None and push.sum() < 0:
        return "Where negatives score high, raising their scores lowers your loss."
    return None


def _finite(function):
    for score in (14.3, -14.3, 100.0):
        positive = torch.full((3, 1), -score, requires_grad=True)
        value = function(positive, torch.full((3, 5), score), torch.tensor(1e3))
        gradient = None
        if value.requires_grad:
            gradient = torch.autograd.grad(value, positive, allow_unused=True)[0]
        if not value.isfinite() or (gradient is not None and not gradient.isfinite().all()):
            return (
                f"At scores of ±{abs(score):g} (possible values of similarity / temperature) it gives {value.item():g}."
            )
    return None


def _changes(function, change):
    """Whether the loss changes with a change of its scores, for one positive and for three."""
    pairs = [(_scores(P), change(*_scores(P))) for P in (1, 3)]
    return not all(torch.allclose(function(*a), function(*b), rtol=1e-4, atol=1e-5) for a, b in pairs)


def _unordered(function):
    turned = _changes(function, lambda positive, negative, z: (positive, negative.flip(1), z))
    return "The same negatives in another order gave a different loss." if turned else None


def _all_queries(function):
    turned = _changes(function, lambda positive, negative, z: (positive.flip(0), negative.flip(0), z))
    return "The same queries in another order gave a different loss. Does it use one query only?" if turned else None


def _all_positives(function):
    turned = _changes(function, lambda positive, negative, z: (positive.flip(1), negative, z))
    return (
        "The same positives in another order gave a different loss. Does it use one positive only?" if turned else None
    )


def _averaged(function):
    positive, negative, z = _scores()
    once, twice = function(positive, negative, z), function(positive.repeat(2, 1), negative.repeat(2, 1), z)
    if torch.allclose(once, twice, rtol=1e-3, atol=1e-5):
        return None
    text = f"The same batch twice gave {twice:.4g}, once {once:.4g}."
    return f"{text} Average over the batch instead of summing." if torch.allclose(twice, 2 * once, rtol=1e-3) else text


EXERCISES = (
    Exercise(
        task="Invent a loss of scores: anything that pulls positives up, pushes negatives down, and stays finite.",
        reference=my_loss,
        probes=(_scores,),
        wrong=(_vector, _no_pull, _no_push, _turned, _overflows, _order, _summed, _one_query, _one_positive),
        hints=(
            "Start from a loss that you know and change one thing: a margin, a power, a weight on hard negatives.",
            "A margin loss: `(margin + negative[:, None] - positive[:, :, None]).clamp(min=0)` compares each positive with each "
            "negative. What does it do once all negatives are far away?",
            "`negative.logsumexp(1)` is a soft maximum over the negatives, `F.softplus(x)` a soft hinge. What should happen to "
            "their difference with the positives?",
        ),
        properties=(
            Property("it stops if a query has several positives", _many_positives),
            Property("the result is not one number", _one_number),
            Property("the result has no gradient", _has_slope),
            Property("positives do not count", _pulls),
            Property("negatives do not count", _pushes),
            Property("it pulls the wrong way", _direction),
            Property("the result is NaN or infinite", _finite),
            Property("the order of the negatives matters", _unordered),
            Property("the order of the queries matters", _all_queries),
            Property("the order of the positives matters", _all_positives),
            Property("the loss depends on the size of the batch", _averaged),
        ),
        open=True,
    ),
)

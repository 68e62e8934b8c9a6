"""Notebook 04: what a similarity is worth."""

from __future__ import annotations

import torch

from avid_lab.course.checks import Exercise
from avid_lab.course.exercises.inputs import integers, normal, seeded

# --- AUC --------------------------------------------------------------------------------------------------------------


def similarity_auc(same, different):
    """same (S,), different (T,): similarities of pairs -> how often a same pair is more similar; ties count half."""
    gap = same[:, None] - different[None]  # (S, T): every pair of pairs
    return (gap > 0).double().mean() + (gap == 0).double().mean() / 2


def _ties_lost(same, different):
    """Ties count as lost. Equal similarities count half: a constant similarity must give 0.5, not 0."""
    return (same[:, None] > different[None]).double().mean()


def _ties_won(same, different):
    """Ties count as won. Equal similarities count half, not as a win: a constant similarity must give 0.5, not 1."""
    return (same[:, None] >= different[None]).double().mean()


def _auc_turned(same, different):
    """The comparison is reversed. You count how often the *different* pair is more similar: that is 1 - AUC."""
    return 1 - similarity_auc(same, different)


def _above_zero(same, different):
    """A threshold instead of all comparisons. A threshold of 0 answers another question. AUC compares every same
    pair with every different pair, without a threshold.
    """
    return ((same > 0).double().mean() + (different <= 0).double().mean()) / 2


def _side_by_side(same, different):
    """Only pairs with the same index are compared. You only compared the i-th same pair with the i-th different
    pair. Compare all S x T: `same[:, None] - different[None]`.
    """
    n = min(len(same), len(different))
    gap = same[:n] - different[:n]
    return (gap > 0).double().mean() + (gap == 0).double().mean() / 2


def _difference_of_means(same, different):
    """A difference of means instead of a share. The difference of the means depends on the scale: it changes if you
    stretch all similarities. AUC only sees their order, which stays the same.
    """
    return same.double().mean() - different.double().mean()


def _counted(same, different):
    """A count instead of a share. The result is a share: divide by the number of comparisons, S x T."""
    gap = same[:, None] - different[None]
    return (gap > 0).double().sum() + (gap == 0).double().sum() / 2


def _similarities():
    return normal(40, seed=0, scale=0.3) + 0.2, normal(60, seed=1, scale=0.3)


def _with_ties():
    return integers(12, below=4, seed=2).float() / 4, integers(9, below=4, seed=3).float() / 4


# --- reliability ------------------------------------------------------------------------------------------------------


def reliability(confidence, correct, bins):
    """confidence (N,) in [0, 1], correct (N,) True or False -> (mean confidence (bins,), share correct (bins,)).

    The bins split [0, 1] evenly; an edge belongs to the bin above it, but 1.0 to the last; an empty bin gives NaN.
    """
    place = (confidence * bins).long().clamp(max=bins - 1)  # (N,): which bin
    count = place.bincount(minlength=bins)
    mean = place.bincount(weights=confidence.double(), minlength=bins) / count  # 0 / 0 is NaN
    share = place.bincount(weights=correct.double(), minlength=bins) / count
    return mean, share


def _middle_of_bin(confidence, correct, bins):
    """The middle of the bin instead of the mean of its members. The middle of a bin is not where its members are:
    average the confidences of its members.
    """
    mean, share = reliability(confidence, correct, bins)
    middle = (torch.arange(bins, dtype=torch.double) + 0.5) / bins
    return torch.where(mean.isnan(), mean, middle), share


def _one_is_lost(confidence, correct, bins):
    """A confidence of 1 is lost. You lost confidences of exactly 1.0: they belong to the last bin. Full certainty
    is the case that matters most.
    """
    inside = confidence < 1
    return reliability(confidence[inside], correct[inside], bins)


def _empty_is_zero(confidence, correct, bins):
    """An empty bin gives 0 instead of NaN. An empty bin says nothing, so return NaN; plots leave it out. Zero would
    mean "always wrong".
    """
    mean, share = reliability(confidence, correct, bins)
    return mean.nan_to_num(0), share.nan_to_num(0)


def _share_of_all(confidence, correct, bins):
    """Divided by the number of all predictions instead of the bin's. Divide by the number of members of the bin,
    not by N.
    """
    place = (confidence * bins).long().clamp(max=bins - 1)
    share = place.bincount(weights=correct.double(), minlength=bins) / len(confidence)
    return reliability(confidence, correct, bins)[0], share


def _both_of_all(confidence, correct, bins):
    """Both are divided by the number of all predictions. Divide by the number of members of the bin, not by N."""
    place = (confidence * bins).long().clamp(max=bins - 1)
    mean = place.bincount(weights=confidence.double(), minlength=bins) / len(confidence)
    return mean, _share_of_all(confidence, correct, bins)[1]


def _equally_full(confidence, correct, bins):
    """The bins are equally full, not equally wide. Your bins are equally *full*. They should be equally *wide*:
    `(confidence * bins).long()`.
    """
    order = confidence.argsort()
    parts = order.tensor_split(bins)
    return (
        torch.stack([confidence[part].double().mean() for part in parts]),
        torch.stack([correct[part].double().mean() for part in parts]),
    )


def _correct_only(confidence, correct, bins):
    """Only right predictions count for the mean confidence. Average the confidence of all members of a bin, both
    right and wrong ones.
    """
    _, share = reliability(confidence, correct, bins)
    mean, _ = reliability(confidence[correct], correct[correct], bins)
    return mean, share


def _right_closed(confidence, correct, bins):
    """An edge belongs to the bin below. A bin begins at its lower edge: 0.3 belongs to the fourth of ten bins, not the third."""
    place = (confidence * bins).ceil().long().sub(1).clamp(min=0)
    count = place.bincount(minlength=bins)
    return tuple(place.bincount(weights=x.double(), minlength=bins) / count for x in (confidence, correct))


def _between_smallest_and_largest(confidence, correct, bins):
    """The bins lie between the smallest and the largest confidence. They split [0, 1], whatever the data are: else two tables
    cannot be compared.
    """
    low, high = confidence.min(), confidence.max()
    place = ((confidence - low) / (high - low) * bins).long().clamp(max=bins - 1)
    count = place.bincount(minlength=bins)
    return tuple(place.bincount(weights=x.double(), minlength=bins) / count for x in (confidence, correct))


def _returned_turned(confidence, correct, bins):
    """The two results are swapped. Return the mean confidence first, then the share correct. Yours are in the
    opposite order.
    """
    return tuple(reversed(reliability(confidence, correct, bins)))


def _low():
    return torch.linspace(0, 0.55, 20), torch.arange(20) % 3 == 0, 10  # as in the notebook: the last bins are empty


def _edges():
    """Confidences on the edges of bins, which floating point holds exactly."""
    return torch.arange(1, 17) / 16, torch.arange(1, 17) % 3 != 1, 8


def _confident(seed, bins, count=60):
    confidence = torch.rand(count, generator=seeded(seed)).sqrt()
    confidence = confidence[(confidence < 0.4) | (confidence > 0.62)]  # leaves a bin empty
    confidence[:3] = 1.0
    correct = torch.rand(len(confidence), generator=seeded(seed + 1)) < 0.6
    correct[0] = False
    return confidence, correct, bins


# --- the curve --------------------------------------------------------------------------------------------------------


def logistic_curve(similarity, same, steps):
    """similarity (P,), same (P,) True or False -> slope and offset of the curve p = 1 / (1 + exp(-(slope * s + offset))).

    They minimise the cross-entropy, summed over the pairs. Newton's method starts where both are 0. In each of `steps`
    steps it subtracts the solution d of H d = g: g is the gradient, H (2, 2) its derivative. There may be 100,000 pairs: a
    table (P, P) would not fit into memory.
    """
    x = torch.stack([similarity, torch.ones_like(similarity)], dim=1)  # (P, 2)
    curve = torch.zeros(2, dtype=x.dtype)  # slope, offset
    for _ in range(steps):
        p = torch.sigmoid(x @ curve)  # (P,)
        gradient = x.T @ (p - same.to(x.dtype))  # (2,): promise minus truth
        hessian = x.T @ (x * (p * (1 - p))[:, None])  # (2, 2)
        curve = curve - torch.linalg.solve(hessian, gradient)
    return curve[0], curve[1]


def _number_by_number(similarity, same, steps):
    slope, offset, y = similarity.new_zeros(()), similarity.new_zeros(()), same.to(similarity.dtype)
    for _ in range(steps):
        p = 1 / (1 + torch.exp(-(slope * similarity + offset)))
        w = p * (1 - p)
        a, b, c = (w * similarity**2).sum(), (w * similarity).sum(), w.sum()
        g, h = ((p - y) * similarity).sum(), (p - y).sum()
        slope, offset = slope - (c * g - b * h) / (a * c - b * b), offset - (a * h - b * g) / (a * c - b * b)
    return slope, offset


def _solved(gradient, hessian, p, x):
    return torch.linalg.solve(hessian, gradient)


def _newton(similarity, same, steps, *, weight=lambda p: p * (1 - p), step=_solved, share=1.0, start=0.0, low=0.0):
    """Newton's method with another factor in H, another step, a share of each step, another start or another truth."""
    x = torch.stack([similarity, torch.ones_like(similarity)], dim=1)
    curve, y = torch.tensor([start, 0.0], dtype=x.dtype), low + (1 - low) * same.to(x.dtype)
    for _ in range(steps):
        p = torch.sigmoid(x @ curve)
        gradient, hessian = x.T @ (p - y), x.T @ (x * weight(p)[:, None])
        curve = curve - share * step(gradient, hessian, p, x)
    return curve[0], curve[1]


def _downhill_only(similarity, same, steps):
    """The gradient alone is subtracted. Newton's method subtracts the solution d of H d = g, which also says how far to go."""
    x = torch.stack([similarity, torch.ones_like(similarity)], dim=1)
    curve = torch.zeros(2, dtype=x.dtype)
    for _ in range(steps):
        curve = curve - x.T @ (torch.sigmoid(x @ curve) - same.to(x.dtype))
    return curve[0], curve[1]


def _mean_gradient(similarity, same, steps):
    """The gradient is a mean, but H is a sum. Both must be sums, or both means: else each step is P times too short."""
    return _newton(similarity, same, steps, share=1 / len(similarity))


def _mean_hessian(similarity, same, steps):
    """H is a mean, but the gradient is a sum. Both must be sums, or both means: else each step is P times too long."""
    return _newton(similarity, same, steps, share=len(similarity))


def _uphill(similarity, same, steps):
    """The steps go uphill. Subtract the solution of H d = g: with `p - same`, the gradient points to a larger cross-entropy."""
    return _newton(similarity, same, steps, share=-1)


def _no_weights(similarity, same, steps):
    """H lacks the factor p (1 - p). That is the derivative of p by slope * s + offset: each pair counts with its own."""
    return _newton(similarity, same, steps, weight=torch.ones_like)


def _only_p(similarity, same, steps):
    """H has the factor p instead of p (1 - p). The derivative of the logistic curve is p (1 - p)."""
    return _newton(similarity, same, steps, weight=lambda p: p)


def _squared(similarity, same, steps):
    """H has the factor (p (1 - p))². The factor counts once."""
    return _newton(similarity, same, steps, weight=lambda p: (p * (1 - p)).square())


def _weights_of_the_start(similarity, same, steps):
    """H stays that of the start. The promises change with every step, and H changes with them."""
    return _newton(similarity, same, steps, weight=lambda p: torch.full_like(p, 0.25))


def _promises_of_the_start(similarity, same, steps):
    """The promises stay those of the start. Compute p again in every step, from the new slope and offset."""
    slope, offset = logistic_curve(similarity, same, 1)
    return steps * slope, steps * offset


def _one_step(similarity, same, steps):
    """Only one step is taken. Return after the loop, not in it."""
    return logistic_curve(similarity, same, 1)


def _different_counts(similarity, same, steps):
    """Pairs of different kinds count as the same. The truth is 1 where `same` is True."""
    return logistic_curve(similarity, ~same, steps)


def _offset_first(similarity, same, steps):
    """Slope and offset are swapped. Return the slope first."""
    slope, offset = logistic_curve(similarity, same, steps)
    return offset, slope


def _no_offset(similarity, same, steps):
    """The offset stays 0. Fit both numbers at once: the curve must be free to move sideways."""
    slope = torch.zeros((), dtype=similarity.dtype)
    for _ in range(steps):
        p = torch.sigmoid(slope * similarity)
        w = p * (1 - p)
        slope = slope - ((p - same.to(p.dtype)) * similarity).sum() / (w * similarity.square()).sum()
    return slope, torch.zeros_like(slope)


def _each_alone(similarity, same, steps):
    """Each number is fitted as if the other stayed. H has four entries: slope and offset share the two beside the diagonal."""
    slope = offset = torch.zeros((), dtype=similarity.dtype)
    for _ in range(steps):
        p = torch.sigmoid(slope * similarity + offset)
        w, off = p * (1 - p), p - same.to(p.dtype)
        slope, offset = (
            slope - (off * similarity).sum() / (w * similarity.square()).sum(),
            offset - off.sum() / w.sum(),
        )
    return slope, offset


def _plus_and_minus_one(similarity, same, steps):
    """The truth is 1 and -1. For a cross-entropy it is 1 and 0."""
    return _newton(similarity, same, steps, low=-1.0)


def _squared_error(similarity, same, steps):
    """The gradient is that of the squared error: it has the factor p (1 - p) once too often. That of the cross-entropy has
    only p - y.
    """

    def change(gradient, hessian, p, x):
        return torch.linalg.solve(hessian, x.T @ ((p - same.to(x.dtype)) * p * (1 - p)))

    return _newton(similarity, same, steps, step=change)


def _s_not_squared(similarity, same, steps):
    """The first entry of H has s instead of s². It is the derivative by the slope, twice: a factor s each time."""

    def change(gradient, hessian, p, x):
        return torch.linalg.solve(torch.stack([hessian[:, 1], hessian[1]]), gradient)

    return _newton(similarity, same, steps, step=change)


def _pairs_counted(similarity, same, steps):
    """The last entry of H is the number of pairs. Each pair counts there with its p (1 - p), too."""

    def change(gradient, hessian, p, x):
        return torch.linalg.solve(hessian + torch.tensor([[0, 0], [0, 1]]) * (len(p) - hessian[1, 1]), gradient)

    return _newton(similarity, same, steps, step=change)


def _entries_inverted(similarity, same, steps):
    """The entries of H are inverted, each for itself. The inverse of a matrix is another matrix: `torch.linalg.solve`."""
    return _newton(similarity, same, steps, step=lambda gradient, hessian, p, x: (1 / hessian) @ gradient)


def _times_hessian(similarity, same, steps):
    """The gradient is multiplied by H. Newton's method divides by it, so to say: solve H d = g."""
    return _newton(similarity, same, steps, step=lambda gradient, hessian, p, x: hessian @ gradient)


def _half_steps(similarity, same, steps):
    """Only half of each step is taken. Subtract the whole solution of H d = g."""
    return _newton(similarity, same, steps, share=0.5)


def _ridge(similarity, same, steps):
    """The unit matrix is added to H. That is a penalty on large numbers, which the cross-entropy here does not have."""

    def change(gradient, hessian, p, x):
        return torch.linalg.solve(hessian + torch.eye(2, dtype=x.dtype), gradient)

    return _newton(similarity, same, steps, step=change)


def _one_after_the_other(similarity, same, steps):
    """The offset is moved after the slope, from promises that are computed anew. Both move at once, by one solution of
    H d = g.
    """
    slope = offset = torch.zeros((), dtype=similarity.dtype)
    for _ in range(steps):
        p = torch.sigmoid(slope * similarity + offset)
        slope = slope - ((p - same.to(p.dtype)) * similarity).sum() / (p * (1 - p) * similarity.square()).sum()
        p = torch.sigmoid(slope * similarity + offset)
        offset = offset - (p - same.to(p.dtype)).sum() / (p * (1 - p)).sum()
    return slope, offset


def _a_learning_rate(similarity, same, steps):
    """The gradient, times a small rate, is subtracted: H is not used. Newton's method subtracts the solution d of H d = g."""
    return _newton(similarity, same, steps, step=lambda gradient, hessian, p, x: 0.1 * gradient)


def _rate_and_mean(similarity, same, steps):
    """The mean gradient, times a rate, is subtracted: H is not used. Newton's method subtracts the solution d of H d = g."""
    return _newton(similarity, same, steps, step=lambda gradient, hessian, p, x: 0.1 * gradient / len(p))


def _begins_at_one(similarity, same, steps):
    """The slope begins at 1. Both numbers begin at 0, so that everyone gets the same after the same number of steps."""
    return _newton(similarity, same, steps, start=1.0)


def _overlapping(seed, steps, count=40, shift=0.25):
    """Pairs whose similarities overlap, a quarter of them of the same kind: so much that wrong steps, too, stay finite."""
    same = torch.rand(count, generator=seeded(seed)) < 0.25
    same[0], same[1] = True, False
    return 0.3 * normal(count, seed=seed + 1).double() + shift * same, same, steps


EXERCISES = (
    Exercise(
        task="How often is a pair of the same class more similar than a pair of different classes? Ties count half.",
        reference=similarity_auc,
        probes=(_similarities, _with_ties, lambda: (torch.full((3,), 0.5), torch.full((4,), 0.5))),
        large=lambda: (normal(300, seed=7), normal(1000, seed=8)),
        wrong=(_ties_lost, _ties_won, _auc_turned, _above_zero, _side_by_side, _difference_of_means, _counted),
        hints=(
            "Imagine that you draw one pair of each kind, again and again. How often is the same pair more similar?",
            "All S x T comparisons at once: `gap = same[:, None] - different[None]`.",
            "Wins are where `gap > 0`, ties where `gap == 0`. Which share is each, and how much does each count?",
        ),
    ),
    Exercise(
        task="Sort predictions into bins of confidence. Return the mean confidence and the share of right predictions in each bin.",
        reference=reliability,
        probes=(lambda: _confident(0, 10), lambda: _confident(5, 5), lambda: _confident(9, 8), _low, _edges),
        large=lambda: _confident(3, 10, 20_000),
        wrong=(
            _middle_of_bin,
            _one_is_lost,
            _empty_is_zero,
            _share_of_all,
            _both_of_all,
            _equally_full,
            _correct_only,
            _right_closed,
            _between_smallest_and_largest,
            _returned_turned,
        ),
        hints=(
            "Which bin does a prediction belong to? `confidence * bins`, rounded down; mind 1.0.",
            "`bincount` counts; `bincount(weights=...)` sums. Pass `minlength=bins` to both.",
            "`place = (confidence * bins).long().clamp(max=bins - 1)`. A mean is a sum divided by the number of members; what "
            "should `bincount` sum for each of the two results? Zero divided by zero is NaN, as required.",
        ),
    ),
    Exercise(
        task="Fit slope and offset of a logistic curve with Newton's method: similarity in, probability of the same kind out.",
        reference=logistic_curve,
        probes=(
            lambda: _overlapping(0, 2),
            lambda: _overlapping(2, 2),
            lambda: _overlapping(4, 3, count=12, shift=0.1),
        ),
        large=lambda: _overlapping(6, 12, 80_000),
        wrong=(
            _downhill_only,
            _mean_gradient,
            _mean_hessian,
            _uphill,
            _no_weights,
            _only_p,
            _squared,
            _weights_of_the_start,
            _promises_of_the_start,
            _one_step,
            _different_counts,
            _offset_first,
            _no_offset,
            _each_alone,
            _plus_and_minus_one,
            _squared_error,
            _s_not_squared,
            _pairs_counted,
            _entries_inverted,
            _times_hessian,
            _half_steps,
            _ridge,
            _one_after_the_other,
            _a_learning_rate,
            _rate_and_mean,
            _begins_at_one,
        ),
        forms=(_number_by_number,),
        hints=(
            "Three steps in the loop: the promises p (P,), the gradient (2,) and H (2, 2). Put (s, 1) of each pair into a (P, 2) table.",
            "The derivative of p by slope * s + offset is p (1 - p). So H is a sum over pairs of p (1 - p) times the outer product of "
            "(s, 1) with itself.",
            "With `x` (P, 2): `x.T @ (p - y)` is the gradient. For H, weight the rows of x by p (1 - p) before the second product. "
            "`torch.linalg.solve(H, g)` is the step to subtract.",
        ),
    ),
)

"""Notebook 04: what a similarity is worth."""

from __future__ import annotations

import torch

from avid_lab.course.checks import Exercise
from avid_lab.course.exercises.inputs import integers, normal, seeded

# --- AUC --------------------------------------------------------------------------------------------------------------


def similarity_auc(same, different):
    """same (S,), different (T,): similarities of pairs -> chance that a same pair is more similar; ties count half."""
    gap = same[:, None] - different[None]  # (S, T): every pair of pairs
    return (gap > 0).double().mean() + (gap == 0).double().mean() / 2


def _ties_lost(same, different):
    """Equal similarities count half: a constant similarity must give 0.5, not 0."""
    return (same[:, None] > different[None]).double().mean()


def _ties_won(same, different):
    """Equal similarities count half, not as won: a constant similarity must give 0.5, not 1."""
    return (same[:, None] >= different[None]).double().mean()


def _auc_turned(same, different):
    """You count how often the *different* pair is more similar: that is 1 - AUC."""
    return 1 - similarity_auc(same, different)


def _above_zero(same, different):
    """A threshold of 0 answers another question. AUC compares every same pair with every different one, no threshold."""
    return ((same > 0).double().mean() + (different <= 0).double().mean()) / 2


def _side_by_side(same, different):
    """Only the i-th same pair was compared with the i-th different one. Compare all S x T: `same[:, None] - different[None]`."""
    n = min(len(same), len(different))
    gap = same[:n] - different[:n]
    return (gap > 0).double().mean() + (gap == 0).double().mean() / 2


def _difference_of_means(same, different):
    """The difference of the means depends on the scale: stretch all similarities and it changes, while their order, which
    is all that AUC sees, does not.
    """
    return same.double().mean() - different.double().mean()


def _counted(same, different):
    """A share is asked for: divide by the number of comparisons, S x T."""
    gap = same[:, None] - different[None]
    return (gap > 0).double().sum() + (gap == 0).double().sum() / 2


def _similarities():
    return normal(40, seed=0, scale=0.3) + 0.2, normal(60, seed=1, scale=0.3)


def _with_ties():
    return integers(12, below=4, seed=2).float() / 4, integers(9, below=4, seed=3).float() / 4


# --- reliability ------------------------------------------------------------------------------------------------------


def reliability(confidence, correct, bins):
    """confidence (N,) in [0, 1], correct (N,) True or False -> (mean confidence (bins,), share correct (bins,)).

    The bins are equally wide over [0, 1]; 1.0 belongs to the last; an empty bin gives NaN.
    """
    place = (confidence * bins).long().clamp(max=bins - 1)  # (N,): which bin
    count = place.bincount(minlength=bins)
    mean = place.bincount(weights=confidence.double(), minlength=bins) / count  # 0 / 0 is NaN
    share = place.bincount(weights=correct.double(), minlength=bins) / count
    return mean, share


def _middle_of_bin(confidence, correct, bins):
    """The middle of a bin is not where its members are: average the confidences that fell in."""
    mean, share = reliability(confidence, correct, bins)
    middle = (torch.arange(bins, dtype=torch.double) + 0.5) / bins
    return torch.where(mean.isnan(), mean, middle), share


def _one_is_lost(confidence, correct, bins):
    """A confidence of exactly 1.0 fell out of the last bin, and full certainty is the case that matters most."""
    inside = confidence < 1
    return reliability(confidence[inside], correct[inside], bins)


def _empty_is_zero(confidence, correct, bins):
    """An empty bin says nothing: NaN, which plots leave out. Zero would read "always wrong"."""
    mean, share = reliability(confidence, correct, bins)
    return mean.nan_to_num(0), share.nan_to_num(0)


def _share_of_all(confidence, correct, bins):
    """Divide by the number of members of the bin, not by N."""
    place = (confidence * bins).long().clamp(max=bins - 1)
    mean, _ = reliability(confidence, correct, bins)
    share = place.bincount(weights=correct.double(), minlength=bins) / len(confidence)
    return mean, torch.where(mean.isnan(), mean, share)


def _equally_full(confidence, correct, bins):
    """These bins are equally *full*. Equally *wide* ones were asked for: `(confidence * bins).long()`."""
    order = confidence.argsort()
    parts = order.tensor_split(bins)
    return (
        torch.stack([confidence[part].double().mean() for part in parts]),
        torch.stack([correct[part].double().mean() for part in parts]),
    )


def _correct_only(confidence, correct, bins):
    """Average the confidence of all members of a bin, right and wrong ones alike."""
    _, share = reliability(confidence, correct, bins)
    mean, _ = reliability(confidence[correct], correct[correct], bins)
    return mean, share


def _returned_turned(confidence, correct, bins):
    """First the mean confidence, then the share correct: yours come the other way round."""
    return tuple(reversed(reliability(confidence, correct, bins)))


def _confident(seed, bins):
    confidence = torch.rand(60, generator=seeded(seed)).sqrt()
    confidence = confidence[(confidence < 0.4) | (confidence > 0.62)]  # leaves a bin empty
    confidence[:3] = 1.0
    correct = torch.rand(len(confidence), generator=seeded(seed + 1)) < 0.6
    correct[0] = False
    return confidence, correct, bins


EXERCISES = (
    Exercise(
        name="similarity_auc",
        notebook="04",
        task="How often is a pair of the same class more similar than a pair of different classes? Ties count half.",
        reference=similarity_auc,
        probes=(_similarities, _with_ties, lambda: (torch.full((3,), 0.5), torch.full((4,), 0.5))),
        wrong={
            "ties count as lost": _ties_lost,
            "ties count as won": _ties_won,
            "the comparison is turned round": _auc_turned,
            "a threshold instead of all comparisons": _above_zero,
            "only pairs side by side are compared": _side_by_side,
            "a difference of means instead of a share": _difference_of_means,
            "a number of comparisons instead of a share": _counted,
        },
        hints=(
            "Imagine drawing one pair of each kind, over and over, and noting which is more similar. What share is it?",
            "All S x T comparisons at once: `gap = same[:, None] - different[None]`.",
            "`(gap > 0).double().mean() + (gap == 0).double().mean() / 2`.",
        ),
    ),
    Exercise(
        name="reliability",
        notebook="04",
        task="Sort predictions into bins of confidence; give each bin's mean confidence and its share of right ones.",
        reference=reliability,
        probes=(lambda: _confident(0, 10), lambda: _confident(5, 5), lambda: _confident(9, 8)),
        wrong={
            "the middle of the bin instead of the mean of its members": _middle_of_bin,
            "a confidence of 1 is lost": _one_is_lost,
            "an empty bin gives 0 instead of NaN": _empty_is_zero,
            "divided by all predictions instead of the bin's": _share_of_all,
            "the bins are equally full, not equally wide": _equally_full,
            "only right predictions count for the mean confidence": _correct_only,
            "the two results are exchanged": _returned_turned,
        },
        hints=(
            "For each prediction, which bin? `confidence * bins`, rounded down; take care of 1.0.",
            "`bincount` counts; `bincount(weights=...)` adds. Give both `minlength=bins`.",
            "`place = (confidence * bins).long().clamp(max=bins - 1)`, then sums of `confidence` and of `correct` per place, each "
            "divided by `place.bincount(minlength=bins)`. Zero by zero is NaN, as wanted.",
        ),
    ),
)

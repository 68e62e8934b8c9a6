"""Evaluates an embedding space: retrieval, neighbours, positives, similarity, and signs of collapse.

Every function takes embeddings and, optionally, those of the untrained twin on the same clips, and returns a `Table`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from avid_lab.evaluation.embeddings import Embeddings
from avid_lab.evaluation.results import Table
from avid_lab.metrics import (
    Estimate,
    Reliability,
    alignment,
    chance_accuracy,
    effective_rank,
    estimate,
    estimate_weighted,
    false_negatives_of_each,
    fit_probability,
    knn_predict,
    pairs,
    precision_of_each,
    reliability,
    retrieval,
    separation_estimates,
    uniformity_of_the_sphere,
)
from avid_lab.metrics.collapse import log_mean_potential, potentials
from avid_lab.metrics.reliability import FitMethod, Pairs
from avid_lab.mining import AGREEMENTS, mine_positives

DIRECTIONS = {
    "v→a": ("video", "audio"),
    "a→v": ("audio", "video"),
    "v→v": ("video", "video"),
    "a→a": ("audio", "audio"),
}
PAIR_KINDS = {"v-v": ("video", "video"), "a-a": ("audio", "audio"), "v-a": ("video", "audio")}


def retrieval_table(space: Embeddings, untrained: Embeddings | None = None, *, ks: Sequence[int] = (1, 5, 10)) -> Table:
    """Recall at k, median rank and mean average precision in all four directions, by instance and by class.

    By instance, the target across modalities is the clip's own other half. Within one modality it is the same clip at
    another time: its first window asks, the last windows of all clips answer (left out if there is one window a clip).
    By class, targets are all clips of the query's class; within one modality the query itself is hidden. Where all
    clips are of one class, the rows by class are missing.

    Args:
        space: Embeddings of the clips, which are both queries and gallery.
        untrained: Embeddings of the same clips by the untrained twin.
        ks: Cut-offs; those above the number of clips are left out.
    """
    rows: dict[str, Estimate] = {}
    n, windows = space.video_windows.shape[:2]
    partners = (space.labels[:, None] == space.labels[None]).sum(1) > 1  # (N,): not alone in its class
    for direction, (asks, answers) in DIRECTIONS.items():
        query, gallery = getattr(space, asks), getattr(space, answers)
        if asks != answers:
            instance = query, gallery
        elif windows > 1:
            both = getattr(space, f"{asks}_windows")
            instance = both[:, 0], both[:, -1]
        else:
            instance = None
        if instance is not None:
            _add_retrieval(rows, f"{direction} instance", *instance, None, ks, hidden=False)
        within = asks == answers
        kept = partners if within else torch.ones_like(partners)
        if int(kept.sum()) > 1 and len(space.labels.unique()) > 1:
            _add_retrieval(
                rows, f"{direction} class", query[kept], gallery[kept], space.labels[kept], ks, hidden=within
            )
    alone = int((~partners).sum())
    note = f"{alone} clip(s) are alone in their class and left out of v→v and a→a by class." if alone else ""
    table = Table(f"Retrieval among {n:,} clips", rows, note)
    return table.with_baseline(None if untrained is None else retrieval_table(untrained, ks=ks))


def instance_table(space: Embeddings, untrained: Embeddings | None = None, *, ks: Sequence[int] = (1, 5, 10)) -> Table:
    """Which sound belongs to which picture, and the other way round: recall at k and median rank. It needs no classes.

    Args:
        space: Embeddings of the clips, which are both queries and gallery.
        untrained: Embeddings of the same clips by the untrained twin.
        ks: Cut-offs; those that include all clips are left out, because they always succeed.

    Raises:
        ValueError: Fewer than two clips.
    """
    n = len(space.labels)
    if n < 2:
        raise ValueError(f"retrieval needs at least two clips to choose from; got {n}")
    rows: dict[str, Estimate] = {}
    for name, query, gallery in (
        ("sound of a picture", space.video, space.audio),
        ("picture of a sound", space.audio, space.video),
    ):
        _add_retrieval(rows, name, query, gallery, None, [k for k in ks if k < n], hidden=False)
    rows = {name: row for name, row in rows.items() if not name.endswith("mAP")}
    table = Table(f"Which sound belongs to which picture, among {n:,} clips?", rows)
    return table.with_baseline(None if untrained is None else instance_table(untrained, ks=ks))


def _add_retrieval(
    rows: dict[str, Estimate],
    name: str,
    query: Tensor,
    gallery: Tensor,
    labels: Tensor | None,
    ks: Sequence[int],
    *,
    hidden: bool,
) -> None:
    ks = [k for k in ks if k <= len(gallery) - int(hidden)]
    found = retrieval(query, gallery, labels, labels, ks, exclude_self=hidden)
    for k in ks:
        rows[f"{name} R@{k}"] = estimate((found.first_rank <= k).double(), chance=found.chance_recall[k])
    rows[f"{name} median rank"] = estimate(
        found.first_rank.double(),
        chance=found.chance_median_rank,
        statistic=lambda x: x.median(1).values,
        percent=False,
    )
    rows[f"{name} mAP"] = estimate(found.average_precision, chance=found.chance_mean_average_precision)


def knn_table(
    train: Embeddings, test: Embeddings, untrained: tuple[Embeddings, Embeddings] | None = None, *, k: int = 20
) -> Table:
    """Accuracy of the majority class among the k nearest training clips, of unit embeddings, within a modality.

    Args:
        train: Clips whose classes are known.
        test: Clips to classify.
        untrained: The same two for the untrained twin.
        k: Number of neighbours that vote, limited to the number of training clips.
    """
    k = min(k, len(train.labels))
    chance = chance_accuracy(train.labels, test.labels)
    rows = {}
    for modality in ("video", "audio"):
        predicted = knn_predict(getattr(train, modality), train.labels, getattr(test, modality), k)
        rows[modality] = estimate((predicted == test.labels).double(), chance=chance)
    table = Table(f"{k} nearest neighbours of {len(train.labels):,} clips: accuracy", rows)
    return table.with_baseline(None if untrained is None else knn_table(*untrained, k=k))


def positives_table(space: Embeddings, untrained: Embeddings | None = None, *, ks: Sequence[int] = (1, 8, 32)) -> Table:
    """Precision at K of the positives that each agreement finds, and the remaining false negatives.

    Positives are mined in this space, from clips whose labels training never saw. CMA mines in its memory, a moving
    average of this space.

    Args:
        space: Embeddings of the clips.
        untrained: Embeddings of the same clips by the untrained twin.
        ks: Numbers of positives; those above N - 2 are left out. The largest determines the false negatives.
    """
    labels = space.labels
    ks = [k for k in ks if k < len(labels) - 1] or [1]
    share = false_negatives_of_each(labels)
    chance = share.mean().item()
    rows, left = {}, {"false negatives, uniform draw": estimate(share, chance=chance)}
    for agreement in AGREEMENTS:
        index = mine_positives(space.video, space.audio, max(ks), agreement).index
        for k in ks:
            rows[f"{agreement} P@{k}"] = estimate(precision_of_each(index[:, :k], labels), chance=chance)
        left[f"false negatives, {agreement} K={max(ks)} left out"] = estimate(
            false_negatives_of_each(labels, index), chance=chance
        )
    table = Table(f"Positives of {len(labels):,} clips by agreement: share of the query's class", rows | left)
    return table.with_baseline(None if untrained is None else positives_table(untrained, ks=ks))


@dataclass(frozen=True)
class SimilarityReport:
    """Separation and calibration of similarity, for pairs of pictures, of sounds, and of a picture with a sound.

    Attributes:
        table: AUC, d', overlap, expected calibration errors and Brier score, by kind of pair.
        histograms: By kind, similarities of same-class and of different-class pairs.
        curves: By kind, the reliability of a probability that was fitted to this kind of pair on other clips.
        shared: By kind, the same for one probability fitted to all three kinds together.
    """

    table: Table
    histograms: dict[str, tuple[Tensor, Tensor]]
    curves: dict[str, Reliability]
    shared: dict[str, Reliability]


def similarity_report(
    space: Embeddings,
    untrained: Embeddings | None = None,
    *,
    method: FitMethod = "logistic",
    most: int = 1000,
    seed: int = 0,
) -> SimilarityReport:
    """Separation and calibration of similarity.

    The clips are split into two halves, class by class. A curve from similarity to the probability of "same class" is
    fitted on the pairs of one half and tested on the pairs of the other; no clip is in both. One *shared* curve for all
    three kinds of pair asks more: 0.5 must mean the same for pictures, for sounds, and between the two.

    Args:
        space: Embeddings of the clips.
        untrained: Embeddings of the same clips by the untrained twin.
        method: "logistic" or "isotonic".
        most: Largest number of clips; they are chosen at random, because the number of pairs grows quadratically.
        seed: Seed of this choice and of the halves.

    Raises:
        ValueError: No two clips are of one class, or all are. (If only one half lacks two clips of one class, the
            calibration is left out, and the table has a note.)
    """
    order = torch.randperm(len(space.labels), generator=torch.Generator().manual_seed(seed))[:most]
    order = order[space.labels[order].argsort(stable=True)]
    whole = _pairs_of_kinds(space, order, space.labels)
    rows = {f"{kind} {name}": row for kind, found in whole.items() for name, row in separation_estimates(found).items()}
    histograms = {
        kind: (found.similarity[found.same].float(), found.similarity[~found.same].float())
        for kind, found in whole.items()
    }
    curves: dict[str, Reliability] = {}
    shared: dict[str, Reliability] = {}
    note = "No calibration: it needs two clips of one class in each half of the clips."
    if all(len(space.labels[half].unique()) < len(half) for half in (order[::2], order[1::2])):
        fits, checks = (_pairs_of_kinds(space, half, space.labels) for half in (order[::2], order[1::2]))
        every = [torch.cat([getattr(fit, name) for fit in fits.values()]) for name in ("similarity", "same")]
        together = fit_probability(every[0], every[1], method)
        for kind, fit in fits.items():
            base_rate = fit.same.double().mean().item()
            curves[kind] = reliability(fit_probability(fit.similarity, fit.same, method), checks[kind], base_rate)
            shared[kind] = reliability(together, checks[kind], base_rate)
            rows[f"{kind} ECE"] = curves[kind].ece
            rows[f"{kind} ECE, one curve for all"] = shared[kind].ece
            rows[f"{kind} Brier score"] = curves[kind].brier
        note = (
            f"ECE, Brier score: {method} fit on half of the clips, tested on the other. Chance: always the base rate."
        )
    rows = {name: rows[name] for kind in PAIR_KINDS for name in rows if name.startswith(kind)}
    title = f"Similarity of same-class and different-class pairs of {len(order):,} clips"
    table = Table(title, rows, note)
    if untrained is not None:
        table = table.with_baseline(similarity_report(untrained, method=method, most=most, seed=seed).table)
    return SimilarityReport(table, histograms, curves, shared)


@runtime_checkable
class SpaceLike(Protocol):
    """Embeddings of clips, or of a memory: ``video`` and ``audio``, (N, D) unit rows each."""

    @property
    def video(self) -> Tensor:
        """Of pictures."""
        ...

    @property
    def audio(self) -> Tensor:
        """Of sounds."""
        ...


def levels(space: SpaceLike) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation of the similarity of two different clips, by kind of pair. Needs no labels."""
    found = {}
    for kind, (one, other) in PAIR_KINDS.items():
        table = getattr(space, one) @ getattr(space, other).T
        apart = table[~torch.eye(len(table), dtype=torch.bool, device=table.device)]
        found[kind] = apart.mean().item(), apart.std().item()
    return found


def curve_errors(space: SpaceLike, labels: Tensor, memory: SpaceLike) -> dict[str, dict[str, float]]:
    """What it costs to use one curve from similarity to probability for several kinds of pairs.

    Logistic curves are fitted on the pairs of one half of the clips and tested on the other half. A *standardised*
    similarity is the distance from the mean of its kind in the memory, in its standard deviations (`levels`).

    Args:
        space: Embeddings of labelled clips.
        labels: (N,) their classes.
        memory: The memory of other clips, without labels.

    Returns:
        Expected calibration errors, by curve and kind of pair.

    Raises:
        ValueError: A half of the clips has no two clips of one class, or only one class.
    """
    order = labels.argsort(stable=True)
    fits, checks = (_pairs_of_kinds(space, half, labels) for half in (order[::2], order[1::2]))
    scale = levels(memory)

    def standardised(found: Pairs, kind: str) -> Tensor:
        mean, deviation = scale[kind]
        return (found.similarity - mean) / max(deviation, 1e-9)

    def plain(found: Pairs, kind: str) -> Tensor:
        return found.similarity

    every = tuple(PAIR_KINDS)
    curves = {
        "its own curve": (plain, None),
        "the curve of v-a": (plain, ("v-a",)),
        "one curve for all": (plain, every),
        "one curve, standardised": (standardised, every),
    }
    errors: dict[str, dict[str, float]] = {name: {} for name in curves}
    for name, (read, together) in curves.items():
        for kind, check in checks.items():
            fitted = together or (kind,)
            same = torch.cat([fits[one].same for one in fitted])
            curve = fit_probability(torch.cat([read(fits[one], one) for one in fitted]), same)
            tested = replace(check, similarity=read(check, kind))
            errors[name][kind] = reliability(curve, tested, same.double().mean().item(), resamples=2).ece.value
    return errors


def _pairs_of_kinds(space: SpaceLike, which: Tensor, labels: Tensor) -> dict[str, Pairs]:
    return {
        kind: pairs(getattr(space, one)[which], getattr(space, other)[which], labels[which])
        for kind, (one, other) in PAIR_KINDS.items()
    }


def collapse_table(space: Embeddings, untrained: Embeddings | None = None, *, most: int = 2000) -> Table:
    """Alignment, uniformity and effective rank of each modality; "chance" is what random unit vectors give.

    Alignment between a picture and its sound, and within a modality between the first and the last window of a clip.

    Args:
        space: Embeddings of the clips.
        untrained: Embeddings of the same clips by the untrained twin.
        most: Largest number of clips for uniformity and rank.
    """
    rows = {"alignment picture-sound": _mean_distance(space.video, space.audio)}
    dim = space.video.shape[1]
    for modality in ("video", "audio"):
        x, single = getattr(space, modality)[:most], getattr(space, f"{modality}_windows")
        if single.shape[1] > 1:
            rows[f"{modality} alignment of windows"] = _mean_distance(single[:, 0], single[:, -1])
        noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
        chance = [uniformity_of_the_sphere(dim), effective_rank(torch.nn.functional.normalize(noise, dim=1)).item()]
        potential = potentials(x.double())

        def figures(count: Tensor, x: Tensor = x, potential: Tensor = potential) -> Tensor:
            return torch.stack([log_mean_potential(potential, count), effective_rank(x, count)])

        evenness, rank = estimate_weighted(figures, len(x), chance=chance, percent=[False, False])
        rows[f"{modality} uniformity"] = evenness
        rows[f"{modality} effective rank"] = rank.centred()
    note = f"Chance: random directions in {dim} dimensions. Alignment 0 is perfect; lower uniformity is more even."
    table = Table("Is the space collapsed?", rows, note)
    return table.with_baseline(None if untrained is None else collapse_table(untrained, most=most))


def _mean_distance(x: Tensor, y: Tensor) -> Estimate:
    return estimate(alignment(x, y), chance=2.0, percent=False)

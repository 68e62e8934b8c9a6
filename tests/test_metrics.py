"""Metrics against double loops and chance, including collapsed and random embeddings."""

from __future__ import annotations

import itertools
import math
import statistics

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from avid_lab.metrics import (
    Estimate,
    alignment,
    bootstrap,
    chance_accuracy,
    drawn_false_negatives,
    effective_rank,
    estimate,
    false_negative_rate,
    fit_probability,
    knn_accuracy,
    mean_and_spread,
    pairs,
    positive_precision,
    reliability,
    retrieval,
    separation,
    separation_estimates,
    share,
    sign_test,
    uniformity,
    uniformity_of_the_sphere,
)
from avid_lab.mining import mine_positives
from avid_lab.objectives import draw_negatives

quick = settings(deadline=None, max_examples=40)


def units(n, dim, seed):
    return F.normalize(torch.randn(n, dim, generator=torch.Generator().manual_seed(seed)), dim=1)


def labels_of(n, classes, seed):
    return torch.randint(classes, (n,), generator=torch.Generator().manual_seed(seed))


@quick
@given(st.integers(6, 12), st.integers(1, 3), st.booleans(), st.integers(0, 999))  # two or more of each class
def test_retrieval_is_the_double_loop(n, classes, exclude_self, seed):
    query, gallery, labels = units(n, 5, seed), units(n, 5, seed + 1), torch.arange(n) % classes
    k = 2
    recall, precision, first_rank, average = [], [], [], []
    for i in range(n):
        others = [j for j in range(n) if not (exclude_self and j == i)]
        ranking = sorted(others, key=lambda j: -float(query[i] @ gallery[j]))
        hits = [labels[j] == labels[i] for j in ranking]
        recall.append(any(hits[:k]))
        precision.append(sum(hits[:k]) / k)
        first_rank.append(hits.index(True) + 1)
        average.append(sum(sum(hits[: r + 1]) / (r + 1) for r, hit in enumerate(hits) if hit) / sum(hits))
    made = retrieval(query, gallery, labels, labels, ks=[k], exclude_self=exclude_self)
    assert made.recall[k] == pytest.approx(statistics.mean(recall))
    assert made.precision[k] == pytest.approx(statistics.mean(map(float, precision)))
    assert made.median_rank == statistics.median_low(first_rank)
    assert made.mean_average_precision == pytest.approx(statistics.mean(map(float, average)))


def test_perfect_and_random_embeddings_score_one_and_chance():
    n, labels = 1200, labels_of(1200, 6, 0)  # more queries than are ranked at a time
    perfect = F.one_hot(labels).float()
    made = retrieval(perfect, perfect, labels, labels)
    assert made.recall == {1: 1.0, 5: 1.0, 10: 1.0} and made.precision[10] == 1.0 and made.mean_average_precision == 1.0
    random = retrieval(units(n, 16, 1), units(n, 16, 2), labels, labels)
    for k in (1, 5, 10):
        assert random.recall[k] == pytest.approx(random.chance_recall[k], abs=0.05)
        assert random.precision[k] == pytest.approx(random.chance_precision[k], abs=0.03)


def test_ties_count_against_the_targets():
    n, labels = 30, torch.arange(30) % 3
    same = torch.ones(n, 2)
    by_instance, by_class = retrieval(same, same), retrieval(same, same, labels, labels)
    assert by_instance.recall == {1: 0.0, 5: 0.0, 10: 0.0} and by_instance.median_rank == n
    assert by_class.recall[10] == by_class.precision[10] == 0.0 and by_class.median_rank == 21  # 20 others come first
    within = retrieval(same, same, labels, labels, exclude_self=True)
    assert within.precision[10] == 0.0 and within.median_rank == 21
    halves = torch.eye(2).repeat_interleave(2, 0)  # 0 and 1 are alike, and so are 2 and 3
    assert retrieval(halves, halves, ks=[1, 2]).recall == {1: 0.0, 2: 1.0}


def test_the_interval_of_a_share_has_a_width_even_if_all_are_right():
    everyone, nobody, some = (
        share(torch.tensor(hits)) for hits in ([True] * 18, [False] * 18, [True] * 5 + [False] * 5)
    )
    assert everyone.value == everyone.high == 1.0 and everyone.low == pytest.approx(18 / (18 + 1.959964**2))
    assert nobody.low == 0.0 and nobody.high == pytest.approx(1 - everyone.low)
    assert (some.low, some.high) == pytest.approx((0.2366, 0.7634), abs=1e-4)  # a textbook's example
    assert sign_test(0, 0) == sign_test(3, 3) == 1.0 and sign_test(6, 0) == pytest.approx(2 / 64)
    with pytest.raises(ValueError, match="at least one clip"):
        share(torch.zeros(0, dtype=torch.bool))


def test_chance_recall_is_the_hypergeometric():
    labels = torch.tensor([0, 0, 0, 1, 1, 1, 1])
    made = retrieval(units(7, 3, 0), units(7, 3, 1), labels, labels, ks=[2])
    miss = {0: math.comb(4, 2) / math.comb(7, 2), 1: math.comb(3, 2) / math.comb(7, 2)}
    assert made.chance_recall[2] == pytest.approx(1 - (3 * miss[0] + 4 * miss[1]) / 7)


def test_positive_precision_counts_the_same_class():
    labels = torch.tensor([0, 0, 1, 1])
    assert positive_precision(torch.tensor([[1, 2], [0, 3], [3, 0], [2, 3]]), labels) == 5 / 8
    video = F.one_hot(labels).float()
    assert positive_precision(mine_positives(video, video, 1), labels) == 1.0


@quick
@given(st.integers(5, 30), st.integers(1, 4), st.integers(1, 3), st.integers(0, 999))
def test_false_negative_rate_is_the_double_loop(n, classes, k, seed):
    labels = labels_of(n, classes, seed)
    positives = mine_positives(units(n, 4, seed), units(n, 4, seed + 1), k)
    for excluded in (None, positives):
        shares = []
        for i in range(n):
            banned = {i} | (set() if excluded is None else set(excluded.index[i].tolist()))
            allowed = [j for j in range(n) if j not in banned]
            shares.append(sum(int(labels[j] == labels[i]) for j in allowed) / len(allowed))
        assert false_negative_rate(labels, excluded) == pytest.approx(statistics.mean(shares))


def test_drawn_false_negatives_meet_the_expected_rate():
    labels, index = labels_of(200, 5, 0), torch.arange(200)
    positives = (labels[:, None] == labels[None]).float().fill_diagonal_(0).topk(20).indices  # all of the right class
    generator = torch.Generator().manual_seed(0)
    plain = draw_negatives(index[:, None], 200, 500, generator)
    careful = draw_negatives(torch.cat([index[:, None], positives], 1), 200, 500, generator)
    assert drawn_false_negatives(plain, index, labels) == pytest.approx(false_negative_rate(labels), abs=0.005)
    assert drawn_false_negatives(careful, index, labels) == pytest.approx(
        false_negative_rate(labels, positives), abs=0.005
    )
    assert false_negative_rate(labels, positives) < 0.6 * false_negative_rate(labels)


@quick
@given(st.integers(4, 12), st.integers(0, 999))
def test_separation_is_the_double_loop(n, seed):
    query, gallery, labels = units(n, 3, seed), units(n, 3, seed + 1), torch.arange(n) % 2
    pairs = [(float(query[i] @ gallery[j]), labels[i] == labels[j]) for i in range(n) for j in range(n) if i != j]
    same, different = ([s for s, equal in pairs if bool(equal) is want] for want in (True, False))
    wins = [1.0 if s > d else 0.5 if s == d else 0.0 for s in same for d in different]
    made = separation(query, gallery, labels)
    assert made.auc == pytest.approx(statistics.mean(wins), abs=1e-6)
    spread = math.sqrt((statistics.pvariance(same) + statistics.pvariance(different)) / 2)
    assert made.d_prime == pytest.approx((statistics.mean(same) - statistics.mean(different)) / spread, rel=1e-4)
    assert 0 <= made.overlap <= 1 + 1e-6


def test_separation_of_separate_and_of_equal_classes():
    labels = torch.arange(40) % 2
    apart = separation(F.one_hot(labels).float(), F.one_hot(labels).float(), labels)
    assert apart.auc == 1.0 and apart.overlap == 0.0
    equal = separation(torch.ones(40, 1), torch.ones(40, 1), labels)
    assert equal.auc == 0.5 and equal.overlap == pytest.approx(1.0)


def test_nearest_neighbours_and_their_chance():
    labels = labels_of(300, 3, 0)
    features = F.one_hot(labels).float() + 0.1 * torch.randn(300, 3, generator=torch.Generator().manual_seed(0))
    assert knn_accuracy(features[:200], labels[:200], features[200:], labels[200:]) == 1.0
    noise = units(300, 8, 0)
    assert knn_accuracy(noise[:200], labels[:200], noise[200:], labels[200:]) < 0.55
    assert chance_accuracy(torch.tensor([0, 1, 1]), torch.tensor([1, 1, 0, 2])) == pytest.approx(
        1 / 3 * 1 / 4 + 2 / 3 * 1 / 2
    )
    mean, spread = mean_and_spread([1.0, 2.0, 3.0])
    assert (mean, spread) == (2.0, 1.0)
    assert math.isnan(mean_and_spread([1.0])[1])


def test_bad_input_is_refused_by_name(unchecked):
    query, labels = units(5, 3, 0), torch.arange(5)
    with pytest.raises(ValueError, match=r"query and gallery must be \(Q, D\) and \(N, D\)"):
        retrieval(query, query[:, :2])
    with pytest.raises(ValueError, match="go together"):
        retrieval(query, query, labels)
    with pytest.raises(ValueError, match="Q must equal N; got 3, 5"):
        retrieval(query[:3], query, ks=[1])
    with pytest.raises(ValueError, match="ks must lie between 1 and the 5 ranked items"):
        retrieval(query, query, ks=[6])
    with pytest.raises(ValueError, match="query 4 has none"):
        retrieval(query, query, labels, labels % 4, ks=[1])
    with pytest.raises(ValueError, match="exclude_self needs labels"):
        retrieval(query, query, ks=[1], exclude_self=True)
    with pytest.raises(ValueError, match="query_labels and gallery_labels must be"):
        retrieval(query, query, labels[:4], labels, ks=[1])
    with pytest.raises(ValueError, match="-1 means not mined yet"):
        positive_precision(torch.full((5, 2), -1), labels)
    with pytest.raises(ValueError, match="positives and labels must be"):
        false_negative_rate(labels, torch.zeros(4, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match="must leave a negative"):
        false_negative_rate(labels[:1])
    with pytest.raises(ValueError, match="negatives, index and labels must be"):
        drawn_false_negatives(torch.zeros(3, 2, dtype=torch.int64), labels, labels)
    with pytest.raises(ValueError, match="two classes"):
        separation(query, query, torch.zeros(5, dtype=torch.int64))
    with pytest.raises(ValueError, match="query, gallery and labels must be"):
        separation(query, query[:4], labels)
    found = pairs(query, query, labels % 2)
    with pytest.raises(ValueError, match="'logistic' or 'isotonic'; got 'platt'"):
        fit_probability(found.similarity, found.same, "platt")
    with pytest.raises(ValueError, match="at least two embeddings"):
        uniformity(query[:1])
    with pytest.raises(ValueError, match="k must be between 1 and the 5"):
        knn_accuracy(query, labels, query, labels, k=6)


def test_chance_rank_and_precision_are_those_of_all_orders():
    labels, n = torch.tensor([0, 0, 1, 1, 1]), 5
    made = retrieval(units(n, 3, 0), units(n, 3, 1), labels, labels, ks=[1])
    firsts, averages = [], []
    for targets in labels.bincount()[labels].tolist():
        for places in itertools.combinations(range(1, n + 1), targets):  # equally likely
            weight = 12 // math.comb(n, targets) * 10
            firsts += [places[0]] * weight
            averages += [sum(i / place for i, place in enumerate(places, 1)) / targets] * weight
    assert made.chance_median_rank == statistics.median_low(firsts)
    assert made.chance_mean_average_precision == pytest.approx(statistics.mean(averages))
    assert made.first_rank.double().mean() >= 1 and made.average_precision.shape == (n,)


def test_an_interval_covers_the_truth_as_often_as_it_says():
    generator = torch.Generator().manual_seed(0)
    covered = []
    for _ in range(200):
        made = estimate((torch.rand(80, generator=generator) < 0.3).double(), resamples=200)
        covered.append(made.low <= 0.3 <= made.high)
    assert 0.88 <= statistics.mean(covered) <= 0.99


def test_a_paired_difference_is_narrower_than_two_intervals():
    generator = torch.Generator().manual_seed(0)
    hard = torch.rand(300, generator=generator)
    worse, better = (estimate((hard < p).double()) for p in (0.5, 0.55))
    difference = better - worse
    assert difference.value == pytest.approx(better.value - worse.value)
    assert difference.high - difference.low < 0.7 * (better.high - better.low)
    assert difference.low > 0 and difference.chance == 0
    with pytest.raises(ValueError, match="as many resamples"):
        better - estimate(hard, resamples=7)


def test_resamples_repeat_with_their_seed_and_draw_with_replacement():
    first, again, other = (torch.cat(list(bootstrap(50, resamples=20, seed=s))) for s in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert first.shape == (20, 50) and len(first[0].unique()) < 50
    assert repr(Estimate(0.5, torch.tensor([0.4, 0.6]), chance=0.1)).startswith("50 % [40.5, 59.5], chance 10")
    with pytest.raises(ValueError, match="resamples must be >= 1"):
        list(bootstrap(5, resamples=0))


@quick
@given(st.integers(5, 12), st.booleans(), st.integers(0, 999))
def test_estimates_of_separation_agree_with_it_with_ties_too(n, tied, seed):
    query, labels = units(n, 3, seed), torch.arange(n) % 2
    gallery = query if tied else units(n, 3, seed + 1)
    if tied:
        query = gallery = query.round()
    ours, theirs = separation_estimates(pairs(query, gallery, labels), resamples=3), separation(query, gallery, labels)
    assert ours["AUC"].value == pytest.approx(theirs.auc, abs=1e-6)
    assert ours["d'"].value == pytest.approx(theirs.d_prime, rel=1e-3, abs=1e-6)
    assert ours["overlap"].value == pytest.approx(theirs.overlap, abs=0.15)  # values on a bin's edge


def test_a_logistic_fit_finds_the_probability_that_made_the_pairs():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(20_000, generator=generator, dtype=torch.float64) * 2 - 1
    truth = (4 * x - 1).sigmoid()
    same = torch.rand(len(x), generator=generator, dtype=torch.float64) < truth
    for method, error in (("logistic", 0.02), ("isotonic", 0.08)):
        assert (fit_probability(x, same, method)(x) - truth).abs().max() < error


def test_calibration_error_is_the_binned_gap_and_small_for_the_right_probability():
    labels = labels_of(120, 3, 0)
    x = F.normalize(
        F.one_hot(labels).float() + 0.5 * torch.randn(120, 3, generator=torch.Generator().manual_seed(1)), dim=1
    )
    found = pairs(x, x, labels)
    rate = found.same.double().mean().item()
    fitted = fit_probability(found.similarity, found.same)
    good, bad = (reliability(p, found, rate, resamples=20) for p in (fitted, lambda s: fitted(s) ** 3))
    assert good.ece.value < 0.05 < bad.ece.value and good.brier.value < bad.brier.value
    assert good.ece.low <= good.ece.value <= bad.ece.high and good.brier.value < good.brier.chance
    assert (good.low <= good.high).all() and good.predicted.diff().min() > 0
    p, same = fitted(found.similarity), found.same.double()
    order = p.argsort()
    gaps = [abs(float((p - same)[part].sum())) for part in order.tensor_split(12)]
    assert good.ece.value == pytest.approx(sum(gaps) / len(p), abs=2e-3)


def test_collapse_is_told_from_an_even_sphere():
    even, collapsed = units(1500, 16, 0), torch.ones(50, 16) / 4
    assert uniformity(even).item() == pytest.approx(uniformity_of_the_sphere(16), abs=0.02)
    assert uniformity(collapsed).item() == pytest.approx(0.0, abs=1e-5)
    assert effective_rank(collapsed).item() == pytest.approx(1.0, abs=1e-4)
    assert effective_rank(torch.eye(16)).item() == pytest.approx(16.0)
    assert alignment(even, even).abs().max() < 1e-6
    assert alignment(even, -even).mean().item() == pytest.approx(4.0, abs=1e-4)
    assert alignment(units(1500, 16, 1), even).mean().item() == pytest.approx(2.0, abs=0.05)


def test_weights_are_repeated_clips():
    x, weights = units(6, 4, 0), torch.tensor([2.0, 0, 1, 1, 3, 1])
    repeated = x.repeat_interleave(weights.long(), dim=0)
    assert effective_rank(x, weights).item() == pytest.approx(effective_rank(repeated).item(), rel=1e-6)
    which = torch.arange(6).repeat_interleave(weights.long())
    kernel = torch.exp(-2 * torch.cdist(repeated, repeated).square())
    different = which[:, None] != which[None]  # a clip is no pair with itself
    assert uniformity(x, weights).item() == pytest.approx(kernel[different].mean().log().item(), abs=1e-4)

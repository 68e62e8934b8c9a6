"""Metrics against double loops and against chance, including collapsed and random embeddings."""

from __future__ import annotations

import math
import statistics

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from avid_lab.metrics import (
    calibration,
    chance_accuracy,
    drawn_false_negatives,
    false_negative_rate,
    knn_accuracy,
    mean_and_spread,
    positive_precision,
    retrieval,
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


def test_perfect_random_and_collapsed_embeddings_score_one_and_chance():
    n, labels = 1200, labels_of(1200, 6, 0)  # more queries than are ranked at a time
    perfect = F.one_hot(labels).float()
    made = retrieval(perfect, perfect, labels, labels)
    assert made.recall == {1: 1.0, 5: 1.0, 10: 1.0} and made.precision[10] == 1.0 and made.mean_average_precision == 1.0
    random = retrieval(units(n, 16, 1), units(n, 16, 2), labels, labels)
    for k in (1, 5, 10):
        assert random.recall[k] == pytest.approx(random.chance_recall[k], abs=0.05)
        assert random.precision[k] == pytest.approx(random.chance_precision[k], abs=0.03)
    collapsed = retrieval(torch.ones(n, 2), torch.ones(n, 2), ks=[10])
    assert collapsed.recall[10] == pytest.approx(10 / n) == pytest.approx(collapsed.chance_recall[10])


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
def test_calibration_is_the_double_loop(n, seed):
    query, gallery, labels = units(n, 3, seed), units(n, 3, seed + 1), torch.arange(n) % 2
    pairs = [(float(query[i] @ gallery[j]), labels[i] == labels[j]) for i in range(n) for j in range(n) if i != j]
    same, different = ([s for s, equal in pairs if bool(equal) is want] for want in (True, False))
    wins = [1.0 if s > d else 0.5 if s == d else 0.0 for s in same for d in different]
    made = calibration(query, gallery, labels)
    assert made.auc == pytest.approx(statistics.mean(wins), abs=1e-6)
    spread = math.sqrt((statistics.pvariance(same) + statistics.pvariance(different)) / 2)
    assert made.d_prime == pytest.approx((statistics.mean(same) - statistics.mean(different)) / spread, rel=1e-4)
    assert 0 <= made.overlap <= 1 + 1e-6


def test_calibration_of_separate_and_of_equal_classes():
    labels = torch.arange(40) % 2
    apart = calibration(F.one_hot(labels).float(), F.one_hot(labels).float(), labels)
    assert apart.auc == 1.0 and apart.overlap == 0.0
    equal = calibration(torch.ones(40, 1), torch.ones(40, 1), labels)
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
        calibration(query, query, torch.zeros(5, dtype=torch.int64))
    with pytest.raises(ValueError, match="query, gallery and labels must be"):
        calibration(query, query[:4], labels)
    with pytest.raises(ValueError, match="k must be between 1 and the 5"):
        knn_accuracy(query, labels, query, labels, k=6)

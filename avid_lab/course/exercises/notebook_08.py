"""Notebook 08: what was learned."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from avid_lab.course.checks import Exercise
from avid_lab.course.exercises.inputs import integers, normal

# --- recall -----------------------------------------------------------------------------------------------------------


def recall_at_k(score, k):
    """score (N, N), row i: scores of query i, whose target is item i -> share of queries with the target in the top k."""
    better = (score > score.diagonal()[:, None]).sum(1)  # (N,): items that beat the target
    return (better < k).double().mean()


def _columns(score, k):
    """Queries and items are swapped. Queries are rows. You looked for the best query of each *item*: that is the
    other direction of retrieval.
    """
    return recall_at_k(score.T, k)


def _worst(score, k):
    """The lowest scores instead of the highest. You looked among the k *lowest* scores: `descending=True`."""
    return recall_at_k(-score, k)


def _precision(score, k):
    """Divided by k, which is precision. Recall asks whether the target is among the k. If you divide by k, you get
    precision, which is at most 1/k here.
    """
    return recall_at_k(score, k) / k


def _one_more(score, k):
    """k + 1 items count. You looked at k + 1 items: rank k counts, rank k + 1 does not."""
    return recall_at_k(score, k + 1)


def _only_first(score, k):
    """k is ignored. That is recall@1, whatever k is."""
    return recall_at_k(score, 1)


def _number(score, k):
    """A count instead of a share. The result is a share of the queries: divide by their number."""
    return recall_at_k(score, k) * len(score)


def _exactly(score, k):
    """Only rank k itself counts. You only count rank k itself; all ranks from 1 to k count."""
    return ((score > score.diagonal()[:, None]).sum(1) == k - 1).double().mean()


def _table(seed, n, k):
    return normal(n, n, seed=seed) + 1.5 * torch.eye(n), k


# --- nearest neighbours -----------------------------------------------------------------------------------------------


def knn_predict(train, train_labels, test, k):
    """train (N, F), train_labels (N,), test (M, F) -> (M,): the most common class of the k nearest by cosine similarity.

    If classes tie, the lower one wins.
    """
    similarity = F.normalize(test, dim=1) @ F.normalize(train, dim=1).T  # (M, N)
    votes = train_labels[similarity.topk(k, dim=1).indices]  # (M, k)
    return F.one_hot(votes, int(train_labels.max()) + 1).sum(1).argmax(1)  # argmax takes the first of equals


def _vote(similarity, train_labels, k, largest=True):
    votes = train_labels[similarity.topk(k, dim=1, largest=largest).indices]
    return F.one_hot(votes, int(train_labels.max()) + 1).sum(1).argmax(1)


def _not_normalised(train, train_labels, test, k):
    """You forgot to normalise. Cosine similarity compares directions: normalise the rows first. Otherwise long
    feature vectors always win.
    """
    return _vote(test @ train.T, train_labels, k)


def _normalised_columns(train, train_labels, test, k):
    """Normalised along the wrong axis. `dim=1`: each clip's features are a row. You normalised each feature over
    the clips.
    """
    return _vote(F.normalize(test, dim=0) @ F.normalize(train, dim=0).T, train_labels, k)


def _farthest(train, train_labels, test, k):
    """The farthest instead of the nearest. The clips with the *largest* similarity are the nearest. Only for a
    distance would it be the smallest.
    """
    return _vote(F.normalize(test, dim=1) @ F.normalize(train, dim=1).T, train_labels, k, largest=False)


def _nearest_only(train, train_labels, test, k):
    """Only the nearest neighbour votes. You only asked the nearest neighbour; k of them vote."""
    return knn_predict(train, train_labels, test, 1)


def _mean_label(train, train_labels, test, k):
    """Class numbers are averaged. Classes are names, not quantities: the mean of class 2 and class 6 is not class
    4. Let them vote.
    """
    similarity = F.normalize(test, dim=1) @ F.normalize(train, dim=1).T
    return train_labels[similarity.topk(k, dim=1).indices].double().mean(1).round().long()


def _neighbours(train, train_labels, test, k):
    """Clips are returned instead of classes. You return the numbers of training clips. Look up their classes:
    `train_labels[...]`.
    """
    similarity = F.normalize(test, dim=1) @ F.normalize(train, dim=1).T
    return similarity.topk(k, dim=1).indices[:, 0]


def _ties_high(train, train_labels, test, k):
    """Ties go to the higher class. If classes tie, return the lower one."""
    similarity = F.normalize(test, dim=1) @ F.normalize(train, dim=1).T
    counts = F.one_hot(train_labels[similarity.topk(k, dim=1).indices], int(train_labels.max()) + 1).sum(1)
    return counts.shape[1] - 1 - counts.flip(1).argmax(1)


def _features(seed, k):
    labels = integers(30, below=4, seed=seed)
    centres = normal(4, 6, seed=seed + 1) * 1.0
    length = 1 + 4 * torch.arange(30).remainder(5)[:, None]  # of very different lengths
    train = (centres[labels] + normal(30, 6, seed=seed + 2)) * length
    test = centres[integers(25, below=4, seed=seed + 3)] + normal(25, 6, seed=seed + 4)
    return train, labels, test, k


# --- linear probe -----------------------------------------------------------------------------------------------------


def linear_probe_step(features, labels, weight, bias, learning_rate):
    """features (B, F), labels (B,), weight (C, F), bias (C,) -> (weight, bias) after one step of gradient descent.

    The loss is softmax cross-entropy, averaged over the batch. The features are frozen.
    """
    features = features.detach()
    belief = (features @ weight.T + bias).softmax(1)  # (B, C)
    wrong = (belief - F.one_hot(labels, len(weight))) / len(features)  # (B, C): gradient with respect to the logits
    return weight - learning_rate * wrong.T @ features, bias - learning_rate * wrong.sum(0)


def _wrong(features, labels, weight, bias):
    return ((features @ weight.T + bias).softmax(1) - F.one_hot(labels, len(weight))) / len(features)


def _ascent(features, labels, weight, bias, learning_rate):
    """Uphill instead of downhill. Subtract the gradient: you went uphill, and the loss grew."""
    return linear_probe_step(features, labels, weight, bias, -learning_rate)


def _batch_sum(features, labels, weight, bias, learning_rate):
    """The gradient is summed over the batch instead of averaged. Average the gradient over the batch: yours is B
    times too large.
    """
    return linear_probe_step(features, labels, weight, bias, learning_rate * len(features))


def _bias_stays(features, labels, weight, bias, learning_rate):
    """The bias does not learn. The bias also learns: its gradient is the sum of the errors over the batch."""
    return linear_probe_step(features, labels, weight, bias, learning_rate)[0], bias


def _not_frozen(features, labels, weight, bias, learning_rate):
    """The features are not frozen. A gradient reaches the features, so you fine-tune the network instead of asking
    what it knows. `detach` them.
    """
    wrong = _wrong(features, labels, weight, bias)
    return weight - learning_rate * wrong.T @ features, bias - learning_rate * wrong.sum(0)


def _squares(features, labels, weight, bias, learning_rate):
    """The softmax is missing. This is the step of a squared error: the softmax is missing."""
    features = features.detach()
    wrong = (features @ weight.T + bias - F.one_hot(labels, len(weight))) / len(features)
    return weight - learning_rate * wrong.T @ features, bias - learning_rate * wrong.sum(0)


def _softmax_over_batch(features, labels, weight, bias, learning_rate):
    """The softmax runs over the batch. The probabilities of the *classes* sum to one: `softmax(1)`. Yours sum to
    one over the clips of the batch.
    """
    features = features.detach()
    belief = (features @ weight.T + bias).softmax(0)
    wrong = (belief - F.one_hot(labels, len(weight))) / len(features)
    return weight - learning_rate * wrong.T @ features, bias - learning_rate * wrong.sum(0)


def _step_only(features, labels, weight, bias, learning_rate):
    """The step is returned instead of the new weights. You return the changes; add them to the old values."""
    new = linear_probe_step(features, labels, weight, bias, learning_rate)
    return new[0] - weight, new[1] - bias


def _changed_in_place(features, labels, weight, bias, learning_rate):
    """The given weights are changed in place. You changed the weights that you were given (`-=`). Return new ones,
    so that the probe can start again.
    """
    new = linear_probe_step(features, labels, weight, bias, learning_rate)
    return weight.copy_(new[0]), bias.copy_(new[1])


def _probe(seed, rate):
    features = normal(8, 5, seed=seed, grad=True)
    return features, integers(8, below=3, seed=seed + 1), normal(3, 5, seed=seed + 2), normal(3, seed=seed + 3), rate


EXERCISES = (
    Exercise(
        task="For what share of the queries is the one right item among the k best?",
        reference=recall_at_k,
        probes=(lambda: _table(0, 12, 2), lambda: _table(1, 20, 3), lambda: _table(2, 15, 4)),
        wrong=(_columns, _worst, _precision, _one_more, _only_first, _number, _exactly),
        hints=(
            "For each query, how many items beat the right one? It is among the k best if fewer than k do.",
            "The score of the right item of query i is `score[i, i]`: `score.diagonal()[:, None]` has one per row.",
            "`((score > score.diagonal()[:, None]).sum(1) < k).double().mean()`.",
        ),
    ),
    Exercise(
        task="Let the k nearest training clips vote on the class of each test clip.",
        reference=knn_predict,
        probes=(lambda: _features(0, 3), lambda: _features(10, 4), lambda: _features(20, 6)),
        wrong=(_not_normalised, _normalised_columns, _farthest, _nearest_only, _mean_label, _neighbours, _ties_high),
        hints=(
            "There are three steps: the similarity of every test clip to every training clip, the k best of each row, a vote.",
            "`F.normalize(x, dim=1)` makes rows of length one; `.topk(k, dim=1).indices` gives the neighbours; "
            "`train_labels[...]` gives their classes.",
            "Count votes with `F.one_hot(votes, C).sum(1)`, (M, C); `argmax(1)` takes the first of equal counts.",
        ),
    ),
    Exercise(
        task="Take one step of softmax regression on frozen features.",
        reference=linear_probe_step,
        probes=(lambda: _probe(0, 0.5), lambda: _probe(5, 0.1)),
        wrong=(
            _ascent,
            _batch_sum,
            _bias_stays,
            _not_frozen,
            _squares,
            _softmax_over_batch,
            _step_only,
            _changed_in_place,
        ),
        hints=(
            "The gradient of cross-entropy with respect to the logits is simple: belief minus truth. Or use autograd.",
            "`belief = (features @ weight.T + bias).softmax(1)`, `truth = F.one_hot(labels, C)`; divide by B.",
            "With `wrong = (belief - truth) / B`, the weight's gradient is `wrong.T @ features` and the bias's is `wrong.sum(0)`.",
        ),
    ),
)

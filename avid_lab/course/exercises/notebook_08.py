"""Notebook 08: what was learned."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from avid_lab.course.checks import Exercise
from avid_lab.course.exercises.inputs import integers, normal

# --- recall -----------------------------------------------------------------------------------------------------------


def recall_at_k(score, k):
    """score (N, N), row i: scores of query i, whose target is item i -> share of queries with the target in the top k.

    An item with the target's own score ranks before the target.
    """
    rank = (score >= score.diagonal()[:, None]).sum(1)  # (N,): the target itself and all that it does not beat
    return (rank <= k).double().mean()


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
    return ((score >= score.diagonal()[:, None]).sum(1) == k).double().mean()


def _ties_in(score, k):
    """Ties count for the target. An item with the target's own score ranks *before* it, so compare with `>=`. In your
    version a collapsed network, which gives every item the same score, would be perfect.
    """
    return ((score > score.diagonal()[:, None]).sum(1) < k).double().mean()


def _itself_counted(score, k):
    """The target counts as its own rival. With `>=` the target is among the items that you count: its rank is that count,
    and rank k is still in the top k.
    """
    return ((score >= score.diagonal()[:, None]).sum(1) < k).double().mean()


def _tied():
    score = normal(6, 6, seed=5)
    score[0] = torch.tensor([1.0, 2.0, 1.0, 0.0, -1.0, -2.0])  # the target of query 0 and item 2 share the second place
    score[1, :3] = 3.0  # here the target shares the first
    return score, 2


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


def _weighted(train, train_labels, test, k):
    """Votes are weighted by similarity. Each of the k neighbours has one vote; do not weight them."""
    similarity = F.normalize(test, dim=1) @ F.normalize(train, dim=1).T
    weight, near = similarity.topk(k, dim=1)
    return torch.zeros(len(test), int(train_labels.max()) + 1).scatter_add_(1, train_labels[near], weight).argmax(1)


def _ties_near(train, train_labels, test, k):
    """Ties go to the nearest neighbour's class. If classes tie, return the lower one."""
    similarity = F.normalize(test, dim=1) @ F.normalize(train, dim=1).T
    votes = train_labels[similarity.topk(k, dim=1).indices]
    counts = (votes[:, :, None] == votes[:, None]).sum(2)  # (M, k): votes for each neighbour's class
    return votes.gather(1, counts.argmax(1, keepdim=True))[:, 0]


def _distance(train, train_labels, test, k):
    """Nearest by distance, not by angle. Cosine similarity compares directions: normalise first, or long vectors win."""
    return _vote(-torch.cdist(test, train), train_labels, k)


def _first_skipped(train, train_labels, test, k):
    """The nearest neighbour is skipped. Test clips are not among the training clips, so nothing has to be left out."""
    similarity = F.normalize(test, dim=1) @ F.normalize(train, dim=1).T
    votes = train_labels[similarity.topk(k + 1, dim=1).indices[:, 1:]]
    return F.one_hot(votes, int(train_labels.max()) + 1).sum(1).argmax(1)


def _features(seed, k, n=30, m=25):
    labels = integers(n, below=4, seed=seed)
    centres = normal(4, 6, seed=seed + 1) * 1.0
    length = 1 + 4 * torch.arange(n).remainder(5)[:, None]  # of very different lengths
    train = (centres[labels] + normal(n, 6, seed=seed + 2)) * length
    test = centres[integers(m, below=4, seed=seed + 3)] + normal(m, 6, seed=seed + 4)
    return train, labels, test, k


# --- linear probe -----------------------------------------------------------------------------------------------------


def linear_probe_step(features, labels, weight, bias, learning_rate):
    """features (B, F), labels (B,), weight (C, F), bias (C,) -> (weight, bias) after one step of gradient descent.

    The loss is softmax cross-entropy, averaged over the batch. The features are frozen.
    """
    belief = (features @ weight.T + bias).softmax(1)  # (B, C)
    wrong = (belief - F.one_hot(labels, len(weight))) / len(features)  # (B, C): gradient with respect to the logits
    return weight - learning_rate * wrong.T @ features, bias - learning_rate * wrong.sum(0)


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


def _squares(features, labels, weight, bias, learning_rate):
    """The softmax is missing. This is the step of a squared error: the softmax is missing."""
    wrong = (features @ weight.T + bias - F.one_hot(labels, len(weight))) / len(features)
    return weight - learning_rate * wrong.T @ features, bias - learning_rate * wrong.sum(0)


def _softmax_over_batch(features, labels, weight, bias, learning_rate):
    """The softmax runs over the batch. The probabilities of the *classes* sum to one: `softmax(1)`. Yours sum to
    one over the clips of the batch.
    """
    belief = (features @ weight.T + bias).softmax(0)
    wrong = (belief - F.one_hot(labels, len(weight))) / len(features)
    return weight - learning_rate * wrong.T @ features, bias - learning_rate * wrong.sum(0)


def _softmax_twice(features, labels, weight, bias, learning_rate):
    """The softmax is taken twice. `F.cross_entropy` takes logits and computes the softmax itself."""
    w, b = weight.clone().requires_grad_(), bias.clone().requires_grad_()
    loss = F.cross_entropy((features @ w.T + b).softmax(1), labels)
    new = torch.autograd.grad(loss, (w, b))
    return weight - learning_rate * new[0], bias - learning_rate * new[1]


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
    features, labels = normal(8, 5, seed=seed), integers(8, below=3, seed=seed + 1)
    return features, labels, normal(3, 5, seed=seed + 2), normal(3, seed=seed + 3), rate


EXERCISES = (
    Exercise(
        task="For what share of the queries is the one right item among the k best?",
        reference=recall_at_k,
        probes=(lambda: _table(0, 12, 2), lambda: _table(1, 20, 3), lambda: _table(2, 15, 4), _tied),
        large=lambda: _table(3, 200, 10),
        wrong=(_columns, _worst, _precision, _one_more, _only_first, _number, _exactly, _ties_in, _itself_counted),
        hints=(
            "For each query, what is the rank of the right item? It is among the k best if its rank is at most k.",
            "The score of the right item of query i is `score[i, i]`: `score.diagonal()[:, None]` has one per row.",
            "`score >= score.diagonal()[:, None]` marks the target, and all items that it does not beat. What is their number in "
            "each row?",
        ),
    ),
    Exercise(
        task="Let the k nearest training clips vote on the class of each test clip.",
        reference=knn_predict,
        probes=(lambda: _features(0, 3), lambda: _features(10, 4), lambda: _features(20, 6)),
        wrong=(
            _not_normalised,
            _normalised_columns,
            _farthest,
            _nearest_only,
            _mean_label,
            _neighbours,
            _ties_high,
            _weighted,
            _ties_near,
            _distance,
            _first_skipped,
        ),
        large=lambda: _features(30, 20, 400, 200),
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
            _squares,
            _softmax_over_batch,
            _step_only,
            _changed_in_place,
            _softmax_twice,
        ),
        hints=(
            "The gradient of cross-entropy with respect to the logits is simple: belief minus truth. Or use autograd.",
            "`belief = (features @ weight.T + bias).softmax(1)`, `truth = F.one_hot(labels, C)`; divide by B.",
            "With `wrong = (belief - truth) / B`, the weight's gradient is `wrong.T @ features`. The bias has no features: what is "
            "its gradient? Which sign has a step downhill?",
        ),
    ),
)

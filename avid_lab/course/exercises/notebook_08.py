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


def _ties_by_place(score, k):
    """Ties are decided by the order of the items. An item with the target's own score ranks *before* it, wherever it stands:
    count the items with `>=`. (`topk` and `sort` decide ties by place.)
    """
    top = score.sort(dim=1, descending=True, stable=True).indices[:, :k]
    return (top == torch.arange(len(score))[:, None]).any(1).double().mean()


def _order_for_rank(score, k):
    """The order is taken for the ranks. `argsort` says which item is at place i, not at which place item i is: look for the
    place where the item is the query's own.
    """
    return (score.argsort(dim=1, descending=True).diagonal() < k).double().mean()


def _tied():
    score = normal(6, 6, seed=5)
    score[0] = torch.tensor([1.0, 2.0, 1.0, 0.0, -1.0, -2.0])  # the target of query 0 and item 2 share the second place
    score[1, :3] = 3.0  # here the target shares the first
    score[4, [0, 1, 4]] = 3.0  # here, too, after two others
    return score, 2


def _table(seed, n, k):
    return normal(n, n, seed=seed) + 1.5 * torch.eye(n), k


# --- nearest neighbours -----------------------------------------------------------------------------------------------


def knn_predict(train, train_labels, test, k):
    """train (N, F), train_labels (N,), test (M, F) -> (M,): the most common class of the k nearest by cosine similarity.

    Classes are 0, 1, 2, ...; if they tie, the lower one wins.
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


def _class_means(train, train_labels, test, k):
    """The nearest class mean decides, not neighbours. Each of the k nearest *clips* has one vote."""
    classes = int(train_labels.max()) + 1
    centres = torch.stack([train[train_labels == c].mean(0) for c in range(classes)])
    return (F.normalize(test, dim=1) @ F.normalize(centres, dim=1).T).argmax(1)


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

    The loss is softmax cross-entropy, averaged over the batch. The features are frozen; what is given stays as it is.
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


def _by_classes(features, labels, weight, bias, learning_rate):
    """The step is divided by the number of classes instead of the batch. Average over the B clips."""
    return linear_probe_step(features, labels, weight, bias, learning_rate * len(features) / len(bias))


def _squared_error(features, labels, weight, bias, learning_rate):
    """The squared error is used instead of cross-entropy. The loss is softmax cross-entropy: `F.cross_entropy`."""
    w, b = weight.clone().requires_grad_(), bias.clone().requires_grad_()
    loss = (features @ w.T + b - F.one_hot(labels, len(bias))).square().mean()
    new = torch.autograd.grad(loss, (w, b))
    return weight - learning_rate * new[0], bias - learning_rate * new[1]


def _one_after_the_other(features, labels, weight, bias, learning_rate):
    """The bias is updated with the new weight. Both gradients belong to the old weight and bias: compute both, then step."""
    new = linear_probe_step(features, labels, weight, bias, learning_rate)[0]
    return new, linear_probe_step(features, labels, new, bias, learning_rate)[1]


def _bias_stays(features, labels, weight, bias, learning_rate):
    """The bias does not learn. The bias also learns: its gradient is the mean of the errors over the batch."""
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


def _gradients_returned(features, labels, weight, bias, learning_rate):
    """The gradients are returned instead of the new weights. Take the step, too: `weight - learning_rate * gradient`."""
    new = linear_probe_step(features, labels, weight, bias, 1.0)
    return weight - new[0], bias - new[1]


def _changed_in_place(features, labels, weight, bias, learning_rate):
    """The given weights are changed in place. You changed the weights that you were given (`-=`). Return new ones,
    so that the probe can start again.
    """
    new = linear_probe_step(features, labels, weight, bias, learning_rate)
    return weight.copy_(new[0]), bias.copy_(new[1])


def _probe(seed, rate):
    features, labels = normal(8, 5, seed=seed), integers(8, below=3, seed=seed + 1)
    return features, labels, normal(3, 5, seed=seed + 2), normal(3, seed=seed + 3), rate


# --- a whole examination ----------------------------------------------------------------------------------------------


def ridge_probe(train, labels, test, held, penalties):
    """A linear probe by least squares, which chooses its own penalty.

    train (N, F), labels (N,), test (M, F): features; held (N,): True for training clips that only help to choose;
    penalties (P,) -> (scores (M, C) of all classes, the chosen penalty).

    A fit minimises ||X W + b - Y||^2 + penalty ||W||^2, where Y has a 1 for the class of each clip, else 0; b is free. The
    penalty with the most held clips right is chosen (the first of equals); then *all* training clips are fitted with it.
    """
    truth = F.one_hot(labels, int(labels.max()) + 1).to(train)  # (N, C)

    def fit(x, y, penalty):
        mean, level = x.mean(0), y.mean(0)  # the best b puts the mean of x on the mean of y
        x, y = x - mean, y - level
        weight = torch.linalg.solve(x.T @ x + penalty * torch.eye(x.shape[1]), x.T @ y)  # (F, C)
        return lambda features: (features - mean) @ weight + level

    right = []
    for penalty in penalties:
        scores = fit(train[~held], truth[~held], penalty)(train[held])
        right.append((scores.argmax(1) == labels[held]).sum())
    best = penalties[torch.stack(right).argmax()]  # argmax takes the first of equals
    return fit(train, truth, best)(test), best


def _one_hot(labels, like):
    return F.one_hot(labels, int(labels.max()) + 1).to(like)


def _solved(x, y, penalty, *, bias="free"):
    """Weights (F + 1, C), the last row is b."""
    x = F.pad(x, (0, 1), value=0.0 if bias == "none" else 1.0)
    ridge = penalty * torch.eye(x.shape[1])
    if bias == "free":
        ridge[-1, -1] = 0
    if bias == "none":
        ridge[-1, -1] = 1  # any number: b stays 0
    return torch.linalg.solve(x.T @ x + ridge, x.T @ y)


def _scored(weight, features):
    return features @ weight[:-1] + weight[-1]


def _examined(train, labels, test, held, penalties, *, solve=_solved, chosen=None, fitted=None, asked=None, best=None):
    """The examination with one part exchanged: how to fit, on whom to fit while choosing and at the end, whom to ask."""
    truth, everybody = _one_hot(labels, train), torch.ones_like(held)
    chosen, asked, fitted = (~held if chosen is None else chosen, held if asked is None else asked, fitted)
    right = []
    for penalty in penalties:
        scores = _scored(solve(train[chosen], truth[chosen], penalty), train[asked])
        right.append((scores.argmax(1) == labels[asked]).sum())
    place = torch.stack(right).argmax() if best is None else best(torch.stack(right))
    last = everybody if fitted is None else fitted
    return _scored(solve(train[last], truth[last], penalties[place]), test), penalties[place]


def _bias_penalised(train, labels, test, held, penalties):
    """The bias is penalised, too. Only W is pulled towards zero: b is free. Subtract the means first, or leave b's place of
    the penalty at 0.
    """
    return _examined(train, labels, test, held, penalties, solve=lambda *x: _solved(*x, bias="penalised"))


def _without_bias(train, labels, test, held, penalties):
    """The bias is missing. Without b, the scores of the mean clip are 0 for every class. Subtract the means of features and
    of truth, or append a column of ones.
    """
    return _examined(train, labels, test, held, penalties, solve=lambda *x: _solved(*x, bias="none"))


def _times_clips(train, labels, test, held, penalties):
    """The penalty is multiplied by the number of clips. The errors are summed here, not averaged: add `penalty` itself."""
    return _examined(train, labels, test, held, penalties, solve=lambda x, y, p: _solved(x, y, p * len(x)))


def _divided_by_clips(train, labels, test, held, penalties):
    """The penalty is divided by the number of clips. The errors are summed here, not averaged: add `penalty` itself."""
    return _examined(train, labels, test, held, penalties, solve=lambda x, y, p: _solved(x, y, p / len(x)))


def _penalty_squared(train, labels, test, held, penalties):
    """The penalty is squared. Add `penalty` to the diagonal, not its square."""
    return _examined(train, labels, test, held, penalties, solve=lambda x, y, p: _solved(x, y, p * p))


def _no_penalty(train, labels, test, held, penalties):
    """The penalty is not used in the fit. Add `penalty` to the diagonal of `X.T @ X`: it keeps the weights small."""
    return _examined(train, labels, test, held, penalties, solve=lambda x, y, p: _solved(x, y, 0 * p))


def _chosen_where_fitted(train, labels, test, held, penalties):
    """The held clips are fitted, too. While you choose, fit only the clips that are *not* held: a clip that was fitted says
    nothing about the penalty.
    """
    return _examined(train, labels, test, held, penalties, chosen=torch.ones_like(held))


def _asked_where_fitted(train, labels, test, held, penalties):
    """The penalty is chosen on the clips that were fitted. These are right with hardly any penalty. Ask the held clips."""
    return _examined(train, labels, test, held, penalties, asked=~held)


def _not_refitted(train, labels, test, held, penalties):
    """The final fit leaves out the held clips. They have done their duty: fit *all* training clips with the chosen penalty."""
    return _examined(train, labels, test, held, penalties, fitted=~held)


def _held_only(train, labels, test, held, penalties):
    """The roles of the clips are exchanged. `held` is True for the clips that only choose: fit the others, `~held`."""
    return _examined(train, labels, test, held, penalties, chosen=held, asked=~held)


def _fewest_right(train, labels, test, held, penalties):
    """The worst penalty is chosen. Take the penalty with the *most* held clips right: `argmax`."""
    return _examined(train, labels, test, held, penalties, best=torch.argmin)


def _last_of_equals(train, labels, test, held, penalties):
    """Of equals, the last penalty is chosen. The first of equals wins, as with `argmax`."""
    return _examined(train, labels, test, held, penalties, best=lambda right: len(right) - 1 - right.flip(0).argmax())


def _first_penalty(train, labels, test, held, penalties):
    """The first penalty is used, whatever the held clips say. Fit with each penalty, and count the held clips that are right."""
    return _examined(train, labels, test, held, penalties, best=lambda right: 0)


def _by_error(train, labels, test, held, penalties):
    """The smallest squared error chooses, not the most clips right. Count the held clips whose class is right."""
    truth, errors = _one_hot(labels, train), []
    for penalty in penalties:
        scores = _scored(_solved(train[~held], truth[~held], penalty), train[held])
        errors.append((scores - truth[held]).square().sum())
    best = penalties[torch.stack(errors).argmin()]
    return _scored(_solved(train, truth, best), test), best


def _penalty_root(train, labels, test, held, penalties):
    """The square root of the penalty is used. Add `penalty` itself to the diagonal."""
    return _examined(train, labels, test, held, penalties, solve=lambda x, y, p: _solved(x, y, p**0.5))


def _common_means(train, labels, test, held, penalties):
    """The means include the held clips. While you choose, subtract the means of the clips that are fitted: b belongs to the fit."""

    def solve(x, y, penalty):
        mean, level = train.mean(0), _one_hot(labels, train).mean(0)
        weight = torch.linalg.solve(
            (x - mean).T @ (x - mean) + penalty * torch.eye(x.shape[1]), (x - mean).T @ (y - level)
        )
        return torch.cat([weight, (level - mean @ weight)[None]])

    return _examined(train, labels, test, held, penalties, solve=solve)


def _signs(train, labels, test, held, penalties):
    """The truth is -1 and 1 instead of 0 and 1. With 0 for the wrong classes, scores are shares and sum to one."""
    scores, best = ridge_probe(train, labels, test, held, penalties)
    return 2 * scores - 1, best


def _classes_returned(train, labels, test, held, penalties):
    """Classes are returned instead of scores. Return the scores (M, C): whoever calls you takes the `argmax`."""
    scores, best = ridge_probe(train, labels, test, held, penalties)
    return scores.argmax(1), best


def _ridge_by_column(train, labels, test, held, penalties):
    truth = F.one_hot(labels).to(train)
    ones = torch.ones(len(train), 1)
    x = torch.cat([train, ones], dim=1)
    ridge = torch.eye(x.shape[1])
    ridge[-1, -1] = 0
    right = []
    for penalty in penalties:
        some = x[~held]
        weight = torch.linalg.inv(some.T @ some + penalty * ridge) @ some.T @ truth[~held]
        right.append(((x[held] @ weight).argmax(1) == labels[held]).sum())
    best = penalties[torch.stack(right).argmax()]
    weight = torch.linalg.inv(x.T @ x + best * ridge) @ x.T @ truth
    return test @ weight[:-1] + weight[-1], best


def _clips_of_classes(seed, size, spread, features=6, penalties=(30.0, 1.0, 300.0, 0.1, 5.0)):
    """Noisy classes around centres that are far from zero; a third of the training clips is held."""
    centres = 3 + normal(3, features, seed=seed)
    labels, asked = integers(size, below=3, seed=seed + 1), integers(7, below=3, seed=seed + 2)
    labels[:3] = torch.arange(3)
    train = centres[labels] + normal(size, features, seed=seed + 3, scale=spread)
    test = centres[asked] + normal(7, features, seed=seed + 4, scale=spread)
    return train, labels, test, torch.arange(size) % 3 == 1, torch.tensor(penalties)


EXERCISES = (
    Exercise(
        task="For what share of the queries is the one right item among the k best?",
        reference=recall_at_k,
        probes=(lambda: _table(0, 61, 2), lambda: _table(1, 97, 9), lambda: _table(2, 40, 4), _tied),
        large=lambda: _table(3, 200, 10),
        wrong=(
            _columns,
            _worst,
            _precision,
            _one_more,
            _only_first,
            _number,
            _exactly,
            _ties_in,
            _itself_counted,
            _ties_by_place,
            _order_for_rank,
        ),
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
            _class_means,
            _distance,
            _first_skipped,
        ),
        large=lambda: _features(30, 20, 400, 200),
        hints=(
            "There are three steps: the similarity of every test clip to every training clip, the k best of each row, a vote.",
            "`F.normalize(x, dim=1)` makes rows of length one; `.topk(k, dim=1).indices` gives the neighbours; "
            "`train_labels[...]` gives their classes.",
            "Count votes with `F.one_hot(votes, C).sum(1)`, (M, C), where C is the number of classes, the largest label plus 1; "
            "`argmax(1)` takes the first of equal counts.",
        ),
    ),
    Exercise(
        task="Take one step of softmax regression on frozen features.",
        reference=linear_probe_step,
        probes=(lambda: _probe(0, 0.5), lambda: _probe(5, 0.1)),
        wrong=(
            _ascent,
            _batch_sum,
            _by_classes,
            _squared_error,
            _one_after_the_other,
            _bias_stays,
            _squares,
            _softmax_over_batch,
            _step_only,
            _gradients_returned,
            _changed_in_place,
            _softmax_twice,
        ),
        hints=(
            "The gradient of cross-entropy with respect to the logits is simple: belief minus truth. Or use autograd.",
            "`belief = (features @ weight.T + bias).softmax(1)`, `truth = F.one_hot(labels, len(bias))`; divide by B.",
            "With `wrong = (belief - truth) / B`, the weight's gradient is `wrong.T @ features`. The bias has no features: what is "
            "its gradient? Which sign has a step downhill?",
        ),
    ),
    Exercise(
        task="Write a whole examination: a linear probe in closed form that chooses its own penalty on held-back clips.",
        reference=ridge_probe,
        probes=(
            lambda: _clips_of_classes(60, 18, 2.0),
            lambda: _clips_of_classes(70, 15, 1.5),
            lambda: _clips_of_classes(30, 15, 1.5, penalties=(3.0, 0.3, 30.0, 300.0)),
            lambda: _clips_of_classes(80, 30, 3.0, penalties=(3e4, 0.01, 100.0, 1.0, 3000.0)),
        ),
        wrong=(
            _bias_penalised,
            _without_bias,
            _times_clips,
            _divided_by_clips,
            _penalty_squared,
            _no_penalty,
            _chosen_where_fitted,
            _asked_where_fitted,
            _not_refitted,
            _held_only,
            _fewest_right,
            _last_of_equals,
            _first_penalty,
            _by_error,
            _penalty_root,
            _common_means,
            _signs,
            _classes_returned,
        ),
        forms=(_ridge_by_column,),
        large=lambda: _clips_of_classes(90, 400, 2.0, 64),
        hints=(
            "One inner function that fits (features, truth, penalty) is used twice: for every penalty on the clips that are not "
            "held, and once at the end on all.",
            "Subtract the means of X and of Y first; then b needs no place of its own. What is left has the solution "
            "`torch.linalg.solve(X.T @ X + penalty * torch.eye(F), X.T @ Y)`.",
            "The score of a class is `(x - mean_of_x) @ W + mean_of_y`. Count `scores.argmax(1) == labels[held]` for each penalty; "
            "`argmax` of these counts is the first of equals. What is fitted at the end?",
        ),
    ),
)

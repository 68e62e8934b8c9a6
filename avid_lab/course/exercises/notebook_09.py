"""Notebook 09: what came after."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from avid_lab.course.checks import Exercise, Property
from avid_lab.course.exercises.inputs import normal, unit

# --- InfoNCE ----------------------------------------------------------------------------------------------------------


def info_nce(video, audio, temperature):
    """video, audio (B, D): unit embeddings of the same clips -> one number, the mean of both directions."""
    score = video @ audio.T / temperature  # (B, B): row = picture, column = sound; the diagonal is right
    target = torch.arange(len(video), device=video.device)
    return (F.cross_entropy(score, target) + F.cross_entropy(score.T, target)) / 2


def _by_probabilities(video, audio, temperature):
    score = video @ audio.T / temperature
    rows, columns = score.softmax(1).diagonal(), score.softmax(0).diagonal()
    return -(rows.log().mean() + columns.log().mean()) / 2


def _each_direction(video, audio, temperature):
    own = torch.arange(len(video), device=video.device)
    pictures_ask = F.cross_entropy(video @ audio.T / temperature, own)
    sounds_ask = F.cross_entropy(audio @ video.T / temperature, own)
    return (pictures_ask + sounds_ask) / 2


def _attraction_only(video, audio, temperature):
    """Only the right pairs count. Nothing pushes the wrong pairs apart: the denominator (the softmax) is missing."""
    return -(video * audio).sum(1).mean() / temperature


def _softmax_twice(video, audio, temperature):
    """The softmax is taken twice. `F.cross_entropy` takes scores and computes the softmax itself."""
    score = video @ audio.T / temperature
    target = torch.arange(len(score))
    return (F.cross_entropy(score.softmax(1), target) + F.cross_entropy(score.T.softmax(1), target)) / 2


def _one_way(video, audio, temperature):
    """Only pictures ask. Only pictures ask for sounds. Let sounds ask for pictures, too (`score.T`), and take the
    mean of the two.
    """
    score = video @ audio.T / temperature
    return F.cross_entropy(score, torch.arange(len(video)))


def _other_way(video, audio, temperature):
    """Only sounds ask. Only sounds ask for pictures. Let pictures ask for sounds, too, and take the mean of the two."""
    return _one_way(audio, video, temperature)


def _times_temperature(video, audio, temperature):
    """Multiplied by the temperature. *Divide* by the temperature. If you multiply, all scores are nearly equal."""
    return info_nce(video, audio, 1 / temperature)


def _no_temperature(video, audio, temperature):
    """The temperature is missing. Without a temperature, scores lie in [-1, 1], and a softmax over them is never
    confident.
    """
    return info_nce(video, audio, 1.0)


def _sum_of_directions(video, audio, temperature):
    """The directions are summed instead of averaged. Take the mean of the two directions, not their sum."""
    return 2 * info_nce(video, audio, temperature)


def _batch_sum(video, audio, temperature):
    """The batch is summed instead of averaged. Average over the batch."""
    return len(video) * info_nce(video, audio, temperature)


def _within(video, audio, temperature):
    """Within a modality instead of across. You compare pictures with pictures, where each matches itself. The
    network learns nothing from that.
    """
    return (info_nce(video, video, temperature) + info_nce(audio, audio, temperature)) / 2


def _one_softmax(video, audio, temperature):
    """One softmax over all pairs. Your softmax runs over all B x B pairs. Each query asks its own question: use one
    softmax per row.
    """
    score = video @ audio.T / temperature
    return score.flatten().logsumexp(0) - score.diagonal().mean()


def _positive_left_out(video, audio, temperature):
    """The positive is missing in the denominator. The denominator must include the positive. Otherwise the loss has
    no lower bound.
    """
    score = video @ audio.T / temperature
    others = score.masked_fill(torch.eye(len(score), dtype=torch.bool), -torch.inf)
    return (others.logsumexp(1) + others.logsumexp(0)).mean() / 2 - score.diagonal().mean()


def _other_side_detached(video, audio, temperature):
    """In each direction only the queries learn. The value is right, but the answers are detached, as if they were notes. Here
    nothing is old: gradients flow into both sides.
    """
    target = torch.arange(len(video))
    pictures_ask = F.cross_entropy(video @ audio.detach().T / temperature, target)
    return (pictures_ask + F.cross_entropy(audio @ video.detach().T / temperature, target)) / 2


def _audio_detached(video, audio, temperature):
    """The sounds are detached. The value is right, but no gradient reaches the sounds: half of the model would not
    learn.
    """
    return info_nce(video, audio.detach(), temperature)


def _batch(seed, size, temperature):
    return unit(size, 6, seed, grad=True), unit(size, 6, seed + 1, grad=True), temperature


# --- sigmoid ----------------------------------------------------------------------------------------------------------


def sigmoid_loss(video, audio, temperature, bias):
    """video, audio (B, D): unit embeddings of the same clips -> one number: all B x B pairs, divided by B."""
    score = video @ audio.T / temperature + bias  # (B, B)
    sign = 2 * torch.eye(len(video), device=video.device) - 1  # +1 on the diagonal, -1 elsewhere
    return -F.logsigmoid(sign * score).sum() / len(video)


def _no_underflow(function):
    video = unit(3, 4, seed=9)
    value = function(video, -video, 0.005, 0.0)  # the right pairs are the least similar
    if torch.isfinite(torch.as_tensor(value)).all():
        return None
    return (
        "One remark: at a low temperature the probability of a badly wrong pair is 0, and its logarithm infinite. Use "
        "`F.logsigmoid(s)` for `log(sigmoid(s))`: it stays finite."
    )


def _by_probability(video, audio, temperature, bias):
    sign = 2 * torch.eye(len(video)) - 1
    return -torch.sigmoid(sign * (video @ audio.T / temperature + bias)).log().sum() / len(video)


def _softmax_rows(video, audio, temperature, bias):
    """This is softmax (InfoNCE), one way, not sigmoid. Here every pair is its own yes-or-no question."""
    return _one_way(video, audio, temperature)


def _labels_zero(video, audio, temperature, bias):
    """The labels of the wrong pairs are 0 instead of -1. With a sign of 0, a wrong pair costs log 2, whatever its score."""
    score = video @ audio.T / temperature + bias
    return -F.logsigmoid(torch.eye(len(video)) * score).sum() / len(video)


def _no_bias(video, audio, temperature, bias):
    """The bias is missing. The bias is missing. There are B - 1 times as many wrong pairs as right ones; the bias
    accounts for that.
    """
    return sigmoid_loss(video, audio, temperature, 0.0)


def _bias_unsigned(video, audio, temperature, bias):
    """The bias is outside the sign. The bias is part of the score, so the sign applies to it, too: `sign * (s /
    temperature + bias)`.
    """
    sign = 2 * torch.eye(len(video)) - 1
    return -F.logsigmoid(sign * (video @ audio.T / temperature) + bias).sum() / len(video)


def _per_pair(video, audio, temperature, bias):
    """Divided by the number of pairs instead of clips. Divide by B, not by B x B: each *clip* asks B questions, and
    all count.
    """
    return sigmoid_loss(video, audio, temperature, bias) / len(video)


def _bias_on_diagonal(video, audio, temperature, bias):
    """The bias is added to the right pairs only. It belongs to every score: without it, the many wrong pairs dominate at first."""
    eye = torch.eye(len(video))
    score = video @ audio.T / temperature + bias * eye
    return -F.logsigmoid((2 * eye - 1) * score).sum() / len(video)


def _bias_off_diagonal(video, audio, temperature, bias):
    """The bias is added to the wrong pairs only. It belongs to every score, also to those of the right pairs."""
    eye = torch.eye(len(video))
    score = video @ audio.T / temperature + bias * (1 - eye)
    return -F.logsigmoid((2 * eye - 1) * score).sum() / len(video)


def _kinds_averaged(video, audio, temperature, bias):
    """The right and the wrong pairs are averaged apart. All B x B pairs are summed, and the sum is divided by B."""
    score = video @ audio.T / temperature + bias
    own = score.diagonal()
    wrong = F.softplus(score).sum(1) - F.softplus(own)
    return (F.softplus(-own) + wrong / (len(video) - 1)).mean()


def _undivided(video, audio, temperature, bias):
    """The batch is summed instead of averaged. Divide by B. Otherwise the loss grows with the batch."""
    return sigmoid_loss(video, audio, temperature, bias) * len(video)


def _diagonal_only(video, audio, temperature, bias):
    """Only the right pairs count. You only use the right pairs. Without the wrong pairs, everything collapses to
    one point.
    """
    score = video @ audio.T / temperature + bias
    return -F.logsigmoid(score.diagonal()).sum() / len(video)


def _wrong_pairs_only(video, audio, temperature, bias):
    """Only the wrong pairs count. With labels 0 and -1 the right pairs do not count: they need +1."""
    score = video @ audio.T / temperature + bias
    others = ~torch.eye(len(video), dtype=torch.bool)
    return -F.logsigmoid(-score[others]).sum() / len(video)


def _sign_turned(video, audio, temperature, bias):
    """The signs are swapped. You swapped the signs: use +1 on the diagonal and -1 elsewhere."""
    score = video @ audio.T / temperature + bias
    sign = 1 - 2 * torch.eye(len(video))
    return -F.logsigmoid(sign * score).sum() / len(video)


def _softmax(video, audio, temperature, bias):
    """This is softmax (InfoNCE), not sigmoid. This is a softmax, one question with B answers. Here every pair is
    its own yes-or-no question.
    """
    return info_nce(video, audio, temperature)


def _pairs(seed, size, temperature, bias):
    return (*_batch(seed, size, temperature), bias)


# --- queue ------------------------------------------------------------------------------------------------------------


def queue_step(query, key, queue, temperature):
    """query, key (B, D): unit embeddings of the same clips; queue (Q, D): the last Q keys, oldest first -> (loss, queue).

    Each query chooses between its own key and all Q keys of the queue (softmax; the mean over the batch). Then the new
    keys join the queue, and the oldest leave. Keys are constants: gradients reach the queries only.
    """
    key = key.detach()
    right = (query * key).sum(1, keepdim=True)  # (B, 1)
    score = torch.cat([right, query @ queue.T], dim=1) / temperature  # (B, 1 + Q): the right answer is column 0
    loss = F.cross_entropy(score, torch.zeros(len(query), dtype=torch.long, device=query.device))
    return loss, torch.cat([queue, key])[len(key) :]


def _key_attached(query, key, queue, temperature):
    """The keys are not detached. The values are right, but gradients flow into the keys, and the queue keeps the graph of
    every old batch alive: memory grows with each step. `key.detach()` first.
    """
    right = (query * key).sum(1, keepdim=True)
    score = torch.cat([right, query @ queue.T], dim=1) / temperature
    return F.cross_entropy(score, torch.zeros(len(query), dtype=torch.long)), torch.cat([queue, key])[len(key) :]


def _query_detached(query, key, queue, temperature):
    """The queries are detached. Then nothing learns: gradients must reach the queries."""
    return queue_step(query.detach(), key, queue, temperature)


def _new_in_front(query, key, queue, temperature):
    """The new keys join at the wrong end. The queue has its oldest key first, so new keys belong at its end."""
    return queue_step(query, key, queue, temperature)[0], torch.cat([key.detach(), queue])[: len(queue)]


def _front_overwritten(query, key, queue, temperature):
    """The new keys stand where the oldest stood. The next step would drop these new keys first. Move all others up, and
    put the new keys at the end.
    """
    return queue_step(query, key, queue, temperature)[0], torch.cat([key.detach(), queue[len(key) :]])


def _newest_leave(query, key, queue, temperature):
    """The newest keys leave instead of the oldest. The oldest are the first rows: these leave."""
    return queue_step(query, key, queue, temperature)[0], torch.cat([queue[: len(queue) - len(key)], key.detach()])


def _first_key_right(query, key, queue, temperature):
    """All queries have the same right answer. All keys of the batch are choices, and column 0 is right for query 0 only: put
    each query's own score into column 0.
    """
    score = torch.cat([query @ key.detach().T, query @ queue.T], dim=1) / temperature
    right = torch.zeros(len(query), dtype=torch.long)
    return F.cross_entropy(score, right), queue_step(query, key, queue, temperature)[1]


def _grows(query, key, queue, temperature):
    """The queue grows. As many keys leave as join: the queue always has Q rows."""
    return queue_step(query, key, queue, temperature)[0], torch.cat([queue, key.detach()])


def _not_updated(query, key, queue, temperature):
    """The queue stays as it was. Return it *after* the new keys have joined at its end. The oldest leave: its first B rows."""
    return queue_step(query, key, queue, temperature)[0], queue


def _joined_first(query, key, queue, temperature):
    """The new keys join before the loss. Each query then meets its own key as a negative, too: compute the loss with the
    *old* queue.
    """
    joined = queue_step(query, key, queue, temperature)[1]
    return queue_step(query, key, joined, temperature)[0], joined


def _right_left_out(query, key, queue, temperature):
    """The right answer is not among the choices. The softmax runs over 1 + Q keys: the own key and the queue."""
    noise = (query @ queue.T / temperature).logsumexp(1)
    return (noise - (query * key.detach()).sum(1) / temperature).mean(), queue_step(query, key, queue, temperature)[1]


def _no_temperature_in_queue(query, key, queue, temperature):
    """The temperature is missing. Divide all similarities by it, those of the queue and the own one."""
    return queue_step(query, key, queue, 1.0)


def _times_temperature_in_queue(query, key, queue, temperature):
    """Multiplied by the temperature. *Divide* the similarities by it."""
    return queue_step(query, key, queue, 1 / temperature)


def _queue_sum(query, key, queue, temperature):
    """The batch is summed instead of averaged. Take the mean over the queries of the batch."""
    loss, joined = queue_step(query, key, queue, temperature)
    return len(query) * loss, joined


def _whole_batch_of_keys(query, key, queue, temperature):
    """The other keys of the batch are choices, too. Each query meets its own key and the queue, not the keys of the other
    clips of its batch: those join afterwards.
    """
    score = torch.cat([query @ key.detach().T, query @ queue.T], dim=1) / temperature
    return F.cross_entropy(score, torch.arange(len(query))), queue_step(query, key, queue, temperature)[1]


def _queue_queries(query, key, queue, temperature):
    """The queries join the queue. The queue holds *keys*, embeddings of the other sense: let the new keys join."""
    return queue_step(query, key, queue, temperature)[0], torch.cat([queue, query.detach()])[len(query) :]


def _queue_by_log_softmax(query, key, queue, temperature):
    key = key.detach()
    right, wrong = (query * key).sum(1) / temperature, query @ queue.T / temperature
    loss = (torch.logaddexp(right, wrong.logsumexp(1)) - right).mean()
    return loss, torch.cat([queue[len(key) :], key])


def _waiting(seed, size, length, temperature):
    return unit(size, 6, seed, grad=True), unit(size, 6, seed + 1, grad=True), unit(length, 6, seed + 2), temperature


# --- robust weights ---------------------------------------------------------------------------------------------------


def robust_weights(similarity, floor):
    """similarity (B,): of each picture to its own sound -> (B,) weights in [floor, 1], constants.

    Take a normal distribution with the mean and standard deviation of the similarities (of the batch itself, divided by B).
    The weight is the share of it below each similarity, rescaled to [floor, 1].
    """
    similarity = similarity.detach()
    z = (similarity - similarity.mean()) / similarity.std(correction=0)
    return floor + (1 - floor) * torch.special.ndtr(z)


def _z(similarity):
    similarity = similarity.detach()
    return (similarity - similarity.mean()) / similarity.std(correction=0)


def _density(similarity, floor):
    """The density instead of the share below. The density is largest in the middle, for pairs that are neither good nor bad.
    Take the share of the distribution below each similarity: `torch.special.ndtr`.
    """
    return floor + (1 - floor) * torch.distributions.Normal(0.0, 1.0).log_prob(_z(similarity)).exp()


def _between_extremes(similarity, floor):
    """The similarity itself is rescaled, from smallest to largest. One odd pair would move all weights. Take the share of the
    normal distribution below each similarity.
    """
    x = similarity.detach()
    return floor + (1 - floor) * (x - x.min()) / (x.max() - x.min())


def _weights_turned(similarity, floor):
    """Mismatched pairs get the largest weights. Pairs that do *not* match got the largest weights, but these are
    the ones to distrust.
    """
    return floor + (1 - floor) * torch.special.ndtr(-_z(similarity))


def _variance(similarity, floor):
    """The variance instead of the standard deviation. Divide by the standard deviation, not by the variance: the
    variance has other units.
    """
    similarity = similarity.detach()
    return floor + (1 - floor) * torch.special.ndtr((similarity - similarity.mean()) / similarity.var(correction=0))


def _no_mean(similarity, floor):
    """The mean is not subtracted. Subtract the mean: after Cross-AVID, similarities can lie anywhere, and a
    matching pair lies *above the average*.
    """
    similarity = similarity.detach()
    return floor + (1 - floor) * torch.special.ndtr(similarity / similarity.std(correction=0))


def _floor_added(similarity, floor):
    """The floor is added without rescaling. Some weights exceed 1. Add the floor and rescale the rest: `floor + (1
    - floor) * share`.
    """
    return floor + torch.special.ndtr(_z(similarity))


def _no_floor(similarity, floor):
    """The floor is missing. The floor is missing: a pair with one unlucky score would never recover."""
    return torch.special.ndtr(_z(similarity))


def _logistic(similarity, floor):
    """A logistic curve instead of the normal distribution. A logistic curve is not the normal distribution:
    `torch.special.ndtr` is.
    """
    return floor + (1 - floor) * _z(similarity).sigmoid()


def _clipped(similarity, floor):
    """Clipped at the floor instead of rescaled. All weights below the floor become equal. Rescale: `floor + (1 - floor) *
    share`.
    """
    return torch.special.ndtr(_z(similarity)).clamp(min=floor)


def _ranks(similarity, floor):
    """Ranks instead of the normal distribution. The weight depends on how far a pair is from the mean, not on its rank."""
    rank = similarity.detach().argsort().argsort()
    return floor + (1 - floor) * rank / (len(rank) - 1)


def _gradient(similarity, floor):
    """A gradient flows through the weights. Weights are constants: `detach`. Otherwise the network can lower its
    loss by distrusting everything.
    """
    z = (similarity - similarity.mean()) / similarity.std(correction=0)
    return floor + (1 - floor) * torch.special.ndtr(z)


EXERCISES = (
    Exercise(
        task="Write InfoNCE over a batch in both directions: which of these sounds is mine, and which of these pictures?",
        reference=info_nce,
        probes=(lambda: _batch(0, 5, 0.1), lambda: _batch(4, 7, 0.5)),
        wrong=(
            _one_way,
            _other_way,
            _times_temperature,
            _no_temperature,
            _sum_of_directions,
            _batch_sum,
            _within,
            _one_softmax,
            _positive_left_out,
            _audio_detached,
            _other_side_detached,
            _attraction_only,
            _softmax_twice,
        ),
        forms=(_by_probabilities, _each_direction),
        large=lambda: _batch(8, 128, 0.1),
        hints=(
            "Compute a table of scores, (B, B). Which entry of row i is right?",
            "`F.cross_entropy(score, target)` with `target = torch.arange(B)` asks each row; `score.T` asks each column.",
            "`score = video @ audio.T / temperature`. There are two cross-entropies, with the same `target`; what is the result?",
        ),
    ),
    Exercise(
        task="Write one step of contrast with a queue: the loss against the last Q keys, and the queue afterwards.",
        reference=queue_step,
        probes=(lambda: _waiting(0, 3, 8, 0.2), lambda: _waiting(5, 4, 12, 0.5)),
        wrong=(
            _key_attached,
            _query_detached,
            _new_in_front,
            _front_overwritten,
            _newest_leave,
            _first_key_right,
            _grows,
            _not_updated,
            _joined_first,
            _right_left_out,
            _no_temperature_in_queue,
            _times_temperature_in_queue,
            _queue_sum,
            _whole_batch_of_keys,
            _queue_queries,
        ),
        forms=(_queue_by_log_softmax,),
        large=lambda: _waiting(9, 64, 512, 0.1),
        hints=(
            "There are two parts: a softmax over 1 + Q scores for each query, and a list that moves up by B places.",
            "Put the own score first: `torch.cat([own, others], dim=1)`, (B, 1 + Q). Which column is right for every query?",
            "`own = (query * key).sum(1, keepdim=True)`, and the target of `F.cross_entropy` is 0 for all. For the queue: "
            "append the new keys, and leave out the first B rows. What must not carry a gradient?",
        ),
    ),
    Exercise(
        task="Write SigLIP's loss: every pair of the batch is its own yes-or-no question.",
        reference=sigmoid_loss,
        probes=(lambda: _pairs(0, 5, 0.1, -2.0), lambda: _pairs(4, 6, 0.3, -1.0)),
        wrong=(
            _no_bias,
            _bias_unsigned,
            _per_pair,
            _undivided,
            _bias_on_diagonal,
            _bias_off_diagonal,
            _kinds_averaged,
            _diagonal_only,
            _wrong_pairs_only,
            _sign_turned,
            _softmax,
            _softmax_rows,
            _labels_zero,
        ),
        forms=(_by_probability,),
        remarks=(Property("underflow", _no_underflow),),
        large=lambda: _pairs(8, 128, 0.1, -5.0),
        hints=(
            "Ask each of the B x B pairs: do you belong together? The right answer is yes on the diagonal, no elsewhere.",
            "A sign of +1 on the diagonal and -1 elsewhere turns both into one formula: `-logsigmoid(sign * score)`.",
            "`sign = 2 * torch.eye(B) - 1`; the score of a pair includes the bias. Sum over all pairs, and divide by B.",
        ),
    ),
    Exercise(
        task="Weight each pair by how well its picture fits its own sound, compared with the other pairs.",
        reference=robust_weights,
        probes=(
            lambda: (normal(9, seed=0, scale=0.2, grad=True), 0.25),
            lambda: (normal(6, seed=1, scale=0.3).add(0.4).requires_grad_(), 0.1),
        ),
        wrong=(
            _weights_turned,
            _variance,
            _no_mean,
            _floor_added,
            _no_floor,
            _logistic,
            _gradient,
            _clipped,
            _ranks,
            _density,
            _between_extremes,
        ),
        large=lambda: (normal(1600, seed=2), 0.25),
        hints=(
            "How many standard deviations above the mean is each pair? Use that number.",
            "`torch.special.ndtr(z)` is the share of a normal distribution below z.",
            "`z = (s - s.mean()) / s.std(correction=0)` with `s = similarity.detach()`. The share lies in [0, 1]: stretch and shift "
            "it to [floor, 1].",
        ),
    ),
)

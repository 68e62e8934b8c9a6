"""Notebook 02: contrast from scratch."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from avid_lab.course.checks import Exercise, Property
from avid_lab.course.exercises.inputs import integers, normal, seeded, unit

# --- the loss ---------------------------------------------------------------------------------------------------------


def nce_loss(positive, negative, Z):
    """positive (B, 1), negative (B, K): similarity / temperature; Z: the partition constant -> one number, a tensor."""
    log_KZ = math.log(negative.shape[1]) + torch.as_tensor(Z).log()
    yes = F.softplus(log_KZ - positive).sum(1)  # (B,): -log of the belief that the real pair is real
    no = F.softplus(negative - log_KZ).sum(1)  # (B,): -log of the belief that the K drawn pairs are not
    return (yes + no).mean()


def _nce(positive, negative, noise):
    yes, no = positive.exp() / (positive.exp() + noise), noise / (negative.exp() + noise)
    return yes, no


def _as_written(positive, negative, Z):
    K = negative.shape[1]
    noise = K * Z
    yes = positive.exp() / (positive.exp() + noise)
    no = noise / (negative.exp() + noise)
    return -(yes.log().sum(1) + no.log().sum(1)).mean()


def _z_again(positive, negative, Z):
    """Z is estimated anew from each batch. The notebook estimates Z once and keeps it: use the Z that you are given.
    Otherwise the ruler moves with every batch.
    """
    return nce_loss(positive, negative, negative.detach().exp().mean())


def _no_k(positive, negative, Z):
    """K is missing before Z. There are K noise pairs for each real pair, so the odds are `exp(s)` against `K * Z`,
    in both halves.
    """
    yes, no = _nce(positive, negative, torch.as_tensor(Z))
    return -(yes.log().sum(1) + no.log().sum(1)).mean()


def _no_z(positive, negative, Z):
    """Z is missing. Without Z, `exp(s)` is not a probability: the weight of the noise is `K * Z`, not `K`."""
    yes, no = _nce(positive, negative, torch.tensor(float(negative.shape[1])))
    return -(yes.log().sum(1) + no.log().sum(1)).mean()


def _mean_over_k(positive, negative, Z):
    """The negatives are averaged instead of summed. Each of the K negatives asks its own question, and the loss
    sums all K answers. With an average, negatives are K times too weak: the loss gains almost nothing by telling
    them apart.
    """
    yes, no = _nce(positive, negative, negative.shape[1] * torch.as_tensor(Z))
    return -(yes.log().sum(1) + no.log().mean(1)).mean()


def _batch_sum(positive, negative, Z):
    """The batch is summed instead of averaged. Average over the batch. Otherwise the learning rate has to change
    with the batch size.
    """
    yes, no = _nce(positive, negative, negative.shape[1] * torch.as_tensor(Z))
    return -(yes.log().sum(1) + no.log().sum(1)).sum()


def _softmax(positive, negative, Z):
    """This is softmax (InfoNCE), not NCE. This is InfoNCE: one question with K + 1 answers. NCE asks K + 1
    questions with two answers each, and needs Z.
    """
    return (torch.cat([positive, negative], dim=1).logsumexp(1) - positive[:, 0]).mean()


def _positive_only(positive, negative, Z):
    """The negatives do not count at all. The second sum is missing. With only the positive, the same vector for all
    clips is a perfect answer.
    """
    yes, _ = _nce(positive, negative, negative.shape[1] * torch.as_tensor(Z))
    return -yes.log().sum(1).mean()


def _negatives_as_real(positive, negative, Z):
    """The negatives are treated as real. The target of a drawn pair is "drawn": `K * Z / (exp(s) + K * Z)`, not
    `exp(s) / (exp(s) + K * Z)`.
    """
    noise = negative.shape[1] * torch.as_tensor(Z)
    yes, no = _nce(positive, negative, noise)
    return -(yes.log().sum(1) + (1 - no).log().sum(1)).mean()


def _sign(positive, negative, Z):
    """The sign is flipped. Training minimises the loss. The minus sign in front is missing, so training would drive
    the pairs apart.
    """
    yes, no = _nce(positive, negative, negative.shape[1] * torch.as_tensor(Z))
    return (yes.log().sum(1) + no.log().sum(1)).mean()


def _detached_positive(positive, negative, Z):
    """The positive is detached. The value is right, but no gradient reaches the positive: nothing pulls a picture
    to its sound.
    """
    return nce_loss(positive.detach(), negative, Z)


def _detached_negative(positive, negative, Z):
    """The negatives are detached. The value is right, but no gradient reaches the negatives: nothing pushes
    strangers away.
    """
    return nce_loss(positive, negative.detach(), Z)


def _per_query(positive, negative, Z):
    """The mean over the batch is missing. You return one loss per query. The optimiser needs one number: end with a
    mean over the batch.
    """
    yes, no = _nce(positive, negative, negative.shape[1] * torch.as_tensor(Z))
    return -(yes.log().sum(1) + no.log().sum(1))


def _scores(batch, negatives, seed, z):
    positive, negative = (
        normal(batch, 1, seed=seed, scale=2.0, grad=True),
        normal(batch, negatives, seed=seed + 1, scale=2.0),
    )
    return positive, negative.requires_grad_(), torch.tensor(z)


def _no_overflow(function):
    positive, negative = torch.full((2, 1), 95.0), torch.full((2, 3), -95.0)
    value = function(positive, negative, torch.tensor(1.0))
    if torch.isfinite(torch.as_tensor(value)).all():
        return None
    return (
        "One remark: at a score of 95 (a temperature of 0.01) your `exp` overflows. Use `F.softplus(log c - s)` for "
        "`-log(e^s / (e^s + c))`: it never overflows."
    )


# --- Z ----------------------------------------------------------------------------------------------------------------


def partition_constant(negative):
    """negative (B, K): scores of random pairs -> Z, one number, taken as a constant."""
    return negative.detach().exp().mean()


def _z_sum(negative):
    """A sum instead of a mean. Use a mean, not a sum: Z must not change when you draw more negatives. (The loss
    multiplies by K itself.)
    """
    return negative.detach().exp().sum()


def _z_per_row(negative):
    """One Z per query. One Z for all queries: it is a constant of the model, not of a query."""
    return negative.detach().exp().mean(1)


def _z_of_mean(negative):
    """The exponential of the mean instead of the mean of the exponential. `exp` first, then the mean. The other
    order gives a smaller number (Jensen's inequality), especially if the scores differ a lot.
    """
    return negative.detach().mean().exp()


def _z_no_exp(negative):
    """The exponential is missing. Z normalises `exp(score)`, so it is the mean of `exp(score)`, not of the score."""
    return negative.detach().mean()


def _z_gradient(negative):
    """A gradient flows through Z. Z is a constant: `detach` it. Otherwise the network can lower its loss by
    changing the ruler.
    """
    return negative.exp().mean()


def _z_log(negative):
    """This is the logarithm of Z. This is log Z. The loss takes Z itself."""
    return negative.detach().exp().mean().log()


def _z_row_sum(negative):
    """K is counted twice. You summed over the K negatives and averaged over queries, so Z is K times too large. The
    loss has its own K.
    """
    return negative.detach().exp().sum(1).mean()


# --- the memory -------------------------------------------------------------------------------------------------------


def memory_update(memory, index, embedding, momentum):
    """memory (N, D) unit rows; index (B,) different rows; embedding (B, D) unit; -> the new memory (N, D)."""
    mixed = momentum * memory[index] + (1 - momentum) * embedding.detach()  # (B, D)
    updated = memory.clone()
    updated[index] = F.normalize(mixed, dim=1)
    return updated


def _momentum_turned(memory, index, embedding, momentum):
    """Momentum is the wrong way round. `momentum` is the share of the *old* memory: 0.9 means a slow memory. Yours
    gives that share to the new embedding.
    """
    return memory_update(memory, index, embedding, 1 - momentum)


def _not_normalised(memory, index, embedding, momentum):
    """You forgot to normalise. The mixture of two unit vectors is shorter than one: divide by its length, or scores
    shrink with every update.
    """
    updated = memory.clone()
    updated[index] = momentum * memory[index] + (1 - momentum) * embedding.detach()
    return updated


def _normalised_over_batch(memory, index, embedding, momentum):
    """Normalised along the wrong axis. Each row is a vector of length one, so use `dim=1`. You normalised the
    columns, across different clips.
    """
    updated = memory.clone()
    updated[index] = F.normalize(momentum * memory[index] + (1 - momentum) * embedding.detach(), dim=0)
    return updated


def _graph_kept(memory, index, embedding, momentum):
    """The embedding is not detached. The memory is a note, not part of the network: `detach` the embedding.
    Otherwise the graph of every past step stays alive, and the machine runs out of memory.
    """
    updated = memory.clone()
    updated[index] = F.normalize(momentum * memory[index] + (1 - momentum) * embedding, dim=1)
    return updated


def _in_place(memory, index, embedding, momentum):
    """The old memory is overwritten in place. You wrote into the memory that you were given, so nobody can compare
    before and after. Make a `clone()` first.
    """
    memory[index] = F.normalize(momentum * memory[index] + (1 - momentum) * embedding.detach(), dim=1)
    return memory


def _first_rows(memory, index, embedding, momentum):
    """The first rows are changed instead of the batch's. Row b of the batch is instance `index[b]`, not instance b:
    write to `memory[index]`.
    """
    updated = memory.clone()
    rows = slice(0, len(index))
    updated[rows] = F.normalize(momentum * memory[rows] + (1 - momentum) * embedding.detach(), dim=1)
    return updated


def _overwritten(memory, index, embedding, momentum):
    """The old memory is ignored. You drop the old note. Mix: `momentum * old + (1 - momentum) * new`."""
    updated = memory.clone()
    updated[index] = embedding.detach()
    return updated


def _only_batch(memory, index, embedding, momentum):
    """Only the batch's rows are returned. You return only the rows of the batch. Return the whole memory, (N, D),
    with the other rows unchanged.
    """
    return F.normalize(momentum * memory[index] + (1 - momentum) * embedding.detach(), dim=1)


def _update(seed, momentum, rows=9, batch=4, dim=5):
    index = torch.randperm(rows, generator=seeded(seed))[:batch]
    return unit(rows, dim, seed), index, unit(batch, dim, seed + 1, grad=True), momentum


# --- the gradient -----------------------------------------------------------------------------------------------------


def nce_gradient(query, note, others, Z, temperature):
    """query, note (D,), others (K, D): unit vectors -> (D,): gradient of the NCE loss at the query, along the sphere."""
    log_KZ = math.log(len(others)) + torch.as_tensor(Z).log()
    pull = 1 - torch.sigmoid(note @ query / temperature - log_KZ)  # 1 - P(real) of the right note
    push = torch.sigmoid(others @ query / temperature - log_KZ)  # (K,): P(real) of the drawn ones
    gradient = (push @ others - pull * note) / temperature  # (D,)
    return gradient - (gradient @ query) * query  # without the part that would only change the length


def _gradient(query, note, others, Z, temperature, K=None, pulled=1.0, pushed=1.0):
    log_KZ = math.log(K or len(others)) + torch.as_tensor(Z).log()
    pull = 1 - torch.sigmoid(note @ query / temperature - log_KZ)
    push = torch.sigmoid(others @ query / temperature - log_KZ)
    return (pushed * push @ others - pulled * pull * note) / temperature


def _tangent(gradient, query):
    return gradient - (gradient @ query) * query


def _uphill(query, note, others, Z, temperature):
    """The sign is flipped. This points towards the right note: that is the way *down*. The gradient points up, away
    from the right note and towards the others.
    """
    log_KZ = math.log(len(others)) + torch.as_tensor(Z).log()
    pull = 1 - torch.sigmoid(note @ query / temperature - log_KZ)
    push = torch.sigmoid(others @ query / temperature - log_KZ)
    gradient = (pull * note - push @ others) / temperature
    return gradient - (gradient @ query) * query


def _off_the_sphere(query, note, others, Z, temperature):
    """The gradient leaves the sphere. The query is normalised, so the part of the gradient along the query itself
    changes nothing: subtract `(gradient @ query) * query`.
    """
    return _gradient(query, note, others, Z, temperature)


def _no_inner_temperature(query, note, others, Z, temperature):
    """The factor 1 / T is missing. A score is a similarity divided by T, so the chain rule gives a factor 1 / T."""
    return _tangent(temperature * _gradient(query, note, others, Z, temperature), query)


def _times_inner_temperature(query, note, others, Z, temperature):
    """Multiplied by the temperature instead of divided. The chain rule gives a factor 1 / T, not T."""
    return _tangent(temperature**2 * _gradient(query, note, others, Z, temperature), query)


def _gradient_no_k(query, note, others, Z, temperature):
    """K is missing before Z. The odds are `exp(s)` against `K * Z`."""
    return _tangent(_gradient(query, note, others, Z, temperature, K=1), query)


def _gradient_no_z(query, note, others, Z, temperature):
    """Z is missing. The odds are `exp(s)` against `K * Z`."""
    return _tangent(_gradient(query, note, others, 1.0, temperature), query)


def _no_pull(query, note, others, Z, temperature):
    """The pull of the right note is missing. The right note pulls with 1 - P(real)."""
    return _tangent(_gradient(query, note, others, Z, temperature, pulled=0.0), query)


def _no_push(query, note, others, Z, temperature):
    """The pushes of the others are missing. Each drawn note pushes with its own P(real)."""
    return _tangent(_gradient(query, note, others, Z, temperature, pushed=0.0), query)


def _push_averaged(query, note, others, Z, temperature):
    """The pushes are averaged instead of summed. The loss sums over the K negatives, and so does its gradient."""
    return _tangent(_gradient(query, note, others, Z, temperature, pushed=1 / len(others)), query)


def _pull_by_belief(query, note, others, Z, temperature):
    """The right note pulls with P(real) instead of 1 - P(real). A pair that the network already believes in needs no
    more pull.
    """
    log_KZ = math.log(len(others)) + torch.as_tensor(Z).log()
    pull = torch.sigmoid(note @ query / temperature - log_KZ)
    push = torch.sigmoid(others @ query / temperature - log_KZ)
    return _tangent((push @ others - pull * note) / temperature, query)


def _of_softmax(query, note, others, Z, temperature):
    """This is the gradient of softmax (InfoNCE), not of NCE. In NCE each pair has its own P(real), and Z counts."""
    every = torch.cat([note[None], others])
    p = torch.softmax(every @ query / temperature, 0)
    return _tangent((p @ every - note) / temperature, query)


def _by_autograd(query, note, others, Z, temperature):
    x = query.clone().requires_grad_()
    v = F.normalize(x, dim=0)
    KZ = len(others) * torch.as_tensor(Z)
    positive, negative = (note @ v / temperature).exp(), (others @ v / temperature).exp()
    loss = -(positive / (positive + KZ)).log() - (KZ / (negative + KZ)).log().sum()
    return torch.autograd.grad(loss, x)[0]


def _one_query(seed, count, Z, temperature=0.3, dim=6):
    return unit(1, dim, seed)[0], unit(1, dim, seed + 1)[0], unit(count, dim, seed + 2), torch.tensor(Z), temperature


# --- negatives --------------------------------------------------------------------------------------------------------


def sample_negatives(index, N, K, generator):
    """index (B,): the queries; -> (B, K) other instances, uniform over the N - 1 that are not the query."""
    draw = torch.randint(N - 1, (len(index), K), generator=generator)  # a number among N - 1 ...
    return draw + (draw >= index[:, None])  # ... moved up by one from the query on, which skips the query


def _with_query(index, N, K, generator):
    """The query is among its own negatives. The loss would push the query away from itself. Draw among N - 1
    numbers, and skip the query.
    """
    return torch.randint(N, (len(index), K), generator=generator)


def _last_never(index, N, K, generator):
    """Some instances are never drawn. Shift the numbers starting *at* the query: `draw >= index`. Also check the
    case where the query is the last one.
    """
    draw = torch.randint(N - 2, (len(index), K), generator=generator)
    return draw + (draw >= index[:, None])


def _neighbour_twice(index, N, K, generator):
    """Not all instances are equally likely. Every instance but the query should come up equally often."""
    draw = torch.randint(N, (len(index), K), generator=generator)
    return torch.where(draw == index[:, None], (draw + 1) % N, draw)


def _one_row(index, N, K, generator):
    """All queries share one row of negatives. Queries should not share their false negatives: each needs K draws of its own."""
    draw = torch.randint(N - 1, (1, K), generator=generator).expand(len(index), K)
    return draw + (draw >= index[:, None])


def _other_queries(index, N, K, generator):
    """Other queries are never drawn. Each row excludes only its own query: the others are strangers like all the rest."""
    allowed = torch.ones(len(index), N)
    allowed[:, index.unique()[: N - 2]] = 0
    return torch.multinomial(allowed, K, replacement=True, generator=generator)


def _same_each_time(index, N, K, generator):
    """Every call gives the same draw. Draw from the generator that you are given, and never seed it yourself."""
    return sample_negatives(index, N, K, generator.manual_seed(0))


def _no_generator(index, N, K, generator):
    """The generator is not used. Pass `generator=generator`. Otherwise nobody can repeat the run."""
    draw = torch.randint(N - 1, (len(index), K))
    return draw + (draw >= index[:, None])


def _turned(index, N, K, generator):
    """The axes are in another order. Rows are queries: (B, K)."""
    return sample_negatives(index, N, K, generator).T


def form_of_negatives(drawn, index, N, K):
    """What is wrong with the shape, type or range of a draw of negatives; None if nothing is."""
    if not isinstance(drawn, torch.Tensor) or drawn.shape != (len(index), K):
        got = tuple(drawn.shape) if isinstance(drawn, torch.Tensor) else type(drawn).__name__
        return f"It should be {(len(index), K)}, a row for each query; yours is {got}."
    if drawn.dtype.is_floating_point:
        return "Instances are whole numbers: int64, as from `torch.randint`."
    if drawn.min() < 0 or drawn.max() >= N:
        return (
            f"Instances lie between 0 and N - 1 = {N - 1}; yours lie between {int(drawn.min())} and {int(drawn.max())}."
        )
    return None


def uneven(counts):
    """What is wrong with the numbers of draws of instances that are equally likely; None if nothing is."""
    counts = counts.double()
    expected = counts.mean()
    if (counts - expected).abs().max() < 6 * expected.sqrt():
        return None
    text = f"{[int(n) for n in counts]} draws of the allowed instances; about {expected:.0f} of each is fair."
    ordered = counts.sort().values
    if ordered[-1] > 1.6 * ordered[-2] and ordered[-2] - ordered[0] < 8 * expected.sqrt():
        text += " One instance comes up too often: does it stand in for all draws that are not allowed?"
    return text


def unrepeatable(draw):
    """Whether the same seed gives different draws; ``draw`` maps a generator to a draw."""
    same = torch.equal(draw(seeded(7)), draw(seeded(7)))
    return None if same else "The same seed gave different draws: pass `generator=generator`."


def unchanging(draw):
    """Whether a generator gives the same draw again and again."""
    generator = seeded(7)
    first = draw(generator)
    same = torch.equal(first, draw(generator)) and bool((first != first[:, :1]).any())  # unless there is no choice
    return (
        "Two calls with the same generator gave equal draws: draw from it, and never seed it yourself."
        if same
        else None
    )


def _draw(function, index, N, K, generator=None):
    return function(torch.tensor(index), N, K, generator or seeded(0))


QUERIES = [2, 0, 4] * 600  # without replacement, a query has at most N - 1 negatives: so ask often


def _form(function):
    return form_of_negatives(_draw(function, [1, 4, 0], 9, 7), [1, 4, 0], 9, 7)


def _excludes_query(function):
    index = torch.tensor(QUERIES)
    hits = (_draw(function, QUERIES, 5, 3) == index[:, None]).double().mean()
    return f"With N = 5, {hits:.0%} of the draws were the query itself." if hits > 0 else None


def _counts(function):
    drawn = _draw(function, QUERIES, 5, 3)
    for place, query in enumerate(QUERIES[:3]):
        yield query, torch.bincount(drawn[place::3].flatten(), minlength=5)


def _reaches_others(function):
    drawn = torch.cat([_draw(function, [0, 1, 2], 9, 5, seeded(seed)) for seed in range(40)])
    never = {0, 1, 2} & (set(range(9)) - set(drawn.flatten().tolist()))
    return "The other queries of the batch were never drawn. Each row excludes only its own query." if never else None


def _reaches_all(function):
    for query, counts in _counts(function):
        if missing := [i for i in range(5) if i != query and not counts[i]]:
            return f"With N = 5 and query {query}, 1,800 draws never gave {missing}."
    return None


def _uniform(function):
    for query, counts in _counts(function):
        if text := uneven(counts[torch.arange(5) != query]):
            return f"With N = 5 and query {query}: {text}"
    return None


def _rows_differ(function):
    drawn = _draw(function, [0, 0, 0], 50, 20)
    return "Three queries of the same instance got three equal rows." if (drawn == drawn[:1]).all() else None


def _beyond_the_batch(function):
    drawn = torch.cat([_draw(function, [7, 3, 5], 12, 5, seeded(seed)) for seed in range(40)])
    ever = sorted(set(drawn.flatten().tolist()))
    return f"The batch was [7, 3, 5], and 600 draws of N = 12 only gave {ever}." if set(ever) <= {7, 3, 5} else None


def _not_by_redrawing(function):
    index = torch.tensor(QUERIES)
    return redrawn((_draw(function, QUERIES, 5, 3) == index[:, None]).double().mean(), 1 / 5)


def redrawn(share, fair):
    """Whether what is excluded comes up, but less often than by chance, given its share of the draws and a fair one."""
    if not 0.02 * fair < share < 0.7 * fair:
        return None
    text = f"What is excluded makes up {share:.1%} of the draws; if nothing were excluded, it would be {fair:.0%}."
    return f"{text} Perhaps a hit is drawn again only once?"


def _draws(function):
    return lambda generator: _draw(function, [3, 1], 1000, 30, generator)


EXERCISES = (
    Exercise(
        task="Write the noise-contrastive loss: K + 1 yes-or-no questions per query, averaged over the batch.",
        reference=nce_loss,
        probes=(lambda: _scores(4, 6, 0, 1.7), lambda: _scores(7, 3, 5, 0.6), lambda: _scores(3, 5, 7, 2.5)),
        wrong=(
            _no_k,
            _no_z,
            _mean_over_k,
            _batch_sum,
            _softmax,
            _positive_only,
            _negatives_as_real,
            _sign,
            _detached_positive,
            _detached_negative,
            _per_query,
            _z_again,
        ),
        forms=(_as_written,),
        large=lambda: _scores(64, 512, 9, 3.0),
        hints=(
            "First translate the equation literally: two fractions, two logarithms, two sums. K is `negative.shape[1]`.",
            "The probability `yes` = e^s+ / (e^s+ + K Z) has shape (B, 1), and `no` = K Z / (e^s_k + K Z) has (B, K). Sum the "
            "logarithms over axis 1, then average over the batch.",
            "For each query, add -log of `yes` and the K values of -log of `no`; the mean over queries comes last. "
            "`F.softplus(x)` is log(1 + e^x): with x = log(K Z) - s+ it is -log of `yes`, safe at any score.",
        ),
        remarks=(Property("overflow", _no_overflow),),
    ),
    Exercise(
        task="Estimate Z, the mean of exp(score) over random pairs, as a constant without a gradient.",
        reference=partition_constant,
        probes=(lambda: (normal(4, 6, seed=2, scale=2.0, grad=True),), lambda: (normal(3, 11, seed=3, grad=True),)),
        large=lambda: (normal(64, 512, seed=4, grad=True),),
        wrong=(_z_sum, _z_per_row, _z_of_mean, _z_no_exp, _z_gradient, _z_log, _z_row_sum),
        hints=(
            "The negatives are a random sample of all pairs, so their mean estimates the mean of all.",
            "`exp` first, then one mean over all queries and all negatives.",
            "`x.exp()`, then `.mean()` without an axis. `x.detach()` keeps gradients out. Why must they stay out?",
        ),
    ),
    Exercise(
        task="Mix the old notes of the batch's clips with their new embeddings, and normalise them to length one.",
        reference=memory_update,
        probes=(lambda: _update(0, 0.5), lambda: _update(3, 0.9)),
        wrong=(
            _momentum_turned,
            _not_normalised,
            _normalised_over_batch,
            _graph_kept,
            _in_place,
            _first_rows,
            _overwritten,
            _only_batch,
        ),
        large=lambda: _update(6, 0.5, rows=2000, batch=64, dim=128),
        hints=(
            "There are three steps: mix, normalise, write into a copy. `memory[index]` are the old notes, (B, D).",
            "Mix two tables, (B, D) each: the old notes, whose share is `momentum`, and the embeddings. What must the graph of the "
            "embeddings not do? The mixed rows are shorter than one.",
            "`updated = memory.clone()` is a copy, and `updated[index] = ...` writes rows into it. `F.normalize(x, dim=1)` makes "
            "each row one long. What do you return?",
        ),
    ),
    Exercise(
        task="Draw K instances for each query: every other instance is equally likely, and the query never appears.",
        reference=sample_negatives,
        probes=(
            lambda: (torch.tensor([3, 0, 8]), 9, 5, seeded(0)),
            lambda: (integers(4, below=20, seed=1), 20, 7, seeded(1)),
        ),
        wrong=(
            _turned,
            _with_query,
            _last_never,
            _neighbour_twice,
            _one_row,
            _no_generator,
            _same_each_time,
            _other_queries,
        ),
        hints=(
            "There are N - 1 allowed instances. Draw among N - 1 numbers. Which number stands for which instance?",
            "Numbers below the query stand for themselves. From the query on, each number moves up by one.",
            "`torch.randint(N - 1, (len(index), K), generator=generator)` draws them. Compare the numbers with `index[:, None]`: "
            "True counts as 1. Where must a number move up?",
        ),
        properties=(
            Property("the shape is wrong", _form),
            Property("the generator is not used", lambda function: unrepeatable(_draws(function))),
            Property("every call gives the same draw", lambda function: unchanging(_draws(function))),
            Property("only instances of the batch are drawn", _beyond_the_batch),
            Property("other queries are never drawn", _reaches_others),
            Property("all queries share one row of negatives", _rows_differ),
            Property("the query comes up less often than others, but it comes up", _not_by_redrawing),
            Property("the query is among its own negatives", _excludes_query),
            Property("some instances are never drawn", _reaches_all),
            Property("not all instances are equally likely", _uniform),
        ),
        large=lambda: (integers(64, below=2000, seed=2), 2000, 512, seeded(2)),
        random=True,
    ),
    Exercise(
        task="Write the gradient of the NCE loss at one query by hand: one pull, K pushes, and only along the sphere.",
        reference=nce_gradient,
        probes=(
            lambda: _one_query(0, 5, 1.7),
            lambda: _one_query(3, 3, 0.6),
            lambda: _one_query(6, 8, 2.5, temperature=0.5),
        ),
        wrong=(
            _uphill,
            _off_the_sphere,
            _no_inner_temperature,
            _times_inner_temperature,
            _gradient_no_k,
            _gradient_no_z,
            _no_pull,
            _no_push,
            _push_averaged,
            _pull_by_belief,
            _of_softmax,
        ),
        forms=(_by_autograd,),
        large=lambda: _one_query(9, 512, 3.0, temperature=0.07, dim=128),
        hints=(
            "First the derivatives with respect to the scores: P(real) - 1 for the right note, P(real) for each other.",
            "A score is `note @ query / temperature`. Its gradient with respect to the query is `note / temperature`.",
            "P(real) is `torch.sigmoid(score - log(K Z))`. Add up pushes minus pull, divided by T. Then remove the part along "
            "the query: which multiple of the query is that?",
        ),
    ),
)

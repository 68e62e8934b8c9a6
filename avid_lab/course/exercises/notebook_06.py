"""Notebook 06: training on the positives."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from avid_lab.course.checks import Exercise, Property
from avid_lab.course.exercises.inputs import integers, seeded, unit
from avid_lab.course.exercises.notebook_02 import form_of_negatives, redrawn, unchanging, uneven, unrepeatable

# --- negatives --------------------------------------------------------------------------------------------------------


def cma_negatives(index, positives, N, K, generator):
    """index (B,): queries; positives (N, P): of every instance -> (B, K): neither the query nor one of its positives.

    All other instances are equally likely, and the draw comes from `generator`.
    """
    allowed = torch.ones(len(index), N)
    allowed[torch.arange(len(index)), index] = 0
    allowed.scatter_(1, positives[index], 0)  # (B, P) more zeros
    return torch.multinomial(allowed, K, replacement=True, generator=generator)


def _without(index, N, K, generator, *excluded):
    allowed = torch.ones(len(index), N)
    for some in excluded:
        allowed.scatter_(1, some, 0)
    return torch.multinomial(allowed, K, replacement=True, generator=generator)


def _query_in(index, positives, N, K, generator):
    """The query is among its own negatives. Positives are *others*, so excluding them does not exclude the query:
    do both.
    """
    return _without(index, N, K, generator, positives[index])


def _positives_in(index, positives, N, K, generator):
    """The positives are among the negatives. One term would pull a clip closer while another pushes it away."""
    return _without(index, N, K, generator, index[:, None])


def _first_positive(index, positives, N, K, generator):
    """Only the first positive is excluded. Exclude all P positives, not only the best one."""
    return _without(index, N, K, generator, index[:, None], positives[index][:, :1])


def _batch_rows(index, positives, N, K, generator):
    """The positives of row b are excluded, not those of instance `index[b]`. Row b of the batch is instance `index[b]`, so its
    positives are `positives[index[b]]`, not `positives[b]`.
    """
    return _without(index, N, K, generator, index[:, None], positives[: len(index)])


def _resampled_once(index, positives, N, K, generator):
    """Not all allowed instances are equally likely. All allowed instances must come up equally often."""
    banned = torch.cat([index[:, None], positives[index]], dim=1)
    draw = torch.randint(N, (len(index), K), generator=generator)
    free = torch.tensor([next(j for j in range(N) if j not in row) for row in banned.tolist()])
    return torch.where((draw[:, :, None] == banned[:, None]).any(2), free[:, None], draw)


def _shared(index, positives, N, K, generator):
    """The positives of all queries are excluded for each query. That leaves too few. Each row has its own exclusions."""
    banned = torch.cat([index, positives[index].flatten()])
    return _without(index, N, K, generator, banned[None].expand(len(index), -1))


def _any_generator(index, positives, N, K, generator):
    """The generator is not used. Pass `generator=generator`. Otherwise nobody can repeat the run."""
    return cma_negatives(index, positives, N, K, None)


def _same_each_time(index, positives, N, K, generator):
    """Every call gives the same draw. Draw from the generator that you are given, and never seed it yourself."""
    return cma_negatives(index, positives, N, K, generator.manual_seed(0))


def _small():
    """Ten instances, three positives each, three queries that are not the first rows."""
    positives = torch.stack([torch.tensor([(i + d) % 10 for d in (1, 4, 6)]) for i in range(10)])
    return torch.tensor([7, 2, 9]), positives


def _draw(function, generator):
    return function(*_small(), 10, 6, generator)


def _some(function):
    """Queries, their positives, and many draws for each: 100 calls, because six draws may be all without replacement."""
    index, positives = _small()
    generator = seeded(0)
    return index, positives[index], torch.cat([_draw(function, generator) for _ in range(100)], dim=1)


def _form(function):
    return form_of_negatives(_draw(function, seeded(0)), [7, 2, 9], 10, 6)


def _no_query(function):
    index, _, drawn = _some(function)
    hits = (drawn == index[:, None]).double().mean()
    return f"{hits:.0%} of the draws were the query itself." if hits > 0 else None


def _hits(function):
    _, positives, drawn = _some(function)
    return (drawn[:, :, None] == positives[:, None]).any(1)  # (B, P): was this positive drawn?


def _no_positives(function):
    hits = _hits(function)
    return "All of a query's positives turned up among its negatives." if hits.all() else None


def _not_the_later_ones(function):
    hits = _hits(function)
    return "The second and third positives turned up." if hits[:, 1:].all() and not hits[:, 0].any() else None


def _own_positives(function):
    hits = _hits(function)
    return "Some of a query's positives turned up among its negatives, others never." if hits.any() else None


def _excludes(wrongly):
    """Whether exactly these instances are never drawn: they map (queries, positives of all) to a set for each query."""

    def check(function):
        index, positives, drawn = _some(function)
        queries = index.tolist()
        never = [set(range(10)) - set(row.tolist()) for row in drawn]
        expected = zip(wrongly(queries, _small()[1]), never, queries, strict=True)
        if not all(some - {query} == found - {query} for some, found, query in expected):
            return None
        own = sorted({queries[0], *positives[0].tolist()})
        return f"Never drawn for query {queries[0]}: {sorted(never[0])}; excluded should be {own}."

    return check


def _of_rows(queries, every):
    return [set(every[b].tolist()) for b in range(len(queries))]


def _of_the_batch(queries, every):
    return [{*queries, *every[queries].flatten().tolist()}] * len(queries)


def _turned_round(queries, every):
    return [set((every == query).any(1).nonzero()[:, 0].tolist()) for query in queries]


def _one_stands_in(function):
    """Whether one excluded instance, the same for all queries, is all that should not come up."""
    index, positives, drawn = _some(function)
    bad = [set(row.tolist()) & {q, *p.tolist()} for q, p, row in zip(index.tolist(), positives, drawn, strict=True)]
    every = set().union(*bad)
    if len(every) != 1 or len(index) < 2:
        return None
    number = next(iter(every))
    share = (drawn == number).double().mean()
    return (
        f"Instance {number} is {share:.0%} of all draws. Does it stand in for draws that are not allowed?"
        if share > 0.2
        else None
    )


def _not_by_redrawing(function):
    index, positives, drawn = _some(function)
    hits = drawn[:, :, None] == torch.cat([index[:, None], positives], dim=1)[:, None]  # (B, draws, 1 + P)
    return redrawn(hits.any(2).double().mean(), 4 / 10) if hits.any(1).all() else None


def _counts(function):
    index, positives, drawn = _some(function)
    for query, own, row in zip(index.tolist(), positives.tolist(), drawn, strict=True):
        allowed = [i for i in range(10) if i not in (query, *own)]
        yield f"For query {query} with positives {own}", torch.bincount(row, minlength=10)[allowed]


def _reaches_all(function):
    for words, counts in _counts(function):
        if (counts == 0).any():
            return f"{words}, 600 draws of N = 10 never gave {int((counts == 0).sum())} of the six allowed instances."
    return None


def _uniform(function):
    for words, counts in _counts(function):
        if text := uneven(counts):
            return f"{words}: {text}"
    return None


# --- the loss ---------------------------------------------------------------------------------------------------------


def within_positive_loss(video, video_memory, positives, negatives, temperature, Z):
    """NCE within one modality, with P positives per query.

    video (B, D); video_memory (N, D); positives (B, P), negatives (B, K): instances -> one number: for each query the mean
    over its positives, plus the sum over its K negatives; then the mean over queries. The noise has the weight K Z.
    """
    yes = torch.einsum("bd,bpd->bp", video, video_memory[positives]) / temperature  # (B, P)
    no = torch.einsum("bd,bkd->bk", video, video_memory[negatives]) / temperature  # (B, K)
    log_KZ = math.log(negatives.shape[1]) + torch.as_tensor(Z).log()
    return (F.softplus(log_KZ - yes).mean(1) + F.softplus(no - log_KZ).sum(1)).mean()


def _scores(video, memory, positives, negatives, temperature):
    yes = torch.einsum("bd,bpd->bp", video, memory[positives]) / temperature
    no = torch.einsum("bd,bkd->bk", video, memory[negatives]) / temperature
    return yes, no


def _from_scores(yes, no, log_noise):
    return (F.softplus(log_noise - yes).mean(1) + F.softplus(no - log_noise).sum(1)).mean()


def _log(negatives, Z):
    return math.log(negatives.shape[1]) + torch.as_tensor(Z).log()


def _as_written(video, video_memory, positives, negatives, temperature, Z):
    K = negatives.shape[1]
    s_yes = (video[:, None] * video_memory[positives]).sum(2) / temperature
    s_no = (video[:, None] * video_memory[negatives]).sum(2) / temperature
    noise = K * Z
    yes = s_yes.exp() / (s_yes.exp() + noise)
    no = noise / (s_no.exp() + noise)
    return -(yes.log().mean(1) + no.log().sum(1)).mean()


def _sum_over_positives(video, video_memory, positives, negatives, temperature, Z):
    """The positives are summed instead of averaged. With a sum, 32 positives weigh 32 times as much as one. Average
    over them, so that you can choose K and P freely.
    """
    yes, no = _scores(video, video_memory, positives, negatives, temperature)
    log_noise = _log(negatives, Z)
    return (F.softplus(log_noise - yes).sum(1) + F.softplus(no - log_noise).sum(1)).mean()


def _batch_sum(video, video_memory, positives, negatives, temperature, Z):
    """The batch is summed instead of averaged. End with a mean over the queries."""
    return len(video) * within_positive_loss(video, video_memory, positives, negatives, temperature, Z)


def _mean_over_negatives(video, video_memory, positives, negatives, temperature, Z):
    """The negatives are averaged instead of summed. Sum over the negatives, as in NCE. Only the positives are
    averaged.
    """
    yes, no = _scores(video, video_memory, positives, negatives, temperature)
    log_noise = _log(negatives, Z)
    return (F.softplus(log_noise - yes).mean(1) + F.softplus(no - log_noise).mean(1)).mean()


def _no_k(video, video_memory, positives, negatives, temperature, Z):
    """K is missing before Z. The weight of the noise is `K * Z`, where K is the number of *negatives*."""
    yes, no = _scores(video, video_memory, positives, negatives, temperature)
    return _from_scores(yes, no, torch.as_tensor(Z).log())


def _p_for_k(video, video_memory, positives, negatives, temperature, Z):
    """The number of positives is used as K. K is the number of negatives, `negatives.shape[1]`. You used the number
    of positives.
    """
    yes, no = _scores(video, video_memory, positives, negatives, temperature)
    return _from_scores(yes, no, _log(positives, Z))


def _no_temperature(video, video_memory, positives, negatives, temperature, Z):
    """The temperature is missing. A score is a similarity divided by the temperature."""
    return within_positive_loss(video, video_memory, positives, negatives, 1.0, Z)


def _all_counted(video, video_memory, positives, negatives, temperature, Z):
    """K counts the positives, too. The weight of the noise is K Z, where K is the number of *negatives* alone."""
    yes, no = _scores(video, video_memory, positives, negatives, temperature)
    return _from_scores(yes, no, math.log(positives.shape[1] + negatives.shape[1]) + torch.as_tensor(Z).log())


def _p_for_the_positives(video, video_memory, positives, negatives, temperature, Z):
    """The number of positives stands in the place of K for the positives. K is the number of negatives, in both sums."""
    yes, no = _scores(video, video_memory, positives, negatives, temperature)
    log_noise = _log(negatives, Z)
    return (F.softplus(_log(positives, Z) - yes).mean(1) + F.softplus(no - log_noise).sum(1)).mean()


def _softmax_of_all(video, video_memory, positives, negatives, temperature, Z):
    """This is one softmax over all positives and negatives, not NCE. In NCE each pair has its own question, and Z counts."""
    yes, no = _scores(video, video_memory, positives, negatives, temperature)
    return (torch.cat([yes, no], 1).logsumexp(1, keepdim=True) - yes).mean()


def _mean_positive(video, video_memory, positives, negatives, temperature, Z):
    """The positives' vectors are averaged before the comparison. You averaged the positives' vectors and compared
    once. Compare with each, and average the *losses*: if one positive is far away, that must cost, even if the
    others are near.
    """
    _, no = _scores(video, video_memory, positives, negatives, temperature)
    yes = (video * video_memory[positives].mean(1)).sum(1, keepdim=True) / temperature
    return _from_scores(yes, no, _log(negatives, Z))


def _softmax(video, video_memory, positives, negatives, temperature, Z):
    """This is softmax, not NCE. This is a softmax. The notebook uses NCE, so that Z and the scales of the terms are
    comparable.
    """
    yes, no = _scores(video, video_memory, positives, negatives, temperature)
    return (torch.logaddexp(yes, no.logsumexp(1, keepdim=True)) - yes).mean()


def _best_only(video, video_memory, positives, negatives, temperature, Z):
    """Only the first positive counts. Only the first positive counts; there are P."""
    return within_positive_loss(video, video_memory, positives[:, :1], negatives, temperature, Z)


def _detached(video, video_memory, positives, negatives, temperature, Z):
    """The query is detached. The value is right, but no gradient reaches the pictures' embeddings."""
    return within_positive_loss(video.detach().requires_grad_(), video_memory, positives, negatives, temperature, Z)


def _terms(seed, P, K, B=5, N=20):
    own, others = integers(B, P, below=N, seed=seed), integers(B, K, below=N, seed=seed + 1)
    return unit(B, 8, seed + 2, grad=True), unit(N, 8, seed + 3), own, others, 0.2, torch.tensor(3.0)


# --- mining again -----------------------------------------------------------------------------------------------------


def remined(video, audio, positives, epoch, mined_at, every):
    """video, audio (N, D): memories; positives (N, P) of pass `mined_at` -> (positives (N, P), mined_at, share of new ones).

    The share is that of all N x P positives which their query did not have before, and 0 if nothing was mined. Consensus; best
    first; never the query itself.
    """
    if epoch - mined_at < every:
        return positives, mined_at, torch.tensor(0.0)
    score = torch.minimum(video @ video.T, audio @ audio.T).fill_diagonal_(-torch.inf)  # (N, N)
    found = score.topk(positives.shape[1], dim=1).indices  # (N, P)
    known = (found[:, :, None] == positives[:, None]).any(2)  # (N, P): had it before, at any rank
    return found, epoch, 1 - known.float().mean()


def _mine(video, audio, P, *, combine=torch.minimum, itself=-torch.inf, largest=True):
    score = combine(video @ video.T, audio @ audio.T).fill_diagonal_(itself)
    return score.topk(P, dim=1, largest=largest).indices


def _share(found, positives):
    return 1 - (found[:, :, None] == positives[:, None]).any(2).float().mean()


def _always(video, audio, positives, epoch, mined_at, every):
    """Mines at every call. Look at `epoch - mined_at` first: if it is less than `every`, return what you were given."""
    found = _mine(video, audio, positives.shape[1])
    return found, epoch, _share(found, positives)


def _never(video, audio, positives, epoch, mined_at, every):
    """Never mines. When `every` passes or more have gone by since `mined_at`, mine from the memories."""
    return positives, mined_at, torch.tensor(0.0)


def _too_late(video, audio, positives, epoch, mined_at, every):
    """Mines only after more than `every` passes. Exactly `every` passes are enough: `epoch - mined_at >= every`."""
    if epoch - mined_at <= every:
        return positives, mined_at, torch.tensor(0.0)
    return _always(video, audio, positives, epoch, mined_at, every)


def _by_the_clock(video, audio, positives, epoch, mined_at, every):
    """The passes are counted from the start, not from the last mining. Compare `epoch - mined_at` with `every`."""
    if epoch < every:
        return positives, mined_at, torch.tensor(0.0)
    return _always(video, audio, positives, epoch, mined_at, every)


def _clock_kept(video, audio, positives, epoch, mined_at, every):
    """The time of the mining is not updated. Return `epoch` as the new `mined_at`, or every later step mines again."""
    found, _, share = remined(video, audio, positives, epoch, mined_at, every)
    return found, mined_at, share


def _clock_without_mining(video, audio, positives, epoch, mined_at, every):
    """The clock moves on although nothing was mined. If it is too early, return the `mined_at` that you were given, or it
    will always be too early.
    """
    found, _, share = remined(video, audio, positives, epoch, mined_at, every)
    return found, epoch, share


def _queries_with_new(video, audio, positives, epoch, mined_at, every):
    """The share of queries is returned, not of positives. Of all N x P positives, how many did their query not have before?"""
    found, when, _ = remined(video, audio, positives, epoch, mined_at, every)
    known = (found[:, :, None] == positives[:, None]).any(2)
    return found, when, 1 - known.all(1).float().mean()


def _with_query(video, audio, positives, epoch, mined_at, every):
    """The query is among its own positives. Put -infinity on the diagonal of the scores before you take the best."""
    if epoch - mined_at < every:
        return positives, mined_at, torch.tensor(0.0)
    found = _mine(video, audio, positives.shape[1], itself=torch.inf)
    return found, epoch, _share(found, positives)


def _by_union(video, audio, positives, epoch, mined_at, every):
    """The maximum instead of the minimum. Consensus is the smaller of the two similarities."""
    if epoch - mined_at < every:
        return positives, mined_at, torch.tensor(0.0)
    found = _mine(video, audio, positives.shape[1], combine=torch.maximum)
    return found, epoch, _share(found, positives)


def _rank_by_rank(video, audio, positives, epoch, mined_at, every):
    """A positive that only changed its rank counts as new. Compare each new positive with *all* old ones of its query,
    not with the one at the same place.
    """
    if epoch - mined_at < every:
        return positives, mined_at, torch.tensor(0.0)
    found = _mine(video, audio, positives.shape[1])
    return found, epoch, (found != positives).float().mean()


def _none_new(video, audio, positives, epoch, mined_at, every):
    """The share of new positives is always 0. Keep the old positives until you have compared: is `positives` overwritten?"""
    found, at, share = remined(video, audio, positives, epoch, mined_at, every)
    return found, at, 0 * share


def _share_kept(video, audio, positives, epoch, mined_at, every):
    """The share of old positives is reported instead of new ones. It is one minus that."""
    found, at, share = remined(video, audio, positives, epoch, mined_at, every)
    return found, at, 1 - share


def _by_multiples(video, audio, positives, epoch, mined_at, every):
    """Mines when the pass is a multiple of `every`. What counts is how long ago the last mining was: `epoch - mined_at`."""
    if epoch % every != 0:
        return positives, mined_at, torch.tensor(0.0)
    return _always(video, audio, positives, epoch, mined_at, every)


def _across(video, audio, positives, epoch, mined_at, every):
    """Pictures are compared with sounds. Consensus compares pictures with pictures and sounds with sounds."""
    if epoch - mined_at < every:
        return positives, mined_at, torch.tensor(0.0)
    score = torch.minimum(video @ audio.T, audio @ video.T).fill_diagonal_(-torch.inf)
    found = score.topk(positives.shape[1], dim=1).indices
    return found, epoch, _share(found, positives)


def _of_anyone(video, audio, positives, epoch, mined_at, every):
    """A positive counts as old if *any* query had it. Compare each query with its own row."""
    if epoch - mined_at < every:
        return positives, mined_at, torch.tensor(0.0)
    found = _mine(video, audio, positives.shape[1])
    return found, epoch, 1 - torch.isin(found, positives).float().mean()


def _memories(seed, epoch, mined_at, every, N=40, P=2):
    video, audio = unit(N, 6, seed), unit(N, 6, seed + 1)
    positives = _mine(video + 0.4 * unit(N, 6, seed + 2), audio, P).flip(1)
    return video, audio, positives, torch.tensor(epoch), torch.tensor(mined_at), every


EXERCISES = (
    Exercise(
        task="Draw K negatives for each query from all instances except the query and its positives.",
        reference=cma_negatives,
        probes=(lambda: (*_small(), 10, 5, seeded(0)), lambda: (*_small(), 10, 6, seeded(1))),
        large=lambda: (torch.arange(64), integers(400, 32, below=400, seed=2), 400, 128, seeded(2)),
        wrong=(
            _query_in,
            _positives_in,
            _first_positive,
            _batch_rows,
            _shared,
            _resampled_once,
            _any_generator,
            _same_each_time,
        ),
        hints=(
            "Make a table (B, N) of weights: one for allowed, zero for excluded. Which entries of row b are zero?",
            "`weights.scatter_(1, some, 0)` with `some` (B, n) sets n entries in each row to zero. Which tables name the excluded "
            "instances of each query?",
            "`torch.multinomial(weights, K, replacement=True, generator=generator)` draws columns by weight.",
        ),
        properties=(
            Property("the shape is wrong", _form),
            Property("the generator is not used", lambda function: unrepeatable(lambda g: _draw(function, g))),
            Property("every call gives the same draw", lambda function: unchanging(lambda g: _draw(function, g))),
            Property("the positives of row b are excluded, not those of instance `index[b]`", _excludes(_of_rows)),
            Property("the positives of all queries are excluded for each query", _excludes(_of_the_batch)),
            Property("instances that have the query among *their* positives are excluded", _excludes(_turned_round)),
            Property("one instance comes up too often", _one_stands_in),
            Property("excluded instances come up less often than others, but they come up", _not_by_redrawing),
            Property("the query is among its own negatives", _no_query),
            Property("the positives are among the negatives", _no_positives),
            Property("only the first positive is excluded", _not_the_later_ones),
            Property("some positives are among the negatives", _own_positives),
            Property("some allowed instances are never drawn", _reaches_all),
            Property("not all allowed instances are equally likely", _uniform),
        ),
        random=True,
    ),
    Exercise(
        task="Write CMA's new term: NCE of a picture against the notes of its positives' pictures.",
        reference=within_positive_loss,
        probes=(lambda: _terms(0, 3, 6), lambda: _terms(10, 4, 2)),
        wrong=(
            _sum_over_positives,
            _batch_sum,
            _mean_over_negatives,
            _no_k,
            _p_for_k,
            _no_temperature,
            _all_counted,
            _p_for_the_positives,
            _softmax_of_all,
            _mean_positive,
            _softmax,
            _best_only,
            _detached,
        ),
        forms=(_as_written,),
        large=lambda: _terms(20, 32, 64, 64, 400),
        hints=(
            "It is `nce_loss` of notebook 02 with P positives instead of one, and with the memory of the query's own modality.",
            "`video_memory[positives]` is (B, P, D): one score for each positive. Average *their* losses over P, and sum "
            "the losses of the negatives over K.",
            "With scores `yes` (B, P) and `no` (B, K), the losses are softplus of log(K Z) - yes and of no - log(K Z). Which of "
            "the two is averaged, which is summed, and what comes last?",
        ),
    ),
    Exercise(
        task="Mine again when it is due, and report how much has changed.",
        reference=remined,
        probes=(
            lambda: _memories(0, 5.0, 2.0, 2.5),
            lambda: _memories(5, 5.0, 3.0, 2.5),
            lambda: _memories(10, 4.5, 2.0, 2.5),
            lambda: _memories(15, 1.0, 0.0, 2.5),
        ),
        wrong=(
            _always,
            _never,
            _too_late,
            _by_the_clock,
            _clock_kept,
            _clock_without_mining,
            _queries_with_new,
            _with_query,
            _by_union,
            _rank_by_rank,
            _none_new,
            _share_kept,
            _by_multiples,
            _across,
            _of_anyone,
        ),
        hints=(
            "Three parts: is it due? Then mine, as in notebook 05. Then compare the new rows with the old ones.",
            "If it is not due, return the three values `positives, mined_at, 0.0`. If it is, the second value is `epoch`.",
            "`found[:, :, None] == positives[:, None]` is (N, P, P): new positive against old positive of the same query. Along "
            "which axis do you ask `any`?",
        ),
    ),
)

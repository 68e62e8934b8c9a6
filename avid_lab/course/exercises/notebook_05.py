"""Notebook 05: positives by agreement."""

from __future__ import annotations

import torch
from torch.overrides import TorchFunctionMode

from avid_lab.course.checks import Exercise, Property
from avid_lab.course.exercises.inputs import integers, normal, seeded, unit

# --- consensus --------------------------------------------------------------------------------------------------------


def consensus_scores(video_query, audio_query, video, audio):
    """video_query, audio_query (Q, D); video, audio (N, D); unit rows -> (Q, N): the smaller of the two similarities."""
    return torch.minimum(video_query @ video.T, audio_query @ audio.T)


def _union(video_query, audio_query, video, audio):
    """The maximum instead of the minimum. The larger of the two is a union: one sense is enough. Consensus needs
    both, so the *smaller* one decides.
    """
    return torch.maximum(video_query @ video.T, audio_query @ audio.T)


def _average(video_query, audio_query, video, audio):
    """The average instead of the minimum. In an average, a perfect picture outweighs a wrong sound. With the
    smaller of the two, neither can be outvoted.
    """
    return (video_query @ video.T + audio_query @ audio.T) / 2


def _product(video_query, audio_query, video, audio):
    """The product instead of the minimum. The product of two disagreements is positive: (-0.9) x (-0.9) looks like
    agreement. Take the minimum.
    """
    return (video_query @ video.T) * (audio_query @ audio.T)


def _video_only(video_query, audio_query, video, audio):
    """Only the picture counts. You ignore the sound: look-alikes that sound different slip through."""
    return video_query @ video.T


def _audio_only(video_query, audio_query, video, audio):
    """Only the sound counts. You ignore the picture: sound-alikes that look different slip through."""
    return audio_query @ audio.T


def _across(video_query, audio_query, video, audio):
    """Pictures are compared with sounds. You compare pictures with sounds. Agreement compares pictures with
    pictures and sounds with sounds.
    """
    return torch.minimum(video_query @ audio.T, audio_query @ video.T)


def _gallery_by_queries(video_query, audio_query, video, audio):
    """Queries and instances are swapped. Rows are queries: (Q, N). In yours, rows are instances."""
    return consensus_scores(video_query, audio_query, video, audio).T


def _minimum_of_vectors(video_query, audio_query, video, audio):
    """The minimum of vectors instead of similarities. Take the minimum of two *similarities*, not of the
    coordinates of two embeddings.
    """
    return torch.minimum(video_query, audio_query) @ torch.minimum(video, audio).T


# --- top k ------------------------------------------------------------------------------------------------------------


def top_k_positives(score, k):
    """score (N, N): row i is query i -> (N, k): the best others, best first, never i itself; lower index wins ties."""
    score = score.clone().fill_diagonal_(-torch.inf)
    return score.sort(dim=1, descending=True, stable=True).indices[:, :k]


def _ranked(score):
    return score.sort(dim=1, descending=True, stable=True).indices


def _with_self(score, k):
    """The query is among its own positives. Every clip agrees best with itself: exclude the query, for example with
    -infinity on the diagonal.
    """
    return _ranked(score)[:, :k]


def _first_dropped(score, k):
    """The best match is dropped, whichever clip it is. You assume that the best match is the query. If an exact
    duplicate with a lower index ties with it, the query stays. Exclude the query by its index: the diagonal.
    """
    return _ranked(score)[:, 1 : k + 1]


def _diagonal_zero(score, k):
    """The diagonal is 0 instead of minus infinity. Zero does not exclude the query: it still wins if the other
    scores are negative. Use -infinity.
    """
    return _ranked(score.clone().fill_diagonal_(0.0))[:, :k]


def _worst(score, k):
    """The worst instead of the best. You return the *least* similar: use `descending=True`."""
    return score.clone().fill_diagonal_(torch.inf).sort(dim=1, stable=True).indices[:, :k]


def _backwards(score, k):
    """Worst first instead of best first. You found the right ones, but in rising order. Return the best first."""
    return top_k_positives(score, k).flip(1)


def _columns(score, k):
    """Sorted along the wrong axis. Query i is *row* i: sort along `dim=1`."""
    return top_k_positives(score.T, k)


def _ties_high(score, k):
    """Ties go to the higher index. If scores tie, the lower index comes first: `sort(..., stable=True)`. Otherwise
    the answer depends on the machine.
    """
    turned = score.clone().fill_diagonal_(-torch.inf).flip(1)
    return (len(score) - 1 - turned.sort(dim=1, descending=True, stable=True).indices)[:, :k]


def _moved_up(score, k):
    """Instances after the query are one too small. If you leave the query's own column out, later columns move up by one: add 1
    to the numbers from the query on, or keep the column and put -infinity there.
    """
    n = len(score)
    others = score[~torch.eye(n, dtype=torch.bool)].reshape(n, n - 1)
    return _ranked(others)[:, :k]


def _rising_numbers(score, k):
    """Positives are sorted by their numbers. You found the right ones: keep them in the order of their scores, best first."""
    return top_k_positives(score, k).sort(dim=1).values


def _scores_returned(score, k):
    """Scores are returned instead of instances. You return the scores. Return the *instances*: `.indices`."""
    return score.clone().fill_diagonal_(-torch.inf).sort(dim=1, descending=True).values[:, :k]


def _score_changed(score, k):
    """The scores you were given are changed. `fill_diagonal_` changed the matrix that you were given, which the
    notebook still needs: `clone()` it first.
    """
    return _ranked(score.fill_diagonal_(-torch.inf))[:, :k]


def _never_itself(function):
    for words, (score, k) in {"high": _some_scores(), "below -1": _low_scores()}.items():
        chosen = function(score, k) == torch.arange(len(score))[:, None]
        if chosen.any():
            row = int(chosen.any(1).nonzero()[0])
            return f"With scores that are {words}, query {row} was among its own positives."
    return None


def _some_scores():
    return normal(8, 8, seed=0, scale=0.5) + torch.eye(8), 3


def _negative_scores():
    return -normal(7, 7, seed=1).abs() + 2 * torch.eye(7), 4


def _low_scores():
    return -1 - torch.rand(6, 6, generator=seeded(6)) * 0.9, 5


def _duplicates():
    x = unit(6, 4, seed=2)
    x[4] = x[1]
    score = (x @ x.T).mul(64).round().div(64)  # multiples of 1/64: ties are exact
    return score, 3


def _many_ties():
    score = integers(40, 40, below=3, seed=3).float()
    return score.fill_diagonal_(5.0), 10


# --- mining in blocks -------------------------------------------------------------------------------------------------


def mined_in_blocks(video, audio, k, block):
    """video, audio (N, D): unit rows -> (N, k): the k best others by consensus, best first; the lower index wins ties.

    The same as from the whole (N, N) table, but no table of scores has more than `block` rows and `block + k` columns.
    """
    numbers, found = torch.arange(len(video)), []
    for queries in numbers.split(block):
        best, who = torch.empty(len(queries), 0), torch.empty(len(queries), 0, dtype=torch.long)  # the best up to now
        for others in numbers.split(block):
            score = torch.minimum(video[queries] @ video[others].T, audio[queries] @ audio[others].T)
            score = score.masked_fill(queries[:, None] == others, -torch.inf)
            both, names = torch.cat([best, score], dim=1), torch.cat([who, others.expand(len(queries), -1)], dim=1)
            order = both.sort(dim=1, descending=True, stable=True).indices[:, :k]  # earlier blocks first among equals
            best, who = both.gather(1, order), names.gather(1, order)
        found.append(who)
    return torch.cat(found)


def _table(video, audio):
    return torch.minimum(video @ video.T, audio @ audio.T).fill_diagonal_(-torch.inf)


def _whole_table(video, audio, k, block):
    """A table is larger than a block. The positives are right, but you made a table with a column for every clip. At
    Kinetics' size that does not fit. Take both, queries and others, block by block, and keep the k best up to now.
    """
    return top_k_positives(torch.minimum(video @ video.T, audio @ audio.T), k)


def _last_block(video, audio, k, block):
    """Only the last block of others counts. You forgot the best of earlier blocks: join them with each new block, then
    take the k best of both.
    """
    table, parts = _table(video, audio), torch.arange(len(video)).split(block)
    return parts[-1][_ranked(table[:, parts[-1]])][:, :k]


def _first_block(video, audio, k, block):
    """Only the first block of others counts. The k best may lie in any block: join the best up to now with each block."""
    return _ranked(_table(video, audio)[:, :block])[:, :k]


def _own_block(video, audio, k, block):
    """Queries only meet the clips of their own block. There are two loops: each block of queries meets *every* block of
    others.
    """
    numbers = torch.arange(len(video))
    apart = numbers[:, None] // block != numbers // block
    return top_k_positives(_table(video, audio).masked_fill(apart, -torch.inf), k)


def _local(video, audio, k, block):
    """Places within a block are returned instead of instances. Column 3 of the second block is instance `block + 3`: add
    where the block begins.
    """
    return top_k_positives(torch.minimum(video @ video.T, audio @ audio.T), k) % block


def _query_included(video, audio, k, block):
    """The query is among its own positives. In the block where a query meets itself, its score must be -infinity."""
    return _ranked(torch.minimum(video @ video.T, audio @ audio.T))[:, :k]


def _itself_zero(video, audio, k, block):
    """The query's own score is 0 instead of minus infinity. Zero does not exclude the query: it wins against scores below 0."""
    return _ranked(torch.minimum(video @ video.T, audio @ audio.T).fill_diagonal_(0.0))[:, :k]


def _joined_places(video, audio, k, block):
    """Places in the joined table are returned instead of instances. The k best of the joined scores stand at these *places*:
    look up whose scores they are, as `gather` does.
    """
    numbers, found = torch.arange(len(video)), []
    for queries in numbers.split(block):
        best = order = torch.empty(len(queries), 0)
        for others in numbers.split(block):
            both = torch.cat([best, _table(video, audio)[queries][:, others]], dim=1)
            order = both.sort(dim=1, descending=True, stable=True).indices[:, :k]
            best = both.gather(1, order)
        found.append(order)
    return torch.cat(found)


def _every_diagonal(video, audio, k, block):
    """The diagonal of every block is excluded. Row i of a block is column i only where the two blocks are the same. Compare
    the numbers: `queries[:, None] == others`.
    """
    numbers = torch.arange(len(video))
    same_place = numbers[:, None] % block == numbers % block
    return _ranked(_table(video, audio).masked_fill(same_place, -torch.inf))[:, :k]


def _ties_to_the_new(video, audio, k, block):
    """Ties go to the later block. Join the earlier best *in front of* the new block: a stable sort keeps the lower index
    first.
    """
    table, numbers = _table(video, audio), torch.arange(len(video))
    turned = torch.cat(numbers.split(block)[::-1])
    return turned[_ranked(table[:, turned])][:, :k]


def _not_sorted_at_the_end(video, audio, k, block):
    """The best of the blocks stand in the order of the blocks. You found the right ones: sort them once more by score."""
    found = mined_in_blocks(video, audio, k, block)
    return found.gather(1, (found // block).sort(dim=1, stable=True).indices)


def _rest_forgotten(video, audio, k, block):
    """The clips of the last, smaller block are missing. N need not be a multiple of `block`: the last block is shorter."""
    full = len(video) // block * block
    return _ranked(_table(video, audio)[:, :full])[:, :k]


def _union_in_blocks(video, audio, k, block):
    """The maximum instead of the minimum. Consensus takes the smaller of the two similarities."""
    return _ranked(torch.maximum(video @ video.T, audio @ audio.T).fill_diagonal_(-torch.inf))[:, :k]


def _scores_of_blocks(video, audio, k, block):
    """Scores are returned instead of instances. Keep the numbers of the instances next to their scores, and gather both."""
    return _table(video, audio).sort(dim=1, descending=True).values[:, :k]


class _Sizes(TorchFunctionMode):
    """The number of elements of the largest tensor made."""

    largest = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for x in made if isinstance(made, tuple) else (made,):
            self.largest = max(self.largest, x.numel() if isinstance(x, torch.Tensor) else 0)
        return made


def _small_tables(function):
    with _Sizes() as sizes:
        function(unit(120, 3, seed=7), unit(120, 3, seed=8), 3, 8)
    if sizes.largest > 400:  # 120 x 3 embeddings or positives; not 8 x 120 scores
        return f"With 120 clips and blocks of 8, you made a tensor of {sizes.largest:,} numbers. 8 x (8 + 3) are 88."
    return None


def _corners(seed, n, k, block):
    """Embeddings whose similarities are multiples of 1/4, so that no order of sums changes them; with many ties."""
    return *(integers(n, 4, below=2, seed=seed + i).sub(0.5) for i in range(2)), k, block


# --- precision --------------------------------------------------------------------------------------------------------


def precision_at_k(positives, labels):
    """positives (N, k): instances; labels (N,) -> share of positives that are of their query's class."""
    return (labels[positives] == labels[:, None]).double().mean()


def _count(positives, labels):
    """A count instead of a share. The result is a share between 0 and 1: divide by N x k."""
    return (labels[positives] == labels[:, None]).double().sum()


def _any_hit(positives, labels):
    """Any right positive counts as all right. You ask whether *any* positive is right, which is recall@k. Precision
    is the share of all positives that are right.
    """
    return (labels[positives] == labels[:, None]).any(1).double().mean()


def _all_hit(positives, labels):
    """Only queries whose positives are all right count. Precision is the share of *positives* that are right, whatever the
    others of their query are.
    """
    return (labels[positives] == labels[:, None]).all(1).double().mean()


def _first_as_query(positives, labels):
    """Compared with the class of the first positive. The query asks: compare each positive with the class of row i, which is
    `labels[i]`.
    """
    return (labels[positives] == labels[positives[:, :1]]).double().mean()


def _by_class(positives, labels):
    """The mean over classes instead of over queries. Every query counts the same, whatever the size of its class."""
    each = (labels[positives] == labels[:, None]).double().mean(1)
    return torch.stack([each[labels == c].mean() for c in labels.unique()]).mean()


def _first_only(positives, labels):
    """Only the first positive counts. You only look at the first positive."""
    return (labels[positives[:, 0]] == labels).double().mean()


def _index_for_label(positives, labels):
    """Instance numbers are compared with classes. You compare instance numbers with classes. Look up the class of
    each positive first: `labels[positives]`.
    """
    return (positives == labels[:, None]).double().mean()


def _of_class(positives, labels):
    """Divided by the size of the class. You divide by the size of the class: that is recall. Precision divides by k."""
    right = (labels[positives] == labels[:, None]).double().sum(1)
    return (right / labels.bincount()[labels]).mean()


def _of_others_in_class(positives, labels):
    """Divided by the number of others in the class. That is recall, and a class of one has no others. Precision divides by k."""
    right = (labels[positives] == labels[:, None]).double().sum(1)
    return (right / (labels.bincount()[labels] - 1)).mean()


def _per_query(positives, labels):
    """The mean over queries is missing. You return one share per query; average them."""
    return (labels[positives] == labels[:, None]).double().mean(1)


def _of_whom(positives, labels):
    """Compared with the wrong query. You compare each positive with the class of the instance *numbered by its
    column*, not of its query: `labels[:, None]`.
    """
    return (labels[positives] == labels[: positives.shape[1]]).double().mean()


def _mined(seed, n, k):
    return integers(n, k, below=n, seed=seed), integers(n, below=4, seed=seed + 1)


EXERCISES = (
    Exercise(
        task="How far do two clips agree in picture *and* in sound? The smaller of the two similarities.",
        reference=consensus_scores,
        probes=(
            lambda: (unit(3, 5, 0), unit(3, 5, 1), unit(7, 5, 2), unit(7, 5, 3)),
            lambda: (unit(4, 3, 4), unit(4, 3, 5), unit(4, 3, 6), unit(4, 3, 7)),
        ),
        large=lambda: (unit(200, 32, 8), unit(200, 32, 9), unit(200, 32, 10), unit(200, 32, 11)),
        wrong=(_union, _average, _product, _video_only, _audio_only, _across, _gallery_by_queries, _minimum_of_vectors),
        hints=(
            "Compute two tables of similarities, each (Q, N), and combine them into one.",
            "One product gives a table of all similarities: `video_query @ video.T`.",
            "`torch.min` of one table is one number; `torch.minimum` of two tables is a table. What does the second one compare?",
        ),
    ),
    Exercise(
        task="Find the k others with the highest score for each query: never itself, best first; the lower index wins ties.",
        reference=top_k_positives,
        probes=(_some_scores, _negative_scores, _low_scores, _duplicates, _many_ties),
        large=lambda: (normal(200, 200, seed=5), 64),
        wrong=(
            _with_self,
            _first_dropped,
            _diagonal_zero,
            _worst,
            _backwards,
            _columns,
            _ties_high,
            _moved_up,
            _rising_numbers,
            _scores_returned,
            _score_changed,
        ),
        properties=(Property("the query is among its own positives", _never_itself),),
        hints=(
            "First make sure that no clip can choose itself, whatever its score. Then sort each row.",
            "`score.clone().fill_diagonal_(-torch.inf)` excludes each query by its index. Why `clone`?",
            "`x.sort(dim=1, descending=True, stable=True)` gives `.values` and `.indices`; *stable* keeps the lower index first "
            "among equals. Which do you need, and how many columns?",
        ),
    ),
    Exercise(
        task="Mine positives block by block: exactly those of the whole table, which is never made.",
        reference=mined_in_blocks,
        probes=(
            lambda: (unit(11, 4, 20), unit(11, 4, 21), 3, 4),
            lambda: _corners(22, 14, 4, 5),
            lambda: _corners(24, 9, 7, 3),
            lambda: (unit(8, 3, 26), unit(8, 3, 27), 2, 8),
        ),
        large=lambda: (unit(300, 32, 28), unit(300, 32, 29), 16, 64),
        wrong=(
            _whole_table,
            _last_block,
            _first_block,
            _own_block,
            _local,
            _query_included,
            _itself_zero,
            _joined_places,
            _every_diagonal,
            _ties_to_the_new,
            _not_sorted_at_the_end,
            _rest_forgotten,
            _union_in_blocks,
            _scores_of_blocks,
        ),
        properties=(Property("a table is larger than a block", _small_tables),),
        hints=(
            "Two loops: over blocks of queries and, for each, over blocks of others. Between two blocks of others, remember the k "
            "best up to now: their scores *and* their numbers.",
            "`torch.arange(len(video)).split(block)` gives the numbers of each block; the last is shorter. A query meets itself "
            "where `queries[:, None] == others`.",
            "Join the best up to now with the new block, `torch.cat([best, score], dim=1)`, and their numbers in the same order. A "
            "stable sort of the joined scores says which k to keep; `gather` takes them from both tables.",
        ),
    ),
    Exercise(
        task="What share of the positives has the same class as their query?",
        reference=precision_at_k,
        probes=(
            lambda: _mined(0, 61, 7),
            lambda: _mined(4, 97, 3),
            lambda: _mined(8, 40, 11),
            lambda: _mined(12, 29, 2),
        ),
        large=lambda: _mined(9, 800, 32),
        wrong=(
            _count,
            _any_hit,
            _all_hit,
            _first_as_query,
            _by_class,
            _first_only,
            _index_for_label,
            _of_class,
            _of_others_in_class,
            _per_query,
            _of_whom,
        ),
        hints=(
            "Compare two tables of classes of shape (N, k), entry by entry.",
            "`labels[positives]` is the class of each positive, (N, k). The query's class is the same along a row.",
            "`labels[:, None]`, (N, 1), is repeated along each row in a comparison. The mean of True and False is a share.",
        ),
    ),
)

"""Notebook 10: your own videos."""

from __future__ import annotations

import torch

from avid_lab.course.checks import Exercise
from avid_lab.course.exercises.inputs import integers

# --- a split without leaks --------------------------------------------------------------------------------------------


def split_without_leaks(recordings, copies, share):
    """Choose the clips that are held out, so that nothing held out is known from training.

    recordings (N,): the number of each clip's recording; copies (P, 2): pairs of clips with the same content ->
    (N,) True for the held-out clips.

    Clips of one recording stay together, and so do copies, also through further clips: these are groups. Take the groups
    in the order of their first clips, and hold each one out that still fits: at most `share` of all N clips are held out.
    """
    together = recordings[:, None] == recordings  # (N, N)
    one, other = copies[:, 0], copies[:, 1]
    together[one, other] = together[other, one] = True
    for _ in recordings:  # friends of friends: each product reaches twice as far
        further = (together.float() @ together.float()) > 0
        if further.equal(together):
            break
        together = further
    first = together.float().argmax(1)  # (N,): the first clip of each clip's group
    held = torch.zeros(len(recordings), dtype=torch.bool)
    for leader in first.unique():
        group = first == leader
        if held.sum() + group.sum() <= share * len(recordings):
            held = held | group
    return held


def _by_links(recordings, copies, share):
    group = list(range(len(recordings)))
    links = copies.tolist()
    for i, a in enumerate(recordings.tolist()):
        links += [[i, j] for j, b in enumerate(recordings.tolist()) if a == b]
    for _ in group:
        for i, j in links:
            group[i] = group[j] = min(group[i], group[j])
    sizes = {leader: group.count(leader) for leader in group}
    held, room = [], int(share * len(group) + 1e-9)
    for leader in sorted(sizes):
        if sizes[leader] <= room:
            room -= sizes[leader]
            held.append(leader)
    return torch.tensor([leader in held for leader in group])


def _groups(together):
    """(N,): the first clip of each clip's group, from a table of clips that belong together."""
    for _ in together:
        together = (together.float() @ together.float()) > 0
    return together.float().argmax(1)


def _filled(first, share, *, order=None, skip=True):
    """Hold out groups in an order while they fit."""
    held = torch.zeros(len(first), dtype=torch.bool)
    for leader in first.unique() if order is None else order(first):
        group = first == leader
        if held.sum() + group.sum() <= share * len(first):
            held = held | group
        elif not skip:
            break
    return held


def _linked(recordings, copies, *, both=True):
    together = recordings[:, None] == recordings
    together[copies[:, 0], copies[:, 1]] = True
    if both:
        together[copies[:, 1], copies[:, 0]] = True
    return together


def _clip_by_clip(recordings, copies, share):
    """Clips are split one by one. Pieces of one recording share room, camera and light: if one piece is for training and
    another is held out, the test asks for what was learned by heart.
    """
    return torch.arange(len(recordings)) < int(share * len(recordings))


def _copies_ignored(recordings, copies, share):
    """Copies are ignored. The same content may lie on both sides under two names: join the groups of both clips of a pair."""
    return _filled(_groups(recordings[:, None] == recordings), share)


def _recordings_ignored(recordings, copies, share):
    """Recordings are ignored. Pieces of one recording belong together, too, not only copies."""
    return _filled(_groups(_linked(torch.arange(len(recordings)), copies)), share)


def _friends_only(recordings, copies, share):
    """A group ends after one step. If A and B are one recording and B is a copy of C, then A and C belong together, too:
    repeat until nothing changes.
    """
    return _filled(_linked(recordings, copies).float().argmax(1), share)


def _two_steps(recordings, copies, share):
    """A group ends after two steps. Chains may be longer: repeat until nothing changes."""
    together = _linked(recordings, copies).float()
    return _filled((together @ together).gt(0).float().argmax(1), share)


def _stops_early(recordings, copies, share):
    """It stops at the first group that does not fit. Skip that group: a smaller one further on may still fit."""
    return _filled(_groups(_linked(recordings, copies)), share, skip=False)


def _too_many(recordings, copies, share):
    """More than the share is held out. Look at the number of clips *with* the group before you hold it out."""
    first, held = _groups(_linked(recordings, copies)), torch.zeros(len(recordings), dtype=torch.bool)
    for leader in first.unique():
        if held.sum() < share * len(first):
            held = held | (first == leader)
    return held


def _less_than(recordings, copies, share):
    """A group that fits exactly is left out. At most `share` of the clips: `<=`."""
    first, held = _groups(_linked(recordings, copies)), torch.zeros(len(recordings), dtype=torch.bool)
    for leader in first.unique():
        group = first == leader
        if held.sum() + group.sum() < share * len(first):
            held = held | group
    return held


def _share_of_groups(recordings, copies, share):
    """A share of the groups is held out, not of the clips. Groups differ in size: count clips."""
    first = _groups(_linked(recordings, copies))
    leaders = first.unique()
    return torch.isin(first, leaders[: int(share * len(leaders))])


def _largest_first(recordings, copies, share):
    """The groups come in another order: the largest first. Take them in the order of their first clips."""
    return _filled(
        _groups(_linked(recordings, copies)),
        share,
        order=lambda first: sorted(first.unique().tolist(), key=lambda leader: -int((first == leader).sum())),
    )


def _smallest_first(recordings, copies, share):
    """The groups come in another order: the smallest first. Take them in the order of their first clips."""
    return _filled(
        _groups(_linked(recordings, copies)),
        share,
        order=lambda first: sorted(first.unique().tolist(), key=lambda leader: int((first == leader).sum())),
    )


def _by_number(recordings, copies, share):
    """The groups come in another order: that of the recordings' numbers. Take them in the order of their first clips."""
    return _filled(
        _groups(_linked(recordings, copies)),
        share,
        order=lambda first: sorted(first.unique().tolist(), key=lambda leader: int(recordings[first == leader].min())),
    )


def _last_first(recordings, copies, share):
    """The groups come in another order: the last first. Take them in the order of their first clips."""
    return _filled(_groups(_linked(recordings, copies)), share, order=lambda first: first.unique().flip(0))


def _copy_alone(recordings, copies, share):
    """Only the copy itself joins, not the rest of its recording. If A and B are copies, the recordings of both belong together."""
    renamed = recordings.clone()
    for one, other in copies.tolist():
        renamed[other] = renamed[one].clone()
    return _filled(_groups(renamed[:, None] == renamed), share)


def _pairs_of_recordings(recordings, copies, share):
    """Copies are taken for pairs of recordings. They are pairs of *clips*: clip i is of recording `recordings[i]`."""
    renamed = recordings.clone()
    for _ in copies:
        for one, other in copies.tolist():
            renamed[(renamed == one) | (renamed == other)] = min(one, other)
    return _filled(_groups(renamed[:, None] == renamed), share)


def _training_returned(recordings, copies, share):
    """The clips for training are returned. True marks the *held-out* clips: you return the others."""
    return ~split_without_leaks(recordings, copies, share)


def _numbers_returned(recordings, copies, share):
    """The numbers of clips are returned instead of True and False. One True or False for each of the N clips, please."""
    return split_without_leaks(recordings, copies, share).nonzero()[:, 0]


def _copies_changed(recordings, copies, share):
    """It changes the recordings' numbers that it was given. The notebook still needs them: work on a copy, `clone()`."""
    held = split_without_leaks(recordings, copies, share)
    for one, other in copies.tolist():
        recordings[recordings == recordings[other]] = recordings[one].item()
    return held


def _chained():
    """Recordings 7, 3, 9, ... of two clips each; copies tie 3 to 9, 9 to 4 and 4 to 6: a chain of four recordings."""
    recordings = torch.tensor([7, 7, 3, 9, 3, 9, 4, 8, 4, 6, 6, 8, 1, 2, 2, 0, 5, 5])
    return recordings, torch.tensor([[5, 4], [8, 3], [6, 9]]), 0.4


def _pieces(seed, clips, recordings, pairs, share):
    """Clips in any order; some are copies of clips of other recordings."""
    return (
        integers(clips, below=recordings, seed=seed),
        integers(pairs, 2, below=clips, seed=seed + 1),
        share,
    )


EXERCISES = (
    Exercise(
        task="Hold out a share of the clips, so that no recording and no copy lies on both sides.",
        reference=split_without_leaks,
        probes=(
            _chained,
            lambda: (torch.tensor([2, 0, 0, 0, 1, 2, 3, 4]), torch.zeros(0, 2, dtype=torch.long), 0.5),
            lambda: _pieces(5, 24, 12, 4, 0.3),
            lambda: _pieces(5, 20, 14, 5, 0.35),
            lambda: _pieces(15, 60, 30, 8, 0.4),
            lambda: _pieces(25, 45, 25, 6, 0.25),
        ),
        wrong=(
            _clip_by_clip,
            _copies_ignored,
            _recordings_ignored,
            _friends_only,
            _two_steps,
            _stops_early,
            _too_many,
            _less_than,
            _share_of_groups,
            _largest_first,
            _smallest_first,
            _by_number,
            _last_first,
            _copy_alone,
            _pairs_of_recordings,
            _training_returned,
            _numbers_returned,
            _copies_changed,
        ),
        forms=(_by_links,),
        large=lambda: _pieces(9, 360, 90, 6, 0.25),
        hints=(
            "Two parts: find the groups, then fill the test side. For the groups, ask of every two clips whether they must stay "
            "together.",
            "`recordings[:, None] == recordings` is a table of pairs; each copy adds two entries. Friends of friends: the product of "
            "the table with itself, as floats, is above 0 where a third clip links two. Until when do you repeat it?",
            "Name each group by its first clip: `together.float().argmax(1)`. Go through `first.unique()`, which rises, and count the "
            "held-out clips *with* the next group before you add it.",
        ),
    ),
)

"""A clip of a dataset beside the clips it found, to play in a page or notebook."""

from __future__ import annotations

from collections.abc import Sequence

from avid_lab.datasets import ClipDataset
from avid_lab.evaluation import Embeddings
from avid_lab.interactive.players import CLIP_BYTES, Players, gallery


def ask(space: Embeddings, clips: ClipDataset, query: int, count: int = 4, *, clip_bytes: int = CLIP_BYTES) -> Players:
    """Play a clip beside the clips whose *sounds* lie closest to its *picture*, right ones framed green.

    Of longer files, the part plays that the model saw. Right are clips of the query's class; where the clips have no
    classes, its own sound.

    Args:
        space: What a model makes of the clips.
        clips: The clips, in the same order.
        query: Which of them asks.
        count: How many answers, of as many as there are.
        clip_bytes: Most that one player weighs.

    Raises:
        ValueError: The query is not the number of a clip, or fewer than one answer is asked for.
    """
    if not 0 <= query < len(clips) or count < 1:
        raise ValueError(f"query must be in [0, {len(clips)}) and count >= 1; got {query} and {count}")
    similarity, order = (space.audio @ space.video[query]).sort(descending=True)
    found, scores = order[:count].tolist(), similarity[:count].tolist()
    windows = space.video_windows.shape[1]
    return answers(clips, query, found, scores, windows=windows, own=True, clip_bytes=clip_bytes)


def answers(
    clips: ClipDataset,
    query: int,
    found: Sequence[int],
    scores: Sequence[float],
    *,
    windows: int = 1,
    own: bool = False,
    clip_bytes: int = CLIP_BYTES,
) -> Players:
    """Play a clip beside others of its dataset, best first, those of its class framed green.

    Where the clips have no classes, nothing is right or wrong, except the query's own other half.

    Args:
        clips: The clips.
        query: Which of them asks.
        found: Which of them answer.
        scores: One number an answer.
        windows: Windows of each clip that were averaged: the part that plays spans them.
        own: Whether the query may find itself, its own picture or sound.
        clip_bytes: Most that one player weighs.
    """
    asked, *names = (clips.name(i) for i in (query, *found))
    labels = clips.labels
    if clips.has_classes:
        correct = [bool(labels[i] == labels[query]) for i in found]
    else:
        correct = [i == query for i in found] if own else None
    if own:
        names = [f"{name}, its own" if i == query else name for i, name in zip(found, names, strict=True)]
    return gallery(
        clips.path(query),
        [clips.path(i) for i in found],
        names,
        correct,
        scores,
        query_window=clips.window_s(query, windows),
        windows=[clips.window_s(i, windows) for i in found],
        query_caption=f"the question: {asked}",
        clip_bytes=clip_bytes,
    )

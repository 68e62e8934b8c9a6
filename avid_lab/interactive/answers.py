"""A clip of a dataset next to the clips it retrieved, to play in a page or notebook."""

from __future__ import annotations

from collections.abc import Sequence

from avid_lab.datasets import ClipDataset
from avid_lab.evaluation import Embeddings
from avid_lab.interactive.players import CLIP_BYTES, Players, gallery, window_seen


def ask(space: Embeddings, clips: ClipDataset, query: int, count: int = 4, *, clip_bytes: int = CLIP_BYTES) -> Players:
    """Play a clip next to the clips whose *sounds* are closest to its *picture*, with correct ones framed green.

    Longer files play the part that the model saw. Clips of the query's class are correct; without classes, only its own
    sound is.

    Args:
        space: The model's embeddings of the clips.
        clips: The clips, in the same order.
        query: Index of the query.
        count: Largest number of answers.
        clip_bytes: Size limit of one player, in bytes.

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
    """Play a clip next to others of its dataset, best first, with those of its class framed green.

    Without classes, no answer is right or wrong, except the query's own other modality.

    Args:
        clips: The clips.
        query: Index of the query.
        found: Indices of the answers.
        scores: One number per answer.
        windows: Number of windows averaged per clip: the part that plays spans them.
        own: Whether the query may find its own picture or sound.
        clip_bytes: Size limit of one player, in bytes.
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
        query_window=window_seen(clips, query, windows),
        windows=[window_seen(clips, i, windows) for i in found],
        query_caption=f"the question: {asked}",
        clip_bytes=clip_bytes,
    )

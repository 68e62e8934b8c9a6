"""A clip of a dataset beside the clips it found, to play in a page or notebook."""

from __future__ import annotations

from collections.abc import Sequence

from IPython.display import HTML

from avid_lab.datasets import ClipDataset
from avid_lab.evaluation import Embeddings
from avid_lab.interactive.players import gallery


def ask(space: Embeddings, clips: ClipDataset, query: int, count: int = 4) -> HTML:
    """Play a clip beside the clips whose *sounds* lie closest to its *picture*, right ones framed green.

    Args:
        space: What a model makes of the clips.
        clips: The clips, in the same order.
        query: Which of them asks.
        count: How many answers.

    Raises:
        ValueError: The query is not the number of a clip, or fewer than one answer is asked for.
    """
    if not 0 <= query < len(clips) or count < 1:
        raise ValueError(f"query must be in [0, {len(clips)}) and count >= 1; got {query} and {count}")
    similarity, order = (space.audio @ space.video[query]).sort(descending=True)
    return answers(clips, query, order[:count].tolist(), similarity[:count].tolist())


def answers(clips: ClipDataset, query: int, found: Sequence[int], scores: Sequence[float]) -> HTML:
    """Play a clip beside others of its dataset, best first, those of its class framed green.

    Args:
        clips: The clips.
        query: Which of them asks.
        found: Which of them answer.
        scores: One number an answer.
    """
    asked, *names = (clips.classes[clips.labels[i]].replace("_", " ") for i in (query, *found))
    paths = [clips.path(i) for i in found]
    correct = [name == asked for name in names]
    return gallery(clips.path(query), paths, names, correct, scores, query_caption=f"the question: {asked}")

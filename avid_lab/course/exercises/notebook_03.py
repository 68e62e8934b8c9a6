"""Notebook 03: which memory answers which query."""

from __future__ import annotations

import torch

from avid_lab.course.checks import Exercise
from avid_lab.course.exercises.inputs import integers, seeded, unit


def cross_terms(video, audio, video_memory, audio_memory, index, negatives, temperature):
    """Scores of Cross-AVID's two terms.

    video, audio (B, D): embeddings; video_memory, audio_memory (N, D); index (B,), negatives (B, K): instances.
    -> {"v2a": (positive (B, 1), negative (B, K)), "a2v": (positive, negative)}
    """
    scores = {}
    for name, query, memory in (("v2a", video, audio_memory), ("a2v", audio, video_memory)):
        positive = (query * memory[index]).sum(1, keepdim=True)  # (B, 1)
        negative = torch.einsum("bd,bkd->bk", query, memory[negatives])  # (B, K)
        scores[name] = (positive / temperature, negative / temperature)
    return scores


def _score(query, memory, index, negatives, temperature):
    positive = (query * memory[index]).sum(1, keepdim=True)
    negative = torch.einsum("bd,bkd->bk", query, memory[negatives])
    return positive / temperature, negative / temperature


def _by_term(video, audio, video_memory, audio_memory, index, negatives, temperature):
    v_yes = (video * audio_memory[index]).sum(1, keepdim=True)
    v_no = (video[:, None] * audio_memory[negatives]).sum(2)
    a_yes = (audio * video_memory[index]).sum(1, keepdim=True)
    a_no = (audio[:, None] * video_memory[negatives]).sum(2)
    return {"v2a": (v_yes / temperature, v_no / temperature), "a2v": (a_yes / temperature, a_no / temperature)}


def _copied(video, audio, video_memory, audio_memory, index, negatives, temperature):
    """The term "a2v" is a copy of "v2a". In "a2v" a sound asks, and the memory of pictures answers."""
    term = _score(video, audio_memory, index, negatives, temperature)
    return {"v2a": term, "a2v": term}


def _within(video, audio, video_memory, audio_memory, index, negatives, temperature):
    """This is within (Self-AVID), not across. You compare pictures with pictures and sounds with sounds: that is
    Self-AVID. In "v2a" a picture asks, and the memory of *sounds* answers.
    """
    rest = (index, negatives, temperature)
    return {"v2a": _score(video, video_memory, *rest), "a2v": _score(audio, audio_memory, *rest)}


def _swapped(video, audio, video_memory, audio_memory, index, negatives, temperature):
    """The two terms are swapped. In "v2a" the *video* embedding asks and the audio memory answers. You swapped the
    two terms.
    """
    rest = (index, negatives, temperature)
    return {"v2a": _score(audio, video_memory, *rest), "a2v": _score(video, audio_memory, *rest)}


def _no_temperature(video, audio, video_memory, audio_memory, index, negatives, temperature):
    """The temperature is missing. A score is a similarity *divided by the temperature*. Without it, all scores lie
    between -1 and 1.
    """
    rest = (index, negatives, 1.0)
    return {"v2a": _score(video, audio_memory, *rest), "a2v": _score(audio, video_memory, *rest)}


def _times_temperature(video, audio, video_memory, audio_memory, index, negatives, temperature):
    """Multiplied by the temperature. Divide by the temperature. Multiplying by 0.07 makes all scores nearly equal."""
    rest = (index, negatives, 1 / temperature)
    return {"v2a": _score(video, audio_memory, *rest), "a2v": _score(audio, video_memory, *rest)}


def _row_for_index(video, audio, video_memory, audio_memory, index, negatives, temperature):
    """The row of the batch is used as the instance. Row b of the batch is instance `index[b]`: its positive is
    `memory[index]`, not `memory[:B]`.
    """
    rest = (torch.arange(len(index)), negatives, temperature)
    return {"v2a": _score(video, audio_memory, *rest), "a2v": _score(audio, video_memory, *rest)}


def _live_positive(video, audio, video_memory, audio_memory, index, negatives, temperature):
    """The positive does not come from the memory. Your positive is the batch's own embedding. It should come from
    the memory, like the negatives. Otherwise the two differ in age, and age alone separates them.
    """
    terms = cross_terms(video, audio, video_memory, audio_memory, index, negatives, temperature)
    alive = (video * audio).sum(1, keepdim=True) / temperature
    return {name: (alive, negative) for name, (_, negative) in terms.items()}


def _first_negatives(video, audio, video_memory, audio_memory, index, negatives, temperature):
    """All queries use the negatives of the first. All queries use the negatives of the first. Row b has its own:
    `memory[negatives]` is (B, K, D).
    """
    rest = (index, negatives[:1].expand_as(negatives), temperature)
    return {"v2a": _score(video, audio_memory, *rest), "a2v": _score(audio, video_memory, *rest)}


def _negatives_within(video, audio, video_memory, audio_memory, index, negatives, temperature):
    """The negatives are of the query's own modality. The positive comes from the other sense, but the negatives
    come from the query's own. Both must come from the same memory. Otherwise the network only has to tell pictures
    from sounds.
    """
    rest = (index, negatives, temperature)
    return {
        "v2a": (_score(video, audio_memory, *rest)[0], _score(video, video_memory, *rest)[1]),
        "a2v": (_score(audio, video_memory, *rest)[0], _score(audio, audio_memory, *rest)[1]),
    }


def _detached_query(video, audio, video_memory, audio_memory, index, negatives, temperature):
    """The queries are detached. The numbers are right, but the queries are detached: no network would learn
    anything.
    """
    return cross_terms(video.detach(), audio.detach(), video_memory, audio_memory, index, negatives, temperature)


def _inputs(seed, batch, count, instances=12, dim=6):
    index = torch.randperm(instances, generator=seeded(seed))[:batch]
    return (
        unit(batch, dim, seed, grad=True),
        unit(batch, dim, seed + 1, grad=True),
        unit(instances, dim, seed + 2),
        unit(instances, dim, seed + 3),
        index,
        integers(batch, count, below=instances, seed=seed + 4),
        0.07,
    )


EXERCISES = (
    Exercise(
        task="Score every query against its positive and its negatives, using the memory of the other modality.",
        reference=cross_terms,
        probes=(lambda: _inputs(0, 4, 5), lambda: _inputs(10, 3, 7)),
        wrong=(
            _within,
            _swapped,
            _no_temperature,
            _times_temperature,
            _row_for_index,
            _live_positive,
            _first_negatives,
            _negatives_within,
            _detached_query,
            _copied,
        ),
        forms=(_by_term,),
        large=lambda: _inputs(20, 32, 128, instances=400, dim=64),
        hints=(
            "Read the term's name aloud: in v2a, the *a*udio memory answers a *v*ideo query.",
            "`memory[index]` is (B, D), one positive per row. `memory[negatives]` is (B, K, D).",
            "`(query * memory[index]).sum(1, keepdim=True)` is (B, 1), and `torch.einsum('bd,bkd->bk', query, memory[negatives])` "
            "is (B, K). Divide both by the temperature. Which two pairs of query and memory do you need?",
        ),
    ),
)

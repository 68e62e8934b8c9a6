"""Notebook 03: which memory answers which query, and the whole of Cross-AVID."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from avid_lab.course.checks import Exercise
from avid_lab.course.exercises.inputs import integers, normal, seeded, unit


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


# --- the whole method -------------------------------------------------------------------------------------------------


def cross_avid(
    video_head, audio_head, video, audio, video_memory, audio_memory, batches, negatives, temperature, momentum, rate
):
    """Train two linear heads on frozen features with all of Cross-AVID, by plain gradient descent.

    video_head, audio_head (F, D); video, audio (N, F): features; video_memory, audio_memory (N, D): the first notes;
    batches (S, B): clips of each step; negatives (S, B, K): their negatives; rate: the learning rate.
    -> (losses (S,), notes of pictures (N, D), notes of sounds (N, D)) at the end
    """
    heads = [video_head.clone().requires_grad_(), audio_head.clone().requires_grad_()]
    memories, Z, losses = [video_memory.clone(), audio_memory.clone()], [None, None], []
    for index, others in zip(batches, negatives, strict=True):
        new = [F.normalize(x[index] @ head, dim=1) for x, head in zip((video, audio), heads, strict=True)]  # (B, D)
        loss = torch.zeros(())
        for asks, answers in ((0, 1), (1, 0)):
            notes = memories[answers]
            positive = (new[asks] * notes[index]).sum(1, keepdim=True) / temperature  # (B, 1)
            negative = torch.einsum("bd,bkd->bk", new[asks], notes[others]) / temperature  # (B, K)
            if Z[asks] is None:
                Z[asks] = negative.detach().exp().mean()
            log_KZ = (others.shape[1] * Z[asks]).log()
            loss = loss + (F.softplus(log_KZ - positive).sum(1) + F.softplus(negative - log_KZ).sum(1)).mean() / 2
        slopes = torch.autograd.grad(loss, heads)
        heads = [(head - rate * slope).detach().requires_grad_() for head, slope in zip(heads, slopes, strict=True)]
        for memory, embedding in zip(memories, new, strict=True):
            memory[index] = F.normalize(momentum * memory[index] + (1 - momentum) * embedding.detach(), dim=1)
        losses.append(loss.detach())
    return torch.stack(losses), memories[0], memories[1]


def _never_noted(
    video_head, audio_head, video, audio, video_memory, audio_memory, batches, negatives, temperature, momentum, rate
):
    """The memory never changes. After each step, the notes of the batch's clips move towards their new embeddings.
    Otherwise the networks learn random directions by heart.
    """
    heads = [video_head.clone().requires_grad_(), audio_head.clone().requires_grad_()]
    memories, Z, losses = [video_memory.clone(), audio_memory.clone()], [None, None], []
    for index, others in zip(batches, negatives, strict=True):
        new = [F.normalize(x[index] @ head, dim=1) for x, head in zip((video, audio), heads, strict=True)]
        loss = torch.zeros(())
        for asks, answers in ((0, 1), (1, 0)):
            positive = (new[asks] * memories[answers][index]).sum(1, keepdim=True) / temperature
            negative = torch.einsum("bd,bkd->bk", new[asks], memories[answers][others]) / temperature
            if Z[asks] is None:
                Z[asks] = negative.detach().exp().mean()
            log_KZ = (others.shape[1] * Z[asks]).log()
            loss = loss + (F.softplus(log_KZ - positive).sum(1) + F.softplus(negative - log_KZ).sum(1)).mean() / 2
        slopes = torch.autograd.grad(loss, heads)
        heads = [(head - rate * slope).detach().requires_grad_() for head, slope in zip(heads, slopes, strict=True)]
        losses.append(loss.detach())
    return torch.stack(losses), memories[0], memories[1]


def _train(
    given, order=((0, 1), (1, 0)), half=2, keep_Z=True, one_Z=False, early=False, unit_notes=True, unit_new=True, up=False,
    learn=(1, 1), copied=False,
):  # fmt: skip
    """The method with one thing done differently."""
    video_head, audio_head, video, audio, *notes, batches, negatives, temperature, momentum, rate = given
    heads = [video_head.clone().requires_grad_(), audio_head.clone().requires_grad_()]
    memories, Z, losses = [note.clone() for note in notes], [None, None], []
    scaled = lambda x, yes: F.normalize(x, dim=1) if yes else x  # noqa: E731
    for index, others in zip(batches, negatives, strict=True):
        new = [scaled(x[index] @ head, unit_new) for x, head in zip((video, audio), heads, strict=True)]

        def update(index=index, new=new):
            for memory, embedding in zip(memories, [new[0], new[0]] if copied else new, strict=True):
                mixed = momentum * memory[index] + (1 - momentum) * embedding.detach()
                memory[index] = scaled(mixed, unit_notes)

        if early:
            update()
        loss = torch.zeros(())
        for asks, answers in order:
            notes = memories[answers].clone()
            positive = (new[asks] * notes[index]).sum(1, keepdim=True) / temperature
            negative = torch.einsum("bd,bkd->bk", new[asks], notes[others]) / temperature
            if Z[asks] is None or not keep_Z:
                Z[asks] = negative.detach().exp().mean() if not (one_Z and asks) else Z[0]
            log_KZ = (others.shape[1] * Z[asks]).log()
            loss = loss + (F.softplus(log_KZ - positive).sum(1) + F.softplus(negative - log_KZ).sum(1)).mean() / half
        slopes = torch.autograd.grad(loss, heads)
        rate_now = -rate if up else rate
        steps = zip(heads, slopes, learn, strict=True)
        heads = [(h - on * rate_now * slope).detach().requires_grad_() for h, slope, on in steps]
        if not early:
            update()
        losses.append(loss.detach())
    return torch.stack(losses), memories[0], memories[1]


def _compared_within(
    video_head, audio_head, video, audio, video_memory, audio_memory, batches, negatives, temperature, momentum, rate
):
    """This is within (Self-AVID), not across. A picture is compared with the notes of *sounds*, and a sound with those
    of *pictures*.
    """
    given = (video_head, audio_head, video, audio, video_memory, audio_memory, batches, negatives)
    return _train((*given, temperature, momentum, rate), order=((0, 0), (1, 1)))


def _noted_before(
    video_head, audio_head, video, audio, video_memory, audio_memory, batches, negatives, temperature, momentum, rate
):
    """The memory is updated before the loss. Then the right note already holds the answer. Compare first, and write the
    notes after the step.
    """
    given = (video_head, audio_head, video, audio, video_memory, audio_memory, batches, negatives)
    return _train((*given, temperature, momentum, rate), early=True)


def _z_every_step(
    video_head, audio_head, video, audio, video_memory, audio_memory, batches, negatives, temperature, momentum, rate
):
    """Z is estimated anew at every step. Estimate it from the first batch, and keep it."""
    given = (video_head, audio_head, video, audio, video_memory, audio_memory, batches, negatives)
    return _train((*given, temperature, momentum, rate), keep_Z=False)


def _z_shared(
    video_head, audio_head, video, audio, video_memory, audio_memory, batches, negatives, temperature, momentum, rate
):
    """Both terms share one Z. Each term has its own scores, so each estimates its own Z from its own negatives."""
    given = (video_head, audio_head, video, audio, video_memory, audio_memory, batches, negatives)
    return _train((*given, temperature, momentum, rate), one_Z=True)


def _terms_summed(
    video_head, audio_head, video, audio, video_memory, audio_memory, batches, negatives, temperature, momentum, rate
):
    """The two terms are summed, not averaged. The loss is the mean of the two directions."""
    given = (video_head, audio_head, video, audio, video_memory, audio_memory, batches, negatives)
    return _train((*given, temperature, momentum, rate), half=1)


def _climbs(
    video_head, audio_head, video, audio, video_memory, audio_memory, batches, negatives, temperature, momentum, rate
):
    """The step goes uphill. Subtract the gradient: `head - rate * gradient`."""
    given = (video_head, audio_head, video, audio, video_memory, audio_memory, batches, negatives)
    return _train((*given, temperature, momentum, rate), up=True)


def _rough_notes(
    video_head, audio_head, video, audio, video_memory, audio_memory, batches, negatives, temperature, momentum, rate
):
    """The notes are not normalised. A mix of two unit vectors is shorter than one: normalise each row after mixing."""
    given = (video_head, audio_head, video, audio, video_memory, audio_memory, batches, negatives)
    return _train((*given, temperature, momentum, rate), unit_notes=False)


def _rough_embeddings(
    video_head, audio_head, video, audio, video_memory, audio_memory, batches, negatives, temperature, momentum, rate
):
    """The embeddings are not normalised. A score is a *cosine* similarity divided by the temperature: normalise the rows
    of `features @ head`.
    """
    given = (video_head, audio_head, video, audio, video_memory, audio_memory, batches, negatives)
    return _train((*given, temperature, momentum, rate), unit_new=False)


def _never_learns(
    video_head, audio_head, video, audio, video_memory, audio_memory, batches, negatives, temperature, momentum, rate
):
    """The heads never change. Each step subtracts `rate` times the gradient from both heads."""
    given = (video_head, audio_head, video, audio, video_memory, audio_memory, batches, negatives)
    return _train((*given, temperature, momentum, 0.0))


def _momentum_of_the_new(
    video_head, audio_head, video, audio, video_memory, audio_memory, batches, negatives, temperature, momentum, rate
):
    """The momentum belongs to the old note. Mix `momentum * old + (1 - momentum) * new`."""
    given = (video_head, audio_head, video, audio, video_memory, audio_memory, batches, negatives)
    return _train((*given, temperature, 1 - momentum, rate))


def _pictures_learn(
    video_head, audio_head, video, audio, video_memory, audio_memory, batches, negatives, temperature, momentum, rate
):
    """Only the head of the pictures learns. Each step moves *both* heads."""
    given = (video_head, audio_head, video, audio, video_memory, audio_memory, batches, negatives)
    return _train((*given, temperature, momentum, rate), learn=(1, 0))


def _sounds_learn(
    video_head, audio_head, video, audio, video_memory, audio_memory, batches, negatives, temperature, momentum, rate
):
    """Only the head of the sounds learns. Each step moves *both* heads."""
    given = (video_head, audio_head, video, audio, video_memory, audio_memory, batches, negatives)
    return _train((*given, temperature, momentum, rate), learn=(0, 1))


def _notes_copied(
    video_head, audio_head, video, audio, video_memory, audio_memory, batches, negatives, temperature, momentum, rate
):
    """Both memories get the embeddings of the pictures. The notes of sounds move towards the embeddings of *sounds*."""
    given = (video_head, audio_head, video, audio, video_memory, audio_memory, batches, negatives)
    return _train((*given, temperature, momentum, rate), copied=True)


def _little_world(seed, momentum, steps=4, batch=3, count=5, instances=9, features=5, dim=4):
    shuffled = [torch.randperm(instances, generator=seeded(seed + step)) for step in range(steps)]
    batches = torch.stack([order[:batch] for order in shuffled])
    others = torch.stack([order[batch:] for order in shuffled])  # never a clip of the batch
    pick = integers(steps, batch, count, below=instances - batch, seed=seed + 50)
    negatives = torch.stack([row[chosen] for row, chosen in zip(others, pick, strict=True)])
    return (
        normal(features, dim, seed=seed + 60),
        normal(features, dim, seed=seed + 61),
        normal(instances, features, seed=seed + 62),
        normal(instances, features, seed=seed + 63),
        unit(instances, dim, seed + 64),
        unit(instances, dim, seed + 65),
        batches,
        negatives,
        0.3,
        momentum,
        0.5,
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
    Exercise(
        task="Write all of Cross-AVID: embed, compare with the notes, estimate Z once, step, update the notes.",
        reference=cross_avid,
        probes=(lambda: _little_world(0, 0.5), lambda: _little_world(100, 0.8, steps=3)),
        wrong=(
            _never_noted,
            _compared_within,
            _noted_before,
            _z_every_step,
            _z_shared,
            _terms_summed,
            _climbs,
            _rough_notes,
            _rough_embeddings,
            _never_learns,
            _momentum_of_the_new,
            _pictures_learn,
            _sounds_learn,
            _notes_copied,
        ),
        large=lambda: _little_world(200, 0.5, steps=20, batch=64, count=128, instances=400, features=64, dim=32),
        hints=(
            "Five parts in a loop over steps: embed, score, loss, step, notes. Write the two directions as a loop over "
            "(who asks, who answers): (0, 1) and (1, 0).",
            "Heads need gradients: `head.clone().requires_grad_()`, then `torch.autograd.grad(loss, heads)`. Memories are "
            "clones without gradients. Z has one entry per direction, set at the first step only.",
            "With `log_KZ = (K * Z).log()`, the loss of a direction is `F.softplus(log_KZ - positive)` plus the sum over K of "
            "`F.softplus(negative - log_KZ)`; "
            "average over the batch and over both directions. When do the notes change: before or after the step?",
        ),
    ),
)

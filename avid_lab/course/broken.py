"""Small trainings with a planted fault, to be diagnosed from what they show and repaired.

    patient = broken.train(features, held_out, "A")
    plots.tracks(broken.charts({"A": patient}))
    broken.train(features, held_out, "A", repair="memory")  # with this part replaced by a sound one

The encoders are frozen: only two small heads are trained on their features, from random weights, in a second or two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avid_lab.losses import nce_loss
from avid_lab.memory import MemoryBank
from avid_lab.metrics import retrieval

PARTS = {
    "pairs": "which sound goes with a picture",
    "negatives": "whom a clip is compared with",
    "Z": "the constant of the loss",
    "memory": "renewing the notes",
    "evaluation": "embedding held-out clips",
}
HEALTHY = "healthy"
DIM, HIDDEN, TEMPERATURE = 64, 128, 0.07
BATCH, NEGATIVES, RATE = 64, 64, 2e-3
CHECKS = 8  # of held-out clips along a training


@runtime_checkable
class FeaturesLike(Protocol):
    """Features of clips and their classes, such as `evaluation.Embeddings`."""

    video_features: Tensor
    audio_features: Tensor
    labels: Tensor


def _own_sound(index: Tensor) -> Tensor:
    return index


def _next_sound(index: Tensor) -> Tensor:
    return index.roll(1)


def _others(index: Tensor, count: int, generator: torch.Generator) -> Tensor:
    drawn = torch.randint(count - 1, (len(index), NEGATIVES), generator=generator)
    return drawn + (drawn >= index[:, None])


def _others_and_itself(index: Tensor, count: int, generator: torch.Generator) -> Tensor:
    drawn = _others(index, count, generator)
    drawn[:, 0] = index
    return drawn


def _mean_of_scores(similarity: Tensor) -> Tensor:
    return (similarity / TEMPERATURE).exp().mean()


def _at_another_temperature(similarity: Tensor) -> Tensor:
    return (similarity / 0.03).exp().mean()


def _renew(memory: MemoryBank, index: Tensor, video: Tensor, audio: Tensor) -> None:
    memory.update(index, video, audio)


def _leave(memory: MemoryBank, index: Tensor, video: Tensor, audio: Tensor) -> None:
    pass


def _unit(outputs: Tensor) -> Tensor:
    return F.normalize(outputs, dim=1)


def _raw(outputs: Tensor) -> Tensor:
    return outputs


@dataclass(frozen=True)
class Loop:
    """The parts of a training loop that can be faulty; the defaults are sound."""

    pairs: Callable[[Tensor], Tensor] = _own_sound
    negatives: Callable[[Tensor, int, torch.Generator], Tensor] = _others
    Z: Callable[[Tensor], Tensor] = _mean_of_scores
    memory: Callable[[MemoryBank, Tensor, Tensor, Tensor], None] = _renew
    evaluation: Callable[[Tensor], Tensor] = _unit


_SOUND = Loop()
_FAULTS = {
    "A": replace(_SOUND, memory=_leave),
    "B": replace(_SOUND, evaluation=_raw),
    "C": replace(_SOUND, Z=_at_another_temperature),
    "D": replace(_SOUND, pairs=_next_sound),
    "E": replace(_SOUND, negatives=_others_and_itself),
}
PATIENTS = tuple(_FAULTS)


@dataclass(frozen=True)
class Patient:
    """What a training shows. Lists have an entry for each step, ``found`` and ``length`` one for each check.

    Attributes:
        loss: The loss.
        partner: Mean similarity of a picture and the note of its own sound.
        belief: Mean belief of the loss that a negative is real, 0 to 1.
        moved: Mean distance that the notes of a batch move in the step.
        ties: Share of pictures with a negative that is exactly as similar as the partner.
        checked: Steps done at each check.
        found: Of the five nearest sounds of a held-out picture, the share of its class.
        length: Mean length of the embeddings of held-out pictures.
    """

    loss: list[float] = field(default_factory=list)
    partner: list[float] = field(default_factory=list)
    belief: list[float] = field(default_factory=list)
    moved: list[float] = field(default_factory=list)
    ties: list[float] = field(default_factory=list)
    checked: list[int] = field(default_factory=list)
    found: list[float] = field(default_factory=list)
    length: list[float] = field(default_factory=list)


def diagnosis(name: str) -> str:
    """The part that is broken in a patient, from `PARTS`.

    Raises:
        ValueError: There is no such patient.
    """
    loop = _named(name)
    return next(part for part in PARTS if getattr(loop, part) is not getattr(_SOUND, part))


def train(
    features: FeaturesLike,
    held_out: FeaturesLike,
    name: str = HEALTHY,
    *,
    repair: str | None = None,
    steps: int = 200,
    seed: int = 0,
) -> Patient:
    """Train two heads on frozen features with Cross-AVID.

    Args:
        features: Of the clips to train on, at least 16.
        held_out: Of other clips.
        name: One of `PATIENTS`, or "healthy".
        repair: A part from `PARTS` to replace by a sound one.
        steps: Steps to train.
        seed: Seed of weights, batches and negatives.

    Raises:
        ValueError: There is no such patient or part, or there are too few clips.
    """
    loop = _SOUND if name == HEALTHY else _named(name)
    if repair is not None:
        if repair not in PARTS:
            raise ValueError(f"repair must be one of {', '.join(PARTS)}; got {repair!r}")
        loop = replace(loop, **{repair: getattr(_SOUND, repair)})
    count = len(features.labels)
    if count < 16:
        raise ValueError(f"features must be of at least 16 clips; got {count}")
    batch = min(BATCH, count // 2)
    video_all, audio_all = _standardised(features.video_features), _standardised(features.audio_features)
    seen, heard = _standardised(held_out.video_features), _standardised(held_out.audio_features)

    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        video_head, audio_head = _head(video_all.shape[1]), _head(audio_all.shape[1])
    memory = MemoryBank(count, DIM, generator=generator)
    optimiser = torch.optim.Adam([*video_head.parameters(), *audio_head.parameters()], lr=RATE)
    patient, Z = Patient(), None
    for step in range(steps):
        index = torch.randperm(count, generator=generator)[:batch]
        video = F.normalize(video_head(video_all[index]), dim=1)
        audio = F.normalize(audio_head(audio_all[loop.pairs(index)]), dim=1)
        negatives = loop.negatives(index, count, generator)
        v2a = _similarities(video, memory.audio, index, negatives)
        a2v = _similarities(audio, memory.video, index, negatives)
        if Z is None:
            Z = loop.Z(torch.cat([v2a[:, 1:], a2v[:, 1:]]).detach())
        loss = sum(nce_loss(x[:, :1] / TEMPERATURE, x[:, 1:] / TEMPERATURE, Z) for x in (v2a, a2v)) / 2
        assert isinstance(loss, Tensor)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        before = memory.video[index].clone()
        loop.memory(memory, index, video.detach(), audio.detach())
        _write_down(patient, loss, v2a.detach(), Z, (memory.video[index] - before).norm(dim=1))
        if (step + 1) % max(1, steps // CHECKS) == 0:
            with torch.no_grad():
                x, y = loop.evaluation(video_head(seen)), loop.evaluation(audio_head(heard))
            right = retrieval(x, y, held_out.labels, held_out.labels, ks=[min(5, len(y))])
            patient.checked.append(step + 1)
            patient.found.append(next(iter(right.precision.values())))
            patient.length.append(x.norm(dim=1).mean().item())
    return patient


def charts(patients: Mapping[str, Patient]) -> dict[str, dict[str, tuple[list[int], list[float]]]]:
    """Panels for `plots.tracks`: what each of the patients shows along its training."""
    panels: dict[str, dict[str, tuple[list[int], list[float]]]] = {}
    words = {
        "loss": "loss, log10",
        "partner": "similarity to the own sound's note",
        "belief": "belief that a negative is real",
        "moved": "how far notes move in a step",
        "ties": "pictures that tie with a negative",
        "found": "right sounds, held-out pictures",
    }
    for name, patient in patients.items():
        for attribute, title in words.items():
            values: list[float] = getattr(patient, attribute)
            steps = patient.checked if attribute == "found" else list(range(1, len(values) + 1))
            if attribute == "loss":
                values = torch.tensor(values).clamp(min=1e-9).log10().tolist()
            panels.setdefault(title, {})[name] = steps, values
    return panels


def _named(name: str) -> Loop:
    if name not in _FAULTS:
        raise ValueError(f"a patient must be one of {', '.join(_FAULTS)}; got {name!r}")
    return _FAULTS[name]


def _head(inputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, DIM))


def _standardised(features: Tensor) -> Tensor:
    return (features - features.mean(0)) / features.std(0).clamp(min=1e-6)


def _similarities(query: Tensor, notes: Tensor, index: Tensor, negatives: Tensor) -> Tensor:
    """(B, 1 + K): to the own note, then to the negatives."""
    rows = torch.cat([index[:, None], negatives], dim=1)
    return torch.einsum("bd,bkd->bk", query, notes[rows])


def _write_down(patient: Patient, loss: Tensor, similarity: Tensor, Z: Tensor, moved: Tensor) -> None:
    own, others = similarity[:, :1], similarity[:, 1:]
    noise = (NEGATIVES * Z).log()
    patient.loss.append(loss.item())
    patient.partner.append(own.mean().item())
    patient.belief.append((others / TEMPERATURE - noise).sigmoid().mean().item())
    patient.moved.append(moved.mean().item())
    patient.ties.append((others == own).any(1).double().mean().item())

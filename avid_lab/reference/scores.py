"""Scores of a finished run: flat dictionaries of numbers between 0 and 1, with the same names for every run."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from avid_lab.datasets import ClipDataset
from avid_lab.encoders import AudioVisualModel
from avid_lab.evaluation import Embeddings, block_features, chance_scores, embed, probe_table, random_twin, score
from avid_lab.memory import MemoryBank
from avid_lab.metrics import false_negative_rate, positive_precision, separation
from avid_lab.mining import AGREEMENTS, mine_positives
from avid_lab.reference.runs import Run
from avid_lab.transforms import InputPipeline

POSITIVES = 32  # mined per clip to judge the agreements
PAIRS = {"v2v": ("video", "video"), "a2a": ("audio", "audio"), "v2a": ("video", "audio"), "a2v": ("audio", "video")}
Numbers = dict[str, float]


def score_run(run: Run, train: ClipDataset, test: ClipDataset, *, blocks: bool = True) -> Numbers:
    """Scores of a run.

    Probes and neighbours are fitted on the training clips. They are scored, like retrieval and calibration, on the
    held-out clips. Positives are mined from the memory of the training clips.

    Args:
        run: The run.
        train: The clips it was trained on, whose labels it never saw.
        test: Held-out clips.
        blocks: Whether to probe every block, the slowest part.
    """
    return _score(run.model(), run.pipeline(), train, test, blocks) | positives(run.memory, train.labels)


def score_untrained(run: Run, train: ClipDataset, test: ClipDataset) -> Numbers:
    """Scores of a run's architecture at random initialisation with the same seed."""
    pipeline = run.pipeline()
    return _score(random_twin(run.model(), train, pipeline, seed=run.seed), pipeline, train, test, True)


def score_chance(train: ClipDataset, test: ClipDataset) -> Numbers:
    """What guessing scores."""
    spaces = []
    for clips in (train, test):
        same, window = torch.ones(len(clips), 1), torch.ones(len(clips), 1, 1)  # everything looks and sounds alike
        spaces.append(Embeddings(same, same, same, same, clips.labels, window, window))
    numbers = dataclasses.asdict(chance_scores(*spaces))
    guess, neighbours = numbers["video_probe"], numbers["v2a_precision_at_10"]
    numbers |= {f"{modality}_block{n}": guess for modality in ("video", "audio") for n in (1, 2, 3, 4)}
    numbers |= {f"{name}_precision_at_10": neighbours for name in ("v2v", "a2a")}
    return numbers | {f"{name}_auc": 0.5 for name in ("v2v", "a2a", "v2a")}


def _score(
    model: AudioVisualModel, pipeline: InputPipeline, train: ClipDataset, test: ClipDataset, blocks: bool
) -> Numbers:
    numbers = _spaces(*(embed(model, clips, pipeline) for clips in (train, test)))
    if blocks:
        probes = probe_table(*(block_features(model, clips, pipeline) for clips in (train, test)))
        numbers |= {name.replace(" ", "_"): found.value for name, found in probes.items()}
    return numbers


def _spaces(train: Embeddings, test: Embeddings) -> Numbers:
    numbers = dataclasses.asdict(score(train, test))
    for name, (query, gallery) in PAIRS.items():
        q, g = getattr(test, query), getattr(test, gallery)
        if query == gallery:
            numbers[f"{name}_precision_at_10"] = _neighbours(q, test.labels)
        # The pairs of a2v are those of v2a. A tiny world may have no class with two clips, and so no pairs.
        if name != "a2v" and len(test.labels.unique()) < len(test.labels):
            found = separation(q, g, test.labels)
            numbers |= {
                f"{name}_auc": found.auc,
                f"{name}_overlap": found.overlap,
                f"{name}_same": found.same.mean().item(),
                f"{name}_different": found.different.mean().item(),
            }
    return numbers


def _neighbours(space: Tensor, labels: Tensor, k: int = 10) -> float:
    """Share of same-class clips among the nearest of each clip, except itself."""
    similarity = (space @ space.T).fill_diagonal_(-torch.inf)
    return positive_precision(similarity.topk(min(k, len(space) - 1)).indices, labels)


def positives(memory: MemoryBank, labels: Tensor, k: int = POSITIVES) -> Numbers:
    """Shares of mined positives, by agreement, and of negatives that have their query's class."""
    k = min(k, len(labels) - 1)
    mined = {how: mine_positives(memory.video, memory.audio, k, how) for how in AGREEMENTS}
    right = {f"positives_{how}": positive_precision(found, labels) for how, found in mined.items()}
    return right | {
        "false_negatives": false_negative_rate(labels),
        "false_negatives_left": false_negative_rate(labels, mined["consensus"]),
    }

"""``avid-lab demo``: the course's story without a notebook. Train AVID, mine, evaluate, and report with pictures."""

from __future__ import annotations

import dataclasses
import json
import platform
import shlex
import sys
import time
from pathlib import Path

import torch
from tqdm.auto import tqdm

from avid_lab import plots
from avid_lab.checkpoints import CheckpointError, resume, save
from avid_lab.config import Profile
from avid_lab.datasets import ClipDataset
from avid_lab.evaluation import Embeddings, Scores, compare, table
from avid_lab.interactive import answers, ask
from avid_lab.metrics import false_negative_rate, positive_precision
from avid_lab.mining import Positives, mine_positives
from avid_lab.report import Section, SummaryRow, write_report
from avid_lab.training import Trainer, avid_trainer

SHOWN = 5  # results of a gallery: one row of the page
POSITIVES = 32  # of a query, where there are many clips (the paper's number)
SAVE_EVERY = 50  # steps: what an interrupted run loses at most


def run(train: ClipDataset, test: ClipDataset, profile: Profile, out: Path) -> str:
    """Tell the story on these clips.

    Writes ``checkpoint.pt``, ``scores.json`` and ``report.html`` into ``out``.

    Args:
        train: Clips to learn from.
        test: Clips to evaluate on.
        profile: The model preset and the training settings.
        out: A folder; made if need be.

    Returns:
        What to print at the end: the scores, beside chance and the untrained network, and where the report lies.
    """
    begun = time.perf_counter()
    checkpoint = out / "checkpoint.pt"
    trainer = fit(train, profile, checkpoint)
    memory = trainer.objective.memory
    k = max(1, min(POSITIVES, len(train) // 10))  # of few clips, the 32 most alike would be nearly all
    positives = mine_positives(memory.video.cpu(), memory.audio.cpu(), k=k)
    scores, space = compare(trainer.model, train, test, trainer.pipeline, progress=True)
    (out / "scores.json").write_text(
        json.dumps({name: dataclasses.asdict(row) for name, row in scores.items()}, indent=1)
    )

    same, chance = positive_precision(positives, train.labels), false_negative_rate(train.labels)
    report = write_report(
        out / "report.html",
        title="What a network learns from watching with sound",
        lead=f"{len(train):,} clips, {len(trainer)} steps, no labels: those only ask, at the end, what was learned.",
        summary_rows=[*_summary(scores), SummaryRow("positives of the query's class", same, None, chance)],
        sections=_sections(trainer, positives, test, space),
        provenance={
            "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
            "clips": train.manifest.root,
            "model": f"{profile.model}, {sum(p.numel() for p in trainer.model.parameters()):,} parameters",
            "training": profile.train,
            "hardware": _hardware(trainer.device),
            "versions": f"Python {platform.python_version()}, torch {torch.__version__}",
            "seconds": round(time.perf_counter() - begun),
        },
    )
    return (
        f"\n{table(scores, title=f'{len(test):,} held-out clips, {len(trainer)} steps, seed {profile.train.seed}')}\n\n"
        f"Of the {k} positives mined for each clip, {same:.1%} are of their query's class (chance {chance:.1%}).\n\n"
        f"Report      {report.resolve()}\nCheckpoint  {checkpoint.resolve()}"
    )


def fit(train: ClipDataset, profile: Profile, checkpoint: Path) -> Trainer:
    """Train AVID to its end, with a live progress line; a run that was stopped goes on where it was.

    Args:
        train: Clips to learn from.
        profile: The model preset and the training settings.
        checkpoint: Where the finished run is saved. Until then it lies beside it, named ``*.unfinished``.
    """
    trainer = avid_trainer(train, profile)
    unfinished = checkpoint.with_suffix(".unfinished")
    if unfinished.exists():
        try:
            resume(unfinished, trainer)
        except CheckpointError as error:
            print(f"An unfinished run is there, but not of these settings, so this one starts anew: {error}")
    with tqdm(trainer, desc="training", unit="step", total=len(trainer), initial=trainer.steps_done) as bar:
        for step in bar:
            bar.set_postfix(loss=f"{step.loss:.2f}", clips_per_s=f"{step.clips_per_s:.0f}")
            if step.index % SAVE_EVERY == 0:
                save(unfinished, trainer)
    save(checkpoint, trainer)
    unfinished.unlink(missing_ok=True)
    return trainer


def _summary(scores: dict[str, Scores]) -> list[SummaryRow]:
    columns = zip(*(scores[name].rows() for name in ("trained", "untrained", "chance")), strict=True)
    return [SummaryRow(name, ours, blank, chance) for (name, ours), (_, blank), (_, chance) in columns]


def _sections(trainer: Trainer, positives: Positives, test: ClipDataset, space: Embeddings) -> list[Section]:
    train, seed = trainer.clips, trainer.config.seed
    queries = _one_of_each_class(test, count=3, seed=seed)
    query = _one_of_each_class(train, count=1, seed=seed)[0]
    everyone = _one_of_each_class(test, count=len(test.classes), seed=seed)
    pictures = test.batch(torch.tensor(everyone))["video"]
    found = positives.index[query].tolist()[:SHOWN]
    return [
        Section(
            "The clips",
            [
                "One of each class among the held-out clips. The network never sees the names below the pictures.",
                plots.contact_sheet(list(pictures), [_name(test, i) for i in everyone]),
            ],
        ),
        Section("Training", [plots.loss_terms(trainer.history)]),
        Section(
            "Which sounds fit this picture?",
            [
                "A held-out picture asks; the held-out sounds answer, nearest first. Play them.",
                *(ask(space, test, query, SHOWN) for query in queries),
            ],
        ),
        Section(
            "One space for both senses",
            [plots.embedding_map(space.video, space.audio, test.labels, test.classes)],
        ),
        Section(
            "Who agrees in picture and in sound?",
            [
                "A training clip and its first positives by cross-modal agreement: alike to the eye and to the ear.",
                plots.agreement_plane(trainer.objective.memory, query, positives, train.labels, classes=train.classes),
                answers(train, query, found, positives.score[query].tolist()[:SHOWN]),
            ],
        ),
    ]


def _name(clips: ClipDataset, index: int) -> str:
    return clips.classes[int(clips.labels[index])].replace("_", " ")


def _one_of_each_class(clips: ClipDataset, count: int, seed: int) -> list[int]:
    """Indices of ``count`` clips at random, of different classes as long as there are any."""
    order = torch.randperm(len(clips), generator=torch.Generator().manual_seed(seed)).tolist()
    first = {int(clips.labels[i]): i for i in reversed(order)}
    chosen = [i for i in order if first[int(clips.labels[i])] == i]
    return sorted(chosen[:count], key=lambda i: int(clips.labels[i]))


def _hardware(device: torch.device) -> str:
    cpu = f"{platform.machine()}, {torch.get_num_threads()} CPU threads"
    return f"{torch.cuda.get_device_name(device)}; {cpu}" if device.type == "cuda" else cpu

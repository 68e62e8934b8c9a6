"""Seven losses from nothing, at equal compute: what came before and after AVID, each with a search of its own.

Every loss trains the pocket model on the same clips, for the same number of steps of 64 clips. Temperature and learning
rate of each loss are chosen by one short run for every pair of the same small grid, judged on the validation world. The
chosen setting then trains in full with three seeds, judged on the test clips, which no choice has seen.

``python -m benchmarks losses`` continues where it was interrupted: finished runs are in ``data/reference/losses.json``.
"""

from __future__ import annotations

import functools
import json
import math
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from avid_lab import foley
from avid_lab.atomic import replacing
from avid_lab.datasets import ClipDataset
from avid_lab.evaluation import embed
from avid_lab.losses import debiased_loss, nce_softmax_loss, robust_loss, sigmoid_loss
from avid_lab.metrics import mean_and_margin, mean_and_spread, positive_precision
from avid_lab.objectives import AVID, InBatch, QueueAVID
from avid_lab.training import Trainer
from benchmarks.recipe import PRESENT, VALIDATION, Run, precision

FILE = Path(__file__).parents[1] / "data" / "reference" / "losses.json"
TEMPERATURES, RATES = (0.07, 0.15, 0.3), (2e-3, 4e-3)
STEPS, SEARCH_STEPS = 700, 220  # the lesson has 1,100
SEEDS, SEARCH_SEED = (0, 1, 2), 100  # a seed that is not judged
SCORES = {"v2a": "v→a", "a2v": "a→v", "v2v": "v→v", "a2a": "a→a"}
REFERENCE = "NCE, bank (AVID)"
REPORT = """# Losses from nothing

Seven losses train the course's small network from nothing for {steps} steps, each with a temperature and learning rate
of its own. They are chosen by runs of {search_steps} steps on a validation world, with a seed that is not judged. The
table has the share of right classes among the ten nearest test clips, in per cent, mean ± standard deviation over three
seeds.

{table}

Differences of paired runs (same seed), in points, with Student's 95 % interval:

{differences}

Nearly all losses chose the highest temperature and the lowest rate of the grid, so a wider search may serve all of them
better, and in another order.

`python -m benchmarks losses` makes this page.
"""
Make = Callable[[int, float, torch.Generator], nn.Module]


def _avid(count: int, temperature: float, generator: torch.Generator, **settings: Any) -> nn.Module:
    dim, negatives = PRESENT.model.dim, PRESENT.num_negatives
    return AVID(count, dim, num_negatives=negatives, temperature=temperature, generator=generator, **settings)


def _debiased(count: int, temperature: float, generator: torch.Generator) -> nn.Module:
    # The share of false negatives is known in our world, one class of 22; elsewhere it is a guess.
    loss = functools.partial(debiased_loss, class_prior=1 / 22, temperature=temperature)
    return _avid(count, temperature, generator, loss=loss)


def _queue(count: int, temperature: float, generator: torch.Generator) -> nn.Module:
    size = PRESENT.num_negatives
    return QueueAVID(count, PRESENT.model.dim, queue_size=size, temperature=temperature, generator=generator)


def _in_batch(count: int, temperature: float, generator: torch.Generator, **settings: Any) -> nn.Module:
    return InBatch(count, PRESENT.model.dim, temperature=temperature, generator=generator, **settings)


def _siglip(video: Tensor, audio: Tensor, temperature: float) -> Tensor:
    return sigmoid_loss(video, audio, temperature, -math.log(len(video) - 1))


METHODS: dict[str, Make] = {
    "NCE, bank (AVID)": _avid,
    "softmax, bank": functools.partial(_avid, loss=nce_softmax_loss),
    "debiased softmax, bank": _debiased,
    "softmax, queue": _queue,
    "InfoNCE, batch": _in_batch,
    "SigLIP, batch": functools.partial(_in_batch, loss=_siglip),
    "robust InfoNCE, batch": functools.partial(_in_batch, loss=robust_loss),
}


def judge(trainer: Trainer, clips: ClipDataset) -> dict[str, float]:
    """Shares of right classes among the ten nearest, across and within the modalities."""
    space = embed(trainer.model, clips, trainer.pipeline)
    found = {"v2a": precision(space.video, space.audio, space.labels)}
    found["a2v"] = precision(space.audio, space.video, space.labels)
    for name, x in (("v2v", space.video), ("a2a", space.audio)):
        near = (x @ x.T).fill_diagonal_(-torch.inf).topk(10).indices
        found[name] = positive_precision(near, space.labels)
    return found


class Comparison:
    """Finished runs, kept in a file after each.

    Args:
        file: The file; its runs are not trained again.
        steps: Steps of a full run.
        search_steps: Steps of a run of the search.
        seeds: Seeds of the full runs.
        settings: Pairs of temperature and learning rate to try.
    """

    def __init__(
        self, file: Path, *, steps: int, search_steps: int, seeds: tuple[int, ...], settings: list[tuple[float, float]]
    ) -> None:
        self.file, self.steps, self.search_steps, self.seeds, self.settings = file, steps, search_steps, seeds, settings
        self.runs: list[dict[str, Any]] = json.loads(file.read_text())["runs"] if file.exists() else []

    def run(self, method: str, temperature: float, rate: float, seed: int, steps: int, judged: str) -> dict[str, Any]:
        """Train and judge, or return the finished run."""
        key = {
            "method": method,
            "temperature": temperature,
            "rate": rate,
            "seed": seed,
            "steps": steps,
            "judged": judged,
        }
        for found in self.runs:
            if key.items() <= found.items():
                return found
        candidate = replace(PRESENT, train=replace(PRESENT.train, steps=steps, learning_rate=rate))
        generator = torch.Generator().manual_seed(seed)
        clips = foley.load("pocket", split="train")
        run = Run(candidate, clips, seed, METHODS[method](len(clips), temperature, generator))
        while run.step():
            pass
        held_out = foley.load(VALIDATION) if judged == "validation" else foley.load("pocket", split="test")
        self.runs.append(key | judge(run.trainer, held_out) | {"core_s": run.core_s})
        print(json.dumps(self.runs[-1]), flush=True)
        with replacing(self.file) as temporary:
            temporary.write_text(json.dumps({"runs": self.runs}, indent=1) + "\n", encoding="utf-8")
        return self.runs[-1]

    def best(self, method: str) -> tuple[float, float]:
        """Temperature and rate with the highest mean of both directions on the validation world."""
        tried = {
            (t, rate): self.run(method, t, rate, SEARCH_SEED, self.search_steps, "validation")
            for t, rate in self.settings
        }
        return max(tried, key=lambda setting: tried[setting]["v2a"] + tried[setting]["a2v"])

    def full(self, method: str) -> list[dict[str, Any]]:
        """The full runs of a method with its best setting."""
        temperature, rate = self.best(method)
        return [self.run(method, temperature, rate, seed, self.steps, "test") for seed in self.seeds]


def table(found: dict[str, list[dict[str, Any]]]) -> str:
    """Mean and spread over the seeds, in Markdown, best first."""
    heads = [f"{words} precision at 10, %" for words in SCORES.values()]
    lines = [f"| loss | temperature | rate | {' | '.join(heads)} | core-seconds |", f"|---|---|---|{'---|' * 5}"]
    for name in sorted(found, key=lambda name: -sum(run["v2a"] for run in found[name])):
        runs, cells = found[name], []
        for key, factor, digits in (*((key, 100, 1) for key in SCORES), ("core_s", 1, 0)):
            mean, spread = mean_and_spread([factor * run[key] for run in runs])
            cells.append(f"{mean:.{digits}f} ± {spread:.{digits}f}" if len(runs) > 1 else f"{mean:.{digits}f}")
        lines.append(f"| {name} | {runs[0]['temperature']:g} | {runs[0]['rate']:g} | {' | '.join(cells)} |")
    return "\n".join(lines)


def differences(found: dict[str, list[dict[str, Any]]]) -> str:
    """AVID's loss minus each other one, paired by seed, with Student's 95 % interval, in Markdown."""
    heads = " | ".join(SCORES.values())
    lines = [f"| {REFERENCE} minus | {heads} |", f"|---|{'---|' * len(SCORES)}"]
    for name in [name for name in found if name != REFERENCE]:
        cells = []
        for key in SCORES:
            pairs = zip(found[REFERENCE], found[name], strict=True)
            mean, half = mean_and_margin([100 * (ours[key] - theirs[key]) for ours, theirs in pairs])
            cells.append(f"{mean:+.1f} [{mean - half:+.1f}, {mean + half:+.1f}]")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def run(quick: bool) -> dict[str, Any]:
    """The whole comparison; with --quick a few steps of each, which only show that it runs."""
    grid = [(t, rate) for t in TEMPERATURES for rate in RATES]
    comparison = Comparison(
        Path(tempfile.mkdtemp()) / "losses.json" if quick else FILE,
        steps=4 if quick else STEPS,
        search_steps=2 if quick else SEARCH_STEPS,
        seeds=(0,) if quick else SEEDS,
        settings=grid[:1] if quick else grid,
    )
    found = {method: comparison.full(method) for method in METHODS}
    report = REPORT.format(steps=STEPS, search_steps=SEARCH_STEPS, table=table(found), differences=differences(found))
    if not quick:
        FILE.with_suffix(".md").write_text(report, encoding="utf-8")
    print(report)
    return {"runs": comparison.runs}

"""Reference runs: the paper's comparisons in miniature, several seeds each, with commands and versions.

    run = reference.load("cma", seed=0)
    run.model(), run.memory, run.snapshots

`run_all` trains and scores missing runs; if interrupted, it resumes after the last finished run.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from avid_lab import foley
from avid_lab.atomic import replacing
from avid_lab.config import Profile, TrainConfig
from avid_lab.datasets import ClipDataset
from avid_lab.evaluation import embed
from avid_lab.objectives import AVID
from avid_lab.reference.report import difference, report
from avid_lab.reference.runs import VARIANTS, Run, Snapshot, Variant, depth, machine, read
from avid_lab.reference.runs import train as train_run
from avid_lab.reference.scores import score_chance, score_run, score_untrained
from avid_lab.shipped import shipped
from avid_lab.training import Trainer

__all__ = [
    "VARIANTS",
    "Run",
    "Snapshot",
    "Variant",
    "adapt",
    "difference",
    "folder",
    "load",
    "losses",
    "report",
    "results",
    "run_all",
]

# Variants whose runs of seed 0 are kept next to the results, in half precision.
KEPT = ("cross", "self", "joint", "long", "avid", "cma")


def folder() -> Path:
    """The folder of the committed runs.

    Raises:
        ValueError: It has no runs.
    """
    place = shipped("data", "reference")
    if not (place / "runs.json").exists():
        raise ValueError(f"no reference runs in {place}. Run `avid-lab reference` to make them.")
    return place


def load(variant: str, seed: int = 0) -> Run:
    """A committed run.

    Args:
        variant: "cross", "self", "joint", "long" (Cross-AVID, trained 50 % longer), or one of the two that continue
            "long" for the same number of steps: "avid" and "cma".
        seed: Seed 0 is committed.

    Raises:
        ValueError: There is no such run.
    """
    run = read(folder() / f"{variant}-{seed}.safetensors")
    scored = [found["scores"] for found in results()["runs"] if (found["variant"], found["seed"]) == (variant, seed)]
    return dataclasses.replace(run, scores=scored[0] if scored else {})


def adapt(run: Run, clips: ClipDataset, config: TrainConfig, *, num_negatives: int = 64) -> Trainer:
    """A trainer that fine-tunes a run's network on other clips, with Cross-AVID.

    The memory starts with the network's embeddings of the clips, because random memories would first make the network
    worse. The run itself does not change.

    Args:
        run: The starting point, trained on windows like those of the clips.
        clips: The new clips.
        config: Steps, batches, and a learning rate below the run's own.
        num_negatives: Negatives per query.

    Raises:
        ValueError: The clips' windows differ from the run's.
    """
    if (clips.video, clips.audio) != (run.config.video, run.config.audio):
        got = f"{run.config.video} and {run.config.audio}; got {clips.video} and {clips.audio}"
        raise ValueError(f"clips must have the windows that the run was trained for, {got}")
    model, pipeline = run.model(), run.pipeline()
    start = embed(model, clips, pipeline)
    generator = torch.Generator().manual_seed(config.seed)
    objective = AVID(len(clips), model.config.dim, num_negatives=num_negatives, generator=generator)
    objective.memory.video.copy_(start.video)
    objective.memory.audio.copy_(start.audio)
    return Trainer(model, objective, clips, config, pipeline=pipeline)


def results() -> dict[str, Any]:
    """Scores of all committed runs, all variants and seeds: see `run_all`."""
    return json.loads((folder() / "runs.json").read_text(encoding="utf-8"))


def losses() -> dict[str, list[dict[str, Any]]]:
    """The committed comparison of losses from nothing: the full runs of each loss.

    A run has "seed", "temperature" and "rate" (chosen on validation clips), and the shares of right classes among the
    ten nearest test clips: "v2a", "a2v", "v2v" and "a2a". ``python -m benchmarks losses`` makes it.
    """
    path = folder() / "losses.json"
    found: dict[str, list[dict[str, Any]]] = {}
    for run in json.loads(path.read_text(encoding="utf-8"))["runs"]:
        if run["judged"] == "test":
            found.setdefault(run["method"], []).append(run)
    return found


def run_all(
    out: str | Path,
    work: str | Path,
    profile: Profile,
    *,
    variants: Sequence[str] = tuple(VARIANTS),
    seeds: Sequence[int] = (0, 1, 2),
    command: str = "avid-lab reference",
    progress: bool = True,
) -> dict[str, Any]:
    """Train and score missing runs, then write ``runs.json``, ``README.md`` and the small files of seed 0.

    Args:
        out: Folder of the results.
        work: Folder of the full runs, one file each; existing runs are not trained again.
        profile: World, model and training settings.
        variants: Names from `VARIANTS`; the variants that they continue are trained as well.
        seeds: Seeds, each for every variant.
        command: The command to record, so that a reader can repeat it.
        progress: Whether to show progress bars.

    Returns:
        A dictionary: "made_with", "chance" and "untrained" (by seed) with scores by name, and "runs", each with
        "variant", "seed", "seconds", "loss" and "scores". Scores are between 0 and 1.

    Raises:
        ValueError: A variant is unknown, or existing results have other settings.
    """
    out, work = Path(out), Path(work)
    for name in variants:
        if name not in VARIANTS:
            raise ValueError(f"variant must be one of {', '.join(VARIANTS)}; got {name!r}")
    made_with = json.loads(json.dumps({"command": command, "profile": dataclasses.asdict(profile), **machine()}))
    found: dict[str, Any] = {"made_with": made_with, "chance": {}, "untrained": {}, "runs": []}
    path = out / "runs.json"
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["made_with"]["profile"] != made_with["profile"]:
            fix = "Choose another folder with --out, or delete it."
            raise ValueError(f"{path}: contains runs with other settings. {fix}")

    train, test = (foley.load(profile.world, split=split, progress=progress) for split in ("train", "test"))
    found["chance"] = _rounded(score_chance(train, test))
    done = {(run["variant"], run["seed"]) for run in found["runs"]}
    # A finished run is trained again only if its file is gone and a missing run continues it.
    wanted = {s: sorted(_with_starts([name for name in variants if (name, s) not in done]), key=depth) for s in seeds}
    for name, seed in [(name, s) for s, names in wanted.items() for name in names]:
        file, start = work / f"{name}-{seed}.safetensors", VARIANTS[name].start
        if not file.exists():
            parent = read(work / f"{start}-{seed}.safetensors") if start else None
            train_run(name, seed, train, test, profile, parent=parent, progress=progress).save(file)
        if (name, seed) in done:
            continue
        run = read(file)
        about = {"variant": name, "seed": seed, "seconds": round(run.seconds, 1)}
        scores = _rounded(score_run(run, train, test, blocks=name in KEPT))
        found["runs"].append(about | {"loss": [round(value, 3) for value in run.loss], "scores": scores})
        if str(seed) not in found["untrained"]:
            found["untrained"][str(seed)] = _rounded(score_untrained(run, train, test))
        if name in KEPT and seed == 0:
            run.save(out / f"{name}-{seed}.safetensors", half=True)
        _write(path, json.dumps(found, indent=1))
        _write(out / "README.md", report(found))
    return found


def _with_starts(variants: Sequence[str]) -> list[str]:
    """The variants and all the variants that they continue, each once."""
    needed: dict[str, None] = {}
    for name in variants:
        chain: str | None = name
        while chain is not None:
            needed[chain] = None
            chain = VARIANTS[chain].start
    return list(needed)


def _rounded(numbers: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 5) for name, value in numbers.items()}


def _write(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")

"""Models: the demo, training, mining, evaluation, and the course's reference runs."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avid_lab.atomic import replacing
from avid_lab.commands import command, data
from avid_lab.commands import train as training
from avid_lab.config import PRESETS, ModelConfig, Profile, course_profile, profile

if TYPE_CHECKING:
    from avid_lab.datasets import ClipDataset
    from avid_lab.encoders import AudioVisualModel
    from avid_lab.evaluation import Subject
    from avid_lab.reference import Run
    from avid_lab.transforms import InputPipeline

PROTOCOLS = {  # the same as `evaluation.PROTOCOLS`, which would import torch
    "retrieval": "* R@1, 5, 10, median rank and mAP in four directions, by instance and by class",
    "knn": "* accuracy of the majority among the 20 nearest training clips",
    "positives": "* precision of mined positives by agreement, false negatives",
    "similarity": "* same-class against different-class pairs: AUC, d', overlap, calibration",
    "collapse": "* alignment, uniformity, effective rank",
    "probe": "* linear probe of each frozen block",
    "svm": "  one-vs-rest linear support vector machines of each frozen block",
    "labels": "  linear probe with 1, 5, 10 and 100 % of the labels",
    "finetune": "  full fine-tuning, 10 clips averaged, next to training from scratch (slow)",
}


def add(commands: Any) -> None:
    """``demo``, ``train``, ``mine``, ``evaluate`` and ``reference``."""
    text = "run the course's story without a notebook: train, mine, evaluate, report"
    demo = command(commands, "demo", _demo, text, uses="avid_lab.demo")
    data.add_options(demo)
    _add_training(demo)
    demo.add_argument("--fresh", action="store_true", help="train again, even if a finished run exists")
    demo.add_argument("--out", type=Path, default=Path("runs/demo"), help="folder of the report (default: %(default)s)")

    text = "train AVID, or CMA from a trained AVID, and save a checkpoint"
    train = command(commands, "train", _train, text, uses="avid_lab.training")
    data.add_options(train)
    training.add_arguments(train)

    text = "find each clip's positives with a trained model and write them as CSV"
    mine = command(commands, "mine", _mine, text, uses="avid_lab.evaluation")
    _add_model(mine)
    data.add_options(mine)
    mine.add_argument("-k", type=int, default=32, help="positives per clip (default: %(default)s)")
    text = "when two clips agree: consensus, union, video, audio, ... (default: %(default)s)"
    mine.add_argument("--agreement", default="consensus", metavar="NAME", help=text)
    text = "CSV file to write (default: %(default)s)"
    mine.add_argument("--out", type=Path, default=Path("runs/positives.csv"), help=text)

    text = "evaluate a trained model, with intervals, next to random initialisation and chance"
    evaluate = command(commands, "evaluate", _evaluate, text, uses="avid_lab.evaluation")
    _add_model(evaluate)
    data.add_options(evaluate)
    _add_protocols(evaluate)

    text = "train the course's reference runs, the paper's comparisons in miniature; resumes if interrupted"
    reference = command(commands, "reference", _reference, text, uses="avid_lab.reference")
    reference.add_argument("--variants", nargs="+", metavar="NAME", help="variants to train (default: all)")
    reference.add_argument("--list", action="store_true", help="print the variants and exit")
    reference.add_argument(
        "--seeds", type=int, nargs="+", default=[0, 1, 2], help="one run of each variant per seed (default: 0 1 2)"
    )
    text = "folder of the results (default: %(default)s)"
    reference.add_argument("--out", type=Path, default=Path("data/reference"), help=text)
    text = "folder of the runs' files, 8 MB each (default: %(default)s)"
    reference.add_argument("--work", type=Path, default=Path("runs/reference"), help=text)


def _demo(arguments: argparse.Namespace) -> int:
    from avid_lab import demo

    model = PRESETS[profile().model]
    train, test = (clips.readable(progress=True) for clips in data.chosen(arguments, model))
    start = None
    if arguments.data is not None and len(train) < demo.ADAPT_BELOW:
        start = _start(model)
    chosen = _profile(arguments, train)
    if start is not None:
        steps = demo.ADAPT_STEPS if arguments.steps is None else chosen.train.steps
        size = min(32, chosen.train.batch_size)
        rate = demo.ADAPT_RATE
        chosen = replace(chosen, train=replace(chosen.train, steps=steps, batch_size=size, learning_rate=rate))
    print(demo.run(train, test, chosen, arguments.out, start=start, fresh=arguments.fresh))
    return 0


def _start(model: ModelConfig) -> Run | None:
    """The committed network to fine-tune when there are few clips, if it exists and fits."""
    from avid_lab import reference

    try:
        run = reference.load("cma")
    except ValueError as error:
        print(f"Training from scratch: {error}")
        return None
    if (run.config.video, run.config.audio) != (model.video, model.audio):
        print("Training from scratch: the committed network takes other windows than this profile's.")
        return None
    return run


def _train(arguments: argparse.Namespace) -> int:
    summary = training.run(arguments, lambda model: data.chosen(arguments, model))
    if summary:  # only in the first of several processes
        print(summary)
    return 0


def _mine(arguments: argparse.Namespace) -> int:
    from avid_lab import checkpoints, evaluation
    from avid_lab.mining import agreement_named, mine_positives

    agreement = agreement_named(arguments.agreement)
    source = _source(arguments)
    model, pipeline = checkpoints.load_weights(source)
    clips = data.chosen(arguments, model.config)[0].readable(progress=True)
    if not 1 <= arguments.k < len(clips):  # before anything long is computed
        raise ValueError(f"-k must be between 1 and {len(clips) - 1}, one less than the clips; got {arguments.k}")
    space = evaluation.embed(model, clips, _pipeline(source, model, pipeline, clips), progress=True)
    positives = mine_positives(space.video, space.audio, arguments.k, agreement, progress=True)
    names = [record.id for record in clips.manifest.records]
    with replacing(arguments.out) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["clip", "rank", "positive", "agreement"])
        for name, index, score in zip(names, positives.index, positives.score, strict=True):  # millions of rows
            best = enumerate(zip(index.tolist(), score.tolist(), strict=True), 1)
            writer.writerows([name, rank, names[i], f"{s:.4f}"] for rank, (i, s) in best)
    print(f"{arguments.k} positives of {len(clips)} clips: {arguments.out}")
    return 0


def _evaluate(arguments: argparse.Namespace) -> int:
    from avid_lab import evaluation

    usual = evaluation.QUICK if arguments.streams == "both" else ("probe", "svm")
    what = list(PROTOCOLS) if "all" in (arguments.what or ()) else arguments.what or usual
    source = _source(arguments)
    ours = _subject(arguments, source)
    other = None if arguments.compare is None else _subject(arguments, arguments.compare)
    second = None if other is None else evaluation.evaluate(other, what, seed=arguments.seed)
    clips = f"{len(ours.train):,} training and {len(ours.test):,} test clips"
    print(f"{source}: {clips}. Intervals: bootstrap over clips, not over training seeds.", flush=True)
    kept: dict[str, Any] = {"checkpoint": str(source), "clips": clips, "seed": arguments.seed}
    kept |= {"windows": arguments.windows, "tables": {}}
    if other is not None:
        kept["compare"] = {"checkpoint": str(arguments.compare), "tables": {}, "differences": {}}
    for name, table in evaluation.evaluate(ours, what, seed=arguments.seed):
        compared = None if second is None else next(second)[1]
        print(f"\n{table.text(compared)}", flush=True)
        kept["tables"][name] = table.plain()
        if compared is not None:
            kept["compare"]["tables"][name] = compared.plain()
            kept["compare"]["differences"][name] = (compared - table).plain()
    if arguments.json is not None:
        with replacing(arguments.json) as temporary:
            temporary.write_text(json.dumps(kept, indent=1, ensure_ascii=False), encoding="utf-8")
        print(f"\nAll numbers: {arguments.json}")
    return 0


def _reference(arguments: argparse.Namespace) -> int:
    from avid_lab.reference import VARIANTS, report, run_all

    if arguments.list:
        print("\n".join(f"{name:<14}{how.about}" for name, how in VARIANTS.items()))
        return 0
    variants = tuple(arguments.variants or VARIANTS)
    print(report(run_all(arguments.out, arguments.work, course_profile(), variants=variants, seeds=arguments.seeds)))
    return 0


def _add_training(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--steps", type=int, help="training steps (default: the profile's)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the run (default: %(default)s)")


def _add_protocols(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    rows = [f"  {name:<12}{text}" for name, text in PROTOCOLS.items()]
    parser.epilog = "\n".join(["protocols, those marked * by default:", *rows])
    text = "protocols from the list below, or all"
    parser.add_argument("--what", nargs="+", metavar="PROTOCOL", choices=["all", *PROTOCOLS], help=text)
    text = "a second checkpoint, or the name of released weights; shows paired differences"
    parser.add_argument("--compare", metavar="OTHER", help=text)
    text = "use pictures or sounds only: video for UCF-101 and HMDB-51, audio for ESC-50 (default: %(default)s)"
    parser.add_argument("--streams", choices=("both", "video", "audio"), default="both", help=text)
    parser.add_argument("--windows", type=int, default=2, help="windows averaged per clip (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=16, help="epochs of fine-tuning (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the untrained network (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="cpu, cuda, mps or auto (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="OUT", help="also write all numbers to this file")


def _profile(arguments: argparse.Namespace, clips: ClipDataset) -> Profile:
    """The machine's profile with the command line's changes; batches are no larger than the data."""
    chosen = profile()
    steps = chosen.train.steps if arguments.steps is None else arguments.steps
    size = min(chosen.train.batch_size, len(clips))
    return replace(chosen, train=replace(chosen.train, steps=steps, batch_size=size, seed=arguments.seed))


def _add_model(parser: argparse.ArgumentParser) -> None:
    text = "checkpoint of `avid-lab train` or `avid-lab demo`"
    parser.add_argument("checkpoint", nargs="?", type=Path, metavar="CHECKPOINT", help=text)
    text = (
        "instead of a checkpoint: released weights by name, such as avid-cma-audioset (`avid-lab fetch` lists them), "
    )
    parser.add_argument("--weights", metavar="NAME|PATH", help=f"{text}or their file")


def _source(arguments: argparse.Namespace) -> str | Path:
    """What `checkpoints.load_weights` takes, from the command line."""
    if (arguments.checkpoint is None) == (arguments.weights is None):
        raise ValueError("give either a CHECKPOINT or --weights NAME|PATH, such as --weights avid-cma-audioset")
    return arguments.checkpoint or arguments.weights


def _pipeline(
    source: str | Path, model: AudioVisualModel, pipeline: InputPipeline | None, clips: ClipDataset
) -> InputPipeline:
    """The model's pipeline; one fitted to these clips where the authors' statistics are not beside their weights."""
    if pipeline is not None:
        return pipeline
    from avid_lab.transforms import InputPipeline

    made = InputPipeline(model.config.video, model.config.audio)
    if clips.streams == "video":
        return made
    about = "has no spectrogram statistics beside it, so those of your training clips take their place"
    print(f"{source} {about}. `avid-lab fetch` gets the authors'.", file=sys.stderr)
    return made.fit(clips)


def _subject(arguments: argparse.Namespace, source: str | Path) -> Subject:
    from avid_lab import checkpoints
    from avid_lab.evaluation import FineTuneConfig, Subject
    from avid_lab.training import resolve_device

    device = resolve_device(arguments.device)
    model, pipeline = checkpoints.load_weights(source)
    train, test = (clips.readable(progress=True) for clips in data.chosen(arguments, model.config, arguments.streams))
    pipeline = _pipeline(source, model, pipeline, train)
    schedule = FineTuneConfig(epochs=arguments.epochs)
    return Subject(
        model.to(device), pipeline.to(device), train, test, arguments.windows, progress=True, fine_tuning=schedule
    )

"""The command ``avid-lab``: each subcommand is a thin function over the library."""

from __future__ import annotations

import argparse
import csv
import json
import os
import socket
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avid_lab import train_command
from avid_lab.atomic import replacing
from avid_lab.config import PRESETS, ModelConfig, Profile, profile
from avid_lab.doctor import PASSIVE_OPENMP

if TYPE_CHECKING:
    from avid_lab.datasets import ClipDataset, Manifest
    from avid_lab.evaluation import Subject

USER_ERROR, INTERRUPTED = 2, 130

_PROTOCOLS = {  # those of `evaluation.PROTOCOLS`, which cannot be asked here: it brings torch
    "retrieval": "* R@1, 5, 10, median rank and mAP in four directions, by instance and by class",
    "knn": "* accuracy of the majority among the 20 nearest training clips",
    "positives": "* precision of mined positives by agreement, false negatives",
    "similarity": "* same-class against different-class pairs: AUC, d', overlap, calibration",
    "collapse": "* alignment, uniformity, effective rank",
    "probe": "* linear probe of each frozen block",
    "svm": "  one-vs-rest linear support vector machines of each frozen block",
    "labels": "  linear probe with 1, 5, 10 and 100 % of the labels",
    "finetune": "  full fine-tuning, 10 clips averaged, beside training from scratch (slow)",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``avid-lab`` with these arguments (default: the command line's) and return its exit code."""
    for name, value in PASSIVE_OPENMP.items():  # before anything imports torch
        os.environ.setdefault(name, value)
    parser = _parser()
    arguments, rest = parser.parse_known_args(argv)
    if rest and arguments.run is not _lab:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    arguments.rest = rest
    try:
        return arguments.run(arguments)
    except KeyboardInterrupt:
        print("\navid-lab: stopped. The same command goes on from what is finished.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError) as error:
        if not _is_ours(error):
            raise
        print(f"avid-lab: error: {error}", file=sys.stderr)
        return USER_ERROR


def _is_ours(error: Exception) -> bool:
    """Whether we, or the system, raised this error for the user to read; any other is a bug and shows its traceback."""
    if isinstance(error, OSError):
        return True
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return frame.f_globals.get("__name__", "").startswith("avid_lab")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="avid-lab", description="See, hear and train audio-visual self-supervised learning.", allow_abbrev=False
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], int], text: str, into: Any = commands) -> Any:
        made = into.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".", allow_abbrev=False)
        made.set_defaults(run=run)
        return made

    lab = command("lab", _lab, "open the course in JupyterLab; further options go to JupyterLab")
    lab.add_argument(
        "folder",
        nargs="?",
        type=Path,
        default=Path("my_course"),
        help="your copy of the notebooks (default: %(default)s)",
    )
    lab.add_argument(
        "--update", action="store_true", help="bring new versions; what you edited stays, they go beside it"
    )
    lab.add_argument("--port", type=int, help="use this port, or fail if it is taken (default: the first free one)")
    lab.add_argument("--no-browser", action="store_true", help="print the address, do not open a browser")

    demo = command("demo", _demo, "the course's story without a notebook: train, mine, evaluate, report")
    _add_clips(demo)
    _add_training(demo)
    demo.add_argument("--out", type=Path, default=Path("runs/demo"), help="folder of the report (default: %(default)s)")

    train = command("train", _train, "train AVID, or CMA from a trained AVID, and save a checkpoint")
    _add_clips(train)
    train_command.add_arguments(train)

    mine = command("mine", _mine, "find each clip's positives with a trained model, as a CSV file")
    mine.add_argument("checkpoint", type=Path, help="what `avid-lab train` or `avid-lab demo` saved")
    _add_clips(mine)
    mine.add_argument("-k", type=int, default=32, help="positives of each clip (default: %(default)s)")
    mine.add_argument(
        "--agreement", default="consensus", help="consensus, union, video or audio (default: %(default)s)"
    )
    mine.add_argument("--out", type=Path, default=Path("runs/positives.csv"), help="default: %(default)s")

    text = "ask what a trained model knows, each number with its interval, beside random initialisation and chance"
    evaluate = command("evaluate", _evaluate, text)
    evaluate.add_argument("checkpoint", type=Path, help="what `avid-lab train` or `avid-lab demo` saved")
    _add_clips(evaluate)
    _add_protocols(evaluate)

    text = "the course's reference runs: the paper's comparisons in miniature, several seeds; goes on where it stopped"
    reference = command("reference", _reference, text)
    reference.add_argument("--variants", nargs="+", metavar="NAME", help="some of them (default: all)")
    reference.add_argument("--list", action="store_true", help="print the variants and stop")
    reference.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="default: 0 1 2")
    reference.add_argument("--out", type=Path, default=Path("data/reference"), help="results (default: %(default)s)")
    reference.add_argument(
        "--work", type=Path, default=Path("runs/reference"), help="every run's file, 8 MB each (default: %(default)s)"
    )

    doctor = command("doctor", _doctor, "check this machine and say what mends it")
    doctor.add_argument("--json", action="store_true", help="print the checks as JSON")
    doctor.add_argument("--bench", action="store_true", help="rather measure its speed, in about half a minute")

    data = commands.add_parser("data", help="the clips: build rendered ones, index and prepare videos of your own")
    actions = data.add_subparsers(title="commands", required=True, metavar="COMMAND")
    build = command("build", _data_build, "render a world's clips and decode them; goes on where it stopped", actions)
    build.add_argument("world", nargs="?", default="pocket", help="smoke, pocket or full (default: %(default)s)")
    build.add_argument("--workers", type=int, help="processes (default: one a core)")
    info = command("info", _data_info, "say what is there", actions)
    info.add_argument("world", nargs="?", default="pocket", help="smoke, pocket or full (default: %(default)s)")

    text = "list a folder's usable videos in a manifest, and say why others are not"
    index = command("index", _data_index, text, actions)
    index.add_argument("folder", type=Path)
    layouts = "folder, kinetics400, kinetics-sounds, audioset, vggsound, ucf101, hmdb51 or esc50"
    index.add_argument("--layout", default="folder", help=f"{layouts} (default: %(default)s)")
    index.add_argument("--fold", type=int, default=1, help="split of ucf101, hmdb51, esc50 (default: %(default)s)")
    index.add_argument("--min-seconds", type=float, default=0.5, help="shortest usable clip (default: %(default)s)")
    index.add_argument("--out", type=Path, help="default: manifest.csv in the folder")
    index.add_argument("--workers", type=int, help="processes (default: one a core)")
    prepare = command("prepare", _data_prepare, "make small training copies; goes on where it stopped", actions)
    prepare.add_argument("manifest", type=Path, help="what `avid-lab data index` wrote")
    prepare.add_argument("out", type=Path, help="folder of the copies")
    prepare.add_argument("--size", type=int, default=258, help="side in pixels (default: %(default)s, for any preset)")
    prepare.add_argument("--fps", type=float, default=16.0, help="frames a second (default: %(default)s)")
    prepare.add_argument("--rate", type=int, default=24_000, help="samples a second (default: %(default)s)")
    prepare.add_argument("--max-seconds", type=float, default=10.0, help="kept of each clip (default: %(default)s)")
    prepare.add_argument("--workers", type=int, help="processes (default: one a core)")

    publish = command("publish", _publish, "build the notebooks from their sources")
    publish.add_argument("names", nargs="*", metavar="NAME", help='which ones, such as "03" (default: all)')
    publish.add_argument("--source", type=Path, default=Path("notebooks/source"), help="default: %(default)s")
    publish.add_argument("--out", type=Path, default=Path("notebooks"), help="default: %(default)s")
    publish.add_argument("--no-execute", action="store_true", help="leave the outputs out")
    publish.add_argument("--keep-outputs", action="store_true", help="only prose changed: run nothing")
    publish.add_argument("--check", action="store_true", help="fail where a notebook drifted from its source")
    publish.add_argument("--timeout", type=int, default=1800, metavar="S", help="for one cell (default: %(default)s)")
    publish.add_argument("--site", type=Path, default=Path("runs/site"), help="the web pages (default: %(default)s)")

    reset = command("reset", _reset, "put a fresh copy of a notebook in your folder; yours is kept under another name")
    reset.add_argument("name", help='which one, such as "05"')
    reset.add_argument("--folder", type=Path, default=Path("my_course"), help="your copy (default: %(default)s)")

    edition = command("edition", _edition, "write the notebooks for students, or for instructors with solutions")
    edition.add_argument(
        "kind", choices=["student", "instructor"], help="instructor: solutions, notes, nbgrader's marks"
    )
    edition.add_argument("out", type=Path, metavar="DIR", help="the folder to write")
    edition.add_argument("names", nargs="*", metavar="NAME", help='which ones, such as "03" (default: all)')
    edition.add_argument("--source", type=Path, default=Path("notebooks/source"), help="default: %(default)s")
    return parser


def _lab(arguments: argparse.Namespace) -> int:
    from avid_lab.course import working

    if arguments.port is not None:
        _require_free(arguments.port)
    folder = arguments.folder.resolve()
    if not folder.parent.is_dir():
        raise ValueError(f"{folder}: no such folder. Name the folder that holds the notebooks, or will hold your copy.")
    if not working.is_own(folder):
        print("\n".join(working.copy(_notebooks(), folder, update=arguments.update)))
    first = min((path.name for path in folder.glob("*.ipynb")), default=None)
    options = [f"--ServerApp.root_dir={folder}"]
    if first:
        options.append(f"--LabApp.default_url=/lab/tree/{first}")
    if arguments.port is not None:
        options += [f"--ServerApp.port={arguments.port}", "--ServerApp.port_retries=0"]
    if arguments.no_browser:
        options.append("--no-browser")
    if hasattr(os, "geteuid") and os.geteuid() == 0:  # in a container; the server listens to this machine only
        options.append("--allow-root")
    from jupyterlab.labapp import LabApp

    LabApp.launch_instance([*options, *arguments.rest])
    return 0


def _notebooks() -> Path:
    """The course's notebooks: of the folder that we are in, or of the checkout that this package lies in."""
    places = (Path("notebooks"), Path(__file__).parents[1] / "notebooks")
    for folder in places:
        if any(folder.glob("*.ipynb")):
            return folder
    raise ValueError("no notebooks found. Run it in the project's folder, or name a folder: avid-lab lab FOLDER")


def _require_free(port: int) -> None:
    if not 0 < port < 65536:
        raise ValueError(f"--port must be between 1 and 65535; got {port}")
    with socket.socket() as probe:
        if os.name == "posix":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT is free
        try:
            probe.bind(("localhost", port))
        except OSError as error:
            fix = "Stop the program that uses it, choose another, or leave --port out and a free one is found."
            raise ValueError(f"port {port} is taken ({error.strerror}). {fix}") from error


def _add_clips(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--world", help="which rendered clips: smoke, pocket or full (default: the profile's)")
    parser.add_argument(
        "--data", type=Path, help="videos of your own instead: a folder with one for each class, or a manifest's file"
    )


def _add_training(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--steps", type=int, help="training steps (default: the profile's)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the run (default: %(default)s)")


def _add_protocols(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "\n".join(
        ["protocols, those marked * by default:", *(f"  {name:<12}{text}" for name, text in _PROTOCOLS.items())]
    )
    parser.add_argument(
        "--what", nargs="+", metavar="PROTOCOL", choices=["all", *_PROTOCOLS], help="some of those below, or all"
    )
    parser.add_argument("--compare", type=Path, metavar="OTHER", help="a second checkpoint, with paired differences")
    parser.add_argument("--windows", type=int, default=2, help="windows averaged per clip (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=16, help="of fine-tuning (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the untrained network (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write all numbers to this file as well")


def _profile(arguments: argparse.Namespace, clips: ClipDataset) -> Profile:
    """The machine's profile with what the command line changes, its batches no larger than the data."""
    chosen = profile()
    steps = chosen.train.steps if arguments.steps is None else arguments.steps
    size = min(chosen.train.batch_size, len(clips))
    return replace(chosen, train=replace(chosen.train, steps=steps, batch_size=size, seed=arguments.seed))


def _clips(arguments: argparse.Namespace, model: ModelConfig) -> tuple[ClipDataset, ClipDataset]:
    """Training and test clips, of a rendered world or of the user's own folder, as the model wants them."""
    from avid_lab import foley
    from avid_lab.datasets import ClipDataset, Manifest

    if arguments.data is None:
        clips = foley.load(arguments.world or profile().world, video=model.video, audio=model.audio)
    else:
        manifest = Manifest.read(arguments.data) if arguments.data.is_file() else Manifest.from_folder(arguments.data)
        _check_splits(manifest, arguments.data)
        clips = ClipDataset(manifest, video=model.video, audio=model.audio, on_error="skip")
    held_out = "test" if "test" in clips.manifest.column("split") else "val"  # Kinetics is evaluated on "val"
    return clips.select(split="train"), clips.select(split=held_out)


def _check_splits(manifest: Manifest, source: Path) -> None:
    """Before anything is decoded: there are clips to train on, and others to test on."""
    splits = Counter(manifest.column("split"))
    if not splits["train"] or not (splits["test"] or splits["val"]):
        classes = ", ".join(f"{name} {count}" for name, count in Counter(manifest.column("label")).most_common(10))
        raise ValueError(
            f'{source} needs clips to train on ("train") and others to test on ("test" or "val"); it has '
            + (", ".join(f"{count} {split!r}" for split, count in splits.items()) or "none")
            + f" ({classes}). In a folder of videos, one in five of a class is held out: give at least 3 of one class."
        )


def _demo(arguments: argparse.Namespace) -> int:
    from avid_lab import demo

    train, test = _clips(arguments, PRESETS[profile().model])
    print(demo.run(train, test, _profile(arguments, train), arguments.out))
    return 0


def _train(arguments: argparse.Namespace) -> int:
    told = train_command.run(arguments, lambda model: _clips(arguments, model))
    if told:  # of several processes, the first speaks
        print(told)
    return 0


def _mine(arguments: argparse.Namespace) -> int:
    from avid_lab import checkpoints, evaluation
    from avid_lab.mining import mine_positives

    model, pipeline = checkpoints.load_model(arguments.checkpoint)
    clips, _ = _clips(arguments, model.config)
    space = evaluation.embed(model, clips, pipeline, progress=True)
    positives = mine_positives(space.video, space.audio, arguments.k, arguments.agreement)
    names = [record.id for record in clips.manifest.records]
    with replacing(arguments.out) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["clip", "rank", "positive", "agreement"])
        for name, index, score in zip(names, positives.index.tolist(), positives.score.tolist(), strict=True):
            writer.writerows(
                [name, rank, names[i], f"{s:.4f}"] for rank, (i, s) in enumerate(zip(index, score, strict=True), 1)
            )
    print(f"{arguments.k} positives of {len(clips)} clips: {arguments.out}")
    return 0


def _evaluate(arguments: argparse.Namespace) -> int:
    from avid_lab import evaluation

    what = list(_PROTOCOLS) if "all" in (arguments.what or ()) else arguments.what or evaluation.QUICK
    ours = _subject(arguments, arguments.checkpoint)
    other = None if arguments.compare is None else _subject(arguments, arguments.compare)
    second = None if other is None else evaluation.evaluate(other, what, seed=arguments.seed)
    clips = f"{len(ours.train):,} training and {len(ours.test):,} test clips"
    print(f"{arguments.checkpoint}: {clips}. Intervals: bootstrap over clips, not over training seeds.", flush=True)
    kept: dict[str, Any] = {"checkpoint": str(arguments.checkpoint), "clips": clips, "seed": arguments.seed}
    kept |= {"windows": arguments.windows, "tables": {}}
    if other is not None:
        kept["compare"] = {"checkpoint": str(arguments.compare), "tables": {}, "differences": {}}
    for name, table in evaluation.evaluate(ours, what, seed=arguments.seed):
        beside = None if second is None else next(second)[1]
        print(f"\n{table.text(beside)}", flush=True)
        kept["tables"][name] = table.plain()
        if beside is not None:
            kept["compare"]["tables"][name] = beside.plain()
            kept["compare"]["differences"][name] = (beside - table).plain()
    if arguments.json is not None:
        with replacing(arguments.json) as temporary:
            temporary.write_text(json.dumps(kept, indent=1, ensure_ascii=False), encoding="utf-8")
        print(f"\nAll numbers: {arguments.json}")
    return 0


def _subject(arguments: argparse.Namespace, checkpoint: Path) -> Subject:
    from avid_lab import checkpoints
    from avid_lab.evaluation import FineTuneConfig, Subject
    from avid_lab.training import resolve_device

    model, pipeline = checkpoints.load_model(checkpoint)
    device = resolve_device(arguments.device)
    train, test = _clips(arguments, model.config)
    schedule = FineTuneConfig(epochs=arguments.epochs)
    return Subject(
        model.to(device), pipeline.to(device), train, test, arguments.windows, progress=True, fine_tuning=schedule
    )


def _reference(arguments: argparse.Namespace) -> int:
    from avid_lab.reference import VARIANTS, report, run_all

    if arguments.list:
        print("\n".join(f"{name:<14}{how.about}" for name, how in VARIANTS.items()))
        return 0
    variants = tuple(arguments.variants or VARIANTS)
    print(report(run_all(arguments.out, arguments.work, profile(), variants=variants, seeds=arguments.seeds)))
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    from dataclasses import asdict

    if arguments.bench:
        from avid_lab import doctor_bench

        measures = doctor_bench.measure()
        rows = [asdict(measure) for measure in measures]
        print(json.dumps(rows, indent=2) if arguments.json else doctor_bench.table(measures))
        return 0
    from avid_lab import doctor

    checks = doctor.examine()
    failed = sum(check.status == "fail" for check in checks)
    if arguments.json:
        print(json.dumps([asdict(check) for check in checks], indent=2))
    else:
        print(doctor.table(checks))
        print("\nReady." if not failed else f"\n{failed} of {len(checks)} checks failed: mend them and run it again.")
    return 1 if failed else 0


def _data_build(arguments: argparse.Namespace) -> int:
    from avid_lab import foley

    clips = foley.load(arguments.world, workers=arguments.workers)  # renders, then decodes
    print(f"{arguments.world}: {len(clips)} clips of {len(clips.classes)} classes in {clips.manifest.root}")
    return 0


def _data_info(arguments: argparse.Namespace) -> int:
    from avid_lab import foley

    folder = foley.folder_of(arguments.world)
    if not (folder / "manifest.csv").exists():
        print(f"{arguments.world}: not rendered yet. Run `avid-lab data build {arguments.world}`.")
        return 1
    from avid_lab.datasets import Manifest

    manifest = Manifest.read(folder / "manifest.csv")
    size = sum(path.stat().st_size for path in folder.rglob("*.mp4"))
    print(f"{arguments.world}: {len(manifest)} clips, {size / 1e6:.0f} MB in {folder}")
    for split in ("train", "test"):
        chosen = manifest.select(split=split)
        counts = Counter(record.label for record in chosen.records)
        print(f"\n{split}, {len(chosen)} clips: " + ", ".join(f"{name} {counts[name]}" for name in manifest.classes))
    return 0


def _data_index(arguments: argparse.Namespace) -> int:
    from avid_lab.datasets.folder import index_folder

    out = arguments.out or arguments.folder / "manifest.csv"
    manifest = index_folder(
        arguments.folder,
        layout=arguments.layout,
        fold=arguments.fold,
        min_duration_s=arguments.min_seconds,
        workers=arguments.workers,
        out=out,
    )
    print(f"{len(manifest)} clips of {len(manifest.classes)} classes: {out}")
    return 0


def _data_prepare(arguments: argparse.Namespace) -> int:
    from avid_lab.datasets import Manifest
    from avid_lab.datasets.prepare import prepare

    copies = prepare(
        Manifest.read(arguments.manifest),
        arguments.out,
        size=arguments.size,
        fps=arguments.fps,
        rate=arguments.rate,
        max_duration_s=arguments.max_seconds,
        workers=arguments.workers,
    )
    size = sum(copies.path(i).stat().st_size for i in range(len(copies)))
    print(f"{len(copies)} copies, {size / 1e6:.0f} MB: {arguments.out / 'manifest.csv'}")
    return 0


def _publish(arguments: argparse.Namespace) -> int:
    from avid_lab.course import publish

    chosen = publish.sources(arguments.source, arguments.names)
    if arguments.check:
        pairs = [(source, arguments.out / f"{source.stem}.ipynb") for source in chosen]
        troubles = [trouble for source, notebook in pairs for trouble in publish.drift(source, notebook)]
        print("\n".join(troubles) or f"{len(chosen)} notebooks fit their sources")
        return 1 if troubles else 0
    for source in chosen:
        path = publish.build(
            source,
            arguments.out,
            execute=not arguments.no_execute,
            keep_outputs=arguments.keep_outputs,
            timeout_s=arguments.timeout,
        )
        print(f"{path}  {path.stat().st_size / 1e6:.2f} MB")
    if not arguments.no_execute:
        from avid_lab.course.site import build_site

        print(build_site(sorted(arguments.out.glob("[0-9][0-9]_*.ipynb")), arguments.site)[0])
    return 0


def _reset(arguments: argparse.Namespace) -> int:
    from avid_lab.course import working

    print(working.reset(_notebooks(), arguments.folder, arguments.name))
    return 0


def _edition(arguments: argparse.Namespace) -> int:
    from avid_lab.course import editions

    write = editions.student if arguments.kind == "student" else editions.instructor
    for path in write(arguments.source, arguments.out, tuple(arguments.names)):
        print(path)
    return 0

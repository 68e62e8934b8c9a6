"""``avid-lab data``: build, list and prepare clips. Also the options that choose a command's clips."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avid_lab.archives import archive_of, is_url
from avid_lab.commands import command
from avid_lab.config import ModelConfig, profile

if TYPE_CHECKING:
    from avid_lab.datasets import ClipDataset, Manifest
    from avid_lab.datasets.manifest import Streams


def add(commands: Any) -> None:
    """``data build``, ``info``, ``index`` and ``prepare``."""
    text = "build the rendered clips; index and prepare your own videos"
    data = commands.add_parser("data", help=text, description=text[0].upper() + text[1:] + ".", allow_abbrev=False)
    actions = data.add_subparsers(title="commands", required=True, metavar="COMMAND")
    build = command(
        actions,
        "build",
        _build,
        "render a world's clips and decode them; resumes if interrupted",
        uses="avid_lab.foley",
    )
    build.add_argument("world", nargs="?", default="pocket", help="smoke, pocket or full (default: %(default)s)")
    build.add_argument("--workers", type=int, help="processes (default: one per core)")
    info = command(actions, "info", _info, "show the number, size and classes of a world's clips")
    info.add_argument("world", nargs="?", default="pocket", help="smoke, pocket or full (default: %(default)s)")

    text = "list a folder's usable videos in a manifest, and report why the others are left out"
    index = command(actions, "index", _index, text)
    index.add_argument("folder", type=Path, help="folder of the videos")
    layouts = "folder, or a public set such as kinetics400 or audioset; an unknown name lists them all"
    index.add_argument("--layout", default="folder", help=f"{layouts} (default: %(default)s)")
    index.add_argument(
        "--fold", type=int, default=1, help="official fold of ucf101, hmdb51 or esc50 (default: %(default)s)"
    )
    index.add_argument("--min-seconds", type=float, default=0.5, help="shortest usable clip (default: %(default)s)")
    strict = "also leave out the parts of each video that are still or silent"
    index.add_argument("--strict", action="store_true", help=strict)
    index.add_argument("--out", type=Path, help="manifest to write (default: manifest.csv in the folder)")
    index.add_argument("--workers", type=int, help="processes (default: one per core)")
    prepare = command(
        actions,
        "prepare",
        _prepare,
        "make small training copies; resumes if interrupted",
        uses="avid_lab.datasets.prepare",
    )
    prepare.add_argument("manifest", type=Path, help="manifest written by `avid-lab data index`")
    prepare.add_argument("out", type=Path, help="folder of the copies")
    prepare.add_argument(
        "--size", type=int, default=256, help="side in pixels (default: %(default)s, enough for every preset)"
    )
    prepare.add_argument("--fps", type=float, default=16.0, help="frames per second (default: %(default)s)")
    prepare.add_argument("--rate", type=int, default=24_000, help="audio samples per second (default: %(default)s)")
    prepare.add_argument(
        "--max-seconds", type=float, default=10.0, help="seconds kept of each clip (default: %(default)s)"
    )
    text = "pack the copies into shards (WebDataset's format), for network disks and object stores: of N clips, or of "
    text += "about this size, such as 500MB"
    prepare.add_argument("--shards", type=_count_or_size, metavar="N|SIZE", help=text)
    prepare.add_argument("--workers", type=int, help="processes (default: one per core)")


def _build(arguments: argparse.Namespace) -> int:
    from avid_lab import foley

    clips = foley.load(arguments.world, workers=arguments.workers)  # renders, then decodes
    folder = clips.manifest.root
    print(f"{arguments.world}: {len(clips)} clips of {len(clips.classes)} classes in {folder}")
    older = [path for path in folder.parent.glob(f"{arguments.world}-*") if path.is_dir() and path != folder]
    if older:
        print(f"Rendered by other versions; you may delete them: {', '.join(map(str, sorted(older)))}")
    return 0


def _info(arguments: argparse.Namespace) -> int:
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


def _index(arguments: argparse.Namespace) -> int:
    from avid_lab.datasets import index_folder

    out = arguments.out or arguments.folder / "manifest.csv"
    manifest = index_folder(
        arguments.folder,
        layout=arguments.layout,
        fold=arguments.fold,
        min_duration_s=arguments.min_seconds,
        strict=arguments.strict,
        workers=arguments.workers,
        out=out,
    )
    classes = "1 class" if len(manifest.classes) == 1 else f"{len(manifest.classes)} classes"
    print(f"{len(manifest)} clips of {classes}: {out}")
    return 0


def _prepare(arguments: argparse.Namespace) -> int:
    from avid_lab.datasets import Manifest
    from avid_lab.datasets.prepare import prepare

    copies = prepare(
        Manifest.read(arguments.manifest),
        arguments.out,
        size=arguments.size,
        fps=arguments.fps,
        rate=arguments.rate,
        max_duration_s=arguments.max_seconds,
        shards=arguments.shards,
        workers=arguments.workers,
    )
    files = {archive_of(path) or path for path in map(copies.path, range(len(copies)))}
    inside = f" in {len(files)} shards" if copies.shards else ""
    size = sum(path.stat().st_size for path in files)
    print(f"{len(copies)} copies{inside}, {size / 1e6:.0f} MB: {arguments.out / 'manifest.csv'}")
    return 0


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose the clips, ``--world`` or ``--data``, and how they are read."""
    parser.add_argument("--world", help="rendered clips: smoke, pocket or full (default: the profile's)")
    text = "your own videos instead: a folder with one sub-folder per class, or the path or URL of a manifest"
    parser.add_argument("--data", type=place, help=text)
    text = "decode the clips once, to disk, or stream windows from the files (default: once if that takes "
    text += "at most 8 GB and half of the free disk)"
    parser.add_argument("--decode", choices=("once", "stream"), help=text)
    text = "processes that decode; 0: only this one (default: one per core)"
    parser.add_argument("--workers", type=int, metavar="N", help=text)
    text = "unusable files: stop at the first, or skip them (default: skip when decoding once, stop when streaming)"
    parser.add_argument("--on-error", choices=("stop", "skip"), help=text)


def _count_or_size(text: str) -> int | str:
    try:
        return int(text)
    except ValueError:
        return text  # a size


def place(text: str) -> Path | str:
    """A path, or a URL as it is."""
    return text if is_url(text) else Path(text)


def chosen(
    arguments: argparse.Namespace, model: ModelConfig, streams: Streams = "both"
) -> tuple[ClipDataset, ClipDataset]:
    """Training and test clips from a rendered world or the user's own videos, in the model's format."""
    from avid_lab import foley
    from avid_lab.datasets import ClipDataset, Manifest, index_folder
    from avid_lab.processes import rank

    cache: dict[str | None, Any] = {"once": True, "stream": False, None: "auto"}
    how: dict[str, Any] = {"video": model.video, "audio": model.audio}
    how |= {"cache": cache[arguments.decode], "workers": arguments.workers}
    if arguments.data is None:
        if streams != "both":
            raise ValueError(f"--streams {streams} is for public sets: name one with --data MANIFEST.csv")
        clips = foley.load(arguments.world or profile().world, **how)
    else:
        listed = is_url(arguments.data) or arguments.data.is_file()
        manifest = Manifest.read(arguments.data) if listed else index_folder(arguments.data)
        _check_splits(manifest, arguments.data)
        clips = ClipDataset(
            manifest, **how, streams=streams, on_error="raise" if arguments.on_error == "stop" else "skip"
        )
        if not clips.decoded and arguments.on_error is None:
            clips.on_error = "raise"
    if rank() == 0:
        print(f"{clips.how[0].upper()}{clips.how[1:]}.", file=sys.stderr)
    held_out = "test" if "test" in clips.manifest.column("split") else "val"  # Kinetics is evaluated on "val"
    return clips.select(split="train"), clips.select(split=held_out)


def _check_splits(manifest: Manifest, source: Path | str) -> None:
    """Check, before anything is decoded, that there are both training and test clips."""
    splits = Counter(manifest.column("split"))
    if not splits["train"] or not (splits["test"] or splits["val"]):
        classes = ", ".join(f"{name} {count}" for name, count in Counter(manifest.column("label")).most_common(10))
        has = ", ".join(f"{count} {split!r}" for split, count in splits.items())
        raise ValueError(
            f'{source} needs clips to train on ("train") and others to test on ("test" or "val"); it has '
            + (f"{has} ({classes})" if has else "none")
            + ". In a folder of videos, one in five of a class is held out: give at least 3 of one class; "
            + "a folder named train, val or test decides for the clips in it."
        )

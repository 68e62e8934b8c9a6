"""The command ``avid-lab``: each subcommand is a thin function over the library."""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from avid_lab.doctor import PASSIVE_OPENMP

USER_ERROR, INTERRUPTED = 2, 130


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
    lab.add_argument("folder", nargs="?", type=Path, help="the folder of notebooks (default: the course's)")
    lab.add_argument("--port", type=int, help="use this port, or fail if it is taken (default: the first free one)")
    lab.add_argument("--no-browser", action="store_true", help="print the address, do not open a browser")

    demo = command("demo", _demo, "the course's story without a notebook: train, mine, evaluate, report")
    demo.add_argument("--world", help="the rendered clips to use: smoke, pocket or full (default: the profile's)")
    demo.add_argument("--data", type=Path, metavar="FOLDER", help="use the videos in this folder instead")
    demo.add_argument("--steps", type=int, help="training steps (default: the profile's)")
    demo.add_argument("--seed", type=int, default=0, help="seed of the run (default: %(default)s)")
    demo.add_argument("--out", type=Path, default=Path("runs/demo"), help="folder of the report (default: %(default)s)")

    doctor = command("doctor", _doctor, "check this machine and say what mends it")
    doctor.add_argument("--json", action="store_true", help="print the checks as JSON")

    data = commands.add_parser("data", help="the rendered clips: build them, look at them")
    actions = data.add_subparsers(title="commands", required=True, metavar="COMMAND")
    build = command("build", _data_build, "render a world's clips and decode them; goes on where it stopped", actions)
    build.add_argument("world", nargs="?", default="pocket", help="smoke, pocket or full (default: %(default)s)")
    build.add_argument("--workers", type=int, help="processes (default: one a core)")
    info = command("info", _data_info, "say what is there", actions)
    info.add_argument("world", nargs="?", default="pocket", help="smoke, pocket or full (default: %(default)s)")

    publish = command("publish", _publish, "build the notebooks from their sources")
    publish.add_argument("names", nargs="*", metavar="NAME", help='which ones, such as "03" (default: all)')
    publish.add_argument("--source", type=Path, default=Path("notebooks/source"), help="default: %(default)s")
    publish.add_argument("--out", type=Path, default=Path("notebooks"), help="default: %(default)s")
    publish.add_argument("--no-execute", action="store_true", help="leave the outputs out")
    publish.add_argument("--check", action="store_true", help="fail where a notebook drifted from its source")
    publish.add_argument("--timeout", type=float, default=1800, metavar="S", help="for one cell (default: %(default)s)")
    return parser


def _lab(arguments: argparse.Namespace) -> int:
    from jupyterlab.labapp import LabApp

    folder = (arguments.folder or _notebooks()).resolve()
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder. Name the folder that holds the notebooks.")
    first = min((path.name for path in folder.glob("*.ipynb")), default=None)
    options = [f"--ServerApp.root_dir={folder}"]
    if first:
        options.append(f"--LabApp.default_url=/lab/tree/{first}")
    if arguments.port is not None:
        _require_free(arguments.port)
        options += [f"--ServerApp.port={arguments.port}", "--ServerApp.port_retries=0"]
    if arguments.no_browser:
        options.append("--no-browser")
    if hasattr(os, "geteuid") and os.geteuid() == 0:  # in a container; the server listens to this machine only
        options.append("--allow-root")
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


def _demo(arguments: argparse.Namespace) -> int:
    from avid_lab import demo

    print(demo.run(arguments.out, arguments.world, arguments.data, steps=arguments.steps, seed=arguments.seed))
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    from dataclasses import asdict

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

    foley.build(arguments.world, workers=arguments.workers)
    clips = foley.load(arguments.world)  # decodes them, once
    print(f"{arguments.world}: {len(clips)} clips of {len(clips.classes)} classes in {clips.manifest.root}")
    return 0


def _data_info(arguments: argparse.Namespace) -> int:
    raise NotImplementedError


def _publish(arguments: argparse.Namespace) -> int:
    from avid_lab.course import publish

    chosen = publish.sources(arguments.source, arguments.names)
    if arguments.check:
        pairs = [(source, arguments.out / f"{source.stem}.ipynb") for source in chosen]
        troubles = [trouble for source, notebook in pairs for trouble in publish.drift(source, notebook)]
        print("\n".join(troubles) or f"{len(chosen)} notebooks fit their sources")
        return 1 if troubles else 0
    for source in chosen:
        path = publish.build(source, arguments.out, execute=not arguments.no_execute, timeout_s=arguments.timeout)
        print(f"{path}  {path.stat().st_size / 1e6:.2f} MB")
    return 0

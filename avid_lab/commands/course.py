"""The course: open it, write its editions, publish its notebooks, check the machine."""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from avid_lab.commands import command
from avid_lab.commands.data import place
from avid_lab.config import RECIPES
from avid_lab.shipped import shipped


def add(commands: Any) -> None:
    """``lab``, ``doctor``, ``reset``, ``edition``, ``class`` and ``publish``."""
    lab = command(commands, "lab", _lab, "open the course in JupyterLab; other options are passed to JupyterLab")
    lab.set_defaults(passes_on=True)
    mine: dict[str, Any] = {"type": Path, "default": Path("my_course")}
    mine["help"] = "your copy of the notebooks (default: %(default)s)"
    lab.add_argument("folder", nargs="?", **mine)
    text = "add new versions; notebooks that you edited stay, with the new version next to them"
    lab.add_argument("--update", action="store_true", help=text)
    lab.add_argument("--port", type=int, help="use this port, or fail if it is taken (default: the first free one)")
    lab.add_argument("--no-browser", action="store_true", help="print the address instead of opening a browser")

    doctor = command(commands, "doctor", _doctor, "check this machine and print how to fix each problem")
    doctor.add_argument("--json", action="store_true", help="print the checks as JSON")
    doctor.add_argument(
        "--bench", action="store_true", help="measure the machine's speed instead, in about half a minute"
    )
    text = "with --bench: predict how long training on these clips takes and what limits it (path or URL of a manifest)"
    doctor.add_argument("manifest", nargs="?", type=place, help=text)
    text = "with --bench: the recipe to predict for (default: one-gpu, if a manifest is given)"
    doctor.add_argument("--preset", choices=sorted(RECIPES), help=text)

    text = "restore a notebook in your folder; your version is kept under another name"
    reset = command(commands, "reset", _reset, text)
    reset.add_argument("name", help='the notebook, such as "05"')
    reset.add_argument("--folder", **mine)

    text = "write the notebooks for students, or for instructors with solutions"
    edition = command(commands, "edition", _edition, text)
    text = "instructor: with solutions, notes and nbgrader metadata"
    edition.add_argument("kind", choices=["student", "instructor"], help=text)
    edition.add_argument("out", type=Path, metavar="DIR", help="the folder to write")

    text = "prepare a folder for a class: decoded clips, notebooks, the instructor's course, settings for JupyterHub"
    room = command(commands, "class", _class, text)
    room.add_argument(
        "out", type=Path, metavar="DIR", help="the folder to write; students read clips and notebooks there"
    )

    publish = command(
        commands, "publish", _publish, "build the notebooks from their sources, and the web pages from the notebooks"
    )
    for parser in (edition, publish):
        parser.add_argument("names", nargs="*", metavar="NAME", help='notebooks, such as "03" (default: all)')
    for parser in (edition, room, publish):
        text = "folder of the sources (default: those of the course)"
        parser.add_argument("--source", type=Path, default=shipped("notebooks", "source"), help=text)
    text = "folder of the notebooks (default: %(default)s)"
    publish.add_argument("--out", type=Path, default=Path("notebooks"), help=text)
    publish.add_argument("--no-execute", action="store_true", help="do not run the notebooks; leave outputs out")
    text = "do not run the notebooks; keep their outputs (when only prose changed)"
    publish.add_argument("--keep-outputs", action="store_true", help=text)
    text = "write nothing; fail if a notebook differs from its source"
    publish.add_argument("--check", action="store_true", help=text)
    text = "leave the notebooks as they are; only build the web pages from them"
    publish.add_argument("--site-only", action="store_true", help=text)
    text = "seconds per cell (default: %(default)s)"
    publish.add_argument("--timeout", type=int, default=1800, metavar="S", help=text)
    text = "folder of the web pages (default: %(default)s)"
    publish.add_argument("--site", type=Path, default=Path("runs/site"), help=text)


def _lab(arguments: argparse.Namespace) -> int:
    from avid_lab.course import working

    if arguments.port is not None:
        _require_free(arguments.port)
    folder = arguments.folder.resolve()
    if not folder.parent.is_dir():
        raise ValueError(f"{folder}: no such folder. Name the folder that holds the notebooks, or will hold your copy.")
    if not working.is_own(folder):
        print("\n".join(working.copy(shipped("notebooks"), folder, update=arguments.update)))
    first = min((path.name for path in folder.glob("*.ipynb")), default=None)
    options = [f"--ServerApp.root_dir={folder}"]
    if first:
        options.append(f"--LabApp.default_url=/lab/tree/{first}")
    if arguments.port is not None:
        options += [f"--ServerApp.port={arguments.port}", "--ServerApp.port_retries=0"]
    if arguments.no_browser:
        options.append("--no-browser")
    open_to_others = any(option.split("=")[0] in ("--ip", "--ServerApp.ip") for option in arguments.rest)
    if hasattr(os, "geteuid") and os.geteuid() == 0 and not open_to_others:  # in a container, for this machine only
        options.append("--allow-root")
    # Jupyter's event log imports a check of internationalised addresses, which compiles a grammar for four seconds and
    # is never used: without it, jsonschema leaves out that check.
    sys.modules.setdefault("rfc3987_syntax", None)  # pyright: ignore[reportArgumentType]
    from jupyterlab.labapp import LabApp

    LabApp.launch_instance([*options, *arguments.rest])
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    if (arguments.manifest or arguments.preset) and not arguments.bench:
        raise ValueError("a manifest and --preset are for predictions: add --bench")
    if arguments.bench:
        from avid_lab import doctor_bench

        if arguments.manifest or arguments.preset:
            from avid_lab.datasets import Manifest

            manifest = None if arguments.manifest is None else Manifest.read(arguments.manifest)
            found = doctor_bench.predict(arguments.preset or "one-gpu", manifest)
            print(json.dumps(asdict(found), indent=2) if arguments.json else found)
            return 0
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
        fix = "Apply the fixes above and run the doctor again."
        print(f"\n{failed} of {len(checks)} checks failed. {fix}" if failed else "\nReady.")
    return 1 if failed else 0


def _reset(arguments: argparse.Namespace) -> int:
    from avid_lab.course import working

    print(working.reset(shipped("notebooks"), arguments.folder, arguments.name))
    return 0


def _edition(arguments: argparse.Namespace) -> int:
    from avid_lab.course import editions

    write = editions.student if arguments.kind == "student" else editions.instructor
    for path in write(arguments.source, arguments.out, tuple(arguments.names)):
        print(path)
    return 0


def _class(arguments: argparse.Namespace) -> int:
    out = arguments.out.resolve()
    os.environ["AVID_LAB_DATA"] = str(out / "data")
    from avid_lab.course import classroom

    print("\n".join(classroom.prepare(out, arguments.source)))
    return 0


def _publish(arguments: argparse.Namespace) -> int:
    from avid_lab.course import publish, site

    chosen = publish.sources(arguments.source, arguments.names)
    if arguments.check:
        pairs = [(source, arguments.out / f"{source.stem}.ipynb") for source in chosen]
        problems = [problem for source, notebook in pairs for problem in publish.drift(source, notebook)]
        print("\n".join(problems) or f"{len(chosen)} notebooks match their sources")
        return 1 if problems else 0
    with_site = arguments.site_only or not arguments.no_execute
    if with_site:
        site.require_sphinx()  # before notebooks run for half an hour
    for source in chosen if not arguments.site_only else ():
        how = {"execute": not arguments.no_execute, "keep_outputs": arguments.keep_outputs}
        path = publish.build(source, arguments.out, **how, timeout_s=arguments.timeout)
        print(f"{path}  {path.stat().st_size / 1e6:.2f} MB")
    if with_site:
        from avid_lab.course import explore

        first = site.build_site(sorted(arguments.out.glob("[0-9][0-9]_*.ipynb")), arguments.site)
        explore.write_explorer(arguments.site / "_static" / "explore", *explore.reference_runs())
        print(first)
    return 0


def _require_free(port: int) -> None:
    if not 0 < port < 65536:
        raise ValueError(f"--port must be between 1 and 65535; got {port}")
    with socket.socket() as probe:
        if os.name == "posix":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT is free
        try:
            probe.bind(("localhost", port))
        except OSError as error:
            fix = "Stop the program that uses it, choose another, or leave --port out to use a free one."
            raise ValueError(f"port {port} is taken ({error.strerror}). {fix}") from error

"""``avid-lab fetch``: the authors' weights and public sets, by name."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avid_lab.commands import command

if TYPE_CHECKING:
    from avid_lab.fetching import Entry

EPILOG = """
Without a NAME, the command lists what there is. With one, it shows the licence first; at a terminal it asks before
it fetches. An interrupted transfer continues when you repeat the command. Files go to folders in AVID_LAB_DATA
(default: ~/.cache/avid_lab), each with a record of its source, licence and SHA-256 beside it (NAME.source.json).

environment:
  HTTP_PROXY, HTTPS_PROXY, NO_PROXY   proxies, as for other programs
  AVID_LAB_OFFLINE=1                  never use the network; a missing file is an error

examples:
  avid-lab fetch avid-cma-audioset
  avid-lab fetch ave --to /data/ave
  avid-lab fetch kinetics400-val kinetics400-train --to /data/kinetics --yes
"""


def add(commands: Any) -> None:
    """``fetch``."""
    text = "list the authors' weights and the public sets, or fetch some of them"
    fetch = command(commands, "fetch", _fetch, text)
    fetch.formatter_class = argparse.RawDescriptionHelpFormatter
    fetch.epilog = EPILOG
    fetch.add_argument("names", nargs="*", metavar="NAME", help="what to fetch (default: list what there is)")
    fetch.add_argument("--to", type=Path, metavar="FOLDER", help="put the files in this folder, not in AVID_LAB_DATA")
    fetch.add_argument("--yes", action="store_true", help="do not ask (without a terminal, nothing is asked)")
    fetch.add_argument("--keep-archives", action="store_true", help="keep archives after they are unpacked")


def _fetch(arguments: argparse.Namespace) -> int:
    from avid_lab import fetching

    if not arguments.names:
        print(_table())
        return 0
    entries = [fetching.find(name) for name in arguments.names]  # a wrong name fails before anything is fetched
    by_hand = 0
    for entry in entries:
        print(_about(entry), flush=True)
        if not entry.files:
            by_hand = 1
            continue
        if not fetching.is_here(entry, arguments.to) or entry.lists:
            ask = not arguments.yes and sys.stdin.isatty() and sys.stdout.isatty()
            if ask and input("Fetch it under these terms? [y/N] ").strip().lower() not in ("y", "yes"):
                print("Nothing was fetched.")
                return 1
        try:
            folder = fetching.fetch(entry, arguments.to, keep_archives=arguments.keep_archives)
        except OSError as error:
            raise OSError(f"{error}\n{entry.by_hand}" if entry.kind == "set" else str(error)) from error
        print(f"\n{entry.name} is in {folder}\nNext: {_then(entry, folder)}\n", flush=True)
    return by_hand


def _about(entry: Entry) -> str:
    from avid_lab.fetching import size_text

    rows = {"size": f"about {size_text(entry.size)}", "licence": entry.licence, "source": entry.page}
    lines = [f"{entry.name}: {entry.purpose}", *(f"  {name:<9}{text}" for name, text in rows.items())]
    if not entry.files:
        lines += ["  by hand, because no address is known to work:", *_indented(entry.by_hand)]
        lines += ["  then:", *_indented(entry.then)]
    return "\n".join(lines)


def _indented(text: str) -> list[str]:
    return [f"    {line}" for line in text.splitlines()]


def _then(entry: Entry, folder: Path) -> str:
    lines = entry.then.format(folder=folder).splitlines()
    return "\n      ".join([*lines, entry.by_hand] if entry.kind == "lists" and entry.by_hand else lines)


def _table() -> str:
    from avid_lab.fetching import CATALOGUE, is_here, size_text

    titles = {"weights": "The authors' networks", "set": "Public sets", "lists": "Lists of public sets, without videos"}
    lines = [f"{'NAME':<19}{'SIZE':>8}  {'LICENCE':<30}FOR"]
    for kind, title in titles.items():
        lines += ["", title]
        for entry in (entry for entry in CATALOGUE.values() if entry.kind == kind):
            state = "" if entry.files else " [by hand]"
            state = " [here]" if is_here(entry) else state
            size = size_text(entry.size) + ("+" if kind == "weights" else "")
            lines.append(f"{entry.name:<19}{size:>8}  {entry.licence:<30}{entry.purpose}{state}")
    lines += ["", "`avid-lab fetch NAME` shows licence and source, and fetches. Sizes are approximate; weights may"]
    return "\n".join([*lines, "come with the memories of their training clips, which make the file larger."])

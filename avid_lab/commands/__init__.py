"""The subcommands of ``avid-lab``: each is a thin function over the library, next to its options."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any


def command(
    into: Any, name: str, run: Callable[[argparse.Namespace], int], text: str, *, uses: str | None = None
) -> argparse.ArgumentParser:
    """Add a subcommand.

    Args:
        into: The subparsers to add it to.
        name: The name that users type.
        run: Called with the arguments; returns the exit code.
        text: What the command does, without a capital or a full stop.
        uses: A module that takes long to import, which `run` needs.
    """
    made = into.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".", allow_abbrev=False)
    made.set_defaults(run=run, uses=uses)
    return made

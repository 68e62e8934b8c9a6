"""The subcommands of ``avid-lab``: each is a thin function over the library, beside its options."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any


def command(into: Any, name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
    """A subcommand.

    Args:
        into: The subparsers that it joins.
        name: What is typed.
        run: Called with the arguments; returns the exit code.
        text: What it does, in half a sentence.
    """
    made = into.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".", allow_abbrev=False)
    made.set_defaults(run=run)
    return made

"""The command ``avid-lab``."""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from avid_lab.commands import course, data, fetch, models

USER_ERROR, INTERRUPTED = 2, 130
STOPPED = "\navid-lab: stopped. Run the same command again to resume."


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``avid-lab`` with these arguments (default: the command line's) and return its exit code."""
    parser = _parser()
    arguments, rest = parser.parse_known_args(argv)
    if rest and not hasattr(arguments, "passes_on"):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    arguments.rest = rest
    try:
        if arguments.uses:
            with _interrupt_exits():
                importlib.import_module(arguments.uses)
        return arguments.run(arguments)
    except KeyboardInterrupt:
        print(STOPPED, file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader, such as `head`, has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError) as error:
        if not _is_ours(error):
            raise
        print(f"avid-lab: error: {_words(error)}", file=sys.stderr)
        return USER_ERROR


@contextmanager
def _interrupt_exits() -> Iterator[None]:
    """Makes Ctrl-C end the program at once: an interrupted import leaves half-made modules and locks behind."""

    def leave(*_: object) -> None:
        print(STOPPED, file=sys.stderr, flush=True)
        os._exit(INTERRUPTED)

    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:  # the caller handles it
        yield
        return
    signal.signal(signal.SIGINT, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _is_ours(error: Exception) -> bool:
    """Whether this package or the system raised the error for the user; any other is a bug and shows its traceback."""
    if isinstance(error, OSError):
        return True
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return frame.f_globals.get("__name__", "").startswith("avid_lab")


def _words(error: Exception) -> str:
    """The error for the user; the system's own names only the file and its complaint."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        place = f"{os.fsdecode(error.filename)}: " if error.filename is not None else ""
        return f"{place}the disk is full. Free some space, or choose a folder on another disk, then repeat the command."
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        path = os.fsdecode(error.filename)
        return f"{path}: {error.strerror}. Check that it exists, is of the right kind, and is not protected."
    return str(error)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="avid-lab", description="A course on audio-visual self-supervised learning.", allow_abbrev=False
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for family in (course, fetch, models, data):
        family.add(commands)
    return parser

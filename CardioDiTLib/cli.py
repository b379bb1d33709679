"""The command line: it only parses and prints. Exit code 0: done; 1: a problem, said in one line; 2: wrong usage."""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from types import FrameType

from CardioDiTLib.commands import COMMANDS
from CardioDiTLib.commands.printing import in_options
from CardioDiTLib.device import share_processors
from CardioDiTLib.errors import Cancelled, CardioDiTError
from CardioDiTLib.missing_operator import missing_operator
from CardioDiTLib.version import __version__

DEBUG_VARIABLE = "CARDIODIT_DEBUG"
"""Set to 1, unexpected problems show where in the program they happened."""


def make_parser(command: str | None = None) -> argparse.ArgumentParser:
    """Parser of the command line.

    Args:
        command: The one command whose arguments are wanted; modules of others are not imported.
    """
    parser = argparse.ArgumentParser(
        prog="cardiodit", description="Synthetic short-axis cine cardiac MRI. Research only; not for diagnosis."
    )
    parser.add_argument("--version", action="version", version=f"cardiodit {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, entry in COMMANDS.items():
        part = commands.add_parser(name, help=entry.help, description=f"{entry.help[0].upper()}{entry.help[1:]}.")
        if name == command:
            module = import_module(entry.module)
            module.add_arguments(part)
            part.set_defaults(run=module.run)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: Words of the command line; those of the process where it is None.

    Returns:
        0 done, 1 a problem.

    Raises:
        SystemExit: Wrong usage (code 2), or help was asked for (code 0).
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    command = next((word for word in words if not word.startswith("-")), None)
    parsed: argparse.Namespace | None = None
    share_processors()
    _print_anything()
    try:
        with _ended_by_signals():
            parsed = _at_home(make_parser(command).parse_args(words))
            return int(parsed.run(parsed) or 0)
    except (KeyboardInterrupt, Cancelled):
        _say("Cancelled.")
    except CardioDiTError as error:
        _say(in_options(str(error), parsed))
    except MemoryError:
        _say("The memory is not enough. Close other programs, or ask for less at a time.")
    except BrokenPipeError:
        # the reader of our output went away; Python would complain once more while closing it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        if os.environ.get(DEBUG_VARIABLE) == "1":
            raise
        known = missing_operator(error)
        if known is not None:
            _say(str(known))
            return 1
        reason = " ".join(str(error).split())[:300]
        _say(f"An unexpected problem ({type(error).__name__}: {reason}). Set {DEBUG_VARIABLE}=1 to see where.")
    return 1


def _print_anything() -> None:
    """Let a console whose code page lacks a character show a question mark in its place, not end the run."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with suppress(OSError, ValueError):  # closed, or detached
                stream.reconfigure(errors="replace")


def _at_home(parsed: argparse.Namespace) -> argparse.Namespace:
    """Put the home folder where a path begins with ``~``: no shell does so after ``--out=``."""

    def at_home_if_path(value: object) -> object:
        if isinstance(value, list):
            return [at_home_if_path(one) for one in value]
        if not isinstance(value, str | Path) or not str(value).startswith("~"):
            return value
        if isinstance(value, str) and not value.startswith(("~/", "~\\")):
            return value  # a name, not a path
        from CardioDiTLib.files import at_home

        return type(value)(at_home(value))

    for name, value in vars(parsed).items():
        setattr(parsed, name, at_home_if_path(value))
    return parsed


def _say(sentence: str) -> None:
    from CardioDiTLib.io.plain_text import plain_text

    # a sentence may quote a file of somebody else: it stays one line and steers no terminal
    print(plain_text(f"cardiodit: {sentence}" if sentence != "Cancelled." else sentence), file=sys.stderr)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let a request to end the process, or a terminal that is closed, clean up like Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    # what was started to outlive its terminal (nohup) does
    wanted = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, _interrupt) for number in wanted}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt

"""What commands print: lines, notes, bars."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from CardioDiTLib.progress import Listener, Progress

if TYPE_CHECKING:
    from CardioDiTLib.workflow.sources import FolderResult

_OPTIONS = {
    "square_axes": ("--square-axes", "convert"),
    "frame_interval_s": ("--frame-interval-s", "convert"),
    "series_uid": ("--series-uid", "convert"),
    "allow_incomplete": ("--allow-incomplete", "convert"),
    "stack_covers_heart": ("--stack-covers-heart", "function"),
    "label_map": ("--label-map", "function"),
    "heart_rate_bpm": ("--heart-rate", "function"),
    "anyway": ("--anyway", "measure"),
}
"""Arguments in Python: the option, and a command that has it."""

_NAMED = re.compile(rf"(?<!-)\b({'|'.join(_OPTIONS)})\b(?:=True)?")


def in_options(sentence: str, arguments: argparse.Namespace | None) -> str:
    """A sentence that may name arguments in Python, with options in their place.

    Args:
        sentence: The sentence.
        arguments: Of the command that was used; where it has no such option, a command that has is named too.

    Returns:
        The sentence for whoever types commands.
    """

    def told(match: re.Match[str]) -> str:
        option, home = _OPTIONS[match[1]]
        name = option.removeprefix("--").replace("-", "_")
        return option if hasattr(arguments, name) else f"{option} (an option of 'cardiodit {home}')"

    return _NAMED.sub(told, sentence)


def show(text: object, file: TextIO | None = None) -> None:
    """Print one line; what it quotes from bundles, files and tables of others cannot steer the terminal."""
    from CardioDiTLib.io.plain_text import plain_text  # brings NumPy, which `cardiodit --help` does without

    print(plain_text(str(text)), file=file)


def show_notes(notes: Iterable[str]) -> None:
    """What should be known, a line each."""
    for note in notes:
        print(f"note: {note}")


def show_folder(result: FolderResult, done: str, before: str) -> int:
    """What came of a folder, in the command's words; its exit code."""
    now = result.count - result.kept - len(result.failed)
    print(f"{result.place}: {now} {done}, {result.kept} {before}, {len(result.failed)} failed, of {result.count} cines")
    for reason, count in result.passed_over.items():
        print(f"passed over: {count} ({reason})")
    for name, problem in result.failed.items():
        print(f"failed: {name}: {problem}")
    return 1 if result.failed else 0


@contextmanager
def bar(
    what: str, unit: str = "", *, quiet: bool = False, leave: bool = True, shares: bool = False
) -> Iterator[Listener]:
    """A bar on stderr, where somebody looks at a terminal; what it gives is told of progress.

    Args:
        what: In front of the bar; "{}" in it stands for the stage, and each stage begins anew.
        unit: What is counted.
        quiet: Show none.
        leave: Leave the full bar behind.
        shares: Per cent in place of a count.
    """
    from tqdm import tqdm

    form = "{desc}: {percentage:3.0f}%|{bar}|" if shares else None
    total = 1.0 if shares else None
    with tqdm(
        total=total, unit=unit, file=sys.stderr, disable=True if quiet else None, leave=leave, bar_format=form
    ) as drawn:
        drawn.set_description(what.format(""), refresh=False)
        stage = ""

        def listen(sign: Progress) -> None:
            nonlocal stage
            if "{}" in what and sign.stage != stage:
                stage = sign.stage
                drawn.reset()
                drawn.set_description(what.format(stage), refresh=False)
            drawn.total, drawn.n = sign.of, sign.done
            drawn.refresh()

        yield listen

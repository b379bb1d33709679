"""Sentences of the library, with what the command line calls the arguments that they name."""

from __future__ import annotations

import argparse
import re
from typing import TextIO

from CardioDiTLib.io.plain_text import plain_text

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
    print(plain_text(str(text)), file=file)

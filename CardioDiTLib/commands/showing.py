"""What a command prints."""

from __future__ import annotations

from typing import TextIO

from CardioDiTLib.io.plain_text import plain_text


def show(text: object, file: TextIO | None = None) -> None:
    """Print one line; what it quotes from bundles, files and tables of others cannot steer the terminal."""
    print(plain_text(str(text)), file=file)

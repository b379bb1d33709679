"""The command line in this process, and what it said."""

from __future__ import annotations

import pytest

from CardioDiTLib import cli


def run(*words: object) -> int:
    """Exit code of ``cardiodit`` with these words."""
    return cli.main([str(word) for word in words])


def problem(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr."""
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and "Traceback" not in lines[0], lines
    return lines[0]

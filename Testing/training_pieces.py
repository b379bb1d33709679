"""A small network trained whole, and in pieces."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from command_line import run

from CardioDiTLib.training.checkpoint import averaged_weights


def pieces_with_the_same_bits(capsys: pytest.CaptureFixture[str], task: str, settings: Path, pack: Path) -> int:
    """Train a small network whole, and again stopped at once each time; its weights have to be the same.

    Args:
        task: "segmentation", "landmarks" or "encoder".
        settings: The YAML file; runs are made in its folder.
        pack: The training pack.

    Returns:
        How often the second had to be called until it was finished.
    """
    words = ("train", task, "--config", settings, "--data", pack, "--out")
    whole, parts = settings.parent / "whole", settings.parent / "pieces"
    assert run(*words, whole) == 0 and "Finished." in capsys.readouterr().out
    pieces = 0
    while pieces == 0 or "Finished." not in capsys.readouterr().out:
        assert run(*words, parts, "--minutes", 1e-6) == 0
        pieces += 1
    first, second = averaged_weights(whole / task), averaged_weights(parts / task)
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
    return pieces

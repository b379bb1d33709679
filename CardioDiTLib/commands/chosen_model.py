"""Which model ``-m`` means: a folder, or a name."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from CardioDiTLib.bundles.manifest import MANIFEST_NAME
from CardioDiTLib.bundles.registry import list_bundles

MODEL_HELP = (
    "name of a model on this machine, or its folder; a folder of that name in the current directory comes before a "
    "name (`cardiodit models list` shows the names)"
)


def chosen_model(text: str) -> str:
    """What was said as a model, as a path where it is one.

    A text with a separator is a path. A bare one is the folder of that name in the current directory if that holds a
    model, with a note where a model of this machine is called the same; else it is a name.

    Args:
        text: As it was given.

    Returns:
        A path that cannot be taken for a name, or the name.
    """
    if os.sep in text or (os.altsep and os.altsep in text) or not (Path(text) / MANIFEST_NAME).is_file():
        return text
    if any(entry.name == text for entry in list_bundles()):
        print(
            f"note: the model is the folder '{text}' of the current directory, not the one on this machine that is "
            "called the same.",
            file=sys.stderr,
        )
    return os.path.join(os.curdir, text)

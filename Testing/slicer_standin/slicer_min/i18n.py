"""Translation: there are no translations here, so every text stays as it is."""

from __future__ import annotations

import inspect
from pathlib import Path

FILEPATH_TO_CONTEXT: dict[str, str] = {}


def getContext(sourceFile):
    """The translation context of a source file: its name, with the package's name in front where there is one."""
    if sourceFile not in FILEPATH_TO_CONTEXT:
        path = Path(sourceFile)
        in_package = (path.parent / "__init__.py").is_file()
        FILEPATH_TO_CONTEXT[sourceFile] = f"{path.parent.name}.{path.stem}" if in_package else path.stem
    return FILEPATH_TO_CONTEXT[sourceFile]


def translate(context, text):
    """The text in the application's language."""
    import slicer

    return slicer.app.translate(context, text)


def tr(text):
    """The same, with the calling file as context."""
    caller = inspect.currentframe().f_back
    return translate(getContext(caller.f_code.co_filename), text)

"""The home folder in paths, where no shell has put it in."""

from __future__ import annotations

import os
from pathlib import Path


def at_home(path: str | os.PathLike[str]) -> Path:
    """A path with a leading ``~`` replaced by the home folder; a shell does not do so after ``--out=``.

    Examples:
        >>> at_home("./~/a").parts[0]
        '~'
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:  # no such user: then it is a name like any other
        return Path(path)

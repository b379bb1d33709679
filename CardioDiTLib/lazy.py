"""Names of a package that are imported when they are first asked for, so that a light task loads no heavy package."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

_LIBRARY = __name__.rpartition(".")[0]


def imported(package: str, homes: Mapping[str, str], name: str) -> Any:
    """What the ``__getattr__`` of a package gives.

    Args:
        package: Its ``__name__``.
        homes: Module of each name, from the package ("registry") or whole ("CardioDiTLib.files").
        name: What is asked for.

    Raises:
        AttributeError: The package has no such name.
    """
    if name not in homes:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    home = homes[name]
    return getattr(import_module(home if home.startswith(f"{_LIBRARY}.") else f"{package}.{home}"), name)

"""From a request to synthetic cines."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from CardioDiTLib.generation.generator import Generator
    from CardioDiTLib.generation.outputs import save_results
    from CardioDiTLib.generation.pictures import animated_gif, contact_sheet
    from CardioDiTLib.generation.progress import ProgressEvent
    from CardioDiTLib.generation.request import GenerationRequest
    from CardioDiTLib.generation.result import GenerationResult

_HOMES = {
    "GenerationRequest": "request",
    "GenerationResult": "result",
    "Generator": "generator",
    "ProgressEvent": "progress",
    "animated_gif": "pictures",
    "contact_sheet": "pictures",
    "save_results": "outputs",
}

__all__ = [
    "GenerationRequest",
    "GenerationResult",
    "Generator",
    "ProgressEvent",
    "animated_gif",
    "contact_sheet",
    "save_results",
]


def __getattr__(name: str) -> Any:
    """Import torch only where something is really generated: requests and pictures do without."""
    if name in _HOMES:
        return getattr(import_module(f"CardioDiTLib.generation.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

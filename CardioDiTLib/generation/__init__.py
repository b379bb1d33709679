"""From a request to synthetic cines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from CardioDiTLib.lazy import imported

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
    return imported(__name__, _HOMES, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

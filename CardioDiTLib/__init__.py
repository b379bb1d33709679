"""CardioDiT: synthetic short-axis cine cardiac MRI, and the tools to judge it.

Everything here is imported when it is first used, so that ``import CardioDiTLib`` costs next to nothing and brings
neither torch nor NumPy.

Examples:
    >>> import CardioDiTLib as cd
    >>> generator = cd.Generator.from_bundle("acdc-mini")  # doctest: +SKIP
    >>> result = generator.generate(cd.GenerationRequest(seed=7))[0]  # doctest: +SKIP
    >>> cd.save_cine(result.cine, "heart.nii.gz")  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from CardioDiTLib.version import __version__

if TYPE_CHECKING:
    from CardioDiTLib import bundles, data, diffusion, generation, io, models
    from CardioDiTLib.cine import Cine, LandmarkTrack, Segmentation
    from CardioDiTLib.errors import Cancelled, CardioDiTError
    from CardioDiTLib.generation.generator import Generator
    from CardioDiTLib.generation.outputs import save_results
    from CardioDiTLib.generation.pictures import animated_gif, contact_sheet
    from CardioDiTLib.generation.progress import ProgressEvent
    from CardioDiTLib.generation.request import GenerationRequest
    from CardioDiTLib.generation.result import GenerationResult
    from CardioDiTLib.io import load_cine, load_segmentation, save_cine, save_segmentation

_HOMES = {
    "Cancelled": "errors",
    "CardioDiTError": "errors",
    "Cine": "cine",
    "GenerationRequest": "generation.request",
    "GenerationResult": "generation.result",
    "Generator": "generation.generator",
    "LandmarkTrack": "cine",
    "ProgressEvent": "generation.progress",
    "Segmentation": "cine",
    "animated_gif": "generation.pictures",
    "contact_sheet": "generation.pictures",
    "load_cine": "io",
    "load_segmentation": "io",
    "save_cine": "io",
    "save_results": "generation.outputs",
    "save_segmentation": "io",
}
_ROOMS = ("bundles", "data", "diffusion", "generation", "io", "models", "training")

__all__ = [
    "Cancelled",
    "CardioDiTError",
    "Cine",
    "GenerationRequest",
    "GenerationResult",
    "Generator",
    "LandmarkTrack",
    "ProgressEvent",
    "Segmentation",
    "__version__",
    "animated_gif",
    "bundles",
    "contact_sheet",
    "data",
    "diffusion",
    "generation",
    "io",
    "load_cine",
    "load_segmentation",
    "models",
    "save_cine",
    "save_results",
    "save_segmentation",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(import_module(f"CardioDiTLib.{_HOMES[name]}"), name)
    elif name in _ROOMS:
        value = import_module(f"CardioDiTLib.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

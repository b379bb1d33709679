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
    from CardioDiTLib.cine import Cine, LandmarkTrack, Segmentation
    from CardioDiTLib.completion.complete import complete
    from CardioDiTLib.completion.completer import Completer
    from CardioDiTLib.completion.result import CompletionResult
    from CardioDiTLib.completion.vary import vary
    from CardioDiTLib.errors import Cancelled, CardioDiTError
    from CardioDiTLib.evaluation import SynthesisReport, cohort_from_folder, cohort_from_pack, evaluate_synthesis
    from CardioDiTLib.evaluation.side_by_side import ModelComparison, compare_models
    from CardioDiTLib.function.cardiac_function import cardiac_function
    from CardioDiTLib.function.function_report import FunctionReport
    from CardioDiTLib.function.outputs import save_report
    from CardioDiTLib.function.tables import cohort_table
    from CardioDiTLib.generation.film_file import save_film
    from CardioDiTLib.generation.generator import Generator
    from CardioDiTLib.generation.outputs import save_results
    from CardioDiTLib.generation.pictures import animated_gif, contact_sheet
    from CardioDiTLib.generation.progress import ProgressEvent
    from CardioDiTLib.generation.request import GenerationRequest
    from CardioDiTLib.generation.result import GenerationResult
    from CardioDiTLib.io import load_cine, load_segmentation, save_cine, save_segmentation
    from CardioDiTLib.io.conversion import (
        from_nibabel,
        from_simpleitk,
        from_torchio,
        to_nibabel,
        to_simpleitk,
        to_torchio,
    )
    from CardioDiTLib.landmarks import (
        LandmarkScores,
        TrackingSettings,
        compare_metrics,
        detect_landmarks,
        evaluate_landmarks,
        landmarks_from_segmentation,
        load_landmarks,
        save_landmarks,
        track_landmarks,
    )
    from CardioDiTLib.plotting import plot
    from CardioDiTLib.privacy import (
        AuditReport,
        Gate,
        apply_published_rule,
        audit_memorization,
        generate_gated,
        null_rate,
    )
    from CardioDiTLib.segmentation.segment import segment
    from CardioDiTLib.workflow.measure import Measurement, measure

_HOMES = {
    "AuditReport": "privacy",
    "Cancelled": "errors",
    "CardioDiTError": "errors",
    "Cine": "cine",
    "Completer": "completion.completer",
    "CompletionResult": "completion.result",
    "FunctionReport": "function.function_report",
    "Gate": "privacy",
    "GenerationRequest": "generation.request",
    "GenerationResult": "generation.result",
    "Generator": "generation.generator",
    "LandmarkScores": "landmarks",
    "LandmarkTrack": "cine",
    "ProgressEvent": "generation.progress",
    "Segmentation": "cine",
    "SynthesisReport": "evaluation",
    "TrackingSettings": "landmarks",
    "animated_gif": "generation.pictures",
    "audit_memorization": "privacy",
    "cardiac_function": "function.cardiac_function",
    "cohort_from_folder": "evaluation",
    "cohort_from_pack": "evaluation",
    "compare_metrics": "landmarks",
    "complete": "completion.complete",
    "contact_sheet": "generation.pictures",
    "detect_landmarks": "landmarks.detect",
    "evaluate_landmarks": "landmarks",
    "evaluate_synthesis": "evaluation",
    "generate_gated": "privacy",
    "landmarks_from_segmentation": "landmarks",
    "load_cine": "io",
    "load_landmarks": "landmarks",
    "load_segmentation": "io",
    "Measurement": "workflow.measure",
    "measure": "workflow.measure",
    "null_rate": "privacy",
    "apply_published_rule": "privacy",
    "save_cine": "io",
    "save_landmarks": "landmarks",
    "save_report": "function.outputs",
    "save_results": "generation.outputs",
    "save_segmentation": "io",
    "segment": "segmentation.segment",
    "track_landmarks": "landmarks",
    "cohort_table": "function.tables",
    "compare_models": "evaluation.side_by_side",
    "ModelComparison": "evaluation.side_by_side",
    "from_nibabel": "io.conversion",
    "from_simpleitk": "io.conversion",
    "from_torchio": "io.conversion",
    "to_nibabel": "io.conversion",
    "to_simpleitk": "io.conversion",
    "to_torchio": "io.conversion",
    "plot": "plotting",
    "save_film": "generation.film_file",
    "vary": "completion.vary",
}
_ROOMS = (
    "bundles",
    "cohort",
    "completion",
    "data",
    "diffusion",
    "evaluation",
    "function",
    "generation",
    "io",
    "landmarks",
    "models",
    "privacy",
    "segmentation",
    "training",
)

__all__ = [
    "AuditReport",
    "Cancelled",
    "CardioDiTError",
    "Cine",
    "Completer",
    "CompletionResult",
    "FunctionReport",
    "Gate",
    "GenerationRequest",
    "GenerationResult",
    "Generator",
    "LandmarkScores",
    "LandmarkTrack",
    "Measurement",
    "ModelComparison",
    "ProgressEvent",
    "Segmentation",
    "SynthesisReport",
    "TrackingSettings",
    "__version__",
    "animated_gif",
    "apply_published_rule",
    "audit_memorization",
    "bundles",
    "cardiac_function",
    "cohort",
    "cohort_from_folder",
    "cohort_from_pack",
    "cohort_table",
    "compare_metrics",
    "compare_models",
    "complete",
    "completion",
    "contact_sheet",
    "data",
    "detect_landmarks",
    "diffusion",
    "evaluate_landmarks",
    "evaluate_synthesis",
    "evaluation",
    "from_nibabel",
    "from_simpleitk",
    "from_torchio",
    "function",
    "generate_gated",
    "generation",
    "io",
    "landmarks",
    "landmarks_from_segmentation",
    "load_cine",
    "load_landmarks",
    "load_segmentation",
    "measure",
    "models",
    "null_rate",
    "plot",
    "privacy",
    "save_cine",
    "save_film",
    "save_landmarks",
    "save_report",
    "save_results",
    "save_segmentation",
    "segment",
    "segmentation",
    "to_nibabel",
    "to_simpleitk",
    "to_torchio",
    "track_landmarks",
    "vary",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(import_module(f"CardioDiTLib.{_HOMES[name]}"), name)
        opening = import_module("CardioDiTLib.opening")
        if name in opening.READS:
            value = opening.opened(name, value)
    elif name in _ROOMS:
        value = import_module(f"CardioDiTLib.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

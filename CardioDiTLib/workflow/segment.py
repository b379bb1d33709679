"""Labels of a cine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.cine import Cine, Segmentation
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.io import save_segmentation
from CardioDiTLib.labels import LV, RV
from CardioDiTLib.progress import CancelSource, Listener, steps_to
from CardioDiTLib.schema import Record
from CardioDiTLib.workflow.sources import (
    CineFile,
    CineSource,
    check_destination,
    check_models,
    cine_at,
    name_of,
    reading_notes,
)

if TYPE_CHECKING:
    from CardioDiTLib.segmentation.model import SegmentationModel

SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".dcm")


@dataclass(frozen=True)
class SegmentRequest(Record):
    """An order for labels.

    Args:
        cine: Short axis.
        destination: File for the labels; without it they are only given back, and nobody asks whether they show a
            heart.
        weights: Folder of a model in place of the embedded one.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        mirrored: Take the mean over mirror images.
        raw: The network's own labels, nothing made plausible.
        anyway: Write them also where no heart can be told from them.
        overwrite: Replace a file that is there.
    """

    record_name = "request for labels"

    cine: CineSource
    destination: str | None = None
    weights: str | None = None
    device: str = "auto"
    mirrored: bool = True
    raw: bool = False
    anyway: bool = False
    overwrite: bool = False


@dataclass(frozen=True, eq=False)
class SegmentResult:
    """Labels.

    Attributes:
        cine: What was segmented.
        segmentation: Its labels.
    """

    cine: Cine
    segmentation: Segmentation

    @property
    def lv_volume_ml(self) -> NDArray[np.float64]:
        """(T,) volume of the left ventricle."""
        counts = (self.segmentation.array == LV).sum(axis=(1, 2, 3))
        return np.asarray(counts * self.segmentation.voxel_volume_ml, np.float64)

    def notes(self) -> list[str]:
        """What should be known of them: how the cine was read, and ventricles that do not fit in some frames."""
        from CardioDiTLib.function.failed_frames import failed_frames, failed_sentence
        from CardioDiTLib.function.volumes import volume_curve_ml

        sentences = reading_notes(self.cine.meta)
        for label, what in ((LV, "left ventricle"), (RV, "right ventricle")):
            volume = volume_curve_ml(self.segmentation, label)
            failed = failed_frames(volume)
            if failed.any():
                sentence = failed_sentence(what, volume, failed)
                sentences.append(f"{sentence[0].upper()}{sentence[1:]}: look at the labels there.")
        return sentences


def run(
    request: SegmentRequest,
    *,
    progress: Listener | None = None,
    cancel: CancelSource = None,
    model: SegmentationModel | None = None,
) -> SegmentResult:
    """Segment, and write where a file is asked for.

    Args:
        request: The order.
        progress: Told of the stage "segment", in frames.
        cancel: Asked before every batch of slices.
        model: The model of the request, where it is loaded already.

    Raises:
        CardioDiTError: As `segmentation.segment.segment` does; no file for labels, one that is there, or no heart.
        Cancelled: `cancel` said so.
    """
    destination, source = None if request.destination is None else Path(request.destination), {}
    if destination is not None:  # told before minutes of work, not after
        if not destination.name.lower().endswith(SUFFIXES):
            raise CardioDiTError(
                f"'{destination.name}' is no file for labels.", "Use .nii, .nii.gz, .seq.nrrd, .nrrd or .dcm."
            )
        check_destination(destination, request.overwrite)
        if destination.suffix.lower() == ".dcm" and isinstance(request.cine, CineFile):
            source = request.cine.dicom_source()
    check_models(request.weights, device=request.device)
    cine = cine_at(request.cine)
    from CardioDiTLib.segmentation.model import load_model
    from CardioDiTLib.segmentation.segment import segment

    loaded = load_model(request.weights) if model is None else model
    segmentation = segment(
        cine,
        weights=loaded,
        device=request.device,
        progress=steps_to(progress, "segment"),
        cancel=cancel,
        mirrored=request.mirrored,
        plausible=not request.raw,
    )
    if destination is not None:
        _refuse_without_heart(segmentation, name_of(request.cine), request.anyway or request.raw)
        save_segmentation(segmentation, destination, **source)
    return SegmentResult(cine, segmentation)


def _refuse_without_heart(segmentation: Segmentation, name: str, anyway: bool) -> None:
    """See that what was segmented is a heart; also with `anyway` where nothing at all was found."""
    from CardioDiTLib.segmentation.heart_check import why_no_heart

    why = why_no_heart(segmentation)
    if why and not (anyway and (segmentation.array == LV).any()):
        raise CardioDiTError(
            f"No heart can be told in '{name}': {why}; nothing was written.",
            "Check that it is a short-axis cine; --anyway writes the labels all the same.",
        )

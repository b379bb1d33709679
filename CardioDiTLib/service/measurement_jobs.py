"""Measurements in the worker: labels, landmarks, function. Networks stay loaded from one request to the next."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from CardioDiTLib.errors import Cancelled
from CardioDiTLib.function.outputs import function_table, write_bullseye, write_report
from CardioDiTLib.service.arrays import cine_of, describe_segmentation, describe_track, segmentation_of, track_of
from CardioDiTLib.service.job import Job, MeasurementProgress
from CardioDiTLib.service.probe import load_torch

if TYPE_CHECKING:
    from CardioDiTLib.segmentation.model import SegmentationModel


class MeasurementJobs:
    """Jobs ``segment``, ``landmarks``, ``function`` and ``save_landmarks``."""

    def __init__(self) -> None:
        self._model: tuple[tuple[str, str], SegmentationModel] | None = None

    def segment(self, job: Job) -> dict[str, Any]:
        """Label the ventricles in every frame.

        Arguments of the job:
            cine: As `arrays.describe_cine` describes it.
            folder: Where the labels go.
            weights: Folder of a segmentation model; the embedded one without it.
            device: Where to compute.

        Returns:
            ``segmentation``: as `describe_segmentation` describes it.

        Raises:
            CardioDiTError: As `CardioDiTLib.segment` does.
        """
        job.check_arguments("cine", "folder", "weights", "device")
        folder = Path(job.argument("folder", str))
        cine = cine_of(job.argument("cine", dict))
        model = self._segmentation_model(job.argument("weights", str, None), job)
        from CardioDiTLib.segmentation.segment import segment

        segmentation = segment(
            cine,
            weights=model,
            device=job.argument("device", str, None) or "auto",
            progress=MeasurementProgress(job, "segment"),
            cancel=job.cancel,
        )
        return {"segmentation": describe_segmentation(segmentation, folder / f"segmentation-{job.request.id}.npy")}

    def landmarks(self, job: Job) -> dict[str, Any]:
        """Find the insertion points in every frame.

        Arguments of the job:
            cine: As `arrays.describe_cine` describes it.
            folder: Where the points go.
            segmentation: Labels of the same frames, as `describe_segmentation` describes them; may be missing.
            method, weights, segmentation_weights, device, track, swap: As `detect_landmarks` takes them.

        Returns:
            ``landmarks``: as `describe_track` describes it; ``found`` and ``of``: points found, points asked for.

        Raises:
            CardioDiTError: As `detect_landmarks` does.
        """
        job.check_arguments(
            *("cine", "folder", "segmentation", "method", "weights", "segmentation_weights", "device", "track", "swap")
        )
        folder = Path(job.argument("folder", str))
        cine = cine_of(job.argument("cine", dict))
        labels = job.argument("segmentation", dict, None)
        job.progress("load", step=0, of=1, fraction=0.0, eta_s=None)
        load_torch()
        from CardioDiTLib.landmarks.detect import detect_landmarks

        track = detect_landmarks(
            cine,
            method=job.argument("method", str, None) or "auto",
            segmentation=None if labels is None else segmentation_of(labels),
            weights=job.argument("weights", str, None),
            segmentation_weights=job.argument("segmentation_weights", str, None),
            device=job.argument("device", str, None) or "auto",
            progress=MeasurementProgress(job, "landmarks"),
            cancel=job.cancel,
            track=job.argument("track", bool, True),
            swap=job.argument("swap", bool, False),
        )
        return {
            "landmarks": describe_track(track, folder / f"landmarks-{job.request.id}.npy"),
            "found": int(track.found.sum()),
            "of": int(track.found.size),
        }

    def function(self, job: Job) -> dict[str, Any]:
        """Measure both ventricles; write a report where one is asked for.

        Arguments of the job:
            segmentation: As `describe_segmentation` describes it.
            landmarks: As `describe_track` describes it; may be missing.
            heart_rate_bpm: Where known.
            folder: Where the picture of the segments goes; no picture without it.
            cine: As `arrays.describe_cine` describes it: images for the page; may be missing.
            path: Where a report goes, see `write_report`; no report without it.
            title: Heading of the report.

        Returns:
            ``report``: `FunctionReport.to_dict`. ``table``: one row a quantity, see `function_table`. ``bullseye``: a
            PNG, empty where it could not be drawn; ``bullseye_problem``: why. ``files``: what was written.

        Raises:
            CardioDiTError: As `cardiac_function` does, or the report cannot be written.
        """
        job.check_arguments("segmentation", "landmarks", "heart_rate_bpm", "folder", "cine", "path", "title")
        segmentation = segmentation_of(job.argument("segmentation", dict))
        landmarks = _optional(job.argument("landmarks", dict, None), track_of)
        cine = _optional(job.argument("cine", dict, None), cine_of)
        folder, path = job.argument("folder", str, None), job.argument("path", str, None)
        job.progress("measure", step=0, of=2, fraction=0.0, eta_s=None)
        from CardioDiTLib.function.cardiac_function import cardiac_function

        report = cardiac_function(segmentation, landmarks, job.argument("heart_rate_bpm", float, None))
        _check(job)
        job.progress("draw", step=1, of=2, fraction=0.5, eta_s=None)
        picture, problem = ("", "")
        if folder is not None:
            picture, problem = write_bullseye(report, Path(folder) / f"bullseye-{job.request.id}.png")
        files: list[Path] = []
        if path is not None:
            title = job.argument("title", str, None) or "Cardiac function"
            files = write_report(report, Path(path), title, segmentation, cine, landmarks)
        job.progress("draw", step=2, of=2, fraction=1.0, eta_s=0.0)
        return {
            "report": report.to_dict(),
            "table": function_table(report),
            "bullseye": picture,
            "bullseye_problem": problem,
            "files": [str(file) for file in files],
        }

    def save_landmarks(self, job: Job) -> dict[str, Any]:
        """Write landmarks as a file.

        Arguments of the job:
            landmarks: As `describe_track` describes them.
            path: Destination, ``.csv`` or ``.json``.

        Returns:
            ``path``.
        """
        job.check_arguments("landmarks", "path")
        from CardioDiTLib.landmarks.files import save_landmarks

        return {"path": str(save_landmarks(track_of(job.argument("landmarks", dict)), job.argument("path", str)))}

    def _segmentation_model(self, folder: str | None, job: Job) -> SegmentationModel:
        """A loaded model; the last one is kept, and one that has changed on disk is loaded anew."""
        load_torch()
        from CardioDiTLib.files import sha256_of
        from CardioDiTLib.segmentation.model import KIND, MANIFEST_NAME, embedded_model_folder, load_model

        place = KIND.find(folder, embedded_model_folder())
        described = place / MANIFEST_NAME
        key = (str(place.resolve()), sha256_of(described) if described.is_file() else "")
        if self._model is None or self._model[0] != key:
            job.progress("load", step=0, of=1, fraction=0.0, eta_s=None)
            self._model = (key, load_model(place))
        return self._model[1]


def _optional(values: Mapping[str, Any] | None, read: Any) -> Any:
    return None if values is None else read(values)


def _check(job: Job) -> None:
    if job.cancel.is_set():
        raise Cancelled()

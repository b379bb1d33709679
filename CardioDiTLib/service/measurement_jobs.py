"""Measurements in the worker: labels, landmarks, function. Networks stay loaded from one request to the next."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from CardioDiTLib.function.outputs import function_table
from CardioDiTLib.service.arrays import cine_of, describe_segmentation, describe_track, segmentation_of, track_of
from CardioDiTLib.service.job import Job, JobListener, Loaded
from CardioDiTLib.service.probe import load_torch
from CardioDiTLib.workflow import function, landmarks, segment

if TYPE_CHECKING:
    from CardioDiTLib.segmentation.model import SegmentationModel


class MeasurementJobs:
    """Jobs ``segment``, ``landmarks``, ``function`` and ``save_landmarks``."""

    def __init__(self) -> None:
        self._models: Loaded[SegmentationModel] = Loaded()

    def segment(self, job: Job) -> dict[str, Any]:
        """Label the ventricles in every frame.

        Arguments of the job:
            cine: As `arrays.describe_cine` describes it.
            folder: Where the labels go.
            weights, device: See `SegmentRequest`.

        Returns:
            ``segmentation``: as `describe_segmentation` describes it.

        Raises:
            CardioDiTError: As `CardioDiTLib.segment` does.
        """
        options = ("weights", "device")
        job.check_arguments("cine", "folder", *options)
        folder = Path(job.argument("folder", str))
        request = segment.SegmentRequest(cine_of(job.argument("cine", dict)), **job.given(*options))
        model = self._model(request.weights, job)
        done = segment.run(request, progress=JobListener(job, "segment"), cancel=job.cancel, model=model)
        path = folder / f"segmentation-{job.request.id}.npy"
        return {"segmentation": describe_segmentation(done.segmentation, path)}

    def landmarks(self, job: Job) -> dict[str, Any]:
        """Find the insertion points in every frame.

        Arguments of the job:
            cine: As `arrays.describe_cine` describes it.
            folder: Where the points go.
            segmentation: Labels of the same frames, as `describe_segmentation` describes them; may be missing.
            method, weights, segmentation_weights, device, track, swap: See `LandmarkRequest`.

        Returns:
            ``landmarks``: as `describe_track` describes it; ``found`` and ``of``: points found, points asked for.

        Raises:
            CardioDiTError: As `detect_landmarks` does.
        """
        options = ("method", "weights", "segmentation_weights", "device", "track", "swap")
        job.check_arguments("cine", "folder", "segmentation", *options)
        folder = Path(job.argument("folder", str))
        cine, labels = cine_of(job.argument("cine", dict)), job.argument("segmentation", dict, None)
        request = landmarks.LandmarkRequest(
            cine, segmentation=None if labels is None else segmentation_of(labels), **job.given(*options)
        )
        job.progress("load", step=0, of=1, fraction=0.0, eta_s=None)
        load_torch()
        track = landmarks.run(request, progress=JobListener(job, "landmarks"), cancel=job.cancel)
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
        labels = segmentation_of(job.argument("segmentation", dict))
        points, cine = job.argument("landmarks", dict, None), job.argument("cine", dict, None)
        folder = job.argument("folder", str, None)
        request = function.FunctionRequest(
            labels,
            landmarks=None if points is None else track_of(points),
            cine=None if cine is None else cine_of(cine),
            report=job.argument("path", str, None),
            bullseye=None if folder is None else str(Path(folder) / f"bullseye-{job.request.id}.png"),
            **job.given("heart_rate_bpm", "title"),
        )
        done = function.run(request, progress=JobListener(job), cancel=job.cancel)
        return {
            "report": done.report.to_dict(),
            "table": function_table(done.report),
            "bullseye": done.bullseye,
            "bullseye_problem": done.bullseye_problem,
            "files": [str(file) for file in done.files],
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

    def _model(self, folder: str | None, job: Job) -> SegmentationModel:
        load_torch()
        from CardioDiTLib.segmentation.model import KIND, MANIFEST_NAME, embedded_model_folder, load_model

        place = KIND.find(folder, embedded_model_folder())
        return self._models.get(job, place / MANIFEST_NAME, lambda: load_model(place))

"""A cine in, its insertion points out."""

from __future__ import annotations

import os

import numpy as np

from CardioDiTLib.cine import Cine, LandmarkTrack, Segmentation
from CardioDiTLib.data.slice_inference import FLIPS
from CardioDiTLib.device import choose_device, told_when_out_of_memory
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.landmarks import model as landmark_model
from CardioDiTLib.landmarks.angle_check import doubted_angles, without_turned_ends
from CardioDiTLib.landmarks.fusion import fused_tracks
from CardioDiTLib.landmarks.heatmap import landmarks_from_network
from CardioDiTLib.landmarks.model import MANIFEST_NAME as LANDMARKS_JSON
from CardioDiTLib.landmarks.model import LandmarkModel
from CardioDiTLib.landmarks.septal_contour import landmarks_from_segmentation
from CardioDiTLib.landmarks.tracking import FEWEST_FRAMES, track_landmarks
from CardioDiTLib.progress import CancelSource, Stop
from CardioDiTLib.progress import StepCallback as Progress
from CardioDiTLib.segmentation import model as segmentation_model
from CardioDiTLib.segmentation.model import MANIFEST_NAME as SEGMENTATION_JSON
from CardioDiTLib.segmentation.model import SegmentationModel
from CardioDiTLib.segmentation.segment import segment

METHODS = ("auto", "network", "segmentation", "fusion")

Weights = LandmarkModel | str | os.PathLike[str] | None
SegmentationWeights = SegmentationModel | str | os.PathLike[str] | None


def detect_landmarks(
    cine: Cine,
    *,
    method: str = "auto",
    segmentation: Segmentation | None = None,
    weights: Weights = None,
    segmentation_weights: SegmentationWeights = None,
    device: str = "auto",
    progress: Progress | None = None,
    cancel: CancelSource = None,
    track: bool = True,
    swap: bool = False,
    views: int | None = None,
    batch: int = 16,
) -> LandmarkTrack:
    """Finds the right-ventricular insertion points in every slice and frame of a short-axis cine.

    ================  ==============================================================================================
    method            points
    ================  ==============================================================================================
    ``network``       of the landmark network
    ``segmentation``  ends of the septum in labels: those given, else those that ``segment`` finds
    ``fusion``        both, brought together slice by slice (``fused_tracks``); in systole, end slices whose line
                      turns away from the others are left out (``without_turned_ends``)
    ``auto``          ``fusion`` where both can be had, else the one that can
    ================  ==============================================================================================

    The network learned from the ends of the septum in an expert's labels, not from points marked by hand. Which point
    is the anterior one is decided once for the cine, in the patient's coordinates (``name_points``); an image that was
    mirrored without a trace in its file gives exchanged names, and, where labels are at hand, mostly a ``naming_note``
    in ``meta["landmarks"]`` (``handedness``).

    Args:
        cine: Any spacing, size and orientation of the axes.
        method: See above.
        segmentation: Labels of this cine, where they are at hand; saves the time of finding them.
        weights: Landmark model from `load_model`, the folder of one, or None for the embedded model.
        segmentation_weights: The same for the segmentation model.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        progress: Called with (steps done, steps in all), a step being a frame seen by a network.
        cancel: A function that says whether to stop, an event, or None; asked before every batch.
        track: Follow the points through the cycle (``track_landmarks``): outliers out, short gaps filled, a little
            smoothing.
        swap: Exchange anterior and inferior, for mirrored images that do not say so.
        views: The landmark network sees the image and so many of its mirror images, 1 to 4 in all, and the mean is
            taken; each takes as long as the first. None for two where labels tell where the heart lies, else four.
        batch: Slices at once, each with all its mirror images.

    Returns:
        Points (T, Z, 2, 3) mm RAS, anterior then inferior, NaN where there is none; confidence (T, Z, 2); how they were
        found in ``meta["landmarks"]``.

    Raises:
        CardioDiTError: No such method, no or damaged weights, labels of another cine, no such device, blank images, or
            not enough memory.
        Cancelled: `cancel` said so.

    Examples:
        >>> track = detect_landmarks(cine)  # doctest: +SKIP
        >>> anterior_mm = track.points[0, 4, 0]  # doctest: +SKIP
    """
    if method not in METHODS:
        raise CardioDiTError(f"There is no method '{method}'.", f"Use one of {', '.join(METHODS)}.")
    if batch < 1:
        raise CardioDiTError(f"A batch of {batch} slices is not possible.", "Give 1 or more.")
    if views is not None and not 1 <= views <= len(FLIPS):
        raise CardioDiTError(f"{views} views are not possible.", f"Give 1 to {len(FLIPS)}.")
    if segmentation is not None and segmentation.shape != cine.shape:
        raise CardioDiTError(
            f"The segmentation has the shape {segmentation.shape}, the cine {cine.shape}.",
            "Give the segmentation of this cine, or none.",
        )
    if segmentation is not None and not np.allclose(segmentation.affine, cine.affine, atol=1e-2):
        raise CardioDiTError(
            "The segmentation does not lie where the cine lies, or its voxels are stored in another order.",
            "Give the segmentation of this cine, or none.",
        )
    if method == "auto":
        method = _best(weights, segmentation, segmentation_weights)
    where, stop = choose_device(device), Stop(cancel)
    with_network = method in ("network", "fusion")
    with_labels = method in ("segmentation", "fusion")
    # Opened before the first frame: what is missing is told at once.
    model = _landmark_model(weights) if with_network else None
    to_segment = with_labels and segmentation is None
    labeller = _segmentation_model(segmentation_weights) if to_segment else None
    parts = int(with_network) + int(to_segment)

    def part(number: int) -> Progress:
        def show(done: int, of: int) -> None:
            if progress is not None:
                progress(number * of + done, parts * of)

        return show

    tracks = []
    if to_segment:
        segmentation = segment(cine, weights=labeller, device=device, progress=part(0), cancel=cancel, batch=batch)
    if model is not None:
        home = next(model.network.parameters()).device
        try:
            with told_when_out_of_memory("Give a smaller batch, or the device cpu."):
                model.network.to(where)
                tracks.append(
                    landmarks_from_network(
                        cine,
                        model,
                        device=where,
                        batch=batch,
                        views=views,
                        swap=swap,
                        labels=segmentation if with_labels else None,
                        progress=part(int(to_segment)),
                        stop=stop,
                    )
                )
        finally:
            model.network.to(home)
    if with_labels:
        assert segmentation is not None
        stop.check()
        tracks.append(landmarks_from_segmentation(segmentation, swap=swap))
    found = tracks[0] if len(tracks) == 1 else fused_tracks(tracks[0], tracks[1])
    # Not for an ED/ES pair: without neighbours in time, points that deviate across slices are mostly right.
    followed = track_landmarks(found) if track and cine.n_frames >= FEWEST_FRAMES else found
    return doubted_angles(without_turned_ends(followed) if len(tracks) > 1 else followed)


def _best(weights: Weights, segmentation: Segmentation | None, segmentation_weights: SegmentationWeights) -> str:
    """The method for what is at hand."""
    has_network = weights is not None or (landmark_model.embedded_model_folder() / LANDMARKS_JSON).is_file()
    has_labels = (
        segmentation is not None
        or segmentation_weights is not None
        or (segmentation_model.embedded_model_folder() / SEGMENTATION_JSON).is_file()
    )
    if has_network and has_labels:
        return "fusion"
    return "segmentation" if has_labels else "network"


def _landmark_model(weights: Weights) -> LandmarkModel:
    return weights if isinstance(weights, LandmarkModel) else landmark_model.load_model(weights)


def _segmentation_model(weights: SegmentationWeights) -> SegmentationModel:
    return weights if isinstance(weights, SegmentationModel) else segmentation_model.load_model(weights)

"""Insertion points of a cine, or of labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from CardioDiTLib.cine import Cine, LandmarkTrack, Segmentation
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.io.label_convention import are_labels
from CardioDiTLib.landmarks.files import SUFFIXES, save_landmarks
from CardioDiTLib.landmarks.septal_contour import landmarks_from_segmentation
from CardioDiTLib.landmarks.tracking import FEWEST_FRAMES, track_landmarks
from CardioDiTLib.progress import CancelSource, Listener, steps_to
from CardioDiTLib.schema import Record
from CardioDiTLib.workflow.sources import (
    CineFile,
    LabelFile,
    LabelSource,
    check_destination,
    check_models,
    name_of,
    on_one_grid,
    reading_notes,
)

Kind = Literal["auto", "cine", "segmentation"]


@dataclass(frozen=True)
class LandmarkRequest(Record):
    """An order for insertion points.

    Args:
        input: A cine, labels, or the file of either.
        source: What lies in a file; "auto" takes whole numbers from 0 to 3, or those of a known convention, for labels.
        destination: File for the points, .csv or .json; without it they are only given back, also where there are none.
        method: For a cine, as `detect_landmarks` takes it.
        segmentation: Labels of the cine, in place of those that would be found.
        label_map: What the numbers of labels in a file mean; None tells it by anatomy.
        weights, segmentation_weights: Folders of models in place of the embedded ones.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        track: Take outliers out, fill short gaps, smooth in time; None does so for cines with frames enough.
        swap: Exchange anterior and inferior.
        square_axes: Take the nearest right-angled axes.
        overwrite: Replace a file that is there.
    """

    record_name = "request for landmarks"

    input: str | Cine | Segmentation
    source: Kind = "auto"
    destination: str | None = None
    method: str = "auto"
    segmentation: str | Segmentation | None = None
    label_map: str | None = None
    weights: str | None = None
    segmentation_weights: str | None = None
    device: str = "auto"
    track: bool | None = None
    swap: bool = False
    square_axes: bool = False
    overwrite: bool = False


def run(
    request: LandmarkRequest,
    *,
    progress: Listener | None = None,
    cancel: CancelSource = None,
    note: Callable[[str], object] = lambda sentence: None,
) -> LandmarkTrack:
    """Find, and write where a file is asked for.

    Args:
        request: The order.
        progress: Told of the stage "landmarks", in frames seen by a network.
        cancel: Asked before every batch of slices.
        note: Told how labels were read, before anything is made of them.

    Raises:
        CardioDiTError: As `detect_landmarks` and `landmarks_from_segmentation` do; where a file is asked for, also that
            there is no point, or that the file is there.
        Cancelled: `cancel` said so.
    """
    destination = None if request.destination is None else Path(request.destination)
    if destination is not None:
        if destination.suffix.lower() not in SUFFIXES:
            raise CardioDiTError(f"'{destination.name}' is no landmark file.", "Use .csv or .json.")
        check_destination(destination, request.overwrite)
    check_models(request.weights, request.segmentation_weights, device=request.device)
    given = request.input if isinstance(request.input, Cine | Segmentation) else _read(request, request.input, note)
    name = Path(request.input).name if isinstance(request.input, str) else "the cine"
    if isinstance(given, Segmentation):
        track = landmarks_from_segmentation(given, swap=request.swap)
        nothing = (
            f"'{name}' has no slice in which the ventricles touch.",
            "Check that the labels are 1 RV, 2 myocardium, 3 LV.",
        )
    else:
        track = _detected(given, request, request.track is not False, progress, cancel, note)
        nothing = (
            f"No insertion point was found in '{name}'.",
            "Check that it is a short-axis cine, or try another --method.",
        )
        if destination is None:
            return track
    if destination is not None and not track.found.any():
        raise CardioDiTError(*nothing)
    # those of a cine with frames enough were followed as `detect_landmarks` does it, before doubtful ones were left out
    if request.track and (isinstance(given, Segmentation) or track.n_frames < FEWEST_FRAMES):
        track = track_landmarks(track)
    if destination is not None:
        save_landmarks(track, destination)
    return track


def _read(request: LandmarkRequest, path: str, note: Callable[[str], object]) -> Cine | Segmentation:
    labels = LabelFile(path, request.label_map, request.square_axes)
    cine_file = CineFile(path, square_axes=request.square_axes)
    if request.source == "segmentation":
        return _labels(labels, note)
    if request.source == "cine" and request.label_map is None:
        return cine_file.load()
    try:
        cine = cine_file.load()
    except CardioDiTError as error:
        # A single volume is no cine, but may be labels; what is wrong with any other file is told as for a cine.
        try:
            return _labels(labels, note)
        except CardioDiTError:
            raise error from None
    if request.label_map is not None or are_labels(cine.array) or not cine.array.any():
        return _labels(labels, note)
    return cine


def _labels(source: LabelSource, note: Callable[[str], object]) -> Segmentation:
    if isinstance(source, Segmentation):
        return source
    segmentation = source.load()
    for sentence in reading_notes(segmentation.meta):
        note(sentence)
    return segmentation


def _detected(
    cine: Cine,
    request: LandmarkRequest,
    followed: bool,
    progress: Listener | None,
    cancel: CancelSource,
    note: Callable[[str], object],
) -> LandmarkTrack:
    from CardioDiTLib.landmarks.detect import detect_landmarks

    labels = None
    if request.segmentation is not None:
        source: LabelSource
        if isinstance(request.segmentation, str):
            source = LabelFile(request.segmentation, request.label_map, request.square_axes)
        else:
            source = request.segmentation
        labels = _labels(source, note)
        if isinstance(source, LabelFile) and not on_one_grid(labels, cine):
            raise CardioDiTError(
                f"The labels '{name_of(source)}' are not on the grid of '{Path(str(request.input)).name}'.",
                "Give labels of this very cine.",
            )
    return detect_landmarks(
        cine,
        method=request.method,
        segmentation=labels,
        weights=request.weights,
        segmentation_weights=request.segmentation_weights,
        device=request.device,
        progress=steps_to(progress, "landmarks"),
        cancel=cancel,
        track=followed,
        swap=request.swap,
    )

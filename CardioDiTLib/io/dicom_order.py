"""Frames of a stack of DICOM images in their order, and the time of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.io.dicom_image import DicomImage
from CardioDiTLib.io.dicom_stacks import Stack
from CardioDiTLib.io.frame_times import add_note, assumed_times
from CardioDiTLib.io.plausible import cycle_of, cycle_problem


def _clock_seconds(image: DicomImage, keyword: str) -> float | None:
    """A time of day (HHMMSS.ffffff) in seconds."""
    text = str(image.header.get(keyword) or "").replace(":", "")
    try:
        return int(text[0:2]) * 3600 + int(text[2:4] or 0) * 60 + float(text[4:] or 0)
    except ValueError:
        return None


_Key = Callable[[DicomImage], float | None]
_MILLISECONDS: dict[str, _Key] = {
    "TriggerTime": lambda image: image.number("TriggerTime"),
    "NominalCardiacTriggerDelayTime": lambda image: image.number("NominalCardiacTriggerDelayTime"),
}
_CLOCKS = ("ContentTime", "AcquisitionTime")
_SERIES_NUMBER: _Key = lambda image: image.number("SeriesNumber")  # noqa: E731 - like its neighbours
_ORDER_KEYS: dict[str, _Key] = {
    **_MILLISECONDS,
    "TemporalPositionIdentifier": lambda image: image.number("TemporalPositionIdentifier"),
    "ContentTime": lambda image: _clock_seconds(image, "ContentTime"),
    "AcquisitionTime": lambda image: _clock_seconds(image, "AcquisitionTime"),
    "InstanceNumber": lambda image: image.number("InstanceNumber"),
}


def sorted_frames(stack: Stack, meta: dict[str, Any]) -> list[list[DicomImage]]:
    """``[z][t]``, sorted by the first key that tells all frames of every slice apart."""
    keys = {**_ORDER_KEYS, **({"SeriesNumber": _SERIES_NUMBER} if stack.gathered else {})}
    for name, key in keys.items():
        values = [[key(image) for image in images] for images in stack.slices]
        if any(None in row for row in values):
            continue
        known = [[value for value in row if value is not None] for row in values]
        if name in _CLOCKS:
            known = [_across_midnight(row) for row in known]
        if all(len(set(row)) == len(row) for row in known):
            meta["frame_order_from"] = name
            return [
                [images[i] for i in np.argsort(row, kind="stable")]
                for images, row in zip(stack.slices, known, strict=True)
            ]
        if name in _MILLISECONDS:
            _refuse_twins(known, stack)
    raise CardioDiTError(
        "The DICOM images do not say in which order the frames come (no trigger time, no instance number).",
        "Check that the folder holds one cine, or choose it with series_uid.",
    )


def _across_midnight(seconds: list[float]) -> list[float]:
    """Times of day of one breath-hold, those after midnight a day later."""
    if max(seconds) - min(seconds) < 43_200.0:
        return seconds
    return [second + 86_400.0 if second < 43_200.0 else second for second in seconds]


def _refuse_twins(times: list[list[float]], stack: Stack) -> None:
    """Every moment there several times over: two reconstructions, which no other order may interleave."""
    for number, row in enumerate(times):
        counts = set(Counter(row).values())
        if len(counts) == 1 and 1 < len(row) // len(set(row)) < len(row):
            raise CardioDiTError(
                f"Slice {number + 1} of {len(stack.slices)} has {counts.pop()} images for each trigger time.",
                "Two reconstructions of one cine are mixed; choose one with series_uid, or export them separately.",
            )


def frame_times_of(order: list[list[DicomImage]], meta: dict[str, Any]) -> NDArray[np.float64]:
    """(T,) seconds from trigger times, else from the heart period, else assumed."""
    n_frames = len(order[0])
    key = _MILLISECONDS.get(meta["frame_order_from"])
    period = heart_period_s(order)
    if key is not None:
        triggers = np.array([[key(image) for image in frames] for frames in order], dtype=np.float64) / 1000.0
        after_first = triggers - triggers[:, :1]
        intervals = np.median(np.diff(after_first, axis=1), axis=1)
        times = np.asarray(after_first.mean(axis=0))
        problem = cycle_problem(times)
        if not problem or period is None:
            meta["frame_times_from"] = meta["frame_order_from"]
            bounds = (intervals.min(), intervals.max())
            meta["slice_frame_interval_range_s"] = [round(float(bound), 6) for bound in bounds]
            return times  # whoever loads it judges them
        add_note(meta, f"Trigger times that span {cycle_of(times):.3g} s, {problem}, were not used.")
    if period is not None:
        meta["frame_times_from"] = "heart period"
        return np.arange(n_frames, dtype=np.float64) * (period / n_frames)
    meta["frame_times_from"] = "assumed"
    return assumed_times(n_frames, meta)


def _mean_number(order: list[list[DicomImage]], keyword: str) -> float | None:
    values = [value for frames in order for image in frames if (value := image.number(keyword)) is not None]
    return float(np.mean(values)) if values else None


def heart_period_s(order: list[list[DicomImage]]) -> float | None:
    """Time from beat to beat, mean over the images; None where it is not given or nonsense."""
    interval = _mean_number(order, "NominalInterval")
    rate = _mean_number(order, "HeartRate")
    if interval and 200.0 <= interval <= 3000.0:
        return interval / 1000.0
    if rate and 20.0 <= rate <= 300.0:
        return 60.0 / rate
    return None

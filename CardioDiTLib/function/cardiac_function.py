"""From labels to the function of both ventricles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.cine import LandmarkTrack, Segmentation
from CardioDiTLib.data.header_check import header_doubts
from CardioDiTLib.data.orientation import End, base_end
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.function.aha import CAP_REASON, segment_labels, segment_layout, segment_mass_g, segment_thickness_mm
from CardioDiTLib.function.failed_frames import (
    failed_frames,
    failed_muscle,
    failed_sentence,
    frames_without_ends,
    missing_ends_note,
    right_ventricle_note,
    sureness_note,
)
from CardioDiTLib.function.function_report import FunctionReport
from CardioDiTLib.function.septum import misplaced_note, septal_curves, turning_axis
from CardioDiTLib.function.timing import CycleTime, cycle_time, peak_rates
from CardioDiTLib.function.volumes import (
    USUAL_LENGTH_MM,
    labelled_length_mm,
    only_base_open,
    open_end,
    pixel_counts,
    volume_curve_ml,
)
from CardioDiTLib.function.wall_thickness import RingThickness, ring_thickness
from CardioDiTLib.io.label_convention import named_segmentation
from CardioDiTLib.labels import LV, MYOCARDIUM, MYOCARDIUM_G_PER_ML, RV

NO_BASE = (
    "Which end of the stack is the base cannot be told from its header or labels, so slices there were not judged by "
    "what is known of the base."
)

_NAMES = {LV: "left ventricle", RV: "right ventricle"}
STROKES_APART_ML, STROKES_APART_SHARE = 15.0, 0.25
"""Stroke volumes of the ventricles that differ by more than both are told: readers differ by less (Petersen 2017)."""

_PHASES = ("end-diastole", "end-systole")
_SEGMENT_FIELDS = (
    *("segment_thickness_ed_mm", "segment_thickness_es_mm"),
    *("segment_thickening_percent", "segment_mass_ed_g"),
)


def cardiac_function(
    segmentation: Segmentation,
    landmarks: LandmarkTrack | None = None,
    heart_rate_bpm: float | None = None,
    *,
    stack_covers_heart: bool | None = None,
    label_map: Mapping[int, int] | str | None = None,
) -> FunctionReport:
    """Measure volumes, ejection fraction, mass, output, rates, wall thickness by AHA segments, and the septum.

    Volumes are sums of discs, labelled area times slice distance (gaps included); slices that the valve plane or the
    tip cuts count as labelled, at the full distance (see :func:`CardioDiTLib.function.volumes.volume_curve_ml`). Which
    slices belong to the ventricle at the base is decided by the labels alone. ED is the frame of the largest and ES
    that of the smallest volume, for each ventricle on its own; frames without a label of the ventricle count as not
    labelled. A ventricle that the stack does not cover (see :func:`CardioDiTLib.function.volumes.open_end`) keeps its
    curve, but has no EDV, ESV, EF, output or rates. Stacks are planned from the valve plane on, so a ventricle that
    only goes on at the base counts as covered, with a note, where at least
    :data:`CardioDiTLib.function.volumes.USUAL_LENGTH_MM` of it are labelled.

    Args:
        segmentation: (T, Z, Y, X) labels of one cycle, or of single phases of it.
        landmarks: Insertion points of the same frames and slices, mm RAS; without them there are no segments.
        heart_rate_bpm: Beats a minute, where known.
        stack_covers_heart: True: the caller vouches that the first and the last slice with a label are the ends of the
            ventricles. False: whatever goes on beyond the stack is not covered, at the base too, however much of it is
            labelled. None: as said above.
        label_map: From the labels to 0 background, 1 RV, 2 myocardium, 3 LV, or the name of a convention; None to take
            them so unless the anatomy contradicts, which is then noted (see
            :mod:`CardioDiTLib.io.label_convention`).

    Returns:
        The report. What could not be measured is NaN, with a reason.

    Raises:
        CardioDiTError: Frames or slices of the landmarks are not those of the segmentation, or the heart rate is not
            possible.

    Examples:
        >>> from CardioDiTLib.data import make_phantom
        >>> phantom = make_phantom()
        >>> report = cardiac_function(phantom.segmentation, phantom.landmarks)
        >>> round(report.ef_percent), round(report.wall_thickness_ed_mm)
        (58, 9)
    """
    if not isinstance(segmentation, Segmentation):
        raise CardioDiTError(
            f"Function is measured on a Segmentation, this is a {type(segmentation).__name__}.",
            "Segment the cine first: its labels say where the ventricles are, its grey values do not.",
        )
    if landmarks is not None and not isinstance(landmarks, LandmarkTrack):
        raise CardioDiTError(
            f"Insertion points are a LandmarkTrack, this is a {type(landmarks).__name__}.",
            "Give what detect_landmarks or load_landmarks returned.",
        )
    if landmarks is not None and (landmarks.n_frames, landmarks.n_slices) != segmentation.shape[:2]:
        raise CardioDiTError(
            f"The landmarks have {landmarks.n_frames} frames and {landmarks.n_slices} slices, "
            f"the segmentation {segmentation.n_frames} and {segmentation.n_slices}.",
            "Give landmarks that were found on the same cine.",
        )
    segmentation, label_note = named_segmentation(segmentation, label_map)
    time = cycle_time(segmentation, heart_rate_bpm)
    base = base_end(segmentation.affine, segmentation.array)
    values: dict[str, Any] = {
        "frame_times_s": segmentation.frame_times,
        "cycle_s": time.cycle_s,
        "heart_rate_bpm": time.heart_rate_bpm,
    }
    reasons = {"cycle_s": time.cycle_reason, "heart_rate_bpm": time.rate_reason}
    notes = [*([label_note] if label_note else []), *time.notes]
    astray = "" if landmarks is None else misplaced_note(segmentation, landmarks)
    notes += [astray] if astray else []
    if base is None and segmentation.n_slices >= 3:
        notes.append(NO_BASE)
    for label, prefix in ((LV, ""), (RV, "rv_")):
        _ventricle(segmentation, label, prefix, time, base, stack_covers_heart, values, reasons, notes)
    notes += _strokes_apart(values)
    _mass(segmentation, base, stack_covers_heart, values, reasons)
    _wall(segmentation, landmarks, base, values, reasons, notes)
    _septum(segmentation, landmarks, values, reasons)
    muscle = (values.get("ed_frame"), values.get("es_frame"))
    right = (values.get("rv_ed_frame"), values.get("rv_es_frame"))
    told = sureness_note(segmentation.meta, {"RV": right, "myocardium": muscle, "LV": muscle})
    notes += [told] if told else []
    named = str((landmarks.meta if landmarks is not None else {}).get("landmarks", {}).get("naming_note", ""))
    notes += [doubt for doubt in header_doubts(segmentation.affine, segmentation.array) if doubt not in named]
    notes += [named] if named else []
    meta = dict(segmentation.meta)
    if landmarks is not None and landmarks.meta.get("landmarks"):
        meta["landmarks"] = landmarks.meta["landmarks"]
    reasons = {name: _sentence(reason) for name, reason in reasons.items() if reason}
    return FunctionReport(**values, reasons=reasons, notes=tuple(dict.fromkeys(notes)), meta=meta)


def _sentence(reason: str) -> str:
    return f"{reason[0].upper()}{reason[1:].rstrip('.')}."


def _phases_of_beat(volume: NDArray[np.float64], what: str) -> tuple[int, int] | str:
    """Frames of the largest and the smallest volume, or why they cannot be told."""
    labelled = int(np.isfinite(volume).sum())
    if labelled == 0:
        return f"the {what} is not labelled in any frame"
    if len(volume) == 1:
        return "there is one frame only, so end-diastole and end-systole cannot be told"
    if labelled == 1:
        return f"the {what} is labelled in one frame only, so end-diastole and end-systole cannot be told"
    if np.nanmax(volume) == np.nanmin(volume):
        return f"the volume of the {what} is the same in all frames, so end-diastole and end-systole cannot be told"
    return int(np.nanargmax(volume)), int(np.nanargmin(volume))


def _ventricle(
    segmentation: Segmentation,
    label: int,
    prefix: str,
    time: CycleTime,
    base: End | None,
    covers: bool | None,
    values: dict[str, Any],
    reasons: dict[str, str],
    notes: list[str],
) -> None:
    """Volumes, EF, output and rates of one ventricle."""
    what = _NAMES[label]
    volume = volume_curve_ml(segmentation, label)
    curve = f"{prefix or 'lv_'}volume_ml"
    failed = failed_frames(volume)
    out = ""
    if failed.any():
        verb = "were" if failed.sum() > 1 else "was"
        out = f"{failed_sentence(what, volume, failed)} and {verb} left out: look at the labels there"
        notes.append(f"{out[0].upper()}{out[1:]}.")
        volume = np.where(failed, np.nan, volume)
    values[curve] = volume
    labelled = np.isfinite(volume)
    gaps = f"the {what} is not labelled in {int((~labelled).sum())} of {len(volume)} frames" if labelled.any() else ""
    if labelled.all():
        gaps = ""
    gaps = out or gaps
    reasons[curve] = gaps or ("" if labelled.any() else f"the {what} is not labelled in any frame")
    single = [f"{prefix}{name}" for name in ("edv_ml", "esv_ml")]
    both = [f"{prefix}{name}" for name in ("sv_ml", "ef_percent")]
    output = f"{prefix}cardiac_output_l_min"
    rates = [f"{prefix}{name}" for name in ("peak_ejection_rate_ml_s", "peak_filling_rate_ml_s")]
    found = _phases_of_beat(volume, what)
    if isinstance(found, str) and out:
        found = f"{out}, and the rest does not tell end-diastole from end-systole"
    if isinstance(found, str):
        names = (*single, *both, output, *rates, f"{prefix}ed_frame", f"{prefix}es_frame")
        reasons.update(dict.fromkeys(names, found))
        return
    values[f"{prefix}ed_frame"], values[f"{prefix}es_frame"] = found
    areas = pixel_counts(segmentation, label).astype(np.float64)
    areas[failed] = 0.0  # such a frame does not say that the valve plane passes through an end slice
    lost = missing_ends_note(what, frames_without_ends(areas, volume))
    notes += [lost] if lost else []
    if label == RV:
        share = 100.0 * (1.0 - float(volume[found[1]]) / float(volume[found[0]]))
        small = right_ventricle_note(areas, found, share, segmentation.spacing[2], base)
        notes += [small] if small else []
    not_covered = ["", ""]
    for index, (frame, name) in enumerate(zip(found, single)):
        where = open_end(areas, frame, base)
        taken = _taken_as_covered(where, areas, segmentation, base, covers)
        if taken:
            notes.append(f"The {what} reaches the {where}; {taken}")
        if where and not taken:
            not_covered[index] = (
                f"the slices may not cover the {what}, which reaches the {where}; "
                f"{volume[frame]:.1f} mL are labelled at {_PHASES[index]}; if they do, the option "
                "stack_covers_heart lifts this"
            )
        else:
            values[name] = float(volume[frame])
        reasons[name] = not_covered[index]
    missing = not_covered[0] or not_covered[1]
    if missing:
        reasons.update(dict.fromkeys((*both, output, *rates), missing))
        if not reasons[curve]:
            reasons[curve] = "only the labelled part of the ventricle, which the slices may not cover"
        return
    edv, esv = values[single[0]], values[single[1]]
    values[both[0]], values[both[1]] = edv - esv, 100.0 * (edv - esv) / edv
    reasons[output] = time.rate_reason
    if np.isfinite(time.heart_rate_bpm):
        values[output] = (edv - esv) * time.heart_rate_bpm / 1000.0
    problem = time.cycle_reason or gaps
    reasons.update(dict.fromkeys(rates, problem))
    if not problem:
        values[rates[0]], values[rates[1]] = peak_rates(volume, time.phases, time.cycle_s)


def _strokes_apart(values: dict[str, Any]) -> list[str]:
    """One ventricle judged by the other: over a beat both eject the same, but for leaks and shunts."""
    left, right = values.get("sv_ml", np.nan), values.get("rv_sv_ml", np.nan)
    if not abs(left - right) > max(STROKES_APART_ML, STROKES_APART_SHARE * max(left, right)):  # NaN: nothing to judge
        return []
    return [
        f"The ventricles eject {left:.0f} mL (left) and {right:.0f} mL (right). Without a leaking valve or a shunt "
        "these are equal: the labels of one of them are probably wrong; check the basal slices at end-systole (frame "
        f"{values['es_frame']} of the left, {values['rv_es_frame']} of the right)."
    ]


def _taken_as_covered(
    where: str | None, areas: NDArray[np.float64], segmentation: Segmentation, base: End | None, covers: bool | None
) -> str:
    """Why a ventricle that goes on beyond the stack counts as covered all the same; empty where it does not."""
    if not where:
        return ""
    if covers:
        return "the caller vouched that nothing of it lies beyond."
    length = labelled_length_mm(areas, segmentation.spacing[2])
    if covers is None and only_base_open(where, base) and length >= USUAL_LENGTH_MM:
        return (
            f"with {length:.0f} mm of it labelled, the stack is taken to begin at the valve plane, "
            "and the volume is that of the labelled slices."
        )
    return ""


def _mass(
    segmentation: Segmentation, base: End | None, covers: bool | None, values: dict[str, Any], reasons: dict[str, str]
) -> None:
    """Muscle over time, and at ED."""
    mass = volume_curve_ml(segmentation, MYOCARDIUM) * MYOCARDIUM_G_PER_ML
    values["lv_mass_curve_g"] = mass
    frame = values.get("ed_frame")
    none = "the myocardium is not labelled in any frame"
    unlabelled = int(np.isnan(mass).sum())
    if unlabelled:
        reasons["lv_mass_curve_g"] = f"the myocardium is not labelled in {unlabelled} of {len(mass)} frames"
    if not np.isfinite(mass).any():
        reasons["lv_mass_curve_g"] = reasons["lv_mass_g"] = none
    elif frame is None:
        reasons["lv_mass_g"] = reasons["edv_ml"]
    elif not np.isfinite(mass[frame]):
        reasons["lv_mass_g"] = "the myocardium is not labelled at end-diastole"
    elif failed := failed_muscle(mass, frame):
        reasons["lv_mass_g"] = f"{failed}: look at the labels there"
    else:
        # The outer outline, cavity and wall together, tells whether muscle goes on beyond the stack.
        areas = pixel_counts(segmentation, MYOCARDIUM, LV).astype(np.float64)
        areas[np.isnan(values["lv_volume_ml"])] = 0.0  # frames that failed, or show no cavity
        where = open_end(areas, frame, base)
        if where is None or _taken_as_covered(where, areas, segmentation, base, covers):
            values["lv_mass_g"] = float(mass[frame])
        else:
            reasons["lv_mass_g"] = (
                f"the slices may not cover the myocardium, which reaches the {where}; "
                f"{mass[frame]:.1f} g are labelled at end-diastole"
            )


def _rings(segmentation: Segmentation, frame: int) -> dict[int, RingThickness]:
    sx, sy, _ = segmentation.spacing
    measured = ((z, ring_thickness(plane, (sx, sy))) for z, plane in enumerate(segmentation.array[frame]))
    return {z: ring for z, ring in measured if ring is not None}


def _wall(
    segmentation: Segmentation,
    landmarks: LandmarkTrack | None,
    base: End | None,
    values: dict[str, Any],
    reasons: dict[str, str],
    notes: list[str],
) -> None:
    """Thickness of rings and segments at ED and ES."""
    for name in ("ring_thickness_ed_mm", "ring_thickness_es_mm"):
        values[name] = np.full(segmentation.n_slices, np.nan)
    for name in _SEGMENT_FIELDS:
        values[name] = np.full(17, np.nan)
    whole = ("wall_thickness_ed_mm", "wall_thickness_es_mm")
    if values.get("ed_frame") is None:
        names = (*whole, "wall_thickening_percent", "ring_thickness_ed_mm", "ring_thickness_es_mm", *_SEGMENT_FIELDS)
        reasons.update(dict.fromkeys(names, reasons["edv_ml"]))
        return
    axis, no_axis = None, "no insertion points were given"
    if landmarks is not None:
        axis, told = turning_axis(segmentation, landmarks, base)
        no_axis = told if axis is None else ""
        if axis is not None and told:
            notes.append(told)
    sx, sy, _ = segmentation.spacing
    for phase, frame, when in zip(("ed", "es"), (values["ed_frame"], values["es_frame"]), _PHASES):
        rings = _rings(segmentation, frame)
        for z, ring in rings.items():
            values[f"ring_thickness_{phase}_mm"][z] = ring.mean_mm((sx, sy))
        thickness = f"wall_thickness_{phase}_mm"
        if rings:
            values[thickness] = float(np.nanmean(values[f"ring_thickness_{phase}_mm"]))
        else:
            problem = f"no slice shows a closed ring of myocardium at {when}"
            reasons[thickness] = reasons[f"ring_thickness_{phase}_mm"] = problem
        segments = [f"segment_thickness_{phase}_mm", *(["segment_mass_ed_g"] if phase == "ed" else [])]
        if landmarks is None or axis is None:
            reasons.update(dict.fromkeys(segments, no_axis))
            continue
        layout = segment_layout(segmentation, landmarks, frame, rings, base, axis)
        if isinstance(layout, str):
            reasons.update(dict.fromkeys(segments, f"at {when}, {layout}"))
            continue
        values[segments[0]] = segment_thickness_mm(segmentation, layout, rings)
        for number in np.flatnonzero(np.isnan(values[segments[0]][:16])) + 1:
            reasons[f"{segments[0]}[{number}]"] = f"no slice with a closed ring lies in this segment at {when}"
        reasons[f"{segments[0]}[17]"] = CAP_REASON
        if phase == "ed":
            values[segments[1]] = segment_mass_g(segmentation, segment_labels(segmentation, layout, rings))
            for number in np.flatnonzero(np.isnan(values[segments[1]][:16])) + 1:
                reasons[f"{segments[1]}[{number}]"] = f"the segment holds no myocardium at {when}"
            if not layout.cap:
                reasons["segment_mass_ed_g[17]"] = "no slice shows muscle without a cavity beyond the last ring"
    _thickening(values, reasons)


def _thickening(values: dict[str, Any], reasons: dict[str, str]) -> None:
    """100 (ES - ED) / ED of the whole wall and of each segment."""
    pairs = (
        ("wall_thickening_percent", "wall_thickness_ed_mm", "wall_thickness_es_mm"),
        ("segment_thickening_percent", "segment_thickness_ed_mm", "segment_thickness_es_mm"),
    )
    for result, at_ed, at_es in pairs:
        ed, es = values.get(at_ed, np.nan), values.get(at_es, np.nan)
        values[result] = 100.0 * (es - ed) / ed
        reasons[result] = reasons.get(at_ed) or reasons.get(at_es) or ""
    for number in range(1, 18):
        own = (reasons.get(f"{name}[{number}]") for name in pairs[1][1:])
        reasons[f"segment_thickening_percent[{number}]"] = next(filter(None, own), "")


def _septum(
    segmentation: Segmentation, landmarks: LandmarkTrack | None, values: dict[str, Any], reasons: dict[str, str]
) -> None:
    """Angle and length curves."""
    if landmarks is None:
        for name in ("septal_angle_deg", "septal_length_mm"):
            values[name] = np.full(segmentation.n_frames, np.nan)
            reasons[name] = "no insertion points were given"
        return
    curves = septal_curves(segmentation, landmarks)
    values["septal_angle_deg"], values["septal_length_mm"] = curves.angle_deg, curves.length_mm
    reasons["septal_angle_deg"], reasons["septal_length_mm"] = curves.angle_reason, curves.length_reason
    missing = int(np.isnan(curves.length_mm).sum())
    if missing and not curves.length_reason:
        text = f"{missing} of {len(curves.length_mm)} frames hold no insertion points"
        reasons["septal_length_mm"] = text
        reasons["septal_angle_deg"] = reasons["septal_angle_deg"] or text

"""Numbers of a labelled cine, and of a cohort of them. Arrays in, numbers out: no network, no file.

Axes are (T, Z, Y, X), base first; labels are 0 background, 1 RV, 2 myocardium, 3 LV cavity. Spacings are (x, y, z) mm.
Slices that only stand in for missing ones are cut away by the caller.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, stats

RV, MYOCARDIUM, LV = 1, 2, 3
MYOCARDIUM_G_PER_ML = 1.05

#: The grid on which cines are judged: rows and columns, mm in plane.
SIZE, SPACING_MM = 128, 1.5
#: An LV counts in a slice where its cavity has this area and muscle makes up this share of its rim.
LV_MINIMUM_MM2, LV_RIM_SHARE = 60.0, 0.5
#: Wall thickness is taken where the ring of muscle is this closed.
WALL_RIM_SHARE = 0.8
#: Usual phase of end-systole, for cines in which no LV is found.
USUAL_SYSTOLE = 0.37

Spacing = tuple[float, float, float]


def _in_plane(connectivity: int = 1) -> NDArray[np.bool_]:
    """Neighbourhood in Y and X only, for arrays (T, Z, Y, X)."""
    return ndimage.generate_binary_structure(2, connectivity)[None, None]


def middle_box(height: int, width: int, share: float = 0.5) -> tuple[slice, slice]:
    """Rows and columns of the middle `share` of a picture, where a heart-centred cine has its heart."""
    top, left = round(height * (1 - share) / 2), round(width * (1 - share) / 2)
    return slice(top, height - top), slice(left, width - left)


def middle(array: NDArray, size: int = SIZE) -> NDArray:
    """The middle `size` rows and columns of (..., Y, X); what is missing is padded with the smallest value."""
    for axis in (-2, -1):
        extra = size - array.shape[axis]
        if extra > 0:
            pad = [(0, 0)] * array.ndim
            pad[axis] = (extra // 2, extra - extra // 2)
            array = np.pad(array, pad, constant_values=array.min())
        start = (array.shape[axis] - size) // 2
        array = np.take(array, range(start, start + size), axis=axis)
    return array


def _largest_in_planes(mask: NDArray[np.bool_], weight: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
    """Largest in-plane component of every plane of (T, Z, Y, X); with `weight` its size is counted there only."""
    # A full 4D structure without links along T and Z keeps the planes apart in one call.
    links = np.zeros((3, 3, 3, 3), bool)
    links[1, 1] = ndimage.generate_binary_structure(2, 1)
    parts, count = ndimage.label(mask, links)
    if count == 0:
        return mask
    sizes = np.bincount((parts if weight is None else parts * weight).ravel(), minlength=count + 1)
    sizes[0] = 0
    plane_of = np.zeros(count + 1, np.int64)
    for index, plane in enumerate(parts.reshape(-1, *mask.shape[2:])):
        plane_of[plane] = index
    plane_of[0] = -1
    order = np.lexsort((sizes, plane_of))
    # The largest of a plane stands last among the plane's own.
    last = order[np.append(np.diff(plane_of[order]) > 0, True)]
    keep = np.zeros(count + 1, bool)
    keep[last[sizes[last] > 0]] = True
    return keep[parts]


def clean_labels(labels: NDArray[np.integer], box_share: float = 0.8) -> NDArray[np.uint8]:
    """Light tidying of a segmentation, plane by plane.

    Kept are the largest LV component in the middle of the picture, the myocardium that touches it (the largest piece
    where there is no LV), and the largest RV component. The rest becomes background.

    Args:
        labels: (T, Z, Y, X).
        box_share: Share of the rows and columns in which an LV is looked for.
    """
    middle = np.zeros(labels.shape, bool)
    rows, columns = middle_box(labels.shape[2], labels.shape[3], box_share)
    middle[:, :, rows, columns] = True
    cavity = _largest_in_planes(labels == LV, middle)
    muscle = labels == MYOCARDIUM
    # Grown from the cavity through muscle only, in the plane.
    rim = ndimage.binary_dilation(cavity, _in_plane(2))
    touching = ndimage.binary_propagation(rim & muscle, _in_plane(1), mask=muscle)
    alone = ~cavity.any(axis=(2, 3), keepdims=True)
    muscle = np.where(alone, _largest_in_planes(muscle, middle), touching)
    right = _largest_in_planes(labels == RV)
    out = np.zeros(labels.shape, np.uint8)
    out[right] = RV
    out[muscle] = MYOCARDIUM
    out[cavity] = LV
    return out


def rim_share(labels: NDArray[np.integer]) -> NDArray[np.float64]:
    """Share of the LV cavity's outer rim (one pixel) that is myocardium: (T, Z), 0 where there is no cavity."""
    cavity = labels == LV
    rim = ndimage.binary_dilation(cavity, _in_plane(2)) & ~cavity
    return (rim & (labels == MYOCARDIUM)).sum(axis=(2, 3)) / np.maximum(rim.sum(axis=(2, 3)), 1)


def lv_areas_mm2(labels: NDArray[np.integer], spacing: Spacing) -> NDArray[np.float64]:
    """Area of the LV cavity in every plane: (T, Z) mm^2."""
    return (labels == LV).sum(axis=(2, 3)) * (spacing[0] * spacing[1])


def lv_present(labels: NDArray[np.integer], spacing: Spacing) -> NDArray[np.bool_]:
    """Where a plane shows an LV: a cavity of some size with muscle around it. (T, Z)."""
    return (lv_areas_mm2(labels, spacing) >= LV_MINIMUM_MM2) & (rim_share(labels) >= LV_RIM_SHARE)


def longest_run(present: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Longest run of True along the last axis: (T, Z) -> (T,)."""
    best = np.zeros(present.shape[:-1], np.int64)
    current = best.copy()
    for index in range(present.shape[-1]):
        current = np.where(present[..., index], current + 1, 0)
        best = np.maximum(best, current)
    return best


def volume_ml(labels: NDArray[np.integer], spacing: Spacing, label: int = LV) -> NDArray[np.float64]:
    """Volume of a label in every frame by summation of discs: (T,) mL."""
    return (labels == label).sum(axis=(1, 2, 3)) * (spacing[0] * spacing[1] * spacing[2] / 1000.0)


def wall_thickness_mm(labels: NDArray[np.integer], spacing: Spacing) -> tuple[float, float]:
    """Thickness of the LV wall in one frame.

    The mean comes from areas (difference of the radii of the circles that have the areas of the epicardial and of the
    endocardial disc), averaged over slices with a closed ring. The maximum is the thickest sector of 60 degrees in any
    of them, along rays from the middle of the cavity.

    Args:
        labels: (Z, Y, X) of one frame.
        spacing: (x, y, z) mm.

    Returns:
        Mean and maximum in mm; NaN where no slice has a closed ring.
    """
    closed = lv_present(labels[None], spacing)[0] & (rim_share(labels[None])[0] >= WALL_RIM_SHARE)
    means, thickest = [], []
    angles = np.arange(72) * (2 * np.pi / 72)
    radii = np.arange(0.0, 75.0, 0.5)
    for plane in labels[closed]:
        cavity, muscle = plane == LV, plane == MYOCARDIUM
        pixel = spacing[0] * spacing[1]
        inner, outer = cavity.sum() * pixel, (cavity.sum() + muscle.sum()) * pixel
        means.append((np.sqrt(outer) - np.sqrt(inner)) / np.sqrt(np.pi))
        y, x = (float(where.mean()) for where in np.nonzero(cavity))
        rows = np.rint(y + np.outer(np.sin(angles), radii) / spacing[1]).astype(int)
        columns = np.rint(x + np.outer(np.cos(angles), radii) / spacing[0]).astype(int)
        inside = (rows >= 0) & (rows < plane.shape[0]) & (columns >= 0) & (columns < plane.shape[1])
        hits = muscle[np.clip(rows, 0, plane.shape[0] - 1), np.clip(columns, 0, plane.shape[1] - 1)] & inside
        along = hits.sum(axis=1) * 0.5
        thickest.append(ndimage.uniform_filter1d(along, 12, mode="wrap").max())
    if not means:
        return float("nan"), float("nan")
    return float(np.mean(means)), float(np.max(thickest))


def roughness_through_slices(areas: NDArray[np.float64]) -> float:
    """Mean |second difference| of LV area from slice to slice over the mean area, between the first and last LV slice.

    Args:
        areas: (T, Z) mm^2.

    Returns:
        Mean over frames; NaN where no frame has three slices.
    """
    values = []
    for row in areas:
        shown = np.nonzero(row > 0)[0]
        if len(shown) and shown[-1] - shown[0] >= 2:
            part = row[shown[0] : shown[-1] + 1]
            values.append(np.abs(np.diff(part, 2)).mean() / part.mean())
    return float(np.mean(values)) if values else float("nan")


def roughness_through_time(areas: NDArray[np.float64]) -> float:
    """Mean |second difference| of LV area from frame to frame (the cycle closed) over how much the area changes at all.

    The divisor is the range of the whole area over the cycle plus a tenth of its mean. Without the range this would be
    little else than the ejection fraction (correlation 0.95 on real cines, and an area jitter of 5 % is caught in one
    of ten); with it nine of ten are caught. The tenth keeps hearts that hardly beat from being measured by noise.

    Args:
        areas: (T, Z) mm^2.

    Returns:
        The ratio; NaN without LV.
    """
    if not areas.any():
        return float("nan")
    bend = np.roll(areas, 1, axis=0) - 2 * areas + np.roll(areas, -1, axis=0)
    change = np.ptp(areas.mean(axis=1)) + 0.1 * areas.mean()
    return float(np.abs(bend).mean() / change)


def neighbour_steps(images: NDArray, box_share: float = 0.5) -> NDArray[np.float64]:
    """Mean |difference| of neighbouring frames in the heart box: (T,), entry t from frame t to t + 1, last to first."""
    rows, columns = middle_box(images.shape[2], images.shape[3], box_share)
    box = images[:, :, rows, columns].astype(np.float32)
    return np.abs(np.roll(box, -1, axis=0) - box).mean(axis=(1, 2, 3), dtype=np.float64)


def join_ratios(images: NDArray, box_share: float = 0.5) -> tuple[float, float]:
    """How the last frame joins the first: its step over the mean, and over the largest, of the other steps.

    Args:
        images: (T, Z, Y, X).

    Returns:
        Both ratios; NaN for a cine in which nothing moves.
    """
    steps = neighbour_steps(images, box_share)
    if steps[:-1].max() == 0:
        return float("nan"), float("nan")
    return float(steps[-1] / steps[:-1].mean()), float(steps[-1] / steps[:-1].max())


def motion_share(images: NDArray, frame: int, box_share: float = 0.5) -> float:
    """Mean |frame - frame 0| in the heart box over the box's standard deviation (at frame 0)."""
    rows, columns = middle_box(images.shape[2], images.shape[3], box_share)
    box = images[:, :, rows, columns].astype(np.float32)
    return float(np.abs(box[frame] - box[0]).mean() / max(float(box[0].std()), 1e-6))


@dataclass(frozen=True)
class CineNumbers:
    """What is measured on one cine. Units are in the names; NaN where something is not there to be measured.

    Attributes:
        lv_slices: Neighbouring slices with an LV, in the frame that has the fewest.
        lv_volume_ml: LV cavity, frame by frame.
        edv_ml, esv_ml: Largest and smallest LV volume.
        ef_percent: 100 (EDV - ESV) / EDV.
        ed_frame, es_frame: Frames of both.
        lv_mass_g: Myocardium at ED.
        wall_mean_mm, wall_max_mm: See `wall_thickness_mm`, at ED.
        rough_slices, rough_time: See `roughness_through_slices`, `roughness_through_time`.
        join_mean, join_max: See `join_ratios`.
        motion: See `motion_share`, at ES.
    """

    lv_slices: int
    lv_volume_ml: tuple[float, ...]
    edv_ml: float
    esv_ml: float
    ef_percent: float
    ed_frame: int
    es_frame: int
    lv_mass_g: float
    wall_mean_mm: float
    wall_max_mm: float
    rough_slices: float
    rough_time: float
    join_mean: float
    join_max: float
    motion: float

    @classmethod
    def from_dict(cls, record: Mapping) -> CineNumbers:
        """From `dataclasses.asdict`, also after JSON, where null stands for NaN and lists for tuples."""
        values = {name: float("nan") if value is None else value for name, value in record.items()}
        return cls(**(values | {"lv_volume_ml": tuple(record["lv_volume_ml"])}))


def cine_numbers(images: NDArray, labels: NDArray[np.integer], spacing: Spacing) -> CineNumbers:
    """All numbers of one cine.

    Args:
        images, labels: (T, Z, Y, X).
        spacing: (x, y, z) mm.

    Raises:
        ValueError: The shapes differ.
    """
    if images.shape != labels.shape or images.ndim != 4:
        raise ValueError(f"Images {images.shape} and labels {labels.shape} must have one shape (T, Z, Y, X).")
    volume = volume_ml(labels, spacing)
    areas = lv_areas_mm2(labels, spacing)
    ed, es = int(volume.argmax()), int(volume.argmin())
    found = volume[ed] > 0
    wall_mean, wall_max = wall_thickness_mm(labels[ed], spacing)
    join_mean, join_max = join_ratios(images)
    return CineNumbers(
        lv_slices=int(longest_run(lv_present(labels, spacing)).min()),
        lv_volume_ml=tuple(float(v) for v in volume),
        edv_ml=float(volume[ed]),
        esv_ml=float(volume[es]),
        ef_percent=float(100 * (1 - volume[es] / volume[ed])) if found else float("nan"),
        ed_frame=ed,
        es_frame=es,
        lv_mass_g=float(volume_ml(labels, spacing, MYOCARDIUM)[ed] * MYOCARDIUM_G_PER_ML),
        wall_mean_mm=wall_mean,
        wall_max_mm=wall_max,
        rough_slices=roughness_through_slices(areas),
        rough_time=roughness_through_time(areas),
        join_mean=join_mean,
        join_max=join_max,
        motion=motion_share(images, es if found else round(USUAL_SYSTOLE * len(images)) % len(images)),
    )


def wasserstein(first: Sequence[float] | NDArray, second: Sequence[float] | NDArray) -> float:
    """1-Wasserstein distance of two samples, NaN left out; NaN where nothing is left."""
    one, two = (np.asarray(part, float)[np.isfinite(np.asarray(part, float))] for part in (first, second))
    return float(stats.wasserstein_distance(one, two)) if len(one) and len(two) else float("nan")


def superiority(first: Sequence[float] | NDArray, second: Sequence[float] | NDArray) -> float:
    """Chance that a value of `first` is above one of `second` (ties count half); 0.5 = no difference, NaN left out."""
    one, two = (np.asarray(part, float)[np.isfinite(np.asarray(part, float))] for part in (first, second))
    if not len(one) or not len(two):
        return float("nan")
    return float(((one[:, None] > two).mean() + (one[:, None] >= two).mean()) / 2)


def subset_floor(
    values: Sequence[float] | NDArray, groups: Sequence[str], mix: Mapping[str, int], draws: int = 500, seed: int = 0
) -> dict[str, float]:
    """How far a perfect generator would be from the training set, by chance and by its mix of groups alone.

    Args:
        values: Of the training set.
        groups: Group of each.
        mix: How many are drawn anew from each group; the group "" stands for all values. Groups that the training set
            does not have are left out.
        draws, seed: Of the simulation.

    Returns:
        Of the 1-Wasserstein distance between drawn and all values: distance_median, distance_p95; of the absolute
        difference of the medians: shift_median, shift_p95.
    """
    known, label = np.asarray(values, float), np.asarray(groups)
    finite = np.isfinite(known)
    pools = {group: known[finite & (label == group)] if group else known[finite] for group in mix}
    rng = np.random.default_rng(seed)
    distances, shifts = [], []
    for _ in range(draws):
        drawn = np.concatenate([rng.choice(pool, mix[group]) for group, pool in pools.items() if len(pool)])
        distances.append(wasserstein(drawn, known))
        shifts.append(abs(np.median(drawn) - np.median(known[finite])))
    return {
        "distance_median": float(np.median(distances)),
        "distance_p95": float(np.percentile(distances, 95)),
        "shift_median": float(np.median(shifts)),
        "shift_p95": float(np.percentile(shifts, 95)),
    }


def _quantiles(values: Sequence[float]) -> dict[str, float]:
    known = np.asarray(values, float)
    known = known[np.isfinite(known)]
    if not len(known):
        return {name: float("nan") for name in ("p05", "p25", "median", "p75", "p95", "sd")}
    low, first, middle, third, high = (float(v) for v in np.percentile(known, (5, 25, 50, 75, 95)))
    return {"p05": low, "p25": first, "median": middle, "p75": third, "p95": high, "sd": float(known.std())}


MEASURED = (
    "ef_percent",
    "edv_ml",
    "esv_ml",
    "lv_mass_g",
    "wall_mean_mm",
    "wall_max_mm",
    "rough_slices",
    "rough_time",
    "join_mean",
    "join_max",
    "motion",
)


def cohort_summary(cines: Sequence[CineNumbers], groups: Sequence[str]) -> dict:
    """Numbers of a cohort.

    Args:
        cines: Its cines.
        groups: Pathology group of each; "" unknown.

    Returns:
        count, without_lv, share_lv4 (an LV in at least 4 neighbouring slices in every frame), quantiles of every name
        of `MEASURED`, medians by group, and differences between groups as chances (`superiority`).
    """
    column = {name: [getattr(one, name) for one in cines] for name in MEASURED}

    def of(name: str, group: str) -> list[float]:
        return [value for value, own in zip(column[name], groups) if own == group]

    slices = np.array([one.lv_slices for one in cines])
    return {
        "count": len(cines),
        "without_lv": int(sum(one.edv_ml == 0 for one in cines)),
        "share_lv4": float((slices >= 4).mean()),
        "lv_slices": np.bincount(slices).tolist(),
        "quantiles": {name: _quantiles(values) for name, values in column.items()},
        "groups": {
            group: {"count": sum(own == group for own in groups)}
            | {name: _quantiles(of(name, group))["median"] for name in MEASURED}
            for group in sorted(set(groups) - {""})
        },
        "chances": {
            "DCM larger than NOR (EDV)": superiority(of("edv_ml", "DCM"), of("edv_ml", "NOR")),
            "DCM lower EF than NOR": superiority(of("ef_percent", "NOR"), of("ef_percent", "DCM")),
            "HCM thicker than NOR (mean wall)": superiority(of("wall_mean_mm", "HCM"), of("wall_mean_mm", "NOR")),
            "HCM thicker than NOR (thickest sector)": superiority(of("wall_max_mm", "HCM"), of("wall_max_mm", "NOR")),
        },
    }


def bars(
    samples: Sequence[CineNumbers], groups: Sequence[str], training: Sequence[CineNumbers]
) -> dict[str, dict[str, float | bool | str]]:
    """The bars for generated cines: value, what is asked, whether it holds.

    Args:
        samples: Generated cines.
        groups: Their pathology groups; "" unknown. Bars on groups are left out where one of the two is missing.
        training: The training set's cines, judged by the same network.
    """

    def column(cines: Sequence[CineNumbers], name: str) -> NDArray[np.float64]:
        return np.array([getattr(one, name) for one in cines], float)

    out: dict[str, dict[str, float | bool | str]] = {}

    def add(name: str, value: float, asked: str, holds: bool) -> None:
        out[name] = {"value": value, "asked": asked, "holds": bool(holds)}

    share = float((column(samples, "lv_slices") >= 4).mean())
    add("LV in >= 4 neighbouring slices at every frame", share, ">= 0.90 of samples", share >= 0.9)
    for name, title in (("rough_slices", "slices"), ("rough_time", "time")):
        limit = float(np.nanpercentile(column(training, name), 95))
        # NaN compares as False: a sample without enough LV does not count as smooth.
        within = float((column(samples, name) <= limit).mean())
        add(
            f"LV area smooth through {title}",
            within,
            f">= 0.80 of samples below {limit:.3f} (real 95 %)",
            within >= 0.8,
        )
    ef, real_ef = column(samples, "ef_percent"), column(training, "ef_percent")
    shift = float(np.nanmedian(ef) - np.nanmedian(real_ef)) if np.isfinite(ef).any() else float("nan")
    add("EF median, samples - training", shift, "within 10 points", abs(shift) <= 10)
    distance = wasserstein(ef, real_ef)
    add("EF 1-Wasserstein distance", distance, "<= 10 points", distance <= 10)
    label = np.array(groups)
    for group, name, title, sign in (
        ("DCM", "edv_ml", "DCM - NOR, median EDV mL", 1),
        ("DCM", "ef_percent", "DCM - NOR, median EF points", -1),
        ("HCM", "wall_mean_mm", "HCM - NOR, median mean wall mm", 1),
        ("HCM", "wall_max_mm", "HCM - NOR, median thickest sector mm", 1),
    ):
        values = column(samples, name)
        one, two = (values[(label == own) & np.isfinite(values)] for own in (group, "NOR"))
        if len(one) and len(two):
            difference = float(np.median(one) - np.median(two))
            add(title, difference, "> 0" if sign > 0 else "< 0", difference * sign > 0)
    joined = float((column(samples, "join_max") <= 1).mean())
    add("last-first step <= the largest other step", joined, ">= 0.90 of samples", joined >= 0.9)
    ratio = float(np.nanmedian(column(samples, "join_mean")))
    add("last-first step / mean other step, median", ratio, "<= 1", ratio <= 1)
    return out

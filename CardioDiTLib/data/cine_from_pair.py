"""Training cines from an end-diastolic and an end-systolic volume with labels (the form in which ACDC is published).

Every patient is brought into one pose: heart centred, turned in plane so that the right ventricle lies on the left of
the image, base first. The turn is recorded (`PosedPair.turn_deg`, `PosedPair.affine`) so that a cine can be turned
back. Brightness is levelled between slices, because in some files every slice was scaled by itself. Motion comes from
`motion.register_planes`, guided by the image and by distances to the labelled borders.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from CardioDiTLib.data.motion import contraction_curve, interpolate_phase, minimum_jacobian, register_planes
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.labels import LV, MYOCARDIUM, RV

LABELS = (RV, MYOCARDIUM, LV)

# Shares of the registration's energy: appearance, cavity of the left ventricle, its outer border, right ventricle.
CHANNEL_WEIGHTS = (0.35, 0.25, 0.25, 0.15)
DISTANCE_SCALE_PX = 8.0

_MOST_GAIN = 5.0
"""Where each image was scaled by itself, fat near the coil leaves little of the scale to the heart in some."""

_AROUND = np.ones((1, 13, 13), bool)
"""So far from the heart, 9 mm, little moves."""


@dataclass(frozen=True, eq=False)
class PosedPair:
    """An ED/ES pair in the common pose, with the motion between the two.

    Attributes:
        images: (2, Z, Y, X) uint8; ED then ES, levelled brightness, 0..255.
        labels: (2, Z, Y, X) uint8; 0 background, 1 RV, 2 myocardium, 3 LV cavity.
        displacement: (2, Z, Y, X) float32 pixels, ES(x + u(x)) matches ED(x); axis 0 = (dy, dx).
        slice_valid: (Z,) bool; False where the patient's stack had no slice and the nearest one stands in.
        spacing: (x, y, z) mm of the posed grid.
        turn_deg: In-plane turn that was applied, degrees, from +x (columns) towards +y (rows).
        affine: 4x4 from posed (x, y, z) index to the source's world, so that results can be put back.
        systole: Phase of ES, share of the cycle.
        cycle_s: Length of the cycle in seconds (assumed: the source does not have it).
        group: Name of the pathology group.
    """

    images: np.ndarray
    labels: np.ndarray
    displacement: np.ndarray
    slice_valid: np.ndarray
    spacing: tuple[float, float, float]
    turn_deg: float
    affine: np.ndarray
    systole: float
    cycle_s: float
    group: str

    def frames(self, count: int = 16, curve: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Images and labels, (T, Z, Y, X) uint8 each, over one cycle; frame 0 is ED, ES falls on a frame.

        Args:
            count: Frames of the cycle.
            curve: (count,) share of the way from ED to ES in each frame; None for the typical curve.
        """
        if curve is None:
            # Some tables give a frame so late that hardly any diastole would be left.
            peak = round(float(np.clip(self.systole, 0.25, 0.55)) * count) / count
            curve = contraction_curve(count, peak)
        soft = np.stack([(self.labels == label).astype(np.float32) for label in (0, *LABELS)], axis=1)
        images = np.empty((count, *self.images.shape[1:]), np.uint8)
        labels = np.empty_like(images)
        shown: dict[float, int] = {}
        for frame, fraction in enumerate(np.round(curve, 4)):
            if float(fraction) in shown:
                images[frame], labels[frame] = images[shown[float(fraction)]], labels[shown[float(fraction)]]
                continue
            shown[float(fraction)] = frame
            stack = np.concatenate([self.images[:, None].astype(np.float32), soft], axis=1)
            made = interpolate_phase(stack[0], stack[1], self.displacement, float(fraction))
            images[frame] = np.clip(np.rint(made[0]), 0, 255)
            labels[frame] = made[1:].argmax(axis=0)
        return images, labels


def _centroid(mask: np.ndarray) -> np.ndarray:
    """(x, y) centroid in pixels of a (..., Y, X) mask."""
    where = np.nonzero(mask)
    return np.array([where[-1].mean(), where[-2].mean()])


def find_turn(labels: np.ndarray, spacing: tuple[float, float, float]) -> float:
    """Angle in degrees from the image's +x axis to the direction LV -> RV, at mid-ventricular ED.

    Args:
        labels: (Z, Y, X) ED labels.
        spacing: (x, y, z) mm.

    Raises:
        CardioDiTError: No slice shows both ventricles.
    """
    both = [z for z in range(labels.shape[0]) if (labels[z] == RV).sum() > 20 and (labels[z] >= 2).sum() > 20]
    if not both:
        raise CardioDiTError(
            "No slice shows both ventricles in the labels.", "Check that 1 is RV, 2 myocardium, 3 LV cavity."
        )
    # The middle half of the ventricle: at the base the outflow tract, at the apex few pixels decide.
    quarter = len(both) // 4
    middle = both[quarter : max(len(both) - quarter, quarter + 1)]
    axis = np.zeros(2)
    for z in middle:
        step = (_centroid(labels[z] == RV) - _centroid(labels[z] >= 2)) * np.array(spacing[:2])
        axis += step / np.linalg.norm(step)
    return float(np.degrees(np.arctan2(axis[1], axis[0])))


def base_is_last(labels: np.ndarray) -> bool:
    """True where the last slices are the basal ones: the ventricles are wider at the base than at the apex."""
    area = np.array([(plane > 0).sum() for plane in labels], float)
    shown = np.nonzero(area)[0]
    if len(shown) < 2:
        return False
    return float(np.polyfit(shown, area[shown], 1)[0]) > 0


def choose_slices(labels: np.ndarray, spacing_z: float, slices: int, grid_z: float) -> tuple[np.ndarray, np.ndarray]:
    """Fractional source slice of every grid slice, base first, and whether the stack really has it.

    The grid starts at the most basal slice with LV cavity. A ventricle longer than the grid loses its most basal
    slice first (outflow tract), then the apical tip, in turn. Slices that lie on the source's own are taken as they
    are: no interpolation where none is needed.
    """
    shown = np.nonzero((labels == LV).any(axis=(1, 2)))[0]
    if len(shown) == 0:
        raise CardioDiTError("The labels show no left-ventricular cavity.", "Check that 3 is the LV cavity.")
    length = (shown[-1] - shown[0] + 1) * spacing_z / grid_z
    surplus = max(0, round(length) - slices)
    # The centre of a thick grid slice lies in the middle of the source slices that it covers.
    offset = max(0.0, (grid_z / spacing_z - 1) / 2)
    place = shown[0] + offset + (np.arange(slices) + (surplus + 1) // 2) * grid_z / spacing_z
    place = np.round(place * 4) / 4
    valid = place <= labels.shape[0] - 1 + 0.5
    return np.clip(place, 0, labels.shape[0] - 1), valid


def level_brightness(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Multiplies every slice of both phases so that blood is equally bright in all of them.

    Args:
        images: (2, Z, Y, X) float.
        labels: (2, Z, Y, X).

    Returns:
        (2, Z, Y, X) float; gains are kept within 0.5 to 2, slices with little blood take their neighbours' gain.
    """
    return np.asarray(images * _blood_gains(images, labels, 2.0))


def level_apart(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The same for images that were each scaled by itself: end-systole of a slice first gets the brightness of its
    end-diastole, by what lies around the heart, since its little blood tells too little.

    Args:
        images: (2, Z, Y, X) float.
        labels: (2, Z, Y, X).

    Returns:
        (2, Z, Y, X) float; both gains are kept within 1/5 to 5.
    """
    around = ~ndimage.binary_dilation((labels > 0).any(axis=0), _AROUND)
    matched = images.copy()
    for z, where in enumerate(around):
        diastole, systole = images[0, z][where], images[1, z][where]
        if (power := float(np.square(systole).sum())) > 0:
            matched[1, z] *= np.clip(float((diastole * systole).sum()) / power, 1 / _MOST_GAIN, _MOST_GAIN)
    return np.asarray(matched * _blood_gains(matched[:1], labels[:1], _MOST_GAIN))


def _blood_gains(images: np.ndarray, labels: np.ndarray, most: float) -> np.ndarray:
    """(phases, Z, 1, 1), 1 / most to most; slices with little blood take their neighbours' gain."""
    phases, slices = images.shape[:2]
    blood = np.full((phases, slices), np.nan)
    for phase in range(phases):
        for z in range(slices):
            pool = np.isin(labels[phase, z], (RV, LV))
            # The rim of the pool is mixed with muscle.
            inner = ndimage.binary_erosion(pool)
            if inner.sum() >= 40:
                blood[phase, z] = np.percentile(images[phase, z][inner], 60)
    target = np.nanmedian(blood)
    gains = np.clip(target / blood, 1 / most, most)
    for phase in range(phases):
        known = np.nonzero(np.isfinite(gains[phase]))[0]
        gains[phase] = 1.0 if len(known) == 0 else np.interp(np.arange(slices), known, gains[phase, known])
    return gains[:, :, None, None]


def _signed_distance(mask: np.ndarray) -> np.ndarray:
    inside = ndimage.distance_transform_edt(mask)
    outside = ndimage.distance_transform_edt(~mask)
    return np.clip((outside - inside) / DISTANCE_SCALE_PX, -2.0, 2.0)


def _motion(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Displacement (2, Z, Y, X) from ED to ES of a posed pair."""
    channels = np.empty((2, 4, *images.shape[1:]), np.float32)
    weights = np.zeros((4, images.shape[1]), np.float32)
    channels[:, 0] = images / 128.0
    weights[0] = CHANNEL_WEIGHTS[0]
    masks = (
        labels == LV,
        np.isin(labels, (MYOCARDIUM, LV)),
        labels == RV,
    )
    for channel, mask in enumerate(masks, start=1):
        for z in range(images.shape[1]):
            for phase in range(2):
                channels[phase, channel, z] = _signed_distance(mask[phase, z]) if mask[phase, z].any() else 0.0
            if mask[0, z].any() and mask[1, z].any():
                # Distances change by 1/8 a pixel, edges of the image by much more: weigh them alike.
                weights[channel, z] = CHANNEL_WEIGHTS[channel] * 4.0
    return register_planes(channels[0], channels[1], weights)


def pose_pair(
    ed: np.ndarray,
    es: np.ndarray,
    ed_labels: np.ndarray,
    es_labels: np.ndarray,
    affine: np.ndarray,
    *,
    size: int = 160,
    slices: int = 8,
    spacing: tuple[float, float, float] = (1.5, 1.5, 10.0),
    systole: float = 0.37,
    cycle_s: float = 0.9,
    group: str = "",
    blood_grey: float | None = None,
) -> PosedPair:
    """Brings an ED/ES pair into the common pose and finds its motion.

    Args:
        ed, es: (Z, Y, X) images.
        ed_labels, es_labels: (Z, Y, X) labels (0 background, 1 RV, 2 myocardium, 3 LV cavity).
        affine: 4x4, (x, y, z) index -> mm of the source.
        size: Rows and columns of the result; wider than a model's grid, so that augmentation has something to turn in.
        slices, spacing: Slices and (x, y, z) mm of the result.
        systole: Phase of ES, share of the cycle.
        cycle_s: Seconds of one cycle, for the record.
        group: Pathology group.
        blood_grey: Grey value (of 255) of the blood of the left ventricle at ED, for images that were scaled one by
            one; what is brighter than 255 then is clipped. None scales to what is brightest in the picture.

    Raises:
        CardioDiTError: Shapes differ, or the labels do not show both ventricles.
    """
    if not (ed.shape == es.shape == ed_labels.shape == es_labels.shape) or ed.ndim != 3:
        raise CardioDiTError(
            f"The four volumes of a pair differ in shape: {ed.shape}, {es.shape}, "
            f"{ed_labels.shape}, {es_labels.shape}.",
            "Give ED and ES volumes and their labels on one grid.",
        )
    source_spacing = tuple(float(v) for v in np.linalg.norm(affine[:3, :3], axis=0))
    if base_is_last(ed_labels):
        ed, es, ed_labels, es_labels = (volume[::-1] for volume in (ed, es, ed_labels, es_labels))
        flip = np.diag([1.0, 1.0, -1.0, 1.0])
        flip[2, 3] = ed.shape[0] - 1
        affine = affine @ flip
    turn = find_turn(ed_labels, (source_spacing[0], source_spacing[1], source_spacing[2])) - 180.0
    place, valid = choose_slices(ed_labels, source_spacing[2], slices, spacing[2])

    # Posed pixel (column c, row r) -> source pixel: turn in mm about the middle of the heart at ED.
    angle = np.radians(turn)
    turn_matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle_slices = np.unique(np.clip(np.round(place[1:-1]).astype(int), 0, ed.shape[0] - 1))
    heart = ed_labels[middle_slices] > 0
    where = np.nonzero(heart)
    centred = (np.stack([where[2], where[1]], axis=1) * np.array(source_spacing[:2])) @ turn_matrix
    # Middle of the box around the heart in the turned frame; single stray pixels do not move it.
    centre = turn_matrix @ ((np.percentile(centred, 1, axis=0) + np.percentile(centred, 99, axis=0)) / 2)

    matrix = np.diag(1 / np.array(source_spacing[:2])) @ turn_matrix @ np.diag(np.array(spacing[:2]))
    offset = centre / np.array(source_spacing[:2]) - matrix @ np.full(2, (size - 1) / 2)
    rows, columns = np.mgrid[0:size, 0:size]
    source_x = matrix[0, 0] * columns + matrix[0, 1] * rows + offset[0]
    source_y = matrix[1, 0] * columns + matrix[1, 1] * rows + offset[1]

    def resample(volume: np.ndarray, order: int) -> np.ndarray:
        shrink = spacing[0] / source_spacing[0]
        if order == 1 and shrink > 1.3:
            volume = ndimage.gaussian_filter(volume, (0, 0.4 * shrink, 0.4 * shrink))
        thick = spacing[2] / source_spacing[2]
        lag = 0.0
        if thick >= 1.5:
            # Thin slices are averaged to the grid's thickness instead of being skipped. The mean of an even number of
            # them lies between two: that of z and z + 1 at z + 0.5.
            count = round(thick)
            lag = 0.0 if count % 2 else 0.5
            volume = ndimage.uniform_filter1d(volume, count, axis=0, mode="nearest", origin=-1 if lag else 0)
        out = np.empty((slices, size, size), np.float32)
        for index, z in enumerate(np.maximum(place - lag, 0)):
            low = int(np.floor(z))
            share = z - low
            plane = volume[low] * (1 - share) + (volume[low + 1] * share if share else 0.0)
            out[index] = ndimage.map_coordinates(plane, (source_y, source_x), order=order, mode="constant", cval=0.0)
        return out

    images = np.stack([resample(volume.astype(np.float32), 1) for volume in (ed, es)])
    # Soft labels are resampled and compared, so that borders stay where they are.
    soft = [
        np.stack([resample((volume == label).astype(np.float32), 1) for label in (0, *LABELS)])
        for volume in (ed_labels, es_labels)
    ]
    soft = [np.concatenate([one[:1] + (one.sum(axis=0, keepdims=True) < 0.5), one[1:]]) for one in soft]
    labels = np.stack([one.argmax(axis=0) for one in soft]).astype(np.uint8)

    images = level_brightness(images, labels) if blood_grey is None else level_apart(images, labels)
    top = float(np.percentile(images[:, :, size // 8 : -size // 8, size // 8 : -size // 8], 99.5))
    if blood_grey is not None:
        top = float(np.median(images[0][labels[0] == LV])) * 255.0 / blood_grey
    images = np.clip(images * (255.0 / max(top, 1e-6)), 0, 255)
    displacement = _motion(images, labels)
    if minimum_jacobian(displacement) <= 0:
        displacement = np.stack([ndimage.gaussian_filter(part, (0, 1.5, 1.5)) for part in displacement])

    to_source = np.eye(4)
    to_source[:2, :2] = matrix
    to_source[:2, 3] = offset
    to_source[2, 2] = spacing[2] / source_spacing[2]
    to_source[2, 3] = place[0]
    return PosedPair(
        images=np.rint(images).astype(np.uint8),
        labels=labels,
        displacement=displacement.astype(np.float32),
        slice_valid=valid,
        spacing=spacing,
        turn_deg=turn,
        affine=affine @ to_source,
        systole=float(systole),
        cycle_s=float(cycle_s),
        group=group,
    )

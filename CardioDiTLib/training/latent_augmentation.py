"""Training cines as the transformer sees them: each time under another augmentation, many of them morphs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import zoom

from CardioDiTLib.data.cine_from_pair import PosedPair
from CardioDiTLib.data.morph import MorphPainter, View, blood_gain, find_morph
from CardioDiTLib.data.motion import bilinear_planes, drawn_curve
from CardioDiTLib.data.packing import PackedCines, patients_of
from CardioDiTLib.data.transplant import transplant
from CardioDiTLib.errors import CardioDiTError


@dataclass(frozen=True)
class LatentAugmentation:
    """Ranges of the draws; one draw a cine, for all its frames and slices. The first copy of a cine is not changed.

    Attributes:
        copies: Copies of each training cine.
        turn_deg, scale, shift_px: In-plane turn (+-), relative size (+-), shift (+-).
        gamma: Standard deviation of log gamma.
        warp_px: Root mean square of a smooth in-plane displacement, the same in all slices and frames: hearts of other
            shapes, still beating as they did.
        warp_knots: Knots of that displacement along each axis; the more, the finer.
        morphs: Lead every copy some of the way towards another patient of its class (`data.morph`), with a volume
            curve of its own and the blood at one brightness; needs a pack of ED/ES pairs with labels.
        morph_from: Smallest share of the way; the largest is where nothing folds.
        free_share: Share of the morphs that are led towards a patient of any class, drawn larger or smaller and beat
            less, and carry no class: in them volume, ejection fraction and mass vary apart from one another, so that
            hearts can be steered by each.
        free_scale: Relative size (+-) of these.
        free_beat: Smallest share of the patient's own way from end-diastole to end-systole that these go.
        transplant_share: Share of the morphs whose patient has the ventricles of another (`data.transplant`), of one
            who may be led there without a fold.
    """

    copies: int = 12
    turn_deg: float = 10.0
    scale: float = 0.07
    shift_px: float = 4.0
    gamma: float = 0.12
    warp_px: float = 0.0
    warp_knots: int = 5
    morphs: bool = False
    morph_from: float = 0.15
    free_share: float = 0.0
    free_scale: float = 0.2
    free_beat: float = 0.35
    transplant_share: float = 0.0

    def __post_init__(self) -> None:
        if self.copies < 1:
            raise CardioDiTError(f"copies is {self.copies}.", "Give 1 or more: the first is the cine as it is.")
        for name in ("morph_from", "free_share", "free_beat", "transplant_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise CardioDiTError(f"{name} is {getattr(self, name)}; it is a share.", "Give a number from 0 to 1.")
        if not self.morphs and (self.free_share or self.transplant_share):
            raise CardioDiTError("Only morphs are free or have the ventricles of another.", "Set morphs to true.")


def augmented(frames: np.ndarray, size: int, rng: np.random.Generator | None, ranges: LatentAugmentation) -> np.ndarray:
    """One cine (T, Z, Y, X) uint8 cut to (T, Z, size, size), with one in-plane draw for all frames and slices; float
    in [-1, 1].
    """
    height = frames.shape[-1]
    edge = (height - size) // 2
    if rng is None:
        return frames[..., edge : edge + size, edge : edge + size].astype(np.float32) / 127.5 - 1
    angle = np.radians(rng.uniform(-ranges.turn_deg, ranges.turn_deg))
    scale = 1 + rng.uniform(-ranges.scale, ranges.scale)
    shift = rng.uniform(-ranges.shift_px, ranges.shift_px, 2)
    gamma = float(np.exp(rng.normal(0, ranges.gamma)))
    middle = (size - 1) / 2
    rows, columns = np.mgrid[0:size, 0:size] - middle
    source_rows = (np.cos(angle) * rows + np.sin(angle) * columns) / scale + shift[0] + (height - 1) / 2
    source_columns = (-np.sin(angle) * rows + np.cos(angle) * columns) / scale + shift[1] + (height - 1) / 2
    if ranges.warp_px > 0:
        warp = smooth_displacement(size, ranges.warp_knots, ranges.warp_px, rng)
        source_rows, source_columns = source_rows + warp[0], source_columns + warp[1]
    flat = frames.reshape(1, -1, height, height).swapaxes(0, 1)
    # One plane a call keeps the positions shared: (1, size, size) for all frames and slices.
    made = bilinear_planes(flat.astype(np.float32), source_rows[None], source_columns[None])
    made = (made.reshape(*frames.shape[:2], size, size) / 255.0).clip(0, 1) ** gamma
    return made * 2 - 1


def smooth_displacement(size: int, knots: int, rms_px: float, rng: np.random.Generator) -> np.ndarray:
    """Random displacement (2, size, size) in pixels that varies over size / (knots - 1) pixels; the root mean square of
    each knot's displacement along each axis is `rms_px`.
    """
    knots_px = rng.normal(0, rms_px, (2, knots, knots))
    return np.stack([zoom(plane, size / knots, order=3, mode="nearest", grid_mode=False) for plane in knots_px])


def partners_of(data: PackedCines, morphs: bool) -> tuple[list[int], dict[int, list[int]]]:
    """Cines to use, and for each the others that it may be led to: no other name of itself, not kept aside. With
    morphs, a patient that the data set holds twice is used once.
    """
    everyone = list(range(len(data.images)))
    if not morphs:
        return everyone, {}
    person = patients_of(data.images)
    used = [index for index in everyone if person[index] == index]
    others = [index for index in used if not data.validation[index]]
    return used, {index: [other for other in others if other != index] for index in used}


def morphed(
    data: PackedCines,
    pairs: Sequence[PosedPair],
    index: int,
    partners: Sequence[int],
    size: int,
    rng: np.random.Generator,
    ranges: LatentAugmentation,
    frames: int | None = None,
) -> tuple[np.ndarray, np.ndarray, int]:
    """A morph: a patient's cine deformed part of the way to another patient's, under one in-plane augmentation.

    Args:
        data: The pack.
        pairs: All pairs of the pack.
        index: The patient whose pictures are moved.
        partners: Patients to choose the other from, see `partners_of`; one who has no fitting one stays who he is.
        size: Rows and columns.
        rng: Where all draws come from.
        ranges: How far they go.
        frames: T; None for that of the pack.

    Returns:
        images (T, Z, size, size) float32 in [-1, 1], labels (T, Z, size, size) uint8, class (-1: none).
    """
    pair, group = pairs[index], int(data.groups[index])
    free = ranges.free_share > 0 and rng.random() < ranges.free_share
    scale = ranges.free_scale if free else ranges.scale
    view = View(
        turn_deg=rng.uniform(-ranges.turn_deg, ranges.turn_deg),
        scale=1 + rng.uniform(-scale, scale),
        shift_px=tuple(rng.uniform(-ranges.shift_px, ranges.shift_px, 2)),
    )
    fitting = [other for other in partners if free or data.groups[other] == group]
    if fitting and ranges.transplant_share > 0 and rng.random() < ranges.transplant_share:
        donor = pairs[fitting[int(rng.integers(len(fitting)))]]
        pair = transplant(pair, donor) or pair
    morph, share = None, 0.0
    if fitting:
        morph = find_morph(pair, pairs[fitting[int(rng.integers(len(fitting)))]])
        share = float(rng.uniform(min(ranges.morph_from, morph.most), morph.most))
    curve = drawn_curve(frames or data.images.shape[1], pair.systole, rng)
    if free:
        curve, group = curve * rng.uniform(ranges.free_beat, 1.0), -1
    images, labels = MorphPainter(pair, size).paint(curve, view, morph, share)
    gamma = float(np.exp(rng.normal(0, ranges.gamma)))
    return (images * (blood_gain(pair) / 255.0)).clip(0, 1) ** gamma * 2 - 1, labels, group

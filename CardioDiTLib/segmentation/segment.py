"""A cine in, its labels out, on the same grid."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from CardioDiTLib.cine import Cine, Segmentation
from CardioDiTLib.data.canonical_view import CanonicalView
from CardioDiTLib.data.heart_roi import Window, brightness, heart_window
from CardioDiTLib.data.in_plane import PlaneSampler
from CardioDiTLib.data.orientation import base_end
from CardioDiTLib.device import choose_device, told_when_out_of_memory
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.labels import LABEL_NAMES
from CardioDiTLib.models.slice_unet import SegmentationNetwork
from CardioDiTLib.progress import CancelSource, Stop
from CardioDiTLib.segmentation.model import WEIGHTS_NAME, SegmentationModel, load_model
from CardioDiTLib.segmentation.postprocess import (
    FlipRepair,
    clean_labels,
    outside_the_wall,
    tapering_right_ventricle,
    without_atrium,
)
from CardioDiTLib.segmentation.sureness import Sureness

FEWEST_PIXELS = 20
"""A slice with less of either cavity says nothing."""

AGREEMENT = 0.5
"""Length of the mean unit vector, slices weighted by the right ventricle's area, below which there is no direction."""

FRAMES = 4
"""So many frames, evenly over the cycle, are enough to tell."""


def right_ventricle_direction(labels: NDArray[np.uint8], spacing_xy_mm: tuple[float, float]) -> float | None:
    """Angle of the direction from the left to the right cavity's centre, over all slices and frames.

    Args:
        labels: (T, Z, Y, X) 0 background, 1 RV, 2 myocardium, 3 LV.
        spacing_xy_mm: (x, y) mm.

    Returns:
        Radians in the picture, x to the right and y down: 0 to the right, pi to the left; None where slices do not
        agree, or none shows both cavities.
    """
    total, weights = np.zeros(2), 0.0
    for plane in labels.reshape(-1, *labels.shape[2:]):
        right, left = np.argwhere(plane == 1), np.argwhere(plane == 3)
        if min(len(right), len(left)) < FEWEST_PIXELS:
            continue
        way = (right.mean(axis=0) - left.mean(axis=0))[::-1] * spacing_xy_mm
        length = float(np.hypot(*way))
        if length > 0:
            total += len(right) * way / length
            weights += len(right)
    if weights == 0 or np.hypot(*total) < AGREEMENT * weights:
        return None
    return math.atan2(total[1], total[0])


SPREAD_SCALE = 2.0
"""Standard deviations over the beat are multiplied by this, to be of the size of the other channels."""

_MIRRORS: tuple[tuple[int, ...], ...] = ((), (-1,), (-2,), (-2, -1))


def slices_seen(z: int, valid: NDArray[np.bool_], neighbours: int, step: int = 1) -> list[int]:
    """Which slices the network sees to label slice z; the slice itself stands in for one that is not there.

    Args:
        z: The slice.
        valid: (Z,), False for slices that hold nothing.
        neighbours: Slices on each side.
        step: How many slices further each is.

    Returns:
        2 * neighbours + 1 indices, z in the middle.
    """
    wanted = [z + step * k for k in range(-neighbours, neighbours + 1)]
    return [place if 0 <= place < len(valid) and valid[place] else z for place in wanted]


def beat_channels(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean and scaled standard deviation over the beat.

    Args:
        frames: (T, Z, H, W) within [-1, 1].

    Returns:
        (Z, 2, H, W) float32.
    """
    return np.stack([frames.mean(0), np.minimum(SPREAD_SCALE * frames.std(0), 1.0)], 1).astype(np.float32)


@torch.inference_mode()
def slice_probabilities(
    network: SegmentationNetwork,
    stack: NDArray[np.float32],
    *,
    beat: NDArray[np.float32] | None = None,
    step: int = 1,
    device: torch.device | None = None,
    batch: int = 8,
    mirrored: bool = False,
    posed: bool = False,
    stop: Stop | None = None,
) -> NDArray[np.float32]:
    """Labels one frame, some slices at a time.

    Args:
        network: In evaluation mode, on `device`.
        stack: (Z, H, W) within [-1, 1], at the network's spacing.
        beat: (Z, 2, H, W), what `beat_channels` gives, for a network that sees motion; None for one that does not, or
            where only one frame is known.
        step: See `NetworkConfig.neighbour_step`.
        device: Where the network is; None is the CPU.
        batch: Slices at once.
        mirrored: Take the mean over the picture and its three mirror images.
        posed: The right ventricle lies on the left; only the mirror image that leaves it there is taken.
        stop: Asked before every batch.

    Returns:
        (Z, 4, H, W) float32, sum 1 over the second axis.

    Raises:
        Cancelled: `stop` said so.
    """
    where = device or torch.device("cpu")
    valid = np.ones(len(stack), bool)
    found = np.empty((len(stack), len(LABEL_NAMES), *stack.shape[1:]), np.float32)
    for first in range(0, len(stack), batch):
        if stop is not None:
            stop.check()
        seen = [
            slices_seen(z, valid, network.config.neighbours, step) for z in range(first, min(first + batch, len(stack)))
        ]
        shown = stack[np.asarray(seen)]
        if network.config.motion:
            here = slice(first, first + batch)
            own = np.stack([stack[here], np.zeros_like(stack[here])], 1) if beat is None else beat[here]
            shown = np.concatenate([shown, own], 1)
        pictures = torch.from_numpy(shown).to(where)
        total = torch.zeros(())
        views = ((), (-2,)) if mirrored and posed else _MIRRORS if mirrored else _MIRRORS[:1]
        for axes in views:
            share = network(pictures.flip(axes) if axes else pictures).float().softmax(1)
            share = share.flip(axes) if axes else share
            total = share if total.ndim == 0 else total + share
        found[first : first + batch] = (total / len(views)).cpu().numpy()
    return found


Weights = SegmentationModel | str | os.PathLike[str] | None

Progress = Callable[[int, int], None]


def segment(
    cine: Cine,
    *,
    weights: Weights = None,
    device: str = "auto",
    progress: Progress | None = None,
    cancel: CancelSource = None,
    mirrored: bool = True,
    posed: bool = True,
    batch: int = 8,
    plausible: bool = True,
) -> Segmentation:
    """Finds the ventricles in every frame of a short-axis cine.

    Each slice is resampled in plane to the network's spacing; its probabilities, not its labels, are put back on the
    input's grid, where the most likely label wins, so that nothing is rounded twice. Memory is needed for a few frames,
    however long the cine is.

    Args:
        cine: Any spacing, size and orientation of the axes.
        weights: A model from `load_model`, the folder of one, or None for the embedded model.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        progress: Called with (frames done, frames in all); begins anew where no cavity was found about what beats and
            the whole picture is searched.
        cancel: A function that says whether to stop, an event, or None; asked before every batch.
        mirrored: Take the mean over mirror images: twice the work (four times without `posed`), steadier rims.
        posed: Look at a few frames first, to see on which side the right ventricle lies, and turn the pictures so that
            it lies on the left, as networks saw them most in training. Where slices do not agree nothing is turned.
        batch: Slices at once.
        plausible: Undo jumps of a single frame and remove what a heart cannot be; False gives the network's own labels.

    Returns:
        Labels (T, Z, Y, X) on the grid and at the times of the cine; in ``meta["segmentation"]`` the model's name and
        hash, which end was taken for the base, and how sure the labels are (``Sureness.to_dict``).

    Raises:
        CardioDiTError: No weights, damaged weights, no such device, blank images, or not enough memory.
        Cancelled: `cancel` said so.

    Examples:
        >>> labels = segment(cine, weights="Resources/Models/segmentation")  # doctest: +SKIP
        >>> labels.shape == cine.shape  # doctest: +SKIP
        True
    """
    if batch < 1:
        raise CardioDiTError(f"A batch of {batch} slices is not possible.", "Give 1 or more.")
    model = weights if isinstance(weights, SegmentationModel) else load_model(weights)
    where = choose_device(device)
    stop = Stop(cancel)
    view = CanonicalView.of(cine.affine)
    array, spacing = view.apply(cine.array), view.spacing(cine.spacing)
    home = next(model.network.parameters()).device
    model.network.to(where)
    whole: Window = (slice(0, array.shape[2]), slice(0, array.shape[3]))
    window = heart_window(array, spacing, model.manifest.field_mm)
    try:
        with told_when_out_of_memory("Give a smaller batch, or the device cpu."):
            labels = np.zeros(array.shape, np.uint8)
            sure = Sureness(*array.shape[:2])
            # What beats most need not be the heart: where no cavity is found, the whole picture is looked at.
            for part in [window] if window == whole else [window, whole]:
                labels[:] = 0
                seen = (slice(None), slice(None), *part)
                labels[seen] = _labels(
                    model, array[seen], spacing, where, batch, mirrored, posed, plausible, stop, progress, sure
                )
                if (labels == 3).any():
                    break
    finally:
        # A model that a caller handed in is given back where it was.
        model.network.to(home)
    record = model.manifest.files.get(WEIGHTS_NAME)
    about: dict[str, Any] = {
        "name": model.manifest.name,
        "version": model.manifest.version,
        "sha256": record.sha256 if record else "",
        "mirrored": mirrored,
        "posed": posed,
        "plausible": plausible,
        "sureness": sure.to_dict(flipped=view.flip_z),
    }
    labels = np.ascontiguousarray(view.undo(labels))
    if plausible:
        base = base_end(cine.affine, labels)
        about["base"] = base or "unknown"
        labels = tapering_right_ventricle(without_atrium(labels, base), base, cine.spacing)
    return Segmentation(
        labels,
        cine.affine,
        cine.frame_times,
        {**cine.meta, "segmentation": about},
    )


def _labels(
    model: SegmentationModel,
    array: NDArray[np.generic],
    spacing: tuple[float, float, float],
    device: torch.device,
    batch: int,
    mirrored: bool,
    posed: bool,
    plausible: bool,
    stop: Stop,
    progress: Progress | None,
    sure: Sureness,
) -> NDArray[np.uint8]:
    """Labels (T, Z, Y, X) of what is looked at, frame by frame."""
    config, rule = model.network.config, model.manifest.intensity
    scale = brightness(array, rule.low_percentile, rule.high_percentile)

    def beat_of(sampler: PlaneSampler) -> NDArray[np.float32] | None:
        if not config.motion or len(array) < 2:
            return None
        first, second = (np.zeros(array.shape[1:], np.float32) for _ in range(2))
        for frame in array:
            seen = scale.scale(frame)
            first += seen
            second += seen**2
        mean = first / len(array)
        spread = np.sqrt(np.maximum(second / len(array) - mean**2, 0.0))
        planes = [sampler.to_network(mean), np.minimum(SPREAD_SCALE * sampler.to_network(spread), 1.0)]
        return np.stack(planes, 1).astype(np.float32)

    def shares_of(
        frame: NDArray[np.generic], sampler: PlaneSampler, beat: NDArray[np.float32] | None, posed: bool
    ) -> NDArray[np.float32]:
        stop.check()
        found = slice_probabilities(
            model.network,
            scale.scale(sampler.to_network(frame)),
            beat=beat,
            step=config.neighbour_step(spacing[2]),
            device=device,
            batch=batch,
            mirrored=mirrored,
            posed=posed,
            stop=stop,
        )
        return sampler.to_source(found)

    grid = ((array.shape[2], array.shape[3]), (spacing[0], spacing[1]), config.spacing_mm)
    sampler, way = PlaneSampler(*grid), None
    beat = beat_of(sampler)
    known: dict[int, NDArray[np.float32]] = {}
    if posed:
        chosen = np.unique(np.linspace(0, len(array), FRAMES, endpoint=False).astype(int))
        known = {int(t): shares_of(array[t], sampler, beat, False) for t in chosen}
        rough = np.stack([shares.argmax(axis=1) for shares in known.values()]).astype(np.uint8)
        way = right_ventricle_direction(rough, (spacing[0], spacing[1]))
        if way is not None:
            sampler, known = PlaneSampler(*grid, turn_rad=way - math.pi), {}
            beat = beat_of(sampler)
    labels = np.empty(array.shape, np.uint8)
    repair = FlipRepair(len(array))
    for t, frame in enumerate(array):
        shares = known.pop(t) if t in known else shares_of(frame, sampler, beat, way is not None)
        labels[t] = shares.argmax(axis=1)
        sure.add(t, shares, labels[t])
        if plausible:
            labels[t][outside_the_wall(labels[t], shares)] = 0
            repair.add(labels[t], shares)
        if progress is not None:
            progress(t + 1, len(array))
    return clean_labels(repair.apply(labels), spacing) if plausible else labels

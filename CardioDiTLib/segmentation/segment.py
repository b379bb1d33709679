"""A cine in, its labels out, on the same grid."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from CardioDiTLib.cine import Cine, Segmentation
from CardioDiTLib.data.heart_roi import intensity_range
from CardioDiTLib.data.orientation import base_end
from CardioDiTLib.data.slice_inference import FLIPS, CineView, Flip, RegionReader, predict_slices
from CardioDiTLib.device import choose_device, told_when_out_of_memory
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.labels import LABEL_NAMES, LV, RV
from CardioDiTLib.models.slice_unet import SegmentationNetwork
from CardioDiTLib.progress import CancelSource, Stop
from CardioDiTLib.progress import StepCallback as Progress
from CardioDiTLib.segmentation.model import WEIGHTS_NAME, SegmentationModel, load_model
from CardioDiTLib.segmentation.postprocess import (
    TemporalLabelFilter,
    clean_labels,
    outside_the_wall,
    remove_atrial_slices,
    trim_rv_apex,
    trim_rv_base,
)
from CardioDiTLib.segmentation.sureness import Sureness

FEWEST_PIXELS = 20
"""A slice with less of either cavity is not used for the direction."""

AGREEMENT = 0.5
"""Length of the mean unit vector, slices weighted by the right ventricle's area, below which there is no direction."""

FRAMES = 4
"""So many frames, evenly over the cycle, are enough to tell."""

Weights = SegmentationModel | str | os.PathLike[str] | None


def right_ventricle_direction(labels: NDArray[np.uint8], spacing_xy_mm: tuple[float, float]) -> float | None:
    """Angle of the direction from the left to the right cavity's centre, over all slices and frames.

    Args:
        labels: (T, Z, Y, X) 0 background, 1 RV, 2 myocardium, 3 LV.
        spacing_xy_mm: (x, y) mm.

    Returns:
        Radians in the image, x to the right and y down: 0 to the right, pi to the left; None where slices do not
        agree, or none shows both cavities.
    """
    total, weights = np.zeros(2), 0.0
    for plane in labels.reshape(-1, *labels.shape[2:]):
        right, left = np.argwhere(plane == RV), np.argwhere(plane == LV)
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


@torch.inference_mode()
def slice_probabilities(
    network: SegmentationNetwork,
    stack: NDArray[np.float32],
    *,
    beat: NDArray[np.float32] | None = None,
    step: int = 1,
    device: torch.device | None = None,
    batch: int = 8,
    tta: bool = False,
    rv_aligned: bool = False,
    stop: Stop | None = None,
) -> NDArray[np.float32]:
    """Labels one frame, some slices at a time; for the arguments not named here see `predict_slices`.

    Args:
        network: In evaluation mode, on `device`.
        stack: (Z, H, W) within [-1, 1], at the network's spacing.
        tta: Take the mean over the image and its three mirror images.
        rv_aligned: The right ventricle lies on the left; only the mirror image that leaves it there is taken.

    Returns:
        (Z, 4, H, W) float32, sum 1 over the second axis.

    Raises:
        Cancelled: `stop` said so.
    """

    def read(logits: torch.Tensor, axes: Flip) -> tuple[torch.Tensor]:
        probabilities = logits.float().softmax(1)
        return (probabilities.flip(axes) if axes else probabilities,)

    flips = ((), (-2,)) if tta and rv_aligned else FLIPS if tta else FLIPS[:1]
    found = np.empty((len(stack), len(LABEL_NAMES), *stack.shape[1:]), np.float32)
    batches = predict_slices(
        network, stack, read, beat=beat, step=step, device=device, batch=batch, flips=flips, stop=stop
    )
    for slices, (probabilities,) in batches:
        found[slices] = probabilities.cpu().numpy()
    return found


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
            the whole image is searched.
        cancel: A function that says whether to stop, an event, or None; asked before every batch.
        mirrored: Take the mean over mirror images: twice the work (four times without `posed`), steadier rims.
        posed: Label a few frames first, to find on which side the right ventricle lies, and turn the images so that it
            lies on the left, as in most training images. Where slices do not agree nothing is turned.
        batch: Slices at once.
        plausible: Undo jumps of a single frame and remove implausible labels (`postprocess`); False gives the network's
            own labels.

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
    looked_at = CineView.of(cine)
    home = next(model.network.parameters()).device
    model.network.to(where)
    try:
        with told_when_out_of_memory("Give a smaller batch, or the device cpu."):
            labels = np.zeros(looked_at.array.shape, np.uint8)
            sure = Sureness(*looked_at.array.shape[:2])
            for region in looked_at.regions(model.manifest.field_mm):
                labels[:] = 0
                labels[region] = _labels(
                    model,
                    looked_at.array[region],
                    looked_at.spacing,
                    device=where,
                    batch=batch,
                    tta=mirrored,
                    rv_aligned=posed,
                    postprocess=plausible,
                    stop=stop,
                    progress=progress,
                    sure=sure,
                )
                if (labels == LV).any():
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
        "sureness": sure.to_dict(flipped=looked_at.view.flip_z),
    }
    labels = np.ascontiguousarray(looked_at.view.undo(labels))
    if plausible:
        base = base_end(cine.affine, labels)
        about["base"] = base or "unknown"
        # Base before apex: the way to the apex begins at the widest slice, which must not be an atrium.
        labels = trim_rv_base(remove_atrial_slices(labels, base), base, cine.spacing)
        labels = trim_rv_apex(labels, base, cine.spacing)
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
    *,
    device: torch.device,
    batch: int,
    tta: bool,
    rv_aligned: bool,
    postprocess: bool,
    stop: Stop,
    progress: Progress | None,
    sure: Sureness,
) -> NDArray[np.uint8]:
    """Labels (T, Z, Y, X) of a region, frame by frame."""
    config, rule = model.network.config, model.manifest.intensity
    scale = intensity_range(array, rule.low_percentile, rule.high_percentile)

    def probabilities_of(
        frame: NDArray[np.generic], reader: RegionReader, rv_aligned: bool = False
    ) -> NDArray[np.float32]:
        stop.check()
        found = slice_probabilities(
            model.network,
            reader.stack(frame),
            beat=reader.beat,
            step=reader.step,
            device=device,
            batch=batch,
            tta=tta,
            rv_aligned=rv_aligned,
            stop=stop,
        )
        return reader.sampler.to_source(found)

    reader, direction = RegionReader(array, spacing, config, scale), None
    known: dict[int, NDArray[np.float32]] = {}
    if rv_aligned:
        chosen = np.unique(np.linspace(0, len(array), FRAMES, endpoint=False).astype(int))
        known = {int(t): probabilities_of(array[t], reader) for t in chosen}
        rough = np.stack([probabilities.argmax(axis=1) for probabilities in known.values()]).astype(np.uint8)
        direction = right_ventricle_direction(rough, (spacing[0], spacing[1]))
        if direction is not None:
            reader, known = RegionReader(array, spacing, config, scale, direction - math.pi), {}
    labels = np.empty(array.shape, np.uint8)
    flicker = TemporalLabelFilter(len(array))
    for t, frame in enumerate(array):
        probabilities = known.pop(t) if t in known else probabilities_of(frame, reader, direction is not None)
        labels[t] = probabilities.argmax(axis=1)
        sure.add(t, probabilities, labels[t])
        if postprocess:
            labels[t][outside_the_wall(labels[t], probabilities)] = 0
            flicker.add(labels[t], probabilities)
        if progress is not None:
            progress(t + 1, len(array))
    return clean_labels(flicker.apply(labels), spacing) if postprocess else labels

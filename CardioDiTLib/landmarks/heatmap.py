"""A landmark network on a whole cine: points of every slice and frame, not yet named and not yet followed in time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from CardioDiTLib.cine import Cine, LandmarkTrack, Segmentation
from CardioDiTLib.data.heart_roi import intensity_range
from CardioDiTLib.data.slice_inference import FLIPS, CineView, Flip, RegionReader, Window, predict_slices
from CardioDiTLib.landmarks.model import WEIGHTS_NAME, LandmarkModel
from CardioDiTLib.landmarks.naming import name_points
from CardioDiTLib.landmarks.rvip_detector import predict_rvip
from CardioDiTLib.landmarks.slice_points import SlicePoints
from CardioDiTLib.models.slice_unet import LandmarkNetwork, heatmap_logits, presence_logits
from CardioDiTLib.progress import StepCallback as Progress
from CardioDiTLib.progress import Stop

_ROUNDS = 3

WINDOW_MM = 7.5
"""Radius of the disc whose weighted mean is the point."""

SEEN_MM = 168.0
"""Side of the square about the heart that is looked at where labels tell where it lies: as large as the images that the
embedded network was trained on. Ten ACDC patients held out: with 168 mm and two views points are as good as with the
whole region of 228 mm and four."""

VIEWS_WITH_LABELS, VIEWS_ALONE = 2, 4
"""The image and its mirror images that are seen, where labels tell where the heart lies and where nothing does."""

Region = tuple[slice, slice, slice, slice]

_Reader = Callable[[NDArray[np.generic]], SlicePoints]

LARGEST_TURN_COSINE = -0.3
"""A pair that points this much against the septum of all slices and frames has its two points exchanged."""


def soft_argmax(heatmap: torch.Tensor, radius_px: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Weighted mean of a distribution within the disc that holds most of it.

    The disc is centred on its own weighted mean some times (mean shift). A second, weaker peak outside of the disc has
    no influence.

    Args:
        heatmap: (N, K, H, W), not negative, sum 1 over the image.
        radius_px: Of the disc, at least 1.

    Returns:
        (N, K, 2) the place (x, y) in pixels, and (N, K) the share of the disc, 0 to 1.
    """
    height, width = heatmap.shape[-2:]
    reach = int(radius_px)
    axis = torch.arange(-reach, reach + 1, device=heatmap.device)
    disc = ((axis[:, None] ** 2 + axis[None] ** 2) <= radius_px**2).to(heatmap.dtype)
    flat = heatmap.reshape(-1, 1, height, width)
    held = F.conv2d(flat, disc[None, None], padding=reach).flatten(1)
    best = held.argmax(1)
    x, y = (best % width).to(heatmap.dtype), torch.div(best, width, rounding_mode="floor").to(heatmap.dtype)
    columns = torch.arange(width, device=heatmap.device, dtype=heatmap.dtype)
    rows = torch.arange(height, device=heatmap.device, dtype=heatmap.dtype)
    mass = held.gather(1, best[:, None])[:, 0]
    for _ in range(_ROUNDS):
        across, down = columns[None] - x[:, None], rows[None] - y[:, None]
        weight = flat[:, 0] * (down[:, :, None] ** 2 + across[:, None] ** 2 <= radius_px**2)
        mass = weight.sum((1, 2))
        x = (weight.sum(1) * columns).sum(1) / mass.clamp_min(1e-12)
        y = (weight.sum(2) * rows).sum(1) / mass.clamp_min(1e-12)
    place = torch.stack([x, y], -1).view(*heatmap.shape[:2], 2)
    return place, mass.view(heatmap.shape[:2]).clamp(0, 1)


@torch.inference_mode()
def predict_points(
    network: LandmarkNetwork,
    stack: NDArray[np.float32],
    *,
    step: int = 1,
    device: torch.device | None = None,
    batch: int = 16,
    views: int = 1,
    window_mm: float = WINDOW_MM,
    stop: Stop | None = None,
) -> SlicePoints:
    """Finds both points in every slice of one frame; for the arguments not named here see `predict_slices`.

    Args:
        network: In evaluation mode, on `device`.
        stack: (Z, H, W) within [-1, 1], at the network's spacing.
        views: Take the mean over so many of the image and its three mirror images, 1 to 4; in an image that is
            mirrored once a walk around the heart meets the points in the other order.
        window_mm: See `WINDOW_MM`.

    Returns:
        Places, presence and certainty.

    Raises:
        Cancelled: `stop` said so.
    """

    def read(numbers: torch.Tensor, axes: Flip) -> tuple[torch.Tensor, torch.Tensor]:
        heatmap = heatmap_logits(numbers).flatten(2).softmax(-1).view(len(numbers), 2, *numbers.shape[2:])
        there = presence_logits(numbers).sigmoid()
        if len(axes) == 1:
            heatmap, there = heatmap.flip(1), there.flip(1)
        return heatmap.flip(axes) if axes else heatmap, there

    radius = max(1.0, window_mm / network.config.spacing_mm)
    places, presence, certainty = np.empty((len(stack), 2, 2)), np.empty((len(stack), 2)), np.empty((len(stack), 2))
    batches = predict_slices(
        network, stack, read, step=step, device=device, batch=batch, flips=FLIPS[:views], stop=stop
    )
    for here, (heatmap, there) in batches:
        found, held = soft_argmax(heatmap, radius)
        places[here], certainty[here] = found.cpu().numpy(), held.cpu().numpy()
        presence[here] = there.cpu().numpy()
    return SlicePoints(places, presence, certainty)


@dataclass(frozen=True, eq=False)
class CinePoints:
    """Points that a network found in a cine, not yet named.

    Attributes:
        pixels: (T, Z, 2, 2) pixels (x, y) of the cine's own array: the point that a walk anti-clockwise on the screen
            (x to the right, y down) meets first, then the other; NaN where nothing was found.
        presence: (T, Z, 2) probability, 0 to 1, that there is such a point.
        certainty: (T, Z, 2), 0 to 1: share of the heatmap within the disc about the point; for the published network
            the mean probability of the blob's pixels.
    """

    pixels: NDArray[np.float64]
    presence: NDArray[np.float64]
    certainty: NDArray[np.float64]


def find_points(
    cine: Cine,
    model: LandmarkModel,
    *,
    device: torch.device | None = None,
    batch: int = 16,
    views: int | None = None,
    labels: Segmentation | None = None,
    progress: Progress | None = None,
    stop: Stop | None = None,
) -> CinePoints:
    """Runs a network over a cine.

    The image is turned and mirrored into the usual view first, so that a cine gives the very same points however its
    file stores it, and cut to a square about the heart. Where no point is likely there, the whole image is searched.

    Args:
        cine: Any spacing, size and orientation.
        model: Ours or the published one; it is moved to `device`.
        device: None is the CPU.
        batch: Slices at once, each with all its mirror images.
        views: Take the mean over so many of the image and its three mirror images, 1 to 4 (our network); None for
            `VIEWS_WITH_LABELS` or `VIEWS_ALONE`.
        labels: Labels of this cine; then a smaller square about what they label is looked at first (our network).
        progress: Called with (frames done, frames in all); begins anew where the whole image is looked at.
        stop: Asked before every batch.

    Returns:
        Points of every slice and frame, likely or not.

    Raises:
        CardioDiTError: The images are blank.
        Cancelled: `stop` said so.
    """
    looked_at = CineView.of(cine)
    array = looked_at.array
    places = np.full((*array.shape[:2], 2, 2), np.nan)
    presence, certainty = np.zeros(places.shape[:3]), np.zeros(places.shape[:3])
    where, in_plane = device or torch.device("cpu"), looked_at.spacing[:2]
    regions = looked_at.regions(model.manifest.field_mm)
    looks: list[tuple[Region, Region, Window | None]] = [(region, region, None) for region in regions]
    if labels is not None and isinstance(model.network, LandmarkNetwork):
        config = model.network.config
        window = Window.about(looked_at.view.apply(labels.array), in_plane, config, least_mm=SEEN_MM)
        if window is not None:
            part = window.rows_and_columns((array.shape[2], array.shape[3]), in_plane, config.spacing_mm)
            # grey values are scaled as for the whole region, as in training
            looks.insert(0, ((slice(None), slice(None), *part), regions[0], window.within(*part)))
    for region, bright, window in looks:
        seen, number = array[region], views or (VIEWS_ALONE if window is None else VIEWS_WITH_LABELS)
        read = _reader(model, seen, array[bright], looked_at.spacing, window, where, batch, number, stop)
        for t, frame in enumerate(seen):
            found = read(frame)
            places[t] = found.places + [region[3].start, region[2].start]
            presence[t], certainty[t] = found.presence, found.certainty
            if progress is not None:
                progress(t + 1, len(seen))
        if (presence >= model.manifest.rule.presence).any():
            break
    view = looked_at.view
    places = view.undo_places(places, (array.shape[3], array.shape[2]))
    values = [view.undo_slices(value) for value in (places, presence, certainty)]
    if view.is_mirrored:  # the walk met the points the other way round
        values = [value[:, :, ::-1] for value in values]
    return CinePoints(*values)


def _reader(
    model: LandmarkModel,
    array: NDArray[np.generic],
    region: NDArray[np.generic],
    spacing: tuple[float, float, float],
    window: Window | None,
    device: torch.device,
    batch: int,
    views: int,
    stop: Stop | None,
) -> _Reader:
    """What takes the planes of a frame of `array` and gives points in pixels of these planes.

    Grey values are scaled as `region` asks for; of the planes `window` is seen, or all.
    """
    network, manifest = model.network, model.manifest
    if not isinstance(network, LandmarkNetwork):
        return partial(
            predict_rvip,
            network,
            spacing_xy_mm=spacing[:2],
            threshold=manifest.rule.presence,
            largest_component=manifest.rule.largest_component,
            device=device,
            batch=batch,
            stop=stop,
        )
    scale = intensity_range(region, manifest.intensity.low_percentile, manifest.intensity.high_percentile)
    reader = RegionReader(array, spacing, network.config, scale, window)

    def read(frame: NDArray[np.generic]) -> SlicePoints:
        found = predict_points(
            network,
            reader.stack(frame),
            step=reader.step,
            device=device,
            batch=batch,
            views=views,
            window_mm=manifest.rule.window_mm,
            stop=stop,
        )
        return SlicePoints(reader.sampler.places_in_source(found.places), found.presence, found.certainty)

    return read


def landmarks_from_network(
    cine: Cine,
    model: LandmarkModel,
    *,
    device: torch.device | None = None,
    batch: int = 16,
    views: int | None = None,
    swap: bool = False,
    labels: Segmentation | None = None,
    progress: Progress | None = None,
    stop: Stop | None = None,
) -> LandmarkTrack:
    """Points of a network, named as those from labels are (:mod:`~CardioDiTLib.landmarks.naming`).

    Args:
        cine: Any spacing, size and orientation.
        model: Ours or the published one.
        device: None is the CPU.
        batch: Slices at once, each with all its mirror images.
        views: See `find_points`.
        swap: Exchange the names: for images that are mirrored but do not say so.
        labels: See `find_points`.
        progress: Called with (frames done, frames in all).
        stop: Asked before every batch.

    Returns:
        Points (T, Z, 2, 3) mm RAS, anterior then inferior, NaN where the presence is below the model's threshold;
        confidence (T, Z, 2): presence times how much of the heatmap lies at the point; 0 where there is none.

    Raises:
        CardioDiTError: The images are blank.
        Cancelled: `stop` said so.
    """
    seen = find_points(
        cine, model, device=device, batch=batch, views=views, labels=labels, progress=progress, stop=stop
    )
    return named_track(cine, seen, model, swap=swap)


def named_track(cine: Cine, seen: CinePoints, model: LandmarkModel, *, swap: bool = False) -> LandmarkTrack:
    """Keeps what is likely, and names it; see `landmarks_from_network`."""
    frames, slices = cine.n_frames, cine.n_slices
    levels = np.broadcast_to(np.arange(slices, dtype=np.float64)[None, :, None, None], (frames, slices, 2, 1))
    ras = cine.index_to_ras(np.concatenate([seen.pixels, levels], axis=-1))
    likely = seen.presence >= model.manifest.rule.presence
    found: NDArray[np.bool_] = np.asarray(likely & ~np.isnan(ras).any(axis=-1), np.bool_)
    confidence = np.clip(seen.presence * seen.certainty, 0.0, 1.0)
    turned = _met_the_wrong_way_round(ras, found, confidence)
    ras[turned], found[turned], confidence[turned] = (
        ras[turned][:, ::-1],
        found[turned][:, ::-1],
        confidence[turned][:, ::-1],
    )
    both: NDArray[np.bool_] = np.asarray(found.all(axis=-1))
    length = np.linalg.norm(ras[both][:, 0] - ras[both][:, 1], axis=-1)
    naming = name_points(cine.affine, cine.meta, ras[both][:, 0], ras[both][:, 1], length)
    if naming.first_is_anterior == swap:
        ras, found, confidence = ras[:, :, ::-1], found[:, :, ::-1], confidence[:, :, ::-1]
    record = model.manifest.files.get(WEIGHTS_NAME)
    about: dict[str, Any] = {
        "source": "network",
        "name": model.manifest.name,
        "version": model.manifest.version,
        "sha256": record.sha256 if record else "",
        "named_by": naming.rule,
        "swapped": swap,
        "turned_slices": int(turned.sum()),
    }
    if np.isfinite(naming.agreement):
        about["agreement"] = naming.agreement
    if naming.note:
        about["naming_note"] = naming.note
    return LandmarkTrack(
        np.where(found[..., None], ras, np.nan),
        np.where(found, confidence, 0.0),
        cine.frame_times,
        {**cine.meta, "landmarks": about},
    )


def _met_the_wrong_way_round(
    ras: NDArray[np.float64], found: NDArray[np.bool_], confidence: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """(T, Z), True for pairs that point against the mean of all others; the septum turns by less within a heart."""
    both: NDArray[np.bool_] = np.asarray(found.all(axis=-1))
    chord = np.where(both[..., None], ras[:, :, 0] - ras[:, :, 1], 0.0)
    length = np.linalg.norm(chord, axis=-1)
    unit = chord / np.maximum(length, 1e-9)[..., None]
    mean = (unit * (length * confidence.min(axis=-1))[..., None]).sum(axis=(0, 1))
    size = float(np.linalg.norm(mean))
    if size < 1e-9:
        return np.zeros(both.shape, bool)
    return np.asarray(both & (unit @ (mean / size) < LARGEST_TURN_COSINE))

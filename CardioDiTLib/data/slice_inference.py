"""Networks on slices over a whole cine: usual view, region of the heart, resampling in plane, batches, test-time flips.

`CineView` brings a cine to the usual orientation and gives the region of the heart; `RegionReader` brings its frames to
the network's spacing and intensities; `predict_slices` runs a network over the slices of a frame.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from CardioDiTLib.cine import Cine
from CardioDiTLib.data.canonical_view import CanonicalView
from CardioDiTLib.data.header_check import check_slice_axis
from CardioDiTLib.data.heart_roi import heart_roi
from CardioDiTLib.data.in_plane import PlaneSampler
from CardioDiTLib.data.intensity import IntensityRange
from CardioDiTLib.models.slice_unet import NetworkConfig, SliceNetwork
from CardioDiTLib.progress import Stop

SPREAD_SCALE = 2.0
"""Standard deviations over the beat are multiplied by this, to be of the size of the other channels."""

MARGIN_MM = 20.0
"""So much of its surroundings is seen around a heart at least."""

Given = TypeVar("Given")
Made = TypeVar("Made")

Flip = tuple[int, ...]
"""Axes of an image that are reversed."""

FLIPS: tuple[Flip, ...] = ((), (-1,), (-2,), (-2, -1))
"""An image and its three mirror images."""


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


def predict_slices(
    network: SliceNetwork,
    stack: NDArray[np.float32],
    read: Callable[[torch.Tensor, Flip], tuple[torch.Tensor, ...]],
    *,
    beat: NDArray[np.float32] | None = None,
    step: int = 1,
    device: torch.device | None = None,
    batch: int = 16,
    flips: Sequence[Flip] = FLIPS[:1],
    stop: Stop | None = None,
) -> Iterator[tuple[slice, tuple[torch.Tensor, ...]]]:
    """Runs a network over the slices of one frame, some at a time; to be iterated in `torch.inference_mode`.

    Args:
        network: In evaluation mode, on `device`.
        stack: (Z, H, W) within [-1, 1], at the network's spacing.
        read: Makes of the network's output for flipped images, and the flip, what is averaged over the flips, flipped
            back; the slices are the first axis of each.
        beat: (Z, 2, H, W), what `beat_channels` gives, for a network that sees motion; None for one that does not, or
            where only one frame is known.
        step: See `NetworkConfig.neighbour_step`.
        device: Where the network is; None is the CPU.
        batch: Slices at once, each with all its flipped images.
        flips: The mean is taken over so flipped images.
        stop: Asked before every batch.

    Yields:
        The slices, and the means of what `read` gives.

    Raises:
        Cancelled: `stop` said so.
    """
    where, config = device or torch.device("cpu"), network.config
    valid = np.ones(len(stack), bool)
    for first in range(0, len(stack), batch):
        if stop is not None:
            stop.check()
        here = slice(first, min(first + batch, len(stack)))
        seen = [slices_seen(z, valid, config.neighbours, step) for z in range(here.start, here.stop)]
        shown = stack[np.asarray(seen)]
        if config.motion:
            own = np.stack([stack[here], np.zeros_like(stack[here])], 1) if beat is None else beat[here]
            shown = np.concatenate([shown, own], 1)
        images = torch.from_numpy(shown).to(where)
        # All flipped images in one go: larger batches keep two threads busier.
        found = network(torch.cat([images.flip(axes) if axes else images for axes in flips])).split(len(images))
        total: tuple[torch.Tensor, ...] | None = None
        for axes, numbers in zip(flips, found):
            parts = read(numbers, axes)
            total = parts if total is None else tuple(a + b for a, b in zip(total, parts))
        assert total is not None
        yield here, tuple(part / len(flips) for part in total)


def one_ahead(work: Callable[[Given], Made], items: Iterable[Given]) -> Iterator[Made]:
    """What `work` makes of each item, in order; the next is made in a thread while the caller uses the last.

    Networks leave Python's lock alone, so that a caller who works with arrays meanwhile loses little time. An error of
    `work` comes to the caller where its item would have come; when the caller stops, at most one item was too many.
    """
    with ThreadPoolExecutor(1) as thread:
        coming: Future[Made] | None = None
        for item in items:
            last, coming = coming, thread.submit(work, item)
            if last is not None:
                yield last.result()
        if coming is not None:
            yield coming.result()


@dataclass(frozen=True, eq=False)
class CineView:
    """A cine in the usual view, so that the same heart gives the same numbers however its file stores it.

    Attributes:
        view: The way there and back.
        array: (T, Z, Y, X).
        spacing: (x, y, z) mm.
    """

    view: CanonicalView
    array: NDArray[Any]
    spacing: tuple[float, float, float]

    @classmethod
    def of(cls, cine: Cine) -> CineView:
        """The view of a cine of any spacing, size and orientation; no copy.

        Raises:
            CardioDiTError: The planes are none of a short axis.
        """
        check_slice_axis(cine.spacing, cine.n_slices)
        view = CanonicalView.of(cine.affine)
        return cls(view, view.apply(cine.array), view.spacing(cine.spacing))

    def regions(self, roi_mm: float) -> list[tuple[slice, slice, slice, slice]]:
        """Regions to search in turn: about the likeliest heart first, then, for cines in which nothing is found there,
        the whole image.

        Args:
            roi_mm: Side of the square about the heart.

        Returns:
            Indices of `array`.
        """
        every, whole = slice(None), (slice(0, self.array.shape[2]), slice(0, self.array.shape[3]))
        roi = heart_roi(self.array, self.spacing, roi_mm)
        return [(every, every, *part) for part in ([roi] if roi == whole else [roi, whole])]


@dataclass(frozen=True)
class Window:
    """A square in plane about the heart, turned or not: what a network looks at once it is known where the heart lies.

    Attributes:
        middle: Pixel (x, y) of the image.
        side: Rows and columns at the network's spacing.
        turn_rad: See `PlaneSampler`.
    """

    middle: tuple[float, float]
    side: int
    turn_rad: float = 0.0

    @classmethod
    def about(
        cls,
        labels: NDArray[np.uint8],
        spacing_xy_mm: tuple[float, float],
        config: NetworkConfig,
        *,
        least_mm: float,
        turn_rad: float = 0.0,
    ) -> Window | None:
        """The window about everything that is labelled, in all slices and frames, with `MARGIN_MM` around it.

        It is no larger than the longer side of the image.

        Args:
            labels: (..., Y, X) of the whole image, 0 background.
            spacing_xy_mm: (x, y) mm.
            config: The network's.
            least_mm: Smallest side.
            turn_rad: See `PlaneSampler`.

        Returns:
            The window; None where nothing is labelled.
        """
        rows, columns = np.nonzero(labels.reshape(-1, *labels.shape[-2:]).any(axis=0))
        if not len(rows):
            return None
        cos, sin = np.cos(turn_rad), np.sin(turn_rad)
        turned = np.array([[cos, sin], [-sin, cos]])
        places = turned @ np.stack([columns * spacing_xy_mm[0], rows * spacing_xy_mm[1]])
        low, high = places.min(axis=1), places.max(axis=1)
        x, y = turned.T @ ((low + high) / 2) / spacing_xy_mm
        side_mm = max(least_mm, float((high - low).max()) + 2 * MARGIN_MM)
        steps = math.ceil(side_mm / (config.spacing_mm * config.multiple) - 1e-6)
        image = max(size * spacing for size, spacing in zip(labels.shape[:-3:-1], spacing_xy_mm))
        side = min(steps * config.multiple, max(1, round(image / config.spacing_mm)))
        if not turn_rad:
            # the first pixel lies on one of the image, which at the same spacing keeps every grey value as it is
            half = (side - 1) / 2 * config.spacing_mm / np.asarray(spacing_xy_mm)
            x, y = np.rint((x, y) - half) + half
        return cls((float(x), float(y)), side, turn_rad)

    def rows_and_columns(
        self, shape_yx: tuple[int, int], spacing_xy_mm: tuple[float, float], target_mm: float
    ) -> tuple[slice, slice]:
        """The part of an image of this shape that the window shows."""
        half = self.side * target_mm / 2 * (abs(math.cos(self.turn_rad)) + abs(math.sin(self.turn_rad)))
        parts = []
        for middle, spacing, size in zip(self.middle, spacing_xy_mm, shape_yx[::-1]):
            first = min(max(math.floor(middle - half / spacing), 0), size - 1)
            parts.append(slice(first, max(min(math.ceil(middle + half / spacing) + 1, size), first + 1)))
        return parts[1], parts[0]

    def within(self, rows: slice, columns: slice) -> Window:
        """The same window in pixels of a part of the image."""
        return replace(self, middle=(self.middle[0] - columns.start, self.middle[1] - rows.start))


class RegionReader:
    """Frames of a region as a network on slices sees them.

    Args:
        array: (T, Z, Y, X) of the region.
        spacing_mm: (x, y, z) mm.
        config: The network's.
        intensity: What becomes -1 and +1.
        window: What of it is seen; None for all of it.

    Attributes:
        sampler: From the region's pixels to the network's, and back.
        step: See `NetworkConfig.neighbour_step`.
        beat: (Z, 2, H, W) mean and spread over the beat for a network that sees motion; else, and for one frame, None.
    """

    def __init__(
        self,
        array: NDArray[Any],
        spacing_mm: tuple[float, float, float],
        config: NetworkConfig,
        intensity: IntensityRange,
        window: Window | None = None,
    ) -> None:
        self._intensity = intensity
        seen = (0.0,) if window is None else (window.turn_rad, window.middle, window.side)
        self.sampler = PlaneSampler((array.shape[2], array.shape[3]), spacing_mm[:2], config.spacing_mm, *seen)
        self.step = config.neighbour_step(spacing_mm[2])
        self.beat = self._beat_of(array) if config.motion and len(array) > 1 else None

    def stack(self, frame: NDArray[Any]) -> NDArray[np.float32]:
        """(Z, Y, X) of the region -> (Z, H, W) within [-1, 1] at the network's spacing."""
        return self._intensity.scale(self.sampler.to_network(frame))

    def _beat_of(self, array: NDArray[Any]) -> NDArray[np.float32]:
        """As `beat_channels`, in the memory of a few frames."""
        first, second = (np.zeros(array.shape[1:], np.float32) for _ in range(2))
        for frame in array:
            seen = self._intensity.scale(frame)
            first += seen
            second += seen**2
        mean = first / len(array)
        spread = np.sqrt(np.maximum(second / len(array) - mean**2, 0.0))
        planes = [self.sampler.to_network(mean), np.minimum(SPREAD_SCALE * self.sampler.to_network(spread), 1.0)]
        return np.stack(planes, 1).astype(np.float32)

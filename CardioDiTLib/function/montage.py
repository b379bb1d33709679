"""Pictures of slices with contours: the beating montage, and the insertion points at end-diastole and end-systole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from CardioDiTLib.cine import Cine, LandmarkTrack, Segmentation
from CardioDiTLib.data.in_plane import apply_plane_operator, plane_operator, take_nearest
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.labels import LV, MYOCARDIUM, RV
from CardioDiTLib.reporting.colours import ANTERIOR_COLOUR, INFERIOR_COLOUR, LV_COLOUR, RV_COLOUR, WALL_COLOUR
from CardioDiTLib.reporting.drawing import durations_ms, film_bytes, require_pillow, still_bytes, type_of
from CardioDiTLib.reporting.sheet import Labels, film_images, slice_names

_TILE = 150  # pixels of the longer side of a tile
_MARGIN_MM = 18.0
_GAP = 3
_COLUMNS = 6
_FILM_PIXELS, _FILM_BYTES = 960, 400_000
_BLACK, _WHITE = 0, 245  # grey levels of the palette; the ones above are colours
_CONTOURS = ((RV, 250), (MYOCARDIUM, 251), (LV, 252))
_FLAT_GREYS = np.array([30, 120, 75, 150], np.float64)  # of background, RV, myocardium, LV
# Lighter than in charts: thin lines on dark pictures.
_COLOURS = {250: "#FF8A33", 251: "#19C99A", 252: "#4DB2F0"}
CONTOUR_NAMES = (
    ("LV cavity", LV_COLOUR, _COLOURS[252]),
    ("epicardium", WALL_COLOUR, _COLOURS[251]),
    ("RV", RV_COLOUR, _COLOURS[250]),
)
"""What the contours are: name, colour in charts, colour in pictures."""


class SlicePictures:
    """Slices cut to the heart, at one brightness, with contours.

    Args:
        segmentation: Labels.
        cine: Images of the same grid; shades of grey made of the labels where it is None.

    Raises:
        CardioDiTError: The cine has another shape or lies elsewhere, or Pillow is not installed.
    """

    def __init__(self, segmentation: Segmentation, cine: Cine | None = None) -> None:
        require_pillow()
        if cine is not None:
            same = cine.shape == segmentation.shape and np.allclose(cine.affine, segmentation.affine, atol=1e-2)
            if not same:
                raise CardioDiTError(
                    f"The cine {cine.shape} and the segmentation {segmentation.shape} are not on the same grid.",
                    "Give the cine that was segmented.",
                )
        self._segmentation = segmentation
        sx, sy, _ = segmentation.spacing
        any_label = np.asarray((segmentation.array > 0).any(axis=0))
        self.slices = [int(z) for z in np.flatnonzero(any_label.any(axis=(1, 2)))]
        rows, columns = np.nonzero(any_label.any(axis=0))
        if len(rows) == 0:
            rows, columns = np.array([0, any_label.shape[1] - 1]), np.array([0, any_label.shape[2] - 1])
            self.slices = list(range(segmentation.n_slices))
        pad_y, pad_x = int(np.ceil(_MARGIN_MM / sy)), int(np.ceil(_MARGIN_MM / sx))
        self._top, self._left = max(int(rows.min()) - pad_y, 0), max(int(columns.min()) - pad_x, 0)
        bottom = min(int(rows.max()) + pad_y + 1, segmentation.shape[2])
        right = min(int(columns.max()) + pad_x + 1, segmentation.shape[3])
        self._cut = slice(self._top, bottom), slice(self._left, right)
        height, width = (bottom - self._top) * sy, (right - self._left) * sx
        self._scale = _TILE / max(height, width)  # pixels a mm
        self._shape = max(8, round(height * self._scale)), max(8, round(width * self._scale))
        # From a pixel of a tile to the cut, by its middle.
        step_x, step_y = 1 / (self._scale * sx), 1 / (self._scale * sy)
        matrix = [[step_x, 0, 0.5 * step_x - 0.5], [0, step_y, 0.5 * step_y - 0.5]]
        cut = bottom - self._top, right - self._left
        self._linear, self._nearest = (plane_operator(matrix, cut, self._shape, order)[0] for order in (1, 0))
        self._images = None if cine is None else cine.array[(slice(None), slice(None), *self._cut)]
        if self._images is not None:
            shown = self._images[:, self.slices]
            self._low, self._high = (float(level) for level in np.percentile(shown, (0.5, 99.5)))

    @property
    def mm_per_pixel(self) -> float:
        """Size of a pixel of a tile."""
        return 1.0 / self._scale

    @property
    def names(self) -> tuple[str, ...]:
        """Of the slices that are shown: counted from 1 in the order of the file, base and apex where known."""
        whole = self._segmentation
        every = slice_names(whole.n_slices, whole.affine, whole.array)
        ends = {0: every[0].partition(" ")[2], len(self.slices) - 1: every[-1].partition(" ")[2]}
        return tuple(f"{z + 1} {ends.get(i, '')}".strip() for i, z in enumerate(self.slices))

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of a tile, pixels."""
        return self._shape

    def tile(self, frame: int, index: int, *, contours: bool = True) -> NDArray[np.uint8]:
        """One slice at one frame as palette indices, rows down and columns to the right as stored."""
        labels = self._segmentation.array[(frame, index, *self._cut)]
        if self._images is None:
            picture = _FLAT_GREYS[take_nearest(self._nearest, labels, self._shape)]
        else:
            image = np.asarray(self._images[frame, index], dtype=np.float32)
            level = (image - self._low) / max(self._high - self._low, 1e-9)
            picture = apply_plane_operator(self._linear, np.clip(level, 0, 1) * _WHITE, self._shape)
        result = np.clip(picture, _BLACK, _WHITE).astype(np.uint8)
        if contours:
            for label, colour in _CONTOURS:
                # The outer outline of the muscle is that of muscle and cavity together.
                mask = labels >= MYOCARDIUM if label == MYOCARDIUM else labels == label
                if mask.any():
                    result[self._outline(mask)] = colour
        return result

    def coloured(self, frame: int, index: int) -> NDArray[np.uint8]:
        """The same with contours, (rows, columns, 3) red, green and blue."""
        return _PALETTE[self.tile(frame, index)]

    def position(self, index: NDArray[np.float64]) -> tuple[float, float]:
        """Where a voxel index (x, y, z) lies in its tile: column and row, pixels."""
        sx, sy, _ = self._segmentation.spacing
        column = (index[0] - self._left + 0.5) * sx * self._scale
        row = (index[1] - self._top + 0.5) * sy * self._scale
        return float(column), float(row)

    def _outline(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        soft = ndimage.gaussian_filter(mask.astype(np.float32), 0.6, mode="nearest")
        fine = apply_plane_operator(self._linear, soft, self._shape) > 0.5
        inner = fine.copy()
        inner[1:] &= fine[:-1]
        inner[:-1] &= fine[1:]
        inner[:, 1:] &= fine[:, :-1]
        inner[:, :-1] &= fine[:, 1:]
        return np.asarray(fine & ~inner, dtype=np.bool_)


def montage_film(
    pictures: SlicePictures, segmentation: Segmentation, phases: dict[str, int], *, title: str, mark: str
) -> tuple[bytes, str]:
    """All slices with contours, beating, as a film that repeats for ever at the speed of the heart.

    Args:
        pictures: Slices.
        segmentation: What they show; gives frames and times.
        phases: "ED" and "ES" to frames.
        title: Above the slices.
        mark: What they are for.

    Returns:
        A film, and its kind ("webp" or "gif"); its time steps are multiples of 10 ms, 20 ms at least. One or two frames
        are no film and stand for 0.7 s each.
    """
    count = segmentation.n_frames
    tiles = np.stack([np.stack([pictures.coloured(frame, z) for z in pictures.slices]) for frame in range(count)])
    labels = Labels(
        title=title,
        mark=mark,
        slices=pictures.names,
        times_s=tuple(float(time) for time in segmentation.frame_times),
        phases=phases,
        mm_per_pixel=pictures.mm_per_pixel,
    )
    images = film_images(tiles, labels, _FILM_PIXELS)
    return film_bytes(images, durations_ms(segmentation.frame_times, segmentation.cycle_s), _FILM_BYTES)


def landmarks_still(
    pictures: SlicePictures,
    segmentation: Segmentation,
    landmarks: LandmarkTrack,
    phases: Sequence[tuple[str, int]],
) -> tuple[bytes, str]:
    """The insertion points on the slices that hold any, one block of rows a phase (end-diastole, end-systole).

    Args:
        pictures: Slices.
        segmentation: Geometry.
        landmarks: Points of the same frames and slices.
        phases: Name and frame of each phase.

    Returns:
        A picture and its kind. The anterior point is a triangle, the inferior one a disc.
    """
    from PIL import Image, ImageDraw

    height, width = pictures.shape
    enlarge = 2  # drawn at twice the size, so that marks are round
    shown = [
        z for z in pictures.slices if any(landmarks.found[frame, z].any() for _, frame in phases)
    ] or pictures.slices
    rows, columns = _grid_of(len(shown))
    size = (width + _GAP) * columns * enlarge, (height + _GAP) * rows * len(phases) * enlarge
    sheet = Image.new("RGB", size, "#FFFFFF")
    pen = ImageDraw.Draw(sheet)
    for block, (name, frame) in enumerate(phases):
        for position, z in enumerate(shown):
            row, column = divmod(position, columns)
            corner = column * (width + _GAP) * enlarge, (block * rows + row) * (height + _GAP) * enlarge
            tile = Image.fromarray(_PALETTE[pictures.tile(frame, z, contours=False)])
            sheet.paste(tile.resize((width * enlarge, height * enlarge), Image.Resampling.BICUBIC), corner)
            text = f"{name} slice {z + 1}"
            place = corner[0] + 8, corner[1] + 6
            pen.text(place, text, fill="#FFFFFF", font=type_of(20), stroke_width=2, stroke_fill="#000000")
            for side in (0, 1):
                if not landmarks.found[frame, z, side]:
                    continue
                across, down = pictures.position(segmentation.ras_to_index(landmarks.points[frame, z, side]))
                _mark(pen, corner[0] + across * enlarge, corner[1] + down * enlarge, side)
    return still_bytes(sheet)


def _grid_of(count: int) -> tuple[int, int]:
    """Rows and columns for so many tiles, the rows as equally full as can be."""
    rows = -(-count // _COLUMNS)
    return rows, -(-count // rows)


def _mark(pen: Any, x: float, y: float, side: int) -> None:
    r = 8.0
    if side == 0:
        corners = [(x, y - r), (x - 0.95 * r, y + 0.75 * r), (x + 0.95 * r, y + 0.75 * r)]
        pen.polygon(corners, fill=ANTERIOR_COLOUR, outline="#000000", width=2)
    else:
        pen.ellipse(
            (x - 0.85 * r, y - 0.85 * r, x + 0.85 * r, y + 0.85 * r), fill=INFERIOR_COLOUR, outline="#000000", width=2
        )


def _palette() -> NDArray[np.uint8]:
    """(256, 3) red, green and blue: greys below, colours above."""
    colours = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, 1)
    for level, colour in _COLOURS.items():
        colours[level] = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return colours


_PALETTE = _palette()

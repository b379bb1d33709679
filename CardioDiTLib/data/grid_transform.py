"""Transform from a cine to a model's grid and back, as a record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray

from CardioDiTLib.arrays import Numbers
from CardioDiTLib.data.intensity import IntensityRange, SliceLevels
from CardioDiTLib.grid import ModelGrid
from CardioDiTLib.schema import Record

Affine = Annotated[NDArray[np.float64], Numbers((4, 4))]


@dataclass(frozen=True, eq=False)
class GridTransform(Record):
    """All that is needed to go from a cine to a model grid and back.

    Args:
        source_shape: (T, Z, Y, X) of the cine.
        source_affine: (4, 4) of the cine, index (x, y, z) to mm RAS.
        source_frame_times: (T,) seconds of the cine.
        cycle_s: Length of the cycle in seconds.
        grid: The model grid.
        grid_affine: (4, 4) of the model grid, index (x, y, z) to mm RAS.
        slice_valid: (Z,) of the grid, False where a slice lies outside the recorded stack and is empty.
        intensity: The source intensities that became -1 and +1.
        first_frame: Source frame that became frame 0.
        end_diastole_known: Whether frame 0 is end-diastole, rather than the first recorded frame.
        time_method: How time was resampled; see `CardioDiTLib.data.time.resample_cycle`.
        levels: Gains taken from the slices of the source, or None.
        rotation_deg: Turn in plane; see `CardioDiTLib.data.preprocess.to_grid`.
    """

    record_name: ClassVar[str] = "record of a cine on a grid"
    record_hint: ClassVar[str] = "Give what `to_dict` gave, whole."
    json_names: ClassVar[dict[str, str]] = {"source_frame_times": "source_frame_times_s"}
    all_needed: ClassVar[bool] = True

    source_shape: tuple[int, int, int, int]
    source_affine: Affine
    source_frame_times: Annotated[NDArray[np.float64], Numbers((None,))]
    cycle_s: float
    grid: ModelGrid
    grid_affine: Affine
    slice_valid: tuple[bool, ...]
    intensity: IntensityRange
    first_frame: int = 0
    end_diastole_known: bool = False
    time_method: str = "monotone"
    levels: SliceLevels | None = None
    rotation_deg: float = 0.0

    @property
    def grid_to_source(self) -> NDArray[np.float64]:
        """(4, 4) from an index (x, y, z) on the grid to one in the source."""
        return np.linalg.inv(self.source_affine) @ self.grid_affine

    @property
    def source_to_grid(self) -> NDArray[np.float64]:
        """(4, 4) from an index (x, y, z) in the source to one on the grid."""
        return np.linalg.inv(self.grid_affine) @ self.source_affine

    @property
    def grid_frame_times(self) -> NDArray[np.float64]:
        """(T,) seconds of the grid's frames, starting at 0; evenly over the cycle, or as recorded if repeated."""
        steps = self.source_shape[0] if self.time_method == "repeat" else self.grid.frames
        return np.asarray(np.arange(self.grid.frames) * (self.cycle_s / steps), dtype=np.float64)

    @property
    def source_phases(self) -> NDArray[np.float64]:
        """(T,) phase in [0, 1) of each source frame, 0 at frame 0 of the grid."""
        phases = self.source_frame_times / self.cycle_s
        return np.mod(phases - phases[self.first_frame], 1.0)

"""Small cohorts of digital phantoms for the tests of ``evaluation``."""

from __future__ import annotations

import numpy as np

from CardioDiTLib.data import Phantom, PhantomSpec, make_phantom
from CardioDiTLib.evaluation import Cohort


def phantoms(count: int, seed: int, *, volume: float = 1.0) -> list[Phantom]:
    """Hearts of all sizes, turned and shifted a little, quiet pictures; 9 slices of 16 frames on 100 x 100 pixels."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        spec = PhantomSpec(
            frames=16,
            slices=9,
            height=100,
            width=100,
            edv_ml=float(rng.uniform(110, 170)) * volume,
            ejection_fraction=float(rng.uniform(0.45, 0.65)),
            wall_mm=float(rng.uniform(8, 11)),
            septum_deg=180 + float(rng.normal(0, 10)),
            long_axis_mm=78.0,
            noise=0.004,
            seed=int(rng.integers(1 << 30)),
        )
        made.append(make_phantom(spec))
    return made


def cohort(hearts: list[Phantom], name: str, groups: list[str] | None = None) -> Cohort:
    """Cohort of phantoms with their labels."""
    return Cohort.from_cines([h.cine for h in hearts], [h.segmentation for h in hearts], groups, name)

"""How far a measurement is."""

from __future__ import annotations

import time

from CardioDiTLib.service.job import Job


class MeasurementProgress:
    """Tells a job's progress for functions that call back with (done, of), such as `segment`.

    The share never falls, also where a function begins anew, and the time that is left follows from the pace so far.

    Args:
        job: Whose progress it is.
        stage: Name of the stage.
    """

    def __init__(self, job: Job, stage: str) -> None:
        self._job, self._stage = job, stage
        self._began = time.perf_counter()
        self._share = 0.0

    def __call__(self, done: int, of: int) -> None:
        """Frames done, frames in all."""
        share = done / of if of else 1.0
        elapsed = time.perf_counter() - self._began
        left = elapsed * (1.0 - share) / share if share > 0 else None
        self._share = max(self._share, share)
        self._job.progress(self._stage, step=done, of=of, fraction=self._share, eta_s=left)

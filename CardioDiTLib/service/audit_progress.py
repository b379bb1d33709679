"""How far an audit is."""

from __future__ import annotations

import time

from CardioDiTLib.service.job import Job

_EMBEDDING = "embedding"


class AuditProgress:
    """Tells a job's progress from what `audit_memorization` calls back with. Embedding takes the time: the share is
    that of the cines that are embedded.

    Args:
        job: Whose progress it is.
        expected: How many cines are to be embedded.
    """

    def __init__(self, job: Job, expected: int) -> None:
        self._job, self._expected = job, expected
        self._before, self._stage, self._done = 0, "", 0
        self._began = time.perf_counter()
        self._share = 0.0
        job.progress("load", step=0, of=1, fraction=0.0, eta_s=None)

    def expect(self, more: int) -> None:
        """So many cines more are to be embedded."""
        self._expected += more

    def tell(self, what: str, done: int, of: int) -> None:
        """What is at work, and how many of how many are done."""
        if not what.startswith(_EMBEDDING):
            self._job.progress("compare", step=0, of=1, fraction=self._share, eta_s=None)
            return
        if what != self._stage or done <= self._done:
            self._before, self._stage = self._before + self._done, what
        self._done = done
        total = max(self._expected, self._before + of)
        share = (self._before + done) / total
        self._share = max(self._share, share)
        elapsed = time.perf_counter() - self._began
        self._job.progress(
            "embed",
            step=self._before + done,
            of=total,
            fraction=self._share,
            eta_s=elapsed * (1.0 - share) / share if share > 0 else None,
        )

    def finish(self) -> None:
        """All is done."""
        self._job.progress("compare", step=1, of=1, fraction=1.0, eta_s=0.0)

"""How far generation is."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm


@dataclass(frozen=True, eq=False)
class ProgressEvent:
    """One sign of progress.

    Attributes:
        stage: "denoise" or "decode".
        step: Steps (denoise) or slices (decode) done in this batch, or of the one sample that is drawn again.
        of: Of how many.
        first: Number of the first sample of this batch, from 0 on.
        batch: Samples in this batch; 1 while a sample of it is drawn again.
        count: Samples in all.
        fraction: Share of the whole work that is done, 0 to 1, never falling.
        eta_s: Seconds that the rest will take.
        preview: (T, Y, X) int16, the middle slice of the first sample of the batch as the network sees it now; None
            unless the request asks for previews.
    """

    stage: str
    step: int
    of: int
    first: int
    batch: int
    count: int
    fraction: float
    eta_s: float
    preview: NDArray[np.int16] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; of the preview only its shape."""
        values = {key: value for key, value in vars(self).items() if key != "preview"}
        return {**values, "preview_shape": None if self.preview is None else list(self.preview.shape)}


ProgressCallback = Callable[[ProgressEvent], None]


class ProgressBar:
    """A bar in a terminal, nowhere else; called with events.

    Args:
        quiet: Show none.
    """

    def __init__(self, quiet: bool = False) -> None:
        self._stage = ""
        self._bar = tqdm(
            total=100,
            unit="%",
            file=sys.stderr,
            disable=True if quiet else None,
            leave=False,
            bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}<{postfix}",
        )

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def __call__(self, event: ProgressEvent) -> None:
        what = "denoising" if event.stage == "denoise" else "decoding"
        shown = min(event.first + event.batch, event.count)
        self._bar.set_description_str(f"{what} {shown}/{event.count}", refresh=False)
        # a stage is shown even if it takes less than the bar's own interval
        self._bar.set_postfix_str(f"{event.eta_s:.0f} s", refresh=event.stage != self._stage)
        self._stage = event.stage
        # fractions begin at 0 again for redraws of a gate; the bar does not go back
        self._bar.update(max(0.0, 100 * event.fraction - self._bar.n))

    def say(self, *lines: object) -> None:
        """Lines for stdout, above the bar."""
        for line in lines:
            self._bar.write(str(line), file=sys.stdout)
        sys.stdout.flush()


@contextmanager
def shown_in_terminal(progress: ProgressCallback | None) -> Iterator[ProgressCallback | None]:
    """The caller's own callback; without one a bar where stderr is a terminal, so never in a log file."""
    if progress is not None or not sys.stderr.isatty():
        yield progress
        return
    with ProgressBar() as bar:
        yield bar


class ProgressClock:
    """Turns what is done into shares and times.

    Denoising a sample for a step, and decoding a slice, are timed as they happen; what has not been timed yet is taken
    to cost the same.

    Args:
        callback: Called with events, or None.
        batches: Sizes of the batches.
        steps: Denoising steps.
        slices: Slices to decode a sample.
        redraws: How many times samples may be drawn again, all together.
        redraw_steps: Denoising steps of each of these times.
        now: The clock, seconds.
    """

    def __init__(
        self,
        callback: ProgressCallback | None,
        batches: Sequence[int],
        steps: int,
        slices: int,
        redraws: int = 0,
        redraw_steps: int = 0,
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._callback = callback
        self._count = sum(batches)
        self._a_redraw = {"denoise": redraw_steps, "decode": slices}
        self._whole = {
            "denoise": steps * self._count + redraws * redraw_steps,
            "decode": slices * (self._count + redraws),
        }
        self._of = {"denoise": steps, "decode": slices}
        self._done = {"denoise": 0, "decode": 0}
        self._seconds = {"denoise": 0.0, "decode": 0.0}
        self._now = now
        self._last = now()
        self._fraction = 0.0
        self._told: ProgressEvent | None = None

    def tell(
        self, stage: str, step: int, first: int, batch: int, preview: Callable[[], NDArray[np.int16]] | None = None
    ) -> None:
        """A denoising step of a batch, or a slice of a sample, is done.

        Args:
            stage: "denoise" or "decode".
            step: Steps or slices done in this batch.
            first: Number of the first sample of the batch.
            batch: Samples in the batch.
            preview: Makes the preview; called only if there is a callback.
        """
        of = self._of[stage] * (batch if stage == "decode" else 1)
        self._tell(stage, step, of, first, batch, batch if stage == "denoise" else 1, preview)

    def tell_redraw(self, stage: str, step: int, number: int) -> None:
        """A denoising step or a slice of one sample that is drawn again is done.

        Args:
            stage: "denoise" or "decode".
            step: Steps or slices done of it.
            number: Number of the sample.
        """
        self._tell(stage, step, self._a_redraw[stage], number, 1, 1, None)

    def spare(self, redraws: int) -> None:
        """So many redraws will not be needed; the last event is sent again with its new share."""
        for stage, size in self._a_redraw.items():
            self._whole[stage] -= redraws * size
        if redraws and self._callback is not None and self._told is not None:
            fraction, eta_s = self._shares()
            self._callback(replace(self._told, fraction=fraction, eta_s=eta_s, preview=None))
            self._last = self._now()

    def _tell(
        self,
        stage: str,
        step: int,
        of: int,
        first: int,
        batch: int,
        done: int,
        preview: Callable[[], NDArray[np.int16]] | None,
    ) -> None:
        moment = self._now()
        self._seconds[stage] += moment - self._last
        self._done[stage] += done
        if self._callback is not None:
            fraction, eta_s = self._shares()
            picture = None if preview is None else preview()
            self._told = ProgressEvent(stage, step, of, first, batch, self._count, fraction, eta_s, picture)
            self._callback(self._told)
        self._last = self._now()  # the time that the callback takes is not counted

    def _shares(self) -> tuple[float, float]:
        """Share of the work that is done, and seconds that the rest will take."""
        costs = self._costs()
        past = sum(costs[s] * self._done[s] for s in costs)
        whole = sum(costs[s] * self._whole[s] for s in costs)
        self._fraction = max(self._fraction, min(1.0, past / whole if whole > 0 else 1.0))
        return self._fraction, max(0.0, whole - past)

    def _costs(self) -> dict[str, float]:
        known = {s: self._seconds[s] / self._done[s] for s in self._done if self._done[s]}
        usual = max(known.values(), default=0.0)
        return {s: known.get(s, usual) for s in self._done}

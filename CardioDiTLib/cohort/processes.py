"""Several workers on one machine: each a process of its own, pinned to its share of the cores, or to a GPU."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from CardioDiTLib.cohort.status import CohortStatus, StatusReader
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.progress import CancelSource, Stop

_POLL_S = 0.5
_TOLD_S = 2.0
_DEATHS = 3
"""Workers that die one after the other without a heart between them end the run."""
_PATIENCE_S = 30.0


@dataclass(frozen=True)
class Seat:
    """Where a worker computes.

    Attributes:
        cores: Numbers of its cores; empty where the system pins nothing.
        threads: How many it may use.
        gpu: Its GPU, as CUDA_VISIBLE_DEVICES names it; None for none of its own.
    """

    cores: tuple[int, ...]
    threads: int
    gpu: str | None = None

    def environment(self) -> dict[str, str]:
        """Of a worker's process; torch reads it when it is imported."""
        values = {**os.environ, "OMP_NUM_THREADS": str(self.threads), "MKL_NUM_THREADS": str(self.threads)}
        values.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        return values if self.gpu is None else {**values, "CUDA_VISIBLE_DEVICES": self.gpu}


@dataclass(eq=False)
class _Child:
    seat: Seat
    process: subprocess.Popen[bytes]
    output: IO[bytes] = field(repr=False)


def seats(processes: int | None, device: str | None = None) -> list[Seat]:
    """Where so many workers compute.

    Args:
        processes: How many; None for one a GPU, or one a core where there is none.
        device: Of the plan.

    Returns:
        Equal shares of the cores that this process may use; GPUs in turn.
    """
    cores = available_cores()
    gpus = visible_gpus() if device in (None, "auto") or str(device).startswith("cuda") else []
    count = processes or len(gpus) or len(cores)
    shares: list[tuple[int, ...]]
    if count > len(cores):
        shares = [(cores[i % len(cores)],) for i in range(count)]
    else:
        shares = [tuple(cores[i * len(cores) // count : (i + 1) * len(cores) // count]) for i in range(count)]
    pins = hasattr(os, "sched_setaffinity")
    threads = max(1, len(cores) // count)  # the same for all: another number of threads may round in another way
    return [
        Seat(share if pins else (), threads, gpus[i % len(gpus)] if gpus else None) for i, share in enumerate(shares)
    ]


def available_cores() -> list[int]:
    """Cores that this process may use: a cluster gives a job a part of them."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def visible_gpus() -> list[str]:
    """CUDA devices that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return named[:count] if named else [str(number) for number in range(count)]


def pin(cores: Sequence[int]) -> None:
    """Keep this process to some cores, where the system can."""
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)


def run_processes(
    folder: str | os.PathLike[str],
    places: Sequence[Seat],
    words: Sequence[str] = (),
    *,
    told: Callable[[CohortStatus], object] | None = None,
    cancel: CancelSource = None,
) -> CohortStatus:
    """Run workers until all of them have come to an end.

    A worker that was killed (by a system short of memory, for one) is started again, as long as hearts are made.

    Args:
        folder: With a plan.
        places: One a worker.
        words: Options of `cardiodit cohort run` for each.
        told: Told of the whole about every two seconds.
        cancel: Asked in between.

    Returns:
        The status at the end.

    Raises:
        Cancelled: `cancel` said so; workers are ended, what they made stays.
        CardioDiTError: A worker said that it cannot go on, or they die without making anything.
    """
    reader, stop = StatusReader(folder), Stop(cancel)
    status, deaths, looked = reader.read(), 0, -math.inf
    children = [_start(folder, seat, words) for seat in places]
    try:
        while children:
            stop.wait(_POLL_S)
            if time.monotonic() - looked > _TOLD_S:
                before, status, looked = status, reader.read(), time.monotonic()
                deaths = 0 if status.made > before.made else deaths
                if told is not None:
                    told(status)
            for child in [one for one in children if one.process.poll() is not None]:
                children.remove(child)
                code, said = child.process.returncode, _said(child)
                if code == 1:
                    raise CardioDiTError(said or "A worker came to an end without a word.", "")
                if code != 0:
                    deaths += 1
                    if deaths >= _DEATHS:
                        raise CardioDiTError(
                            f"Workers die without making a heart (the last with code {code}"
                            f"{f': {said}' if said else ''}).",
                            "Use fewer processes where memory is short.",
                        )
                    children.append(_start(folder, child.seat, words))
    finally:
        _end(children)
    return reader.read()


def _start(folder: str | os.PathLike[str], seat: Seat, words: Sequence[str]) -> _Child:
    output = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the process
    cores = ["--cores", ",".join(map(str, seat.cores))] if seat.cores else []
    command = [sys.executable, "-m", "CardioDiTLib", "cohort", "run", os.fspath(folder), "--worker", *cores, *words]
    environment = {**seat.environment(), "PYTHONPATH": os.pathsep.join(_paths())}
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=output
    )
    return _Child(seat, process, output)


def _paths() -> list[str]:
    """Where a new process finds this library too."""
    given = os.environ.get("PYTHONPATH", "")
    return [str(Path(__file__).resolve().parents[2]), *([given] if given else [])]


def _said(child: _Child) -> str:
    """The last line of what a worker said."""
    child.output.seek(0)
    lines = child.output.read().decode("utf-8", "replace").strip().splitlines()
    child.output.close()
    return lines[-1].removeprefix("cardiodit: ") if lines else ""


def _end(children: Sequence[_Child]) -> None:
    for child in children:
        child.process.terminate()
    end = time.monotonic() + _PATIENCE_S
    for child in children:
        try:
            child.process.wait(max(0.1, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.process.kill()
            child.process.wait()
        child.output.close()

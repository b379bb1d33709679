"""Seconds of each part of measuring a cine, every round in a new process (start, reading, labels, points, files).

Run: ``python Testing/benchmarks/measure_cost.py CINE --threads 2 --rounds 3``. The library on PYTHONPATH is measured,
so that another tree can be: ``PYTHONPATH=OTHER python ...``. Printed are the smallest of the rounds, wall clock and
processor time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

PARTS = ("start", "reading", "segmentation", "insertion points", "function", "files")


def one_round(cine_file: str, threads: int) -> dict[str, tuple[float, float]]:
    """Wall clock and processor time, s, of each part in this process."""
    times: dict[str, tuple[float, float]] = {}
    state: dict[str, Any] = {}

    def timed(part: str, work: Callable[[], Any]) -> Any:
        wall, processor = time.perf_counter(), time.process_time()
        found = work()
        times[part] = time.perf_counter() - wall, time.process_time() - processor
        return found

    def start() -> None:
        import torch

        from CardioDiTLib.landmarks.detect import detect_landmarks
        from CardioDiTLib.segmentation.segment import segment

        torch.set_num_threads(threads)
        state["segment"], state["detect"] = segment, detect_landmarks

    timed("start", start)
    from CardioDiTLib.function.cardiac_function import cardiac_function
    from CardioDiTLib.io import load_cine
    from CardioDiTLib.workflow.measure import Measurement

    cine = timed("reading", lambda: load_cine(cine_file))
    labels = timed("segmentation", lambda: state["segment"](cine, device="cpu"))
    track = timed("insertion points", lambda: state["detect"](cine, segmentation=labels, device="cpu"))
    report = timed("function", lambda: cardiac_function(labels, track))
    with tempfile.TemporaryDirectory() as folder:
        timed("files", lambda: Measurement(cine, labels, track, report).save(folder, "cine"))
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the parts of measuring a cine.")
    parser.add_argument("cine", help="short-axis cine")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--inner", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inner:
        print(json.dumps(one_round(options.cine, options.threads)))
        return
    # OpenMP's threads sleep while they wait, as the command line has it
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads), "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, __file__, options.cine, "--threads", str(options.threads), "--inner"]
    rounds = []
    for _ in range(options.rounds):
        done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
        rounds.append(json.loads(done.stdout.splitlines()[-1]))
    print(f"{'part':18s}{'wall s':>8s}{'cpu s':>8s}   {options.threads} threads, smallest of {options.rounds}")
    least = {part: [min(found[part][kind] for found in rounds) for kind in (0, 1)] for part in PARTS}
    for part, (wall, processor) in least.items():
        print(f"{part:18s}{wall:8.2f}{processor:8.2f}")
    print(f"{'all':18s}" + "".join(f"{sum(row[kind] for row in least.values()):8.2f}" for kind in (0, 1)))


if __name__ == "__main__":
    main()

"""What a cohort costs: processor seconds and bytes of a heart, by part, and what that makes of a hundred thousand.

    OMP_NUM_THREADS=1 python Testing/benchmarks/cohort_cost.py --hearts 4
    OMP_NUM_THREADS=1 python Testing/benchmarks/cohort_cost.py --hearts 4 --preset draft --ef-percent 20:60

Hearts are made by one worker on one thread, as `cardiodit cohort run --processes auto` does on each core. Processor
seconds of the process are counted, the least of all hearts: on a machine that does other work too they are nearer to
the truth than a clock, but still upper ends. On a GPU they are seconds of the clock.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from CardioDiTLib.cohort.making import HeartMaker, function_of
from CardioDiTLib.cohort.plan import open_plan
from CardioDiTLib.cohort.planning import PlanRequest, plan_cohort
from CardioDiTLib.cohort.reading import Shard
from CardioDiTLib.cohort.running import run_cohort
from CardioDiTLib.cohort.spread import Distributions, parse_spreads

MANY = 100_000


def clock(on_gpu: bool) -> Callable[[], float]:
    """What seconds are counted by."""
    return time.perf_counter if on_gpu else time.process_time


def main() -> None:
    """Make hearts, count, multiply."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--hearts", type=int, default=4)
    parser.add_argument("--bundle", default="acdc-mini")
    parser.add_argument("--preset", default="standard")
    parser.add_argument("--precision", default=None)
    parser.add_argument("--ef-percent", default=None, help="asked fractions, as of 'cardiodit cohort plan'")
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--cores", type=int, default=128)
    given = parser.parse_args()
    quantities = {} if given.ef_percent is None else {"ef_percent": parse_spreads(given.ef_percent)}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "cohort"
        request = PlanRequest(
            count=given.hearts,
            bundle=given.bundle,
            preset=given.preset,
            precision=given.precision,
            batch_size=given.batch_size,
            shard_size=given.hearts,
            measure=(),
            embed=False,
            drawn_from=Distributions({}, quantities),
        )
        plan_cohort(folder, request)
        report(given, folder)


def report(given: argparse.Namespace, folder: Path) -> None:
    """Time a folder's hearts and print what they cost."""
    there = open_plan(folder)
    begin = time.process_time()
    maker = HeartMaker(there.plan)
    loading = time.process_time() - begin
    machine = maker.machine
    now = clock(machine.device == "cuda")
    times = []
    for batch in there.plan.batches(there.hearts):
        begin = now()
        for _ in maker.make(batch, lambda: False):
            pass
        times.append((now() - begin) / len(batch))
    run_cohort(folder)
    shard = Shard(folder / "shards" / "shard-00000")
    hearts = list(shard)
    parts: dict[str, list[float]] = {"hearts, labels, files": times}
    parts["function by own labels"] = [timed(now, lambda one=one: function_of(one.segmentation)) for one in hearts]  # type: ignore[misc]
    parts["embedding for gate and audit"] = embedding_times(now, given.bundle, hearts)
    size = shard.record.tar.bytes / len(hearts)
    print(f"{platform.machine()}, {machine}; {given.bundle}, {given.preset}, {len(hearts)} hearts")
    print(f"loading a worker: {loading:.1f} s")
    total = 0.0
    for name, seconds in parts.items():
        if seconds:
            total += min(seconds)
            print(f"{name}: {min(seconds):.2f} s a heart (median {statistics.median(seconds):.2f})")
    print(f"all: {total:.2f} s a heart; {size / 1e6:.2f} MB a heart")
    workers = 1 if machine.device == "cuda" else given.cores
    hours = MANY * total / workers / 3600
    what = "GPU" if machine.device == "cuda" else "cores"
    print(f"{MANY:,} hearts on {workers} {what}: {hours:.1f} h, {MANY * size / 1e9:.0f} GB")


def timed(now: Callable[[], float], work: Callable[[], Any]) -> float:
    """Seconds of some work; what it needs is loaded before."""
    work()
    begin = now()
    work()
    return now() - begin


def embedding_times(now: Callable[[], float], name: str, hearts: list[Any]) -> list[float]:
    """What embedding costs; nothing where the bundle carries no encoder."""
    from CardioDiTLib.bundles import load_bundle
    from CardioDiTLib.privacy.embedding_io import embedded
    from CardioDiTLib.privacy.gate import load_encoder_of, load_reference

    bundle = load_bundle(name)
    if bundle.manifest.privacy is None:
        return []
    encoder = load_encoder_of(bundle)
    references = load_reference(bundle).values

    def embed(cine: Any) -> Any:
        return embedded(encoder, [cine], "synthetic", references=references)

    return [timed(now, lambda cine=heart.cine: embed(cine)) for heart in hearts]  # type: ignore[misc]


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()

"""A cohort whose workers are killed at random moments: is every heart there once, whole, and the same to the byte?

    python Testing/benchmarks/cohort_kills.py --hearts 1000 --kills 20
    python Testing/benchmarks/cohort_kills.py --hearts 24 --kills 8 --preset draft --shard-size 4

Plans the same hearts twice. One folder is made undisturbed; in the other, workers are ended by SIGKILL at random
moments (waits are exponential) and started again. While that goes on, its status is asked for twice a second and
compared with what is known to be true: which workers live, and that no heart is lost. Then all shards are verified, all
hearts counted, and all bytes compared with those of the undisturbed folder.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from CardioDiTLib.cohort.plan import SHARDS
from CardioDiTLib.cohort.planning import PlanRequest, plan_cohort
from CardioDiTLib.cohort.processes import available_cores
from CardioDiTLib.cohort.running import verify_shards
from CardioDiTLib.cohort.shard import TAR_NAME
from CardioDiTLib.cohort.spread import Distributions, parse_shares
from CardioDiTLib.cohort.status import CohortStatus, StatusReader
from CardioDiTLib.files import sha256_of

_LOOK_S = 0.5


@dataclass
class Watch:
    """What a status must never say.

    Attributes:
        looks: How often it was asked.
        lies: What was wrong, a sentence each.
    """

    looks: int = 0
    lies: list[str] = field(default_factory=list)
    _made: int = 0

    def look(self, status: CohortStatus, alive: set[int]) -> None:
        """Compare a status with the truth; `alive` holds the workers that are known to live."""
        self.looks += 1
        gone = {worker.pid for worker in status.workers if worker.alive} - alive
        if gone:
            self.lies.append(f"said to be at work, but killed: {sorted(gone)}")
        if status.made < self._made:
            self.lies.append(f"{self._made} hearts were made, later {status.made}")
        if status.made + len(status.failed) > status.planned:
            self.lies.append(f"{status.made} of {status.planned} hearts are made")
        self._made = status.made


def start(folder: Path) -> subprocess.Popen[bytes]:
    """A worker, as `cardiodit cohort run --processes` starts it."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-m", "CardioDiTLib", "cohort", "run", str(folder), "--worker"]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)


def run_until_done(folder: Path, processes: int, kills: int, every_s: float, rng: random.Random) -> tuple[Watch, int]:
    """Workers on a folder until all its shards are whole, so many of them killed.

    Returns:
        What the status said, and how many were killed.
    """
    reader, watch, killed = StatusReader(folder), Watch(), 0
    workers = [start(folder) for _ in range(processes)]
    due = time.monotonic() + rng.expovariate(1 / every_s) if kills else float("inf")
    try:
        while True:
            time.sleep(_LOOK_S)
            if time.monotonic() > due and killed < kills:
                victim = rng.randrange(processes)
                if workers[victim].poll() is None:
                    workers[victim].kill()
                    workers[victim].wait()
                    killed += 1
                due = time.monotonic() + rng.expovariate(1 / every_s)
            # a worker that ends by itself between these lines lives in the list, and is gone from the folder: no lie
            alive = {worker.pid for worker in workers if worker.poll() is None}
            status = reader.read()
            watch.look(status, alive)
            if status.complete:
                for worker in workers:
                    worker.wait()
                return watch, killed
            for place, worker in enumerate(workers):
                if worker.poll() not in (None, 0):
                    workers[place] = start(folder)
            if all(worker.poll() is not None for worker in workers):
                workers = [start(folder) for _ in range(processes)]
    finally:
        for worker in workers:
            if worker.poll() is None:
                worker.terminate()
            worker.wait()


def numbers_of(folder: Path) -> Counter[str]:
    """How often each heart is there, over all shards."""
    found: Counter[str] = Counter()
    for path in sorted((folder / SHARDS).glob(f"shard-*/{TAR_NAME}")):
        with tarfile.open(path, mode="r:") as tar:
            found.update(name.removesuffix(".json") for name in tar.getnames() if name.endswith(".json"))
    return found


def prints(folder: Path) -> dict[str, str]:
    """SHA-256 of every shard."""
    return {path.parent.name: sha256_of(path) for path in sorted((folder / SHARDS).glob(f"shard-*/{TAR_NAME}"))}


def main() -> int:
    """Run it; exit code 1 where anything was not as it has to be."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--hearts", type=int, default=24)
    parser.add_argument("--kills", type=int, default=8)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--bundle", default="acdc-mini")
    parser.add_argument("--preset", default="draft")
    parser.add_argument("--shard-size", type=int, default=4)
    parser.add_argument("--every-s", type=float, help="mean wait between kills; default: as fits the undisturbed run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, help="folder for both cohorts; one that is removed if not given")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        return compare(given, given.work or Path(temporary))


def compare(given: argparse.Namespace, work: Path) -> int:
    """Both runs, and what they differ in."""
    classes = parse_shares("NOR,DCM,HCM") if given.bundle == "acdc-mini" else {}
    request = PlanRequest(
        count=given.hearts,
        seed=given.seed,
        bundle=given.bundle,
        preset=given.preset,
        shard_size=given.shard_size,
        drawn_from=Distributions(classes, {}),
    )
    calm, rough = work / "undisturbed", work / "killed"
    for folder in (calm, rough):
        plan_cohort(folder, request)
    begin = time.monotonic()
    run_until_done(calm, given.processes, 0, 1.0, random.Random(0))
    calm_s = time.monotonic() - begin
    every = given.every_s or max(1.0, calm_s / max(1, given.kills))
    begin = time.monotonic()
    watch, killed = run_until_done(rough, given.processes, given.kills, every, random.Random(given.seed))
    rough_s = time.monotonic() - begin
    torn = verify_shards(rough)
    there = numbers_of(rough)
    twice = [name for name, times in there.items() if times > 1]
    differing = [name for name, value in prints(calm).items() if prints(rough).get(name) != value]
    left = [str(path.relative_to(rough)) for name in ("claims", "parts") for path in (rough / name).glob("*")]
    result = {
        "machine": f"{platform.machine()}, {len(available_cores())} of {os.cpu_count()} cores",
        "bundle": given.bundle,
        "preset": given.preset,
        "hearts": given.hearts,
        "shards": -(-given.hearts // given.shard_size),
        "processes": given.processes,
        "killed": killed,
        "kills_asked": given.kills,
        "undisturbed_s": round(calm_s, 1),
        "killed_s": round(rough_s, 1),
        "hearts_there": len(there),
        "hearts_twice": twice,
        "torn_shards": list(torn.values()),
        "shards_with_other_bytes": differing,
        "left_behind": left,
        "status_asked": watch.looks,
        "status_lies": watch.lies,
    }
    print(json.dumps(result, indent=1))
    right = len(there) == given.hearts and not (twice or torn or differing or watch.lies)
    print("as it has to be" if right and killed == given.kills else "NOT as it has to be, or fewer were killed")
    return 0 if right else 1


if __name__ == "__main__":
    raise SystemExit(main())

"""What an audit for memorization costs: seconds and peak memory of a process that does nothing else.

    OMP_NUM_THREADS=2 python Testing/benchmarks/audit_cost.py
    OMP_NUM_THREADS=2 python Testing/benchmarks/audit_cost.py --sizes 20000 --dimension 256

Embeddings are independent normal vectors, as many validation as training and synthetic ones unless said otherwise.
"wall" depends on what else the machine does; "CPU" is the time of all threads together. Each size has a process of its
own, whose memory includes Python, NumPy and SciPy. The row "search" is one nearest-neighbour search without the audit.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np

ROWS = ((1_000, 1_000), (5_000, 5_000), (20_000, 20_000), (20_000, 5_000))
SEARCH = 100_000


def measure(n: int, n_validation: int, dimension: int) -> dict[str, float]:
    """One audit, or one search where there is no validation, in this process."""
    from CardioDiTLib.privacy import audit_memorization, nearest_neighbours

    rng = np.random.default_rng(0)
    sizes = (n, n_validation, n) if n_validation else (n, n)
    sets = [rng.standard_normal((size, dimension), np.float32) for size in sizes]
    wall, cpu = time.perf_counter(), time.process_time()
    if n_validation:
        audit_memorization(*sets)
    else:
        nearest_neighbours(*sets)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    scale = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale
    return {"wall_s": wall, "cpu_s": cpu, "peak_mb": peak / 1e6}


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="*", help="training = validation = synthetic, in place of the usual")
    parser.add_argument("--dimension", type=int, default=128, help="numbers of an embedding (128)")
    parser.add_argument("--search", type=int, default=SEARCH, help=f"size of the search alone; 0 for none ({SEARCH})")
    parser.add_argument("--one", type=int, nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(*arguments.one, arguments.dimension)))
        return
    rows = [(n, n) for n in arguments.sizes] if arguments.sizes else list(ROWS)
    print("| job | training | validation | synthetic | wall, s | CPU, s | peak, MB |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for n, m in [*rows, *([(arguments.search, 0)] if arguments.search else [])]:
        command = [sys.executable, __file__, "--dimension", str(arguments.dimension), "--one", str(n), str(m)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        numbers = f"{found['wall_s']:.1f} | {found['cpu_s']:.1f} | {found['peak_mb']:.0f}"
        print(f"| {'audit' if m else 'search'} | {n} | {m or '-'} | {n} | {numbers} |", flush=True)


if __name__ == "__main__":
    main()

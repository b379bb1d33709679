"""What the backends and precisions of the CPU cost and save: an embedded model's decoder, step and whole hearts.

    python Testing/benchmarks/backend_precision.py --threads 1
    python Testing/benchmarks/backend_precision.py --threads 1 --without-amx

Beside torch in float32: milliseconds of processor time of a guided step and of a slice (least of `--rounds`, warm),
what the decoder alone changes on the same latents, and what whole hearts of the same seeds change, in grey values from
0 to 1000 (mean, 99th percentile, peak signal to noise ratio in dB) and in their labels (least Dice of RV, myocardium
and LV, mean over the hearts, and the largest difference of EF in points). Each row is a process of its own.
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
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FIRST = "torch fp32"
ROWS = (FIRST, "torch bf16", "openvino fp32", "openvino bf16", "openvino int8")
_NO_AMX = {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"}


def least_ms(work: Callable[[], Any], rounds: int, threads: int) -> float:
    """Least processor time a thread of some rounds, after one that warms up."""
    work()
    found = []
    for _ in range(rounds):
        begin = time.process_time()
        work()
        found.append(time.process_time() - begin)
    return 1000 * min(found) / threads


def measure(row: str, arguments: argparse.Namespace) -> dict[str, float]:
    """Times of a row; its hearts, and what it decodes from the first row's latents, are kept in the folder."""
    import torch

    from CardioDiTLib.generation import GenerationRequest, Generator
    from CardioDiTLib.generation.decode import SliceDecoder, grey_of

    torch.set_num_threads(arguments.threads)
    backend, precision = row.split()
    generator = Generator.from_bundle(arguments.bundle, "cpu", precision, backend)
    bundle = generator.bundle
    names = bundle.manifest.class_names
    cines, labels, latents = [], [], []
    for seed in range(arguments.hearts):
        request = GenerationRequest(seed=seed, pathology=names[seed % len(names)], steps=arguments.steps, guidance=1.5)
        (made,) = generator.generate(request, keep_latents=True)
        assert made.latents is not None
        cines.append(made.cine.array)
        latents.append(made.latents)
        labels.append(np.zeros(0) if made.segmentation is None else made.segmentation.array)
    if row == FIRST:
        np.save(arguments.out / "latents.npy", np.stack(latents))
    given = torch.from_numpy(np.load(arguments.out / "latents.npy"))
    codec, dtype = generator.backend.codec(bundle.vqgan)
    decoder = SliceDecoder.of(bundle, dtype, codec)
    slices = [decoder.image_slice(heart[None], z) for heart in given for z in range(given.shape[2])]
    np.savez(
        arguments.out / f"{row}.npz",
        decoded=np.stack([grey_of(image, *decoder.intensity_range) for image in slices]),
        cines=np.stack(cines),
        labels=np.stack(labels),
    )
    step = generator.backend.transformer(bundle.dit)
    x = torch.randn(2, bundle.dit.in_channels, *bundle.dit.input_size, generator=torch.Generator().manual_seed(0))
    when, classes = torch.full((2,), 300.0), torch.zeros(2, dtype=torch.long)
    narrow = generator.backend.autocast
    with torch.inference_mode(), torch.autocast("cpu", dtype=narrow or torch.bfloat16, enabled=narrow is not None):
        step_ms = least_ms(lambda: step(x, when, classes), arguments.rounds, arguments.threads)
    slice_ms = least_ms(lambda: decoder.image_slice(given[:1], 0), arguments.rounds, arguments.threads)
    return {"step_ms": step_ms, "slice_ms": slice_ms}


def grey_difference(found: NDArray[np.int16], exact: NDArray[np.int16]) -> dict[str, float]:
    """Mean, 99th percentile and peak signal to noise ratio of grey values from 0 to 1000."""
    off = np.abs(found.astype(np.float64) - exact)
    square = float((off**2).mean())
    return {
        "mean": float(off.mean()),
        "p99": float(np.percentile(off, 99)),
        "psnr_db": 10 * float(np.log10(1e6 / square)) if square else float("inf"),
    }


def label_difference(found: NDArray[np.uint8], exact: NDArray[np.uint8]) -> dict[str, float]:
    """(N, T, Z, Y, X) labels: mean over hearts of the least Dice of a tissue, largest difference of LV EF in points."""
    if not exact.size:
        return {"dice": float("nan"), "ef_points": float("nan")}
    least, ejected = [], []
    for pair in zip(found, exact):
        a, b = pair
        both = [int(((a == tissue) & (b == tissue)).sum()) for tissue in (1, 2, 3)]
        each = [int((a == tissue).sum() + (b == tissue).sum()) for tissue in (1, 2, 3)]
        least.append(min(2 * shared / count for shared, count in zip(both, each)))
        volumes = [(heart == 3).sum(axis=(1, 2, 3)) for heart in pair]
        ejected.append([100 * (1 - float(volume.min()) / float(volume.max())) for volume in volumes])
    return {"dice": float(np.mean(least)), "ef_points": float(max(abs(one - other) for one, other in ejected))}


def main() -> None:
    """Measure all rows and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bundle", default="acdc-mini")
    parser.add_argument("--hearts", type=int, default=5, help="of each row (default 5)")
    parser.add_argument("--steps", type=int, default=15, help="of a heart (default 15)")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rounds", type=int, default=7, help="of each timing, of which the least counts")
    parser.add_argument("--rows", default=",".join(ROWS), help="the first has to be torch fp32")
    parser.add_argument("--without-amx", action="store_true", help="keep the libraries from using AMX")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.row:
        print(json.dumps(measure(arguments.row, arguments)))
        return
    print(
        "| | step, ms | slice, ms | decoder alone: mean, p99 | PSNR, dB | whole heart: mean, p99 | PSNR, dB | Dice |"
        " EF, points |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    )
    with tempfile.TemporaryDirectory() as folder:
        for row in arguments.rows.split(","):
            words = [sys.executable, __file__, "--row", row, "--out", folder, "--bundle", arguments.bundle]
            for name in ("hearts", "steps", "threads", "rounds"):
                words += [f"--{name}", str(getattr(arguments, name))]
            more = _NO_AMX if arguments.without_amx else {}
            ended = subprocess.run(words, env={**os.environ, **more}, capture_output=True, text=True)
            if ended.returncode:
                print(f"| {row}: {(ended.stderr.strip().splitlines() or ['it ended'])[-1]} |", flush=True)
                continue
            times = json.loads(ended.stdout.splitlines()[-1])
            exact, found = (np.load(Path(folder) / f"{name}.npz") for name in (FIRST, row))
            alone, whole = (grey_difference(found[part], exact[part]) for part in ("decoded", "cines"))
            seen = label_difference(found["labels"], exact["labels"])
            greys = [f"{part['mean']:.2f}, {part['p99']:.0f} | {part['psnr_db']:.1f}" for part in (alone, whole)]
            print(
                f"| {row} | {times['step_ms']:.0f} | {times['slice_ms']:.0f} | {' | '.join(greys)} | "
                f"{seen['dice']:.3f} | {seen['ef_points']:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()

"""Do hearts have what they were asked to have, and do their own labels say what an independent network sees?

Run: ``python Testing/benchmarks/steering.py --bundle acdc-mini --count 24 --out steering.json``

For each heart an end-diastolic volume and an ejection fraction are drawn evenly within the usual ranges of the bundle
(``--classes`` also draws a class), the cine is written as NIfTI, read back, and measured twice: by the embedded
segmentation network, which had no part in making it, and by the labels that came with it. Told for each quantity: slope
and intercept of measured on asked, correlation, median absolute error; and the Dice of own labels against the network's
over all frames.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np

import CardioDiTLib as cd
from CardioDiTLib.bundles.bundle import load_bundle
from CardioDiTLib.generation.precision import precision_name

QUANTITIES = ("edv_ml", "ef_percent")
LABELS = {"rv": 1, "myo": 2, "lv": 3}


def against(asked: np.ndarray, measured: np.ndarray) -> dict[str, float]:
    """Slope, intercept, correlation and errors of what could be measured."""
    known = np.isfinite(measured)
    if known.sum() < 3:
        return {"measured": int(known.sum())}
    slope, intercept = np.polyfit(asked[known], measured[known], 1)
    error = measured[known] - asked[known]
    return {
        "measured": int(known.sum()),
        "slope": float(slope),
        "intercept": float(intercept),
        "correlation": float(np.corrcoef(asked[known], measured[known])[0, 1]),
        "median_abs_error": float(np.median(np.abs(error))),
        "bias": float(error.mean()),
    }


def measured_of(labels: cd.Segmentation) -> dict[str, float]:
    """EDV and EF by summation over what is labelled, whatever the stack covers."""
    millilitres = (labels.array == LABELS["lv"]).sum(axis=(1, 2, 3)) * labels.voxel_volume_ml
    if not millilitres.max():
        return {"edv_ml": float("nan"), "ef_percent": float("nan")}
    return {
        "edv_ml": float(millilitres[0]),
        "ef_percent": float(100 * (1 - millilitres.min() / max(millilitres[0], 1e-6))),
    }


def dice(first: np.ndarray, second: np.ndarray) -> float:
    size = first.sum() + second.sum()
    return float(2 * (first & second).sum() / size) if size else float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", default="acdc-mini")
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--seed", type=int, default=500)
    parser.add_argument("--classes", action="store_true", help="also draw a class for each heart")
    parser.add_argument("--preset", default="standard")
    parser.add_argument("--guidance", type=float)
    parser.add_argument("--adjust", type=int, default=3, help="draws more to come nearer")
    parser.add_argument("--precision", help="of the generator: auto, fp32 or bf16")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    manifest = load_bundle(arguments.bundle).manifest
    ranges = {one.name: one for one in manifest.quantities}
    rng = np.random.default_rng(arguments.seed)
    asked = {
        name: tuple(float(v) for v in rng.uniform(ranges[name].usual_low, ranges[name].usual_high, arguments.count))
        for name in QUANTITIES
    }
    classes = tuple(str(v) for v in rng.choice(manifest.class_names, arguments.count)) if arguments.classes else None
    generator = cd.Generator.from_bundle(arguments.bundle, precision=arguments.precision or "auto")
    request = cd.GenerationRequest(
        count=arguments.count,
        seed=arguments.seed,
        pathology=classes,
        preset=arguments.preset,
        guidance=arguments.guidance,
        adjust=arguments.adjust,
        batch_size=1,  # each heart is told as soon as it is made
        **asked,
    )
    rows = []
    for (result,) in generator.batches(request):
        with tempfile.TemporaryDirectory() as folder:
            cine = cd.load_cine(cd.save_cine(result.cine, Path(folder) / "heart.nii.gz"))
        judged = cd.segment(cine)
        row = {
            "asked": {name: asked[name][result.index] for name in QUANTITIES},
            "judge": measured_of(judged),
            "pathology": result.pathology,
            "seconds": round(result.seconds, 2),
        }
        if result.segmentation is not None:
            own = result.segmentation
            row["own"] = measured_of(own)
            row["dice"] = {name: dice(own.array == label, judged.array == label) for name, label in LABELS.items()}
        rows.append(row)
        print(json.dumps(row), flush=True)
    report = {
        "bundle": manifest.name,
        "version": manifest.version,
        "count": arguments.count,
        "seed": arguments.seed,
        "adjust": arguments.adjust,
        "precision": precision_name(generator.dtype),
    }
    for who in ("judge", "own"):
        if all(who in row for row in rows):
            report[who] = {
                name: against(np.array(asked[name]), np.array([row[who][name] for row in rows])) for name in QUANTITIES
            }
    if all("dice" in row for row in rows):
        report["dice"] = {name: float(np.nanmean([row["dice"][name] for row in rows])) for name in LABELS}
    arguments.out.write_text(json.dumps({**report, "rows": rows}, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()

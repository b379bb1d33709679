"""What the codec of a bundle keeps of cines that it was not trained on: PSNR, SSIM and motion.

Run: ``python Testing/benchmarks/codec_quality.py --pack acdc.npz --bundle acdc-mini [--out codec.json]``.

The cines that the pack keeps aside are coded, rounded to codes and decoded slice by slice with the weights as they rest
in the bundle. Motion is the mean change from frame 0 to the frame that differs most from it, inside the middle half of
the picture; the join is the step from the last frame to the first over the mean step between neighbours.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from CardioDiTLib.bundles import load_bundle
from CardioDiTLib.data.packing import read_pack
from CardioDiTLib.training.vqgan_stage import codec_scores, heart_box, to_model_axes


def join_ratio(frames: torch.Tensor) -> float:
    """Step from the last frame to the first over the mean step between neighbours; (Z, 1, H, W, T)."""
    box = heart_box(frames)
    steps = (box.roll(-1, -1) - box).abs().mean(dim=(0, 1, 2, 3))
    return float(steps[-1] / steps[:-1].mean())


@torch.inference_mode()
def measure(pack_path: Path, bundle_name: str) -> list[dict[str, float]]:
    """Scores of each cine kept aside."""
    pack, bundle = read_pack(pack_path), load_bundle(bundle_name)
    codec = bundle.vqgan.eval()
    size = bundle.manifest.grid.height
    edge = (pack.images.shape[-1] - size) // 2
    rows = []
    for index in np.nonzero(pack.validation)[0]:
        frames = pack.images[index][..., edge : edge + size, edge : edge + size]
        real = torch.stack([to_model_axes(frames[:, z]) for z in np.nonzero(pack.slice_valid[index])[0]])
        made = torch.cat([codec(part)[0] for part in real.split(2)]).clamp(-1, 1)
        scores = codec_scores(made, real)
        rows.append({**scores, "join": join_ratio(made), "join_real": join_ratio(real)})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack", type=Path, required=True)
    parser.add_argument("--bundle", default="acdc-mini")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    rows = measure(arguments.pack, arguments.bundle)
    for name in rows[0]:
        values = np.array([row[name] for row in rows])
        print(f"{name:14} mean {values.mean():7.3f}   from {values.min():7.3f} to {values.max():7.3f}")
    if arguments.out:
        arguments.out.write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()

"""An independent judge: a small segmentation network trained on the real cines of a pack, never on generated ones.

Run: ``python Testing/benchmarks/judge.py train --pack acdc.npz --out judge.safetensors --minutes 15``.

It sees one slice of one frame at a time, so that it cannot smooth away what jumps from frame to frame or from slice to
slice. Turns, shifts, scales, small bends, gamma, brightness fields, noise and blur are drawn anew for every picture, so
that a slightly soft picture is not held against a generator. Cines that the pack keeps aside are not trained on.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
import math
import os
import time
from pathlib import Path

import numpy as np
import torch
from cohort_numbers import SIZE, middle
from monai.networks.nets import UNet
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from CardioDiTLib.data.packing import PackedCines, read_pack

NAMES = ("background", "RV", "myocardium", "LV")
LOW_PERCENT, HIGH_PERCENT = 1.0, 99.0


def build_judge() -> nn.Module:
    """2D U-Net with residual units, 1.2 M parameters: (N, 1, 128, 128) -> (N, 4, 128, 128) logits."""
    return UNet(
        spatial_dims=2,
        in_channels=1,
        out_channels=len(NAMES),
        channels=(16, 32, 64, 128, 192),
        strides=(2, 2, 2, 2),
        num_res_units=2,
    )


def load_judge(path: str | Path) -> nn.Module:
    """The trained network, ready to judge."""
    judge = build_judge()
    judge.load_state_dict(load_file(str(path)))
    return judge.eval()


def judge_facts(path: str | Path) -> dict[str, str]:
    """What was written beside the weights: minutes, steps, Dice on cines kept aside."""
    with safe_open(str(path), "pt") as stream:
        return dict(stream.metadata() or {})


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def brightness_range(cine: NDArray) -> tuple[float, float]:
    """Darkest and brightest value of a whole cine (T, Z, Y, X), outliers left out."""
    low, high = np.percentile(middle(cine)[:: max(1, len(cine) // 4)], (LOW_PERCENT, HIGH_PERCENT))
    return float(low), float(max(high, low + 1e-6))


def normalise(cine: NDArray) -> NDArray[np.float32]:
    """Any brightness -> about 0..1, one scale for the whole cine (T, Z, Y, X)."""
    low, high = brightness_range(cine)
    return np.clip((cine.astype(np.float32) - low) / (high - low), -0.1, 1.5)


@torch.inference_mode()
def segment(judge: nn.Module, cine: NDArray, batch: int = 32) -> NDArray[np.uint8]:
    """Labels of every slice and frame.

    Args:
        judge: From `load_judge`.
        cine: (T, Z, 128, 128) of any brightness, 1.5 mm in plane.
        batch: Pictures at once.

    Returns:
        (T, Z, 128, 128) uint8.
    """
    planes = normalise(cine).reshape(-1, 1, *cine.shape[2:])
    found = [
        judge(torch.from_numpy(planes[start : start + batch]) * 2 - 1).argmax(1).to(torch.uint8)
        for start in range(0, len(planes), batch)
    ]
    return torch.cat(found).numpy().reshape(cine.shape)


class Pictures:
    """Draws augmented training pictures from the training cines of a pack."""

    def __init__(self, pack: PackedCines, seed: int = 0) -> None:
        if pack.labels is None:
            raise ValueError("The pack has no labels; a judge cannot be trained on it.")
        self.images, self.labels = pack.images, pack.labels
        self.slices = [np.nonzero(valid)[0] for valid in pack.slice_valid]
        self.cines = np.nonzero(~pack.validation)[0]
        self.ranges = {i: brightness_range(pack.images[i][:, self.slices[i]]) for i in self.cines}
        self.rng = np.random.default_rng(seed)
        self.noise = torch.Generator().manual_seed(seed)

    def draw(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """`count` pictures (N, 1, 128, 128) in about -1..1 and labels (N, 128, 128) int64."""
        images, labels = [], []
        for _ in range(count):
            cine = self.rng.choice(self.cines)
            frame, z = self.rng.integers(self.images.shape[1]), self.rng.choice(self.slices[cine])
            low, high = self.ranges[cine]
            images.append((self.images[cine, frame, z].astype(np.float32) - low) / (high - low))
            labels.append(self.labels[cine, frame, z])
        image = torch.from_numpy(np.stack(images)[:, None]).clamp(-0.1, 1.5)
        label = torch.from_numpy(np.stack(labels)[:, None].astype(np.float32))
        grid = self._grid(count, image.shape[-2], image.shape[-1])
        image = functional.grid_sample(image, grid, "bilinear", "border", align_corners=False)
        label = functional.grid_sample(label, grid, "nearest", "zeros", align_corners=False)
        return self._brightness(image) * 2 - 1, label[:, 0].round().long()

    def _uniform(self, count: int, low: float, high: float) -> torch.Tensor:
        return torch.empty(count, 1, 1, 1).uniform_(low, high, generator=self.noise)

    def _grid(self, count: int, height: int, width: int) -> torch.Tensor:
        """Where each pixel of the result is taken from: turn, scale, shift and a smooth bend."""
        turn = self._uniform(count, -20, 20) * (math.pi / 180)
        scale = torch.exp(self._uniform(count, -0.2, 0.2))
        axis = (torch.arange(SIZE) - (SIZE - 1) / 2).float()
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        y, x = y[None, None] * scale, x[None, None] * scale
        place_x = torch.cos(turn) * x - torch.sin(turn) * y + self._uniform(count, -9, 9)
        place_y = torch.sin(turn) * x + torch.cos(turn) * y + self._uniform(count, -9, 9)
        strength = self._uniform(count, 0, 2.0)
        coarse = torch.randn(count, 2, 7, 7, generator=self.noise) * strength
        bend = functional.interpolate(coarse, (SIZE, SIZE), mode="bicubic", align_corners=True)
        pixels = torch.cat([place_x, place_y], 1) + bend
        return (pixels * torch.tensor([2 / width, 2 / height]).view(1, 2, 1, 1)).permute(0, 2, 3, 1)

    def _brightness(self, image: torch.Tensor) -> torch.Tensor:
        """Blur, gamma, contrast, a smooth brightness field, noise."""
        count = len(image)
        sigma = self._uniform(count, -0.5, 1.7).clamp_min(0.05)
        taps = torch.arange(-5, 6).float().view(1, 1, 1, 11)
        kernel = torch.exp(-0.5 * (taps / sigma) ** 2)
        kernel = kernel / kernel.sum(-1, keepdim=True)
        flat = functional.pad(image.transpose(0, 1), (5, 5, 5, 5), mode="replicate")
        flat = functional.conv2d(flat, kernel, groups=count)
        image = functional.conv2d(flat, kernel.transpose(2, 3), groups=count).transpose(0, 1)
        image = image.clamp(0, 1.5) ** torch.exp(self._uniform(count, -0.4, 0.4))
        image = image * torch.exp(self._uniform(count, -0.25, 0.25)) + self._uniform(count, -0.1, 0.1)
        field = torch.randn(count, 1, 3, 3, generator=self.noise) * self._uniform(count, 0, 0.3)
        image = image * torch.exp(functional.interpolate(field, (SIZE, SIZE), mode="bicubic", align_corners=True))
        rough = torch.randn(image.shape, generator=self.noise) * self._uniform(count, -0.03, 0.08).clamp_min(0)
        return (image + rough).clamp(-0.3, 1.8)


def judge_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy plus soft Dice over the batch, background left out of the Dice."""
    share = logits.softmax(1)[:, 1:]
    truth = functional.one_hot(labels, len(NAMES)).permute(0, 3, 1, 2)[:, 1:].float()
    overlap = (share * truth).sum((0, 2, 3))
    dice = (2 * overlap + 1) / (share.sum((0, 2, 3)) + truth.sum((0, 2, 3)) + 1)
    return functional.cross_entropy(logits, labels) + 1 - dice.mean()


def dice_scores(judge: nn.Module, pack: PackedCines, cines: NDArray) -> dict[str, dict[str, float]]:
    """Mean Dice over cines (all slices of a frame together): {"ED" | "ES" | "all": {"RV", "myocardium", "LV"}}."""
    assert pack.labels is not None
    scores: dict[str, list[list[float]]] = {"ED": [], "ES": [], "all": []}
    for index in cines:
        valid = pack.slice_valid[index]
        truth = middle(pack.labels[index][:, valid])
        found = segment(judge, middle(pack.images[index][:, valid]))
        frames = [
            [
                2 * ((found[t] == c) & (truth[t] == c)).sum() / max(1, (found[t] == c).sum() + (truth[t] == c).sum())
                for c in (1, 2, 3)
            ]
            for t in range(len(truth))
        ]
        systole = int((truth == 3).sum((1, 2, 3)).argmin())
        scores["ED"].append(frames[0])
        scores["ES"].append(frames[systole])
        scores["all"].append(np.mean(frames, axis=0).tolist())
    return {part: dict(zip(NAMES[1:], np.mean(rows, axis=0).tolist())) for part, rows in scores.items()}


def train(pack_path: Path, out: Path, minutes: float, batch: int, rate: float, seed: int) -> None:
    """Trains for `minutes` of wall time, keeps a running mean of the weights, writes it with its scores."""
    pack = read_pack(pack_path)
    torch.manual_seed(seed)
    pictures = Pictures(pack, seed)
    judge = build_judge()
    mean = copy.deepcopy(judge).eval()
    optimizer = torch.optim.AdamW(judge.parameters(), lr=rate, weight_decay=1e-3)
    start, step, recent = time.monotonic(), 0, 0.0
    while (done := (time.monotonic() - start) / (60 * minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 100) * (0.5 + 0.5 * math.cos(math.pi * done))
        images, labels = pictures.draw(batch)
        loss = judge_loss(judge(images), labels)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(judge.parameters(), 1.0)
        optimizer.step()
        step += 1
        keep = min(0.995, step / (step + 10))
        with torch.no_grad():
            for slow, fast in zip(mean.state_dict().values(), judge.state_dict().values()):
                slow.lerp_(fast, 1 - keep) if slow.is_floating_point() else slow.copy_(fast)
        recent = loss.item() if step == 1 else 0.98 * recent + 0.02 * loss.item()
        if step % 100 == 0:
            print(f"step {step}  loss {recent:.3f}  {(time.monotonic() - start) / step:.3f} s a step", flush=True)
    scores = dice_scores(mean, pack, np.nonzero(pack.validation)[0])
    for part, row in scores.items():
        print(f"Dice on cines kept aside, {part:4s}" + "".join(f"  {name} {value:.3f}" for name, value in row.items()))
    facts = {"minutes": f"{minutes:g}", "steps": str(step), "batch": str(batch), "dice": json.dumps(scores)}
    partial = out.with_name(out.name + ".partial")
    save_file({name: value.contiguous() for name, value in mean.state_dict().items()}, str(partial), facts)
    os.replace(partial, out)
    print(f"{out}: {step} steps of {batch}, {sum(p.numel() for p in mean.parameters())} parameters")


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the judge, or score it on the cines that its pack keeps aside.")
    parser.add_argument("task", choices=("train", "score"))
    parser.add_argument("--pack", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="the judge's weights, .safetensors")
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.task == "train":
        train(options.pack, options.out, options.minutes, options.batch, options.rate, options.seed)
    else:
        pack = read_pack(options.pack)
        scores = dice_scores(load_judge(options.out), pack, np.nonzero(pack.validation)[0])
        print(json.dumps(scores, indent=1))


if __name__ == "__main__":
    main()

"""Cohorts of tiny bundles, and workers of them that can be killed."""

from __future__ import annotations

import multiprocessing
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from tiny_bundle import DIT, tiny_manifest, tiny_networks

from CardioDiTLib.bundles import NetworkSpec, write_bundle
from CardioDiTLib.bundles.manifest_parts import SteeredQuantity
from CardioDiTLib.cohort.planning import PlanRequest, plan_cohort
from CardioDiTLib.cohort.running import run_cohort
from CardioDiTLib.cohort.shard import TAR_NAME
from CardioDiTLib.models.dit import DiT4D
from CardioDiTLib.models.refiner import CineRefiner

REFINER: dict[str, Any] = {
    "latent_size": [3, 8, 8, 4],
    "latent_channels": 4,
    "image_size": [32, 32, 16],
    "widths": [8, 8, 16],
    "depths": [1, 1, 1],
}
EDV = SteeredQuantity("edv_ml", "end-diastolic volume of the left ventricle", "mL", 50, 350, 80, 280)
EF = SteeredQuantity("ef_percent", "ejection fraction of the left ventricle", "%", 10, 75, 20, 65)
MASS = SteeredQuantity("lv_mass_g", "mass of the left ventricle", "g", 40, 250, 60, 190)
SLICES = SteeredQuantity("lv_slices", "slices that the left ventricle covers", "", 1, 3, 2, 3)


def write_labelled_bundle(folder: Path) -> Path:
    """A tiny bundle that can be asked for volumes and names tissues, the cavity everywhere."""
    vqgan, _, scale = tiny_networks()
    with torch.random.fork_rng():
        torch.manual_seed(4)
        settings = {**DIT, "num_conditions": 4}
        dit, refiner = DiT4D(**settings), CineRefiner(**REFINER)  # type: ignore[arg-type]
        assert refiner.tissue is not None
        torch.nn.init.normal_(refiner.tissue.weight)
        torch.nn.init.constant_(refiner.tissue.bias[-4:].detach(), 0.0)
    manifest = tiny_manifest(
        name=folder.name,
        dit=NetworkSpec("DiT4D", settings, "dit.safetensors"),
        refiner=NetworkSpec("CineRefiner", REFINER, "refiner.safetensors"),
        quantities=(EDV, EF, MASS, SLICES),
    )
    return write_bundle(
        folder, manifest, vqgan, dit.eval(), scale, model_card="# Tiny\n", storage="fp32", refiner=refiner.eval()
    ).folder


def planned(folder: Path, bundle: Path, count: int = 8, **changes: Any) -> Path:
    """A folder with a plan of quick hearts."""
    entries = {"count": count, "seed": 3, "shard_size": 3, "preset": "draft", "precision": "fp32", **changes}
    plan_cohort(folder, PlanRequest(bundle=str(bundle), **entries))
    return folder


def tars(folder: Path) -> dict[str, bytes]:
    """Bytes of all shards by name."""
    return {path.parent.name: path.read_bytes() for path in sorted(folder.glob(f"shards/shard-*/{TAR_NAME}"))}


@lru_cache(maxsize=1)
def _context() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["CardioDiTLib.cohort.making"])
    return context


def start_worker(folder: Path, **options: Any) -> Any:
    """A worker in a process of its own, which begins at once: what it imports is there already."""
    process = _context().Process(target=_work, args=(str(folder), options, list(sys.path)))
    process.start()
    return process


def _work(folder: str, options: dict[str, Any], paths: list[str]) -> None:
    sys.path[:] = paths
    torch.set_num_threads(1)
    run_cohort(folder, **options)

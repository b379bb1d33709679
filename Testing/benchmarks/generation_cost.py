"""What generating costs: seconds and memory of a network of the embedded size, with random weights.

    python Testing/benchmarks/generation_cost.py --threads 2
    python Testing/benchmarks/generation_cost.py --bundle acdc-mini

Rows of one run may be compared with each other; runs on a busy machine may not. Memory is the peak of the whole process
so far, so it only ever rises; "estimate" is what `generation.memory` counts for the batch. On a machine that does other
work too, set OMP_WAIT_POLICY=PASSIVE, as the command line does.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from CardioDiTLib.bundles import (
    Bundle,
    BundleGrid,
    BundleManifest,
    LatentSpec,
    Licence,
    NetworkSpec,
    TrainingData,
    load_bundle,
    write_bundle,
)
from CardioDiTLib.diffusion import NoiseSchedule
from CardioDiTLib.generation import GenerationRequest, Generator
from CardioDiTLib.generation.memory import bytes_a_sample
from CardioDiTLib.generation.precision import cpu_gain_of_bfloat16
from CardioDiTLib.models import VQGAN, DiT4D
from CardioDiTLib.models.latent_scale import LatentScale

CODEC: dict[str, Any] = {
    "num_channels": [64, 128],
    "num_res_channels": [64, 128],
    "num_res_layers": 1,
    "num_embeddings": 8192,
    "embedding_dim": 4,
    "space_to_depth": 2,
    "cyclic_time": True,
}
DIT: dict[str, Any] = {
    "input_size": [8, 16, 16, 4],
    "patch_size": [2, 2, 2, 4],
    "in_channels": 4,
    "hidden_size": 256,
    "depth": 8,
    "num_heads": 4,
    "num_classes": 5,
    "class_dropout_prob": 0.15,
    "qk_norm": True,
    "learned_positions": True,
}
REQUESTS: tuple[dict[str, Any], ...] = (
    {},
    {"pathology": 1, "guidance": 2.0},
    {"count": 4, "batch_size": 1},
    {"count": 4, "batch_size": 4},
    {"count": 8, "batch_size": 8, "pathology": 1, "guidance": 2.0},
)


def random_bundle(folder: Path, storage: str) -> Bundle:
    """A bundle of the embedded size with random weights."""
    torch.manual_seed(0)
    vqgan, dit = VQGAN(**CODEC), DiT4D(**DIT)
    for parameter in dit.parameters():
        if not bool(parameter.any()):
            torch.nn.init.normal_(parameter, std=0.02)
    manifest = BundleManifest(
        name="random",
        version="0.0.0",
        title="Random weights",
        description="For timing.",
        licence=Licence("none", "None."),
        training_data=TrainingData("none"),
        grid=BundleGrid(8, 128, 128, 16, (1.5, 1.5, 10.0), 0.9),
        codec=NetworkSpec("VQGAN", CODEC, "codec.safetensors"),
        dit=NetworkSpec("DiT4D", DIT, "dit.safetensors"),
        latents=LatentSpec(4, modes=True, file="latents.safetensors"),
        schedule=NoiseSchedule("cosine", 1000, continuous=True, log_snr_range=(-8.0, 6.0)).to_config(),
        class_names=tuple("ABCDE"),
    )
    scale = LatentScale(torch.zeros(4, 8, 16, 16, 4), torch.ones(4, 1, 1, 1, 4), modes=True)
    return write_bundle(folder, manifest, vqgan, dit, scale, model_card="", storage=storage)


def peak_mb() -> float:
    """Largest memory that this process has had, MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1e3


def measure(generator: Generator, values: dict[str, Any]) -> str:
    """One request, as one line of the table."""
    names = generator.bundle.manifest.class_names
    entries = {**values, "pathology": names[1]} if "pathology" in values else values
    request = GenerationRequest(**entries)
    decoding: list[float] = []
    begin = time.perf_counter()
    last = begin
    for_denoising = 0.0

    def listen(event: Any) -> None:
        nonlocal last, for_denoising
        now = time.perf_counter()
        if event.stage == "denoise":
            for_denoising += now - last
        else:
            decoding.append(now - last)
        last = now

    generator.generate(request, progress=listen)
    total = time.perf_counter() - begin
    batch = request.batch_size if isinstance(request.batch_size, int) else 1
    estimate = batch * bytes_a_sample(generator._dit, "guidance" in values, generator.dtype) / 1e6
    return (
        f"{request.count:6d} {batch:6d} {'yes' if 'guidance' in values else 'no':>7} {total / request.count:9.2f} "
        f"{for_denoising / request.count:9.2f} {sum(decoding) / request.count:9.2f} {peak_mb():8.0f} {estimate:9.0f}"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--storage", default="int8")
    parser.add_argument("--bundle", help="a bundle of this machine, in place of random weights")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        bundle = (
            load_bundle(arguments.bundle) if arguments.bundle else random_bundle(Path(folder) / "b", arguments.storage)
        )
        size = sum(record.bytes for record in bundle.manifest.files.values()) / 1e6
        begin = time.perf_counter()
        generator = Generator(Bundle(bundle.folder), arguments.device, arguments.precision)
        print(
            f"{arguments.threads} threads, {arguments.device}, {generator.dtype}; bundle {size:.1f} MB, "
            f"opened in {time.perf_counter() - begin:.2f} s"
        )
        print(f"bfloat16 on this CPU is {cpu_gain_of_bfloat16():.2f} times as fast as float32")
        print(" count  batch  guided  s/cine   denoise    decode  peak MB  estimate MB")
        for values in REQUESTS:
            print(measure(generator, values), flush=True)


if __name__ == "__main__":
    main()

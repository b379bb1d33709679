"""The published procedure at its published size beside this library's, with random weights and the same noise.

    python Testing/benchmarks/paper_scale.py --threads 2 --out paper_scale
    python Testing/benchmarks/paper_scale.py --threads 2 --without-amx --out paper_scale_no_amx
    python Testing/benchmarks/paper_scale.py --device cuda --blocks 12 --rows 64 --out paper_scale_cuda

Published: DiT-B on 6 x 64 x 64 x 8 latents (6,144 tokens), 300 DDIM steps in float32, six slices of 256 x 256 x 32
decoded one after the other in float32. Ours: fewer steps of DPM-Solver++(2M), and each number format and backend of
this machine. Written to the folder: table.md, numbers.json, picture.png.

Extrapolated, and said so in the table: a step is timed on `--blocks` of the 12 blocks, a slice on `--rows` of its 64
rows of latents, each once warm; a cine is steps times a step and six times a slice. Errors are those of the same
network on the same noise against float32 in torch; the solver's is measured on the trained embedded transformer, where
the path is known from 400 steps, since random weights have no path worth the name. Each variant runs in a process of
its own, whose peak of memory is told: with part of the blocks in it, it is no more than an indication.

On a machine that does other work too: `--cpu-time` counts the processor's time of the process, per thread.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

STEPS, SLICES, BLOCKS, ROWS, COLUMNS, FRAMES = 300, 6, 12, 64, 64, 8
CODEC: dict[str, Any] = {
    "num_channels": [128, 256],
    "num_res_channels": [256, 256],
    "num_res_layers": 2,
    "downsample_parameters": [[2, 4, 1, 1]] * 2,
    "upsample_parameters": [[2, 4, 1, 1, 0]] * 2,
    "num_embeddings": 16384,
    "embedding_dim": 8,
}
PUBLISHED = "torch fp32"
ON_CPU = (PUBLISHED, "torch bf16", "openvino fp32", "openvino bf16", "openvino int8")
ON_CUDA = (PUBLISHED, "torch bf16", "torch bf16 compiled")
FEW_STEPS = (4, 8, 10, 15, 20, 30)
_NO_AMX = {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"}


def transformer(blocks: int) -> Any:
    """DiT-B with random weights, or its first blocks; what begins with zeros is made random too."""
    import torch

    from CardioDiTLib.models import DiT4D

    torch.manual_seed(0)
    dit = DiT4D(depth=blocks)
    for parameter in dit.parameters():
        if not bool(parameter.any()):
            torch.nn.init.normal_(parameter, std=0.02)
    return dit.eval().requires_grad_(False)


def codec() -> Any:
    """The published codec with random weights."""
    import torch

    from CardioDiTLib.models import VQGAN

    torch.manual_seed(1)
    return VQGAN(**CODEC).eval().requires_grad_(False)


def timed(
    work: Callable[[], Any], settle: Callable[[], None], rounds: int, clock: Callable[[], float]
) -> tuple[float, Any]:
    """Least seconds of some rounds, after one that warms up; and what came of it."""
    found = work()
    settle()
    seconds = []
    for _ in range(rounds):
        begin = clock()
        found = work()
        settle()
        seconds.append(clock() - begin)
    return min(seconds), found


def measure(variant: str, arguments: argparse.Namespace) -> dict[str, float]:
    """Seconds of a step and of a slice, peak memory; results are kept in the folder for the errors."""
    import numpy as np
    import torch

    from CardioDiTLib.generation.openvino_backend import CompiledCodec, CompiledDiT

    torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    backend, precision, *more = variant.split()
    narrow = torch.bfloat16 if precision == "bf16" and backend == "torch" else None
    noise = torch.randn(1, 8, SLICES, ROWS, COLUMNS, FRAMES, generator=torch.Generator().manual_seed(0)).to(device)
    when = torch.full((1,), 150.0, device=device)
    codes = torch.randn(1, 8, arguments.rows, COLUMNS, FRAMES, generator=torch.Generator().manual_seed(1)).to(device)
    dit, vqgan = transformer(arguments.blocks).to(device), codec().to(device)
    step: Callable[..., Any] = dit
    decode: Callable[..., Any] = vqgan.decode
    if backend == "openvino":
        step, decode = CompiledDiT(dit, precision), CompiledCodec(vqgan, precision).decode
    elif variant != PUBLISHED:
        from CardioDiTLib.generation.precision import narrowed

        step = narrowed(dit, torch.bfloat16)
        vqgan.decoder.to(memory_format=torch.channels_last_3d)
    if "compiled" in more:
        step = torch.compile(step, mode="reduce-overhead")  # CUDA graphs
        decode = torch.compile(decode)

    def clock() -> float:
        return time.process_time() / arguments.threads if arguments.cpu_time else time.perf_counter()

    def settle() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    with (
        torch.inference_mode(),
        torch.autocast(device.type, dtype=narrow or torch.bfloat16, enabled=narrow is not None),
        torch.backends.cudnn.flags(allow_tf32=False),
    ):
        step_s, velocity = timed(lambda: step(noise, when), settle, arguments.rounds, clock)
        np.save(Path(arguments.out) / f"{variant} step.npy", velocity.float().cpu().numpy())
        slice_s, image = timed(lambda: decode(codes), settle, arguments.rounds, clock)
        np.save(Path(arguments.out) / f"{variant} slice.npy", image.float().cpu().numpy())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e9 if sys.platform == "darwin" else 1e6)
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated() / 1e9
    return {
        "step_s": step_s * BLOCKS / arguments.blocks,
        "slice_s": slice_s * ROWS / arguments.rows,
        "peak_gb": peak,
    }


def solver_errors(threads: int) -> dict[str, float]:
    """Relative error of the latents of the embedded transformer, by solver and steps, against a path of 400 steps."""
    import torch

    from CardioDiTLib.bundles import load_bundle
    from CardioDiTLib.diffusion.denoiser import Denoiser
    from CardioDiTLib.diffusion.noise import draw_noise, sample_generators
    from CardioDiTLib.diffusion.sampler_names import DEFAULT_SPACING
    from CardioDiTLib.diffusion.samplers import SAMPLERS
    from CardioDiTLib.diffusion.spacing import noise_levels

    torch.set_num_threads(threads)
    bundle = load_bundle("acdc-mini")
    dit = bundle.dit
    noise = draw_noise(sample_generators(0, 2), (dit.in_channels, *dit.input_size), torch.device("cpu"))

    def path(sampler: str, steps: int, spacing: str | None = None) -> torch.Tensor:
        denoise = Denoiser(dit, bundle.schedule, labels=[0, 1])
        levels = noise_levels(bundle.schedule, steps, spacing or DEFAULT_SPACING[sampler])
        with torch.inference_mode():
            return SAMPLERS[sampler](denoise, noise, levels, generators=sample_generators(0, 2))

    exact = path("dpmpp_2m", 400)
    asked = [("ddim", STEPS, "linear")] + [("dpmpp_2m", steps, None) for steps in FEW_STEPS]
    found = {}
    for sampler, steps, spacing in asked:
        error = (path(sampler, steps, spacing) - exact).norm() / exact.norm()
        found[f"{sampler} {steps}"] = float(error)
    return found


def in_own_process(variant: str, arguments: argparse.Namespace) -> dict[str, float] | str:
    """What `measure` gives, or why there is nothing."""
    words = [sys.executable, __file__, "--variant", variant, "--out", str(arguments.out), "--device", arguments.device]
    for name in ("threads", "blocks", "rows", "rounds"):
        words += [f"--{name}", str(getattr(arguments, name))]
    words += ["--cpu-time"] if arguments.cpu_time else []
    more = _NO_AMX if arguments.without_amx else {}
    ended = subprocess.run(words, env={**os.environ, **more}, capture_output=True, text=True)
    if ended.returncode:
        return (ended.stderr.strip().splitlines() or ["it ended"])[-1]
    return dict(json.loads(ended.stdout.splitlines()[-1]))


def relative_error(folder: Path, variant: str, part: str) -> float:
    """Of a variant's result against that of the published procedure."""
    import numpy as np

    exact, found = (np.load(folder / f"{name} {part}.npy").astype(np.float64) for name in (PUBLISHED, variant))
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))


def row_of(name: str, steps: int, values: dict[str, float]) -> dict[str, Any]:
    """A line of the table: a whole cine of one variant."""
    denoise, decode = steps * values["step_s"], SLICES * values["slice_s"]
    return {"variant": name, "steps": steps, "denoise_s": denoise, "decode_s": decode, "cine_s": denoise + decode}


def report(arguments: argparse.Namespace, found: dict[str, Any]) -> str:
    """The table, in Markdown."""
    lines = [
        f"Published procedure at its size: {STEPS} DDIM steps, float32; {found['machine']}.",
        "",
        f"Extrapolated: a step from {arguments.blocks} of {BLOCKS} blocks, a slice from {arguments.rows} of {ROWS} "
        f"rows, a cine from one step and one slice. {'Processor time a thread.' if arguments.cpu_time else ''}",
        "",
        "| variant | steps | s a step | s a slice | denoising | decoding | a cine, s | times as fast | peak, GB |"
        " error of a step | error of a slice |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    first = found["rows"][0]["cine_s"]
    for row in found["rows"]:
        values = found["variants"][row["variant"]]
        errors = values.get("step_error", 0.0), values.get("slice_error", 0.0)
        lines.append(
            f"| {row['variant']} | {row['steps']} | {values['step_s']:.3g} | {values['slice_s']:.3g} | "
            f"{row['denoise_s']:.4g} | {row['decode_s']:.4g} | {row['cine_s']:.4g} | {first / row['cine_s']:.1f} | "
            f"{values['peak_gb']:.1f} | {errors[0]:.2%} | {errors[1]:.2%} |"
        )
    lines += [f"- {name}: {why}" for name, why in found["absent"].items()]
    lines += ["", "| solver, steps | relative error of latents (embedded transformer) |", "| --- | ---: |"]
    lines += [f"| {name} | {error:.2%} |" for name, error in found["solver_errors"].items()]
    return "\n".join(lines) + "\n"


def picture(rows: list[dict[str, Any]], path: Path) -> None:
    """Seconds a cine, denoising and decoding, on a logarithmic axis."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 0.5 * len(rows) + 1.2), layout="constrained")
    names = [f"{row['variant']}, {row['steps']} steps" for row in rows]
    axes.barh(names, [row["cine_s"] for row in rows], color="#3b6ea5", label="with decoding")
    axes.barh(names, [row["denoise_s"] for row in rows], color="#9dbbd8", height=0.5, label="denoising alone")
    for place, row in enumerate(rows):
        axes.text(row["cine_s"] * 1.05, place, f"{rows[0]['cine_s'] / row['cine_s']:.0f}x", va="center")
    axes.set_xscale("log")
    axes.set_xlabel("seconds a cine, extrapolated")
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=120)


def main() -> None:
    """Measure all variants, print and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--steps", default="4,15", help="of our solver, with commas (default 4,15)")
    parser.add_argument("--blocks", type=int, default=2, help="of the transformer that are timed (default 2 of 12)")
    parser.add_argument("--rows", type=int, default=8, help="of a slice's latents that are timed (default 8 of 64)")
    parser.add_argument("--rounds", type=int, default=2, help="of each timing, of which the least counts")
    parser.add_argument("--cpu-time", action="store_true", help="the processor's time, for a machine that is busy")
    parser.add_argument("--without-amx", action="store_true", help="keep the libraries from using AMX")
    parser.add_argument("--out", type=Path, default=Path("paper_scale"), help="folder")
    parser.add_argument("--variant", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.variant:
        print(json.dumps(measure(arguments.variant, arguments)))
        return
    found: dict[str, Any] = {"variants": {}, "absent": {}, "rows": [], "machine": machine(arguments)}
    for variant in ON_CUDA if arguments.device.startswith("cuda") else ON_CPU:
        values = in_own_process(variant, arguments)
        print(variant, values, file=sys.stderr, flush=True)
        if isinstance(values, str):
            found["absent"][variant] = values
            continue
        if variant == PUBLISHED:
            found["rows"].append(row_of(variant, STEPS, values))
        else:
            for part in ("step", "slice"):
                values[f"{part}_error"] = relative_error(arguments.out, variant, part)
        found["variants"][variant] = values
        found["rows"] += [row_of(variant, int(steps), values) for steps in arguments.steps.split(",")]
    for path in arguments.out.glob("*.npy"):
        path.unlink()
    if not found["rows"]:
        raise SystemExit(f"Nothing could be measured: {found['absent']}")
    found["solver_errors"] = solver_errors(arguments.threads)
    table = report(arguments, found)
    print(table)
    (arguments.out / "table.md").write_text(table, encoding="utf-8")
    (arguments.out / "numbers.json").write_text(json.dumps(found, indent=2), encoding="utf-8")
    picture(found["rows"], arguments.out / "picture.png")


def machine(arguments: argparse.Namespace) -> str:
    """What was measured on, in words."""
    import torch

    if arguments.device.startswith("cuda"):
        return f"{torch.cuda.get_device_name(torch.device(arguments.device))}, torch {torch.__version__}"
    without = ", AMX not used" if arguments.without_amx else ""
    return f"{arguments.threads} thread(s), {_processor()}{without}, torch {torch.__version__}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()

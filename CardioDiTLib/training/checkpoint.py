"""Checkpoints of a training run: safetensors files of bounded size and one JSON file; nothing in them is pickled.

A checkpoint is a folder `step-<n>/` with `state.json` and `part-<k>.safetensors`, written under a temporary name and
renamed, so that a kill at any moment leaves the last whole one.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.files import save_tensors

PART_BYTES = 14_000_000

_TENSOR = "__tensor__"


def _flatten(value: Any, name: str, tensors: dict[str, torch.Tensor]) -> Any:
    """Replaces every tensor in a nest of dicts and lists by its name."""
    if isinstance(value, torch.Tensor):
        tensors[name] = value.detach().cpu().contiguous()
        return {_TENSOR: name}
    if isinstance(value, dict):
        return {"__items__": [[key, _flatten(item, f"{name}.{key}", tensors)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        return [_flatten(item, f"{name}.{index}", tensors) for index, item in enumerate(value)]
    return value


def _restore(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, dict):
        if _TENSOR in value:
            return tensors[value[_TENSOR]]
        return {key: _restore(item, tensors) for key, item in value["__items__"]}
    if isinstance(value, list):
        return [_restore(item, tensors) for item in value]
    return value


def save_checkpoint(folder: Path, step: int, state: dict[str, Any], *, compact: bool = False, keep: int = 2) -> Path:
    """Writes `folder/step-<step>` and removes older ones beyond `keep`.

    Args:
        folder: Folder of the run.
        step: Number of steps done.
        state: Nest of dicts, lists, numbers, strings and tensors.
        compact: Optimizer moments and averaged weights in half precision, so that a run fits through a narrow door;
            the run then goes on from very slightly rounded numbers instead of exactly the same ones.
        keep: Checkpoints to keep.
    """
    tensors: dict[str, torch.Tensor] = {}
    skeleton = _flatten(state, "state", tensors)
    if compact:
        for name, tensor in tensors.items():
            if tensor.dtype == torch.float32 and tensor.numel() > 64:
                if ".optimizers." in name:
                    tensors[name] = tensor.bfloat16()
                elif ".average." in name:
                    tensors[name] = tensor.half()
    partial = folder / f".step-{step:08d}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    parts: list[dict[str, torch.Tensor]] = [{}]
    used = 0
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        if used and used + size > PART_BYTES:
            parts.append({})
            used = 0
        parts[-1][name] = tensor.clone() if tensor.untyped_storage().nbytes() != size else tensor
        used += size
    for index, part in enumerate(parts):
        save_tensors(part, partial / f"part-{index:02d}.safetensors")
    (partial / "state.json").write_text(
        json.dumps({"step": step, "parts": len(parts), "skeleton": skeleton}), encoding="utf-8"
    )
    final = folder / f"step-{step:08d}"
    shutil.rmtree(final, ignore_errors=True)
    os.replace(partial, final)
    for old in checkpoints(folder)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def checkpoints(folder: Path) -> list[Path]:
    """Whole checkpoints of a run, oldest first."""
    return sorted(path for path in folder.glob("step-*") if (path / "state.json").is_file())


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Reads one checkpoint folder; half-precision parts of compact ones come back as float32.

    Raises:
        CardioDiTError: A part is missing or damaged.
    """
    try:
        head = json.loads((path / "state.json").read_text(encoding="utf-8"))
        tensors: dict[str, torch.Tensor] = {}
        for index in range(head["parts"]):
            tensors.update(load_file(path / f"part-{index:02d}.safetensors"))
    except Exception as error:
        raise CardioDiTError(
            f"The checkpoint '{path.name}' cannot be read.", "Remove it; the run goes on from the one before."
        ) from error
    tensors = {
        name: tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor
        for name, tensor in tensors.items()
    }
    return _restore(head["skeleton"], tensors)


def finished_steps(folder: Path) -> int:
    """Steps done in a stage's folder."""
    whole = checkpoints(folder)
    return int(whole[-1].name.removeprefix("step-")) if whole else 0


def averaged_weights(folder: Path, module: str = "average") -> dict[str, torch.Tensor]:
    """The averaged weights of a stage's last checkpoint.

    Raises:
        CardioDiTError: There is no checkpoint yet.
    """
    whole = checkpoints(folder)
    if not whole:
        raise CardioDiTError(f"There is no checkpoint in '{folder.name}' yet.", "Train this stage first.")
    return load_checkpoint(whole[-1])["modules"][module]

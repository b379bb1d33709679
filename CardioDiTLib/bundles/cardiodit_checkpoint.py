"""Reading the published `.pth` checkpoints without ever running what they contain."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from CardioDiTLib.bundles.weights import some_of
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.schema import parse_json

# Where a checkpoint keeps its weights, in order of preference.
_WEIGHT_KEYS = ("model", "state_dict", "model_state_dict")
# What DistributedDataParallel and torch.compile put before every name.
_WRAPPER_PREFIXES = ("module.", "_orig_mod.")
# Entries of a training checkpoint that are read by name, besides the weights.
_READ = ("checkpoint_schema", "resolved_config", "latent_mean", "latent_std", "scale_factor", "normalize_latents")

POINTER = "last_checkpoint.json"
_POINTER_SCHEMA = {"name": "cardiodit.checkpoint-pointer", "version": 1}
_GIVE_PTH = "Give the .pth file itself."

# What of NumPy a checkpoint may hold: a training stores the state of its random numbers beside its weights. Single
# numbers are read, arrays passed over.
_NUMPY_NUMBERS = (np.float64, np.float32, np.int64, np.int32)
_NUMPY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")
"""Where NumPy 1 and NumPy 2 say that a pickled array or number comes from."""


@dataclass(frozen=True)
class PublishedCheckpointInfo:
    """What was found in a checkpoint file and what was done with it.

    Attributes:
        file_name: Name of the file; where a pointer or a run's folder was given, of the file that it leads to.
        layout: Key that held the weights, "bare" where the file is the state itself.
        prefix: Wrapper prefix that was taken off every name.
        ema_keys: Names over which averaged weights were laid; empty where there were none.
        ema: Settings stored with the averaged weights (decay, step, ...).
        training: Plain numbers and texts stored beside the weights (epoch, best_loss, ...).
        ignored: Other entries of the file, such as optimizer states.
        config: The configuration that the training stored in the file (version 2); None where there is none.
        latent_mean: (C,) mean of the latents that the training took away; None where there is none.
        latent_std: (C,) their standard deviation.
        scale_factor: Factor on the latents that the file names.
        normalize_latents: Whether latents were centred and scaled by channel; None if the file does not say.
    """

    file_name: str
    layout: str
    prefix: str = ""
    ema_keys: frozenset[str] = frozenset()
    ema: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    config: dict[str, Any] | None = None
    latent_mean: torch.Tensor | None = None
    latent_std: torch.Tensor | None = None
    scale_factor: float | None = None
    normalize_latents: bool | None = None

    def notes(self) -> list[str]:
        """What was done, one sentence each."""
        where = "as a bare state dictionary" if self.layout == "bare" else f"under '{self.layout}'"
        lines = [f"{self.file_name}: weights found {where}."]
        if self.prefix:
            lines.append(f"{self.file_name}: the prefix '{self.prefix}' was taken off every name.")
        if self.ema_keys:
            step = f" of step {self.ema['step']}" if "step" in self.ema else ""
            lines.append(f"{self.file_name}: averaged (EMA) weights{step} laid over {len(self.ema_keys)} tensors.")
        else:
            lines.append(f"{self.file_name}: no averaged (EMA) weights; the raw weights are used.")
        if self.ignored:
            lines.append(f"{self.file_name}: left out {', '.join(self.ignored)}.")
        return lines


def read_published_state(
    path: str | Path, *, use_ema: bool = True
) -> tuple[dict[str, torch.Tensor], PublishedCheckpointInfo]:
    """Weights of a published checkpoint, averaged ones laid over the raw ones.

    Accepted layouts: the bare state; the state under `model`, `state_dict` or `model_state_dict`; names with the
    prefix of DistributedDataParallel or torch.compile; `ema: None` or `ema: {"shadow": {name: tensor}, ...}`; training
    checkpoints of version 2, whose random states are passed over unread.

    Args:
        path: A `.pth` file, the `last_checkpoint.json` that points to one, or the run's folder that holds it. The file
            is read with weights_only, so no code in it can run.
        use_ema: Lay the averaged weights over, where there are any.

    Returns:
        The state {name: tensor on the CPU} and what was found.

    Raises:
        CardioDiTError: if the file is absent, damaged, holds anything but plain data and tensors, or if an averaged
            weight has no counterpart of its name and shape.
    """
    path = follow_pointer(Path(path))
    content = _load(path)
    if not isinstance(content, Mapping) or not content:
        raise CardioDiTError(
            f"{path.name} holds no named weights.", "Give the checkpoint that the training wrote, not a latent."
        )
    layout, weights = _find_weights(content, path.name)
    state, prefix = _without_prefix(weights)
    info = PublishedCheckpointInfo(file_name=path.name, layout=layout, prefix=prefix)
    if layout == "bare":
        return state, info

    _check_schema(content, path.name)
    ema = content.get("ema")
    shadow = _shadow(ema, path.name)
    if use_ema and shadow:
        _check_shadow(shadow, state, path.name)
        state.update(shadow)
    plain = (int, float, str)
    others = {key: value for key, value in content.items() if key not in (layout, "ema", *_READ)}
    mean, std = _statistics(content, path.name)
    return state, PublishedCheckpointInfo(
        file_name=path.name,
        layout=layout,
        prefix=prefix,
        ema_keys=frozenset(shadow) if use_ema else frozenset(),
        ema={k: v for k, v in ema.items() if isinstance(v, plain)} if isinstance(ema, Mapping) else {},
        training={str(k): v for k, v in others.items() if isinstance(v, plain)},
        ignored=tuple(str(k) for k, v in others.items() if v is not None and not isinstance(v, plain)),
        config=_stored_config(content, path.name),
        latent_mean=mean,
        latent_std=std,
        scale_factor=_number(content.get("scale_factor"), "scale_factor", path.name),
        normalize_latents=None if content.get("normalize_latents") is None else bool(content["normalize_latents"]),
    )


def follow_pointer(path: Path) -> Path:
    """The checkpoint that a `last_checkpoint.json`, or the folder of a run with one, leads to; any other path as it is.

    Raises:
        CardioDiTError: The pointer cannot be read, leads out of its folder, or to a file that is not there.
    """
    if path.is_dir() and (path / POINTER).is_file():
        path = path / POINTER
    if path.suffix.lower() != ".json" or not path.is_file():
        return path
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CardioDiTError(f"{path.name} cannot be read as a pointer to a checkpoint.", _GIVE_PTH) from error
    schema = content.get("pointer_schema", _POINTER_SCHEMA) if isinstance(content, Mapping) else None
    target = content.get("target") if isinstance(content, Mapping) else None
    if schema != _POINTER_SCHEMA or not isinstance(target, str) or not target:
        raise CardioDiTError(f"{path.name} is not a pointer to a checkpoint in a form that is known.", _GIVE_PTH)
    folder = path.parent.resolve()
    found = (folder / target).resolve()
    if not found.is_relative_to(folder) or found.suffix.lower() == ".json":
        raise CardioDiTError(f"{path.name} leads to '{target}', which is no checkpoint of its folder.", _GIVE_PTH)
    if not found.is_file():
        raise CardioDiTError(
            f"{path.name} leads to '{target}', which is not there.", "Copy the whole folder of the run."
        )
    return found


def _check_schema(content: Mapping[str, Any], name: str) -> None:
    schema = content.get("checkpoint_schema")
    known = {"name": "cardiodit.training-checkpoint", "version": 1}
    if schema is not None and schema != known:
        told = f"{schema.get('name')} {schema.get('version')}" if isinstance(schema, Mapping) else str(schema)
        raise CardioDiTError(
            f"{name} is a checkpoint in the form '{told}', which is not known.",
            f"Known is {known['name']} {known['version']}.",
        )


def _stored_config(content: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    config = content.get("resolved_config")
    if config is None:
        return None
    if not isinstance(config, Mapping):
        raise CardioDiTError(f"The configuration inside {name} is not a mapping.", "Give the .yaml of the training.")
    return dict(config)


def _statistics(content: Mapping[str, Any], name: str) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Mean and deviation of the latents, one number a channel each."""
    mean, std = (content.get(key) for key in ("latent_mean", "latent_std"))
    if mean is None and std is None:
        return None, None
    for value in (mean, std):
        if not isinstance(value, torch.Tensor) or not value.is_floating_point() or not bool(value.isfinite().all()):
            raise CardioDiTError(
                f"{name} holds a mean or a deviation of the latents that is absent or not finite.",
                "Use another checkpoint.",
            )
        channels = value.shape[0] if value.ndim == 1 else value.shape[1] if value.ndim == 6 else value.shape[0]
        if value.numel() != channels:
            raise CardioDiTError(
                f"{name} holds statistics of the latents of shape {tuple(value.shape)}.",
                "They have to be one a channel.",
            )
    assert isinstance(mean, torch.Tensor) and isinstance(std, torch.Tensor)
    if mean.numel() != std.numel() or not bool((std >= 0).all()):
        raise CardioDiTError(
            f"Mean and deviation of the latents in {name} do not belong together.", "Use another checkpoint."
        )
    return mean.float().flatten(), std.float().flatten()


def _number(value: Any, key: str, name: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise CardioDiTError(f"The {key} in {name} is no number.", "Use another checkpoint.")
    return float(value)


def _load(path: Path) -> Any:
    if not path.is_file():
        raise CardioDiTError(f"There is no checkpoint {path}.", "Check the path.")
    try:
        with torch.serialization.safe_globals(numpy_globals()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about old or odd pickle versions; what matters is raised
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CardioDiTError(
            f"{path.name} holds Python objects other than tensors and plain data, or is damaged; it was not run.",
            "Ask its author for the weights alone (torch.save of a state_dict).",
        ) from error
    except MemoryError as error:
        raise CardioDiTError(f"{path.name} does not fit into memory.", "Close other programs and try again.") from error
    except Exception as error:  # torch raises many kinds for a damaged file
        raise CardioDiTError(
            f"{path.name} cannot be read as a PyTorch checkpoint; it may be damaged or incomplete.",
            "Download or copy it again.",
        ) from error


def _is_state(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and len(value) > 0
        and all(isinstance(key, str) and isinstance(tensor, torch.Tensor) for key, tensor in value.items())
    )


def _find_weights(content: Mapping[str, Any], name: str) -> tuple[str, Mapping[str, torch.Tensor]]:
    for key in _WEIGHT_KEYS:
        if _is_state(content.get(key)):
            return key, content[key]
    if _is_state(content):
        return "bare", content
    raise CardioDiTError(
        f"{name} holds no weights that can be told: it has the entries {some_of([str(key) for key in content])}.",
        f"The weights have to be the file itself or under one of {', '.join(_WEIGHT_KEYS)}.",
    )


def _without_prefix(weights: Mapping[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], str]:
    taken = ""
    state = dict(weights)
    while True:
        prefix = next((p for p in _WRAPPER_PREFIXES if all(key.startswith(p) for key in state)), "")
        if not prefix:
            return state, taken
        state = {key[len(prefix) :]: value for key, value in state.items()}
        taken += prefix


def _shadow(ema: Any, name: str) -> dict[str, torch.Tensor]:
    if ema is None:
        return {}
    shadow = ema.get("shadow") if isinstance(ema, Mapping) else None
    if shadow is None or not _is_state(shadow):
        raise CardioDiTError(
            f"The averaged (EMA) weights of {name} are not in a form that is known.",
            "Their place is ema['shadow'], a dictionary of tensors.",
        )
    return _without_prefix(shadow)[0]


def _check_shadow(shadow: Mapping[str, torch.Tensor], state: Mapping[str, torch.Tensor], name: str) -> None:
    wrong = [key for key, value in shadow.items() if key not in state or state[key].shape != value.shape]
    if wrong:
        raise CardioDiTError(
            f"Averaged (EMA) weights of {name} have no counterpart of the same name and shape: {some_of(wrong)}.",
            "The file mixes two networks; use another checkpoint.",
        )


class SkippedArray:
    """Stands where a NumPy array was."""

    def __setstate__(self, state: object) -> None:
        """Forget the array's shape, type and values."""


def numpy_globals() -> list[Any]:
    """For `torch.serialization.safe_globals`: every name of NumPy that may be met, and what stands for it."""
    kinds = [type(np.dtype(kind)) for kind in (*_NUMPY_NUMBERS, np.uint32, np.uint64)]
    arrays: list[Any] = [_called("numpy", "ndarray", SkippedArray), SkippedArray]
    for module in _NUMPY_MODULES:
        arrays += [_called(module, "_reconstruct", _skipped), _called(module, "scalar", _numpy_number)]
    return [np.dtype, *kinds, *arrays]


def _skipped(*_: object) -> SkippedArray:
    return SkippedArray()


def _numpy_number(dtype: Any, raw: Any) -> Any:
    """A single number of a known type from its bytes."""
    if not isinstance(dtype, np.dtype) or dtype.newbyteorder("=") not in [np.dtype(kind) for kind in _NUMPY_NUMBERS]:
        raise ValueError("A number of a type that is not known.")
    raw = raw.encode("latin1") if isinstance(raw, str) else raw
    return np.frombuffer(raw, dtype, count=1)[0]


def _called(module: str, name: str, stands: Callable[..., Any]) -> Any:
    """Something that a pickle calls by the name of something else."""

    def function(*args: object) -> Any:
        return stands(*args)

    function.__module__, function.__name__, function.__qualname__ = module, name, name
    return function

"""Latents of a pack: every cine encoded by the codec several times over, each time under another augmentation.

A folder of safetensors files, one a copy, without names: latents (N, C, Z, h, w, t) half precision, group, patient's
place in the pack, slices that count, validation mark. With several shapes (`buckets.LatentShapes`) a file holds each of
these once for each shape.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from CardioDiTLib.data.cine_from_pair import PosedPair
from CardioDiTLib.data.morph import blood_gain
from CardioDiTLib.data.packing import PackedCines
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.files import atomic_path
from CardioDiTLib.generation.heart_quantities import QUANTITIES, heart_quantities
from CardioDiTLib.models.axes import cine_to_model
from CardioDiTLib.models.vqgan import VQGAN
from CardioDiTLib.schema import parse_json
from CardioDiTLib.training.buckets import LatentShapes, bucket_name
from CardioDiTLib.training.latent_augmentation import LatentAugmentation, augmented, morphed, partners_of

ABOUT = "about.json"
_APART = "/"
"""Between the shape and the name of a tensor, where a file holds several shapes."""


@dataclass(frozen=True, eq=False)
class LatentSet:
    """Latents ready for stage 2.

    Attributes:
        latents: (N, C, Z, h, w, t) half precision.
        groups: (N,) pathology group, -1 unknown.
        cine: (N,) place of the cine in the pack.
        slice_valid: (N, Z).
        validation: (N,).
        heart: (Z, h, w) share of training cines with heart at that place, for weighting; ones where the pack has no
            labels.
        quantities: (N, K) what each cine measures (`heart_quantities.QUANTITIES`), NaN where it is not known.
        about: Group names, mm, seconds a cycle, copies, quantised or not, SHA-256 of encoder and codebook.
    """

    latents: torch.Tensor
    groups: torch.Tensor
    cine: torch.Tensor
    slice_valid: torch.Tensor
    validation: torch.Tensor
    heart: torch.Tensor
    quantities: torch.Tensor
    about: dict[str, Any]


@torch.no_grad()
def encode_cine(codec: VQGAN, cine: np.ndarray, device: torch.device, quantised: bool) -> torch.Tensor:
    """(T, Z, Y, X) in [-1, 1] -> (C, Z, h, w, t), slice by slice."""
    slices = torch.from_numpy(np.ascontiguousarray(cine_to_model(cine))).float()[:, None]
    made = []
    for part in slices.split(4):
        part = part.to(device).contiguous(memory_format=torch.channels_last_3d)
        made.append((codec.encode_to_latents(part) if quantised else codec.encode(part)).float().cpu())
    return torch.cat(made).transpose(0, 1).contiguous()


def encode_pack(
    codec: VQGAN,
    data: PackedCines,
    destination: str | Path,
    *,
    size: int = 128,
    ranges: LatentAugmentation | None = None,
    quantised: bool = True,
    seed: int = 0,
    device: torch.device | None = None,
    deadline: float | None = None,
    progress: Callable[[int, int], None] | None = None,
    pairs: Sequence[PosedPair] | None = None,
    shapes: LatentShapes | None = None,
    multiples: tuple[int, int] = (1, 1),
) -> bool:
    """Encodes all cines of a pack: training cines `copies` times, cines kept aside once.

    One file a copy, so that files stay small and a call that was interrupted is continued where it was;
    `about.json` comes last and says that all is there.

    Args:
        codec: The codec, in evaluation mode.
        data: The pack.
        destination: Folder of the latents.
        size: Rows and columns of the model's grid.
        ranges: Augmentation.
        quantised: Codes (as published) or what the encoder says before it is rounded to a code, which is easier to
            learn and is rounded at decoding anyway.
        seed: Seed of the draws.
        device: Where the codec is.
        deadline: `time.monotonic()` after which no further copy is begun.
        progress: Called with (copies done, of).
        pairs: The pack's ED/ES pairs, for `ranges.morphs`.
        shapes: Grids that cines are encoded on; None for that of the pack.
        multiples: With `shapes`, what slices and frames come in multiples of (see `LatentShapes.cut`).

    Returns:
        True where all copies are there.
    """
    ranges = ranges or LatentAugmentation()
    if ranges.morphs and pairs is None:
        raise CardioDiTError("Morphs need the ED/ES pairs of the pack.", "Use a pack of pairs, or set morphs to false.")
    device = device or torch.device("cpu")
    folder = Path(destination)
    folder.mkdir(parents=True, exist_ok=True)
    about = {
        "codec": fingerprint(codec),
        "pack": _pack_fingerprint(data),
        **made_as(ranges, quantised, seed),
        "group_names": list(data.group_names),
        "spacing_mm": list(data.spacing),
        "cycle_s": float(np.median(data.cycle_s)),
        "quantities": list(QUANTITIES),
    }
    if shapes:  # otherwise left out, so that what was made before there were shapes is not made anew
        about["shapes"] = {**shapes.to_dict(), "multiples": list(multiples)}
    for copy in range(ranges.copies):
        path = folder / f"copy-{copy:02d}.safetensors"
        if not _is_of(path, about):
            if deadline is not None and time.monotonic() > deadline:
                return False
            _encode_copy(
                codec, data, path, copy, size, ranges, device, about, pairs, shapes or LatentShapes(), multiples
            )
        if progress:
            progress(copy + 1, ranges.copies)
    with atomic_path(folder / ABOUT) as partial:
        partial.write_text(json.dumps(about, indent=1), encoding="utf-8")
    return True


def _encode_copy(
    codec: VQGAN,
    data: PackedCines,
    path: Path,
    copy: int,
    size: int,
    ranges: LatentAugmentation,
    device: torch.device,
    about: dict[str, Any],
    pairs: Sequence[PosedPair] | None,
    shapes: LatentShapes,
    multiples: tuple[int, int],
) -> None:
    used, partners = partners_of(data, morphs=bool(copy) and ranges.morphs)
    if copy:
        used = [index for index in used if not data.validation[index]]
    made, measured, groups, valid = [], [], [], []
    for index in used:
        rng = np.random.default_rng([about["seed"], index, copy]) if copy else None
        labels = None if data.labels is None else data.labels[index]
        group = int(data.groups[index])
        frames = shapes.frames_of((about["seed"], index, copy), data.images.shape[1])
        if rng is not None and ranges.morphs and pairs is not None:
            cine, labels, group = morphed(data, pairs, index, partners[index], size, rng, ranges, frames)
        else:
            cine = augmented(data.images[index], size, rng, ranges)
            if ranges.morphs and pairs is not None:
                cine = ((cine + 1) * blood_gain(pairs[index])).clip(0, 2) - 1
            if rng is not None:
                labels = None  # moved with the picture, but not carried along here
        whole = data.slice_valid[index]
        if shapes:
            cine, whole = shapes.cut(cine, whole, frames, multiples)
        made.append(encode_cine(codec, cine, device, about["quantised"]).half())
        measured.append(heart_quantities(labels, data.spacing))
        groups.append(group)
        valid.append(whole)
    names = [bucket_name(latents) + _APART if shapes else "" for latents in made]
    tensors: dict[str, torch.Tensor] = {}
    for name in sorted(set(names)):
        of_it = [place for place, own in enumerate(names) if own == name]
        latents, cines = torch.stack([made[place] for place in of_it]), [used[place] for place in of_it]
        tensors |= {
            f"{name}latents": latents,
            f"{name}groups": torch.tensor(
                [groups[place] for place in of_it], dtype=torch.from_numpy(data.groups).dtype
            ),
            f"{name}cine": torch.tensor(cines),
            f"{name}slice_valid": torch.from_numpy(np.stack([valid[place] for place in of_it])),
            f"{name}validation": torch.from_numpy(data.validation[cines]),
            # slices of a bucket lie at other places of the pack in each cine, so there is no map of the heart
            f"{name}heart": torch.ones(latents.shape[2:5]) if shapes else _heart_share(data, size, latents.shape[-3]),
            f"{name}quantities": torch.tensor(np.array([measured[place] for place in of_it]), dtype=torch.float32),
        }
    with atomic_path(path) as partial:
        save_file(tensors, partial, metadata={"about": json.dumps(about)})


def made_as(ranges: LatentAugmentation, quantised: bool, seed: int) -> dict[str, Any]:
    """Settings that latents were made with, as `about.json` has them. What came later is left out where it is not used,
    so that what was made before is not made anew.
    """
    left_out = {"copies"} | ({"transplant_share"} if not ranges.transplant_share else set())
    augmentation = {name: value for name, value in vars(ranges).items() if name not in left_out}
    return {"copies": ranges.copies, "quantised": quantised, "seed": seed, "augmentation": augmentation}


def _is_of(path: Path, about: dict[str, Any]) -> bool:
    """Whether a file is there and was made of the same pack with the same codec and settings."""
    if not path.is_file():
        return False
    try:
        with safe_open(str(path), "pt") as stream:
            found = parse_json(stream.metadata()["about"])
            # How many copies there are in all makes no difference to one of them; files of old do not name the pack.
            return {"pack": about["pack"], **found, "copies": 0} == {**about, "copies": 0}
    except Exception:  # a damaged file is made anew
        return False


def _pack_fingerprint(data: PackedCines) -> str:
    """SHA-256 of the first frames: enough to tell packs apart."""
    digest = hashlib.sha256(json.dumps([list(data.images.shape), list(data.group_names)]).encode())
    for part in (data.images[:, 0], data.groups, data.validation):
        digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()


def fingerprint(codec: VQGAN) -> str:
    """SHA-256 of what decides about latents: encoder and codebook. The decoder may be trained on."""
    digest = hashlib.sha256()
    for name, value in sorted(codec.state_dict().items()):
        if name.startswith("encoder.") or name.endswith("embedding.weight"):
            digest.update(name.encode())
            digest.update(value.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _heart_share(data: PackedCines, size: int, places: int) -> torch.Tensor:
    slices = data.images.shape[2]
    if data.labels is None:
        return torch.ones(slices, places, places)
    edge = (data.images.shape[-1] - size) // 2
    shown = (data.labels[~data.validation, 0] > 0).mean(axis=0)[:, edge : edge + size, edge : edge + size]
    step = size // places
    blocks = shown.reshape(slices, places, step, places, step).max(axis=(2, 4))
    return torch.from_numpy(blocks.astype(np.float32))


def latents_are_whole(folder: str | Path, settings: dict[str, Any] | None = None) -> bool:
    """Whether `encode_pack` came to its end in this folder, with these settings where they are given (`made_as`)."""
    path = Path(folder) / ABOUT
    if not path.is_file() or settings is None:
        return path.is_file()
    try:
        found = parse_json(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return all(name not in found or found[name] == value for name, value in settings.items())


def read_latents(folder: str | Path) -> LatentSet:
    """Opens a folder written by `encode_pack`, all of one shape.

    Raises:
        CardioDiTError: No latents are there, they are not complete or of several shapes, or a file is damaged.
    """
    found = read_buckets(folder)
    if len(found) != 1:
        raise CardioDiTError(
            f"The latents in '{Path(folder).name}' have {len(found)} shapes, not one.",
            "Leave 'shapes' out of the settings, and make them again.",
        )
    return found[0]


def read_buckets(folder: str | Path) -> tuple[LatentSet, ...]:
    """Opens a folder written by `encode_pack`: one set for each shape, in the order of the shapes' sizes.

    Raises:
        CardioDiTError: No latents are there, they are not complete, or a file is damaged.
    """
    folder = Path(folder)
    if not latents_are_whole(folder):
        raise CardioDiTError(f"There are no latents in '{folder.name}' yet.", "Run the stage 'latents' first.")
    parts: dict[str, dict[str, list[torch.Tensor]]] = {}
    try:
        about = parse_json((folder / ABOUT).read_text(encoding="utf-8"))
        for copy in range(about["copies"]):
            with safe_open(str(folder / f"copy-{copy:02d}.safetensors"), "pt") as stream:
                for name in stream.keys():  # noqa: SIM118 - not a dict
                    shape, _, plain = name.rpartition(_APART)
                    parts.setdefault(shape, {}).setdefault(plain, []).append(stream.get_tensor(name))
        made = []
        for tensors in parts.values():
            heart = tensors.pop("heart")[0]
            made.append(
                LatentSet(about=about, heart=heart, **{name: torch.cat(each) for name, each in tensors.items()})
            )
        return tuple(sorted(made, key=lambda one: tuple(one.latents.shape[2:])))
    except Exception as error:
        raise CardioDiTError(
            f"The latents in '{folder.name}' are damaged.", "Remove the folder and make them again."
        ) from error

"""A second, slow implementation of the published transformer, version 2, in NumPy: token by token, from the equations.

It shares no code with the library and is what the library is compared with.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.special import erf

Array = np.ndarray


def forward(
    params: Mapping[str, Any],
    state: Mapping[str, Array],
    x: Array,
    t: Array,
    *,
    estimate: Array | None = None,
    phases: Array | None = None,
) -> Array:
    """Output (B, C, Z, H, W, T) of a network without classes.

    Args:
        params: `model.params` of a published configuration.
        state: Weights by their published names.
        x: (B, C, Z, H, W, T).
        t: (B,) diffusion times.
        estimate: Earlier estimate of the clean latents; zeros where the network wants one and has none.
        phases: (B, T) phases of the frames.
    """
    w = {name: np.asarray(value, np.float64) for name, value in state.items()}
    return np.stack(
        [
            _one(
                params,
                w,
                x[b].astype(np.float64),
                float(t[b]),
                None if estimate is None else estimate[b].astype(np.float64),
                None if phases is None else phases[b].astype(np.float64),
            )
            for b in range(len(x))
        ]
    )


def _one(
    params: Mapping[str, Any], w: dict[str, Array], x: Array, t: float, estimate: Array | None, phases: Array | None
) -> Array:
    channels = x.shape[0]
    if params.get("self_conditioning"):
        x = np.concatenate([x, np.zeros_like(x) if estimate is None else estimate])
    patch = params["patch_size"]
    grid = [n // p for n, p in zip(x.shape[1:], patch)]
    places = list(itertools.product(*map(range, grid)))

    tokens = []
    for place in places:
        block = x[(slice(None), *(slice(i * p, (i + 1) * p) for i, p in zip(place, patch)))]
        tokens.append(w["x_embedder.proj.weight"] @ block.reshape(-1) + w["x_embedder.proj.bias"])
    h = np.stack(tokens)
    times = token_times(params, grid[3], phases)
    added = positions(params, w, grid, times)
    if added is not None:
        h = h + added

    rates = [10000.0 ** (-i / 128) for i in range(128)]
    waves = np.array([math.cos(t * r) for r in rates] + [math.sin(t * r) for r in rates])
    c = _linear(w, "t_embedder.mlp.2", _silu(_linear(w, "t_embedder.mlp.0", waves)))

    heads = params["num_heads"]
    coordinates = rotary_coordinates(params, grid, times)
    for n in range(params["depth"]):
        name = f"blocks.{n}"
        shift1, scale1, gate1, shift2, scale2, gate2 = np.split(_linear(w, f"{name}.adaLN_modulation.1", _silu(c)), 6)
        h = h + gate1 * _attention(params, w, f"{name}.attn", _norm(h) * (1 + scale1) + shift1, heads, coordinates)
        inner = _linear(w, f"{name}.mlp.fc1", _norm(h) * (1 + scale2) + shift2)
        inner = 0.5 * inner * (1 + erf(inner / math.sqrt(2)))
        h = h + gate2 * _linear(w, f"{name}.mlp.fc2", inner)
    shift, scale = np.split(_linear(w, "final_layer.adaLN_modulation.1", _silu(c)), 2)
    out = _linear(w, "final_layer.linear", _norm(h) * (1 + scale) + shift)

    image = np.empty((channels, *x.shape[1:]))
    for place, row in zip(places, out):
        block = np.moveaxis(row.reshape(*patch, channels), -1, 0)
        image[(slice(None), *(slice(i * p, (i + 1) * p) for i, p in zip(place, patch)))] = block
    return image


def mode_of(params: Mapping[str, Any]) -> str:
    """Name of the positions."""
    name = params.get("pos_embed_mode") or params.get("temporal_pe") or "absolute"
    return "time_rope" if name == "rope" else name


def steps_of(params: Mapping[str, Any]) -> list[float]:
    """Distance of tokens along each axis."""
    if params.get("spacing") is None:
        return [1.0] * 4
    sizes = [s * p for s, p in zip(params["spacing"], params["patch_size"])]
    return [size / min(sizes) for size in sizes]


def token_times(params: Mapping[str, Any], frames: int, phases: Array | None) -> Array:
    """Places of the tokens in time."""
    step = steps_of(params)[3] * params.get("rope_temporal_scale", 1.0)
    cyclic = params.get("phase_schema", "legacy_v1") == "cyclic_v2"
    if phases is None:
        return (np.arange(frames) + (0.5 if cyclic else 0.0)) * step
    if cyclic:
        if len(phases) != frames:
            means = []
            for i in range(frames):
                part = phases[i * len(phases) // frames : (i + 1) * len(phases) // frames]
                means.append(np.angle(np.exp(2j * np.pi * part).mean()) / (2 * np.pi) % 1)
            phases = np.array(means)
        return phases % 1 * frames * step
    if len(phases) != frames:
        phases = np.interp(np.linspace(0, len(phases) - 1, frames), np.arange(len(phases)), phases)
    return phases * max(frames - 1, 1) * step


def positions(params: Mapping[str, Any], w: dict[str, Array], grid: list[int], times: Array) -> Array | None:
    """What is added to the tokens."""
    mode = mode_of(params)
    if mode == "rope4d":
        return None
    largest = params.get("max_input_size") if params.get("variable_shape") else None
    whole = [n // p for n, p in zip(largest or params["input_size"], params["patch_size"])]
    table = w["pos_embed"].reshape(*whole, -1)
    begin = [(most - n) // 2 for n, most in zip(grid, whole)]
    table = table[tuple(slice(b, b + n) for b, n in zip(begin, grid))].reshape(math.prod(grid), -1).copy()
    width = table.shape[1]
    quarter, step = width // 4, steps_of(params)[3]
    frame = np.array([place[3] for place in itertools.product(*map(range, grid))])
    if mode in ("absolute", "center_select"):
        return table
    if mode == "interpolated_rescaled":
        times = np.linspace(0, params["input_size"][3] // params["patch_size"][3] - 1, grid[3]) * step
    if mode in ("interpolated", "interpolated_rescaled"):
        table[:, 3 * quarter :] = _waves(quarter, times)[frame]
        return table
    if mode == "time_rope":
        table[:, 3 * quarter :] = 0
        return table
    if params.get("phase_schema") == "cyclic_v2":
        table[:, 3 * quarter :] = 0
        phase = times / max(step * grid[3], 1) % 1
        angles = 2 * np.pi * phase[:, None] * np.arange(1, width // 2 + 1)
        return table + np.concatenate([np.sin(angles), np.cos(angles)], 1)[frame]
    return table + _waves(width, 2 * np.pi * times / max(step * max(grid[3] - 1, 1), 1))[frame]


def rotary_coordinates(params: Mapping[str, Any], grid: list[int], times: Array) -> Array | None:
    """(N, axes) by which queries and keys are turned."""
    mode = mode_of(params)
    if mode not in ("time_rope", "rope4d"):
        return None
    places = np.array(list(itertools.product(*map(range, grid))))
    if mode == "time_rope":
        return times[places[:, 3]][:, None]
    return np.concatenate([places[:, :3] * np.array(steps_of(params)[:3]), times[places[:, 3]][:, None]], 1)


def turned(head: Array, coordinates: Array) -> Array:
    """One head (N, width) turned: pairs of neighbours as complex numbers."""
    pairs = head.shape[1] // 2
    if coordinates.shape[1] == 1:
        counts = [pairs]
    else:
        counts = [pairs // 4 + (pairs % 4 >= 1), pairs // 4, pairs // 4, pairs // 4 + (pairs % 4 >= 2)]
    out, first = head.copy(), 0
    for axis, count in enumerate(counts):
        for i in range(count):
            angle = coordinates[:, axis] * 10000.0 ** (-2 * i / (2 * count))
            z = (head[:, first] + 1j * head[:, first + 1]) * np.exp(1j * angle)
            out[:, first], out[:, first + 1] = z.real, z.imag
            first += 2
    return out


def _attention(
    params: Mapping[str, Any], w: dict[str, Array], name: str, h: Array, heads: int, coordinates: Array | None
) -> Array:
    q, k, v = np.split(_linear(w, f"{name}.qkv", h), 3, axis=1)
    width = q.shape[1] // heads
    made = []
    for n in range(heads):
        part = slice(n * width, (n + 1) * width)
        a, b = q[:, part], k[:, part]
        if params.get("qk_norm"):
            a = _norm(a, 1e-5) * w[f"{name}.q_norm.weight"] + w[f"{name}.q_norm.bias"]
            b = _norm(b, 1e-5) * w[f"{name}.k_norm.weight"] + w[f"{name}.k_norm.bias"]
        if coordinates is not None:
            a, b = turned(a, coordinates), turned(b, coordinates)
        scores = a @ b.T / math.sqrt(width)
        weights = np.exp(scores - scores.max(1, keepdims=True))
        made.append(weights / weights.sum(1, keepdims=True) @ v[:, part])
    return _linear(w, f"{name}.proj", np.concatenate(made, 1))


def _linear(w: dict[str, Array], name: str, x: Array) -> Array:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def _norm(x: Array, eps: float = 1e-6) -> Array:
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps)


def _silu(x: Array) -> Array:
    return x / (1 + np.exp(-x))


def _waves(channels: int, positions: Array) -> Array:
    angles = positions[:, None] * np.array([10000.0 ** (-i / (channels / 2)) for i in range(channels // 2)])
    return np.concatenate([np.sin(angles), np.cos(angles)], 1)

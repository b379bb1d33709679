"""What to generate: plain values, the same for Python, the command line and the worker."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from CardioDiTLib.diffusion.sampler_names import SAMPLER_NAMES
from CardioDiTLib.errors import CardioDiTError

DEFAULT_BUNDLE = "acdc-mini"
PRECISIONS = ("auto", "fp32", "bf16", "int8")

BACKENDS = ("torch", "openvino", "auto")
"""What networks can run in; "auto" is OpenVINO on a CPU where it is installed."""

QUANTITY_NAMES = ("edv_ml", "ef_percent", "lv_mass_g", "lv_slices")
"""Quantities by which hearts can be steered, where a bundle was trained for it."""

RESHAPED = ("edv_ml", "ef_percent", "lv_mass_g")
"""Of these, what a drawn heart can be reshaped to; the number of slices that it covers cannot be changed afterwards."""

SHORTEST_CYCLE_S, LONGEST_CYCLE_S = 0.3, 2.0
"""200 and 30 beats a minute."""

_MOST_SAMPLES = 100_000
_MOST_STEPS = 10_000  # ten times the published 1000; hours for one heart
_MOST_SLICES, _MOST_FRAMES = 1000, 1000
_MOST_ADJUSTMENTS = 20
_LARGEST_GUIDANCE = 100.0  # far above any strength at which images still show a heart
_LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True)
class GenerationRequest:
    """What to generate and how.

    Sample i of a seed is the same whatever ``count`` and ``batch_size`` are, up to the rounding of floats: matrix
    products of other sizes add in another order, which can move a grey value by a few of 1000, and more where a latent
    lies half-way between two codes. The same request gives the same bytes.

    Args:
        count: How many samples.
        seed: Any whole number from 0 on.
        steps: Denoising steps; None for those of the preset.
        preset: Name of a preset of the bundle: "draft", "standard" or "high".
        sampler: "dpmpp_2m", "ddim", "ddpm" or "euler" (the published one of flow matching); None for the preset's.
        pathology: Class of all samples, or one a sample (None in the list for no class); None for no class.
        guidance: Strength of guidance towards pathology and quantities, 1 for none; None for that of the preset.
        edv_ml: End-diastolic volume of the left ventricle in mL, one for all or one a sample (None for any).
        ef_percent: Its ejection fraction in %, likewise.
        lv_mass_g: Its mass in g, likewise.
        lv_slices: Slices that it covers at end-diastole, likewise.
        adjust: How often, at most, a steered heart may be drawn again to come nearer to the quantities by its own
            labels: its image is warped to the volumes asked for, partly noised and denoised (`reshaping`), which takes
            less time than a new draw; where only `lv_slices` is asked for, it is drawn anew with a corrected value.
            0 keeps the first draw.
        slices: Slices of the stack, for models that take grids of several sizes; None for the model's own. Not
            `lv_slices`, which is about the heart in it.
        frames: Frames of the beat, likewise.
        cycle_s: Seconds of one beat, for the times of the frames; None for the bundle's. The shape of the beat does not
            change with it.
        bundle: Name or folder of a bundle; None for the generator's own, or the embedded one.
        device: "cpu", "cuda", "cuda:1", "mps" or "auto"; None for the generator's own.
        precision: "fp32", "bf16", "auto" or, with the backend openvino, "int8"; None for the generator's own.
        backend: "torch", "openvino" or "auto"; None for the generator's own, or torch.
        batch_size: Samples that are denoised at a time, or "auto" for as many as the memory budget holds.
        memory_budget_gb: Memory that denoising may take beside the weights, in GB (10^9 bytes).
        preview_every: A preview of the first sample of a batch with the progress every so many steps; 0 for none.
        first_index: Number of the first sample: to make sample 5 of a seed alone, count 1 and first_index 5.

    Raises:
        CardioDiTError: A value is not possible.

    Examples:
        >>> GenerationRequest(count=2, seed=7, pathology="DCM", guidance=2.0).to_dict()["pathology"]
        'DCM'
    """

    count: int = 1
    seed: int = 0
    steps: int | None = None
    preset: str = "standard"
    sampler: str | None = None
    pathology: str | tuple[str | None, ...] | None = None
    guidance: float | None = None
    edv_ml: float | tuple[float | None, ...] | None = None
    ef_percent: float | tuple[float | None, ...] | None = None
    lv_mass_g: float | tuple[float | None, ...] | None = None
    lv_slices: float | tuple[float | None, ...] | None = None
    adjust: int = 3
    slices: int | None = None
    frames: int | None = None
    cycle_s: float | None = None
    bundle: str | None = None
    device: str | None = None
    precision: str | None = None
    backend: str | None = None
    batch_size: int | str = "auto"
    memory_budget_gb: float = 2.0
    preview_every: int = 0
    first_index: int = 0

    def __post_init__(self) -> None:
        self._whole("count", 1, _MOST_SAMPLES)
        self._whole("seed", 0, _LARGEST_SEED)
        self._whole("preview_every", 0)
        self._whole("adjust", 0, _MOST_ADJUSTMENTS)
        self._whole("first_index", 0)
        if self.steps is not None:
            self._whole("steps", 1, _MOST_STEPS)
        if self.slices is not None:
            self._whole("slices", 1, _MOST_SLICES)
        if self.frames is not None:
            self._whole("frames", 2, _MOST_FRAMES)
        if self.batch_size != "auto":
            self._whole("batch_size", 1)
        self._number("memory_budget_gb", above=0.0)
        if self.guidance is not None:
            self._number("guidance", above=None)
            if abs(self.guidance) > _LARGEST_GUIDANCE:
                raise CardioDiTError(
                    f"'guidance' of a request is {self.guidance!r}.",
                    f"Give a number from {-_LARGEST_GUIDANCE:g} to {_LARGEST_GUIDANCE:g}; 1 is none, 1.5 to 4 usual.",
                )
        self._choice("sampler", SAMPLER_NAMES)
        self._choice("precision", PRECISIONS)
        self._choice("backend", BACKENDS)
        for name in ("preset", "bundle", "device"):
            value = getattr(self, name)
            if not isinstance(value, str) and (value is not None or name == "preset"):
                raise CardioDiTError(f"'{name}' of a request is {value!r}, not a text.", "Give a name.")
        self._check_pathology()
        for name in QUANTITY_NAMES:
            self._check_quantity(name)
        if self.cycle_s is not None:
            self._number("cycle_s", above=0.0)
            if not SHORTEST_CYCLE_S <= self.cycle_s <= LONGEST_CYCLE_S:
                raise CardioDiTError(
                    f"A beat of {self.cycle_s:g} s is not one of a heart.",
                    f"Give {SHORTEST_CYCLE_S:g} to {LONGEST_CYCLE_S:g} s.",
                )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> GenerationRequest:
        """Read what :meth:`to_dict` wrote; entries that are absent have their defaults.

        Raises:
            CardioDiTError: An entry is unknown or not possible.
        """
        if not isinstance(values, Mapping):
            raise CardioDiTError(f"A request is an object with entries, not {values!r}.", "Give names and values.")
        known = [item.name for item in fields(cls)]
        unknown = sorted(str(key) for key in values if key not in known)
        if unknown:
            raise CardioDiTError(
                f"A request for generation has no entry {', '.join(unknown)}.", f"Known are {', '.join(known)}."
            )
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        for name in ("pathology", *QUANTITY_NAMES):
            if isinstance(values[name], tuple):
                values[name] = list(values[name])
        return values

    def part(self, first: int, count: int) -> GenerationRequest:
        """Samples `first` to `first + count` of this request as a request of their own."""
        cut: dict[str, Any] = {
            name: value[first : first + count]
            for name in ("pathology", *QUANTITY_NAMES)
            if isinstance(value := getattr(self, name), tuple)
        }
        return replace(self, count=count, first_index=self.first_index + first, **cut)

    def quantities(self, sample: int) -> dict[str, float]:
        """What one sample is asked to have, by name; empty where any heart will do."""
        asked = {}
        for name in QUANTITY_NAMES:
            value = getattr(self, name)
            one = value[sample] if isinstance(value, tuple) else value
            if one is not None:
                asked[name] = float(one)
        return asked

    def _whole(self, name: str, lowest: int, highest: int | None = None) -> None:
        value = getattr(self, name)
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        if not is_whole or value < lowest or (highest is not None and value > highest):
            limit = f"at least {lowest}" if highest is None else f"from {lowest} to {highest}"
            raise CardioDiTError(f"'{name}' of a request is {value!r}.", f"Give a whole number {limit}.")

    def _number(self, name: str, above: float | None) -> None:
        value = getattr(self, name)
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not is_number or (above is not None and value <= above):
            wanted = "a number" if above is None else f"a number above {above:g}"
            raise CardioDiTError(f"'{name}' of a request is {value!r}.", f"Give {wanted}.")

    def _choice(self, name: str, known: tuple[str, ...]) -> None:
        value = getattr(self, name)
        if value is not None and value not in known:
            raise CardioDiTError(f"The {name} {value!r} is not known.", f"Choose one of {', '.join(known)}.")

    def _check_pathology(self) -> None:
        value = self.pathology
        if value is None or isinstance(value, str):
            return
        if not isinstance(value, list | tuple) or not all(item is None or isinstance(item, str) for item in value):
            raise CardioDiTError(f"The pathology {value!r} is not a name or a list of names.", "Give one or several.")
        if len(value) != self.count:
            raise CardioDiTError(
                f"{len(value)} pathologies were given for {self.count} samples.", "Give one pathology, or one a sample."
            )
        object.__setattr__(self, "pathology", tuple(value))

    def _check_quantity(self, name: str) -> None:
        value = getattr(self, name)
        if value is None:
            return
        each = value if isinstance(value, list | tuple) else (value,)
        numbers = [one for one in each if one is not None]
        if not all(
            isinstance(one, int | float) and not isinstance(one, bool) and math.isfinite(one) for one in numbers
        ):
            raise CardioDiTError(f"'{name}' of a request is {value!r}.", "Give a number, or one a sample.")
        if isinstance(value, list | tuple):
            if len(value) != self.count:
                raise CardioDiTError(
                    f"{len(value)} values of '{name}' were given for {self.count} samples.",
                    "Give one value, or one a sample.",
                )
            object.__setattr__(self, name, tuple(value))

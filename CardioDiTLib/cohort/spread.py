"""Distributions that hearts are drawn from: shares of classes, and ranges or means of quantities.

What heart n of a seed is asked to be depends on the seed and n alone, through SHA-256 and the quantile function of a
distribution: the same on every machine and with every version of NumPy, and the first hearts of a larger plan are those
of a smaller one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, ClassVar

from CardioDiTLib.bundles.manifest import BundleManifest
from CardioDiTLib.bundles.manifest_parts import SteeredQuantity
from CardioDiTLib.cohort.heart import Heart
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.generation.request import QUANTITY_NAMES
from CardioDiTLib.schema import Positive, Record

_NUMBER = r"\d+(?:\.\d+)?"
_FORMS = re.compile(rf"(?P<one>{_NUMBER})(?:(?P<kind>:|\+-|±)(?P<two>{_NUMBER}))?")
_HINT = "Write 80:160 for a range, 120+-25 for mean and standard deviation, 120 for one number, CLASS=... for a class."
ANY_CLASS = "none"
"""Among classes: hearts of no class."""
_DIGITS = 1  # of what is asked: no heart is nearer to it than that


@dataclass(frozen=True)
class Spread(Record):
    """How a quantity is spread: between two values evenly, or normally, cut at what the model has seen.

    Args:
        low, high: Of a range; both None for a normal distribution.
        mean, sd: Of a normal distribution; both None for a range.
    """

    record_name: ClassVar[str] = "distribution of a quantity"
    record_hint: ClassVar[str] = _HINT

    low: float | None = None
    high: float | None = None
    mean: float | None = None
    sd: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        ranged, normal = (self.low is not None, self.high is not None), (self.mean is not None, self.sd is not None)
        if ranged + normal not in ((True, True, False, False), (False, False, True, True)):
            raise CardioDiTError("A distribution has a range, or a mean and a standard deviation.", _HINT)
        if self.low is not None and self.high is not None and self.low > self.high:
            raise CardioDiTError(f"The range {self.low:g} to {self.high:g} is empty.", _HINT)
        if self.sd is not None and self.sd <= 0:
            raise CardioDiTError(f"The standard deviation {self.sd:g} is not above 0.", _HINT)

    @classmethod
    def parse(cls, text: str) -> Spread:
        """Read "80:160", "120+-25" or "120".

        Raises:
            CardioDiTError: It is none of them.
        """
        match = _FORMS.fullmatch(text.strip().replace(" ", ""))
        if match is None:
            raise CardioDiTError(f"'{text}' is no distribution.", _HINT)
        one = float(match["one"])
        if match["two"] is None:
            return cls(one, one)
        two = float(match["two"])
        return cls(one, two) if match["kind"] == ":" else cls(mean=one, sd=two)

    def value(self, u: float, quantity: SteeredQuantity) -> float:
        """The quantile `u`, 0 to 1, inside what the model has seen.

        Raises:
            CardioDiTError: No value, or of a range not each one, is inside.
        """
        low, high = quantity.low, quantity.high
        if self.low is not None and self.high is not None:
            if self.low < low or self.high > high:
                raise self._outside(quantity)
            value = self.low + u * (self.high - self.low)
        else:
            assert self.mean is not None and self.sd is not None
            normal = NormalDist(self.mean, self.sd)
            below, above = normal.cdf(low), normal.cdf(high)
            if above - below < 1e-6:
                raise self._outside(quantity)
            value = normal.inv_cdf(min(max(below + u * (above - below), 1e-12), 1 - 1e-12))
        return min(max(round(value, _DIGITS if quantity.unit else 0), low), high)

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}" if self.low is not None else f"{self.mean:g} ± {self.sd:g}"

    def _outside(self, quantity: SteeredQuantity) -> CardioDiTError:
        return CardioDiTError(
            f"{self} {quantity.unit}".rstrip() + f" is outside what the model has seen of the {quantity.meaning}.",
            f"Ask for {quantity.low:g} to {quantity.high:g} {quantity.unit}".rstrip() + ".",
        )


@dataclass(frozen=True)
class Distributions(Record):
    """What hearts of a cohort are drawn from.

    Args:
        classes: Share of each class, in any unit ("none" for hearts of no class); empty for none but these.
        quantities: By name of the quantity: its spread by class, "" for all classes that are not named.
    """

    record_name: ClassVar[str] = "distributions of a cohort"

    classes: dict[str, Positive]
    quantities: dict[str, dict[str, Spread]]


def parse_shares(text: str) -> dict[str, float]:
    """Read "NOR=0.4,DCM=0.6", or "NOR,DCM" for equal shares.

    Raises:
        CardioDiTError: It is not such a list, or a class is there twice.
    """
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, _, number = (piece.strip() for piece in part.partition("="))
        try:
            share = float(number or 1)
        except ValueError:
            share = 0.0
        if not name or name in shares or not 0 < share < float("inf"):
            raise CardioDiTError(f"'{part.strip()}' is no share of a class.", "Write NOR=0.4,DCM=0.6, each class once.")
        shares[name] = share
    if not sum(shares.values()) < float("inf"):
        raise CardioDiTError(f"The shares of '{text}' are too large to add up.", "Write NOR=0.4,DCM=0.6.")
    return shares


def parse_spreads(text: str) -> dict[str, Spread]:
    """Read "80:160" or "NOR=80:160,DCM=220+-40".

    Raises:
        CardioDiTError: It is not such a list, or a class is there twice.
    """
    spreads: dict[str, Spread] = {}
    for part in text.split(","):
        name, equals, rest = part.rpartition("=")
        if (equals and not name.strip()) or name.strip() in spreads:
            raise CardioDiTError(f"'{text}' is no list of distributions.", _HINT)
        spreads[name.strip()] = Spread.parse(rest)
    return spreads


def draw_hearts(given: Distributions, count: int, seed: int, manifest: BundleManifest) -> list[Heart]:
    """Draw the hearts of a cohort; heart n has number n of the seed.

    Args:
        given: What from.
        count: How many.
        seed: Any whole number from 0 on.
        manifest: Of the bundle.

    Raises:
        CardioDiTError: The model has no such class or quantity, or has not seen such values.
    """
    classes = _classes(given.classes, manifest)
    known = {one.name: one for one in manifest.quantities}
    spreads = {name: _spreads(name, by_class, known, classes, manifest) for name, by_class in given.quantities.items()}
    hearts = []
    for number, pathology in enumerate(_in_shares(classes, count)):
        asked: dict[str, Any] = {}
        for name in QUANTITY_NAMES:
            by_class = spreads.get(name, {})
            spread = by_class.get(pathology or ANY_CLASS, by_class.get(""))
            if spread is not None:
                asked[name] = spread.value(_uniform(seed, number, name), known[name])
        hearts.append(Heart(number, seed, number, pathology, **asked))
    return hearts


def _classes(shares: Mapping[str, float], manifest: BundleManifest) -> dict[str | None, float]:
    if not shares:
        return {None: 1.0}
    named: dict[str | None, float] = {}
    for name, share in shares.items():
        known = _class_name(name, manifest)
        if known in named:
            raise CardioDiTError(f"The class '{name}' is there twice.", "Give each class once.")
        named[known] = share
    return named


def _class_name(name: str, manifest: BundleManifest) -> str | None:
    return None if name.lower() == ANY_CLASS else manifest.class_names[manifest.label_of(name)]


def _spreads(
    name: str,
    by_class: Mapping[str, Spread],
    known: Mapping[str, SteeredQuantity],
    classes: Mapping[str | None, float],
    manifest: BundleManifest,
) -> dict[str, Spread]:
    if name not in known:
        raise CardioDiTError(
            f"The bundle '{manifest.name}' cannot be asked for '{name}'.",
            f"It can be steered by {', '.join(known) or 'nothing'}.",
        )
    found: dict[str, Spread] = {}
    for key, spread in by_class.items():
        pathology = None if not key else _class_name(key, manifest)
        if key and pathology not in classes:
            raise CardioDiTError(f"No heart of class '{key}' is asked for.", "Give it a share, or leave it out.")
        found[(pathology or ANY_CLASS) if key else ""] = spread
        for end in (0.0, 1.0):  # told now, not at the heart that would ask for it
            spread.value(end, known[name])
    return found


def _in_shares(classes: Mapping[str | None, float], count: int) -> Sequence[str | None]:
    """Classes one after the other, so that the first n hearts hold each as its share says, to within one."""
    total = sum(classes.values())
    given = dict.fromkeys(classes, 0)
    order = []
    for number in range(1, count + 1):
        behind = max(classes, key=lambda name: number * classes[name] / total - given[name])
        given[behind] += 1
        order.append(behind)
    return order


def _uniform(seed: int, number: int, name: str) -> float:
    """A number between 0 and 1, neither included, that these three decide."""
    digest = hashlib.sha256(f"cardiodit cohort {seed} {number} {name}".encode("ascii")).digest()
    return (int.from_bytes(digest[:8], "big") + 0.5) / 2**64

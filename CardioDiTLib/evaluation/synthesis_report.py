"""What a comparison of a synthetic cohort with a real one gives."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.evaluation.quantity_comparison import QuantityComparison
from CardioDiTLib.evaluation.set_number import SetNumber
from CardioDiTLib.version import __version__

SCHEMA = "cardiodit-synthesis-report-1"

_COUNTS = (
    *("n_real", "n_synthetic", "n_real_labelled", "n_synthetic_labelled"),
    *("neighbours", "resamples", "seed"),
)
_WORDS = ("real_name", "synthetic_name", "centre", "version")
_HINT = "Give the JSON that 'cardiodit evaluate synthesis' wrote."


@dataclass(frozen=True, repr=False)
class SynthesisReport:
    """A synthetic cohort beside a real one.

    Attributes:
        real_name: Of the real cohort.
        synthetic_name: Of the synthetic cohort.
        n_real: Real cines.
        n_synthetic: Synthetic cines.
        n_real_labelled: Real cines with labels.
        n_synthetic_labelled: Synthetic cines with labels.
        neighbours: k of precision, recall, density and coverage.
        resamples: Random halves of each floor.
        seed: Of the resampling.
        centre: Where the heart box lay: on the middle of the "picture" or on the "heart".
        quantities: Physiology and coherence, over all cines and then by group.
        sets: "physiology" or the name of a feature, to the name of a number, to the number.
        duplicates: Names of synthetic cines that are copies of each other, or nearly.
        duplicate_limit: Distance below which two are; NaN where the real cohort is too small to tell.
        notes: What the reader should know, one sentence each.
        version: Version of this software.
    """

    real_name: str
    synthetic_name: str
    n_real: int
    n_synthetic: int
    n_real_labelled: int
    n_synthetic_labelled: int
    neighbours: int
    resamples: int
    seed: int
    centre: str
    quantities: tuple[QuantityComparison, ...]
    sets: dict[str, dict[str, SetNumber]]
    duplicates: tuple[tuple[str, str], ...]
    duplicate_limit: float
    notes: tuple[str, ...] = ()
    version: str = __version__

    def __repr__(self) -> str:
        """One line; `evaluation.to_text` gives all."""
        outside = sum(one.distance.within_floor is False for one in self.quantities if not one.group)
        return (
            f"SynthesisReport({self.n_synthetic} synthetic cines beside {self.n_real} real ones, "
            f"{outside} quantities outside of their floor)"
        )

    def quantity(self, field: str, group: str = "") -> QuantityComparison:
        """One quantity, over all cines or in one group.

        Raises:
            CardioDiTError: It was not compared.
        """
        for one in self.quantities:
            if (one.field, one.group) == (field, group):
                return one
        where = f" in group '{group}'" if group else ""
        raise CardioDiTError(f"The report has no quantity '{field}'{where}.", "Look at 'quantities' for what it has.")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; NaN becomes None."""
        result: dict[str, Any] = {"schema": SCHEMA}
        result |= {entry.name: getattr(self, entry.name) for entry in fields(self)}
        result["quantities"] = [one.to_dict() for one in self.quantities]
        result["sets"] = {key: {n: number.to_dict() for n, number in part.items()} for key, part in self.sets.items()}
        result["duplicates"] = [list(pair) for pair in self.duplicates]
        result["duplicate_limit"] = self.duplicate_limit if math.isfinite(self.duplicate_limit) else None
        result["notes"] = list(self.notes)
        return result

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SynthesisReport:
        """The inverse of :meth:`to_dict`.

        Raises:
            CardioDiTError: Another schema, a field that is missing or not known, or a value of the wrong kind.
        """
        if values.get("schema") != SCHEMA:
            raise CardioDiTError(f"The schema {values.get('schema')!r} is no synthesis report.", _HINT)
        wrong = sorted({entry.name for entry in fields(cls)} ^ (set(values) - {"schema"}))
        if wrong:
            raise CardioDiTError(f"The field '{wrong[0]}' of a synthesis report is missing or not known.", _HINT)
        try:
            plain: dict[str, Any] = {key: int(values[key]) for key in _COUNTS}
            words: dict[str, Any] = {
                key: str(values[key]) for key in ("real_name", "synthetic_name", "centre", "version")
            }
            limit = values["duplicate_limit"]
            return cls(
                **plain,
                **words,
                quantities=tuple(QuantityComparison.from_dict(one) for one in values["quantities"]),
                sets={
                    key: {name: SetNumber.from_dict(number) for name, number in part.items()}
                    for key, part in values["sets"].items()
                },
                duplicates=tuple((str(one), str(other)) for one, other in values["duplicates"]),
                duplicate_limit=math.nan if limit is None else float(limit),
                notes=tuple(str(note) for note in values["notes"]),
            )
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise CardioDiTError(f"A synthesis report holds a value of the wrong kind: {error}.", _HINT) from error

"""When the network's answer counts as a point."""

from __future__ import annotations

from dataclasses import dataclass

from CardioDiTLib.bundles.manifest_parts import is_number
from CardioDiTLib.errors import CardioDiTError


@dataclass(frozen=True)
class PointRule:
    """Chosen once on cines that training had not seen, and kept with the weights.

    Args:
        presence: A point is given where the network holds it for at least so likely; 0 to 1. For the published network:
            pixels above it belong to the blob.
        window_mm: Radius of the disc whose weighted mean is the point (our network).
        largest_component: Only the largest piece of a blob counts (published network).

    Raises:
        CardioDiTError: A value is out of range.
    """

    presence: float = 0.5
    window_mm: float = 7.5
    largest_component: bool = True

    def __post_init__(self) -> None:
        hint = "Get the model's folder again."
        if not is_number(self.presence) or not 0 <= self.presence <= 1:
            raise CardioDiTError(f"The presence {self.presence!r} is not between 0 and 1.", hint)
        if not is_number(self.window_mm) or not 1 <= self.window_mm <= 100:
            raise CardioDiTError(f"The window {self.window_mm!r} is not 1 to 100 mm.", hint)
        if not isinstance(self.largest_component, bool):
            raise CardioDiTError(f"'largest_component' is {self.largest_component!r}, not true or false.", hint)

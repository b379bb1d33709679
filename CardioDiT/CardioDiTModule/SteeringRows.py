from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import qt
from slicer.i18n import tr as _

from .SteeringRow import SteeringRow

HEART_RATE = "heart_rate_bpm"
SLOWEST_BPM, FASTEST_BPM = 30.0, 200.0
"""What a request takes: beats of 2 s to 0.3 s."""


class SteeringRows:
    """One row a quantity that a model can be steered by, and one for the heart rate, which every model can be given: it
    sets the times of the frames alone.

    Args:
        frame: An empty widget for them.
        onChanged: () when what is asked for has changed.

    Attributes:
        rows: By the name of the quantity.
    """

    def __init__(self, frame: Any, onChanged: Callable[[], None]) -> None:
        self._onChanged = onChanged
        self._layout = qt.QVBoxLayout(frame)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._quantities: list[dict[str, Any]] | None = None
        self.rows: dict[str, SteeringRow] = {}
        self.fill([], {})

    def fill(self, quantities: list[dict[str, Any]], asked: Mapping[str, float]) -> None:
        """Show rows for the quantities of a model.

        Args:
            quantities: As in its manifest; empty where it cannot be steered.
            asked: Values by name; what is absent may be any, what has no row is not shown.
        """
        if quantities != self._quantities:
            for row in self.rows.values():
                self._layout.removeWidget(row.widget)
                row.widget.setParent(None)
                row.widget.deleteLater()
            self._quantities = quantities
            self.rows = {}
            for quantity in [*quantities, heartRate()]:
                row = SteeringRow(quantity, self._onChanged)
                self.rows[row.name] = row
                self._layout.addWidget(row.widget)
        for name, row in self.rows.items():
            row.setValue(asked.get(name))

    def asked(self) -> dict[str, float]:
        """Values by name, the heart rate among them; only those that are not any."""
        values = {name: row.value() for name, row in self.rows.items()}
        return {name: value for name, value in values.items() if value is not None}

    def quantities(self) -> dict[str, float]:
        """The same without the heart rate: what the model is steered by."""
        return {name: value for name, value in self.asked().items() if name != HEART_RATE}

    def request(self) -> dict[str, float]:
        """Entries of a `CardioDiTLib.GenerationRequest`."""
        rate = self.asked().get(HEART_RATE)
        return {**self.quantities(), **({} if rate is None else {"cycle_s": 60.0 / rate})}


def heartRate() -> dict[str, Any]:
    """The heart rate as if a model could be steered by it."""
    return {
        "name": HEART_RATE,
        "meaning": _("heart rate"),
        "unit": _("beats/min"),
        "low": SLOWEST_BPM,
        "high": FASTEST_BPM,
        "start": 70.0,
        # no beat is less sure than another one: its shape stays as it is
        "usual_low": SLOWEST_BPM,
        "usual_high": FASTEST_BPM,
    }

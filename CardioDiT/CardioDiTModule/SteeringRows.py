from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import ctk
import qt
from slicer.i18n import tr as _


class SteeringRow:
    """Widgets for one quantity that a heart can be asked to have: any, or a number within the range that the model has
    seen; a hint where few of its training hearts were like that.

    Args:
        quantity: name, meaning, unit, low, high, usual_low, usual_high, as in a bundle's manifest; ``start``, which the
            slider shows first, may be absent.
        onChanged: () when the user, or the code, changes it.

    Attributes:
        name: Of the quantity.
        widget: All of it.
        any, slider, hint: Its parts.
    """

    def __init__(self, quantity: dict[str, Any], onChanged: Callable[[], None]) -> None:
        self.name = str(quantity["name"])
        self._quantity, self._onChanged = quantity, onChanged
        unit, meaning = str(quantity["unit"]), str(quantity["meaning"])
        self._unit = f" {unit}" if unit else ""
        low, high, self._decimals = shownRange(float(quantity["low"]), float(quantity["high"]), bool(unit))
        self._usual = (float(quantity["usual_low"]), float(quantity["usual_high"]))

        self.widget = qt.QWidget()
        layout = qt.QGridLayout(self.widget)
        layout.setContentsMargins(0, 0, 0, 0)
        title = qt.QLabel((meaning[:1].upper() + meaning[1:]) + (f" ({unit}):" if unit else ":"))
        self.any = qt.QCheckBox(_("any"))
        self.any.checked = True
        self.any.toolTip = _("Let the model choose")
        self.slider = ctk.ctkSliderWidget()
        self.slider.decimals = self._decimals
        self.slider.singleStep = 10.0**-self._decimals
        self.slider.maximum = high
        self.slider.minimum = low
        self.slider.value = min(high, max(low, float(quantity.get("start", sum(self._usual) / 2))))
        self.slider.enabled = False
        self.slider.toolTip = _("{low:g} to {high:g}{unit}").format(low=low, high=high, unit=self._unit)
        self.hint = qt.QLabel("")
        self.hint.toolTip = _("The model has seen few hearts beyond: measure what comes out")
        self.hint.setVisible(False)
        layout.addWidget(title, 0, 0, 1, 2)
        layout.addWidget(self.any, 1, 0)
        layout.addWidget(self.slider, 1, 1)
        layout.addWidget(self.hint, 2, 0, 1, 2)
        layout.setColumnStretch(1, 1)
        self.any.connect("toggled(bool)", self._onAny)
        self.slider.connect("valueChanged(double)", self._onValue)

    def value(self) -> float | None:
        """What is asked for, None for any."""
        return None if self.any.checked else round(float(self.slider.value), self._decimals)

    def setValue(self, value: float | None) -> None:
        """Show what is asked for; beyond the range it becomes the end of the range."""
        if value is not None:
            self.slider.value = value
        self.any.checked = value is None
        self._showHint()

    def _onAny(self, checked: bool) -> None:
        self.slider.enabled = not checked
        self._showHint()
        self._onChanged()

    def _onValue(self, _value: float) -> None:
        self._showHint()
        self._onChanged()

    def _showHint(self) -> None:
        value = self.value()
        low, high = self._usual
        unusual = value is not None and not low <= value <= high
        self.hint.text = (
            _("Unusual: most hearts have {low:g} to {high:g}{unit}.").format(low=low, high=high, unit=self._unit)
            if unusual
            else ""
        )
        self.hint.setVisible(unusual)


def shownRange(low: float, high: float, isMeasure: bool) -> tuple[float, float, int]:
    """Ends of a range as a slider has them, never beyond it, and decimals: whole numbers where there are enough, and
    for what is counted.
    """
    for decimals in (0, 1, 2) if high - low >= 20 or not isMeasure else (1, 2):
        scale = 10**decimals
        inner = (math.ceil(low * scale) / scale, math.floor(high * scale) / scale)
        if inner[0] < inner[1]:
            return (*inner, decimals)
    return low, high, 6


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
            quantities: As in its manifest; empty where it cannot be steered. One that all of its training hearts have
                alike is no choice, and not shown.
            asked: Values by name; what is absent may be any, what has no row is not shown.
        """
        if quantities != self._quantities:
            for row in self.rows.values():
                self._layout.removeWidget(row.widget)
                row.widget.setParent(None)
                row.widget.deleteLater()
            self._quantities = quantities
            self.rows = {}
            for quantity in [*(one for one in quantities if one["low"] < one["high"]), heartRate()]:
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

"""CTK's sliders and number fields."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QDoubleSpinBox, QHBoxLayout, QSlider

from slicer_standin.widgets.behaviours import behaviour


def _row(widget, *parts):
    """Put widgets side by side in a widget, without margins."""
    layout = QHBoxLayout(widget)
    layout.setContentsMargins(0, 0, 0, 0)
    for part in parts:
        layout.addWidget(part)


@behaviour
class _ctkSliderWidget:
    """A slider and a spin box that show one number."""

    def _init(self):
        self._values |= {"minimum": 0.0, "maximum": 99.0, "value": 0.0, "singleStep": 1.0, "pageStep": 10.0}
        self._values |= {"decimals": 2, "tracking": True, "spinBoxVisible": True}
        self._slider, self._box = QSlider(Qt.Horizontal), QDoubleSpinBox()
        self._showing = False
        _row(self, self._slider, self._box)
        self._refresh()
        self._slider.valueChanged.connect(self._slid)
        self._box.valueChanged.connect(self._typed)

    def _step(self):
        return self._values["singleStep"] or 1.0

    def _slid(self, position):
        if not self._showing:
            self.setValue(self._values["minimum"] + position * self._step())

    def _typed(self, value):
        if not self._showing:
            self.setValue(value)

    def _refresh(self, _changed=None):
        """Give both parts the range, then fit the value to it."""
        values, self._showing = self._values, True
        self._slider.setRange(0, max(0, round((values["maximum"] - values["minimum"]) / self._step())))
        self._box.setDecimals(int(values["decimals"]))
        self._box.setRange(values["minimum"], values["maximum"])
        self._box.setSingleStep(values["singleStep"])
        self._showing = False
        self._show(values["value"])

    def _show(self, value):
        """Show a value, fitted to range and decimals; tell whether it is another one than before."""
        values = self._values
        fitted = round(min(max(float(value), values["minimum"]), values["maximum"]), int(values["decimals"]))
        self._showing = True
        self._slider.setValue(round((fitted - values["minimum"]) / self._step()))
        self._box.setValue(fitted)
        self._showing = False
        values["value"] = fitted
        if fitted != getattr(self, "_last", 0.0):
            self._last = fitted
            self.valueChanged.emit(fitted)

    _on_minimum = _on_maximum = _on_singleStep = _refresh

    def _on_decimals(self, decimals):
        self._refresh()
        self.decimalsChanged.emit(decimals)

    def _on_suffix(self, suffix):
        self._box.setSuffix(suffix)

    def _on_prefix(self, prefix):
        self._box.setPrefix(prefix)

    def _on_spinBoxVisible(self, visible):
        self._box.setVisible(visible)

    def _on_value(self, value):
        self._show(value)

    def setValue(self, value):
        self._show(value)

    def reset(self):
        self._show(self._values["minimum"])


class _Range:
    """Two spin boxes that hold a range within bounds."""

    def _init(self):
        self._values |= {"minimum": 0.0, "maximum": 99.0, "minimumValue": 0.0, "maximumValue": 99.0}
        self._values |= {"singleStep": 1.0, "decimals": 2}
        self._low, self._high, self._showing = QDoubleSpinBox(), QDoubleSpinBox(), False
        self._last = (0.0, 99.0)
        _row(self, self._low, self._high)
        self._show()
        self._low.valueChanged.connect(self._low_typed)
        self._high.valueChanged.connect(self._high_typed)

    def _low_typed(self, value):
        if not self._showing:
            self.setValues(value, self._values["maximumValue"])

    def _high_typed(self, value):
        if not self._showing:
            self.setValues(self._values["minimumValue"], value)

    def _show(self):
        values, self._showing = self._values, True
        for box, name in ((self._low, "minimumValue"), (self._high, "maximumValue")):
            box.setRange(values["minimum"], values["maximum"])
            box.setSingleStep(values["singleStep"])
            box.setValue(values[name])
        self._showing = False

    def _refit(self, _changed=None):
        self.setValues(self._values["minimumValue"], self._values["maximumValue"])

    _on_minimum = _on_maximum = _on_singleStep = _refit

    def _on_minimumValue(self, value):
        self.setValues(value, self._values["maximumValue"])

    def _on_maximumValue(self, value):
        self.setValues(self._values["minimumValue"], value)

    def setMinimumValue(self, value):
        self._on_minimumValue(value)

    def setMaximumValue(self, value):
        self._on_maximumValue(value)

    def setValues(self, low, high):
        values = self._values
        low = min(max(float(low), values["minimum"]), values["maximum"])
        high = min(max(float(high), low), values["maximum"])
        values["minimumValue"], values["maximumValue"] = low, high
        self._show()
        previous, self._last = self._last, (low, high)
        if self._last == previous:
            return
        self.valuesChanged.emit(low, high)
        if low != previous[0]:
            self.minimumValueChanged.emit(low)
        if high != previous[1]:
            self.maximumValueChanged.emit(high)

    def setRange(self, low, high):
        self._values["minimum"], self._values["maximum"] = float(low), float(high)
        self._refit()
        self.rangeChanged.emit(float(low), float(high))


@behaviour
class _ctkRangeWidget(_Range):
    """Behaviours are read off their own class, so what is shared is repeated by name."""

    locals().update({name: value for name, value in vars(_Range).items() if not name.startswith("__")})


@behaviour
class _ctkDoubleRangeSlider:
    """The same without the number fields of the real widget in between."""

    locals().update({name: value for name, value in vars(_Range).items() if not name.startswith("__")})


@behaviour
class _ctkDoubleSpinBox:
    """A spin box for a number."""

    def _init(self):
        self._values |= {"minimum": 0.0, "maximum": 99.99, "value": 0.0, "singleStep": 1.0, "decimals": 2}
        self._box = QDoubleSpinBox()
        _row(self, self._box)
        self._box.valueChanged.connect(self._typed)

    def _typed(self, value):
        self._values["value"] = value
        self.valueChanged[float].emit(value)

    def _on_minimum(self, value):
        self._box.setMinimum(value)

    def _on_maximum(self, value):
        self._box.setMaximum(value)

    def _on_singleStep(self, value):
        self._box.setSingleStep(value)

    def _on_decimals(self, decimals):
        self._box.setDecimals(decimals)

    def _on_suffix(self, suffix):
        self._box.setSuffix(suffix)

    def _on_value(self, value):
        self._box.setValue(value)

    def _get_value(self):
        return self._box.value

    def setValue(self, value):
        self._box.setValue(value)

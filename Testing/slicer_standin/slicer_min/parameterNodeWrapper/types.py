"""Types for parameters that Python does not have."""

from __future__ import annotations

from .parameterPack import parameterPack


@parameterPack
class FloatRange:
    """Two numbers, the first not above the second."""

    _minimum: float
    _maximum: float

    def __init__(self, minimum=0, maximum=0):
        self.setRange(minimum, maximum)

    @staticmethod
    def checkRange(minimum, maximum):
        """ValueError if the numbers are in the wrong order."""
        if not minimum <= maximum:
            raise ValueError(f"FloatRange must have minimum <= maximum: {minimum} <= {maximum}")

    @property
    def minimum(self):
        return self._minimum

    @minimum.setter
    def minimum(self, value):
        self.setRange(value, self._maximum)

    @property
    def maximum(self):
        return self._maximum

    @maximum.setter
    def maximum(self, value):
        self.setRange(self._minimum, value)

    def setRange(self, minimum, maximum):
        """Change both."""
        self.checkRange(minimum, maximum)
        self._minimum = minimum
        self._maximum = maximum

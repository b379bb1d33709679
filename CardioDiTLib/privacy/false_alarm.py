"""The rate of false alarms: which share of novel patients may be called copies."""

from __future__ import annotations

from CardioDiTLib.errors import CardioDiTError

FALSE_ALARM = 0.05
"""Of an audit, of a gate and of the published rule, where nothing else is asked for."""

FALSE_ALARMS = (0.01, FALSE_ALARM, 0.1)
"""Rates whose thresholds the description of a bundle holds."""


def check_rate(false_alarm: float) -> None:
    """Refuse what is no rate of false alarms.

    Raises:
        CardioDiTError: Not a number between 0 and 1.
    """
    if not 0 < false_alarm < 1:
        raise CardioDiTError(f"The false-alarm rate is {false_alarm!r}.", "Give a share between 0 and 1, such as 0.05.")

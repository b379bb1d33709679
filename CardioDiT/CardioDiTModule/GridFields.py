from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

FEWEST_SLICES, FEWEST_FRAMES = 1, 2
"""What a request takes."""


class GridFields:
    """How many slices and frames hearts are to have: shown only for models that make other grids than their own.

    Args:
        ui: The module's widgets.
        onChanged: () when the user, or the code, changes a number.
    """

    def __init__(self, ui: Any, onChanged: Callable[[], None]) -> None:
        self._label, self._onChanged = ui.gridLabel, onChanged
        self._spins = {"slices": ui.slicesSpin, "frames": ui.framesSpin}
        self._widgets = (ui.slicesLabel, ui.slicesSpin, ui.framesLabel, ui.framesSpin, ui.gridLabel)
        self._own: dict[str, int] = {}
        self._filling = False
        for spin in self._spins.values():
            spin.connect("valueChanged(int)", self._onValue)
        self._show(False)

    def fill(self, model: dict[str, Any] | None, wanted: dict[str, int]) -> None:
        """Show the numbers for a model.

        Args:
            model: As the worker describes it; None for none.
            wanted: Slices and frames that are wanted, 0 for the model's own; beyond what the model makes they become
                the most it makes.
        """
        most, shape = (model or {}).get("other_grids"), (model or {}).get("shape")
        self._own = {"slices": int(shape[1]), "frames": int(shape[0])} if most and shape else {}
        self._show(bool(self._own))
        if not self._own:
            return
        self._filling = True
        for name, fewest in (("slices", FEWEST_SLICES), ("frames", FEWEST_FRAMES)):
            spin = self._spins[name]
            spin.minimum, spin.maximum = fewest, int(most[name])
            spin.value = wanted[name] or self._own[name]
        self._filling = False
        self._label.text = _(
            "This model makes {fewestSlices} to {slices} slices and {fewestFrames} to {frames} frames; its own are "
            "{ownSlices} and {ownFrames}."
        ).format(
            fewestSlices=FEWEST_SLICES,
            slices=most["slices"],
            fewestFrames=FEWEST_FRAMES,
            frames=most["frames"],
            ownSlices=self._own["slices"],
            ownFrames=self._own["frames"],
        )

    def isShown(self) -> bool:
        """Whether the model makes other grids."""
        return bool(self._own)

    def wanted(self) -> dict[str, int]:
        """Slices and frames as they are saved: 0 for the model's own."""
        return {name: 0 if spin.value == self._own.get(name) else int(spin.value) for name, spin in self._spins.items()}

    def request(self) -> dict[str, int]:
        """Entries of a `CardioDiTLib.GenerationRequest`: only what differs from the model's own grid."""
        return {name: value for name, value in self.wanted().items() if value} if self._own else {}

    def _show(self, shown: bool) -> None:
        for widget in self._widgets:
            widget.setVisible(shown)

    def _onValue(self, _value: int) -> None:
        if not self._filling:
            self._onChanged()

"""PySide6 made to behave like PythonQt, the binding that Slicer uses.

Properties are attributes (`label.text`, not `label.text()`), signals are connected by their C++ signature, and names
that PythonQt does not offer are errors. The order in which PythonQt looks a name up: property, then slot, invokable or
decorator, then enumeration.
"""

from __future__ import annotations

from slicer_standin.pythonqt.exceptions import errors
from slicer_standin.pythonqt.installation import install

__all__ = ["errors", "install"]

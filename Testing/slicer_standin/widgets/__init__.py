"""Stand-ins of the ctk*, qMRML* and qSlicer* classes.

Their shape (bases, properties, signals, methods) comes from the facts; behaviour is written here for the classes that
need it. What the real class has and a stand-in does not do raises NotImplementedError; what the real class does not
show to Python is an AttributeError, as with PythonQt.
"""

from __future__ import annotations

from slicer_standin.widgets.factory import stand_in, use_facts
from slicer_standin.widgets.ui_check import check_element

__all__ = ["check_element", "stand_in", "use_facts"]

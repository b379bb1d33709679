"""Connections between a parameter and a widget, for the pairs of type and widget that Slicer knows."""

from __future__ import annotations

import abc
import enum
import logging
from dataclasses import dataclass

import ctk
import qt
import slicer

from .serializers import PATH_TYPES
from .types import FloatRange
from .util import findFirstAnnotation, getNodeTypes, isNodeOrUnionOfNodes, splitAnnotations, unannotatedType
from .validators import Choice, Maximum, Minimum, RangeBounds, WithinRange

SlicerPackParameterNamePropertyName = "SlicerPackParameterName"
LOWEST_INT, HIGHEST_INT = -(2**31), 2**31 - 1


@dataclass
class Decimals:
    """How many decimals the widget shows."""

    value: int


@dataclass
class SingleStep:
    """The step of the widget."""

    value: float | int


class GuiConnector(abc.ABC):
    """Reads and writes a widget, and tells when the user changed it."""

    @staticmethod
    @abc.abstractmethod
    def canRepresent(widget, datatype):
        """Whether this connector fits."""

    @classmethod
    def create(cls, widget, datatype):
        """The connector for a widget and a type."""
        return cls(widget, datatype) if cls.canRepresent(widget, datatype) else None

    def __init__(self, widget, datatype):
        self._widget = widget
        self._type, self._annotations = splitAnnotations(datatype)
        self._callback = None

    def onChanged(self, callback):
        """Call a function when the user changes the widget; None ends that."""
        self._callback = callback
        if callback is None:
            self._signal().disconnect(self.changed)
        else:
            self._signal().connect(self.changed)

    def changed(self):
        """The slot of the widget's signal."""
        if self._callback:
            self._callback()

    def widget(self):
        """The widget."""
        return self._widget

    @abc.abstractmethod
    def _signal(self):
        """The signal that tells of changes."""

    @abc.abstractmethod
    def read(self):
        """The value that the widget shows."""

    @abc.abstractmethod
    def write(self, value):
        """Show a value."""


_registered: list[type[GuiConnector]] = []


def parameterNodeGuiConnector(classtype=None):
    """Class decorator: register a connector."""

    def register(cls):
        if not issubclass(cls, GuiConnector):
            raise TypeError("Must be a GuiConnector subclass")
        _registered.append(cls)
        return cls

    return register if classtype is None else register(classtype)


def createGuiConnector(widget, datatype):
    """The connector for a widget and a type; RuntimeError if there is none."""
    for candidate in _registered:
        if candidate.canRepresent(widget, datatype):
            return candidate.create(widget, datatype)
    raise RuntimeError(f"Unable to create GUI connector from datatype '{datatype}' to widget type '{type(widget)}'")


def _is(widget, datatype, widget_types, value_types):
    """Exactly these classes: a derived widget is not accepted."""
    return type(widget) in widget_types and unannotatedType(datatype) in value_types


@parameterNodeGuiConnector
class QCheckBoxToBoolConnector(GuiConnector):
    """bool and a check box."""

    @staticmethod
    def canRepresent(widget, datatype):
        return _is(widget, datatype, (qt.QCheckBox,), (bool,))

    def _signal(self):
        return self._widget.stateChanged

    def read(self):
        return self._widget.checked

    def write(self, value):
        self._widget.checked = value


@parameterNodeGuiConnector
class QCheckablePushButtonToBoolConnector(GuiConnector):
    """bool and a push button, which is made checkable."""

    @staticmethod
    def canRepresent(widget, datatype):
        return _is(widget, datatype, (qt.QPushButton,), (bool,))

    def __init__(self, widget, datatype):
        super().__init__(widget, datatype)
        if not widget.checkable:
            logging.warning("Making push button %s checkable", widget.name)
            widget.checkable = True

    def _signal(self):
        return self._widget.toggled

    def read(self):
        return self._widget.checked

    def write(self, value):
        self._widget.checked = value


class _NumberConnector(GuiConnector):
    """A number; the limits of the type become those of the widget, whatever the .ui says."""

    lowest: float = float("-inf")
    highest: float = float("inf")

    def __init__(self, widget, datatype):
        super().__init__(widget, datatype)
        for annotation, attribute in ((Decimals, "decimals"), (SingleStep, "singleStep")):
            found = findFirstAnnotation(self._annotations, annotation)
            if found is not None:
                setattr(widget, attribute, found.value)
        lowest, highest = self._limits()
        keeps = self._keeps_limits()
        if lowest is not None or not keeps:
            widget.minimum = self.lowest if lowest is None else lowest
        if highest is not None or not keeps:
            widget.maximum = self.highest if highest is None else highest

    def _limits(self):
        """Lowest and highest allowed value; None where there is none."""
        within = findFirstAnnotation(self._annotations, WithinRange)
        if within is not None:
            return within.minimum, within.maximum
        minimum = findFirstAnnotation(self._annotations, Minimum)
        maximum = findFirstAnnotation(self._annotations, Maximum)
        return minimum and minimum.minimum, maximum and maximum.maximum

    def _keeps_limits(self):
        """A slider without limits would be none: where the type has none, those of the .ui stay."""
        return isinstance(self._widget, qt.QSlider | ctk.ctkSliderWidget)

    def _signal(self):
        return self._widget.valueChanged

    def read(self):
        return self._widget.value

    def write(self, value):
        self._widget.value = value


@parameterNodeGuiConnector
class QSliderOrSpinBoxToIntConnector(_NumberConnector):
    """int and a slider or spin box."""

    lowest, highest = LOWEST_INT, HIGHEST_INT

    @staticmethod
    def canRepresent(widget, datatype):
        return _is(widget, datatype, (qt.QSlider, qt.QSpinBox), (int,))


@parameterNodeGuiConnector
class QDoubleSpinBoxCtkSliderWidgetToFloatIntConnector(_NumberConnector):
    """A number and a spin box with decimals or CTK's slider."""

    @staticmethod
    def canRepresent(widget, datatype):
        return _is(widget, datatype, (qt.QDoubleSpinBox, ctk.ctkSliderWidget), (float, int))

    def read(self):
        return self._type(self._widget.value)


class _ComboBoxConnector(GuiConnector):
    """One of some values, each with a text."""

    def __init__(self, widget, datatype):
        super().__init__(widget, datatype)
        self._values = self._choices()
        widget.clear()
        for value in self._values:
            widget.addItem(self._label(value))

    @abc.abstractmethod
    def _choices(self):
        """The values, in the order of the list."""

    def _label(self, value):
        return str(value)

    def _signal(self):
        return self._widget.currentIndexChanged

    def read(self):
        return self._values[self._widget.currentIndex]

    def write(self, value):
        if value not in self._values:
            raise ValueError(f"Unable to find value {value} in choices {self._values}")
        self._widget.currentIndex = self._values.index(value)


@parameterNodeGuiConnector
class QComboBoxToStringableConnector(_ComboBoxConnector):
    """Values given by the annotation Choice."""

    @staticmethod
    def canRepresent(widget, datatype):
        return _is(widget, datatype, (qt.QComboBox,), (int, float, str, bool))

    def _choices(self):
        choice = findFirstAnnotation(self._annotations, Choice)
        if choice is None:
            raise RuntimeError("ComboBoxToStringableConnector requires the Choice annotation to be used.")
        return list(choice.choices)


@parameterNodeGuiConnector
class QComboBoxToEnumConnector(_ComboBoxConnector):
    """The members of an enumeration; a method label() gives their texts."""

    @staticmethod
    def canRepresent(widget, datatype):
        bare = unannotatedType(datatype)
        return type(widget) is qt.QComboBox and isinstance(bare, type) and issubclass(bare, enum.Enum)

    def _choices(self):
        return list(self._type)

    def _label(self, value):
        return value.label() if hasattr(self._type, "label") else value.name


@parameterNodeGuiConnector
class QLineEditToStrConnector(GuiConnector):
    """str and a line edit."""

    @staticmethod
    def canRepresent(widget, datatype):
        return _is(widget, datatype, (qt.QLineEdit,), (str,))

    def _signal(self):
        return self._widget.textChanged

    def read(self):
        return self._widget.text

    def write(self, value):
        # Setting the same text again would move the cursor while the user types.
        if self._widget.text != value:
            self._widget.text = value


@parameterNodeGuiConnector
class QLabelToStrConnector(GuiConnector):
    """str and a label, which the user cannot change."""

    @staticmethod
    def canRepresent(widget, datatype):
        return _is(widget, datatype, (qt.QLabel,), (str,))

    def onChanged(self, callback):
        self._callback = callback

    def _signal(self):
        raise NotImplementedError("a label has no such signal")

    def read(self):
        return self._widget.text

    def write(self, value):
        self._widget.text = value


@parameterNodeGuiConnector
class QTextEditPlainTextToStrConnector(GuiConnector):
    """str and a text edit."""

    @staticmethod
    def canRepresent(widget, datatype):
        return _is(widget, datatype, (qt.QTextEdit,), (str,))

    def _signal(self):
        return self._widget.textChanged

    def read(self):
        return self._widget.toPlainText()

    def write(self, value):
        if self._widget.toPlainText() != value:
            self._widget.setPlainText(value)


@parameterNodeGuiConnector
class ctkRangeWidgetToRangeConnector(GuiConnector):
    """A range and CTK's range widget; the annotation RangeBounds is needed."""

    @staticmethod
    def canRepresent(widget, datatype):
        return _is(widget, datatype, (ctk.ctkRangeWidget,), (FloatRange,))

    def __init__(self, widget, datatype):
        super().__init__(widget, datatype)
        bounds = findFirstAnnotation(self._annotations, RangeBounds)
        if bounds is None:
            raise RuntimeError("Cannot have a connection to ctkRangeWidget where the range is unbounded.")
        widget.setRange(bounds.minimum, bounds.maximum)
        for annotation, attribute in ((Decimals, "decimals"), (SingleStep, "singleStep")):
            found = findFirstAnnotation(self._annotations, annotation)
            if found is not None:
                setattr(widget, attribute, found.value)

    def _signal(self):
        return self._widget.valuesChanged

    def read(self):
        return self._type(self._widget.minimumValue, self._widget.maximumValue)

    def write(self, value):
        self._widget.setValues(value.minimum, value.maximum)


@parameterNodeGuiConnector
class ctkPathLineEditToPathConnector(GuiConnector):
    """A path and CTK's path field."""

    @staticmethod
    def canRepresent(widget, datatype):
        return _is(widget, datatype, (ctk.ctkPathLineEdit,), PATH_TYPES)

    def _signal(self):
        return self._widget.currentPathChanged

    def read(self):
        return self._type(self._widget.currentPath)

    def write(self, value):
        self._widget.currentPath = str(value)


@parameterNodeGuiConnector
class ctkDirectoryButtonToPathConnector(GuiConnector):
    """A path and CTK's folder button."""

    @staticmethod
    def canRepresent(widget, datatype):
        return _is(widget, datatype, (ctk.ctkDirectoryButton,), PATH_TYPES)

    def _signal(self):
        return self._widget.directoryChanged

    def read(self):
        return self._type(self._widget.directory)

    def write(self, value):
        self._widget.directory = str(value)


@parameterNodeGuiConnector
class qMRMLNodeComboBoxToNodeConnector(GuiConnector):
    """A node and the list of nodes, which shows the classes of the type, whatever the .ui says."""

    @staticmethod
    def canRepresent(widget, datatype):
        return type(widget) is slicer.qMRMLNodeComboBox and isNodeOrUnionOfNodes(datatype)

    def __init__(self, widget, datatype):
        super().__init__(widget, datatype)
        widget.nodeTypes = getNodeTypes(datatype)

    def _signal(self):
        return self._widget.currentNodeChanged

    def read(self):
        return self._widget.currentNode()

    def write(self, value):
        self._widget.setCurrentNode(value)

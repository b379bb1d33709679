"""The class decorator that turns annotated members into parameters of a parameter node."""

from __future__ import annotations

import logging
import typing
import weakref

import qt
import slicer
import vtk

from .default import Default
from .guiConnectors import GuiConnector, createGuiConnector
from .parameterPack import ParameterInfo, checkMember, describeParameter
from .util import splitPossiblyDottedName, unannotatedType

SlicerParameterNamePropertyName = "SlicerParameterName"


class _Parameter:
    """One parameter in one node. Its value is kept here as well, until the node changes from elsewhere."""

    def __init__(self, info, node, prefix):
        self.info = info
        self.node = node
        self.name = f"{prefix or ''}{info.basename}"
        self.cached = info.serializer.supportsCaching()
        self._writing = False
        if not info.serializer.isIn(node, self.name):
            info.serializer.write(node, self.name, info.default.value)
        self._value = self._read_node() if self.cached else None
        self._tag = node.AddObserver(vtk.vtkCommand.ModifiedEvent, self._observer()) if self.cached else None

    def _observer(self):
        """An observer that does not keep this object alive."""
        reference = weakref.ref(self)

        def changed(_caller, _event):
            parameter = reference()
            if parameter is not None and not parameter._writing:
                parameter._value = parameter._read_node()

        return changed

    def __del__(self):
        if getattr(self, "_tag", None) is not None:
            self.node.RemoveObserver(self._tag)

    def _read_node(self):
        if not self.info.serializer.isIn(self.node, self.name):
            self.info.serializer.write(self.node, self.name, self.info.default.value)
        return self.info.serializer.read(self.node, self.name)

    def read(self):
        """The value."""
        return self._value if self.cached else self._read_node()

    def write(self, value):
        """Check and set the value; observers are called when it can be read back."""
        if not self.cached:
            self.info.serializer.write(self.node, self.name, value)
            return
        self._writing = True
        try:
            with slicer.util.NodeModify(self.node):
                self.info.serializer.write(self.node, self.name, value)
                self._value = self._read_node()
        finally:
            self._writing = False


def _check_name(wrapper, name):
    """ValueError if there is no such (dotted) parameter."""
    top, rest = splitPossiblyDottedName(name)
    if top not in wrapper.allParameters:
        raise ValueError(f"Cannot find a param with the given name: {top}; there are {list(wrapper.allParameters)}")
    if rest is not None:
        checkMember(unannotatedType(wrapper.allParameters[top].unalteredType), rest)


def _property(name):
    return property(
        lambda self: self._parameters[name].read(),
        lambda self, value: self._parameters[name].write(value),
    )


class _ParameterNodeMethods:
    """The methods that every parameter node wrapper gets."""

    def default(self, paramName):
        _check_name(self, paramName)
        return self.allParameters[paramName].default

    def isCached(self, paramName):
        _check_name(self, paramName)
        return self._parameters[paramName].cached

    def getValue(self, name):
        _check_name(self, name)
        top, rest = splitPossiblyDottedName(name)
        value = self._parameters[top].read()
        return value if rest is None else value.getValue(rest)

    def setValue(self, name, value):
        _check_name(self, name)
        top, rest = splitPossiblyDottedName(name)
        if rest is None:
            self._parameters[top].write(value)
        else:
            self._parameters[top].read().setValue(rest, value)

    def connectGui(self, gui):
        """Connect all widgets that carry a parameter's name; the returned tag is for disconnectGui."""
        is_widget = getattr(gui, "isWidgetType", lambda: False)()
        widgets = gui.findChildren(qt.QWidget) if is_widget else gui.__dict__.values()
        named = {widget.property(SlicerParameterNamePropertyName): widget for widget in widgets}
        return self.connectParametersToGui({name: widget for name, widget in named.items() if name})

    def connectParametersToGui(self, mapping):
        """Connect parameters, by name, to widgets or to connectors."""
        for name in mapping:
            _check_name(self, name)
        connectors = {
            name: entry if isinstance(entry, GuiConnector) else createGuiConnector(entry, self.dataType(name))
            for name, entry in mapping.items()
        }
        tag = self._next_tag
        self._next_tag += 1
        for name, connector in connectors.items():
            connector.write(self.getValue(name))
            connector.onChanged(self._gui_changed(name, connector))
        observer = self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda _caller, _event: self._update_gui())
        self._guis[tag] = (connectors, observer)
        return tag

    def disconnectGui(self, guiTag):
        if guiTag not in self._guis:
            return
        connectors, observer = self._guis.pop(guiTag)
        self.RemoveObserver(observer)
        for connector in connectors.values():
            connector.onChanged(None)

    def _gui_changed(self, name, connector):
        def changed():
            if not self._updating_gui:
                with slicer.util.NodeModify(self):
                    self.setValue(name, connector.read())

        return changed

    def _update_gui(self):
        if self._updating_gui:
            return
        self._updating_gui = True
        try:
            with slicer.util.NodeModify(self):
                for connectors, _observer in list(self._guis.values()):
                    for name, connector in connectors.items():
                        connector.write(self.getValue(name))
        finally:
            self._updating_gui = False

    def StartModify(self):
        return self.parameterNode.StartModify()

    def EndModify(self, wasModified):
        return self.parameterNode.EndModify(wasModified)

    def AddObserver(self, event, callback, priority=0.0):
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag):
        return self.parameterNode.RemoveObserver(tag)

    def Modified(self):
        return self.parameterNode.Modified()


def _initialize(self, parameterNode, prefix=None):
    self.parameterNode = parameterNode
    self._guis = {}
    self._next_tag = 0
    self._updating_gui = False
    self._parameters = {name: _Parameter(info, parameterNode, prefix) for name, info in self.allParameters.items()}


def _data_type(classtype):
    def dataType(membername):
        _check_name(classtype, membername)
        top, rest = splitPossiblyDottedName(membername)
        annotated = classtype.allParameters[top].unalteredType
        return annotated if rest is None else unannotatedType(annotated).dataType(rest)

    return staticmethod(dataType)


def _describe(classtype, name, annotated):
    try:
        serializer, annotated_default = describeParameter(classtype, name, annotated)
    except Exception as error:
        raise Exception(f"Unable to create serializer for {classtype} member {name}") from error
    if hasattr(classtype, name):
        default = Default(getattr(classtype, name))
    else:
        default = annotated_default if annotated_default is not None else Default(serializer.default())
    return ParameterInfo(name, serializer, default, annotated)


def _add(classtype, name, value):
    """Add a member of our own; a parameter must not have its name."""
    if hasattr(classtype, name):
        raise ValueError(f"Cannot use reserved name '{name}' in a parameterNodeWrapper")
    setattr(classtype, name, value)


def _wrap(classtype):
    members = typing.get_type_hints(classtype, include_extras=True)
    parameters = {name: _describe(classtype, name, annotated) for name, annotated in members.items()}
    for name in parameters:
        setattr(classtype, name, _property(name))
    classtype.__init__ = _initialize
    _add(classtype, "allParameters", parameters)
    _add(classtype, "_is_parameter_node_wrapper", True)
    _add(classtype, "dataType", _data_type(classtype))
    for name, method in vars(_ParameterNodeMethods).items():
        if not name.startswith("__"):
            _add(classtype, name, method)
    logging.debug("parameter node %s: %s", classtype.__name__, list(parameters))
    return classtype


def parameterNodeWrapper(classtype=None):
    """Class decorator: `@parameterNodeWrapper` or `@parameterNodeWrapper()`."""
    return _wrap if classtype is None else _wrap(classtype)


def isParameterNodeWrapper(classOrObj):
    """Whether a class or an object is a parameter node wrapper."""
    return getattr(classOrObj, "_is_parameter_node_wrapper", False)


def findChildWidgetForParameter(widget, parameter):
    """The child widget that carries a parameter's name, or None."""
    for child in widget.findChildren(qt.QWidget):
        if child.property(SlicerParameterNamePropertyName) == parameter:
            return child
    return None

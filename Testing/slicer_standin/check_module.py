"""Static check of a scripted module: every Slicer, CTK and Qt name that it uses must exist, and Python must see it.

Usage: python -m slicer_standin.check_module [--version 5.12] FILE.py ... FILE.ui ...

Checked are classes, properties and connections in the .ui files; in the Python files `ui.<widget>.<name>` (also after
`w = self.ui.<widget>`), signals in `connect("...")`, calls of properties, `ctk.<name>`, `slicer.<class>`,
`slicer.util.<name>`, `slicer.app.<name>` and what is imported from Slicer's Python packages.
"""

from __future__ import annotations

import argparse
import ast
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from slicer_standin import facts as facts_module
from slicer_standin.qt_facts import is_known_qt_class, qt_members

SLICER_PREFIXES = ("ctk", "qMRML", "qSlicer")
# Names that every object has in PythonQt.
COMMON_NAMES = {"className", "connect", "delete", "disconnect", "exec_", "help", "name", "property", "setProperty"}
# A property of its class, but PythonQt finds the static function of that name first.
CALLABLE_PROPERTIES = {"singleShot"}


class Members:
    """What Python sees on the objects of one class."""

    def __init__(self, classes: dict, class_name: str) -> None:
        self.names, self.properties, self.signals = set(COMMON_NAMES), set(), set()
        self.plain: set[str] = set()
        for name in facts_module.ancestry(classes, class_name):
            if name in classes:
                self._add_facts(classes[name])
            else:
                self._add_qt(name)

    def _add_facts(self, class_facts: dict) -> None:
        self.names |= facts_module.own_names(class_facts)
        self.properties |= set(facts_module.own_properties(class_facts))
        self.signals |= facts_module.own_signals(class_facts)
        self.plain |= set(class_facts.get("plain", []))

    def _add_qt(self, name: str) -> None:
        names, properties, signals = qt_members(name)
        self.names |= names | properties
        self.properties |= properties
        self.signals |= {facts_module.normalized(signal) for signal in signals}


class Knowledge:
    """The facts of one Slicer version, with the members of each class worked out once."""

    def __init__(self, facts: dict) -> None:
        self.classes = facts["classes"]
        self.python = facts["python"]
        self.members = cache(lambda name: Members(self.classes, name))

    def is_known(self, class_name: str) -> bool:
        """Whether anything can be said about objects of the class."""
        return class_name in self.classes or is_known_qt_class(class_name)


def _check_ui_widget(element: ElementTree.Element, knowledge: Knowledge, place: str) -> Iterable[str]:
    """Class and properties of one widget."""
    class_name, name = element.get("class"), element.get("name")
    if class_name.startswith(SLICER_PREFIXES) and class_name not in knowledge.classes:
        yield f"{place}: no class {class_name}"
    if not knowledge.is_known(class_name):
        return
    properties = knowledge.members(class_name).properties
    for entry in element.findall("property"):
        dynamic = entry.get("stdset") == "0" or entry.get("name") == "buddy"
        if not dynamic and entry.get("name") not in properties:
            yield f"{place}: {class_name} '{name}' has no property {entry.get('name')}"


def _members_of(class_name: str | None, knowledge: Knowledge) -> Members | None:
    """What Python sees on a class, or None where nothing is known about it."""
    return knowledge.members(class_name) if class_name and knowledge.is_known(class_name) else None


def _check_ui_connection(
    element: ElementTree.Element, widgets: dict[str, str], knowledge: Knowledge, place: str
) -> Iterable[str]:
    """Both ends of one connection."""
    signal, slot = element.findtext("signal"), element.findtext("slot")
    for end in ("sender", "receiver"):
        if element.findtext(end) not in widgets:
            yield f"{place}: connection names no object '{element.findtext(end)}'"
    sender, receiver = widgets.get(element.findtext("sender")), widgets.get(element.findtext("receiver"))
    sends = _members_of(sender, knowledge)
    if sends is not None and facts_module.normalized(signal) not in sends.signals:
        yield f"{place}: connection: {sender} has no signal {signal}"
    receives = _members_of(receiver, knowledge)
    if receives is not None and slot.split("(")[0] not in receives.names:
        yield f"{place}: connection: {receiver} has no slot {slot}"


def _check_ui(path: Path, knowledge: Knowledge) -> tuple[list[str], dict[str, str]]:
    """Findings in one .ui file, and the class of each named object in it."""
    root = ElementTree.parse(path).getroot()
    elements = [element for element in root.iter("widget") if element.get("name")]
    widgets = {element.get("name"): element.get("class") for element in elements}
    widgets |= {element.get("name"): "QAction" for element in root.iter("action") if element.get("name")}
    findings = [found for element in elements for found in _check_ui_widget(element, knowledge, path.name)]
    for element in root.iter("connection"):
        findings += _check_ui_connection(element, widgets, knowledge, path.name)
    return findings, widgets


def _dotted(node: ast.AST) -> str:
    """'slicer.app.name' for such an expression, '' for any other."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        head = _dotted(node.value)
        return f"{head}.{node.attr}" if head else ""
    return ""


class PythonCheck(ast.NodeVisitor):
    """The findings in one Python file."""

    def __init__(self, place: str, widgets: dict[str, str], knowledge: Knowledge) -> None:
        self.place, self.widgets, self.knowledge = place, widgets, knowledge
        self.findings: list[str] = []
        self._local: list[dict[str, str]] = [{}]

    def _report(self, node: ast.AST, text: str) -> None:
        self.findings.append(f"{self.place}:{node.lineno}: {text}")

    def _widget_name(self, node: ast.AST) -> str | None:
        """The name of the .ui's widget that an expression stands for: `self.ui.x`, `ui.x`, or a name bound to it."""
        if isinstance(node, ast.Attribute):
            owner = node.value
            is_ui = isinstance(owner, ast.Attribute | ast.Name) and _last_name(owner) in ("ui", "_ui")
            return node.attr if is_ui else None
        if isinstance(node, ast.Name):
            return next((scope[node.id] for scope in reversed(self._local) if node.id in scope), None)
        return None

    def _class_of(self, node: ast.AST) -> str | None:
        """The widget class of an expression, where it is known."""
        class_name = self.widgets.get(self._widget_name(node) or "")
        return class_name if class_name and self.knowledge.is_known(class_name) else None

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._local.append({})
        self.generic_visit(node)
        self._local.pop()

    def visit_Assign(self, node: ast.Assign) -> None:
        self.generic_visit(node)
        widget = self._widget_name(node.value)
        for target in node.targets:
            if isinstance(target, ast.Name):
                self._local[-1].pop(target.id, None)
                if widget in self.widgets:
                    self._local[-1][target.id] = widget

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        known = self.knowledge.python.get(node.module or "")
        # Only modules with a flat list of names: the package parameterNodeWrapper collects those of its parts.
        if known and "_exports" not in known:
            for alias in node.names:
                if alias.name != "*" and alias.name not in known:
                    self._report(node, f"no {node.module}.{alias.name}")

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.generic_visit(node)
        self._check_widget_in_ui(node)
        self._check_member(node)
        self._check_module_name(node)

    def _check_widget_in_ui(self, node: ast.Attribute) -> None:
        """`self.ui.<name>` must be in one of the .ui files."""
        is_read = _dotted(node.value) == "self.ui" and isinstance(node.ctx, ast.Load)
        if self.widgets and is_read and node.attr not in self.widgets and not node.attr.startswith("__"):
            self._report(node, f"no .ui file has an object '{node.attr}'")

    def _check_member(self, node: ast.Attribute) -> None:
        class_name = self._class_of(node.value)
        if class_name is None:
            return
        members = self.knowledge.members(class_name)
        if node.attr not in members.names | members.properties:
            hint = " (a C++ method only)" if node.attr in members.plain else ""
            self._report(node, f"{class_name} ({self._widget_name(node.value)}) shows Python no '{node.attr}'{hint}")

    def _check_module_name(self, node: ast.Attribute) -> None:
        """Names looked up in ctk, slicer, slicer.util and slicer.app."""
        owner, classes = _dotted(node.value), self.knowledge.classes
        if owner == "ctk" and node.attr not in classes and node.attr not in facts_module.own_names(classes["ctk"]):
            self._report(node, f"no ctk.{node.attr}")
        elif owner == "slicer" and node.attr.startswith(("qMRML", "qSlicer")) and node.attr not in classes:
            self._report(node, f"no slicer.{node.attr}")
        elif owner == "slicer.util" and node.attr not in self.knowledge.python["slicer.util"]:
            self._report(node, f"no slicer.util.{node.attr}")
        elif owner == "slicer.app" and node.attr not in self.knowledge.members("qSlicerApplication").names:
            self._report(node, f"no slicer.app.{node.attr}")

    def visit_Call(self, node: ast.Call) -> None:
        self.generic_visit(node)
        if isinstance(node.func, ast.Attribute):
            self._check_connection(node, node.func)
            self._check_call_of_property(node, node.func)

    def _receiver_class(self, node: ast.AST) -> str | None:
        return "qSlicerApplication" if _dotted(node) == "slicer.app" else self._class_of(node)

    def _check_connection(self, node: ast.Call, function: ast.Attribute) -> None:
        class_name = self._receiver_class(function.value)
        if class_name is None or function.attr not in ("connect", "disconnect") or not node.args:
            return
        signal = node.args[0]
        if not (isinstance(signal, ast.Constant) and isinstance(signal.value, str)):
            return
        if facts_module.normalized(signal.value) not in self.knowledge.members(class_name).signals:
            self._report(node, f"{class_name} has no signal {signal.value}")

    def _check_call_of_property(self, node: ast.Call, function: ast.Attribute) -> None:
        class_name = self._receiver_class(function.value)
        if class_name is None or function.attr in CALLABLE_PROPERTIES:
            return
        if function.attr in self.knowledge.members(class_name).properties:
            self._report(node, f"'{function.attr}' of {class_name} is a property in PythonQt: it cannot be called")


def _last_name(node: ast.AST) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id


def check(py_files: Iterable[str | Path], ui_files: Iterable[str | Path], facts: dict) -> list[str]:
    """All findings in the Python and .ui files of one module."""
    knowledge = Knowledge(facts)
    findings: list[str] = []
    widgets: dict[str, str] = {}
    for path in map(Path, ui_files):
        found, named = _check_ui(path, knowledge)
        findings += found
        # Two .ui files may use a name for different classes: then nothing is said about it.
        widgets |= {name: kind if widgets.get(name, kind) == kind else "" for name, kind in named.items()}
    for path in map(Path, py_files):
        visitor = PythonCheck(path.name, widgets, knowledge)
        visitor.visit(ast.parse(path.read_text(encoding="utf-8")))
        findings += visitor.findings
    return findings


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the findings, or 'clean'."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--version", choices=facts_module.VERSIONS, action="append", help="default: all")
    parser.add_argument("files", nargs="+", type=Path)
    options = parser.parse_args(arguments)
    by_kind = {kind: [path for path in options.files if path.suffix == kind] for kind in (".py", ".ui")}
    findings: list[str] = []
    for version in options.version or facts_module.VERSIONS:
        findings += check(by_kind[".py"], by_kind[".ui"], facts_module.load(version))
    print("\n".join(dict.fromkeys(findings)) or "clean")
    return 1 if findings else 0


if __name__ == "__main__":
    raise SystemExit(main())

"""``cardiodit evaluate``: compare results with the truth.

Each kind of result has a module with ``add_arguments(parser)`` and ``run(arguments) -> int``; to add one, name it here.
"""

from __future__ import annotations

import argparse
from importlib import import_module

from CardioDiTLib.commands import Command

ACTIONS: dict[str, Command] = {
    "landmarks": Command("CardioDiTLib.commands.evaluate_landmarks", "compare insertion points with labelled ones"),
    "synthesis": Command("CardioDiTLib.commands.evaluate_synthesis", "compare synthetic cines with real ones"),
}
"""Actions by name, in the order of the help."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command and of all its actions."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, entry in ACTIONS.items():
        part = actions.add_parser(name, help=entry.help, description=f"{entry.help[0].upper()}{entry.help[1:]}.")
        import_module(entry.module).add_arguments(part)


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked."""
    return int(import_module(ACTIONS[arguments.action].module).run(arguments) or 0)

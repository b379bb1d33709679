"""The commands of the command line, one module each.

A module has ``add_arguments(parser)`` and ``run(arguments) -> int`` (an exit code). It is imported only when its
command is used, so that ``cardiodit --help`` is quick; to add a command, write its module and name it here.
"""

from __future__ import annotations

from typing import NamedTuple


class Command(NamedTuple):
    """A command.

    Attributes:
        module: Module with ``add_arguments`` and ``run``.
        help: What it does, in one line.
    """

    module: str
    help: str


COMMANDS: dict[str, Command] = {
    "generate": Command("CardioDiTLib.commands.generate", "make synthetic cines"),
    "cohort": Command("CardioDiTLib.commands.cohort", "make thousands of hearts on one machine or a cluster"),
    "complete": Command("CardioDiTLib.commands.complete", "fill slices and frames of a cine that nobody recorded"),
    "vary": Command("CardioDiTLib.commands.vary", "make hearts like one that is there"),
    "convert": Command("CardioDiTLib.commands.convert", "convert a cine from one file format to another"),
    "measure": Command("CardioDiTLib.commands.measure", "segment a cine, find insertion points, measure function"),
    "segment": Command("CardioDiTLib.commands.segment", "find both ventricles and the myocardium in a cine"),
    "landmarks": Command("CardioDiTLib.commands.landmarks", "find the insertion points of a cine or a segmentation"),
    "evaluate": Command("CardioDiTLib.commands.evaluate", "compare results with the truth"),
    "audit": Command("CardioDiTLib.commands.audit", "look for copies of training patients among synthetic cines"),
    "function": Command("CardioDiTLib.commands.function", "measure volumes, EF, mass and wall thickness"),
    "models": Command("CardioDiTLib.commands.models", "list, check, get and remove model bundles"),
    "prepare": Command("CardioDiTLib.commands.prepare", "make one training pack of many cines"),
    "train": Command("CardioDiTLib.commands.train", "train a model, in pieces that can be interrupted"),
    "import": Command("CardioDiTLib.commands.import_published", "make a bundle of published checkpoints"),
}
"""Commands by name, in the order of the help."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import slicer
from slicer.i18n import tr as _

from .AuditMarks import FAILED, PASSED, UNDECIDED
from .BrowserSequences import KIND_ATTRIBUTE
from .SequenceBuilder import ATTRIBUTE_PREFIX, jsonAttribute
from .TableNodes import fillTable, findTable, numbers, texts

KIND = "audit"
SETS_ATTRIBUTE = ATTRIBUTE_PREFIX + "auditSets"
NUMBERS = (("Score", "score"), ("Threshold", "threshold"), ("p value", "p_value"))
HASHES = (("Embedding", "hash"), ("Nearest embedding", "nearest_hash"))
"""Column, entry of a verdict."""


class AuditTable:
    """The table node of the last audit: a cine a row, hashes in place of patients."""

    @property
    def node(self) -> Any:
        """The node; None where nothing was audited."""
        return findTable(KIND)

    def sets(self) -> list[dict[str, Any]]:
        """What was found about all cines together, see `PrivacyJobs.audit_cines`."""
        node = self.node
        return [] if node is None else jsonAttribute(node, SETS_ATTRIBUTE) or []

    def notes(self) -> list[str]:
        """What the reader should know, one sentence each."""
        sentences = [setSentence(one) for one in self.sets()]
        notes = [str(note) for one in self.sets() for note in one.get("notes") or []]
        return [sentence for sentence in sentences if sentence] + list(dict.fromkeys(notes))

    def fill(self, names: Sequence[str], verdicts: Sequence[dict[str, Any]], sets: Sequence[dict[str, Any]]) -> Any:
        """Put an audit into the node, which is made if need be; returns it."""
        node = self.node
        if node is None:
            node = slicer.mrmlScene.AddNewNodeByClass(
                "vtkMRMLTableNode", slicer.mrmlScene.GenerateUniqueName(_("Privacy audit"))
            )
            node.SetAttribute(KIND_ATTRIBUTE, KIND)
        words = {PASSED: _("passed"), FAILED: _("failed"), UNDECIDED: _("undecided")}
        columns = [texts("Cine", names), texts("Verdict", [words[one["verdict"]] for one in verdicts])]
        for title, entry in NUMBERS:
            values = (one[entry] for one in verdicts)
            columns.append(numbers(title, [None if value is None else round(value, 4) for value in values]))
        columns += [texts(title, [one[entry] for one in verdicts]) for title, entry in HASHES]
        fillTable(node, columns)
        node.SetColumnDescription("Score", _("Correlation with the nearest training embedding"))
        node.SetColumnDescription(
            "Threshold", _("Scores above it fail; nan where too few real patients say where it is")
        )
        node.SetColumnDescription("p value", _("Probability that a novel patient comes as near"))
        node.SetAttribute(SETS_ATTRIBUTE, json.dumps(list(sets)))
        return node


def setSentence(one: dict[str, Any]) -> str:
    """The verdict on several cines together; empty for a single one, of which the row says all."""
    copies = one["copies"]
    if copies["of"] < 2:
        return ""
    against = (
        _("your folder") if one["against"] == "folder" else _("the training set of {name}").format(name=one["against"])
    )
    return str(
        _("{count} of {of} cines failed against {against} ({expected:.1f} expected by chance, p = {p:.2g}). {sentence}")
    ).format(
        count=copies["count"],
        of=copies["of"],
        against=against,
        expected=copies["expected"] * copies["of"],
        p=one["test"]["p_value"],
        sentence=one["sentence"],
    )

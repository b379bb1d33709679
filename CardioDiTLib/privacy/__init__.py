"""Does a generator reproduce its training patients? Audit, published rule, reference set of a bundle, gate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from CardioDiTLib.lazy import imported

if TYPE_CHECKING:
    from CardioDiTLib.privacy.attach import attach_privacy
    from CardioDiTLib.privacy.audit import audit_memorization
    from CardioDiTLib.privacy.audit_report import AuditReport
    from CardioDiTLib.privacy.calibration import Calibration
    from CardioDiTLib.privacy.dar_rule import NullRate, PublishedResult, apply_published_rule, null_rate
    from CardioDiTLib.privacy.embedding_set import EmbeddingSet
    from CardioDiTLib.privacy.gate import Gate, Verdict, generate_gated
    from CardioDiTLib.privacy.nearest import nearest_neighbours
    from CardioDiTLib.privacy.reference_set import ReferenceSet

_HOMES = {
    "AuditReport": "audit_report",
    "Calibration": "calibration",
    "EmbeddingSet": "embedding_set",
    "Gate": "gate",
    "NullRate": "dar_rule",
    "PublishedResult": "dar_rule",
    "ReferenceSet": "reference_set",
    "Verdict": "gate",
    "attach_privacy": "attach",
    "audit_memorization": "audit",
    "generate_gated": "gate",
    "nearest_neighbours": "nearest",
    "null_rate": "dar_rule",
    "apply_published_rule": "dar_rule",
}

__all__ = [
    "AuditReport",
    "Calibration",
    "EmbeddingSet",
    "Gate",
    "NullRate",
    "PublishedResult",
    "ReferenceSet",
    "Verdict",
    "apply_published_rule",
    "attach_privacy",
    "audit_memorization",
    "generate_gated",
    "nearest_neighbours",
    "null_rate",
]


def __getattr__(name: str) -> Any:
    """Import what is asked for: comparing embeddings does without torch."""
    return imported(__name__, _HOMES, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

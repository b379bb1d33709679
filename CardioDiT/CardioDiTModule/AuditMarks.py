"""What an audit said about a cine, on the nodes of the cine: saved with the scene, read where it is exported."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from .CineReader import cineBrowsers, metaOf
from .SequenceBuilder import ATTRIBUTE_PREFIX, madeFromText

AUDIT_PREFIX = ATTRIBUTE_PREFIX + "audit."
MARKS = ("verdict", "score", "threshold", "p_value", "false_alarm", "against", "hash", "nearest_hash", "encoder_sha256")
"""Entries of a verdict that become attributes ``CardioDiT.audit.*``: hashes, and no file of a patient."""

PASSED, FAILED, UNDECIDED = "passed", "failed", "undecided"


def markAudit(browser: Any, verdict: dict[str, Any]) -> None:
    """Write a verdict, as the worker gives it, onto browser, sequence and volume of a cine."""
    sequence = browser.GetMasterSequenceNode()
    for node in (browser, sequence, browser.GetProxyNode(sequence)):
        if node is None:
            continue
        for name in MARKS:
            value = verdict.get(name)
            if value is None or value == "":
                node.RemoveAttribute(AUDIT_PREFIX + name)
            else:
                node.SetAttribute(AUDIT_PREFIX + name, str(value))


def markGated(browser: Any, audit: dict[str, Any], against: str) -> None:
    """The same for what a gate said while the cine was made."""
    verdict = PASSED if audit.get("passed") else FAILED
    markAudit(browser, {**audit, "verdict": verdict, "against": against})


def auditVerdict(browser: Any) -> str:
    """ "passed", "failed" or "undecided"; empty where a cine was not audited."""
    sequence = None if browser is None else browser.GetMasterSequenceNode()
    if sequence is None:
        return ""
    marked = sequence.GetAttribute(AUDIT_PREFIX + "verdict") or browser.GetAttribute(AUDIT_PREFIX + "verdict")
    if marked:
        return str(marked)
    audit = metaOf(sequence).get("audit")  # of a file that was written after a gate had passed it
    if isinstance(audit, dict) and "passed" in audit:
        return PASSED if audit["passed"] else FAILED
    return ""


def isSyntheticCine(browser: Any) -> bool:
    """Whether a browser shows a cine that was generated."""
    sequence = None if browser is None else browser.GetMasterSequenceNode()
    return sequence is not None and bool(metaOf(sequence).get("synthetic"))


def syntheticBrowsers() -> list[Any]:
    """Browsers of all synthetic cines in the scene."""
    return [browser for browser in cineBrowsers() if isSyntheticCine(browser)]


def exportWarning(browser: Any) -> str:
    """What whoever gives a synthetic cine away should know; empty where there is nothing to say."""
    if not isSyntheticCine(browser):
        return madeFromText(browser)  # of a patient's cine: whose data it is
    verdict = auditVerdict(browser)
    if verdict == FAILED:
        return str(_("The audit failed this cine: it is nearer to a training patient than novel patients are."))
    if verdict == UNDECIDED:
        return str(_("The audit of this cine is undecided: there were too few real patients to compare it with."))
    if not verdict:
        return str(
            _("Not audited: whether this cine copies a training patient has not been looked at (section Privacy).")
        )
    return ""

"""Which segment of somebody else's segmentation is which part of the heart: by its terminology, else by its name."""

from __future__ import annotations

import re
from typing import Any

import vtk
from slicer.i18n import tr as _

from .Problem import CardioDiTProblem

RV, MYOCARDIUM, LV = "RV", "myocardium", "LV"

CODES = {"53085002": RV, "74281007": MYOCARDIUM, "87878005": LV}
"""SNOMED CT: right ventricle, myocardium, left ventricle; as the library writes them into DICOM SEG."""

TERMINOLOGY_TAG = "TerminologyEntry"
_OTHER_PARTS = ("atri", "aort", "pulmon", "valve", "scar", "infarct", "fibro", "oedema", "edema", "fat", "pericard")
_WALL = ("myo", "wall", "muscle", "epi")
_CAVITY = ("ventric", "cavity", "blood", "pool", "endo", "chamber")


def partOf(name: str) -> str:
    """RV, myocardium or LV by a name such as "Left ventricle", "LV blood pool", "heart_ventricle_left", "LVM" or "RV
    cavity"; empty where the name says nothing, or names another part.
    """
    words = re.findall(r"[a-z]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", name).lower())
    if any(word.startswith(_OTHER_PARTS) or word in ("la", "ra") for word in words):
        return ""
    left = any(word == "left" or word.startswith("lv") for word in words)
    right = any(word == "right" or word.startswith("rv") for word in words)
    if left and right:
        return ""
    inside = [word[2:] if word.startswith(("lv", "rv")) else word for word in words]
    if any(word.startswith(_WALL) or word == "m" for word in inside):
        return "" if right else MYOCARDIUM
    ventricle = any(word.startswith(("lv", "rv")) for word in words)
    cavity = any(word.startswith(_CAVITY) for word in words)
    if right:
        return RV if ventricle or cavity else ""
    if left:
        return LV if ventricle or cavity else ""
    return LV if any(word.startswith("endo") for word in words) else ""


def partOfSegment(segment: Any) -> str:
    """The same of a segment: its terminology counts before its name."""
    entry = ""
    value = vtk.reference("")
    if segment.GetTag(TERMINOLOGY_TAG, value):
        entry = str(value)
    found = {part for code, part in CODES.items() if f"^{code}^" in entry}
    if len(found) == 1:
        return found.pop()
    return partOf(segment.GetName() or "")


def findSegment(segmentation: Any, segmentId: str, name: str) -> Any:
    """The segment that is a part of the heart: by its ID, else by its exact name, else by what it is called.

    Args:
        segmentation: A vtkSegmentation.
        segmentId: RV, myocardium or LV.
        name: As this module calls it.

    Returns:
        The segment; None where there is none.

    Raises:
        CardioDiTProblem: Two are called so.
    """
    segment = segmentation.GetSegment(segmentId)
    if segment is not None:
        return segment
    segments = [segmentation.GetNthSegment(number) for number in range(segmentation.GetNumberOfSegments())]
    wanted = {segmentId.lower(), name.lower()}
    for other in segments:
        if (other.GetName() or "").lower() in wanted:
            return other
    found = [other for other in segments if partOfSegment(other) == segmentId]
    if len(found) > 1:
        raise CardioDiTProblem(
            _("The segments {names} are all called like the same part of the heart ({part}).").format(
                names=", ".join(f"'{other.GetName()}'" for other in found), part=segmentId
            ),
            _("Name the one that counts {part}.").format(part=segmentId),
        )
    return found[0] if found else None

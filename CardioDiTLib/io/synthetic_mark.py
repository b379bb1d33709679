"""The mark of a synthetic heart in fields of a header that other software keeps.

Provenance lies in a header extension or key of our own, which other programs drop when they write the file again. The
fields that survive say it too:

=======  =======================================================================
NIfTI    ``descrip`` (80 bytes), ``intent_name`` (16), ``aux_file`` (24)
NRRD     field ``content``, key ``synthetic``
=======  =======================================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

MARK = "SYNTHETIC"
_DESCRIPTION_BYTES = 79


def is_synthetic(meta: Mapping[str, Any]) -> bool:
    """Whether a cine, or what was measured on it, comes from a generator."""
    return bool(meta.get("synthetic"))


def description_of(meta: Mapping[str, Any]) -> str:
    """What a synthetic heart is, in one line of at most 79 ASCII characters: no header field holds more."""
    parts = [MARK, "not a patient"]
    model = " ".join(str(meta[key]) for key in ("model", "model_version") if meta.get(key))
    if model:
        parts.append(model)
    if isinstance(meta.get("seed"), int):
        index = f"/{meta['index']}" if isinstance(meta.get("index"), int) else ""
        parts.append(f"seed {meta['seed']}{index}")
    text = "; ".join(parts)
    return "".join(one if " " <= one <= "~" else "?" for one in text)[:_DESCRIPTION_BYTES]


def read_mark(meta: dict[str, Any], fields: Iterable[Any]) -> None:
    """Take the mark from fields of a header into the meta of a cine whose provenance was dropped on the way."""
    for value in fields:
        text = value.tobytes().split(b"\0")[0].decode("ascii", "replace") if hasattr(value, "tobytes") else str(value)
        if text.strip().upper().startswith(MARK):
            meta.setdefault("synthetic", True)
            return

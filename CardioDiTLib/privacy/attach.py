"""Writing encoder and training embeddings into a bundle, atomically."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from CardioDiTLib.bundles.amend import amend_bundle
from CardioDiTLib.bundles.bundle import Bundle
from CardioDiTLib.bundles.manifest import MANIFEST_NAME, MODEL_CARD_NAME
from CardioDiTLib.bundles.manifest_parts import PrivacySpec
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.privacy.gate import load_encoder_of, load_reference
from CardioDiTLib.privacy.reference_set import ReferenceSet

REFERENCE_NAME = "privacy.safetensors"

_KEPT_OUT = (MODEL_CARD_NAME, MANIFEST_NAME, "LICENSE.txt", "README.md")  # of an encoder's folder: not needed to run it


def attach_privacy(
    bundle_folder: str | os.PathLike[str],
    encoder_folder: str | os.PathLike[str] | None,
    reference: ReferenceSet,
    *,
    audit: Mapping[str, Any] | None = None,
    card: str | None = None,
    carry_encoder: bool = True,
) -> Bundle:
    """Write an encoder, training embeddings and their facts into a bundle; what it carried of these is replaced.

    Args:
        bundle_folder: Folder of the bundle.
        encoder_folder: Folder of the encoder that made the embeddings; None for the one that comes with the software.
        reference: Training embeddings and calibration.
        audit: Result of the audit for the manifest, as :meth:`AuditReport.summary` gives it; None leaves what is there.
        card: Section for the model card, its heading first; it takes the place of one with the same heading. None
            leaves the card as it is.
        carry_encoder: Copy the encoder's files too; without them the bundle names the encoder that comes with the
            software by its fingerprint, as the embedded bundle does.

    Returns:
        The bundle, opened anew.

    Raises:
        CardioDiTError: The encoder is not the one that made the embeddings, a file of it has the name of one of the
            bundle's, or the files cannot be written.
    """
    from CardioDiTLib.privacy.encoder import KIND, load_encoder

    folder = Path(bundle_folder)
    before = Bundle(folder)
    source = KIND.find(encoder_folder)
    encoder = load_encoder(source)
    if reference.encoder_sha256 and reference.encoder_sha256 != encoder.sha256:
        raise CardioDiTError(
            "The training embeddings were made by another encoder than the one that is to be attached.",
            "Embed the training set with this encoder.",
        )
    if reference.dimension != encoder.dimension:
        raise CardioDiTError(
            f"The training embeddings have {reference.dimension} numbers each, the encoder makes {encoder.dimension}.",
            "Embed the training set with this encoder.",
        )
    reference = replace(reference, encoder_sha256=encoder.sha256)
    old = () if before.manifest.privacy is None else before.manifest.privacy.files
    kept = [name for name in before.manifest.files if name not in old]
    parts = [path for path in sorted(source.iterdir()) if path.is_file() and not path.name.startswith(".")]
    parts = [path for path in parts if path.name not in _KEPT_OUT] if carry_encoder else []
    if not carry_encoder and encoder.sha256 != load_encoder(None).sha256:
        raise CardioDiTError(
            "Only the encoder that comes with the software can be left out of a bundle.", "Carry the encoder along."
        )
    clash = {path.name.lower() for path in parts} & {name.lower() for name in (*kept, MANIFEST_NAME, REFERENCE_NAME)}
    if clash:
        raise CardioDiTError(
            f"The encoder and the bundle both have a file '{sorted(clash)[0]}'.", "Rename the one of the encoder."
        )
    spec = PrivacySpec(
        reference_file=REFERENCE_NAME,
        encoder_files=tuple(path.name for path in parts),
        encoder_sha256=encoder.sha256,
        n_train=reference.n_train,
        n_validation=reference.n_validation,
        dimension=reference.dimension,
        calibration=reference.calibration.kind,  # type: ignore[arg-type]  # checked there
        thresholds=reference.thresholds(),
    )
    manifest = replace(before.manifest, privacy=spec, audit=before.manifest.audit if audit is None else dict(audit))

    def fill(staging: Path) -> None:
        for path in parts:
            shutil.copyfile(path, staging / path.name)
        reference.save(staging / REFERENCE_NAME)
        if card is not None:
            (staging / MODEL_CARD_NAME).write_text(with_section(before.model_card, card), encoding="utf-8")

    def check(made: Bundle) -> None:
        load_reference(made)
        load_encoder_of(made)

    return amend_bundle(folder, manifest, fill, without=old, check=check)


def with_section(text: str, section: str) -> str:
    """Markdown with a section at its end, in place of one that has the same heading (``## ...``)."""
    heading = section.strip().splitlines()[0]
    kept: list[str] = []
    inside = False
    for line in text.splitlines():
        if line.startswith(("# ", "## ")):
            inside = line.strip() == heading
        if not inside:
            kept.append(line)
    return "\n".join(kept).rstrip() + f"\n\n{section.strip()}\n"

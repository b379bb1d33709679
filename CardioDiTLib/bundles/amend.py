"""Changing a part of a bundle that lies on disk, whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection
from pathlib import Path

from CardioDiTLib.bundles.bundle import Bundle
from CardioDiTLib.bundles.installation import IMPORT_SUFFIX, changing
from CardioDiTLib.bundles.manifest import GENERATOR, BundleManifest
from CardioDiTLib.files import atomic_folder
from CardioDiTLib.progress import Stop


def amend_bundle(
    bundle_folder: str | os.PathLike[str],
    manifest: BundleManifest,
    fill: Callable[[Path], None],
    *,
    without: Collection[str] = (),
    check: Callable[[Bundle], object] | None = None,
) -> Bundle:
    """Writes a bundle anew with other parts; the rest of its files is copied.

    It is written beside its place and then moved there, so that at each moment there is a whole bundle.

    Args:
        bundle_folder: Folder of the bundle.
        manifest: The new manifest; its fingerprints are filled in.
        fill: Writes the new files into the folder that it is given.
        without: Files that are left out.
        check: Looks at the new bundle before it takes the place of the old one; may raise.

    Returns:
        The bundle, opened anew.

    Raises:
        CardioDiTError: A file that is copied was changed, the parts do not fit, or the disk refuses.
    """
    folder = Path(bundle_folder)
    before = Bundle(folder)
    with changing(folder, Stop()), atomic_folder(folder, IMPORT_SUFFIX) as staging:
        for name in before.manifest.files:
            if name not in without:
                shutil.copyfile(before.checked_file(name), staging / name)
        fill(staging)
        GENERATOR.describe(staging, manifest)
        made = Bundle(staging)
        made.check()
        if check is not None:
            check(made)
    return Bundle(folder)

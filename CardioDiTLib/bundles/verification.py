"""Is a bundle whole and unchanged?"""

from __future__ import annotations

from pathlib import Path

from CardioDiTLib.bundles.manifest import GENERATOR, MANIFEST_NAME
from CardioDiTLib.bundles.registry import find_bundle
from CardioDiTLib.errors import CardioDiTError


def verify(bundle: str | Path) -> list[str]:
    """Compare every file of a bundle with its manifest.

    Args:
        bundle: Name of a bundle, or its folder.

    Returns:
        What is wrong, one sentence each; empty where all is well.

    Raises:
        CardioDiTError: There is no such bundle.

    Examples:
        >>> verify("acdc-mini")  # doctest: +SKIP
        []
    """
    folder = find_bundle(bundle)
    try:
        manifest = GENERATOR.read(folder)
    except CardioDiTError as error:
        return [str(error)]
    problems = GENERATOR.problems(folder, manifest)
    listed = {MANIFEST_NAME, *manifest.files}
    strangers = sorted(path.name for path in folder.iterdir() if path.name not in listed)
    problems += [f"{name} does not belong to the bundle." for name in strangers]
    return problems

"""Is a bundle whole and unchanged?"""

from __future__ import annotations

from pathlib import Path

from CardioDiTLib.bundles.manifest import MANIFEST_NAME, read_manifest
from CardioDiTLib.bundles.registry import find_bundle
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.files import problem_of


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
        manifest = read_manifest(folder)
    except CardioDiTError as error:
        return [str(error)]
    absent = [name for name in manifest.needed_files if name not in manifest.files]
    problems = [f"{name} is not in the manifest's list of files." for name in absent]
    for name, record in manifest.files.items():
        problem = problem_of(folder / name, record)
        if problem is not None:
            problems.append(problem)
    listed = {MANIFEST_NAME, *manifest.files}
    strangers = sorted(path.name for path in folder.iterdir() if path.name not in listed)
    problems += [f"{name} does not belong to the bundle." for name in strangers]
    return problems

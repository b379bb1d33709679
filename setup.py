"""What pyproject.toml cannot say: a wheel carries the embedded models and the sample cine inside the package.

They lie in ``Resources`` beside the package, where the extension for Slicer wants them; an installed library looks for
them in ``CardioDiTLib/Resources``, as an installed extension does.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
CARRIED = ("Bundles", "Models", "SampleData", "Training")


class BuildWithResources(build_py):
    """Also copies the resources into the package that is built."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            for source, target in self._resources():
                Path(target).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        return [*super().get_outputs(include_bytecode), *(target for _, target in self._resources())]

    def _resources(self) -> list[tuple[Path, str]]:
        resources = ROOT / "Resources"
        files = [path for kind in CARRIED for path in sorted((resources / kind).rglob("*")) if path.is_file()]
        # no scripts that made the data; a leading dot marks what is still being written
        files = [path for path in files if path.suffix != ".py" and not any(p.startswith(".") for p in path.parts[-3:])]
        base = Path(self.build_lib) / "CardioDiTLib" / "Resources"
        return [(path, str(base / path.relative_to(resources))) for path in files]


setup(cmdclass={"build_py": BuildWithResources})

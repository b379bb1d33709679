"""``import CardioDiTLib``: next to nothing, until something is used."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import CardioDiTLib as cd


def test_the_import_is_light():
    code = (
        "import sys, time\nbegin = time.process_time()\nimport CardioDiTLib\nseconds = time.process_time() - begin\n"
        "heavy = {'torch', 'monai', 'numpy', 'scipy', 'nibabel', 'SimpleITK', 'pydicom', 'nrrd'} & set(sys.modules)\n"
        "assert not heavy, heavy\nassert seconds < 0.2, seconds"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])


def test_io_and_geometry_bring_no_torch():
    code = (
        "import sys, CardioDiTLib as cd\ncd.load_cine, cd.Cine, cd.GenerationRequest\nassert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])


@pytest.mark.parametrize("name", cd.__all__)
def test_everything_that_is_promised_is_there(name):
    assert getattr(cd, name) is not None and name in dir(cd)


def test_functions_are_functions_even_after_their_modules_were_imported():

    assert callable(cd.bundles.verify) and callable(cd.bundles.import_published) and callable(cd.bundles.write_bundle)
    assert cd.models.VQGAN.__name__ == "VQGAN" and cd.Generator.__name__ == "Generator"


def test_what_is_not_there_is_said():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = cd.nonsense


def test_the_version_is_the_one_of_the_package():
    text = (Path(__file__).parents[1] / "pyproject.toml").read_text()
    assert re.search(r'^version = "(.+)"$', text, re.MULTILINE).group(1) == cd.__version__


def test_the_package_is_typed():
    assert (Path(cd.__file__).parent / "py.typed").is_file()

"""The sample cine that comes with the extension, and how Slicer's Sample Data module is told of it."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
import shutil
import struct
import sys
import urllib.parse
import urllib.request
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from CardioDiTLib import load_cine

REPOSITORY = Path(__file__).resolve().parents[1]
FOLDER = REPOSITORY / "Resources" / "SampleData"
SAMPLE = FOLDER / "CardioDiT-Sunnybrook-ShortAxis.seq.nrrd"
SOURCES = REPOSITORY / "CardioDiT" / "CardioDiTModule" / "SampleDataSources.py"


def module_at(path: Path, name: str) -> ModuleType:
    """A Python file, imported from where it lies."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def sample():
    return load_cine(SAMPLE)


def test_sample_is_small_enough_for_the_repository():
    assert SAMPLE.stat().st_size <= 2_500_000


def test_sample_knows_millimetres_and_seconds(sample):
    assert sample.shape == (20, 11, 112, 112) and sample.array.dtype == np.int16
    np.testing.assert_allclose(sample.spacing, (1.367188, 1.367188, 10.0), atol=1e-4)
    np.testing.assert_allclose(sample.frame_times, np.arange(20) * 0.0510894, atol=2e-6)
    assert sample.cycle_s == pytest.approx(1.021788, abs=1e-5)
    assert not sample.meta.get("frame_times_assumed", False)


def test_sample_says_where_it_comes_from(sample):
    assert "Sunnybrook" in sample.meta["source"] and "CC0" in sample.meta["source"]
    assert not sample.meta.get("synthetic", False)


def test_sample_names_no_date_and_no_person(sample):
    """The public patient code of the source stands in ``source`` alone."""
    meta = {key: value for key, value in sample.meta.items() if key != "source"}
    assert not re.search(r"(19|20)\d{2}[-/]?[01]\d[-/]?[0-3]\d|SCD\d|1\.2\.840", json.dumps(meta))
    assert not [key for key in meta if re.search(r"patient|name|birth|date|uid|institution|station", key)]


def test_readme_has_the_checksum():
    assert f"`{sha256(SAMPLE)}`" in (FOLDER / "README.md").read_text(encoding="utf-8")


def test_sample_has_the_voxels_of_its_source_at_the_same_places(sample, shared_dir):
    source = load_cine(shared_dir / "data" / "sunnybrook_scd0002001" / "SCD0002001_dicom.zip")
    z, y, x = np.meshgrid(*(np.arange(n) for n in sample.shape[1:]), indexing="ij")
    world = sample.affine @ np.stack([x, y, z, np.ones_like(x)]).reshape(4, -1).astype(float)
    there = np.linalg.inv(source.affine) @ world
    index = np.rint(there[:3]).astype(int)
    assert np.abs(there[:3] - index).max() * max(source.spacing) < 1e-3  # a thousandth of a millimetre
    values = source.array[:, index[2], index[1], index[0]].reshape(sample.shape)
    assert np.array_equal(values, sample.array)
    np.testing.assert_allclose(sample.frame_times, source.frame_times, atol=1e-6)


def test_sample_is_made_again_to_the_byte(shared_dir, tmp_path, monkeypatch):
    maker = module_at(FOLDER / "make_sample.py", "make_sample")
    monkeypatch.setattr(maker, "SAMPLE", tmp_path / SAMPLE.name)
    monkeypatch.setattr(maker, "THUMBNAIL", tmp_path / "thumbnail.png")
    maker.main([str(shared_dir / "data" / "sunnybrook_scd0002001" / "SCD0002001_dicom.zip")])
    # zlib's bytes differ between its versions, what they unpack to does not
    made, kept = load_cine(tmp_path / SAMPLE.name), load_cine(SAMPLE)
    assert np.array_equal(made.array, kept.array) and np.array_equal(made.affine, kept.affine)
    assert made.meta == kept.meta
    assert (tmp_path / "thumbnail.png").is_file()


class SampleDataLogic:
    """Stands in for Slicer's, with the argument names of Slicer 5.12."""

    def __init__(self) -> None:
        self.categories: list[tuple[str, str]] = []
        self.sources: list[dict[str, object]] = []

    def registerCustomSampleDataCategory(self, category, title):
        self.categories.append((category, title))

    def registerCustomSampleDataSource(
        self, category, sampleName, uris, fileNames, nodeNames, thumbnailFileName, loadFileTypes, checksums
    ):
        self.sources.append(dict(locals()))


class SampleDataLogicOf510(SampleDataLogic):
    """Slicer 5.10 knows no categories."""

    def __getattribute__(self, name):
        if name == "registerCustomSampleDataCategory":
            raise AttributeError(name)
        return super().__getattribute__(name)


def registered(sources: ModuleType, logic: SampleDataLogic, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What is registered; the stand-ins are there only while it happens."""
    sample_data, slicer, i18n = ModuleType("SampleData"), ModuleType("slicer"), ModuleType("slicer.i18n")
    sample_data.SampleDataLogic = logic  # type: ignore[attr-defined]
    i18n.tr = lambda text: text  # type: ignore[attr-defined]
    for module in (sample_data, slicer, i18n):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    sources.registerSampleData()
    assert len(logic.sources) == 1
    return logic.sources[0]


@pytest.mark.parametrize("kind", [SampleDataLogic, SampleDataLogicOf510])
def test_sample_is_registered_from_the_disk(kind, monkeypatch):
    logic = kind()
    source = registered(module_at(SOURCES, "SampleDataSources"), logic, monkeypatch)
    assert logic.categories == ([("CardioDiT", "CardioDiT")] if kind is SampleDataLogic else [])
    assert source["category"] == "CardioDiT"
    assert source["sampleName"] == "CardioDiT Sunnybrook cine"
    assert source["loadFileTypes"] == "SequenceFile"
    assert source["fileNames"] == SAMPLE.name
    assert source["checksums"] == f"SHA256:{sha256(SAMPLE)}"
    # opened as Slicer opens it
    with urllib.request.urlopen(str(source["uris"])) as stream:
        assert hashlib.sha256(stream.read()).hexdigest() == sha256(SAMPLE)


def test_uri_survives_a_folder_with_blanks_and_umlauts(tmp_path):
    folder = tmp_path / "Müllers Programme #1" / "qt-scripted-modules"
    data = folder / "CardioDiTLib" / "Resources" / "SampleData"
    (folder / "CardioDiTModule").mkdir(parents=True)
    data.mkdir(parents=True)
    shutil.copy(SOURCES, folder / "CardioDiTModule")
    (data / SAMPLE.name).write_bytes(b"installed")
    uri = module_at(folder / "CardioDiTModule" / SOURCES.name, "installed").sampleUri()
    with urllib.request.urlopen(uri) as stream:
        assert stream.read() == b"installed"


def test_sample_is_downloaded_where_it_is_not_on_the_disk(tmp_path, monkeypatch):
    (tmp_path / "CardioDiTModule").mkdir()
    shutil.copy(SOURCES, tmp_path / "CardioDiTModule")
    alone = module_at(tmp_path / "CardioDiTModule" / SOURCES.name, "alone")
    address = urllib.parse.urlsplit(str(registered(alone, SampleDataLogic(), monkeypatch)["uris"]))
    assert (address.scheme, address.netloc) == ("https", "raw.githubusercontent.com")
    owner, repository, branch, *path = address.path.strip("/").split("/")
    assert (owner, repository, branch) == ("Cardio-AI", "SlicerCardioDiT", "main")
    assert REPOSITORY.joinpath(*path) == SAMPLE


def test_thumbnail_has_the_size_that_slicer_asks_for(monkeypatch):
    source = registered(module_at(SOURCES, "SampleDataSources"), SampleDataLogic(), monkeypatch)
    content = Path(str(source["thumbnailFileName"])).read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", content[16:24]) == (260, 280)

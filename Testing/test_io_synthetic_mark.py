"""A synthetic heart stays marked when other software has read it and written it again."""

from __future__ import annotations

from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk
from synthetic_cines import make_cine

from CardioDiTLib.cine import Cine, Segmentation
from CardioDiTLib.io import load_cine, load_segmentation, save_cine, save_segmentation
from CardioDiTLib.io.synthetic_mark import description_of

META = {"synthetic": True, "model": "acdc-mini", "model_version": "0.2.0", "seed": 7, "index": 3, "patient": "é" * 90}


def marked() -> Cine:
    return make_cine().with_array(make_cine().array, META)


def by_simpleitk(source: Path, target: Path) -> None:
    sitk.WriteImage(sitk.ReadImage(str(source)), str(target))


def by_simpleitk_new_image(source: Path, target: Path) -> None:
    """As a program that computes: a new image with the header's texts copied."""
    image = sitk.ReadImage(str(source))
    made = sitk.GetImageFromArray(sitk.GetArrayFromImage(image), isVector=False)
    for key in image.GetMetaDataKeys():
        made.SetMetaData(key, image.GetMetaData(key))
    sitk.WriteImage(made, str(target))


def by_nibabel(source: Path, target: Path) -> None:
    image = nibabel.load(source)
    header = image.header.copy()
    header.extensions.clear()
    nibabel.save(nibabel.Nifti1Image(np.asanyarray(image.dataobj), image.affine, header), target)


def by_pynrrd(source: Path, target: Path) -> None:
    data, header = nrrd.read(str(source))
    nrrd.write(str(target), data, {key: value for key, value in header.items() if not key.startswith("CardioDiT")})


@pytest.mark.parametrize(
    ("suffix", "other"),
    [
        (".nii.gz", by_simpleitk),
        (".nii", by_simpleitk_new_image),
        (".nii.gz", by_nibabel),
        (".seq.nrrd", by_pynrrd),
        (".seq.nrrd", by_simpleitk),
    ],
)
def test_the_mark_survives_other_software(tmp_path, suffix, other):
    for name, image in (("synthetic", marked()), ("real", make_cine())):
        save_cine(image, tmp_path / f"{name}{suffix}")
        other(tmp_path / f"{name}{suffix}", tmp_path / f"{name}-again{suffix}")
    again = load_cine(tmp_path / f"synthetic-again{suffix}", frame_interval_s=0.05, square_axes=True)
    if suffix != ".seq.nrrd" or other is by_pynrrd:
        assert "model" not in again.meta, "our own record is gone: only the mark is left"
    assert again.meta["synthetic"] is True
    real = load_cine(tmp_path / f"real-again{suffix}", frame_interval_s=0.05, square_axes=True)
    assert "synthetic" not in real.meta


def test_header_fields_say_what_it_is(tmp_path):
    save_cine(marked(), tmp_path / "a.nii.gz")
    header = nibabel.load(tmp_path / "a.nii.gz").header
    assert header["descrip"].tobytes().rstrip(b"\0") == b"SYNTHETIC; not a patient; acdc-mini 0.2.0; seed 7/3"
    assert header["intent_name"].tobytes().rstrip(b"\0") == header["aux_file"].tobytes().rstrip(b"\0") == b"SYNTHETIC"
    save_cine(make_cine(), tmp_path / "b.nii.gz")
    header = nibabel.load(tmp_path / "b.nii.gz").header
    assert not any(header[name].tobytes().strip(b"\0") for name in ("descrip", "intent_name", "aux_file"))
    long = {"synthetic": True, "model": "m" * 200, "seed": "x"}
    assert len(description_of(long)) == 79 and description_of({"synthetic": 1}) == "SYNTHETIC; not a patient"


def test_labels_of_a_synthetic_heart_are_marked_too(tmp_path):
    cine = marked()
    labels = Segmentation(np.ones(cine.shape, np.uint8), cine.affine, cine.frame_times, {"synthetic": True})
    for suffix, other in ((".nii.gz", by_nibabel), (".seq.nrrd", by_pynrrd)):
        save_segmentation(labels, tmp_path / f"a{suffix}")
        other(tmp_path / f"a{suffix}", tmp_path / f"b{suffix}")
        assert load_segmentation(tmp_path / f"b{suffix}", frame_interval_s=0.05).meta["synthetic"] is True

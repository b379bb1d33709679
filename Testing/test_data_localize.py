"""Where the heart is, on the phantom and on real cines."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from CardioDiTLib.cine import Cine
from CardioDiTLib.data.heart_roi import heart_centre, label_centre_index, motion_centre_index
from CardioDiTLib.data.phantom import PhantomSpec, make_phantom
from CardioDiTLib.data.preprocess import estimate_end_diastole_frame
from CardioDiTLib.errors import CardioDiTError

REAL = {
    "sunnybrook": (
        "sunnybrook_scd0002001/SCD0002001_sax_4d.nii.gz",
        "sunnybrook_scd0002001/SCD0002001_sax_4d_LVendo_ED19_ES6.nii.gz",
    ),
    "bivme": (
        "bivme_patient1/bivme_patient1_sax_4d.nii.gz",
        "bivme_patient1/bivme_patient1_sax_4d_labels_from_guidepoints.nii.gz",
    ),
}


def read(shared_dir, name):
    image = nib.load(shared_dir / "data" / REAL[name][0])
    labels = nib.load(shared_dir / "data" / REAL[name][1])
    array = np.asarray(image.dataobj).T
    times = np.arange(len(array)) * float(image.header.get_zooms()[3])
    return Cine(array, image.affine, times, {}), np.asarray(labels.dataobj).T.astype(np.uint8)


@pytest.mark.parametrize("centre", [(0.0, 0.0), (25.0, -18.0)])
def test_motion_finds_the_phantom(centre):
    phantom = make_phantom(PhantomSpec(frames=12, height=160, width=160, centre_mm=centre, noise=0.03))
    found = phantom.cine.ras_to_index(heart_centre(phantom.cine))
    truth = phantom.cine.ras_to_index(phantom.centre_ras_mm)
    assert np.hypot(*((found - truth)[:2] * 1.5)) < 10.0
    by_labels = phantom.cine.ras_to_index(heart_centre(phantom.cine, phantom.segmentation.array))
    assert np.hypot(*((by_labels - truth)[:2] * 1.5)) < 10.0


def test_a_few_strong_vessels_do_not_pull():
    phantom = make_phantom(PhantomSpec(frames=12))
    array = phantom.cine.array.copy()
    plain = motion_centre_index(array, phantom.cine.spacing)
    beat = 3000 * np.cos(2 * np.pi * np.arange(12) / 12)[:, None, None, None]
    array[:, :, 110:116, 10:16] += beat.astype(np.float32)
    pulled = motion_centre_index(array, phantom.cine.spacing)
    assert np.hypot(pulled[0] - plain[0], pulled[1] - plain[1]) * 1.5 < 3.0


def test_labels_give_the_centroid_of_all_labels():
    labels = np.zeros((2, 3, 10, 12), np.uint8)
    labels[:, 1, 4, 6] = 1
    labels[:, 1, 4, 8] = 3
    assert label_centre_index(labels) == (7.0, 4.0, 1.0)


def test_stillness_and_empty_labels_are_refused():
    with pytest.raises(CardioDiTError):
        motion_centre_index(np.ones((10, 2, 32, 32), np.float32), (1.5, 1.5, 10.0))
    with pytest.raises(CardioDiTError):
        label_centre_index(np.zeros((2, 2, 4, 4), np.uint8))


@pytest.mark.parametrize(("name", "limit_mm"), [("sunnybrook", 24.0), ("bivme", 6.0)])
def test_motion_finds_real_hearts(shared_dir, name, limit_mm):
    cine, labels = read(shared_dir, name)
    # Sunnybrook's labels are the left cavity only, whose middle lies 6 to 24 mm from that of both ventricles (ACDC).
    found = motion_centre_index(cine.array, cine.spacing)
    truth = label_centre_index(labels)
    offset = (np.array(found) - truth) * cine.spacing
    assert np.hypot(*offset[:2]) < limit_mm
    assert abs(offset[2]) < 12.0


def test_motion_finds_acdc_hearts(shared_dir):
    folder = shared_dir / "data" / "acdc"
    errors = []
    for patient in (6, 17, 23, 47, 52, 80):
        stem = str(folder / f"patient{patient:03d}")
        try:
            pair = [nib.load(f"{stem}_{phase}.nii.gz") for phase in ("ED", "ES")]
        except FileNotFoundError:
            continue
        labels = np.asarray(nib.load(f"{stem}_ED_gt.nii.gz").dataobj).T[None].astype(np.uint8)
        spacing = tuple(float(value) for value in pair[0].header.get_zooms()[:3])
        array = np.stack([np.asarray(image.dataobj, dtype=np.float32).T for image in pair])
        offset = (np.array(motion_centre_index(array, spacing)) - label_centre_index(labels)) * spacing
        errors.append(np.hypot(*offset[:2]))
    if not errors:
        pytest.skip("none of the chosen ACDC patients is there")
    assert max(errors) < 10.0 and np.median(errors) < 6.0


@pytest.mark.parametrize(("name", "truth"), [("sunnybrook", 19), ("bivme", 24)])
@pytest.mark.parametrize("shift", [0, 7])
def test_end_diastole_of_real_cines_is_told_to_a_frame(shared_dir, name, truth, shift):
    cine, _ = read(shared_dir, name)
    rolled = cine.with_array(np.roll(cine.array, shift, axis=0))
    found = estimate_end_diastole_frame(rolled)
    assert found is not None
    frames = cine.n_frames
    distance = (found - truth - shift) % frames
    assert min(distance, frames - distance) <= 1


def test_labels_decide_on_end_diastole_where_they_can(shared_dir):
    cine, labels = read(shared_dir, "bivme")
    assert estimate_end_diastole_frame(cine, labels) == 24
    cine, labels = read(shared_dir, "sunnybrook")
    assert estimate_end_diastole_frame(cine, labels * 3) == 19


@pytest.mark.parametrize("ejection_fraction", [0.2, 0.65])
@pytest.mark.parametrize("start", [0, 6])
def test_end_diastole_of_the_phantom(ejection_fraction, start):
    spec = PhantomSpec(frames=20, ejection_fraction=ejection_fraction, end_diastole=start, noise=0.03)
    distance = (estimate_end_diastole_frame(make_phantom(spec).cine) - start) % 20
    assert min(distance, 20 - distance) <= 1


def test_a_heart_that_does_not_beat_tells_no_end_diastole():
    phantom = make_phantom(PhantomSpec(frames=16, ejection_fraction=0.0, shortening_mm=0.0))
    still = phantom.cine.with_array(np.repeat(phantom.cine.array[:1], 16, axis=0))
    assert estimate_end_diastole_frame(still) is None

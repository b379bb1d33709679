"""Where synthetic hearts lie: like a patient's."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
from tiny_bundle import tiny_manifest

from CardioDiTLib.generation.decode import cine_affine, cine_frame_times

REAL = {
    "sunnybrook_scd0002001/SCD0002001_sax_4d.nii.gz": -1,  # both have the apex first
    "bivme_patient1/bivme_patient1_sax_4d.nii.gz": -1,
}


def directions(affine: np.ndarray) -> np.ndarray:
    return affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)


def test_slices_run_to_the_apex_and_the_picture_is_the_usual_one():
    affine = cine_affine(tiny_manifest())
    np.testing.assert_allclose(np.linalg.norm(affine[:3, :3], axis=0), (1.5, 1.5, 10.0))
    x, y, z = directions(affine).T
    np.testing.assert_allclose(directions(affine).T @ directions(affine), np.eye(3), atol=1e-12)
    assert z[0] < -0.3 and z[1] > 0.3 and z[2] < -0.3  # left, front, down
    assert x[0] < -0.5  # columns to the left: the right ventricle is on the left of the picture
    assert y[1] < -0.5  # rows backward: the front wall is on top
    middle = affine @ np.array([15.5, 15.5, 1.0, 1.0])
    assert middle[0] < 0 and np.linalg.norm(middle[:3]) < 100  # the heart: left of the middle, near the isocentre


@pytest.mark.parametrize(("path", "turn"), REAL.items())
def test_it_lies_like_real_hearts(shared_dir, path, turn):
    real = directions(nibabel.load(shared_dir / "data" / path).affine)
    ours = directions(cine_affine(tiny_manifest()))
    cosines = (real * ours).sum(axis=0) * (1, 1, turn)
    assert (cosines > 0.7).all(), cosines
    assert np.sign(np.linalg.det(ours)) == turn * np.sign(np.linalg.det(real))


def test_a_bundle_may_have_its_own():
    own = [[0, 0, -10, 1], [1.5, 0, 0, 2], [0, 1.5, 0, 3], [0, 0, 0, 1]]
    np.testing.assert_array_equal(cine_affine(tiny_manifest(affine=own)), own)


def test_frames_are_spread_over_one_cycle():
    times = cine_frame_times(tiny_manifest())
    assert times[0] == 0 and len(times) == 16
    np.testing.assert_allclose(np.append(np.diff(times), 0.8 - times[-1]), 0.05)

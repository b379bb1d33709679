"""Which end of a stack is the base, and affines for hearts that have none."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from CardioDiTLib.data.orientation import APEX_DIRECTION, base_end, short_axis_affine


@pytest.mark.parametrize("base_first", [True, False])
def test_made_up_affine_points_the_apex_left_front_and_down(base_first):
    affine = short_axis_affine((8, 128, 120), (1.5, 1.4, 10.0), base_first, (-30.0, 20.0, -20.0))
    np.testing.assert_allclose(np.linalg.norm(affine[:3, :3], axis=0), (1.5, 1.4, 10.0))
    unit = affine[:3, :3] / (1.5, 1.4, 10.0)
    np.testing.assert_allclose(unit.T @ unit, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(affine @ [59.5, 63.5, 3.5, 1], [-30.0, 20.0, -20.0, 1.0])
    base, apex = (affine @ [0, 0, z, 1] for z in ((0, 7) if base_first else (7, 0)))
    way = (apex - base)[:3]
    assert way[0] < 0 < way[1] and way[2] < 0
    assert affine[0, 0] < 0 and affine[1, 1] < 0  # columns to the patient's left, rows backward
    assert base_end(affine) == ("first" if base_first else "last")


def test_it_says_when_it_cannot_be_told():
    assert base_end(np.diag([1.5, 1.5, 10.0, 1.0])) is None
    across = np.eye(4)
    z = np.cross(APEX_DIRECTION, [0, 0, 1.0])
    z /= np.linalg.norm(z)
    y = np.cross(z, APEX_DIRECTION)
    across[:3, :3] = np.column_stack([APEX_DIRECTION, y, z])
    assert base_end(across) is None


def test_labels_tell_by_the_tapering_cavity():
    labels = np.zeros((1, 6, 20, 20), np.uint8)
    for z, size in enumerate((0, 4, 7, 10, 12, 0)):
        labels[0, z, :size, :size] = 3
    lost = np.diag([1.5, 1.5, 10.0, 1.0])
    assert base_end(lost, labels) == "last"
    assert base_end(lost, labels[:, ::-1]) == "first"


@pytest.mark.parametrize(
    "file",
    [
        "sunnybrook_scd0002001/SCD0002001_sax_4d.nii.gz",
        "bivme_patient1/bivme_patient1_sax_4d.nii.gz",
        "swine_cc0/swine_E774S5_sax_4d.nii.gz",
    ],
)
def test_real_stacks_have_their_base_last(shared_dir, file):
    assert base_end(nib.load(shared_dir / "data" / file).affine) == "last"

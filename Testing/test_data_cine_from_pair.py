"""Cines from an ED/ES pair: motion, pose, brightness, volumes."""

from __future__ import annotations

import numpy as np
import pytest
from refusals import refused

from CardioDiTLib.data.cine_from_pair import (
    base_is_last,
    choose_slices,
    find_turn,
    level_brightness,
    pose_pair,
)
from CardioDiTLib.data.motion import (
    contraction_curve,
    interpolate_phase,
    invert_partial,
    minimum_jacobian,
    register_planes,
    warp_planes,
)
from CardioDiTLib.errors import CardioDiTError

SPACING = (1.4, 1.4, 10.0)


def heart(lv_radius: float, turn_deg: float, slices: int = 8, size: int = 128) -> tuple[np.ndarray, np.ndarray]:
    """A made-up stack, base first: image and labels; the RV lies in the direction turn_deg (from +x towards +y) of
    the LV.
    """
    rows, columns = np.mgrid[0:size, 0:size].astype(float)
    angle = np.radians(turn_deg)
    labels = np.zeros((slices, size, size), np.uint8)
    for z in range(slices):
        shrink = 1.0 - 0.06 * z
        lv, wall = lv_radius * shrink, (lv_radius + (34 - lv_radius) * 0.45) * shrink + 3
        distance = np.hypot(rows - 75, columns - 66)
        rv = np.hypot(rows - 75 - 26 * shrink * np.sin(angle), columns - 66 - 26 * shrink * np.cos(angle))
        labels[z][rv < 20 * shrink] = 1
        labels[z][distance < wall] = 2
        labels[z][distance < lv] = 3
    noise = np.random.default_rng(0).normal(0, 3, labels.shape)
    image = np.array([40.0, 200.0, 90.0, 210.0])[labels] + 15 * np.sin(rows / 9) + noise
    return image, labels


def affine() -> np.ndarray:
    return np.diag([*SPACING, 1.0])


@pytest.fixture(scope="module")
def pair():
    ed, ed_labels = heart(22, 215)
    es, es_labels = heart(14, 215)
    return pose_pair(ed, es, ed_labels, es_labels, affine(), size=100, slices=6, systole=0.375, group="NOR")


def test_registration_recovers_a_known_motion():
    rng = np.random.default_rng(1)
    from scipy import ndimage

    moving = ndimage.gaussian_filter(rng.normal(size=(1, 2, 64, 64)), (0, 0, 3, 3))
    moving /= moving.std()
    rows, columns = np.mgrid[0:64, 0:64] - 31.5
    bump = np.exp(-(rows**2 + columns**2) / 300)
    truth = np.stack([np.stack([2.5 * bump] * 2), np.stack([-1.5 * bump] * 2)]).astype(np.float32)
    fixed = warp_planes(moving, truth)
    found = register_planes(fixed, moving, np.ones((1, 2)))
    middle = (slice(None), slice(None), slice(16, 48), slice(16, 48))
    assert np.abs(found - truth)[middle].mean() < 0.35
    assert minimum_jacobian(found) > 0


def test_slices_do_not_influence_each_other():
    rng = np.random.default_rng(2)
    planes = rng.normal(size=(1, 2, 32, 32))
    moved = np.roll(planes, 1, axis=-1)
    both = register_planes(planes, moved, np.ones((1, 2)))
    alone = register_planes(planes[:, :1], moved[:, :1], np.ones((1, 1)))
    np.testing.assert_allclose(both[:, :1], alone, atol=1e-5)


def test_inverse_of_a_motion_leads_back():
    rows, columns = np.mgrid[0:48, 0:48] - 23.5
    displacement = np.stack([np.stack([3 * np.exp(-(rows**2 + columns**2) / 200)])] * 2).astype(np.float32)
    back = invert_partial(displacement, 0.7)
    there = back + 0.7 * warp_planes(displacement, back)
    assert np.abs(there).max() < 0.02


def test_ends_of_the_path_are_the_given_images():
    rng = np.random.default_rng(3)
    first, second = rng.random((1, 2, 24, 24)), rng.random((1, 2, 24, 24))
    still = np.zeros((2, 2, 24, 24), np.float32)
    np.testing.assert_allclose(interpolate_phase(first, second, still, 0.0), first, atol=1e-6)
    np.testing.assert_allclose(interpolate_phase(first, second, still, 1.0), second, atol=1e-6)


@pytest.mark.parametrize("systole", [0.3, 0.375, 0.5])
def test_contraction_curve_is_one_smooth_beat(systole):
    frames = 16
    curve = contraction_curve(frames, round(systole * frames) / frames)
    assert curve[0] == 0
    peak = int(curve.argmax())
    assert peak == round(systole * frames) and curve[peak] == pytest.approx(1.0)
    assert np.all(np.diff(curve[: peak + 1]) > 0) and np.all(np.diff(curve[peak:]) <= 1e-9)
    # The last frame leads on to the first without a jump larger than those inside the beat.
    assert abs(curve[-1] - curve[0]) <= np.abs(np.diff(curve)).max()


def test_pose_puts_the_right_ventricle_on_the_left(pair):
    assert find_turn(pair.labels[0], pair.spacing) == pytest.approx(180, abs=3) or find_turn(
        pair.labels[0], pair.spacing
    ) == pytest.approx(-180, abs=3)
    where = np.nonzero(pair.labels[0, 1:5] > 0)
    middle = [(axis.min() + axis.max()) / 2 for axis in where[1:]]
    np.testing.assert_allclose(middle, 49.5, atol=3)


def test_turn_and_affine_lead_back_to_the_source(pair):
    """The LV's centre on the posed grid, sent through the recorded affine, is the LV's centre in the source."""
    _, labels = heart(22, 215)
    where = np.nonzero(pair.labels[0, 3] == 3)
    posed = np.array([where[1].mean(), where[0].mean(), 3.0, 1.0])
    world = pair.affine @ posed
    source_z = world[2] / SPACING[2]
    truth = np.nonzero(labels[round(source_z)] == 3)
    np.testing.assert_allclose(world[:2] / SPACING[0], [truth[1].mean(), truth[0].mean()], atol=0.7)


@pytest.mark.parametrize("turn", [90.0, 330.0])
def test_any_turn_gives_the_same_posed_heart(turn):
    made = pose_pair(
        *(heart(22, turn)[0], heart(14, turn)[0], heart(22, turn)[1], heart(14, turn)[1]), affine(), size=100, slices=4
    )
    rv = np.nonzero(made.labels[0, 3] == 1)
    lv = np.nonzero(made.labels[0, 3] == 3)
    assert rv[1].mean() < lv[1].mean() - 10
    assert rv[0].mean() == pytest.approx(lv[0].mean(), abs=2)


def test_apex_first_input_is_turned_over(pair):
    ed, ed_labels = heart(22, 215)
    es, es_labels = heart(14, 215)
    turned = pose_pair(*(v[::-1] for v in (ed, es, ed_labels, es_labels)), affine(), size=100, slices=6)
    assert base_is_last(ed_labels[::-1]) and not base_is_last(ed_labels)
    np.testing.assert_array_equal(turned.labels, pair.labels)
    # Slice 0 is the base: its world position is that of the source's last slice.
    assert (turned.affine @ [0, 0, 0, 1])[2] == pytest.approx((ed.shape[0] - 1) * SPACING[2], abs=20.1)
    assert turned.affine[2, 2] == pytest.approx(-10.0)


def test_frames_go_from_ed_to_es_and_back(pair):
    images, labels = pair.frames(16)
    volume = (labels == 3).sum(axis=(1, 2, 3)).astype(float)
    np.testing.assert_array_equal(images[0], pair.images[0])
    np.testing.assert_array_equal(labels[0], pair.labels[0])
    assert volume[6] == volume.min()
    np.testing.assert_allclose(volume[6], (pair.labels[1] == 3).sum(), rtol=0.03)
    assert np.all(np.diff(volume[:6]) < 0)
    # Motion between the two, not a cross-fade: half-way, the border of the cavity is as sharp as at ED.
    half = images[3, 4].astype(float)
    assert np.abs(np.gradient(half)[1]).max() > 0.6 * np.abs(np.gradient(images[0, 4].astype(float))[1]).max()


def test_brightness_of_slices_is_levelled():
    image, labels = heart(22, 180)
    gains = np.linspace(0.6, 1.6, len(image))[:, None, None]
    uneven = np.stack([image * gains, image / gains])
    level = level_brightness(uneven, np.stack([labels, labels]))
    blood = [np.median(level[p, z][labels[z] == 3]) for p in range(2) for z in range(6)]
    assert np.std(blood) / np.mean(blood) < 0.03


@pytest.mark.parametrize(("count", "valid"), [(6, 6), (8, 8), (11, 8)])
def test_missing_slices_are_marked(count, valid):
    labels = np.zeros((count, 4, 4), np.uint8)
    labels[:, 1, 1] = 3
    place, known = choose_slices(labels, 10.0, 8, 10.0)
    assert known.sum() == valid and place.max() <= count - 1
    assert np.all(np.diff(place[known]) == 1)


def test_thin_slices_are_taken_at_the_grids_distance():
    labels = np.zeros((16, 4, 4), np.uint8)
    labels[:, 1, 1] = 3
    place, known = choose_slices(labels, 5.0, 8, 10.0)
    np.testing.assert_allclose(place, 0.5 + 2 * np.arange(8))
    assert known.all()


def test_labels_without_a_right_ventricle_are_refused():
    image, labels = heart(22, 180)
    labels[labels == 1] = 0
    with pytest.raises(CardioDiTError, match="both ventricles"):
        pose_pair(image, image, labels, labels, affine())


def test_shapes_that_differ_are_refused():
    image, labels = heart(22, 180)
    with refused((8, 128, 128), (7, 128, 128)):
        pose_pair(image, image[:-1], labels, labels, affine())


@pytest.mark.parametrize("thick", [10.0, 5.0, 10.0 / 3, 2.5])
def test_slices_show_what_lies_where_the_affine_says(thick):
    """Surroundings that grow brighter from slice to slice tell the place, in mean and in width."""
    ratio = round(10 / thick)
    slices = 6 * ratio
    images, labels = (np.repeat(part[:6], ratio, axis=0) for part in heart(22, 40))
    places = np.arange(slices, dtype=float)[:, None, None]
    images = np.where(labels == 0, 20 + 60 * places / slices, np.where(labels == 2, 60, 200.0))
    grid = np.diag([1.4, 1.4, thick, 1.0])
    made = pose_pair(images, images, labels, labels, grid, size=100, slices=5)
    blood = np.median(made.images[0][made.labels[0] == 3])
    around = (made.labels[0] == 0) & (made.images[0] > 5)  # beyond the picture it is black
    shown = np.array([np.median(made.images[0, z][around[z]]) for z in range(5)]) * 200 / blood
    at = (np.linalg.inv(grid) @ made.affine @ np.array([[0.0] * 5, [0.0] * 5, np.arange(5.0), [1.0] * 5]))[2]
    np.testing.assert_allclose((shown - 20) * slices / 60, at, atol=0.2)

"""To a model's grid and back: mm, mL, seconds and orientation are kept."""

from __future__ import annotations

import json
from functools import cache

import nibabel as nib
import numpy as np
import pytest
from refusals import refused

from CardioDiTLib.cine import Cine, Segmentation
from CardioDiTLib.data.grid_transform import GridTransform
from CardioDiTLib.data.orientation import short_axis_affine
from CardioDiTLib.data.phantom import PhantomSpec, make_phantom
from CardioDiTLib.data.preprocess import from_grid, labels_to_grid, on_grid, to_grid
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.grid import ModelGrid

GRID = ModelGrid(slices=10, height=96, width=96, frames=8, spacing_mm=(1.5, 1.5, 10.0))


def spec(**changes):
    values = dict(frames=12, slices=10, height=104, width=112, spacing_mm=(1.4, 1.4, 10.0), noise=0.0)
    return PhantomSpec(**{**values, **changes})


@cache
def made(**changes):
    """Phantoms are drawn once; nobody writes to them."""
    return make_phantom(spec(**changes))


def affine_of(kind, phantom_spec):
    shape = (phantom_spec.slices, phantom_spec.height, phantom_spec.width)
    affine = short_axis_affine(shape, phantom_spec.spacing_mm, phantom_spec.base_first)
    if kind == "plain":
        return np.diag([*phantom_spec.spacing_mm, 1.0])
    if kind == "mirrored":
        return affine @ np.diag([-1.0, 1.0, 1.0, 1.0])
    return affine


def volume_ml(labels, affine, label):
    return (labels == label).sum(axis=(1, 2, 3)) * abs(np.linalg.det(affine[:3, :3])) / 1000


def heart_box(phantom):
    where = np.argwhere(phantom.segmentation.array.any(axis=0))
    low, high = where.min(axis=0), where.max(axis=0) + 1
    return (slice(None), *(slice(a, b) for a, b in zip(low, high)))


@pytest.mark.parametrize("kind", ["oblique", "mirrored", "plain"])
@pytest.mark.parametrize(
    "changes", [{}, {"spacing_mm": (1.2, 1.6, 8.0), "width": 130, "slices": 12}], ids=["", "uneven"]
)
def test_there_and_back_gives_the_cine_again(kind, changes):
    given = spec(**changes)
    phantom = make_phantom(given, affine_of(kind, given))
    array, transform = to_grid(phantom.cine, GRID, labels=phantom.segmentation)
    assert array.shape == GRID.shape and array.dtype == np.float32
    assert array.min() >= -1 and array.max() <= 1
    back = from_grid(array, transform)
    assert back.shape == phantom.cine.array.shape
    box = heart_box(phantom)
    error = np.sqrt(np.mean((back[box] - phantom.cine.array[box]) ** 2)) / np.ptp(phantom.cine.array[box])
    assert error < (0.05 if not changes else 0.09)


def test_without_resampling_in_space_or_time_nothing_is_lost():
    phantom = made()
    grid = ModelGrid(10, 104, 112, 12, (1.4, 1.4, 10.0))
    centre = phantom.cine.index_to_ras([55.5, 51.5, 4.5])
    array, transform = to_grid(phantom.cine, grid, centre, percentiles=(0, 100))
    np.testing.assert_allclose(transform.grid_affine, phantom.cine.affine, atol=1e-9)
    np.testing.assert_allclose(from_grid(array, transform), phantom.cine.array, atol=0.01)


def test_label_volumes_are_kept_there_and_back():
    phantom = made()
    _, transform = to_grid(phantom.cine, GRID, labels=phantom.segmentation, end_diastole=None)
    labels = labels_to_grid(phantom.segmentation, transform)
    assert labels.dtype == np.uint8 and labels.shape == GRID.shape
    back = from_grid(labels, transform)
    assert back.dtype == np.uint8
    for label in (1, 2, 3):
        # Frames 0, 2, 4 and 6 of the grid are frames 0, 3, 6 and 9 of the source.
        source = volume_ml(phantom.segmentation.array, phantom.cine.affine, label)[::3]
        np.testing.assert_allclose(volume_ml(labels, transform.grid_affine, label)[::2], source, rtol=0.015)
        np.testing.assert_allclose(volume_ml(back, phantom.cine.affine, label)[::3], source, rtol=0.02)


@pytest.mark.parametrize("depth", [6.0, 8.0, 12.0])
def test_other_slice_distances_change_a_volume_by_less_than_about_half_a_basal_slice(depth):
    phantom = made(spacing_mm=(1.4, 1.4, depth), slices=round(110 / depth))
    _, transform = to_grid(phantom.cine, GRID, labels=phantom.segmentation, end_diastole=None)
    labels = labels_to_grid(phantom.segmentation, transform)
    pixels = (phantom.segmentation.array[::3] == 3).sum(axis=(2, 3)).max(axis=1)
    half_slice = pixels * 1.4**2 * (depth + 10.0) / 2 / 2 / 1000 + 2.0
    source = volume_ml(phantom.segmentation.array, phantom.cine.affine, 3)[::3]
    assert (np.abs(volume_ml(labels, transform.grid_affine, 3)[::2] - source) < half_slice).all()
    again = volume_ml(from_grid(labels, transform), phantom.cine.affine, 3)[::3]
    assert (np.abs(again - source) < 2 * half_slice).all()  # another half on the way back


def test_the_grids_affine_puts_the_heart_where_it_was():
    phantom = made(centre_mm=(20.0, -12.0))
    array, transform = to_grid(phantom.cine, GRID, labels=phantom.segmentation)
    labels = on_grid(labels_to_grid(phantom.segmentation, transform), transform)
    assert isinstance(labels, Segmentation) and isinstance(on_grid(array, transform), Cine)

    def centroid(segmentation, frame):
        index = np.argwhere(segmentation.array[frame] == 3)[:, ::-1].mean(axis=0)
        return segmentation.index_to_ras(index)

    np.testing.assert_allclose(centroid(labels, 0), centroid(phantom.segmentation, 0), atol=0.3)
    # The heart, 20 mm off the middle of the recorded picture, is in the middle of the grid.
    middle = np.argwhere(labels.array.any(axis=0))[:, ::-1].mean(axis=0)
    np.testing.assert_allclose(middle[:2], 47.5, atol=8.0)


def test_seconds_are_kept():
    phantom = made(cycle_s=0.8, end_diastole=5)
    array, transform = to_grid(phantom.cine, GRID)
    cine = on_grid(array, transform)
    assert cine.cycle_s == pytest.approx(0.8)
    assert transform.end_diastole_known and abs(transform.first_frame - 5) <= 1
    _, kept = to_grid(phantom.cine, GRID, end_diastole=None)
    assert kept.first_frame == 0 and not kept.end_diastole_known


def test_end_diastole_comes_first_and_goes_back_to_its_place():
    phantom = made(end_diastole=7)
    _, transform = to_grid(phantom.cine, GRID, labels=phantom.segmentation)
    assert transform.first_frame == 7
    labels = labels_to_grid(phantom.segmentation, transform)
    assert int(np.argmax(volume_ml(labels, transform.grid_affine, 3))) == 0
    back = from_grid(labels, transform)
    assert int(np.argmax(volume_ml(back, phantom.cine.affine, 3))) == 7


def test_uneven_frame_times_are_honoured():
    phantom = made(frames=40, slices=6, height=96, width=96, cycle_s=1.0)
    keep = np.array([0, 1, 3, 4, 7, 9, 12, 13, 16, 18, 21, 24, 25, 28, 31, 33, 36, 38])
    uneven = Cine(phantom.cine.array[keep], phantom.cine.affine, phantom.cine.frame_times[keep], {})
    grid = ModelGrid(6, 80, 80, 20, (1.5, 1.5, 10.0))
    centre = phantom.centre_ras_mm
    whole, _ = to_grid(phantom.cine, grid, centre, end_diastole=None)
    thinned, transform = to_grid(uneven, grid, centre, end_diastole=None)
    assert transform.cycle_s == pytest.approx(0.975, abs=0.1)
    as_if_even = Cine(uneven.array, uneven.affine, np.arange(len(keep)) / len(keep), {})
    wrong, _ = to_grid(as_if_even, grid, centre, end_diastole=None)
    assert np.abs(thinned - whole).mean() < 0.7 * np.abs(wrong - whole).mean()


def test_slices_outside_the_stack_are_marked_not_invented():
    phantom = made(slices=6)
    array, transform = to_grid(phantom.cine, GRID, labels=phantom.segmentation)
    assert transform.slice_valid == (False, False, *(True,) * 6, False, False)
    assert (array[:, [0, 1, 8, 9]] == -1).all() and (array[:, 2:8].max(axis=(0, 2, 3)) > 0).all()
    labels = labels_to_grid(phantom.segmentation, transform)
    assert not labels[:, [0, 1, 8, 9]].any()
    # Empty slices do not bleed into the recorded ones on the way back, whatever a model puts there.
    array[:, [0, 1, 8, 9]] = 1.0
    box = heart_box(phantom)
    back = from_grid(array, transform)[box]
    assert np.sqrt(np.mean((back - phantom.cine.array[box]) ** 2)) < 0.05 * np.ptp(phantom.cine.array[box])


def test_equal_slice_distance_blends_no_slices():
    phantom = made(slices=12)
    grid = ModelGrid(8, 96, 96, 12, (1.4, 1.4, 10.0))
    _, transform = to_grid(phantom.cine, grid)
    z = transform.grid_to_source[2, 2] * np.arange(8) + transform.grid_to_source[2, 3]
    np.testing.assert_allclose(z, np.round(z), atol=1e-9)
    assert all(transform.slice_valid)


@pytest.mark.parametrize("base_first", [True, False])
def test_base_first_orders_the_slices_and_keeps_the_picture(base_first):
    phantom = made(base_first=base_first)
    kept, plain = to_grid(phantom.cine, GRID, phantom.centre_ras_mm)
    ordered, transform = to_grid(phantom.cine, GRID, phantom.centre_ras_mm, base_first=True)
    assert bool(transform.grid_to_source[2, 2] < 0) is (not base_first) and plain.grid_to_source[2, 2] > 0
    np.testing.assert_allclose(ordered, kept if base_first else kept[:, ::-1], atol=1e-5)
    area = (labels_to_grid(phantom.segmentation, transform) == 3).sum(axis=(0, 2, 3))
    assert area[:4].sum() > area[-4:].sum()
    box = heart_box(phantom)
    back = from_grid(ordered, transform)[box]
    assert np.sqrt(np.mean((back - phantom.cine.array[box]) ** 2)) < 0.05 * np.ptp(phantom.cine.array[box])


def test_the_turn_is_counter_clockwise_and_undone_on_the_way_back():
    phantom = made(septum_deg=180.0)
    turned, transform = to_grid(phantom.cine, GRID, phantom.centre_ras_mm, rotation_deg=-60.0)
    wanted = made(septum_deg=120.0)
    labels = labels_to_grid(phantom.segmentation, transform)
    _, other = to_grid(wanted.cine, GRID, wanted.centre_ras_mm)
    expected = labels_to_grid(wanted.segmentation, other)
    overlap = 2 * ((labels == 1) & (expected == 1)).sum() / ((labels == 1).sum() + (expected == 1).sum())
    assert overlap > 0.95
    back = from_grid(labels, transform)
    for label in (1, 2, 3):
        same = (back[::3] == label) & (phantom.segmentation.array[::3] == label)
        both = (back[::3] == label).sum() + (phantom.segmentation.array[::3] == label).sum()
        assert 2 * same.sum() / both > 0.95
    assert turned.shape == GRID.shape


def test_a_coarser_grid_is_smoothed_before_it_is_sampled():
    rng = np.random.default_rng(0)
    noise = rng.normal(500, 100, (6, 8, 96, 96)).astype(np.float32)
    cine = Cine(noise, np.diag([1.0, 1.0, 4.0, 1.0]), np.arange(6) * 0.1, {})
    coarse = ModelGrid(4, 24, 24, 6, (4.0, 4.0, 8.0))
    array, transform = to_grid(cine, coarse, cine.index_to_ras([47.5, 47.5, 3.5]), end_diastole=None)
    assert np.std(transform.intensity.unscale(array)) < 40.0
    flat = cine.with_array(np.full_like(noise, 300.0) + noise * 1e-3)
    _, level = to_grid(flat, coarse, cine.index_to_ras([47.5, 47.5, 3.5]), end_diastole=None)
    assert level.intensity.low == pytest.approx(300.5, abs=0.2)


def test_padding_beyond_the_picture():
    phantom = made(height=80, width=80)
    array, _ = to_grid(phantom.cine, GRID, phantom.centre_ras_mm)
    assert (array[..., :9, :] == -1).all() and (array[..., :, -9:] == -1).all()
    edge, _ = to_grid(phantom.cine, GRID, phantom.centre_ras_mm, padding="edge")
    np.testing.assert_allclose(edge[..., 0, :], edge[..., 5, :], atol=1e-5)
    assert edge[..., 5, 48].max() > -1


def test_what_the_grid_did_not_cover_is_dark_or_as_asked():
    phantom = made()
    small = ModelGrid(4, 48, 48, 8, (1.5, 1.5, 10.0))
    array, transform = to_grid(phantom.cine, small, phantom.centre_ras_mm)
    back = from_grid(array, transform)
    assert back[0, 0, 0, 0] == pytest.approx(transform.intensity.low)
    assert from_grid(array, transform, fill=-7.0)[0, 0, 0, 0] == -7.0
    chance = from_grid(np.full(small.shape, 0.25, np.float32), transform, 1, fill=0.0, rescale=False)
    assert chance[0, 5, 52, 56] == pytest.approx(0.25) and chance[0, 0, 0, 0] == 0.0


def test_levelling_is_undone_on_the_way_back():
    phantom = made()
    gains = np.array([1.0, 1.5, 0.7, 1.2, 0.8, 1.4, 1.0, 0.6, 1.3, 0.9], np.float32)
    spoilt = phantom.cine.with_array(phantom.cine.array * gains[None, :, None, None])
    array, transform = to_grid(spoilt, GRID, level=True)
    blood = [np.median(array[0, z][labels_to_grid(phantom.segmentation, transform)[0, z] == 3]) for z in range(2, 8)]
    assert np.ptp(blood) < 0.35
    box = heart_box(phantom)
    error = from_grid(array, transform)[box] - spoilt.array[box]
    assert np.sqrt(np.mean(error**2)) < 0.06 * np.ptp(spoilt.array[box])


def test_the_published_repetition_goes_there_and_back():
    phantom = made(end_diastole=4)
    grid = ModelGrid(10, 104, 112, 16, (1.4, 1.4, 10.0))
    centre = phantom.cine.index_to_ras([55.5, 51.5, 4.5])
    array, transform = to_grid(phantom.cine, grid, centre, labels=phantom.segmentation, time_method="repeat")
    np.testing.assert_array_equal(array[12:], array[:4])
    assert transform.grid_frame_times[1] == pytest.approx(0.9 / 12)
    back = from_grid(labels_to_grid(phantom.segmentation, transform), transform)
    np.testing.assert_array_equal(back, phantom.segmentation.array)
    cut, transform = to_grid(phantom.cine, GRID, centre, time_method="repeat")
    with pytest.raises(CardioDiTError, match="cut"):
        from_grid(cut, transform)


def test_the_record_survives_json():
    phantom = made()
    array, transform = to_grid(phantom.cine, GRID, level=True, rotation_deg=12.0, base_first=True)
    again = GridTransform.from_dict(json.loads(json.dumps(transform.to_dict())))
    np.testing.assert_array_equal(from_grid(array, again), from_grid(array, transform))
    with pytest.raises(CardioDiTError):
        GridTransform.from_dict({"grid": {}})


def test_misfits_are_refused():
    phantom = made()
    array, transform = to_grid(phantom.cine, GRID)
    with refused((4, 10, 96, 96), (8, 10, 96, 96)):
        from_grid(array[:4], transform)
    with refused("labels", (3, 10, 104, 112), (12, 10, 104, 112)):
        to_grid(phantom.cine, GRID, labels=phantom.segmentation.array[:3])
    with refused("heart", "labels"):
        to_grid(phantom.cine, GRID, labels=np.zeros_like(phantom.segmentation.array))
    with pytest.raises(CardioDiTError, match="outside"):
        to_grid(phantom.cine, GRID, centre=(5000.0, 0.0, 0.0))
    with refused("centre", (1.0, 2.0)):
        to_grid(phantom.cine, GRID, centre=(1.0, 2.0))
    with refused("frame 99", 11):
        to_grid(phantom.cine, GRID, end_diastole=99)


@pytest.mark.parametrize(
    "file", ["sunnybrook_scd0002001/SCD0002001_sax_4d.nii.gz", "bivme_patient1/bivme_patient1_sax_4d.nii.gz"]
)
def test_real_cines_there_and_back(shared_dir, file):
    image = nib.load(shared_dir / "data" / file)
    array = np.asarray(image.dataobj).T
    cine = Cine(array, image.affine, np.arange(len(array)) * float(image.header.get_zooms()[3]), {})
    grid = ModelGrid(8, 128, 128, 16, (1.5, 1.5, cine.spacing[2]))
    values, transform = to_grid(cine, grid, base_first=True)
    assert transform.grid_to_source[2, 2] < 0 and transform.end_diastole_known
    back = from_grid(values, transform, fill=np.nan)
    covered = np.isfinite(back)
    low, high = transform.intensity.low, transform.intensity.high
    error = back[covered] - np.clip(array[covered], low, high)
    assert covered.mean() > 0.2
    assert np.sqrt(np.mean(error**2)) < 0.05 * (high - low)

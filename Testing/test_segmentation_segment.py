"""Labels on the cine's own grid, whatever that is; bounded memory; cancelling."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from refusals import refused
from tiny_segmentation import tiny_model, tiny_model_folder

from CardioDiTLib.cine import Cine
from CardioDiTLib.data.canonical_view import CanonicalView
from CardioDiTLib.data.heart_roi import heart_roi
from CardioDiTLib.data.in_plane import PlaneSampler
from CardioDiTLib.data.orientation import short_axis_affine
from CardioDiTLib.data.phantom import PhantomSpec, make_phantom
from CardioDiTLib.data.slice_inference import slices_seen
from CardioDiTLib.errors import Cancelled, CardioDiTError
from CardioDiTLib.segmentation.segment import segment, slice_probabilities


def phantom(**values):
    return make_phantom(PhantomSpec(**{"frames": 6, "slices": 4, "height": 48, "width": 48, **values}))


@pytest.fixture(scope="module")
def small():
    return phantom(spacing_mm=(3.0, 3.0, 20.0))


@pytest.mark.parametrize(
    "frames, slices, height, width, spacing",
    [
        (2, 1, 31, 47, (3.1, 2.2, 8.0)),
        (7, 3, 60, 20, (1.37, 4.0, 12.5)),
        (6, 12, 9, 11, (14.0, 12.0, 1.5)),
        (6, 2, 150, 170, (0.8, 0.8, 10.0)),
        (6, 2, 100, 100, (4.0, 4.0, 10.0)),
    ],
)
def test_the_grid_that_goes_in_comes_out(frames, slices, height, width, spacing):
    cine = phantom(frames=frames, slices=slices, height=height, width=width, spacing_mm=spacing).cine
    found = segment(cine, weights=tiny_model())
    assert found.shape == cine.shape and found.array.dtype == np.uint8
    np.testing.assert_array_equal(found.affine, cine.affine)
    np.testing.assert_array_equal(found.frame_times, cine.frame_times)
    assert found.meta["segmentation"]["name"] == "tiny" and found.meta["synthetic"] is True


def stored_otherwise(cine: Cine, swap: bool, flips: tuple[bool, bool, bool]) -> Cine:
    """The same patient with the axes (x, y, z) of the file exchanged and reversed."""
    array, affine = cine.array, cine.affine.copy()
    for axis, flip in enumerate(flips):
        if flip:
            array = np.flip(array, 3 - axis)
            affine[:3, 3] += affine[:3, axis] * (cine.array.shape[3 - axis] - 1)
            affine[:3, axis] *= -1
    if swap:
        array = array.swapaxes(2, 3)
        affine = affine[:, [1, 0, 2, 3]]
    return Cine(np.ascontiguousarray(array), affine, cine.frame_times)


@pytest.mark.parametrize("plausible", [False, True])
@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("flips", [(True, False, False), (False, True, True), (True, True, True)])
def test_however_it_is_stored_the_labels_lie_at_the_same_place_in_the_patient(swap, flips, plausible):
    cine = phantom(frames=2, slices=3, height=40, width=34, spacing_mm=(3.2, 2.9, 20.0)).cine
    model = tiny_model()
    straight = segment(cine, weights=model, plausible=plausible)
    assert len(np.unique(straight.array)) > 1
    other = stored_otherwise(cine, swap, flips)
    found = segment(other, weights=model, plausible=plausible).array
    if swap:
        found = found.swapaxes(2, 3)
    for axis, flip in enumerate(flips):
        if flip:
            found = np.flip(found, 3 - axis)
    np.testing.assert_array_equal(found, straight.array)


def test_canonical_views_agree_and_are_undone():
    affine = short_axis_affine((4, 5, 6), (1.0, 1.0, 1.0))
    assert CanonicalView.of(affine) == CanonicalView(False, False, False, False)
    array = np.arange(2 * 4 * 5 * 6).reshape(2, 4, 5, 6)
    for swap in (False, True):
        for number in range(8):
            view = CanonicalView(swap, bool(number & 1), bool(number & 2), bool(number & 4))
            np.testing.assert_array_equal(view.undo(view.apply(array)), array)
    assert CanonicalView(True, False, False, False).spacing((1.0, 2.0, 3.0)) == (2.0, 1.0, 3.0)


def test_resampling_keeps_places_and_areas():
    y, x = np.mgrid[0:90, 0:120].astype(np.float32)
    disc = (np.hypot((y - 50) * 1.1, (x - 40) * 0.8) < 22).astype(np.float32)
    sampler = PlaneSampler((90, 120), (0.8, 1.1), 1.5)
    assert sampler.shape == (66, 64)
    back = sampler.to_source(sampler.to_network(disc))
    assert (back > 0.5).sum() == pytest.approx(disc.sum(), rel=0.02)
    assert 2 * ((back > 0.5) & (disc > 0.5)).sum() / ((back > 0.5).sum() + disc.sum()) > 0.97
    inner = back[30:70, 20:60] - disc[30:70, 20:60]
    assert abs(float(inner.mean())) < 0.02


def test_a_slice_stands_in_for_neighbours_that_are_not_there():
    valid = np.array([True, True, False, True])
    assert slices_seen(0, valid, 1) == [0, 0, 1]
    assert slices_seen(1, valid, 1) == [0, 1, 1]
    assert slices_seen(3, valid, 1, step=2) == [1, 3, 3]


def test_batches_bound_the_memory_and_do_not_change_the_labels(small):
    model = tiny_model()
    largest = []
    hook = model.network.unet.register_forward_pre_hook(lambda _, given: largest.append(len(given[0])))
    one = segment(small.cine, weights=model, batch=1, posed=False, mirrored=False)
    assert max(largest) == 1 and len(largest) == 6 * 4
    largest.clear()
    three = segment(small.cine, weights=model, batch=3, posed=False, mirrored=False)
    assert max(largest) == 3
    hook.remove()
    assert (one.array != three.array).mean() < 1e-3
    with refused("batch", 0):
        segment(small.cine, weights=model, batch=0)


def test_probabilities_are_probabilities_and_mirrors_are_averaged():
    model = tiny_model()
    stack = np.random.default_rng(0).uniform(-1, 1, (3, 24, 32)).astype(np.float32)
    plain = slice_probabilities(model.network, stack)
    np.testing.assert_allclose(plain.sum(axis=1), 1, atol=1e-5)
    mean = slice_probabilities(model.network, stack, tta=True)
    assert np.abs(mean - plain).max() > 1e-3
    flipped = slice_probabilities(model.network, np.ascontiguousarray(stack[..., ::-1]), tta=True)
    np.testing.assert_allclose(flipped[..., ::-1], mean, atol=1e-5)


def test_brightness_and_contrast_of_the_file_do_not_matter(small):
    model = tiny_model()
    cine = small.cine
    bright = cine.with_array((cine.array * 3.5 + 200).astype(np.float32))
    same = segment(bright, weights=model).array == segment(cine, weights=model).array
    assert same.mean() > 0.999


def test_progress_is_told_frame_by_frame_and_cancel_is_asked(small):
    model, told = tiny_model(), []
    segment(small.cine, weights=model, progress=lambda done, of: told.append((done, of)))
    assert told[:6] == [(n, 6) for n in range(1, 7)]
    with pytest.raises(Cancelled):
        segment(small.cine, weights=model, cancel=lambda: True)
    event = threading.Event()
    seen = []

    def stop_after_two(done, of):
        seen.append(done)
        if done == 2:
            event.set()

    with pytest.raises(Cancelled):
        segment(small.cine, weights=model, progress=stop_after_two, cancel=event)
    assert seen == [1, 2]


def test_a_large_picture_is_looked_at_about_the_heart():
    spec = {"frames": 8, "slices": 4, "height": 120, "width": 120, "spacing_mm": (3.0, 3.0, 12.0)}
    made = phantom(**spec, centre_mm=(45.0, -30.0))
    rows, columns = heart_roi(made.cine.array, made.cine.spacing, 180.0)
    assert (rows.stop - rows.start, columns.stop - columns.start) == (60, 60)
    labels = made.segmentation.array.any(axis=(0, 1))
    assert labels[rows, columns].sum() == labels.sum()
    still = np.repeat(made.cine.array[:1], 2, axis=0)
    assert heart_roi(still, made.cine.spacing, 180.0) == (slice(30, 90), slice(30, 90))
    assert heart_roi(made.cine.array, made.cine.spacing, 350.0) == (slice(0, 120), slice(0, 120))


def test_the_whole_picture_is_searched_where_the_window_holds_no_cavity():
    model = tiny_model()
    sizes = []

    class Never(torch.nn.Linear):
        def forward(self, pictures):
            sizes.append(tuple(pictures.shape[-2:]))
            logits = torch.zeros(len(pictures), 4, *pictures.shape[-2:])
            logits[:, 0] = 1
            return logits

    model.network.unet = Never(1, 1)
    cine = phantom(frames=2, slices=1, height=120, width=120, spacing_mm=(3.0, 3.0, 12.0)).cine
    assert not segment(cine, weights=model, mirrored=False).array.any()
    # both frames to see where the heart lies, and once more
    assert sizes == [(76, 76)] * 4 + [(120, 120)] * 4


def test_blank_images_and_unknown_devices_are_a_sentence(small, tmp_path):
    folder = tiny_model_folder(tmp_path / "model", "fp16")
    blank = small.cine.with_array(np.zeros(small.cine.shape, np.int16))
    with pytest.raises(CardioDiTError, match="blank"):
        segment(blank, weights=folder)
    for device in ("abacus", "cuda:99", "meta"):
        with pytest.raises(CardioDiTError, match=device):
            segment(small.cine, weights=folder, device=device)


def test_running_out_of_memory_is_a_sentence_and_other_faults_are_not_hidden(small):
    for message, kind in (("DefaultCPUAllocator: can't allocate memory", CardioDiTError), ("a fault", RuntimeError)):
        model = tiny_model()

        def fail(*_, message=message):
            raise RuntimeError(message)

        model.network.unet.register_forward_pre_hook(fail)
        with pytest.raises(kind) as caught:
            segment(small.cine, weights=model)
        assert ("memory" in str(caught.value) and "cpu" in str(caught.value)) == (kind is CardioDiTError)


def test_a_folder_and_its_model_give_the_same(small, tmp_path):
    folder = tiny_model_folder(tmp_path / "model")
    found = segment(small.cine, weights=str(folder))
    np.testing.assert_array_equal(found.array, segment(small.cine, weights=tiny_model()).array)
    assert len(found.meta["segmentation"]["sha256"]) == 64

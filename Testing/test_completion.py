"""Filling what is missing and varying what is there, with a tiny generator."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from privacy_bundle import write_privacy_bundle
from refusals import names, refused
from tiny_bundle import SHAPE, tiny_manifest, write_steered_bundle, write_tiny_bundle

import CardioDiTLib as cd
from CardioDiTLib.bundles import load_bundle
from CardioDiTLib.cine import Cine, Segmentation
from CardioDiTLib.completion.completer import Completer
from CardioDiTLib.completion.known_latents import KnownLatents
from CardioDiTLib.completion.missing import check_missing, grid_missing, interpolated, parse_indices
from CardioDiTLib.completion.placement import BLOOD_ENTRY, place
from CardioDiTLib.completion.strength import levels_from
from CardioDiTLib.completion.vary import _similarity
from CardioDiTLib.data.orientation import short_axis_affine
from CardioDiTLib.data.preprocess import to_grid
from CardioDiTLib.diffusion import NoiseSchedule
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.grid import ModelGrid
from CardioDiTLib.models.latent_scale import LatentScale
from CardioDiTLib.privacy.gate import Gate

SPACING = (1.5, 1.5, 10.0)


@pytest.fixture(scope="module")
def completer(tmp_path_factory):
    return Completer(write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny"), "cpu", "fp32")


def own_cine(seed: int = 0) -> Cine:
    """A cine that looks as if the tiny bundle had made it."""
    array = np.random.default_rng(seed).integers(0, 1000, SHAPE).astype(np.int16)
    affine = short_axis_affine(SHAPE[1:], SPACING)
    return Cine(array, affine, np.arange(16) * 0.05, {"synthetic": True, "model": "tiny", "seed": 3})


def heart(turn: float = 180.0, frames: int = 12, slices: int = 5, size: int = 64) -> tuple[Cine, Segmentation]:
    """A round left ventricle off the middle, smaller towards the apex and in systole; the right one lies at `turn`
    degrees from the columns' direction towards that of the rows."""
    y, x = np.mgrid[0:size, 0:size].astype(float)
    labels = np.zeros((frames, slices, size, size), np.uint8)
    way = np.array([np.cos(np.radians(turn)), np.sin(np.radians(turn))])
    for t in range(frames):
        shrink = 1 - 0.35 * np.sin(np.pi * t / frames) ** 2
        for z in range(slices):
            radius = (9 - 1.2 * z) * shrink
            middle = np.array([36.0, 29.0])
            right = middle + way * (radius + 7)
            labels[t, z][np.hypot(x - right[0], y - right[1]) < 6] = 1
            far = np.hypot(x - middle[0], y - middle[1])
            labels[t, z][far < radius + 3] = 2
            labels[t, z][far < radius] = 3
    grey = np.array([20, 200, 60, 180], np.float32)[labels]
    affine = short_axis_affine((slices, size, size), SPACING)
    times = np.arange(frames) * 0.07
    return Cine(grey, affine, times), Segmentation(labels, affine, times)


def test_numbers_as_users_write_them():
    assert parse_indices("4-6, 1,5", "x") == (1, 4, 5, 6)
    for text in ("", "1,,2", "7-4", "-1", "a", "1.5", "1-2-3"):
        with refused("--missing-frames"):
            parse_indices(text, "--missing-frames")


def test_what_cannot_be_missing():
    cine = own_cine()
    for slices, frames in (((3,), ()), ((), (16,)), ((-1,), ()), ((0, 1), ()), ((), range(15))):
        with pytest.raises(CardioDiTError):
            check_missing(cine, slices, frames)


def test_interpolation_reads_nothing_that_is_missing():
    """A cine that is linear in slices and frames comes back, whatever lies at the missing places."""
    t, z = np.arange(8.0)[:, None, None, None], np.arange(5.0)[None, :, None, None]
    true = np.broadcast_to(10 * z + np.minimum(t, 8 - t), (8, 5, 4, 4)).astype(np.float32)
    spoiled = true.copy()
    spoiled[:, [1, 4]] = np.nan
    spoiled[[0, 2]] = np.nan
    cine = Cine.__new__(Cine)  # holds NaN, which a Cine would keep as well, but says so aloud
    for name, value in (("array", spoiled), ("affine", np.eye(4)), ("frame_times", np.arange(8) * 0.1), ("meta", {})):
        object.__setattr__(cine, name, value)
    slices, frames = np.isin(np.arange(5), [1, 4]), np.isin(np.arange(8), [0, 2])
    found = interpolated(cine, slices, frames)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[2:, :4], true[2:, :4], atol=1e-5)
    np.testing.assert_allclose(found[:, 4], found[:, 3], atol=1e-5)
    np.testing.assert_allclose(found[0, 0], (true[1, 0] + true[7, 0]) / 2, atol=1e-5)


@pytest.mark.parametrize(
    ("step", "missing", "expected"),
    [
        (10.0, [], []),
        (10.0, [1, 3], [1, 3]),
        (8.0, [], []),  # between two recorded slices that are nearer than the grid's
        (5.0, [1, 3, 5, 7], []),
        (20.0, [], [1]),
    ],
)
def test_slices_that_nobody_recorded(step, missing, expected):
    slices = 10 if step == 5.0 else 5
    cine, _ = heart(slices=slices)
    cine = Cine(cine.array, short_axis_affine((slices, 64, 64), (1.5, 1.5, step)), cine.frame_times)
    grid = ModelGrid(4, 32, 32, 16, SPACING)
    centre = (cine.affine @ [31.5, 31.5, 15.0 / step, 1.0])[:3]
    _, transform = to_grid(cine, grid, centre, end_diastole=0)
    mask = np.isin(np.arange(slices), missing)
    expected = [1, 3] if step == 20.0 else expected
    assert np.flatnonzero(grid_missing(transform, mask, np.zeros(12, bool))[0]).tolist() == expected


def test_frames_that_nobody_recorded():
    cine, _ = heart()
    _, transform = to_grid(cine, ModelGrid(3, 32, 32, 16, SPACING), (cine.affine @ [32, 32, 2, 1])[:3], end_diastole=2)
    absent = np.isin(np.arange(12), [5, 6])
    frames = grid_missing(transform, np.zeros(5, bool), absent)[1]
    # Frames 5 and 6 of 12, counted from frame 2, are phases 3/12 and 4/12; half a gap to either side is in doubt.
    assert np.flatnonzero(frames).tolist() == [3, 4, 5, 6]


def test_labels_that_lie_elsewhere_are_none_of_the_cine():
    """Stored from the other side, they have its shape, and would turn and move the heart."""
    cine, labels = heart()
    flip = np.diag([-1.0, 1.0, 1.0, 1.0])
    flip[0, 3] = cine.shape[3] - 1
    other = Segmentation(labels.array[..., ::-1].copy(), labels.affine @ flip, labels.frame_times)
    with refused("labels"):
        place(cine, tiny_manifest(), other)


@pytest.mark.parametrize("turn", [180.0, 90.0, -40.0])
@pytest.mark.parametrize("reversed_", [False, True])
@pytest.mark.parametrize("mirrored", [False, True])
def test_hearts_come_to_lie_as_in_training(turn, reversed_, mirrored):
    cine, labels = heart(turn)
    flip = np.eye(4)
    steps = [slice(None)] * 4
    for axis, wanted in ((2, reversed_), (0, mirrored)):
        if wanted:
            size = cine.shape[3 - axis]
            flip[axis, axis], flip[axis, 3] = -1.0, size - 1
            steps[3 - axis] = slice(None, None, -1)
    affine = cine.affine @ flip
    cine = Cine(cine.array[tuple(steps)].copy(), affine, cine.frame_times)
    labels = Segmentation(labels.array[tuple(steps)].copy(), affine, labels.frame_times)
    placed = place(cine, tiny_manifest(), labels)
    assert placed.mirrored == mirrored
    ed = placed.array[0]
    y, x = np.mgrid[0:32, 0:32]
    bright = ed[1] > 0.7  # the right ventricle is the brightest
    blood = (ed[1] > 0.4) & ~bright
    assert x[bright].mean() < x[blood].mean() - 5 and abs(y[bright].mean() - y[blood].mean()) < 2
    area = [(one > 0.3).sum() for one in ed]
    assert area[0] > area[1] > area[2]
    np.testing.assert_allclose(np.mean([x[bright].min(), x[ed[1] > -0.7].max()]), 15.5, atol=2.5)
    back = placed.on_source(placed.array, np.full(cine.shape, -5, np.float32))
    seen = back > -5
    assert 0.1 < seen.mean() < 0.5
    inside = seen & (np.arange(cine.shape[1])[None, :, None, None] < 3 if not reversed_ else seen)
    assert np.corrcoef(back[inside], cine.array[inside])[0, 1] > 0.95


def test_brightness_follows_what_the_bundle_says():
    cine, labels = heart()
    usual, told = place(cine, tiny_manifest(), labels), tiny_manifest(provenance={BLOOD_ENTRY: 150})
    placed = place(cine, told, labels)
    assert usual.how["brightness"] == "percentiles" and placed.how["brightness"] == "blood"
    middle = placed.array[0, 0]
    blood = np.median(middle[np.isclose(placed.transform.intensity.unscale(middle), 180, atol=3)])
    assert (blood + 1) * 127.5 == pytest.approx(150, abs=4)


def test_a_heart_that_cannot_be_found_is_said_to_be_so():
    cine, labels = heart()
    nothing = Segmentation(np.where(labels.array == 1, 0, labels.array), labels.affine, labels.frame_times)
    with pytest.raises(CardioDiTError, match="ventricles"):
        place(cine, tiny_manifest(), nothing)


@pytest.mark.parametrize("options", [{}, {"modes": True}, {"patch": (2, 2, 2, 4), "coordinates": 100}], ids=str)
def test_samples_agree_with_what_is_known(options):
    generator = torch.Generator().manual_seed(0)
    still = torch.randn(12, 4, 4, 4, 4, 1, generator=generator)
    latents = (still + 0.3 * torch.randn(12, 4, 4, 4, 4, 4, generator=generator)) * torch.tensor(
        [1.0, 2.0, 0.5, 4.0]
    ).reshape(1, 4, 1, 1, 1, 1)
    scale = LatentScale.fit(latents, place_mean=True, **options)
    known = torch.ones(4, 4, dtype=torch.bool)
    known[1], known[:, 2] = False, False
    spread = scale.normalise(latents).square().mean(dim=(0, 2, 3, 4, 5))
    held = KnownLatents(scale, latents[:1], known, spread)
    x0 = torch.randn(1, *scale.seen_shape(latents.shape[1:]), generator=generator)
    x0 *= spread.sqrt().reshape(1, -1, 1, 1, 1, 1)

    def off(x):
        apart = ((scale.restore(x) - latents[:1]) / held._unit).square()
        return float(apart.movedim((2, 5), (0, 1))[known].mean()), float(apart.movedim((2, 5), (0, 1))[~known].mean())

    before, after = off(x0), off(held.agree(x0, 0.0, 1.0))
    assert after[0] < (0.3 if "patch" in options else 0.05) * before[0]
    # What is unknown does not run away to please what is known.
    assert after[1] < 1.1 * before[1]
    # Where hardly any noise is left, the denoiser knows best.
    torch.testing.assert_close(held.agree(x0, 1.0, 1e-4), x0, atol=1e-3, rtol=1e-3)
    if options == {}:
        torch.testing.assert_close(scale.restore(held.agree(x0, 0.0, 1.0))[:, :, 1], scale.restore(x0)[:, :, 1])
    put = held.put_in(torch.zeros_like(latents[:1]))
    torch.testing.assert_close(put[:, :, 0, :, :, 0], latents[:1, :, 0, :, :, 0])
    assert not put[:, :, 1].any() and not put[..., 2].any()


def test_the_known_half_of_a_patch_moves_the_other():
    """Where slices of training were alike, the coordinates of a patch carry what is known to its unknown slice."""
    one = torch.randn(40, 2, 2, 2, 2, 1, generator=torch.Generator().manual_seed(1))[:, :, :1].repeat(1, 1, 2, 1, 1, 1)
    scale = LatentScale.fit(one, patch=(2, 2, 2, 1), coordinates=8)
    known = torch.tensor([[True], [False]])
    spread = scale.normalise(one).square().mean(dim=(0, 2, 3, 4, 5))
    held = KnownLatents(scale, one[:1], known, spread)
    found = scale.restore(held.agree(torch.zeros(1, 8, 1, 1, 1, 1), 0.0, 1.0))
    torch.testing.assert_close(found[:, :, 1], one[:1, :, 1], atol=0.1, rtol=0.1)


def test_strengths_begin_where_they_should():
    schedule = NoiseSchedule("cosine", 300, continuous=True, log_snr_range=(-12.0, 8.0))
    starts = [float(schedule.log_snr(levels_from(schedule, 20, "angle", s).t[0])) for s in (0.0, 0.25, 0.5, 1.0)]
    np.testing.assert_allclose(starts, [8.0, 4.0, 0.0, -12.0], atol=1e-6)
    lengths = [len(levels_from(schedule, 20, "angle", s)) for s in (0.0, 0.5, 1.0)]
    assert lengths[0] == 1 and lengths[0] < lengths[1] < lengths[2] == 20
    whole = levels_from(replace(schedule, continuous=False), 20, "angle", 0.5)
    assert (whole.t == whole.t.round()).all()
    with refused("strength", 1.5):
        levels_from(schedule, 20, "angle", 1.5)


def test_what_was_recorded_stays_and_what_was_missing_does_not_matter(completer):
    cine = own_cine()
    options = {"missing_slices": (1,), "missing_frames": (4, 5), "bundle": completer, "seed": 5, "jumps_back": (0.5,)}
    result = cd.complete(cine, **options)[0]
    assert result.cine.shape == cine.shape and result.cine.array.dtype == np.int16
    np.testing.assert_allclose(result.cine.affine, cine.affine)
    generated = np.zeros((16, 3), bool)
    generated[:, 1] = generated[4:6] = True
    assert (result.generated == generated).all()
    assert np.abs(result.cine.array[~generated].astype(int) - cine.array[~generated]).max() <= 1
    assert (result.cine.array[4, 0] != cine.array[4, 0]).mean() > 0.5
    about = result.provenance["completion"]
    assert about["generated_slices"] == [1] and about["generated_frames"] == [4, 5]
    assert result.provenance["kind"] == "completion of a synthetic cine" and result.provenance["source"]["seed"] == 3
    spoiled = cine.array.copy()
    spoiled[:, 1] = 7
    spoiled[4:6] = 9
    other = Cine(spoiled, cine.affine, cine.frame_times, cine.meta)
    again = cd.complete(other, **options)[0]
    assert (again.cine.array == result.cine.array).all()
    assert (cd.complete(other, **{**options, "seed": 6})[0].cine.array[:, 1] != result.cine.array[:, 1]).mean() > 0.3


def test_back_on_the_grid_of_a_real_cine(completer):
    cine, labels = heart(turn=60.0)
    one, two = cd.complete(
        cine, missing_slices=(1,), bundle=completer, segmentation=labels, on_source=True, count=2, jumps_back=()
    )
    assert one.cine.shape == cine.shape and one.provenance["synthetic"] is False
    assert "that patient" in one.provenance["note"] and one.provenance["kind"] == "completion of a real cine"
    kept = [0, 2, 3, 4]
    assert (one.cine.array[:, kept] == cine.array[:, kept]).all()
    assert (one.cine.array[:, 1] != two.cine.array[:, 1]).any()
    # What the model's grid does not cover is interpolated.
    np.testing.assert_allclose(one.cine.array[:, 1, 0, 0], 20, atol=1e-3)


def test_nothing_missing_and_too_much(completer):
    with pytest.raises(CardioDiTError, match="Nothing is missing"):
        cd.complete(own_cine(), bundle=completer)
    with refused("slice", "frame", "grid"):
        cd.complete(own_cine(), bundle=completer, on_source=True)
    with refused(4, 16):
        cd.complete(own_cine(), missing_frames=(0, 4, 8, 12), bundle=completer)
    with refused("slice 3", "0 to 2"):
        cd.complete(own_cine(), missing_slices=(3,), bundle=completer)
    with refused("tiny", "XYZ", "NOR, DCM"):
        cd.complete(own_cine(), missing_slices=(1,), bundle=completer, pathology="XYZ")


def test_variations_leave_more_the_stronger_they_are(completer):
    cine, labels = heart()
    strengths = (0.0, 0.3, 1.0)
    made = [cd.vary(cine, strength=s, seed=1, bundle=completer, segmentation=labels)[0] for s in strengths]
    apart = [np.abs(made[0].cine.array - one.cine.array).mean() for one in made]
    assert apart[0] == 0 < apart[1] < apart[2]
    one = made[1]
    assert one.provenance["kind"] == "variation of a real cine" and one.provenance["synthetic"] is False
    assert one.provenance["variation"]["strength"] == 0.3
    assert "carries no embeddings" in one.warnings[0] and "audit" not in one.provenance
    two = cd.vary(cine, strength=0.3, seed=1, count=2, bundle=completer, segmentation=labels)
    assert (two[0].cine.array == one.cine.array).all() and (two[1].cine.array != one.cine.array).any()


def test_the_gate_judges_variations_and_they_say_how_like_their_source_they_are(tmp_path):
    cines = write_privacy_bundle(tmp_path / "tiny", tmp_path / "encoder")
    completer = Completer(load_bundle(tmp_path / "tiny"), "cpu", "fp32")
    one = cd.vary(cines[0], strength=0.0, bundle=completer)[0]
    verdict = one.provenance["audit"]
    assert set(verdict) >= {"passed", "score", "threshold", "false_alarm"} and one.cine.meta["audit"] == verdict
    assert verdict["passed"] == (not any("nearer to a training patient" in warning for warning in one.warnings))
    likeness = one.provenance["variation"]["similarity_to_source"]
    assert -1 <= likeness <= 1 and "audit_note" not in one.provenance
    # which variation is liker, an encoder of random weights does not tell; that a cine is like itself, it does
    assert _similarity(Gate.from_bundle(completer.bundle), cines[0], cines[0]) == pytest.approx(1.0, abs=1e-3)


def test_missing_slices_that_the_model_does_not_show_are_told(completer):
    """The tiny model has three slices: of five, the first and the last lie beyond them."""
    cine, labels = heart()
    settings = {"bundle": completer, "segmentation": labels, "steps": 2, "on_source": True}
    (found,) = cd.complete(cine, missing_slices=(0, 2), **settings)
    assert any(names(warning, "slices 0") for warning in found.warnings)
    (within,) = cd.complete(cine, missing_slices=(2,), **settings)
    assert within.warnings == ()
    with refused("grid"):
        cd.complete(cine, missing_slices=(0,), **settings)


@pytest.mark.parametrize("wrong", [{"slices": 2}, {"cycle_s": 0.5}, {"pathology": ("NOR", "DCM"), "count": 2}])
def test_what_would_not_be_looked_at_is_refused(completer, wrong):
    with refused(next(iter(wrong))):
        cd.vary(own_cine(), bundle=completer, steps=2, **wrong)


def test_completions_and_variations_are_drawn_once(tmp_path):
    bundle = write_steered_bundle(tmp_path / "steered").folder
    cine = replace(own_cine(), meta={"synthetic": True, "model": "steered"})
    (made,) = cd.vary(cine, bundle=bundle, device="cpu", steps=2, edv_ml=120.0)
    assert made.provenance["asked"] == {"edv_ml": 120.0} and made.provenance["adjust"] == 0

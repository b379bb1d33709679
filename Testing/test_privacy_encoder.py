"""The audit's encoder on disk and at work: cines of any grid in, embeddings out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from refusals import refused
from tiny_encoder import tiny_encoder, tiny_encoder_folder

from CardioDiTLib.cine import Cine
from CardioDiTLib.data.packing import write_cines
from CardioDiTLib.data.phantom import PhantomSpec, make_phantom
from CardioDiTLib.errors import Cancelled, CardioDiTError
from CardioDiTLib.privacy.cine_canvas import MIDDLE, CineCanvas
from CardioDiTLib.privacy.encoder import (
    KIND,
    MANIFEST_NAME,
    WEIGHTS_NAME,
    CineEncoder,
    embed_pack,
    load_encoder,
)


def heart(seed: int = 0, **settings: object) -> Cine:
    """A phantom of 192 mm in 8 slices."""
    spec = {"frames": 6, "slices": 6, "height": 72, "width": 72, "spacing_mm": (3.0, 3.0, 10.0), "seed": seed}
    return make_phantom(PhantomSpec(**{**spec, **settings})).cine


def alike(first, second) -> float:
    return float(np.corrcoef(first, second)[0, 1])


@pytest.fixture(scope="module")
def encoder() -> CineEncoder:
    return tiny_encoder()


@pytest.fixture()
def folder(tmp_path):
    return tiny_encoder_folder(tmp_path / "encoder")


def test_a_folder_gives_back_what_was_written(folder, encoder):
    loaded = load_encoder(folder)
    cine = heart()
    np.testing.assert_array_equal(loaded.embed([cine]), encoder.embed([cine]))
    assert loaded.manifest == replace(encoder.manifest, files=loaded.manifest.files)
    assert loaded.sha256 == loaded.manifest.files[WEIGHTS_NAME].sha256 and len(loaded.sha256) == 64


def test_weights_in_eight_bits_embed_nearly_the_same(tmp_path, encoder):
    stored = load_encoder(tiny_encoder_folder(tmp_path / "small", "int8"))
    cines = [heart(seed) for seed in range(2)]
    for first, second in zip(encoder.embed(cines), stored.embed(cines)):
        assert alike(first, second) > 0.99


def test_a_grid_that_shows_another_field_than_the_network_is_refused(folder):
    text = (folder / MANIFEST_NAME).read_text(encoding="utf-8")
    (folder / MANIFEST_NAME).write_text(text.replace('"size": 32', '"size": 64', 1), encoding="utf-8")
    with pytest.raises(CardioDiTError, match="shows"):
        load_encoder(folder)


def test_the_encoder_that_comes_with_the_software_knows_a_disguised_phantom():
    embedded = load_encoder()
    assert (KIND.embedded() / WEIGHTS_NAME).stat().st_size < 1.4e6
    assert embedded.manifest.licence.name == "CC BY-NC-SA 4.0"
    one, other = heart(frames=16), heart(5, septum_deg=30.0, frames=16)
    disguised = Cine(
        np.roll(one.array, 3, axis=0)[..., ::-1].astype(np.float32) ** 0.8 + 20, one.affine, one.frame_times
    )
    found = embedded.embed([one, disguised, other])
    assert alike(found[0], found[1]) > 0.95
    assert alike(found[0], found[2]) < 0.95  # phantoms are no patients: all of them look alike to it


def test_cines_of_other_grids_are_brought_onto_the_encoders(encoder):
    """Another pixel size, place in the picture, number of frames and brightness: the embedding stays much the same."""
    fine = heart(height=120, width=132, spacing_mm=(1.8, 1.8, 10.0), frames=12)
    coarse = heart(frames=12)
    other = heart(3, septum_deg=40.0, frames=12)
    brighter = Cine(fine.array.astype(np.float32) * 3 + 50, fine.affine, fine.frame_times)
    found = encoder.embed([coarse, fine, brighter, other])
    assert found.shape == (4, 16) and found.dtype == np.float32
    assert alike(found[1], found[2]) > 0.999
    assert alike(found[0], found[1]) > alike(found[0], found[3])


def test_where_the_cycle_begins_and_the_base_lies_does_not_matter(encoder):
    cine = heart(frames=16)
    plain = encoder.embed([cine])[0]
    later = Cine(np.roll(cine.array, 5, axis=0), cine.affine, cine.frame_times)
    upside = Cine(cine.array[:, ::-1].copy(), cine.affine, cine.frame_times)
    mirrored = Cine(cine.array[..., ::-1].copy(), cine.affine, cine.frame_times)
    for hidden in (later, upside, mirrored):
        assert alike(encoder.embed([hidden])[0], plain) > 0.99


def test_brightness_that_changes_from_frame_to_frame_is_no_heartbeat():
    """Preprocessing levels slices of each frame by themselves; a scanner's file does not."""
    cine = heart(frames=12)
    gains = np.random.default_rng(0).uniform(0.6, 1.4, (6, 6, 1, 1))
    still = Cine(np.repeat(cine.array[:1], 6, axis=0) * gains, cine.affine, np.arange(6) / 6)
    canvas = CineCanvas.of(still, 3.0, (MIDDLE,))
    assert canvas.parts[1:].abs().max() < 1e-3 * canvas.parts[0].max()


def test_a_cine_is_asked_about_inverted_too(encoder):
    cine = heart(frames=12)
    inverted = Cine(cine.array.max() - cine.array, cine.affine, cine.frame_times)
    plain = encoder.embed([cine])[0]
    poses = encoder.embed_poses([inverted], turns=3)[0]
    assert poses.shape[0] % 3 == 0
    near = [alike(one, plain) for one in poses]
    assert max(near) > 0.98 and near[0] < 0.9
    # what stands for a cine among references is the cine as it is
    np.testing.assert_allclose(encoder.embed([inverted])[0], poses[0], atol=1e-5)


def test_another_part_of_the_stack_and_a_turn_between_the_turns_are_asked_about(encoder):
    """Which slices of ten a copy has, and how it lies, is not known beforehand; the reference has eight."""
    both = [heart(seed, frames=8, slices=12, septum_deg=100.0 + 150 * seed) for seed in (0, 1)]
    whole = both[0].with_array(np.concatenate([both[0].array[:, :8], both[1].array[:, 8:]], axis=1))
    kept = Cine(np.ascontiguousarray(whole.array[:, :8]), whole.affine, whole.frame_times)
    (reference,) = encoder.embed([kept])
    canvas = CineCanvas.of(whole, 6.0, (MIDDLE,))
    assert canvas.parts.shape[1] == 12 and sorted(canvas.ranges) == [(0, 8), (1, 9), (2, 10), (3, 11), (4, 12)]
    assert canvas.ranges[0] == (2, 10)
    near = [alike(one, reference) for one in encoder.embed_poses([whole], turns=2)[0]]
    assert int(np.argmax(near)) == 1 and max(near) > near[0] + 0.003  # the second range: slices 0 to 7
    turned = Cine(np.ascontiguousarray(np.rot90(kept.array, axes=(2, 3))), kept.affine, kept.frame_times)
    near = [alike(one, reference) for one in encoder.embed_poses([turned], turns=2)[0]]
    assert max(near) > 0.99 > near[0]


def test_an_exact_copy_of_a_long_stack_is_one(encoder):
    whole = heart(frames=8, slices=12)
    np.testing.assert_allclose(encoder.embed_poses([whole])[0, 0], encoder.embed([whole])[0], atol=1e-5)


def test_two_frames_and_a_still_heart_can_be_embedded(encoder):
    cine = heart()
    two = Cine(cine.array[[0, 2]], cine.affine, [0.0, 0.4])
    still = Cine(np.repeat(cine.array[:1], 3, axis=0), cine.affine, [0.0, 0.3, 0.6])
    found = encoder.embed([two, still])
    assert np.isfinite(found).all() and found.std() > 0


def test_progress_cancel_and_what_cannot_be_embedded(encoder):
    seen: list[tuple[int, int]] = []
    cine = heart()
    encoder.embed([cine, cine], progress=lambda done, of: seen.append((done, of)))
    encoder.embed(iter([cine]), progress=lambda done, of: seen.append((done, of)))
    assert seen == [(1, 2), (2, 2), (1, 0)]
    assert encoder.embed([]).shape == (0, 16)
    with pytest.raises(Cancelled):
        encoder.embed([cine, cine], cancel=lambda: len(seen) > 2)
    blank = Cine(np.zeros((3, 2, 40, 40), np.float32), np.diag([3.0, 3.0, 10.0, 1.0]), [0.0, 0.1, 0.2])
    with refused("Cine 2", "blank"):
        encoder.embed([cine, blank])
    with refused("encoder", "grid"):
        encoder.embed_arrays(np.zeros((1, 4, 2, 32, 32), np.float32))
    with pytest.raises(CardioDiTError, match="not finite"):
        encoder.embed_arrays(np.full((1, 4, 2, 64, 64), np.nan, np.float32))


def test_a_pack_is_embedded_in_its_order(tmp_path, encoder):
    cines = [heart(seed, frames=16, septum_deg=100.0 + 40 * seed) for seed in range(3)]
    images = np.stack([np.clip(cine.array / 4, 0, 255).astype(np.uint8) for cine in cines])
    valid = np.ones((3, 6), bool)
    valid[1, 4:] = False
    pack = write_cines(
        tmp_path / "pack.npz", images, (3.0, 3.0, 10.0), validation=[False, True, False], slice_valid=valid
    )
    everyone = embed_pack(encoder, pack, "all")
    assert everyone.shape == (3, 16)
    np.testing.assert_array_equal(embed_pack(encoder, pack), everyone[[0, 2]])
    np.testing.assert_array_equal(embed_pack(encoder, pack, "validation"), everyone[[1]])
    poses = embed_pack(encoder, pack, "all", turns=4)
    assert poses.shape[0] == 3 and poses.shape[1] % 4 == 0
    np.testing.assert_allclose(poses[:, 0], everyone, atol=1e-5)
    middle = images[..., 4:-4, 4:-4].astype(np.float32) / 127.5 - 1
    # the brightness of frames is told from the picture that there is
    np.testing.assert_allclose(encoder.embed_arrays(middle[:1])[0], everyone[0], atol=2e-3)
    np.testing.assert_allclose(encoder.embed_arrays(middle[1:2, :, :4])[0], everyone[1], atol=2e-3)
    # the same cines as files
    as_files = encoder.embed(cines)
    assert all(alike(as_files[i], everyone[i]) > 0.9 for i in range(3))
    with pytest.raises(CardioDiTError, match="no part"):
        embed_pack(encoder, pack, "test")
    coarse = write_cines(tmp_path / "coarse.npz", images, (2.0, 2.0, 10.0))
    assert embed_pack(encoder, coarse, "all").shape == (3, 16)

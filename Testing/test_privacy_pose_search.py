"""Which poses of a cine are compared with references."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_encoder import tiny_encoder

from CardioDiTLib.cine import Cine
from CardioDiTLib.data.phantom import PhantomSpec, make_phantom
from CardioDiTLib.errors import Cancelled, CardioDiTError
from CardioDiTLib.privacy import pose_search
from CardioDiTLib.privacy.embedding_io import embedded
from CardioDiTLib.privacy.encoder import CineEncoder
from CardioDiTLib.privacy.nearest import directions


def heart(seed: int, **settings: object) -> Cine:
    spec = {"frames": 6, "slices": 8, "height": 72, "width": 72, "spacing_mm": (3.0, 3.0, 10.0), "seed": seed}
    return make_phantom(PhantomSpec(**{**spec, "septum_deg": 90.0 + 70 * seed, **settings})).cine


def turned(cine: Cine) -> Cine:
    return Cine(np.ascontiguousarray(np.rot90(cine.array, axes=(2, 3))), cine.affine, cine.frame_times)


@pytest.fixture(scope="module")
def encoder() -> CineEncoder:
    return tiny_encoder()


@pytest.fixture(scope="module")
def references(encoder):
    return encoder.embed([heart(seed) for seed in range(5)])


def test_the_likeliest_poses_are_a_few_of_all(encoder, references):
    cine = heart(7)
    (every,), (few,) = encoder.embed_poses([cine]), encoder.embed_likeliest([cine], references)
    assert len(few) <= len(references) + 1 < len(every) / 3
    # what stands for the cine is the first pose of both
    np.testing.assert_allclose(few[0], encoder.embed([cine])[0], atol=1e-5)
    for one in few:
        assert np.abs(every - one).max(axis=1).min() < 1e-4


def test_a_turned_copy_is_as_near_as_in_a_search_of_all_poses(encoder, references):
    for seed in range(5):
        copy = turned(heart(seed))
        own = directions(references[[seed]])[0]
        all_of_them, few = (
            (directions(poses) @ own).max()
            for poses in (encoder.embed_poses([copy])[0], encoder.embed_likeliest([copy], references)[0])
        )
        assert few == pytest.approx(all_of_them, abs=1e-4) and few > 0.99


def test_cines_under_test_are_searched_among_what_they_are_compared_with(encoder, references, monkeypatch):
    counted = []
    embed = pose_search._embedded
    monkeypatch.setattr(pose_search, "_embedded", lambda *given: counted.append(len(given[3])) or embed(*given))
    cines = [heart(7), turned(heart(2))]
    some = embedded(encoder, cines, "synthetic", references=references)
    cheap = sum(counted)
    counted.clear()
    every = embedded(encoder, cines, "synthetic")
    assert cheap < sum(counted) / 3
    index, similarity = some.nearest(references).index[:, 0], some.nearest(references).similarity[:, 0]
    assert index[1] == 2 == every.nearest(references).index[1, 0] and similarity[1] > 0.99
    assert (similarity <= every.nearest(references).similarity[:, 0] + 1e-5).all()
    assert some.poses is not None and some.poses.shape[0] == 2


def test_a_blank_cine_and_a_stop_are_told_in_the_search_too(encoder, references):
    blank = heart(0).with_array(np.zeros_like(heart(0).array))
    with pytest.raises(CardioDiTError, match="Cine 2"):
        encoder.embed_likeliest([heart(0), blank], references)
    with pytest.raises(Cancelled):
        encoder.embed_likeliest([heart(0)], references, cancel=lambda: True)
    assert encoder.embed_likeliest([], references).shape == (0, 1, encoder.dimension)

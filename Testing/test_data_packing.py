"""One packed file for training: what goes in comes out, and no name with it."""

from __future__ import annotations

import numpy as np
import pytest
from test_data_cine_from_pair import affine, heart

from CardioDiTLib.data.acdc import make_pack
from CardioDiTLib.data.cine_from_pair import pose_pair
from CardioDiTLib.data.packing import kept_aside, read_pack, write_cines, write_pairs
from CardioDiTLib.errors import CardioDiTError


@pytest.fixture(scope="module")
def pairs():
    made = []
    for radius, group in ((22, "NOR"), (26, "DCM")):
        ed, ed_labels = heart(radius, 200)
        es, es_labels = heart(radius - 8, 200)
        made.append(pose_pair(ed, es, ed_labels, es_labels, affine(), size=80, slices=3, group=group))
    return made


def test_pairs_come_back_as_cines(pairs, tmp_path):
    path = write_pairs(tmp_path / "pack.npz", pairs, [False, True], "made up")
    pack = read_pack(path, frames=8)
    assert pack.images.shape == (2, 8, 3, 80, 80) and pack.labels.shape == pack.images.shape
    np.testing.assert_array_equal(pack.images[:, 0], [pair.images[0] for pair in pairs])
    np.testing.assert_array_equal(pack.labels[:, 0], [pair.labels[0] for pair in pairs])
    assert [pack.group_names[g] for g in pack.groups] == ["NOR", "DCM"]
    assert pack.validation.tolist() == [False, True]
    np.testing.assert_allclose(pack.turn_deg, [pair.turn_deg for pair in pairs])
    np.testing.assert_allclose(pack.affine, [pair.affine for pair in pairs])
    # Motion is stored coarsely: frames differ from the exact ones by little.
    exact, _ = pairs[0].frames(8)
    assert np.abs(pack.images[0].astype(int) - exact).mean() < 1.0


def test_kept_frames_are_the_same_and_follow_the_pack(pairs, tmp_path):
    path = write_pairs(tmp_path / "pack.npz", pairs, [False, False], "")
    first = read_pack(path, frames=4)
    assert (tmp_path / "pack.frames4.npz").is_file()
    again = read_pack(path, frames=4)
    np.testing.assert_array_equal(first.images, again.images)


def test_a_pack_in_a_folder_that_is_only_read_opens(pairs, tmp_path, monkeypatch):
    from CardioDiTLib.data import packing

    path = write_pairs(tmp_path / "pack.npz", pairs, [False, False], "")
    expected = read_pack(path, frames=4, cache=False)

    def refused(path):
        raise CardioDiTError(f"'{path}' could not be written: Read-only file system.")

    monkeypatch.setattr(packing, "atomic_path", refused)
    # with a deadline too: where nothing can be kept, a call that stopped would never come to an end
    pack = read_pack(path, frames=4, deadline=0.0)
    np.testing.assert_array_equal(pack.images, expected.images)
    assert [one.name for one in tmp_path.iterdir()] == ["pack.npz"]


def test_frames_are_made_in_pieces_of_any_length(pairs, tmp_path, monkeypatch):
    from CardioDiTLib.data import packing

    path = write_pairs(tmp_path / "pack.npz", [*pairs, *pairs], [False] * 4, "")
    expected = read_pack(path, frames=4, cache=False)
    original, made = packing.PosedPair.frames, []
    monkeypatch.setattr(packing.PosedPair, "frames", lambda self, n: made.append(n) or original(self, n))
    told = []
    for _ in range(3):
        with pytest.raises(packing.FramesNotMade, match="of 4 cines"):
            read_pack(path, frames=4, deadline=0.0, progress=lambda done, of: told.append((done, of)))
    pack = read_pack(path, frames=4, deadline=0.0, progress=lambda done, of: told.append((done, of)))
    assert len(made) == 4 and told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    np.testing.assert_array_equal(pack.images, expected.images)
    np.testing.assert_array_equal(pack.labels, expected.labels)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["pack.frames4.npz", "pack.npz"]


def test_whole_cines_come_back(tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (3, 4, 2, 16, 16)).astype(np.uint8)
    labels = images % 4
    path = write_cines(tmp_path / "cines.npz", images, (1.5, 1.5, 8.0), groups=["b", "a", "b"], labels=labels)
    pack = read_pack(path)
    np.testing.assert_array_equal(pack.images, images)
    np.testing.assert_array_equal(pack.labels, labels)
    assert pack.groups.tolist() == [1, 0, 1] and pack.spacing == (1.5, 1.5, 8.0)
    some = read_pack(write_cines(tmp_path / "some.npz", images, (1.5, 1.5, 8.0), groups=["b", "", "a"]))
    assert some.group_names == ("a", "b") and some.groups.tolist() == [1, -1, 0]


@pytest.mark.parametrize("content", [b"", b"not a pack", b"PK\x03\x04 broken"])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "pack.npz"
    path.write_bytes(content)
    with pytest.raises(CardioDiTError, match=r"pack\.npz"):
        read_pack(path)


def test_acdc_folder_becomes_a_pack_without_names(shared_dir, tmp_path):
    source = shared_dir / "data" / "acdc"
    if not source.is_dir():
        pytest.skip("the ACDC volumes are not there")
    few = tmp_path / "acdc"
    few.mkdir()
    rows = (source / "metadata.csv").read_text(encoding="utf-8").splitlines()
    chosen = [row for row in rows[1:] if row.startswith(("patient021,", "patient061,"))]
    (few / "metadata.csv").write_text("\n".join([rows[0], *chosen]), encoding="utf-8")
    for row in chosen:
        for path in source.glob(row.split(",")[0] + "_*"):
            (few / path.name).symlink_to(path)
    path = make_pack(few, tmp_path / "pack.npz")
    assert b"patient0" not in path.read_bytes()
    pack = read_pack(path, cache=False)
    voxel_ml = np.prod(pack.spacing) / 1000
    volumes = (pack.labels == 3).sum(axis=(2, 3, 4)) * voxel_ml
    fractions = 100 * (volumes[:, 0] - volumes.min(axis=1)) / volumes[:, 0]
    expected = {row.split(",")[1]: float(row.split(",")[-1]) for row in chosen}
    for group, fraction in zip(pack.groups, fractions):
        # Eight slices are fewer than the patient has, so the ejection fraction moves by some points.
        assert fraction == pytest.approx(expected[pack.group_names[group]], abs=8)


def test_folder_without_a_table_is_refused(tmp_path):
    with pytest.raises(CardioDiTError, match=r"metadata\.csv"):
        make_pack(tmp_path, tmp_path / "pack.npz")


@pytest.mark.parametrize(
    ("count", "share", "aside"),
    [
        (8, 0.125, [4]),
        (16, 0.125, [4, 12]),
        (10, 0.4, [1, 3, 6, 8]),
        (4, 0.75, [0, 2, 3]),
        (3, 1.0, [0, 2]),
        (1, 0.5, []),
    ],
)
def test_the_share_that_is_asked_for_is_kept_aside(count, share, aside):
    assert np.flatnonzero(kept_aside(count, share)).tolist() == aside

"""Patients of whom only contoured slices at end-diastole and end-systole are at hand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from refusals import refused
from test_data_morph import pair

from CardioDiTLib.cli import main
from CardioDiTLib.data.cine_from_pair import level_apart
from CardioDiTLib.data.contoured_slices import (
    SPACING_MM,
    read_contoured_pair,
    read_contoured_pairs,
    write_contoured_pairs,
)
from CardioDiTLib.data.packing import read_pack, read_pairs, write_pairs
from CardioDiTLib.errors import CardioDiTError

SIZE = 96


def written(path, slices=6, shuffled=False, missing=()):
    """Slices of a ring heart; phase 19 is end-diastole, phase 6 end-systole, as instances count them."""
    one = pair(18, 13)
    rows = []
    for z in range(slices):
        for phase, kept in ((0, 19), (1, 6)):
            if (z, phase) not in missing:
                rows.append((z * 20 + kept + 1, one.images[phase, 0], one.labels[phase, 0] == 3))
    if shuffled:
        rows = rows[::-1]
    instance, images, masks = zip(*rows)
    np.savez(path, images=np.stack(images), lv_endo=np.stack(masks).astype(np.uint8), instance=np.array(instance))
    return one


def ring_labels(cine):
    """Stands in for a network: right ventricle and a disc of cavity that is larger than the reader's."""
    one = pair(18, 13)
    labels = np.stack([np.repeat(one.labels[phase, :1], cine.shape[1], axis=0) for phase in (0, 1)])
    rows, columns = np.mgrid[0:SIZE, 0:SIZE] - (SIZE - 1) / 2
    labels[:, :, np.hypot(rows, columns) < 20] = 3
    return labels


@pytest.mark.parametrize("shuffled", [False, True])
def test_end_diastole_is_the_larger_cavity_and_the_reader_has_the_last_word(tmp_path, shuffled):
    written(tmp_path / "a.npz", shuffled=shuffled)
    made = read_contoured_pair(tmp_path / "a.npz", ring_labels, size=96)
    assert made is not None and made.group == "" and made.slice_valid.sum() >= 5
    scale = (SPACING_MM[0] / 1.5) ** 2
    cavity = [(made.labels[phase, 3] == 3).sum() for phase in (0, 1)]
    assert cavity[0] == pytest.approx(np.pi * 18**2 * scale, rel=0.06)
    assert cavity[1] == pytest.approx(np.pi * 13**2 * scale, rel=0.06)


def test_slices_of_one_phase_alone_are_left_out_and_few_slices_are_no_heart(tmp_path):
    written(tmp_path / "a.npz", slices=7, missing={(0, 1), (6, 0)})
    made = read_contoured_pair(tmp_path / "a.npz", ring_labels, size=96)
    assert made is not None
    written(tmp_path / "b.npz", slices=5, missing={(0, 1)})
    assert read_contoured_pair(tmp_path / "b.npz", ring_labels, size=96) is None
    assert len(read_contoured_pairs(tmp_path, ring_labels, 96)) == 1


def test_a_heart_without_a_right_ventricle_is_left_out(tmp_path):
    written(tmp_path / "a.npz")
    assert read_contoured_pair(tmp_path / "a.npz", lambda cine: np.full(cine.shape, 3, np.uint8), size=96) is None


def test_files_of_another_kind_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", pictures=np.zeros(3))
    with pytest.raises(CardioDiTError, match="contours"):
        read_contoured_pairs(tmp_path, ring_labels)
    with pytest.raises(CardioDiTError, match="npz"):
        read_contoured_pairs(tmp_path / "nowhere", ring_labels)


def test_an_odd_size_is_refused_before_any_work(tmp_path):
    written(tmp_path / "a.npz")
    with refused("97"):
        read_contoured_pairs(tmp_path, lambda _: pytest.fail("work was done first"), 97)


def test_they_lie_in_a_pack_without_a_class(tmp_path):
    written(tmp_path / "a.npz")
    made = read_contoured_pair(tmp_path / "a.npz", ring_labels, size=96)
    known = read_contoured_pair(tmp_path / "a.npz", ring_labels, size=96)
    object.__setattr__(known, "group", "NOR")
    path = write_pairs(tmp_path / "pack.npz", [made, known], [False, False], "test")
    pack = read_pack(path)
    assert pack.group_names == ("NOR",) and pack.groups.tolist() == [-1, 0]
    assert [one.group for one in read_pairs(path)] == ["", "NOR"]


@pytest.mark.parametrize(("count", "share", "aside"), [(8, 0.25, [2, 6]), (3, 0.1, [1]), (3, 0.0, []), (2, 0.9, [1])])
def test_a_pack_of_them_alone_keeps_some_aside(tmp_path, count, share, aside):
    written(tmp_path / "a.npz")
    made = read_contoured_pair(tmp_path / "a.npz", ring_labels, size=96)
    pack = read_pack(write_contoured_pairs(tmp_path / "pack.npz", [made] * count, share))
    assert pack.group_names == () and np.flatnonzero(pack.validation).tolist() == aside


def test_one_patient_is_no_pack(tmp_path):
    written(tmp_path / "a.npz")
    made = read_contoured_pair(tmp_path / "a.npz", ring_labels, size=96)
    with pytest.raises(CardioDiTError, match="1 patients"):
        write_contoured_pairs(tmp_path / "pack.npz", [made], 0.5)
    assert not (tmp_path / "pack.npz").exists()


def test_images_that_were_scaled_one_by_one_get_one_brightness():
    """Each slice and phase has a scale of its own; at end-systole so little blood is left that it tells nothing."""
    rng = np.random.default_rng(0)
    labels = np.zeros((2, 4, 96, 96), np.uint8)
    true = np.repeat(rng.uniform(40, 120, (1, 1, 96, 96)), 2, axis=0).repeat(4, axis=1)
    radius = np.hypot(*(np.mgrid[:96, :96] - 47.5))
    for phase, cavity in enumerate((16, 3)):
        labels[phase][:, radius < 22], labels[phase][:, radius < cavity] = 2, 3
        true[phase][:, radius < 22], true[phase][:, radius < cavity] = 50.0, 150.0
    scales = rng.uniform(0.35, 1.6, (2, 4, 1, 1))
    levelled = level_apart(true * scales, labels)
    ratio = levelled / true
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[0, 0, 0, 0], ratio.shape), rtol=0.02)


def test_the_command_line_makes_the_pack(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "slices"
    folder.mkdir()
    for name in "abc":
        written(folder / f"{name}.npz")
    monkeypatch.setattr(
        "CardioDiTLib.segmentation.segment.segment", lambda cine: SimpleNamespace(array=ring_labels(cine))
    )
    words = ["prepare", "contours", str(folder), str(tmp_path / "pack.npz"), "--size", "96", "--keep-aside", "0.3"]
    assert main(words) == 0
    assert read_pack(tmp_path / "pack.npz").validation.tolist() == [False, True, False]
    assert main(words) == 1 and "pack.npz" in capsys.readouterr().err  # what is there is not replaced
    assert main([*words[:2], str(tmp_path / "nowhere"), str(tmp_path / "b.npz")]) == 1

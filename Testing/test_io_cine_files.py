"""What counts as a heart: labels never do, whatever they are called, in any of the rooms that read folders."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from refusals import refused
from synthetic_cines import make_cine
from synthetic_dicom import write_series

from CardioDiTLib.cine import Segmentation
from CardioDiTLib.data.packing import make_pack, read_pack
from CardioDiTLib.data.phantom import PhantomSpec, make_phantom
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.evaluation.cohort import cohort_from_folder
from CardioDiTLib.io import save_cine, save_segmentation
from CardioDiTLib.io.cine_files import LABEL_ENDINGS, cines_by_name, find_cines, is_label_map
from CardioDiTLib.io.name_table import read_name_table
from CardioDiTLib.privacy.embedding_io import cine_files

NAMES = ["heart0", "heart1"]


@pytest.fixture()
def folder(tmp_path) -> Path:
    """Two hearts, and labels under names that follow the rule and names that do not."""
    for seed, name in enumerate(NAMES):
        phantom = make_phantom(PhantomSpec(seed=seed))
        save_cine(phantom.cine, tmp_path / f"{name}.nii.gz")
        for ending in ("_segmentation", "-contours"):
            save_segmentation(phantom.segmentation, tmp_path / f"{name}{ending}.nii.gz")
    first = phantom.segmentation
    still = Segmentation(first.array[:1], first.affine, first.frame_times[:1])
    save_segmentation(still, tmp_path / "frame.seq.nrrd")
    volume = np.asarray(first.array[0].transpose(2, 1, 0), np.float32)
    nibabel.save(nibabel.Nifti1Image(volume, first.affine), tmp_path / "ed only.nii")
    (tmp_path / "heart0_function.json").write_text(json.dumps({}), encoding="utf-8")
    return tmp_path


def test_every_room_counts_the_same_hearts(folder):
    assert list(cines_by_name(folder)) == NAMES
    cohort = cohort_from_folder(folder)
    assert [item.name for item in cohort.items] == NAMES
    assert all(item.load()[1] is not None for item in cohort.items), "NAME_segmentation belongs to NAME"
    assert [path.name for path in cine_files(folder)] == [f"{name}.nii.gz" for name in NAMES]
    make_pack(folder, folder / "pack.npz", size=32, slices=2, frames=4, spacing=(4.0, 4.0, 20.0), keep_aside=0)
    assert len(read_pack(folder / "pack.npz").images) == 2


@pytest.mark.parametrize("ending", LABEL_ENDINGS)
def test_endings_are_left_out_by_name(tmp_path, ending):
    save_cine(make_cine(), tmp_path / "a.nii.gz")
    save_cine(make_cine(), tmp_path / f"b{ending}.nii.gz")
    assert list(cines_by_name(tmp_path)) == ["a"]


def test_content_tells_grey_from_labels(tmp_path):
    cine = make_cine()
    values = {
        "grey.nii.gz": (cine.array, False),
        "labels.nii.gz": (np.arange(cine.array.size).reshape(cine.shape) % 4, True),
        "floats.nii.gz": ((np.arange(cine.array.size).reshape(cine.shape) % 4).astype(np.float32), True),
        "halves.nii.gz": ((np.arange(cine.array.size).reshape(cine.shape) % 4) / np.float32(2), False),
        "late.nii.gz": (np.where(np.arange(5)[:, None, None, None] == 4, cine.array, 1), False),
        "empty.nii.gz": (np.zeros(cine.shape, np.int16), False),
    }
    for name, (array, expected) in values.items():
        save_cine(cine.with_array(array), tmp_path / name)
        assert is_label_map(tmp_path / name) == expected, name
    (tmp_path / "broken.nii.gz").write_bytes(b"x")
    assert not is_label_map(tmp_path / "broken.nii.gz")


def test_folders_of_dicom_images_are_cines(tmp_path):
    save_cine(make_cine(), tmp_path / "a.nii.gz")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "read me.txt").write_text("x", encoding="utf-8")
    write_series(make_cine(), tmp_path / "patient")
    assert list(cines_by_name(tmp_path)) == ["a", "patient"]


def test_names_are_the_same_however_their_accents_are_stored(tmp_path):
    # macOS stores the letter and its mark as two characters, tables and other systems as one
    apart, one = "Zoe\u0308", "Zo\u00eb"
    phantom = make_phantom(PhantomSpec(frames=4, slices=3, height=32, width=32, spacing_mm=(5.0, 5.0, 20.0)))
    save_cine(phantom.cine, tmp_path / f"{apart}.nii.gz")
    save_segmentation(phantom.segmentation, tmp_path / "labels" / f"{one}_seg.nii.gz")
    (tmp_path / "groups.csv").write_text(f"file,group\n{one}.nii.gz,DCM\n", encoding="utf-8")
    (item,) = cohort_from_folder(tmp_path, tmp_path / "labels").items
    assert item.group == "DCM" and item.load()[1] is not None


def test_no_cine_is_lost_to_another_of_its_name(tmp_path):
    # a patient's folder beside files that are called after the patient; a name that another one gets by its suffix
    for name in ("ward/ann.nii", "ward_ann.nii", "ward/bob.nii", "ward_bob.nrrd", "ward_bob_nii.nii"):
        save_cine(make_cine(), tmp_path / name)
    cines = find_cines(tmp_path, below=True).cines
    found = {name: path.relative_to(tmp_path).as_posix() for name, path in cines.items()}
    assert found == {
        "ward_ann_nii": "ward/ann.nii",
        "ward_ann_nii_2": "ward_ann.nii",
        "ward_bob_nii_2": "ward/bob.nii",
        "ward_bob_nrrd": "ward_bob.nrrd",
        "ward_bob_nii": "ward_bob_nii.nii",
    }


def test_two_files_of_one_heart_and_folders_of_labels_are_told(tmp_path):
    save_cine(make_cine(), tmp_path / "a_seg.nii.gz")
    with refused(tmp_path, 1):
        cines_by_name(tmp_path)
    for name in ("b.nii.gz", "b.seq.nrrd"):
        save_cine(make_cine(), tmp_path / name)
    with refused("b", "b.nii.gz", "b.seq.nrrd"):
        cines_by_name(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"file,group\na.nii.gz,DCM\nb,NOR\n",
        b"\xef\xbb\xbffile,group\r\na.nii.gz,DCM\r\nb.nii.gz,NOR\r\n",
        b"Filename;Pathology;Note\na.nii.gz;DCM;x, y\nb.nii.gz;NOR;\n",
        "group\tfile\nDCM\ta.nii.gz\nNOR\tb.nii.gz\n".encode("utf-16"),
        "file;group;doctor\nC:\\data\\a.nii.gz;DCM;M\xfcller\nb.nii.gz;NOR;\n\n".encode("cp1252"),
    ],
)
def test_tables_are_read_as_spreadsheets_write_them(tmp_path, content):
    (tmp_path / "groups.csv").write_bytes(content)
    cines = {"a": Path("a.nii.gz"), "b": Path("b.nii.gz")}
    assert read_name_table(tmp_path / "groups.csv", cines, "group") == {"a": "DCM", "b": "NOR"}


@pytest.mark.parametrize(
    ("content", "said"),
    [("", "cannot be read"), ("a,b\n", "Its first line is a, b"), ("file,group\na,DCM\n", "does not name 'b.nii.gz'")],
)
def test_tables_that_do_not_say_it_are_told(tmp_path, content, said):
    (tmp_path / "groups.csv").write_text(content, encoding="utf-8")
    with pytest.raises(CardioDiTError, match=said):
        read_name_table(tmp_path / "groups.csv", {"a": Path("a.nii.gz"), "b": Path("b.nii.gz")}, "group")
    assert read_name_table(tmp_path / "absent.csv", {}, "group") is None

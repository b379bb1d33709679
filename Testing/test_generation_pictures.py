"""Contact sheets and films: every slice and frame is there and has its name."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from refusals import refused

from CardioDiTLib.cine import Cine, Segmentation
from CardioDiTLib.generation import animated_gif, contact_sheet
from CardioDiTLib.generation.pictures import FILM_PIXELS, MOST_PIXELS, picture_labels, square_tiles
from CardioDiTLib.reporting import drawing, sheet
from CardioDiTLib.reporting.colours import ED_COLOUR, ES_COLOUR

Image = pytest.importorskip("PIL.Image")


def made(shape=(4, 3, 64, 72), spacing=(1.5, 1.5, 10.0), **meta) -> Cine:
    """Tiles of one grey level each, brighter by slice and much brighter by frame."""
    array = np.zeros(shape, np.int16)
    for t in range(shape[0]):
        for z in range(shape[1]):
            array[t, z] = 100 * t + 10 * z
    array[:, :, 0, 0] = 1000
    return Cine(array, np.diag([*spacing, 1.0]), np.arange(shape[0]) * 0.05, meta)


def labelled(cine: Cine) -> Segmentation:
    """A left ventricle that is largest in frame 1 and smallest in frame 2, and tapers from slice 0."""
    labels = np.zeros(cine.shape, np.uint8)
    for t, size in enumerate((9, 10, 3, 7)):
        for z in range(cine.n_slices):
            half = max(1, size * (cine.n_slices + 1 - z) // (cine.n_slices + 1))
            labels[t, z, 20 - half : 20 + half, 20 - half : 20 + half] = 3
    return Segmentation(labels, cine.affine, cine.frame_times, {})


@pytest.fixture
def written(monkeypatch):
    """Every text that is drawn into pictures, in the order of drawing."""
    from PIL import ImageDraw

    texts: list[str] = []
    original = ImageDraw.ImageDraw.text

    def text(self, xy, text, *rest, **options):
        texts.append(text)
        return original(self, xy, text, *rest, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    return texts


def rgb(path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def has_colour(picture: np.ndarray, colour: str) -> bool:
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return bool((np.abs(picture - wanted).max(axis=-1) <= 3).any())


def test_rows_are_slices_and_columns_are_frames():
    tiles, _ = square_tiles(made())
    labels = picture_labels(made(), 1.5)
    image = np.asarray(sheet.contact_sheet_image(tiles, range(4), labels, MOST_PIXELS).convert("L")).astype(float)
    high, wide = tiles.shape[2:]
    left = int(np.argmax(image[-60] < 250))
    top = image.shape[0] - 46 - 3 * (high + 2) + 2
    centres = np.array(
        [[image[top + z * (high + 2) + 20, left + t * (wide + 2) + 36] for t in range(4)] for z in range(3)]
    )
    assert (np.diff(centres, axis=0) > 0).all() and (np.diff(centres, axis=1) > 0).all()
    assert (np.diff(centres, axis=1) > np.diff(centres, axis=0).max()).all()  # frames differ by more than slices


def test_everything_has_its_name(tmp_path, written):
    cine = made(synthetic=True, model="tiny", seed=7, index=2, pathology="NOR")
    path = contact_sheet(cine, tmp_path / "sheet.png", segmentation=labelled(cine))
    for text in ("frame 0", "frame 3", "150 ms", "slice 1", "base", "slice 3", "apex", "ED", "ES", "20 mm"):
        assert text in written, text
    assert "tiny, class NOR, seed 7, heart 2" in written and "synthetic / research only" in written
    assert written.index("ED") < written.index("ES")
    assert has_colour(rgb(path), ED_COLOUR) and has_colour(rgb(path), ES_COLOUR)
    assert rgb(path)[0, 0].tolist() == [255, 255, 255]  # light


def test_phases_stand_at_their_frames():
    cine = made()
    assert sheet.phases_of(labelled(cine)) == {"ED": 1, "ES": 2}
    assert sheet.phases_of(None) == {}
    still = Segmentation(np.ones(cine.shape, np.uint8), cine.affine, cine.frame_times, {})
    assert sheet.phases_of(still) == {}
    # labels of two frames alone, end-systole first; of one, and of none
    pair = np.zeros(cine.shape, np.uint8)
    pair[2, :, :2], pair[1, :, :4] = 3, 3
    for frames, phases in (((1, 2), {"ED": 1, "ES": 2}), ((1,), {}), ((), {})):
        some = np.where(np.isin(np.arange(len(pair)), frames)[:, None, None, None], pair, 0).astype(np.uint8)
        assert sheet.phases_of(Segmentation(some, cine.affine, cine.frame_times, {})) == phases
    assert drawing.phase_marks(1, {"ED": 1, "ES": 2}) == "ED" and drawing.phase_marks(0, {"ED": 1}) == ""


def test_a_recorded_cine_is_called_nothing_and_marked_so(tmp_path, written):
    contact_sheet(made(patient="SMITH", source="SMITH^JOHN.nii.gz"), tmp_path / "a.png")
    assert "research only" in written and not any("SMITH" in text for text in written)
    assert not {"ED", "ES", "base", "apex"} & set(written)  # nobody said where they are


def test_chosen_frames_only(tmp_path, written):
    whole = rgb(contact_sheet(made((4, 3, 64, 256)), tmp_path / "a.png"))
    written.clear()
    two = rgb(contact_sheet(made((4, 3, 64, 256)), tmp_path / "b.png", frames=[0, 2]))
    assert whole.shape[1] - two.shape[1] == 2 * 258 and {"frame 0", "frame 2"} <= set(written)
    assert "frame 1" not in written
    for frames in ([4], [-1], []):
        with refused(4, "frame"):
            contact_sheet(made(), tmp_path / "c.png", frames=frames)
    assert not (tmp_path / "c.png").exists()


def test_labels_of_another_cine_are_refused(tmp_path):
    with refused((4, 2, 64, 72), (4, 3, 64, 72)):
        contact_sheet(made((4, 2, 64, 72)), tmp_path / "c.png", segmentation=labelled(made()))


def test_pixels_are_square_and_the_scale_is_right():
    for spacing, size in (((1.0, 2.0, 10.0), (128, 72)), ((2.0, 1.0, 10.0), (64, 144))):
        tiles, mm = square_tiles(made(spacing=spacing))
        assert tiles.shape[2:] == size and mm == 1.0
    large, mm = square_tiles(made((2, 1, 512, 256), spacing=(0.5, 0.5, 10.0)))
    assert large.shape[2:] == (256, 128) and mm == pytest.approx(1.0)
    assert drawing.scale_bar_mm(130.0) == 50.0 and drawing.scale_bar_mm(300.0) == 100.0
    assert drawing.scale_bar_mm(8.0) == 4.0


def test_a_large_sheet_is_made_smaller_but_not_its_letters(tmp_path, written):
    path = contact_sheet(made((40, 2, 8, 256)), tmp_path / "x.png")
    assert max(Image.open(path).size) <= MOST_PIXELS and "frame 39" in written


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7, 8, 9, 10, 11, 12, 13, 17])
def test_a_grid_has_no_empty_cell(count):
    rows = drawing.grid_of(count, (128, 128))
    assert sum(rows) == count and max(rows) - min(rows) <= 1 and min(rows) >= 1


def test_a_film_beats_at_the_speed_of_the_heart(tmp_path, written):
    cine = made(synthetic=True)
    film = Image.open(animated_gif(cine, tmp_path / "film.gif", segmentation=labelled(cine)))
    assert film.n_frames == 4 and film.info["loop"] == 0 and film.info["duration"] == 50
    for text in (
        "frame 0   0 ms",
        "frame 3   150 ms",
        "ED",
        "ES",
        "1 base",
        "2",
        "3 apex",
        "synthetic / research only",
    ):
        assert text in written, text
    frames = []
    for frame in range(4):
        film.seek(frame)
        frames.append(np.asarray(film.convert("L")).astype(float))
    top = sheet.MARGIN + drawing.LARGE + 50
    assert (np.diff([frame[top + 20 :].mean() for frame in frames]) > 0).all()
    assert film.size[0] <= FILM_PIXELS
    clock = [frame[:top] for frame in frames]
    assert all((clock[i] != clock[i + 1]).any() for i in range(3))  # the mark moves


def test_arrays_do_as_well_and_the_same_gives_the_same_bytes(tmp_path):
    array = np.random.default_rng(0).random((3, 5, 16, 16), dtype=np.float32)
    for write, name in ((contact_sheet, "x.png"), (animated_gif, "x.gif")):
        first = write(array, tmp_path / name).read_bytes()
        assert write(array, tmp_path / name).read_bytes() == first
        with refused((3, 5)):
            write(np.zeros((3, 5)), tmp_path / "y.png")
    contact_sheet(np.ones((2, 1, 4, 4)), tmp_path / "flat.png")


def test_odd_names_do_no_harm(tmp_path, written):
    cine = made(synthetic=True, model="Ж" * 500, seed=True, pathology=["x"])
    contact_sheet(cine, tmp_path / "x.png")
    assert written[1].startswith("Ж") and written[1].endswith("...")


def test_without_pillow_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    monkeypatch.setitem(sys.modules, "PIL", None)
    for write, name in ((contact_sheet, "x.png"), (animated_gif, "x.gif")):
        with refused("Pillow", "pip install matplotlib pillow"):
            write(made(), tmp_path / name)
    assert list(tmp_path.iterdir()) == []

"""Contact sheets and films."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from CardioDiTLib.cine import Cine
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.generation import animated_gif, contact_sheet
from CardioDiTLib.generation.pictures import CAPTION_HEIGHT

Image = pytest.importorskip("PIL.Image")


def made(shape=(4, 3, 20, 24), spacing=(1.5, 1.5, 10.0), **meta) -> Cine:
    array = np.zeros(shape, np.int16)
    for t in range(shape[0]):
        for z in range(shape[1]):
            array[t, z] = 100 * t + 10 * z
    array[:, :, 0, 0] = 1000
    return Cine(array, np.diag([*spacing, 1.0]), np.arange(shape[0]) * 0.05, meta)


def test_rows_are_slices_and_columns_are_frames(tmp_path):
    sheet = np.asarray(Image.open(contact_sheet(made(), tmp_path / "sheet.png")))
    assert sheet.shape == (3 * 21 - 1 + CAPTION_HEIGHT, 4 * 25 - 1)
    tiles = np.array([[sheet[z * 21 + 10, t * 25 + 12] for t in range(4)] for z in range(3)], float)
    assert (np.diff(tiles, axis=0) > 0).all() and (np.diff(tiles, axis=1) > 0).all()
    assert (np.diff(tiles, axis=1) > np.diff(tiles, axis=0).max()).all()  # frames differ by more than slices


def test_chosen_frames_only(tmp_path):
    whole = np.asarray(Image.open(contact_sheet(made(), tmp_path / "a.png", caption="")))
    two = np.asarray(Image.open(contact_sheet(made(), tmp_path / "b.png", frames=[0, 2], caption="")))
    assert two.shape == (62, 49) and np.array_equal(two[:, 25:], whole[:, 50:74])
    for frames in ([4], [-1], []):
        with pytest.raises(CardioDiTError, match="4 frames"):
            contact_sheet(made(), tmp_path / "c.png", frames=frames)
    assert not (tmp_path / "c.png").exists()


def test_the_caption_tells_synthetic_from_real(tmp_path):
    strips = []
    for name, cine in (("real", made()), ("synthetic", made(shape=(2, 2, 64, 128), synthetic=True))):
        sheet = np.asarray(Image.open(contact_sheet(cine, tmp_path / f"{name}.png")))
        strips.append(int((sheet[-CAPTION_HEIGHT:] > 100).sum()))
    assert 50 < strips[0] < strips[1]  # both say something, one says more


def test_pixels_are_square_in_the_picture(tmp_path):
    for spacing, size in (((1.0, 2.0, 10.0), (48 * 24, 40)), ((2.0, 1.0, 10.0), (48, 20))):
        image = Image.open(contact_sheet(made(spacing=spacing), tmp_path / "x.png", frames=[0], caption=""))
        assert image.height == 3 * (size[1] + 1) - 1
    assert image.width == 48


def test_a_large_sheet_is_made_smaller(tmp_path):
    cine = made(shape=(32, 2, 8, 256))
    assert max(Image.open(contact_sheet(cine, tmp_path / "x.png")).size) <= 4096


def test_a_film_beats_at_the_speed_of_the_heart(tmp_path):
    film = Image.open(animated_gif(made(synthetic=True), tmp_path / "film.gif"))
    assert film.n_frames == 4 and film.info["loop"] == 0 and film.info["duration"] == 50
    assert film.size == (2 * 25 - 1, 2 * 21 - 1 + CAPTION_HEIGHT)
    values = []
    for frame in range(4):
        film.seek(frame)
        values.append(np.asarray(film.convert("L"))[10, 12])
    assert (np.diff(np.array(values, float)) > 20).all()


def test_arrays_do_as_well_and_the_same_gives_the_same_bytes(tmp_path):
    array = np.random.default_rng(0).random((3, 5, 16, 16), dtype=np.float32)
    for write, name in ((contact_sheet, "x.png"), (animated_gif, "x.gif")):
        first = write(array, tmp_path / name).read_bytes()
        assert write(array, tmp_path / name).read_bytes() == first
    with pytest.raises(CardioDiTError, match=r"\(3, 5\)"):
        contact_sheet(np.zeros((3, 5)), tmp_path / "y.png")
    flat = np.asarray(Image.open(contact_sheet(np.ones((2, 1, 4, 4)), tmp_path / "flat.png", caption="")))
    assert flat[0, 0] == 0


def test_without_pillow_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    monkeypatch.setitem(sys.modules, "PIL", None)
    for write, name in ((contact_sheet, "x.png"), (animated_gif, "x.gif")):
        with pytest.raises(CardioDiTError, match="Pillow"):
            write(made(), tmp_path / name)
    assert list(tmp_path.iterdir()) == []

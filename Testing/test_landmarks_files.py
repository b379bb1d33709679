"""Landmark files: what is written comes back, and what is wrong is named."""

from __future__ import annotations

import json

import numpy as np
import pytest
from landmark_hearts import changed, heart, moving_track
from refusals import names, refused

from CardioDiTLib.cine import LandmarkTrack
from CardioDiTLib.landmarks.files import COLUMNS, load_landmarks, save_landmarks
from CardioDiTLib.landmarks.septal_contour import landmarks_from_segmentation


def gappy() -> LandmarkTrack:
    """Awkward numbers, missing points at the ends, uneven times, provenance with odd characters."""
    track = moving_track(5, 4)
    points = track.points / 3.0
    points[4] = points[:, 3] = points[1, 2, 0] = np.nan
    confidence = np.random.default_rng(0).random(points.shape[:3])
    confidence[np.isnan(points[..., 0])] = 0.0
    meta = {"notes": ["50% größer", 'a "quoted", line\nand more'], "n": 3, "nested": {"a": [1.5, None]}}
    return LandmarkTrack(points, confidence, [0.0, 0.04, 0.09, 0.13, 0.2], meta)


@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_round_trip_is_exact(tmp_path, suffix):
    for name, track in (("a", gappy()), ("b", landmarks_from_segmentation(heart()))):
        path = save_landmarks(track, tmp_path / "new" / f"{name}{suffix}")
        again = load_landmarks(path)
        np.testing.assert_array_equal(again.points, track.points)
        np.testing.assert_array_equal(again.confidence, track.confidence)
        np.testing.assert_array_equal(again.frame_times, track.frame_times)
        assert again.meta == track.meta
        content = path.read_bytes()
        assert save_landmarks(again, path).read_bytes() == content
        assert [p.name for p in path.parent.iterdir() if p.name.startswith(".")] == []


def test_one_row_a_point_that_is_there(tmp_path):
    track = gappy()
    lines = save_landmarks(track, tmp_path / "a.csv").read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if not line.startswith("#")]
    assert rows[0] == ",".join(COLUMNS) and len(rows) == 1 + track.found.sum()
    frame, level, kind, *values = rows[1].split(",")
    assert (frame, level, kind) == ("0", "0", "anterior")
    assert [float(v) for v in values[:3]] == track.points[0, 0, 0].tolist()


def test_a_plain_table_in_any_column_order(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("\ufeffpoint,frame,slice,confidence,z_mm,y_mm,x_mm\r\ninferior,1,2,0.5,3,2,1e1\r\n\r\n", "utf-8")
    track = load_landmarks(path)
    assert track.points.shape == (2, 3, 2, 3)
    assert track.points[1, 2, 1].tolist() == [10.0, 2.0, 3.0] and track.confidence[1, 2, 1] == 0.5
    assert track.found.sum() == 1 and track.meta["frame_times_assumed"] is True
    assert track.frame_times.tolist() == [0.0, 0.5]


@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_a_track_without_points(tmp_path, suffix):
    track = changed(moving_track(3, 2), np.full((3, 2, 2, 3), np.nan))
    again = load_landmarks(save_landmarks(track, tmp_path / f"a{suffix}"))
    assert again.points.shape == (3, 2, 2, 3) and not again.found.any()


HEAD = ",".join(COLUMNS) + "\n"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", ("columns",)),
        ("frame,slice,point\n", ("columns", "frame, slice, point")),
        (HEAD + "0,0,anterior,1,2,3,1,9\n", ("Line 2", 8)),
        (HEAD + "0,0,anterior,1,2\n", ("Line 2", 5)),
        (HEAD + "0,0,apex,1,2,3,1\n", ("Line 2", "apex")),
        (
            HEAD + "0,0,anterior,1,2,3,1\n0,0,anterior,1,2,3,1\n",
            ("Line 3", "anterior", "frame 0", "slice 0"),
        ),
        (HEAD + "-1,0,anterior,1,2,3,1\n", ("Line 2", "frame", "-1")),
        (HEAD + "0,1.5,anterior,1,2,3,1\n", ("Line 2", "slice", "1.5")),
        (HEAD + "0,0,anterior,1,,3,1\n", ("Line 2", "y_mm", "''")),
        (HEAD + "0,0,anterior,1,nan,3,1\n", ("Line 2", "y_mm", "nan")),
        (HEAD + "0,0,anterior,1,2,inf,1\n", ("Line 2", "z_mm", "inf")),
        (HEAD + "0,0,anterior,1,2,3,1.2\n", ("Line 2", "confidence", 1.2)),
        (HEAD + "999999999,999999999,anterior,1,2,3,1\n", ("cine",)),
        ("# frames: 2\n" + HEAD + "2,0,anterior,1,2,3,1\n", ("2 frames", "number 2")),
        ("# frames: 0\n" + HEAD, ("frames: 0",)),
        ("# frames: two\n" + HEAD, ("Line 1",)),
        ("# version: 2\n" + HEAD, ("version 2",)),
        ('# coordinates: "mm LPS"\n' + HEAD, ("mm LPS",)),
        ("# frames: 2\n# frame_times_s: [0.0]\n" + HEAD, ("2 frames", "frame times")),
        ('# frame_times_s: ["a"]\n' + HEAD, ("frame times", "numbers")),
    ],
)
def test_damaged_tables_are_named(tmp_path, text, named):
    path = tmp_path / "a.csv"
    path.write_text(text, encoding="utf-8")
    with refused("a.csv") as caught:
        load_landmarks(path)
    assert names(caught.value.message, *named)


def test_damaged_json_is_named(tmp_path):
    path = save_landmarks(gappy(), tmp_path / "a.json")
    content = json.loads(path.read_text(encoding="utf-8"))
    point = content["points"][0]
    for broken, *named in (
        (path.read_text(encoding="utf-8")[:200], "JSON"),
        ("[1]", "landmark"),
        (json.dumps({**content, "format": "other"}), "landmark"),
        (json.dumps({**content, "version": 9}), "version 9"),
        (json.dumps({**content, "points": 3}), "points", "list"),
        (json.dumps({**content, "points": [{**point, "more": 1}]}), "Point 0", "fields", "more"),
        (json.dumps({**content, "points": [{**point, "frame": True}]}), "Point 0", "frame", True),
        (json.dumps({**content, "points": [{**point, "x_mm": None}]}), "Point 0", "x_mm", None),
        (json.dumps({**content, "points": [{**point, "x_mm": True}]}), "Point 0", "x_mm", True),
        (json.dumps({**content, "frame_times_s": "soon"}), "frame times"),
        (json.dumps({**content, "frame_times_s": None}), "frame times"),
    ):
        path.write_text(broken, encoding="utf-8")
        with refused("a.json") as caught:
            load_landmarks(path)
        assert names(caught.value.message, *named), broken[:80]


def test_other_files_are_refused(tmp_path):
    with refused("a.txt", ".csv", ".json"):
        save_landmarks(gappy(), tmp_path / "a.txt")
    with refused("a.txt", ".csv", ".json"):
        load_landmarks(tmp_path / "a.txt")
    with refused(tmp_path / "a.csv", "No such file or directory"):
        load_landmarks(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00\x01")
    with refused("b.csv", "text"):
        load_landmarks(tmp_path / "b.csv")


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = save_landmarks(gappy(), tmp_path / "a.csv")
    before = path.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_text", full)
    with refused(path, "No space left on device"):
        save_landmarks(moving_track(), path)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1

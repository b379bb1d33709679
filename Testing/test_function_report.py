"""The page, the tables and the figures."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from function_shapes import beating
from refusals import refused

from CardioDiTLib.cine import Cine, Segmentation
from CardioDiTLib.data import PhantomSpec, make_phantom
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.function import (
    FunctionReport,
    cardiac_function,
    curves_to_csv,
    from_json,
    save_report,
    to_csv,
    to_html,
    to_json,
)
from CardioDiTLib.function.function_report import LEFT, RIGHT, TIME, WALL, printed, summary_lines
from CardioDiTLib.io import load_segmentation, save_segmentation

SECTIONS = ("volumes", "curve", "montage", "wall", "landmarks", "method", "provenance")
VOID = {"meta", "img", "br", "link"}


class Page(HTMLParser):
    """Checks that tags are closed in order; collects sections, pictures, addresses and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sections: dict[str, list[str]] = {}
        self.pictures: dict[str, list[tuple[str, bytes]]] = {}
        self.addresses: list[str] = []
        self.tags: set[str] = set()
        self.section = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "section":
            self.section = values["id"]
            self.sections[self.section] = []
        self.addresses += [values[key] for key in ("src", "href", "action", "srcset") if key in values]
        if tag == "img":
            kind, data = re.fullmatch(r"data:image/(png|gif|webp);base64,(.+)", values["src"]).groups()
            assert values["alt"]
            self.pictures.setdefault(self.section, []).append((kind, base64.b64decode(data, validate=True)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.sections.setdefault(self.section, []).append(data)

    def text(self, section: str) -> str:
        return " ".join(self.sections[section])


@pytest.fixture(scope="module")
def phantom():
    return make_phantom(PhantomSpec(frames=8, slices=10, height=96, width=96))


@pytest.fixture(scope="module")
def measured(phantom) -> FunctionReport:
    return cardiac_function(phantom.segmentation, phantom.landmarks)


@pytest.fixture(scope="module")
def page(phantom, measured, tmp_path_factory) -> str:
    pytest.importorskip("matplotlib")
    path = tmp_path_factory.mktemp("page") / "report.html"
    to_html(measured, path, phantom.segmentation, cine=phantom.cine, landmarks=phantom.landmarks, title="Heart 1")
    return path.read_text(encoding="utf-8")


def test_page_is_complete_and_self_contained(page):
    parsed = Page(page)
    assert set(SECTIONS) <= set(parsed.sections)
    outside = re.sub(r"base64,[A-Za-z0-9+/=]+", "", page)
    assert not re.search(r"https?:|//[a-z]|@import|url\(", outside)
    assert not parsed.tags & {"script", "link", "iframe", "object"}
    assert parsed.addresses and all(address.startswith("data:image/") for address in parsed.addresses)
    assert {name: [kind for kind, _ in found] for name, found in parsed.pictures.items()} == {
        "montage": ["webp"],
        "wall": ["png"],
        "landmarks": ["webp"],
    }


def test_page_shows_the_numbers_with_their_units(page, measured):
    text = Page(page).text("volumes")
    for quantity in (*LEFT, *RIGHT, *WALL, *TIME):
        assert quantity.name in text and quantity.unit in text
        assert printed(getattr(measured, quantity.field), quantity.digits) in text, quantity.name
    wall = Page(page).text("wall")
    assert printed(measured.segment_thickness_es_mm[7], 1) in wall and "mid anteroseptal" in wall
    assert "long axis" in wall  # why the apical cap is empty


def test_pictures_hold_what_they_should(page, phantom):
    from PIL import Image

    pictures = Page(page).pictures
    film = Image.open(io.BytesIO(pictures["montage"][0][1]))
    assert film.n_frames == 8 and film.info["loop"] == 0
    total = 0
    frames = []
    for index in range(film.n_frames):
        film.seek(index)
        film.load()
        total += film.info["duration"]
        frames.append(np.asarray(film.convert("RGB")).astype(int))
    assert total == pytest.approx(900, abs=10)  # one beat lasts as long as the heart's
    assert any(np.abs(frames[0] - frame).max() > 100 for frame in frames[1:])
    for colour in ("FF8A33", "19C99A", "4DB2F0"):  # contours; the film is compressed
        assert near(frames[0], colour, 100).sum() > 20, colour
    marks = np.asarray(Image.open(io.BytesIO(pictures["landmarks"][0][1])).convert("RGB")).astype(int)
    assert near(marks, "F0E442", 40).sum() > 50 and near(marks, "56B4E9", 40).sum() > 50
    drawn = np.asarray(Image.open(io.BytesIO(pictures["wall"][0][1])).convert("L"))
    assert drawn.std() > 5


def near(picture: np.ndarray, colour: str, within: int) -> np.ndarray:
    wanted = [int(colour[i : i + 2], 16) for i in (0, 2, 4)]
    return np.abs(picture - wanted).max(axis=-1) <= within


def test_the_curve_has_units_ticks_and_phases(page, measured):
    text = Page(page).text("curve")
    for word in ("volume (mL)", "time (ms)", "ED", "ES", "LV", "RV", "counted from 0"):
        assert word in text, word
    chart = page[page.index('<section id="curve">') : page.index('<section id="montage">')]
    assert chart.count("<circle") == 8 and chart.count("<polyline") == 2 and chart.count("stroke-dasharray") == 2


def test_the_page_is_small_and_says_nothing_that_only_programs_read(page, tmp_path):
    assert len(page.encode()) <= 1_000_000
    segmentation, _ = beating(
        frames=4,
        meta={"synthetic": True, "model": "tiny", "pathology": None, "asked": {"edv_ml": 140.0},
              "licence": {"name": "CC BY 4.0", "conditions": "Name the source.", "needs_acceptance": False}},
    )  # fmt: skip
    path = to_html(cardiac_function(segmentation), tmp_path / "a.html", segmentation)
    text = Page(path.read_text(encoding="utf-8")).text("provenance")
    assert "null" not in text and "None" not in text and "{" not in text and "pathology" not in text
    assert "CC BY 4.0. Name the source." in text and "edv 140 mL" in text and "licence of the model" in text


def test_banner_says_synthetic_only_where_it_is(page, tmp_path):
    pytest.importorskip("matplotlib")
    assert 'id="synthetic"' in page and "nobody" in page
    segmentation, landmarks = beating(frames=2)
    plain = to_html(cardiac_function(segmentation, landmarks), tmp_path / "a.html", segmentation).read_text(
        encoding="utf-8"
    )
    assert 'id="synthetic"' not in plain and "For research only" in plain
    cine = Cine(
        np.zeros(segmentation.shape, np.int16), segmentation.affine, segmentation.frame_times, {"synthetic": True}
    )
    by_cine = to_html(cardiac_function(segmentation), tmp_path / "b.html", segmentation, cine=cine).read_text(
        encoding="utf-8"
    )
    assert 'id="synthetic"' in by_cine


def test_text_from_files_is_escaped(tmp_path):
    pytest.importorskip("matplotlib")
    evil = "<script>alert('x')</script>&\"'"
    segmentation, landmarks = beating(frames=2, meta={evil: evil, "nested": {"a": [evil]}, "frame_times_assumed": True})
    report = cardiac_function(segmentation, landmarks)
    page = to_html(report, tmp_path / "a.html", segmentation, landmarks=landmarks, title=evil).read_text(
        encoding="utf-8"
    )
    assert "<script" not in page and "&lt;script&gt;" in page
    assert evil in Page(page).text("provenance")


def test_missing_numbers_are_explained(tmp_path):
    pytest.importorskip("matplotlib")
    segmentation, _ = beating(frames=2)
    array = np.where(segmentation.array == 1, 0, segmentation.array)
    bare = Segmentation(array[:1], segmentation.affine, [0.0])
    parsed = Page(to_html(cardiac_function(bare), tmp_path / "a.html", bare).read_text(encoding="utf-8"))
    assert set(SECTIONS) <= set(parsed.sections)
    assert "one frame only" in parsed.text("volumes") and "right ventricle is not labelled" in parsed.text("volumes")
    assert "No segments" in parsed.text("wall") and "insertion points" in parsed.text("landmarks")
    empty = Segmentation(np.zeros_like(array), segmentation.affine, segmentation.frame_times)
    parsed = Page(to_html(cardiac_function(empty), tmp_path / "b.html", empty).read_text(encoding="utf-8"))
    assert "left ventricle is not labelled" in parsed.text("volumes")


def test_what_does_not_belong_together_is_refused(phantom, measured, tmp_path):
    pytest.importorskip("matplotlib")
    other, landmarks = beating(frames=2)
    with refused("report", "segmentation"):
        to_html(measured, tmp_path / "a.html", other)
    report = cardiac_function(other, landmarks)
    with refused("landmarks"):
        to_html(report, tmp_path / "a.html", other, landmarks=phantom.landmarks)
    with refused((2, 10, 96, 110)):
        to_html(report, tmp_path / "a.html", other, cine=phantom.cine)
    assert list(tmp_path.iterdir()) == []


def test_json_round_trip(measured, tmp_path):
    again = from_json(to_json(measured, tmp_path / "a.json"))
    assert again.to_dict() == measured.to_dict()
    for content, expected in (("{", "not JSON"), ("[]", "function report"), ("{}", "schema")):
        (tmp_path / "b.json").write_text(content, encoding="utf-8")
        with pytest.raises(CardioDiTError, match=expected):
            from_json(tmp_path / "b.json")
    with refused("absent.json"):
        from_json(tmp_path / "absent.json")


def test_tables(measured, tmp_path):
    segmentation, _ = beating(frames=10)
    other = cardiac_function(segmentation)
    path = to_csv({"phantom": measured, "=1+1": other}, tmp_path / "numbers.csv")
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["name"] for row in rows] == ["phantom", "'=1+1"] and [row["synthetic"] for row in rows] == ["yes", "no"]
    assert float(rows[0]["edv_ml"]) == pytest.approx(measured.edv_ml, rel=1e-5)
    assert float(rows[0]["segment08_thickness_ed_mm"]) == pytest.approx(measured.segment_thickness_ed_mm[7], rel=1e-5)
    assert rows[0]["segment17_thickness_ed_mm"] == "" and rows[1]["segment01_thickness_ed_mm"] == ""
    assert int(rows[1]["es_frame"]) == other.es_frame and "No insertion points" in rows[1]["reasons"]
    small = replace(segmentation, affine=np.diag([1e-3, 1e-3, 1e-3, 1.0]) @ segmentation.affine)
    doubtful = cardiac_function(load_segmentation(save_segmentation(small, tmp_path / "small.nii.gz")))
    path = to_csv({"small": doubtful, "other": other}, tmp_path / "notes.csv")
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert "unusual" in rows[0]["notes"] and "unusual" not in rows[1]["notes"]
    assert all(note in rows[1]["notes"] for note in other.notes)
    path = curves_to_csv({"phantom": measured, "b": other}, tmp_path / "curves.csv")
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 18 and [row["name"] for row in rows].count("b") == 10
    np.testing.assert_allclose([float(row["lv_volume_ml"]) for row in rows[:8]], measured.lv_volume_ml, rtol=1e-5)
    np.testing.assert_allclose([float(row["time_s"]) for row in rows[8:]], other.frame_times_s, rtol=1e-5)
    assert rows[8]["septal_angle_deg"] == "" and float(rows[0]["septal_length_mm"]) > 30


def test_all_files_or_none(phantom, measured, tmp_path, monkeypatch):
    paths = save_report(measured, tmp_path / "new" / "out", "heart", phantom.segmentation, formats=["json", "CSV"])
    assert [path.name for path in paths] == ["heart_function.json", "heart_function.csv", "heart_curves.csv"]
    assert json.loads(paths[0].read_text(encoding="utf-8"))["ef_percent"] == pytest.approx(measured.ef_percent)

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("CardioDiTLib.function.outputs.curves_to_csv", full_disk)
    with refused(tmp_path / "other" / "out", "No space left on device"):
        save_report(measured, tmp_path / "other" / "out", "heart", phantom.segmentation, formats=["json", "csv"])
    assert not (tmp_path / "other").exists()
    with refused("pdf", "csv"):
        save_report(measured, tmp_path, "heart", phantom.segmentation, formats=["pdf"])


def test_numbers_as_text(measured):
    assert printed(float("nan"), 1) == "–" and printed(-0.04, 1) == "0.0" and printed(12.346, 2) == "12.35"
    lines = summary_lines(measured)
    assert any("Ejection fraction" in line and f"{measured.ef_percent:.1f} %" in line for line in lines)
    assert any("No insertion" not in line for line in lines)

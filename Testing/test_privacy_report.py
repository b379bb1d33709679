"""Reports of an audit: nothing lost, nobody named, nothing fetched."""

from __future__ import annotations

import csv
import io
import json
import re

import numpy as np
import pytest
from privacy_sets import copies_of, normal
from refusals import refused

from CardioDiTLib.privacy.audit import audit_memorization
from CardioDiTLib.privacy.audit_report import AuditReport
from CardioDiTLib.privacy.embedding_set import EmbeddingSet
from CardioDiTLib.privacy.report_html import MOST_PAIRS, html_page, to_html
from CardioDiTLib.privacy.report_text import CSV_HEADER, save_csv, to_markdown, to_text
from CardioDiTLib.reporting.drawing import grey_png

SECRET = "SMITH^JOHN"


def sets(count: int = 30) -> tuple[EmbeddingSet, EmbeddingSet, EmbeddingSet]:
    """Sets whose files, patients and groups have a name that must not get out."""
    x, v, y = normal(60, 0), normal(40, 1), normal(count, 2)
    y[:8] = copies_of(x, range(8))
    names = lambda k: tuple(f"={SECRET}{i}.nii.gz" for i in range(k))  # noqa: E731
    groups = lambda k, kind: tuple(f"{SECRET}{kind}{i}" for i in range(k))  # noqa: E731
    return (
        EmbeddingSet(x, groups(60, "t"), names(60)),
        EmbeddingSet(v, groups(40, "v"), names(40)),
        EmbeddingSet(y, None, names(count)),
    )


@pytest.fixture(scope="module")
def report() -> AuditReport:
    return audit_memorization(*sets())


@pytest.fixture(scope="module")
def undecided() -> AuditReport:
    return audit_memorization(normal(12, 0), None, normal(5, 2))


def test_json_brings_everything_back(report, undecided, tmp_path):
    for one in (report, undecided):
        path = tmp_path / "report.json"
        path.write_text(one.to_json(), encoding="utf-8")
        assert AuditReport.from_json(path) == one
        assert json.loads(one.to_json(), parse_constant=pytest.fail)["schema"].startswith("cardiodit-")
    assert undecided.verdict == "undecided" and undecided.published is None


def test_names_get_nowhere_unless_asked_for(report, tmp_path):
    texts = [report.to_json(), to_text(report), to_markdown(report), html_page(report)]
    texts.append(save_csv(report, tmp_path / "r.csv").read_text(encoding="utf-8"))
    texts.append(json.dumps(report.summary()))
    texts.append(html_page(report, pictures=lambda one: (np.zeros((4, 4), np.uint8),) * 2))
    assert not any(SECRET in text for text in texts)
    named = audit_memorization(*sets(), names=True)
    assert all(f"{SECRET}3.nii.gz" in text for text in (named.to_json(), html_page(named)))
    cell = next(csv.DictReader(save_csv(named, tmp_path / "n.csv").read_text(encoding="utf-8").splitlines()))["name"]
    assert cell.startswith(f"'={SECRET}")  # no formula in a spreadsheet


def test_the_page_needs_nothing_from_elsewhere(report, tmp_path):
    path = to_html(report, tmp_path / "report.html", title="Audit <of> & more")
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"(src|href)=[\"'](?!data:)|https?://|@import|<script", text)
    assert "Audit &lt;of&gt; &amp; more" in text and report.sentence in text
    assert text.count("<rect") >= 10 and "stroke-dasharray" in text and "<img" not in text
    for part in ("numbers", "scores", "samples", "method", "provenance"):
        assert f'<section id="{part}">' in text


def test_an_undecided_audit_has_a_page_too(undecided):
    text = html_page(undecided)
    assert undecided.sentence in text and "stroke-dasharray" not in text and 'id="notes"' in text


def test_pictures_are_those_of_the_nearest(report):
    asked = []

    def pictures(one):
        asked.append((one.index, one.nearest_index))
        return np.full((3, 5), one.index, np.uint8), np.full((3, 5), one.nearest_index, np.uint8)

    text = html_page(report, pictures=pictures)
    assert text.count("<img") == 2 * MOST_PAIRS and "shows training patients" in text
    assert sorted(asked[:8]) == [(i, i) for i in range(8)]


def test_a_png_is_one():
    from PIL import Image

    picture = np.arange(35, dtype=np.uint8).reshape(5, 7)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(grey_png(picture)))), picture)


def test_tables_hold_every_cine(report, tmp_path):
    rows = list(csv.DictReader(save_csv(report, tmp_path / "r.csv").read_text(encoding="utf-8").splitlines()))
    assert tuple(rows[0]) == CSV_HEADER and len(rows) == 30
    assert [row["copy"] for row in rows[:8]] == ["yes"] * 8
    assert [int(row["nearest_index"]) for row in rows[:8]] == list(range(8))


def test_words_say_what_numbers_say(report):
    text = to_text(report)
    assert f"{report.copies.count} of 30 = {100 * report.copies.fraction:.1f} %" in text
    assert "published rule: N_mem" in text and "published rule" not in to_text(report, published=False)
    assert to_markdown(report).count("\n| ") > 12


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"schema": "other"}, ("schema", "other")),
        ({"verdict": "guilty"}, ("verdict", "guilty")),
        ({"more": 1}, ("more", "audit")),
        ({"copies": {"count": 1}}, ("of", "low", "high", "expected")),
        ({"samples": 3}, ("samples", 3)),
    ],
)
def test_what_is_no_report_is_said(report, change, named):
    with refused(*named):
        AuditReport.from_dict({**report.to_dict(), **change})


def test_files_that_are_no_report(tmp_path):
    (tmp_path / "a.json").write_text("{", encoding="utf-8")
    (tmp_path / "b.json").write_text("[1]", encoding="utf-8")
    for name, named in (("a.json", ("a.json", "JSON")), ("b.json", ("audit",)), ("c.json", ("c.json",))):
        with refused(*named):
            AuditReport.from_json(tmp_path / name)

"""The house style: ticks, charts, provenance, pages of every kind, and what a browser makes of them."""

from __future__ import annotations

import io
import math
import os
import subprocess

import numpy as np
import pytest
from function_shapes import beating
from html_pages import browser, check_page
from PIL import Image
from privacy_sets import copies_of, normal

from CardioDiTLib.cine import Cine, Segmentation
from CardioDiTLib.data import PhantomSpec, make_phantom
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.evaluation import SynthesisReport
from CardioDiTLib.evaluation import report_html as evaluation_page
from CardioDiTLib.evaluation.synthesis_report import QuantityComparison, SetNumber, Spread
from CardioDiTLib.function import cardiac_function
from CardioDiTLib.function import report_html as function_page
from CardioDiTLib.generation import report_html as generation_page
from CardioDiTLib.generation.result import GenerationResult
from CardioDiTLib.privacy import report_html as audit_page
from CardioDiTLib.privacy.audit import audit_memorization
from CardioDiTLib.reporting.chart import Chart, beside_band, box, nice_ticks, tick_text
from CardioDiTLib.reporting.drawing import film_bytes
from CardioDiTLib.reporting.provenance import readable

pytest.importorskip("matplotlib")
EVIL = "<script>alert('x')</script>&\"'"


def number(matched: float, *, value: float = 1.0, better: str = "lower") -> SetNumber:
    return SetNumber(value, matched, 0.5, 1.0, 2.0, 12, 8, 6, better, value - 0.1, value + 0.1)  # type: ignore[arg-type]


def synthesis() -> SynthesisReport:
    nothing = SetNumber(math.nan, math.nan, math.nan, math.nan, math.nan, 12, 8, 0, "lower", reason="Too few.")
    real, made = Spread.of(np.linspace(100, 160, 12)), Spread.of([*np.linspace(120, 190, 7), math.nan], ["Cut off."])
    quantities = (
        QuantityComparison("edv_ml", "End-diastolic volume", "mL", 1, "physiology", "", real, made, number(3.0)),
        QuantityComparison("ef_percent", "Ejection fraction", "%", 1, "physiology", EVIL, real, made, number(1.0)),
        QuantityComparison("sharpness", "Sharpness", "", 3, "coherence", "", real, Spread.of([]), nothing),
    )
    sets = {"physiology": {"frechet_distance": number(1.5)}, "cine-hog-1": {"recall": number(0.2, better="higher")}}
    return SynthesisReport(
        EVIL, "made", 12, 8, 12, 8, 5, 100, 0, "heart", quantities, sets, (("a", EVIL),), 0.1, ("A note.",)
    )


def generated(labels: bool = True) -> GenerationResult:
    heart = make_phantom(PhantomSpec(frames=8, slices=7, height=96, width=96))
    provenance = {
        "synthetic": True, "model": EVIL, "model_version": "1.0", "seed": 7, "index": 0, "pathology": None,
        "asked": {"edv_ml": 140.0}, "licence": {"name": "CC BY 4.0", "conditions": EVIL, "needs_acceptance": True},
        "spacing": "wide_angle", "seconds": float("nan"),
    }  # fmt: skip
    cine = Cine(heart.cine.array, heart.cine.affine, heart.cine.frame_times, provenance)
    segmentation = heart.segmentation if labels else None
    return GenerationResult(cine, 7, 0, None, provenance, 1.0, segmentation=segmentation, warnings=(EVIL,))


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    """A page of every kind, full of text that must not act."""
    heart = make_phantom(PhantomSpec(frames=30, slices=12, height=128, width=128, noise=0.02))
    segmentation = Segmentation(
        heart.segmentation.array, heart.segmentation.affine, heart.segmentation.frame_times, {EVIL: EVIL, "x": None}
    )
    function = cardiac_function(segmentation, heart.landmarks)
    x, v, y = normal(60, 0), normal(40, 1), normal(30, 2)
    y[:4] = copies_of(x, range(4))
    audit = audit_memorization(x, v, y)
    picture = np.arange(96 * 96, dtype=np.int64).reshape(96, 96).astype(np.uint8)
    few, _ = beating(frames=2)
    return {
        "function": function_page.html_page(
            function, segmentation, cine=heart.cine, landmarks=heart.landmarks, title=EVIL
        ),
        "function of two frames": function_page.html_page(cardiac_function(few), few),
        "audit": audit_page.html_page(
            audit, pictures=lambda one: (picture, picture.T), title=EVIL, about={"model": EVIL}
        ),
        "undecided audit": audit_page.html_page(audit_memorization(normal(12, 0), None, normal(5, 2))),
        "evaluation": evaluation_page.html_page(synthesis(), title=EVIL),
        "heart": generation_page.html_page(generated()),
        "heart without labels": generation_page.html_page(generated(labels=False)),
    }


KINDS = (
    "function", "function of two frames", "audit", "undecided audit", "evaluation", "heart", "heart without labels",
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_pages_are_whole_escaped_and_small(pages, kind):
    read = check_page(pages[kind])
    assert "script" not in read.tags and ("<script" in read.text) == (
        kind not in ("function of two frames", "undecided audit")
    )
    assert read.tags.count("h1") == 1 and read.tags.count("h2") >= 3


def test_the_page_of_an_audit_says_what_it_is_about(pages):
    text = check_page(pages["audit"]).text
    for words in ("false-alarm rate", "5 %", "threshold 0.", "correlation with the nearest training cine", "share (%)"):
        assert words in text, words
    assert text.count("no copy") + text.count(" copy ") >= 30  # a verdict in every row
    assert "There is no threshold" in check_page(pages["undecided audit"]).text


def test_the_page_of_an_evaluation_puts_every_number_beside_its_floor(pages):
    page = pages["evaluation"]
    read = check_page(page)
    for words in ("End-diastolic volume, mL", "Floors of 6 cines a side", "outside", "within", "not known", "Recall"):
        assert words in read.text, words
    assert page.count("<circle") == 4 and page.count('fill-opacity="0.35"') == 5  # dots beside bands, boxes
    assert "Cut off." in read.text and "3 of 4 numbers" not in read.text


def test_the_page_of_a_heart_has_film_curve_and_readable_provenance(pages):
    text = check_page(pages["heart"]).text
    for words in (
        "volume (mL)",
        "time (ms, nominal)",
        "ED",
        "ES",
        "class asked for",
        "edv 140 mL",
        "spacing of denoising",
    ):
        assert (words in text) == (words != "class asked for"), words
    assert "pathology" not in text and "nobody's" in text
    assert "Volume over the cycle" not in check_page(pages["heart without labels"]).text


def test_a_verdict_on_few_cines_does_not_reassure():
    x, v = normal(60, 0), normal(40, 1)
    for count in (1, 4):
        report = audit_memorization(x, v, normal(count, 2))
        assert report.verdict == "none found" and report.sentence.startswith("Too few to tell"), report.sentence
        assert "tag" in audit_page.html_page(report) and 'verdict warn"' in audit_page.html_page(report)
    many = audit_memorization(x, v, normal(60, 2))
    assert "gone unnoticed" in many.sentence and not many.sentence.startswith("Too few")


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (0.291, 1.014), (-0.03, 0.02), (0, 137.2), (0, 899), (1e-9, 3e-9), (5, 5), (-4e6, 9e6)]
)
def test_ticks_are_round_and_inside(low, high):
    for most in (4, 6, 9):
        ticks = nice_ticks(low, high, most)
        assert 1 <= len(ticks) <= most and all(
            low - 1e-9 * abs(low) <= t <= high + 1e-9 * abs(high) + 1e-12 for t in ticks
        )
        texts = [tick_text(tick, ticks) for tick in ticks]
        assert len(set(texts)) == len(texts) and all(len(text) <= 12 for text in texts)
    if high > low:
        assert len(nice_ticks(low, high)) >= 2


def test_an_axis_needs_numbers():
    with pytest.raises(CardioDiTError, match="finite"):
        nice_ticks(0.0, math.nan)


def test_a_chart_breaks_its_lines_where_nothing_is_known():
    chart = Chart((0, 4), (0, 10), x_label="t <s>", y_label="v", name="n")
    chart.line(range(5), [1, 2, math.nan, 4, 5], "#000000")
    chart.dots(range(5), [1, 2, math.nan, 4, 5], "#000000")
    made = chart.svg()
    assert made.count("<polyline") == 2 and made.count("<circle") == 4 and "t &lt;s&gt;" in made and "nan" not in made
    assert box((math.nan,) * 5, (0, 1), "#000000") == "" and beside_band(1.0, (math.nan,) * 3, "#000000") == ""


def test_provenance_is_read_by_people():
    lines = dict(
        readable(
            {
                "model": "tiny", "pathology": None, "gone": {}, "asked": {"edv_ml": 140.0, "lv_slices": 9},
                "licence": {"name": "MIT", "conditions": ""}, "synthetic": True, "list": [1, None, "b"],
                "deep": {"a": {"b": {"c": 1}}}, "long": "x" * 9000, 5: math.inf,
            }
        )
    )  # fmt: skip
    assert lines["asked for"] == "edv 140 mL; lv slices: 9" and lines["licence of the model"] == "MIT"
    assert lines["synthetic"] == "yes" and lines["list"] == "1, not said, b" and lines["5"] == "not known"
    assert not {"pathology", "class asked for", "gone"} & set(lines) and len(lines["long"]) < 500


@pytest.mark.parametrize("kind", ["function", "audit", "evaluation", "heart"])
def test_a_browser_draws_the_page_and_prints_it_on_a4(pages, kind, tmp_path):
    """Chromium without a screen: the page is as wide as it should be, fills the picture, and becomes a PDF."""
    from PIL import Image

    program = browser()
    if program is None:
        pytest.skip("no Chromium or Chrome on this machine")
    file, shot, printed = tmp_path / "page.html", tmp_path / "page.png", tmp_path / "page.pdf"
    file.write_text(pages[kind], encoding="utf-8")
    options = [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    options += [f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1100,1600"]
    environment = {**os.environ, "HOME": str(tmp_path)}
    for what in (f"--screenshot={shot}", f"--print-to-pdf={printed}"):
        try:
            subprocess.run(
                [*options, what, file.as_uri()], check=True, capture_output=True, timeout=120, env=environment
            )
        except (subprocess.TimeoutExpired, subprocess.CalledProcessError, OSError) as error:
            pytest.skip(f"the browser does not run here: {error}")
    picture = np.asarray(Image.open(shot).convert("RGB")).astype(int)
    assert picture.shape[1] == 1100 and picture[0, 0].min() >= 250  # light
    ink = (picture.min(axis=2) < 200).any(axis=1)
    assert ink[1000:].any() and ink[:200].any()
    edges = picture[:, [0, 1, 2, -3, -2, -1]]
    assert edges.min() >= 250  # nothing runs out of the page
    data = printed.read_bytes()
    assert data.startswith(b"%PDF") and len(data) < 4_000_000


@pytest.mark.parametrize(
    ("most", "moves"), [(10**9, True), (60_000, True), (25_000, True), (1, True), (9_000, False), (4_000, False)]
)
def test_a_film_has_the_best_quality_that_fits(most, moves):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:96, :128]
    still = 128 + 100 * np.sin(x / 9) * np.cos(y / 7)
    frames = [
        Image.fromarray(
            np.clip(still + moves * (30 * np.sin(t) + rng.normal(0, 12, still.shape)), 0, 255).astype(np.uint8)
        ).convert("RGB")
        for t in range(12)
    ]

    def film(quality):
        stream = io.BytesIO()
        frames[0].save(
            stream,
            "WEBP",
            save_all=True,
            append_images=frames[1:],
            duration=[50] * 12,
            loop=0,
            quality=quality,
            method=2,
        )
        return stream.getvalue()

    every = [film(quality) for quality in (80, 60, 40, 20)]
    wanted = next((data for data in every if len(data) <= most), every[-1])
    data, kind = film_bytes(frames, [50] * 12, most)
    assert kind == "webp" and data == wanted

"""Morphs between patients: A's picture with B's ventricles, labels carried along, nothing folded."""

from __future__ import annotations

import numpy as np
import pytest

from CardioDiTLib.data.cine_from_pair import PosedPair
from CardioDiTLib.data.morph import MorphPainter, View, blood_gain, find_morph
from CardioDiTLib.data.motion import contraction_curve, drawn_curve

SIZE = 96


def pair(radius: float, es_radius: float, blood: float = 180.0) -> PosedPair:
    """Concentric rings with a right ventricle beside them, all slices alike."""
    rows, columns = np.mgrid[0:SIZE, 0:SIZE] - (SIZE - 1) / 2
    distance = np.hypot(rows, columns)
    images, labels = np.zeros((2, 4, SIZE, SIZE), np.uint8), np.zeros((2, 4, SIZE, SIZE), np.uint8)
    for phase, inner in enumerate((radius, es_radius)):
        outer = np.sqrt(inner**2 + 300)
        plane = np.zeros((SIZE, SIZE), np.uint8)
        plane[np.hypot(rows, columns + outer + 6) < 11] = 1
        plane[distance < outer] = 2
        plane[distance < inner] = 3
        labels[phase] = plane
        images[phase] = np.where(plane == 2, 60, np.where(plane > 0, blood, 20))
    # The motion of a ring that keeps its area: r_ed -> sqrt(r_ed^2 - shrunk).
    moved = np.sqrt(np.maximum(distance**2 - (radius**2 - es_radius**2), 1e-3)) / np.maximum(distance, 1e-3)
    inside = np.clip((30 - distance) / 8, 0, 1)
    motion = np.stack([rows, columns]) * ((moved - 1) * inside)
    motion = np.where(distance < 2, 0, motion)
    return PosedPair(
        images,
        labels,
        np.repeat(motion[:, None], 4, axis=1).astype(np.float32),
        np.ones(4, bool),
        (1.5, 1.5, 10.0),
        0.0,
        np.eye(4),
        0.375,
        0.9,
        "NOR",
    )


def cavity(labels: np.ndarray) -> float:
    return float((labels == 3).sum())


def test_a_whole_morph_has_the_other_ones_cavity_at_end_diastole_and_end_systole():
    one, other = pair(18, 13), pair(23, 18)
    morph = find_morph(one, other)
    curve = contraction_curve(16, 0.375)
    _, labels = MorphPainter(one, SIZE).paint(curve, morph=morph, share=morph.most)
    assert morph.most == pytest.approx(1.0)
    assert cavity(labels[0]) == pytest.approx(cavity(other.labels[0]), rel=0.08)
    assert cavity(labels[6]) == pytest.approx(cavity(other.labels[1]), rel=0.12)
    # Half of the way lies between the two.
    _, half = MorphPainter(one, SIZE).paint(curve, morph=morph, share=0.5)
    assert cavity(one.labels[0]) * 1.1 < cavity(half[0]) < cavity(labels[0]) * 0.95


def test_without_a_morph_and_a_view_the_patient_is_who_he_was():
    one = pair(18, 13)
    images, labels = MorphPainter(one, SIZE).paint(contraction_curve(16, 0.375))
    np.testing.assert_allclose(images[0], one.images[0], atol=0.01)
    np.testing.assert_array_equal(labels[0], one.labels[0])
    assert (labels[6] == one.labels[1]).mean() > 0.97


def test_labels_lie_where_the_picture_shows_them():
    one, other = pair(18, 13), pair(23, 18)
    images, labels = MorphPainter(one, SIZE).paint(
        contraction_curve(16, 0.375), View(8.0, 1.05, (2.0, -3.0)), find_morph(one, other), 0.7
    )
    for frame in (0, 3, 6, 12):
        blood = np.median(images[frame][labels[frame] == 3])
        wall = np.median(images[frame][labels[frame] == 2])
        assert blood == pytest.approx(180, abs=3) and wall == pytest.approx(60, abs=3)


def test_a_view_turns_magnifies_and_shifts():
    places = View(90.0, 2.0, (1.0, 0.0)).places(11, 11)
    middle = 5
    np.testing.assert_allclose(places[:, middle, middle], [6.0, 5.0])
    # one column to the right in a picture twice as large is half a row of the source
    np.testing.assert_allclose(places[:, middle, middle + 1], [6.5, 5.0], atol=1e-9)


def test_blood_is_brought_to_one_brightness():
    assert 90 * blood_gain(pair(18, 13, 90.0)) == pytest.approx(180 * blood_gain(pair(18, 13, 180.0)), rel=0.02)


def test_drawn_curves_are_as_recorded_ones():
    """23 recorded cines: ES .378 +- .045; within a tenth of ESV .184 +- .027; half refilled .245 +- .073 later."""
    rng = np.random.default_rng(0)
    curves = np.stack([drawn_curve(40, rng.normal(0.378, 0.045), rng) for _ in range(200)])
    assert np.all((curves >= 0) & (curves <= 1)) and np.all(curves[:, 0] == 0)
    systole = curves.argmax(1) / 40
    assert systole.mean() == pytest.approx(0.378, abs=0.015) and systole.std() == pytest.approx(0.045, abs=0.015)
    assert (curves > 0.9).mean() == pytest.approx(0.184, abs=0.03)
    half = [np.argmax(curve[int(curve.argmax()) :] <= 0.5) / 40 for curve in curves]
    assert np.mean(half) == pytest.approx(0.245, abs=0.035)
    plateau = curves[:, 32].mean()
    assert plateau == pytest.approx(0.33, abs=0.04)

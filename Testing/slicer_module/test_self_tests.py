"""The self-tests that run inside Slicer, as far as they need nothing but nodes, on the stand-in."""

from __future__ import annotations

import sys
import unittest

from module_under_test import MODULE_FOLDER

FOLDER = MODULE_FOLDER / "Testing" / "Python"


def test_measured_sequences(scene):
    sys.path.insert(0, str(FOLDER))
    try:
        suite = unittest.defaultTestLoader.loadTestsFromName("CardioDiTMeasuredSequencesTest")
    finally:
        sys.path.remove(str(FOLDER))
    result = unittest.TestResult()
    suite.run(result)
    assert result.testsRun == 3 and result.wasSuccessful(), result.failures + result.errors


def test_every_self_test_is_listed():
    listed = (FOLDER / "CMakeLists.txt").read_text(encoding="utf-8")
    for path in FOLDER.glob("*.py"):
        assert f"SCRIPT {path.name} " in listed, path.name

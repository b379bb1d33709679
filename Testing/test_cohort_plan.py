"""Plans of cohorts: the same order, the same bytes; what cannot be is told before anything is written."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from cohort_folders import EDV, EF, planned, write_labelled_bundle
from privacy_sets import normal
from refusals import refused
from tiny_bundle import DIT, tiny_manifest, write_tiny_bundle
from tiny_encoder import tiny_encoder_folder

from CardioDiTLib.bundles import NetworkSpec
from CardioDiTLib.cohort.heart import HEARTS_NAME, Heart, hearts_text
from CardioDiTLib.cohort.plan import PLAN_NAME, open_plan, read_plan
from CardioDiTLib.cohort.planning import PlanRequest, plan_cohort
from CardioDiTLib.cohort.spread import Distributions, Spread, draw_hearts, parse_shares, parse_spreads
from CardioDiTLib.cohort.table import hearts_of_table
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.privacy.attach import attach_privacy
from CardioDiTLib.privacy.embedding_set import checked
from CardioDiTLib.privacy.reference_set import ReferenceSet

STEERED = tiny_manifest(quantities=(EDV, EF), dit=NetworkSpec("DiT4D", {**DIT, "num_conditions": 2}, "dit.safetensors"))
DRAWN = Distributions(
    parse_shares("NOR=3,DCM=1"),
    {"edv_ml": parse_spreads("DCM=200+-40,100:160"), "ef_percent": parse_spreads("NOR=60+-100,DCM=30")},
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny").folder


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    return write_labelled_bundle(tmp_path_factory.mktemp("bundles") / "labelled")


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_same_order_gives_the_same_bytes(labelled, tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        planned(tmp_path / name, labelled, 20, seed=seed, drawn_from=DRAWN)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert files(tmp_path / "a")[HEARTS_NAME] != files(tmp_path / "c")[HEARTS_NAME]
    there = open_plan(tmp_path / "a")
    assert hearts_text(there.hearts).encode() == files(tmp_path / "a")[HEARTS_NAME]
    assert there.plan.labels and there.plan.measure == ("labels",) and not there.plan.embed


def test_a_larger_plan_begins_with_the_hearts_of_a_smaller_one():
    small, large = (draw_hearts(DRAWN, count, 5, STEERED) for count in (30, 300))
    assert large[:30] == small


@pytest.mark.parametrize("count", [1, 2, 7, 100])
def test_classes_have_their_shares_at_any_length(count):
    given = Counter(heart.pathology for heart in draw_hearts(DRAWN, count, 0, STEERED))
    assert abs(given["NOR"] - 0.75 * count) < 1 and given["NOR"] + given["DCM"] == count


def test_quantities_are_drawn_as_was_said():
    hearts = draw_hearts(DRAWN, 2000, 1, STEERED)
    normal, dilated = ([heart for heart in hearts if heart.pathology == name] for name in ("NOR", "DCM"))
    volumes = np.array([heart.edv_ml for heart in normal])
    assert volumes.min() >= 100 and volumes.max() <= 160 and abs(volumes.mean() - 130) < 2
    assert abs(volumes.std() - 60 / 12**0.5) < 1  # even
    volumes = np.array([heart.edv_ml for heart in dilated])
    assert abs(volumes.mean() - 200) < 5 and abs(volumes.std() - 40) < 4
    fractions = np.array([heart.ef_percent for heart in normal])
    assert fractions.min() >= EF.low and fractions.max() <= EF.high, "cut at what the model has seen"
    assert {heart.ef_percent for heart in dilated} == {30.0}
    assert len({heart.edv_ml for heart in normal}) > 200


@pytest.mark.parametrize("text", ["", "80-160", "160:80", "120+-0", "abc", "nan", "1:2:3", "DCM=", "=5", "A=1,A=2"])
def test_what_is_no_distribution_is_refused(text):
    with pytest.raises(CardioDiTError):
        parse_spreads(text)


@pytest.mark.parametrize("text", ["NOR=0", "NOR=-1", "NOR=x", "NOR,NOR", "", "NOR=inf", "NOR=1e308,DCM=1e308"])
def test_what_is_no_share_is_refused(text):
    with pytest.raises(CardioDiTError):
        parse_shares(text)


@pytest.mark.parametrize(
    "given",
    [
        Distributions({"HCM": 1.0}, {}),
        Distributions({"NOR": 1.0, "nor": 1.0}, {}),
        Distributions({"NOR": 1.0}, {"edv_ml": {"DCM": Spread(100, 120)}}),
        Distributions({}, {"lv_mass_g": {"": Spread(100, 120)}}),
        Distributions({}, {"edv_ml": {"": Spread(20, 120)}}),
        Distributions({}, {"edv_ml": {"": Spread(mean=2000, sd=1)}}),
    ],
)
def test_what_the_model_cannot_be_asked_for_is_refused(given):
    with pytest.raises(CardioDiTError):
        draw_hearts(given, 5, 0, STEERED)


def test_a_table_as_spreadsheets_write_it(tmp_path):
    table = tmp_path / "asked.csv"
    table.write_text("Diagnosis;EDV_ml;seed\ndcm;123,5;7\n;;\nNOR;;8\n", encoding="utf-8-sig")
    assert hearts_of_table(table, 5, STEERED) == [
        Heart(0, 7, 0, "DCM", edv_ml=123.5),
        Heart(1, 8, 1, "NOR"),
    ]
    table.write_text("index\n4\n9\n", encoding="utf-8")
    assert hearts_of_table(table, 5, STEERED) == [Heart(0, 5, 4), Heart(1, 5, 9)]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("pathology,EDV\nNOR,100\n", "EDV"),
        ("seed,seed\n1,2\n", "twice"),
        ("seed\n", "no row"),
        ("", "no row"),
        ("seed\n1\n-3\n", "Row 2"),
        ("seed\n1.5\n", "Row 1"),
        ("edv_ml\nbig\n", "Row 1"),
        ("seed\n" + "9" * 5000 + "\n", "Row 1"),
        ("edv_ml\n120,5\n", "Row 1"),
        ("ef_percent,edv_ml\n55,120\n55,120,5\n", "Row 2"),
        ("pathology\nHCM\n", "Row 1"),
    ],
)
def test_a_table_that_cannot_be_names_the_row(tmp_path, text, named):
    (tmp_path / "asked.csv").write_text(text, encoding="utf-8")
    with pytest.raises(CardioDiTError, match=named):
        hearts_of_table(tmp_path / "asked.csv", 5, STEERED)


def test_one_heart_twice_is_refused(bundle, tmp_path):
    (tmp_path / "asked.csv").write_text("seed,index\n1,2\n1,3\n1,2\n", encoding="utf-8")
    with refused("Hearts 0 and 2", "seed 1", "index 2"):
        plan_cohort(tmp_path / "c", PlanRequest(table=str(tmp_path / "asked.csv"), bundle=str(bundle)))
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"count": None},
        {"preset": "best"},
        {"guidance": 3.0},
        {"gate": True},
        {"false_alarm": 2.0},
        {"measure": ("labels",)},
        {"labels": True},
        {"frames": 40},
        {"drawn_from": Distributions({}, {"edv_ml": {"": Spread(100, 120)}})},
        {"table": "asked.csv"},
    ],
)
def test_what_cannot_be_is_told_before_anything_is_written(bundle, tmp_path, changes):
    with pytest.raises(CardioDiTError):
        planned(tmp_path / "c", bundle, **changes)
    assert list(tmp_path.iterdir()) == []


def test_the_same_plan_twice_is_one_and_another_is_refused(bundle, tmp_path):
    folder = planned(tmp_path / "c", bundle)
    before = files(folder)
    request = PlanRequest(bundle=str(bundle), count=8, seed=3, shard_size=3, preset="draft", precision="fp32")
    assert not plan_cohort(folder, request).new
    for changes in ({"count": 9}, {"seed": 4}, {"preset": "standard"}, {"shard_size": 4}):
        with pytest.raises(CardioDiTError, match="another plan"):
            planned(folder, bundle, **{"count": 8, **changes})
    assert files(folder) == before


def test_a_folder_with_something_else_is_refused(bundle, tmp_path):
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "thesis.tex").touch()
    with pytest.raises(CardioDiTError, match=r"thesis\.tex"):
        planned(tmp_path / "c", bundle)
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["thesis.tex"]


def test_a_plan_is_read_strictly(bundle, tmp_path):
    folder = planned(tmp_path / "c", bundle)
    with pytest.raises(CardioDiTError, match="no cohort"):
        read_plan(tmp_path)
    values = json.loads((folder / PLAN_NAME).read_text(encoding="utf-8"))
    for changed in (
        {**values, "colour": "red"},
        {**values, "count": "8"},
        {k: v for k, v in values.items() if k != "gate"},
    ):
        (folder / PLAN_NAME).write_text(json.dumps(changed), encoding="utf-8")
        with pytest.raises(CardioDiTError):
            read_plan(folder)
    (folder / PLAN_NAME).write_text(json.dumps(values), encoding="utf-8")
    text = (folder / HEARTS_NAME).read_text(encoding="utf-8")
    (folder / HEARTS_NAME).write_text(text.replace("3,0", "3,9"), encoding="utf-8")
    with pytest.raises(CardioDiTError, match="SHA-256"):
        open_plan(folder)


def test_hearts_go_together_only_where_a_batch_could_be_asked_for(bundle, tmp_path):
    table = tmp_path / "asked.csv"
    table.write_text("pathology,seed,index\nNOR,1,0\nDCM,1,1\n,1,2\nNOR,1,3\nNOR,1,5\nNOR,2,6\n", encoding="utf-8")
    plan_cohort(tmp_path / "c", PlanRequest(table=str(table), bundle=str(bundle), batch_size=4))
    there = open_plan(tmp_path / "c")
    batches = there.plan.batches(there.of_shard(0))
    assert [[heart.number for heart in batch] for batch in batches] == [[0, 1], [2], [3], [4], [5]]
    request = there.plan.request(batches[0])
    assert request.count == 2 and request.pathology == ("NOR", "DCM") and request.first_index == 0


def test_few_calibrating_patients_refuse_a_gate_and_no_cohort(tmp_path):
    """The audit of a cohort may remain undecided; a gate that can refuse nothing is none."""
    place = write_tiny_bundle(tmp_path / "few").folder
    train, others = checked(normal(6, 0, 16), "training"), checked(normal(4, 1, 16), "validation")
    attach_privacy(place, tiny_encoder_folder(tmp_path / "encoder"), ReferenceSet.build(train, others))
    folder = planned(tmp_path / "c", place, 2)
    assert read_plan(folder).embed and not read_plan(folder).gate
    with refused("4 real patients calibrate this gate"):
        planned(tmp_path / "gated", place, 2, gate=True)
    assert not (tmp_path / "gated").exists()

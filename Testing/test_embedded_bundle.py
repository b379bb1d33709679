"""The embedded model: whole, small, and what it makes is one beat of something like a heart."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from CardioDiTLib import GenerationRequest, Generator
from CardioDiTLib.bundles import list_bundles, load_bundle, verify
from CardioDiTLib.generation.heart_quantities import heart_quantities

NAME = "acdc-mini"


@pytest.fixture(scope="module")
def generator():
    return Generator.from_bundle(NAME, device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def results(generator):
    return generator.generate(GenerationRequest(count=4, seed=11, pathology=("NOR", "DCM", "HCM", None)))


def test_bundle_is_whole_and_small():
    assert NAME in [entry.name for entry in list_bundles()]
    assert verify(NAME) == []
    folder = load_bundle(NAME).folder
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 16_000_000


def test_card_and_manifest_say_what_a_user_must_know():
    bundle = load_bundle(NAME)
    assert bundle.manifest.licence.name == "CC BY-NC-SA 4.0" and bundle.manifest.licence.needs_acceptance
    for said in ("ACDC", "Bernard", "research", "end-systol", "Trained on", "CPU"):
        assert said.lower() in bundle.model_card.lower(), said
    assert set(bundle.manifest.class_names) == {"NOR", "DCM", "HCM", "MINF", "RV"}
    assert {"psnr_db", "ssim", "motion_share"} <= set(bundle.manifest.eval_metrics["codec"])


def test_cines_carry_millimetres_seconds_and_provenance(results):
    result = results[0]
    assert result.cine.shape == (16, 8, 128, 128)
    np.testing.assert_allclose(result.cine.spacing, (1.5, 1.5, 10.0), atol=1e-6)
    assert result.cine.cycle_s == pytest.approx(0.9)
    assert json.loads(json.dumps(result.provenance))["synthetic"] is True
    # Apex to the left, front and below, base first.
    towards_apex = result.cine.affine[:3, 2]
    assert towards_apex[0] < 0 < towards_apex[1] and towards_apex[2] < 0


def test_same_seed_same_bytes_other_seed_other_cine(generator):
    first, again, other = (
        generator.generate(GenerationRequest(seed=seed, preset="draft"))[0].cine.array for seed in (3, 3, 4)
    )
    assert first.tobytes() == again.tobytes()
    assert np.abs(first.astype(float) - other).mean() > 20


def test_blood_is_bright_in_the_middle_and_lung_is_dark(results):
    """The average of the samples has a bright left ventricle in the middle and dark lung to its upper right."""
    mean = np.mean([result.cine.array[0, 1:5].astype(float) for result in results], axis=(0, 1))
    heart, lung = mean[52:80, 56:88].mean(), mean[12:36, 92:116].mean()
    assert heart > 2 * lung
    assert heart > 1.3 * mean.mean()


def test_it_beats_once_and_the_cycle_is_closed(results):
    for result in results:
        box = result.cine.array[:, :, 32:96, 32:96].astype(float)
        change = np.abs(box - box[0]).mean(axis=(1, 2, 3))
        assert 3 <= change.argmax() <= 10, "the frame that differs most from frame 0 is end-systole"
        assert change.max() > 0.15 * box[0].std(), "it moves"
        steps = np.abs(np.roll(box, -1, axis=0) - box).mean(axis=(1, 2, 3))
        assert steps[-1] < 1.5 * steps[:-1].mean(), "the last frame leads into the first"


def test_neighbouring_slices_belong_together(results):
    """A slice is more like its neighbour than like the same slice of another heart."""
    middle = [result.cine.array[0, 2:6, 32:96, 32:96].astype(float) for result in results]

    def likeness(a, b):
        return np.corrcoef(a.ravel(), b.ravel())[0, 1]

    within = np.mean([likeness(m[z], m[z + 1]) for m in middle for z in range(3)])
    between = np.mean([likeness(middle[i][z], middle[j][z]) for i in range(4) for j in range(i) for z in range(4)])
    assert within > between


@pytest.mark.slow
def test_memory_of_a_whole_generation_stays_small():
    code = (
        "import resource, torch; torch.set_num_threads(1)\n"
        "from CardioDiTLib import Generator, GenerationRequest\n"
        "request = GenerationRequest(count=8, pathology='DCM', guidance=2.0)\n"
        "Generator.from_bundle('acdc-mini', device='cpu').generate(request)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout.split()[-1]) < 4_000_000  # kilobytes


@pytest.mark.slow
def test_codec_keeps_picture_and_motion_of_unseen_patients(shared_dir, tmp_path):
    """The figures of the model card, measured again on cines that the codec was not trained on."""
    source = shared_dir / "data" / "acdc"
    if not source.is_dir():
        pytest.skip("the ACDC volumes are not there")
    sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))
    from codec_quality import measure

    from CardioDiTLib.data.acdc import make_pack

    rows = measure(make_pack(source, tmp_path / "acdc.npz", held_out_only=True), NAME)
    promised = load_bundle(NAME).manifest.eval_metrics["codec"]
    mean = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    assert mean["psnr"] == pytest.approx(promised["psnr_db"], abs=0.15)
    assert mean["ssim"] == pytest.approx(promised["ssim"], abs=0.01)
    assert mean["motion_share"] == pytest.approx(promised["motion_share"], abs=0.03)
    assert mean["psnr"] >= 27.5 and mean["motion_share"] > 0.7


@pytest.mark.slow
def test_hearts_have_the_volume_and_the_ejection_fraction_that_were_asked(generator):
    """By the labels that come with them; Testing/benchmarks/steering.py asks another network."""
    asked = [(110.0, 20.0), (240.0, 60.0), (190.0, 40.0)]
    edv, ef = (tuple(one) for one in zip(*asked))
    request = GenerationRequest(count=3, seed=21, edv_ml=edv, ef_percent=ef, preset="draft")
    for (edv_ml, ef_percent), result in zip(asked, generator.generate(request)):
        assert result.segmentation is not None
        found = heart_quantities(result.segmentation.array, result.cine.spacing)
        assert found[0] == pytest.approx(edv_ml, abs=12) and found[1] == pytest.approx(ef_percent, abs=4)


def test_its_manifest_tells_what_its_networks_would():
    bundle = load_bundle("acdc-mini")
    assert bundle.manifest.names_tissues and bundle.refiner is not None and bundle.refiner.classes > 0
    assert bundle.manifest.null_class == bundle.dit.null_class is not None

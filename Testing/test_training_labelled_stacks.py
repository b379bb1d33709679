"""What segmentation learns from beside the pack, what more it sees, and how it goes on from a smaller model."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch
from refusals import refused
from test_training_segmentation import OFF, make_pack
from tiny_segmentation import tiny_manifest, tiny_model, tiny_model_folder, tiny_network

from CardioDiTLib import cli
from CardioDiTLib.cine import Cine
from CardioDiTLib.data.phantom import PhantomSpec, make_phantom
from CardioDiTLib.data.slice_inference import beat_channels
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.labels import LV
from CardioDiTLib.models.slice_unet import NetworkConfig
from CardioDiTLib.segmentation.model import IntensityRule
from CardioDiTLib.segmentation.segment import segment, slice_probabilities
from CardioDiTLib.training.checkpoint import finished_steps
from CardioDiTLib.training.labelled_stacks import NOT_CAVITY, basal_slices, read_cavities, read_recorded
from CardioDiTLib.training.segmentation_stage import begin_from, segmentation_loss
from CardioDiTLib.training.slice_augment import ImageAugmenter, SegmentationAugmentation

SPEC = PhantomSpec(frames=2, slices=4, height=48, width=52, spacing_mm=(2.0, 2.0, 18.0))
RULE = IntensityRule(0.5, 99.5)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A folder like that of ACDC, of eight patients, the last of whom packs keep aside."""
    folder = tmp_path_factory.mktemp("acdc")
    made = make_phantom(SPEC)
    names = [f"patient{number:03d}" for number in range(8)]
    for name in names[:1] + names[-1:]:
        for frame, part in enumerate(("ED", "ES")):
            for ending, array in (("", made.cine.array), ("_gt", made.segmentation.array)):
                image = nib.Nifti1Image(array[frame].T.astype(np.float32), np.diag([2.0, 2.0, 18.0, 1.0]))
                nib.save(image, folder / f"{name}_{part}{ending}.nii.gz")
    for name in names[1:-1]:
        for part in ("ED", "ED_gt", "ES", "ES_gt"):
            (folder / f"{name}_{part}.nii.gz").write_bytes((folder / f"{names[0]}_{part}.nii.gz").read_bytes())
    (folder / f"{names[-1]}_ED.nii.gz").unlink()  # reading it would fail
    (folder / "metadata.csv").write_text(
        "pid,pathology\n" + "".join(f"{name},NOR\n" for name in names), encoding="utf-8"
    )
    return folder


@pytest.fixture(scope="module")
def cavities(tmp_path_factory):
    """A file with a cavity drawn in four slices at ED (frame 19) and ES (frame 6), every third one to measure with."""
    folder = tmp_path_factory.mktemp("cavities")
    made = make_phantom(SPEC)
    order = [(z, frame) for z in range(4) for frame in (1, 0)]
    pictures = np.stack([np.clip(made.cine.array[frame, z] / 4, 0, 255) for z, frame in order]).astype(np.uint8)
    drawn = np.stack([(made.segmentation.array[frame, z] == LV) for z, frame in order]).astype(np.uint8)
    instance = np.array([20 * z + (20 if frame == 0 else 7) for z, frame in order])
    for number in range(3):
        np.savez(folder / f"p{number}.npz", images=pictures, lv_endo=drawn, instance=instance)
    return folder


def test_volumes_as_recorded_lie_about_the_heart(recorded):
    stacks = read_recorded(recorded, 80, RULE)
    assert len(stacks) == 7 and stacks[0].whole and stacks[0].slice_mm == 18.0
    assert stacks[0].images.shape == stacks[0].labels.shape == (2, 4, 80, 80)
    middle = np.argwhere(stacks[0].labels == LV).mean(axis=0)[2:]
    np.testing.assert_allclose(middle, [39.5, 39.5], atol=1.0)
    truth = make_phantom(SPEC).segmentation.array
    area = (stacks[0].labels == LV).sum() * 1.2**2 / ((truth == LV).sum() * 4.0)
    assert area == pytest.approx(1, abs=0.05)
    # Pictures and labels are on the same grid: blood is brighter than muscle.
    assert stacks[0].images[stacks[0].labels == LV].mean() > 1.5 * stacks[0].images[stacks[0].labels == 2].mean()
    with pytest.raises(CardioDiTError, match="metadata"):
        read_recorded(recorded / "nowhere", 80, RULE)


def test_cavities_are_cavity_or_not(cavities, tmp_path):
    stacks = read_cavities(cavities, 80, RULE, pixel_mm=2.0)
    assert len(stacks) == 2 and not stacks[0].whole and stacks[0].basal == ()
    assert set(np.unique(stacks[0].labels)) <= {0, LV, NOT_CAVITY}
    assert stacks[0].systole == 1
    with pytest.raises(CardioDiTError, match="no contoured"):
        read_cavities(tmp_path, 80, RULE)


def test_hard_slices_are_those_about_the_last_with_both_ventricles():
    labels = np.zeros((2, 8, 12, 12), np.uint8)
    for z in range(1, 8):
        labels[:, z, : 10 - z, :4] = LV
    labels[0, 1:5, :6, 6:] = 1
    labels[1, 3:5, :6, 6:] = 1
    assert basal_slices(labels, 1) == (4, 3, 2, 1)
    assert basal_slices(labels[:, ::-1], 1) == (3, 4, 5, 6)
    assert basal_slices(labels, 1, np.arange(8) != 2) == (4, 3, 1)
    assert basal_slices(np.zeros_like(labels), 1) == ()


def test_what_is_only_known_to_be_no_cavity_teaches_nothing_else():
    labels = torch.full((1, 8, 8), NOT_CAVITY)
    labels[:, 2:6, 2:6] = LV
    logits = torch.zeros(1, 4, 8, 8, requires_grad=True)
    segmentation_loss(logits, labels).backward()
    outside = logits.grad[0, :, 0, 0]
    # Background, right ventricle and muscle share alike what the cavity loses.
    assert outside[3] > 0 and outside[:3].max() < 0
    torch.testing.assert_close(outside[:3], outside[:1].expand(3))


def test_half_a_slice_costs_more_when_slices_are_asked():
    logits = torch.zeros(1, 4, 16, 16)
    logits[:, 0] = 2.0
    logits[:, 1, 4:12, 4:12] = 2.2
    nothing = torch.zeros(1, 16, 16, dtype=torch.long)
    there = nothing.clone()
    there[:, 4:12, 4:12] = 1
    for labels in (nothing, there):
        wrong = logits.clone()
        if labels.any():
            wrong[:, 1] -= 2.0
        plain, asked = (segmentation_loss(wrong, labels, presence_weight=w) for w in (0.0, 1.0))
        assert asked > plain + 0.1


def test_a_larger_network_begins_as_the_smaller_one():
    known = tiny_network(1)
    larger = tiny_network(2, neighbours=2, motion=True)
    begin_from(larger, known)
    stack = np.random.default_rng(0).uniform(-1, 1, (6, 24, 24)).astype(np.float32)
    beat = beat_channels(np.stack([stack, stack[::-1]]))
    expected = slice_probabilities(known, stack)
    np.testing.assert_allclose(slice_probabilities(larger, stack, beat=beat), expected, atol=1e-5)
    again = tiny_network(3, neighbours=2, motion=True)
    begin_from(again, larger)
    np.testing.assert_allclose(slice_probabilities(again, stack, beat=beat), expected, atol=1e-5)
    with pytest.raises(CardioDiTError, match="another network"):
        begin_from(known, larger)


def test_motion_is_seen_and_one_frame_is_enough():
    model = tiny_model(motion=True)
    cine = make_phantom(PhantomSpec(frames=4, slices=3, height=40, width=40, spacing_mm=(3.0, 3.0, 18.0))).cine
    found = segment(cine, weights=model, plausible=False, posed=False)
    still = Cine(np.repeat(cine.array[:1], 4, axis=0), cine.affine, cine.frame_times)
    other = segment(still, weights=model, plausible=False, posed=False)
    assert found.shape == cine.shape and (found.array[0] != other.array[0]).any()
    assert (other.array[0] == other.array[3]).all()
    assert set(found.meta["segmentation"]["sureness"]["expected_dice"]) == {"RV", "myocardium", "LV"}


def test_models_of_before_have_no_motion():
    values = NetworkConfig().to_dict()
    del values["motion"]
    assert NetworkConfig.from_dict(values) == NetworkConfig()
    assert NetworkConfig(motion=True).in_channels == 5
    with refused("motion", 1):
        NetworkConfig(motion=1)


def test_frames_of_one_slice_move_and_brighten_as_one():
    ranges = SegmentationAugmentation(**{**OFF, "slice_shift_mm": 4.0, "slice_gain": 0.3, "turn_deg": 90.0})
    picture = torch.rand(3, 1, 32, 32).expand(3, 5, 32, 32) * 1.2 - 0.9
    augment = ImageAugmenter(ranges, 32, 1.5, (1.5, 1.5))
    moved, _ = augment(picture, torch.zeros(3, 32, 32), torch.Generator().manual_seed(0), [1, 3, 4])
    torch.testing.assert_close(moved[:, 3], moved[:, 1])
    torch.testing.assert_close(moved[:, 4], moved[:, 1])
    assert (moved[:, 0] - moved[:, 1]).abs().max() > 0.1


def test_a_run_goes_on_from_a_model_with_all_that_there_is(recorded, cavities, tmp_path, capsys):
    settings = tmp_path / "tiny.yaml"
    settings.write_text(
        "name: tiny\nframes: 4\nfield_mm: 96\nsegmentation:\n"
        "  loop: {steps: 3, warmup_steps: 1, validate_every: 3, log_every: 1, threads: 1}\n"
        "  stage:\n    network: {channels: [4, 8, 8], res_units: 1, spacing_mm: 3, neighbours: 2, motion: true}\n"
        "    batch: 6\n    crop: 32\n    presence_weight: 0.3\n    basal_share: 0.5\n    cavity_share: 0.3\n",
        encoding="utf-8",
    )
    words = ["train", "segmentation", "--config", settings, "--data", make_pack(tmp_path / "pack.npz")]
    words += ["--recorded", recorded, "--cavities", cavities, "--start-from", tiny_model_folder(tmp_path / "model")]
    assert cli.main([str(word) for word in [*words, "--out", tmp_path / "run"]]) == 0
    assert "Finished." in capsys.readouterr().out
    assert finished_steps(tmp_path / "run" / "segmentation") == 3
    assert tiny_manifest(tiny_network(motion=True)).network.motion

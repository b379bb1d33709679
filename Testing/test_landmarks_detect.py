"""Points of a cine: peaks, mirrored and turned pictures, naming, methods, the model's folder."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest
import torch
from landmark_hearts import changed, flipped, heart, moving_track, quarter_turned
from refusals import refused
from tiny_landmarks import TINY_PUBLISHED, tiny_manifest, tiny_model, tiny_model_folder, tiny_network
from tiny_segmentation import tiny_model as tiny_segmentation_model

import CardioDiTLib as cd
from CardioDiTLib.bundles.weights import write_weights
from CardioDiTLib.cine import Cine, LandmarkTrack, Segmentation
from CardioDiTLib.errors import Cancelled, CardioDiTError
from CardioDiTLib.landmarks import model as landmark_model
from CardioDiTLib.landmarks.detect import detect_landmarks
from CardioDiTLib.landmarks.fusion import FusionRule, fused_tracks
from CardioDiTLib.landmarks.heatmap import landmarks_from_network, predict_points, soft_argmax
from CardioDiTLib.landmarks.model import (
    MANIFEST_NAME,
    LandmarkModel,
    PointRule,
    load_model,
    write_model,
)
from CardioDiTLib.landmarks.septal_contour import landmarks_from_segmentation, trace_septal_contour
from CardioDiTLib.models.slice_unet import LandmarkNetwork, LandmarkNetworkConfig, presence_logits
from CardioDiTLib.segmentation import model as segmentation_model

SHADES = np.array([0, 180, 90, 255], np.int16)


def picture_of(labels: Segmentation) -> Cine:
    """A cine in which every label has its own grey value."""
    return Cine(SHADES[labels.array], labels.affine, labels.frame_times, labels.meta)


class WalkNetwork(LandmarkNetwork):
    """Stands in for a trained network: reads the labels off the grey values and heats the ends of the septum."""

    def __init__(self, spacing_mm: float = 1.5) -> None:
        super().__init__(LandmarkNetworkConfig(channels=(4, 8), res_units=0, neighbours=0, spacing_mm=spacing_mm))

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        count, _, height, width = pictures.shape
        numbers = torch.full((count, 8, height, width), -30.0)
        numbers[:, 2:4] = -8.0
        shades = np.array([-1.0, 180 / 127.5 - 1, 90 / 127.5 - 1, 1.0])
        y, x = np.mgrid[0:height, 0:width]
        for number, picture in enumerate(pictures[:, 0].numpy()):
            walk = trace_septal_contour(np.abs(picture[..., None] - shades).argmin(-1).astype(np.uint8), (1.5, 1.5))
            if walk is None:
                continue
            for kind, point in enumerate((walk.first, walk.second)):
                far = (y - point[0]) ** 2 + (x - point[1]) ** 2
                numbers[number, kind] = torch.from_numpy(-far / 8.0).float()
                numbers[number, 2 + kind] = 6.0
        return numbers


@pytest.fixture(scope="module")
def walker():
    network = WalkNetwork().eval()
    return LandmarkModel(network, tiny_manifest(network, rule=PointRule(0.5, 7.5)))


def test_a_peak_is_found_finer_than_a_pixel_and_a_second_one_moves_nothing():
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(56.0), indexing="ij")
    place = torch.tensor([[[12.3, 20.8], [55.0, 0.4]]])
    share = torch.stack([torch.exp(-((x - px) ** 2 + (y - py) ** 2) / 8) for px, py in place[0].tolist()])[None]
    other = torch.exp(-((x - 40) ** 2 + (y - 8) ** 2) / 8)
    share[0, 0] += 0.8 * other
    share = share / share.sum((-2, -1), keepdim=True)
    found, held = soft_argmax(share, 5.0)
    torch.testing.assert_close(found[0, 0], place[0, 0], atol=0.05, rtol=0)
    assert float((found[0, 1] - place[0, 1]).norm()) < 2.0  # at the rim half of the peak is cut off
    assert float(held[0, 0]) == pytest.approx(1 / 1.8, abs=0.04) and float(held[0, 1]) > 0.9


def test_presence_is_read_where_the_heat_is():
    numbers = torch.zeros(1, 8, 10, 12)
    numbers[0, :2] = -20.0
    numbers[0, 0, 3, 4], numbers[0, 1, 7, 9] = 20.0, 20.0
    numbers[0, 2, 3, 4], numbers[0, 3] = 5.0, -4.0
    torch.testing.assert_close(presence_logits(numbers), torch.tensor([[5.0, -4.0]]), atol=1e-3, rtol=0)


def test_mirrored_views_are_put_together_with_the_points_exchanged(walker):
    labels = heart(shape=(1, 3, 72, 64)).array[0]
    stack = (SHADES[labels] / 127.5 - 1).astype(np.float32)
    plain = predict_points(walker.network, stack)
    every = predict_points(walker.network, stack, views=4)
    np.testing.assert_allclose(every.places[:2], plain.places[:2], atol=0.05)
    assert (every.presence[:2] > 0.95).all()
    flipped_stack = np.ascontiguousarray(stack[..., ::-1])
    turned = predict_points(walker.network, flipped_stack)
    np.testing.assert_allclose(63 - turned.places[:2, ::-1, 0], plain.places[:2, :, 0], atol=0.05)


@pytest.mark.parametrize("spacing_of", ["oblique", "none"])
def test_points_of_the_network_are_those_of_the_labels(walker, spacing_of):
    labels = heart() if spacing_of == "oblique" else heart(np.diag([1.5, 1.5, 10.0, 1.0]))
    found = detect_landmarks(picture_of(labels), method="network", weights=walker, track=False)
    expected = landmarks_from_segmentation(labels)
    assert (found.found == expected.found).all() and found.found.sum() == 32
    assert np.nanmax(np.linalg.norm(found.points - expected.points, axis=-1)) < 0.3
    assert found.meta["landmarks"]["named_by"] == expected.meta["landmarks"]["named_by"]
    assert 0.8 < found.confidence[found.found].min() <= 1 and not found.confidence[~found.found].any()


@pytest.mark.parametrize("affine", ["oblique", "none"])
@pytest.mark.parametrize("change", ["x", "y", "z", "xyz", 1, 2, 3])
def test_the_same_heart_gives_the_same_points_however_its_array_is_turned_or_mirrored(walker, change, affine):
    labels = heart(septum_deg=35.0) if affine == "oblique" else heart(np.diag([1.5, 1.5, 10.0, 1.0]), septum_deg=35.0)
    straight = landmarks_from_network(picture_of(labels), walker)
    other = flipped(labels, change) if isinstance(change, str) else quarter_turned(labels, change)
    found = landmarks_from_network(picture_of(other), walker)
    points = found.points[:, ::-1] if isinstance(change, str) and "z" in change else found.points
    np.testing.assert_allclose(points, straight.points, atol=1e-3)


def test_a_picture_mirrored_without_a_trace_can_be_put_right(walker):
    labels = heart(np.diag([1.5, 1.5, 10.0, 1.0]))
    mirrored = Segmentation(labels.array[..., ::-1].copy(), labels.affine, labels.frame_times)
    straight = landmarks_from_network(picture_of(labels), walker)
    found = landmarks_from_network(picture_of(mirrored), walker, swap=True)
    centre = labels.affine[0, 0] * (labels.shape[3] - 1)
    np.testing.assert_allclose(centre - found.points[..., 0], straight.points[..., 0], atol=0.1)


def test_a_pair_that_was_met_the_wrong_way_round_is_turned(walker):
    from CardioDiTLib.landmarks.heatmap import CinePoints, named_track

    labels = heart()
    straight = landmarks_from_network(picture_of(labels), walker)
    pixels = labels.ras_to_index(straight.points)[..., :2]
    pixels[1, 2] = pixels[1, 2, ::-1]
    seen = CinePoints(pixels, straight.found * 1.0, straight.found * 1.0)
    again = named_track(picture_of(labels), seen, walker)
    np.testing.assert_allclose(again.points, straight.points, atol=1e-6)
    assert again.meta["landmarks"]["turned_slices"] == 1


def test_the_published_design_goes_the_same_way():
    model = tiny_model(TINY_PUBLISHED)
    cine = picture_of(heart(shape=(2, 2, 72, 64)))
    found = detect_landmarks(cine, method="network", weights=model)
    assert found.points.shape == (2, 2, 2, 3) and found.meta["landmarks"]["source"] == "network"


def test_fusion_takes_the_mean_of_what_agrees_and_names_as_the_labels_do():
    truth = moving_track(2, 5)
    network = truth.points + 1.0
    network[0, 1] = network[0, 1, ::-1]  # the wrong way round
    network[0, 2, 0] += 40.0
    network[:, 4] = np.nan
    labels = truth.points - 1.0
    labels[:, 3] = np.nan
    sure = np.full((2, 5, 2), 0.9)
    sure[1, 3] = 0.2
    fused = fused_tracks(
        changed(truth, network, sure),
        changed(truth, labels),
        FusionRule(label_weight=0.9, network_alone=0.5, labels_alone=1.1),
    )
    np.testing.assert_allclose(fused.points[1, :3], truth.points[1, :3], atol=1e-9)
    np.testing.assert_allclose(fused.points[0, 1], truth.points[0, 1], atol=1e-9)
    # The one that fits the slices beside it is taken, here the labels'.
    np.testing.assert_allclose(fused.points[0, 2, 0], labels[0, 2, 0])
    np.testing.assert_allclose(fused.points[0, 3], network[0, 3])
    assert np.isnan(fused.points[1, 3]).all() and np.isnan(fused.points[:, 4]).all()
    assert fused.confidence[0, 3, 0] == pytest.approx(0.45) and fused.confidence[0, 0, 0] == pytest.approx(
        0.947, abs=0.01
    )
    kept = fused_tracks(changed(truth, network, sure), changed(truth, labels), FusionRule(labels_alone=0.5))
    np.testing.assert_allclose(kept.points[:, 4], labels[:, 4])


def test_fusion_takes_the_pair_that_does_not_turn_away():
    truth = moving_track(2, 6)
    network, labels = truth.points.copy(), truth.points.copy()
    labels[:, 1] = labels[:, 4] = np.nan  # so that slice 0 has no neighbour that both agree on
    network[0, 0, 0] += (0.0, 0.0, 25.0)
    network[1, 5, 1] += (0.0, 30.0, 0.0)
    fused = fused_tracks(changed(truth, network), changed(truth, labels), FusionRule(network_alone=0.0))
    np.testing.assert_allclose(fused.points[0, 0, 0], labels[0, 0, 0])
    np.testing.assert_allclose(fused.points[1, 5, 1], labels[1, 5, 1])
    # the other way round the network's stays, though nothing agrees beside it
    fused = fused_tracks(changed(truth, labels), changed(truth, network), FusionRule(labels_alone=0.0))
    np.testing.assert_allclose(fused.points[0, 0, 0], labels[0, 0, 0])
    assert fused.confidence[0, 0].max() <= 0.3


def test_methods(walker):
    labels = heart(shape=(6, 5, 72, 64))
    cine = picture_of(labels)
    steps = []
    given = detect_landmarks(
        cine, weights=walker, segmentation=labels, progress=lambda done, of: steps.append((done, of))
    )
    assert given.meta["landmarks"]["source"] == "network and segmentation" and given.meta["tracking"]["outliers"] == 0
    assert steps == [(k, 6) for k in range(1, 7)]
    walked = detect_landmarks(cine, method="segmentation", segmentation=labels, track=False)
    np.testing.assert_array_equal(walked.points, landmarks_from_segmentation(labels).points)
    steps.clear()
    both = detect_landmarks(
        cine,
        weights=walker,
        segmentation_weights=tiny_segmentation_model(),
        progress=lambda done, of: steps.append((done, of)),
    )
    assert isinstance(both, LandmarkTrack) and steps[0] == (1, 12) and steps[-1] == (12, 12)
    assert cd.detect_landmarks.__wrapped__ is detect_landmarks and cd.landmarks.detect_landmarks is detect_landmarks


def test_labels_tell_where_to_look_and_nothing_likely_there_is_looked_for_everywhere(walker, monkeypatch):
    from CardioDiTLib.landmarks import heatmap

    labels = heart(shape=(2, 3, 200, 190))
    cine, looks, original = picture_of(labels), [], heatmap.predict_points

    def predict(network, stack, **how):
        looks.append((stack.shape[1:], how["views"]))
        return original(network, stack, **how)

    monkeypatch.setattr(heatmap, "predict_points", predict)
    alone = landmarks_from_network(cine, walker)
    assert len(looks) == 2 and {views for _, views in looks} == {heatmap.VIEWS_ALONE}
    whole = looks[0][0]
    looks.clear()
    about = landmarks_from_network(cine, walker, labels=labels)
    assert {views for _, views in looks} == {heatmap.VIEWS_WITH_LABELS} and looks[0][0][0] < whole[0]
    np.testing.assert_array_equal(about.found, alone.found)
    assert np.nanmax(np.linalg.norm(about.points - alone.points, axis=-1)) < 0.5
    looks.clear()
    corner = np.zeros_like(labels.array)
    corner[:, :, :4, :4] = 3
    found = landmarks_from_network(cine, walker, labels=Segmentation(corner, labels.affine, labels.frame_times))
    assert looks[0][1] == heatmap.VIEWS_WITH_LABELS and looks[-1] == (whole, heatmap.VIEWS_ALONE)
    np.testing.assert_array_equal(found.points, alone.points)


def test_what_is_missing_is_told_before_any_work(walker, monkeypatch, tmp_path):
    cine = picture_of(heart(shape=(2, 2, 72, 64)))
    for module in (landmark_model, segmentation_model):
        monkeypatch.setattr(module, "embedded_model_folder", lambda: tmp_path / "nothing")
    with refused("landmark", "weights", "--weights"):
        detect_landmarks(cine)
    with refused("segmentation", "weights", "--weights"):
        detect_landmarks(cine, method="fusion", weights=walker)
    assert detect_landmarks(cine, weights=walker).meta["landmarks"]["source"] == "network"
    tracks = detect_landmarks(cine, segmentation=heart(shape=(2, 2, 72, 64)))
    assert tracks.meta["landmarks"]["source"] == "segmentation"
    with refused("magic", "auto, network, segmentation, fusion"):
        detect_landmarks(cine, method="magic")
    with refused((2, 3, 72, 64), (2, 2, 72, 64)):
        detect_landmarks(cine, segmentation=heart(shape=(2, 3, 72, 64)))
    with refused("segmentation", "order"):
        detect_landmarks(cine, segmentation=flipped(heart(shape=(2, 2, 72, 64)), "z"))
    with refused("batch", 0):
        detect_landmarks(cine, weights=walker, batch=0)
    with refused("5 views", 4):
        detect_landmarks(cine, weights=walker, views=5)
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        detect_landmarks(cine, weights=walker, cancel=stop)
    with pytest.raises(CardioDiTError, match="blank"):
        detect_landmarks(Cine(np.zeros(cine.shape, np.int16), cine.affine, cine.frame_times), weights=walker)


@pytest.mark.parametrize("design", ["cardiodit", "published"])
def test_a_model_comes_back_as_it_was_written(tmp_path, design):
    network = tiny_network() if design == "cardiodit" else tiny_network(TINY_PUBLISHED)
    manifest = tiny_manifest(network, quality={"recall": 0.9}, rule=PointRule(0.6, 6.0, False))
    loaded = load_model(write_model(tmp_path / "model", manifest, network, storage="fp32"))
    assert loaded.manifest.design == design and loaded.manifest.rule == PointRule(0.6, 6.0, False)
    assert loaded.network.config == network.config and not loaded.network.training
    for name, value in network.state_dict().items():
        assert torch.equal(loaded.network.state_dict()[name], value)
    assert "not points marked by hand" in loaded.manifest.references


def test_the_default_network_takes_at_most_three_megabytes(tmp_path):
    network = LandmarkNetwork()
    assert sum(value.numel() for value in network.parameters()) <= 2_000_000
    write_weights(tmp_path / "w.safetensors", network.state_dict(), "int8")
    assert (tmp_path / "w.safetensors").stat().st_size <= 3_000_000


def test_damaged_descriptions_are_told_in_a_sentence(tmp_path):
    folder = tiny_model_folder(tmp_path / "model")
    values = json.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8"))
    for change, says in [
        ({"network": {"design": "cardiodit", "channels": [4, 8]}}, "landmark network"),
        ({"network": {**values["network"], "design": "magic"}}, "design 'magic'"),
        ({"network": {**values["network"], "design": ["cardiodit"]}}, "design"),
        ({"network": {**values["network"], "design": "published"}}, "published network"),
        ({"rule": {"presence": 2, "window_mm": 5, "largest_component": True}}, "presence"),
        ({"field_mm": 3}, "field_mm"),
    ]:
        (folder / MANIFEST_NAME).write_text(json.dumps({**values, **change}), encoding="utf-8")
        with pytest.raises(CardioDiTError, match=says):
            load_model(folder)


def test_the_embedded_model_opens_and_says_what_it_was_trained_on():
    folder = landmark_model.embedded_model_folder()
    if not folder.is_dir():
        pytest.skip("there is no embedded landmark model")
    model = load_model()
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 3_000_000
    assert "ACDC" in model.manifest.training_data.data_source and "NC" in model.manifest.licence.name
    assert "not points marked by hand" in model.manifest.references and model.manifest.quality

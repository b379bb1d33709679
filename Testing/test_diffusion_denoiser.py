"""The denoiser: predictions to clean samples, guidance, labels, types."""

from __future__ import annotations

import pytest
import torch
from refusals import refused
from torch import nn

from CardioDiTLib.diffusion import Denoiser, NoiseSchedule
from CardioDiTLib.errors import CardioDiTError

SCHEDULE = NoiseSchedule("cosine", 300)
X = torch.randn(3, 4, 2, 3, 3, 2, generator=torch.Generator().manual_seed(0))
NULL = 5


class Recorder:
    """A network that writes down what it was given and answers x * (1 + label) + t / 100."""

    def __init__(self, scale: float = 1.0) -> None:
        self.calls: list[tuple] = []
        self.scale = scale

    def __call__(self, x, t, y=None):
        self.calls.append((x, t, y))
        factor = self.scale * (torch.ones(len(x)) if y is None else 1.0 + y)
        return x * factor.reshape(-1, *[1] * (x.ndim - 1)) + t[0] / 100


def clean(v: torch.Tensor, t: float) -> torch.Tensor:
    return SCHEDULE.x0_from_velocity(X, v, t)


def test_velocity_becomes_the_clean_sample():
    x0, noise = torch.randn_like(X), torch.randn_like(X)
    x, v = SCHEDULE.add_noise(x0, noise, 120), SCHEDULE.velocity(x0, noise, 120)
    torch.testing.assert_close(Denoiser(lambda x, t: v, SCHEDULE)(x, 120), x0, rtol=0, atol=1e-5)


def test_noise_and_sample_predictions_become_the_clean_sample():
    x0, noise = torch.randn_like(X), torch.randn_like(X)
    x = SCHEDULE.add_noise(x0, noise, 120)
    for prediction_type, prediction in (("epsilon", noise), ("sample", x0)):
        schedule = NoiseSchedule("cosine", 300, prediction_type=prediction_type)
        denoise = Denoiser(lambda x, t, out=prediction: out, schedule)
        torch.testing.assert_close(denoise(x, 120), x0, rtol=0, atol=1e-5)


def test_time_reaches_the_network_as_it_is():
    network = Recorder()
    denoise = Denoiser(network, SCHEDULE)
    denoise(X, 299)
    denoise(X, 17.25)
    assert [call[1].tolist() for call in network.calls] == [[299.0] * 3, [17.25] * 3]
    assert all(call[2] is None for call in network.calls)


def test_guidance_1_runs_the_labelled_network_alone():
    network = Recorder()
    out = Denoiser(network, SCHEDULE, labels=[0, 1, 2], null_label=NULL)(X, 100)
    assert len(network.calls) == 1 and len(network.calls[0][0]) == 3
    torch.testing.assert_close(out, clean(Recorder()(X, torch.tensor([100.0]), torch.tensor([0, 1, 2])), 100))


@pytest.mark.parametrize("w", [0.0, 0.5, 2.0, 4.0])
def test_classifier_free_guidance(w):
    network, labels, t = Recorder(), torch.tensor([0, 1, 2]), torch.tensor([100.0])
    out = Denoiser(network, SCHEDULE, labels=labels, guidance=w, null_label=NULL)(X, 100)
    assert len(network.calls) == 1  # both halves in one forward
    assert network.calls[0][2].tolist() == [0, 1, 2, NULL, NULL, NULL]
    free, main = Recorder()(X, t, torch.full((3,), NULL)), Recorder()(X, t, labels)
    torch.testing.assert_close(out, clean(free + w * (main - free), 100), rtol=1e-5, atol=1e-5)


def test_autoguidance_gives_the_guide_the_same_labels():
    network, guide, labels, t = Recorder(), Recorder(0.5), torch.tensor([0, 1, 2]), torch.tensor([100.0])
    out = Denoiser(network, SCHEDULE, labels=labels, guidance=2.0, guide=guide)(X, 100)
    assert guide.calls[0][2].tolist() == [0, 1, 2]
    weak, main = Recorder(0.5)(X, t, labels), Recorder()(X, t, labels)
    torch.testing.assert_close(out, clean(weak + 2.0 * (main - weak), 100), rtol=1e-5, atol=1e-5)


def test_autoguidance_works_without_labels_and_rests_at_1():
    guide = Recorder(0.5)
    assert Denoiser(Recorder(), SCHEDULE, guidance=1.5, guide=guide)(X, 100).shape == X.shape
    assert len(guide.calls) == 1
    Denoiser(Recorder(), SCHEDULE, guidance=1.0, guide=guide)(X, 100)
    assert len(guide.calls) == 1


def test_one_label_serves_all_samples():
    network = Recorder()
    Denoiser(network, SCHEDULE, labels=2)(X, 100)
    assert network.calls[0][2].tolist() == [2, 2, 2]


def test_learned_variances_are_left_out():
    v = torch.randn_like(X)
    denoise = Denoiser(lambda x, t: torch.cat([v, torch.full_like(v, torch.nan)], 1), SCHEDULE)
    torch.testing.assert_close(denoise(X, 100), clean(v, 100))


def test_samples_stay_float32_while_the_network_runs_in_bfloat16():
    network = nn.Sequential(nn.Linear(2, 2)).eval()
    seen = []
    network.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    with torch.no_grad():
        out = Denoiser(lambda x, t: network(x), SCHEDULE, autocast=torch.bfloat16)(X, 100)
    assert seen == [torch.bfloat16] and out.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_network_gets_samples_in_the_type_of_its_weights(dtype):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(2, 2)

        def forward(self, x, t):
            self.seen = x.dtype
            return self.linear(x)

    network = Net().to(dtype).eval()
    out = Denoiser(network, SCHEDULE)(X.double(), 100)
    assert network.seen == dtype and out.dtype == torch.float64


def test_guidance_without_anything_to_guide_is_refused():
    for arguments in ({}, {"labels": [1]}, {"null_label": NULL}):
        with refused("Guidance", 2):
            Denoiser(Recorder(), SCHEDULE, guidance=2.0, **arguments)


def test_training_mode_is_refused():
    with pytest.raises(CardioDiTError, match="training mode"):
        Denoiser(nn.Linear(2, 2).train(), SCHEDULE)


def test_misfits_are_refused():
    with refused(2, 3):
        Denoiser(Recorder(), SCHEDULE, labels=[0, 1])(X, 100)
    with refused((3, 4, 2, 3, 3, 1), (3, 4, 2, 3, 3, 2)):
        Denoiser(lambda x, t: x[..., :1], SCHEDULE)(X, 100)


def test_every_sampling_run_begins_without_an_estimate_also_one_of_a_single_step():
    given = []

    def network(x, t, *, x_self_cond=None):
        given.append(x_self_cond is not None)
        return x

    network.self_conditioning = True
    denoise = Denoiser(network, SCHEDULE)
    for t in (200.0, 100.0, 200.0, 200.0):
        denoise(torch.ones(1, 2, 3), t)
    assert given == [False, True, False, False]

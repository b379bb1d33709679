"""The residual U-Net against MONAI's own: names, first weights, numbers."""

from __future__ import annotations

import pytest
import torch
from monai.networks.nets.unet import UNet

from CardioDiTLib.models.residual_unet import InstanceNorm2d, ResidualUNet


@pytest.mark.parametrize(("channels", "units"), [((4, 8), 2), ((4, 8, 12, 16), 2), ((4, 8, 8), 1), ((4, 8, 8), 0)])
def test_agrees_with_monai_key_for_key_and_bit_for_bit_in_training(channels, units):
    torch.manual_seed(0)
    theirs = UNet(2, 3, 5, channels, (2,) * (len(channels) - 1), num_res_units=units)
    torch.manual_seed(0)
    ours = ResidualUNet(3, 5, channels, units)
    wanted, found = theirs.state_dict(), ours.state_dict()
    assert list(found) == list(wanted)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    x = torch.randn(2, 3, 32, 48)
    for seed in range(2):
        torch.manual_seed(seed)
        expected = theirs(x)
        torch.manual_seed(seed)
        assert torch.equal(ours(x), expected)
    with torch.inference_mode():
        torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), atol=1e-5, rtol=1e-5)


def test_the_quick_norm_is_instance_normalisation():
    torch.manual_seed(0)
    x = torch.randn(2, 6, 9, 7) * 3 + 1
    quick, slow = InstanceNorm2d(6).eval(), torch.nn.InstanceNorm2d(6).eval()
    with torch.inference_mode():
        torch.testing.assert_close(quick(x), slow(x), atol=1e-5, rtol=1e-5)

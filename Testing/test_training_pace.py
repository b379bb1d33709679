"""Settings that make training of the transformer faster: the same steps, rounded otherwise."""

from __future__ import annotations

import pytest
import torch
from test_training_v2 import FLOW, MODEL, context, stage

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.training.dit_stage import DitStageConfig
from CardioDiTLib.training.muon import Muon, orthogonalised


@pytest.mark.parametrize("shape", [(48, 32), (32, 48)])
def test_muon_in_bf16_turns_matrices_as_it_does_in_float32(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    whole, narrow = orthogonalised(matrix), orthogonalised(matrix, narrow=True)
    assert narrow.dtype == torch.float32
    assert 0 < (whole - narrow).norm() / whole.norm() < 0.05
    values = torch.linalg.svdvals(narrow)
    assert values.min() > 0.5 and values.max() < 1.3


def test_the_setting_reaches_muon():
    narrow = [
        stage(schedule=FLOW, optimizer="muon", muon_precision=name).optimizers["muon"] for name in ("fp32", "bf16")
    ]
    assert all(isinstance(one, Muon) for one in narrow)
    assert [one.narrow for one in narrow] == [False, True]
    with pytest.raises(CardioDiTError, match="muon_precision"):
        DitStageConfig(model=dict(MODEL), muon_precision="fp16")


def test_what_is_compiled_is_what_is_trained(monkeypatch):
    calls = []

    def compiled(network):
        return lambda *args, **kwargs: calls.append(1) or network(*args, **kwargs)

    monkeypatch.setattr(torch, "compile", compiled)
    made = []
    for asked in (False, True):
        task = stage(schedule=FLOW, compiled=asked)
        for step in range(2):
            task.step(context(step))
        assert len(calls) == 2 * asked
        made.append(task.model.state_dict())
    # The names are those of the plain network, so that checkpoints of one go on as the other.
    assert made[0].keys() == made[1].keys()
    assert all(torch.equal(made[0][name], made[1][name]) for name in made[0])

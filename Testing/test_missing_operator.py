"""What PyTorch says where an Apple GPU lacks an operation becomes one plain sentence, in the worker and on the line."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from CardioDiTLib import cli
from CardioDiTLib.missing_operator import missing_operator
from CardioDiTLib.service.job import Job, run_job

# as PyTorch says it
SAID = [
    (
        NotImplementedError(
            "The operator 'aten::slow_conv3d_forward' is not currently implemented for the MPS device. If you want "
            "this op to be considered for addition please comment on an issue and mention use-case, that resulted in "
            "missing op as well as commit hash. As a temporary fix, you can set the environment variable "
            "`PYTORCH_ENABLE_MPS_FALLBACK=1` to use the CPU as a fallback for this op."
        ),
        "lacks an operation for it (slow_conv3d_forward)",
    ),
    (RuntimeError("Conv3D is not supported on MPS"), "lacks an operation for it (Conv3D)"),
    (RuntimeError("ConvTranspose3D is not supported on MPS"), "(ConvTranspose3D)"),
    (
        TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64."),
        "(float64)",
    ),
    (RuntimeError("MPS backend out of memory (MPS allocated: 17.9 GB, other allocations: 1 GB)."), "memory of the"),
]


@pytest.mark.parametrize("error, expected", SAID)
def test_the_worker_says_one_sentence_and_goes_on(error, expected):
    told = []
    writer = SimpleNamespace(send=lambda event, number, **values: told.append((event, number, values)))

    def handler(_job):
        raise error

    run_job(Job(SimpleNamespace(id="7", command="generate", arguments={}), writer), handler)
    ((event, number, values),) = told
    assert (event, number, values["kind"]) == ("error", "7", "problem")
    assert "Apple GPU" in values["message"] and expected in values["message"] and "cpu" in values["hint"]
    assert values["message"].count(".") == 1 and "aten" not in values["message"]
    assert str(error)[:40] in values["detail"], "the log keeps what was said"


def test_the_command_line_says_it_too(monkeypatch, capsys):
    from CardioDiTLib.commands import models

    def fail(_arguments):
        raise SAID[0][0]

    monkeypatch.setattr(models, "run", fail)
    monkeypatch.setattr(cli, "make_parser", lambda _command: SimpleNamespace(parse_args=lambda _words: parsed))
    parsed = SimpleNamespace(run=fail)
    assert cli.main(["models"]) == 1
    assert "Apple GPU" in (said := capsys.readouterr().err) and "device cpu" in said and "unexpected" not in said


@pytest.mark.parametrize(
    "error",
    [NotImplementedError("MPS"[:2]), RuntimeError("CUDA error"), ValueError("MPS"), RuntimeError("shapes differ")],
)
def test_other_problems_stay_what_they_are(error):
    assert missing_operator(error) is None

"""The training loop with a stage that does next to nothing: its log, and what it goes on from."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from refusals import refused
from torch import nn

from CardioDiTLib.training.checkpoint import checkpoints
from CardioDiTLib.training.loop import LOCK, LoopConfig, StepContext, Trainer


class Line:
    """One linear layer."""

    def __init__(self, lr: float = 1e-3, inputs: int = 2) -> None:
        self.name = "line"
        self.model = nn.Linear(inputs, 2)
        self.modules: dict[str, nn.Module] = {"line": self.model}
        self.optimizers: dict[str, torch.optim.Optimizer] = {"only": torch.optim.AdamW(self.model.parameters(), lr)}

    def step(self, context: StepContext) -> dict[str, torch.Tensor | float]:
        self.optimizers["only"].zero_grad()
        self.model(torch.ones(1, self.model.in_features)).sum().backward()
        self.optimizers["only"].step()
        return {"loss": float(context.step), **({"odd": 4.0} if context.step % 2 else {})}

    def validate(self, context: StepContext) -> dict[str, float]:
        return {}


def loop(**settings) -> LoopConfig:
    return LoopConfig(**{"steps": 4, "warmup_steps": 0, "validate_every": 100, "log_every": 4, **settings})


def logged(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def test_the_log_has_means_over_the_steps_that_have_a_number(tmp_path):
    Trainer(Line(), loop(), tmp_path).run()
    first = logged(tmp_path)[0]
    assert (first["loss"], first["odd"]) == (1.5, 4.0)


def test_a_continued_run_learns_at_the_rate_of_its_settings(tmp_path):
    Trainer(Line(lr=1e-3), loop(), tmp_path).run()
    again = Line(lr=5e-2)
    trainer = Trainer(again, loop(steps=5), tmp_path)
    moments = again.optimizers["only"].state_dict()["state"][0]["exp_avg"]
    assert trainer.done == 4 and bool(moments.any())
    trainer.run()
    group = again.optimizers["only"].param_groups[0]
    assert group["lr"] == pytest.approx(5e-2 * loop(steps=5).lr_share(4))


def test_a_checkpoint_of_another_network_is_told(tmp_path):
    Trainer(Line(), loop(), tmp_path / "line").run()
    with refused("step-00000004", "line"):
        Trainer(Line(inputs=3), loop(), tmp_path / "line")


@pytest.mark.parametrize("name", ["validate_every", "log_every"])
def test_every_nought_steps_is_refused(name):
    with refused(name):
        loop(**{name: 0})


def test_a_folder_in_which_another_process_trains_is_left_alone(tmp_path):
    trainer = Trainer(Line(), loop(), tmp_path)
    held = (
        "import sys; from pathlib import Path; from CardioDiTLib.locks import FileLock; "
        "print(FileLock(Path(sys.argv[1])).try_acquire(), flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", held, str(tmp_path / LOCK)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None and other.stdout.readline() == "True\n"
    with refused("Another process", tmp_path.name):
        trainer.run()
    assert not checkpoints(tmp_path)
    other.communicate("")
    trainer.run()
    assert len(checkpoints(tmp_path)) == 1 and not (tmp_path / LOCK).exists()


def test_one_process_that_a_scheduler_gave_a_number_keeps_what_it_learned(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "3")
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    Trainer(Line(), loop(), tmp_path).run()
    assert len(checkpoints(tmp_path)) == 1 and logged(tmp_path)

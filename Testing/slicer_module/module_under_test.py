"""What the tests of the Slicer module share: the module's path, a described cine, a worker made of lines."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[2]
MODULE_FOLDER = REPOSITORY / "CardioDiT"
MODULE = MODULE_FOLDER / "CardioDiT.py"
UI_FILES = sorted((MODULE_FOLDER / "Resources" / "UI").glob("*.ui"))

for folder in (MODULE_FOLDER, REPOSITORY):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def oblique_affine(spacing: tuple[float, float, float] = (1.5, 1.5, 10.0)) -> list[list[float]]:
    """A short-axis stack: right-angled, oblique to all planes; index (x, y, z) to mm in RAS."""
    normal = np.array([-0.577, 0.519, -0.63])
    normal /= np.linalg.norm(normal)
    across = np.cross([0.3, 0.2, 1.0], normal)
    across /= np.linalg.norm(across)
    axes = np.stack([across, np.cross(normal, across), normal], axis=1) * spacing
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = axes, (87.8, 93.6, -12.0)
    return affine.tolist()


OBLIQUE = oblique_affine()
PROBE = {"devices": [{"name": "cpu", "title": "Processor", "memory_bytes": 1e9}], "has_gpu": False, "processors": 2}
"""What the worker finds a machine to have."""


def described_cine(seed: int = 7, frames: int = 5, dtype: str = "int16", **meta: Any) -> dict[str, Any]:
    """A small cine as the worker describes them, its array in memory."""
    rng = np.random.default_rng(seed)
    about = {
        "synthetic": True,
        "model": "tiny",
        "model_version": "1.2.3",
        "model_sha256": "ab" * 32,
        "seed": seed,
        "index": 0,
        "pathology": "DCM",
        "guidance": 1.5,
        "steps": 4,
        "sampler": "dpmpp_2m",
        "licence": {"name": "CC0", "conditions": "None."},
    }
    return {
        "array": rng.integers(0, 1000, (frames, 3, 8, 10)).astype(dtype),
        "affine": OBLIQUE,
        "frame_times": [0.05 * number for number in range(frames)],
        "meta": {**about, **meta},
        "name": f"tiny_seed{seed}",
        "display_range": [0.0, 900.0],
    }


class FakeProcess:
    """`ProcessProtocol` without a process: the test plays the worker.

    Attributes:
        requests: What was asked, in order.
        killed: Whether the tree was ended.
    """

    made: ClassVar[list[FakeProcess]] = []
    obeys_close: ClassVar[bool] = True
    hears: ClassVar[bool] = True

    def __init__(self) -> None:
        from CardioDiTModule.Signal import Signal

        self.outputReceived, self.errorReceived = Signal("output"), Signal("error output")
        self.ended = Signal("ended")
        self.requests: list[dict[str, Any]] = []
        self.killed = self.closed = self.running = False
        FakeProcess.made.append(self)

    def start(self, program, arguments, environment) -> None:
        self.running = True
        self.command = (program, list(arguments), dict(environment))

    def write(self, data: bytes) -> None:
        assert data.endswith(b"\n") and data.count(b"\n") == 1
        request = json.loads(data)
        self.requests.append(request)
        if request["command"] == "ping" and FakeProcess.hears:
            self.tell("result", id=request["id"])

    def closeInput(self) -> None:
        self.closed = True
        if FakeProcess.obeys_close:
            self.end(0)

    def isRunning(self) -> bool:
        return self.running

    def processId(self) -> int:
        return 4711 if self.running else 0

    def killTree(self) -> None:
        self.killed = True
        self.end(9, crashed=True)

    def waitForEnd(self, milliseconds: int) -> bool:
        return not self.running

    # -- what the test lets the worker do

    def end(self, code: int, crashed: bool = False) -> None:
        if self.running:
            self.running = False
            self.ended.emit(code, crashed)

    def tell(self, event: str, **values: Any) -> None:
        line = "CARDIODIT " + json.dumps({"event": event, **values}) + "\n"
        self.outputReceived.emit(line.encode())

    def ready(self) -> None:
        self.tell("ready", protocol=1, version="0", python="3", pid=1)

    def asked(self, command: str) -> dict[str, Any]:
        """The last request of a command."""
        return [request for request in self.requests if request["command"] == command][-1]

    def has_asked(self, command: str) -> bool:
        return any(request["command"] == command for request in self.requests)

    def answer(self, command: str, **values: Any) -> None:
        self.tell("result", id=self.asked(command)["id"], **values)


def playWorker(monkeypatch, process: type[FakeProcess] = FakeProcess) -> None:
    """Let the test play the worker of the application."""
    from CardioDiTModule import SharedWorker

    SharedWorker.stopSharedWorker()
    FakeProcess.made.clear()
    FakeProcess.obeys_close = True
    monkeypatch.setattr(SharedWorker, "QtProcess", process)


def process() -> FakeProcess:
    """The worker that the test plays."""
    return FakeProcess.made[-1]


def asked(command: str, waitUntil) -> dict[str, Any]:
    """Arguments of an order, once it has come."""
    waitUntil(lambda: process().has_asked(command), 5)
    return process().asked(command)["arguments"]


def finish(command: str, answer: dict[str, Any], controls, waitUntil) -> dict[str, Any]:
    """Answer an order, and wait until its run is over; the order's arguments. It is forgotten, for the next of them."""
    order = asked(command, waitUntil)
    process().answer(command, **answer)
    waitUntil(lambda: controls.run is None, 5)
    process().requests[:] = [request for request in process().requests if request["command"] != command]
    return order


class Clock:
    """`later` under the test's control."""

    def __init__(self) -> None:
        self.waiting: list[tuple[int, Any]] = []

    def later(self, milliseconds: int, callback) -> None:
        self.waiting.append((milliseconds, callback))

    def pass_ms(self, milliseconds: int) -> None:
        """Run what is due within this time; what those call for comes after."""
        due = [entry for entry in self.waiting if entry[0] <= milliseconds]
        self.waiting = [(ms - milliseconds, callback) for ms, callback in self.waiting if ms > milliseconds]
        for _, callback in sorted(due, key=lambda entry: entry[0]):
            callback()

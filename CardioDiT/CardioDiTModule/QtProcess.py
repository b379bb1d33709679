from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import qt

from .Signal import Signal


class QtProcess:
    """`ProcessProtocol` on QProcess: nothing blocks, signals come through the event loop."""

    def __init__(self) -> None:
        self.outputReceived = Signal("output")
        self.errorReceived = Signal("error output")
        self.ended = Signal("ended")
        self._hasEnded = False
        self._folder = ""
        self._process = qt.QProcess()
        self._process.setProcessChannelMode(qt.QProcess.SeparateChannels)
        self._process.connect("readyReadStandardOutput()", self._onOutput)
        self._process.connect("readyReadStandardError()", self._onErrorOutput)
        self._process.connect("finished(int,QProcess::ExitStatus)", self._onFinished)
        self._process.connect("errorOccurred(QProcess::ProcessError)", self._onError)

    def start(self, program: str, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        variables = qt.QProcessEnvironment.systemEnvironment()
        for name, value in environment.items():
            variables.insert(name, value)
        self._process.setProcessEnvironment(variables)
        # one of its own: `python -m` looks into the current folder first, and any file there could take a module's name
        self._folder = tempfile.mkdtemp(prefix="CardioDiT-worker-")
        self._process.setWorkingDirectory(self._folder)
        self._process.start(program, list(arguments))

    def write(self, data: bytes) -> None:
        self._process.write(data)

    def closeInput(self) -> None:
        self._process.closeWriteChannel()

    def isRunning(self) -> bool:
        return not self._hasEnded and self._process.state() != qt.QProcess.NotRunning

    def processId(self) -> int:
        return int(self._process.processId()) if self.isRunning() else 0

    def killTree(self) -> None:
        killTree(self.processId())
        if self.isRunning():
            self._process.kill()

    def waitForEnd(self, milliseconds: int) -> bool:
        return self._hasEnded or bool(self._process.waitForFinished(milliseconds))

    def _onOutput(self) -> None:
        self.outputReceived.emit(self._process.readAllStandardOutput().data())

    def _onErrorOutput(self) -> None:
        self.errorReceived.emit(self._process.readAllStandardError().data())

    def _onFinished(self, exitCode: int, exitStatus: int) -> None:
        # what was written last may not have been announced
        self._onOutput()
        self._onErrorOutput()
        self._end(int(exitCode), exitStatus == qt.QProcess.CrashExit)

    def _onError(self, error: int) -> None:
        if error == qt.QProcess.FailedToStart:
            self._end(-1, True)

    def _end(self, exitCode: int, crashed: bool) -> None:
        if not self._hasEnded:
            self._hasEnded = True
            shutil.rmtree(self._folder, ignore_errors=True)
            self.ended.emit(exitCode, crashed)


def parentsOfAll() -> dict[int, int]:
    """Parent of every process, by process number. Empty on Windows, where `taskkill` knows the tree itself."""
    if sys.platform == "win32":
        return {}
    if Path("/proc/self/stat").exists():
        return dict(filter(None, map(_parentFromProc, Path("/proc").glob("[0-9]*"))))
    listing = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, timeout=5, check=False)
    pairs = [line.split() for line in listing.stdout.splitlines()]
    return {int(pair[0]): int(pair[1]) for pair in pairs if len(pair) == 2}


def _parentFromProc(folder: Path) -> tuple[int, int] | None:
    try:
        # the name of the program, in brackets, may hold anything
        fields = (folder / "stat").read_text(errors="replace", encoding="utf-8").rpartition(")")[2].split()
        return int(folder.name), int(fields[1])
    except (OSError, ValueError, IndexError):
        return None  # ended meanwhile


def descendants(pid: int) -> list[int]:
    """All that a process started, and what those started."""
    children: dict[int, list[int]] = {}
    for child, parent in parentsOfAll().items():
        children.setdefault(parent, []).append(child)
    found: list[int] = []
    waiting = [pid]
    while waiting:
        mine = children.get(waiting.pop(), [])
        found += mine
        waiting += mine
    return found


def killTree(pid: int) -> None:
    """End a process and all its descendants at once; those that have ended already are no matter."""
    if pid <= 0:
        return
    if sys.platform == "win32":
        noWindow = 0x08000000
        subprocess.run(
            ["taskkill", "/PID", str(pid), "/T", "/F"], capture_output=True, creationflags=noWindow, check=False
        )
        return
    for one in [pid, *descendants(pid)]:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(one, signal.SIGKILL)

from __future__ import annotations

import shutil
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from .FolderResults import DONE, FAILED, RESULTS_NAME, FolderResults
from .MeasurementRuns import LANDMARK_MODEL_SETTING, SEGMENTATION_MODEL_SETTING, modelSetting
from .PrivacyRuns import ENCODER_MODEL_SETTING
from .Problem import CardioDiTProblem, Problem
from .SharedWorker import ensureLibrary
from .WorkerClient import WorkerClient
from .WorkerRun import Later, Run

AUDITED_TOGETHER = 16
"""As many cines lie in the temporary folder at a time when they are audited: reading the training cines once for each
would take longer, and keeping all of them more room than there may be.
"""

Work = Generator["tuple[str, dict[str, Any]]", "dict[str, Any]", None]


@dataclass(frozen=True)
class FolderChoices:
    """What is done with each cine of a folder.

    Attributes:
        measure: Segment, and measure the function.
        landmarks: Find the insertion points too, which wall thickness needs.
        audit: Hold it against training patients: those of the model that made it, or of `train`.
        train, validation: Folders for the audit of cines that no model made.
        falseAlarm: Share of novel patients who may be called copies.
        exportSuffix: Write it in this format into the results folder; empty for not.
        device: Where to compute.
    """

    measure: bool = True
    landmarks: bool = True
    audit: bool = False
    train: str = ""
    validation: str = ""
    falseAlarm: float = 0.05
    exportSuffix: str = ""
    device: str = "auto"

    def asked(self) -> str:
        """In words, to know rows again that were made for the same."""
        parts = ["measure"] * self.measure + ["landmarks"] * (self.measure and self.landmarks)
        if self.audit:
            against = f"{self.train} {self.validation}".strip() if self.train else "model"
            parts.append(f"audit {against} {self.falseAlarm:g}")
        return " ".join([*parts, self.exportSuffix]).strip()


@dataclass
class _Cine:
    name: str
    path: Path
    folder: str = ""
    described: dict[str, Any] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    problem: str = ""


class FolderRun(Run):
    """Measures, audits and exports all cines of a folder, one after the other, by orders to the worker; the scene is
    not touched. A cine that fails is a row that says so, and the next one comes.

    Rows that were finished stay in the results file, and the same run started again goes on after them.

    Args:
        worker: The worker client.
        later: (milliseconds, callback).
        folder: Of the cines.
        results: Folder for the results; empty for none.
        choices: What is done.
        onRow: (row), for each cine when it is finished, those of an earlier run too.
        **callbacks: As `Run`; `onDone` gets the rows, and there is a problem where the folder cannot be read, or the
            results cannot be written.
    """

    def __init__(
        self,
        worker: WorkerClient,
        later: Later,
        folder: str,
        results: str,
        choices: FolderChoices,
        *,
        onRow: Callable[[dict[str, Any]], None] | None = None,
        **callbacks: Any,
    ) -> None:
        super().__init__(worker, later, **callbacks)
        self._choices, self._onRow = choices, onRow
        self._root, self._results = Path(folder), Path(results) if results else None
        self._work = self._all()
        self._number, self._count, self._now = 0, 1, ""
        self._rows: list[dict[str, Any]] = []
        self._cancelled = False

    def cancel(self) -> None:
        """Give up; `onCancelled` follows soon, also where the order that is under way is answered before that."""
        self._cancelled = True
        super().cancel()

    # -- the orders one after the other

    def _begin(self) -> None:
        self._later(0, lambda: self._go(lambda: next(self._work)))

    def _halt(self) -> None:
        if not self._work.gi_running:  # else a row was just told, and `_go` closes it
            self._work.close()

    def _go(self, step: Callable[[], tuple[str, dict[str, Any]]]) -> None:
        """Run the work up to its next order, and send that."""
        if not self.isRunning or self._cancelled:
            self._endCancelled()
            return
        try:
            command, arguments = step()
        except StopIteration:
            self._finish(self._rows)
        except Exception as error:
            self._failWith(error)
        else:
            if self.isRunning and not self._cancelled:
                self._request(
                    command,
                    arguments,
                    lambda values: self._go(lambda: self._work.send(values)),
                    lambda problem: self._go(lambda: self._work.throw(CardioDiTProblem(problem))),
                )
            else:
                self._work.close()

    def _problemOf(self, error: Exception) -> Problem:
        if isinstance(error, OSError):
            return Problem(
                _("The folder cannot be read, or the results cannot be written: {error}.").format(error=error),
                _("Choose another folder."),
            )
        return Problem(
            _("The cine {name} stopped the run: {error}.").format(name=self._now, error=error),
            _("Copy the log and report it."),
            repr(error),
        )

    def _all(self) -> Work:
        """All cines; yields orders and gets what the worker answers."""
        paths = cineFiles(self._root)
        results = FolderResults(None if self._results is None else self._results / RESULTS_NAME, self._choices.asked())
        self._count = len(paths)
        waiting: list[_Cine] = []
        for number, path in enumerate(paths):
            self._number = number
            cine = _Cine(self._nameOf(path), path)
            self._now = cine.name
            if results.isDone(cine.name, path):
                self._tellRow(results.rows[cine.name])
                continue
            cine.folder = str(Path(self._folder) / str(number))
            Path(cine.folder).mkdir()
            try:
                yield from self._one(cine)
            except CardioDiTProblem as error:
                cine.problem = error.problem.text()
            if self._choices.audit and not cine.problem:
                waiting.append(cine)
                if len(waiting) < AUDITED_TOGETHER:
                    continue
            else:
                self._write(results, cine)
            if len(waiting) >= AUDITED_TOGETHER:
                yield from self._audit(results, waiting)
                waiting = []
        yield from self._audit(results, waiting)

    def _one(self, cine: _Cine) -> Work:
        """Read, segment, find points, measure, export."""
        choices, folder = self._choices, cine.folder
        answer = yield "load_cine", {"path": str(cine.path.absolute()), "folder": folder}
        cine.described = answer["cine"]
        cine.values["frames"] = len(cine.described["frame_times"])
        if choices.measure:
            order = {"cine": cine.described, "folder": folder, "device": choices.device}
            answer = yield "segment", {**order, **modelSetting("weights", SEGMENTATION_MODEL_SETTING)}
            measured: dict[str, Any] = {"segmentation": answer["segmentation"]}
            if choices.landmarks:
                order |= modelSetting("weights", LANDMARK_MODEL_SETTING)
                order |= modelSetting("segmentation_weights", SEGMENTATION_MODEL_SETTING)
                found = yield "landmarks", {**order, **measured}
                measured["landmarks"] = found["landmarks"]
                cine.values |= {"points_found": found["found"], "points": found["of"]}
            answer = yield "function", measured
            for row in answer["table"]:
                known = row["value"] is not None
                cine.values[row["field"]] = round(row["value"], row["digits"]) if known else ""
            cine.values["notes"] = " ".join(str(note) for note in answer["report"].get("notes") or [])
        if choices.exportSuffix:
            assert self._results is not None
            target = self._results / (_withoutSuffix(cine.name) + choices.exportSuffix)
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.absolute() == cine.path.absolute():
                raise CardioDiTProblem(
                    _("The export would overwrite the cine itself."), _("Choose another folder for the results.")
                )
            answer = yield "save_cine", {"cine": cine.described, "path": str(target.absolute())}
            cine.values["exported"] = answer["path"]

    def _audit(self, results: FolderResults, cines: list[_Cine]) -> Work:
        """Hold cines against training patients together, and finish their rows."""
        choices = self._choices
        groups: list[tuple[dict[str, Any], list[_Cine]]] = []
        if choices.train:
            order: dict[str, Any] = {"train": choices.train, **modelSetting("encoder", ENCODER_MODEL_SETTING)}
            if choices.validation:
                order["validation"] = choices.validation
            groups.append((order, cines))
        else:
            # an order a model: one that carries no training embeddings fails its own cines alone
            made: dict[str, list[_Cine]] = {}
            for cine in cines:
                model = str((cine.described.get("meta") or {}).get("model") or "")
                if model:
                    made.setdefault(model, []).append(cine)
                else:
                    cine.values["verdict"] = ""
                    cine.problem = str(_("No model made this cine: choose a folder of training cines in Privacy."))
            groups += [({"bundles": [model] * len(group)}, group) for model, group in made.items()]
        for order, group in groups:
            if not group:
                continue
            self._now = ""
            try:
                answer = yield (
                    "audit_cines",
                    {**order, "false_alarm": choices.falseAlarm, "cines": [cine.described for cine in group]},
                )
            except CardioDiTProblem as error:
                for cine in group:
                    cine.problem = error.problem.text()
                continue
            for cine, verdict in zip(group, answer["cines"]):
                cine.values |= {name: verdict[name] for name in ("verdict", "score", "p_value", "nearest_hash")}
        for cine in cines:
            self._write(results, cine)

    def _write(self, results: FolderResults, cine: _Cine) -> None:
        state = FAILED if cine.problem else DONE
        row = results.put(cine.name, cine.path, {"state": state, "problem": cine.problem, **cine.values})
        shutil.rmtree(cine.folder, ignore_errors=True)
        self._tellRow(row)

    def _tellRow(self, row: dict[str, Any]) -> None:
        self._rows.append(row)
        if self.isRunning and self._onRow is not None:
            self._onRow(row)

    def _nameOf(self, path: Path) -> str:
        return path.relative_to(self._root).as_posix() if path != self._root else path.name

    def _progress(self, event: dict[str, Any]) -> None:
        share = min(1.0, float(event.get("fraction") or 0.0))
        super()._progress(
            {
                "stage": event["stage"],
                "cine": self._now,
                "step": self._number + 1,
                "of": self._count,
                "fraction": (self._number + 0.9 * share) / self._count,
            }
        )


def _withoutSuffix(name: str) -> str:
    for suffix in (".seq.nrrd", ".nii.gz", ".nii", ".nrrd", ".nhdr", ".zip"):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


def cineFiles(folder: str | Path) -> list[Path]:
    """The cines of a folder and the folders in it, in the order of their names; labels and single volumes are left out.

    Raises:
        CardioDiTProblem: There is none, or the folder cannot be read.
    """
    ensureLibrary()
    from CardioDiTLib.errors import CardioDiTError
    from CardioDiTLib.io.cine_files import cines_by_name

    try:
        return list(cines_by_name(Path(folder), below=True).values())
    except CardioDiTError as error:
        raise CardioDiTProblem(error.message, error.hint) from error

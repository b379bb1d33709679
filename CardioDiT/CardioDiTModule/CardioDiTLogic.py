import logging
import random
from collections.abc import Callable
from typing import Any

from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from . import SharedWorker
from .AuditMarks import syntheticBrowsers
from .CompletionRuns import completionRun, variationRun
from .ExportSection import databaseRun, exportRun
from .FunctionNodes import FunctionNodes
from .GenerationRun import GenerationRun
from .MeasurementRuns import functionRun, landmarkRun, segmentationRun
from .ModelManager import ModelManager
from .ParameterNode import CardioDiTParameterNode
from .PlaySection import showCine
from .PrivacyRuns import auditRun
from .Problem import CardioDiTProblem, GenerationCancelled
from .SegmentationSequence import SegmentationSequence
from .Steps import blockUntil


class CardioDiTLogic(ScriptedLoadableModuleLogic):
    """For scripts, and for the widgets.

    Example:
        >>> logic = CardioDiTLogic()  # doctest: +SKIP
        >>> browser = logic.generate(seed=7, pathology="DCM")  # doctest: +SKIP
        >>> logic.export(browser, "heart.nii.gz")  # doctest: +SKIP
        >>> landmarks = logic.detectLandmarks(browser)  # doctest: +SKIP
        >>> logic.measureFunction(browser)["ef_percent"]  # doctest: +SKIP
        >>> logic.functionReport(browser, "heart.html")  # doctest: +SKIP
        >>> logic.audit([browser])[0]["verdict"]  # doctest: +SKIP
    """

    def __init__(self, worker=None):
        ScriptedLoadableModuleLogic.__init__(self)
        self.worker = worker if worker is not None else SharedWorker.sharedWorker()
        self.modelManager = ModelManager(self.worker)

    def getParameterNode(self):
        return CardioDiTParameterNode(super().getParameterNode())

    def generate(self, show: bool = True, gate: bool = False, falseAlarm: float = 0.05, **request: Any):
        """Make hearts and wait for them; the application stays alive meanwhile.

        Args:
            show: Put the first into the slice views.
            gate: Draw again what lies too near to a training patient; the model has to carry training embeddings.
            falseAlarm: Of the gate: share of novel patients who are refused.
            **request: Entries of `CardioDiTLib.GenerationRequest`: seed, count, pathology, guidance, preset, steps,
                sampler, bundle, device, backend, cycle_s; where the model can be steered also edv_ml, ef_percent,
                lv_mass_g, lv_slices (`models()` lists models, their bundle.json what they can be asked for); where the
                model makes several grids (``other_grids`` in `models()`) also slices and frames. What is to be known
                about the request is logged as a warning.

        Returns:
            The sequence browser node; a list of them where count is more than 1. Where the model makes labels, they
            are a segmentation of the same browser, as `segment` makes it.

        Raises:
            CardioDiTProblem: It did not work; the text says why and what to do.
            GenerationCancelled: Somebody cancelled.
        """
        runs = []

        def start(**callbacks: Any) -> Callable[[], None]:
            runs.append(self.generateAsync(gate=gate, falseAlarm=falseAlarm, **request, **callbacks))
            return runs[0].cancel

        browsers = self._wait(start)
        return self._shown(browsers, runs[0].warnings, show)

    def generateAsync(
        self,
        onProgress=None,
        onDone=None,
        onProblem=None,
        onCancelled=None,
        gate: bool = False,
        falseAlarm: float = 0.05,
        **request: Any,
    ):
        """Make hearts in the background.

        Args:
            onProgress: (event: dict with stage, step, of, fraction, eta_s).
            onDone: (browser nodes).
            onProblem: (problem with message and hint).
            onCancelled: ().
            gate, falseAlarm, **request: As for `generate`.

        Returns:
            The run; `run.cancel()` gives it up.
        """
        request.setdefault("seed", random.randrange(1 << 31))
        run = GenerationRun(
            self.worker,
            SharedWorker.later,
            request,
            onProgress=onProgress,
            onDone=onDone,
            onProblem=onProblem,
            onCancelled=onCancelled,
            gate=gate,
            falseAlarm=falseAlarm,
        )
        return run.start()

    def models(self) -> list:
        """All models: a list of dicts with name, title, version, licence, state, class_names and more."""
        return self._ask("models")["models"]

    def download(self, name: str, acceptLicence: bool = False) -> str:
        """Fetch a model and wait for it; returns its folder.

        Args:
            name: Of the catalogue, or an address.
            acceptLicence: You have read the model's terms and accept them.

        Raises:
            CardioDiTProblem: It did not work, or the terms were not accepted; the text holds them then.
        """
        model = next((model for model in self.models() if model["name"] == name), None)
        if model is not None and not model.get("accepted", True):
            if not acceptLicence:
                raise CardioDiTProblem(
                    f"'{name}' has terms: {model['licence']['name']}. {model['licence']['conditions']}",
                    "If you accept them: download(name, acceptLicence=True).",
                )
            self._ask("accept_licence", name=name)
        return self._ask("download", name=name)["folder"]

    def export(self, browser, path: str, multiFrame: bool = False) -> str:
        """Write a cine and wait for it.

        Args:
            browser: The sequence browser node of the cine.
            path: Ends in .nii.gz, .nii, .seq.nrrd or .nrrd; or in .dcm, then it is a folder of DICOM images.
            multiFrame: DICOM only: one multi-frame file in place of the folder.

        Returns:
            The path.
        """
        return self._runAndWait(exportRun, browser, path=str(path), multiFrame=multiFrame)

    def exportToDatabase(self, browser) -> int:
        """Copy a cine as DICOM images into Slicer's DICOM database and wait for it; returns how many images."""
        return self._runAndWait(databaseRun, browser)

    def segment(self, browser, device: str = "auto"):
        """Label both ventricles and the myocardium of a cine and wait for it; what was there is replaced.

        Args:
            browser: The sequence browser node of the cine.
            device: Where to compute.

        Returns:
            The segmentation sequence node; `browser.GetProxyNode` of it is the segmentation that is shown.

        Raises:
            CardioDiTProblem: It did not work; the text says why and what to do.
            GenerationCancelled: Somebody cancelled.
        """
        return self._runAndWait(segmentationRun, browser, device=device)

    def detectLandmarks(self, browser, device: str = "auto", swap: bool = False):
        """Find the right-ventricular insertion points of a cine and wait for it; what was there is replaced. A
        segmentation that is there is taken into account. Errors as for `segment`.

        Args:
            browser: The sequence browser node of the cine.
            device: Where to compute.
            swap: Exchange anterior and inferior, for pictures that were mirrored and do not say so.

        Returns:
            The sequence node of point lists; `browser.GetProxyNode` of it is the list that is shown.
        """
        return self._runAndWait(landmarkRun, browser, device=device, swap=swap)

    def measureFunction(self, browser, heartRateBpm: float | None = None) -> dict:
        """Measure the function of a cine and wait for it: from its segmentation and landmarks as they are now. Where
        there is no segmentation, one is made. Errors as for `segment`.

        Args:
            browser: The sequence browser node of the cine.
            heartRateBpm: Beats a minute, where known.

        Returns:
            As `CardioDiTLib.FunctionReport.to_dict`: edv_ml, ef_percent, lv_volume_ml and more, None where a number
            could not be had (`reasons` says why). `functionTable` is the same as a node.
        """
        return self._measure(browser, heartRateBpm=heartRateBpm)["report"]

    def functionReport(self, browser, path: str, heartRateBpm: float | None = None) -> list:
        """Measure as `measureFunction` does, and write a report: .html (a page with pictures), .csv or .json.

        Returns:
            Paths of the files.
        """
        return self._measure(browser, heartRateBpm=heartRateBpm, path=str(path))["files"]

    def audit(self, browsers=None, falseAlarm: float = 0.05, folder: str = "", validation: str = "") -> list:
        """See whether cines are nearer to training patients than novel patients would be, and wait for it. The nodes of
        the cines are marked (attributes ``CardioDiT.audit.*``), and a table of the last audit is filled. Errors as for
        `segment`.

        Args:
            browsers: Sequence browser nodes of cines, or one; all synthetic cines in the scene without it.
            falseAlarm: Share of novel patients who may be called copies.
            folder: A folder of training cines; without it each cine is held against the training set of its model.
            validation: Beside `folder`: a folder of other real patients' cines.

        Returns:
            A dictionary for each cine: verdict ("passed", "failed" or "undecided"), score, threshold (None where there
            were too few real patients), p_value, nearest_hash, browser, name and more.
        """
        if browsers is None:
            browsers = syntheticBrowsers()
        elif not isinstance(browsers, list | tuple):
            browsers = [browsers]
        return self._runAndWait(
            auditRun, browsers, falseAlarm=falseAlarm, folder=str(folder), validation=str(validation)
        )

    def complete(
        self, browser, missingSlices="", missingFrames="", onSource: bool = False, show: bool = True, **settings: Any
    ):
        """Fill slices and frames of a cine that nobody recorded, and wait for it; the cine stays as it is. What is made
        up is plausible, not measured. Errors as for `segment`.

        Args:
            browser: The sequence browser node of the cine; its segmentation, where there is one, says how it lies.
            missingSlices, missingFrames: Numbers from 0, or text such as "1,3,5" or "4-7".
            onSource: On the grid of the cine, with only these replaced; otherwise on that of the model.
            show: Put the (first) result into the slice views.
            **settings: bundle, device, seed, count, pathology, guidance, preset, steps, edv_ml and the like.

        Returns:
            The sequence browser node of the new cine; a list of them where count is more than 1. Its attribute
            ``CardioDiT.kind`` says what it is, such as "completion of a real cine". Warnings are logged.
        """
        return self._madeFrom(
            completionRun,
            browser,
            show,
            missingSlices=_indexText(missingSlices),
            missingFrames=_indexText(missingFrames),
            onSource=onSource,
            settings=settings,
        )

    def vary(self, browser, strength: float = 0.5, show: bool = True, **settings: Any):
        """Make hearts like the one of a cine, and wait for them. A variation of a patient's heart is that patient's
        data. Returns and errors as for `complete`.

        Args:
            browser: The sequence browser node of the cine.
            strength: 0 (only coded and decoded) to 1 (nothing of it is kept).
            show: Put the (first) result into the slice views.
            **settings: As for `complete`.
        """
        return self._madeFrom(variationRun, browser, show, strength=strength, settings=settings)

    def _madeFrom(self, makeRun, browser, show: bool, **arguments: Any) -> Any:
        result = self._runAndWait(makeRun, browser, **arguments)
        return self._shown(result["browsers"], result["warnings"], show)

    @staticmethod
    def _shown(browsers: list, warnings: list, show: bool) -> Any:
        """The browser of a cine that was made, or the list of several."""
        for warning in warnings:
            logging.warning("CardioDiT: %s", warning)
        if show:
            showCine(browsers[0])
        return browsers[0] if len(browsers) == 1 else browsers

    def functionTable(self, browser):
        """The table node of what was measured on a cine; None where nothing was."""
        return FunctionNodes(browser).table

    def _measure(self, browser, **arguments: Any) -> dict:
        if SegmentationSequence(browser).sequence is None:
            self.segment(browser)
        return self._runAndWait(functionRun, browser, **arguments)

    def _runAndWait(self, makeRun, subject, **arguments: Any) -> Any:
        """Start a run on a cine, or on several, and wait; its result."""

        def start(**callbacks: Any) -> Callable[[], None]:
            return makeRun(self.worker, SharedWorker.later, subject, **arguments, **callbacks).start().cancel

        return self._wait(start)

    def _ask(self, command: str, **arguments: Any) -> dict:
        """Order and wait."""

        def start(onDone, **others: Any) -> Callable[[], None]:
            order = self.worker.request(command, arguments, onResult=onDone, **others)
            return lambda: self.worker.cancel(order)

        return self._wait(start)

    @staticmethod
    def _wait(start: Callable[..., Callable[[], None]]) -> Any:
        """Wait for how something ends.

        Args:
            start: (onDone, onProblem, onCancelled) -> () that gives it up.
        """
        ends: list[Any] = []
        cancel = start(
            onDone=ends.append,
            onProblem=lambda problem: ends.append(CardioDiTProblem(problem)),
            onCancelled=lambda: ends.append(GenerationCancelled()),
        )
        try:
            blockUntil(lambda: bool(ends))
        except KeyboardInterrupt:
            cancel()
            raise
        if isinstance(ends[0], Exception):
            raise ends[0]
        return ends[0]


def _indexText(numbers) -> str:
    """Numbers as the library reads them."""
    if isinstance(numbers, str):
        return numbers
    return str(numbers) if isinstance(numbers, int) else ",".join(str(number) for number in numbers)

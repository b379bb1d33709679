"""Making the hearts of a cohort: generation, gate and measurement in one pass."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from CardioDiTLib.bundles.bundle import Bundle, load_bundle
from CardioDiTLib.cine import Cine, Segmentation
from CardioDiTLib.cohort.heart import Heart
from CardioDiTLib.cohort.heart_record import (
    CINE,
    EMBEDDING,
    LABELS,
    RECORD,
    HeartFailure,
    HeartFunction,
    HeartRecord,
    member_name,
)
from CardioDiTLib.cohort.plan import CohortPlan
from CardioDiTLib.cohort.shard import Machine
from CardioDiTLib.errors import Cancelled, CardioDiTError
from CardioDiTLib.files import FileRecord
from CardioDiTLib.generation.generator import Generator
from CardioDiTLib.generation.request import GenerationRequest
from CardioDiTLib.generation.result import GenerationResult
from CardioDiTLib.io import save_cine, save_segmentation
from CardioDiTLib.privacy.embedding_io import Encoder, embedded
from CardioDiTLib.privacy.embedding_set import EmbeddingSet
from CardioDiTLib.privacy.gate import Gate, Refused, Verdict, generate_gated, load_encoder_of, load_reference
from CardioDiTLib.version import __version__

Made = Mapping[str, bytes] | HeartFailure
"""Files of a heart by their names in the shard, or why there are none."""


class HeartMaker:
    """Everything that is loaded to make the hearts of a plan; keep it, since loading takes longer than a heart.

    Args:
        plan: The plan.

    Raises:
        CardioDiTError: There is no such bundle or device, or the bundle is not the one that was planned with.
    """

    def __init__(self, plan: CohortPlan) -> None:
        self._plan = plan
        bundle = planned_bundle(plan)
        self._generator = Generator(bundle, plan.device or "auto", plan.precision or "auto", plan.backend or "torch")
        self._judge: _Judge | None = None
        self._encoder: Encoder | None = None
        if plan.gate:
            self._judge = _Judge(Gate.from_bundle(bundle, plan.false_alarm))
        elif plan.embed:
            self._encoder, self._references = load_encoder_of(bundle), load_reference(bundle).values
        self._segmentation: Any = None
        if "network" in plan.measure:
            from CardioDiTLib.segmentation.model import load_model

            self._segmentation = load_model(None)
        self._settings = plan.settings

    @property
    def machine(self) -> Machine:
        """What this process computes on."""
        device = self._generator.device
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else "GPU"
        return Machine(
            device=device.type,
            hardware=_instructions() if device.type == "cpu" else name,
            precision=self._generator.backend.precision,
            backend=" ".join(self._generator.backend.facts().values()) or "torch",
            threads=torch.get_num_threads(),
            cardiodit_version=__version__,
            torch_version=str(torch.__version__),
        )

    def make(self, hearts: list[Heart], cancel: Callable[[], bool]) -> Iterator[tuple[Heart, Made]]:
        """Make hearts that are denoised together (`CohortPlan.batches`).

        Args:
            hearts: The hearts.
            cancel: Asked after every step and slice.

        Yields:
            Each heart with what came of it.

        Raises:
            Cancelled: `cancel` said so.
            OSError: The disk refuses.
        """
        try:
            results = self._generator.generate(self._plan.request(hearts), progress=_nobody, cancel=cancel)
        except Cancelled:
            raise
        except OSError:
            raise
        except Exception as error:
            for heart in hearts:
                yield heart, _failure(heart, error)
            return
        for heart, result in zip(hearts, results):
            try:
                made: Made = self._finished(heart, result, cancel)
            except (Cancelled, OSError):
                raise
            except Exception as error:
                made = _failure(heart, error)
            yield heart, made

    def _finished(self, heart: Heart, result: GenerationResult, cancel: Callable[[], bool]) -> Mapping[str, bytes]:
        poses: NDArray[np.float32] | None = None
        if self._judge is not None:
            result = self._gated(heart, result, cancel)
            poses = self._judge.poses
        elif self._encoder is not None:
            poses = poses_of(embedded(self._encoder, [result.cine], "synthetic", references=self._references))
        number, storage = heart.number, self._plan.storage
        data = {member_name(number, CINE, storage): _bytes_of(result.cine, storage)}
        kinds = {CINE: member_name(number, CINE, storage)}
        if self._plan.labels and result.segmentation is not None:
            kinds[LABELS] = member_name(number, LABELS, storage)
            data[kinds[LABELS]] = _bytes_of(result.segmentation, storage)
        if self._plan.embed and poses is not None:
            kinds[EMBEDDING] = member_name(number, EMBEDDING, storage)
            data[kinds[EMBEDDING]] = _npy(poses)
        record = HeartRecord(
            heart=heart,
            name=result.name,
            settings=self._settings,
            provenance={name: value for name, value in result.provenance.items() if name != "seconds"},
            function=self._function(result),
            files={kind: _fingerprint(data[name]) for kind, name in kinds.items()},
            storage=storage,
            affine=result.cine.affine.tolist(),
        )
        return {**data, member_name(number, RECORD, storage): record.to_json(indent=1).encode("utf-8")}

    def _gated(self, heart: Heart, result: GenerationResult, cancel: Callable[[], bool]) -> GenerationResult:
        request = self._plan.request([heart])
        assert self._judge is not None

        def make(one: GenerationRequest) -> list[GenerationResult]:
            return [result] if one is request else self._generator.generate(one, progress=_nobody, cancel=cancel)

        (passed,) = generate_gated(make, request, self._judge, redraws=self._plan.redraws).results
        return passed

    def _function(self, result: GenerationResult) -> dict[str, HeartFunction]:
        found: dict[str, HeartFunction] = {}
        for kind in self._plan.measure:
            labels = result.segmentation if kind == "labels" else self._segmented(result.cine)
            if labels is not None:
                found[kind] = function_of(labels)
        return found

    def _segmented(self, cine: Cine) -> Segmentation:
        from CardioDiTLib.segmentation.segment import segment

        return segment(cine, weights=self._segmentation, device=str(self._generator.device))


class _Judge:
    """A gate that keeps what the encoder made of the cine that it judged last."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self.poses: NDArray[np.float32] | None = None

    def judge(self, cine: Cine) -> Verdict:
        one = self._gate.embedded(cine)
        self.poses = poses_of(one)
        return self._gate.judge_embedded(one)


def planned_bundle(plan: CohortPlan) -> Bundle:
    """The bundle of a plan: where it was, or of its name where cohorts were taken to another machine.

    Raises:
        CardioDiTError: There is none, or it is not the one that was planned with.
    """
    try:
        bundle = load_bundle(plan.bundle)
    except CardioDiTError as error:
        try:
            bundle = load_bundle(plan.model)
        except CardioDiTError:
            hint = f"Put the model there, install it as '{plan.model}', or correct 'bundle' in plan.json."
            raise CardioDiTError(error.message, hint) from error
    if bundle.sha256 != plan.model_sha256:
        raise CardioDiTError(
            f"The bundle '{plan.bundle}' of this machine (version {bundle.manifest.version}) is not the one that was "
            f"planned with ({plan.model} {plan.model_version}): its fingerprint differs.",
            "Get the same bundle, or plan another folder.",
        )
    return bundle


def function_of(labels: Segmentation) -> HeartFunction:
    """Function of a made heart; its stack is all there is of it, and taken for complete."""
    from CardioDiTLib.function.cardiac_function import cardiac_function

    return HeartFunction.of(cardiac_function(labels, stack_covers_heart=True))


def poses_of(one: EmbeddingSet) -> NDArray[np.float32]:
    """(poses, d) of the only cine of a set."""
    table = one.values[:, None] if one.poses is None else one.poses
    return np.ascontiguousarray(table[0], np.float32)


def _failure(heart: Heart, error: Exception) -> HeartFailure:
    told = isinstance(error, CardioDiTError)
    text = error.message if isinstance(error, CardioDiTError) else " ".join(str(error).split())[:300]
    reason = text if told else f"An unexpected problem ({type(error).__name__}: {text})."
    return HeartFailure(
        number=heart.number,
        reason=reason,
        at=datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
        refused=isinstance(error, Refused),
    )


def _bytes_of(image: Cine | Segmentation, storage: str) -> bytes:
    """The file that `cardiodit generate` would write."""
    with tempfile.TemporaryDirectory(prefix="cardiodit-", ignore_cleanup_errors=True) as folder:
        path = Path(folder) / f"heart.{storage}"
        if isinstance(image, Segmentation):
            save_segmentation(image, path)
        else:
            save_cine(image, path)
        return path.read_bytes()


def _npy(values: NDArray[np.float32]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values, allow_pickle=False)
    return stream.getvalue()


def _fingerprint(data: bytes) -> FileRecord:
    import hashlib

    return FileRecord(hashlib.sha256(data).hexdigest(), len(data))


def _instructions() -> str:
    """What a CPU offers; kernels are chosen by it, and each rounds in its own way."""
    names = [str(torch.backends.cpu.get_cpu_capability())]
    with suppress(Exception):
        if torch.cpu._is_amx_tile_supported():
            names.append("AMX")
    return ", ".join(names)


def _nobody(event: Any) -> None:
    """Hearts are told one by one."""

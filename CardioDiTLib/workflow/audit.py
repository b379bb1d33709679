"""Audits: does a generator reproduce the patients that it was trained on?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from CardioDiTLib.bundles.registry import find_bundle
from CardioDiTLib.cine import Cine
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.io.output_set import check_folder, refuse_existing
from CardioDiTLib.privacy.false_alarm import FALSE_ALARM, check_rate
from CardioDiTLib.progress import CancelSource, Listener, Progress, steps_to
from CardioDiTLib.schema import Record, Unknowable, check_seed
from CardioDiTLib.workflow.sources import check_models

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from CardioDiTLib.privacy.audit_report import AuditReport, SampleVerdict
    from CardioDiTLib.privacy.embedding_io import Encoder
    from CardioDiTLib.privacy.embedding_set import EmbeddingSet
    from CardioDiTLib.privacy.reference_set import ReferenceSet

SUFFIXES = (".json", ".csv", ".html", ".md")

Calibration = Literal["auto", "validation", "leave-one-out"]


@dataclass(frozen=True, kw_only=True)
class AuditRequest(Record):
    """An order for an audit of sets of cines.

    What `train`, `validation` and `synthetic` name is a folder of cines, a training pack, or a file of embeddings.

    Args:
        train: What the generator was trained on.
        bundle: In place of it, a model that carries its training embeddings: its name or folder.
        validation: Real patients who were not trained on; the validation part of a pack is taken by itself.
        synthetic: What the generator made.
        encoder: Folder of an encoder in place of the embedded one.
        false_alarm, calibration, published, names, seed: See `audit_memorization`.
        out: Files for the report, as their names end.
        pictures: Show each synthetic cine beside its nearest training cine in the HTML.
        attach: A bundle into which encoder, quantised training embeddings and, with `synthetic`, this audit go.
        without_encoder: Of `attach`: name the encoder that comes with the software instead of copying it.
        overwrite: Replace reports that are there.
    """

    record_name = "request for an audit"

    train: str | None = None
    bundle: str | None = None
    validation: str | None = None
    synthetic: str | None = None
    encoder: str | None = None
    false_alarm: Unknowable = FALSE_ALARM  # NaN is refused in a sentence of its own
    calibration: Calibration = "auto"
    published: bool = False
    names: bool = False
    seed: int = 0
    out: tuple[str, ...] = ()
    pictures: bool = False
    attach: str | None = None
    without_encoder: bool = False
    overwrite: bool = False


@dataclass(frozen=True, eq=False)
class AuditResult:
    """What came of an audit.

    Attributes:
        report: The report; None without synthetic cines.
        attached: Folder of the bundle to which something was attached.
        n_attached: Training embeddings that it carries now.
    """

    report: AuditReport | None
    attached: Path | None = None
    n_attached: int = 0


def run(request: AuditRequest, *, progress: Listener | None = None, cancel: CancelSource = None) -> AuditResult:
    """Audit, attach, write.

    Args:
        request: The order.
        progress: Told of the stages "training", "validation" and "synthetic", in cines that are embedded.
        cancel: Asked in between.

    Raises:
        CardioDiTError: The order contradicts itself, or as `audit_memorization` and `attach_privacy` do.
        Cancelled: `cancel` said so.
    """
    _check(request)
    from CardioDiTLib.privacy.embedding_io import EncoderHolder, has_validation_part, needs_encoder, read_embeddings

    if request.pictures and not (needs_encoder(request.train) and needs_encoder(request.synthetic)):
        raise CardioDiTError("Pictures need the cines themselves.", "Give --train and --synthetic as cines.")
    encoder = EncoderHolder(request.encoder)
    reference: ReferenceSet | None = None
    if request.bundle is not None:
        embeds = any(needs_encoder(path) for path in (request.validation, request.synthetic))
        reference, loaded = _of_bundle(request.bundle, embeds)
        encoder = EncoderHolder(loaded)
    sets: dict[str, EmbeddingSet] = {}
    for part, what in (("train", "training"), ("validation", "validation"), ("synthetic", "synthetic")):
        source = getattr(request, part)
        if source is None and part == "validation" and request.train is not None and has_validation_part(request.train):
            source = request.train
        if source is not None:
            kind = "all" if part == "synthetic" else part
            compared: NDArray[np.float32] | None = None
            if part != "train":
                compared = reference.values if reference is not None else sets["train"].values
            sets[part] = read_embeddings(
                source,
                what,
                encoder,
                part=kind,
                references=compared,
                progress=steps_to(progress, what),
                cancel=cancel,
            )
    report = None
    if "synthetic" in sets:
        from CardioDiTLib.privacy.audit import audit_memorization

        report = audit_memorization(
            reference if reference is not None else sets["train"],
            sets.get("validation"),
            sets["synthetic"],
            false_alarm=request.false_alarm,
            calibration=request.calibration,
            published=request.published,
            names=request.names,
            seed=request.seed,
            cancel=cancel,
        )
    # attached first: a bundle that cannot be written leaves no reports that say it was
    attached, count = (None, 0) if request.attach is None else _attach(request, sets, report)
    if report is not None:
        _write(request, report, sets)
    return AuditResult(report, attached, count)


def _check(request: AuditRequest) -> None:
    check_rate(request.false_alarm)
    check_seed(request.seed)
    if (request.train is None) == (request.bundle is None):
        raise CardioDiTError("The training set is missing, or there are two.", "Give --train or --bundle.")
    if request.synthetic is None and request.attach is None:
        raise CardioDiTError("There is nothing to audit.", "Give --synthetic.")
    if request.synthetic is None and request.out:
        raise CardioDiTError("Without synthetic cines there is no report.", "Give --synthetic, or leave --out out.")
    if request.attach is not None and request.train is None:
        raise CardioDiTError("Attaching needs the training set itself.", "Give --train.")
    if request.bundle is not None and request.encoder is not None:
        raise CardioDiTError("A bundle brings its own encoder.", "Leave --encoder out.")
    for bundle in (request.bundle, request.attach):
        if bundle is not None:
            find_bundle(bundle)  # told before torch is loaded
    check_models(request.encoder)
    out = [Path(path) for path in request.out]
    wrong = [path.name for path in out if path.suffix.lower() not in SUFFIXES]
    if wrong:
        raise CardioDiTError(f"'{wrong[0]}' is no kind of report.", f"Use a name ending in {', '.join(SUFFIXES)}.")
    refuse_existing(out, request.overwrite)
    for path in out:
        check_folder(path.parent)
    if request.pictures and not any(path.suffix.lower() == ".html" for path in out):
        raise CardioDiTError("Pictures are shown in HTML only.", "Add --out report.html.")


def _of_bundle(name: str, with_encoder: bool = True) -> tuple[ReferenceSet, Encoder | None]:
    """The training set that a bundle carries, and its encoder."""
    from CardioDiTLib.bundles.bundle import load_bundle
    from CardioDiTLib.privacy.gate import load_encoder_of, load_reference

    bundle = load_bundle(name)
    return load_reference(bundle), load_encoder_of(bundle) if with_encoder else None


def _reference(request: AuditRequest, train: EmbeddingSet, validation: EmbeddingSet | None) -> ReferenceSet:
    """The training set, calibrated by those whom an audit would choose: validation patients, those left out who are
    in the training set, unless they are too few for the rate and the training patients are not.
    """
    from CardioDiTLib.privacy.calibration import patients_needed
    from CardioDiTLib.privacy.reference_set import ReferenceSet

    if request.calibration == "leave-one-out" or (validation is None and request.calibration == "auto"):
        return ReferenceSet.build(train)
    if validation is None:
        raise CardioDiTError("There is no validation set to calibrate with.", "Give one, or use 'leave-one-out'.")
    by_validation = ReferenceSet.build(train, validation)
    needed = patients_needed(request.false_alarm)
    if request.calibration == "validation" or by_validation.calibration.n_patients >= needed:
        return by_validation
    try:
        by_training = ReferenceSet.build(train)
    except CardioDiTError:  # a single training patient, for one
        return by_validation
    needed = patients_needed(request.false_alarm, "leave-one-out")
    return by_training if by_training.calibration.n_patients >= needed else by_validation


def _attach(request: AuditRequest, sets: dict[str, EmbeddingSet], report: AuditReport | None) -> tuple[Path, int]:
    from CardioDiTLib.privacy.attach import attach_privacy
    from CardioDiTLib.privacy.reference_set import ReferenceSet
    from CardioDiTLib.privacy.report_text import to_markdown

    assert request.attach is not None
    # As in the audit itself: too few validation patients calibrate nothing at the rate that was asked for.
    validation = sets.get("validation")
    if report is None:
        reference = _reference(request, sets["train"], validation)
    else:
        reference = ReferenceSet.build(sets["train"], None if report.calibration == "leave-one-out" else validation)
    bundle = attach_privacy(
        find_bundle(request.attach),
        request.encoder,
        reference,
        audit=None if report is None else report.summary(),
        card=None if report is None else to_markdown(report, request.published),
        carry_encoder=not request.without_encoder,
    )
    return bundle.folder, reference.n_train


def _write(request: AuditRequest, report: AuditReport, sets: dict[str, EmbeddingSet]) -> None:
    from CardioDiTLib.files import atomic_path
    from CardioDiTLib.privacy.report_html import PictureOf, to_html
    from CardioDiTLib.privacy.report_text import save_csv, to_markdown

    pictures: PictureOf | None = None
    if request.pictures:
        real, made = sets["train"].picture, sets["synthetic"].picture
        assert real is not None and made is not None  # `run` saw to it before anything was embedded
        pictures = lambda one: (made(one.index), real(one.nearest_index))  # noqa: E731 - a closure over both
    for path in map(Path, request.out):
        suffix = path.suffix.lower()
        if suffix == ".csv":
            save_csv(report, path)
        elif suffix == ".html":
            to_html(report, path, pictures=pictures, published=request.published, about=_about(request))
        else:
            text = report.to_json() if suffix == ".json" else to_markdown(report, request.published)
            with atomic_path(path) as temporary:
                temporary.write_text(text, encoding="utf-8")


def _about(request: AuditRequest) -> dict[str, str]:
    """What was audited against what; names of files only where they were asked for, for they may be patients'."""
    entries = {}
    if request.bundle is not None:
        from CardioDiTLib.bundles.bundle import load_bundle

        manifest = load_bundle(request.bundle).manifest
        entries["model"] = f"{manifest.name} {manifest.version}"
        entries["training set"] = "the training embeddings that this model carries"
    for option, what in (("train", "training set"), ("validation", "other real patients"), ("synthetic", "synthetic")):
        given = getattr(request, option)
        if given is not None:
            path = Path(given)
            kind = "folder" if path.is_dir() else "training pack or embeddings"
            entries[what] = f"'{path.name}' ({kind})" if request.names else f"a {kind} (--names shows its name)"
    return entries


@dataclass(frozen=True, kw_only=True)
class CineAuditRequest(Record):
    """An order to hold single cines against training sets.

    Args:
        bundles: For each cine the name or folder of the bundle whose training set it is held against.
        train: In place of `bundles`: a folder of training cines, a training pack, or a file of embeddings.
        validation: Beside `train`: other real patients, as above.
        encoder: Beside `train`: folder of an encoder; None for the embedded one.
        false_alarm: Share of novel patients who may be called copies.
    """

    record_name = "request for an audit of cines"

    bundles: tuple[str, ...] | None = None
    train: str | None = None
    validation: str | None = None
    encoder: str | None = None
    false_alarm: Unknowable = FALSE_ALARM

    def check(self, count: int) -> None:
        """See that the order fits so many cines.

        Raises:
            CardioDiTError: It does not, or contradicts itself.
        """
        if not count:
            raise CardioDiTError("There is no cine to audit.", "Send at least one.")
        if (self.bundles is None) == (self.train is None):
            raise CardioDiTError("An audit needs either bundles or a folder of training cines.", "Send one of the two.")
        if self.bundles is not None and len(self.bundles) != count:
            raise CardioDiTError("There is not one name of a bundle for each cine.", "Send as many names as cines.")
        for name in ("validation", "encoder"):
            if self.bundles is not None and getattr(self, name) is not None:
                raise CardioDiTError(f"'{name}' goes along with 'train' only.", "Leave it out.")


@dataclass(frozen=True, eq=False)
class CinesAgainst:
    """Some of the cines, held against one training set.

    Attributes:
        against: A bundle's name, or "folder".
        cines: Numbers of the cines; the samples of the report in this order.
        report: The audit.
        train_files: Training cines where they are at hand.
    """

    against: str
    cines: tuple[int, ...]
    report: AuditReport
    train_files: tuple[Path, ...] = ()

    def nearest_file(self, sample: SampleVerdict) -> Path | None:
        """The nearest training cine of a sample, where it is at hand."""
        return self.train_files[sample.nearest_index] if self.train_files else None


def run_cines(
    request: CineAuditRequest,
    cines: Sequence[Callable[[], Cine]],
    *,
    progress: Listener | None = None,
    cancel: CancelSource = None,
) -> list[CinesAgainst]:
    """Hold cines against training sets.

    Args:
        request: The order.
        cines: How each cine is read; one is held in memory at a time.
        progress: Told of the stages "load", "embed" (in cines of all sets) and "compare".
        cancel: Asked in between.

    Returns:
        One entry a training set.

    Raises:
        CardioDiTError: A bundle has no training embeddings, or as `audit_memorization` does.
        Cancelled: `cancel` said so.
    """
    from CardioDiTLib.privacy.audit import audit_memorization
    from CardioDiTLib.privacy.dar_rule import check_rate
    from CardioDiTLib.privacy.embedding_io import embedded
    from CardioDiTLib.privacy.encoder import load_encoder

    request.check(len(cines))
    check_rate(request.false_alarm)
    meter = _EmbeddingMeter(progress, len(cines))
    groups: list[tuple[str, list[int], Any, Encoder, list[Path]]] = []
    if request.train is not None:
        files = _cine_files(request.train)
        meter.expect(len(files) + len(_cine_files(request.validation)))
        groups.append(("folder", list(range(len(cines))), request.train, load_encoder(request.encoder), files))
    for name in dict.fromkeys(request.bundles or ()):
        places = [number for number, other in enumerate(request.bundles or ()) if other == name]
        reference, encoder = _of_bundle(name)
        assert encoder is not None
        groups.append((name, places, reference, encoder, []))
    found = []
    for against, places, train, encoder, files in groups:
        synthetic = embedded(
            encoder,
            (cines[place]() for place in places),
            "synthetic",
            references=None if isinstance(train, str) else train.values,
            progress=meter.steps("embedding", len(places)),
            cancel=cancel,
        )
        report = audit_memorization(
            train,
            request.validation,
            synthetic,
            false_alarm=request.false_alarm,
            published=False,
            encoder=encoder,
            progress=meter.tell if request.train is not None else None,
            cancel=cancel,
        )
        found.append(CinesAgainst(against, tuple(places), report, tuple(files)))
    meter.finish()
    return found


def _cine_files(path: str | None) -> list[Path]:
    from CardioDiTLib.privacy.embedding_io import CINE_SUFFIXES, cine_files

    if path is None or not (Path(path).is_dir() or path.lower().endswith(CINE_SUFFIXES)):
        return []
    return cine_files(Path(path))


class _EmbeddingMeter:
    """Progress of an audit by what takes the time: the cines that are embedded, of all sets together.

    Args:
        listener: Who is told.
        expected: How many cines are to be embedded.
    """

    def __init__(self, listener: Listener | None, expected: int) -> None:
        self._tell = listener or (lambda sign: None)
        self._expected = expected
        self._before, self._stage, self._done = 0, "", 0
        self._tell(Progress("load", 0, 1))

    def expect(self, more: int) -> None:
        """So many cines more are to be embedded."""
        self._expected += more

    def steps(self, stage: str, count: int) -> Callable[..., None]:
        """For an encoder that does not know how many cines will come."""
        return lambda done, *_: self.tell(stage, done, count)

    def tell(self, what: str, done: int, of: int) -> None:
        """What `audit_memorization` tells."""
        if not what.startswith("embedding"):
            self._tell(Progress("compare", 0, 1))
            return
        if what != self._stage or done <= self._done:
            self._before, self._stage = self._before + self._done, what
        self._done = done
        self._tell(Progress("embed", self._before + done, max(self._expected, self._before + of)))

    def finish(self) -> None:
        """All is done."""
        self._tell(Progress("compare", 1, 1, 0.0))

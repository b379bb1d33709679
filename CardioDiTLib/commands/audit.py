"""``cardiodit audit``: does a generator reproduce the patients that it was trained on?"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from CardioDiTLib.commands.options import chosen_model
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.io.output_set import check_folder, refuse_existing

if TYPE_CHECKING:
    from CardioDiTLib.privacy.audit_report import AuditReport
    from CardioDiTLib.privacy.embedding_io import EncoderHolder
    from CardioDiTLib.privacy.embedding_set import EmbeddingSet
    from CardioDiTLib.privacy.reference_set import ReferenceSet

_SUFFIXES = (".json", ".csv", ".html", ".md")
_WHAT = "folder of cines, training pack (.npz), or embeddings (.npy, .npz, .safetensors)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("--train", type=Path, metavar="PATH", help=f"what the generator was trained on: {_WHAT}")
    parser.add_argument(
        "--validation",
        type=Path,
        metavar="PATH",
        help="real patients who were not trained on, as above; the validation part of a pack is taken by itself",
    )
    parser.add_argument("--synthetic", type=Path, metavar="PATH", help="what the generator made, as above")
    parser.add_argument(
        "-m",
        "--bundle",
        metavar="BUNDLE",
        help="audit against the training embeddings that this model carries: its name or folder (see generate -m)",
    )
    parser.add_argument("--encoder", type=Path, metavar="FOLDER", help="encoder, in place of the embedded one")
    parser.add_argument(
        "--false-alarm", type=float, default=0.05, metavar="RATE", help="share of novel patients called copies (0.05)"
    )
    parser.add_argument(
        "--calibration", choices=("auto", "validation", "leave-one-out"), default="auto", help="by whom (auto)"
    )
    parser.add_argument("--published", action="store_true", help="also what the published rule says")
    parser.add_argument(
        *("-o", "--out"),
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help=f"write the report there ({', '.join(_SUFFIXES)}); may be given several times",
    )
    parser.add_argument(
        "--pictures",
        action="store_true",
        help="show each synthetic cine beside its nearest training cine in the HTML: it then holds training patients",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace reports that are there")
    parser.add_argument("--names", action="store_true", help="put names of files into the report")
    parser.add_argument("--fail-on-copies", action="store_true", help="exit with 1 where copies are found")
    parser.add_argument(
        "--attach",
        metavar="BUNDLE",
        help="write the encoder, the quantised training embeddings and, with --synthetic, this audit into a bundle",
    )
    parser.add_argument(
        "--without-encoder",
        action="store_true",
        help="of --attach: name the encoder that comes with the software instead of copying it into the bundle",
    )
    parser.add_argument("--seed", type=int, default=0, help="of random subsets (0)")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress bar")


def run(arguments: argparse.Namespace) -> int:
    """Audit, print, write, attach."""
    _check(arguments)
    for option in ("bundle", "attach"):
        if getattr(arguments, option) is not None:
            setattr(arguments, option, chosen_model(getattr(arguments, option)))
    from CardioDiTLib.privacy.embedding_io import EncoderHolder, needs_encoder, read_embeddings

    encoder = EncoderHolder(arguments.encoder)
    reference: ReferenceSet | None = None
    if arguments.bundle is not None:
        reference, encoder = _of_bundle(
            arguments.bundle, any(needs_encoder(path) for path in (arguments.validation, arguments.synthetic))
        )
    sets: dict[str, EmbeddingSet] = {}
    for part, what in (("train", "training"), ("validation", "validation"), ("synthetic", "synthetic")):
        source = getattr(arguments, part)
        if source is None and part == "validation" and _has_validation(arguments.train):
            source = arguments.train
        if source is not None:
            kind = "validation" if part == "validation" else "train"
            with _bar(f"embedding {what} cines", arguments.quiet) as tell:
                sets[part] = read_embeddings(source, what, encoder, part=kind, progress=tell)
    report = None
    if "synthetic" in sets:
        from CardioDiTLib.privacy.audit import audit_memorization

        report = audit_memorization(
            reference if reference is not None else sets["train"],
            sets.get("validation"),
            sets["synthetic"],
            false_alarm=arguments.false_alarm,
            calibration=arguments.calibration,
            published=arguments.published,
            names=arguments.names,
            seed=arguments.seed,
        )
    # attached first: a bundle that cannot be written leaves no reports that say it was
    if arguments.attach is not None:
        _attach(arguments, sets, report)
    if report is None:
        return 0
    from CardioDiTLib.privacy.report_text import to_text

    _write(arguments, report, sets)
    print(to_text(report, arguments.published), end="")
    return 1 if arguments.fail_on_copies and report.verdict == "copies" else 0


def _check(arguments: argparse.Namespace) -> None:
    if (arguments.train is None) == (arguments.bundle is None):
        raise CardioDiTError("The training set is missing, or there are two.", "Give --train or --bundle.")
    if arguments.synthetic is None and arguments.attach is None:
        raise CardioDiTError("There is nothing to audit.", "Give --synthetic.")
    if arguments.synthetic is None and arguments.out:
        raise CardioDiTError("Without synthetic cines there is no report.", "Give --synthetic, or leave --out out.")
    if arguments.attach is not None and arguments.train is None:
        raise CardioDiTError("Attaching needs the training set itself.", "Give --train.")
    if arguments.bundle is not None and arguments.encoder is not None:
        raise CardioDiTError("A bundle brings its own encoder.", "Leave --encoder out.")
    wrong = [path.name for path in arguments.out if path.suffix.lower() not in _SUFFIXES]
    if wrong:
        raise CardioDiTError(f"'{wrong[0]}' is no kind of report.", f"Use a name ending in {', '.join(_SUFFIXES)}.")
    refuse_existing(arguments.out, arguments.overwrite)
    for path in arguments.out:
        check_folder(path.parent)
    if arguments.pictures and not any(path.suffix.lower() == ".html" for path in arguments.out):
        raise CardioDiTError("Pictures are shown in HTML only.", "Add --out report.html.")


def _of_bundle(name: str, with_encoder: bool) -> tuple[ReferenceSet, EncoderHolder]:
    from CardioDiTLib.bundles.bundle import load_bundle
    from CardioDiTLib.privacy.embedding_io import EncoderHolder
    from CardioDiTLib.privacy.gate import load_encoder_of, load_reference

    bundle = load_bundle(name)
    reference = load_reference(bundle)
    return reference, EncoderHolder(load_encoder_of(bundle) if with_encoder else None)


def _has_validation(path: Path | None) -> bool:
    from CardioDiTLib.privacy.embedding_io import has_validation_part

    return path is not None and has_validation_part(path)


def _by_training(arguments: argparse.Namespace, train: EmbeddingSet, validation: EmbeddingSet | None) -> bool:
    """Whether the training patients have to calibrate, as an audit would decide it."""
    from CardioDiTLib.privacy.calibration import patients_needed

    def patients(one: EmbeddingSet) -> int:
        return len(one.values) if one.groups is None else len(set(one.groups))

    if validation is None or arguments.calibration != "auto":
        return validation is None or arguments.calibration == "leave-one-out"
    too_few = patients(validation) < patients_needed(arguments.false_alarm)
    return too_few and patients(train) >= patients_needed(arguments.false_alarm, "leave-one-out")


def _attach(arguments: argparse.Namespace, sets: dict[str, EmbeddingSet], report: AuditReport | None) -> None:
    from CardioDiTLib.bundles.registry import find_bundle
    from CardioDiTLib.privacy.attach import attach_privacy
    from CardioDiTLib.privacy.reference_set import ReferenceSet
    from CardioDiTLib.privacy.report_text import to_markdown

    # As in the audit itself: too few validation patients calibrate nothing at the rate that was asked for.
    validation = sets.get("validation")
    if report is not None:
        by_training = report.calibration == "leave-one-out"
    else:
        by_training = _by_training(arguments, sets["train"], validation)
    reference = ReferenceSet.build(sets["train"], None if by_training else validation)
    bundle = attach_privacy(
        find_bundle(arguments.attach),
        arguments.encoder,
        reference,
        audit=None if report is None else report.summary(),
        card=None if report is None else to_markdown(report, arguments.published),
        carry_encoder=not arguments.without_encoder,
    )
    print(f"{bundle.folder}: {reference.n_train} training embeddings attached.")


def _write(arguments: argparse.Namespace, report: AuditReport, sets: dict[str, EmbeddingSet]) -> None:
    from CardioDiTLib.files import atomic_path
    from CardioDiTLib.privacy.report_html import PictureOf, to_html
    from CardioDiTLib.privacy.report_text import save_csv, to_markdown

    pictures: PictureOf | None = None
    if arguments.pictures:
        train, synthetic = sets.get("train"), sets["synthetic"]
        real, made = None if train is None else train.picture, synthetic.picture
        if real is None or made is None:
            raise CardioDiTError("Pictures need the cines themselves.", "Give --train and --synthetic as cines.")
        pictures = lambda one: (made(one.index), real(one.nearest_index))  # noqa: E731 - a closure over both
    for path in arguments.out:
        suffix = path.suffix.lower()
        if suffix == ".csv":
            save_csv(report, path)
        elif suffix == ".html":
            to_html(report, path, pictures=pictures, published=arguments.published, about=_about(arguments))
        else:
            text = report.to_json() if suffix == ".json" else to_markdown(report, arguments.published)
            with atomic_path(path) as temporary:
                temporary.write_text(text, encoding="utf-8")


def _about(arguments: argparse.Namespace) -> dict[str, str]:
    """What was audited against what; names of files only where they were asked for, for they may be patients'."""
    entries = {}
    if arguments.bundle is not None:
        from CardioDiTLib.bundles.bundle import load_bundle

        manifest = load_bundle(arguments.bundle).manifest
        entries["model"] = f"{manifest.name} {manifest.version}"
        entries["training set"] = "the training embeddings that this model carries"
    for option, what in (("train", "training set"), ("validation", "other real patients"), ("synthetic", "synthetic")):
        path = getattr(arguments, option)
        if path is not None:
            kind = "folder" if path.is_dir() else "training pack or embeddings"
            entries[what] = f"'{path.name}' ({kind})" if arguments.names else f"a {kind} (--names shows its name)"
    return entries


class _bar:
    """A progress bar that appears where somebody looks and something is told."""

    def __init__(self, what: str, quiet: bool) -> None:
        from tqdm import tqdm

        self._bar = tqdm(
            desc=what, unit="cine", file=sys.stderr, disable=True if quiet else None, leave=False, delay=0.5
        )

    def __enter__(self) -> _bar:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def __call__(self, done: int, of: int) -> None:
        self._bar.total = of
        self._bar.update(done - self._bar.n)

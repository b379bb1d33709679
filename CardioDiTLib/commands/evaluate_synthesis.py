"""``cardiodit evaluate synthesis``: synthetic cines beside real ones; those of several models side by side."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from CardioDiTLib.commands.options import named_paths
from CardioDiTLib.commands.printing import in_options
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.io.output_set import check_folder, refuse_existing
from CardioDiTLib.reporting.tables import write_text

if TYPE_CHECKING:
    from CardioDiTLib.evaluation.cohort import Cohort
    from CardioDiTLib.evaluation.side_by_side import ModelComparison
    from CardioDiTLib.evaluation.synthesis_report import SynthesisReport

_CENTRES = ("picture", "heart")
_PARTS = ("all", "training", "validation")
_SUFFIXES = (".json", ".csv", ".html", ".md")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the action."""
    parser.add_argument(
        "--real", required=True, type=Path, metavar="PATH", help="folder of cines, or training pack (.npz)"
    )
    parser.add_argument(
        "--synthetic",
        nargs="+",
        required=True,
        metavar="[NAME=]FOLDER",
        help="folder of cines; several, each with the NAME of what made it, are put side by side",
    )
    parser.add_argument(
        "--real-labels",
        type=Path,
        metavar="FOLDER",
        help="labels, named like the cines; without it NAME_seg or NAME_labels beside them, or those of the pack",
    )
    parser.add_argument(
        "--synthetic-labels", type=Path, metavar="FOLDER", help="the same of the synthetic cines of one folder"
    )
    parser.add_argument("--real-part", choices=_PARTS, default="all", help="of a pack (all)")
    parser.add_argument("--centre", choices=_CENTRES, default="picture", help="where the heart box lies (picture)")
    parser.add_argument(
        "--stack-covers-heart",
        action=argparse.BooleanOptionalAction,
        help="take ventricles that reach the first or the last slice for complete; default: at the base only, "
        "with 55 mm labelled, in both cohorts",
    )
    parser.add_argument("--neighbours", type=int, default=5, metavar="K", help="of precision and recall (5)")
    parser.add_argument("--resamples", type=int, default=500, metavar="N", help="random halves for the floors (500)")
    parser.add_argument("--seed", type=int, default=0, help="of the resampling (0)")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write everything there, as JSON")
    parser.add_argument("--markdown", type=Path, metavar="OUT", help="write tables there, for a model card")
    parser.add_argument("--csv", type=Path, metavar="OUT", help="write one row a number there")
    parser.add_argument("--html", type=Path, metavar="OUT", help="write one page with pictures of all numbers there")
    parser.add_argument(
        *("-o", "--out"),
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help=f"write the report there, as its name ends ({', '.join(_SUFFIXES)}); may be given several times",
    )
    parser.add_argument("--names", action="store_true", help="put names of folders into the report")
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there")


def run(arguments: argparse.Namespace) -> int:
    """Measure, compare, print, write."""
    from tqdm import tqdm

    from CardioDiTLib.evaluation.side_by_side import ModelComparison, compare_models
    from CardioDiTLib.evaluation.synthesis import evaluate_synthesis

    wrong = [path.name for path in arguments.out if path.suffix.lower() not in _SUFFIXES]
    if wrong:
        raise CardioDiTError(f"'{wrong[0]}' is no kind of report.", f"Use a name ending in {', '.join(_SUFFIXES)}.")
    outputs = _outputs(arguments)
    refuse_existing(outputs, arguments.overwrite)
    for path in outputs:
        check_folder(path.parent)
    real, models = _real(arguments), _synthetic(arguments)
    total = sum(len(cohort.items) for cohort in (real, *models.values()))
    with tqdm(total=total, unit="cine", disable=None, leave=False) as bar:
        settings: dict[str, Any] = {
            "neighbours": arguments.neighbours,
            "resamples": arguments.resamples,
            "seed": arguments.seed,
            "centre": arguments.centre,
            "stack_covers_heart": arguments.stack_covers_heart,
            "progress": lambda name, done, of: bar.update(),
        }
        found: SynthesisReport | ModelComparison
        if len(models) > 1:
            found = compare_models(real, models, **settings)
        else:
            found = evaluate_synthesis(real, next(iter(models.values())), **settings)
    for path, suffix in outputs.items():
        _write(found, path, suffix)
    if isinstance(found, ModelComparison):
        shown, reports = found.to_text(), found.reports
    else:
        from CardioDiTLib.evaluation.tables import to_text

        shown, reports = to_text(found), {"synthetic": found}
    print(in_options(shown, arguments), end="")
    bare = [name for name, report in reports.items() if not report.n_synthetic_labelled]
    if not next(iter(reports.values())).n_real_labelled:
        bare.insert(0, "real")
    if bare:
        print(
            f"note: no {' and no '.join(bare)} cine has labels, so nothing could be measured on "
            f"{'them' if len(bare) == 1 else 'any'}. Make labels beside each cine with "
            "'cardiodit segment NAME.nii.gz NAME_seg.nii.gz', then run this again."
        )
    return 0


def _real(arguments: argparse.Namespace) -> Cohort:
    from CardioDiTLib.evaluation.cohort import cohort_from_folder, cohort_from_pack

    if arguments.real.suffix.lower() == ".npz":
        if arguments.real_labels is not None:
            raise CardioDiTError("A training pack brings its own labels.", "Leave --real-labels out.")
        real = cohort_from_pack(arguments.real, arguments.real_part)
    else:
        if arguments.real_part != "all":
            raise CardioDiTError("Only a training pack has parts.", "Leave --real-part out.")
        real = cohort_from_folder(arguments.real, arguments.real_labels)
    # a folder may be called after a patient, and reports are passed on
    return real if arguments.names else replace(real, name="real")


def _synthetic(arguments: argparse.Namespace) -> dict[str, Cohort]:
    """What each model made, by its name; "synthetic" where there is one without a NAME."""
    from CardioDiTLib.evaluation.cohort import cohort_from_folder

    named = named_paths(arguments.synthetic)
    bare = any(path == Path(word) for word, path in zip(arguments.synthetic, named.values()))
    if len(named) == 1:
        ((name, path),) = named.items()
        shown = "synthetic" if bare and not arguments.names else name
        return {shown: replace(cohort_from_folder(path, arguments.synthetic_labels), name=shown)}
    if arguments.synthetic_labels is not None:
        raise CardioDiTError(
            "One folder of labels cannot belong to several folders of cines.",
            "Put the labels beside the cines, and leave --synthetic-labels out.",
        )
    if bare and not arguments.names:
        raise CardioDiTError(
            "Folders of several models need a name each: theirs may be a patient's, and reports are passed on.",
            "Write NAME=FOLDER, or add --names.",
        )
    return {name: replace(cohort_from_folder(path), name=name) for name, path in named.items()}


def _outputs(arguments: argparse.Namespace) -> dict[Path, str]:
    """Files to write, and as what."""
    named = {".json": arguments.json, ".md": arguments.markdown, ".csv": arguments.csv, ".html": arguments.html}
    outputs = {path: suffix for suffix, path in named.items() if path is not None}
    return outputs | {path: path.suffix.lower() for path in arguments.out}


def _write(found: SynthesisReport | ModelComparison, path: Path, suffix: str) -> None:
    from CardioDiTLib.evaluation import tables
    from CardioDiTLib.evaluation.report_html import to_html
    from CardioDiTLib.evaluation.side_by_side import ModelComparison

    if isinstance(found, ModelComparison):
        if suffix == ".csv":
            found.save_csv(path)
        elif suffix == ".html":
            found.to_html(path)
        else:
            write_text(found.to_json() if suffix == ".json" else found.to_markdown(), path)
    elif suffix == ".csv":
        tables.save_csv(found, path)
    elif suffix == ".html":
        to_html(found, path)
    else:
        write_text(tables.to_json(found) if suffix == ".json" else tables.to_markdown(found), path)

"""``cardiodit evaluate synthesis``: a synthetic cohort beside a real one, and beside what chance alone would make."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from CardioDiTLib.commands.printing import in_options
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.io.output_set import check_folder, refuse_existing

if TYPE_CHECKING:
    from CardioDiTLib.evaluation.synthesis_report import SynthesisReport

_CENTRES = ("picture", "heart")
_PARTS = ("all", "training", "validation")
_SUFFIXES = (".json", ".csv", ".html", ".md")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the action."""
    parser.add_argument(
        "--real", required=True, type=Path, metavar="PATH", help="folder of cines, or training pack (.npz)"
    )
    parser.add_argument("--synthetic", required=True, type=Path, metavar="FOLDER", help="folder of cines")
    parser.add_argument(
        "--real-labels",
        type=Path,
        metavar="FOLDER",
        help="labels, named like the cines; without it NAME_seg or NAME_labels beside them, or those of the pack",
    )
    parser.add_argument("--synthetic-labels", type=Path, metavar="FOLDER", help="the same of the synthetic cines")
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
    from CardioDiTLib.evaluation.cohort import cohort_from_folder, cohort_from_pack
    from CardioDiTLib.evaluation.synthesis import evaluate_synthesis
    from CardioDiTLib.evaluation.tables import to_text

    wrong = [path.name for path in arguments.out if path.suffix.lower() not in _SUFFIXES]
    if wrong:
        raise CardioDiTError(f"'{wrong[0]}' is no kind of report.", f"Use a name ending in {', '.join(_SUFFIXES)}.")
    outputs = _outputs(arguments)
    refuse_existing(outputs, arguments.overwrite)
    for path in outputs:
        check_folder(path.parent)
    if arguments.real.suffix.lower() == ".npz":
        if arguments.real_labels is not None:
            raise CardioDiTError("A training pack brings its own labels.", "Leave --real-labels out.")
        real = cohort_from_pack(arguments.real, arguments.real_part)
    else:
        if arguments.real_part != "all":
            raise CardioDiTError("Only a training pack has parts.", "Leave --real-part out.")
        real = cohort_from_folder(arguments.real, arguments.real_labels)
    synthetic = cohort_from_folder(arguments.synthetic, arguments.synthetic_labels)
    if not arguments.names:  # a folder may be called after a patient, and reports are passed on
        real, synthetic = replace(real, name="real"), replace(synthetic, name="synthetic")
    total = len(real.items) + len(synthetic.items)
    with tqdm(total=total, unit="cine", disable=None, leave=False) as bar:
        report = evaluate_synthesis(
            real,
            synthetic,
            neighbours=arguments.neighbours,
            resamples=arguments.resamples,
            seed=arguments.seed,
            centre=arguments.centre,
            stack_covers_heart=arguments.stack_covers_heart,
            progress=lambda name, done, of: bar.update(),
        )
    for path, suffix in outputs.items():
        _write(report, path, suffix)
    print(in_options(to_text(report), arguments), end="")
    bare = [what for what, n in (("real", report.n_real_labelled), ("synthetic", report.n_synthetic_labelled)) if not n]
    if bare:
        print(
            f"note: no {' and no '.join(bare)} cine has labels, so nothing could be measured on "
            f"{'them' if len(bare) == 1 else 'any'}. Make labels beside each cine with "
            "'cardiodit segment NAME.nii.gz NAME_seg.nii.gz', then run this again."
        )
    return 0


def _outputs(arguments: argparse.Namespace) -> dict[Path, str]:
    """Files to write, and as what."""
    named = {".json": arguments.json, ".md": arguments.markdown, ".csv": arguments.csv, ".html": arguments.html}
    outputs = {path: suffix for suffix, path in named.items() if path is not None}
    return outputs | {path: path.suffix.lower() for path in arguments.out}


def _write(report: SynthesisReport, path: Path, suffix: str) -> None:
    from CardioDiTLib.evaluation.report_html import to_html
    from CardioDiTLib.evaluation.tables import save_csv, to_json, to_markdown
    from CardioDiTLib.reporting.tables import write_text

    if suffix == ".csv":
        save_csv(report, path)
    elif suffix == ".html":
        to_html(report, path)
    else:
        write_text(to_json(report) if suffix == ".json" else to_markdown(report), path)

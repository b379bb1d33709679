"""``cardiodit evaluate``: compare insertion points with labelled ones, or a synthetic cohort with a real one."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

from CardioDiTLib.cine import LandmarkTrack
from CardioDiTLib.commands import evaluate_synthesis
from CardioDiTLib.commands.options import named_paths, positive
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.io.output_set import check_folder, refuse_existing
from CardioDiTLib.landmarks.files import SUFFIXES, load_landmarks
from CardioDiTLib.landmarks.metrics import LEVELS, Estimate, LandmarkScores, evaluate_landmarks
from CardioDiTLib.landmarks.pitfalls import PitfallReport, compare_metrics
from CardioDiTLib.reporting.tables import write_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command and of all its actions."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, text, add, run_action in (
        ("landmarks", "compare insertion points with labelled ones", _add_landmark_arguments, _run_landmarks),
        (
            "synthesis",
            "compare synthetic cines with real ones",
            evaluate_synthesis.add_arguments,
            evaluate_synthesis.run,
        ),
    ):
        part = actions.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        add(part)
        part.set_defaults(run_action=run_action)


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked."""
    return int(arguments.run_action(arguments))


def _add_landmark_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the action."""
    parser.add_argument(
        "--predicted",
        nargs="+",
        required=True,
        metavar="[NAME=]PATH",
        help="file or folder of landmark files (.csv, .json); several are ranked against each other",
    )
    parser.add_argument("--truth", required=True, type=Path, metavar="PATH", help="file, or folder with the same names")
    parser.add_argument("--threshold-mm", type=positive, default=15.0, metavar="MM", help="a hit is this near (15)")
    parser.add_argument("--cap-mm", type=positive, default=50.0, metavar="MM", help="what a miss costs (50)")
    parser.add_argument(
        "--labelled-frames-only", action="store_true", help="leave frames out that have no label at all"
    )
    parser.add_argument(
        "--patient-separator",
        default="_",
        metavar="TEXT",
        help="files of one patient have the same name up to this (_); intervals come from resampling patients",
    )
    parser.add_argument("--resamples", type=int, default=2000, metavar="N", help="for the intervals (2000)")
    parser.add_argument("--seed", type=int, default=0, help="of the resampling (0)")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write everything there, as JSON")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it is there")


def _run_landmarks(arguments: argparse.Namespace) -> int:
    """Compare, print, write."""
    if arguments.json is not None:
        refuse_existing([arguments.json], arguments.overwrite)
        check_folder(arguments.json.parent)
    truth = _files(arguments.truth)
    methods = {name: _matching(path, truth) for name, path in named_paths(arguments.predicted).items()}
    true_tracks = [load_landmarks(path) for path in truth.values()]
    tracks = {name: [load_landmarks(path) for path in paths] for name, paths in methods.items()}
    separator = arguments.patient_separator
    groups = [stem.split(separator)[0] if separator else stem for stem in truth]
    results = {
        name: evaluate_landmarks(
            ours,
            true_tracks,
            threshold_mm=arguments.threshold_mm,
            cap_mm=arguments.cap_mm,
            groups=groups,
            labelled_frames_only=arguments.labelled_frames_only,
            n_resamples=arguments.resamples,
            seed=arguments.seed,
        )
        for name, ours in tracks.items()
    }
    report = None
    if len(tracks) > 1:
        if arguments.labelled_frames_only:
            tracks, true_tracks = _labelled_frames(tracks, true_tracks)
        report = compare_metrics(tracks, true_tracks, threshold_mm=arguments.threshold_mm, cap_mm=arguments.cap_mm)
    if arguments.json is not None:
        content: dict[str, Any] = {"scores": {name: scores.to_dict() for name, scores in results.items()}}
        content["comparison"] = None if report is None else report.to_dict()
        write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", arguments.json)
    for name, scores in results.items():
        _print_scores(name, scores)
    if report is not None:
        _print_report(report)
    return 0


def _files(path: Path) -> dict[str, Path]:
    """Landmark files by their name without suffix, sorted."""
    if path.is_file():
        return {path.stem: path}
    if not path.is_dir():
        raise CardioDiTError(f"There is no file or folder '{path}'.", "Check the path.")
    found: dict[str, Path] = {}
    for file in sorted(path.iterdir()):
        if file.suffix.lower() not in SUFFIXES or file.name.startswith("."):
            continue
        if file.stem in found:
            raise CardioDiTError(f"'{path}' holds '{file.stem}' twice.", "Keep the .csv or the .json file.")
        found[file.stem] = file
    if not found:
        raise CardioDiTError(f"'{path}' holds no landmark files.", "They end in .csv or .json.")
    return found


def _matching(path: Path, truth: dict[str, Path]) -> list[Path]:
    """The predicted file of each true one; two single files belong together whatever their names."""
    found = _files(path)
    if len(found) == len(truth) == 1:
        return list(found.values())
    missing = sorted(set(truth) - set(found))
    if missing:
        raise CardioDiTError(
            f"'{path}' lacks {len(missing)} of {len(truth)} files, '{missing[0]}' for one.",
            "Give a file for each, without points where nothing was found: what is missing must not count as good.",
        )
    extra = sorted(set(found) - set(truth))
    if extra:
        raise CardioDiTError(
            f"'{path}' holds {len(extra)} files that have no truth, '{extra[0]}' for one.", "Give the same files."
        )
    return [found[stem] for stem in truth]


def _labelled_frames(
    tracks: dict[str, list[LandmarkTrack]], truth: list[LandmarkTrack]
) -> tuple[dict[str, list[LandmarkTrack]], list[LandmarkTrack]]:
    """The same tracks without frames that have no label, and without tracks that have none."""
    kept = [true.found.any(axis=(1, 2)) for true in truth]

    def chosen(list_of_tracks: list[LandmarkTrack]) -> list[LandmarkTrack]:
        return [
            LandmarkTrack(
                track.points[frames],
                track.confidence[frames],
                track.frame_times[frames] - track.frame_times[frames][0],
            )
            for track, frames in zip(list_of_tracks, kept)
            if frames.any()
        ]

    return {name: chosen(ours) for name, ours in tracks.items()}, chosen(truth)


def _number(estimate: Estimate, digits: int) -> str:
    if math.isnan(estimate.value):
        return "-"
    interval = "" if math.isnan(estimate.low) else f" [{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"
    return f"{estimate.value:.{digits}f}{interval} (n {estimate.n})"


def _print_scores(name: str, scores: LandmarkScores) -> None:
    print(
        f"{name}: {scores.n_volumes} volumes of {scores.n_groups} patients, hits within {scores.threshold_mm:g} mm, "
        f"a miss costs {scores.cap_mm:g} mm"
    )
    for level in LEVELS:
        entry = scores[level]
        print(f"  {level}: {entry.n_labelled} labelled, {entry.n_predicted} predicted, {entry.n_hits} hits")
        for metric, pooled in entry.pooled.items():
            digits = 3 if metric in ("recall", "precision") else 2
            print(
                f"    {metric:<19} {_number(pooled, digits):<34} by volume {_number(entry.per_volume[metric], digits)}"
            )


def _print_report(report: PitfallReport) -> None:
    print("ranking by metric (value, rank)")
    for metric, row in report.values.items():
        cells = ", ".join(
            f"{name} {'-' if math.isnan(value) else format(value, '.3f')} ({report.ranks[metric][name]})"
            for name, value in row.items()
        )
        print(f"  {metric:<40} {cells}")
    if report.disagreements:
        print(f"{len(report.disagreements)} pairs of metrics have different winners")
    for finding in report.findings:
        print(f"  {finding.name}: {finding.sentence}")
    if report.assumed_grid:
        print("  the published upper bound was computed on a made-up grid of 1 mm pixels")

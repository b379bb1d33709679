"""``cardiodit cohort``: thousands of hearts, planned, made by any number of workers, checked, described."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from CardioDiTLib.commands.options import (
    MODEL_HELP,
    add_quality,
    chosen_model,
    count,
    positive,
    request_of,
    take_defaults,
)
from CardioDiTLib.commands.printing import bar, show
from CardioDiTLib.diffusion.sampler_names import SAMPLER_NAMES
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.generation.request import BACKENDS, DEFAULT_BUNDLE, PRECISIONS, QUANTITY_NAMES
from CardioDiTLib.progress import Progress

if TYPE_CHECKING:
    from CardioDiTLib.cohort.merging import Merged
    from CardioDiTLib.cohort.status import CohortStatus

_MEASURES = {"labels": ("labels",), "network": ("network",), "both": ("labels", "network"), "none": ()}
_CLUSTERS = ("slurm", "local")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command and of all its actions."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, text, add, run_action in (
        ("plan", "say what hearts a folder will hold", _add_plan, _plan),
        ("run", "make hearts that are planned; may be killed, started again, and started many times", _add_run, _run),
        ("status", "how far it is", _add_status, _status),
        ("merge", "check all shards; write manifest, audit, contact sheet and data card", _add_merge, _merge),
        ("export", "write chosen hearts as ordinary files", _add_export, _export),
    ):
        part = actions.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        part.add_argument("folder", metavar="FOLDER", type=Path, help="of the cohort")
        add(part)
        part.set_defaults(run_action=run_action)


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked."""
    return int(arguments.run_action(arguments))


def _add_plan(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-m", "--model", default=DEFAULT_BUNDLE, metavar="MODEL", help=MODEL_HELP)
    parser.add_argument("-n", "--count", type=count, metavar="N", help="hearts to draw")
    parser.add_argument(
        "--table", metavar="CSV", help="in place of it: a heart a row; columns pathology, seed, index, edv_ml, ..."
    )
    parser.add_argument("-s", "--seed", type=int, help="the same seed gives the same plan (default 0)")
    parser.add_argument(
        "-p", "--pathology", metavar="SHARES", help="shares of classes: NOR=0.4,DCM=0.6, or NOR,DCM for equal ones"
    )
    spread = "80:160 (even), 120+-25 (normal) or 120; of classes with commas: NOR=55:70,DCM=30+-8"
    parser.add_argument("--edv-ml", metavar="SPREAD", help=f"end-diastolic volumes of the left ventricle: {spread}")
    parser.add_argument("--ef-percent", metavar="SPREAD", help="its ejection fractions, likewise")
    parser.add_argument("--lv-mass-g", metavar="SPREAD", help="its masses, likewise")
    parser.add_argument("--lv-slices", metavar="SPREAD", help="slices that it covers, likewise")
    parser.add_argument("--shard-size", type=count, metavar="N", help="hearts of a shard (default 100)")
    add_quality(parser)
    parser.add_argument("--sampler", choices=SAMPLER_NAMES, help="in place of the preset's")
    parser.add_argument("-g", "--guidance", type=float, help="strength of guidance; 1 is none")
    parser.add_argument("--adjust", type=int, metavar="N", help="as of 'cardiodit generate' (default 3)")
    parser.add_argument("--slices", type=count, metavar="N", help="slices of the stack, for models of several grids")
    parser.add_argument("--frames", type=count, metavar="N", help="frames of the beat, likewise")
    parser.add_argument("--cycle-s", type=positive, metavar="S", help="seconds of a beat")
    parser.add_argument("--device", help="cpu or cuda; what a worker finds if not given")
    parser.add_argument("--precision", choices=PRECISIONS, help="what suits a worker's machine if not given")
    parser.add_argument("--backend", choices=BACKENDS, help="what networks run in (default torch)")
    parser.add_argument("--batch-size", type=count, metavar="N", help="hearts at a time, for GPUs (default 1)")
    parser.add_argument("--storage", choices=("nii.gz", "seq.nrrd"), help="files in a shard (default nii.gz)")
    parser.add_argument("--labels", action=argparse.BooleanOptionalAction, help="keep labels (where there are some)")
    parser.add_argument("--gate", action="store_true", help="draw hearts again that lie too near to a training patient")
    parser.add_argument("--false-alarm", type=float, metavar="RATE", help="of the gate and the audit (default 0.05)")
    parser.add_argument("--redraws", type=int, metavar="N", help="of the gate: at most, for a heart (default 20)")
    parser.add_argument(
        "--measure", choices=tuple(_MEASURES), help="function by the hearts' own labels, by the network, or both"
    )
    parser.add_argument(
        "--embed",
        action=argparse.BooleanOptionalAction,
        help="keep what the audit needs of each heart (default where the model carries training embeddings)",
    )
    from CardioDiTLib.cohort.planning import PlanRequest

    take_defaults(parser, PlanRequest)


def _plan(arguments: argparse.Namespace) -> int:
    from CardioDiTLib.cohort.planning import PlanRequest, plan_cohort
    from CardioDiTLib.cohort.spread import Distributions, parse_shares, parse_spreads

    given = {name: text for name in QUANTITY_NAMES if (text := getattr(arguments, name)) is not None}
    drawn_from = Distributions(
        {} if arguments.pathology is None else parse_shares(arguments.pathology),
        {name: parse_spreads(text) for name, text in given.items()},
    )
    measure = None if arguments.measure is None else _MEASURES[arguments.measure]
    request = request_of(
        PlanRequest, arguments, bundle=chosen_model(arguments.model), drawn_from=drawn_from, measure=measure
    )
    done = plan_cohort(arguments.folder, request)
    plan = done.plan
    state = "planned" if done.new else "planned already, the very same"
    show(
        f"{plan.count} hearts of {plan.model} {plan.model_version} in {plan.shards} "
        f"shard{'' if plan.shards == 1 else 's'}: {state}."
    )
    for warning in done.warnings:
        show(f"note: {warning}", file=sys.stderr)
    show(f"Next: cardiodit cohort run {arguments.folder}")
    return 0


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--processes",
        type=_processes,
        default=1,
        metavar="N",
        help="workers on this machine, each pinned to its share of the cores; 'auto': one a GPU, else one a core (1)",
    )
    parser.add_argument("--minutes", type=positive, metavar="M", help="begin no heart that would not be done by then")
    parser.add_argument("--retry", action="store_true", help="try hearts again that failed")
    parser.add_argument("--verify", action="store_true", help="read all shards first, and make torn ones again")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress bar")
    cluster = parser.add_argument_group("on a cluster", "each job is a run of its own on the same folder")
    cluster.add_argument("--cluster", choices=_CLUSTERS, help="hand jobs to SLURM through submitit; local: to try it")
    cluster.add_argument("--print-sbatch", action="store_true", help="print a script for sbatch, and do nothing")
    cluster.add_argument("--jobs", type=count, default=1, metavar="N", help="jobs of the array (1)")
    cluster.add_argument("--cpus", type=count, default=8, metavar="N", help="cores of a job (8)")
    cluster.add_argument("--gpus", type=int, default=0, metavar="N", help="GPUs of a job (0)")
    cluster.add_argument("--memory-gb", type=count, metavar="GB", help="of a job (2 a core)")
    cluster.add_argument("--partition", metavar="NAME", help="of the cluster")
    cluster.add_argument("--account", metavar="NAME", help="whom the cluster charges")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--cores", help=argparse.SUPPRESS)


def _processes(text: str) -> int | None:
    return None if text == "auto" else count(text)


def _run(arguments: argparse.Namespace) -> int:
    if arguments.worker:
        return _work(arguments)
    from CardioDiTLib.cohort.plan import read_plan

    plan = read_plan(arguments.folder)
    if arguments.print_sbatch or arguments.cluster:
        return _on_cluster(arguments)
    if arguments.verify:
        _verify(arguments)
    from CardioDiTLib.cohort.processes import run_processes, seats
    from CardioDiTLib.cohort.status import cohort_status

    words = [*(["--minutes", f"{arguments.minutes:g}"] if arguments.minutes else [])]
    words += ["--retry"] if arguments.retry else []
    places = seats(arguments.processes, plan.device)
    with _cohort_bar(plan.count, arguments.quiet) as told:
        try:
            run_processes(arguments.folder, places, words, told=told)
        except BaseException:
            _say_where(cohort_status(arguments.folder), arguments, file=sys.stderr)
            raise
    status = cohort_status(arguments.folder)
    _say_where(status, arguments)
    return 0  # a heart that the gate refuses is an answer, not a problem of the run: engines of workflows go on


@contextmanager
def _cohort_bar(planned: int, quiet: bool) -> Iterator[Callable[[CohortStatus], None]]:
    """A bar on stderr, where somebody looks at a terminal, with the time that is left as the folder tells it."""
    from tqdm import tqdm

    from CardioDiTLib.cohort.telling import duration

    form = "{desc}{n_fmt}/{total_fmt} hearts |{bar}| {postfix}"
    with tqdm(total=planned, file=sys.stderr, disable=True if quiet else None, leave=False, bar_format=form) as drawn:

        def told(status: CohortStatus) -> None:
            at_work = sum(worker.alive for worker in status.workers)
            left = "" if math.isnan(status.seconds_left) else f", about {duration(status.seconds_left)} left"
            failed = f", {len(status.failed)} failed" if status.failed else ""
            drawn.set_postfix_str(f"{at_work} at work{left}{failed}", refresh=False)
            drawn.n = status.made + len(status.failed)
            drawn.refresh()

        yield told


def _work(arguments: argparse.Namespace) -> int:
    """One worker, which ends with whoever started it."""
    from CardioDiTLib.cohort.processes import pin

    pin([int(core) for core in arguments.cores.split(",")] if arguments.cores else [])
    from CardioDiTLib.cohort.running import run_cohort

    parent = os.getppid()
    run_cohort(
        arguments.folder,
        minutes=arguments.minutes,
        retry=arguments.retry,
        cancel=lambda: sys.platform != "win32" and os.getppid() != parent,
    )
    return 0


def _verify(arguments: argparse.Namespace) -> None:
    from CardioDiTLib.cohort.running import verify_shards

    with bar("verifying", "shard", quiet=arguments.quiet, leave=False) as tell:
        wrong = verify_shards(arguments.folder, lambda done, of: tell(Progress("verify", done, of)))
    for problem in wrong.values():
        show(f"{problem} It is made again.", file=sys.stderr)


def _say_where(status: CohortStatus, arguments: argparse.Namespace, file: Any = None) -> None:
    text = f"{status.made} of {status.planned} hearts are made"
    text += f", {len(status.failed)} failed" if status.failed else ""
    if status.complete:
        show(f"{text}. Next: cardiodit cohort merge {arguments.folder}", file=file)
    else:
        others = [f"{worker.host}:{worker.pid}" for worker in status.workers if worker.alive]
        held = f" {', '.join(others[:_NAMED])}{' and others' * (len(others) > _NAMED)} still at work." if others else ""
        show(f"{text}.{held} The same command goes on.", file=file)
    for failure in status.failed[:_SHOWN]:
        show(f"failed: heart {failure.number}: {failure.reason}", file=file)
    if status.failed:
        more = len(status.failed) - _SHOWN
        show(f"{f'and {more} more; ' if more > 0 else ''}--retry tries them again", file=file)


_SHOWN = 10
_NAMED = 3


def _on_cluster(arguments: argparse.Namespace) -> int:
    from CardioDiTLib.cohort.cluster import ClusterRequest, sbatch_script, submit

    request = request_of(ClusterRequest, arguments, folder=str(arguments.folder.resolve()))
    if arguments.print_sbatch:
        print(sbatch_script(request), end="")
        return 0
    for job in submit(request, arguments.cluster):
        show(job)
    show(f"Next: cardiodit cohort status {arguments.folder}")
    return 0


def _add_status(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="as JSON")


def _status(arguments: argparse.Namespace) -> int:
    from CardioDiTLib.cohort.status import cohort_status

    status = cohort_status(arguments.folder)
    if arguments.json:
        print(status.to_json(), end="")
        return 0
    from CardioDiTLib.cohort.telling import status_lines

    for line in status_lines(status):
        show(line)
    return 0


def _add_merge(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--partial", action="store_true", help="also where hearts are still missing")
    parser.add_argument("--real", type=Path, metavar="PATH", help="real cines to compare with: folder, or pack (.npz)")
    parser.add_argument("--evaluate", type=count, default=200, metavar="N", help="hearts that are compared (200)")
    parser.add_argument("--audit", action=argparse.BooleanOptionalAction, default=True, help="of the whole (yes)")
    parser.add_argument("--sheet", type=count, default=24, metavar="N", help="hearts on the contact sheet (24)")
    parser.add_argument("-s", "--seed", type=int, default=0, help="of what is chosen at random (0)")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress bar")


def _merge(arguments: argparse.Namespace) -> int:
    from CardioDiTLib.cohort.merging import MergeRequest, merge_cohort

    request = request_of(MergeRequest, arguments, folder=str(arguments.folder))
    with bar("{}", "", quiet=arguments.quiet, leave=False) as tell:
        merged: Merged = merge_cohort(request, progress=tell)
    for path in merged.files:
        show(path)
    for note in merged.notes:
        show(f"note: {note}", file=sys.stderr)
    return 0


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--numbers", metavar="LIST", help="hearts by number: 0-9,17")
    parser.add_argument("--seeds", metavar="LIST", help="hearts by seed, likewise")
    parser.add_argument("-o", "--out", type=Path, default=Path("out"), metavar="FOLDER", help="default: out")
    parser.add_argument("-f", "--formats", metavar="LIST", help="as of 'cardiodit generate' (default: as stored, json)")
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there")


def _export(arguments: argparse.Namespace) -> int:
    from CardioDiTLib.cohort.exporting import export_hearts

    if (arguments.numbers is None) == (arguments.seeds is None):
        raise CardioDiTError("It is not said which hearts are wanted.", "Give --numbers or --seeds.")
    formats = None if arguments.formats is None else tuple(arguments.formats.split(","))
    for path in export_hearts(
        arguments.folder,
        arguments.out,
        numbers=_ranges(arguments.numbers),
        seeds=_ranges(arguments.seeds),
        formats=formats,
        overwrite=arguments.overwrite,
    ):
        show(path)
    return 0


def _ranges(text: str | None) -> list[range] | None:
    if text is None:
        return None
    found = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise CardioDiTError(f"'{part.strip()}' is no number, and no range of numbers.", "Write 0-9,17.")
        found.append(range(int(first), int(last if dash else first) + 1))
    return found

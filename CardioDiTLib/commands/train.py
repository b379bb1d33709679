"""`cardiodit train`: the codec, latents, the transformer, or all of them, or the segmentation or landmark network, in
pieces of any length.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from CardioDiTLib.commands.options import positive

NETWORKS = ("segmentation", "landmarks", "encoder")
"""The small networks."""

STAGES = (
    *("vqgan", "decoder", "latents", "dit", "refiner", "all", "bundle", "detail", "few-steps"),
    *(f"{name}{end}" for name in NETWORKS for end in ("", "-bundle")),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument(
        "stage",
        choices=STAGES,
        help="'all' goes on with what is not done of the generator; 'bundle' and '...-bundle' write models; 'detail' "
        "fits the last filter of the pictures to what a bundle draws, 'few-steps' teaches it to draw in a few steps",
    )
    parser.add_argument("--config", type=Path, help="YAML settings, such as Resources/Training/acdc-mini.yaml")
    parser.add_argument("--data", type=Path, help="training pack (.npz) made by 'cardiodit prepare'")
    parser.add_argument("--out", type=Path, help="folder of the run; an earlier piece in it is continued")
    parser.add_argument(
        "--minutes", type=positive, help="stop with a checkpoint after this long; the same command goes on"
    )
    parser.add_argument(
        "--start-from",
        help="name or folder of a bundle whose codec is kept and whose transformer goes on; "
        "for 'segmentation' and 'landmarks', folder of a segmentation model",
    )
    parser.add_argument(
        "--recorded", type=Path, help="for 'segmentation': folder of ACDC, its volumes as recorded beside the pack"
    )
    parser.add_argument(
        "--cavities", type=Path, help="for 'segmentation': folder of slices with contours of the left cavity (.npz)"
    )
    parser.add_argument(
        "--bundle",
        type=Path,
        help="folder to write the model to (stages '...bundle'), or of the bundle (stages 'detail', 'few-steps')",
    )
    parser.add_argument("--describe", type=Path, help="JSON with the model's texts (stages '...bundle')")
    parser.add_argument("--card", type=Path, help="the model card, Markdown (stage 'bundle')")
    parser.add_argument("--overwrite", action="store_true", help="replace a model that lies there (stages '...bundle')")
    parser.add_argument(
        "--storage", default="int8", choices=("fp32", "fp16", "int8"), help="weights at rest (stages '...bundle')"
    )


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; returns the exit code."""
    from CardioDiTLib.errors import CardioDiTError

    if arguments.stage == "detail":
        return _fit_detail(arguments)
    for name, given in (("--config FILE", arguments.config), ("--out FOLDER", arguments.out)):
        if given is None:
            raise CardioDiTError(f"'train {arguments.stage}' needs {name}.", "See docs/training.md for the recipes.")
    if arguments.stage.partition("-")[0] in NETWORKS:
        return _run_network(arguments)
    if arguments.stage == "few-steps":
        return _teach_few_steps(arguments)
    if arguments.stage not in ("bundle", "dit"):
        _check_pack(arguments)
    from CardioDiTLib.training.config import read_config
    from CardioDiTLib.training.run import TrainingRun

    config = read_config(arguments.config)
    if arguments.stage == "bundle":
        from CardioDiTLib.training.export import export_bundle

        if arguments.bundle is None:
            raise CardioDiTError("There is no folder to write the bundle to.", "Add --bundle FOLDER.")
        print(
            export_bundle(
                config,
                arguments.out,
                arguments.bundle,
                describe=arguments.describe,
                card=arguments.card,
                storage=arguments.storage,
                overwrite=arguments.overwrite,
                start_from=arguments.start_from,
            )
        )
        return 0
    training = TrainingRun(config, arguments.data or Path(), arguments.out, arguments.start_from)
    done = (
        training.train_all(arguments.minutes)
        if arguments.stage == "all"
        else training.train(arguments.stage, arguments.minutes)
    )
    return _say(done)


def _fit_detail(arguments: argparse.Namespace) -> int:
    from CardioDiTLib.errors import CardioDiTError
    from CardioDiTLib.training.detail_fit import fit_detail

    _check_pack(arguments)
    if arguments.bundle is None:
        raise CardioDiTError("There is no bundle to fit the filter to.", "Add --bundle FOLDER.")
    spec = fit_detail(arguments.bundle, arguments.data)
    print(f"{arguments.bundle}: detail raised by up to {spec.cap:g}")
    return 0


def _teach_few_steps(arguments: argparse.Namespace) -> int:
    from CardioDiTLib.errors import CardioDiTError
    from CardioDiTLib.training.few_step_run import FewStepRun

    if arguments.bundle is None:
        raise CardioDiTError("There is no bundle to teach.", "Add --bundle FOLDER.")
    return _say(FewStepRun(arguments.config, arguments.bundle, arguments.out).train(arguments.minutes))


def _run_network(arguments: argparse.Namespace) -> int:
    """A small network: its training, or with '...-bundle' its model's folder."""
    from CardioDiTLib.errors import CardioDiTError
    from CardioDiTLib.training.network_run import TrainingInputs
    from CardioDiTLib.training.network_tasks import TASKS

    task, _, bundle = arguments.stage.partition("-")
    network = TASKS[task](arguments.config)
    if not bundle:
        _check_pack(arguments)
        inputs = TrainingInputs(arguments.start_from, arguments.recorded, arguments.cavities)
        return _say(network.train(arguments.data, arguments.out, arguments.minutes, inputs))
    if arguments.bundle is None:
        raise CardioDiTError("There is no folder to write the model to.", "Add --bundle FOLDER.")
    texts = {"describe": arguments.describe, "storage": arguments.storage, "overwrite": arguments.overwrite}
    print(network.export(arguments.out, arguments.bundle, **texts))
    return 0


def _check_pack(arguments: argparse.Namespace) -> None:
    from CardioDiTLib.errors import CardioDiTError

    if arguments.data is None or not arguments.data.is_file():
        raise CardioDiTError(
            f"There is no training pack at '{arguments.data}'.",
            "Make one with 'cardiodit prepare' and give it with --data.",
        )


def _say(done: bool) -> int:
    print("Finished." if done else "Not finished yet: the same command goes on from here.")
    return 0

"""`cardiodit train`: the codec, latents, the transformer, or all of them, or the segmentation or landmark network, in
pieces of any length.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from CardioDiTLib.commands.numbers import positive

STAGES = (
    "vqgan",
    "decoder",
    "latents",
    "dit",
    "refiner",
    "all",
    "bundle",
    "detail",
    "segmentation",
    "segmentation-bundle",
    "landmarks",
    "landmarks-bundle",
    "encoder",
    "encoder-bundle",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument(
        "stage",
        choices=STAGES,
        help="'all' goes on with what is not done of the generator; 'bundle' and '...-bundle' write models; 'detail' "
        "fits the last filter of the pictures to what a bundle draws",
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
        help="folder to write the model to (stages '...bundle'), or of the bundle (stage 'detail')",
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
    from CardioDiTLib.training.config import read_config
    from CardioDiTLib.training.run import TrainingRun

    if arguments.stage == "detail":
        return _fit_detail(arguments)
    for name, given in (("--config FILE", arguments.config), ("--out FOLDER", arguments.out)):
        if given is None:
            raise CardioDiTError(f"'train {arguments.stage}' needs {name}.", "See docs/training.md for the recipes.")
    if arguments.stage.startswith("encoder"):
        return _run_encoder(arguments)
    if arguments.stage.startswith("segmentation"):
        return _run_segmentation(arguments)
    if arguments.stage.startswith("landmarks"):
        return _run_landmarks(arguments)
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
    if arguments.stage != "dit":
        _check_pack(arguments)
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


def _run_segmentation(arguments: argparse.Namespace) -> int:
    from CardioDiTLib.training.segmentation_run import export_segmentation, read_segmentation_config, train_segmentation

    config = read_segmentation_config(arguments.config)
    if arguments.stage == "segmentation":
        _check_pack(arguments)
        return _say(
            train_segmentation(
                config,
                arguments.data,
                arguments.out,
                arguments.minutes,
                start_from=arguments.start_from,
                recorded=arguments.recorded,
                cavities=arguments.cavities,
            )
        )
    return _write_model(arguments, config, export_segmentation)


def _run_encoder(arguments: argparse.Namespace) -> int:
    from CardioDiTLib.training.encoder_run import export_encoder, read_encoder_config, train_encoder

    config = read_encoder_config(arguments.config)
    if arguments.stage == "encoder":
        _check_pack(arguments)
        return _say(train_encoder(config, arguments.data, arguments.out, arguments.minutes))
    return _write_model(arguments, config, export_encoder)


def _run_landmarks(arguments: argparse.Namespace) -> int:
    from CardioDiTLib.training.landmark_run import export_landmarks, read_landmark_config, train_landmarks

    config = read_landmark_config(arguments.config)
    if arguments.stage == "landmarks":
        _check_pack(arguments)
        return _say(train_landmarks(config, arguments.data, arguments.out, arguments.minutes, arguments.start_from))
    return _write_model(arguments, config, export_landmarks)


def _write_model(arguments: argparse.Namespace, config: Any, export: Callable[..., Path]) -> int:
    """The stages '...-bundle' of the small networks: one model's folder."""
    from CardioDiTLib.errors import CardioDiTError

    if arguments.bundle is None:
        raise CardioDiTError("There is no folder to write the model to.", "Add --bundle FOLDER.")
    texts = {"describe": arguments.describe, "storage": arguments.storage, "overwrite": arguments.overwrite}
    print(export(config, arguments.out, arguments.bundle, **texts))
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

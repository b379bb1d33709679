"""A bundle of published checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from CardioDiTLib.bundles.installation import remove_bundle
from CardioDiTLib.bundles.manifest_parts import Licence
from CardioDiTLib.bundles.registry import user_bundles_folder
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.progress import CancelSource, Stop
from CardioDiTLib.schema import Record

if TYPE_CHECKING:
    from CardioDiTLib.bundles.published_import import ImportReport

Storage = Literal["fp32", "fp16", "int8"]


@dataclass(frozen=True, kw_only=True)
class ImportRequest(Record):
    """An order for a bundle of published files.

    Args:
        stage1, stage1_config: Checkpoint of the codec, or the folder of its run, and its configuration.
        dit, dit_config: The same of the transformer; checkpoints of version 2 hold their configuration.
        out: Folder of the bundle; without it that of the user's bundles, under its name.
        name: Of the bundle; that of the folder if not given.
        spacing_mm, cycle_s, scale_factor, use_ema, class_names, licence, data_source, storage, quantised, overwrite:
            See `bundles.import_published`.
    """

    record_name = "request for an import"

    stage1: str
    stage1_config: str
    dit: str
    dit_config: str | None = None
    out: str | None = None
    name: str | None = None
    spacing_mm: tuple[float, float, float] | None = None
    cycle_s: float = 1.0
    scale_factor: float | None = None
    use_ema: bool = True
    class_names: tuple[str, ...] | None = None
    licence: Licence | None = None
    data_source: str = ""
    storage: Storage = "fp32"
    quantised: bool = True
    overwrite: bool = False


def run(request: ImportRequest, *, cancel: CancelSource = None) -> ImportReport:
    """Import.

    Args:
        request: The order.
        cancel: Asked once all is done; among the user's bundles nothing is left then.

    Raises:
        CardioDiTError: There is neither a folder nor a possible name, or as `import_published` does.
        Cancelled: `cancel` said so.
    """
    from CardioDiTLib.bundles.published_import import import_published

    if request.out is not None:
        destination = Path(request.out)
    elif request.name is None:
        raise CardioDiTError("The new bundle has neither a name nor a folder.", "Add --name or --out.")
    else:
        # the manifest refuses such names too, but only after the path has been made of it
        if Path(request.name).name != request.name or request.name.startswith("."):
            raise CardioDiTError(
                f"{request.name!r} cannot be the name of a bundle.", "Use letters, digits, dots and dashes."
            )
        destination = user_bundles_folder() / request.name
    report = import_published(
        request.stage1,
        request.stage1_config,
        request.dit,
        request.dit_config,
        destination,
        name=request.name,
        spacing_mm=request.spacing_mm,
        cycle_s=request.cycle_s,
        scale_factor=request.scale_factor,
        use_ema=request.use_ema,
        class_names=request.class_names,
        licence=request.licence,
        data_source=request.data_source,
        storage=request.storage,
        quantised=request.quantised,
        overwrite=request.overwrite,
    )
    stop = Stop(cancel)
    if request.out is None and stop.wanted():
        remove_bundle(report.name)
    stop.check()
    return report

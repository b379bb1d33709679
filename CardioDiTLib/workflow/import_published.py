"""A bundle of published checkpoints."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from CardioDiTLib.bundles.installation import remove_bundle
from CardioDiTLib.bundles.manifest_parts import Licence
from CardioDiTLib.bundles.registry import user_bundles_folder
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.progress import CancelSource, Stop
from CardioDiTLib.schema import Record

if TYPE_CHECKING:
    from CardioDiTLib.bundles.cardiodit_import import ImportReport

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

    def destination(self) -> Path:
        """Folder of the bundle.

        Raises:
            CardioDiTError: There is neither a folder nor a possible name.
        """
        if self.out is not None:
            return Path(self.out)
        if self.name is None:
            raise CardioDiTError("The new bundle has neither a name nor a folder.", "Add --name or --out.")
        # the manifest refuses such names too, but only after the path has been made of it
        if Path(self.name).name != self.name or self.name.startswith("."):
            raise CardioDiTError(
                f"{self.name!r} cannot be the name of a bundle.", "Use letters, digits, dots and dashes."
            )
        return user_bundles_folder() / self.name


def run(request: ImportRequest, *, cancel: CancelSource = None) -> ImportReport:
    """Import.

    Args:
        request: The order.
        cancel: Asked once all is done; among the user's bundles nothing is left then.

    Raises:
        CardioDiTError: As `ImportRequest.destination` and `import_published` do.
        Cancelled: `cancel` said so.
    """
    from CardioDiTLib.bundles.cardiodit_import import import_published

    destination = request.destination()
    own = ("stage1", "stage1_config", "dit", "dit_config", "out")
    options = {item.name: getattr(request, item.name) for item in fields(request) if item.name not in own}
    files = request.stage1, request.stage1_config, request.dit, request.dit_config
    report = import_published(*files, destination, **options)
    stop = Stop(cancel)
    if request.out is None and stop.wanted():
        remove_bundle(report.name)
    stop.check()
    return report

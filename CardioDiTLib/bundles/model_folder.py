"""A small model on disk: a folder with a description and files of weights, each with its fingerprint."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from CardioDiTLib.bundles.weights import read_weights
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.files import FileRecord, problem_of, record_of
from CardioDiTLib.schema import parse_json

_GET_AGAIN = "Get the model's folder again."


@dataclass(frozen=True)
class ModelFolder:
    """One kind of model folder: where it is looked for, and how it is read, verified and written.

    What stands in the description and which network it belongs to is the business of the room that uses it.

    Args:
        kind: Name of the embedded folder, ``Resources/Models/<kind>``.
        manifest_name: File of the description.
        noun: What users call it, such as "segmentation model".
        network_noun: What users call its network.

    Examples:
        >>> kind = ModelFolder("landmarks", "landmarks.json", "landmark model", "landmark network")
        >>> kind.embedded().name
        'landmarks'
    """

    kind: str
    manifest_name: str
    noun: str
    network_noun: str

    def embedded(self) -> Path:
        """Folder of the model that comes with the software; may not exist.

        In an installed extension it lies inside the package, in the source tree beside it.
        """
        package = Path(__file__).resolve().parents[1]
        inside = package / "Resources" / "Models" / self.kind
        return inside if inside.is_dir() else package.parent / "Resources" / "Models" / self.kind

    def find(self, folder: str | os.PathLike[str] | None, embedded: Path | None = None) -> Path:
        """The folder that was asked for.

        Args:
            folder: A folder; None for the embedded one.
            embedded: The embedded one, where it is not `embedded()`.

        Raises:
            CardioDiTError: It does not exist.
        """
        place = (embedded or self.embedded()) if folder is None else Path(folder)
        if folder is None and not (place / self.manifest_name).is_file():
            raise CardioDiTError(
                f"There are no weights of the {self.network_noun} on this machine.",
                "Give a model's folder as weights (--weights FOLDER), or train one as docs/training.md says.",
            )
        if not place.is_dir():
            raise CardioDiTError(f"'{place}' is no folder.", f"Give the folder of a {self.noun}.")
        return place

    def read_json(self, place: Path) -> Any:
        """What the description holds, unchecked.

        Raises:
            CardioDiTError: There is none, or it is damaged.
        """
        try:
            return parse_json((place / self.manifest_name).read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise CardioDiTError(
                f"'{place}' holds no {self.manifest_name}.", f"Give the folder of a {self.noun}."
            ) from error
        except (OSError, ValueError) as error:
            raise CardioDiTError(f"'{self.manifest_name}' in '{place}' cannot be read.", _GET_AGAIN) from error

    def verify(self, place: Path, files: Mapping[str, FileRecord], needed: tuple[str, ...]) -> None:
        """Compares every file with its fingerprint.

        Args:
            place: The folder.
            files: Fingerprints by file name, as the description has them.
            needed: Files that have to be among them.

        Raises:
            CardioDiTError: One is not listed, is missing or was changed.
        """
        for name in needed:
            if name not in files:
                raise CardioDiTError(f"'{self.manifest_name}' does not list {name}.", _GET_AGAIN)
        for name, record in files.items():
            problem = problem_of(place / name, record)
            if problem is not None:
                raise CardioDiTError(problem, _GET_AGAIN)

    def load_weights(self, network: nn.Module, path: Path, name: str) -> None:
        """Puts the weights of a file, every one and no other, into a network.

        Args:
            network: The network.
            path: The file; verify it first.
            name: Name of the model, for the error.

        Raises:
            CardioDiTError: The file is damaged or holds the weights of another network.
        """
        try:
            network.load_state_dict(read_weights(path))
        except RuntimeError as error:
            raise CardioDiTError(
                f"The weights in {path.name} do not fit the network of '{name}'.", _GET_AGAIN
            ) from error

    def write(
        self,
        destination: str | os.PathLike[str],
        fill: Callable[[Path], None],
        describe: Callable[[dict[str, FileRecord]], str],
        check: Callable[[Path], Any],
        *,
        overwrite: bool = False,
    ) -> Path:
        """Writes a folder; it appears under its name only once it is complete and has been opened.

        Args:
            destination: The folder to make.
            fill: Writes all files but the description into the folder it is given.
            describe: Takes the fingerprints of these files and gives the text of the description.
            check: Opens the finished folder, as a user would.
            overwrite: Replace a model of this kind that lies there. Any other folder is never replaced.

        Returns:
            The folder.

        Raises:
            CardioDiTError: Something lies there already, the model cannot be opened, or the disk is full.
        """
        final = Path(destination)
        self.refuse_what_is_there(final, overwrite)
        mark = uuid.uuid4().hex[:8]
        partial, old = final.with_name(f".{final.name}.{mark}.partial"), final.with_name(f".{final.name}.{mark}.old")
        try:
            partial.mkdir(parents=True)
            fill(partial)
            records = {path.name: record_of(path) for path in sorted(partial.iterdir())}
            (partial / self.manifest_name).write_text(describe(records), encoding="utf-8")
            check(partial)
            if final.exists():
                os.replace(final, old)
            try:
                os.replace(partial, final)
            except OSError:
                if old.exists():
                    os.replace(old, final)
                raise
        except OSError as error:
            raise CardioDiTError(
                f"The model '{final}' could not be written: {error.strerror or error}.",
                "Check the folder, its permissions and the free disk space.",
            ) from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)
            if final.exists():
                shutil.rmtree(old, ignore_errors=True)
        return final

    def refuse_what_is_there(self, final: Path, overwrite: bool) -> None:
        """Nothing that is no model of this kind is ever replaced, and a model only when asked to.

        Raises:
            CardioDiTError: Something lies there.
        """
        if not final.exists():
            return
        is_model = (final / self.manifest_name).is_file()
        if is_model and not overwrite:
            raise CardioDiTError(f"There is a model in '{final}' already.", "Choose another folder, or --overwrite.")
        if not is_model and (not final.is_dir() or any(final.iterdir())):
            raise CardioDiTError(f"'{final}' exists and is no {self.noun}.", "Choose another folder.")

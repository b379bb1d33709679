"""A model on disk: a folder with a manifest and the files that it lists, each with its fingerprint."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

from CardioDiTLib.bundles.manifest_parts import ManifestT, NetworkManifest
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.files import atomic_folder, problem_of, record_of
from CardioDiTLib.schema import parse_json

if TYPE_CHECKING:
    from torch import nn

_GET_AGAIN = "Get the model's folder again."


@dataclass(frozen=True)
class ModelFolder(Generic[ManifestT]):
    """One kind of model folder: how it is read, verified and written.

    Args:
        manifest: Record of its manifest.
        noun: What users call it, such as "segmentation model".

    Examples:
        >>> from CardioDiTLib.bundles.manifest import GENERATOR
        >>> GENERATOR.manifest_name
        'bundle.json'
    """

    manifest: type[ManifestT]
    noun: str

    @property
    def one(self) -> str:
        """The noun with its article."""
        return f"{'an' if self.noun[0] in 'aeiou' else 'a'} {self.noun}"

    @property
    def manifest_name(self) -> str:
        """File of the manifest."""
        return self.manifest.file_name

    def is_one(self, place: Path) -> bool:
        """Whether a folder is of this kind, damaged or not."""
        return (place / self.manifest_name).is_file()

    def read(self, place: Path) -> ManifestT:
        """The manifest of a folder; the other files are not looked at.

        Raises:
            CardioDiTError: There is none, or it is damaged; the sentence names the folder.
        """
        if not self.is_one(place):
            raise CardioDiTError(f"'{place}' holds no {self.manifest_name}.", f"Give the folder of {self.one}.")
        try:
            text = (place / self.manifest_name).read_text(encoding="utf-8")
            values = parse_json(text, parse_constant=refuse_constant)
        except (OSError, ValueError) as error:
            raise CardioDiTError(
                f"The {self.manifest_name} of '{place.name}' cannot be read; it may be damaged.", _GET_AGAIN
            ) from error
        try:
            return self.manifest.from_dict(values)
        except CardioDiTError as error:
            raise CardioDiTError(f"'{place.name}': {error.message}", error.hint) from error

    def problems(self, place: Path, manifest: ManifestT) -> list[str]:
        """What is wrong with the files of a folder, one sentence each; empty where all is well."""
        absent = [name for name in manifest.needed_files if name not in manifest.files]
        found = [f"{name} is not in the manifest's list of files." for name in absent]
        problems = (problem_of(place / name, record) for name, record in manifest.files.items())
        return found + [problem for problem in problems if problem is not None]

    def verify(self, place: Path, manifest: ManifestT) -> None:
        """Compare every file with its fingerprint.

        Raises:
            CardioDiTError: One is not listed, is missing or was changed.
        """
        for problem in self.problems(place, manifest):
            raise self._damaged(manifest, problem)

    def checked_file(self, place: Path, manifest: ManifestT, name: str) -> Path:
        """Path of one file, after it was compared with its fingerprint.

        Raises:
            CardioDiTError: It is not listed, is missing or was changed.
        """
        record = manifest.files.get(name)
        if record is None:
            raise self._damaged(manifest, f"{name} is not in the manifest's list of files.")
        problem = problem_of(place / name, record)
        if problem is not None:
            raise self._damaged(manifest, problem)
        return place / name

    def describe(self, place: Path, manifest: ManifestT) -> None:
        """Write the manifest of a folder whose other files are there, with the fingerprint of each.

        Raises:
            CardioDiTError: A file that the manifest needs is not among them, or it holds what JSON does not have.
        """
        records = {path.name: record_of(path) for path in sorted(place.iterdir()) if path.name != self.manifest_name}
        absent = sorted(set(manifest.needed_files) - set(records))
        if absent:
            raise CardioDiTError(
                f"The manifest of '{manifest.name}' needs {', '.join(absent)}, which nobody gave.",
                "Give these files, or leave the section that names them out.",
            )
        (place / self.manifest_name).write_text(manifest.with_files(records).to_json(), encoding="utf-8")

    def write(
        self,
        destination: str | os.PathLike[str],
        manifest: ManifestT,
        fill: Callable[[Path], None],
        check: Callable[[Path], Any],
        *,
        overwrite: bool = False,
    ) -> Path:
        """Write a folder; it appears under its name only once it is complete and has been opened.

        Args:
            destination: The folder to make.
            manifest: Everything but ``files``, which is filled in.
            fill: Writes all files but the manifest into the folder it is given.
            check: Opens the finished folder, as a user would.
            overwrite: Replace a model of this kind that lies there. Any other folder is never replaced.

        Returns:
            The folder.

        Raises:
            CardioDiTError: Something lies there already, the model cannot be opened, or the disk is full.
        """
        final = Path(destination)
        self.check_destination(final, overwrite)
        with atomic_folder(final) as partial:
            fill(partial)
            self.describe(partial, manifest)
            check(partial)
        return final

    def check_destination(self, final: Path, overwrite: bool) -> None:
        """Nothing that is no model of this kind is ever replaced, and a model only when asked to.

        Raises:
            CardioDiTError: Something lies there.
        """
        if not final.exists():
            return
        if self.is_one(final):
            if not overwrite:
                raise CardioDiTError(
                    f"There is {self.one} in '{final}' already.", "Choose another folder, or ask for overwriting."
                )
        elif not final.is_dir() or any(final.iterdir()):
            raise CardioDiTError(f"'{final}' exists and is no {self.noun}.", "Choose another folder, or move it away.")

    def _damaged(self, manifest: ManifestT, problem: str) -> CardioDiTError:
        return CardioDiTError(f"The {self.noun} '{manifest.name}' is damaged: {problem}", _GET_AGAIN)


NetworkManifestT = TypeVar("NetworkManifestT", bound=NetworkManifest)
NetworkT = TypeVar("NetworkT", bound="nn.Module")


@dataclass(frozen=True)
class NetworkFolder(ModelFolder[NetworkManifestT]):
    """Folder of a model of one network, which may come with the software.

    Args:
        kind: Name of the embedded folder, ``Resources/Models/<kind>``.
        network_noun: What users call the network.
    """

    kind: str
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
        if folder is None and not self.is_one(place):
            raise CardioDiTError(
                f"There are no weights of the {self.network_noun} on this machine.",
                "Give a model's folder as weights (--weights FOLDER), or train one as docs/training.md says.",
            )
        if not place.is_dir():
            raise CardioDiTError(f"'{place}' is no folder.", f"Give the folder of {self.one}.")
        return place

    def load(self, place: Path, make: Callable[[NetworkManifestT], NetworkT]) -> tuple[NetworkT, NetworkManifestT]:
        """Open a folder and verify every file before a weight is used.

        Args:
            place: As `find` gives it.
            make: Makes the network of a manifest.

        Returns:
            The network, float32, in evaluation mode, on the CPU; the manifest.

        Raises:
            CardioDiTError: It is damaged or changed, or its weights do not fit its network.
        """
        manifest = self.read(place)
        self.verify(place, manifest)
        network = make(manifest)
        self.load_weights(network, place / manifest.weights_name, manifest.name)
        return network.eval(), manifest

    def load_weights(self, network: nn.Module, path: Path, name: str) -> None:
        """Put the weights of a file, every one and no other, into a network.

        Args:
            network: The network.
            path: The file; verify it first.
            name: Name of the model, for the error.

        Raises:
            CardioDiTError: The file is damaged or holds the weights of another network.
        """
        from CardioDiTLib.bundles.weights import load_strictly, read_weights

        load_strictly(network, read_weights(path), f"'{path.name}' of the {self.noun} '{name}'")

    def write_network(
        self,
        destination: str | os.PathLike[str],
        manifest: NetworkManifestT,
        network: Any,
        check: Callable[[Path], Any],
        *,
        storage: str,
        overwrite: bool,
    ) -> Path:
        """Write a network's folder, see `write`.

        Args:
            destination: The folder to make.
            manifest: Everything but ``files``, which is filled in.
            network: The network, with the weights to be used in place; its `config` is that of the manifest.
            check: Opens the folder before it gets its name.
            storage: "fp32", "fp16" or "int8".
            overwrite: Replace a model that lies there. A folder that is no model of this kind is never replaced.

        Returns:
            The folder.

        Raises:
            CardioDiTError: As `write`, and where network and manifest differ.
        """
        from CardioDiTLib.bundles.weights import write_weights

        self.check_destination(Path(destination), overwrite)
        if network.config != manifest.network:
            raise CardioDiTError("The network is not the one of its description.", "Make them agree.")
        return self.write(
            destination,
            manifest,
            lambda place: write_weights(place / manifest.weights_name, network.state_dict(), storage),
            check,
            overwrite=overwrite,
        )


def refuse_constant(text: str) -> NoReturn:
    """For `parse_json`: NaN and infinities are no JSON.

    Raises:
        ValueError: Always.
    """
    raise ValueError(f"{text} is not JSON")

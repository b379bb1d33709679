"""Tensors into a safetensors file with the permissions of any other file."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def save_tensors(
    tensors: Mapping[str, torch.Tensor], path: str | os.PathLike[str], metadata: Mapping[str, str] | None = None
) -> None:
    """Write a safetensors file that whoever may read the files beside it may read too.

    The library's own writer leaves files that only their owner can read, whatever the umask: a model in a shared
    folder could be listed by everybody and loaded by nobody.

    Args:
        tensors: Tensors by name.
        path: The file; replaced where there is one.
        metadata: Texts for the header.

    Raises:
        OSError, SafetensorError: The file cannot be written.
    """
    from safetensors.torch import save_file

    final = Path(path)
    final.touch()  # made as the umask says: there is no other way to ask for it that threads could not disturb
    mode = stat.S_IMODE(final.stat().st_mode)
    save_file(dict(tensors), final, metadata=None if metadata is None else dict(metadata))
    final.chmod(mode)

"""Networks only: the slice codec (`VQGAN`), the diffusion transformer over space and time (`DiT4D`), and the audit's
encoders, ours of whole cines (`CineEmbedding`) and the published one of volumes (`VolumeEmbedding`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from CardioDiTLib.lazy import imported

if TYPE_CHECKING:
    from CardioDiTLib.models.contrastive_cine import CineEmbedding
    from CardioDiTLib.models.dar_encoder import VolumeEmbedding
    from CardioDiTLib.models.dit import DiT4D
    from CardioDiTLib.models.vqgan import VQGAN

__all__ = ["VQGAN", "CineEmbedding", "DiT4D", "VolumeEmbedding"]

_HOMES = {
    "CineEmbedding": "CardioDiTLib.models.contrastive_cine",
    "DiT4D": "CardioDiTLib.models.dit",
    "VQGAN": "CardioDiTLib.models.vqgan",
    "VolumeEmbedding": "dar_encoder",
}


def __getattr__(name: str) -> Any:
    """Import torch and MONAI only when a network is asked for."""
    return imported(__name__, _HOMES, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

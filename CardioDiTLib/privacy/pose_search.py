"""Embeddings of a cine in the poses in which it may be a copy: in all of them, or in those that look likeliest.

A pose is a disc about a place where the heart may lie, in a turn, through some slices of the stack: what lies beyond
the disc depends on the field of view and on the turn; it is 140 mm wide, since crops are seldom tighter. References
are seen through the same disc, in one place, one turn and one range of slices.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from CardioDiTLib.models.contrastive_cine import CineEmbedding
from CardioDiTLib.privacy.cine_canvas import DISC_MM, MIDDLE, CineCanvas, Place, levelled
from CardioDiTLib.privacy.nearest import directions

Angles = NDArray[np.floating]
"""Radians."""

TURNS = 12
"""So many turns, evenly over the circle. About the likeliest place there are as many again, half a step on: an error of
fifteen degrees lowers the similarity of recorded images."""

_ABOUT_MM = 6.0
_ABOUT: tuple[tuple[Place, bool], ...] = (((1, 0), False), ((-1, 0), False), ((0, 1), True), ((0, -1), True))
"""Where else the middle of the heart may lie, about the likeliest place, and whether turned half a step: what finds it
is wrong by 4 mm in the median."""


_GLANCE_SLICES = 4

_GLANCED = 4
"""So many of the poses are embedded in full, of as many references."""


@dataclass(frozen=True, eq=False)
class _View:
    """What is looked at about one place: sign of the brightness, turns, and ranges of slices."""

    place: Place
    sign: float
    angles: Angles
    ranges: tuple[tuple[int, int], ...]


def embed_poses(network: CineEmbedding, canvas: CineCanvas, turns: int = TURNS) -> torch.Tensor:
    """Embeddings of a cine in all its poses.

    Args:
        network: In evaluation mode.
        canvas: The cine.
        turns: How many turns of each place, the first of 0 degrees; with 1, each place in one pose alone. With more,
            turns between the turns, brightness inverted (the network takes bright for bright) and every range of
            slices are asked about too, and, where the heart had to be looked for, places about the likeliest one.

    Returns:
        (poses, D), the one that stands for the cine first.
    """
    with torch.inference_mode():
        return torch.cat(
            [
                _embedded(network, *_seen(network, canvas, view), view.angles, view.ranges)
                for view in _views(canvas, turns)
            ]
        )


class PoseSearch:
    """A cine that was glanced at in all poses of `embed_poses`, by a few slices and one mirror image.

    Args:
        network, canvas, turns: As `embed_poses` takes them.
    """

    def __init__(self, network: CineEmbedding, canvas: CineCanvas, turns: int = TURNS) -> None:
        self._network, self._views = network, _views(canvas, turns)
        with torch.inference_mode():
            self._seen = [_seen(network, canvas, view) for view in self._views]
            self._rough = np.concatenate([_glance(network, *one, v) for one, v in zip(self._seen, self._views)])
        self._made: dict[int, torch.Tensor] = {}

    def likeliest(self, references: NDArray[np.floating]) -> torch.Tensor:
        """Embeddings of the cine in those of its poses in which it most looks like one of some references.

        The likeliest pose of each of the nearest references, embedded as `embed_poses` does it.

        Args:
            references: (m, D) what the cine will be compared with.

        Returns:
            (poses, D), the one that stands for the cine first. All of them are among those of `embed_poses`.
        """
        chosen = _likeliest(self._rough @ directions(np.asarray(references)).T)
        begin = 0
        for (planes, shown), view in zip(self._seen, self._views):
            own = [n for n in chosen if begin <= n < begin + len(view.angles) and n not in self._made]
            if own:
                with torch.inference_mode():
                    angles = view.angles[np.array(own) - begin]
                    made = _embedded(self._network, planes, shown, angles, view.ranges)
                self._made.update(zip(own, made.chunk(len(own))))
            begin += len(view.angles)
        return torch.cat([self._made[n] for n in chosen])


def _views(canvas: CineCanvas, turns: int) -> list[_View]:
    """All that is looked at; the pose that stands for the cine comes first."""
    searched = turns > 1
    step = 2 * math.pi / turns
    angles = step * np.arange(turns)
    places, (first, *_) = canvas.places, canvas.ranges
    ranges = canvas.ranges if searched else (first,)
    views = []
    for number, place in enumerate(places):
        between = angles + step / 2 if searched and not number else angles[:0]
        views.append(_View(place, 1.0, np.concatenate([angles, between]), ranges))
    if searched:
        # The search for the heart uses its brightness: with inverted brightness the middle is the better estimate.
        views.append(_View(MIDDLE if MIDDLE in places else places[0], -1.0, angles, (first,)))
    if searched and MIDDLE not in places:
        for (x, y), half in _ABOUT:
            about = (places[0][0] + _ABOUT_MM * x, places[0][1] + _ABOUT_MM * y)
            views.append(_View(about, 1.0, angles + (step / 2 if half else 0.0), ranges))
    return views


def _seen(network: CineEmbedding, canvas: CineCanvas, view: _View) -> tuple[torch.Tensor, torch.Tensor]:
    """(1, Z, C, size, size) what the network sees, and (1, Z) which slices show anything.

    These planes are turned, not pictures: what the network computes of pictures first is the same in every turn.
    """
    mean, beat, inside = _disc(canvas, view.place, network.config.size, network.config.spacing_mm)
    return network.planes_of(torch.where(inside, view.sign * mean, -1.0), beat)


def _glance(network: CineEmbedding, planes: torch.Tensor, shown: torch.Tensor, view: _View) -> NDArray[np.float32]:
    """(turns, D) about what `_embedded` would give, as directions."""
    first, end = view.ranges[0]
    at = np.flatnonzero(shown[0, first:end].numpy()) + first
    if not len(at):
        at = np.arange(first, end)
    count = min(_GLANCE_SLICES, len(at))
    some = at[((np.arange(count) + 0.5) * len(at) / count).astype(int)]
    turned = torch.cat(list(_turned(planes[:, some], view.angles)))
    return directions(network.embed_planes(turned, shown[:, some].expand(len(turned), -1), mirrored=False).numpy())


def _likeliest(rough: NDArray[np.float32]) -> list[int]:
    """Numbers of the poses to embed in full, rising, the first among them.

    Args:
        rough: (poses, m) similarities.
    """
    best = rough.argmax(axis=0)
    nearest = np.argsort(-rough.max(axis=0), kind="stable")[:_GLANCED]
    return sorted({0, *(int(number) for number in best[nearest])})


def _embedded(
    network: CineEmbedding,
    planes: torch.Tensor,
    shown: torch.Tensor,
    angles: Angles,
    ranges: tuple[tuple[int, int], ...],
) -> torch.Tensor:
    """(turns x ranges, D)."""
    turned = torch.cat(list(_turned(planes, angles)))
    at = torch.arange(planes.shape[1])
    among = torch.stack([(at >= first) & (at < end) for first, end in ranges])
    if len(ranges) == 1 and bool(among.all()):
        return network.embed_planes(turned, shown.expand(len(turned), -1))
    return network.embed_planes(turned, (shown & among).expand(len(turned), -1, -1)).flatten(0, 1)


def _disc(
    canvas: CineCanvas, place: Place, size: int, spacing_mm: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(1, Z, size, size) mean and beat as `levelled` gives them, and (size, size) what lies in disc and picture."""
    along = (torch.arange(size) - (size - 1) / 2) * spacing_mm
    y, x = torch.meshgrid(along, along, indexing="ij")
    rows, columns = canvas.parts.shape[-2:]
    grid = torch.stack(
        [(x + place[0]) * 2 / (columns * canvas.spacing_mm[1]), (y + place[1]) * 2 / (rows * canvas.spacing_mm[0])], -1
    )
    seen = F.grid_sample(
        canvas.parts.flatten(0, 1)[None], grid[None], mode="bilinear", padding_mode="border", align_corners=False
    )[0].view(3, -1, size, size)
    inside = (grid.abs() <= 1).all(-1) & (x.square() + y.square() <= (DISC_MM / 2) ** 2)
    mean, beat = levelled(seen, inside)
    return mean[None], beat[None], inside


def _turned(planes: torch.Tensor, angles: Angles) -> Iterator[torch.Tensor]:
    """(1, Z, C, Y, X) -> the same turned, one by one."""
    flat = planes.flatten(1, 2)
    for angle in angles.tolist():
        if not angle:
            yield planes
            continue
        matrix = torch.tensor([[math.cos(angle), -math.sin(angle), 0.0], [math.sin(angle), math.cos(angle), 0.0]])
        grid = F.affine_grid(matrix[None], [1, 1, *planes.shape[-2:]], align_corners=False)
        # The rim of the square lies beyond the disc: it goes on into the corners.
        yield F.grid_sample(flat, grid, mode="bilinear", padding_mode="border", align_corners=False).view_as(planes)

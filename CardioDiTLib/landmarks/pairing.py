"""Bringing predicted and true tracks together."""

from __future__ import annotations

from collections.abc import Sequence

from CardioDiTLib.cine import LandmarkTrack
from CardioDiTLib.errors import CardioDiTError

Tracks = LandmarkTrack | Sequence[LandmarkTrack]


def paired_tracks(predicted: Tracks, truth: Tracks) -> list[tuple[LandmarkTrack, LandmarkTrack]]:
    """Check that two tracks, or two lists of them, belong together.

    Returns:
        Pairs (predicted, truth).

    Raises:
        CardioDiTError: Different numbers of tracks, none at all, or a different number of frames or slices.
    """
    ours = [predicted] if isinstance(predicted, LandmarkTrack) else list(predicted)
    theirs = [truth] if isinstance(truth, LandmarkTrack) else list(truth)
    if len(ours) != len(theirs):
        raise CardioDiTError(
            f"There are {len(ours)} predicted tracks and {len(theirs)} true ones.", "Give one for each, in one order."
        )
    if not ours:
        raise CardioDiTError("There are no landmark tracks to compare.", "Give at least one.")
    for index, (one, other) in enumerate(zip(ours, theirs)):
        if one.points.shape != other.points.shape:
            shapes = [f"{track.n_frames} frames and {track.n_slices} slices" for track in (one, other)]
            raise CardioDiTError(
                f"Track {index} has {shapes[0]}, its truth has {shapes[1]}.",
                "Both must be on the frames and slices of one cine.",
            )
    return list(zip(ours, theirs))

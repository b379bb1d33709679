"""New hearts from pairs of patients: B's ventricles in A's chest.

B's pictures are led to A's ventricles at both phases (`morph.find_morph`) and take the place of A's heart, with a soft
edge just outside it. So a model sees a heart in many surroundings and surroundings with many hearts, and learns that
the two do not belong together; where there are few patients this is what it would learn by heart first.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy import ndimage

from CardioDiTLib.data.cine_from_pair import PosedPair
from CardioDiTLib.data.morph import blood_gain, find_morph, moved

_FOLD_FREE = 0.95
"""Share of the way to A that B must go without a fold: less would leave B's heart beside the place of A's."""

_MARGIN_PX, _EDGE_PX = 2.0, 4.0
"""How far B's picture reaches beyond the ventricles in full, and how far on from there it fades."""


def transplant(host: PosedPair, donor: PosedPair) -> PosedPair | None:
    """The host with the donor's ventricles.

    Args:
        host: The patient whose surroundings, motion and size are kept.
        donor: The patient whose ventricles are taken, on the same grid.

    Returns:
        A pair in the host's pose, blood as bright as the host's; slices in which one of the two has no ventricle are
        the host's own. None where the donor's ventricles do not come to the host's without a fold.
    """
    morph = find_morph(donor, host)
    if morph.most < _FOLD_FREE:
        return None
    gain = blood_gain(donor) / blood_gain(host)
    images, labels = host.images.copy(), host.labels.copy()
    for phase in range(2):
        picture, names = moved(donor, phase, torch.from_numpy(morph.fields[phase]))
        shared = (host.labels[phase] > 0).any(axis=(1, 2)) & (donor.labels[phase] > 0).any(axis=(1, 2))
        for z in np.flatnonzero(shared):
            away = ndimage.distance_transform_edt(host.labels[phase, z] == 0)
            share = np.clip(1 - (away - _MARGIN_PX) / _EDGE_PX, 0, 1)
            blend = share * gain * picture[z] + (1 - share) * host.images[phase, z]
            images[phase, z] = np.clip(np.rint(blend), 0, 255)
            labels[phase, z] = np.where(share > 0.5, names[z], 0)
    return replace(host, images=images, labels=labels)

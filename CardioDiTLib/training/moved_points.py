"""Points that move along with an augmented picture."""

from __future__ import annotations

import torch


def moved_points(points_mm: torch.Tensor, places: torch.Tensor, spacing_mm: float) -> torch.Tensor:
    """Where points of the picture that went in lie in the one that came out.

    Args:
        points_mm: (N, 2, 2): first and second point, (x, y) in mm from the middle of the picture that went in; NaN
            where there is none.
        places: (N, 2, S, S): where each pixel was taken from, (x, y) mm, as `PictureAugmenter.with_places` gives them.
        spacing_mm: Pixel spacing of the picture that came out.

    Returns:
        (N, 2, 2) pixels (x, y) of the picture that came out; NaN for points outside it. Where the picture was mirrored,
        first and second change places: a walk around the left ventricle meets them in the other order.
    """
    size = places.shape[-1]
    moved = torch.full_like(points_mm, float("nan"))
    for number, (points, place) in enumerate(zip(points_mm, places)):
        mirrored = False
        for kind, point in enumerate(points):
            if torch.isnan(point).any():
                continue
            nearest = int(((place - point[:, None, None]) ** 2).sum(0).argmin())
            y, x = divmod(nearest, size)
            # One Newton step with the slopes of the mapping there.
            inner_y, inner_x = min(max(y, 1), size - 2), min(max(x, 1), size - 2)
            slopes = torch.stack(
                [
                    (place[:, inner_y, inner_x + 1] - place[:, inner_y, inner_x - 1]) / 2,
                    (place[:, inner_y + 1, inner_x] - place[:, inner_y - 1, inner_x]) / 2,
                ],
                dim=1,
            )
            mirrored = bool(torch.linalg.det(slopes) < 0)
            step = torch.linalg.solve(slopes, point - place[:, y, x])
            if bool((step.abs() <= 1).all()):  # farther than a pixel from every pixel: outside
                moved[number, kind] = torch.tensor([x, y], dtype=moved.dtype) + step
        if mirrored:
            moved[number] = moved[number].flip(0)
    return moved

"""Draw the icon of the extension and of its module: the heart in short axis.

    python Resources/Icons/make_icon.py

Bright blood in the left ventricle, the ring of muscle around it, the right ventricle as a crescent on the left of the
picture, and the two insertion points where its wall meets the ring.
"""

from __future__ import annotations

import math
from pathlib import Path

from PIL import Image, ImageChops, ImageDraw

REPOSITORY = Path(__file__).resolve().parents[2]
ICONS = (REPOSITORY / "CardioDiT.png", REPOSITORY / "CardioDiT" / "Resources" / "Icons" / "CardioDiT.png")

SIZE = 128
FINER = 8  # drawn so many times larger, then made smaller: smooth edges

OUTLINE = (66, 12, 28, 255)
RIGHT_WALL_COLOUR = (150, 32, 54, 255)
MUSCLE = (206, 46, 68, 255)
SHINE = (224, 84, 98, 255)
BLOOD = (255, 243, 236, 255)
RIGHT_BLOOD = (132, 182, 226, 255)
POINT = (255, 205, 64, 255)

# all lengths in pixels of the finished icon; the right ventricle lies a little higher, as it does in a patient
LEFT_CENTRE, LEFT_OUTER, LEFT_CAVITY = (78.5, 71.0), 45.0, 25.0
RIGHT_CENTRE, RIGHT_OUTER, RIGHT_WALL = (49.5, 57.0), 44.5, 7.0
RIM = 3.0
SHINE_OFFSET = 3.5
POINT_RADIUS, POINT_RIM = 8.0, 3.0


def disc(centre: tuple[float, float], radius: float) -> Image.Image:
    """A filled circle as a mask of the large drawing."""
    mask = Image.new("L", (SIZE * FINER, SIZE * FINER), 0)
    x, y = centre
    ImageDraw.Draw(mask).ellipse([FINER * v for v in (x - radius, y - radius, x + radius, y + radius)], fill=255)
    return mask


def crossings() -> list[tuple[float, float]]:
    """Where the outlines of the two ventricles cross, on either side of the line between their centres."""
    (x0, y0), (x1, y1) = RIGHT_CENTRE, LEFT_CENTRE
    distance = math.hypot(x1 - x0, y1 - y0)
    ex, ey = (x1 - x0) / distance, (y1 - y0) / distance
    along = (distance**2 + RIGHT_OUTER**2 - LEFT_OUTER**2) / (2 * distance)
    across = math.sqrt(RIGHT_OUTER**2 - along**2)
    return [(x0 + along * ex - side * across * ey, y0 + along * ey + side * across * ex) for side in (-1.0, 1.0)]


def icon() -> Image.Image:
    """The finished icon on a transparent background."""
    large = Image.new("RGBA", (SIZE * FINER, SIZE * FINER), (0, 0, 0, 0))
    x, y = LEFT_CENTRE
    shine = disc((x - SHINE_OFFSET, y - SHINE_OFFSET), LEFT_OUTER - SHINE_OFFSET)
    layers = [
        (OUTLINE, disc(RIGHT_CENTRE, RIGHT_OUTER + RIM)),
        (RIGHT_WALL_COLOUR, disc(RIGHT_CENTRE, RIGHT_OUTER)),
        (RIGHT_BLOOD, disc(RIGHT_CENTRE, RIGHT_OUTER - RIGHT_WALL)),
        (OUTLINE, disc(LEFT_CENTRE, LEFT_OUTER + RIM)),
        (MUSCLE, disc(LEFT_CENTRE, LEFT_OUTER)),
        (SHINE, ImageChops.darker(shine, ImageChops.invert(disc((x, y), LEFT_OUTER - 2 * SHINE_OFFSET)))),
        (OUTLINE, disc(LEFT_CENTRE, LEFT_CAVITY + RIM)),
        (BLOOD, disc(LEFT_CENTRE, LEFT_CAVITY)),
    ]
    for point in crossings():
        layers += [(OUTLINE, disc(point, POINT_RADIUS + POINT_RIM)), (POINT, disc(point, POINT_RADIUS))]
    for colour, mask in layers:
        large.paste(colour, (0, 0), mask)
    return large.resize((SIZE, SIZE), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    for path in ICONS:
        icon().save(path, optimize=True)

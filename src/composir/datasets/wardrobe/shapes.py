"""Where a garment's parts lie: polygons in garment units, posed onto a canvas.

Garment units: the wearer's middle is x = 0, the shoulders are near y = -0.6, y grows downwards.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from composir.datasets.wardrobe.garment import Garment

Point = tuple[float, float]
Polygon = list[Point]

TOP = -0.60
NECK_HALF = 0.17
HEM = {
    "dress": {"short": 0.34, "regular": 0.60, "long": 0.90},
    "jumpsuit": {"short": 0.40, "regular": 0.66, "long": 0.94},
    "": {"short": 0.16, "regular": 0.44, "long": 0.76},
}


@dataclass(frozen=True, slots=True)
class Pose:
    """How one drawing of a garment lies on its canvas, drawn anew for each drawing."""

    center: Point
    scale: float
    angle: float
    width: float
    arm: float
    shoulder: float

    @classmethod
    def drawn(cls, rng: random.Random, canvas: int, garment: Garment) -> Pose:
        """A random pose; long garments are moved up and scaled so that little leaves the canvas."""
        hem = HEM.get(garment.kind, HEM[""])[garment.length]
        scale = canvas * 0.49 * rng.uniform(0.87, 1.08)
        middle = (TOP + hem) / 2
        x, y = (canvas * (0.5 + rng.uniform(-reach, reach)) for reach in (0.06, 0.05))
        return cls(
            center=(x, y - middle * 0.75 * scale),
            scale=scale,
            angle=math.radians(rng.uniform(-9, 9)),
            width=rng.uniform(0.92, 1.10),
            arm=rng.uniform(0.0, 1.0),
            shoulder=0.40 * rng.uniform(0.95, 1.05),
        )

    def __call__(self, x: float, y: float) -> Point:
        """Garment units to canvas pixels, rounded: the last bits of a sine must not decide a pixel."""
        c, s = math.cos(self.angle), math.sin(self.angle)
        x *= self.width
        return (
            float(round(self.center[0] + (c * x - s * y) * self.scale)),
            float(round(self.center[1] + (s * x + c * y) * self.scale)),
        )

    def polygon(self, points: Polygon) -> Polygon:
        """A whole polygon to canvas pixels."""
        return [self(*p) for p in points]

    def box(self, x: float, y: float, radius: float) -> tuple[float, float, float, float]:
        """The canvas box of a disc."""
        cx, cy = self(x, y)
        r = max(1, round(radius * self.scale))
        return (cx - r, cy - r, cx + r, cy + r)


def hem_of(garment: Garment) -> float:
    """The y of the lower edge."""
    return HEM.get(garment.kind, HEM[""])[garment.length]


def body(garment: Garment, pose: Pose) -> list[Polygon]:
    """The trunk, and the legs of a jumpsuit."""
    hem, s = hem_of(garment), pose.shoulder
    if garment.kind == "jumpsuit":
        waist, hip = 0.29, 0.36
        trunk = [(-s, TOP + 0.05), (-NECK_HALF, TOP - 0.02), (NECK_HALF, TOP - 0.02), (s, TOP + 0.05),
                 (waist, -0.05), (hip, 0.22), (-hip, 0.22), (-waist, -0.05)]  # fmt: skip
        leg = [(hip, 0.20), (hip + 0.01, hem), (0.10, hem), (0.0, 0.24), (0.0, 0.18)]
        return [trunk, *([(k * x, y) for x, y in leg] for k in (-1, 1))]
    if garment.kind == "dress":
        waist, flare = 0.27, 0.44 + 0.16 * (hem - 0.3)
        low = -0.06
    else:
        waist = {"shirt": 0.33, "polo": 0.33, "hoodie": 0.37, "jacket": 0.35}[garment.kind]
        flare = waist + {"shirt": 0.0, "polo": 0.0, "hoodie": -0.01, "jacket": 0.03}[garment.kind]
        low = 0.0
    return [[(-s, TOP + 0.05), (-NECK_HALF, TOP - 0.02), (NECK_HALF, TOP - 0.02), (s, TOP + 0.05),
             (waist, low), (flare, hem), (-flare, hem), (-waist, low)]]  # fmt: skip


def sleeve(garment: Garment, pose: Pose, side: int) -> Polygon | None:
    """One sleeve; `side` is -1 (left in the picture) or 1."""
    if garment.sleeve == "no":
        return None
    s = pose.shoulder
    long = garment.sleeve == "long"
    reach = 0.86 if long else 0.33
    angle = 0.38 + 0.30 * pose.arm if long else 0.62 + 0.28 * pose.arm
    dx, dy = math.sin(angle), math.cos(angle)
    half = 0.095 if long else 0.135
    ex, ey = s - 0.06 + reach * dx, TOP + 0.10 + reach * dy
    return [
        (side * (s - 0.06), TOP + 0.035),
        (side * (s + 0.03), TOP + 0.08),
        (side * (ex + half * dy), ey - half * dx),
        (side * (ex - half * dy), ey + half * dx),
        (side * (s - 0.12), TOP + 0.36),
        (side * (s - 0.16), TOP + 0.20),
    ]


def neckline(garment: Garment) -> Polygon:
    """The opening at the neck, as a polygon to be cut out."""
    n = NECK_HALF
    match garment.neck:
        case "v":
            return [(-n, TOP - 0.06), (n, TOP - 0.06), (n, TOP - 0.01), (0.0, TOP + 0.36), (-n, TOP - 0.01)]
        case "square":
            m = n + 0.03
            return [(-m, TOP - 0.06), (m, TOP - 0.06), (m, TOP + 0.20), (-m, TOP + 0.20)]
        case _:
            arc = [(n * math.cos(a), TOP - 0.02 + 0.16 * math.sin(a)) for a in (math.pi * k / 12 for k in range(13))]
            return [(n, TOP - 0.06), *arc, (-n, TOP - 0.06)]


def star(x: float, y: float, radius: float) -> Polygon:
    """A five-pointed star."""
    turns = [(math.pi * k / 5, radius * (1.0 if k % 2 == 0 else 0.42)) for k in range(10)]
    return [(x + r * math.sin(a), y - r * math.cos(a)) for a, r in turns]


def heart(x: float, y: float, radius: float) -> Polygon:
    """A heart, from its parametric curve."""
    turns = [2 * math.pi * k / 32 for k in range(32)]
    return [
        (
            x + radius * math.sin(t) ** 3,
            y - radius * (13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)) / 16,
        )
        for t in turns
    ]

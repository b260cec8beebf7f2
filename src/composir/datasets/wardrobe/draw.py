"""Draw one garment: vector parts on a large canvas, reduced, lit and laid on a background.

Two styles of the same garments: "photo" (varied light, cloth folds, backgrounds) and "synthetic" (gaudy palette,
black contour, gloss, posterised), which stands for generated pictures: PANDA needs that gap.

Everything random comes from Python's own generator and every coordinate is rounded before it is drawn, so one Pillow
version gives the same bytes on every machine.
"""

from __future__ import annotations

import random
from typing import Literal

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps

from composir.datasets.wardrobe import shapes
from composir.datasets.wardrobe.garment import Garment
from composir.errors import ComposirError

Style = Literal["photo", "synthetic"]
Color = tuple[int, int, int]

PALETTE: dict[str, Color] = {
    "red": (200, 30, 40), "orange": (240, 130, 30), "yellow": (240, 210, 50), "green": (40, 140, 70),
    "teal": (30, 150, 150), "blue": (40, 80, 190), "purple": (120, 60, 160), "pink": (240, 140, 180),
    "brown": (120, 75, 45), "black": (35, 35, 38), "white": (240, 240, 238), "gray": (140, 140, 145),
}  # fmt: skip
GAUDY: dict[str, Color] = {
    "red": (255, 0, 60), "orange": (255, 120, 0), "yellow": (255, 240, 0), "green": (0, 190, 60),
    "teal": (0, 210, 190), "blue": (20, 60, 255), "purple": (150, 30, 230), "pink": (255, 105, 215),
    "brown": (150, 70, 10), "black": (8, 8, 20), "white": (255, 255, 255), "gray": (150, 150, 165),
}  # fmt: skip
SIZES = (64, 512)


def check_drawable(size: int, style: str) -> None:
    """Raise a ComposirError unless pictures of this size and style can be drawn."""
    if not SIZES[0] <= size <= SIZES[1]:
        raise ComposirError(f"image size {size} is outside {SIZES[0]}..{SIZES[1]} px; give --image-size within it")
    if style not in ("photo", "synthetic"):
        raise ComposirError(f"unknown style {style!r}; allowed: 'photo', 'synthetic'")


def draw(garment: Garment, seed: int | str, size: int = 64, style: Style = "photo") -> Image.Image:
    """Draw a garment.

    Args:
        garment: What to draw.
        seed: Names the drawing: pose, light, background and cloth. Equal seeds give equal bytes.
        size: Side in pixels, 64 to 512.
        style: "photo" or "synthetic".

    Returns:
        RGB, (size, size).

    Raises:
        ComposirError: `size` or `style` is outside what is allowed.
    """
    check_drawable(size, style)
    rng = random.Random(f"{style}/{seed}")
    factor = 4 if size <= 96 else 3 if size <= 192 else 2
    canvas = size * factor
    pose = shapes.Pose.drawn(rng, canvas, garment)
    palette = _lit_palette(rng) if style == "photo" else GAUDY
    cloth = Image.new("RGB", (canvas, canvas), palette[garment.color])
    pen = ImageDraw.Draw(cloth)
    _pattern(pen, garment, pose, palette, rng)
    _details(pen, garment, pose, palette)
    _logo(pen, garment, pose, palette)
    cloth, mask = cloth.reduce(factor), _mask(garment, pose, canvas).reduce(factor)
    finish = _as_photo if style == "photo" else _as_synthetic
    return finish(cloth, mask, rng)


def _lit_palette(rng: random.Random) -> dict[str, Color]:
    """The palette under one light: brightness and white balance, in whole per mille."""
    light = rng.randint(820, 1090)
    gains = [light * rng.randint(955, 1045) // 1000 for _ in range(3)]
    jitter = [rng.randint(-7, 7) for _ in range(3)]
    return {
        name: tuple(max(0, min(255, v * g // 1000 + j)) for v, g, j in zip(rgb, gains, jitter, strict=True))  # type: ignore[misc]
        for name, rgb in PALETTE.items()
    }


def _shade(color: Color, per_cent: int) -> Color:
    r, g, b = (min(255, v * per_cent // 100) for v in color)
    return (r, g, b)


def _contrast(color: Color, amount: int = 34) -> Color:
    """A seam that shows on the cloth: darker on light cloth, lighter on dark."""
    if sum(color) > 240:
        return _shade(color, 100 - amount)
    r, g, b = (min(255, v + 62) for v in color)
    return (r, g, b)


def _mask(garment: Garment, pose: shapes.Pose, canvas: int) -> Image.Image:
    mask = Image.new("L", (canvas, canvas), 0)
    pen = ImageDraw.Draw(mask)
    if garment.kind == "hoodie":
        hood = [(-0.27, -0.52), (-0.29, -0.74), (-0.16, -0.92), (0.16, -0.92), (0.29, -0.74), (0.27, -0.52)]
        pen.polygon(pose.polygon(hood), fill=255)
    for part in shapes.body(garment, pose):
        pen.polygon(pose.polygon(part), fill=255)
    for side in (-1, 1):
        sleeve = shapes.sleeve(garment, pose, side)
        if sleeve:
            pen.polygon(pose.polygon(sleeve), fill=255)
    if garment.kind != "hoodie":  # behind a hoodie's neck is its hood
        pen.polygon(pose.polygon(shapes.neckline(garment)), fill=0)
    if garment.kind == "polo":
        for wing in _collar():
            pen.polygon(pose.polygon(wing), fill=255)
    return mask


def _collar() -> list[shapes.Polygon]:
    """The two wings of a polo's collar."""
    top = shapes.TOP
    wing = ((0.10, top - 0.10), (0.25, top - 0.02), (0.27, top + 0.12), (0.13, top + 0.05))
    return [[(k * x, y) for x, y in wing] for k in (-1, 1)]


def _pattern(
    pen: ImageDraw.ImageDraw, garment: Garment, pose: shapes.Pose, palette: dict[str, Color], rng: random.Random
) -> None:
    """Bands, dots or a lower half in the accent colour, following the pose."""
    if garment.pattern == "plain":
        return
    accent = palette[garment.accent]
    phase, period = rng.random(), rng.uniform(0.16, 0.21)

    def bands(step: float, share: float, upright: bool) -> None:
        at = -1.3 - phase * step
        while at < 1.5:
            a, b = at, at + share * step
            box = [(a, -1.5), (b, -1.5), (b, 1.5), (a, 1.5)]
            pen.polygon(pose.polygon(box if upright else [(y, x) for x, y in box]), fill=accent)
            at += step

    match garment.pattern:
        case "striped":
            bands(period, 0.48, upright=False)
        case "pinstriped":
            bands(period * 0.8, 0.34, upright=True)
        case "checked":
            bands(period * 1.35, 0.34, upright=False)
            bands(period * 1.35, 0.34, upright=True)
        case "dotted":
            step, row = period * 0.98, 0
            y = -1.1 - phase * step
            while y < 1.2:
                x = -1.1 + (row % 2) * step / 2
                while x < 1.1:
                    pen.ellipse(pose.box(x, y, step * 0.27), fill=accent)
                    x += step
                y, row = y + step * 0.85, row + 1
        case _:
            middle = 0.04 if garment.length != "short" else -0.08
            pen.polygon(pose.polygon([(-1.5, middle), (1.5, middle), (1.5, 1.6), (-1.5, 1.6)]), fill=accent)


def _details(  # noqa: PLR0912  (one case a kind)
    pen: ImageDraw.ImageDraw, garment: Garment, pose: shapes.Pose, palette: dict[str, Color]
) -> None:
    """What tells the kinds apart beside their outline: collar, zip, hood, pocket, waist; and the neck's binding."""
    base = palette[garment.color]
    seam, hem = _contrast(base), shapes.hem_of(garment)
    thin, wide = max(1, round(0.022 * pose.scale)), max(2, round(0.045 * pose.scale))

    def line(points: shapes.Polygon, width: int, fill: Color = seam) -> None:
        pen.line(pose.polygon(points), fill=fill, width=width, joint="curve")

    for side in (-1, 1):
        sleeve = shapes.sleeve(garment, pose, side)
        if sleeve:
            line([sleeve[0], sleeve[5], sleeve[4]], thin)
            if garment.kind in ("hoodie", "jacket"):
                line([sleeve[2], sleeve[3]], wide)
    opening = shapes.neckline(garment)
    if garment.kind == "hoodie":
        inner = _shade(base, 60) if sum(base) > 240 else _contrast(base)
        hood = [(-0.19, -0.56), (-0.20, -0.74), (-0.10, -0.84), (0.10, -0.84), (0.20, -0.74), (0.19, -0.56)]
        pen.polygon(pose.polygon(hood), fill=inner)
        pen.polygon(pose.polygon(opening), fill=_shade(inner, 82))
    line([*opening[1:], opening[0]], wide)
    match garment.kind:
        case "polo":
            for wing in _collar():
                pen.polygon(pose.polygon(wing), fill=_shade(base, 118) if sum(base) < 560 else _shade(base, 84))
                line([*wing, wing[0]], thin)
            for y in (-0.30, -0.18, -0.06):
                pen.ellipse(pose.box(0.0, y, 0.026), fill=seam)
            line([(-0.06, -0.40), (-0.06, 0.0), (0.06, 0.0), (0.06, -0.40)], thin)
        case "hoodie":
            low = min(hem - 0.04, 0.34)
            line([(-0.16, low - 0.20), (0.16, low - 0.20), (0.23, low), (-0.23, low), (-0.16, low - 0.20)], thin)
            line([(-0.37, hem - 0.03), (0.37, hem - 0.03)], wide)
            for k in (-1, 1):
                line([(k * 0.07, -0.44), (k * 0.08, -0.22)], thin, fill=(245, 245, 240))
        case "jacket":
            line([(0.0, -0.62), (0.0, hem)], wide, fill=_shade(seam, 70))
            for k in (-1, 1):
                lapel = [(k * 0.17, -0.60), (k * 0.30, -0.42), (k * 0.20, -0.34), (k * 0.02, -0.16)]
                pen.polygon(pose.polygon(lapel), fill=_shade(base, 80) if sum(base) > 240 else _contrast(base))
                line([(k * 0.13, min(hem - 0.06, 0.12)), (k * 0.27, min(hem - 0.06, 0.08))], thin)
        case "dress":
            line([(-0.27, -0.06), (0.27, -0.06)], wide)
        case "jumpsuit":
            line([(-0.29, -0.04), (0.29, -0.04)], wide)
            line([(0.0, -0.40), (0.0, -0.04)], thin)
        case _:
            line([(-0.34, hem - 0.025), (0.34, hem - 0.025)], thin)


def _logo(pen: ImageDraw.ImageDraw, garment: Garment, pose: shapes.Pose, palette: dict[str, Color]) -> None:
    """The print on the chest, in black or white whichever shows, rimmed so that a pattern does not swallow it."""
    if garment.logo == "no":
        return
    base = palette[garment.color]
    dark = sum(base) > 400
    ink, rim = ((20, 20, 22), (250, 250, 250)) if dark else ((250, 250, 250), (20, 20, 22))
    x, y, r = 0.0, -0.10, 0.135
    for color, radius in ((rim, r + 0.045), (ink, r)):
        match garment.logo:
            case "circle":
                pen.ellipse(pose.box(x, y, radius * 0.92), fill=color)
            case "square":
                h = radius * 0.86
                pen.polygon(pose.polygon([(x - h, y - h), (x + h, y - h), (x + h, y + h), (x - h, y + h)]), fill=color)
            case "star":
                pen.polygon(pose.polygon(shapes.star(x, y, radius * 1.22)), fill=color)
            case _:
                pen.polygon(pose.polygon(shapes.heart(x, y, radius * 1.08)), fill=color)


def _blotches(rng: random.Random, size: int, cells: int, low: int, high: int) -> Image.Image:
    """A smooth random grey field: cloth folds, uneven light."""
    coarse = Image.frombytes("L", (cells, cells), bytes(rng.randint(low, high) for _ in range(cells * cells)))
    return coarse.resize((size, size), Image.Resampling.BICUBIC)


def _background(rng: random.Random, size: int) -> Image.Image:
    """A plain wall, a gradient, a wall and a floor, or uneven light; pale, now and then dark."""
    low, high = (200, 252) if rng.random() < 0.8 else (60, 140)
    first, second = (tuple(rng.randint(low, high) for _ in range(3)) for _ in range(2))
    kind = rng.choice(("plain", "gradient", "floor", "uneven"))
    wall = Image.new("RGB", (size, size), first)
    if kind == "gradient":
        far = Image.new("RGB", (size, size), second)
        return Image.composite(wall, far, Image.linear_gradient("L").resize((size, size)))
    if kind == "floor":
        ImageDraw.Draw(wall).rectangle([0, size * rng.randint(68, 90) // 100, size, size], fill=_shade(second, 88))  # type: ignore[arg-type]
    if kind == "uneven":
        field = _blotches(rng, size, 4, 205, 255)
        return ImageChops.multiply(wall, Image.merge("RGB", (field, field, field)))
    return wall


def _as_photo(cloth: Image.Image, mask: Image.Image, rng: random.Random) -> Image.Image:
    """Folds on the cloth, a soft shadow on the ground, sensor noise."""
    size = cloth.width
    folds = _blotches(rng, size, 7, 196, 255)
    cloth = ImageChops.multiply(cloth, Image.merge("RGB", (folds, folds, folds)))
    picture = _background(rng, size)
    lit = Image.new("L", (size, size), 0)
    lit.paste(mask, (rng.randint(-2, 3) * size // 64, rng.randint(1, 4) * size // 64))
    shadow = lit.filter(ImageFilter.BoxBlur(size / 32)).point([255 - v * 2 // 5 for v in range(256)])
    picture = ImageChops.multiply(picture, Image.merge("RGB", (shadow, shadow, shadow)))
    picture.paste(cloth, (0, 0), mask)
    noise = np.frombuffer(rng.randbytes(size * size), np.uint8).reshape(size, size, 1)
    strength = rng.randint(4, 14)
    grain = (noise.astype(np.int16) * strength >> 8) - strength // 2
    return Image.fromarray(np.clip(np.asarray(picture, np.int16) + grain, 0, 255).astype(np.uint8))


def _as_synthetic(cloth: Image.Image, mask: Image.Image, rng: random.Random) -> Image.Image:
    """A vivid radial backdrop, a black contour, a gloss, few tones."""
    size = cloth.width
    inner, outer = (tuple(rng.choice((10, 60, 130, 200, 250)) for _ in range(3)) for _ in range(2))
    backdrop = Image.composite(
        Image.new("RGB", (size, size), outer),
        Image.new("RGB", (size, size), inner),
        Image.radial_gradient("L").resize((size, size)),
    )
    ramp = Image.linear_gradient("L").rotate(rng.choice((0, 90, 270))).resize((size, size))
    gloss = ramp.point([v // 3 for v in range(256)])
    cloth = ImageChops.screen(cloth, Image.merge("RGB", (gloss, gloss, gloss)))
    width = max(3, size // 24) | 1
    contour = mask.filter(ImageFilter.MaxFilter(width))
    backdrop.paste((0, 0, 0), (0, 0), contour)
    backdrop.paste(cloth, (0, 0), mask)
    return ImageOps.posterize(backdrop.filter(ImageFilter.BoxBlur(size / 160)), 4)

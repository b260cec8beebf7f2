"""Draw docs/wardrobe.png and take docs/demo.png from the demo's answers: python docs/pictures.py.

Needs `composir demo` to have run in the root of the repository.
"""

from pathlib import Path

from PIL import Image

from composir.datasets.wardrobe import Wardrobe

SIDE, GAP, FAMILIES = 84, 6, 6


def wardrobe_sheet() -> Image.Image:
    """Six families of the test split in both styles, side by side."""
    step = SIDE + GAP
    sheet = Image.new("RGB", (12 * step + 5 * GAP, FAMILIES * step + GAP), "white")
    for column, style in ((0, "photo"), (6, "synthetic")):
        data = Wardrobe(image_size=2 * SIDE, style=style)
        for number, image_id in enumerate(data.ids("test")[: FAMILIES * 6]):
            family, member = divmod(number, 6)
            picture = data.image(image_id).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
            left = GAP + (column + member) * step + (3 * GAP if column else 0)
            sheet.paste(picture, (left, GAP + family * step))
    return sheet


if __name__ == "__main__":
    docs = Path(__file__).parent
    wardrobe_sheet().save(docs / "wardrobe.png", optimize=True)
    with Image.open(docs.parent / "demo" / "answers.png") as answers:
        answers.convert("RGB").quantize(256).save(docs / "demo.png", optimize=True)

"""Contact sheets: every row shows its query, its words and its answers, whatever their shapes and lengths."""

import numpy as np
import pytest
from PIL import Image, ImageFont

from composir.contact_sheet import GAP, MARGIN, TEXT_LINES, SheetRow, _shorten, _wrap, contact_sheet


def plain(colour, size=(30, 20)):
    return Image.new("RGB", size, colour)


def test_pictures_stand_where_they_belong():
    rows = [
        SheetRow(plain("red"), "is blue", [(plain("blue"), "1   0.900\na.png"), (plain("lime"), "2   0.800\nb.png")]),
        SheetRow(None, "words alone", [(plain("yellow"), "1   0.700")]),
    ]
    sheet = contact_sheet(rows, cell=100)
    assert sheet.mode == "RGB"
    assert sheet.getpixel((0, 0)) == (255, 255, 255)
    middle = MARGIN + 50
    lead = MARGIN + 100 + 3 * GAP + 50
    assert sheet.getpixel((middle, middle)) == (255, 0, 0)
    assert sheet.getpixel((lead, middle)) == (0, 0, 255)
    assert sheet.getpixel((lead + 100 + GAP, middle)) == (0, 255, 0)
    column = np.asarray(sheet)[:, lead]
    assert (column == (255, 255, 0)).all(axis=1).any()


@pytest.mark.parametrize("size", [(1, 1), (500, 2), (2, 500), (40, 40)])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P"])
def test_any_shape_and_mode_fits(size, mode):
    sheet = contact_sheet([SheetRow(Image.new(mode, size), "x", [(Image.new(mode, size), "1")])], cell=64)
    assert sheet.width == 2 * MARGIN + 2 * 64 + 3 * GAP


def test_no_answers_no_words_and_lost_pictures():
    contact_sheet([SheetRow(None, "", [])])
    contact_sheet([SheetRow(plain("red"), "", [(None, "1   0.5\ngone.png")])])


def test_equal_input_gives_equal_sheets():
    rows = [SheetRow(plain("red"), "is blue", [(plain("blue"), "1")])]
    assert contact_sheet(rows).tobytes() == contact_sheet(rows).tobytes()


def test_long_words_are_wrapped_and_cut():
    font = ImageFont.load_default(17)
    lines = _wrap("is red and has short sleeves " * 20, font, 160)
    assert len(lines) == TEXT_LINES
    assert all(font.getlength(line) <= 160 for line in lines)
    assert lines[-1].endswith("…")
    assert _wrap("is red", font, 160) == ["is red"]
    assert _wrap("", font, 160) == []
    assert _wrap("W" * 100, font, 160)[0].endswith("…")
    assert _shorten("short", font, 160) == "short"

"""Queries and their answers as one picture: each row shows the reference, the words, then the answers, best first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

CELL = 168  # side of one picture, in pixels
GAP = 14
MARGIN = 28
TEXT_SIZE = 17
CAPTION_SIZE = 14
LEADING = 1.32  # line height over type size
TEXT_LINES = 4
WHITE, PAPER, INK, GREY, RULE = "#ffffff", "#f4f4f2", "#1c1c1e", "#6d6d72", "#dcdcd8"
ACCENT = "#1f5fbf"


@dataclass(frozen=True, slots=True)
class SheetRow:
    """One query.

    Attributes:
        query: The reference; None for words alone.
        text: The words, or "".
        answers: Picture and caption of each, best first; the first line of a caption is dark, further ones are grey.
            A picture that is None leaves its square empty.
    """

    query: Image.Image | None
    text: str
    answers: Sequence[tuple[Image.Image | None, str]]


def contact_sheet(rows: Sequence[SheetRow], cell: int = CELL) -> Image.Image:
    """Draw rows of a reference, its words below, and its answers.

    Args:
        rows: At least one; rows may have different numbers of answers.
        cell: Side of the square that each picture is fitted into, in pixels.

    Returns:
        An RGB picture on white.
    """
    text_font, caption_font = ImageFont.load_default(TEXT_SIZE), ImageFont.load_default(CAPTION_SIZE)
    wrapped = [_wrap(row.text, text_font, cell) for row in rows]
    heights = [cell + _row_text_height(row, lines) for row, lines in zip(rows, wrapped, strict=True)]
    columns = max((len(row.answers) for row in rows), default=0)
    lead = cell + 3 * GAP  # the query's column, with the rule that sets it apart
    width = 2 * MARGIN + lead + max(0, columns * (cell + GAP) - GAP)
    height = 2 * MARGIN + sum(heights) + 2 * GAP * (len(rows) - 1)
    sheet = Image.new("RGB", (max(width, 2 * MARGIN + cell), height), WHITE)
    draw = ImageDraw.Draw(sheet)
    top = MARGIN
    for row, lines, row_height in zip(rows, wrapped, heights, strict=True):
        _paste(sheet, row.query, (MARGIN, top), cell, ACCENT)
        for number, line in enumerate(lines):
            y = top + cell + GAP // 2 + round(number * TEXT_SIZE * LEADING)
            draw.text((MARGIN, y), line, fill=INK, font=text_font)
        rule = MARGIN + cell + 3 * GAP // 2
        draw.line([(rule, top), (rule, top + row_height)], fill=RULE, width=2)
        for column, (picture, caption) in enumerate(row.answers):
            left = MARGIN + lead + column * (cell + GAP)
            _paste(sheet, picture, (left, top), cell, RULE)
            for number, line in enumerate(caption.split("\n")):
                y = top + cell + GAP // 2 + round(number * CAPTION_SIZE * LEADING)
                draw.text(
                    (left, y), _shorten(line, caption_font, cell), fill=GREY if number else INK, font=caption_font
                )
        top += row_height + 2 * GAP
    return sheet


def _row_text_height(row: SheetRow, lines: list[str]) -> int:
    captions = max((caption.count("\n") + 1 for _, caption in row.answers), default=0)
    return GAP // 2 + round(max(len(lines) * TEXT_SIZE, captions * CAPTION_SIZE) * LEADING)


def _paste(sheet: Image.Image, picture: Image.Image | None, place: tuple[int, int], cell: int, frame: str) -> None:
    """Fit a picture into its square, whole and in the middle; a missing one leaves the square empty."""
    left, top = place
    draw = ImageDraw.Draw(sheet)
    draw.rectangle((left, top, left + cell - 1, top + cell - 1), fill=PAPER)
    if picture is not None:
        scale = min(cell / picture.width, cell / picture.height)
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        fitted = picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)
        sheet.paste(fitted, (left + (cell - size[0]) // 2, top + (cell - size[1]) // 2))
    draw.rectangle((left, top, left + cell - 1, top + cell - 1), outline=frame, width=2 if frame == ACCENT else 1)


_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def _wrap(text: str, font: _Font, width: int) -> list[str]:
    """Break into at most `TEXT_LINES` lines that fit; the last ends in an ellipsis if words are left over."""
    words, lines = text.split(), []
    while words and len(lines) < TEXT_LINES:
        count = 1
        while count < len(words) and font.getlength(" ".join(words[: count + 1])) <= width:
            count += 1
        lines.append(_shorten(" ".join(words[:count]), font, width))
        words = words[count:]
    if words:
        lines[-1] = _shorten(f"{lines[-1]} {' '.join(words)}", font, width)
    return lines


def _shorten(line: str, font: _Font, width: int) -> str:
    """Cut a line to `width` pixels, with an ellipsis where something was cut."""
    if font.getlength(line) <= width:
        return line
    while line and font.getlength(f"{line}…") > width:
        line = line[:-1]
    return f"{line.rstrip()}…"

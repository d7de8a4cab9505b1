"""Draw the results of a search as one image: a row per query with its best gallery images."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from sdcl.datasets.images import FORMATS, MAX_PIXELS, as_rgb

COLUMNS, MAX_ROWS = 10, 50  # gallery images of a query, queries of an image
TILE, GAP, CAPTION = (72, 144), 6, 14  # pixels
BLACK, GREY, RED = "black", "#808080", "#b00020"


def search_image(
    answers: list[dict[str, Any]], query_root: Path | str, gallery_root: Path | str, ranking: str
) -> bytes:
    """Draw the first queries and their first gallery images, the similarity below each.

    Args:
        answers: of `sdcl.inference.search.search`.
        query_root, gallery_root: folders that the paths are below. A missing file is drawn as a grey cross.
        ranking: name of the ranking, for the title.

    Returns:
        A PNG file.
    """
    answers = answers[:MAX_ROWS]
    step = (TILE[0] + GAP, TILE[1] + CAPTION + GAP)
    columns = 1 + max(min(COLUMNS, len(answer["results"])) for answer in answers)
    sheet = Image.new("RGB", (columns * step[0] + 3 * GAP, len(answers) * step[1] + GAP + CAPTION), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, 2), f"query, and its gallery by {ranking}", fill=BLACK)
    for row, answer in enumerate(answers):
        top = row * step[1] + GAP + CAPTION
        absent = answer["in_gallery"] is False
        sheet.paste(_thumbnail(Path(query_root, answer["query"])), (GAP, top))
        draw.text((GAP, top + TILE[1] + 1), "not there" if absent else "query", fill=RED if absent else BLACK)
        for column, hit in enumerate(answer["results"][:COLUMNS], 1):
            left = 2 * GAP + column * step[0]
            sheet.paste(_thumbnail(Path(gallery_root, hit["path"])), (left, top))
            caption = f"{column}: {hit['similarity']:.3f}"
            draw.text((left, top + TILE[1] + 1), caption, fill=GREY if absent else BLACK)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def _thumbnail(path: Path) -> Image.Image:
    try:
        with Image.open(path, formats=FORMATS) as image:
            if image.width * image.height <= MAX_PIXELS:
                return as_rgb(image).resize(TILE, Image.Resampling.LANCZOS)
    except Exception:  # Pillow raises many kinds; the results are drawn without this image
        pass
    blank = Image.new("RGB", TILE, "#e0e0e0")
    ImageDraw.Draw(blank).line((0, 0, *TILE), fill=GREY)
    return blank

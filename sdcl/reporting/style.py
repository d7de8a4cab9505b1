"""Figure style: colours that colour-blind readers can tell apart, one figure size, images as data URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

# Okabe and Ito's palette, its yellow darkened to be seen on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#B8860B", "#000000", "#7F3C8D")
DASHES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
GREY = "#767676"
PANEL = (4.6, 3.0)  # inches: a figure is one panel, so it stays readable on a narrow screen
RC: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "svg.hashsalt": "sdcl",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
}


@contextmanager
def panel(
    title: str, xlabel: str = "", ylabel: str = "", size: tuple[float, float] = PANEL
) -> Iterator[tuple[Figure, Axes]]:
    """Yield a figure of one panel, independent of pyplot; text in it is never parsed as mathematics."""
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.add_subplot()
        axes.set_title(title, loc="left", fontweight="bold")
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        yield figure, axes


def line_style(index: int) -> dict[str, Any]:
    """Colour, dash and marker of the n-th line; the first 32 differ from each other with and without
    colour.
    """
    count = len(COLOURS)
    return {
        "color": COLOURS[index % count],
        "linestyle": DASHES[index // count % len(DASHES)],
        "marker": MARKERS[index % len(MARKERS)],
        "markersize": "3.5",
    }


def svg_uri(figure: Figure) -> str:
    return _saved(figure, "svg", "image/svg+xml", metadata={"Date": None, "Creator": None})


def png_uri(figure: Figure, dpi: int = 150) -> str:
    return _saved(figure, "png", "image/png", dpi=dpi)


def jpeg_uri(image: np.ndarray | Image.Image, height: int = 128, quality: int = 82) -> str:
    """Thumbnail of an RGB image, uint8 (H, W, 3) or PIL, no higher than `height` pixels."""
    thumbnail = image if isinstance(image, Image.Image) else Image.fromarray(np.asarray(image, np.uint8))
    thumbnail = thumbnail.convert("RGB")
    if thumbnail.height > height:
        thumbnail = thumbnail.resize(
            (max(1, round(thumbnail.width * height / thumbnail.height)), height), Image.Resampling.LANCZOS
        )
    file = io.BytesIO()
    thumbnail.save(file, "JPEG", quality=quality)
    return _uri(file, "image/jpeg")


def _saved(figure: Figure, kind: str, media: str, **options: Any) -> str:
    file = io.BytesIO()
    with matplotlib.rc_context(RC):
        figure.savefig(file, format=kind, **options)
    return _uri(file, media)


def _uri(file: io.BytesIO, media: str) -> str:
    return f"data:{media};base64,{base64.b64encode(file.getvalue()).decode()}"

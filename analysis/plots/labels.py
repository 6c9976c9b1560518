"""Placing the labels of a scatter plot so that they hide neither points, nor intervals, nor one another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.transforms import Bbox

from prefine_ray.analysis.statistics.estimators import FloatArray

FONT_SIZE = 9
_AROUND = [(6, 6), (-6, 6), (6, -6), (-6, -6), (10, 0), (-10, 0), (0, 10), (0, -10)]  # points from the marker
_OFFSETS = [(scale * x, scale * y) for scale in (1.0, 1.6, 2.4) for x, y in _AROUND]


def place_labels(axes: Axes, scores: FloatArray, texts: Sequence[str], path: FloatArray) -> None:
    """Writes the texts beside the first points, each where it overlaps least; limits and layout must be final.

    Args:
        scores: [N, 2, 3] in data coordinates: of x and y, the value and its interval (NaN for none).
        path: [M, 2] corners of the line that is drawn through some of them.
    """
    axes.autoscale(False)
    scale = axes.figure.dpi / 72.0
    corners = np.where(np.isnan(scores), scores[:, :, :1], scores).transpose(2, 0, 1)  # [value/low/high, N, x/y]
    pixels, low, high = (axes.transData.transform(corner) for corner in corners)
    taken = [*_bars(pixels, low, high), *_dots(pixels, 4 * scale), *_dots(_along(axes.transData.transform(path)), 1.0)]
    for point, pixel, text in zip(scores[:, :, 0], pixels, texts, strict=False):
        size = np.array([0.62 * FONT_SIZE * max(1, len(text)), 1.0 * FONT_SIZE]) * scale
        boxes = [_box(pixel, np.array(offset) * scale, size) for offset in _OFFSETS]
        penalties = _penalties(boxes, taken, axes.bbox)
        best = int(np.argmin(penalties + 0.02 * np.arange(len(boxes))))
        taken.append(boxes[best])
        x, y = _OFFSETS[best]
        anchors: dict[str, Any] = {"ha": _anchor(x, "left", "right"), "va": _anchor(y, "bottom", "top")}
        axes.annotate(text, point, (x, y), textcoords="offset points", fontsize=FONT_SIZE, zorder=6, **anchors)


def _bars(pixels: FloatArray, low: FloatArray, high: FloatArray) -> Iterator[Bbox]:
    """The boxes of horizontal and vertical error bars, all [N, 2]."""
    for point, below, above in zip(pixels, low, high, strict=True):
        yield Bbox([[below[0], point[1] - 1], [above[0], point[1] + 1]])
        yield Bbox([[point[0] - 1, below[1]], [point[0] + 1, above[1]]])


def _dots(pixels: FloatArray, radius: float) -> Iterator[Bbox]:
    return (Bbox([pixel - radius, pixel + radius]) for pixel in pixels)


def _along(corners: FloatArray) -> FloatArray:
    """[M, 2] -> [10 (M - 1), 2]: points along a broken line."""
    steps = np.linspace(0.0, 1.0, 10)[:, None, None]
    return (corners[:-1] + steps * np.diff(corners, axis=0)).reshape(-1, 2)


def _anchor(offset: float, positive: str, negative: str) -> str:
    return positive if offset > 0 else negative if offset < 0 else "center"


def _box(pixel: FloatArray, offset: FloatArray, size: FloatArray) -> Bbox:
    """The text's box: beside the point on the side that the offset points to, centred where it is 0."""
    low = pixel + offset - size * np.select([offset > 0, offset < 0], [0.0, 1.0], default=0.5)
    return Bbox.from_bounds(*low, *size)


def _penalties(boxes: Sequence[Bbox], taken: Sequence[Bbox], frame: Bbox) -> FloatArray:
    """[N]: the number of things that each box hides, three at most, and more for a box outside the axes."""
    own, others = (np.array([[*box.min, *box.max] for box in some]) for some in (boxes, taken))
    low, high = own[:, None, :2], own[:, None, 2:]
    is_beside = ((others[:, 2:] <= low) | (others[:, :2] >= high)).any(axis=-1)
    hidden = (~is_beside).sum(axis=-1)
    inside = [frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1 for box in boxes]
    return np.minimum(3.0, hidden) + np.where(inside, 0.0, 3.0)

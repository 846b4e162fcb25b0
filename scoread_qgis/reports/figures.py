"""Figures of reports, drawn with matplotlib. QGIS' installers include it; without it, reports only have tables."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colours that colour-blind readers can distinguish (Okabe and Ito, 2008).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
BACKGROUND, ANOMALY = COLOURS[0], COLOURS[1]
# Quantiles of a map at equal steps of its colours: half of a scene is background, anomalies are the last per cent and less.
_STRETCH = (0.5, 0.9, 0.97, 0.99, 0.997, 0.999, 1.0)


def spectral_axis(wavelengths: np.ndarray | None, bands: int) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """Where bands lie along the axis of a spectrum, (bands,), and a function that prepares (bands,) values for drawing over it.

    The function puts them in the order of the axis, and NaN into gaps of more than three times the usual distance, such as those of water
    vapour bands that are left out, so that no line crosses them. wavelengths: (bands,) nm, or None for numbers from 1.
    """
    x = np.arange(1.0, bands + 1) if wavelengths is None else np.asarray(wavelengths, float)
    order = np.argsort(x)
    gaps = np.diff(x[order])
    breaks = np.flatnonzero(gaps > 3 * np.median(gaps)) + 1 if bands > 2 else np.empty(0, int)
    return x, lambda values: np.insert(np.asarray(values, float)[order], breaks, np.nan)


def show_map(axes: Axes, values: np.ndarray, stretched: bool = True) -> None:
    """Draw an anomaly map (rows, columns), NaN where not scored: high scores bright, or if not `stretched`, by its values in 0..1."""
    known = np.isfinite(values)
    if stretched and known.any():
        values = np.where(known, np.interp(values, np.quantile(values[known], _STRETCH), np.linspace(0, 1, len(_STRETCH))), np.nan)
    axes.set_facecolor("#bbbbbb")
    axes.imshow(np.ma.masked_invalid(values), cmap="inferno", vmin=0, vmax=1, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])


def draw(plot: Callable[[Figure], None], width: float = 8.0, height: float = 3.2) -> bytes | None:
    """The figure that `plot(figure)` draws on a `matplotlib.figure.Figure` of width × height inches, as SVG (bytes); None without
    matplotlib.

    It does not use pyplot, so it opens no window, keeps no global state and may run on any thread.
    """
    if importlib.util.find_spec("matplotlib") is None:
        return None
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    plot(figure)
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="svg", metadata={"Date": None})
    return drawn.getvalue()

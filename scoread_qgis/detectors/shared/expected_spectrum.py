"""The spectrum that the surroundings of a region let expect there, with its uncertainty, without PyTorch.

It is made as `expected_background` makes that of single pixels, from pairs of pixels around it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SOFTENING = 0.1  # share of the mean disagreement of the pairs that is added to that of each, so that chance does not decide
MARGIN = 2  # pixels around a region that may still hold some of it
WIDTH = 5  # of the ring around the margin
MOST = 250  # pixels of the ring that are compared with each other, evenly chosen among more
MOST_PLACES = 25  # pixels of a region for which an expectation is made, evenly chosen among more
OFF_CENTRE = 0.25  # pixels that the middle of a pair may be off before it counts less
BAND = 1.55  # half width of the band of 90 %, in standard deviations: docs/research.md


@dataclass
class Expected:
    """Expected spectrum (bands,) with the limits `low` and `high` (bands,) of the band that covers the true one in 90 % of the cases;
    float64.

    pixels: of how many pixels it was made.
    """

    spectrum: np.ndarray
    low: np.ndarray
    high: np.ndarray
    pixels: int


def expected_spectrum(
    spectra: np.ndarray,
    components: np.ndarray,
    valid: np.ndarray,
    region: np.ndarray,
    others: np.ndarray | None = None,
) -> Expected | None:
    """`Expected` of the mean spectrum of a region, from the pixels around it; None where there are fewer than two valid ones.

    spectra: (rows, columns, bands) of the region and its surroundings, with 7 rows and columns around the region, fewer where the scene
    ends. components: (rows, columns, components), the same of a `HalfWhitening`. valid: (rows, columns) bool. region: (rows, columns) bool,
    the pixels of the region.
    others: (rows, columns) bool, known anomalies, which are left out unless too little is left.

    The ring is 3 to 7 pixels away from the region. The expected spectrum is the mean of those of the region's pixels. Their pairs are any
    two pixels of the ring; they weigh as those around a single pixel do, and the less, the farther their middle lies from it. So there are
    pairs at the edge of the scene and beside holes too.
    """
    from scipy import ndimage

    away = ndimage.distance_transform_edt(~region)
    seen = valid & (away > MARGIN) & (away <= MARGIN + WIDTH)
    kept = seen & ~others if others is not None else seen
    if np.count_nonzero(kept) < np.count_nonzero(seen) / 4:
        kept = seen
    rows, columns = np.nonzero(kept)
    if len(rows) < 2:
        return None
    if len(rows) > MOST:
        rows, columns = (places[np.linspace(0, len(rows) - 1, MOST).astype(int)] for places in (rows, columns))
    ours = np.asarray(components[rows, columns], dtype=np.float64)
    disagreement = np.square(ours[:, None] - ours).sum(2)
    nearness = 1 / np.outer(away[rows, columns], away[rows, columns]) ** 2
    np.fill_diagonal(nearness, 0)
    middles = [(places[:, None] + places) / 2 for places in (rows, columns)]
    targets = np.argwhere(region)
    share = np.zeros(len(rows))
    for target in targets[np.linspace(0, len(targets) - 1, min(MOST_PLACES, len(targets))).astype(int)]:
        apart = sum(np.square(middle - at) for middle, at in zip(middles, target))
        weights = nearness / (1 + apart / OFF_CENTRE**2) ** 2
        soft = SOFTENING * (weights * disagreement).sum() / weights.sum()
        weights /= np.maximum(disagreement + soft, 1e-12) ** 2
        share = share + weights.sum(1) / weights.sum()
    share = share / share.sum()
    seen_there = np.asarray(spectra[rows, columns], dtype=np.float64)
    spectrum = share @ seen_there
    spread = BAND * np.sqrt(share @ np.square(seen_there - spectrum))
    return Expected(spectrum, spectrum - spread, spectrum + spread, len(rows))

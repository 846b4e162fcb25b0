"""What a spectrum is: its matches in a library, and which spectra are alike.

Three measures, for three questions. The *spectral angle* compares shapes, whatever the brightness (Kruse et al., "The spectral image
processing system (SIPS)", Remote Sensing of Environment 44, 1993). The correlation after *removal of the continuum* compares absorption
features alone (Clark and Roush, "Reflectance spectroscopy: quantitative analysis techniques for remote sensing applications", Journal of
Geophysical Research 89, 1984). The *adaptive coherence* compares what both have beyond the background, in units of how that varies (Kraut,
Scharf and McWhorter, "Adaptive subspace detectors", IEEE Transactions on Signal Processing 49, 2001): it finds a material that fills only
part of a pixel, and says how unlikely such a match is in this background. Matches are ranked by it; docs/identifying.md has measurements.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..core.progress import Progress

# Spectra of a library, and of a scene that was calibrated, agree within about that share in every band; the adaptive coherence would
# otherwise rely on differences that no calibration has.
CALIBRATION_ERROR = 0.02
FEWEST_BANDS = 3  # two spectra of two bands nearly always look alike
MOST_GROUPED = 5000  # spectra that are compared with each other, which takes the square of their number; further ones join these
_CANDIDATES = 12  # entries of a spectrum whose share of the background is found: those of the highest coherence
_CHUNK = 256  # library entries, or spectra, at a time
_PAIRS = 2**22  # of spectra and entries at a time


@dataclass(frozen=True)
class Background:
    """The background of a scene: a sample of its spectra (n, bands), and their mean (bands,) and covariance (bands, bands), in float64."""

    spectra: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray

    @cached_property
    def _error(self) -> np.ndarray:
        return (CALIBRATION_ERROR * self.mean) ** 2

    def whitening(self, bands: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Matrix (bands, bands) by which the background varies alike in all directions, beyond what the calibration leaves open.

        bands: (all,) bool, the bands that count.
        """
        covariance = self.covariance[bands][:, bands] + np.diag(self._error[bands])
        values, vectors = np.linalg.eigh(covariance)
        return vectors / np.sqrt(np.maximum(values, max(values[-1], np.finfo(float).tiny) * 1e-12))


@dataclass(frozen=True)
class Matches:
    """The best matches of each of n spectra, the best first, (n, count) each.

    entries: indices into the library, -1 where there is none. shares: of the background's pixels, how many match the entry at least as well
    as the spectrum, 0 to 1 and never 0. angles: in degrees. features: correlation of the two without their continuum, -1 to 1. coherences:
    adaptive coherence, 0 to 1. bands: over how many the match was made. Numbers are NaN, and bands 0, where there is none.
    """

    entries: np.ndarray
    shares: np.ndarray
    angles: np.ndarray
    features: np.ndarray
    coherences: np.ndarray
    bands: np.ndarray


def best_matches(
    spectra: np.ndarray,
    library: np.ndarray,
    background: Background,
    wavelengths: np.ndarray,
    count: int = 3,
    progress: Progress | None = None,
) -> Matches:
    """The `Matches` of spectra (n, bands), NaN rows where one is unknown, in a library (entries, bands), NaN where an entry has no value.

    Both are in the same unit, and so is the `Background`. wavelengths: (bands,), in any order. An entry with less than three bands matches
    nothing, and neither does one whose deviation from the background points away from that of the spectrum.
    """
    progress = progress or Progress()
    known = np.isfinite(spectra).all(axis=1)
    scores = np.full((len(spectra), _CANDIDATES), -np.inf)
    candidates = np.full((len(spectra), _CANDIDATES), -1)
    patterns = list(_patterns(library))
    done = 0
    for bands, members in patterns:
        space = _Space(background, bands)
        seen = space.directions(spectra[known])
        for part in _parts(members, max(1, min(_CHUNK, _PAIRS // max(len(seen), 1)))):
            progress(0.4 * done / len(library), f"comparing with {len(library)} library spectra")
            strength = _strength(seen @ space.directions(library[part]).T, int(bands.sum()))
            merged = np.concatenate([scores[known], strength], axis=1)
            best = np.argpartition(-merged, _CANDIDATES - 1, axis=1)[:, :_CANDIDATES]
            scores[known] = np.take_along_axis(merged, best, axis=1)
            numbered = np.concatenate([candidates[known], np.broadcast_to(part, strength.shape)], axis=1)
            candidates[known] = np.take_along_axis(numbered, best, axis=1)
            done += len(part)
    candidates[scores <= 0] = -1
    shares = _shares(spectra, library, background, candidates, progress.part(0.4, 0.9))
    order = np.lexsort((-scores, shares))[:, :count]
    entries = np.take_along_axis(candidates, order, axis=1)
    return _described(
        spectra, library, background, wavelengths, entries, np.take_along_axis(shares, order, axis=1), progress.part(0.9, 1.0)
    )


class _Space:
    """The bands of an entry, in units of the background's variation."""

    def __init__(self, background: Background, bands: np.ndarray) -> None:
        self._bands, self._mean, self._whitening = bands, background.mean[bands], background.whitening(bands)

    def directions(self, spectra: np.ndarray) -> np.ndarray:
        """Unit vectors (n, bands) float32 of how spectra (n, all bands) deviate from the background; their products are coherences."""
        deviations = (spectra[:, self._bands] - self._mean) @ self._whitening
        return _unit(deviations).astype(np.float32)


def _shares(spectra: np.ndarray, library: np.ndarray, background: Background, candidates: np.ndarray, progress: Progress) -> np.ndarray:
    """Share of the background that matches a candidate at least as well as the spectrum does, like `candidates`; infinite without one."""
    shares = np.full(candidates.shape, np.inf)
    wanted = np.zeros(len(library), bool)
    wanted[candidates[candidates >= 0]] = True
    rows, places = np.nonzero(candidates >= 0)
    by_entry = np.argsort(candidates[rows, places], kind="stable")
    rows, places = rows[by_entry], places[by_entry]
    numbers, done = candidates[rows, places], 0
    for bands, members in _patterns(library):
        members = members[wanted[members]]
        if not len(members):
            continue
        space = _Space(background, bands)
        pixels, seen = space.directions(background.spectra), space.directions(spectra)
        for part in _parts(members):
            progress(done / wanted.sum(), "comparing the background with the best matches")
            targets = space.directions(library[part])
            of_background = np.sort((pixels @ targets.T).T, axis=1)
            for entry, target, values in zip(part, targets, of_background):
                chosen = slice(*np.searchsorted(numbers, (entry, entry + 1)))
                better = len(values) - np.searchsorted(values, seen[rows[chosen]] @ target)
                shares[rows[chosen], places[chosen]] = (better + 1) / (len(values) + 1)
            done += len(part)
    return shares


def _described(
    spectra: np.ndarray,
    library: np.ndarray,
    background: Background,
    wavelengths: np.ndarray,
    entries: np.ndarray,
    shares: np.ndarray,
    progress: Progress,
) -> Matches:
    """The `Matches` with these entries."""
    angles, features, coherences = (np.full(entries.shape, np.nan) for _ in range(3))
    count = np.zeros(entries.shape, int)
    rows, places = np.nonzero(entries >= 0)
    for number, (bands, members) in enumerate(_patterns(library[entries[rows, places]])):
        progress(number / len(rows), "absorption features of the matches")
        space = _Space(background, bands)
        for part in _parts(members):
            at = rows[part], places[part]
            own, other = spectra[at[0]][:, bands], library[entries[at]][:, bands]
            angles[at] = np.degrees(np.arccos(np.clip(np.sum(_unit(own) * _unit(other), axis=1), -1, 1)))
            coherences[at] = np.sum(space.directions(spectra[at[0]]) * space.directions(library[entries[at]]), axis=1)
            features[at] = _correlations(continuum_removed(own, wavelengths[bands]), continuum_removed(other, wavelengths[bands]))
            count[at] = int(bands.sum())
    return Matches(entries, np.where(entries >= 0, shares, np.nan), angles, features, np.minimum(coherences, 1.0), count)


def groups(spectra: np.ndarray, background: Background, angle: float, progress: Progress | None = None) -> np.ndarray:
    """Group of each of n spectra (n, bands), from 1, in the order of their first members; 0 for spectra with NaN.

    Any two of a group are less than `angle` degrees apart: the spectral angle between their deviations from the background, in units of how
    the background varies, so that a material is recognised whatever share of a pixel it fills. Agglomerative clustering with complete
    linkage of the first 5,000; further ones join the group with the nearest mean direction where that is as close, or stay alone.
    """
    from scipy.cluster.hierarchy import fcluster, linkage

    found, known = np.zeros(len(spectra), int), np.flatnonzero(np.isfinite(spectra).all(axis=1))
    directions = _unit((spectra[known] - background.mean) @ background.whitening())
    first = directions[:MOST_GROUPED]
    numbers = np.arange(1, len(known) + 1)
    if len(first) > 1:
        apart = _angles_apart(first, progress or Progress())
        numbers[: len(first)] = fcluster(linkage(apart, "complete"), np.radians(angle), "distance")
    if len(known) > len(first):
        sums = np.zeros((numbers[: len(first)].max() + 1, directions.shape[1]))
        np.add.at(sums, numbers[: len(first)], first)
        means, closest = _unit(sums[1:]), np.cos(np.radians(angle))
        for start in range(len(first), len(known), _CHUNK):
            cosines = directions[start : start + _CHUNK] @ means.T
            near = cosines.max(axis=1) >= closest
            alone = len(known) + np.arange(start, start + len(near))
            numbers[start : start + _CHUNK] = np.where(near, cosines.argmax(axis=1) + 1, alone)
    _, place, inverse = np.unique(numbers, return_index=True, return_inverse=True)
    found[known] = np.argsort(np.argsort(place))[inverse] + 1
    return found


def _angles_apart(directions: np.ndarray, progress: Progress) -> np.ndarray:
    """Angles in radians between all pairs of unit vectors (n, bands), in the order of `scipy.spatial.distance.pdist`."""
    count = len(directions)
    apart, done = np.empty(count * (count - 1) // 2), 0
    for row in range(count - 1):
        if row % _CHUNK == 0:
            progress(row / count, f"comparing {count} regions with each other")
            cosines = directions[row : row + _CHUNK] @ directions[row:].T
        here = cosines[row % _CHUNK, row % _CHUNK + 1 :]
        apart[done : done + len(here)] = np.arccos(np.clip(here, -1, 1))
        done += len(here)
    return apart


def spectral_angles(spectra: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Angles (n, m) in degrees between spectra (n, bands) and others (m, bands), over the bands that each of the others has (not NaN)."""
    has = np.isfinite(others)
    filled = np.where(has, others, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosines = spectra @ filled.T / np.sqrt((spectra**2 @ has.T) * np.sum(filled**2, axis=1))
    return np.degrees(np.arccos(np.clip(cosines, -1, 1)))


def continuum_removed(spectra: np.ndarray, wavelengths: np.ndarray) -> np.ndarray:
    """Spectra (n, bands) divided by their continuum, the upper convex hull over the wavelengths (bands,): 1 on it, less in absorptions.

    The hull is found for all spectra at once, by going from each of its corners to the one that is seen under the steepest slope. Where the
    hull is not positive, nothing is divided, and the value is 1.
    """
    order = np.argsort(wavelengths, kind="stable")
    x, y = np.asarray(wavelengths, float)[order], np.asarray(spectra, float)[:, order]
    bands, removed = len(x), np.ones(np.shape(spectra))
    for start in range(0, len(y), _CHUNK):
        part = y[start : start + _CHUNK]
        corner, going = np.zeros(len(part), int), np.arange(len(part))
        hull = part.copy()
        while going.size:
            here = corner[going]
            with np.errstate(divide="ignore", invalid="ignore"):
                slopes = (part[going] - part[going, here][:, None]) / (x - x[here][:, None])
            slopes[np.arange(bands) <= here[:, None]] = -np.inf
            following = bands - 1 - np.argmax(slopes[:, ::-1], axis=1)  # the last of equally steep ones
            steepest = slopes[np.arange(len(going)), following]
            between = (np.arange(bands) >= here[:, None]) & (np.arange(bands) <= following[:, None])
            line = part[going, here][:, None] + steepest[:, None] * (x - x[here][:, None])
            hull[going] = np.where(between, line, hull[going])
            corner[going] = following
            going = going[following < bands - 1]
        fine = hull > 0
        removed[start : start + _CHUNK][:, order] = np.where(fine, part / np.where(fine, hull, 1.0), 1.0)
    return removed


def _patterns(library: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Bands (bool) and the indices of the entries that have values in these; entries with too few bands are left out."""
    known = np.isfinite(library)
    if known.all():
        kinds, kind = known[:1], np.zeros(len(library), int)
    else:
        _, first, kind = np.unique(np.packbits(known, axis=1), axis=0, return_index=True, return_inverse=True)
        kinds = known[first]
    for number, bands in enumerate(kinds):
        if bands.sum() >= FEWEST_BANDS:
            yield bands, np.flatnonzero(kind.ravel() == number)


def _parts(members: np.ndarray, size: int = _CHUNK) -> Iterator[np.ndarray]:
    for start in range(0, len(members), size):
        yield members[start : start + size]


def _unit(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1.0)


def _strength(coherences: np.ndarray, bands: int) -> np.ndarray:
    """How hard coherences are to reach by chance in so many bands: entries with few bands are not preferred for that."""
    inside = np.clip(coherences, -1 + 1e-7, 1 - 1e-7)
    return inside * np.sqrt((bands - 1) / (1 - inside**2))


def _correlations(spectra: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Correlation of each pair of rows; 0 where one of them is flat."""
    return np.sum(_unit(spectra - spectra.mean(axis=1, keepdims=True)) * _unit(others - others.mean(axis=1, keepdims=True)), axis=1)

"""A simulated hyperspectral scene with known anomalies, made from a seed, on which every algorithm can be tried.

The scene is a landscape of fields, woods, water, roads and buildings as an imaging spectrometer on an aircraft sees it: mixed pixels,
materials that vary within their class, relief and shadows, a point spread function, signal-dependent noise, weak striping, and bands
without light where water vapour absorbs. The spectra of materials are synthetic curves with typical absorption features, not measurements.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.progress import Progress

ANOMALIES = ("painted metal", "tarpaulin", "plastic", "mineral", "camouflage net")

_CLASSES = ("crop", "meadow", "stubble", "soil", "wood", "water", "asphalt", "tiles", "metal roof", "concrete")
# Set by statistics of fifteen public scenes (docs/simulation.md), and not by what any detector finds.
_BUILT = ("asphalt", "tiles", "metal roof", "concrete")
_SHARE_OF_FIELDS = (0.1, 0.2, 0.3, 0.4)  # of the first four
_WATER = 0.01  # of the scene
_SHADE = 0.4  # of the sunlight in the shadow of a house
_SETTLEMENT = 4.0  # pixels from its middle to a typical house
_HOUSES = 80  # of a settlement
_ROOFS = 0.01  # typical relative difference of one roof from others of its class, by each of some curves
_VARIANTS = 3  # spectra of a class, mixed in proportions of each field and place
_VARIABILITY = 0.004  # typical relative difference of a place from others of its class, by each of some curves
_PECULIAR = 0.4  # of an anomaly's surface is of its own material; the rest is as roofs and roads are
_PARCEL = 350  # pixels of a field, and of the land for each house
_SUBPIXELS = 3  # the landscape is drawn on a grid this much finer than the pixels, each way
_GRID = np.arange(370.0, 2532.0, 2.0)  # nanometres


@dataclass(frozen=True)
class SimulatedScene:
    """A simulated scene.

    cube: (rows, columns, bands) int16, reflectance in units of `scale`; bands that are not good hold noise.
    wavelengths, fwhm: (bands,) centres and widths of the bands in nanometres.
    good: (bands,) bool, False where water vapour absorbs the light.
    truth: (rows, columns) uint8, 1 where an anomaly covers at least a tenth of the pixel.
    pixel_size: in metres. epsg, origin: the coordinate reference system, and (easting, northing) of the upper left corner in it.
    """

    cube: np.ndarray
    wavelengths: np.ndarray
    fwhm: np.ndarray
    good: np.ndarray
    truth: np.ndarray
    scale: float = 1e-4
    pixel_size: float = 2.0
    epsg: int = 32631
    origin: tuple[float, float] = (166_100.0, 5_000.0)  # in the sea near 0° east, 0° north, lest anyone take the scene for a place


def simulate_scene(
    rows: int = 120, columns: int = 120, band_count: int = 160, seed: int = 0, progress: Progress | None = None
) -> SimulatedScene:
    """Simulate a scene of 400-2500 nm; the same arguments give the same scene.

    Raises ValueError where there is no room for a landscape (32 rows and columns) or for spectra (8 bands).
    """
    if min(rows, columns) < 32 or band_count < 8:
        raise ValueError(f"a simulated scene needs at least 32 rows, 32 columns and 8 bands, not {rows}, {columns} and {band_count}")
    progress = progress or Progress()
    generator = np.random.default_rng(seed)
    wavelengths = np.linspace(400.0, 2500.0, band_count)
    fwhm = np.full(band_count, 1.1 * (wavelengths[1] - wavelengths[0]))
    photons = at_bands(_sunlight(_GRID) * _transmission(_GRID), wavelengths, fwhm)
    sky = at_bands(np.clip(0.22 * (_GRID / 550) ** -1.5, 0.03, 0.35), wavelengths, fwhm)  # skylight, which still lights a shadow
    scale = SimulatedScene.scale

    classes, parcels, sun = _landscape(rows, columns, generator, progress.part(0.0, 0.4))
    objects, ordinary, coverage = _plant(rows, columns, generator)
    curves, strengths = _variability(parcels, max(6, rows * columns // _PARCEL), wavelengths, generator)
    brightness = np.exp(0.02 * generator.standard_normal((rows, columns)) + 0.06 * _random_field(rows, columns, 1.2, generator))
    materials = [_class_spectrum(name, generator) for name in _CLASSES for _ in range(_VARIANTS)]
    materials += [anomaly_spectrum(name) for name in ANOMALIES]
    spectra = at_bands(np.stack(materials), wavelengths, fwhm).astype(np.float32)
    shares = np.empty((rows, columns, len(spectra)), dtype=np.float32)
    for index in range(len(_CLASSES)):
        progress(0.4 + 0.03 * index, f"mixing the materials, {index + 1} of {len(_CLASSES)}")
        share = (_pixel_means(classes == index) * (1 - coverage) + (1 - _PECULIAR) * coverage * (ordinary == index)) * brightness
        for variant, proportion in enumerate(_proportions(parcels, generator)):
            shares[..., index * _VARIANTS + variant] = _point_spread(share * proportion)
    for index in range(len(ANOMALIES)):
        shares[..., index - len(ANOMALIES)] = _point_spread(_PECULIAR * coverage * (objects == index) * brightness)

    cube = np.empty((rows, columns, band_count), dtype=np.int16)
    gain = 1 + 0.001 * generator.standard_normal(
        (columns, band_count), dtype=np.float32
    )  # every column and band has its own detector element
    for row in range(rows):
        progress(0.7 + 0.3 * row / rows, f"taking the image, row {row + 1} of {rows}")
        lit = sun[row, :, None]
        reflectance = shares[row] @ spectra * (1 + strengths[row] @ curves) * (lit + (1 - lit) * sky)
        noisy = reflectance * gain + _noise_level(reflectance, photons) * generator.standard_normal((columns, band_count), dtype=np.float32)
        cube[row] = np.clip(np.rint(noisy / scale), -32767, 32767)
    good = at_bands(_transmission(_GRID), wavelengths, fwhm) > 0.2
    return SimulatedScene(cube, wavelengths, fwhm, good, (coverage >= 0.1).astype(np.uint8))


def simulated_library(step: float = 5.0) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """A small spectral library of what simulated scenes are made of: wavelengths (k,) in nm, and name -> reflectance (k,).

    The anomalies as they are, and one spectrum of each class of the landscape, which scenes draw from the range of that class.
    """
    generator = np.random.default_rng(0)
    spectra = {name: anomaly_spectrum(name) for name in ANOMALIES}
    spectra.update({name: _class_spectrum(name, generator) for name in _CLASSES})
    wavelengths = np.arange(_GRID[0], _GRID[-1], step)
    return wavelengths, {name: np.interp(wavelengths, _GRID, spectrum) for name, spectrum in spectra.items()}


def at_bands(spectra: np.ndarray, wavelengths: np.ndarray, fwhm: np.ndarray) -> np.ndarray:
    """Spectra (..., grid) as bands of the given centres and widths (Gaussian responses) see them, (..., bands)."""
    response = np.exp(-4 * np.log(2) * ((_GRID - wavelengths[:, None]) / fwhm[:, None]) ** 2)
    return spectra @ (response / response.sum(axis=1, keepdims=True)).T


# The sensor. Light is relative to its maximum.


def _sunlight(w: np.ndarray) -> np.ndarray:
    """Photons of a black body of 5800 K."""
    photons = w**-4.0 / np.expm1(1.4388e7 / (w * 5800))
    return photons / photons.max()


def _transmission(w: np.ndarray) -> np.ndarray:
    """Transmission of the air, with the absorption of oxygen, carbon dioxide and above all water vapour."""
    depths = [(760, 4, 0.4), (820, 12, 0.1), (940, 22, 0.6), (1130, 25, 0.8), (1390, 32, 7), (1880, 50, 7), (2010, 14, 0.4), (2700, 90, 6)]
    return np.exp(-sum(depth * _peak(w, centre, width) for centre, width, depth in depths))


def _noise_level(reflectance: np.ndarray, photons: np.ndarray) -> np.ndarray:
    """Standard deviation of the reflectance: read-out noise and photon noise; the signal-to-noise ratio is about 500 in the green."""
    return np.sqrt(1.6e-4**2 + 1e-6 * np.clip(reflectance, 0, None) * photons) / photons


def _point_spread(image: np.ndarray) -> np.ndarray:
    """The image blurred: every pixel gives 7 % of its light to each neighbour along the rows, then the columns."""
    wider = np.pad(image, 1, mode="edge")
    image = 0.86 * wider[1:-1] + 0.07 * (wider[:-2] + wider[2:])
    return 0.86 * image[:, 1:-1] + 0.07 * (image[:, :-2] + image[:, 2:])


# The landscape.


def _random_field(rows: int, columns: int, roughness: float, generator: np.random.Generator) -> np.ndarray:
    """A field of mean 0 and variance 1 whose amplitude falls with the frequency to the power `roughness`: the larger, the smoother."""
    frequency = np.hypot(np.fft.fftfreq(rows, 1.0)[:, None], np.fft.rfftfreq(columns, 1.0)[None])
    frequency[0, 0] = np.inf
    field = np.fft.irfft2(np.fft.rfft2(generator.standard_normal((rows, columns))) * frequency**-roughness, s=(rows, columns))
    return (field - field.mean()) / field.std()


def _landscape(rows: int, columns: int, generator: np.random.Generator, progress: Progress) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Class (fine grid), parcel (pixels), and share of the full sunlight (pixels): parcels are fields or single roofs."""
    from scipy.spatial import cKDTree

    height, width = rows * _SUBPIXELS, columns * _SUBPIXELS
    y, x = np.ogrid[:height, :width]

    def draw_field(roughness: float, fraction: float, what: str) -> np.ndarray:
        progress(fraction, f"drawing the landscape, {what}")
        return _random_field(height, width, roughness, generator)

    bend = [6 * _SUBPIXELS * draw_field(2.0, fraction, "borders") for fraction in (0.0, 0.1)]
    count = max(6, rows * columns // _PARCEL)
    tree = cKDTree(generator.uniform(0, 1, (count, 2)) * (height, width))
    parcels = np.empty((height, width), dtype=np.int32)
    for first in range(0, height, 64):
        progress(0.2 + 0.2 * first / height, "drawing the landscape, fields")
        rows_now = slice(first, first + 64)
        _, parcels[rows_now] = tree.query(np.stack([y[rows_now] + bend[0][rows_now], x + bend[1][rows_now]], axis=-1))
    classes = generator.choice(len(_SHARE_OF_FIELDS), count, p=_SHARE_OF_FIELDS).astype(np.int8)[parcels]
    slope = np.gradient(draw_field(1.8, 0.4, "relief"), axis=1)
    sun = 1 + 0.1 * slope / slope.std()

    trees = draw_field(1.3, 0.5, "woods")
    wood = trees > np.quantile(trees, 0.86)
    classes[wood] = _CLASSES.index("wood")
    sun[wood] *= np.exp(0.2 * draw_field(0.5, 0.6, "shade of the trees")[wood])
    wet = draw_field(2.2, 0.7, "water")
    classes[wet < np.quantile(wet, _WATER)] = _CLASSES.index("water")
    roads = max(2, round((rows + columns) / 60))
    for road in range(roads):
        progress(0.8 + 0.1 * road / roads, "drawing the landscape, roads")
        angle, thickness = generator.uniform(0, np.pi), generator.uniform(1.0, 3.5) * _SUBPIXELS
        through = generator.uniform(0, 1, 2) * (height, width)
        distance = np.abs((y - through[0]) * np.cos(angle) + (x - through[1]) * np.sin(angle) + bend[0])
        classes[distance < thickness / 2] = _CLASSES.index("asphalt")
    houses = rows * columns // _PARCEL
    middles = generator.uniform(0, 1, (max(1, round(houses / _HOUSES)), 2)) * (height, width)
    for house in range(houses):
        progress(0.9 + 0.1 * house / houses, "drawing the landscape, houses")
        place = middles[house % len(middles)] + _SETTLEMENT * _SUBPIXELS * generator.standard_normal(2)
        _build(classes, parcels, sun, count + house, place, generator)
    middle = slice(_SUBPIXELS // 2, None, _SUBPIXELS)
    return classes, parcels[middle, middle], _pixel_means(np.clip(sun, 0, 1.4)).astype(np.float32)


def _build(
    classes: np.ndarray, parcels: np.ndarray, sun: np.ndarray, parcel: int, place: np.ndarray, generator: np.random.Generator
) -> None:
    """Place one house and its shadow to the north-west, unless on water or beyond the scene."""
    half = generator.uniform(1.0, 4.0, 2) * _SUBPIXELS
    reach = int(np.ceil(np.hypot(*half) + 2 * _SUBPIXELS))
    row, column = (int(at) for at in place)
    outside = not (0 <= row < classes.shape[0] and 0 <= column < classes.shape[1])
    if outside or classes[row, column] == _CLASSES.index("water"):
        return
    angle = generator.uniform(0, np.pi / 2)
    name = generator.choice(["tiles", "metal roof", "concrete"], p=[0.5, 0.2, 0.3])
    top, left = max(row - reach, 0), max(column - reach, 0)
    window = (slice(top, row + reach), slice(left, column + reach))
    y, x = np.mgrid[top : top + classes[window].shape[0], left : left + classes[window].shape[1]]

    def inside(dy: int, dx: int) -> np.ndarray:
        along = (y - row - dy) * np.cos(angle) + (x - column - dx) * np.sin(angle)
        across = (x - column - dx) * np.cos(angle) - (y - row - dy) * np.sin(angle)
        return (np.abs(along) < half[0]) & (np.abs(across) < half[1])

    house = inside(0, 0)
    sun[window][inside(-_SUBPIXELS, -_SUBPIXELS) & ~house] *= _SHADE
    sun[window][house] = np.where(x + y > row + column, 1.1, 0.85)[house]  # two sides of the roof
    classes[window][house] = _CLASSES.index(name)
    parcels[window][house] = parcel


def _pixel_means(fine: np.ndarray) -> np.ndarray:
    rows, columns = (size // _SUBPIXELS for size in fine.shape)
    return fine.reshape(rows, _SUBPIXELS, columns, _SUBPIXELS).mean(axis=(1, 3))


def _proportions(parcels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Proportions (variants, rows, columns) in which the variants of a class mix: typical of the parcel, and varying within it."""
    rows, columns = parcels.shape
    typical = generator.normal(0, 1.2, (parcels.max() + 1, _VARIANTS))[parcels]
    weights = [np.exp(typical[..., v] + 0.7 * _random_field(rows, columns, 1.0, generator)) for v in range(_VARIANTS)]
    return np.stack(weights) / sum(weights)


def _variability(
    parcels: np.ndarray, fields: int, wavelengths: np.ndarray, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Smooth curves (curves, bands) and their strengths (rows, columns, curves): paints, moisture, weathering, beyond mixtures.

    parcels: of each pixel; the first `fields` of them are fields, the others roofs.
    """
    rows, columns = parcels.shape
    smoothness = np.array([30, 30, 30, 30, 60, 60, 60, 120, 120, 200, 200, 400])[:, None, None]
    weights = _peak(wavelengths[:, None], _GRID, smoothness)
    curves = (weights @ generator.standard_normal((len(smoothness), _GRID.size, 1)))[..., 0]
    curves /= curves.std(axis=1, keepdims=True)
    unevenness = np.exp(0.2 * _random_field(rows, columns, 1.0, generator))
    own = _ROOFS * generator.standard_t(3, (parcels.max() + 1, len(curves)))
    own[:fields] = 0
    strengths = [_VARIABILITY * unevenness * _random_field(rows, columns, 0.7, generator) + each[parcels] for each in own.T]
    return curves.astype(np.float32), np.stack(strengths, axis=-1).astype(np.float32)


def _plant(rows: int, columns: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Index into ANOMALIES, class of the ordinary rest of the surface, and the share of the pixel that the anomaly covers (0 without).

    Objects of 3 to 18 pixels, small ones more common than large. None covers its pixels: 0.8 to 1 of the best of them, down to a
    quarter of that in the others.
    """
    cell, reach = 14, 5  # every object lies within its own cell, away from its rim
    grid = (rows // cell, columns // cell)
    count = max(3, rows * columns // 1200)
    cells = generator.permutation(grid[0] * grid[1])[:count]
    kinds = generator.permutation(np.arange(count) % len(ANOMALIES))
    sizes = np.round(3 * (18 / 3) ** ((np.arange(count) + 0.5) / count)).astype(np.intp)
    covered = generator.uniform(0.8, 1.0, count)
    rests = generator.choice([_CLASSES.index(name) for name in _BUILT], count)
    objects, ordinary = np.zeros((2, rows, columns), dtype=np.int8)
    coverage = np.zeros((rows, columns))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    for number in range(count):
        row, column = (cell * c + int(generator.integers(reach, cell - reach)) for c in divmod(int(cells[number]), grid[1]))
        angle, elongation = generator.uniform(0, np.pi), generator.uniform(1, 1.6)
        distance = np.hypot((y * np.cos(angle) + x * np.sin(angle)) * elongation, (x * np.cos(angle) - y * np.sin(angle)) / elongation)
        nearest = np.argsort(distance, axis=None, kind="stable")[: sizes[number]]
        place = (row + y.ravel()[nearest], column + x.ravel()[nearest])
        objects[place], ordinary[place] = kinds[number], rests[number]
        coverage[place] = covered[number] * generator.uniform(0.25, 1.0, sizes[number])
    return objects, ordinary, coverage


# Reflectance of materials on the fine grid.


def _peak(w: np.ndarray, centre: float | np.ndarray, width: float | np.ndarray) -> np.ndarray:
    return np.exp(-0.5 * ((w - centre) / width) ** 2)


def _edge(w: np.ndarray, centre: float, width: float) -> np.ndarray:
    return 1 / (1 + np.exp(-(w - centre) / width))


def _absorbed(w: np.ndarray, *bands: tuple[float, float, float]) -> np.ndarray:
    """Product of absorption bands of (centre, width, depth)."""
    return np.prod([1 - depth * _peak(w, centre, width) for centre, width, depth in bands], axis=0)


def _water_absorption(w: np.ndarray, thickness: float) -> np.ndarray:
    """Transmission of about that many millimetres of liquid water."""
    depths = [(970, 35, 0.07), (1200, 45, 0.16), (1450, 70, 1.3), (1780, 90, 0.3), (1940, 90, 2.2), (2500, 260, 2.0)]
    return np.exp(-thickness * sum(depth * _peak(w, centre, width) for centre, width, depth in depths))


def _leaves(w: np.ndarray, green: float, plateau: float, moisture: float) -> np.ndarray:
    visible = 0.025 + green * (_peak(w, 552, 32) + 0.35 * _peak(w, 640, 40))
    return (visible + (plateau - visible) * _edge(w, 716, 13)) * (1 - 0.3 * _edge(w, 1500, 250)) * _water_absorption(w, moisture)


def _straw(w: np.ndarray, level: float) -> np.ndarray:
    rising = 0.05 + level * (1 - np.exp(-(w - 370) / 450))
    return rising * _absorbed(w, (675, 25, 0.06), (1460, 60, 0.12), (1730, 30, 0.06), (1935, 70, 0.22), (2100, 60, 0.16), (2310, 50, 0.16))


def _soil(w: np.ndarray, level: float, iron: float, clay: float, moisture: float) -> np.ndarray:
    rising = level * (0.15 + 0.85 * (1 - np.exp(-(w - 370) / 600)))
    minerals = _absorbed(w, (490, 70, 0.5 * iron), (880, 80, 0.3 * iron), (1415, 20, clay), (2205, 20, clay))
    return rising * minerals * _water_absorption(w, moisture)


def _class_spectrum(name: str, generator: np.random.Generator) -> np.ndarray:
    """Reflectance of one material of a class, drawn within the range of the class."""
    w, between = _GRID, generator.uniform
    if name == "crop":
        return _leaves(w, between(0.03, 0.07), between(0.40, 0.55), between(0.6, 1.1))
    if name == "meadow":
        grass = _leaves(w, between(0.05, 0.08), between(0.35, 0.45), between(0.4, 0.8))
        return between(0.55, 0.8) * grass + 0.3 * _straw(w, between(0.2, 0.4))
    if name == "stubble":
        return 0.6 * _straw(w, between(0.3, 0.45)) + 0.4 * _soil(w, between(0.25, 0.4), between(0.2, 0.6), 0.1, 0.1)
    if name == "soil":
        return _soil(w, between(0.22, 0.45), between(0.1, 0.8), between(0.03, 0.15), between(0.0, 0.3))
    if name == "wood":
        return 0.8 * _leaves(w, between(0.015, 0.035), between(0.28, 0.42), between(0.8, 1.4))
    if name == "water":
        return 0.004 + (0.02 + between(0, 0.06) * _peak(w, between(510, 570), 70)) * (1 - _edge(w, 690, 30))
    if name == "asphalt":
        rising = between(0.05, 0.1) + between(0.04, 0.08) * (1 - np.exp(-(w - 370) / 800))
        return rising * _absorbed(w, (1730, 20, 0.02), (2310, 35, 0.05))
    if name == "tiles":
        red = 0.06 + between(0.2, 0.35) * _edge(w, 590, 30)
        return red * _absorbed(w, (870, 70, between(0.1, 0.25)), (2205, 25, 0.04)) * _water_absorption(w, 0.05)
    if name == "metal roof":
        return between(0.2, 0.4) * (1 + between(-0.1, 0.25) * (w - 400) / 2100) * _absorbed(w, (850, 150, 0.08), (2310, 30, 0.03))
    concrete = between(0.25, 0.4) * (1 - 0.6 * np.exp(-(w - 370) / 200))
    return concrete * _absorbed(w, (1415, 20, 0.03), (2335, 35, between(0.04, 0.1))) * _water_absorption(w, 0.06)


def anomaly_spectrum(name: str) -> np.ndarray:
    """Reflectance on the fine grid of one of ANOMALIES."""
    w = _GRID
    carbon_hydrogen = ((1195, 15, 0.08), (1730, 20, 0.25), (2310, 30, 0.35))  # of plastics and paints
    if name == "painted metal":
        return (0.07 + 0.18 * _peak(w, 465, 45) + 0.22 * _edge(w, 820, 60)) * _absorbed(w, (1730, 20, 0.08), (2310, 30, 0.15))
    if name == "tarpaulin":
        return (0.06 + 0.22 * _peak(w, 455, 40) + 0.40 * _edge(w, 750, 35)) * _absorbed(w, *carbon_hydrogen)
    if name == "plastic":
        return 0.55 * _edge(w, 405, 12) * _absorbed(w, *carbon_hydrogen) * (1 - 0.25 * _edge(w, 1900, 200))
    if name == "mineral":
        return 0.42 * (1 - np.exp(-(w - 300) / 300)) * _absorbed(w, (1480, 30, 0.15), (1760, 18, 0.12), (2165, 25, 0.3), (2320, 20, 0.15))
    return (0.04 + 0.04 * _peak(w, 550, 35) + 0.34 * _edge(w, 705, 22)) * _absorbed(w, (1730, 20, 0.1), (2310, 30, 0.15))  # camouflage net

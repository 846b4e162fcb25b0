"""Search: from known targets to the map of what is like them, in one scene or many."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..detectors.registry import DETECTORS
from ..detectors.target.own_pixels import OwnPixels
from ..scenes.raster import RasterCube
from .detect import Detection, detect
from .extract import Extraction, extract, threshold_at
from .outputs import check_outputs
from .parameters import MIN_AREA, RATE
from .sources import RasterSource
from .targets import Targets, targets_of_libraries, targets_of_regions, used_bands

if TYPE_CHECKING:
    from ..detectors.contract import Detector
    from ..scenes.raster import RasterFile
    from .run import Run
    from .sources import RegionSource


@dataclass(frozen=True)
class Search(Detection):
    """The settings of a search in one scene: a `Detection` whose detector is told its `targets` instead of learning.

    kind: of a detector of targets in `registry.DETECTORS`. settings: of that detector, besides the targets. regions: .gpkg for what scores
    above the threshold at the false-alarm rate `rate`, or None. min_area: see `Extraction`.
    """

    targets: Targets = None  # type: ignore[assignment]  # fields of a base class have defaults
    regions: str | None = None
    rate: float = RATE.default
    min_area: int = MIN_AREA.default

    @property
    def learns(self) -> bool:
        return False

    def chosen(self, cube: RasterCube, run: Run) -> RasterCube:
        """The cube of those bands for which the targets are known."""
        numbers = used_bands(self.targets.seen_by(cube.raster), cube.numbers, cube.raster.name, run)
        return cube if numbers == cube.numbers else RasterCube(cube.raster, numbers, cube.mask, run.memory)

    def told(self, raster: RasterFile, numbers: Sequence[int]) -> Detector:
        places, own = [number - 1 for number in numbers], OwnPixels()
        if self.targets.shares_bands(raster):
            marked = [(place, numbers.index(number)) for place, number in enumerate(self.targets.marked) if number in numbers]
            marks = self.targets.marks[:, [place for place, _ in marked]]
            own = OwnPixels(self.targets.positions, marks, [band for _, band in marked])
        spectra = self.targets.seen_by(raster)[:, places]
        return DETECTORS[self.kind](spectra, names=self.targets.names, own=own, **self.settings)  # type: ignore[call-arg]

    def described(self) -> dict[str, Any]:
        source = self.targets.scene.name if self.targets.scene else self.targets.library.files[0]  # type: ignore[union-attr]
        return {"targets": "; ".join(self.targets.names), "targets_of": source, **self.settings}

    def asked(self) -> dict[str, Any]:
        digest = hashlib.sha256()
        for spectra in (self.targets.spectra, self.targets.marks, *(self.targets.library.values if self.targets.library else ())):
            digest.update(b"" if spectra is None else " ".join(f"{value:.6g}" for value in spectra.flat).encode())
        outlined = {"rate": self.rate, "smallest region": self.min_area} if self.regions else {}
        return {**super().asked(), "targets": "; ".join(self.targets.names), "their spectra": digest.hexdigest()[:16], **outlined}

    @property
    def _map(self) -> RasterSource:
        return RasterSource(self.output, os.path.basename(self.output))

    def finish(self, run: Run) -> float | None:
        """Outline what lies above the threshold, where that is asked for. Returns the threshold, None where none can be found."""
        if self.regions:
            threshold, _ = extract(Extraction(self._map, self.regions, rate=self.rate, min_area=self.min_area), run)
            return threshold
        try:
            threshold = threshold_at(self._map, self.rate, run)
        except ValueError as error:
            run.log(f"No threshold: {error}")
            return None
        run.log(f"Threshold at a false-alarm rate of {self.rate:g}: {threshold:.6g}.")
        return threshold


@dataclass(frozen=True)
class SimilarPlaces:
    """The settings of a search for what is like some targets.

    searches: a `Search` for each scene, without targets. scene: `RasterSource` that the regions `sought` lie in, or None. sought:
    `RegionSource`, polygons or points whose mean spectra are the targets, or None for entries of `libraries`, files and folders, which
    `entries` names. model: .pt for the targets, with which Explain anomalies explains the map of the first scene, or None.
    """

    searches: Sequence[Search]
    sought: RegionSource | None = None
    scene: RasterSource | None = None
    libraries: Sequence[str] = ()
    entries: Sequence[str] = ()
    model: str | None = None

    def with_targets(self, run: Run) -> list[Search]:
        """The searches with their targets. Raises ValueError, with the remedy, where there are none, or they do not fit a scene."""
        if (self.sought is None) == (not self.libraries):
            raise ValueError("Give regions of a scene or a spectral library: one of the two, whose spectra are searched for.")
        if self.libraries:
            targets = targets_of_libraries(self.libraries, self.entries, run)
        else:
            scene = self.scene or self.searches[0].scene
            targets = targets_of_regions(scene, self.sought, self.searches[0].bands, run)  # type: ignore[arg-type]
        if len(targets.names) > 1:
            run.log(f"{len(targets.names)} targets are searched for as one kind: what mixtures of them explain scores high.")
        searches = []
        for search in self.searches:
            raster = search.scene.open()
            seen = targets.seen_by(raster)
            good = [number for number in range(1, raster.count + 1) if raster.table.good[number - 1]]
            used_bands(seen, search.bands or good, raster.name, replace(run, log=lambda line: None))
            bands = search.bands if self.libraries or targets.shares_bands(raster) else ()
            searches.append(replace(search, targets=targets, bands=bands))
        return searches


def find_similar(places: SimilarPlaces, run: Run) -> list[float | None]:
    """Map what is like the targets in each scene, and outline it where that is asked for. Returns the threshold of each map.

    Raises ValueError, with the remedy, for what does not fit.
    """
    inputs: list[object] = [*places.libraries, places.sought, places.scene]
    for search in places.searches:
        inputs += [search.scene, search.mask]
    outputs = [(each, suffix) for search in places.searches for each, suffix in ((search.output, ".tif"), (search.regions, ".gpkg"))]
    check_outputs([*outputs, (places.model, ".pt")], inputs, run.scratch)
    searches = places.with_targets(run.part(0.0, 0.05))
    thresholds = []
    for number, search in enumerate(searches):
        ready = detect(search, run.part(0.05 + 0.95 * number / len(searches), 0.05 + 0.95 * (number + 1) / len(searches)))
        thresholds.append(ready.threshold)
        if places.model and number == 0:
            ready.model.save(places.model)
    return thresholds

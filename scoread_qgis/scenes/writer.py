"""GeoTIFFs that appear whole or not at all: anomaly maps, written by rows and cloud-optimised, and scenes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from osgeo import gdal

from ..core.files import absolute, unfinished_file
from ..core.progress import Progress
from .gdal_calls import gdal_failures
from .georeference import Georeference
from .provenance import Facts, write_provenance

if TYPE_CHECKING:
    from .extent import Area
    from .raster import RasterFile
    from .score_map import ScoreMap

_LAYOUT = ["TILED=YES", "BIGTIFF=IF_SAFER"]
_COMPRESSION = ["COMPRESS=DEFLATE", "ZLEVEL=4", "NUM_THREADS=2"]
_CLOUD_OPTIMISED = ["BLOCKSIZE=256", "COMPRESS=DEFLATE", "LEVEL=4", "PREDICTOR=YES", "BIGTIFF=IF_SAFER", "NUM_THREADS=2"]
_WINDOW = 512, 2048  # rows and columns worked on at a time, whole tiles of the file
AnyTiff = TypeVar("AnyTiff", bound="_GeoTiff")


class _GeoTiff:
    """A GeoTIFF under a temporary name beside `path`; leaving the `with` block without an error gives it its name.

    Nothing that was at `path` is touched before that. Raises ValueError, with the remedy, where it cannot be written.
    """

    dataset: gdal.Dataset  # None outside of the `with` block

    def __init__(
        self,
        path: str | os.PathLike[str],
        rows: int,
        columns: int,
        bands: int,
        data_type: int,
        georeference: Georeference,
        options: Sequence[str] = (),
        cloud_optimised: bool = False,
    ) -> None:
        self.path = absolute(path)
        if os.path.splitext(self.path)[1].lower() not in (".tif", ".tiff"):
            raise ValueError(f"{path}: results are written as GeoTIFF. Give the file a name that ends in .tif.")
        if os.path.isdir(self.path):
            raise ValueError(f"{path} is a folder. Give the name of a file.")
        compression = () if cloud_optimised else _COMPRESSION
        self._shape, self._grid = (columns, rows, bands, data_type, [*_LAYOUT, *compression, *options]), georeference
        self._cloud_optimised = cloud_optimised
        self.dataset = None

    def __enter__(self: AnyTiff) -> AnyTiff:
        with ExitStack() as stack:
            pieces = self._part = str(stack.enter_context(unfinished_file(self.path, "raster")))
            if self._cloud_optimised:
                pieces += ".pieces"
                stack.enter_context(_removed(pieces))
            with self._checked():
                self.dataset = gdal.GetDriverByName("GTiff").Create(pieces, *self._shape)
            self._grid.write(self.dataset)
            self._begin()
            self._open = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._open:  # which sees the errors raised here
            try:
                if error is not None:
                    raise error
                self._finish()
                self._close()
            finally:
                self.dataset = None

    def _begin(self) -> None:
        """What is written before the rows."""

    def _finish(self) -> None:
        """What remains to be written once all rows are there."""

    @contextmanager
    def _checked(self) -> Iterator[None]:
        """Raise ValueError for any failure that GDAL reports inside."""
        with gdal_failures() as failures:
            yield
        if failures:
            raise ValueError(f"{self.path} cannot be written: {failures[0]}. Is the disk full? Or was its folder removed?")

    def _close(self) -> None:
        """Flush everything and read it back: GDAL reports a full disk only at the last moment."""
        with self._checked():
            self.dataset.FlushCache()
        if self._cloud_optimised:
            with self._checked():
                self.dataset = gdal.GetDriverByName("COG").CreateCopy(self._part, self.dataset, options=_CLOUD_OPTIMISED)
        with self._checked():
            self.dataset = None
        with self._checked():
            written = gdal.OpenEx(self._part, gdal.OF_RASTER | gdal.OF_READONLY | gdal.OF_VERBOSE_ERROR)
        for window in _windows(written.RasterYSize, written.RasterXSize):
            with self._checked():
                written.GetRasterBand(1).ReadRaster(*window)


class MapWriter(_GeoTiff):
    """Writes an anomaly map piece by piece: one Float32 band on the grid and CRS of the scene, NaN where not scored.

    path: .tif. raster: the scene's `RasterFile`. description: what the band shows. area: of the scene that the map covers, (first row, row
    after the last one, first column, column after the last one); by default the whole. metadata: facts of `provenance.write_provenance`.
    With overviews that keep the largest value of the pixels below, so that a single anomalous pixel is still seen from afar, and with
    statistics. The layout is that of a cloud-optimised GeoTIFF, where the overviews come before the pixels that they are made from: so
    the pieces are written uncompressed to a temporary file, from which the map is made at the end.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        raster: RasterFile,
        description: str,
        area: Area | None = None,
        metadata: Facts | None = None,
    ) -> None:
        whole = (0, raster.rows, 0, raster.columns)
        first, last, left, right = covered = tuple(area or whole)
        georeference = raster.georeference if covered == whole else raster.georeference.of_window(first, left)
        super().__init__(path, last - first, right - left, 1, gdal.GDT_Float32, georeference, cloud_optimised=True)
        self._description, self._raster, self._metadata = description, raster, metadata or {}
        self._first, self._left = first, left
        self._count, self._sum, self._squares, self._lowest, self._highest = 0, 0.0, 0.0, np.inf, -np.inf

    def _begin(self) -> None:
        self._band = self.dataset.GetRasterBand(1)
        self._band.SetNoDataValue(float("nan"))
        self._band.SetDescription(self._description)
        write_provenance(self.dataset, self._metadata)

    def write(self, row: int, scores: np.ndarray, column: int | None = None) -> None:
        """A piece of the map, (rows, columns) float32, from the row `row` and the column `column` of the scene on, by default its first."""
        with self._checked():
            self._band.WriteArray(scores, 0 if column is None else int(column - self._left), int(row - self._first))
        scored = scores[np.isfinite(scores)].astype(np.float64)
        if scored.size:
            self._count += scored.size
            self._sum += scored.sum()
            self._squares += np.square(scored).sum()
            self._lowest, self._highest = min(self._lowest, scored.min()), max(self._highest, scored.max())

    def _finish(self) -> None:
        if self._count == 0:
            raise ValueError(
                "No pixel of the scene could be scored: each has nodata or no finite value in one of the bands used, or lies outside of "
                "the mask." + (f" {count} values beyond ±1e18 were taken for nodata." if (count := self._raster.out_of_range) else "")
            )
        mean = self._sum / self._count
        deviation = max(self._squares / self._count - mean**2, 0.0) ** 0.5
        self._band.SetStatistics(float(self._lowest), float(self._highest), mean, deviation)
        self._band.SetMetadataItem(
            "STATISTICS_VALID_PERCENT", f"{100 * self._count / (self.dataset.RasterXSize * self.dataset.RasterYSize):.4g}"
        )
        with self._checked():
            self.dataset.FlushCache()
        self._write_overviews()

    def _write_overviews(self) -> None:
        factors: list[int] = []
        while max(self.dataset.RasterXSize, self.dataset.RasterYSize) / 2 ** len(factors) > 256:
            factors.append(2 ** (len(factors) + 1))
        if not factors:
            return
        with self._checked():
            self.dataset.BuildOverviews("NONE", factors)
        finer = self._band
        for level in range(len(factors)):
            coarser = self._band.GetOverview(level)
            for column, row, columns, rows in _windows(coarser.YSize, coarser.XSize):
                below = finer.ReadAsArray(
                    2 * column, 2 * row, min(2 * columns, finer.XSize - 2 * column), min(2 * rows, finer.YSize - 2 * row)
                )
                with self._checked():
                    coarser.WriteArray(_largest_of_four(below, rows, columns), column, row)
            finer = coarser


class MaskWriter(_GeoTiff):
    """Writes by rows where a map has anomalies: one Byte band on its grid and CRS, 1 there, 0 elsewhere, 255 (nodata) where not scored.

    path: .tif. score_map: `ScoreMap`. metadata: facts of `provenance.write_provenance`.
    """

    def __init__(self, path: str | os.PathLike[str], score_map: ScoreMap, metadata: Facts | None = None) -> None:
        super().__init__(path, score_map.rows, score_map.columns, 1, gdal.GDT_Byte, score_map.georeference)
        self._metadata = metadata or {}

    def _begin(self) -> None:
        self._band = self.dataset.GetRasterBand(1)
        self._band.SetNoDataValue(255)
        self._band.SetDescription("Anomaly")
        write_provenance(self.dataset, self._metadata)

    def write(self, row: int, anomalous: np.ndarray, valid: np.ndarray) -> None:
        """Rows of the mask from `row` on, both (rows, columns) bool."""
        with self._checked():
            self._band.WriteArray(np.where(valid, anomalous, 255).astype(np.uint8), 0, int(row))


@contextmanager
def _removed(path: str) -> Iterator[None]:
    """Remove the file at a path when the block ends."""
    try:
        yield
    finally:
        with suppress(OSError):
            os.remove(path)


def _windows(rows: int, columns: int) -> Iterator[tuple[int, int, int, int]]:
    """First column, first row, columns and rows of the windows that make up a raster."""
    height, width = _WINDOW
    for row in range(0, rows, height):
        for column in range(0, columns, width):
            yield column, row, min(width, columns - column), min(height, rows - row)


def _largest_of_four(values: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """The maximum over 2 x 2 pixels, NaN only where all are; (rows, columns)."""
    padded = np.full((2 * rows, 2 * columns), np.nan, np.float32)
    padded[: values.shape[0], : values.shape[1]] = values
    return np.fmax(np.fmax(padded[::2, ::2], padded[1::2, ::2]), np.fmax(padded[::2, 1::2], padded[1::2, 1::2]))


def write_scene(
    path: str | os.PathLike[str],
    values: np.ndarray,
    geotransform: Sequence[float] | None = None,
    crs: str = "",
    wavelengths: Sequence[float] | np.ndarray | None = None,
    fwhm: Sequence[float] | np.ndarray | None = None,
    good: Sequence[bool] | np.ndarray | None = None,
    scale: float | None = None,
    nodata: float | None = None,
    descriptions: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> None:
    """Write a cube in memory, (rows, columns, bands) or one band (rows, columns), as a GeoTIFF with what is known of its bands.

    wavelengths, fwhm: (bands,) nm; good: (bands,) flags, written as `bbl`; scale: factor from stored to physical values.
    """
    progress = progress or Progress()
    cube = values[..., None] if values.ndim == 2 else values
    rows, columns, bands = cube.shape
    codes = {
        dtype: code
        for code, dtype in (
            (gdal.GDT_Byte, "u1"),
            (gdal.GDT_UInt16, "u2"),
            (gdal.GDT_Int16, "i2"),
            (gdal.GDT_UInt32, "u4"),
            (gdal.GDT_Int32, "i4"),
            (gdal.GDT_Float32, "f4"),
        )
    }
    code = codes.get(cube.dtype.str[1:], gdal.GDT_Float64)
    with _GeoTiff(path, rows, columns, bands, code, Georeference(geotransform, crs), ["INTERLEAVE=BAND"]) as file:
        for index in range(bands):
            progress(index / bands, f"writing band {index + 1} of {bands}")
            band = file.dataset.GetRasterBand(index + 1)
            with file._checked():
                band.WriteArray(np.ascontiguousarray(cube[..., index]))
            if nodata is not None:
                band.SetNoDataValue(float(nodata))
            if scale is not None:
                band.SetScale(float(scale))
                band.SetOffset(0.0)
            name = f"band {index + 1}" if descriptions is None else descriptions[index]
            if wavelengths is not None:
                band.SetMetadataItem("wavelength", f"{wavelengths[index]:.6g}")
                band.SetMetadataItem("wavelength_units", "Nanometers")
                name += f" ({wavelengths[index]:.6g} nm)"
            if fwhm is not None:
                band.SetMetadataItem("fwhm", f"{fwhm[index]:.6g}")
            if good is not None:
                band.SetMetadataItem("bbl", str(int(good[index])))
            band.SetDescription(name)

"""A raster as a cube: any file that GDAL opens, read-only, row by row, with scale, offset and nodata applied."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from osgeo import gdal

from ..core.cube import Cube
from ..core.errors import FileTrouble
from ..core.progress import Progress
from ..core.reading_ahead import ReadingAhead
from .bands import BandTable, check_bands, list_bands, match_wavelengths, read_band_table
from .block_cache import block_cache
from .gdal_calls import gdal_failures, open_dataset
from .georeference import Georeference
from .kept_rows import KeptRows
from .multidimensional import CubeVariable, open_cube_variable
from .nodata import NUMPY_TYPES, NoData
from .portions import FileBlocks, columns_within, rows_within
from .provenance import without_secrets

if TYPE_CHECKING:
    from .extent import Area
    from .mask import Mask

# No reflectance, radiance or count is that large: such values are undeclared fill values, and their squares overflow float32.
LARGEST_VALUE = 1e18
# A band without data over most of the scene would make most of the scene invalid, since a pixel needs all of its bands.
_MOSTLY_EMPTY = 0.5
# Suffixes of files that may be ENVI data; some tools write no suffix at all.
_ENVI_DATA = ("", ".dat", ".img", ".raw", ".bin", ".bsq", ".bil", ".bip", ".sli")


class RasterFile:
    """A hyperspectral raster on disk, opened read-only.

    source: path or GDAL connection string. name: what messages call it. crs: WKT that overrides the one in the file. nodata: `NoData` of
    the user.
    Attributes: rows, columns, count (all bands of the file), table (`BandTable`), georeference, and of that geotransform (None where
    unknown) and crs (WKT or ""); out_of_range: number of values beyond `LARGEST_VALUE` among those read so far.
    Raises ValueError, with a remedy, for anything that is not a hyperspectral raster.
    """

    def __init__(self, source: str, name: str | None = None, crs: str | None = None, nodata: NoData | None = None) -> None:
        self.source, self.name = source, name or without_secrets(source)
        self.dataset, table = self._open()
        self.rows, self.columns, self.count = self.dataset.RasterYSize, self.dataset.RasterXSize, self.dataset.RasterCount
        if self.count < 2:
            raise ValueError(
                f"{self.name} has {self.count} band{'s' if self.count != 1 else ''}: anomalies are found by their spectra. "
                "Use a raster with many spectral bands."
            )
        bands = [self.dataset.GetRasterBand(number) for number in range(1, self.count + 1)]
        self._types = [band.DataType for band in bands]
        self._check_types()
        self._check_size()
        self.georeference = Georeference.of(self.dataset, crs)
        self.geotransform, self.crs = self.georeference.geotransform, self.georeference.crs
        self.table = table or read_band_table(self.dataset)
        self.blocks = FileBlocks.of(self.dataset)
        self._reading = threading.Lock()  # GDAL's datasets are for one thread at a time
        self._kept: KeptRows | None = None
        self._user_nodata = nodata or NoData()
        self._nodata = [self._user_nodata.stored(band) for band in bands]
        self._scale = np.array([1.0 if band.GetScale() is None else band.GetScale() for band in bands], np.float32)
        self._offset = np.array([band.GetOffset() or 0.0 for band in bands], np.float32)
        self._check_scale()
        self.out_of_range = 0
        self._masked = bool(bands[0].GetMaskFlags() & gdal.GMF_PER_DATASET)

    def _open(self) -> tuple[gdal.Dataset, BandTable | None]:
        self._variable: CubeVariable | None
        self._variable, table = open_cube_variable(self.source)
        dataset, reason = None, ""
        if self._variable is not None:
            dataset = self._variable.dataset
        else:
            dataset, reason = open_dataset(self.source)
        if dataset is None:
            self._forget()
            raise FileTrouble(f"{self.name} cannot be opened as a raster: {reason}. {self._hint()}")
        if dataset.RasterCount == 0 and dataset.GetSubDatasets():
            names = "; ".join(source for source, _ in dataset.GetSubDatasets())
            raise ValueError(f"{self.name} is a container of several rasters. Choose one of: {names}")
        return dataset, table

    def _forget(self) -> None:
        """GDAL remembers what servers answered, failures too: another try asks again."""
        if self.source.startswith("/vsi"):
            gdal.VSICurlPartialClearCache(self.source)

    def _hint(self) -> str:
        """What to do about a file that GDAL does not open."""
        path = str(self.source)
        stem, suffix = os.path.splitext(path)
        if not os.path.isfile(path) or suffix.lower() not in _ENVI_DATA:
            return "Check that the file is whole and its format known."
        headers = [header for header in (f"{path}.hdr", f"{stem}.hdr", f"{path}.HDR", f"{stem}.HDR") if os.path.isfile(header)]
        if headers:
            return (
                f"Check that the file is whole and that its header {headers[0]} is one of ENVI, with samples, lines, bands and data type."
            )
        return (
            f"If it is an ENVI file, it needs its header, a text file {os.path.basename(stem)}.hdr beside it, which is missing: fetch that "
            "too. Otherwise check that the file is whole and its format known."
        )

    def _check_types(self) -> None:
        complex_bands = [number for number, code in enumerate(self._types, 1) if gdal.DataTypeIsComplex(code)]
        if complex_bands:
            code = self._types[complex_bands[0] - 1]
            raise ValueError(
                f"{self.name} has complex values ({gdal.GetDataTypeName(code)}) in band {list_bands(complex_bands)}. Convert them to real "
                "ones first, for instance to amplitude, or save the scene without."
            )

    def _check_scale(self) -> None:
        for what, values in (("scale", self._scale), ("offset", self._offset)):
            broken = np.flatnonzero(~np.isfinite(values))
            if broken.size:
                raise ValueError(
                    f"{self.name} has the {what} {values[broken[0]]:g} in band {list_bands(broken + 1)}, which leaves no values. Set the "
                    f"{what} of each band (gdal_edit.py -{what}), or save the scene without that band."
                )

    def _check_size(self) -> None:
        """GDAL reads zeros where an ENVI file ends too early; a scene must not have rows of them."""
        header = self.dataset.GetMetadata("ENVI")
        if not header or header.get("file_compression", "0") != "0":
            return
        offset = header.get("header_offset", "0").strip()
        if not offset.isdecimal():  # GDAL takes anything else for 0, and reads every value from the wrong place
            raise ValueError(
                f'{self.name} cannot be read: its ENVI header says "header offset = {offset}", which is not a number of bytes. Correct '
                "that line: 0 where the pixels begin with the file."
            )
        bits = gdal.GetDataTypeSize(self._types[0])
        needed = int(offset) + self.rows * self.columns * self.count * bits // 8
        size = gdal.VSIStatL(self.dataset.GetFileList()[0]).size
        if size < needed:
            raise ValueError(f"{self.name} is truncated: the file has {size} bytes and its header calls for {needed}. Fetch it again.")

    def _buffer(self, numbers: Sequence[int]) -> tuple[int, np.dtype]:
        """The GDAL and the numpy data type that hold the values of some bands, whose own types may differ."""
        types = {self._types[number - 1] for number in numbers}
        code = types.pop() if len(types) == 1 else gdal.GDT_Float64
        code = code if code in NUMPY_TYPES else gdal.GDT_Float64
        return code, np.dtype(NUMPY_TYPES[code])

    def read_bands(
        self, first: int, last: int, numbers: Sequence[int], left: int = 0, right: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows first..last-1 of columns left..right-1, by default all, of the bands `numbers` (from 1).

        Returns values (bands, rows, columns) float32, and where each of them holds a value, bool.
        """
        # GDAL does not take numpy's integers
        left, first, columns, rows = int(left), int(first), int((self.columns if right is None else right) - left), int(last - first)
        raw, masked = self._read_raw(first, rows, left, columns, numbers)
        dtype = raw.dtype
        index = np.asarray(numbers) - 1
        filled = np.ones(raw.shape, bool)
        for place, band in enumerate(index):
            if self._nodata[band] is not None:
                np.not_equal(raw[place], dtype.type(self._nodata[band]), out=filled[place])
        with np.errstate(over="ignore"):
            values = raw.astype(np.float32)
        scaled = bool(np.any(self._scale[index] != 1) or np.any(self._offset[index] != 0))
        if scaled:
            with np.errstate(over="ignore", invalid="ignore"):
                values *= self._scale[index, None, None]
                values += self._offset[index, None, None]
        for place, number in enumerate(numbers):
            self._user_nodata.exclude(number, values[place], filled[place], scaled)
        if scaled or dtype.kind == "f":
            measured = np.abs(values) < LARGEST_VALUE  # False for NaN too
            self.out_of_range += np.count_nonzero(filled & ~measured & ~np.isnan(values))
            filled &= measured
        if masked is not None:
            filled &= masked != 0
        return values, filled

    def keep(self, numbers: Sequence[int], memory: int) -> None:
        """Keep whole rows of the bands `numbers` as they are read, in a quarter of `memory` bytes, so that the next pass need not.

        Of what is kept already, the bands `numbers` are left.
        """
        with self._reading:
            if self._kept is not None and set(numbers) <= set(self._kept.numbers):
                self._kept = self._kept.limited_to(numbers)
            else:
                row_bytes = self.columns * (len(numbers) * self._buffer(numbers)[1].itemsize + self._masked)
                self._kept = KeptRows(numbers, min(memory // 4, self.rows * row_bytes), self.rows * row_bytes <= memory // 4)

    @property
    def kept_bytes(self) -> int:
        """What the rows that are kept may take."""
        return self._kept.most if self._kept is not None else 0

    def _read_raw(self, first: int, rows: int, left: int, columns: int, numbers: Sequence[int]) -> tuple[np.ndarray, np.ndarray | None]:
        """Values (bands, rows, columns) as they are stored, and the mask (rows, columns) of all bands, None where there is none."""
        with self._reading:
            kept = self._kept
            if kept is None or not set(numbers) <= set(kept.numbers):
                return self._read_file(first, rows, left, columns, numbers)
            keeps = columns == self.columns and list(numbers) == kept.numbers
            missing = kept.missing(first, first + rows)
            if kept.whole and list(numbers) == kept.numbers:  # then all of the blocks that these rows lie in are kept
                height = self.blocks.rows
                for start in sorted({row // height * height for span in missing for row in range(*span)}):
                    kept.add(start, *self._read_file(start, min(height, self.rows - start), 0, self.columns, numbers))
                missing = []
            elif missing == [(first, first + rows)]:
                raw, masked = self._read_file(first, rows, left, columns, numbers)
                if keeps:
                    kept.add(first, raw, masked)
                return raw, masked
            raw = np.empty((len(numbers), rows, columns), self._buffer(kept.numbers)[1])
            masked = np.empty((rows, columns), np.uint8) if self._masked else None
            kept.fill(first, left, numbers, raw, masked)
            for start, stop in missing:
                more, more_masked = self._read_file(start, stop - start, left, columns, numbers)
                if keeps:
                    kept.add(start, more, more_masked)
                raw[:, start - first : stop - first] = more
                if masked is not None:
                    masked[start - first : stop - first] = more_masked
            return raw, masked

    def _read_file(self, first: int, rows: int, left: int, columns: int, numbers: Sequence[int]) -> tuple[np.ndarray, np.ndarray | None]:
        """The same, from the file."""
        code, dtype = self._buffer(numbers)
        raw = np.empty((len(numbers), rows, columns), dtype)
        masked = np.empty((rows, columns), np.uint8) if self._masked else None
        read = None
        with block_cache(self, self.blocks.row_of_blocks(columns)), gdal_failures() as failures:
            row = first
            while row < first + rows:
                # Not across the border of two rows of blocks: the cache is for one of them.
                last = min(first + rows, (row // self.blocks.rows + 1) * self.blocks.rows)
                count, start = last - row, (row - first) * columns
                if self._variable is not None:
                    read = self._variable.read(row, count, left, columns, numbers, code)
                    if read is not None:
                        raw[:, row - first : last - first] = read
                else:
                    read = self.dataset.ReadRaster(
                        left, row, columns, count, band_list=[int(n) for n in numbers], buf_type=code,
                        buf_band_space=raw.strides[0], buf_obj=raw.reshape(-1)[start:],
                    )  # fmt: skip
                if masked is not None:
                    masked[row - first : last - first] = self.dataset.GetRasterBand(1).GetMaskBand().ReadAsArray(left, row, columns, count)
                if read is None or failures:
                    break
                row = last
        if read is None or failures:
            self._forget()
            raise FileTrouble(
                f"{self.name} cannot be read at rows {first + 1} to {first + rows}: "
                f"{failures[-1] if failures else 'GDAL does not say why'}. "
                "The file is probably truncated or damaged: fetch it again."
            )
        return raw, masked


@dataclass(frozen=True)
class BandChoice:
    """Which bands of a raster are used: `numbers` (from 1), and `left_out`: reason -> band numbers."""

    numbers: list[int]
    left_out: dict[str, list[int]]


@dataclass
class BandSurvey:
    """What the values of some bands show about them, over some rows of a scene.

    numbers: the bands, from 1. lowest, highest: (bands,) of their values. filled: (bands,) how many pixels hold a value; any_filled: how
    many hold one in any of these bands. out_of_range: number of values beyond `LARGEST_VALUE`. rows, of: how many rows were looked at, and
    how many there are.
    """

    numbers: list[int]
    lowest: np.ndarray
    highest: np.ndarray
    filled: np.ndarray
    any_filled: int = 0
    out_of_range: int = 0
    rows: int = 0
    of: int = 0

    def merge(self, other: BandSurvey) -> None:
        """Add the survey of the same bands over other rows."""
        self.lowest, self.highest = np.minimum(self.lowest, other.lowest), np.maximum(self.highest, other.highest)
        self.filled = self.filled + other.filled
        self.any_filled += other.any_filled
        self.out_of_range += other.out_of_range
        self.rows += other.rows


def survey_bands(
    raster: RasterFile,
    numbers: Sequence[int] | None = None,
    memory: int = 512 * 2**20,
    progress: Progress | None = None,
    area: Area | None = None,
    span: tuple[int, int] | None = None,
) -> BandSurvey:
    """`BandSurvey` of a `RasterFile`, or an area of it, by those of its rows that are `core.cube.surveyed_rows`: all but in large scenes.

    numbers: the bands that the user asked for, from 1; by default all that the file does not flag as bad. memory: bytes for reading, and
    for keeping what was read (`RasterFile.keep`). area: (first row, row after the last one, first column, column after the last one).
    span: (first row, row after the last one) of those that are looked at; by default all.
    """
    progress = progress or Progress()
    check_bands(numbers or (), raster)
    wanted = list(numbers) if numbers else [n for n in range(1, raster.count + 1) if raster.table.good[n - 1]]
    survey = BandSurvey(wanted, np.full(len(wanted), np.inf), np.full(len(wanted), -np.inf), np.zeros(len(wanted), np.int64))
    raster.keep(wanted, memory)
    whole = RasterCube(raster, wanted, memory=memory).within(*(area or (0, raster.rows, 0, raster.columns)))
    first, stop = span or whole.span
    rows = [(max(first, start), min(stop, end)) for start, end in whole.surveyed if start < stop and end > first]
    strips = whole.strips() if wanted else []
    out_of_range_before = raster.out_of_range
    for number, strip in enumerate(strips):
        at_a_time = strip.rows_per_block
        starts = [(row, min(row + at_a_time, end)) for start, end in rows for row in range(start, end, at_a_time)]
        spans = [(row, end, wanted, *strip.area[2:]) for row, end in starts]
        with strip.during_a_pass(), ReadingAhead(raster.read_bands, spans) as reader:
            for done, (row, _) in enumerate(starts):
                progress((number + done / len(starts)) / len(strips), f"looking for good bands, row {row + 1} of {raster.rows}")
                values, filled = reader.next()
                survey.filled += np.count_nonzero(filled, axis=(1, 2))
                survey.any_filled += np.count_nonzero(filled.any(axis=0))
                survey.lowest = np.minimum(survey.lowest, np.min(values, axis=(1, 2), where=filled, initial=np.inf))
                survey.highest = np.maximum(survey.highest, np.max(values, axis=(1, 2), where=filled, initial=-np.inf))
    survey.out_of_range = raster.out_of_range - out_of_range_before
    survey.rows, survey.of = sum(end - start for start, end in rows), whole.span[1] - whole.span[0]
    return survey


def choose_bands(
    raster: RasterFile,
    numbers: Sequence[int] | None = None,
    memory: int = 512 * 2**20,
    progress: Progress | None = None,
    survey: BandSurvey | None = None,
) -> BandChoice:
    """Survey a `RasterFile` and choose its good bands.

    numbers, memory: as for `survey_bands`. survey: `BandSurvey` of the scene, if it exists already. Bands without any data, constant bands
    and bands that are empty over most of the scene are left out. Raises ValueError if fewer than two bands remain.
    """
    survey = survey or survey_bands(raster, numbers, memory, progress)
    wanted, lowest, highest, filled_count, any_filled = survey.numbers, survey.lowest, survey.highest, survey.filled, survey.any_filled
    reasons = {
        "flagged bad in the file": set(range(1, raster.count + 1)) - set(wanted) if not numbers else set(),
        "no data": {n for n, count in zip(wanted, filled_count) if count == 0},
        "one value everywhere": {n for n, low, high in zip(wanted, lowest, highest) if low == high},
        "no data over most of the scene": {n for n, count in zip(wanted, filled_count) if 0 < count < _MOSTLY_EMPTY * any_filled},
    }
    left_out = {reason: sorted(bands) for reason, bands in reasons.items() if bands}
    kept = [n for n in wanted if not any(n in bands for bands in left_out.values())]
    if len(kept) < 2:
        because = "; ".join(f"{reason}: {list_bands(bands)}" for reason, bands in left_out.items())
        if survey.out_of_range:
            because += f"; {survey.out_of_range} values beyond ±{LARGEST_VALUE:g} are taken for nodata: no measured value is that large"
        raise ValueError(
            f"{raster.name} has {len(kept)} usable band{'s' if len(kept) != 1 else ''} of {raster.count} "
            f"({because or 'only one asked for'}). At least two are needed: check the file's nodata value and bad-band list, or name the "
            "bands."
        )
    return BandChoice(kept, left_out)


def match_bands(
    raster: RasterFile,
    numbers: Sequence[int] | None,
    wavelengths: Sequence[float] | np.ndarray | None,
    count: int,
    trained_numbers: dict[str, Any] | None = None,
) -> list[int]:
    """The bands of a `RasterFile` that a model was trained on, as numbers from 1, in the model's order.

    They are matched by wavelength where model and raster know it, each band of the raster once, and by number where the wavelengths are
    those of training, band for band. Without wavelengths they are matched by count: the bands that the user named in `numbers`, the same
    band numbers as in training where the raster has them, or simply all. Raises ValueError that lists the difference.
    """
    check_bands(numbers or (), raster)
    table = raster.table
    if wavelengths is not None and not np.all(np.isnan(table.wavelengths)):
        usable = table.good.copy()
        if numbers:
            usable = np.isin(np.arange(1, raster.count + 1), numbers)
        if trained_numbers is not None and trained_numbers["of"] == raster.count:
            same = np.array(trained_numbers["numbers"]) - 1
            if usable[same].all() and np.array_equal(np.round(table.wavelengths[same], 6), np.round(wavelengths, 6)):
                return [int(band) + 1 for band in same]
        _check_distinct(wavelengths, "the model")
        found = match_wavelengths(wavelengths, table.wavelengths, usable)
        if np.all(found >= 0):
            return [int(band) + 1 for band in found]
        missing = ", ".join(f"{w:.1f}" for w in np.asarray(wavelengths)[found < 0][:8])
        more = np.count_nonzero(found < 0) - 8
        known = table.wavelengths[usable & ~np.isnan(table.wavelengths)]
        span = f"{known.min():.0f} to {known.max():.0f} nm in {known.size} good bands" if known.size else "no good band"
        raise ValueError(
            f"The model needs bands that {raster.name} does not have: {missing} nm{f' and {more} more' if more > 0 else ''} "
            f"({np.count_nonzero(found < 0)} of {count}; the scene has {span}). Train a model on a scene of this sensor, or choose the "
            "bands that both have when training."
        )
    if numbers and len(numbers) == count:
        return list(numbers)
    if not numbers and trained_numbers is not None and trained_numbers["of"] == raster.count:
        return list(trained_numbers["numbers"])
    if not numbers and raster.count == count:
        return list(range(1, count + 1))
    raise ValueError(
        f"The model was trained on {count} bands, but {raster.name} has {len(numbers) if numbers else raster.count}"
        f"{' chosen ones' if numbers else ''}, and without wavelengths on both sides they cannot be matched. "
        "Train a model on a scene of this sensor, or choose as many bands."
    )


def common_bands(rasters: Sequence[RasterFile], choices: Sequence[BandChoice], by_number: bool = False) -> list[list[int]]:
    """The bands that several scenes of a sensor share, as one list of band numbers for each scene, in the order of the first.

    rasters, choices: `RasterFile`s with the `BandChoice` of each. Bands are matched by number where the wavelengths are the same band for
    band; by wavelength where they are known; otherwise by number where the rasters have equally many bands, or where the user named the
    bands (`by_number`).
    """
    first, kept = rasters[0], np.array(choices[0].numbers)
    partners = [kept]
    for raster, choice in zip(rasters[1:], choices[1:]):
        usable = np.isin(np.arange(1, raster.count + 1), choice.numbers)
        wavelengths = first.table.wavelengths[partners[0] - 1]
        if raster.count == first.count and np.array_equal(first.table.wavelengths, raster.table.wavelengths, equal_nan=True):
            numbers = np.where(np.isin(partners[0], choice.numbers), partners[0], 0)
        elif not np.isnan(wavelengths).any() and not np.all(np.isnan(raster.table.wavelengths)):
            _check_distinct(wavelengths, first.name)
            numbers = match_wavelengths(wavelengths, raster.table.wavelengths, usable) + 1
        elif by_number or raster.count == first.count:
            numbers = np.where(np.isin(partners[0], choice.numbers), partners[0], 0)
        else:
            raise ValueError(
                f"{raster.name} has {raster.count} bands and {first.name} {first.count}, and without wavelengths on both sides they cannot "
                "be matched. Train on scenes of one sensor."
            )
        keep = numbers > 0
        partners = [p[keep] for p in partners] + [numbers[keep]]
        if keep.sum() < 2:
            raise ValueError(f"{raster.name} shares no bands with {first.name}. Train on scenes of one sensor.")
    return [[int(n) for n in numbers] for numbers in partners]


def _check_distinct(wavelengths: Sequence[float] | np.ndarray, whose: str) -> None:
    """Raise ValueError if several bands have the same wavelength: they cannot be told apart in another table."""
    values, counts = np.unique(np.round(wavelengths, 6), return_counts=True)
    if np.any(counts > 1):
        twice = ", ".join(f"{value:g}" for value in values[counts > 1][:8])
        raise ValueError(
            f"Several bands of {whose} have one wavelength ({twice} nm), so that they cannot be told apart by it, and the tables of "
            "wavelengths differ, so that they cannot be matched by number. Use scenes with one table, write the wavelengths with more "
            "digits, or train on one band of each wavelength."
        )


class RasterCube(Cube):
    """The chosen bands of a `RasterFile` as a `Cube`.

    numbers: bands from 1. mask: `scenes.mask.Mask` or None. memory: bytes that reading and detecting may take, from
    which `rows_per_block` and, in wide scenes, `strips` follow. What the raster keeps of its rows is a part of them.
    """

    reads_ahead = True
    _rows_per_block = 0

    def __init__(self, raster: RasterFile, numbers: Sequence[int], mask: Mask | None = None, memory: int = 512 * 2**20) -> None:
        self.raster, self.numbers, self.mask, self._memory = raster, list(numbers), mask, memory - raster.kept_bytes
        self.rows, self.columns, self.bands = raster.rows, raster.columns, len(self.numbers)
        wavelengths = raster.table.wavelengths[np.array(self.numbers, int) - 1]
        self.wavelengths = None if np.isnan(wavelengths).any() else wavelengths

    @property
    def rows_per_block(self) -> int:  # it follows from the area, where it is not set
        if self._rows_per_block:
            return self._rows_per_block
        left = self._memory - self.raster.blocks.row_of_blocks(self.width)
        return rows_within(max(left, self._memory / 4), self.width, self.bands, self.raster.blocks.rows)

    @rows_per_block.setter
    def rows_per_block(self, rows: int) -> None:
        self._rows_per_block = rows

    def most_columns(self, context: int, margin: int) -> int:
        return columns_within(self._memory, self.width, self.bands, self.raster.blocks, context, margin)

    def during_a_pass(self) -> AbstractContextManager[None]:
        """GDAL keeps the row of blocks that the next rows lie in."""
        return block_cache(self.raster, self.raster.blocks.row_of_blocks(self.width))

    def read(self, first: int, last: int, left: int = 0, right: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        values, filled = self.raster.read_bands(first, last, self.numbers, left, right)
        valid = filled.all(axis=0)
        if self.mask is not None:
            valid &= self.mask.read(first, last, left, right)
        values = np.ascontiguousarray(values.transpose(1, 2, 0))
        values[~valid] = 0
        return values, valid

    def map_positions(self, positions: np.ndarray) -> np.ndarray:
        if self.raster.geotransform is None:
            return super().map_positions(positions)
        x0, xc, xr, y0, yc, yr = self.raster.geotransform
        rows, columns = np.asarray(positions, np.float64).T + 0.5
        return np.stack([x0 + xc * columns + xr * rows, y0 + yc * columns + yr * rows], axis=1)

    def pixel_positions(self, coordinates: np.ndarray) -> np.ndarray:
        if self.raster.geotransform is None:
            return super().pixel_positions(coordinates)
        x0, xc, xr, y0, yc, yr = self.raster.geotransform
        x, y = np.asarray(coordinates, np.float64).T - [[x0], [y0]]
        determinant = xc * yr - xr * yc
        return np.stack([(xc * y - yc * x) / determinant, (yr * x - xr * y) / determinant], axis=1) - 0.5

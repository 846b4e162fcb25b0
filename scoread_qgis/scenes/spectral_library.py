"""Spectral libraries: reflectance of materials, read from the formats in which the public ones come, and as a scene's bands see them.

Formats: ENVI (.sli with its header, whose file type GDAL refuses), the ASCII files of the USGS library (splib07, with the wavelengths in a
file of their own), ECOSTRESS and ASTER (.txt), tables (.csv, a spectrum a column or a spectrum a row), and the profiles of the EnMAP-Box in
a GeoPackage or GeoJSON file.
"""

from __future__ import annotations

import csv
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from osgeo import gdal, ogr

from ..core.progress import Progress
from .bands import nanometres, unit_in
from .gdal_calls import open_dataset

# No reflectance is that low, in whatever unit: fill values are (-9999, -1.23e34).
_LOWEST = -999.0
_ENVI_TYPES = {"1": "u1", "2": "i2", "3": "i4", "4": "f4", "5": "f8", "12": "u2", "13": "u4", "14": "i8", "15": "u8"}
_NOTED = 3  # names of files that a note lists
_TEXTS = (".txt", ".asc", ".csv", ".tsv")
_PROFILES = (".gpkg", ".geojson", ".json")
_NO_SPECTRA = re.compile(r"wavelengths|bandpass|wavenumber|errorbars|resolution", re.I)  # in names of splib07
# Of a band's response, how much must lie where a spectrum is known: a band whose centre is the spectrum's last wavelength has half.
_COVERED = 0.45


@dataclass(frozen=True)
class Library:
    """Spectra of materials, one entry each.

    names: of the materials; the same name may come several times. wavelengths: of each, (k,) float64 in micrometres, ascending; spectra of
    one file share an array. values: of each, (k,) float32 reflectance, 0 to 1, NaN where the library has none. files: what each was read
    from. notes: lines that tell which units were recognised, and what was left out and why.
    """

    names: tuple[str, ...]
    wavelengths: tuple[np.ndarray, ...]
    values: tuple[np.ndarray, ...]
    files: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def at_bands(self, wavelengths: np.ndarray, fwhm: np.ndarray) -> np.ndarray:
        """The spectra as bands with Gaussian responses see them: (entries, bands) float64, NaN where a band lies outside of a spectrum.

        wavelengths, fwhm: (bands,) in nanometres, all known (`band_widths`). Between its wavelengths, a spectrum is taken to be straight,
        and the integral with the response is exact, so that it matters little whether the library is finer or coarser than the scene.
        """
        seen = np.full((len(self), len(wavelengths)), np.nan)
        grids: dict[int, list[int]] = {}
        for index, grid in enumerate(self.wavelengths):
            grids.setdefault(id(grid), []).append(index)
        for members in grids.values():
            left, right = _responses(self.wavelengths[members[0]] * 1e3, np.asarray(wavelengths, float), np.asarray(fwhm, float))
            for first in range(0, len(members), 512):
                chosen = members[first : first + 512]
                spectra = np.stack([self.values[index] for index in chosen]).astype(np.float64)
                known = np.isfinite(spectra[:, 1:]) & np.isfinite(spectra[:, :-1])
                filled = np.nan_to_num(spectra, nan=0.0, posinf=0.0, neginf=0.0)
                total = (left @ (filled[:, :-1] * known).T + right @ (filled[:, 1:] * known).T).T
                weight = ((left + right) @ known.T.astype(np.float64)).T
                with np.errstate(invalid="ignore", divide="ignore"):
                    seen[chosen] = np.where(weight >= _COVERED, total / weight, np.nan)
        return seen


def _responses(grid: np.ndarray, centres: np.ndarray, fwhm: np.ndarray) -> tuple[Any, Any]:
    """Sparse weights (bands, segments) of the left and the right end of each segment of `grid` (nm, ascending) in each band.

    A segment much longer than the others and than the band is a hole, such as that of water vapour: its weights are 0.
    """
    from scipy.sparse import csr_matrix
    from scipy.special import ndtr

    sigma = fwhm / np.sqrt(8 * np.log(2))
    start, length = grid[:-1], np.diff(grid)
    usual = np.median(length)
    rows, columns, lefts, rights = [], [], [], []
    for band, (centre, width) in enumerate(zip(centres, sigma)):
        first, last = np.searchsorted(grid, (centre - 6 * width, centre + 6 * width))
        here = np.arange(max(first - 1, 0), min(last, len(length)))
        here = here[length[here] <= max(2 * fwhm[band], 3 * usual)]
        a, h = start[here], length[here]
        u, v = (a - centre) / width, (a + h - centre) / width
        share = ndtr(v) - ndtr(u)
        bend = width * (np.exp(-0.5 * v**2) - np.exp(-0.5 * u**2)) / np.sqrt(2 * np.pi)
        lefts.append(((a + h - centre) * share + bend) / h)
        rights.append(((centre - a) * share - bend) / h)
        rows.append(np.full(len(here), band))
        columns.append(here)
    place, shape = (np.concatenate(rows), np.concatenate(columns)), (len(centres), len(length))
    return csr_matrix((np.concatenate(lefts), place), shape), csr_matrix((np.concatenate(rights), place), shape)


def band_widths(wavelengths: np.ndarray, fwhm: np.ndarray) -> np.ndarray:
    """Full widths at half maximum (bands,) in nanometres: those of `fwhm` that are known, else the distance to the nearest other band.

    wavelengths: (bands,) nm, all known.
    """
    known, order = np.unique(wavelengths, return_inverse=True)
    spacing = np.diff(known)
    nearest = np.minimum(np.append(spacing, np.inf), np.insert(spacing, 0, np.inf))[order] if known.size > 1 else np.full(len(order), 10.0)
    return np.where(np.isfinite(fwhm) & (np.nan_to_num(fwhm) > 0), fwhm, nearest)


def read_library(path: str | os.PathLike[str]) -> Library:
    """The `Library` in a file, or in all files of a folder and its subfolders that hold spectra.

    Raises ValueError, with the remedy, for a file that is none, and for a folder without any; in a folder, files that cannot be read are
    left out, and a note says which and why.
    """
    library, problems = read_libraries([path])
    if problems:
        raise ValueError(problems[0])
    return library


def read_libraries(paths: Sequence[str | os.PathLike[str]], progress: Progress | None = None) -> tuple[Library, list[str]]:
    """All entries of several files and folders as one `Library`, and what is wrong with those that cannot be read, a line each."""
    reader, problems = _Reader(), []
    for number, path in enumerate(map(Path, paths)):
        share = (progress or Progress()).part(number / len(paths), (number + 1) / len(paths))
        share(0.0, f"reading spectral libraries, {number + 1} of {len(paths)}")
        try:
            if path.is_dir():
                _read_folder(reader, path, share)
            elif path.exists():
                reader.read(path)
            else:
                raise ValueError(f"The spectral library {path} does not exist. Check its name.")
        except ValueError as error:
            problems.append(str(error))
    return reader.library(), problems


def _read_folder(reader: _Reader, folder: Path, progress: Progress) -> None:
    before = len(reader.names)
    reasons: dict[str, list[str]] = {}
    files = sorted(each for each in folder.rglob("*") if each.is_file() and _may_hold_spectra(each))
    for number, file in enumerate(files):
        if number % 20 == 0:
            progress(number / len(files), f"reading spectral libraries, file {number + 1} of {len(files)}")
        try:
            reader.read(file)
        except ValueError as error:
            reasons.setdefault(str(error).replace(str(file), "the file"), []).append(file.name)
    left_out = []
    for reason, names in reasons.items():
        more = f" and {len(names) - _NOTED} more" if len(names) > _NOTED else ""
        left_out.append(f"{folder}: left out {', '.join(names[:_NOTED])}{more}: {reason}")
    if len(reader.names) == before:
        why = f" {left_out[0]}" if left_out else " Libraries are files .sli, .txt, .csv, .gpkg and .geojson."
        raise ValueError(f"The folder {folder} holds no spectral library that can be read.{why}")
    reader.notes += left_out


def _may_hold_spectra(file: Path) -> bool:
    """Whether a file of a folder is looked at: of the files of an ENVI library the data, which have their header beside them."""
    if file.name.startswith(".") or file.name.lower().endswith((".aux.xml", ".ancillary.txt")):
        return False
    if file.name.startswith(("splib", "s07", "errorbars")) and _NO_SPECTRA.search(file.name):
        return False
    return file.suffix.lower() in (*_TEXTS, *_PROFILES, ".sli") or (file.suffix.lower() != ".hdr" and _is_envi_library(file))


def _is_envi_library(file: Path) -> bool:
    header = _header_of(file)
    return header is not None and "spectral library" in _text(header, 4096).lower()


def _header_of(file: Path) -> Path | None:
    candidates = [Path(f"{file}.hdr"), file.with_suffix(".hdr"), Path(f"{file}.HDR"), file.with_suffix(".HDR")]
    return next((each for each in candidates if each != file and each.is_file()), None)


@dataclass
class _Reader:
    """Entries and notes of the files that have been read."""

    names: list[str] = field(default_factory=list)
    wavelengths: list[np.ndarray] = field(default_factory=list)
    values: list[np.ndarray] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    grids: dict[bytes, np.ndarray] = field(default_factory=dict)
    axes: dict[Path, list[tuple[Path, np.ndarray]]] = field(default_factory=dict)
    told: Counter[str] = field(default_factory=Counter)

    def library(self) -> Library:
        notes = [f"{text} ({count} files)" if count > 1 else text for text, count in self.told.items()]
        return Library(tuple(self.names), tuple(self.wavelengths), tuple(self.values), tuple(self.files), (*notes, *self.notes))

    def read(self, file: Path) -> None:
        if file.suffix.lower() == ".hdr":
            data = [each for each in (file.with_suffix(""), file.with_suffix(".sli")) if each.is_file()]
            if not data:
                raise ValueError(f"{file} is the header of an ENVI library whose data, {file.stem}.sli, are not beside it.")
            file = data[0]
        if file.suffix.lower() == ".sli" or _is_envi_library(file):
            return self._envi(file)
        if file.suffix.lower() in _PROFILES:
            return self._profiles(file)
        text = _text(file)
        lines = [line for line in text.splitlines() if line.strip()]
        if "\0" in text[:4096]:
            raise ValueError(
                f"{file} is not a spectral library that can be read: it is binary. An ENVI library needs its header, "
                f"{file.stem}.hdr, beside it."
            )
        if not lines:
            raise ValueError(f"{file} is empty.")
        if any(re.match(r"\s*y units\s*:", line, re.I) for line in lines[:60]):
            return self._ecostress(file, lines)
        if len(lines) > 2 and all(_numbers(line.split()) is not None and len(line.split()) == 1 for line in lines[1:4]):
            return self._splib(file, lines)
        return self._table(file, lines)

    def _add(self, file: Path, names: Sequence[str], wavelengths: np.ndarray, values: np.ndarray, nm: float, unit: str | None) -> None:
        """Add spectra (n, k) at wavelengths (k,), which `nm` turns into nanometres. unit: what the file says of the values."""
        wavelengths, values = np.asarray(wavelengths, float) * nm / 1e3, np.array(values, float, ndmin=2)
        with np.errstate(invalid="ignore"):
            values[~(np.abs(values) < 1e18) | (values <= _LOWEST)] = np.nan
        fine = np.isfinite(wavelengths) & (wavelengths > 0)
        if np.count_nonzero(fine) < 2:
            raise ValueError(f"{file} has no wavelengths, without which its spectra cannot be brought to the bands of a scene.")
        grid, place = np.unique(wavelengths[fine], return_inverse=True)
        values = values[:, fine]
        if grid.size < fine.sum():
            self._tell(f"{fine.sum() - grid.size} wavelengths come twice, and stand for their mean", file)
            known = np.isfinite(values)
            sums, counts = np.zeros((len(values), grid.size)), np.zeros((len(values), grid.size))
            for column, target in enumerate(place):
                sums[:, target] += np.where(known[:, column], values[:, column], 0)
                counts[:, target] += known[:, column]
            values = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
        else:
            values = values[:, np.argsort(place)]  # the inverse of the order, since each comes once
        kept = np.isfinite(values).sum(axis=1) >= 2
        if not kept.any():
            raise ValueError(f"{file} holds no spectrum with values.")
        if not kept.all():
            empty = [str(names[index]) for index in np.flatnonzero(~kept)]
            self.notes.append(f"{file}: left out {len(empty)} spectra without values, such as {empty[0]}.")
        factor, text = reflectance_factor(values[kept], unit)
        wide = "micrometres" if nm == 1e3 else "nanometres"
        self._tell(f"wavelengths in {wide}, values taken for {text}", file)
        grid = self.grids.setdefault(grid.tobytes(), grid)
        for index in np.flatnonzero(kept):
            self.names.append(" ".join(str(names[index]).split()) or file.stem)
            self.wavelengths.append(grid)
            self.values.append((values[index] * factor).astype(np.float32))
            self.files.append(str(file))

    def _tell(self, text: str, file: Path) -> None:
        """Note something about a file; what holds for many files of a folder is noted once."""
        self.told[f"{file.parent if file.suffix.lower() == '.txt' else file}: {text}"] += 1

    def _envi(self, file: Path) -> None:
        header = _header_of(file)
        if header is None:
            raise ValueError(f"{file} needs its header, a text file {file.stem}.hdr beside it, which is missing: fetch that too.")
        facts = _envi_header(_text(header))
        try:
            columns, rows = int(facts["samples"]), int(facts["lines"]) * int(facts.get("bands", "1"))
            offset, code = int(facts.get("header offset", "0")), _ENVI_TYPES[facts["data type"]]
        except (KeyError, ValueError) as error:
            raise ValueError(
                f"{header} is not the header of an ENVI library: samples, lines or data type is missing or wrong ({error})."
            ) from error
        dtype = np.dtype(code).newbyteorder(">" if facts.get("byte order", "0") == "1" else "<")
        needed, size = offset + rows * columns * dtype.itemsize, file.stat().st_size
        if rows < 1 or columns < 2:
            raise ValueError(f"{file} holds {rows} spectra of {columns} bands, as its header says: there is nothing to compare with.")
        if size < needed:
            raise ValueError(f"{file} is truncated: the file has {size} bytes and its header calls for {needed}. Fetch it again.")
        values = np.fromfile(file, dtype, rows * columns, offset=offset).reshape(rows, columns).astype(float)
        wavelengths = _numbers(_listed(facts.get("wavelength", ""))) or []
        if len(wavelengths) != columns:
            raise ValueError(
                f"{file} has no wavelengths for its {columns} bands: its header {header.name} lists {len(wavelengths)}. Add them as "
                '"wavelength = {...}", with "wavelength units".'
            )
        names = _listed(facts.get("spectra names", ""))
        if len(names) != rows:
            self.notes.append(f"{file}: its header names {len(names)} of {rows} spectra, so that they are called by their numbers.")
            names = [f"{file.stem} {number}" for number in range(1, rows + 1)]
        flags = _numbers(_listed(facts.get("bbl", ""))) or []
        if len(flags) == columns:
            values[:, np.array(flags) == 0] = np.nan
        if "data ignore value" in facts and (ignored := _numbers([facts["data ignore value"]])):
            values[values == ignored[0]] = np.nan
        scale = _numbers([facts.get("reflectance scale factor", "")])
        unit = f"divided by {scale[0]:g}" if scale and scale[0] > 0 else None
        self._add(file, names, np.array(wavelengths), values, nanometres(facts.get("wavelength units"), np.array(wavelengths)), unit)

    def _splib(self, file: Path, lines: Sequence[str]) -> None:
        values = _numbers(lines[1:])
        if values is None:
            raise ValueError(f"{file} has lines after its title that are not numbers.")
        title = lines[0].partition("Record=")[2].partition(":")[2] or lines[0]
        if re.search(r"wavelengths|bandpass|wavenumber|resolution|errorbars", file.name, re.I):
            raise ValueError(f"{file} holds the wavelengths or widths of a spectrometer, and no spectrum.")
        wavelengths = self._axis(file, title, len(values))
        self._add(file, [title], wavelengths, np.array(values), nanometres(None, wavelengths), None)

    def _axis(self, file: Path, title: str, count: int) -> np.ndarray:
        """Wavelengths of a spectrum of splib07: the file of wavelengths with as many lines, in its folder or in one of the two above."""
        for folder in list(file.absolute().parents)[:3]:
            if folder not in self.axes:
                files = [each for each in sorted(folder.glob("*.txt")) if "wavelengths" in each.name.lower()]
                read = [(each, _numbers([line for line in _text(each).splitlines()[1:] if line.strip()])) for each in files]
                self.axes[folder] = [(each, np.array(numbers)) for each, numbers in read if numbers]
            fitting = [(name, axis) for name, axis in self.axes[folder] if len(axis) == count]
            words = {word[:3].lower() for word in title.split()}  # BECKa is of BECK, ASDFRb of ASD
            named = [axis for name, axis in fitting if name.stem.lower().partition("wavelengths_")[2][:3] in words]
            if fitting:
                return named[0] if named else fitting[0][1]
        raise ValueError(
            f"{file} has {count} values and no wavelengths. Those of the USGS library are in files named ..._Wavelengths_... of the same "
            "download: put the one of its spectrometer into the folder of the file or the one above."
        )

    def _ecostress(self, file: Path, lines: Sequence[str]) -> None:
        facts: dict[str, str] = {}
        pairs = []
        for line in lines:
            numbers = _numbers(line.replace(",", " ").split())
            if numbers is not None and len(numbers) >= 2:
                pairs.append(numbers[:2])
            elif not pairs and ":" in line:
                key, _, value = line.partition(":")
                facts.setdefault(key.strip().lower(), value.strip())
        quantity, axis = facts.get("y units", ""), facts.get("x units", "")
        if re.search(r"transmi|emissiv|absorb|radian", quantity, re.I):
            raise ValueError(f"{file} holds {quantity}, which is no reflectance.")
        if re.search(r"wavenumber|cm", axis, re.I):
            raise ValueError(f"{file} is by {axis}. Convert it to wavelengths in micrometres.")
        if not pairs:
            raise ValueError(f"{file} holds no values after its header.")
        wavelengths, values = np.array(pairs).T
        name = facts.get("name", file.stem)
        self._add(file, [name], wavelengths, values, nanometres(unit_in(axis), wavelengths), quantity)

    def _table(self, file: Path, lines: Sequence[str]) -> None:
        rows = _cells([line for line in lines if not line.lstrip().startswith("#")])
        wrong = ValueError(
            f"{file} is not a table of spectra: its first line should name a column of wavelengths and then the spectra, or hold "
            "wavelengths, with a spectrum in each line below."
        )
        if len(rows) < 2 or len(rows[0]) < 2:
            raise wrong
        header, body = rows[0], [row for row in rows[1:] if any(row)]
        if len(header) == 2 and _numbers(header) is not None:  # pairs without a header
            header, body = ["wavelength", file.stem], rows
        across = [index for index, cell in enumerate(header) if _wavelength(cell) is not None]
        down = _numbers([row[0] for row in body])
        if down is not None and (len(across) < 2 or re.search(r"wave|lambda|wl", header[0], re.I) or unit_in(header[0])):
            width = len(header)
            values = np.array([[_value(cell) for cell in (row + [""] * width)[1:width]] for row in body])
            wavelengths = np.array(down)
            unit = next((cell for cell in header if "%" in cell or "percent" in cell.lower()), None)
            return self._add(file, header[1:], wavelengths, values.T, nanometres(unit_in(header[0]), wavelengths), unit)
        if len(across) < 2:
            raise wrong
        named = [index for index in range(len(header)) if index not in across]
        label = next((index for index in named if header[index].strip().lower() in ("name", "spectrum", "material", "label")), None)
        label = named[0] if label is None and named else label
        wavelengths = np.array([_wavelength(header[index]) for index in across], float)
        values = np.array([[_value(row[index] if index < len(row) else "") for index in across] for row in body])
        names = [f"{file.stem} {number}" if label is None else row[label] for number, row in enumerate(body, 1)]
        self._add(file, names, wavelengths, values, nanometres(unit_in(header[across[0]]), wavelengths), None)

    def _profiles(self, file: Path) -> None:
        dataset, reason = open_dataset(file, gdal.OF_VECTOR)
        if dataset is None:
            raise ValueError(f"{file} cannot be opened as a vector file with spectral profiles: {reason}.")
        found: dict[tuple[Any, ...], tuple[list[str], list[np.ndarray]]] = {}
        pickled = False
        for layer in (dataset.GetLayer(index) for index in range(dataset.GetLayerCount())):
            definition = layer.GetLayerDefn()
            fields = [definition.GetFieldDefn(index) for index in range(definition.GetFieldCount())]
            for feature in layer:
                name = next((feature.GetField(each.GetName()) for each in fields if each.GetName().lower() == "name"), None)
                for index, each in enumerate(fields):
                    profile, is_pickled = _profile(feature, index, each)
                    pickled = pickled or is_pickled
                    if profile is None:
                        continue
                    x, y = profile.get("x") or (), np.array([np.nan if value is None else value for value in profile["y"]], float)
                    if len(x) != len(y):
                        self.notes.append(f"{file}: left out a profile without wavelengths, {name or feature.GetFID()}.")
                        continue
                    flags = profile.get("bbl")
                    if flags and len(flags) == len(y):
                        y[~np.array(flags, bool)] = np.nan
                    key = (tuple(x), profile.get("xUnit"), profile.get("yUnit"))
                    names, values = found.setdefault(key, ([], []))
                    names.append(str(name or f"{file.stem} {feature.GetFID()}"))
                    values.append(y)
        if not found:
            raise ValueError(
                f"{file} holds no spectral profiles that can be read. "
                + (
                    "Its profiles are stored as Python objects, which are never run: in the EnMAP-Box, export the library with a text "
                    "field for the profiles, or as GeoJSON."
                    if pickled
                    else "They are in a text or JSON field, as the EnMAP-Box writes it, with x, y and xUnit."
                )
            )
        for (x, unit, quantity), (names, values) in found.items():
            grid = np.array([np.nan if value is None else value for value in x], float)
            self._add(file, names, grid, np.stack(values), nanometres(unit, grid), quantity)


def _profile(feature: ogr.Feature, index: int, definition: ogr.FieldDefn) -> tuple[dict[str, Any] | None, bool]:
    """The spectral profile in a field of a feature, None where there is none; and whether one is there as a Python object."""
    if not feature.IsFieldSetAndNotNull(index):
        return None, False
    if definition.GetType() == ogr.OFTBinary:
        raw = bytes(feature.GetFieldAsBinary(index))
        if raw[:1] == b"\x80":
            return None, True
        text = raw.decode("utf-8", "replace")
    elif definition.GetType() == ogr.OFTString:
        text = feature.GetFieldAsString(index)
    else:
        return None, False
    if not text.lstrip().startswith("{"):
        return None, False
    try:
        profile = json.loads(text)
    except ValueError:
        return None, False
    fine = isinstance(profile, dict) and isinstance(profile.get("y"), list) and profile["y"]
    return (profile if fine else None), False


def reflectance_factor(values: np.ndarray, unit: str | None = None) -> tuple[float, str]:
    """Factor that makes reflectance of 0 to 1 of values, by what the file says of them or else by their size; and words for it."""
    largest = float(np.nanpercentile(values, 99))
    if unit and unit.startswith("divided by") and largest > 2:  # else it was divided already
        scale = float(unit.rpartition(" ")[2])
        if scale != 1:
            return 1 / scale, f"reflectance × {scale:g}"
    if unit and re.search("percent|%", unit, re.I):
        return 0.01, "per cent"
    if largest <= 2:
        return 1.0, "reflectance of 0 to 1"
    return (0.01, "per cent") if largest <= 150 else (1e-4, "reflectance × 10000")


def _text(file: Path, most: int = -1) -> str:
    try:
        with open(file, "rb") as opened:
            raw = opened.read(most)
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror or error}.") from error
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _envi_header(text: str) -> dict[str, str]:
    """Fields of an ENVI header, name in lower case -> text, without braces."""
    pattern = re.compile(r"^[ \t]*([^=\n{}]+?)[ \t]*=[ \t]*(\{[^}]*\}?|[^\n]*)", re.M)
    return {name.lower(): value.strip().strip("{}").strip() for name, value in pattern.findall(text.replace("\r\n", "\n"))}


def _listed(text: str) -> list[str]:
    return [" ".join(entry.split()) for entry in text.split(",")] if text.strip() else []


def _numbers(texts: Sequence[str]) -> list[float] | None:
    """Texts as numbers; None where one is none, or there are none."""
    try:
        return [float(text) for text in texts] or None
    except ValueError:
        return None


def _value(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return np.nan


def _wavelength(cell: str) -> float | None:
    """The wavelength that heads a column, such as 450, "450 nm" or "X450.5"; None for other words."""
    match = re.fullmatch(r"\s*[xX]?\s*(\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)\s*(?:nm|um|µm|μm|nanomet\w+|micromet\w+|microns?)?\s*", cell)
    return float(match[1]) if match else None


def _cells(lines: Sequence[str]) -> list[list[str]]:
    """Lines of a table as cells: between commas, semicolons or tabs, else blanks; with a comma for the decimal point where it is none."""
    separators: tuple[Callable[[str], bool], ...] = (lambda line: ";" in line, lambda line: "\t" in line, lambda line: "," in line)
    for separator, holds in zip(";\t,", separators):
        if lines and all(holds(line) for line in lines[:3]):
            rows = list(csv.reader(lines, delimiter=separator))
            break
    else:
        rows = [line.split() for line in lines]
        separator = " "
    if separator != ",":
        rows = [[re.sub(r"^\s*(-?\d+),(\d+)\s*$", r"\1.\2", cell) for cell in row] for row in rows]
    return [[cell.strip() for cell in row] for row in rows]

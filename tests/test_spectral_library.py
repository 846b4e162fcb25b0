"""Spectral libraries: every format, units, what is broken, and spectra as a scene's bands see them."""

import json

import numpy as np
import pytest

from scoread_qgis.scenes.spectral_library import Library, band_widths, read_library

WAVELENGTHS = np.linspace(0.4, 2.5, 43)  # micrometres
SPECTRA = np.random.default_rng(4).uniform(0.05, 0.8, (3, 43)).astype(np.float32)
NAMES = ["oak, dry", "gypsum", "paint"]


def envi(folder, name="lib", **facts):
    """An ENVI library, written by hand."""
    SPECTRA.astype("<f4").tofile(folder / f"{name}.sli")
    header = {
        "samples": 43, "lines": 3, "bands": 1, "header offset": 0, "file type": "ENVI Spectral Library", "data type": 4,
        "interleave": "bsq", "byte order": 0, "wavelength units": "Micrometers", "spectra names": "{ oak,\n gypsum, paint }",
        "wavelength": "{" + ",\n".join(f"{w:.6f}" for w in WAVELENGTHS) + "}", **facts,
    }  # fmt: skip
    text = "ENVI\n" + "\n".join(f"{key} = {value}" for key, value in header.items() if value is not None)
    (folder / f"{name}.hdr").write_text(text + "\n")
    return folder / f"{name}.sli"


def table(path, wavelengths, spectra, header="wavelength (nm)", separator=","):
    lines = [separator.join([header, *(f"s{i}" for i in range(len(spectra)))])]
    lines += [separator.join(f"{value:.6g}" for value in row) for row in zip(wavelengths, *spectra)]
    path.write_text("\n".join(lines) + "\n")
    return path


def splib(folder, name, values, title="Acmite NMNH133746 Pyroxene  BECKa AREF"):
    folder.mkdir(exist_ok=True, parents=True)
    (folder / name).write_text(f" splib07a Record=12: {title}\n" + "".join(f"  {value:.7E}\n" for value in values))
    return folder / name


def ecostress(path, wavelengths, values, quantity="Reflectance (percent)", axis="Wavelength (micrometers)"):
    head = f"Name: Douglas fir\nType: vegetation\nX Units: {axis}\nY Units: {quantity}\nNumber of X Values: {len(values)}\n\n"
    path.write_text(head + "".join(f"{w:.4f}\t{v:.5f}\n" for w, v in zip(wavelengths, values)), encoding="latin-1")
    return path


def profiles(path, **more):
    def feature(index):
        profile = {"x": (WAVELENGTHS * 1000).tolist(), "y": (SPECTRA[index] * 1e4).tolist(), "xUnit": "nm", **more}
        return {
            "type": "Feature", "properties": {"name": NAMES[index], "profiles": profile},
            "geometry": {"type": "Point", "coordinates": [index, 0]},
        }  # fmt: skip

    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature(0), feature(1)]}))
    return path


def values_of(library):
    return np.stack(library.values)


class TestFormats:
    def test_envi_as_spy_writes_and_reads_it(self, tmp_path):
        from spectral.io import envi as spy

        facts = {
            "wavelength": [f"{w:.6f}" for w in WAVELENGTHS],
            "wavelength units": "Micrometers",
            "spectra names": ["oak", "gypsum", "x"],
        }
        spy.SpectralLibrary(SPECTRA, facts).save(str(tmp_path / "spy"))
        read, theirs = read_library(tmp_path / "spy.sli"), spy.open(str(tmp_path / "spy.hdr"), str(tmp_path / "spy.sli"))
        assert list(read.names) == theirs.names
        assert values_of(read) == pytest.approx(theirs.spectra)
        assert read.wavelengths[0] == pytest.approx(np.array(theirs.bands.centers), rel=1e-6)

    @pytest.mark.parametrize("given", ["lib.sli", "lib.hdr"])
    def test_envi(self, tmp_path, given):
        envi(tmp_path)
        read = read_library(tmp_path / given)
        assert read.names == ("oak", "gypsum", "paint")
        assert values_of(read) == pytest.approx(SPECTRA)
        assert read.wavelengths[0] is read.wavelengths[2]
        assert "micrometres" in read.notes[0] and "reflectance of 0 to 1" in read.notes[0]

    def test_envi_scaled_with_bad_bands_another_byte_order_and_offset(self, tmp_path):
        flags = "{" + ",".join("0" if band == 5 else "1" for band in range(43)) + "}"
        path = envi(tmp_path, **{"data type": 2, "byte order": 1, "header offset": 7, "reflectance scale factor": 1000, "bbl": flags})
        path.write_bytes(b"1234567" + np.rint(SPECTRA * 1000).astype(">i2").tobytes())
        read = values_of(read_library(path))
        assert np.isnan(read[:, 5]).all()
        assert np.delete(read, 5, 1) == pytest.approx(np.delete(SPECTRA, 5, 1), abs=6e-4)

    def test_envi_names_with_commas_become_numbers(self, tmp_path):
        read = read_library(envi(tmp_path, **{"spectra names": "{oak, dry, gypsum, paint}"}))
        assert read.names == ("lib 1", "lib 2", "lib 3")
        assert any("names 4 of 3" in note for note in read.notes)

    def test_splib07_with_the_wavelengths_of_its_spectrometer(self, tmp_path):
        for name, shift in (("ASD_0.35-2.5", 0.0), ("BECK_Beckman_0.2-3.0", 0.1)):
            splib(tmp_path, f"splib07a_Wavelengths_{name}_microns.txt", WAVELENGTHS + shift, "Wavelengths")
        splib(tmp_path / "errorbars", "errorbars_for_splib07a_Acmite_BECKa_AREF.txt", SPECTRA[0])
        splib(tmp_path / "ChapterM", "splib07a_Acmite_NMNH133746_BECKa_AREF.txt", [-1.23e34, *SPECTRA[0, 1:]])
        read = read_library(tmp_path)
        assert read.names == ("Acmite NMNH133746 Pyroxene BECKa AREF",)
        assert read.wavelengths[0] == pytest.approx(WAVELENGTHS + 0.1)
        assert np.isnan(read.values[0][0]) and read.values[0][1:] == pytest.approx(SPECTRA[0, 1:])

    def test_ecostress_descends_and_is_in_per_cent(self, tmp_path):
        read = read_library(ecostress(tmp_path / "fir.spectrum.txt", WAVELENGTHS[::-1], SPECTRA[0, ::-1] * 100))
        assert read.names == ("Douglas fir",)
        assert read.values[0] == pytest.approx(SPECTRA[0], abs=1e-6)
        assert read.wavelengths[0] == pytest.approx(WAVELENGTHS, abs=1e-4)
        assert "per cent" in read.notes[0]

    def test_tables_down_and_across(self, tmp_path):
        down = read_library(table(tmp_path / "down.csv", WAVELENGTHS * 1000, SPECTRA * 1e4))
        lines = ["name;" + ";".join(f"{w * 1000:.3f}".replace(".", ",") for w in WAVELENGTHS)]
        lines += [f"{name};" + ";".join(f"{v:.6f}".replace(".", ",") for v in row) for name, row in zip(NAMES, SPECTRA)]
        (tmp_path / "across.csv").write_text("\n".join(lines))
        across = read_library(tmp_path / "across.csv")
        assert (down.names, across.names) == (("s0", "s1", "s2"), tuple(NAMES))
        for read in (down, across):
            assert values_of(read) == pytest.approx(SPECTRA, abs=1e-5)
            assert read.wavelengths[0] == pytest.approx(WAVELENGTHS, abs=1e-6)

    def test_pairs_without_a_header_are_called_by_the_file(self, tmp_path):
        (tmp_path / "dolomite.txt").write_text("\n".join(f"{w} {v}" for w, v in zip(WAVELENGTHS, SPECTRA[0])))
        read = read_library(tmp_path / "dolomite.txt")
        assert read.names == ("dolomite",) and read.values[0] == pytest.approx(SPECTRA[0])

    def test_profiles_of_the_enmap_box(self, tmp_path):
        from osgeo import gdal

        path = profiles(tmp_path / "profiles.geojson")
        gdal.VectorTranslate(str(tmp_path / "profiles.gpkg"), str(path))
        for name in ("profiles.geojson", "profiles.gpkg"):
            read = read_library(tmp_path / name)
            assert read.names == tuple(NAMES[:2])
            assert values_of(read) == pytest.approx(SPECTRA[:2], rel=1e-5)
            assert "10000" in read.notes[0]

    def test_a_folder_of_everything(self, tmp_path):
        envi(tmp_path)
        ecostress(tmp_path / "fir.spectrum.txt", WAVELENGTHS, SPECTRA[0] * 100)
        table(tmp_path / "t.csv", WAVELENGTHS * 1000, SPECTRA)
        (tmp_path / "README.txt").write_text("These spectra\nare free.\nAsk first.\n")
        (tmp_path / "broken.csv").write_bytes(b"\x00\x01\x02" * 50)
        read = read_library(tmp_path)
        assert len(read) == 7
        assert {file.rpartition("/")[2] for file in read.files} == {"lib.sli", "fir.spectrum.txt", "t.csv"}
        assert any("left out README.txt" in note for note in read.notes) and any("left out broken.csv" in note for note in read.notes)

    def test_the_library_of_the_sample_scene(self, run, tmp_path):
        from scoread_qgis.scenes.simulated import ANOMALIES, simulated_library

        run("sample_scene", ROWS=32, COLUMNS=32, BAND_COUNT=8, OUTPUT=str(tmp_path / "s.tif"), LIBRARY=str(tmp_path / "own.csv"))
        read, (wavelengths, spectra) = read_library(tmp_path / "own.csv"), simulated_library()
        assert read.names == tuple(spectra) and set(ANOMALIES) < set(read.names)
        assert values_of(read) == pytest.approx(np.stack(list(spectra.values())), rel=1e-4)
        assert read.wavelengths[0] == pytest.approx(wavelengths / 1000)


class TestUnits:
    @pytest.mark.parametrize(("scale", "text"), [(1, "0 to 1"), (100, "per cent"), (10_000, "10000")])
    @pytest.mark.parametrize(("unit", "factor"), [("(nm)", 1000), ("[µm]", 1), ("", 1000), ("", 1)])
    def test_are_recognised_and_told(self, tmp_path, scale, text, unit, factor):
        read = read_library(table(tmp_path / "t.csv", WAVELENGTHS * factor, SPECTRA * scale, f"Wavelength {unit}"))
        assert values_of(read) == pytest.approx(SPECTRA, rel=1e-4)
        assert read.wavelengths[0] == pytest.approx(WAVELENGTHS, rel=1e-4)
        assert text in read.notes[0] and ("nanometres" if factor == 1000 else "micrometres") in read.notes[0]

    def test_wavelengths_that_come_twice_stand_for_their_mean(self, tmp_path):
        read = read_library(table(tmp_path / "t.csv", [500, 400, 500, 600], np.array([[0.2, 0.1, 0.4, 0.5]])))
        assert read.wavelengths[0] == pytest.approx([0.4, 0.5, 0.6]) and read.values[0] == pytest.approx([0.1, 0.3, 0.5])
        assert any("come twice" in note for note in read.notes)


def _without(name):
    return lambda folder: envi(folder, **{name: None})


def _binary(folder):
    (folder / "x.csv").write_bytes(bytes(range(256)))
    return folder / "x.csv"


def _text(text, name="x.csv"):
    def make(folder):
        (folder / name).write_text(text)
        return folder / name

    return make


def _pickled(folder):
    from osgeo import gdal, ogr

    store = gdal.GetDriverByName("GPKG").Create(str(folder / "old.gpkg"), 0, 0, 0, gdal.GDT_Unknown)
    layer = store.CreateLayer("speclib", None, ogr.wkbPoint)
    layer.CreateField(ogr.FieldDefn("profiles", ogr.OFTBinary))
    feature = ogr.Feature(layer.GetLayerDefn())
    feature.SetFieldBinaryFromHexString("profiles", "80049501")
    layer.CreateFeature(feature)
    return folder / "old.gpkg"


class TestBadInput:
    @pytest.mark.parametrize(
        ("make", "says"),
        [
            (_without("wavelength"), "no wavelengths for its 43 bands"),
            (_without("data type"), "not the header of an ENVI library"),
            (lambda folder: envi(folder, lines=9), "truncated"),
            (lambda folder: folder / "absent.csv", "does not exist"),
            (lambda folder: splib(folder, "splib07a_Acmite_BECKa_AREF.txt", SPECTRA[0]), "Wavelengths"),
            (lambda folder: splib(folder, "splib07a_Wavelengths_BECK.txt", WAVELENGTHS), "no spectrum"),
            (lambda folder: ecostress(folder / "e.txt", WAVELENGTHS, SPECTRA[0], "Emissivity (percent)"), "no reflectance"),
            (lambda folder: ecostress(folder / "e.txt", WAVELENGTHS, SPECTRA[0], axis="Wavenumber (1/cm)"), "Convert it"),
            (lambda folder: ecostress(folder / "e.txt", [], []), "no values"),
            (lambda folder: table(folder / "t.csv", WAVELENGTHS, np.full((1, 43), np.nan)), "no spectrum with values"),
            (lambda folder: table(folder / "t.csv", np.zeros(43), SPECTRA), "has no wavelengths"),
            (lambda folder: profiles(folder / "p.geojson", x=None), "no spectral profiles"),
            (_pickled, "Python objects, which are never run"),
            (_text(""), "is empty"),
            (_text("name,colour\noak,brown\n"), "not a table of spectra"),
            (_binary, "binary"),
            (lambda folder: folder, "no spectral library that can be read"),
        ],
    )
    def test_says_what_is_wrong_and_where(self, tmp_path, make, says):
        path = make(tmp_path)
        with pytest.raises(ValueError, match=says) as raised:
            read_library(path)
        assert str(path.parent) in str(raised.value)

    def test_an_envi_library_without_its_header(self, tmp_path):
        envi(tmp_path)
        (tmp_path / "lib.hdr").unlink()
        with pytest.raises(ValueError, match="needs its header"):
            read_library(tmp_path / "lib.sli")


class TestAtBands:
    def test_are_the_integral_with_the_response(self):
        generator = np.random.default_rng(0)
        grid = np.linspace(0.35, 2.6, 300) + generator.uniform(-0.003, 0.003, 300)
        values = generator.uniform(0, 1, (2, 300)).astype(np.float32)
        library = Library(("a", "b"), (grid, grid), tuple(values), ("", ""))
        centres, fwhm = np.linspace(500, 2400, 25), np.linspace(4, 40, 25)
        fine = np.linspace(350, 2600, 450_001)
        inside = (fine >= grid[0] * 1000) & (fine <= grid[-1] * 1000)
        for own, seen in zip(values, library.at_bands(centres, fwhm)):
            spectrum = np.interp(fine, grid * 1000, own)
            for centre, width, value in zip(centres, fwhm, seen):
                response = np.exp(-4 * np.log(2) * ((fine - centre) / width) ** 2) * inside
                assert value == pytest.approx((spectrum * response).sum() / response.sum(), abs=1e-5)

    def test_are_those_of_the_simulated_sensor(self):
        from scoread_qgis.scenes import simulated

        spectrum = simulated.anomaly_spectrum("mineral")
        library = Library(("mineral",), (simulated._GRID / 1000,), (spectrum.astype(np.float32),), ("",))
        centres, fwhm = np.linspace(420, 2480, 60), np.full(60, 20.0)
        assert library.at_bands(centres, fwhm)[0] == pytest.approx(simulated.at_bands(spectrum, centres, fwhm), abs=1e-4)

    def test_bands_outside_of_a_spectrum_and_in_its_holes_are_left_out(self):
        grid = np.concatenate([np.arange(500, 1350, 10), np.arange(1450, 2000, 10)]) / 1000.0
        values = np.full(grid.size, 0.5, np.float32)
        values[20:24] = np.nan  # 700 to 730 nm
        seen = Library(("x",), (grid,), (values,), ("",)).at_bands(
            np.array([490, 500, 600, 715, 1400, 1600, 1990, 2010.0]), np.full(8, 10.0)
        )
        assert np.isnan(seen[0]).tolist() == [True, False, False, True, True, False, False, True]
        assert seen[0][~np.isnan(seen[0])] == pytest.approx(0.5)

    def test_widths_that_are_unknown_follow_from_the_spacing(self):
        assert band_widths(np.array([400, 410, 430.0]), np.array([np.nan, 7, 0])).tolist() == [10, 7, 20]

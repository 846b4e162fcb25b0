"""Identify anomalies, as a user has it: names and groups in the regions, the report, the command line, and what cannot be identified."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import DATA, LogFeedback

from scoread_qgis.commandline.main import main
from scoread_qgis.scenes.quantity import recognise_quantity
from scoread_qgis.scenes.raster import RasterFile

PLANTED = ("plastic", "mineral", "painted metal", "plastic", "mineral", "painted metal")  # the last three fill less than their pixels
SHARES = (1.0, 1.0, 1.0, 0.6, 0.5, 0.6)


@pytest.fixture(scope="module")
def planted(sample, tmp_path_factory):
    """The sample scene with materials in known places, at `path`; `regions`: those places as points, with ranks from the last to the first;
    `library`: the spectra; `write`: writes a scene of (rows, columns, bands) on the same grid."""
    from osgeo import gdal, ogr, osr

    from scoread_qgis.scenes import simulated
    from scoread_qgis.scenes.writer import write_scene

    folder, scene = tmp_path_factory.mktemp("planted"), sample.scene
    cube, places = scene.cube.copy(), []
    free = np.argwhere(np.pad(sample.truth == 0, 1)[1:-1, 1:-1])[37::151]
    for name, share, (row, column) in zip(PLANTED, SHARES, free):
        spectrum = simulated.at_bands(simulated.anomaly_spectrum(name), scene.wavelengths, scene.fwhm)
        noise = np.random.default_rng(row).normal(0, 0.002, len(spectrum))
        cube[row, column] = np.rint((1 - share) * cube[row, column] + share * (spectrum + noise) / scene.scale)
        places.append((int(row), int(column)))
    reference = osr.SpatialReference()
    reference.ImportFromEPSG(scene.epsg)
    x0, y0 = scene.origin
    grid = {"geotransform": (x0, scene.pixel_size, 0.0, y0, 0.0, -scene.pixel_size), "crs": reference.ExportToWkt()}
    bands = {"wavelengths": scene.wavelengths, "fwhm": scene.fwhm, "good": scene.good}

    def write(name, values=cube, **more):
        write_scene(folder / name, values, **{**grid, **bands, **more})
        return str(folder / name)

    store = gdal.GetDriverByName("GPKG").Create(str(folder / "points.gpkg"), 0, 0, 0, gdal.GDT_Unknown)
    layer = store.CreateLayer("points", reference, ogr.wkbPoint)
    for name, kind in (("rank", ogr.OFTInteger), ("note", ogr.OFTString), ("peak", ogr.OFTReal)):
        layer.CreateField(ogr.FieldDefn(name, kind))
    for number, (row, column) in enumerate(places):
        feature = ogr.Feature(layer.GetLayerDefn())
        feature.SetField("rank", len(places) - number)
        feature.SetField("note", f"place {number}")
        if number:  # the first has none
            feature.SetField("peak", 1.5 * number)
        point = ogr.Geometry(ogr.wkbPoint)
        point.AddPoint_2D(x0 + scene.pixel_size * (column + 0.5), y0 - scene.pixel_size * (row + 0.5))
        feature.SetGeometry(point)
        layer.CreateFeature(feature)
    feature = layer = store = None
    wavelengths, spectra = simulated.simulated_library()
    rows = "\n".join(",".join(f"{value:.6g}" for value in row) for row in zip(wavelengths, *spectra.values()))
    (folder / "own.csv").write_text("wavelength (nm)," + ",".join(spectra) + "\n" + rows + "\n")
    return SimpleNamespace(
        path=write("planted.tif", scale=scene.scale), regions=str(folder / "points.gpkg"), library=str(folder / "own.csv"), write=write,
        cube=cube * scene.scale, places=places,
    )  # fmt: skip


def fields(path):
    """The features of a GeoPackage, by the note that names their place."""
    from osgeo import gdal

    file = gdal.OpenEx(str(path), gdal.OF_VECTOR)
    return {feature["note"]: {**feature.items(), "fid": feature.GetFID()} for feature in file.GetLayer(0)}


def identify(run, planted, tmp_path, **parameters):
    given = {"INPUT": planted.path, "REGIONS": planted.regions, "LIBRARIES": [planted.library], "OUTPUT": str(tmp_path / "out.gpkg")}
    feedback = LogFeedback()
    feedback.pushWarning = feedback.lines.append
    done = run("identify_anomalies", feedback, **{**given, **parameters})
    done.found = fields(tmp_path / "out.gpkg")
    return done


def named(found):
    return [found[f"place {number}"]["match_1"] for number in range(len(PLANTED))]


@pytest.fixture(scope="module")
def identified(planted, provider, tmp_path_factory):
    """The planted materials, identified, with a report: results of the algorithm and `found`."""
    import processing

    folder = tmp_path_factory.mktemp("identified")
    results = processing.run(
        "scoread:identify_anomalies",
        {
            "INPUT": planted.path, "REGIONS": planted.regions, "LIBRARIES": [planted.library], "OUTPUT": str(folder / "out.gpkg"),
            "REPORT": str(folder / "out.html"),
        },
    )  # fmt: skip
    return SimpleNamespace(found=fields(folder / "out.gpkg"), page=(folder / "out.html").read_text(encoding="utf-8"), **results)


class TestMatches:
    def test_name_the_materials_also_where_they_fill_half_a_pixel(self, identified):
        assert named(identified.found) == list(PLANTED)
        assert identified.MATCHED == 6
        for feature in identified.found.values():
            assert feature["score_1"] <= feature["score_2"] <= 1 and feature["score_1"] < 0.01
            assert feature["bands"] == 27
        assert all(identified.found[f"place {number}"]["angle_1"] < 3 for number in range(3))

    def test_are_groups_too(self, identified):
        groups = [identified.found[f"place {number}"]["group"] for number in range(6)]
        assert groups[:3] == groups[3:] and len(set(groups)) == 3 == identified.GROUPS
        assert groups[5] == 1  # rank 1 is the last

    def test_all_fields_and_places_stay(self, identified, planted):
        before = fields(planted.regions)
        for note, feature in before.items():
            for name in ("rank", "note", "peak"):
                assert identified.found[note][name] == feature[name]
        assert identified.found["place 0"]["peak"] is None

    def test_the_report_shows_each_region_over_its_matches(self, identified):
        assert "identified" in identified.page and "plastic" in identified.page
        assert identified.page.count("data:image/svg+xml") == 1 + len(PLANTED)

    def test_style_has_a_colour_for_each_group_and_labels(self, identified):
        from qgis.core import QgsVectorLayer

        layer = QgsVectorLayer(identified.OUTPUT, "regions", "ogr")
        renderer = layer.renderer()
        labels = [category.label() for category in renderer.categories()]
        assert renderer.classAttribute() == "group" and labels[0] == "Group 1: 2 regions, painted metal"
        assert len({category.symbol().symbolLayer(1).strokeColor().name() for category in renderer.categories()}) == 4
        assert "match_1" in layer.labeling().settings().fieldName
        assert '"group"' in layer.attributeTableConfig().sortExpression()

    def test_in_a_second_run_the_fields_are_replaced(self, run, planted, identified, tmp_path):
        again = identify(run, planted, tmp_path, REGIONS=identified.OUTPUT)
        assert again.found == identified.found

    def test_what_a_result_is_made_from_is_kept_with_it(self, identified):
        from scoread_qgis.scenes.provenance import provenance_of

        facts = provenance_of(identified.OUTPUT)
        assert json.loads(facts["libraries"])[0].endswith("own.csv") and facts["quantity"] == "auto" and "identified" in facts

    def test_a_match_that_much_of_the_background_reaches_says_little(self, run, planted, tmp_path):
        """Grass, in a scene with much of it."""
        lines = [line.split(",") for line in Path(planted.library).read_text(encoding="utf-8").splitlines()]
        column = lines[0].index("meadow")
        (tmp_path / "grass.csv").write_text("\n".join(f"{line[0]},{line[column]}" for line in lines))
        done = identify(run, planted, tmp_path, LIBRARIES=[str(tmp_path / "grass.csv")])
        scores = [feature["score_1"] for feature in done.found.values() if feature["match_1"]]
        assert done.MATCHED == sum(score <= 0.01 for score in scores) < len(PLANTED)


class TestGroups:
    def test_need_neither_library_nor_wavelengths(self, run, planted, tmp_path):
        scene = planted.write("blind.tif", wavelengths=None, fwhm=None, good=None)
        done = identify(run, planted, tmp_path, INPUT=scene, LIBRARIES=[])
        groups = [done.found[f"place {number}"]["group"] for number in range(6)]
        assert groups[:3] == groups[3:] and "match_1" not in done.found["place 0"]

    def test_regions_that_hold_no_pixel_are_kept_without_a_group(self, run, planted, tmp_path):
        scene = planted.cube / 1e-4
        row, column = planted.places[0]
        scene[row, column] = np.nan
        done = identify(run, planted, tmp_path, INPUT=planted.write("hole.tif", scene.astype(np.float32)))
        assert done.found["place 0"]["group"] is None and done.found["place 0"]["match_1"] is None
        assert named(done.found)[1:] == list(PLANTED[1:])
        assert "hold no valid pixel" in done.log

    def test_no_regions_at_all(self, run, planted, tmp_path):
        run("detect_rx", INPUT=planted.path, OUTPUT=str(tmp_path / "rx.tif"))
        run("threshold_anomalies", INPUT=str(tmp_path / "rx.tif"), METHOD=3, VALUE=1e9, REGIONS=str(tmp_path / "none.gpkg"))
        done = run("identify_anomalies", INPUT=planted.path, REGIONS=str(tmp_path / "none.gpkg"), LIBRARIES=[planted.library],
                   OUTPUT=str(tmp_path / "out.gpkg"), REPORT=str(tmp_path / "out.html"))  # fmt: skip
        assert (done.MATCHED, done.GROUPS) == (0, 0)
        assert "no region to identify" in (tmp_path / "out.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def light(sample):
    """What the sun sends through the air in each band, in some unit."""
    from scoread_qgis.scenes import simulated

    grid = simulated._GRID
    sun = simulated._sunlight(grid) * simulated._transmission(grid) / grid  # watts, not photons
    return 60 * simulated.at_bands(sun, sample.scene.wavelengths, sample.scene.fwhm) / sun.max()


@pytest.fixture(scope="module")
def radiance(planted, light):
    return planted.write("radiance.tif", (planted.cube * light).astype(np.float32))


class TestNotReflectance:
    def test_it_is_recognised_told_and_divided_by_the_mean(self, run, planted, radiance, tmp_path):
        done = identify(run, planted, tmp_path, INPUT=radiance)
        assert "does not seem to be reflectance" in done.log and "(IAR)" in done.log
        assert named(done.found)[:3] == list(PLANTED[:3])

    def test_a_flat_field_gives_reflectance(self, run, planted, sample, radiance, light, tmp_path):
        """A grey field of 4 x 4 pixels in a corner; the polygons come as a mask on the scene's grid."""
        cube = planted.cube * light
        cube[:4, :4] = 0.3 * light
        mask = np.zeros(cube.shape[:2], np.uint8)
        mask[:4, :4] = 1
        field = planted.write("field.tif", mask, wavelengths=None, fwhm=None, good=None)
        scene = planted.write("with_field.tif", cube.astype(np.float32))
        done = identify(run, planted, tmp_path, INPUT=scene, FLAT_FIELD=field)
        assert named(done.found) == list(PLANTED)
        assert all(done.found[f"place {number}"]["angle_1"] < 4 for number in range(3))
        assert "divided by the mean spectrum of the flat field" in done.log and "does not seem" not in done.log

    def test_who_knows_better_is_believed_with_a_warning(self, run, planted, radiance, tmp_path):
        done = identify(run, planted, tmp_path, INPUT=radiance, QUANTITY=1)
        assert "although it does not look like it" in done.log and "divided by" not in done.log

    @pytest.mark.parametrize("scale", [1, 100, 10_000])
    def test_reflectance_of_any_scale_gives_the_same(self, run, planted, identified, tmp_path, scale):
        scene = planted.write(f"times{scale}.tif", (planted.cube * scale).astype(np.float32))
        found = identify(run, planted, tmp_path, INPUT=scene).found
        assert named(found) == list(PLANTED)
        for note, feature in found.items():
            assert feature["score_1"] == pytest.approx(identified.found[note]["score_1"], abs=2e-3)

    @pytest.mark.needs_data
    @pytest.mark.parametrize(("name", "factor"), [("enmap_potsdam.tif", 1), ("sandiego_envi.dat", 1e-4)])
    def test_real_scenes_in_reflectance_are_recognised(self, name, factor):
        raster = RasterFile(str(DATA / "georeferenced" / name))
        numbers = [n for n in range(1, raster.count + 1) if raster.table.good[n - 1]]
        values, filled = raster.read_bands(0, raster.rows, numbers)
        spectra = values[:, filled.all(axis=0)].T
        table = raster.table
        found = recognise_quantity(raster, spectra, *(each[np.array(numbers) - 1] for each in (table.wavelengths, table.fwhm)))
        assert (found.reflectance, found.factor) == (True, factor), found.why

    def test_metadata_are_believed(self, planted, tmp_path):
        from osgeo import gdal

        for text, reflectance in (("Surface Reflectance", True), ("Radiance, W/m^2/sr/um", False)):
            path = planted.write(f"said{reflectance}.tif", (planted.cube * 10_000).astype(np.float32))
            gdal.Open(path, gdal.GA_Update).SetMetadataItem("data_units", text)
            assert recognise_quantity(RasterFile(path), planted.cube.reshape(-1, 30), None).reflectance is reflectance


class TestBadInput:
    def error(self, run, planted, tmp_path, **parameters):
        from qgis.core import QgsProcessingException

        with pytest.raises(QgsProcessingException) as raised:
            identify(run, planted, tmp_path, **parameters)
        assert not (tmp_path / "out.gpkg").exists()
        return str(raised.value)

    def test_a_scene_without_wavelengths(self, run, planted, tmp_path):
        text = self.error(run, planted, tmp_path, INPUT=planted.write("blind.tif", wavelengths=None, fwhm=None))
        assert "has no wavelengths" in text and "leave the library out" in text

    def test_a_library_of_another_range(self, run, planted, tmp_path):
        (tmp_path / "thermal.csv").write_text("wavelength (um),x\n8,0.1\n9,0.2\n10,0.1\n11,0.2\n")
        text = self.error(run, planted, tmp_path, LIBRARIES=[str(tmp_path / "thermal.csv")])
        assert "8 to 11 µm" in text and "0.4 to 2.5 µm" in text

    def test_a_scene_of_one_band(self, run, planted, tmp_path):
        text = self.error(
            run, planted, tmp_path, INPUT=planted.write("one.tif", np.ones((48, 40), np.float32), wavelengths=None, fwhm=None, good=None)
        )
        assert "1 band" in text

    def test_regions_elsewhere(self, run, planted, tmp_path):
        from osgeo import gdal

        gdal.VectorTranslate(str(tmp_path / "far.gpkg"), planted.regions, SQLStatement="SELECT ST_Translate(geom, 1e4, 0, 0) FROM points",
                             SQLDialect="SQLite")  # fmt: skip
        assert "holds a valid pixel" in self.error(run, planted, tmp_path, REGIONS=str(tmp_path / "far.gpkg"))

    def test_a_broken_library_and_a_missing_one(self, run, planted, tmp_path):
        (tmp_path / "broken.csv").write_text("what,is\nthis,here\n")
        assert "not a table of spectra" in self.error(run, planted, tmp_path, LIBRARIES=[str(tmp_path / "broken.csv")])
        assert "does not exist" in self.error(run, planted, tmp_path, LIBRARIES=[str(tmp_path / "absent.sli")])

    def test_a_broken_one_among_others_is_left_out_and_told(self, run, planted, tmp_path):
        (tmp_path / "broken.csv").write_text("what,is\nthis,here\n")
        done = identify(run, planted, tmp_path, LIBRARIES=[str(tmp_path / "broken.csv"), planted.library])
        assert named(done.found) == list(PLANTED) and "Left out:" in done.log and "broken.csv" in done.log

    def test_a_library_is_never_overwritten(self, run, planted, tmp_path):
        from osgeo import gdal

        gdal.VectorTranslate(str(tmp_path / "library.gpkg"), planted.regions)
        text = self.error(run, planted, tmp_path, REGIONS=str(tmp_path / "library.gpkg"), OUTPUT=str(tmp_path / "library.gpkg"))
        assert "inputs are never changed" in text


def test_the_command_line_does_the_same(planted, identified, tmp_path, capsys):
    out, page = tmp_path / "out.gpkg", tmp_path / "out.html"
    command = ["identify", planted.path, "--regions", planted.regions, "--library", planted.library, "--output", str(out)]
    assert main([*command, "--report", str(page)]) == 0
    assert fields(out) == identified.found
    assert "6 regions, 3 groups, 6 with a clear match" in capsys.readouterr().out
    assert page.is_file()
    assert main(["identify", planted.path, "--regions", planted.library, "--output", str(out)]) == 2
    assert main([*command[:-3], str(tmp_path / "absent.csv"), "--output", str(out)]) == 1


def test_explain_has_a_chapter_on_what_it_may_be(run, planted, tmp_path):
    model = run("train_sgm", INPUT=planted.path, MODEL=str(tmp_path / "model.pt")).MODEL
    given = {"INPUT": planted.path, "MODEL": model, "REGIONS": planted.regions, "LIBRARIES": [planted.library], "TOP": 1}
    run("explain_anomalies", **given, REPORT=str(tmp_path / "why.html"))
    page = (tmp_path / "why.html").read_text(encoding="utf-8")
    assert page.count("What it may be") == 1
    assert "<td>painted metal</td>" in page and "own.csv" in page


def test_the_designer_model_does_it_all(provider, planted, tmp_path):
    import processing

    model = provider.algorithm("detect_extract_and_identify")
    assert model.displayName() == "Detect, extract and identify"
    outputs = {"detect:Anomaly map": str(tmp_path / "map.tif"), "identify:Identified regions": str(tmp_path / "out.gpkg"),
               "identify:Report": str(tmp_path / "out.html")}  # fmt: skip
    processing.run(model, {"INPUT": planted.path, "LIBRARIES": [planted.library], "RATE": 0.03, **outputs})
    from osgeo import gdal

    file = gdal.OpenEx(str(tmp_path / "out.gpkg"), gdal.OF_VECTOR)
    found = [feature["match_1"] for feature in file.GetLayer(0)]
    assert {"plastic", "mineral", "painted metal"} <= set(found)
    assert (tmp_path / "out.html").is_file()

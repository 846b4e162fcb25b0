"""The dock "Anomalies" at the real QGIS desktop, used as an analyst uses it (see review_session.py)."""

import csv
import re

import numpy as np
import pytest
from conftest import read
from osgeo import gdal, ogr, osr
from test_desktop import RESPONSIVE, at_an_answering_desktop, pytestmark  # noqa: F401  (skips where there is no desktop)

from scoread_qgis.scenes.simulated import simulated_library

PHASES = ("slider", "keep", "verdicts", "pick", "5000 regions", "25 megapixels")


def blocked(report):
    """By how much the event loop was blocked for too long, at worst, in which phase, and that silence; as in test_desktop.py."""
    silences = ((s[0] - s[1] - RESPONSIVE, phase, s) for phase in PHASES for s in report["silences"].get(phase, []))
    return max(silences, default=(-RESPONSIVE, None, None))


def large_map(path):
    """25 megapixels: one tile of background again and again, and 400 anomalies of a single pixel."""
    random = np.random.default_rng(0)
    values = np.tile(random.gumbel(size=(250, 250)).astype(np.float32), (20, 20))
    values[random.integers(0, 5000, 400), random.integers(0, 5000, 400)] = 40
    dataset = gdal.GetDriverByName("GTiff").Create(str(path), 5000, 5000, 1, gdal.GDT_Float32)
    dataset.SetGeoTransform((600_000, 10, 0, 4_000_000, 0, -10))
    reference = osr.SpatialReference()
    reference.ImportFromEPSG(32631)
    dataset.SetProjection(reference.ExportToWkt())
    dataset.GetRasterBand(1).WriteArray(values)
    return values


def many_regions(path, count=5000):
    dataset = ogr.GetDriverByName("GPKG").CreateDataSource(str(path))
    reference = osr.SpatialReference()
    reference.ImportFromEPSG(32631)
    layer = dataset.CreateLayer("many", reference, ogr.wkbPolygon)
    for name, kind in (("rank", ogr.OFTInteger), ("peak", ogr.OFTReal), ("pixels", ogr.OFTInteger), ("area", ogr.OFTReal)):
        layer.CreateField(ogr.FieldDefn(name, kind))
    dataset.StartTransaction()
    for rank in range(1, count + 1):
        feature = ogr.Feature(layer.GetLayerDefn())
        for name, value in (("rank", rank), ("peak", 100 - rank / 100), ("pixels", 1), ("area", 100.0)):
            feature.SetField(name, value)
        x, y = 600_000 + 20 * (rank % 100), 4_000_000 - 20 * (rank // 100)
        feature.SetGeometry(ogr.CreateGeometryFromWkt(f"POLYGON(({x} {y},{x + 10} {y},{x + 10} {y - 10},{x} {y - 10},{x} {y}))"))
        layer.CreateFeature(feature)
    dataset.CommitTransaction()


@pytest.fixture(scope="module")
def session(provider, tmp_path_factory):
    """Folder, report and terminal output of one session."""
    import processing

    def prepared():
        folder = tmp_path_factory.mktemp("review")
        sizes = {"ROWS": 90, "COLUMNS": 100, "BAND_COUNT": 40}
        processing.run("scoread:sample_scene", {**sizes, "OUTPUT": str(folder / "scene.tif")})
        processing.run("scoread:detect_anomalies", {"INPUT": str(folder / "scene.tif"), "OUTPUT": str(folder / "map.tif")})
        wavelengths, spectra = simulated_library()
        rows = [",".join(map(str, row)) for row in zip(wavelengths, *spectra.values())]
        (folder / "library.csv").write_text("\n".join(["wavelength (nm)," + ",".join(spectra), *rows]), encoding="utf-8")
        processing.run(
            "scoread:threshold_anomalies", {"INPUT": str(folder / "map.tif"), "RATE": 0.005, "REGIONS": str(folder / "found.gpkg")}
        )
        files = {"INPUT": "scene.tif", "REGIONS": "found.gpkg", "OUTPUT": "named.gpkg"}
        named = {name: str(folder / file) for name, file in files.items()}
        processing.run("scoread:identify_anomalies", {**named, "LIBRARIES": [str(folder / "library.csv")]})
        large_map(folder / "large.tif")
        many_regions(folder / "many.gpkg")
        return folder

    return at_an_answering_desktop(prepared, blocked, "review_session.py")


def test_the_window_answers_all_the_time(session):
    _, report, _ = session
    seconds, phase, silence = blocked(report)
    print(f"event loop blocked {1000 * seconds:+.0f} ms beyond what is allowed, in {phase}: {silence}")
    assert seconds <= 0, (phase, silence)


def test_the_dock_is_in_the_menus_and_made_when_it_is_first_shown(session):
    _, report, _ = session
    assert report["in the menus"] == [True, True] and report["before"]
    window, canvas, dock = report["widths"]
    assert window == 1366 and canvas >= window / 2 - 2 and dock > 300, "with the panels that QGIS shows by itself"
    print(f"opened with {report['opening']:.2f} s of processor time")


def test_the_slider_changes_threshold_numbers_and_canvas(session):
    folder, report, _ = session
    scores = read(folder / "map.tif")
    rate, threshold, above = report["at first"]
    assert rate == 0.001 and above == (scores > np.float32(threshold)).sum() > 0
    lower_rate, lower, text, pixels = report["lower"]
    assert lower_rate > rate and lower < threshold, "Page Down goes to the left, to more pixels"
    assert pixels == (scores > np.float32(lower)).sum() > above
    assert re.findall(r"\d+", text)[0] == str(pixels)
    before, after = report["painted"]
    assert after / before == pytest.approx(pixels / above, rel=0.25), "as many more pixels of the canvas"
    assert report["typed"][0] == 0.005 == report["typed"][2], "and the project remembers it"


def test_keep_writes_what_extract_anomalies_writes_and_reviews_it(session, run, tmp_path):
    folder, report, _ = session
    name, count, renderer, tab = report["kept"]
    theirs = run("threshold_anomalies", INPUT=str(folder / "map.tif"), RATE=0.005, REGIONS=str(tmp_path / "regions.gpkg"))
    assert (name, count, renderer, tab) == ("map regions.gpkg", theirs.COUNT, "graduatedSymbol", 1)
    ours, other = (ogr.Open(str(path)).ExecuteSQL for path in (folder / name, tmp_path / "regions.gpkg"))
    sql = "SELECT rank, pixels, peak, area, p_value, x, y, ST_AsText(geom) AS shape FROM {}"
    for mine, their in zip(ours(sql.format('"map regions"')), other(sql.format("regions"))):
        assert mine.items() == their.items()
    assert str(count) in report["typed"][1]
    tree = report["tree"]
    assert tree[tree.index("Anomalies of scene") - 1] == "Regions of scene, rate 0.005" and report["overlay hidden"]


def test_verdicts_by_keys_are_in_the_file_at_once(session):
    _, report, _ = session
    assert report["first"] == [0, True]
    fields, current, state = report["keys"]
    assert [fields[rank][0] for rank in ("1", "2", "3", "4")] == ["accepted", "rejected", "later", None]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", fields["1"][2])
    assert current == 3 and state.startswith("2 of ") and state.endswith("1 later")
    assert report["undone"] == [None, None, None]
    row, texts, list_has_focus, *_ = report["note"]
    assert texts[1] == "a car, no roof" and texts[2] and list_has_focus


def test_the_spectrum_of_a_region_is_its_mean(session):
    _, report, _ = session
    title, pixels, spectrum = report["region"]
    assert "mean" in title and pixels >= 1
    np.testing.assert_allclose(spectrum, report["region mean"])


def test_a_click_shows_the_spectrum_of_the_pixel(session):
    folder, report, _ = session
    seconds, row, column, pins = report["click"]
    print(f"spectrum {1000 * seconds:.0f} ms after the click")
    assert (row, column, pins) == (12, 17, 1) and report["expected"]
    bands = gdal.Open(str(folder / "scene.tif"))
    stored = bands.ReadAsArray()[:, 12, 17] * (bands.GetRasterBand(1).GetScale() or 1)
    assert np.isin(np.round(report["pixel"], 4), np.round(stored, 4)).all()
    lines = report["csv"].splitlines()
    assert lines[0].startswith("wavelength_nm,") and len(lines) == 41 and "13" in lines[0]
    assert any(",," in line for line in lines), "bad bands are gaps"
    assert read(folder / "spectrum.png").shape[2] > 300 and "<svg" in (folder / "spectrum.svg").read_text(encoding="utf-8")
    assert (folder / "spectrum.sli").stat().st_size == 4 * 36 * (len(next(csv.reader(lines))) - 1), "four bytes for each good band"
    note, known, used = report["contributions"]
    assert note == "" and known == used


def test_with_shift_the_spectrum_follows_the_mouse(session):
    _, report, _ = session
    assert report["looking"] == [False, True] and report["hover"] == [20, 30]


def test_the_accepted_are_handed_on_with_what_is_known(session):
    folder, report, _ = session
    assert [enabled for enabled, _ in report["nothing to hand on"]] == [False, False]
    assert all("Nothing is accepted yet" in why for _, why in report["nothing to hand on"])
    (page, asked), (layer, exported) = report["handed on"]
    assert (page, layer) == ("scoread:report_anomalies", "scoread:export_anomalies")
    assert asked["INPUT"] in (report["scene"], str(folder / "scene.tif"))
    for given in (asked["REGIONS"], exported["REGIONS"]):
        assert given == report["region layer"] or given.partition("|")[0] == str(folder / "map regions.gpkg")


def test_groups_and_matches_are_listed_and_drawn(session):
    folder, report, _ = session
    assert report["columns before"] == [True, True] and report["nothing chosen"]
    hidden, rows = report["named"]
    layer = (dataset := ogr.Open(str(folder / "named.gpkg"))).GetLayer(0)
    theirs = {str(feature["rank"]): feature.items() for feature in layer}
    del layer, dataset
    assert hidden == [False, False] and len(rows) == len(theirs)
    assert [match for *_, match in rows] == sorted((found["match_1"] for found in theirs.values()), key=str.casefold)
    assert all((group, match) == (str(theirs[rank]["group"]), theirs[rank]["match_1"]) for rank, group, match in rows)

    names = [f"library: {theirs['1'][f'match_{place}']}" for place in (3, 2, 1)]
    assert [name for name, _ in report["matches"]] == names
    wavelengths, spectra = simulated_library()
    scene = gdal.Open(str(folder / "scene.tif"))
    metadata = [scene.GetRasterBand(band).GetMetadata() for band in range(1, 41)]
    centres, widths = (np.array([float(items[name]) for items in metadata])[:, None] for name in ("wavelength", "fwhm"))
    responses = np.exp(-4 * np.log(2) * ((wavelengths - centres) / widths) ** 2)
    responses /= responses.sum(axis=1, keepdims=True)
    seen = np.array(report["matches of"], float)
    for place, (_, drawn) in zip((3, 2, 1), report["matches"]):
        entry, drawn = responses @ spectra[theirs["1"][f"match_{place}"]], np.array(drawn, float)
        known = np.isfinite(seen) & np.isfinite(drawn)
        assert known.sum() == np.isfinite(seen).sum()
        scale = np.linalg.lstsq(entry[known, None], seen[known], rcond=None)[0]
        np.testing.assert_allclose(drawn[known], entry[known] * scale, rtol=0.03)
    *_, wrapped, needed, high = report["note"]
    assert wrapped and needed <= high, "all of it is to be read"
    note, lines = report["no library"]
    assert "library.csv does not exist" in note and lines and not any(name.startswith("library") for name in lines)


def test_a_project_that_is_opened_again_shows_what_was_shown(session):
    _, report, _ = session
    assert report["cleared"] == [True, 0, True, 0]
    assert report["opened again"] == ["Anomalies of scene", 0.005, report["kept"][1], "accepted"]


def test_pins_are_kept_with_the_project(session):
    folder, report, _ = session
    before, after = report["pinned"], report["pinned again"]
    assert len(after) == len(before)
    assert [name for name, *_ in after][-2:] == ["pixel 41, 42", "pixel 11, 61"] and len({colour for _, colour, *_ in after}) == len(after)
    for ours, theirs in zip(after, before):
        assert ours[:2] == theirs[:2] and ours[3] and ours[4] == theirs[4]
        np.testing.assert_allclose(ours[2], theirs[2], rtol=1e-8)


def test_selecting_on_the_canvas_selects_the_row(session):
    _, report, _ = session
    assert report["selected"] == [4, 5]


def test_all_like_a_rejected_region_are_rejected_together(session):
    _, report, _ = session
    widest, listed, near, within_widest = report["alike"]
    fields, angles = report["alike in the file"]
    kept = {rank for rank, texts in fields.items() if texts[0] == "accepted"}
    assert kept == {"1"} and widest >= within_widest - 1 and near - 1 <= listed <= near
    for place, angle in enumerate(angles):
        verdict, note, _ = fields[str(place + 1)]
        if place == 3:
            assert verdict == "rejected" and note == "example: rejected with all within 3.0°"
        elif angle <= 3 and place > 0:
            assert verdict == "rejected" and f"like region 4: {angle:.2f}°, limit 3.0°" in note
        elif place > 2:
            assert verdict is None
    assert report["alike undone"][0] is None


def test_nothing_is_lost_when_the_file_is_edited_read_only_or_gone(session):
    _, report, _ = session
    assert report["after rollback"][0] == "later", "the verdict is in the file, not in the edit session"
    verdict, messages, listed = report["read-only"]
    assert (verdict, listed) == ("accepted", "accepted") and any("it is read-only" in message for message in messages)
    messages, listed = report["gone"]
    assert any("is gone" in message for message in messages) and listed == "accepted"


def test_thousands_of_regions(session):
    _, report, _ = session
    assert report["many"] == "accepted" and report["sorted"] == "5000" and report["removed"] == [report["kept"][1], False], (
        "back to the regions of before"
    )


def test_a_large_map_shows_single_pixels_of_it(session):
    _, report, _ = session
    threshold, text, shown, moves = report["large"]
    print(f"moves of the slider over 25 megapixels: {1000 * max(moves):.0f} ms at most")
    assert threshold > 12 and "Pixels above: 400\nRegions: 400\n" in text
    assert shown > 300, "each of the 400 single pixels, on a canvas of far fewer pixels than the map"
    assert report["hidden"] == 0, "the canvas is as it was once the dock is closed"


def test_nothing_went_wrong_unseen(session):
    _, report, output = session
    assert [m for m in report["messages"] if m[0] == "Python error" or "Traceback" in m[2]] == []
    assert "Traceback" not in output

"""The largest anomaly looked for: what stands out in smaller objects is raised, wherever and in whatever pieces a map is made."""

import numpy as np
import pytest
from conftest import read
from scipy import ndimage

from scoread_qgis.commandline.main import main
from scoread_qgis.core.cube import ArrayCube
from scoread_qgis.core.progress import Cancelled, Progress
from scoread_qgis.detectors import contract
from scoread_qgis.detectors.contract import Scorer
from scoread_qgis.detectors.shared import area_opening as module
from scoread_qgis.detectors.shared.area_opening import area_opening
from scoread_qgis.scenes.provenance import provenance_of
from scoread_qgis.scenes.simulated import simulate_scene
from scoread_qgis.scenes.writer import write_scene

CORNERS_TOO = np.ones((3, 3))


def opened_level_by_level(values, pixels):
    """Area opening by its definition: all objects at each level, from the lowest."""
    valid, found = np.isfinite(values), np.full(values.shape, np.nan, np.float32)
    islands, count = ndimage.label(valid, CORNERS_TOO)
    for island in range(1, count + 1):
        found[islands == island] = values[islands == island].min()
    for level in np.unique(values[valid]):
        objects, _ = ndimage.label(valid & (values >= level), CORNERS_TOO)
        sizes = np.bincount(objects.ravel())
        found[(objects > 0) & (sizes[objects] >= pixels)] = level
    return found


def expected_from(plain, largest):
    return 2 * plain - opened_level_by_level(plain, largest + 1)


@pytest.mark.parametrize("kind", ["noise", "steps", "smooth"])
@pytest.mark.parametrize("pixels", [1, 2, 7, 40])
def test_area_opening_is_that_of_its_definition(kind, pixels):
    generator = np.random.default_rng(pixels)
    for shape in [(23, 17), (1, 30), (9, 1), (1, 1)]:
        values = generator.normal(size=shape).astype(np.float32)
        if kind != "noise":
            values = np.round(values) if kind == "steps" else ndimage.gaussian_filter(values, 1.5)
        for missing in (0, 0.15, 0.6):
            holed = np.where(generator.random(shape) < missing, np.float32(np.nan), values)
            np.testing.assert_array_equal(area_opening(holed, pixels), opened_level_by_level(holed, pixels))


def test_small_objects_gain_what_they_stand_out_by_and_large_ones_and_the_background_nothing():
    values = np.ones((40, 40), np.float32)
    values[5:8, 5:8], values[20:30, 20:30], values[24, 24] = 4, 6, 7
    raised = module.raised(values, slice(0, 40), slice(0, 40), 9)
    expected = values.copy()
    expected[5:8, 5:8], expected[24, 24] = 4 + 3, 7 + 1
    np.testing.assert_array_equal(raised, expected)
    assert (module.raised(values, slice(0, 40), slice(0, 40), 8)[5:8, 5:8] == 4).all()


class FirstBand(Scorer):
    """Scores are the first band, and where `surround` is not 0, less what lies one pixel above."""

    def values(self, block, tell):
        return np.where(block.valid, block.values[..., 0], np.float32(np.nan))[block.inner]

    def against_surroundings(self, values, rows, columns):
        above = np.concatenate([values[:1], values[:-1]])
        return (values - np.float32(0.5) * np.nan_to_num(above))[rows, columns]


@pytest.mark.parametrize("surround", [0, 3])
@pytest.mark.parametrize("largest", [1, 10, 30])
def test_pieces_and_windows_are_those_of_the_whole_map(monkeypatch, surround, largest):
    generator = np.random.default_rng(0)
    values = ndimage.gaussian_filter(generator.normal(size=(90, 61)), 0.7).astype(np.float32)
    cube = ArrayCube(values[..., None], generator.random(values.shape) > 0.1, rows_per_block=7)
    scorer = FirstBand(cube)
    scorer.surround, scorer.pass_pixels = surround, 200
    plain = np.concatenate([rows for _, rows in scorer.map()])
    monkeypatch.setattr(module, "TILE", 16)
    monkeypatch.setattr(contract, "TILE", 16)
    scorer.largest = largest
    expected = expected_from(plain, largest)
    assert np.nanmax(expected - plain) > 0.5
    pieces = list(scorer.map())
    assert [row for row, _ in pieces] == list(np.cumsum([0, *(len(rows) for _, rows in pieces)])[:-1]) and len(pieces) > 3
    np.testing.assert_array_equal(np.concatenate([rows for _, rows in pieces]), expected)
    for first, last, left, right in [(0, 90, 0, 61), (20, 61, 13, 19), (88, 90, 60, 61)]:
        part = np.concatenate([rows for _, rows in scorer.map(area=(first, last, left, right))])
        np.testing.assert_array_equal(part, expected[first:last, left:right])
        np.testing.assert_array_equal(scorer.window(first, left, last - first, right - left), expected[first:last, left:right])


def test_it_can_be_cancelled_between_tiles(monkeypatch):
    monkeypatch.setattr(module, "TILE", 16)
    scorer, told = FirstBand(ArrayCube(np.random.default_rng(0).random((64, 64, 1)))), []
    scorer.largest = 5

    def report(share, message):
        told.append((share, message))
        if sum("small objects" in message for _, message in told) == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        list(scorer.map(Progress(report)))
    assert len(told) < 10 and all(one[0] <= other[0] for one, other in zip(told, told[1:]))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Folder of a scene that is large enough for two row blocks, and its plain map."""
    folder = tmp_path_factory.mktemp("largest")
    scene = simulate_scene(128, 56, 150, seed=3)
    write_scene(folder / "scene.tif", scene.cube, (0, 2, 0, 0, 0, -2), wavelengths=scene.wavelengths)
    assert main(["detect", str(folder / "scene.tif"), "--output", str(folder / "plain.tif")]) == 0
    return folder


def test_maps_of_the_command_line_of_an_area_and_of_a_cluster(made, tmp_path, capsys):
    plain = read(made / "plain.tif")
    words = ["detect", str(made / "scene.tif"), "--largest", "12", "--output"]
    assert main([*words, str(tmp_path / "here.tif")]) == 0
    here = read(tmp_path / "here.tif")
    np.testing.assert_array_equal(here, expected_from(plain, 12))
    assert not np.array_equal(here, plain)
    assert main([*words, str(tmp_path / "area.tif"), "--extent", "10", "-200", "60", "-100"]) == 0
    np.testing.assert_allclose(read(tmp_path / "area.tif"), here[50:100, 5:30], rtol=1e-4, atol=1e-4)
    assert main([*words, str(tmp_path / "there.tif"), "--memory", "1", "--local-cluster", "1"]) == 0
    assert "Split into 2 row blocks" in capsys.readouterr().err
    np.testing.assert_allclose(read(tmp_path / "there.tif"), here, rtol=1e-4, atol=1e-4)


def test_qgis_says_so_in_log_map_and_report(run, made, tmp_path):
    result = run(
        "detect_anomalies", INPUT=str(made / "scene.tif"), LARGEST=12, OUTPUT=str(tmp_path / "q.tif"), REPORT=str(tmp_path / "q.html")
    )
    np.testing.assert_array_equal(read(result.OUTPUT), expected_from(read(made / "plain.tif"), 12))
    assert "Largest anomaly: 12 pixels" in result.log
    assert provenance_of(result.OUTPUT)["largest"] == "12 pixels"
    assert "12 pixels" in (tmp_path / "q.html").read_text(encoding="utf-8")
    assert "largest" not in provenance_of(made / "plain.tif")

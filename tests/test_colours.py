"""How scenes, ground truth and maps open: natural colour, a veil, and a legend that says what share of the pixels scores as high."""

import numpy as np
import pytest
from conftest import read
from osgeo import gdal

from scoread_qgis.scenes.bands import BandTable, colour_bands


def table(wavelengths, bad=()):
    good = np.ones(len(wavelengths), bool)
    good[list(bad)] = False
    return BandTable(np.array(wavelengths, float), np.full(len(wavelengths), np.nan), good)


class TestBands:
    def test_natural_colour_by_wavelength_whatever_the_order(self):
        wavelengths = np.linspace(400, 2500, 211)  # every 10 nm
        assert colour_bands(table(wavelengths)) == ([26, 16, 7], True)
        assert colour_bands(table(wavelengths[::-1])) == ([211 + 1 - n for n in (26, 16, 7)], True)

    def test_not_a_bad_band(self):
        assert colour_bands(table(np.linspace(400, 2500, 211), bad=[25])) in (([25, 16, 7], True), ([27, 16, 7], True))

    @pytest.mark.parametrize("wavelengths", [np.linspace(1000, 2500, 61), [np.nan] * 61, [645, *[np.nan] * 60]])
    def test_false_colour_where_there_is_no_visible_light_or_nothing_is_known(self, wavelengths):
        assert colour_bands(table(wavelengths)) == ([51, 31, 11], False)

    def test_of_few_or_only_bad_bands(self):
        assert set(colour_bands(table([np.nan, np.nan]))[0]) <= {1, 2}
        assert colour_bands(table([650, 550, 460], bad=[0, 1, 2])) == ([1, 2, 3], True)


@pytest.fixture(scope="module")
def made(provider, tmp_path_factory):
    """Files of Create sample scene: scene and truth."""
    import processing

    folder = tmp_path_factory.mktemp("colours")
    size = {"ROWS": 60, "COLUMNS": 50, "BAND_COUNT": 106}
    return processing.run(
        "scoread:sample_scene", {**size, "OUTPUT": str(folder / "scene.tif"), "TRUTH": str(folder / "truth.tif")}
    )  # fmt: skip


def test_a_simulated_scene_opens_in_natural_colour(made):
    from qgis.core import QgsRasterLayer

    layer = QgsRasterLayer(made["OUTPUT"], "scene")
    renderer = layer.renderer()
    scene = gdal.Open(made["OUTPUT"])
    bands = [renderer.redBand(), renderer.greenBand(), renderer.blueBand()]
    assert [float(scene.GetRasterBand(n).GetMetadataItem("wavelength")) for n in bands] == pytest.approx([650, 550, 460], abs=10.1)
    for number, stretch in zip(bands, (renderer.redContrastEnhancement(), renderer.greenContrastEnhancement())):
        band = scene.GetRasterBand(number)
        limits = np.percentile(band.ReadAsArray() * band.GetScale(), (2, 98))
        assert [stretch.minimumValue(), stretch.maximumValue()] == pytest.approx(limits, rel=1e-5), "in the units that QGIS draws"


def test_a_ground_truth_is_a_veil_over_the_anomalies(made):
    from qgis.core import QgsRasterLayer

    layer = QgsRasterLayer(made["TRUTH"], "truth")
    (anomaly,) = layer.renderer().classes()
    assert anomaly.value == 1 and 0 < anomaly.color.alpha() < 255, "and nothing is drawn for 0"


def test_an_imported_scene_and_its_truth(run, tmp_path):
    from qgis.core import QgsRasterLayer
    from scipy.io import savemat

    values = np.random.default_rng(0).random((20, 15, 61)).astype(np.float32)
    savemat(tmp_path / "a.mat", {"data": values, "map": (values[..., 0] > 0.99).astype(np.uint8)})
    run("import_matlab", FILE=str(tmp_path / "a.mat"), OUTPUT=str(tmp_path / "s.tif"), TRUTH=str(tmp_path / "t.tif"))
    scene, truth = QgsRasterLayer(str(tmp_path / "s.tif"), "s"), QgsRasterLayer(str(tmp_path / "t.tif"), "t")
    renderer = scene.renderer()
    assert [renderer.redBand(), renderer.greenBand(), renderer.blueBand()] == [51, 31, 11]
    assert truth.renderer().type() == "paletted"


def test_the_legend_of_a_map_tells_the_share_of_the_pixels_above(run, made, tmp_path):
    from qgis.core import QgsRasterLayer

    run("detect_rx", INPUT=made["OUTPUT"], OUTPUT=str(tmp_path / "map.tif"))
    layer, scores = QgsRasterLayer(str(tmp_path / "map.tif"), "map"), read(tmp_path / "map.tif")
    renderer = layer.renderer()
    function = renderer.shader().rasterShaderFunction()
    assert not function.legendSettings().useContinuousLegend(), "which would show two numbers alone"
    *items, last = function.colorRampItemList()
    assert last.label == f"{scores.max():.4g} (highest)"
    for item in items:
        value, _, rest = item.label.partition(" (top ")
        share = float(rest.partition(" %)")[0]) / 100
        assert float(value) == pytest.approx(item.value, rel=1e-3)
        assert np.mean(scores >= item.value) == pytest.approx(share, rel=0.06)
    assert [item.label.partition("(")[2] for item in items][:2] == ["top 50 %)", "top 10 %)"]

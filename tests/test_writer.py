"""Maps and scenes as files: whole or not at all, with all that belongs to them."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest
from osgeo import gdal
from osgeo_utils.samples.validate_cloud_optimized_geotiff import validate

from scoread_qgis.core.files import remove_litter
from scoread_qgis.scenes.raster import RasterFile
from scoread_qgis.scenes.writer import MapWriter, write_scene


@pytest.fixture
def scene(tmp_path):
    (tmp_path / "in").mkdir()
    write_scene(
        tmp_path / "in" / "scene.tif", np.random.default_rng(0).random((700, 300, 2)).astype(np.float32), (10, 2, 0.1, 20, 0.2, -2), WGS84
    )
    return RasterFile(str(tmp_path / "in" / "scene.tif"))


WGS84 = (
    'GEOGCS["WGS 84",DATUM["WGS_1984",SPHEROID["WGS 84",6378137,298.257223563]],PRIMEM["Greenwich",0],UNIT["degree",0.0174532925199433]]'
)


def write(path, scene, scores, rows_per_write=100):
    with MapWriter(path, scene, "Anomaly score") as writer:
        for row in range(0, scene.rows, rows_per_write):
            writer.write(row, scores[row : row + rows_per_write])


def test_map_has_the_grid_statistics_and_description(tmp_path, scene):
    scores = np.random.default_rng(1).random((700, 300)).astype(np.float32)
    scores[100:200, 50] = np.nan
    path = tmp_path / "out" / "map.tif"
    write(path, scene, scores)
    dataset = gdal.Open(str(path))
    band = dataset.GetRasterBand(1)
    assert dataset.GetGeoTransform() == (10, 2, 0.1, 20, 0.2, -2)
    assert dataset.GetSpatialRef().IsSame(scene.dataset.GetSpatialRef())
    assert band.DataType == gdal.GDT_Float32
    assert band.GetDescription() == "Anomaly score"
    assert np.isnan(band.GetNoDataValue())
    np.testing.assert_array_equal(band.ReadAsArray(), scores)
    expected = [np.nanmin(scores), np.nanmax(scores), np.nanmean(scores, dtype=float), np.nanstd(scores, dtype=float)]
    np.testing.assert_allclose(band.GetStatistics(False, False), expected, rtol=1e-6)
    assert band.GetBlockSize() == [256, 256]
    assert dataset.GetMetadata("IMAGE_STRUCTURE")["COMPRESSION"] == "DEFLATE"
    assert [p.name for p in path.parent.iterdir()] == ["map.tif"]


def test_overviews_keep_the_largest_score(tmp_path, scene):
    scores = np.random.default_rng(1).random((700, 300)).astype(np.float32)
    scores[611, 233] = 50
    scores[:9, :9] = np.nan
    write(tmp_path / "map.tif", scene, scores)
    dataset = gdal.Open(str(tmp_path / "map.tif"))
    band = dataset.GetRasterBand(1)
    assert [(band.GetOverview(i).XSize, band.GetOverview(i).YSize) for i in range(band.GetOverviewCount())] == [(150, 350), (75, 175)]
    expected = scores
    for level in range(2):
        expected = np.fmax.reduce([expected[i::2, j::2][: 350 // 2**level, : 150 // 2**level] for i in (0, 1) for j in (0, 1)])
        np.testing.assert_array_equal(band.GetOverview(level).ReadAsArray(), expected)
    assert np.nanmax(expected) == 50
    assert np.isnan(expected[0, 0])


@pytest.mark.parametrize("area", [None, (100, 690, 20, 40), (0, 20, 0, 20)])
def test_maps_are_cloud_optimised_with_all_that_belongs_to_them(tmp_path, scene, area):
    first, last, left, right = area or (0, 700, 0, 300)
    scores = np.random.default_rng(1).random((last - first, right - left)).astype(np.float32)
    with MapWriter(tmp_path / "map.tif", scene, "Anomaly score", area, {"seed": "3"}) as writer:
        for row in reversed(range(first, last, 30)):  # in any order, and in pieces that are no whole blocks
            for column in range(left, right, 17):
                piece = scores[row - first : row - first + 30, column - left : column - left + 17]
                writer.write(row, piece, column)
    warnings, errors, _ = validate(str(tmp_path / "map.tif"), full_check=True)
    assert (warnings, errors) == ([], [])
    dataset = gdal.Open(str(tmp_path / "map.tif"))
    assert dataset.GetMetadata("IMAGE_STRUCTURE")["LAYOUT"] == "COG"
    assert dataset.GetMetadataItem("SCOREAD_SEED") == "3"
    band = dataset.GetRasterBand(1)
    np.testing.assert_array_equal(band.ReadAsArray(), scores)
    np.testing.assert_allclose(band.GetStatistics(False, False), [scores.min(), scores.max(), scores.mean(), scores.std()], rtol=1e-5)
    assert band.GetMetadataItem("STATISTICS_VALID_PERCENT") == "100"


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path, scene):
    path = tmp_path / "map.tif"
    path.write_text("what was there before")
    with pytest.raises(KeyboardInterrupt), MapWriter(path, scene, "score") as writer:
        writer.write(0, np.ones((10, 300), np.float32))
        assert path.read_text(encoding="utf-8") == "what was there before"
        raise KeyboardInterrupt
    assert path.read_text(encoding="utf-8") == "what was there before"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "map.tif"]


@pytest.mark.only_on("linux", "darwin")
def test_a_killed_process_leaves_no_file_that_looks_finished(tmp_path, scene):
    code = f"""
        import os, signal, sys
        sys.path[:0] = {sys.path!r}
        import numpy as np
        from scoread_qgis.scenes.raster import RasterFile
        from scoread_qgis.scenes.writer import MapWriter
        with MapWriter({str(tmp_path / "map.tif")!r}, RasterFile({scene.source!r}), "score") as writer:
            writer.write(0, np.ones((400, 300), np.float32))
            os.kill(os.getpid(), signal.SIGKILL)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False)
    assert not (tmp_path / "map.tif").exists()
    left = [p.name for p in tmp_path.iterdir() if p.is_file()]
    assert left
    assert all(name.endswith((".part", ".part.pieces")) for name in left)
    remove_litter([tmp_path])
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


@pytest.mark.only_on("linux", "darwin")
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path, scene):
    """A limit on the size of files stands for the full disk."""
    code = f"""
        import resource, signal, sys
        sys.path[:0] = {sys.path!r}
        import numpy as np
        from scoread_qgis.scenes.raster import RasterFile
        from scoread_qgis.scenes.writer import MapWriter
        scene = RasterFile({scene.source!r})
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        try:
            with MapWriter({str(tmp_path / "map.tif")!r}, scene, "score") as writer:
                for row in range(0, 700, 100):
                    writer.write(row, np.random.default_rng(row).random((100, 300)).astype(np.float32))
        except ValueError as error:
            print(error)
            sys.exit(3)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert "cannot be written" in done.stdout
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


def test_a_map_without_any_score_is_an_error(tmp_path, scene):
    with pytest.raises(ValueError, match="No pixel of the scene could be scored"):
        write(tmp_path / "map.tif", scene, np.full((700, 300), np.nan, np.float32))
    assert not (tmp_path / "map.tif").exists()


def test_unwritable_outputs(tmp_path, scene):
    (tmp_path / "file").touch()
    for path, message in (
        (tmp_path / "map.png", r"Give the file a name that ends in \.tif"),
        (tmp_path / "file" / "map.tif", "cannot be written: .*Choose a folder that you may write to"),
        (tmp_path / "folder.tif", "is a folder"),
    ):
        (tmp_path / "folder.tif").mkdir(exist_ok=True)
        with pytest.raises(ValueError, match=message), MapWriter(path, scene, "score"):
            pass


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "f4", "f8", "i8"])
def test_scenes_keep_their_values_and_band_metadata(tmp_path, dtype):
    values = np.random.default_rng(0).integers(0, 200, (6, 7, 3)).astype(dtype)
    write_scene(tmp_path / "a.tif", values, wavelengths=[500, 600.5, 700], fwhm=[9, 10, 11], good=[True, False, True], scale=0.5, nodata=0)
    raster = RasterFile(str(tmp_path / "a.tif"))
    np.testing.assert_array_equal(raster.dataset.ReadAsArray().transpose(1, 2, 0), values)
    assert raster.table.wavelengths.tolist() == [500, 600.5, 700]
    assert raster.table.fwhm.tolist() == [9, 10, 11]
    assert raster.table.good.tolist() == [True, False, True]
    assert raster.dataset.GetRasterBand(2).GetDescription() == "band 2 (600.5 nm)"
    assert raster.geotransform is None
    assert [p.name for p in tmp_path.iterdir()] == ["a.tif"]

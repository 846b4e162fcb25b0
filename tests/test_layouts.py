"""Files of any layout and scenes of any width: every block is decoded once, memory keeps to the setting, and the values stay the same."""

import re
import subprocess
import sys
import textwrap
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
from osgeo import gdal

from scoread_qgis.core.cube import ArrayCube
from scoread_qgis.core.progress import Cancelled, Progress
from scoread_qgis.detectors.default_mode.sgm import SGM
from scoread_qgis.detectors.fers.detector import FERS
from scoread_qgis.detectors.paper_mode.paper_sgm import PaperSGM
from scoread_qgis.detectors.rx import GlobalRX, LocalRX
from scoread_qgis.scenes.portions import FEWEST_ROWS, FileBlocks, columns_within
from scoread_qgis.scenes.raster import RasterCube, RasterFile, survey_bands
from scoread_qgis.scenes.simulated import simulate_scene

COLUMNS, ROWS, BANDS = 2048, 256, 40  # a row of tiles is larger than what GDAL keeps of remote files


class Ranges(SimpleHTTPRequestHandler):
    """A server of files that knows ranges, and remembers which were asked for."""

    protocol_version, wbufsize = "HTTP/1.1", 2**20

    def log_message(self, *message):
        pass

    def do_HEAD(self):
        self.answer(False)

    def do_GET(self):
        self.answer(True)

    def answer(self, with_body):
        content = self.server.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        asked = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        first, last = (int(asked[1]), min(int(asked[2] or len(content)), len(content) - 1)) if asked else (0, len(content) - 1)
        self.send_response(206 if asked else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(last - first + 1))
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        self.end_headers()
        if with_body:
            self.server.asked.append(last - first + 1)
            self.wfile.write(content[first : last + 1])


@pytest.fixture(scope="module")
def values():
    return np.random.default_rng(0).integers(-(2**15), 2**15, (BANDS, ROWS, COLUMNS), np.int16)


@pytest.fixture
def small_cache():
    """A cache that holds less than a row of tiles."""
    before = gdal.GetCacheMax()
    gdal.SetCacheMax(2**20)
    yield
    assert gdal.GetCacheMax() == 2**20, "it is as it was found"
    gdal.SetCacheMax(before)


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Ranges)
    server.files, server.asked = {}, []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    "driver, options, most_requests",
    [
        ("COG", ["BLOCKSIZE=128", "OVERVIEWS=NONE"], 12),
        ("GTiff", ["TILED=YES", "BLOCKXSIZE=128", "BLOCKYSIZE=128", "INTERLEAVE=BAND"], 3 * BANDS),
    ],
)
def test_a_remote_file_is_read_once_and_in_few_requests(values, server, small_cache, tmp_path, driver, options, most_requests):
    # Newer drivers of COG keep the interleaving of their source.
    source = gdal.GetDriverByName("MEM").Create("", COLUMNS, ROWS, BANDS, gdal.GDT_Int16, ["INTERLEAVE=PIXEL"])
    source.WriteArray(values)
    gdal.Translate(str(tmp_path / "scene.tif"), source, format=driver, creationOptions=options)
    content = server.files["/scene.tif"] = (tmp_path / "scene.tif").read_bytes()
    cube = RasterCube(RasterFile(f"/vsicurl/http://127.0.0.1:{server.server_address[1]}/scene.tif"), range(1, BANDS + 1), memory=2**30)
    cube.rows_per_block = 32  # four reads of every tile
    read = np.concatenate([block.values[block.inner] for block in cube.blocks(12)])
    np.testing.assert_array_equal(read, values.transpose(1, 2, 0))
    assert len(server.asked) <= most_requests
    assert sum(server.asked) < 1.1 * len(content) + 2**16


def test_the_blocks_of_files(tmp_path):
    """What a row of blocks takes is known for files of all kinds, also behind a virtual one."""
    source = gdal.GetDriverByName("MEM").Create("", COLUMNS, ROWS, BANDS, gdal.GDT_Int16)
    source.SetGeoTransform((0, 1, 0, 0, 0, -1))
    tiled = str(tmp_path / "tiled.tif")
    gdal.Translate(tiled, source, creationOptions=["TILED=YES", "BLOCKXSIZE=64", "BLOCKYSIZE=128"])
    gdal.BuildVRT(str(tmp_path / "both.vrt"), [tiled]).FlushCache()
    tiles, virtual = (FileBlocks.of(gdal.Open(str(tmp_path / name))) for name in ("tiled.tif", "both.vrt"))
    assert tiles == FileBlocks(128, 64, 2 * BANDS, COLUMNS)
    assert virtual == FileBlocks(128, 128, 2 * BANDS, COLUMNS), "128 columns are those of the virtual file's own blocks"
    assert tiles.row_of_blocks(COLUMNS) == 128 * COLUMNS * BANDS * 2, "never more than the file has"
    assert tiles.row_of_blocks(100) == 128 * (3 * 64) * BANDS * 2, "a window of 100 columns touches three tiles of 64"


def test_the_width_of_strips_follows_the_memory():
    blocks = FileBlocks(1, 20_000, 2 * 60, 20_000)
    assert columns_within(10 * 2**30, 20_000, 60, blocks, 12, 15) == 20_000
    narrow, wide = (columns_within(memory, 20_000, 60, blocks, 12, 15) for memory in (200 * 2**20, 800 * 2**20))
    assert 256 <= narrow < wide < 20_000
    assert narrow % 256 == wide % 256 == 0, "strips end where a tile of the map does"
    assert (FEWEST_ROWS + 24) * (wide + 54) * 60 * 4 * 12 < 800 * 2**20
    assert columns_within(2**20, 20_000, 60, blocks, 12, 15) == 256, "some columns at least"


class NarrowCube(ArrayCube):
    """A cube for whose width there is no memory."""

    reads_ahead = True
    widest = 0

    def most_columns(self, context, margin):
        return 24

    def read(self, first, last, left=0, right=None):
        self.widest = max(self.widest, (self.columns if right is None else right) - left)
        return super().read(first, last, left, right)


def scene():
    simulated = simulate_scene(64, 100, 12, seed=1)
    values = simulated.cube[:40].astype(np.float32)
    return values, np.random.default_rng(1).random(values.shape[:2]) > 0.05


def pieced(scorer):
    scores = np.full((scorer.cube.rows, scorer.cube.columns), np.inf, np.float32)
    for row, column, piece in scorer.pieces():
        there = scores[row : row + piece.shape[0], column : column + piece.shape[1]]
        assert np.isinf(there).all(), "every pixel once"
        there[...] = piece
    return scores


DETECTORS = {
    "default": lambda cube: SGM.train([cube], hidden=16, samples=1000),
    "rx": lambda cube: GlobalRX(),
    "rx-local": lambda cube: LocalRX(3, 7),
    "paper": lambda cube: PaperSGM.train([cube], epochs=1, hidden=8, conditional=True, samples=100),
    "fers": lambda cube: FERS.train([cube], patch=16, epochs=1, batch=4),
}


@pytest.mark.parametrize("kind", DETECTORS)
def test_strips_have_the_values_of_whole_rows(kind):
    """Of what is learnt too."""
    values, valid = scene()
    options = {"paper": {"perturbations": 3}}.get(kind, {})
    torch.manual_seed(0)
    whole, narrow = ArrayCube(values, valid, rows_per_block=11), NarrowCube(values, valid, rows_per_block=11)
    expected = np.concatenate([rows for _, rows in DETECTORS[kind](whole).bind(whole, **options).map()])
    scorer = DETECTORS[kind](narrow).bind(narrow, **options)
    found = pieced(scorer)
    np.testing.assert_array_equal(np.isnan(found), ~valid)
    np.testing.assert_allclose(found, expected, rtol=1e-3 if kind == "fers" else 2e-4, atol=2e-4)
    # The pyramid of FERS is made of strips of whole cells of its backbone, each with what reaches a feature.
    assert narrow.widest <= (16 + 2 * scorer.detector._pyramid_halo if kind == "fers" else 24 + 2 * scorer.halo)


def test_the_survey_of_bands_in_strips(tmp_path):
    values = np.random.default_rng(0).integers(1, 4000, (3, 20, 1000)).astype(np.int16)
    values[1, :, 700:] = -9
    dataset = gdal.GetDriverByName("GTiff").Create(str(tmp_path / "wide.tif"), 1000, 20, 3, gdal.GDT_Int16)
    dataset.WriteArray(values)
    for number in (1, 2, 3):
        dataset.GetRasterBand(number).SetNoDataValue(-9)
    del dataset
    raster, windows = RasterFile(str(tmp_path / "wide.tif")), []
    read = raster.read_bands
    raster.read_bands = lambda *window: windows.append(window) or read(*window)
    survey = survey_bands(raster, memory=2**16)
    assert len({left for _, _, _, left, _ in windows}) == 4
    np.testing.assert_array_equal(survey.filled, (values != -9).sum((1, 2)))
    np.testing.assert_array_equal(survey.highest, values.max((1, 2)))
    assert survey.any_filled == 20_000


def megabytes_taken(path, memory, ready, work):
    """By how much a process of its own grows while it does some `work` on the `raster` at a path and its `cube`.

    memory: setting of the cube, in megabytes. ready: what is done before.
    """
    code = f"""
import sys
sys.path[:0] = {sys.path!r}
import torch
from scoread_qgis.scenes.raster import RasterCube, RasterFile

def peak():
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024

torch.set_num_threads(1)
raster = RasterFile({str(path)!r})
cube = RasterCube(raster, range(1, raster.count + 1), memory={memory} * 2**20)
{textwrap.dedent(ready)}
before = peak()
{textwrap.dedent(work)}
print(peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


@pytest.mark.only_on("linux")
def test_memory_of_a_wide_scene(tmp_path):
    """The peak of a detection in 12,000 columns: whole rows, with the context that they need, would take more than twice as much."""
    rows, columns, bands, megabytes = 26, 12_000, 40, 64
    dataset = gdal.GetDriverByName("GTiff").Create(str(tmp_path / "wide.tif"), columns, rows, bands, gdal.GDT_Int16, ["INTERLEAVE=BAND"])
    random = np.random.default_rng(0)
    base = random.normal(2000, 300, (bands, 1, 1))
    dataset.WriteArray((base * random.normal(1, 0.1, (1, rows, columns)) + random.normal(0, 20, (bands, rows, columns))).astype(np.int16))
    del dataset
    ready = """
        from scoread_qgis.detectors.rx import GlobalRX
        from scoread_qgis.workflows.outputs import write_map

        class WithContext(GlobalRX):
            "Global RX that looks at as much around a pixel as the default mode."

            def bind(self, cube, **options):
                scorer = super().bind(cube, **options)
                scorer.context = 12
                return scorer

        list(GlobalRX().detect(cube.within(0, 4, 0, 500)))  # what PyTorch takes for itself at first
    """
    work = f"""
        scorer = WithContext().bind(cube)
        write_map({str(tmp_path / "map.tif")!r}, raster, "score", scorer.pieces())
    """
    assert megabytes_taken(tmp_path / "wide.tif", megabytes, ready, work) < megabytes
    scores = gdal.Open(str(tmp_path / "map.tif")).ReadAsArray()
    assert scores.shape == (rows, columns)
    assert np.isfinite(scores).all()


def test_memory_of_what_fers_looks_at_in_a_wide_scene(tmp_path):
    """The false colours of whole rows, and the features of its backbone, would take four times the setting."""
    rows, columns, bands, megabytes = 160, 24_000, 4, 64
    dataset = gdal.GetDriverByName("GTiff").Create(str(tmp_path / "wide.tif"), columns, rows, bands, gdal.GDT_Int16, ["INTERLEAVE=BAND"])
    random = np.random.default_rng(0)
    dataset.WriteArray((random.normal(2000, 300, (bands, rows, columns))).astype(np.int16))
    del dataset
    ready = """
        from scoread_qgis.core.cube import ArrayCube
        from scoread_qgis.detectors.fers.detector import FERS

        small = ArrayCube(*cube.read(0, 64, 0, 64))
        detector = FERS.train([small], patch=16, epochs=1, batch=8)
        list(detector.detect(small))  # what PyTorch takes for itself at first
    """
    assert megabytes_taken(tmp_path / "wide.tif", megabytes, ready, "detector.scene(cube)") < megabytes


class SlowCube(ArrayCube):
    """Reads ahead; counts the reads at a time, and fails at a row."""

    reads_ahead = True
    reading = most = 0
    fails_at = None

    def read(self, first, last, left=0, right=None):
        self.reading += 1
        self.most = max(self.most, self.reading)
        if self.fails_at is not None and first <= self.fails_at < last:
            raise ValueError("damaged")
        result = super().read(first, last, left, right)
        self.reading -= 1
        self.last_read = last
        return result


class TestReadingAhead:
    def cube(self):
        return SlowCube(np.random.default_rng(0).random((60, 9, 4)).astype(np.float32), rows_per_block=7)

    def left(self):
        return [thread.name for thread in threading.enumerate() if thread.name.startswith("scoread-reading")]

    def test_the_next_rows_are_read_meanwhile_and_one_read_at_a_time(self):
        cube, ahead = self.cube(), 0
        for block in cube.blocks(2):
            end = block.row + block.rows + block.below
            for _ in range(200):
                if cube.last_read > end or end == 60:
                    break
                threading.Event().wait(0.01)
            ahead += cube.last_read > end
        assert ahead == 8  # of nine blocks, the last of which has none after it
        assert cube.most == 1
        assert not self.left()

    def test_an_error_of_a_read_arrives_at_its_block(self):
        cube = self.cube()
        cube.fails_at = 30
        rows = []
        with pytest.raises(ValueError, match="damaged"):
            rows.extend(block.row for block in cube.blocks())
        assert rows == [0, 7, 14, 21]
        assert not self.left()

    def test_nothing_outlives_a_cancel(self):
        def cancel(fraction, message):
            if fraction > 0.5:
                raise Cancelled

        cube = self.cube()
        with pytest.raises(Cancelled):
            list(GlobalRX().detect(cube, Progress(cancel)))
        assert cube.reading == 0
        assert not self.left()

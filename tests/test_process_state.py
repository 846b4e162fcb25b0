"""Runs at the same time: each gives what it gives alone, and the state that a process has but once is theirs to borrow, not to keep."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from osgeo import gdal
from processing.core.ProcessingConfig import ProcessingConfig

from scoread_qgis import settings
from scoread_qgis.core.cube import ArrayCube
from scoread_qgis.core.progress import Progress
from scoread_qgis.detectors.default_mode.random_features import RandomFeatures
from scoread_qgis.detectors.default_mode.sgm import SGM
from scoread_qgis.detectors.fers import FERS, READOUTS
from scoread_qgis.detectors.fers.backbones import image_backbone, random_weights, teacher_encoder
from scoread_qgis.detectors.fers.spatial import Restoration, SpatialBranch
from scoread_qgis.detectors.fers.spectral import ReverseDistillation
from scoread_qgis.detectors.paper_mode.paper_sgm import PaperSGM
from scoread_qgis.detectors.paper_mode.unet import ScoreUNet
from scoread_qgis.detectors.rx import GlobalRX, LocalRX
from scoread_qgis.detectors.shared.weights import draw_weights
from scoread_qgis.scenes.raster import RasterFile


def cube(rows=32, columns=30, bands=12):
    random = np.random.default_rng(0)
    values = random.normal(size=(rows, columns, 3)) @ random.normal(size=(3, bands)) + 0.3 * random.normal(size=(rows, columns, bands)) + 5
    return ArrayCube(values.astype(np.float32), rows_per_block=8)


def tensors(state, path=""):
    """Every tensor in the state of a detector, by its path."""
    if torch.is_tensor(state):
        return {path: state}
    items = state.items() if isinstance(state, dict) else enumerate(state) if isinstance(state, (list, tuple)) else ()
    return {name: tensor for key, value in items for name, tensor in tensors(value, f"{path}/{key}").items()}


def sgm(progress):
    return SGM.train([cube()], seed=5, progress=progress)


def paper(progress):
    return PaperSGM.train([cube()], epochs=1, hidden=16, conditional=True, seed=5, progress=progress)


def trained_fers(progress):
    return FERS.train([cube()], patch=16, epochs=3, batch=2, seed=5, progress=progress)


# name -> training, options of each detection
KINDS = {
    "default": (sgm, [{}]),
    "paper": (paper, [{"perturbations": 4, "seed": 1}]),
    "fers": (trained_fers, [{"readout": readout, "seed": 1} for readout in READOUTS]),
    "rx": (lambda progress: GlobalRX(), [{}]),
    "local rx": (lambda progress: LocalRX(3, 7), [{}]),
}


def at_once(work, runs=2):
    """Results of `work(progress)` on some threads, which start together and take turns, as each report gives way to the others."""
    start = threading.Barrier(runs)

    def one():
        start.wait()
        return work(Progress(lambda fraction, message: time.sleep(0.001)))

    with ThreadPoolExecutor(runs) as threads:
        return [future.result() for future in [threads.submit(one) for _ in range(runs)]]


@pytest.mark.parametrize("kind", KINDS)
def test_runs_at_once_give_what_they_give_alone(kind):
    train, detections = KINDS[kind]

    def work(progress):
        detector = train(progress.part(0, 0.5))
        maps = [detector.detect(cube(), progress=progress.part(0.5, 1), **options) for options in detections]
        return tensors(detector.state()), np.concatenate([scores for rows in maps for _, scores in rows])

    torch.manual_seed(11)
    others = torch.get_rng_state()
    weights, scores = work(Progress())
    for again, at_the_same_time in at_once(work):
        assert again.keys() == weights.keys()
        assert all(torch.equal(again[name], weights[name]) for name in weights)
        np.testing.assert_array_equal(at_the_same_time, scores)
    assert torch.equal(torch.get_rng_state(), others), "the random numbers of others are left alone"


def test_first_weights_are_those_that_torch_draws():
    """The layers made by torch itself, one by one in their order, from its own generator with the same seed."""
    made_by_torch = {
        "Linear": torch.nn.Linear, "Conv1d": torch.nn.Conv1d, "Conv2d": torch.nn.Conv2d,
        "ConvTranspose1d": torch.nn.ConvTranspose1d, "ConvTranspose2d": torch.nn.ConvTranspose2d,
    }  # fmt: skip
    networks = [ReverseDistillation(9, 0), SpatialBranch(9, 0), Restoration(9, 0), SpatialBranch(9, 1)]
    networks += list(ScoreUNet(9, 16, conditional=True).children())[1:]  # without the frequencies, which torch has no layer for
    for network in networks:
        draw_weights(network, torch.Generator().manual_seed(6))
        with torch.random.fork_rng():
            torch.manual_seed(6)
            for layer in network.modules():
                layer_of_torch = made_by_torch.get(type(layer).__name__)
                if layer_of_torch is None:
                    continue
                if layer_of_torch is torch.nn.Linear:
                    size = {"in_features": layer.in_features, "out_features": layer.out_features}
                else:
                    size = {name: getattr(layer, name) for name in ("in_channels", "out_channels", "kernel_size")}
                expected = layer_of_torch(**size, bias=layer.bias is not None)
                assert torch.equal(layer.weight, expected.weight)
                assert layer.bias is None or torch.equal(layer.bias, expected.bias)


def test_random_filters_are_those_that_torch_draws():
    for make in (image_backbone, teacher_encoder):
        network, expected = make(0), make(0)
        random_weights(network, torch.Generator().manual_seed(6))
        with torch.random.fork_rng():
            torch.manual_seed(6)
            for mine, reference in zip(network.modules(), expected.modules()):
                if isinstance(mine, torch.nn.Conv2d):
                    torch.nn.init.orthogonal_(reference.weight)
                    assert torch.equal(mine.weight, reference.weight)


def test_networks_and_models_are_made_without_random_numbers_of_the_process():
    before = torch.get_rng_state()
    RandomFeatures(6, 8), ScoreUNet(6, 16, conditional=True), Restoration(6, 0)
    detectors = [train(Progress()) for train in (sgm, paper, trained_fers)]
    for detector in detectors:
        type(detector).from_state(detector.state())
    assert torch.equal(torch.get_rng_state(), before)


def on_a_thread(work):
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(work).result()


def overlapping(holder, look):
    """Two threads inside of `holder()`, which leave in the order in which they came; what `look()` is inside, and what it is to all
    afterwards.
    """
    first_in, second_in, first_out = threading.Event(), threading.Event(), threading.Event()
    seen = []

    def first():
        with holder():
            first_in.set()
            second_in.wait(10)
            seen.append(look())
        first_out.set()
        return look()

    def second():
        first_in.wait(10)
        with holder():
            second_in.set()
            first_out.wait(10)
            seen.append(look())
        return look()

    with ThreadPoolExecutor(2) as threads:
        after = [future.result() for future in [threads.submit(first), threads.submit(second)]]
    return seen, [*after, look(), on_a_thread(look)]


def test_threads_of_torch_are_as_before_after_overlapping_runs(provider, monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setattr(ProcessingConfig.settings["SCOREAD_THREADS"], "value", before + 1)
    seen, after = overlapping(settings.torch_threads, torch.get_num_threads)
    assert seen == [before + 1, before + 1]
    assert after == [before] * 4


def test_the_cache_of_gdal_is_as_before_after_overlapping_reads(sample):
    before = gdal.GetCacheMax()
    files = [RasterFile(sample.path), RasterFile(sample.path)]
    try:
        gdal.SetCacheMax(300 * 2**20)
        sizes, together = [], threading.Barrier(2)

        class Watched:
            """A dataset whose reads wait for each other, so that they overlap, the first to come being the first to leave."""

            def __init__(self, dataset, leave):
                self.dataset, self.leave = dataset, leave

            def ReadRaster(self, *arguments, **options):
                together.wait(10)
                self.leave.wait(10)
                sizes.append(gdal.GetCacheMax())
                return self.dataset.ReadRaster(*arguments, **options)

            def __getattr__(self, name):
                return getattr(self.dataset, name)

        at_once, after_first = threading.Event(), threading.Event()
        at_once.set()
        files[0].dataset, files[1].dataset = Watched(files[0].dataset, at_once), Watched(files[1].dataset, after_first)

        def read(number):
            values, _ = files[number].read_bands(0, 8, [1, 2])
            after_first.set()
            return values

        with ThreadPoolExecutor(2) as threads:
            first, second = [future.result() for future in [threads.submit(read, number) for number in (0, 1)]]
        np.testing.assert_array_equal(first, second)
        needed = files[0].blocks.row_of_blocks(files[0].columns)
        assert np.diff(sizes) == [-needed], "what the reader needs that has left is given back before the other has left"
        assert sizes[1] < 300 * 2**20
        assert gdal.GetCacheMax() == 300 * 2**20
    finally:
        gdal.SetCacheMax(before)

"""Options > Processing > Providers > ScoreAD anomaly detection: each setting does what it says."""

import os
from pathlib import Path

import pytest
from processing.core.ProcessingConfig import ProcessingConfig
from qgis.core import QgsProcessingException

from scoread_qgis import settings
from scoread_qgis.algorithms import base
from scoread_qgis.core.progress import Progress

FAST = {"MODE": 1, "EPOCHS": 1, "BATCH_SIZE": 128, "HIDDEN": 32}


@pytest.fixture
def setting(provider, monkeypatch):
    """setting(name, value) for the time of a test."""
    return lambda name, value: monkeypatch.setattr(ProcessingConfig.settings[name], "value", value)


@pytest.fixture
def train(run, sample, tmp_path):
    def train(**parameters):
        return run("train_sgm", INPUT=sample.path, MODEL=str(tmp_path / "m.pt"), **FAST, **parameters)

    return train


@pytest.fixture
def watch(monkeypatch):
    """watch(look): have `look` called on the thread of the work whenever it reports."""

    def watch(look):
        monkeypatch.setattr(base, "Progress", lambda report: Progress(lambda fraction, message: (look(), report(fraction, message))))

    return watch


def test_all_are_on_the_page(provider):
    page = {s.name: s.description for s in ProcessingConfig.getSettings()["ScoreAD anomaly detection"]}
    assert set(page) == {"SCOREAD_MEMORY", "SCOREAD_DEVICE", "SCOREAD_THREADS", "SCOREAD_CACHE"}


def test_they_are_kept(provider):
    device = ProcessingConfig.settings["SCOREAD_DEVICE"]
    try:
        ProcessingConfig.setSettingValue("SCOREAD_DEVICE", settings.DEVICES.index("cpu"))
        device.value = "auto"
        ProcessingConfig.readSettings()
        assert settings.default_device() == "cpu"
    finally:
        ProcessingConfig.setSettingValue("SCOREAD_DEVICE", 0)


def test_auto_takes_the_device_of_the_settings(setting, train, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    setting("SCOREAD_DEVICE", "cuda")
    with pytest.raises(QgsProcessingException, match="device cuda"):
        train()
    assert "Device: cpu." in train(DEVICE="cpu").log, "a device that was chosen is taken"
    setting("SCOREAD_DEVICE", "auto")
    assert "Device: cpu." in train().log or torch.backends.mps.is_available()


def test_threads_are_those_of_the_settings_and_afterwards_as_before(setting, train, watch):
    import torch

    before, seen = torch.get_num_threads(), set()
    wanted = before + 1
    setting("SCOREAD_THREADS", wanted)
    watch(lambda: seen.add(torch.get_num_threads()))
    train()
    assert seen == {wanted}
    assert torch.get_num_threads() == before
    setting("SCOREAD_THREADS", 0)
    seen.clear()
    train()
    assert seen == {before}


def test_temporary_files_go_where_the_settings_say(setting, train, watch, sample, tmp_path):
    folder = tmp_path / "not there yet" / "scratch"
    setting("SCOREAD_CACHE", str(folder))
    mask = tmp_path / "mask.geojson"
    x, y = sample.scene.origin
    ring = [[x, y], [x + 60, y], [x + 60, y - 60], [x, y - 60], [x, y]]
    mask.write_text(
        '{"type": "FeatureCollection", "crs": {"type": "name", "properties": {"name": "EPSG:32631"}}, "features": [{"type": "Feature", '
        f'"properties": {{}}, "geometry": {{"type": "Polygon", "coordinates": [{ring}]}}}}]}}'
    )
    seen = set()
    watch(lambda: seen.update(os.listdir(folder)))
    train(MASK=str(mask))
    assert any(name.startswith("scoread_mask_") for name in seen)
    assert os.listdir(folder) == [], "and are removed"


def test_folder_for_temporary_files_that_cannot_be_made(setting, train, tmp_path):
    Path(tmp_path / "file").write_text("in the way", encoding="utf-8")
    setting("SCOREAD_CACHE", str(tmp_path / "file" / "scratch"))
    with pytest.raises(QgsProcessingException, match="The folder for temporary files .* cannot be made: .* Choose another"):
        train()

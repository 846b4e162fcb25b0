"""Identify anomalies: matches in spectral libraries, groups, and what a user gets of them."""

import pytest


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    from scoread_qgis.scenes.simulated import ANOMALIES, _GRID, anomaly_spectrum

    path = tmp_path_factory.mktemp("library") / "own.csv"
    spectra = [anomaly_spectrum(name) for name in ANOMALIES]
    lines = [f"{w:g}," + ",".join(f"{s[i]:.5f}" for s in spectra) for i, w in enumerate(_GRID)]
    path.write_text("wavelength (nm)," + ",".join(ANOMALIES) + "\n" + "\n".join(lines) + "\n")
    return str(path)


def test_quick(run, sample, library, tmp_path):
    run("detect_rx", INPUT=sample.path, OUTPUT=str(tmp_path / "rx.tif"))
    run("threshold_anomalies", INPUT=str(tmp_path / "rx.tif"), REGIONS=str(tmp_path / "r.gpkg"))
    done = run(
        "identify_anomalies",
        INPUT=sample.path,
        REGIONS=str(tmp_path / "r.gpkg"),
        LIBRARIES=[library],
        OUTPUT=str(tmp_path / "o.gpkg"),
        REPORT=str(tmp_path / "o.html"),
    )
    print(done)
    from qgis.core import QgsVectorLayer

    layer = QgsVectorLayer(str(tmp_path / "o.gpkg"), "x", "ogr")
    print([c.label() for c in layer.renderer().categories()], layer.labeling())
    print([f.attributes() for f in layer.getFeatures()][:2])

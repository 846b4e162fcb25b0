"""The algorithms in chains: model designer, batch, and headless through qgis_process."""

import csv
import json
import os

import numpy as np
import pytest
from conftest import LogFeedback, read, scored_auc
from headless import QgisProcess

FAST = {"MODE": 1, "EPOCHS": 1, "BATCH_SIZE": 128, "HIDDEN": 32}


def run_model(model, parameters, context=None):
    import processing
    from qgis.core import QgsProcessingContext, QgsProject

    context = context or QgsProcessingContext()
    context.setProject(QgsProject.instance())
    return processing.run(model, parameters, context=context, feedback=LogFeedback())


class TestModelDesigner:
    @pytest.fixture
    def chain(self, provider):
        """A model made as the designer makes it: train, and two detections with the trained model."""
        from qgis.core import (
            QgsProcessingModelAlgorithm,
            QgsProcessingModelChildAlgorithm,
            QgsProcessingModelChildParameterSource,
            QgsProcessingModelOutput,
            QgsProcessingModelParameter,
            QgsProcessingParameterRasterLayer,
        )

        source = QgsProcessingModelChildParameterSource
        model = QgsProcessingModelAlgorithm("chain", "tests")
        model.addModelParameter(QgsProcessingParameterRasterLayer("SCENE", "Scene"), QgsProcessingModelParameter("SCENE"))
        train = QgsProcessingModelChildAlgorithm("scoread:train_sgm")
        train.setChildId("train")
        train.addParameterSources("INPUT", [source.fromModelParameter("SCENE")])
        for name, value in FAST.items():
            train.addParameterSources(name, [source.fromStaticValue(value)])
        model.addChildAlgorithm(train)
        for index in (1, 2):
            detect = QgsProcessingModelChildAlgorithm("scoread:detect_anomalies")
            detect.setChildId(f"detect{index}")
            detect.addParameterSources("INPUT", [source.fromModelParameter("SCENE")])
            detect.addParameterSources("MODEL", [source.fromChildOutput("train", "MODEL")])
            detect.addParameterSources("PERTURBATIONS", [source.fromStaticValue(2 * index)])
            output = QgsProcessingModelOutput("map", f"map {index}")
            output.setChildId(f"detect{index}")
            output.setChildOutputName("OUTPUT")
            detect.setModelOutputs({f"map {index}": output})
            model.addChildAlgorithm(detect)
        return model

    def outputs(self, model):
        """Names of its maps, which QGIS makes from their descriptions, since 3.26 in another way than before."""
        return sorted(definition.name() for definition in model.destinationParameterDefinitions())

    def test_train_and_detect_in_a_chain(self, chain, sample, tmp_path):
        first, second = self.outputs(chain)
        results = run_model(chain, {"SCENE": sample.path, first: str(tmp_path / "1.tif"), second: str(tmp_path / "2.tif")})
        assert set(results) >= {first, second}
        maps = [read(tmp_path / name) for name in ("1.tif", "2.tif")]
        assert all(np.isfinite(m).all() and m.shape == sample.truth.shape for m in maps)
        assert (tmp_path / "1.qml").is_file()

    def test_layers_of_a_chain_come_styled(self, chain, sample, qgis_new_project):
        import processing
        from qgis.core import QgsProject, QgsSingleBandPseudoColorRenderer

        for _ in range(2):
            processing.runAndLoadResults(chain, {"SCENE": sample.path, **dict.fromkeys(self.outputs(chain), "TEMPORARY_OUTPUT")})
        layers = QgsProject.instance().mapLayers().values()
        assert len(layers) == 4
        assert all(isinstance(layer.renderer(), QgsSingleBandPseudoColorRenderer) for layer in layers)

    def test_the_model_that_comes_with_the_plugin(self, provider, sample, tmp_path):
        algorithm = provider.algorithm("train_and_detect")
        assert algorithm is not None
        assert algorithm.displayName() == "Train and detect"
        run_model(algorithm, {"INPUT": sample.path, "SEED": 1, "detect:Anomaly map": str(tmp_path / "a.tif")})
        assert scored_auc(sample.truth, read(tmp_path / "a.tif")) > 0.9

    def test_detect_extract_and_explain(self, provider, run, sample, tmp_path):
        model = run("train_sgm", INPUT=sample.path, MODEL=str(tmp_path / "model.pt")).MODEL
        algorithm = provider.algorithm("detect_extract_and_explain")
        assert algorithm.displayName() == "Detect, extract and explain"
        results = run_model(
            algorithm,
            {
                "INPUT": sample.path,
                "MODEL": model,
                "TOP": 2,
                "RATE": 0.02,
                "detect:Anomaly map": str(tmp_path / "map.tif"),
                "extract:Regions": str(tmp_path / "regions.gpkg"),
                "explain:Report": str(tmp_path / "why.html"),
                "explain:Table of regions": str(tmp_path / "why.csv"),
            },
        )
        assert (tmp_path / "regions.gpkg").is_file()
        assert "Rank 1" in (tmp_path / "why.html").read_text(encoding="utf-8")
        rows = list(csv.DictReader((tmp_path / "why.csv").open(encoding="utf-8")))
        assert [row["rank"] for row in rows] == ["1", "2"]
        assert rows[0]["id"] == "1"  # the region that Extract anomalies ranks first
        assert results["CHILD_RESULTS"]["extract"]["COUNT"] >= 2

    def test_screening_in_batch(self, provider, run, sample, tmp_path):
        """As the batch dialog runs it: line after line, with one model."""
        import processing
        from qgis.core import QgsProcessingContext, QgsVectorLayer

        model = run("train_sgm", INPUT=sample.path, MODEL=str(tmp_path / "model.pt")).MODEL
        second = run("sample_scene", ROWS=40, COLUMNS=44, BAND_COUNT=30, SEED=5, OUTPUT=str(tmp_path / "second.tif")).OUTPUT
        for name, scene in (("one", sample.path), ("two", second)):
            outputs = {"detect:Anomaly map": str(tmp_path / f"{name}.tif"), "extract:Regions": str(tmp_path / f"{name}.gpkg")}
            processing.run(
                "scoread:screen_scenes_with_one_model",
                {"INPUT": scene, "MODEL": model, "RATE": 0.01, **outputs},
                context=QgsProcessingContext(),  # a new one, as in the dialog: newer QGIS keeps in it how far a model has come
            )
            ranks = [feature["rank"] for feature in QgsVectorLayer(str(tmp_path / f"{name}.gpkg"), name, "ogr").getFeatures()]
            assert len(ranks) > 0
            assert ranks == list(range(1, len(ranks) + 1))


@pytest.mark.needs_data
def test_batch_over_three_real_scenes(provider, data, tmp_path):
    """As the batch dialog does it: one algorithm after the other, with its own parameters, in one context."""
    import processing
    from qgis.core import QgsProcessingContext

    context, aucs = QgsProcessingContext(), []
    for name in ("hydice", "abu-urban-3", "sandiego"):
        imported = processing.run(
            "scoread:import_matlab",
            {
                "FILE": str(data / "scenes" / f"{name}.mat"),
                "OUTPUT": str(tmp_path / f"{name}.tif"),
                "TRUTH": str(tmp_path / f"{name}_t.tif"),
            },
            context=context,
        )
        model = processing.run("scoread:train_sgm", {"INPUT": imported["OUTPUT"], "MODEL": str(tmp_path / f"{name}.pt")}, context=context)
        scores = processing.run(
            "scoread:detect_anomalies",
            {"INPUT": imported["OUTPUT"], "MODEL": model["MODEL"], "OUTPUT": str(tmp_path / f"{name}_a.tif")},
            context=context,
        )
        aucs.append(scored_auc(read(imported["TRUTH"]), read(scores["OUTPUT"])))
    assert min(aucs) > 0.9, aucs


@pytest.mark.needs_data
@pytest.mark.parametrize("name", ["sandiego_envi.dat", "enmap_potsdam.tif"])
def test_real_georeferenced_scenes(provider, data, tmp_path, name):
    import processing
    from osgeo import gdal

    path = str(data / "georeferenced" / name)
    model = processing.run("scoread:train_sgm", {"INPUT": path, "MODEL": str(tmp_path / "m.pt")})
    results = processing.run("scoread:detect_anomalies", {"INPUT": path, "MODEL": model["MODEL"], "OUTPUT": str(tmp_path / "a.tif")})
    scene, result = gdal.Open(path), gdal.Open(results["OUTPUT"])
    assert result.GetGeoTransform() == scene.GetGeoTransform()
    assert result.GetSpatialRef().IsSame(scene.GetSpatialRef())
    scores, raw = result.ReadAsArray(), scene.ReadAsArray()
    if name.startswith("sandiego"):
        truth = gdal.Open(str(data / "georeferenced" / "sandiego_envi_truth.bmp")).ReadAsArray()
        assert scored_auc(truth, scores) > 0.95
    else:
        np.testing.assert_array_equal(np.isnan(scores), raw[0] == -32768)


class TestHeadless:
    """qgis_process, end to end, with the plugin as it is installed."""

    def test_sample_train_detect(self, qgis, tmp_path):
        scene = qgis.run("scoread:sample_scene", ROWS=40, COLUMNS=40, BAND_COUNT=24, OUTPUT=tmp_path / "s.tif", TRUTH=tmp_path / "t.tif")
        model = qgis.run("scoread:train_sgm", INPUT=scene["OUTPUT"], MODEL=tmp_path / "m.pt")
        assert model["LOSS"] is None  # what JSON makes of NaN
        results = qgis.run("scoread:detect_anomalies", INPUT=scene["OUTPUT"], MODEL=model["MODEL"], OUTPUT=tmp_path / "a.tif")
        assert scored_auc(read(scene["TRUTH"]), read(results["OUTPUT"])) > 0.85
        assert (tmp_path / "a.qml").is_file()

    def test_screening_as_in_the_tutorial(self, qgis, sample, tmp_path):
        qgis.run("scoread:train_sgm", INPUT=sample.path, MODEL=tmp_path / "m.pt")
        outputs = {"detect:Anomaly map": tmp_path / "a.tif", "extract:Regions": tmp_path / "r.gpkg"}
        qgis.run("scoread:screen_scenes_with_one_model", INPUT=sample.path, MODEL=tmp_path / "m.pt", RATE=0.001, **outputs)
        assert (tmp_path / "a.tif").is_file() and (tmp_path / "r.gpkg").is_file()

    def test_an_error_has_a_message_and_a_return_code(self, qgis, tmp_path):
        (tmp_path / "a.pt").write_text("text")
        qgis.run("scoread:sample_scene", ROWS=40, COLUMNS=40, BAND_COUNT=24, OUTPUT=tmp_path / "s.tif")
        done = qgis.call(
            "run", "scoread:detect_anomalies", "--", f"INPUT={tmp_path / 's.tif'}", f"MODEL={tmp_path / 'a.pt'}",
            f"OUTPUT={tmp_path / 'a.tif'}", check=False,
        )  # fmt: skip
        assert done.returncode != 0
        assert "a.pt is not a model of this plugin" in done.stdout + done.stderr
        assert not (tmp_path / "a.tif").exists()

    def test_without_torch_the_provider_loads_and_tells_what_to_install(self, qgis_app, tmp_path):
        """Python is made to believe that there is no torch, wherever it is installed."""
        (tmp_path / "sitecustomize.py").write_text('import sys\n\nsys.modules["torch"] = None\n', encoding="utf-8")
        qgis = QgisProcess()
        qgis._environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), qgis._environment["PYTHONPATH"]])
        listed = qgis.call("list").stdout
        assert "scoread:detect_anomalies" in listed
        scene = qgis.run("scoread:sample_scene", ROWS=40, COLUMNS=40, BAND_COUNT=24, OUTPUT=tmp_path / "s.tif")["OUTPUT"]
        done = qgis.call("run", "scoread:train_sgm", "--", f"INPUT={scene}", f"MODEL={tmp_path / 'm.pt'}", check=False)
        assert done.returncode != 0
        assert "needs PyTorch" in done.stdout + done.stderr
        assert "-m pip install --target" in done.stdout + done.stderr

    def test_help_is_machine_readable(self, qgis):
        content = json.loads(qgis.call("--json", "help", "scoread:detect_anomalies").stdout)
        assert content["algorithm_details"]["group"] == "2 Anomaly detection"
        assert set(content["parameters"]) >= {"INPUT", "MODEL", "OUTPUT"}

"""What a run accepts, and how it ends: numbers beyond all limits, training that diverges, memory that is not there, and a cancel, wherever
it comes from.
"""

import math
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import LogFeedback
from test_command_line import cli, names, start, wait_for  # noqa: F401  (cli is a fixture)

from scoread_qgis.commandline.display import Display
from scoread_qgis.core.cube import ArrayCube
from scoread_qgis.core.errors import describe_error, out_of_memory
from scoread_qgis.core.progress import Cancelled, Progress, keeping
from scoread_qgis.detectors.default_mode.sgm import SGM
from scoread_qgis.detectors.fers import FERS
from scoread_qgis.detectors.paper_mode.paper_sgm import PaperSGM
from scoread_qgis.detectors.shared.training import shares
from scoread_qgis.scenes.writer import write_scene
from scoread_qgis.workflows.run import Run
from scoread_qgis.workflows.sources import RasterSource
from scoread_qgis.workflows.train import Training, train

CANCELLED = "Cancelled: nothing was written."
LONG = {"MODE": 1, "OUTER_WINDOW": 31}  # of Detect anomalies (RX)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A scene on which local RX takes long."""
    path = tmp_path_factory.mktemp("large") / "large.tif"
    write_scene(path, np.random.default_rng(0).random((400, 400, 100)).astype(np.float32))
    return str(path)


def random_cube(rows=30, columns=30, bands=12, seed=0):
    return ArrayCube(np.random.default_rng(seed).random((rows, columns, bands)).astype(np.float32))


def cancelling(percent):
    """Feedback that is cancelled at some per cent, and keeps also what is meant for developers."""
    feedback = LogFeedback()
    feedback.pushDebugInfo = feedback.lines.append
    feedback.progressChanged.connect(lambda fraction: feedback.cancel() if fraction > percent else None)
    return feedback


class TestCancelInQgis:
    def test_batch_is_told_that_the_run_failed_and_why(self, provider, large, tmp_path):
        """QGIS' batch calls `run`, and takes what returns without an error for success."""
        from qgis.core import QgsProcessingContext

        feedback = cancelling(31)
        algorithm = provider.algorithm("detect_rx").create()
        results, ok = algorithm.run({"INPUT": large, **LONG, "OUTPUT": str(tmp_path / "o.tif")}, QgsProcessingContext(), feedback)
        assert (results, ok) == ({}, False)
        assert feedback.lines[-1] == CANCELLED
        assert names(tmp_path) == []

    def test_a_task_as_the_dialog_starts_it(self, provider, large, tmp_path):
        from qgis.core import QgsApplication, QgsProcessingAlgRunnerTask, QgsProcessingContext
        from qgis.PyQt.QtCore import QCoreApplication

        feedback, context, ended = LogFeedback(), QgsProcessingContext(), []
        parameters = {"INPUT": large, **LONG, "OUTPUT": str(tmp_path / "o.tif")}
        task = QgsProcessingAlgRunnerTask(provider.algorithm("detect_rx"), parameters, context, feedback)
        task.executed.connect(lambda ok, results: ended.append((ok, results)))
        QgsApplication.taskManager().addTask(task)
        at_work = time.monotonic() + 120
        while not feedback.texts or "local RX" not in feedback.texts[-1]:
            assert time.monotonic() < at_work
            QCoreApplication.processEvents()
        feedback.cancel()
        while not ended:
            assert time.monotonic() < at_work
            QCoreApplication.processEvents()
        assert ended == [(False, {})]
        assert feedback.lines.count(CANCELLED) == 1
        assert names(tmp_path) == []

    def test_a_model_is_not_processed_ok(self, provider, sample, tmp_path, monkeypatch):
        import processing
        from qgis.core import QgsProcessingException

        monkeypatch.setattr("scoread_qgis.algorithms.base.REPORT_SECONDS", 0)  # the first step is over in less
        feedback = cancelling(10)
        parameters = {"INPUT": sample.path, "detect:Anomaly map": str(tmp_path / "o.tif")}
        with pytest.raises(QgsProcessingException, match="Error encountered while running Train SGM|Cancelled") as end:
            processing.run("scoread:train_and_detect", parameters, feedback=feedback)
        # QGIS 3.22 puts it into the log, 3.40 into the error.
        assert any(CANCELLED in line for line in [*feedback.lines, str(end.value)])
        assert not any("processed OK" in line for line in feedback.lines)
        assert names(tmp_path) == []

    def test_a_model_that_is_cancelled_between_its_steps(self, provider, sample, tmp_path, monkeypatch):
        """By its very last word, when all is written: QGIS ends such a model as if all had been well."""
        import processing
        from qgis.core import QgsProcessingException

        from scoread_qgis.algorithms.train_sgm import TrainSGM

        feedback = LogFeedback()
        monkeypatch.setattr(TrainSGM, "save_styles", lambda self: feedback.cancel())
        parameters = {"INPUT": sample.path, "detect:Anomaly map": str(tmp_path / "o.tif")}
        with pytest.raises(QgsProcessingException, match="Cancelled: what the steps before have written is there, and nothing else"):
            processing.run("scoread:train_and_detect", parameters, feedback=feedback)
        assert "The work had finished before it was cancelled: its results are complete." in feedback.lines
        assert names(tmp_path) == []

    @pytest.mark.parametrize("algorithm", ["train_sgm", "detect_anomalies"])
    def test_a_cancel_during_the_report_says_what_is_there(self, run, sample, tmp_path, algorithm, monkeypatch):
        from qgis.core import QgsProcessingException

        model = tmp_path / "m.pt"
        parameters = {"INPUT": sample.path, "MODEL": str(model), "REPORT": str(tmp_path / "r.html")}
        output = model
        if algorithm == "detect_anomalies":
            run("train_sgm", INPUT=sample.path, MODEL=str(model), STEPS=2)
            output = tmp_path / "o.tif"
            parameters["OUTPUT"] = str(output)
        else:
            parameters["STEPS"] = 2
        message = f"^Cancelled: nothing was written except {re.escape(str(output))}, which was finished before.$"
        feedback = LogFeedback()
        monkeypatch.setattr(
            "scoread_qgis.workflows.report._spectra", lambda detector, cube, run: feedback.cancel() or run.progress(0.5, "spectra")
        )
        with pytest.raises(QgsProcessingException, match=message):
            run(algorithm, feedback, **parameters)
        assert output.exists()
        assert not (tmp_path / "r.html").exists()

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_qgis_process(self, qgis, large, tmp_path, number):
        process = subprocess.Popen(
            [qgis._program, "run", "scoread:detect_rx", "--", f"INPUT={large}", *(f"{n}={v}" for n, v in LONG.items()),
             f"OUTPUT={tmp_path / 'o.tif'}"],
            env=qgis._environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip
        wait_for(lambda: any(".part" in name for name in names(tmp_path)), process)
        process.send_signal(number)
        out, _ = process.communicate(timeout=120)
        assert process.returncode == (1 if number == signal.SIGINT else -signal.SIGTERM), out
        assert CANCELLED in out
        assert "Results" not in out
        assert names(tmp_path) == []


class TestCancelOnTheCommandLine:
    @pytest.mark.only_on("linux", "darwin")
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_training_has_nothing_to_resume(self, sample, tmp_path, number):
        process = start("train", sample.path, "--mode", "paper", "--model", tmp_path / "m.pt")
        lines = []
        for line in process.stderr:
            lines.append(line)
            if "bands used" in line:
                process.send_signal(number)
        assert process.wait(timeout=120) == 130, lines
        assert lines[-1] == f"{CANCELLED}\n"
        assert not any("--resume" in line for line in lines)
        assert names(tmp_path) == []

    @pytest.mark.parametrize("learnt", [False, True])
    def test_a_model_that_is_kept_is_named(self, cli, sample, tmp_path, monkeypatch, learnt):  # noqa: F811
        """Before the first epoch is over there is nothing to keep."""
        at = "stage 2" if learnt else "stage 1"
        monkeypatch.setattr(Display, "progress", lambda self, fraction, message: at in message and signal.raise_signal(signal.SIGINT))
        fast = ["--patch", 32, "--batch", 4, "--epochs", 1, "--keep-on-cancel"]
        code, _, err = cli("train-fers", sample.path, "--model", tmp_path / "f.pt", *fast)
        assert code == 130
        kept = f"Cancelled: nothing was written except {tmp_path / 'f.pt'}, which was finished before."
        assert err.splitlines()[-1] == (kept if learnt else CANCELLED)
        assert names(tmp_path) == (["f.pt"] if learnt else [])


def test_what_was_finished_before_a_cancel_is_told():
    assert str(Cancelled()) == CANCELLED
    with pytest.raises(Cancelled, match="^Cancelled: nothing was written except m.pt, which was finished before.$"), keeping("m.pt"):
        raise Cancelled


class TestLimits:
    @pytest.mark.parametrize(
        ("algorithm", "parameters", "told"),
        [
            ("train_sgm", {"LEARNING_RATE": math.nan}, "LEARNING_RATE"),
            ("train_sgm", {"LEARNING_RATE": 1e30}, "LEARNING_RATE"),
            ("train_sgm", {"HIDDEN": 1e9}, "HIDDEN"),
            ("train_sgm", {"MODE": 1, "SIGMA": 1e30}, "SIGMA"),
            ("train_sgm", {"MODE": 1, "SIGMA": "nan"}, "SIGMA"),
            ("train_sgm", {"SAMPLES": math.inf}, "SAMPLES"),
            ("train_sgm", {"BATCH_SIZE": 1e12}, "BATCH_SIZE"),
            ("train_sgm", {"SEED": math.nan}, "SEED"),
            ("detect_rx", {"MODE": 1, "SHRINKAGE": math.nan}, "SHRINKAGE"),
            ("detect_rx", {"MODE": 1, "OUTER_WINDOW": 1e10}, "OUTER_WINDOW"),
            ("threshold_anomalies", {"METHOD": 3, "VALUE": math.nan}, "VALUE"),
            ("threshold_anomalies", {"METHOD": 3, "VALUE": "nan"}, "VALUE"),
            ("threshold_anomalies", {"METHOD": 3, "VALUE": -math.inf}, "VALUE"),
            ("threshold_anomalies", {"RATE": math.nan}, "RATE"),
            ("threshold_anomalies", {"MIN_AREA": 1e30}, "MIN_AREA"),
            ("detect_anomalies", {"PERTURBATIONS": 1}, "PERTURBATIONS"),
            ("detect_anomalies", {"T": math.nan}, "T"),
            ("sample_scene", {"ROWS": 1e9}, "ROWS"),
        ],
    )
    @pytest.mark.parametrize("how", ["run", "as a step of a model"])
    def test_numbers_beyond_them_are_refused_before_any_work(self, provider, sample, tmp_path, algorithm, parameters, told, how):
        """A model does not check what it hands to its steps."""
        import processing
        from qgis.core import QgsProcessingContext, QgsProcessingException

        (tmp_path / "m.pt").write_bytes(b"never read")
        parameters = {"INPUT": sample.path, "MODEL": str(tmp_path / "m.pt"), **parameters}
        definitions = provider.algorithm(algorithm).destinationParameterDefinitions()
        parameters.update(
            {d.name(): str(tmp_path / f"out_{d.name()}.{d.defaultFileExtension()}") for d in definitions if d.name() != "MODEL"}
        )
        feedback = LogFeedback()
        if how == "run":
            with pytest.raises(QgsProcessingException, match=told):
                processing.run(f"scoread:{algorithm}", parameters, feedback=feedback)
        else:
            results, ok = provider.algorithm(algorithm).create().run(parameters, QgsProcessingContext(), feedback)
            assert not ok
            assert re.search(rf"\({told}\) is .*; give a number (from .* to|that is finite|of at least)", feedback.lines[-1]), (
                feedback.lines
            )
        assert names(tmp_path) == ["m.pt"]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["train", "a.tif", "--model", "m.pt", "--learning-rate", "nan"], "nan is not a finite number"),
            (["train", "a.tif", "--model", "m.pt", "--learning-rate", "1e30"], "1e30 is more than 1"),
            (["train", "a.tif", "--model", "m.pt", "--sigma", "inf"], "inf is not a finite number"),
            (["train", "a.tif", "--model", "m.pt", "--sigma", "1e30"], "1e30 is more than 1000"),
            (["train", "a.tif", "--model", "m.pt", "--hidden", "1000000000"], "1000000000 is more than 4096"),
            (["rx", "a.tif", "--output", "o", "--shrinkage", "nan"], "nan is not a finite number"),
            (["detect", "a.tif", "--output", "o", "--model", "m.pt", "--perturbations", "1"], "1 is less than 2"),
            (
                ["rx", "a.tif", "--output", "o.png"],
                "o.png: maps are GeoTIFFs. Give a file a name that ends in .tif, and a folder one that ends in /.",
            ),
        ],
    )
    def test_on_the_command_line_too(self, cli, tmp_path, monkeypatch, arguments, message):  # noqa: F811
        monkeypatch.chdir(tmp_path)
        code, _, err = cli(*arguments)
        assert code == 2
        assert message in err
        assert names(tmp_path) == []

    def test_folders_may_have_dots_in_their_names(self, cli, sample, tmp_path):  # noqa: F811
        (tmp_path / "run.1").mkdir()
        assert cli("rx", sample.path, "--output", tmp_path / "run.1")[0] == 0
        assert cli("rx", sample.path, "--output", f"{tmp_path}/run.2/")[0] == 0
        assert names(tmp_path / "run.1") == names(tmp_path / "run.2") == ["scene_rx.tif"]

    def test_one_perturbation_is_no_readout(self):
        model = PaperSGM.train([random_cube()], epochs=1, batch_size=128, hidden=16)
        with pytest.raises(ValueError, match="perturbations must be at least 2"):
            model.bind(random_cube(), perturbations=1)


class TestDivergence:
    @pytest.mark.parametrize(
        ("detector", "settings"),
        [
            (PaperSGM, {"epochs": 1, "hidden": 16, "learning_rate": 1e30}),
            (PaperSGM, {"epochs": 1, "hidden": 16, "sigma": 1e30}),
            (PaperSGM, {"epochs": 1, "hidden": 16, "sigma": 1e300}),
        ],
    )
    def test_is_recognised(self, detector, settings):
        with pytest.raises(ValueError, match=r"the training diverged.*smaller learning rate \(it is .*smaller sigma \(it is"):
            detector.train([random_cube()], **settings)

    def test_in_the_very_last_step(self):
        """The loss is that of the weights before the step."""
        with pytest.raises(ValueError, match="the training diverged: at step 1 of 1"):
            PaperSGM.train([random_cube()], epochs=1, batch_size=1000, hidden=16, learning_rate=math.inf)

    def test_of_fers(self):
        with pytest.raises(ValueError, match="FERS, stage 1 of 2: the training diverged; try a smaller learning rate"):
            FERS.train([random_cube(40, 40)], patch=16, epochs=3, batch=2, learning_rate=1e30)

    @pytest.mark.parametrize(("size", "batch"), [(3, 16), (17, 16), (40, 1)])
    def test_fers_says_what_one_patch_lacks(self, size, batch):
        with pytest.raises(ValueError, match="a training step on one patch of 16 × 16 pixels .* Choose a patch size of 32 or more"):
            FERS.train([random_cube(size, size)], patch=16, epochs=1, batch=batch)
        FERS.train([random_cube(size, size)], patch=32, epochs=1, batch=batch)


class TestMemory:
    def test_errors_of_numpy_and_torch_are_known(self):
        import torch

        for allocate in (lambda: np.empty(2**55, np.uint8), lambda: torch.empty(2**55, dtype=torch.uint8)):
            with pytest.raises((MemoryError, RuntimeError)) as caught:
                allocate()
            assert out_of_memory(caught.value)
            assert describe_error(caught.value).startswith("There is not enough memory. Use fewer training pixels")
        assert not out_of_memory(RuntimeError("shapes cannot be multiplied"))

    def test_an_algorithm_tells_the_remedy(self, run, sample, tmp_path, monkeypatch):
        import torch
        from qgis.core import QgsProcessingException

        from scoread_qgis.algorithms.detect_rx import DetectRX

        monkeypatch.setattr(DetectRX, "work", lambda self, run: torch.empty(2**55))
        with pytest.raises(QgsProcessingException, match="^There is not enough memory. Use fewer training pixels"):
            run("detect_rx", INPUT=sample.path, OUTPUT=str(tmp_path / "o.tif"))


class TestManyScenes:
    def test_shares_are_equal_and_sum_to_the_whole(self):
        for count, scenes in ((100, 1), (100, 3), (101, 101), (250, 101)):
            counts = shares(count, scenes)
            assert len(counts) == scenes
            assert sum(counts) == count
            assert max(counts) - min(counts) <= 1

    @pytest.mark.parametrize("detector", [SGM, PaperSGM])
    def test_a_hundred_and_one(self, detector, monkeypatch):
        """All of the pixels asked for are trained on, though they do not divide by the scenes."""
        seen, module = [], detector.__module__
        watched = (sys.modules[module].HalfWhitening, "fit") if detector is SGM else (sys.modules[module], "train_score_network")
        real = getattr(*watched)
        monkeypatch.setattr(*watched, lambda *given, **more: seen.append(len(given[0 if detector is SGM else 1])) or real(*given, **more))
        cubes = [random_cube(4, 4, seed=seed) for seed in range(101)]
        settings = {"epochs": 1, "hidden": 16} if detector is PaperSGM else {"hidden": 16}
        detector.train(cubes, samples=150, **settings)
        assert seen == [150]
        with pytest.raises(
            ValueError, match="101 scenes cannot share 100 training pixels: .* Raise the number of training pixels to 101 or more"
        ):
            detector.train(cubes, samples=100, **settings)

    def test_too_few_are_told_before_any_scene_is_read(self, tmp_path):
        scenes = [RasterSource(f"none_{number}.tif") for number in range(101)]
        with pytest.raises(ValueError, match="101 scenes cannot share 100 training pixels"):
            train(Training("sgm", scenes, str(tmp_path / "m.pt"), settings={"samples": 100}), Run(2**28, Progress(), print))
        assert names(tmp_path) == []

"""The tables of settings: what they name is there, and QGIS and the command line hand the same values on."""

import inspect
import math
import subprocess
import sys

import pytest
from conftest import BUILT
from qgis.core import QgsProcessingContext

from scoread_qgis.commandline import main as commandline
from scoread_qgis.commandline.arguments import Choice, Number
from scoread_qgis.detectors.registry import DETECTORS
from scoread_qgis.scenes.simulated import simulate_scene
from scoread_qgis.workflows import detect, explain, extract, find_similar, identify, train
from scoread_qgis.workflows.parameters import (
    BACKGROUND,
    DETECTION,
    DEVICE,
    EXTRACTION,
    FERS_TRAINING,
    IDENTIFICATION,
    KEEP_ON_CANCEL,
    LARGEST,
    LEARN_AREA,
    LOCAL_RX,
    MIN_AREA,
    RATE,
    RX_BACKGROUND,
    SEED,
    SGM_MODE,
    SGM_TRAINING,
    SIMULATION,
    TARGET_DETECTOR,
    TOP,
    UNFIT,
)

TABLES = {
    "train_sgm": (SGM_MODE, SEED, DEVICE, *SGM_TRAINING),
    "train_fers": (SEED, DEVICE, *FERS_TRAINING, KEEP_ON_CANCEL),
    "detect_anomalies": (LEARN_AREA, LARGEST, UNFIT, SEED, DEVICE, *DETECTION),
    "detect_rx": (LEARN_AREA, RX_BACKGROUND, *LOCAL_RX),
    "find_similar": (TARGET_DETECTOR, BACKGROUND, RATE, LEARN_AREA, MIN_AREA, *LOCAL_RX),
    "threshold_anomalies": EXTRACTION,
    "explain_anomalies": (TOP, DEVICE),
    "identify_anomalies": IDENTIFICATION,
    "evaluate_anomalies": (SEED,),
    "sample_scene": (*SIMULATION, SEED),
}
COMMANDS = {
    "train_sgm": "train",
    "train_fers": "train-fers",
    "detect_anomalies": "detect",
    "detect_rx": "rx",
}
NUMBERS = [(name, each) for name, table in TABLES.items() for each in table if not each.choices and each.kind is not bool]


def other_than_default(setting):
    """A value that may be chosen, as the table has it."""
    if setting.choices:
        return setting.value(len(setting.choices) - 1)
    if setting.kind is bool:
        return not setting.default
    return setting.least if setting.most is None else setting.most


@pytest.fixture
def reached(monkeypatch):
    """What `detect` or `train` is called with when something is started: reached(start) -> `Detection` or `Training`."""

    def tell(task, run, *_):
        found.append(task)
        raise ValueError("reached")

    found = []
    monkeypatch.setattr(detect, "detect", tell)
    monkeypatch.setattr(train, "train", tell)

    def reached(start):
        found.clear()
        start()
        (task,) = found
        return task

    return reached


class TestNames:
    """A setting that nothing takes would be ignored in silence."""

    def test_kinds_are_those_of_the_registry(self):
        assert {*SGM_MODE.values, *RX_BACKGROUND.values, *TARGET_DETECTOR.values} <= set(DETECTORS)

    @pytest.mark.parametrize(
        ("settings", "takers"),
        [
            (SGM_TRAINING, [DETECTORS[kind].train for kind in SGM_MODE.values]),
            (FERS_TRAINING, [DETECTORS["fers"].train]),
            (DETECTION, [DETECTORS[kind].bind for kind in (*SGM_MODE.values, "fers")]),
            (LOCAL_RX, [DETECTORS["rx-local"], *(DETECTORS[kind] for kind in TARGET_DETECTOR.values)]),
            ((BACKGROUND,), [DETECTORS[kind] for kind in TARGET_DETECTOR.values]),
            ((RATE, MIN_AREA), [find_similar.Search]),
            (EXTRACTION, [extract.Extraction]),
            ((TOP,), [explain.RegionExplanation]),
            (IDENTIFICATION, [identify.Identification]),
            ((LEARN_AREA, LARGEST, UNFIT), [detect.Detection]),
            ((*SIMULATION, SEED), [simulate_scene]),
            ((SEED, KEEP_ON_CANCEL, DEVICE), [train.Training]),
        ],
    )
    def test_are_those_of_arguments_with_the_same_defaults(self, settings, takers):
        taken = [inspect.signature(taker).parameters for taker in takers]
        for setting in settings:
            if "Ignored" in setting.help:  # it was a setting of an earlier version, and scripts keep it
                continue
            defaults = [each[setting.name].default for each in taken if setting.name in each]
            assert defaults, setting.name
            if not setting.optional:
                assert set(defaults) == {setting.default}, setting.name

    def test_defaults_are_choices_or_lie_within_the_limits(self):
        for setting in {each for table in TABLES.values() for each in table if not each.optional}:
            if setting.choices:
                assert setting.value(setting.default_index) == setting.default
            elif setting.kind is not bool:
                assert Number(setting.kind, setting.least, setting.most)(str(setting.default)) == setting.default


class TestQGIS:
    @pytest.mark.parametrize(("name", "setting"), NUMBERS, ids=lambda value: getattr(value, "name", value))
    def test_takes_numbers_up_to_the_limits_and_refuses_those_beyond(self, provider, name, setting):
        algorithm, context = provider.algorithm(name).create(), QgsProcessingContext()

        def wrong(value):
            return f"({setting.name.upper()})" in algorithm.checkParameterValues({setting.name.upper(): value}, context)[1]

        step = 1 if setting.kind is int else max(abs(setting.least or 0), abs(setting.most or 0)) / 1000
        for limit, outwards in ((setting.least, -1), (setting.most, 1)):
            if limit is not None:
                assert not wrong(limit)
                assert wrong(limit + outwards * step)
        assert wrong(math.nan)

    def test_labels_point_to_a_method_only_where_there_is_one(self, provider):
        labels = {
            algorithm.name(): {d.name(): d.description() for d in algorithm.parameterDefinitions()} for algorithm in provider.algorithms()
        }
        pointing = [name for name, own in labels.items() if any("for that method" in label for label in own.values())]
        assert pointing == [name for name, own in labels.items() if "METHOD" in own] == ["threshold_anomalies"]

    def test_an_optional_setting_that_is_none_is_left_out(self, run, reached, sample, tmp_path):
        def start():
            with pytest.raises(Exception, match="reached"):
                run("train_sgm", INPUT=sample.path, MODEL=str(tmp_path / "m.pt"), STEPS=None, CONDITIONAL=None, SEED=3)

        training = reached(start)
        assert (training.settings, training.seed) == ({"conditional": False}, 3)


class TestCommandLine:
    @pytest.mark.parametrize(
        ("name", "setting"), [pair for pair in NUMBERS if pair[0] in COMMANDS], ids=lambda value: getattr(value, "name", value)
    )
    def test_takes_numbers_up_to_the_limits_and_refuses_those_beyond(self, capsys, name, setting):
        def wrong(value):
            option = f"--{setting.name.replace('_', '-')}={value}"
            try:
                commandline.build_parser().parse_args([COMMANDS[name], "a.tif", "--model=m.pt", "--output=o", option])
            except SystemExit:
                return f"argument {option.split('=')[0]}:" in capsys.readouterr().err.splitlines()[-1]
            return False

        step = 1 if setting.kind is int else setting.most / 1000
        for limit, outwards in ((setting.least, -1), (setting.most, 1)):
            assert wrong(limit + outwards * step)
            assert not wrong(limit)
        assert wrong("nan")
        assert wrong("many")


class TestBoth:
    @pytest.mark.parametrize(("name", "command"), COMMANDS.items())
    @pytest.mark.parametrize("given", [False, True])
    def test_hand_the_same_values_to_the_workflow(self, run, reached, sample, tmp_path, monkeypatch, name, command, given):
        monkeypatch.setattr(detect, "read_once", lambda *_: None)
        table = TABLES[name]
        scene = {"INPUTS": [sample.path]} if name == "train_fers" else {"INPUT": sample.path}
        (tmp_path / "m.pt").write_bytes(b"")
        values = {**scene, "MODEL": str(tmp_path / "m.pt"), "OUTPUT": str(tmp_path / "map.tif")}
        words = [sample.path]
        words += ["--output", values["OUTPUT"]] if name.startswith("detect") else ["--model", values["MODEL"]]
        words += ["--model", values["MODEL"]] if name == "detect_anomalies" else []
        for setting in table if given else ():
            value, option = other_than_default(setting), f"--{setting.name.replace('_', '-')}"
            if setting.choices:
                index = len(setting.choices) - 1
                values[setting.name.upper()] = index if setting.values else value
                words.append(f"{option}={Choice(setting).words[index]}")
            elif setting.kind is bool:
                values[setting.name.upper()] = value
                words.append(option)
            else:
                if setting.name in ("outer_window", "inner_window"):  # the one is to be larger than the other
                    value = {"outer_window": 9, "inner_window": 7}[setting.name]
                values[setting.name.upper()] = value
                words.append(f"{option}={value!r}")
        if name == "detect_rx" or name.startswith("train"):
            values.pop("MODEL" if name == "detect_rx" else "OUTPUT")

        def in_qgis():
            with pytest.raises(Exception, match="reached"):
                run(name, **values)

        def on_command_line():
            assert commandline.main([command, *words]) == 1

        one, other = reached(in_qgis), reached(on_command_line)
        for field in ("kind", "device", "seed", "keep_on_cancel", "options", "unfit", "learn_area", "largest"):
            assert getattr(one, field, None) == getattr(other, field, None)
        assert one.settings == other.settings
        handed_on = {"mode": one.kind, "device": one.device, **getattr(one, "options", {}), **one.settings}
        handed_on = {"seed": getattr(one, "seed", None), "keep_on_cancel": getattr(one, "keep_on_cancel", None), **handed_on}
        handed_on.update({field: getattr(one, field, None) for field in ("unfit", "learn_area", "largest")})
        for setting in table:
            if given and setting.name not in ("outer_window", "inner_window"):
                assert handed_on[setting.name] == other_than_default(setting)
            elif not given and (name, setting) not in [("detect_rx", each) for each in LOCAL_RX]:  # which global RX does not take
                assert handed_on.get(setting.name) == setting.default


def test_the_tables_load_nothing_heavy():
    code = (
        f"import sys; sys.path.insert(0, {str(BUILT.parent)!r}); sys.modules['qgis'] = None; "
        "import scoread_qgis.workflows.parameters; print(sorted({'torch', 'scipy', 'numpy', 'osgeo', 'argparse'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

"""What makes the default mode what it is: `PYTHONPATH=. python benchmarks/research.py <folder of .mat scenes> [--seeds 3] [group ...]`.

Prints Markdown tables of AUC-ROC for docs/research.md. Groups: `scenes` (the default, its parts, the untrained start and global RX on every
scene), `ablation` (each part left out), `training` (other ways to train), `constants` (every constant halved and doubled) and
`scene-changes` (the default on scenes that were transposed, thinned out in bands, perturbed or resized). Ground truth maps are read after
detection, to measure it.
"""

import argparse
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from scoread_qgis.core.cube import ArrayCube
from scoread_qgis.detectors.default_mode import clutter, gaussian, neighbours, sgm
from scoread_qgis.detectors.default_mode.score_network import ScoreNetwork
from scoread_qgis.detectors.default_mode.sgm import SGM
from scoread_qgis.detectors.rx import GlobalRX
from scoread_qgis.scenes.matlab import read_matlab


def whole(pieces):
    return np.concatenate([values for _, values in pieces])


def auc(truth, scores):
    return roc_auc_score(truth.ravel() > 0, scores.ravel())


def fused(parts, names=None):
    """The default's map from its parts, or from some of them."""
    chosen = [torch.from_numpy(parts[name]) for name in names or parts]
    values = sgm.fuse(chosen).numpy()
    return values - np.float32(clutter.SHARE) * clutter.window_median(values, 0, len(values))


@contextmanager
def changed(changes):
    """Module constants changed for a while: {(module, name): value}."""
    before = {(module, name): getattr(module, name) for module, name in changes}
    for (module, name), value in changes.items():
        setattr(module, name, value)
    try:
        yield
    finally:
        for (module, name), value in before.items():
            setattr(module, name, value)


class TrainedLayers(ScoreNetwork):
    """The score network with hidden layers that are trained as well."""

    trained = ("spectral", "spatial", "mixing")

    def __init__(self, bands, hidden=256):
        super().__init__(bands, hidden)
        for name in self.trained:
            weights = getattr(self, name)
            delattr(self, name)
            self.register_parameter(name, torch.nn.Parameter(weights))


class TrainedMixing(TrainedLayers):
    """Only the second hidden layer is trained beside the last."""

    trained = ("mixing",)


class RandomScore(ScoreNetwork):
    """The last layer is random. Trained at a vanishing learning rate, it shows what the readout of the score owes to training."""

    def __init__(self, bands, hidden=256):
        super().__init__(bands, hidden)
        torch.nn.init.normal_(self.score)


class SingleKind(ScoreNetwork):
    """All hidden units are of one kind."""

    def _units(self, values):
        return self.kind(values)


class Tanh(SingleKind):
    kind = staticmethod(torch.tanh)


class TanhTrained(TrainedLayers):
    """All hidden units are hyperbolic tangents, and trained."""

    def _units(self, values):
        return torch.tanh(values)


class LeakyRectifier(SingleKind):
    kind = staticmethod(lambda values: torch.nn.functional.leaky_relu(values, 0.2))


def row(label, per_scene):
    return f"| {label} | " + " | ".join(f"{value:.4f}" for value in per_scene) + f" | {np.mean(per_scene):.4f} | {np.min(per_scene):.4f} |"


def header(scenes):
    return "| | " + " | ".join(scenes) + " | mean | least |\n|---|" + "---|" * (len(scenes) + 2)


def over(scenes, seeds, measure):
    """label -> AUC of each scene, mean over seeds, of what measure(cube, truth, seed) returns: label -> AUC."""
    table = {}
    for name, (values, truth) in scenes.items():
        runs = [measure(ArrayCube(values), truth, seed) for seed in range(seeds)]
        for label in runs[0]:
            table.setdefault(label, {})[name] = [run[label] for run in runs]
    return table


def print_table(scenes, table, spread=False):
    print(header(scenes))
    for label, of_scenes in table.items():
        print(row(label, [np.mean(values) for values in of_scenes.values()]))
        if spread:
            spreads = " | ".join(f"{np.ptp(values):.4f}" for values in of_scenes.values())
            print(f"| largest less smallest over seeds | {spreads} | | |")
    print(flush=True)


def group_scenes(scenes, seeds):
    def measure(cube, truth, seed):
        model, untrained = SGM.train([cube], seed=seed), SGM.train([cube], seed=seed, steps=0)
        parts = model.bind(cube).parts()
        return {
            "global RX": auc(truth, whole(GlobalRX().detect(cube))),
            "default": auc(truth, whole(model.detect(cube))),
            "untrained": auc(truth, whole(untrained.detect(cube))),
            "default before clutter is subtracted": auc(truth, sgm.fuse([torch.from_numpy(part) for part in parts.values()]).numpy()),
            **{f"part: {name}": auc(truth, part) for name, part in parts.items()},
        }

    print_table(scenes, over(scenes, seeds, measure), spread=seeds > 1)


def group_ablation(scenes, seeds):
    def measure(cube, truth, seed):
        parts = SGM.train([cube], seed=seed).bind(cube).parts()
        return {f"without {left_out}": auc(truth, fused(parts, [name for name in parts if name != left_out])) for left_out in parts}

    print_table(scenes, over(scenes, seeds, measure))


def group_training(scenes, seeds):
    for label, network, settings, constants in [
        ("default", ScoreNetwork, {}, {}), ("untrained", ScoreNetwork, {"steps": 0}, {}),
        ("random last layer", RandomScore, {"learning_rate": 1e-12}, {}),
        ("last layer, 1000 steps", ScoreNetwork, {"steps": 1000}, {}),
        ("second and last layer, 50 steps", TrainedMixing, {"learning_rate": 1e-3, "steps": 50}, {}),
        ("all layers, 50 steps", TrainedLayers, {"learning_rate": 1e-3, "steps": 50}, {}),
        ("all layers, 200 steps", TrainedLayers, {"learning_rate": 1e-3, "steps": 200}, {}),
        ("all layers, 50 steps, t to 0.5", TrainedLayers, {"learning_rate": 1e-3, "steps": 50}, {(sgm, "TIMES"): (0.02, 0.5)}),
        ("tanh units only", Tanh, {}, {}), ("tanh units only, all layers 50 steps", TanhTrained, {"learning_rate": 1e-3, "steps": 50}, {}),
        ("leaky rectifiers only", LeakyRectifier, {}, {}),
    ]:  # fmt: skip

        def measure(cube, truth, seed, label=label, settings=settings):
            parts = SGM.train([cube], seed=seed, **settings).bind(cube).parts()
            return {
                f"{label}: {name}": auc(truth, fused(parts) if name == "fused" else parts[name])
                for name in ("fused", "features", "score")
                if name == "fused" or name in parts
            }

        with changed({(sgm, "ScoreNetwork"): network, **constants}):
            print_table(scenes, over(scenes, seeds, measure))


def default_auc(settings):
    return lambda cube, truth, seed: {"": auc(truth, whole(SGM.train([cube], seed=seed, **settings).detect(cube)))}


def group_constants(scenes, seeds):
    print(header(scenes))
    for label, settings, constants in [
        ("default", {}, {}),
        *((f"{name} {value}", {name: value}, {}) for name, values in [
            ("steps", (50, 200)), ("batch_size", (32, 128)), ("learning_rate", (5e-3, 2e-2)), ("hidden", (128, 512)),
            ("samples", (5000, 20_000))] for value in values),
        *((f"{name} {value}", {}, {(module, name): value}) for module, name, values in [
            (sgm, "TIMES", ((0.0005, 0.04), (0.002, 0.16))), (sgm, "EMA_DECAY", (0.8, 0.95)), (gaussian, "TRIMMED", (0.0, 0.01, 0.04)),
            (neighbours, "COMPONENTS", (15, 60)), (neighbours, "REFERENCES", (1500, 6000)), (neighbours, "NEIGHBOUR", (5, 20)),
            (neighbours, "LEFT_OUT", (1, 6)), (clutter, "REACH", (6, 18)), (clutter, "SHARE", (0.0, 0.375, 0.5, 1.0))] for value in values),
    ]:  # fmt: skip
        with changed(constants):
            print(row(label, [np.mean(values) for values in over(scenes, seeds, default_auc(settings))[""].values()]), flush=True)
    print()


def group_scene_changes(scenes, seeds):
    generator = np.random.default_rng(0)

    def perturbed(values):
        return values + 0.05 * values.std(axis=(0, 1)) * generator.normal(size=values.shape)

    print(header(scenes))
    for label, change in [
        ("transposed", lambda values, truth: (values.swapaxes(0, 1), truth.T)),
        ("every second band", lambda values, truth: (values[..., ::2], truth)),
        ("every fifth band", lambda values, truth: (values[..., ::5], truth)),
        ("first half of the bands", lambda values, truth: (values[..., :values.shape[2] // 2], truth)),
        ("noise of 5 % of each band's standard deviation", lambda values, truth: (perturbed(values), truth)),
        ("square root of the values", lambda values, truth: (np.sqrt(values - values.min()), truth)),
        ("rows and columns repeated", lambda values, truth: (values.repeat(2, 0).repeat(2, 1), truth.repeat(2, 0).repeat(2, 1))),
        ("half as many rows and columns, means of 2 x 2", lambda values, truth: (
            (values[::2, ::2] + values[1::2, ::2] + values[::2, 1::2] + values[1::2, 1::2]) / 4,
            np.maximum.reduce([truth[::2, ::2], truth[1::2, ::2], truth[::2, 1::2], truth[1::2, 1::2]]))),
    ]:  # fmt: skip
        altered = {name: change(values, truth) for name, (values, truth) in scenes.items()}
        rx = over(altered, 1, lambda cube, truth, seed: {"": auc(truth, whole(GlobalRX().detect(cube)))})
        print(row(f"{label}: global RX", [values[0] for values in rx[""].values()]))
        print(row(f"{label}: default", [np.mean(values) for values in over(altered, seeds, default_auc({}))[""].values()]), flush=True)
    print()


def main():
    groups = {
        "scenes": group_scenes,
        "ablation": group_ablation,
        "training": group_training,
        "constants": group_constants,
        "scene-changes": group_scene_changes,
    }
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of .mat scenes with a truth map")
    parser.add_argument("groups", nargs="*", help=f"of {', '.join(groups)}; all by default")
    parser.add_argument("--seeds", type=int, default=1)
    arguments = parser.parse_args()
    scenes = {}
    for path in sorted(arguments.data.glob("*.mat")):
        scene = read_matlab(path)
        scenes[path.stem] = np.asarray(scene.cube, dtype=np.float32), np.asarray(scene.truth)
    for name in arguments.groups or groups:
        print(f"## {name}, {arguments.seeds} seed(s)\n", flush=True)
        groups[name](scenes, arguments.seeds)


if __name__ == "__main__":
    main()

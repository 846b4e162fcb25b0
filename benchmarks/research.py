"""What makes the default mode what it is: `PYTHONPATH=. python benchmarks/research.py <folders of .mat scenes> [--seeds 3] [--groups ...]`.

Prints Markdown tables for docs/research.md. Groups: `scenes` (the default, its parts and global RX on every scene), `protocol` (which
parts and which
clutter: chosen on random halves of the scenes, reported on the other halves), `largest` (what the largest anomaly adds, by the same
protocol), `implants` (large and weak targets, implanted), `ablation`
(each part
left out), `settings` (settings halved and doubled) and `scene-changes` (the default on scenes that were transposed, thinned out in
bands, given noise or resized). Ground truth is read after detection, to measure it.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from scoread_qgis.core.cube import ArrayCube
from scoread_qgis.detectors.default_mode.clutter import CLUTTER, Clutter
from scoread_qgis.detectors.default_mode.fusion import fuse
from scoread_qgis.detectors.default_mode.sgm import SGM
from scoread_qgis.detectors.rx import GlobalRX
from scoread_qgis.detectors.shared.area_opening import area_opening
from scoread_qgis.scenes.matlab import read_matlab


def whole(pieces):
    return np.concatenate([values for _, values in pieces])


def auc(truth, scores):
    return roc_auc_score(truth.ravel() > 0, scores.ravel())


def fused(parts, names=None):
    """The default's map from its parts, or from some of them."""
    chosen = [torch.from_numpy(parts[name]) for name in names or parts]
    values = fuse(chosen).numpy()
    return values - np.float32(CLUTTER.share) * CLUTTER.median(values, 0, len(values))


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
    """The real detector, as a user runs it."""
    print(
        "| scene | "
        + " | ".join(f"{what} {name}" for what in ("global RX:", "default:") for name in MEASURES)
        + " |\n|---"
        + "|---" * 8
        + "|"
    )
    found, parts = [], {}
    for name, (values, truth) in scenes.items():
        cube, runs = ArrayCube(values), []
        for seed in range(seeds):
            scorer = SGM.train([cube], seed=seed).bind(cube)
            runs.append(measures(truth, whole(scorer.map())))
            for part, scores in scorer.parts().items():
                parts.setdefault(part, []).append(measures(truth, scores))
        found.append([measures(truth, whole(GlobalRX().detect(cube))), np.mean(runs, 0)])
        print(f"| {name} | " + " | ".join(f"{value:.4f}" for value in np.ravel(found[-1])) + " |", flush=True)
    found = np.array(found)
    print("| mean | " + " | ".join(f"{value:.4f}" for value in found.mean(0).ravel()) + " |")
    print(f"\nAUC less that of global RX, least: {(found[:, 1, 0] - found[:, 0, 0]).min():+.4f}\n")
    print("| part alone, mean | " + " | ".join(MEASURES) + " |\n|---" + "|---" * 4 + "|")
    for part, of_runs in parts.items():
        print(f"| {part} | " + " | ".join(f"{value:.4f}" for value in np.mean(of_runs, 0)) + " |")
    print(flush=True)


MEASURES = ("AUC", "AP", "Pd at 1e-3", "Pd at 1e-2")
DEFAULT = (("local", "near", "far", "features", "gaussian"), 15, 5, 0.5)
# Parts, all with the same weight; the reach, the stride and the share of the clutter.
CANDIDATES = [
    (("local", "near"), 9, 3, 0.0), (("local", "near"), 9, 3, 0.5),
    (("near", "far"), 15, 5, 0.0), (("near", "far"), 15, 5, 0.5),
    (("local", "near", "far"), 15, 5, 0.0), (("local", "near", "far"), 15, 5, 0.5),
    (("local", "near", "features"), 15, 5, 0.5), (("near", "far", "features"), 15, 5, 0.5),
    (("local", "near", "far", "gaussian"), 15, 5, 0.5), (("near", "far", "features", "gaussian"), 15, 5, 0.5),
    (("local", "near", "features", "gaussian"), 15, 5, 0.5), (("local", "far", "features", "gaussian"), 15, 5, 0.5),
    (("local", "near", "far", "features"), 15, 5, 0.0), (("local", "near", "far", "features"), 15, 5, 0.5),
    (("local", "near", "far", "features"), 15, 5, 0.75), (("local", "near", "far", "features"), 9, 3, 0.5),
    (("local", "near", "far", "features", "gaussian"), 15, 5, 0.0), (("local", "near", "far", "features", "gaussian"), 15, 5, 0.25),
    (("local", "near", "far", "features", "gaussian"), 15, 5, 0.5), (("local", "near", "far", "features", "gaussian"), 15, 5, 0.75),
    (("local", "near", "far", "features", "gaussian"), 9, 3, 0.5),
]  # fmt: skip
HALVES = 20
SHOWN = [(("local", "near", "far", "features"), 15, 5, 0.5), DEFAULT]


def measures(truth, scores):
    """AUC-ROC, average precision, and detection rates at false-alarm rates of 1e-3 and 1e-2."""
    truth, scores = truth.ravel() > 0, scores.ravel()
    false_alarms, detections, _ = roc_curve(truth, scores, drop_intermediate=False)
    at = [detections[np.searchsorted(false_alarms, rate, side="right") - 1] for rate in (1e-3, 1e-2)]
    return [roc_auc_score(truth, scores), average_precision_score(truth, scores), *at]


def label(candidate):
    parts, reach, _, share = candidate
    return " + ".join(parts) + (f"; less {share:g} of the median within {reach}" if share else "; no clutter")


def all_parts(cube, seed):
    return SGM.train([cube], seed=seed).bind(cube).parts()


def candidate_map(parts, candidate):
    names, reach, stride, share = candidate
    values = fuse([torch.from_numpy(parts[name]) for name in names]).numpy()
    if not share:
        return values
    return values - np.float32(share) * Clutter(reach, stride, share).median(values, 0, len(values))


def foreign(scenes, generator, bands, mean, size):
    """A patch (size, size, bands) of another place in one of the scenes, as bright as `mean` but for chance."""
    other = scenes[list(scenes)[generator.integers(len(scenes))]][0]
    row, column = generator.integers(other.shape[0] - size), generator.integers(other.shape[1] - size)
    patch = other[row : row + size, column : column + size].reshape(size * size, -1)
    patch = np.stack([np.interp(np.linspace(0, 1, bands), np.linspace(0, 1, len(spectrum)), spectrum) for spectrum in patch])
    return patch.reshape(size, size, bands) * mean / patch.mean() * np.exp(generator.normal(0, 0.5))


def implanted(scenes, name, sizes, shares, pixels, clear):
    """A scene with foreign patches at some share, and where they are."""
    generator, values = np.random.default_rng(0), scenes[name][0].astype(np.float32)
    rows, columns, bands = values.shape
    truth, mean = np.zeros((rows, columns), bool), values.mean()
    for _ in range(500):
        size = generator.integers(*sizes)
        row, column = generator.integers(rows - size), generator.integers(columns - size)
        around = np.s_[max(0, row - clear) : row + size + clear, max(0, column - clear) : column + size + clear]
        if truth.sum() >= pixels or truth[around].any():
            continue
        place, share = np.s_[row : row + size, column : column + size], generator.uniform(*shares)
        values[place] = (1 - share) * values[place] + share * foreign(scenes, generator, bands, mean, size)
        truth[place] = True
    return values, truth


def group_implants(scenes, seeds):
    """Large targets, and weak ones; the scene's own anomalies do not count."""
    for title, settings in {
        "two targets of 100 to 144 pixels, 30 to 100 %": ((10, 13), (0.3, 1), 200, 12),
        "60 targets of one pixel, 3 to 15 %": ((1, 2), (0.03, 0.15), 60, 3),
    }.items():
        gains = {candidate: [] for candidate in CANDIDATES}
        for name in scenes:
            values, truth = implanted(scenes, name, *settings)
            cube, counted = ArrayCube(values), truth | (scenes[name][1] == 0)
            rx = auc(truth[counted], whole(GlobalRX().detect(cube))[counted])
            parts = all_parts(cube, 0)
            for candidate in CANDIDATES:
                gains[candidate].append(auc(truth[counted], candidate_map(parts, candidate)[counted]) - rx)
        print(
            f"{title}: AUC less that of global RX, {len(scenes)} scenes\n\n| candidate | mean | worst | scenes below by more than .003 "
            "|\n|---|---|---|---|"
        )
        for candidate, values in gains.items():
            print(f"| {label(candidate)} | {np.mean(values):+.4f} | {min(values):+.4f} | {sum(value < -0.003 for value in values)} |")
        print(flush=True)


def group_protocol(scenes, seeds):
    found = {candidate: np.zeros((len(scenes), seeds, 4)) for candidate in CANDIDATES}
    rx = np.zeros((len(scenes), 4))
    for number, (values, truth) in enumerate(scenes.values()):
        cube = ArrayCube(values)
        rx[number] = measures(truth, whole(GlobalRX().detect(cube)))
        for seed in range(seeds):
            parts = all_parts(cube, seed)
            for candidate in CANDIDATES:
                found[candidate][number, seed] = measures(truth, candidate_map(parts, candidate))
    of_scenes = {candidate: values.mean(1) for candidate, values in found.items()}
    print(
        "| candidate | AUC | AP | Pd at 1e-3 | Pd at 1e-2 | worst AUC against RX | AUC, AP less the default's, with the spread over halves "
        "|"
    )
    print("|---|---|---|---|---|---|---|")
    halves = halves_of(len(scenes))
    default = of_scenes[DEFAULT]
    for candidate, values in {"global RX": rx, **of_scenes}.items():
        gains = np.array([(values - default)[other].mean(0)[:2] for _, other in halves])
        gain = ", ".join(f"{mean:+.4f} ± {spread:.4f}" for mean, spread in zip(gains.mean(0), gains.std(0)))
        cells = " | ".join(f"{value:.4f}" for value in values.mean(0))
        print(f"| {candidate if candidate == 'global RX' else label(candidate)} | {cells} | {(values - rx)[:, 0].min():+.4f} | {gain} |")
    report_choices(halves, [label(candidate) for candidate in CANDIDATES], np.array(list(of_scenes.values())))
    print("\nAUC / AP of each scene:\n\n| scene | global RX | " + " | ".join(label(candidate) for candidate in SHOWN) + " |")
    print("|---" * (len(SHOWN) + 2) + "|")
    for number, name in enumerate(scenes):
        cells = [f"{values[number, 0]:.4f} / {values[number, 1]:.3f}" for values in [rx, *(of_scenes[candidate] for candidate in SHOWN)]]
        print(f"| {name} | " + " | ".join(cells) + " |")
    print(flush=True)


LARGEST = [(largest, gain) for largest in (30, 60, 120, 250) for gain in (1, 3, np.inf)]  # pixels, and how often the excess is added


def raised_map(values, largest, gain):
    """A map, and `gain` times what it stands out by in objects of up to `largest` pixels; infinite: that alone."""
    excess = values - area_opening(values, largest + 1)
    return excess if gain == np.inf else values + np.float32(gain) * excess


def group_largest(scenes, seeds):
    """What is gained by knowing the largest anomaly, and what is lost where that is wrong."""
    labels = [
        "default",
        *(f"{largest} px, {'the excess alone' if gain == np.inf else f'and {gain} × the excess'}" for largest, gain in LARGEST),
    ]
    found, rx = np.zeros((len(labels), len(scenes), seeds, 4)), np.zeros((len(LARGEST) + 1, len(scenes), 4))
    large = np.zeros((len(labels), len(scenes)))
    for number, (name, (values, truth)) in enumerate(scenes.items()):
        cube = ArrayCube(values)
        plain = whole(GlobalRX().detect(cube)).astype(np.float32)
        rx[:, number] = [measures(truth, plain), *(measures(truth, raised_map(plain, *how)) for how in LARGEST)]
        for seed in range(seeds):
            plain = candidate_map(all_parts(cube, seed), DEFAULT)
            found[:, number, seed] = [measures(truth, plain), *(measures(truth, raised_map(plain, *how)) for how in LARGEST)]
        values, implants = implanted(scenes, name, (10, 13), (0.3, 1), 200, 12)
        counted = implants | (truth == 0)
        plain = candidate_map(all_parts(ArrayCube(values), 0), DEFAULT)
        large[:, number] = [auc(implants[counted], each[counted]) for each in (plain, *(raised_map(plain, *how) for how in LARGEST))]
    of_scenes = found.mean(2)
    halves, gains = halves_of(len(scenes)), of_scenes - of_scenes[0]
    print("| largest anomaly | AUC | AP | Pd at 1e-3 | Pd at 1e-2 | least gain of AUC | AUC, AP more than the default's, over halves "
          "| AUC of implanted targets of 100 to 144 px | global RX: AUC | global RX: AP |\n|---" + "|---" * 9 + "|")  # fmt: skip
    for label, values, gain, implants, of_rx in zip(labels, of_scenes, gains, large, rx):
        over_halves = np.array([gain[other].mean(0)[:2] for _, other in halves])
        spread = ", ".join(f"{mean:+.4f} ± {spread:.4f}" for mean, spread in zip(over_halves.mean(0), over_halves.std(0)))
        cells = " | ".join(f"{value:.4f}" for value in values.mean(0))
        of_rx = " | ".join(f"{value:.4f}" for value in of_rx.mean(0)[:2])
        print(f"| {label} | {cells} | {gain[:, 0].min():+.4f} | {spread} | {implants.mean():.4f} | {of_rx} |")
    report_choices(halves, labels, of_scenes)
    print(
        "\nAUC / AP of each scene:\n\n| scene | largest target, px | " + " | ".join(labels) + " |\n|---" + "|---" * (len(labels) + 1) + "|"
    )
    for number, (name, (_, truth)) in enumerate(scenes.items()):
        sizes = np.bincount(ndimage.label(truth > 0, np.ones((3, 3)))[0].ravel())[1:]
        cells = " | ".join(f"{values[number, 0]:.4f} / {values[number, 1]:.3f}" for values in of_scenes)
        print(f"| {name} | {sizes.max()} | {cells} |")
    print(flush=True)


def halves_of(count):
    """`HALVES` random splits of so many scenes: pairs of index arrays."""
    generator = np.random.default_rng(0)
    return [np.split(generator.permutation(count), [count // 2]) for _ in range(HALVES)]


def report_choices(halves, labels, of_scenes):
    """The candidate chosen on one half of the scenes, on the other half. of_scenes: (candidates, scenes, measures)."""
    best = [max(range(len(labels)), key=lambda index: of_scenes[index][half].mean(0)[:2] @ [1, 0.1]) for half, _ in halves]
    reported = [of_scenes[index][other].mean(0) for index, (_, other) in zip(best, halves)]
    means, spreads, chosen = np.mean(reported, 0), np.std(reported, 0), [labels[index] for index in best]
    print(
        f"\nChosen on one half by AUC + AP / 10, reported on the other, {HALVES} random halves: AUC {means[0]:.4f} ± {spreads[0]:.4f}, "
        f"AP {means[1]:.3f} ± {spreads[1]:.3f}. Chosen how often:\n"
    )
    for label in sorted(set(chosen), key=chosen.count, reverse=True):
        print(f"- {chosen.count(label)}: {label}")


def group_ablation(scenes, seeds):
    def measure(cube, truth, seed):
        parts = SGM.train([cube], seed=seed).bind(cube).parts()
        return {f"without {left_out}": auc(truth, fused(parts, [name for name in parts if name != left_out])) for left_out in parts}

    print_table(scenes, over(scenes, seeds, measure))


def default_auc(settings):
    return lambda cube, truth, seed: {"": auc(truth, whole(SGM.train([cube], seed=seed, **settings).detect(cube)))}


def group_settings(scenes, seeds):
    print(header(scenes))
    varied = {"hidden": (128, 512), "samples": (5000, 20_000)}
    for label, settings in [("default", {}), *((f"{name} {value}", {name: value}) for name, values in varied.items() for value in values)]:
        print(row(label, [np.mean(values) for values in over(scenes, seeds, default_auc(settings))[""].values()]), flush=True)
    print()


def group_scene_changes(scenes, seeds):
    generator = np.random.default_rng(0)

    def with_noise(values):
        return values + 0.05 * values.std(axis=(0, 1)) * generator.normal(size=values.shape)

    print(header(scenes))
    for label, change in [
        ("transposed", lambda values, truth: (values.swapaxes(0, 1), truth.T)),
        ("every second band", lambda values, truth: (values[..., ::2], truth)),
        ("every fifth band", lambda values, truth: (values[..., ::5], truth)),
        ("first half of the bands", lambda values, truth: (values[..., :values.shape[2] // 2], truth)),
        ("noise of 5 % of each band's standard deviation", lambda values, truth: (with_noise(values), truth)),
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
        "protocol": group_protocol,
        "largest": group_largest,
        "implants": group_implants,
        "ablation": group_ablation,
        "settings": group_settings,
        "scene-changes": group_scene_changes,
    }
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="+", help="folders of .mat scenes with a ground truth map")
    parser.add_argument("--groups", nargs="+", choices=groups, help=f"of {', '.join(groups)}; all by default")
    parser.add_argument("--seeds", type=int, default=1)
    arguments = parser.parse_args()
    scenes = {}
    for path in (path for folder in arguments.data for path in sorted(folder.glob("*.mat"))):
        scene = read_matlab(path)
        scenes[path.stem] = np.asarray(scene.cube, dtype=np.float32), np.asarray(scene.truth)
    for name in arguments.groups or groups:
        print(f"## {name}, {arguments.seeds} seed(s)\n", flush=True)
        groups[name](scenes, arguments.seeds)


if __name__ == "__main__":
    main()

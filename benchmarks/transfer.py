"""Models used on other scenes: what a model that does not fit costs, whether the fit tells, and what adapting gives back.

    PYTHONPATH=. python benchmarks/transfer.py ../shared/data/scenes

Each scene of the folder (.mat with data and map) is detected with the model of each other scene, over the bands that both have; the scenes
that share their first 188 bands also with a model of all of them. Ground truth maps are used for measuring only.
"""

import argparse
import statistics
from pathlib import Path

import numpy as np
from scipy.io import loadmat
from sklearn.metrics import roc_auc_score

from scoread_qgis.core.cube import ArrayCube
from scoread_qgis.detectors.default_mode.sgm import SGM
from scoread_qgis.detectors.rx import GlobalRX
from scoread_qgis.workflows.detect import LIMIT

POOLED_BANDS = 188
NEAR = 0.01  # of AUC: as good as the scene's own model
THRESHOLD = 2.0  # of the score, at which the backgrounds of scenes are compared


def scores(scorer):
    return np.concatenate([rows for _, rows in scorer.map()])


def auc(truth, scorer):
    return float(roc_auc_score(truth.ravel(), scores(scorer).ravel()))


def rate(truth, scorer):
    """Share of the background that scores above the threshold."""
    return float((scores(scorer)[~truth] > THRESHOLD).mean())


class Scenes:
    """The scenes of a folder, and what belongs to one with its first so many bands, made once."""

    def __init__(self, folder):
        loaded = {path.stem: loadmat(path) for path in sorted(Path(folder).glob("*.mat"))}
        self.values = {name: each["data"].astype(np.float32) for name, each in loaded.items()}
        self.truths = {name: each["map"] > 0 for name, each in loaded.items()}
        self._models, self._own, self._rx = {}, {}, {}

    def cube(self, name, bands):
        return ArrayCube(self.values[name][..., :bands])

    def model(self, name, bands):
        if (name, bands) not in self._models:
            self._models[name, bands] = SGM.train([self.cube(name, bands)])
        return self._models[name, bands]

    def baselines(self, name, bands):
        """AUC of the scene's own model, and of RX."""
        if (name, bands) not in self._own:
            cube, truth = self.cube(name, bands), self.truths[name]
            self._own[name, bands] = auc(truth, self.model(name, bands).bind(cube))
            self._rx[name, bands] = auc(truth, GlobalRX().bind(cube))
        return self._own[name, bands], self._rx[name, bands]


def row(scenes, source, model, name, bands):
    """One line of the table, as a dict."""
    cube, truth = scenes.cube(name, bands), scenes.truths[name]
    own, rx = scenes.baselines(name, bands)
    adapted = model.adapted(cube)
    return {
        "model of": source, "scene": name, "bands": bands, "RX": rx, "own": own, "as it is": auc(truth, model.bind(cube)),
        "fit": model.fit(cube).value, "adapted": auc(truth, adapted.bind(cube)), "fit, adapted": adapted.fit(cube).value,
    }  # fmt: skip


def show(rows):
    names = list(rows[0])
    print(f"| {' | '.join(names)} |\n|{'---|' * len(names)}")
    for each in rows:
        print("| " + " | ".join(f"{value:.3f}" if isinstance(value, float) else str(value) for value in each.values()) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    scenes = Scenes(parser.parse_args().folder)
    names = list(scenes.values)
    pairs = []
    for name in names:
        for source in names:
            if source != name:
                bands = min(scenes.values[each].shape[2] for each in (source, name))
                pairs.append(row(scenes, source, scenes.model(source, bands), name, bands))
    show(pairs)
    poolable = [name for name in names if scenes.values[name].shape[2] >= POOLED_BANDS]
    pooled = SGM.train([scenes.cube(name, POOLED_BANDS) for name in poolable])
    print()
    together = [row(scenes, f"all {len(poolable)}", pooled, name, POOLED_BANDS) for name in poolable]
    show(together)
    print()
    show(
        [
            {
                "scene": name,
                f"background above {THRESHOLD:g}: own": rate(scenes.truths[name], scenes.model(name, bands).bind(scenes.cube(name, bands))),
                "adapted": rate(
                    scenes.truths[name], scenes.model(source, bands).adapted(scenes.cube(name, bands)).bind(scenes.cube(name, bands))
                ),
                "as it is": rate(scenes.truths[name], scenes.model(source, bands).bind(scenes.cube(name, bands))),
            }
            for name in names
            for source in [next(each for each in names if each != name)]
            for bands in [min(scenes.values[each].shape[2] for each in (source, name))]
        ]
    )
    fitting = [each for each in [*pairs, *together] if each["fit"] >= LIMIT]
    near = sum(each["as it is"] >= each["own"] - NEAR for each in fitting)
    missed = [each["adapted"] - each["own"] for each in pairs]
    beaten = min(each["adapted"] - each["RX"] for each in pairs)
    print(
        f"\n{len(pairs)} pairs. At or above the limit of {LIMIT}: {len(fitting)} of these and of the {len(together)} with the model of "
        "all; of them"
    )
    print(
        f"within {NEAR} of the AUC of the scene's own model: {near}. As they are, pairs lose "
        f"{-statistics.fmean(e['as it is'] - e['own'] for e in pairs):.3f}"
    )
    print(f"on average; adapted, they differ by {statistics.fmean(missed):+.4f} on average and {min(missed):+.4f} at worst, and from RX by")
    print(f"{beaten:+.4f} at worst.")


if __name__ == "__main__":
    main()

"""How well models tell what they expected where anomalies are: python benchmarks/explaining.py <folder of .mat scenes> (PYTHONPATH=.).

For each scene the anomaly value of the true anomalies' mean spectra, of the background spectra that are expected there, and the same for
as many
places of background.
"""

import sys
from pathlib import Path

import numpy as np
from scipy import ndimage

from scoread_qgis.core.cube import ArrayCube
from scoread_qgis.detectors.default_mode.sgm import SGM
from scoread_qgis.detectors.shared.explanation import expected_backgrounds, region_spectra
from scoread_qgis.scenes.matlab import read_matlab


class Labels:
    def __init__(self, labels):
        self._labels, self.count = labels, int(labels.max())

    def labels(self, first, last):
        return self._labels[first:last]


def with_background(truth, seed=0):
    """Labels of the objects of the ground truth and of as many 3 x 3 squares of background; how many objects."""
    labels, count = ndimage.label(truth, np.ones((3, 3)))
    free = ndimage.distance_transform_cdt(labels == 0) > 5
    random, number = np.random.default_rng(seed), count
    places = np.argwhere(free[1:-1, 1:-1]) + 1
    for row, column in places[random.permutation(len(places))]:
        square = (slice(row - 1, row + 2), slice(column - 1, column + 2))
        if number < 2 * count and not labels[square].any():
            number += 1
            labels[square] = number
    return labels, count


def main(folder):
    print("| scene | objects | anomalies | expected there | background | expected there |\n|---|---|---|---|---|---|")
    for path in sorted(Path(folder).glob("*.mat")):
        scene = read_matlab(path)
        cube = ArrayCube(scene.cube.astype(np.float32))
        labels, objects = with_background(scene.truth > 0)
        regions = Labels(labels)
        seen = region_spectra(cube, regions)
        backgrounds = np.stack([expected.spectrum for expected in expected_backgrounds(cube, regions, seen)])
        explained = SGM.train([cube]).bind(cube).explain(seen.mean, seen.centres, backgrounds)
        values = [
            np.median(scores[part])
            for part in (slice(objects), slice(objects, None))
            for scores in (explained.scores, explained.background_scores)
        ]
        print(f"| {path.stem} | {objects} | {' | '.join(f'{value:.2f}' for value in values)} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])

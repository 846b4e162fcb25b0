"""Makes the files beside it with version 0.2.0: `PYTHONPATH=<checkout of version 0.2.0>:tests python tests/models/make.py`."""

import json

import numpy as np
import old_models
import torch
from scoread_qgis.cube import ArrayCube
from scoread_qgis.detectors.paper import PaperSGM
from scoread_qgis.detectors.sgm import SGM

from scoread_qgis.detectors import fers
from scoread_qgis.detectors.model_file import Model

FACTS = {
    "bands": 20,
    "wavelengths": [400.0 + 10 * i for i in range(20)],
    "band_numbers": {"numbers": list(range(1, 21)), "of": 24},
    "seed": 3,
    "versions": {"scoread_qgis": "0.2.0"},
}


def main():
    cube, maps = ArrayCube(old_models.scene()), {}
    paper = {"epochs": 1, "hidden": 8, "seed": 3}
    fers_settings = {"epochs": 1, "patch": 16}
    trained = {
        "sgm": (SGM.train([cube], steps=20, hidden=32, samples=200, seed=3), {"steps": 20, "hidden": 32}),
        "sgm-paper": (PaperSGM.train([cube], **paper), {"epochs": 1, "hidden": 8}),
        "sgm-paper-conditional": (PaperSGM.train([cube], conditional=True, **paper), {"epochs": 1, "hidden": 8, "conditional": True}),
        "fers": (fers.train([cube], seed=3, **fers_settings), fers_settings),
    }
    for kind, (detector, settings) in trained.items():
        path = old_models.FOLDER / ("sgm.pt" if kind == "sgm" else "trial.pt")
        Model(detector, settings=settings, loss_curve=detector.loss_curve, **FACTS).save(path)
        if kind != "sgm":
            described = old_models.described(torch.load(path, weights_only=True))
            (old_models.FOLDER / f"{kind}.json").write_text(json.dumps(described, indent=1) + "\n")
            path = old_models.write(kind, path)
        options = {"perturbations": 10, "t": 0.3} if "paper" in kind else {}
        maps[kind] = np.concatenate([rows for _, rows in Model.load(path).detector.detect(cube, **options)])
        path.with_name("trial.pt").unlink(missing_ok=True)
    np.savez_compressed(old_models.FOLDER / "maps.npz", **maps)


if __name__ == "__main__":
    main()

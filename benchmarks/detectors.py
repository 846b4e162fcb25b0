"""Every detector of the project, and its peers, on every scene and seed: `make benchmark DATA=<folder of .mat scenes>`.

Writes detectors.md (tables), detectors.png (figure) and detectors.json (every single run) to the output folder. Scenes are imported, read,
trained on and detected in by the code that the algorithms use. Ground truth maps are read after the detection, to measure it. Each detector
runs in a process of its own, so that the peak memory is its own.
"""

import argparse
import json
import platform
import resource
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import numpy as np

SEEDLESS = {"RX", "RX, local 5/15", "SPy rx", "SPy rx, local 5/21", "LocalOutlierFactor"}
DETECTORS = [
    "RX", "RX, local 5/15", "Default mode", "Component: near", "Component: far",
    "Component: local", "Component: features", "Component: gaussian",
    "Paper mode", "SPy rx", "SPy rx, local 5/21", "IsolationForest", "LocalOutlierFactor",
]  # fmt: skip
METRICS = {"auc": "AUC-ROC", "ap": "average precision", "pd3": "Pd at 1e-3", "pd2": "Pd at 1e-2"}


def import_scenes(folder, target):
    """GeoTIFFs of the .mat scenes of a folder, made as Import MATLAB scene makes them: name -> (path, truth array)."""
    from scoread_qgis.scenes.matlab import read_matlab
    from scoread_qgis.scenes.writer import write_scene

    scenes = {}
    for path in sorted(Path(folder).glob("*.mat")):
        scene = read_matlab(path)
        if scene.truth is None or not scene.truth.any():
            continue
        target.mkdir(parents=True, exist_ok=True)
        tif = target / f"{path.stem}.tif"
        if not tif.exists():
            write_scene(tif, scene.cube, wavelengths=scene.wavelengths)
        scenes[path.stem] = (tif, scene.truth)
    return scenes


def open_cube(path):
    from scoread_qgis.scenes.raster import RasterCube, RasterFile, choose_bands

    raster = RasterFile(str(path))
    return RasterCube(raster, choose_bands(raster).numbers)


def detect(detector, cube):
    """The map of a detector, as an array."""
    return np.concatenate([rows for _, rows in detector.detect(cube)])


def run_one(name, path, seed, paper_epochs):
    """(scores (rows, columns), seconds to train, seconds to detect) of a detector on a scene."""
    from scoread_qgis.detectors.default_mode.sgm import SGM
    from scoread_qgis.detectors.paper_mode.paper_sgm import PaperSGM
    from scoread_qgis.detectors.rx import GlobalRX, LocalRX

    cube, start = open_cube(path), time.perf_counter()

    def trained(model):
        return model, time.perf_counter() - start

    if name.startswith("Default") or name.startswith("Component"):
        model, seconds = trained(SGM.train([cube], seed=seed))
        start = time.perf_counter()
        scores = detect(model, cube) if name.startswith("Default") else model.bind(cube).parts()[name.partition(": ")[2]]
        return scores, seconds, time.perf_counter() - start
    if name == "Paper mode":
        model, seconds = trained(PaperSGM.train([cube], epochs=paper_epochs, seed=seed))
        start = time.perf_counter()
        return detect(model, cube), seconds, time.perf_counter() - start
    if name.startswith("RX"):
        scores = detect(GlobalRX() if name == "RX" else LocalRX(5, 15), cube)
        return scores, 0.0, time.perf_counter() - start
    values, _ = cube.read(0, cube.rows)
    spectra = values.reshape(-1, cube.bands)
    start = time.perf_counter()
    if name.startswith("SPy"):
        import spectral

        scores = spectral.rx(values.astype(np.float64), **({"window": (5, 21)} if "local" in name else {}))
    elif name == "IsolationForest":
        from sklearn.ensemble import IsolationForest

        scores = -IsolationForest(random_state=seed, n_jobs=-1).fit(spectra).score_samples(spectra)
    else:
        from sklearn.neighbors import LocalOutlierFactor

        scores = -LocalOutlierFactor(n_jobs=-1).fit(spectra).negative_outlier_factor_
    return np.asarray(scores).reshape(cube.rows, cube.columns), 0.0, time.perf_counter() - start


def measure(truth, scores):
    """AUC-ROC, average precision, and probability of detection at false-alarm rates of 1e-3 and 1e-2, over the scored pixels."""
    from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

    scored = np.isfinite(scores)
    truth, scores = truth[scored] > 0, scores[scored]
    false_alarms, detections, _ = roc_curve(truth, scores, drop_intermediate=False)
    at = {rate: float(detections[np.searchsorted(false_alarms, rate, side="right") - 1]) for rate in (1e-3, 1e-2)}
    return {
        "auc": float(roc_auc_score(truth, scores)),
        "ap": float(average_precision_score(truth, scores)),
        "pd3": at[1e-3],
        "pd2": at[1e-2],
    }


def worker(name, data, out, seeds, paper_epochs):
    """All runs of one detector; the process prints them as JSON."""
    import torch

    runs = []
    for scene, (path, truth) in import_scenes(data, out / "scenes").items():
        for seed in range(1 if name in SEEDLESS else seeds):
            scores, train, found = run_one(name, path, seed, paper_epochs)
            runs.append({"detector": name, "scene": scene, "seed": seed, "train": train, "detect": found, **measure(truth, scores)})
            print(
                f"{name:28s} {scene:16s} seed {seed}: AUC {runs[-1]['auc']:.4f}, {train:.2f} + {found:.2f} s", file=sys.stderr, flush=True
            )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"runs": runs, "peak": peak, "threads": torch.get_num_threads(), "torch": str(torch.__version__)}))


def tables(results, note):
    """The results as Markdown."""
    names = [name for name in DETECTORS if name in results]
    scenes = list(dict.fromkeys(run["scene"] for run in results[names[0]]["runs"]))

    def seeds_of(name, key, scene=None):
        """Values by seed: of a scene, or means over the scenes."""
        runs = results[name]["runs"]
        chosen = [[r[key] for r in runs if r["seed"] == seed and scene in (None, r["scene"])] for seed in sorted({r["seed"] for r in runs})]
        return np.array([np.mean(values) for values in chosen if len(values) == (1 if scene else len(scenes))])

    def cell(values, digits):
        spread = f" ± {values.std(ddof=1):.{digits}f}" if values.size > 1 else ""
        return f"{values.mean():.{digits}f}{spread}" if values.size else "-"

    lines = [note, "", f"Means over {len(scenes)} scenes; ± is the standard deviation over the seeds.", ""]
    lines += ["| detector | " + " | ".join(METRICS.values()) + " | worst against RX | train s | detect s | detect, × RX | peak MB |"]
    lines += ["|---" * (len(METRICS) + 6) + "|"]
    rx = np.mean([r["detect"] for r in results["RX"]["runs"]])
    for name in names:
        worst = min(seeds_of(name, "auc", scene).mean() - seeds_of("RX", "auc", scene).mean() for scene in scenes)
        cells = [cell(seeds_of(name, key), 4 if key == "auc" else 3) for key in METRICS]
        cells += [f"{worst:+.4f}", cell(seeds_of(name, "train"), 2), cell(seeds_of(name, "detect"), 2)]
        cells += [f"{seeds_of(name, 'detect').mean() / rx:.1f}", f"{results[name]['peak']:.0f}"]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "AUC-ROC by scene, mean over the seeds:",
        "",
        "| detector | " + " | ".join(scenes) + " |",
        "|---" * (len(scenes) + 1) + "|",
    ]
    for name in names:
        lines.append(f"| {name} | " + " | ".join(cell(seeds_of(name, "auc", scene), 4) for scene in scenes) + " |")
    return "\n".join(lines) + "\n"


def figure(results, path):
    """AUC-ROC of every run, one row of points for each detector."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = [name for name in DETECTORS if name in results][::-1]
    scenes = list(dict.fromkeys(run["scene"] for run in results["RX"]["runs"]))
    canvas, axes = pyplot.subplots(figsize=(9, 0.42 * len(names) + 1.4))
    for row, name in enumerate(names):
        runs = results[name]["runs"]
        for run in runs:
            axes.plot(1 - run["auc"] + 1e-4, row, "o", color=f"C{scenes.index(run['scene'])}", markersize=4, alpha=0.7)
        axes.plot(1 - np.mean([r["auc"] for r in runs]) + 1e-4, row, "k|", markersize=18, markeredgewidth=2)
    axes.set_xscale("log")
    axes.invert_xaxis()
    ticks = [0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001]
    axes.set_xticks(ticks, [f"{1 - tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("AUC-ROC (log scale of what is missing to 1); bar: mean")
    handles = [pyplot.Line2D([], [], marker="o", linestyle="", color=f"C{i}", label=scene) for i, scene in enumerate(scenes)]
    axes.legend(handles=handles, fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    axes.grid(axis="x", alpha=0.3)
    canvas.savefig(path, dpi=130, bbox_inches="tight")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder of .mat scenes with ground truth maps")
    parser.add_argument("out", type=Path, help="folder for the results")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--paper-epochs", type=int, default=100, help="epochs of the paper mode; published: 100")
    parser.add_argument("--only", nargs="+", choices=DETECTORS, help="run these again and keep the other results of the folder")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options.worker, options.data, options.out, options.seeds, options.paper_epochs)
        return
    options.out.mkdir(parents=True, exist_ok=True)
    kept = options.out / "detectors.json"
    results = json.loads(kept.read_text()) if options.only and kept.exists() else {}
    for name in options.only or DETECTORS:
        done = subprocess.run([sys.executable, *sys.argv, "--worker", name], stdout=subprocess.PIPE, text=True, check=True)
        results[name] = json.loads(done.stdout)
        results[name]["epochs"] = options.paper_epochs
        kept.write_text(json.dumps(results, indent=1))
    if "RX" not in results:
        print("The tables compare with RX: run it too, with --only RX.")
        return
    any_result = next(iter(results.values()))
    note = (
        f"Measured on {date.today()}: {platform.machine()}, {any_result['threads']} threads, no GPU, Python {platform.python_version()}, "
        f"torch {any_result['torch']}."
    )
    if "Paper mode" in results:
        seeds = len({run["seed"] for run in results["Paper mode"]["runs"]})
        note += f" Paper mode: {results['Paper mode']['epochs']} epochs (published: 100), seeds: {seeds}."
    text = tables(results, note)
    (options.out / "detectors.md").write_text(text, encoding="utf-8")
    figure(results, options.out / "detectors.png")
    print(text)


if __name__ == "__main__":
    main()

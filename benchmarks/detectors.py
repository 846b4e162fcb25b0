"""Every detector of the project, and its peers, on every scene and seed: `make benchmark DATA="<folders of .mat scenes>"`.

Writes detectors.md (tables), detectors.png (figure) and detectors.jsonl (every single run, as it ends) to the output folder. Runs that are
there already are not repeated, so that a broken benchmark goes on where it was; `--again` repeats them. Scenes are imported, read,
trained on and detected in by the code that the algorithms use. Ground truth maps are read after the detection, to measure it. Each
detector runs in a process of its own, so that the peak memory is its own. Seconds are measured last, of the quick detectors in turn on
the first scene.
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

PARTS = ("near", "far", "local", "features", "gaussian")
RANDOM = {"Default mode", "Paper mode", "IsolationForest", "GMM"}  # the others give the same map with every seed
SLOW = {"Paper mode", "RX, local 5/15", "SPy rx, local 5/21"}  # timed in their own runs
DETECTORS = [
    "RX", "RX, local 5/15", "Default mode", "Paper mode", "SPy rx", "SPy rx, local 5/21",
    "IsolationForest", "LocalOutlierFactor", "PyOD KNN", "GMM",
]  # fmt: skip
METRICS = {"auc": "AUC-ROC", "ap": "average precision", "pd3": "Pd at 1e-3", "pd2": "Pd at 1e-2"}
ROUNDS = 3  # of the timing


def import_scenes(folders, target):
    """GeoTIFFs of the .mat scenes of folders, made as Import MATLAB scene makes them: name -> (path, truth array)."""
    from scoread_qgis.scenes.matlab import read_matlab
    from scoread_qgis.scenes.writer import write_scene

    scenes = {}
    for path in (path for folder in folders for path in sorted(Path(folder).glob("*.mat"))):
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
    if name in ("Default mode", "Paper mode"):
        model = SGM.train([cube], seed=seed) if name == "Default mode" else PaperSGM.train([cube], epochs=paper_epochs, seed=seed)
        trained = time.perf_counter()
        return detect(model, cube), trained - start, time.perf_counter() - trained
    if name.startswith("RX"):
        scores = detect(GlobalRX() if name == "RX" else LocalRX(5, 15), cube)
        return scores, 0.0, time.perf_counter() - start
    values, _ = cube.read(0, cube.rows)
    spectra = values.reshape(-1, cube.bands)
    start = time.perf_counter()
    scores = peer(name, values, spectra, seed)
    return np.asarray(scores).reshape(cube.rows, cube.columns), 0.0, time.perf_counter() - start


def peer(name, values, spectra, seed):
    """Scores of another library's detector, with its own defaults. values: (rows, columns, bands). spectra: (pixels, bands), the same."""
    if name.startswith("SPy"):
        import spectral

        return spectral.rx(values.astype(np.float64), **({"window": (5, 21)} if "local" in name else {}))
    if name == "IsolationForest":
        from sklearn.ensemble import IsolationForest

        return -IsolationForest(random_state=seed, n_jobs=-1).fit(spectra).score_samples(spectra)
    if name == "LocalOutlierFactor":
        from sklearn.neighbors import LocalOutlierFactor

        return -LocalOutlierFactor(n_jobs=-1).fit(spectra).negative_outlier_factor_
    if name == "PyOD KNN":
        from pyod.models.knn import KNN

        return KNN(n_jobs=-1).fit(spectra).decision_scores_
    # scikit-learn has no useful defaults here. In the mean of three scenes better than a mixture of 8, and than all bands.
    from sklearn.decomposition import PCA
    from sklearn.mixture import GaussianMixture

    components = PCA(20, random_state=0).fit_transform((spectra - spectra.mean(0)) / (spectra.std(0) + 1e-12))
    return -GaussianMixture(3, random_state=seed).fit(components).score_samples(components)


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


def worker(name, options):
    """All runs of one detector that are not there yet, each a line of detectors.jsonl as it ends."""
    import torch

    kept = options.out / "detectors.jsonl"
    done = set() if options.again else {(run["scene"], run["seed"]) for run in read_runs(kept) if run["detector"] == name}
    for scene, (path, truth) in import_scenes(options.data, options.out / "scenes").items():
        for seed in range(options.seeds if name in RANDOM else 1):
            if (scene, seed) in done:
                continue
            scores, train, found = run_one(name, path, seed, options.paper_epochs)
            run = {"detector": name, "scene": scene, "seed": seed, "train": train, "detect": found, **measure(truth, scores)}
            run["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            run["threads"], run["torch"] = torch.get_num_threads(), str(torch.__version__)
            if name == "Paper mode":
                run["epochs"] = options.paper_epochs
            runs = [run, *parts_of_default(path, truth, run)] if name == "Default mode" else [run]
            with kept.open("a", encoding="utf-8") as file:
                file.write("".join(json.dumps(each) + "\n" for each in runs))
            print(f"{name:28s} {scene:16s} seed {seed}: AUC {run['auc']:.4f}, {train:.2f} + {found:.2f} s", flush=True)


def parts_of_default(path, truth, run):
    """Runs of the parts of the default mode, each alone, trained as in its `run`."""
    from scoread_qgis.detectors.default_mode.sgm import SGM

    cube = open_cube(path)
    parts = SGM.train([cube], seed=run["seed"]).bind(cube).parts()
    same = {key: run[key] for key in ("scene", "seed")}
    return [{"detector": f"Part: {name}", **same, **measure(truth, parts[name])} for name in PARTS]


def read_runs(path):
    """Every run of detectors.jsonl; of those that were repeated the last."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return list({(run["detector"], run["scene"], run["seed"]): run for run in map(json.loads, lines)}.values())


def time_in_turn(options):
    """Seconds to train and to detect of the quick detectors on the first scene, `ROUNDS` times in turn: name -> [[train, detect], ...]."""
    import torch

    (scene, (path, _)), *_ = import_scenes(options.data, options.out / "scenes").items()
    seconds = {name: [] for name in DETECTORS if name not in SLOW}
    for name in seconds:
        if name in ("RX", "Default mode", "SPy rx", "PyOD KNN", "LocalOutlierFactor"):
            run_one(name, path, 0, 1)  # imports and first calls do not count
    for _ in range(ROUNDS):
        for name in seconds:
            seconds[name].append(run_one(name, path, 0, 1)[1:])
    times = {"scene": scene, "threads": torch.get_num_threads(), "date": str(date.today()), "seconds": seconds}
    (options.out / "times.json").write_text(json.dumps(times, indent=1))


def by_seed(runs, key, scenes):
    """Means over the scenes, a value for each seed that all of them have."""
    found = {}
    for run in runs:
        if run["scene"] in scenes:
            found.setdefault(run["seed"], []).append(run[key])
    return np.array([np.mean(values) for values in found.values() if len(values) == len(scenes)])


def cell(values, digits):
    spread = f" ± {values.std(ddof=1):.{digits}f}" if values.size > 1 else ""
    return f"{values.mean():.{digits}f}{spread}" if values.size else "-"


def tables(runs, times):
    """The results as Markdown. runs: of `read_runs`. times: of `time_in_turn`."""
    scenes = list(dict.fromkeys(run["scene"] for run in runs if run["detector"] == "RX"))
    of = {name: [run for run in runs if run["detector"] == name] for name in ordered(runs)}
    least = {name: np.min(seconds, 0) for name, seconds in times["seconds"].items()}
    any_run = next(run for run in runs if "torch" in run)
    paper = {run["epochs"] for run in of.get("Paper mode", [])}
    lines = [
        f"Measured on {times['date']}: {platform.machine()}, no GPU, Python {platform.python_version()}, torch {any_run['torch']}."
        + (f" Paper mode: {', '.join(map(str, sorted(paper)))} epochs (published: 100)." if paper else ""),
        "",
        f"Means over {len(scenes)} scenes, unless the detector's name says how many; ± is the standard deviation over the seeds. "
        f"Seconds are those of {times['scene']}, the least of {ROUNDS} rounds of all in turn with {times['threads']} thread(s); those "
        "with ~ are medians of their own runs over the scenes, beside other work.",
        "",
        "| detector | " + " | ".join(METRICS.values()) + " | worst against RX | train s | detect s | detect, × RX | peak MB |",
        "|---" * (len(METRICS) + 6) + "|",
    ]
    for name, of_name in of.items():
        has = [scene for scene in scenes if any(run["scene"] == scene for run in of_name)]
        worst = min(by_seed(of_name, "auc", [scene]).mean() - by_seed(of["RX"], "auc", [scene]).mean() for scene in has)
        cells = [cell(by_seed(of_name, key, has), 4 if key == "auc" else 3) for key in METRICS] + [f"{worst:+.4f}"]
        if name.startswith("Part"):
            cells += ["", "", "", ""]
        else:
            if name in SLOW:
                train, found = np.median([[run["train"], run["detect"]] for run in of_name], 0)
                cells += [f"~{train:.0f}", f"~{found:.0f}", ""]
            else:
                train, found = least[name]
                cells += [f"{train:.2f}", f"{found:.2f}", f"{found / least['RX'][1]:.1f}"]
            cells.append(f"{max(run['peak'] for run in of_name):.0f}")
        lines.append(f"| {name}{'' if len(has) == len(scenes) else f' ({len(has)} scenes)'} | " + " | ".join(cells) + " |")
    for key, title in METRICS.items():
        lines += ["", f"{title} by scene, mean over the seeds:", "", "| detector | " + " | ".join(scenes) + " |"]
        lines += ["|---" * (len(scenes) + 1) + "|"]
        for name, of_name in of.items():
            values = " | ".join(cell(by_seed(of_name, key, [scene]), 4 if key == "auc" else 3) for scene in scenes)
            lines.append(f"| {name} | {values} |")
    return "\n".join(lines) + "\n"


def ordered(runs):
    """Names of the detectors and parts that ran, in the order of the tables."""
    ran = {run["detector"] for run in runs}
    at = DETECTORS.index("Default mode") + 1
    return [name for name in [*DETECTORS[:at], *(f"Part: {part}" for part in PARTS), *DETECTORS[at:]] if name in ran]


def figure(runs, path):
    """AUC-ROC of every run, one row of points for each detector."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = ordered(runs)[::-1]
    scenes = list(dict.fromkeys(run["scene"] for run in runs if run["detector"] == "RX"))
    colours = [pyplot.get_cmap("tab20")(index) for index in range(20)]
    canvas, axes = pyplot.subplots(figsize=(9, 0.42 * len(names) + 1.4))
    for row, name in enumerate(names):
        of_name = [run for run in runs if run["detector"] == name]
        for run in of_name:
            axes.plot(1 - run["auc"] + 1e-4, row, "o", color=colours[scenes.index(run["scene"])], markersize=4, alpha=0.7)
        axes.plot(1 - np.mean([run["auc"] for run in of_name]) + 1e-4, row, "k|", markersize=18, markeredgewidth=2)
    axes.set_xscale("log")
    axes.invert_xaxis()
    ticks = [0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001]
    axes.set_xticks(ticks, [f"{1 - tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("AUC-ROC (log scale of what is missing to 1); bar: mean")
    handles = [pyplot.Line2D([], [], marker="o", linestyle="", color=colours[i], label=scene) for i, scene in enumerate(scenes)]
    axes.legend(handles=handles, fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    axes.grid(axis="x", alpha=0.3)
    canvas.savefig(path, dpi=130, bbox_inches="tight")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, nargs="+", help="folders of .mat scenes with ground truth maps")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--paper-epochs", type=int, default=100, help="epochs of the paper mode; published: 100")
    parser.add_argument("--only", nargs="*", choices=DETECTORS, default=DETECTORS, help="these detectors; none: tables of what is there")
    parser.add_argument("--again", action="store_true", help="repeat runs that are there already")
    parser.add_argument("--time", action="store_true", help="measure the seconds again")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        time_in_turn(options) if options.worker == "times" else worker(options.worker, options)
        return
    options.out.mkdir(parents=True, exist_ok=True)
    times = options.out / "times.json"
    for name in [*options.only, *(["times"] if options.time or not times.exists() else [])]:
        subprocess.run([sys.executable, *sys.argv, "--worker", name], check=True)
    runs = read_runs(options.out / "detectors.jsonl")
    if not any(run["detector"] == "RX" for run in runs):
        print("The tables compare with RX: run it too, with --only RX.")
        return
    text = tables(runs, json.loads(times.read_text()))
    (options.out / "detectors.md").write_text(text, encoding="utf-8")
    figure(runs, options.out / "detectors.png")
    print(text)


if __name__ == "__main__":
    main()

"""Runs a workflow in processes of its own and kills them, each at another moment of its work. A script for test_killed.py: it must not have
QGIS' threads.

python killed.py FOLDER TASK, with the scene s.tif, the mask k.tif, the model m.pt and the map a.tif in FOLDER. Prints a line for each
moment.
"""

import importlib
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

MOMENTS = 20
_OURS = ("scoread_qgis.", "torch.", "scipy.")
_FILE_EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.scandir", "tempfile.mkdtemp", "shutil.rmtree")


def work(task, folder, run):
    from scoread_qgis.workflows.detect import Detection, detect
    from scoread_qgis.workflows.extract import Extraction, extract
    from scoread_qgis.workflows.sources import MaskSource, RasterSource
    from scoread_qgis.workflows.train import Training, train

    scene, mask = RasterSource(f"{folder}/s.tif"), MaskSource.of_file(f"{folder}/k.tif")
    if task == "train":
        train(Training("sgm", [scene], f"{folder}/out/result.pt", mask=mask, settings={"samples": 200}), run)
    elif task == "detect":
        detect(Detection(scene, f"{folder}/out/result.tif", f"{folder}/m.pt", mask=mask), run)
    elif task == "extract":
        extract(Extraction(RasterSource(f"{folder}/a.tif"), f"{folder}/out/result.gpkg", f"{folder}/out/mask.tif", "percentile"), run)
    else:
        detect(Detection(scene, f"{folder}/out/next.tif", kind="rx"), run)


def child(task, folder, kill_at, log=None):
    """Fork; the process works, and kills itself at the event of that number.

    Returns whether it came to its end; the events go to the file `log`.
    """
    process = os.fork()
    if process:
        return os.waitpid(process, 0)[1] == 0
    try:
        import torch

        from scoread_qgis.core.progress import Progress
        from scoread_qgis.workflows.run import Run

        torch.set_num_threads(1)
        events, place = [], os.path.realpath(folder)

        def tick(event):
            events.append(event)
            if len(events) == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

        def watch(event, arguments):
            if event in _FILE_EVENTS and str(arguments[0] if arguments else "").startswith(place):
                tick(event)

        sys.addaudithook(watch)
        work(task, folder, Run(2**28, Progress(lambda fraction, message: tick("progress")), lambda line: None, scratch=f"{folder}/tmp"))
        seen = list(events)
        if log:
            Path(log).write_text("\n".join(seen), encoding="ascii")
            Path(f"{log}.modules").write_text("\n".join(name for name in sys.modules if name.startswith(_OURS)), encoding="ascii")
    except BaseException as error:
        print("failed:", repr(error), flush=True)
        os._exit(1)
    os._exit(0)


def content(path):
    """What is in a result, for comparison; raises where it is not whole."""
    from osgeo import gdal

    from scoread_qgis.detectors.model_file import Model

    if path.suffix == ".pt":
        return Model.load(path).loss_curve
    dataset = gdal.OpenEx(str(path))
    if path.suffix == ".gpkg":
        return [feature.ExportToJson() for feature in dataset.GetLayer()]
    return [dataset.GetRasterBand(1).Checksum(), dataset.GetRasterBand(1).GetMetadata()]


def main(folder, task):
    out = Path(folder, "out")
    result = out / {"train": "result.pt", "detect": "result.tif", "extract": "result.gpkg"}[task]
    assert child(task, folder, 0, f"{folder}/events.txt")
    events = Path(folder, "events.txt").read_text(encoding="ascii").split()
    for name in Path(folder, "events.txt.modules").read_text(encoding="ascii").split():
        with suppress(ImportError):  # so that the processes have them from the start
            importlib.import_module(name)
    whole = content(result)
    moments = {1 + i * (len(events) - 1) // (MOMENTS - 1) for i in range(MOMENTS)}
    moments |= {number for number, event in enumerate(events, start=1) if event == "os.rename"}  # when results get their names
    litter, states = 0, {"old": 0, "absent": 0, "whole": 0}
    for number, moment in enumerate(sorted(moments)):
        for path in out.iterdir():
            if not path.name.startswith("."):
                path.unlink()
        sidecar = Path(f"{result}.aux.xml")
        if number % 2:
            result.write_text("what was there before")
            sidecar.write_text("of what was there before", encoding="utf-8")
        assert not child(task, folder, moment), f"the process should have been killed at event {moment} of {len(events)}"
        litter += len([path for path in out.iterdir() if ".part" in path.name]) + len(os.listdir(f"{folder}/tmp"))
        if not result.exists():
            assert number % 2 == 0, f"what was there before is gone after a kill at event {moment}"
            states["absent"] += 1
        elif result.stat().st_size == 21:
            assert result.read_text(encoding="utf-8") == "what was there before"
            states["old"] += 1
        else:
            assert content(result) == whole, f"not whole after a kill at event {moment}"
            assert not sidecar.exists()
            states["whole"] += 1
    for path in out.iterdir():
        if not path.name.startswith("."):
            path.unlink()
    assert child("rx", folder, 0)
    print(f"events {len(events)} moments {len(moments)} litter {litter} states {states}")
    print(f"left {sorted(path.name for path in out.iterdir())} {os.listdir(f'{folder}/tmp')}")


if __name__ == "__main__":
    sys.path[:0] = os.environ["PLACES"].split(os.pathsep)
    main(*sys.argv[1:])

"""Detection on a Dask cluster: PYTHONPATH=. python benchmarks/cluster.py <folder> (as root; needs dask.distributed and iproute2)

Makes synthetic int16 scenes and a model in the folder. Then 1 and 2 workers, with one thread each, make their maps: all processes in one
network namespace (one machine), and scheduler, client and each worker in namespaces of their own, joined by a bridge. Each scene is one
task in one run, and split into row blocks in the other. Reports pixels a second, what the scheduler spends on a task, and bytes a pixel
over each network interface and from and to the storage, for Markdown.

Bytes on the network are those that the interfaces count, protocols included. Bytes of the storage are what the workers read and wrote
(rchar and wchar of /proc/<pid>/io). Workers are warm: they have loaded torch and made one small map before.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

from large_scene import make_scene

BRIDGE, PREFIX = "scoread0", "scoread"
TRIVIAL_TASKS = 500
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).resolve().parents[1])}


def sh(*command):
    return subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE, text=True).stdout


@contextmanager
def namespaces(names):
    """Network namespaces, name -> address; several ones are joined by a bridge, and a single one has loopback alone."""
    addresses = {}
    try:
        if len(names) > 1:
            sh("ip", "link", "add", BRIDGE, "type", "bridge")
            sh("ip", "link", "set", BRIDGE, "up")
        for number, name in enumerate(names, start=1):
            space = PREFIX + name
            sh("ip", "netns", "add", space)
            addresses[name] = "127.0.0.1"
            sh("ip", "-n", space, "link", "set", "lo", "up")
            if len(names) > 1:
                outer = f"{space}v"
                sh("ip", "link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", space)
                sh("ip", "link", "set", outer, "master", BRIDGE, "up")
                addresses[name] = f"10.77.0.{number}"
                sh("ip", "-n", space, "address", "add", f"{addresses[name]}/24", "dev", "eth0")
                sh("ip", "-n", space, "link", "set", "eth0", "up")
        yield addresses
    finally:
        for name in names:  # a namespace goes some time after it is deleted, and its link with it, whose name may be needed before
            subprocess.run(["ip", "link", "del", f"{PREFIX + name}v"], check=False, stderr=subprocess.DEVNULL)
            subprocess.run(["ip", "netns", "del", PREFIX + name], check=False, stderr=subprocess.DEVNULL)
        if len(names) > 1:
            subprocess.run(["ip", "link", "del", BRIDGE], check=False)


def counted(name, interface):
    """Bytes that an interface of a namespace has sent and received; on loopback they are the same ones."""
    folder = f"/sys/class/net/{interface}/statistics"
    files = [f"{folder}/rx_bytes"] + ([f"{folder}/tx_bytes"] if interface != "lo" else [])
    return sum(int(value) for value in sh("ip", "netns", "exec", PREFIX + name, "cat", *files).split())


def stored(process):
    """Bytes that a process has read and written."""
    fields = dict(line.split(": ") for line in Path(f"/proc/{process.pid}/io").read_text().splitlines())
    return int(fields["rchar"]), int(fields["wchar"])


def cpu_seconds(process):
    fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def process(name, *arguments, **options):
    started = subprocess.Popen(
        ["ip", "netns", "exec", PREFIX + name, sys.executable, *map(str, arguments)], env=ENVIRONMENT, text=True, **options
    )
    try:
        yield started
    finally:
        started.terminate()
        started.wait()


def measure(workers, apart, folder, scenes, model):
    """Rows of figures: for a task a scene, and for blocks."""
    own = [f"w{number}" for number in range(workers)]
    names = ["s", "c", *own] if apart else ["s"]
    of = {name: name if apart else "s" for name in ["s", "c", *own]}
    interface = "eth0" if apart else "lo"
    with ExitStack() as stack:
        addresses = stack.enter_context(namespaces(names))
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        scheduler = stack.enter_context(
            process("s", "-m", "dask", "scheduler", "--host", addresses["s"], "--port", 8786, "--no-dashboard", **quiet)
        )
        address = f"tcp://{addresses['s']}:8786"
        pool = [
            stack.enter_context(
                process(of[name], "-m", "dask", "worker", address, "--host", addresses[of[name]], "--nthreads", 1, "--no-nanny",
                        "--no-dashboard", "--local-directory", folder / "dask", **quiet)
            )
            for name in own
        ]  # fmt: skip
        client = stack.enter_context(
            process(of["c"], __file__, folder, "--client", address, "--workers", workers, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        )

        def ask(**request):
            client.stdin.write(json.dumps(request) + "\n")
            client.stdin.flush()
            return json.loads(client.stdout.readline())

        warm = [str(folder / f"warm{number}.tif") for number in range(2 * workers)]
        for path in warm:
            if not os.path.exists(path):
                make_scene(Path(path), 64, 256, 200)
        ask(scenes=warm, model=model, memory=2**30)
        trivial = ask(trivial=TRIVIAL_TASKS)
        rows = []
        for label, memory in (("scene", 2**30), ("block", 2**24)):
            before = [stored(one) for one in pool], {name: counted(of[name], interface) for name in of}, cpu_seconds(scheduler)
            result = ask(scenes=scenes, model=model, memory=memory)
            storage = [sum(now[i] - then[i] for now, then in zip([stored(one) for one in pool], before[0])) for i in (0, 1)]
            network = {name: counted(of[name], interface) - before[1][name] for name in of}
            rows.append(
                {
                    **result,
                    "task": label,
                    "read": storage[0],
                    "written": storage[1],
                    "workers_net": sum(network[name] for name in own) if apart else network["s"],
                    "client_net": network["c"] if apart else None,
                    "scheduler": cpu_seconds(scheduler) - before[2],
                    "trivial": trivial["seconds"] / TRIVIAL_TASKS,
                }
            )
        client.stdin.close()
        client.wait()
    return rows


def serve(address, folder, workers):
    """The client: reads requests from its input and prints what it took."""
    from distributed import Client

    from scoread_qgis.cluster.detection import detect_on_cluster
    from scoread_qgis.cluster.engine import Engine
    from scoread_qgis.workflows.detect import Detection
    from scoread_qgis.workflows.sources import RasterSource

    def trivial():
        yield [(os.getpid, ())]

    with Client(address) as client:
        client.wait_for_workers(workers, timeout=120)
        for line in sys.stdin:
            request, start, tasks = json.loads(line), time.perf_counter(), 0
            if "trivial" in request:
                list(Engine(client).run((number, trivial()) for number in range(request["trivial"])))
            else:
                output = folder / "maps"
                detections = [
                    Detection(RasterSource(path, path), str(output / Path(path).name), request["model"]) for path in request["scenes"]
                ]

                def count(done):
                    nonlocal tasks
                    tasks = done

                failed = [outcome.error for outcome in detect_on_cluster(client, detections, request["memory"], count) if outcome.error]
                assert not failed, failed
                tasks = max(tasks + 1, len(detections))
            print(json.dumps({"seconds": time.perf_counter() - start, "tasks": tasks}), flush=True)
            shutil.rmtree(folder / "maps", ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scenes", type=int, default=4)
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--columns", type=int, default=400)
    parser.add_argument("--bands", type=int, default=200)
    parser.add_argument("--client", help=argparse.SUPPRESS)
    parser.add_argument("--workers", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        serve(options.client, options.folder, options.workers)
        return
    options.folder.mkdir(parents=True, exist_ok=True)
    scenes = [
        str(options.folder / f"scene{number}_{options.rows}_{options.columns}_{options.bands}.tif") for number in range(options.scenes)
    ]
    for path in scenes:
        if not os.path.exists(path):
            make_scene(Path(path), options.rows, options.columns, options.bands)
    model = str(options.folder / "model.pt")
    subprocess.run(
        [sys.executable, "-m", "scoread_qgis", "train", scenes[0], "--model", model],
        env=ENVIRONMENT,
        check=True,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    pixels = options.scenes * options.rows * options.columns
    print(
        f"{options.scenes} scenes of {options.rows} × {options.columns} × {options.bands}, int16. Load before: {os.getloadavg()[0]:.1f} on "
        f"{os.cpu_count()} cores.\n"
    )
    print(
        "| machines | workers | a task is a | tasks | s | pixels/s | scheduler CPU, ms a task | round trip of an empty task, ms | network "
        "of the workers, bytes a pixel | of the client | storage read, bytes a pixel | written |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|---|")
    for apart in (False, True):
        for workers in (1, 2):
            for r in measure(workers, apart, options.folder, scenes, model):
                client = "in the former" if r["client_net"] is None else f"{r['client_net'] / pixels:.3f}"
                print(
                    f"| {'namespaces' if apart else 'one'} | {workers} | {r['task']} | {r['tasks']} | {r['seconds']:.1f} | "
                    f"{pixels / r['seconds']:.0f} | {1000 * r['scheduler'] / r['tasks']:.1f} | {1000 * r['trivial']:.1f} | "
                    f"{r['workers_net'] / pixels:.3f} | {client} | {r['read'] / pixels:.1f} | {r['written'] / pixels:.2f} |",
                    flush=True,
                )  # fmt: skip


if __name__ == "__main__":
    main()

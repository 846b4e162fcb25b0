"""Connecting to a Dask cluster: one that is running, or processes on this machine. Dask is only imported on demand."""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..core.files import check_place, store_of, temporary_name
from ..scenes.object_stores import use_object_stores
from ..workflows.memory import free_memory
from ..workflows.run import plugin_version

if TYPE_CHECKING:
    from distributed import Client

_SECONDS_TO_CONNECT = 30


class NoCluster(ValueError):
    """There is no cluster that can do the work."""


@contextmanager
def connect(scheduler: str | None = None, local_workers: int | None = None) -> Iterator[Client]:
    """`distributed.Client` of the scheduler at an address such as tcp://host:8786, or of as many worker processes on this machine.

    Raises NoCluster, with the remedy, where dask.distributed is missing, nothing answers, or the workers have another version of this
    package.
    """
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise NoCluster(
            "--scheduler and --local-cluster need dask.distributed, which this Python does not have. Install it: python -m pip install "
            "distributed"
        ) from error
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("distributed"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # what goes wrong is said once, in the summary
    if scheduler is None:
        with (
            LocalCluster(
                n_workers=local_workers, threads_per_worker=1, processes=True, dashboard_address=":0", silence_logs=logging.CRITICAL
            ) as cluster,
            Client(cluster) as client,
        ):
            yield client
        return
    try:
        client = Client(scheduler, timeout=_SECONDS_TO_CONNECT, set_as_default=False)
    except (OSError, ValueError) as error:
        raise NoCluster(
            f"The scheduler {scheduler} does not answer ({error}). Start one with `dask scheduler`, and give the address that it prints."
        ) from error
    with client:
        _check_workers(client)
        yield client


def _check_workers(client: Client) -> None:
    from distributed import TimeoutError as DaskTimeoutError

    try:
        client.wait_for_workers(1, timeout=_SECONDS_TO_CONNECT)
    except (DaskTimeoutError, TimeoutError) as error:
        raise NoCluster(
            f"The scheduler {client.scheduler.address} has no workers. Start some with `dask worker {client.scheduler.address}`."
        ) from error

    def version() -> str:  # sent by value: a worker that lacks the package has to be able to say so
        try:
            return importlib.import_module("scoread_qgis.workflows.run").plugin_version()
        except ImportError as error:
            return str(error)

    for address, found in client.run(version).items():
        if found != plugin_version():
            raise NoCluster(
                f"The worker {address} does not have version {plugin_version()} of scoread_qgis ({found}). Start workers with PYTHONPATH "
                "set to the folder that holds it."
            )


def check_shared(client: Client, folder: str) -> None:
    """Raise NoCluster where a worker does not see the files of this machine's `folder`, or cannot write to a store."""
    if store_of(folder):
        for address, reason in client.run(_why_unwritable, folder).items():
            if reason:
                raise NoCluster(f"The worker {address} cannot write: {reason}")
        return
    os.makedirs(folder, exist_ok=True)
    probe = temporary_name(os.path.join(folder, "probe"))
    try:
        with open(probe, "w", encoding="ascii"):
            pass
        blind = [address for address, seen in client.run(os.path.exists, probe).items() if not seen]
    finally:
        if os.path.exists(probe):
            os.remove(probe)
    if blind:
        raise NoCluster(
            f"The workers {', '.join(blind)} do not see {os.path.abspath(folder)}. Scenes and results have to lie in storage that all "
            "machines share, under the same path."
        )


def _why_unwritable(folder: str) -> str:
    use_object_stores()
    try:
        check_place(f"{folder}/map", "map")
    except ValueError as error:
        return str(error)
    return ""


def task_memory(client: Client) -> int:
    """Bytes that reading and detecting may take in a task: a quarter of what the smallest worker has for each of its threads."""
    return min(client.run(_worker_memory).values())


def _worker_memory(dask_worker: Any) -> int:
    limit = dask_worker.memory_manager.memory_limit or free_memory()
    return int(limit) // (4 * dask_worker.state.nthreads)

"""Work in steps, each a list of tasks that run in parallel on a Dask cluster, for many scenes at a time."""

from __future__ import annotations

import queue
import time
import uuid
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distributed import Client

Task = tuple[Callable[..., Any], tuple[Any, ...]]
Plan = Generator[list[Task], list[Any], Any]
_SECONDS_WITHOUT_WORKERS = 60
_POLL_SECONDS = 0.5


class ClusterLost(Exception):
    """The cluster is gone."""


class WorkerDied(ValueError):
    """The workers that had a task died, one after the other."""


@dataclass
class _Step:
    """The tasks that a plan waits for."""

    name: Any
    plan: Plan
    tasks: list[Task]
    results: list[Any] = field(default_factory=list)
    missing: int = 0


class Engine:
    """Runs plans on a cluster.

    A plan is a generator that yields lists of tasks, (function, arguments), and is sent the list of their results; what it returns is its
    result. A task that fails raises its error in the plan. Plans are started one after the other as threads of workers become free, and no
    more tasks are handed out than there are threads: a task that kills its worker then takes no waiting one with it, and the scheduler has
    little to remember however long the list is.
    tick(tasks done): called at least every half a second.
    """

    def __init__(self, client: Client, tick: Callable[[int], object] = lambda done: None) -> None:
        self._client, self._tick = client, tick
        self._threads, self._asked, self._seen = 0, 0.0, time.monotonic()
        self.tasks_done = 0

    def run(self, plans: Iterable[tuple[Any, Plan]]) -> Iterator[tuple[Any, Any, Exception | None]]:
        """Yield (name, result, error) of each of the `plans`, pairs of name and generator, in the order in which they end.

        error is None, or what the plan raised. Raises ClusterLost where no cluster is left to go on. Closed early, it cancels the
        running tasks.
        """
        plans = iter(plans)
        ready: deque[tuple[_Step, int]] = deque()
        flying: dict[Any, tuple[Any, _Step, int]] = {}
        done: queue.SimpleQueue[Any] = queue.SimpleQueue()
        steps: dict[int, _Step] = {}  # id of plan -> its step
        try:
            while True:
                capacity = self._capacity()
                while len(flying) < capacity:
                    if not ready:
                        name, plan = next(plans, (None, None))
                        if plan is None:
                            break
                        yield from self._advance(_Step(name, plan, []), None, None, steps, ready)
                        continue
                    step, index = ready.popleft()
                    function, arguments = step.tasks[index]
                    future = self._client.submit(function, *arguments, key=f"{function.__name__}-{uuid.uuid4().hex}", pure=False)
                    flying[future.key] = future, step, index
                    future.add_done_callback(done.put)
                if not flying and not ready and capacity:
                    return
                self._tick(self.tasks_done)
                try:
                    key = done.get(timeout=_POLL_SECONDS).key
                except queue.Empty:
                    continue
                if key not in flying:
                    continue  # of a plan that has failed
                future, step, index = flying.pop(key)
                if future.status in ("cancelled", "lost"):
                    raise self._lost()
                error = _error(future)
                if error is None:
                    self.tasks_done += 1
                    step.results[index] = self._result(future)
                    step.missing -= 1
                    if step.missing:
                        continue
                else:
                    others = [key for key, (_, other, _) in flying.items() if other is step]
                    if others:
                        self._client.cancel([flying.pop(key)[0] for key in others])
                    ready = deque(item for item in ready if item[0] is not step)
                yield from self._advance(step, step.results, error, steps, ready)
        finally:
            if flying and self._client.status == "running":
                with suppress(OSError, TimeoutError, CancelledError):
                    self._client.cancel([future for future, _, _ in flying.values()])
            for step in steps.values():
                step.plan.close()

    def _advance(
        self, step: _Step, results: Any, error: BaseException | None, steps: dict[int, _Step], ready: deque[tuple[_Step, int]]
    ) -> Iterator[tuple[Any, Any, Exception | None]]:
        """Continue a plan: queue its next tasks, or yield its end."""
        try:
            steps[id(step.plan)] = step
            tasks = step.plan.throw(error) if error is not None else step.plan.send(results)
        except StopIteration as end:
            del steps[id(step.plan)]
            yield step.name, end.value, None
        except Exception as failure:
            del steps[id(step.plan)]
            yield step.name, None, failure
        else:
            steps[id(step.plan)] = following = _Step(step.name, step.plan, tasks, [None] * len(tasks), len(tasks))
            ready.extend((following, index) for index in range(len(tasks)))

    def _capacity(self) -> int:
        """Threads of all workers."""
        if self._client.status != "running":
            raise self._lost()
        now = time.monotonic()
        if now - self._asked > 2 * _POLL_SECONDS or not self._threads:
            try:
                self._threads, self._asked = sum(self._client.nthreads().values()), now
            except (OSError, TimeoutError) as error:
                raise self._lost() from error
        if self._threads:
            self._seen = now
        elif now - self._seen > _SECONDS_WITHOUT_WORKERS:
            raise ClusterLost(f"there has been no worker for {_SECONDS_WITHOUT_WORKERS} seconds")
        return self._threads

    def _result(self, future: Any) -> Any:
        try:
            return future.result()
        except (OSError, CancelledError) as error:
            raise self._lost() from error

    def _lost(self) -> ClusterLost:
        return ClusterLost(f"the scheduler {self._client.scheduler.address} is gone, or was restarted")


def _error(future: Any) -> Exception | None:
    """What a finished future raised, or None."""
    from distributed.scheduler import KilledWorker

    error = future.exception() if future.status == "error" else None
    if isinstance(error, KilledWorker):
        return WorkerDied(
            f"every worker that worked on it died, the last one at {error.last_worker.address}. Most likely it needs more memory than they "
            "have: use a smaller --memory, or larger workers."
        )
    return error

"""Training over an archive: the cluster surveys the scenes and gathers the sample of pixels, from which one machine then trains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.cube import merge_samples
from ..scenes.raster import RasterCube
from ..workflows.sources import good_cubes
from . import tasks
from .engine import Engine, Plan

if TYPE_CHECKING:
    from distributed import Client

    from ..core.progress import Progress
    from ..workflows.run import Run
    from ..workflows.sources import MaskSource, RasterSource
    from .tasks import Span

    _Scene = tuple[RasterSource, Sequence[int], MaskSource | None, Sequence[Span]]


class ClusterCubes:
    """Stands in for `workflows.sources.good_cubes`: cubes whose bands are surveyed and whose pixels are sampled by the workers.

    client: `distributed.Client`. memory: bytes that a task may take. The model is that of training on one machine.
    """

    def __init__(self, client: Client, memory: int) -> None:
        self._client, self._memory = client, memory

    def __call__(
        self, sources: Sequence[RasterSource], bands: Sequence[int], mask: MaskSource | None, run: Run
    ) -> tuple[list[RasterCube], dict[str, Any]]:
        spans = [tasks.spans_of(source.open(), self._memory) for source in sources]

        def survey(source: RasterSource, its_spans: Sequence[Span]) -> Plan:
            surveys = yield [(tasks.survey_rows, (source, bands, span, self._memory)) for span in its_spans]
            for other in surveys[1:]:
                surveys[0].merge(other)
            return surveys[0]

        surveys = self._run([survey(*pair) for pair in zip(sources, spans)], run.progress.part(0, 0.9), "looking for good bands", sources)
        cubes, numbers = good_cubes(sources, bands, mask, run.part(0.9, 1), surveys)
        gathering = _Gathering(
            lambda plans, progress: self._run(plans, progress, "sampling", sources),
            [
                (source, cube.numbers, mask if index == 0 else None, its)
                for index, (source, cube, its) in enumerate(zip(sources, cubes, spans))
            ],
            self._memory,
        )
        return [_SampledCube(cube, gathering, index) for index, cube in enumerate(cubes)], numbers

    def _run(self, plans: Sequence[Plan], progress: Progress, what: str, sources: Sequence[RasterSource]) -> list[Any]:
        """Results of one plan for each of the sources. Raises what the first that fails raises."""
        results, ended = [None] * len(plans), 0

        def tick(done: int) -> None:
            progress(ended / len(plans), f"{what}, {ended} of {len(plans)} scenes done")

        for index, result, error in Engine(self._client, tick).run(enumerate(plans)):
            if error is not None:
                raise ValueError(f"{sources[index].name}: {error}") from error
            results[index] = result
            ended += 1
        return results


class _Gathering:
    """The samples of all scenes, drawn together when the first one is asked for."""

    def __init__(self, run: Callable[..., list[Any]], scenes: Sequence[_Scene], memory: int) -> None:
        self._run, self._scenes, self._memory = run, scenes, memory
        self._samples: dict[tuple[int, int, int, bool], list[Any]] = {}

    def sample(
        self, index: int, count: int, seed: int, gather: Callable[..., Any], halo: int, progress: Progress | None, surveyed: bool
    ) -> Any:
        wanted = (count, seed, halo, surveyed)
        if wanted not in self._samples:
            plans = [self._plan(*scene, count, seed, gather, halo, surveyed) for scene in self._scenes]
            self._samples = {wanted: self._run(plans, progress)}
        return self._samples[wanted][index]

    def _plan(
        self,
        source: RasterSource,
        numbers: Sequence[int],
        mask: MaskSource | None,
        spans: Sequence[Span],
        count: int,
        seed: int,
        gather: Callable[..., Any],
        halo: int,
        surveyed: bool,
    ) -> Plan:
        def draw(span: Span, most: int) -> tuple[Callable[..., Any], tuple[Any, ...]]:
            return tasks.sample_rows, (source, numbers, mask, span, most, seed, gather, halo, surveyed, self._memory)

        # A block is asked for somewhat more than its share. Where that was not enough to be sure, it is asked again, for all.
        shares = [count * (last - first) / spans[-1][1] for first, last in spans]
        most = [min(count, int(share + 4 * share**0.5 + 20)) if len(spans) > 1 else count for share in shares]
        samples = yield [draw(*pair) for pair in zip(spans, most)]
        if surveyed and sum(len(sample[0]) for sample in samples) < count:  # as `Cube.sample` does
            return (yield from self._plan(source, numbers, mask, spans, count, seed, gather, halo, False))
        keys = np.sort(np.concatenate([sample[0] for sample in samples]))
        limit = keys[count - 1] if len(keys) >= count else np.inf
        short = [i for i, (sample, n) in enumerate(zip(samples, most)) if n < count and len(sample[0]) == n and sample[0][-1] < limit]
        if short:
            again = yield [draw(spans[i], count) for i in short]
            for i, sample in zip(short, again):
                samples[i] = sample
        return merge_samples(samples, count)


class _SampledCube(RasterCube):
    """A `RasterCube` whose sample comes from the cluster; all else it reads itself."""

    def __init__(self, cube: RasterCube, gathering: _Gathering, index: int) -> None:
        vars(self).update(vars(cube))
        self._gathering, self._index = gathering, index

    def sample(
        self,
        count: int,
        seed: int,
        gather: Callable[..., Any],
        halo: int = 0,
        progress: Progress | None = None,
        message: str = "sampling",
        surveyed: bool = False,
    ) -> Any:
        return self._gathering.sample(self._index, count, seed, gather, halo, progress, surveyed)

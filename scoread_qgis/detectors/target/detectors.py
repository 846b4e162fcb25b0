"""The matched filter and ACE: how much a spectrum is like targets that are known, seen against the background.

With the mean and the covariance of the background, spectra are whitened: the background then has mean 0 and unit variance in all
directions, and targets are directions in that space, or span a subspace where there are several.

D. Manolakis and G. Shaw, "Detection algorithms for hyperspectral imaging applications", IEEE Signal Processing Magazine 19, 2002 (the
matched filter, and its forms for subspaces). S. Kraut, L. L. Scharf and L. T. McWhorter, "Adaptive subspace detectors", IEEE Transactions
on Signal Processing 49, 2001 (ACE).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from ...core.cube import Block, Cube
from ...core.progress import Progress
from ..contract import Detector, Scorer, Tell, scattered, valid_spectra
from ..shared.checks import State, check_keys, tensor
from ..shared.explanation import Explanation, path_contributions
from ..shared.local_products import FEWEST_ROWS, local_products
from ..shared.local_windows import LocalWindows
from .background import Background
from .own_pixels import OwnPixels

BACKGROUNDS = ("global", "trimmed", "local")
SAME = 1e-10  # of the largest: smaller eigenvalues of the products of the targets are those of targets that are combinations of others
FARTHEST = 1e-6  # squared Mahalanobis distance of a target from the mean of the background, below which it is that mean


class TargetDetector(Detector):
    """A detector that is told its targets, instead of learning: what it keeps in a model file is what it was told.

    targets: (targets, bands) spectra in the units of the scene. names: of each, for reports and errors. own: `OwnPixels` that they were
    taken from, which do not count as background. background: one of `BACKGROUNDS`, see `Background`. inner_window, outer_window,
    shrinkage: of the local one, see `LocalWindows`.

    Several targets are one subspace: what matters is how well a mixture of them explains the spectrum.
    """

    score_name = "Target score"
    gathered = Background
    binding_share = 0.5
    relative = False  # whether the energy of the whole spectrum counts too
    what = ""

    def __init__(
        self,
        targets: np.ndarray | torch.Tensor,
        names: Sequence[str] = (),
        own: OwnPixels | None = None,
        background: str = "global",
        inner_window: int = 5,
        outer_window: int = 15,
        shrinkage: float | None = None,
    ) -> None:
        self.targets = torch.as_tensor(targets, dtype=torch.float64)
        if self.targets.dim() != 2 or 0 in self.targets.shape or not torch.isfinite(self.targets).all():
            raise ValueError("targets have to be (targets, bands) finite numbers")
        self.names = list(names) or [str(number) for number in range(1, len(self.targets) + 1)]
        if len(self.names) != len(self.targets):
            raise ValueError(f"there are {len(self.names)} names for {len(self.targets)} targets")
        if background not in BACKGROUNDS:
            raise ValueError(f"the background has to be one of {', '.join(BACKGROUNDS)}; this is {background}")
        self.own, self.background = own or OwnPixels(), background
        self.windows = LocalWindows(inner_window, outer_window, shrinkage)
        self.bands = self.targets.shape[1]

    def gather(self, cube: Cube, progress: Progress | None = None) -> Background:
        """`Background` of a cube; of the local kind it is empty."""
        return Background.of(self.background, cube, self.own, progress)

    def bind(self, cube: Cube, gathered: Background | None = None, progress: Progress | None = None) -> Scorer:
        """Raises ValueError where the scene has other bands, too few valid pixels, or no background that the targets differ from."""
        if cube.bands != self.bands:
            raise ValueError(f"the targets have {self.bands} bands, and this scene {cube.bands}")
        if self.background == "local":
            self.windows.check(cube, f"{self.title} with a local background")
            self._check_directions(self.bands)
            return LocalTargetScorer(cube, self)
        mean, whitening = (gathered or self.gather(cube, progress)).whitening()
        return TargetScorer(cube, self, mean, whitening)

    def score(self, along: torch.Tensor, products: torch.Tensor, energy: torch.Tensor | None) -> torch.Tensor:
        """Scores (n,) of spectra in a whitened space.

        along: (n, targets) their products with the targets. products: (targets, targets) or (n, targets, targets), the inverse of those of
        the targets with each other. energy: (n,) those of the spectra with themselves, which only a `relative` detector needs.
        """
        amounts = (along.unsqueeze(1) @ products).squeeze(1)
        return self.rate(along, amounts, energy)

    @staticmethod
    def rate(along: torch.Tensor, amounts: torch.Tensor, energy: torch.Tensor | None) -> torch.Tensor:
        """Scores (n,). amounts: (n, targets) of the targets in the spectra, by least squares; the rest as for `score`."""
        raise NotImplementedError

    def state(self) -> State:
        windows = self.windows
        return {
            "targets": self.targets, "names": self.names, "own": self.own.state(), "background": self.background,
            "inner_window": windows.inner, "outer_window": windows.outer, "shrinkage": windows.shrinkage,
        }  # fmt: skip

    @classmethod
    def from_state(cls, state: State, device: torch.device | str = "cpu") -> TargetDetector:
        check_keys(state, "detector", "targets", "names", "own", "background", "inner_window", "outer_window", "shrinkage")
        targets, names = tensor(state, "targets", None, None, dtype=torch.float64), state["names"]
        if type(names) is not list or any(type(name) is not str for name in names):
            raise ValueError("its names of targets are not a list of texts")
        for name in ("inner_window", "outer_window"):
            if type(state[name]) is not int:
                raise ValueError(f"its {name} is not a whole number")
        if type(state["shrinkage"]) not in (float, int, type(None)):
            raise ValueError("its shrinkage is not a number")
        settings: dict[str, Any] = {name: state[name] for name in ("background", "inner_window", "outer_window", "shrinkage")}
        return cls(targets, names, OwnPixels.from_state(state["own"], targets.shape[1]), **settings)

    def _check_directions(self, directions: int) -> None:
        if len(self.targets) >= directions:
            raise ValueError(
                f"{len(self.targets)} targets span all {directions} directions in which the background varies, so that every spectrum "
                "is a mixture of them. Choose fewer targets, or more bands."
            )


class MatchedFilter(TargetDetector):
    """How much of the targets is in a pixel: 1 in a target itself, 0 in the mean of the background.

    The filter whose output over the background varies least, among those that give 1 for each target. Where there is one target it equals
    `spectral.matched_filter` in Spectral Python.
    """

    kind, title = "matched-filter", "Matched filter"
    what = "matched filter, the amount of target: 1 in a target itself, 0 in the mean of the background"

    @staticmethod
    def rate(along: torch.Tensor, amounts: torch.Tensor, energy: torch.Tensor | None) -> torch.Tensor:
        return amounts.sum(1)


class ACE(TargetDetector):
    """Adaptive coherence (or cosine) estimator: the share of the whitened spectrum that lies along the targets, -1 to 1.

    The squared cosine of the angle between the spectrum and the targets' subspace, as `spectral.ace` in Spectral Python has it. A spectrum
    with a negative amount of target, as no mixture has one, gets the negative value. It does not depend on how much target there is as long
    as the rest of the spectrum is like the background in proportion, so that bright pixels do not score high because they are bright.
    """

    kind, title = "ace", "ACE"
    relative = True
    what = "ACE, the squared cosine of the angle to the targets in the whitened space: 1 along the targets, negative away from them"

    @staticmethod
    def rate(along: torch.Tensor, amounts: torch.Tensor, energy: torch.Tensor | None) -> torch.Tensor:
        share = (along * amounts).sum(1) / energy.clamp(min=1e-300)  # type: ignore[union-attr]  # this one is relative
        return amounts.sum(1).sign() * share.clamp(0, 1)


class TargetScorer(Scorer):
    """A detector of targets with one background for the whole scene.

    mean: (bands,), whitening: (bands, directions), float64: see `Background.whitening`.
    """

    def __init__(self, cube: Cube, detector: TargetDetector, mean: torch.Tensor, whitening: torch.Tensor) -> None:
        super().__init__(cube)
        self.detector, self.mean, self.whitening = detector, mean, whitening
        self.phase = detector.title
        targets = (detector.targets - mean) @ whitening
        for name, distance in zip(detector.names, targets.square().sum(1).tolist()):
            if distance < FARTHEST:
                raise ValueError(f"the target {name} is the mean of the background, from which it cannot be told apart. Choose another.")
        detector._check_directions(whitening.shape[1])
        self.projection = whitening @ targets.T
        self.inverse = _inverse(targets @ targets.T)

    def values(self, block: Block, tell: Tell) -> np.ndarray:
        return scattered(self._scores(valid_spectra(block)), block.valid[block.inner])

    def _scores(self, spectra: torch.Tensor) -> torch.Tensor:
        spectra = spectra.double()
        along, energy = spectra @ self.projection - self.mean @ self.projection, None
        if self.detector.relative:
            whitened = (spectra - self.mean) @ self.whitening
            energy = torch.einsum("ij,ij->i", whitened, whitened)
        return self.detector.rate(along, along @ self.inverse, energy)

    def explain(self, spectra: np.ndarray, positions: np.ndarray, backgrounds: np.ndarray, progress: Progress | None = None) -> Explanation:
        """The shares of the bands are integrated gradients from the expected background to the spectrum."""
        return _explained(self._scores, spectra, backgrounds, self.detector.what, progress)


class LocalTargetScorer(Scorer):
    """A detector of targets with the background around each pixel.

    Pixels with too few valid ones around them, or with identical ones, are not scored.
    """

    fewest_rows = FEWEST_ROWS

    def __init__(self, cube: Cube, detector: TargetDetector) -> None:
        super().__init__(cube)
        self.detector, self.windows = detector, detector.windows
        self.phase = f"{detector.title}, local"
        self.context = self.windows.context

    def values(self, block: Block, tell: Tell) -> np.ndarray:
        counts = self.detector.own.without(block)
        products = local_products(self.cube, block, self.windows, counts, self.detector.targets, tell).flatten(0, 1)
        scores = self.detector.score(products[:, 0, 1:], _inverse(products[:, 1:, 1:]), products[:, 0, 0])
        return scores.float().view(block.rows, block.columns).numpy()

    def explain(self, spectra: np.ndarray, positions: np.ndarray, backgrounds: np.ndarray, progress: Progress | None = None) -> Explanation:
        """The shares of the bands are integrated gradients from the expected background to the spectrum."""
        places = np.clip(np.round(positions).astype(int), 0, [self.cube.rows - 1, self.cube.columns - 1])
        parts = []
        for number, (row, column) in enumerate(places):
            block = self.cube.window(row, column, halo=self.context)
            counts = torch.from_numpy(self.detector.own.without(block))
            background, used = self.windows.spectra(self.cube, block, counts, np.array([row]), np.array([column]))
            score = self._score_at(*self.windows.statistics(background[0][used[0]]))
            each = slice(number, number + 1)
            parts.append(_explained(score, spectra[each], backgrounds[each], self.detector.what, progress))
        scores, background_scores, contributions = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("scores", "background_scores", "contributions")
        )
        return Explanation(scores, background_scores, contributions, f"{self.detector.what}; against the pixels between the windows")

    def _score_at(self, mean: torch.Tensor, covariance: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        """Function (n, bands) -> scores (n,), with this mean and covariance of the background."""
        precision = torch.linalg.pinv(covariance, hermitian=True)
        targets = self.detector.targets - mean
        projection = precision @ targets.T
        inverse = _inverse(targets @ projection)

        def score(spectra: torch.Tensor) -> torch.Tensor:
            centred = spectra - mean
            return self.detector.score(centred @ projection, inverse, ((centred @ precision) * centred).sum(1))

        return score


def _inverse(products: torch.Tensor) -> torch.Tensor:
    """Pseudo-inverse of symmetric matrices (..., targets, targets): targets may be alike. NaN where they are NaN."""
    known = torch.isfinite(products).all(-1, keepdim=True).all(-2, keepdim=True)
    return torch.where(known, torch.linalg.pinv(torch.where(known, products, 0.0), hermitian=True, rtol=SAME), torch.nan)


def _explained(
    score: Callable[[torch.Tensor], torch.Tensor], spectra: np.ndarray, backgrounds: np.ndarray, what: str, progress: Progress | None
) -> Explanation:
    start, end = torch.as_tensor(backgrounds).double(), torch.as_tensor(spectra).double()
    contributions, before, after = path_contributions(score, start, end, progress=progress)
    return Explanation(after.numpy(), before.numpy(), contributions.numpy(), what)

"""All detectors, by kind. A new one is a class and a line here; the class itself says what can be done with it (`contract.Detector`)."""

from __future__ import annotations

from .contract import Detector
from .default_mode.sgm import SGM
from .fers.detector import FERS
from .paper_mode.paper_sgm import PaperSGM
from .rx import GlobalRX, LocalRX
from .target import ACE, MatchedFilter

DETECTORS: dict[str, type[Detector]] = {
    SGM.kind: SGM,
    PaperSGM.kind: PaperSGM,
    FERS.kind: FERS,
    GlobalRX.kind: GlobalRX,
    LocalRX.kind: LocalRX,
    MatchedFilter.kind: MatchedFilter,
    ACE.kind: ACE,
}

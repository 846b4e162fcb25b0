"""RX, the detector that every analyst knows, global and local."""

from .global_rx import GlobalRX
from .local_rx import LocalRX

__all__ = ["GlobalRX", "LocalRX"]

"""FERS: train once on background scenes, detect anywhere without training."""

from .detector import FERS, READOUTS

__all__ = ["FERS", "READOUTS"]

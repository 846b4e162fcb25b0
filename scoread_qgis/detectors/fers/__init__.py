"""FERS: train once on background scenes, detect anywhere without training."""

from .detector import FERS, READOUTS
from .training import train

__all__ = ["FERS", "READOUTS", "train"]

"""Detectors of known targets: the matched filter and ACE, against the background of the scene or that around each pixel."""

from .detectors import ACE, MatchedFilter

__all__ = ["ACE", "MatchedFilter"]

"""Choice of the device that torch computes on."""

from __future__ import annotations

import torch


def pick_device(name: str = "auto") -> torch.device:
    """torch.device for "auto" (CUDA, else MPS, else CPU), "cpu", "cuda" or "mps".

    Raises ValueError, naming what is missing and the remedy, where the device asked for is not there or has no such name.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu")
    if name == "cpu":
        return torch.device("cpu")
    if name == "cuda":
        if torch.cuda.is_available():
            return torch.device("cuda")
        if torch.version.cuda is None and torch.version.hip is None:
            raise ValueError(
                f"device cuda: this PyTorch ({torch.__version__}) is built without CUDA. "
                "Install a CUDA build of PyTorch from https://pytorch.org, or choose the device auto or cpu."
            )
        raise ValueError(
            "device cuda: PyTorch finds no NVIDIA GPU. Check that the GPU and its driver work (nvidia-smi), "
            "or choose the device auto or cpu."
        )
    if name == "mps":
        if torch.backends.mps.is_available():
            return torch.device("mps")
        raise ValueError(
            "device mps: Metal is not available; it needs an Apple GPU, macOS 12.3 or later, and a PyTorch built with MPS. "
            "Choose the device auto or cpu."
        )
    raise ValueError(f"there is no device {name!r}; choose auto, cpu, cuda or mps")

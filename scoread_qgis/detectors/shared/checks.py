"""Checks of what a model file says, before it is used: the file may be damaged, or come from a stranger.

Each function takes a dict as it comes from the file, and raises ValueError that names what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import nn

State = dict[str, Any]  # of a detector, as a model file keeps it
AnyNetwork = TypeVar("AnyNetwork", bound=nn.Module)

MOST = 100_000  # bands, features, pixels of a window: far beyond what any model has


def check_keys(state: object, what: str, *names: str) -> None:
    """Check that `state` is a dict with these keys and no others."""
    if not isinstance(state, dict):
        raise ValueError(f"its {what} is not a table of values")
    for name in names:
        if name not in state:
            raise ValueError(f"its {what} lacks {name}")
    if len(state) > len(names):
        unknown = next(name for name in state if name not in names)
        raise ValueError(f"its {what} has an unknown entry, {unknown[:40]}")


def whole_number(state: State, name: str, lowest: int = 1, highest: int = MOST) -> int:
    """state[name], an int from `lowest` to `highest`."""
    value = state[name]
    if type(value) is not int or not lowest <= value <= highest:
        raise ValueError(f"its {name} is not a whole number from {lowest} to {highest}")
    return value


def finite(value: Any, name: str) -> float:
    """`value`, a finite float or int."""
    if type(value) not in (int, float) or not abs(value) < 1e300:
        raise ValueError(f"its {name} is not a finite number")
    return value


def finite_list(state: State, name: str) -> list[float]:
    """state[name], a list of finite numbers."""
    if type(state[name]) is not list:
        raise ValueError(f"its {name} is not a list of numbers")
    return [finite(value, name) for value in state[name]]


def tensor(state: State, name: str, *shape: int | None, dtype: torch.dtype = torch.float32, positive: bool = False) -> torch.Tensor:
    """state[name], a finite tensor of this shape, in which None stands for any length from 1 on."""
    value = state[name]
    if not isinstance(value, torch.Tensor) or value.dtype != dtype:
        raise ValueError(f"its {name} is not a tensor of {str(dtype).partition('.')[2]}")
    fits = value.dim() == len(shape) and all(length >= 1 and wanted in (None, length) for length, wanted in zip(value.shape, shape))
    if not fits:
        wanted = ", ".join("any" if length is None else str(length) for length in shape)
        raise ValueError(f"its {name} has the shape ({', '.join(map(str, value.shape))}) instead of ({wanted})")
    if not torch.isfinite(value).all():
        raise ValueError(f"its {name} holds values that are not finite: the training diverged, or the file is damaged")
    if positive and not (value > 0).all():
        raise ValueError(f"its {name} holds values that are not positive")
    return value


def filled_network(build: Callable[[], AnyNetwork], state: State, name: str, decisive: Mapping[str, tuple[int | None, ...]]) -> AnyNetwork:
    """The network that the function `build()` makes, with the weights state[name], name -> tensor.

    decisive: name -> shape of the weights that decide how large the network is. They are compared before it is built: a small file must not
    make a large one. (A network without memory, on torch's device "meta", would do, but takes seconds to import.)
    """
    weights = state[name]
    for key, shape in decisive.items():
        if not isinstance(weights, dict) or key not in weights:
            raise ValueError(f"its {name} lacks {key}")
        tensor(weights, key, *shape)
    network = build()
    wanted = network.state_dict()
    check_keys(weights, name, *wanted)
    for key, like in wanted.items():
        tensor(weights, key, *like.shape, dtype=like.dtype)
        if key.endswith("running_var") and (weights[key] < 0).any():
            raise ValueError(f"its {key} holds negative variances")
    network.load_state_dict(weights)
    return network

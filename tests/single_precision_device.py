"""A stand-in for a device without double precision, as Apple's GPUs are to PyTorch (MPS): nobody who runs the tests needs one.

Its tensors report a device of their own, so that no array can be made of them, nor anything be computed of them together with those of the
CPU. Inside, they are tensors of the CPU, which compute the results.
"""

import contextlib

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

NAME = "lazy"  # a type of device that PyTorch has a name for but, as it is installed, nothing behind it
_aten = torch.ops.aten
_MOVES = {_aten._to_copy.default, _aten.copy_.default}
_INDEXES = {_aten.index.Tensor, _aten.index_put.default, _aten.index_put_.default, _aten._index_put_impl_.default}


class _OnDevice(torch.Tensor):
    @staticmethod
    def __new__(cls, inner):
        return torch.Tensor._make_wrapper_subclass(
            cls, inner.size(), strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype, device=NAME
        )

    def __init__(self, inner):
        self.inner = inner

    @classmethod
    def __torch_dispatch__(cls, function, types, arguments=(), options=None):
        return _compute(function, arguments, options or {})


@contextlib.contextmanager
def single_precision_device():
    """A context in which the device is there, on the thread that enters it."""
    with _Operations(), _FromPython():
        yield


class _Operations(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        return _compute(function, arguments, options or {})


class _FromPython(TorchFunctionMode):
    """What makes tensors of numbers and arrays moves them to a device where no dispatch mode sees it."""

    def __torch_function__(self, function, types, arguments=(), options=None):
        options = dict(options or {})
        if function not in (torch.tensor, torch.as_tensor) or options.get("device") is None:
            return function(*arguments, **options)
        device = options.pop("device")
        return function(*arguments, **options).to(device)


def _compute(function, arguments, options):
    tensors = [value for value in tree_flatten((arguments, options))[0] if isinstance(value, torch.Tensor)]
    own = {id(tensor.inner): tensor for tensor in tensors if isinstance(tensor, _OnDevice)}
    there = bool(own)
    if options.get("device") is not None:
        there, options = torch.device(options["device"]).type == NAME, {**options, "device": "cpu"}
    compared = tensors[:1] if function in _INDEXES else tensors  # indices may be the CPU's
    if own and function not in _MOVES and any(not isinstance(tensor, _OnDevice) and tensor.dim() for tensor in compared):
        raise RuntimeError(f"{function}: expected all tensors to be on the same device, found {NAME} and cpu")
    arguments, options = tree_map(lambda value: value.inner if isinstance(value, _OnDevice) else value, (arguments, options))
    results = function(*arguments, **options)
    if function is _aten.copy_.default:
        there = id(arguments[0]) in own

    def result(value):
        if not there or not isinstance(value, torch.Tensor):
            return value
        if value.dtype == torch.float64:
            raise TypeError(f"{function}: the device {NAME} has no float64; use float32 instead")
        if id(value) in own:
            return own[id(value)]
        with torch.inference_mode(False):  # tensors of inference do not allow for views of others
            return _OnDevice(value)

    return tree_map(result, results)

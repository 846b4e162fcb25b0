"""Files of tensors and plain values, without a pickle in them: nothing in such a file can be executed.

They have the layout of safetensors (https://huggingface.co/docs/safetensors), which opens them too: the length of the header in 8 bytes,
little-endian; the header in JSON, name -> {"dtype", "shape", "data_offsets"}; the tensors, one after the other. Two texts in the header's
"__metadata__" are this plugin's own: "values", in JSON all that was written, with {"tensor": name} for each tensor, and "sha256", the
checksum of the whole file with 64 zeros in its own place. A file in which a bit has changed is refused, instead of giving a different map.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from typing import Any

import numpy as np
import torch

MOST_BYTES = 2**31  # of a file that is read: all of it comes into memory
_MOST_HEADER = 10**8  # that of safetensors
_ZEROS = b"0" * 64
_START = b'{"__metadata__":{"sha256":"'  # of the header
_TYPES = {"F32": (torch.float32, "<f4"), "F64": (torch.float64, "<f8"), "I64": (torch.int64, "<i8")}
_NAMES = {dtype: name for name, (dtype, _) in _TYPES.items()}


def encode(values: dict[str, Any]) -> list[bytes]:
    """Bytes-like parts of the file that keeps `values`: a dict of dicts, lists, plain values and tensors, of float32, float64 or int64.

    Raises ValueError for a number or a tensor that is not finite.
    """
    tensors = {}

    def plain(value: Any, name: str) -> Any:
        if isinstance(value, torch.Tensor):
            if name in tensors:
                raise KeyError(f"two tensors have the name {name}")
            if not torch.isfinite(value).all():
                raise ValueError(f"{name} holds values that are not finite")
            tensors[name] = value.detach().cpu()
            return {"tensor": name}
        if isinstance(value, dict):
            return {key: plain(inner, f"{name}.{key}".lstrip(".")) for key, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(inner, f"{name}.{number}") for number, inner in enumerate(value)]
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{name} is {value}")
        return value

    text = json.dumps(plain(values, ""))
    # The widest numbers first: each tensor then lies at a multiple of the width of its numbers.
    names = sorted(tensors, key=lambda name: -tensors[name].element_size())
    parts: list[bytes] = []
    entries: dict[str, object] = {"__metadata__": {"sha256": _ZEROS.decode(), "values": text}}
    end = 0
    for name in names:
        code = _NAMES[tensors[name].dtype]
        part = tensors[name].contiguous().numpy().astype(_TYPES[code][1], copy=False)
        entries[name] = {"dtype": code, "shape": list(part.shape), "data_offsets": [end, end + part.nbytes]}
        parts.append(part.tobytes())
        end += part.nbytes
    header = json.dumps(entries, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    length = len(header).to_bytes(8, "little")
    checksum = _checksum(length, header, *parts)
    return [length, _START + checksum + header[len(_START) + len(checksum) :], *parts]


def is_tensor_file(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins as `encode` begins it."""
    with open(path, "rb") as file:
        return file.read(8 + len(_START))[8:] == _START


def decode(path: str | os.PathLike[str]) -> Any:
    """The values in a file that `encode` has made. Raises ValueError where it is damaged.

    The header is checked before anything is allocated for what it promises: it has to account for each byte of the file.
    """
    size = os.path.getsize(path)
    if size > MOST_BYTES:
        raise ValueError(f"it is larger than any model, {size} bytes")
    with open(path, "rb") as file:
        first = file.read(8)
        length = int.from_bytes(first, "little")
        if not len(_START) + len(_ZEROS) < length <= min(_MOST_HEADER, size - 8):
            raise ValueError("the length of its header is wrong, or the file is cut off")
        header = file.read(length)
        texts, entries = _parsed(header)
        _check_entries(entries, size - 8 - length)
        data = bytearray(size - 8 - length)
        if file.readinto(data) != len(data):
            raise ValueError("the file is cut off")
    place = slice(len(_START), len(_START) + len(_ZEROS))
    if _checksum(first, header[: place.start] + _ZEROS + header[place.stop :], data) != header[place]:
        raise ValueError("its checksum is wrong")
    tensors = {}
    for name, entry in entries.items():
        dtype, code = _TYPES[entry["dtype"]]
        array = np.frombuffer(data, code, math.prod(entry["shape"]), entry["data_offsets"][0]).reshape(entry["shape"])
        tensors[name] = torch.from_numpy(array.astype(code[1:], copy=False))
        if tensors[name].dtype != dtype:
            raise ValueError(f"{name[:40]} has another type")
    return _filled(texts["values"], tensors)


def _checksum(*parts: bytes | bytearray) -> bytes:
    checksum = hashlib.sha256()
    for part in parts:
        checksum.update(part)
    return checksum.hexdigest().encode()


def _parsed(header: bytes) -> tuple[dict[str, str], dict[str, Any]]:
    """Texts of the header's "__metadata__", and its entries, name -> dict, of what types they may be."""
    try:
        entries = json.loads(header.decode())
    except (ValueError, RecursionError) as error:
        raise ValueError("its header is not JSON") from error
    texts = entries.pop("__metadata__")  # it is there: the header begins with it
    if not isinstance(texts, dict) or not all(isinstance(texts.get(name), str) for name in ("sha256", "values")):
        raise ValueError("its header lacks the values")
    return texts, entries


def _check_entries(entries: dict[str, Any], size: int) -> None:
    """Check that the tensors fill the `size` bytes after the header, one after the other."""
    end = 0
    for name, entry in entries.items():
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"} or entry["dtype"] not in list(_TYPES):
            raise ValueError(f"its header is wrong about {name[:40]}")
        shape, offsets = entry["shape"], entry["data_offsets"]
        numbers = isinstance(shape, list) and isinstance(offsets, list) and len(shape) <= 8 and len(offsets) == 2
        if not numbers or not all(type(number) is int and 0 <= number <= size for number in [*shape, *offsets]):
            raise ValueError(f"its header is wrong about {name[:40]}")
        width = _TYPES[entry["dtype"]][0].itemsize
        if offsets[0] != end or offsets[0] % width or offsets[1] - offsets[0] != math.prod(shape) * width:
            raise ValueError(f"its header is wrong about the size of {name[:40]}")
        end = offsets[1]
    if end != size:
        raise ValueError(f"it has {size} bytes of tensors instead of {end}")


def _filled(text: str, tensors: dict[str, torch.Tensor]) -> Any:
    """The values in a JSON text, with the tensors in their places, each in one."""

    def place(value: dict[str, Any]) -> Any:
        name = value.get("tensor") if len(value) == 1 else None
        return tensors.pop(name) if isinstance(name, str) and name in tensors else value

    try:
        values = json.loads(text, object_hook=place)
    except (ValueError, RecursionError) as error:
        raise ValueError("its values are not JSON") from error
    if tensors:
        raise ValueError(f"nothing uses its tensor {next(iter(tensors))[:40]}")
    return values

"""Files of torch.save, read without torch.load and without unpickling: nothing in them is executed, whatever the version of torch.

torch.load(weights_only=True) keeps code from being executed as well, except through its own flaws, which are found every other year
(CVE-2025-32434, CVE-2026-24747), and QGIS may come with torch as old as 2.1. State dicts need few of a pickle's opcodes: those are
interpreted here, and everything else is refused.

The layout (https://pytorch.org/docs/stable/notes/serialization.html): a zip of members that are not compressed, in one folder; `data.pkl`,
a pickle of protocol 2, refers to the numbers of each tensor, the member `data/<key>`.
"""

from __future__ import annotations

import io
import math
import os
import struct
import zipfile
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import torch

from .tensor_file import MOST_BYTES

Kind = TypeVar("Kind")

_MOST_PICKLE = 2**25
_WIDEST_STRIDE = 2**62
_OLD_FILE = (
    "it is a pickle or a tar, as PyTorch wrote before version 1.6. Such a file can run code when it is opened, and was not read. If "
    "you trust it, save it again with PyTorch: torch.save(torch.load(file, weights_only=True), another_file)"
)


def read_archive(path: str | os.PathLike[str]) -> Any:
    """What torch.save has written: dicts, lists, tuples, plain values and tensors. Raises ValueError for anything else, and for damaged
    files.
    """
    with open(path, "rb") as file:
        start = file.read(512)
    if start[:1] == b"\x80" or start[257:262] == b"ustar":  # a pickle of protocol 2 or later, a tar
        raise ValueError(_OLD_FILE)
    if start[:4] != b"PK\x03\x04":
        raise ValueError("it does not begin like such a file")
    size = os.path.getsize(path)
    if size > MOST_BYTES:
        raise ValueError(f"it is larger than any file of weights, {size} bytes")
    try:
        with zipfile.ZipFile(path) as archive:
            return _Archive(archive, size).values()
    except (zipfile.BadZipFile, struct.error, NotImplementedError, RuntimeError, EOFError, OSError, OverflowError) as error:
        raise ValueError("its zip is damaged") from error


class _Archive:
    """An open zip. It is known that its members are not compressed and, together, not larger than the file, and one has its `data.pkl`."""

    def __init__(self, archive: zipfile.ZipFile, size: int) -> None:
        self._archive = archive
        members = {member.filename: member for member in archive.infolist()}
        if len(members) < len(archive.infolist()):
            raise ValueError("two members of its zip have the same name")
        if any(member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size for member in members.values()):
            raise ValueError("the members of its zip are compressed, which torch.save does not do")
        self._left = sum(member.file_size for member in members.values())
        if self._left > size:
            raise ValueError("the members of its zip are larger than the file")
        tables = [name for name in members if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(tables) != 1:
            raise ValueError("its zip was not written by torch.save: it has no data.pkl")
        self._folder = tables[0].partition("/")[0]
        self._members = members
        self._storages: dict[str, torch.Tensor] = {}
        if f"{self._folder}/byteorder" in members and self._read("byteorder") != b"little":
            raise ValueError("its numbers are not little-endian")

    def _read(self, name: str) -> bytes:
        """A member, its checksum compared."""
        return self._archive.read(self._members[f"{self._folder}/{name}"])

    def values(self) -> Any:
        if self._members[f"{self._folder}/data.pkl"].file_size > _MOST_PICKLE:
            raise ValueError("its data.pkl is larger than that of any state dict")
        table = self._read("data.pkl")
        try:
            return self._interpreted(_opcodes(table))
        except (IndexError, KeyError, TypeError, AttributeError) as error:  # a stack too short, a memo or a member that is not there, ...
            raise ValueError(f"its data.pkl is damaged ({type(error).__name__})") from error

    def _interpreted(self, opcodes: Iterable[tuple[str, Any]]) -> Any:
        """The value of a pickle, by the few opcodes that torch.save uses for state dicts and plain values."""
        stack: list[Any] = []
        marked: list[list[Any]] = []
        memo: dict[int, Any] = {}
        for name, argument in opcodes:
            if name in ("BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"):
                stack.append(argument)
            elif name in _CONSTANTS:
                stack.append(_CONSTANTS[name])
            elif name in ("BINPUT", "LONG_BINPUT"):
                memo[argument] = stack[-1]
            elif name in ("BINGET", "LONG_BINGET"):
                stack.append(memo[argument])
            elif name == "EMPTY_DICT":
                stack.append({})
            elif name == "EMPTY_LIST":
                stack.append([])
            elif name == "MARK":
                marked.append(stack)
                stack = []
            elif name == "TUPLE":
                stack, items = marked.pop(), stack
                stack.append(tuple(items))
            elif name in _TUPLES:
                stack[-_TUPLES[name] :] = [tuple(stack[-_TUPLES[name] :])]
            elif name == "APPENDS":
                stack, items = marked.pop(), stack
                _instance(stack[-1], list).extend(items)
            elif name == "APPEND":
                item = stack.pop()
                _instance(stack[-1], list).append(item)
            elif name == "SETITEMS":
                stack, items = marked.pop(), stack
                for key, value in zip(items[::2], items[1::2]):
                    _instance(stack[-1], dict)[_instance(key, str)] = value
            elif name == "SETITEM":
                value, key = stack.pop(), stack.pop()
                _instance(stack[-1], dict)[_instance(key, str)] = value
            elif name == "GLOBAL":
                stack.append(_known(argument))
            elif name == "BINPERSID":
                stack.append(self._storage(*stack.pop()))
            elif name == "REDUCE":
                arguments, function = stack.pop(), stack.pop()
                stack.append(self._called(function, *_instance(arguments, tuple)))
            elif name == "BUILD":  # the versions that a module's state dict carries
                stack.pop()
                _instance(stack[-1], dict)
        return stack.pop()  # at STOP, which is the last

    def _called(self, function: object, *arguments: Any) -> Any:
        """What a function gives that a pickle asks for: one of three, and none of them is the real one."""
        if function == "collections OrderedDict" and not arguments:
            return {}
        if function == "torch._utils _rebuild_parameter":
            return _instance(arguments[0], torch.Tensor)
        if function == "torch._utils _rebuild_tensor_v2":
            return self._tensor(*arguments[:4])
        raise ValueError("its data.pkl calls what no state dict needs")

    def _storage(self, tag: object, dtype: object, key: object, device: object, count: object) -> torch.Tensor:
        """The numbers (count,) of a persistent id."""
        if tag != "storage" or not isinstance(dtype, torch.dtype):
            raise ValueError("its data.pkl refers to something other than numbers")
        key = _instance(key, str)
        if key not in self._storages:
            size = self._members[f"{self._folder}/data/{key}"].file_size
            if size == 0 or size % dtype.itemsize:
                raise ValueError(f"its data/{key[:40]} has the wrong size")
            self._storages[key] = torch.frombuffer(bytearray(self._read(f"data/{key}")), dtype=dtype)
        storage = self._storages[key]
        if storage.dtype != dtype or type(count) is not int or len(storage) != count:
            raise ValueError(f"its data/{key[:40]} has the wrong size or type")
        return storage

    def _tensor(self, storage: Any, offset: Any, shape: Any, strides: Any) -> torch.Tensor:
        """A view of a storage, within its bounds. All tensors together are not larger than the file."""
        _instance(storage, torch.Tensor)
        if len(_instance(shape, tuple)) != len(_instance(strides, tuple)) or len(shape) > 8:
            raise ValueError("its data.pkl has a tensor without a shape")
        numbers = [offset, *shape, *strides]
        if not all(type(number) is int and 0 <= number < _WIDEST_STRIDE for number in numbers) or 0 in shape:
            raise ValueError("its data.pkl has a tensor of an impossible shape")
        last = offset + sum((length - 1) * stride for length, stride in zip(shape, strides))
        count = math.prod(shape)
        self._left -= count * storage.element_size()
        if last >= len(storage) or count > len(storage) or self._left < 0:
            raise ValueError("its data.pkl has a tensor that is larger than its numbers")
        return storage.as_strided(shape, strides, offset)


def _opcodes(table: bytes) -> Iterator[tuple[str, Any]]:
    """Yield the name and the argument of each opcode of a pickle, to the last. PEP 307 and Python's own pickletools tell what they are."""
    file = io.BytesIO(table)

    def read(count: int) -> bytes:
        content = file.read(count)
        if len(content) < count:
            raise ValueError("its data.pkl is cut off")
        return content

    name = ""
    while name != "STOP":
        opcode = read(1)
        if opcode not in _OPCODES:
            raise ValueError(f"its data.pkl holds the opcode {opcode!r}, which no state dict needs")
        name, form = _OPCODES[opcode]
        argument: Any = None
        if name == "GLOBAL":
            argument = " ".join(file.readline().decode().rstrip() for _ in ("module", "name"))
        elif form:
            (argument,) = struct.unpack(form, read(struct.calcsize(form)))
        if name == "BINUNICODE":
            argument = read(argument).decode("utf-8", "surrogatepass")
        elif name == "LONG1":
            argument = int.from_bytes(read(argument), "little", signed=True)
        yield name, argument


# Opcode -> its name, and the form of the number that follows it, as struct has it.
_OPCODES = {
    b"\x80": ("PROTO", "<B"),
    b"}": ("EMPTY_DICT", ""),
    b"]": ("EMPTY_LIST", ""),
    b")": ("EMPTY_TUPLE", ""),
    b"(": ("MARK", ""),
    b"t": ("TUPLE", ""),
    b"\x85": ("TUPLE1", ""),
    b"\x86": ("TUPLE2", ""),
    b"\x87": ("TUPLE3", ""),
    b"a": ("APPEND", ""),
    b"e": ("APPENDS", ""),
    b"s": ("SETITEM", ""),
    b"u": ("SETITEMS", ""),
    b"N": ("NONE", ""),
    b"\x88": ("NEWTRUE", ""),
    b"\x89": ("NEWFALSE", ""),
    b"K": ("BININT1", "<B"),
    b"M": ("BININT2", "<H"),
    b"J": ("BININT", "<i"),
    b"\x8a": ("LONG1", "<B"),
    b"G": ("BINFLOAT", ">d"),
    b"X": ("BINUNICODE", "<I"),
    b"q": ("BINPUT", "<B"),
    b"r": ("LONG_BINPUT", "<I"),
    b"h": ("BINGET", "<B"),
    b"j": ("LONG_BINGET", "<I"),
    b"c": ("GLOBAL", ""),
    b"Q": ("BINPERSID", ""),
    b"R": ("REDUCE", ""),
    b"b": ("BUILD", ""),
    b".": ("STOP", ""),
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_STORAGES = {
    "torch FloatStorage": torch.float32,
    "torch DoubleStorage": torch.float64,
    "torch HalfStorage": torch.float16,
    "torch BFloat16Storage": torch.bfloat16,
    "torch LongStorage": torch.int64,
    "torch IntStorage": torch.int32,
    "torch ShortStorage": torch.int16,
    "torch CharStorage": torch.int8,
    "torch ByteStorage": torch.uint8,
    "torch BoolStorage": torch.bool,
}
_FUNCTIONS = ("collections OrderedDict", "torch._utils _rebuild_parameter", "torch._utils _rebuild_tensor_v2")


def _known(name: str) -> torch.dtype | str:
    """What stands for a global of a pickle: a dtype for a storage, and for a function its name."""
    if name not in _STORAGES and name not in _FUNCTIONS:
        raise ValueError(f"its data.pkl asks for {name[:80]}, which no state dict needs")
    return _STORAGES.get(name, name)


def _instance(value: object, kind: type[Kind]) -> Kind:
    if not isinstance(value, kind):
        raise ValueError(f"its data.pkl has something else where a {kind.__name__} belongs")
    return value

"""Exceptions as messages for the user."""

from __future__ import annotations


class FileTrouble(ValueError):
    """A file could not be read or written. With storage that is out of reach for a moment, trying again may help."""


_MEMORY = ("not enough memory", "can't allocate memory", "cannot allocate memory", "out of memory")  # of torch, on CPUs and GPUs


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that memory ran out; torch raises RuntimeError for it."""
    return isinstance(error, MemoryError) or isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _MEMORY)


def describe_error(error: BaseException) -> str:
    """An exception as a message for the user."""
    if out_of_memory(error):
        detail = str(error).strip().splitlines()
        return (
            "There is not enough memory. Use fewer training pixels or bands, a smaller batch or hidden width, or a smaller memory setting; "
            f"on a GPU, the device cpu.{f' ({detail[0]})' if detail else ''}"
        )
    known = isinstance(error, (ValueError, OSError)) and str(error)
    return str(error) if known else f"{type(error).__name__}: {error}"

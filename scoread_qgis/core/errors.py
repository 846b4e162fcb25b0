"""What went wrong, in words for the user."""

_MEMORY = ("not enough memory", "can't allocate memory", "cannot allocate memory", "out of memory")  # torch, on processors and on GPUs


def out_of_memory(error):
    """Whether an exception says that there is no memory for what was asked for: torch raises RuntimeError for it."""
    return isinstance(error, MemoryError) or isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _MEMORY)


def describe_error(error):
    """An exception in words for the user."""
    if out_of_memory(error):
        detail = str(error).strip().splitlines()
        return (
            "There is not enough memory. Use fewer training pixels or bands, a smaller batch or hidden width, or a smaller memory setting; on a GPU, "
            f"the device cpu.{f' ({detail[0]})' if detail else ''}"
        )
    known = isinstance(error, (ValueError, OSError)) and str(error)
    return str(error) if known else f"{type(error).__name__}: {error}"

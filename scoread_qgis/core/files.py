"""Files that appear whole or not at all."""

import os
import uuid
from contextlib import contextmanager
from pathlib import Path


def part_name(path):
    """A temporary name beside `path`, for what is not whole yet, that no other process has, on this machine or on another."""
    folder, name = os.path.split(os.path.abspath(str(path)))
    return os.path.join(folder, f".{name}.{uuid.uuid4().hex[:12]}.part")


@contextmanager
def whole_file(path, what):
    """A temporary path beside `path` to write to; leaving the `with` block without an error gives the file its name.

    what: what the file is, for the message. Raises ValueError, with the remedy, where the file cannot be written.
    """
    part = Path(part_name(path))
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        yield part
        os.replace(part, path)
    except (OSError, RuntimeError) as error:  # torch.save raises RuntimeError
        raise ValueError(f"The {what} cannot be written to {path}: {error}. Choose a folder that you may write to.") from error
    finally:
        part.unlink(missing_ok=True)

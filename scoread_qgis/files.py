"""Files that appear whole or not at all."""

import os
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path, what):
    """A temporary path beside `path` to write to; leaving the `with` block without an error gives the file its name.

    what: what the file is, for the message. Raises ValueError, with the remedy, where the file cannot be written.
    """
    part = Path(f"{path}.{os.getpid()}.part")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        yield part
        os.replace(part, path)
    except (OSError, RuntimeError) as error:  # torch.save raises RuntimeError
        raise ValueError(f"The {what} cannot be written to {path}: {error}. Choose a folder that you may write to.") from error
    finally:
        part.unlink(missing_ok=True)

"""Files that appear whole or not at all, and the removal of what killed processes left behind."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import platform
import re
import shutil
import sys
import tempfile
import time
import uuid
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from .errors import FileTrouble

# Companion files of GDAL and SQLite: overviews, statistics, masks, journals. Those of an old file do not match the new one.
SIDECARS = (".ovr", ".aux.xml", ".msk", ".msk.ovr", "-wal", "-shm", "-journal")
_OWNER = r"(?P<machine>[0-9a-f]{8})-(?P<process>\d+)-(?P<start>\d+)"
_TEMPORARY = re.compile(rf"\.(?P<name>.+)\.(?:{_OWNER}-[0-9a-f]{{8}}|[0-9a-f]{{12}})\.part[\w.-]*$")
_SCRATCH = re.compile(rf"scoread_(?:mask|regions)_(?:{_OWNER}_)?\w+$")
_FORGOTTEN = 7 * 24 * 3600  # seconds after which a file whose process cannot be checked counts as abandoned
_GDAL_ONLY = "/vsi"  # what paths begin with that GDAL alone can follow
_NO_SPACE = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))


@dataclass(frozen=True)
class Store:
    """A place for finished files that is no folder, such as an object store.

    starts: what paths in it begin with. check(path): raises OSError where no file can be created. put(file, path): copies a file there,
    whole or not at all; raises OSError.
    """

    starts: tuple[str, ...]
    check: Callable[[str], None]
    put: Callable[[str, str], None]


_stores: list[Store] = []


def add_store(store: Store) -> None:
    """Let this process write to a store. Without any, files are written to folders alone."""
    _stores[:] = [*(other for other in _stores if other.starts != store.starts), store]


def store_of(path: str | os.PathLike[str]) -> Store | None:
    """The store that a path lies in; None for a folder."""
    return next((store for store in _stores if str(path).startswith(store.starts)), None)


def absolute(path: str | os.PathLike[str]) -> str:
    """The absolute path of a file, or that in GDAL's file systems as it is."""
    return str(path).replace(os.sep, "/") if str(path).startswith(_GDAL_ONLY) else os.path.abspath(str(path))


def working_folder(path: str | os.PathLike[str]) -> str:
    """The folder in which the file at `path` is while it is unfinished: its own, or for a store that of temporary files."""
    return tempfile.gettempdir() if store_of(path) else os.path.dirname(absolute(path))


def temporary_name(path: str | os.PathLike[str], owned: bool = True) -> str:
    """A temporary name beside `path` for an unfinished file, unique among all processes, on this machine or another.

    It records the process that it belongs to; with `owned` False it belongs to none, since it may outlive the one that creates it.
    """
    folder, name = os.path.split(os.path.abspath(str(path)))
    unique = uuid.uuid4().hex
    return os.path.join(folder, f".{name}.{f'{_owner()}-{unique[:8]}' if owned else unique[:12]}.part")


@contextmanager
def unfinished_file(path: str | os.PathLike[str], what: str, ending: str = "", make_folder: bool = True) -> Iterator[Path]:
    """A temporary path in the `working_folder` of `path` to write to; leaving the `with` block without an error gives the file its name.

    Nothing at `path` is touched before that; the sidecars of a file that is replaced are removed with it. what: what the file is, for the
    message. ending: of the temporary name, for formats that are recognised by it. make_folder: create the folder if it does not exist.
    Raises ValueError, with the remedy, where the folder cannot be created or the file cannot be renamed.
    """
    path, store = absolute(path), store_of(path)
    temporary = Path(temporary_name(os.path.join(working_folder(path), os.path.basename(path))) + ending)
    try:
        try:
            if make_folder:
                temporary.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_be_written(path, what, error) from error
        yield temporary
        try:
            if store:
                store.put(str(temporary), path)
            else:
                _publish(str(temporary), path)
        except OSError as error:
            raise cannot_be_written(path, what, error) from error
    finally:
        for sidecar in ("", *SIDECARS):
            with suppress(OSError):
                os.remove(f"{temporary}{sidecar}")


@contextmanager
def whole_file(path: str | os.PathLike[str], what: str, make_folder: bool = True) -> Iterator[Path]:
    """Like `unfinished_file`, for a `with` block that only writes the file: failures inside it become a ValueError too."""
    with unfinished_file(path, what, make_folder=make_folder) as temporary:
        try:
            yield temporary
        except (OSError, RuntimeError) as error:  # torch.save raises RuntimeError
            raise cannot_be_written(path, what, error) from error


def _publish(temporary: str, path: str) -> None:
    """Rename a file once its content is on the disk. If that fails, what was there before is restored."""
    file = os.open(temporary, os.O_RDWR | getattr(os, "O_BINARY", 0))
    try:
        os.fsync(file)
    finally:
        os.close(file)
    aside = []
    try:
        for sidecar in (path + ending for ending in SIDECARS if os.path.lexists(path + ending)):
            aside.append((sidecar, temporary_name(sidecar)))
            os.rename(*aside[-1])
        os.replace(temporary, path)
    except OSError:
        for sidecar, hidden in aside:
            with suppress(OSError):
                os.rename(hidden, sidecar)
        raise
    for _, hidden in aside:
        with suppress(OSError):
            os.remove(hidden)


def cannot_be_written(path: str | os.PathLike[str], what: str, error: Exception) -> FileTrouble:
    """The error that says why a file cannot be written, with the remedy. error: OSError, or what PyTorch raises instead."""
    reason, remedy = getattr(error, "strerror", None) or str(error), "Choose a folder that you may write to."
    if not isinstance(error, OSError):
        reason, remedy = "writing it failed midway", "Is the disk full?"
    elif error.errno in _NO_SPACE:
        remedy = "Is the disk full? Free some space, or choose a folder on another disk."
    elif isinstance(error, FileNotFoundError):
        remedy = "Was its folder removed in the meantime? Choose a folder that you may write to."
    elif isinstance(error, PermissionError) and os.path.exists(path):
        remedy = "Is it open elsewhere? Remove its layer from the project, or choose another name or a folder that you may write to."
    return FileTrouble(f"The {what} {path} cannot be written: {reason}. {remedy}")


def check_place(path: str | os.PathLike[str], what: str) -> None:
    """Raise ValueError if no file can be created at `path`. Neither that file nor a folder is created or changed."""
    if store := store_of(path):
        try:
            return store.check(absolute(path))
        except OSError as error:
            raise cannot_be_written(path, what, error) from error
    if str(path).startswith(_GDAL_ONLY):
        raise ValueError(f"The {what} {path} cannot be written: this file system of GDAL is only read here. Choose a folder, or mount it.")
    path = os.path.abspath(str(path))
    folder = os.path.dirname(path)
    while not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    trial = temporary_name(os.path.join(folder, "trial"))
    try:
        os.close(os.open(trial, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        os.remove(trial)
        if os.path.lexists(path):
            os.rename(path, path)  # fails on Windows where the file is open, and so could not be replaced
    except OSError as error:
        raise cannot_be_written(path, what, error) from error


class ScratchFolder:
    """A folder that is removed with the object; `tempfile.TemporaryDirectory` warns of just that. name: its path."""

    def __init__(self, name: str) -> None:
        self.name = name
        weakref.finalize(self, shutil.rmtree, name, ignore_errors=True)


def scratch_folder(what: str, place: str | None = None) -> ScratchFolder:
    """A folder whose name says what it holds, "mask" or "regions", and which process it belongs to.

    place: folder to create it in; None for the system's. Raises ValueError, with the remedy, where it cannot be created.
    """
    try:
        return ScratchFolder(tempfile.mkdtemp(prefix=f"scoread_{what}_{_owner()}_", dir=place))
    except OSError as error:
        raise ValueError(
            f"No temporary folder can be created in {place or tempfile.gettempdir()}: {error.strerror or error}. Free some space there, or "
            "choose another folder for temporary files."
        ) from error


def remove_temporaries(*paths: str | os.PathLike[str]) -> None:
    """Remove what killed writers of `paths` left behind. A writer that is still at work then cannot publish its result."""
    names: dict[str, set[str]] = {}
    for path in paths:
        folder, name = os.path.split(os.path.abspath(str(path)))
        names.setdefault(folder, set()).add(name)
    for folder, wanted in names.items():
        for entry, match in _matching(folder, _TEMPORARY):
            if match["name"] in wanted:
                _remove(entry)


def remove_litter(folders: Iterable[str], scratch: str | None = None) -> None:
    """Remove unfinished files in `folders`, and our folders among the temporary files, whose process no longer exists.

    Where that cannot be checked, because the process ran on another machine, they are removed a week after their last change.
    scratch: folder for temporary files; None for the system's.
    """
    for folder, pattern in [*((folder, _TEMPORARY) for folder in set(folders)), (scratch or tempfile.gettempdir(), _SCRATCH)]:
        for entry, match in _matching(folder, pattern):
            with suppress(OSError):  # another process was faster
                if _abandoned(entry, match):
                    _remove(entry)


def _matching(folder: str, pattern: re.Pattern[str]) -> list[tuple[os.DirEntry[str], re.Match[str]]]:
    try:
        with os.scandir(folder) as entries:
            found = [(entry, pattern.match(entry.name)) for entry in entries]
    except OSError:
        return []
    return [(entry, match) for entry, match in found if match]


def _remove(entry: os.DirEntry[str]) -> None:
    if entry.is_dir(follow_symlinks=False):
        shutil.rmtree(entry.path, ignore_errors=True)
    else:
        with suppress(OSError):
            os.remove(entry.path)


def _abandoned(entry: os.DirEntry[str], match: re.Match[str]) -> bool:
    if match["machine"] == _machine():
        return not _is_running(int(match["process"]), match["start"])
    return time.time() - entry.stat(follow_symlinks=False).st_mtime > _FORGOTTEN


def _owner() -> str:
    """Unique name of this process: machine, process id and start time, since ids are reused."""
    process = os.getpid()
    return f"{_machine()}-{process}-{_start(process)[1]}"


def _machine() -> str:
    """Name of the space of process ids: it differs between machines and between containers."""
    known = [platform.node()]
    with suppress(OSError):
        known.append(os.readlink("/proc/self/ns/pid"))
    with suppress(OSError):
        known.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii"))
    return hashlib.sha256("\n".join(known).encode()).hexdigest()[:8]


def _start(process: int) -> tuple[str, str]:
    """State of a process, and its start time in ticks of the system clock; "" and "0" where the system does not say."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return "", "0"
    return fields[0], fields[19]


def _is_running(process: int, start: str) -> bool:
    if sys.platform == "win32":  # where os.kill would end it
        system = ctypes.WinDLL("kernel32", use_last_error=True)
        system.OpenProcess.restype = ctypes.c_void_p
        handle = system.OpenProcess(0x00100000, False, process)  # to wait for it
        if not handle:
            return ctypes.get_last_error() == 5  # access denied
        handle = ctypes.c_void_p(handle)
        try:
            return system.WaitForSingleObject(handle, 0) == 0x102  # it has not ended
        finally:
            system.CloseHandle(handle)
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is another user's
        pass
    state, started = _start(process)
    return state not in ("Z", "X") and ("0" in (start, started) or start == started)

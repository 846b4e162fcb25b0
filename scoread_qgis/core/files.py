"""Files that appear whole or not at all, and what is left behind by processes that were killed while they wrote some."""

import ctypes
import errno
import hashlib
import os
import platform
import re
import shutil
import tempfile
import time
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path

# What GDAL and SQLite keep beside a file under its name: overviews, statistics, mask, journals. Those of an old file do not fit the new one.
SIDECARS = (".ovr", ".aux.xml", ".msk", ".msk.ovr", "-wal", "-shm", "-journal")
_OWNER = r"(?P<machine>[0-9a-f]{8})-(?P<process>\d+)-(?P<start>\d+)"
_PART = re.compile(rf"\.(?P<name>.+)\.(?:{_OWNER}-[0-9a-f]{{8}}|[0-9a-f]{{12}})\.part[\w.-]*$")
_SCRATCH = re.compile(rf"scoread_(?:mask|regions)_(?:{_OWNER}_)?\w+$")
_FORGOTTEN = 7 * 24 * 3600  # seconds after which nobody works on a file whose process cannot be asked for any more
_NO_SPACE = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))


def part_name(path, owned=True):
    """A temporary name beside `path`, for what is not whole yet, that no other process has, on this machine or on another.

    It tells which process it belongs to; with `owned` False it belongs to none, since it may outlive the one that makes it.
    """
    folder, name = os.path.split(os.path.abspath(str(path)))
    unique = uuid.uuid4().hex
    return os.path.join(folder, f".{name}.{f'{_owner()}-{unique[:8]}' if owned else unique[:12]}.part")


@contextmanager
def unfinished_file(path, what, ending="", make_folder=True):
    """A temporary path beside `path` to write to; leaving the `with` block without an error gives the file its name.

    Nothing at `path` is touched before that; the sidecars of a file that was there go together with it. what: what the file is, for the message.
    ending: of the temporary name, for formats that are known by it. make_folder: make the folder where there is none.
    Raises ValueError, with the remedy, where the folder cannot be made or the file cannot get its name.
    """
    path = os.path.abspath(str(path))
    part = Path(part_name(path) + ending)
    try:
        try:
            if make_folder:
                part.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_be_written(path, what, error) from error
        yield part
        try:
            _publish(str(part), path)
        except OSError as error:
            raise cannot_be_written(path, what, error) from error
    finally:
        for sidecar in ("", *SIDECARS):
            with suppress(OSError):
                os.remove(f"{part}{sidecar}")


@contextmanager
def whole_file(path, what, make_folder=True):
    """As `unfinished_file`, for a `with` block that does nothing but write the file: what fails in there is told as a ValueError too."""
    with unfinished_file(path, what, make_folder=make_folder) as part:
        try:
            yield part
        except (OSError, RuntimeError) as error:  # torch.save raises RuntimeError
            raise cannot_be_written(path, what, error) from error


def _publish(part, path):
    """Give a file its name, once its content is on the disk. If that fails, what was there before is there again."""
    file = os.open(part, os.O_RDWR | getattr(os, "O_BINARY", 0))
    try:
        os.fsync(file)
    finally:
        os.close(file)
    aside = []
    try:
        for sidecar in (path + ending for ending in SIDECARS if os.path.lexists(path + ending)):
            aside.append((sidecar, part_name(sidecar)))
            os.rename(*aside[-1])
        os.replace(part, path)
    except OSError:
        for sidecar, hidden in aside:
            with suppress(OSError):
                os.rename(hidden, sidecar)
        raise
    for _, hidden in aside:
        with suppress(OSError):
            os.remove(hidden)


def cannot_be_written(path, what, error):
    """The ValueError that says, with the remedy, why a file cannot be written. error: OSError, or what PyTorch raises in its place."""
    reason, remedy = getattr(error, "strerror", None) or str(error), "Choose a folder that you may write to."
    if not isinstance(error, OSError):
        reason, remedy = "writing it failed on the way", "Is the disk full?"
    elif error.errno in _NO_SPACE:
        remedy = "Is the disk full? Free some space, or choose a folder on another disk."
    elif isinstance(error, FileNotFoundError):
        remedy = "Was its folder removed meanwhile? Choose a folder that you may write to."
    elif isinstance(error, PermissionError) and os.path.exists(path):
        remedy = "Is it open elsewhere? Remove its layer from the project, or choose another name or a folder that you may write to."
    return ValueError(f"The {what} {path} cannot be written: {reason}. {remedy}")


def check_place(path, what):
    """Raise ValueError if no file can be made at `path`. Neither that file nor a folder is made or changed."""
    path = os.path.abspath(str(path))
    folder = os.path.dirname(path)
    while not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    trial = part_name(os.path.join(folder, "trial"))
    try:
        os.close(os.open(trial, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        os.remove(trial)
        if os.path.lexists(path):
            os.rename(path, path)  # fails on Windows where the file is open, and so could not be replaced
    except OSError as error:
        raise cannot_be_written(path, what, error) from error


def scratch_folder(what, place=None):
    """A `tempfile.TemporaryDirectory` that tells what it holds, "mask" or "regions", and which process it belongs to.

    place: folder to make it in; None for the system's. Raises ValueError, with the remedy, where it cannot be made.
    """
    try:
        return tempfile.TemporaryDirectory(prefix=f"scoread_{what}_{_owner()}_", dir=place)
    except OSError as error:
        raise ValueError(
            f"No temporary folder can be made in {place or tempfile.gettempdir()}: {error.strerror or error}. Free some space there, or choose "
            "another folder for temporary files."
        ) from error


def remove_parts(*paths):
    """Remove what writers of `paths` left behind that were killed. One that is still at work then cannot publish its result."""
    names = {}
    for path in paths:
        folder, name = os.path.split(os.path.abspath(str(path)))
        names.setdefault(folder, set()).add(name)
    for folder, wanted in names.items():
        for entry, match in _matching(folder, _PART):
            if match["name"] in wanted:
                _remove(entry)


def remove_litter(folders, scratch=None):
    """Remove from `folders` the unfinished files, and from the folder for temporary files the folders, whose process is gone.

    Where that process cannot be asked for, because it ran on another machine, they are removed a week after they were last changed.
    scratch: folder for temporary files; None for the system's.
    """
    for folder, pattern in [*((folder, _PART) for folder in set(folders)), (scratch or tempfile.gettempdir(), _SCRATCH)]:
        for entry, match in _matching(folder, pattern):
            with suppress(OSError):  # another process was faster
                if _abandoned(entry, match):
                    _remove(entry)


def _matching(folder, pattern):
    try:
        with os.scandir(folder) as entries:
            found = [(entry, pattern.match(entry.name)) for entry in entries]
    except OSError:
        return []
    return [(entry, match) for entry, match in found if match]


def _remove(entry):
    if entry.is_dir(follow_symlinks=False):
        shutil.rmtree(entry.path, ignore_errors=True)
    else:
        with suppress(OSError):
            os.remove(entry.path)


def _abandoned(entry, match):
    if match["machine"] == _machine():
        return not _is_running(int(match["process"]), match["start"])
    return time.time() - entry.stat(follow_symlinks=False).st_mtime > _FORGOTTEN


def _owner():
    """This process, in a way that tells it from all others: machine, number, and when it started, since numbers are used again."""
    process = os.getpid()
    return f"{_machine()}-{process}-{_start(process)[1]}"


def _machine():
    """What tells the numbers of processes here from those of another machine, or of another container."""
    known = [platform.node()]
    with suppress(OSError):
        known.append(os.readlink("/proc/self/ns/pid"))
    with suppress(OSError):
        known.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii"))
    return hashlib.sha256("\n".join(known).encode()).hexdigest()[:8]


def _start(process):
    """State of a process, and its start in ticks of the system's clock; "" and "0" where the system does not tell."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return "", "0"
    return fields[0], fields[19]


def _is_running(process, start):
    if os.name == "nt":  # where os.kill would end it
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

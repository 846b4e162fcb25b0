"""The pip command for PyTorch: which Python, which packages, from where, with which constraints. Needs only the standard library."""

from __future__ import annotations

import glob
import importlib.util
import os
import platform
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

TITLES = {"torch": "PyTorch", "scipy": "SciPy"}
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
CUDA_INDEX = "https://download.pytorch.org/whl/cu126"  # for PyTorch 2.6 and later
OLD_CUDA_INDEX = "https://download.pytorch.org/whl/cu121"  # for PyTorch 2.1 to 2.5
FLATPAK_INFO = "/.flatpak-info"

# torch imports these when it trains and finds those of QGIS first, so an old one needs an old torch: (package, older than, torch).
_FITTING_TORCH = (
    ("typing_extensions", (4, 8), "2.1.0"),
    ("sympy", (1, 13, 3), "2.4.0"),
    ("typing_extensions", (4, 10), "2.5.0"),
)


@dataclass(frozen=True)
class Source:
    """Where packages come from: an index (URL; "" = the one that pip is configured for, PyPI by default), or a folder of wheels.

    download_mb, disk_mb: approximate size of the download, and on disk afterwards.
    """

    label: str
    index: str = ""
    folder: str = ""
    download_mb: int = 200
    disk_mb: int = 900

    @property
    def place(self) -> str:
        return self.folder or self.index or "https://pypi.org/simple"


def sources(kept: dict[str, str], system: str = sys.platform, machine: str | None = None) -> list[Source]:
    """The builds of PyTorch for a system (`sys.platform`) and processor, as `Source`s; the first one runs everywhere.

    kept: {name: version} of packages that QGIS has.
    """
    if system == "darwin":
        return [Source("PyTorch for macOS, with Apple GPU where there is one", download_mb=100, disk_mb=500)]
    builds = [Source("Processor only (CPU)", CPU_INDEX)]
    if (machine or platform.machine()).lower() in ("x86_64", "amd64"):
        old = requirements(["torch"], kept) != ["torch"]
        label, index = ("NVIDIA GPU (CUDA 12.1)", OLD_CUDA_INDEX) if old else ("NVIDIA GPU (CUDA 12.6)", CUDA_INDEX)
        builds.append(Source(label, index, download_mb=3000, disk_mb=7000))
    return builds


def wheels(folder: str) -> Source:
    """A folder of wheels as a `Source`. The size on disk is estimated at four times that of PyTorch's wheel."""
    size = sum(os.path.getsize(file) for file in glob.glob(os.path.join(glob.escape(folder), "torch-*.whl")))
    return Source("From a folder of wheels", folder=folder, download_mb=0, disk_mb=4 * size >> 20)


def requirements(names: Sequence[str], kept: dict[str, str]) -> list[str]:
    """Requirements for pip: the packages `names`, with an older torch where QGIS has old packages. kept: {name: version} that QGIS has."""
    # No version of torch is too old to be safe here: the known ways to run code with a file of weights go through torch.load, and the files
    # of models and weights are read without it (detectors.shared). 2.1 is the oldest that the detectors work with.
    torch = "torch"
    for package, limit, fitting in reversed(_FITTING_TORCH):
        if package in kept and _numbers(kept[package]) < limit:
            torch = f"torch~={fitting}"
    return [torch if name == "torch" else name for name in names]


def constraints(kept: dict[str, str]) -> str:
    """Text of a constraints file that keeps the packages of QGIS at their versions."""
    return "".join(f"{name}=={version}\n" for name, version in kept.items())


def pip_runs(names: Sequence[str], source: Source, folder: str, kept: dict[str, str], constraints_file: str) -> list[list[str]]:
    """Arguments after `python -m pip` of each run that installs `names` from a `Source` into `folder`.

    SciPy is on PyPI, and not on PyTorch's index, hence a run of its own.
    """
    common = ["install", "--target", folder, "--constraint", constraints_file, "--only-binary", ":all:", "--no-user", "--no-cache-dir"]
    common += ["--no-input", "--no-color", "--disable-pip-version-check", "--progress-bar", "off", "--timeout", "30", "--retries", "2"]
    return [[*common, *_from(source, group), *requirements(group, kept)] for group in _groups(names, source)]


def _groups(names: Sequence[str], source: Source) -> list[Sequence[str]]:
    return [[name] for name in names] if source.index else [names]


def _from(source: Source, names: Sequence[str]) -> list[str]:
    if source.folder:
        return ["--no-index", "--find-links", source.folder]
    return ["--index-url", source.index] if source.index and "torch" in names else []


def environment(proxy: str = "") -> dict[str, str]:
    """Environment variables for pip, in addition to those of QGIS. proxy: URL with user and password, or "" for that of the system."""
    variables = {"PYTHONIOENCODING": "utf-8", "PIP_REQUIRE_VIRTUALENV": "0"}
    if proxy:
        variables.update({name: proxy for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "PIP_PROXY")})
    return variables


def proxy_url(scheme: str, host: str, port: int, user: str, password: str) -> str:
    """URL of a proxy, its user and password percent-encoded; without a login where the user is ""."""
    login = f"{quote(user, safe='')}:{quote(password, safe='')}@" if user else ""
    return f"{scheme}://{login}{host}:{port}"


def without_passwords(text: str) -> str:
    """A text for display, without user names and passwords in its URLs.

    A password may contain unencoded / and @: everything up to the last @ of a word is removed, at worst with some of a path.
    """
    return re.sub(r"//\S*@", "//***@", text)


def python_candidates(
    executable: str = sys.executable,
    prefixes: Sequence[str] = (sys.prefix, sys.base_prefix, sys.exec_prefix),
    version: tuple[int, int] = sys.version_info[:2],
    windows: bool = os.name == "nt",
) -> list[str]:
    """Files that may be the interpreter of this Python, most likely first.

    Inside QGIS, `sys.executable` is QGIS itself, or whatever python3 is first on the PATH. Looked at in this order: OSGeo4W has python.exe
    in the prefix (apps/Python39), and python3.exe beside qgis-bin.exe; Linux and the bundle of macOS have bin/python3 in the prefix; some
    bundles of macOS have it beside the program, or in bin there.
    """
    names = ["python.exe", "python3.exe"] if windows else [f"python{version[0]}.{version[1]}", "python3", "python"]
    program = os.path.dirname(executable)
    folders = [*(prefix if windows else os.path.join(prefix, "bin") for prefix in prefixes), program, os.path.join(program, "bin")]
    files = [os.path.join(folder, name) for folder in folders for name in names]
    return [file for file in dict.fromkeys(files) if os.path.isfile(file)]


def pip_obstacle() -> str:
    """Why pip cannot be run from here, with the remedy; "" where it can."""
    if os.path.exists(FLATPAK_INFO):
        return (
            "QGIS in Flatpak has no pip of its own. Run the command below in a terminal outside; it takes pip from the SDK of the runtime."
        )
    if importlib.util.find_spec("pip") is None or not python_candidates():
        remedy = " (on Debian and Ubuntu: the package python3-pip)" if sys.platform.startswith("linux") else ""
        return f"QGIS' Python has no pip. Install pip{remedy}, or run the command below in a terminal where there is one."
    return ""


def command_by_hand(
    names: Sequence[str], folder: str, kept: dict[str, str], source: Source | None = None, flatpak: bool | None = None
) -> str:
    """The command for a terminal that installs `names` into `folder`. flatpak: whether QGIS runs in Flatpak; by default, look."""
    source = source or sources(kept)[0]
    flatpak = os.path.exists(FLATPAK_INFO) if flatpak is None else flatpak
    if flatpak:  # pip comes with the SDK, which --devel brings in
        program = ["flatpak", "run", "--devel", "--command=pip3", os.environ.get("FLATPAK_ID", "org.qgis.qgis")]
    else:
        found = python_candidates()
        program = ["python" if os.name == "nt" else found[0] if found else "python3", "-m", "pip"]
    lines = []
    for group in _groups(names, source):
        words = [*program, "install", "--target", folder, "--only-binary", ":all:", *_from(source, group), *requirements(group, kept)]
        if "scipy" in group and "numpy" in kept:
            words.append(f"numpy=={kept['numpy']}")
        lines.append(" ".join(map(_quoted, words)))
    return "\n".join(lines)


def _quoted(word: str) -> str:
    """A word quoted for a terminal, so that nothing in it is run: POSIX shells expand double quotes, Windows knows no others."""
    if os.name != "nt":
        return shlex.quote(word)
    return f'"{word}"' if re.search(r"[^\w./:=~@%+,\\-]", word) else word


_REMEDIES = (
    (
        "407|Proxy Authentication",
        "The proxy requires a user name and a password, or rejects those given: enter them in Settings > Options > Network.",
    ),
    (
        "CERTIFICATE_VERIFY_FAILED|SSLError",
        "The certificate of the server is not trusted. Behind a proxy that inspects traffic, point the environment variable PIP_CERT to "
        "its certificate.",
    ),
    (
        "SOCKS support",
        "pip cannot use a SOCKS proxy without the package PySocks. Choose an HTTP proxy in Settings > Options > Network, or install from "
        "a folder of wheels.",
    ),
    ("No space left|Errno 28|WinError 112", "The disk is full. Free some space and try again."),
    (
        "ResolutionImpossible|conflicting dependencies",
        "This PyTorch is incompatible with the packages of QGIS, which are not replaced. Use wheels of another version of PyTorch, or a "
        "newer QGIS.",
    ),
    (
        "invalid wheel|has an invalid|BadZipFile|not a zip file|DO NOT MATCH THE HASHES|Wheel .* is invalid|IncompleteRead",
        "A wheel is damaged. Download it again.",
    ),
    (
        "NewConnectionError|ConnectTimeout|ConnectionError|Read timed out|name resolution|ProxyError|Max retries|Failed to "
        "establish|Connection (reset|refused|aborted)",
        "The server cannot be reached. Check the connection, and the proxy in Settings > Options > Network; without a network, install "
        "from a folder of wheels.",
    ),
    (
        "No matching distribution|Could not find a version",
        f"There is no wheel for Python {sys.version_info[0]}.{sys.version_info[1]} on this system. Check the source of the packages, or "
        "choose another.",
    ),
)  # fmt: skip


def explain(output: str) -> str:
    """What went wrong and the remedy, from the output of pip."""
    errors = [
        line.partition("ERROR:")[2].strip()
        for line in output.splitlines()
        if line.startswith("ERROR:") and "ResolutionImpossible" not in line
    ]
    said = errors[0] if errors else (output.strip().splitlines() or ["pip ended without a message"])[-1]
    conflict = re.findall(
        r"^\s+(?:The user requested \(constraint\) )?([\w.-]+(?: [\w.+]+ depends on [\w.-]+)?(?:[=<>!~]=?[^\s]+)+)", output, re.M
    )
    if conflict and "ResolutionImpossible" in output:
        said = "; ".join(dict.fromkeys(conflict))
    remedy = next((remedy for pattern, remedy in _REMEDIES if re.search(pattern, output)), "The log has the complete output of pip.")
    return f"Nothing was installed. {remedy} pip said: {said}"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])

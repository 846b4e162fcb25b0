"""The folder of the plugin's own packages: where it is, what is found there or elsewhere, and the message on what is missing."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import shutil
import sys
from collections.abc import Sequence

from qgis.core import QgsApplication

from .pip_command import TITLES, command_by_hand

MENU_PATH = "Plugins > ScoreAD > Install PyTorch..."


def package_folder() -> str:
    """Folder in the user's profile for packages that only this plugin uses, so that none of QGIS' own is replaced."""
    return os.path.normpath(os.path.join(QgsApplication.qgisSettingsDirPath(), "python", "scoread_packages"))


def removal_mark(folder: str) -> str:
    """File beside `folder` that marks it for removal when QGIS starts, before anything in it is loaded."""
    return folder + ".remove"


def add_package_folder() -> None:
    """Append the plugin's own folder to the search path, so that packages of QGIS come first. No restart is needed."""
    folder = package_folder()
    if os.path.exists(removal_mark(folder)):
        return
    if os.path.isdir(folder) and folder not in sys.path:
        sys.path.append(folder)
    importlib.invalidate_caches()


def remove_marked_folder() -> None:
    """Finish an uninstall that had to wait until QGIS released the files. Called once, when the plugin is loaded."""
    folder = package_folder()
    if os.path.exists(removal_mark(folder)):
        shutil.rmtree(folder, ignore_errors=True)
        if not os.path.exists(folder):
            os.remove(removal_mark(folder))


def location(name: str) -> str:
    """Folder of an importable package, without importing it; "" if it does not exist, or no longer exists."""
    spec = importlib.util.find_spec(name)
    origin = spec.origin if spec is not None else None
    return os.path.dirname(origin) if origin is not None and os.path.exists(origin) else ""


def version(name: str) -> str:
    """Version of an installed package, without importing it; "" if unknown."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def is_ours(name: str) -> bool:
    """Whether a package is found in the plugin's own folder."""
    return os.path.normcase(os.path.dirname(location(name))) == os.path.normcase(package_folder())


def missing(needed: Sequence[str] = ("torch", "scipy")) -> list[str]:
    """Those of the `needed` packages that cannot be found."""
    add_package_folder()
    return [name for name in needed if not location(name)]


def versions_to_keep() -> dict[str, str]:
    """Version of each package that QGIS' Python has, and that torch, or something it brings, imports: {name: version}."""
    return {name: version(name).partition("+")[0] for name in ("numpy", "scipy", "sympy", "typing_extensions") if version(name)}


def missing_packages_message(needed: Sequence[str]) -> str:
    """A message on which of the `needed` packages are missing and how to install them; "" if all are there. Imports none of them."""
    names = missing(needed)
    if not names:
        return ""
    return (
        f"This algorithm needs {' and '.join(TITLES[name] for name in names)}, which QGIS' Python does not have. Click {MENU_PATH} "
        "in QGIS. Without a desktop, run this command in a terminal (on Windows, the OSGeo4W shell):\n\n"
        f"{command_by_hand(names, package_folder(), versions_to_keep())}\n"
    )

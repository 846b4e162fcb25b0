"""Installing with a real pip: all or nothing, whatever happens."""

import importlib.metadata
import os
import sys
import threading
from pathlib import Path

import pytest
from qgis.PyQt.QtCore import QLockFile
from wheels import WORKING_TORCH, Server, make_wheel, pip_environment

from scoread_qgis.core.progress import Cancelled, Progress
from scoread_qgis.installation import installer, packages
from scoread_qgis.installation.installer import install, uninstall
from scoread_qgis.installation.pip_command import Source, proxy_url

NUMPY = importlib.metadata.version("numpy")


@pytest.fixture(autouse=True)
def clean_pip(qgis_app, monkeypatch):
    """pip without what this machine's configuration tells it."""
    wanted = pip_environment(os.environ)
    for name in set(os.environ) - set(wanted):
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", wanted["PIP_CONFIG_FILE"])


@pytest.fixture(autouse=True)
def trial_of_what_was_installed(monkeypatch):
    """The torch of this Python comes first on the path, and would be tried instead."""
    monkeypatch.setitem(installer._TRIALS, "torch", "sys.path.insert(0, sys.path[-1]); " + installer._TRIALS["torch"])


class Desk:
    """A profile folder, a folder of wheels, and what an install in it said."""

    def __init__(self, folder):
        self.wheels, self.profile = folder / "wheels", folder / "profile"
        self.profile.mkdir()
        self.wheels.mkdir()
        self.folder = self.profile / "python" / "packages"
        self.log, self.progress = [], []

    def install(self, source=None, kept=None, proxy="", progress=None):
        source = source or Source("", folder=str(self.wheels), download_mb=0, disk_mb=1)
        kept = {"numpy": NUMPY} if kept is None else kept
        progress = progress or (lambda fraction, message: self.progress.append(fraction))
        install(["torch"], source, str(self.folder), kept, proxy, Progress(progress), self.log.append)

    def fails(self, message, **options):
        """An install that fails with this message, and leaves nothing."""
        with pytest.raises(ValueError, match=message) as error:
            self.install(**options)
        self.is_clean()
        return str(error.value)

    def is_clean(self):
        python = self.profile / "python"
        assert not python.is_dir() or list(python.iterdir()) == []


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


class TestInstalls:
    def test_from_a_folder_with_what_torch_needs(self, desk):
        make_wheel(desk.wheels, requires=["sidekick>=2"])
        make_wheel(desk.wheels, "sidekick", "2.0", "")
        desk.install()
        assert {path.name for path in desk.folder.iterdir()} == {"torch", "torch-9.9.dist-info", "sidekick", "sidekick-2.0.dist-info"}
        assert list(desk.folder.parent.iterdir()) == [desk.folder], "no staging folder, no lock"
        assert desk.progress == sorted(desk.progress)
        assert desk.progress[-1] == 1
        assert any("Successfully installed" in line for line in desk.log)

    def test_qgis_keeps_its_numpy_and_gets_no_second_one(self, desk):
        make_wheel(desk.wheels, requires=["numpy"])
        make_wheel(desk.wheels, "numpy", NUMPY, "")
        make_wheel(desk.wheels, "numpy", "99.0", "")
        desk.install()
        assert {path.name for path in desk.folder.iterdir()} == {"torch", "torch-9.9.dist-info"}

    def test_from_an_index(self, desk):
        make_wheel(desk.wheels)
        with Server(desk.wheels) as server:
            desk.install(Source("", index=server.url, disk_mb=1))
        assert (desk.folder / "torch" / "__init__.py").is_file()

    def test_after_qgis_ended_in_the_midst_of_an_install(self, desk):
        make_wheel(desk.wheels)
        left = Path(f"{desk.folder}.installing") / "scratch"
        left.mkdir(parents=True)
        (left / "half").write_text("half of a download")
        desk.install()
        assert list(desk.folder.parent.iterdir()) == [desk.folder]

    def test_through_the_proxy_with_its_password(self, desk):
        make_wheel(desk.wheels)
        with Server(desk.wheels, login="me:p@ss:w/rd") as proxy:
            desk.install(
                Source("", index="http://localhost:9/simple", disk_mb=1),
                proxy=proxy_url("http", "localhost", proxy.port, "me", "p@ss:w/rd"),
            )
            asked = [path for _, path, _ in proxy.requests]
        assert asked[0] == "http://localhost:9/simple/torch/", "the proxy was asked for the page of another server"
        assert (desk.folder / "torch").is_dir()
        assert not any("p@ss" in line or "p%40ss" in line for line in desk.log)


class TestFails:
    """Each with a message that helps, and nothing left."""

    def test_no_wheel(self, desk):
        desk.fails(r"There is no wheel for Python \d.\d+ on this system.*pip said: .*torch")

    def test_damaged_wheel(self, desk):
        (desk.wheels / "torch-9.9-py3-none-any.whl").write_bytes(b"not a wheel at all")
        desk.fails("A wheel is damaged. Download it again")

    def test_truncated_wheel(self, desk):
        wheel = make_wheel(desk.wheels)
        wheel.write_bytes(wheel.read_bytes()[:300])
        desk.fails("A wheel is damaged. Download it again")

    def test_torch_that_wants_another_numpy(self, desk):
        make_wheel(desk.wheels, requires=["numpy==99.0"])
        make_wheel(desk.wheels, "numpy", "99.0", "")
        message = desk.fails("incompatible with the packages of QGIS, which are not replaced")
        assert "torch 9.9 depends on numpy==99.0" in message
        assert f"numpy=={NUMPY}" in message

    def test_torch_that_does_not_run_here(self, desk):
        make_wheel(desk.wheels, code="raise ImportError('DLL load failed while importing _C')")
        desk.fails("does not work in QGIS' Python: ImportError: DLL load failed.*Visual C")

    def test_server_that_is_not_there(self, desk):
        desk.fails(
            "cannot be reached. Check the connection, and the proxy", source=Source("", index="http://localhost:9/simple", disk_mb=1)
        )

    def test_proxy_that_wants_another_password(self, desk):
        make_wheel(desk.wheels)
        with Server(desk.wheels, login="me:right") as proxy:
            source = Source("", index="https://download.example/whl", disk_mb=1)
            desk.fails(
                "requires a user name and a password", source=source, proxy=proxy_url("http", "localhost", proxy.port, "me", "wrong")
            )
            assert proxy.requests[0][:2] == ("CONNECT", "download.example:443")
        assert not any("wrong" in line for line in desk.log)

    def test_folder_that_cannot_be_made(self, desk):
        make_wheel(desk.wheels)
        (desk.profile / "python").write_text("a file in the way")
        with pytest.raises(ValueError, match=r"cannot be written: .*Check the permissions"):
            desk.install()
        assert (desk.profile / "python").read_text(encoding="utf-8") == "a file in the way"

    def test_full_disk(self, desk):
        make_wheel(desk.wheels)
        desk.fails("MB are free. Free some space", source=Source("", folder=str(desk.wheels), disk_mb=10**9))

    def test_what_is_there_already_is_not_touched(self, desk):
        make_wheel(desk.wheels)
        desk.install()
        before = sorted(desk.folder.rglob("*"))
        with pytest.raises(ValueError, match="already exists. Uninstall it first"):
            desk.install()
        assert sorted(desk.folder.rglob("*")) == before

    def test_two_at_the_same_time(self, desk):
        make_wheel(desk.wheels)
        desk.folder.parent.mkdir()
        lock = QLockFile(f"{desk.folder}.installing.lock")
        assert lock.tryLock(0)
        with pytest.raises(ValueError, match="Another QGIS is installing"):
            desk.install()
        lock.unlock()
        desk.install()

    def test_no_python_of_this_version(self, desk, monkeypatch, tmp_path):
        other = tmp_path / "python3"
        other.write_text("#!/bin/sh\necho python 2 7 9223372036854775807\n")
        other.chmod(0o755)
        monkeypatch.setattr(installer, "python_candidates", lambda: [str(other), str(tmp_path / "gone")])
        desk.fails(r"No Python \d.\d+ with pip was found.*python3-pip")

    def test_another_python_is_passed_over(self, desk, monkeypatch, tmp_path):
        make_wheel(desk.wheels)
        other = tmp_path / "python3"
        other.write_text("#!/bin/sh\necho python 2 7 9223372036854775807\n")
        other.chmod(0o755)
        monkeypatch.setattr(installer, "python_candidates", lambda: [str(other), sys.executable])
        desk.install()
        assert f"Python: {sys.executable}" in desk.log


def test_cancel_in_the_midst_of_a_download(desk):
    make_wheel(desk.wheels, code=WORKING_TORCH + "#" * 500_000)

    with Server(desk.wheels, stalls=True) as server:

        def cancel_when_half_is_there(fraction, message):
            if server.stalled.is_set():
                raise Cancelled

        with pytest.raises(Cancelled):
            desk.install(Source("", index=server.url, disk_mb=1), progress=cancel_when_half_is_there)
        assert any(path.endswith(".whl") for _, path, _ in server.requests)
    desk.is_clean()
    children = Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text(encoding="utf-8").split()
    assert not [c for c in children if b"pip" in Path(f"/proc/{c}/cmdline").read_bytes()], "pip was ended"


class TestUninstall:
    def test_it_is_gone(self, desk):
        make_wheel(desk.wheels)
        desk.install()
        assert uninstall(str(desk.folder), log=desk.log.append)
        desk.is_clean()
        desk.install()

    def test_nothing_there(self, desk):
        assert uninstall(str(desk.folder), log=desk.log.append)

    def test_files_in_use_are_removed_when_qgis_starts_next(self, desk, monkeypatch):
        """Windows renames no folder with a file that is loaded."""
        make_wheel(desk.wheels)
        desk.install()

        def refuse(*paths):
            raise PermissionError(13, "The process cannot access the file because it is being used by another process")

        monkeypatch.setattr(packages, "package_folder", lambda: str(desk.folder))
        with monkeypatch.context() as windows:
            windows.setattr(os, "rename", refuse)
            assert not uninstall(str(desk.folder), log=desk.log.append)
        assert "will be removed when QGIS starts next" in desk.log[-1]
        packages.add_package_folder()
        assert str(desk.folder) not in sys.path
        with pytest.raises(ValueError, match="restart QGIS"):
            desk.install()
        packages.remove_marked_folder()
        desk.is_clean()

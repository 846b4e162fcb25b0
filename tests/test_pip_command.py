"""How pip is asked: the right Python, the right packages, and commands that work when typed."""

import os
import shlex
import subprocess

import pytest
from wheels import make_wheel, pip_environment

from scoread_qgis.installation import pip_command
from scoread_qgis.installation.pip_command import (
    CPU_INDEX,
    CUDA_INDEX,
    OLD_CUDA_INDEX,
    Source,
    command_by_hand,
    environment,
    explain,
    pip_runs,
    proxy_url,
    python_candidates,
    requirements,
    sources,
    wheels,
    without_passwords,
)


def touch(folder, *files):
    for file in files:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


class TestPython:
    """sys.executable is QGIS itself, or another Python that happens to be first on the PATH."""

    def test_windows(self, tmp_path):
        root = touch(tmp_path, "bin/qgis-bin.exe", "bin/python3.exe", "apps/Python39/python.exe", "apps/Python39/pythonw.exe")
        prefix = str(root / "apps/Python39")
        found = python_candidates(str(root / "bin/qgis-bin.exe"), (prefix, prefix, prefix), (3, 9), windows=True)
        assert found == [str(root / "apps/Python39/python.exe"), str(root / "bin/python3.exe")]

    def test_bundle_of_macos(self, tmp_path):
        contents = touch(tmp_path / "QGIS.app/Contents", "MacOS/QGIS", "MacOS/bin/python3.9", "MacOS/bin/python3")
        prefix = str(contents / "MacOS")
        found = python_candidates(str(contents / "MacOS/QGIS"), (prefix,), (3, 9), windows=False)
        assert found == [f"{prefix}/bin/python3.9", f"{prefix}/bin/python3"]

    def test_bundle_of_macos_with_python_beside_the_program(self, tmp_path):
        contents = touch(tmp_path / "QGIS.app/Contents", "MacOS/QGIS", "MacOS/python3.12", "Frameworks/lib/libpython3.12.dylib")
        found = python_candidates(str(contents / "MacOS/QGIS"), (str(contents / "Frameworks"),), (3, 12), windows=False)
        assert found == [str(contents / "MacOS/python3.12")]

    def test_linux_where_another_python_is_first_on_the_path(self, tmp_path):
        root = touch(tmp_path, "usr/bin/qgis", "usr/bin/python3.11", "usr/bin/python3", "home/.pyenv/shims/python3")
        found = python_candidates(str(root / "home/.pyenv/shims/python3"), (str(root / "usr"),), (3, 11), windows=False)
        assert found == [str(root / file) for file in ("usr/bin/python3.11", "usr/bin/python3", "home/.pyenv/shims/python3")]

    def test_nothing_there(self, tmp_path):
        assert python_candidates(str(tmp_path / "qgis"), (str(tmp_path),), (3, 11), windows=False) == []

    def test_this_one(self):
        code = "import sys; print(sys.version_info[:2], sys.prefix)"
        run = [
            subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout
            for python in (python_candidates()[0], os.sys.executable)
        ]
        assert run[0] == run[1]


class TestSources:
    @pytest.mark.parametrize(
        ("system", "machine", "sympy", "indexes"),
        [
            ("linux", "x86_64", "1.13.3", [CPU_INDEX, CUDA_INDEX]),
            ("linux", "x86_64", "1.11.1", [CPU_INDEX, OLD_CUDA_INDEX]),
            ("win32", "AMD64", "1.13.3", [CPU_INDEX, CUDA_INDEX]),
            ("linux", "aarch64", "1.13.3", [CPU_INDEX]),
            ("darwin", "arm64", "1.13.3", [""]),
        ],
    )
    def test_builds_of_a_system(self, system, machine, sympy, indexes):
        assert [source.index for source in sources({"sympy": sympy}, system, machine)] == indexes

    def test_scipy_does_not_come_from_the_index_of_pytorch(self):
        torch, scipy = pip_runs(["torch", "scipy"], Source("", CPU_INDEX), "folder", {"numpy": "1.24.2"}, "constraints.txt")
        assert torch[-3:] == ["--index-url", CPU_INDEX, "torch"]
        assert scipy[-1] == "scipy"
        assert "--index-url" not in scipy

    def test_size_of_a_folder(self, tmp_path):
        (tmp_path / "torch-9.9-py3-none-any.whl").write_bytes(bytes(3 * 2**20))
        assert wheels(str(tmp_path)).disk_mb == 12


@pytest.mark.parametrize(
    ("kept", "expected"),
    [
        ({}, "torch"),
        ({"numpy": "1.24.2", "sympy": "1.13.3", "typing_extensions": "4.10.0"}, "torch"),
        ({"sympy": "1.11.1"}, "torch~=2.4.0"),
        ({"typing_extensions": "4.9.0"}, "torch~=2.5.0"),
        ({"typing_extensions": "4.9.0", "sympy": "1.12"}, "torch~=2.4.0"),
        ({"typing_extensions": "3.10.0.2", "sympy": "1.9"}, "torch~=2.1.0"),
    ],
)
def test_old_packages_of_qgis_get_a_torch_that_takes_them(kept, expected):
    assert requirements(["torch", "scipy"], kept) == [expected, "scipy"]


class TestByHand:
    def test_the_command_works_as_it_is_printed(self, tmp_path):
        make_wheel(tmp_path / "my wheels")
        folder = tmp_path / "a profile" / "packages"
        command = command_by_hand(["torch"], str(folder), {"numpy": "1.24.2"}, wheels(str(tmp_path / "my wheels")))
        done = subprocess.run(shlex.split(command), env=pip_environment(os.environ), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert (folder / "torch/__init__.py").is_file()

    @pytest.mark.only_on("linux", "darwin")
    def test_a_shell_runs_nothing_that_is_in_the_name_of_a_folder(self, tmp_path):
        folder = tmp_path / """$(touch one) `touch two` "; touch three; ' \\ !a"""
        command = command_by_hand(["torch"], str(folder), {}, Source("", CPU_INDEX)).partition(" install ")[2]
        done = subprocess.run(["sh", "-c", f"printf '%s\\n' {command}"], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[:2] == ["--target", str(folder)]
        assert list(tmp_path.iterdir()) == []

    def test_windows_gets_quotes_that_it_knows(self, monkeypatch):
        monkeypatch.setattr(pip_command.os, "name", "nt")
        command = command_by_hand(["torch"], r"C:\Users\A B\p", {"sympy": "1.12"}, Source("", CPU_INDEX), flatpak=False)
        assert r'--target "C:\Users\A B\p"' in command and command.endswith(" torch~=2.4.0") and "'" not in command

    def test_scipy_keeps_numpy(self):
        torch, scipy = command_by_hand(["torch", "scipy"], "/profile/p", {"numpy": "1.24.2"}, Source("", CPU_INDEX)).splitlines()
        assert torch.endswith(f"--index-url {CPU_INDEX} torch")
        assert scipy.endswith(":all: scipy numpy==1.24.2")

    def test_flatpak(self, monkeypatch):
        monkeypatch.delenv("FLATPAK_ID", raising=False)
        command = command_by_hand(["torch"], "/profile/p", {}, Source("", CPU_INDEX), flatpak=True)
        assert (
            command == "flatpak run --devel --command=pip3 org.qgis.qgis install --target /profile/p --only-binary :all: "
            f"--index-url {CPU_INDEX} torch"
        )

    def test_obstacles_are_told_with_the_remedy(self, monkeypatch, tmp_path):
        assert pip_command.pip_obstacle() == ""
        monkeypatch.setattr(pip_command, "python_candidates", lambda: [])
        assert "no pip" in pip_command.pip_obstacle()
        monkeypatch.setattr(pip_command, "FLATPAK_INFO", str(touch(tmp_path, ".flatpak-info") / ".flatpak-info"))
        assert "Flatpak" in pip_command.pip_obstacle()


class TestProxy:
    def test_passwords_are_encoded(self):
        assert proxy_url("http", "proxy", 3128, "me", "p@ss:w/rd") == "http://me:p%40ss%3Aw%2Frd@proxy:3128"
        assert proxy_url("http", "proxy", 3128, "", "") == "http://proxy:3128"

    def test_and_not_shown(self):
        assert without_passwords("cannot reach http://me:p%40ss@proxy:3128/x") == "cannot reach http://***@proxy:3128/x"

    @pytest.mark.parametrize("password", ["p/ss", "p@ss", "p@s/s@", "/", "@", "a:b", "#?&=%"])
    def test_and_not_shown_where_nobody_encoded_it(self, password):
        shown = without_passwords(
            f"('Cannot connect to proxy', http://me:{password}@proxy:3128/x)\nLooking in indexes: https://a.org/simple"
        )
        assert shown == "('Cannot connect to proxy', http://***@proxy:3128/x)\nLooking in indexes: https://a.org/simple"
        assert without_passwords(f"Failed to parse: //me:{password}@proxy") == "Failed to parse: //***@proxy"

    def test_pip_gets_it_in_the_environment(self):
        assert environment("http://me:x@proxy:3128")["https_proxy"] == "http://me:x@proxy:3128"
        assert "https_proxy" not in environment()


@pytest.mark.parametrize(
    ("output", "remedy"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "The disk is full"),
        ("WARNING: Retrying ... SSLError(SSLCertVerificationError(1, 'CERTIFICATE_VERIFY_FAILED'\n"
         "ERROR: No matching distribution found for torch", "PIP_CERT"),
        ("ERROR: Could not install packages due to an OSError: Missing dependencies for SOCKS support.", "PySocks"),
        ("something that nobody foresaw", "The log has the complete output"),
        ("", "pip ended without a message"),
    ],
)  # fmt: skip
def test_what_pip_says_gets_a_remedy(output, remedy):
    assert remedy in explain(output)
    assert explain(output).startswith("Nothing was installed.")

"""The zip, checked as plugins.qgis.org checks an upload: layout, metadata, licence, and what bandit, flake8, detect-secrets find."""

import json
import re
import shutil
import subprocess
import sys
import zipfile
from configparser import ConfigParser
from pathlib import Path
from urllib.parse import urlparse

import pytest
from conftest import BUILT
from package import pack

ROOT = Path(__file__).resolve().parents[1]
REQUIRED = ("name", "description", "version", "qgisMinimumVersion", "author", "about", "tracker", "repository")
# Hosts that nobody can reach: RFC 2606 and RFC 6761.
RESERVED = ("example", "test", "invalid", "localhost", "example.com", "example.net", "example.org")


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """The zip, open."""
    path = tmp_path_factory.mktemp("package") / "scoread_qgis.zip"
    pack(BUILT, path)
    with zipfile.ZipFile(path) as opened:
        yield opened


@pytest.fixture
def unpacked(package, tmp_path):
    """The folder in which the zip's folder lies, as a user unpacks it; a test may change it."""
    package.extractall(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def metadata(package):
    parser = ConfigParser()
    parser.optionxform = str
    parser.read_string(package.read("scoread_qgis/metadata.txt").decode("utf-8"))
    return dict(parser["general"])


def test_one_folder_with_all_that_qgis_needs(package):
    assert package.testzip() is None
    names = package.namelist()
    assert {name.split("/")[0] for name in names} == {"scoread_qgis"}
    assert {"scoread_qgis/__init__.py", "scoread_qgis/metadata.txt", "scoread_qgis/LICENSE"} <= set(names)
    assert len(names) == len(set(names))
    built = {path.relative_to(BUILT.parent).as_posix() for path in BUILT.rglob("*") if path.suffix in (".py", ".svg", ".model3")}
    assert built <= set(names)


def test_small(package):
    assert Path(package.filename).stat().st_size <= 25_000_000


def test_nothing_that_does_not_belong(package):
    for entry in package.infolist():
        parts = entry.filename.split("/")
        assert not any(part.startswith(".") or part in ("__pycache__", "__MACOSX", "tests", "test") for part in parts), entry.filename
        assert not parts[-1].startswith("test_"), entry.filename
        assert not (entry.external_attr >> 16) & 0o111, f"{entry.filename} is executable"
        assert not entry.filename.lower().endswith((".sh", ".bat", ".cmd", ".ps1")), entry.filename
        if not entry.filename.endswith((".png", ".qm")):
            content = package.read(entry)
            assert b"\0" not in content, f"{entry.filename} is binary"
            content.decode("utf-8")


def test_the_same_files_give_the_same_zip_without_leftovers(package, tmp_path):
    copy = tmp_path / "scoread_qgis"
    shutil.copytree(BUILT, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for leftover in (".hidden", "__pycache__/cube.cpython-39.pyc", "scenes/.folder/file.txt"):
        (copy / leftover).parent.mkdir(exist_ok=True)
        (copy / leftover).write_bytes(b"\0")
    pack(copy, tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == Path(package.filename).read_bytes()


def test_metadata(metadata, package):
    assert [key for key in REQUIRED if not metadata.get(key, "").strip()] == []
    assert metadata["qgisMinimumVersion"] == "3.22"
    assert "qgisMaximumVersion" not in metadata, "it was never run beyond QGIS 3, which is the limit where none is named"
    assert "supportsQt6" not in metadata
    assert re.fullmatch(r"[^/]+", metadata["author"])
    # plugins.qgis.org wants an address at which somebody answers: whoever publishes the plugin enters theirs (CONTRIBUTING.md).
    assert metadata["email"] == "" or _looks_reachable(f"https://{metadata['email'].partition('@')[2]}")
    assert metadata["hasProcessingProvider"] == "yes"
    assert {metadata["experimental"], metadata["deprecated"]} == {"False"}
    assert f"scoread_qgis/{metadata['icon']}" in package.namelist()


@pytest.mark.parametrize("key", ["homepage", "repository", "tracker"])
def test_links_look_reachable(metadata, key):
    assert _looks_reachable(metadata[key])


@pytest.mark.parametrize(
    "link", ["", "http://repo", "http://github.com/a/b", "https://", "https://localhost/a", "https://a.example", "https://example.org/a"]
)
def test_links_that_do_not(link):
    assert not _looks_reachable(link)


def _looks_reachable(link):
    parts = urlparse(link)
    host = parts.hostname or ""
    reserved = any(host == name or host.endswith(f".{name}") for name in RESERVED)
    return parts.scheme == "https" and re.fullmatch(r"([a-z0-9-]+\.)+[a-z]{2,}", host) is not None and not reserved


def test_one_semantic_version(metadata):
    version = metadata["version"]
    assert re.fullmatch(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?", version)
    changes = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert changes[0] == version
    others = [ROOT / "Makefile", ROOT / "pyproject.toml", *(ROOT / "scoread_qgis").rglob("*.py"), *(ROOT / "scripts").rglob("*.py")]
    again = re.compile(rf"(?<![\d.]){re.escape(version)}(?![\d.])")
    assert [path for path in others if again.search(path.read_text(encoding="utf-8"))] == []


def test_license_is_the_text_of_the_gpl(package):
    text = package.read("scoread_qgis/LICENSE").decode("utf-8")
    words = " ".join(text.split())
    assert words.startswith(("GNU GENERAL PUBLIC LICENSE Version 2, June 1991", "GNU GENERAL PUBLIC LICENSE Version 3, 29 June 2007"))
    assert "TERMS AND CONDITIONS" in words
    assert "END OF TERMS AND CONDITIONS" in words
    assert "either version" in words
    assert "(at your option) any later version" in words
    assert "GPL, version 2 or later" in (ROOT / "README.md").read_text(encoding="utf-8")


def call(folder, tool, *arguments):
    """What a tool prints that looks at `folder`, with its own settings and not the project's."""
    done = subprocess.run([sys.executable, "-m", tool, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


def bandit(folder):
    report = json.loads(call(folder, "bandit", "--quiet", "--recursive", "--format", "json", "."))
    assert report["errors"] == []
    assert report["metrics"]["_totals"]["loc"] > 1000
    return [f"{found['filename']}:{found['line_number']}: {found['test_id']} {found['issue_text']}" for found in report["results"]]


def flake8(folder):
    # How a slice is spaced (E203) and how long a message is (E501) are `ruff format`'s to say; plugins.qgis.org asks for neither.
    return call(folder, "flake8", "--isolated", "--extend-ignore=E203,E501", ".").splitlines()


def detect_secrets(folder):
    found = json.loads(call(folder, "detect_secrets", "scan", "--all-files", "."))["results"]
    return [f"{path}:{secret['line_number']}: {secret['type']}" for path, secrets in found.items() for secret in secrets]


@pytest.mark.parametrize(
    ("tool", "bad"),
    [
        (bandit, "import subprocess\n\nsubprocess.run('ls *', shell=True)\n"),
        (bandit, "assert True\n"),
        (flake8, "import os\n"),
        (detect_secrets, "KEY = 'AKIA" + "Q3EGRIHY7CLT5XPD'\n"),
    ],
    ids=["bandit: a shell", "bandit: assert", "flake8: unused", "detect-secrets: a key"],
)
def test_no_findings_and_a_bad_file_is_found(tool, bad, unpacked):
    assert tool(unpacked) == []
    (unpacked / "scoread_qgis" / "bad.py").write_text(bad, encoding="utf-8")
    found = tool(unpacked)
    assert found
    assert all("bad.py" in line for line in found)

"""The layers: what may import what, and that nothing heavy is loaded before an algorithm runs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PLUGIN = Path(__file__).resolve().parents[1] / "scoread_qgis"
FILES = sorted(PLUGIN.rglob("*.py"))


def imports(path):
    """Top-level packages that a file imports anywhere, and the names of the plugin's own parts."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module.split(".")[0])
        elif isinstance(node, ast.ImportFrom):
            base = path.parents[node.level - 1].relative_to(PLUGIN)
            found.add("." + "/".join([*base.parts, *(node.module or "").split(".")][:1]))
    return found


@pytest.mark.parametrize(
    ("folder", "forbidden"),
    [
        ("detectors", {"qgis", "osgeo", "processing", ".algorithms", ".workflows", ".reports", ".scenes", ".decisions"}),
        ("scenes", {"qgis", "torch", "processing", ".algorithms", ".workflows", ".reports", ".detectors", ".decisions"}),
        ("decisions", {"qgis", "torch", "osgeo", "processing", ".algorithms", ".workflows", ".reports", ".scenes", ".detectors"}),
        ("reports", {"qgis", "torch", "osgeo", "processing", ".algorithms", ".workflows", ".scenes", ".detectors"}),
        ("workflows", {"qgis", "processing", "distributed", ".algorithms", ".review", ".installation", ".cluster", ".commandline"}),
        ("installation", {"processing", ".algorithms", ".provider", ".plugin"}),
        ("cluster", {"qgis", "processing", ".algorithms", ".commandline"}),
        ("commandline", {"qgis", "processing", "distributed", ".algorithms"}),
        ("algorithms", {"distributed", ".cluster", ".commandline", ".review"}),
        ("review", {"torch", "scipy", "matplotlib", "distributed", ".cluster", ".commandline", ".detectors", ".decisions"}),
    ],
)
def test_dependencies_point_one_way(folder, forbidden):
    for path in (PLUGIN / folder).rglob("*.py"):
        assert not imports(path) & forbidden, path


def test_the_bottom_needs_numpy_alone():
    for path in (PLUGIN / "core").glob("*.py"):
        assert imports(path) <= {"numpy", ".core", *sys.stdlib_module_names}, path
    assert imports(PLUGIN / "installation" / "pip_command.py") <= set(sys.stdlib_module_names)


METHODS = {"default_mode", "paper_mode", "fers", "rx", "target"}


def detector_imports(path):
    """Parts of `detectors/` that a file in there imports: folders and files below it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = path.parents[node.level - 1].relative_to(PLUGIN).parts
            target = [*base, *(node.module.split(".") if node.module else [name.name for name in node.names])]
            if target[:1] == ["detectors"] and len(target) > 1:
                found.add(target[1])
    return found


def test_methods_of_detection_know_the_contract_and_what_is_shared_and_not_each_other():
    folders = {path.name for path in (PLUGIN / "detectors").iterdir() if (path / "__init__.py").exists()}
    assert folders == METHODS | {"shared"}
    for method in METHODS:
        for path in (PLUGIN / "detectors" / method).rglob("*.py"):
            assert detector_imports(path) <= {method, "shared", "contract"}, path
    for path in (PLUGIN / "detectors" / "shared").glob("*.py"):
        assert detector_imports(path) <= {"shared"}, path


def test_the_page_on_the_architecture_names_every_folder():
    page = (PLUGIN.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    folders = [path.parent.relative_to(PLUGIN) for path in PLUGIN.rglob("__init__.py") if path.parent != PLUGIN]
    assert len(folders) > 10
    for folder in folders:
        assert f"`{folder.as_posix()}/`" in page, folder


def test_only_what_qgis_has_or_the_plugin_asks_for():
    known = {"numpy", "scipy", "torch", "osgeo", "qgis", "processing", "h5py", "psutil", "matplotlib", "distributed"}
    for path in FILES:
        foreign = {name for name in imports(path) if not name.startswith(".")} - known - set(sys.stdlib_module_names)
        assert not foreign, path


def test_every_file_parses_on_the_oldest_python():
    """QGIS 3.22 on Windows has Python 3.9."""
    for path in FILES:
        ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))


def test_loading_the_provider_loads_neither_torch_nor_scipy(qgis_app):
    code = """
import sys
sys.path[:0] = [{built!r}, "/usr/share/qgis/python/plugins"]
from qgis.core import QgsApplication
application = QgsApplication([], False)
application.initQgis()
import scoread_qgis
plugin = scoread_qgis.classFactory(None)
before = set(sys.modules)
plugin.initProcessing()
assert plugin.provider.algorithm("train_sgm") is not None
loaded = {{name.split(".")[0] for name in set(sys.modules) - before}}
print("heavy:", sorted(loaded & {{"torch", "scipy", "sklearn"}}))
plugin.unload()
assert QgsApplication.processingRegistry().providerById("scoread") is None
"""
    done = subprocess.run(
        [sys.executable, "-c", code.format(built=str(PLUGIN.parent / "build"))], capture_output=True, text=True, check=False
    )
    assert "heavy: []" in done.stdout, done.stderr


def test_work_uses_nothing_of_qgis():
    """It runs on a thread of its own: objects that QGIS makes there, such as its default style, would end with it."""
    checked = 0
    for path in (PLUGIN / "algorithms").glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        froms = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        of_qgis = {name.name for node in froms if node.module.split(".")[0] in ("qgis", "styles", "maps") for name in node.names}
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and node.name == "work":
                used = {name.id for name in ast.walk(node) if isinstance(name, ast.Name)}
                assert not used & of_qgis, path
                checked += 1
    assert checked > 8


def test_benchmarks_and_scripts_name_what_the_package_has():
    """No test runs them all, and some take hours: a name that has moved is seen here."""
    missing = []
    for path in sorted(path for folder in ("benchmarks", "scripts") for path in (PLUGIN.parent / folder).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == PLUGIN.name:
                source = PLUGIN.parent.joinpath(*node.module.split("."))
                has = names_of(source / "__init__.py") if source.is_dir() else names_of(source.with_suffix(".py"))
                has |= {each.stem for each in source.glob("*")}
                missing += [f"{path.name}: {node.module}.{name.name}" for name in node.names if name.name not in has]
    assert not missing


def names_of(path):
    """Names that a module defines or imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            found |= {name.asname or name.name for name in node.names}
        elif isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
    return found

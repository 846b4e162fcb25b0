"""One code base for Qt 5 and Qt 6: no enum, name or call that QGIS 4 does not know, or that this QGIS does not."""

import ast
import importlib
import re
from enum import Enum
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted(path for folder in ("scoread_qgis", "scripts", "benchmarks", "tests") for path in (ROOT / folder).rglob("*.py"))

# What Qt 6 dropped, as its porting guides list it, and what to write instead.
NAMES = {
    "QRegExp": "QRegularExpression",
    "QRegExpValidator": "QRegularExpressionValidator",
    "QDesktopWidget": "QScreen",
    "QTextCodec": "Python's own codecs",
    "QGLWidget": "QOpenGLWidget",
    "QMatrix": "QTransform",
    "QStringRef": "str",
    "QLinkedList": "list",
    "qApp": "QApplication.instance()",
    "QVariant": "plain Python values",
}
MODULES = {"QtWebKit", "QtWebKitWidgets", "QtXmlPatterns", "QtScript", "Qt"}
METHODS = {
    "exec_": "exec()",
    "print_": "print()",
    "globalPos": "globalPosition()",
    "localPos": "position()",
    "screenPos": "globalPosition()",
    "windowPos": "scenePosition()",
    "toTime_t": "toSecsSinceEpoch()",
    "setTime_t": "setSecsSinceEpoch()",
    "setTabStopWidth": "setTabStopDistance()",
}
OTHER_BINDINGS = {"PyQt4", "PyQt5", "PyQt6", "PySide2", "PySide6", "sip"}


def outdated(source):
    """Lines "number: what is wrong" of Python code that would fail in Qt 6, or names what this QGIS does not have."""
    reader = _Reader()
    reader.visit(ast.parse(source))
    return reader.found


class _Reader(ast.NodeVisitor):
    """Follows the names that a file imports from QGIS and Qt to the real classes."""

    def __init__(self):
        self.found = []
        self.known = {}  # name in the file -> object of QGIS or Qt

    def say(self, node, text):
        self.found.append(f"{node.lineno}: {text}")

    def visit_Import(self, node):
        for name in node.names:
            if self.allowed(node, name.name) and name.asname and name.name.startswith("qgis"):
                self.known[name.asname] = importlib.import_module(name.name)
            elif name.name.startswith("qgis"):
                importlib.import_module(name.name)
                self.known["qgis"] = importlib.import_module("qgis")

    def visit_ImportFrom(self, node):
        module = node.module or ""
        if not self.allowed(node, module):
            return
        for name in node.names:
            if name.name in NAMES and module.startswith("qgis"):
                self.say(node, f"{name.name} is not in Qt 6: {NAMES[name.name]}")
            elif name.name.endswith("_rc"):
                self.say(node, f"{name.name}: Qt 6 has no compiled resources, load files by path")
            elif module.split(".")[0] == "qgis" and not node.level:
                self.follow(node, module, name)

    def allowed(self, node, module):
        parts = module.split(".")
        if parts[0] in OTHER_BINDINGS:
            self.say(node, f"{parts[0]}: import Qt from qgis.PyQt")
        elif module.startswith("qgis.PyQt.") and parts[2] in MODULES:
            self.say(node, f"{module} is not in Qt 6")
        elif parts[-1].endswith("_rc"):
            self.say(node, f"{module}: Qt 6 has no compiled resources, load files by path")
        else:
            return True
        return False

    def follow(self, node, module, name):
        if name.name in MODULES and module == "qgis.PyQt":
            self.say(node, f"{module}.{name.name} is not in Qt 6")
            return
        owner = importlib.import_module(module)
        try:
            found = getattr(owner, name.name) if hasattr(owner, name.name) else importlib.import_module(f"{module}.{name.name}")
        except ImportError:
            if module != "qgis.utils" or name.name != "iface":  # iface is there in the desktop alone
                self.say(node, f"{module} has no {name.name} here")
            return
        self.known[name.asname or name.name] = found

    def visit_ClassDef(self, node):
        bases = [self.resolve(base) for base in node.bases]
        before = self.known.get("self")
        self.known["self"] = next((base for base in bases if isinstance(base, type)), None)
        self.generic_visit(node)
        self.known["self"] = before

    def resolve(self, node):
        """The object of QGIS or Qt that an expression of names and dots stands for, or None."""
        if isinstance(node, ast.Name):
            return self.known.get(node.id)
        if isinstance(node, ast.Attribute):
            return getattr(self.resolve(node.value), node.attr, None)
        return None

    def visit_Attribute(self, node):
        owner = self.resolve(node.value)
        if node.attr in METHODS:
            self.say(node, f".{node.attr} is not in Qt 6: {METHODS[node.attr]}")
        elif isinstance(owner, type) and _foreign(owner):
            is_self = isinstance(node.value, ast.Name) and node.value.id == "self"
            if not hasattr(owner, node.attr):
                if not is_self:
                    self.say(node, f"{owner.__name__} has no {node.attr} here")
            elif _unscoped(owner, value := getattr(owner, node.attr)):
                self.say(node, f"{owner.__name__}.{node.attr}: write {owner.__name__}.{type(value).__name__}.{node.attr} for Qt 6")
        self.generic_visit(node)

    def visit_Call(self, node):
        # QFontMetrics.width(text) is gone; no other width() of Qt takes an argument.
        if isinstance(node.func, ast.Attribute) and node.func.attr == "width" and node.args:
            self.say(node, ".width(text) of QFontMetrics is not in Qt 6: horizontalAdvance(text)")
        self.generic_visit(node)

    def visit_Constant(self, node):
        if isinstance(node.value, str) and re.match(r":/[^/]", node.value):
            self.say(node, f"{node.value}: Qt 6 has no compiled resources, load files by path")


def _foreign(owner):
    return owner.__module__.split(".")[0] in {"qgis", "PyQt5", "PyQt6"}


def _unscoped(owner, value):
    """Whether `value` is a member of an enum, got from `owner`, which is not that enum."""
    return (isinstance(value, Enum) or (isinstance(value, int) and type(value) not in (int, bool))) and not isinstance(value, owner)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_code_is_ready_for_qt_6(path, qgis_app):
    if path != Path(__file__):  # whose snippets are bad on purpose
        assert outdated(path.read_text(encoding="utf-8")) == []


def test_no_compiled_resources():
    assert [path for path in (ROOT / "resources").rglob("*") if path.suffix in (".qrc", ".rcc")] == []


@pytest.mark.parametrize(
    "line",
    [
        "from PyQt5.QtCore import Qt",
        "import PyQt6.QtCore",
        "import sip",
        "from qgis.PyQt.QtCore import QRegExp",
        "from qgis.PyQt.QtCore import QVariant",
        "from qgis.PyQt.QtWidgets import QDesktopWidget",
        "from qgis.PyQt.QtGui import QNothingOfThisName",
        "from qgis.PyQt.QtWebKit import QWebSettings",
        "from qgis.PyQt import QtWebKit",
        "from . import resources_rc",
        "import resources_rc",
        "icon = ':/plugins/scoread/icon.png'",
        "dialog.exec_()",
        "QDialog().exec_()",
        "metrics.width('text')",
        "label.fontMetrics().width(text)",
        "event.globalPos()",
        "Qt.AlignLeft",
        "QtCore.Qt.AlignLeft",
        "painter.drawText(area, Qt.AlignmentFlag.AlignLeft | Qt.AlignVCenter, text)",
        "QImage.Format_RGB32",
        "QDialogButtonBox.Ok",
        "QgsProcessing.TypeRaster",
        "Qgis.Warning",
        "QgsMapLayer.Symbology",
        "qgis.core.QgsProcessing.TypeRaster",
        "QgsProcessingParameterDefinition.FlagAdvanced",
        "QgsProcessingParameterNumber.Double",
        "QgsContrastEnhancement.StretchToMinimumMaximum",
        "QgsProcessing.SourceType.NothingOfThisName",
        "class A(QgsProcessingAlgorithm):\n    def flags(self):\n        return super().flags() | self.FlagNoThreading",
    ],
)
def test_what_qt_6_does_not_know_is_found(line, qgis_app):
    assert len(outdated(_IMPORTS + line)) == 1


@pytest.mark.parametrize(
    "line",
    [
        "from qgis.PyQt.QtWidgets import QAction",
        "from qgis.utils import iface",
        "from qgis.PyQt import sip",
        "dialog.exec()",
        "rectangle.width()",
        "link = '://host'",
        "Qt.AlignmentFlag.AlignLeft",
        "QImage.Format.Format_RGB32",
        "QgsProcessing.SourceType.TypeRaster",
        "Qgis.MessageLevel.Warning",
        "Qgis.DataType.Float32",
        "Qgis.QGIS_VERSION_INT",
        "QgsProcessingParameterDefinition.Flag.FlagAdvanced",
        "QgsProcessingParameterNumber.Type.Double",
        "QgsProcessingParameterFile.Behavior.File",
        "QgsColorRampShader.Type.Interpolated",
        "QgsApplication.processingRegistry().addProvider(provider)",
    ],
)
def test_what_both_know_passes(line, qgis_app):
    assert outdated(_IMPORTS + line) == []


_IMPORTS = """
import qgis.core
from qgis.PyQt import QtCore
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtGui import QImage
from qgis.PyQt.QtWidgets import QApplication, QDialog, QDialogButtonBox
from qgis.core import (
    Qgis, QgsApplication, QgsColorRampShader, QgsContrastEnhancement, QgsMapLayer, QgsProcessing, QgsProcessingAlgorithm,
    QgsProcessingParameterDefinition, QgsProcessingParameterFile, QgsProcessingParameterNumber,
)
"""

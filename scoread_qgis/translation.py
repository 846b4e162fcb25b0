"""Strings that a user sees, in the user's language where there is a translation: resources/i18n/scoread_<language>.qm, made by Qt's
lrelease.

`make translations` writes resources/i18n/scoread.ts, which translators start from, from what passes through `tr`.
"""

from pathlib import Path

from qgis.core import QgsApplication
from qgis.PyQt.QtCore import QCoreApplication, QLocale, QTranslator

CONTEXT = "scoread"
_FOLDER = Path(__file__).parent / "resources" / "i18n"


def tr(text):
    """The text in the user's language; itself where it is not translated."""
    return QCoreApplication.translate(CONTEXT, text) if text else text


def install_translator(folder=_FOLDER):
    """Have `tr` translate into the language that QGIS runs in.

    Returns the QTranslator, to be kept; None where there is none for the language.
    """
    translator = QTranslator()
    if not translator.load(QLocale(QgsApplication.locale()), "scoread", "_", str(folder)):
        return None
    QCoreApplication.installTranslator(translator)
    return translator

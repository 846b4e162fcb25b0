"""Write resources/i18n/scoread.ts, which translators start from: python scripts/translate.py (the plugin built, QT_QPA_PLATFORM=offscreen).

The strings are those that the algorithms have translated, written down by a translator that knows no language, and those that the code of
menu, dialogs and settings hands to `tr`.
"""

import ast
from pathlib import Path
from xml.sax.saxutils import escape

PLUGIN = Path(__file__).resolve().parents[1] / "scoread_qgis"
SOURCE = Path(__file__).resolve().parents[1] / "resources" / "i18n" / "scoread.ts"


def strings(provider):
    """All translatable strings, sorted: those of the provider's algorithms and their dialogs, and those in the code."""
    from qgis.PyQt.QtCore import QCoreApplication, QTranslator

    from scoread_qgis.translation import CONTEXT

    class Recorder(QTranslator):
        def translate(self, context, text, disambiguation=None, n=-1):
            if context == CONTEXT:
                found.add(text)
            return None

        def isEmpty(self):
            return False

    found, recorder = set(), Recorder()
    QCoreApplication.installTranslator(recorder)
    try:
        for algorithm in provider.algorithms():
            dialog = algorithm.create()
            dialog.displayName(), dialog.group(), dialog.shortHelpString()
    finally:
        QCoreApplication.removeTranslator(recorder)
    return sorted(found | in_code())


def in_code():
    """The strings that code hands to `tr` as they are."""
    calls = [
        node
        for path in PLUGIN.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
    ]
    texts = [call.args[0] for call in calls if isinstance(call.func, ast.Name) and call.func.id == "tr" and call.args]
    return {text.value for text in texts if isinstance(text, ast.Constant)}


def source(texts, translations=None, language=""):
    """Qt Linguist's XML of texts; with their translations, text -> text, where there are any."""
    lines = [
        '<?xml version="1.0" encoding="utf-8"?>', "<!DOCTYPE TS>",
        f'<TS version="2.1" sourcelanguage="en"{f" language={chr(34)}{language}{chr(34)}" if language else ""}>',
        "<context>", "    <name>scoread</name>",
    ]  # fmt: skip
    for text in texts:
        translation = (translations or {}).get(text)
        translated = f"<translation>{escape(translation)}</translation>" if translation else '<translation type="unfinished"></translation>'
        lines += ["    <message>", f"        <source>{escape(text)}</source>", f"        {translated}", "    </message>"]
    return "\n".join([*lines, "</context>", "</TS>", ""])


if __name__ == "__main__":
    from headless import registered_provider

    with registered_provider() as provider:
        SOURCE.parent.mkdir(exist_ok=True)
        texts = strings(provider)
        SOURCE.write_text(source(texts), encoding="utf-8")
        print(f"wrote resources/i18n/scoread.ts, {len(texts)} strings")

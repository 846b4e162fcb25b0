"""Help and translations: the pages in docs/ are those of the algorithms, each help button opens its page, and what a user reads is
translated.
"""

import html
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import BUILT

ROOT = Path(__file__).resolve().parents[1]


def test_the_pages_are_those_of_the_algorithms(provider):
    from document import FOLDER, pages

    assert {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()} == pages(provider), "run `make docs`"


def test_every_help_button_opens_a_page_that_the_plugin_carries(provider):
    """As the dialog has it, which works with an instance that `create` makes."""
    from qgis.PyQt.QtCore import QUrl

    for algorithm in provider.algorithms():
        for instance in (algorithm, algorithm.create()):
            page = Path(QUrl(instance.helpUrl()).toLocalFile())
            assert page.parent == BUILT / "help"
            text = page.read_text(encoding="utf-8")
            assert f"<h1>{instance.displayName()}</h1>" in text
            assert "http" not in text, "nothing that needs a network"
            for definition in instance.parameterDefinitions():
                assert f"<code>{definition.name()}</code></td><td><b>" in text
            assert not re.search(r"\*\*|^\||#+ |\]\(", text.replace("{", "").replace("}", ""), re.MULTILINE), (
                "Markdown that was not understood"
            )


def test_the_pages_lead_to_each_other_and_keep_what_html_would_take():
    from help_pages import page

    for path in (BUILT / "help").iterdir():
        for target in re.findall(r'href="([^"]+)"', path.read_text(encoding="utf-8")):
            assert (path.parent / target).is_file(), f"{path}: {target}"
    text = page("# A & B\n\n[C](c.md) `<d>` **e**\n\n| f | g |\n|---|---|\n| 1 \\| 2 |  |\n\n```sh\nrun *<x>*\n```\n")
    assert "<title>A &amp; B</title>" in text
    assert '<p><a href="c.html">C</a> <code>&lt;d&gt;</code> <b>e</b></p>' in text
    assert "<td>1 | 2</td><td></td>" in text
    assert "<pre><code>run *&lt;x&gt;*</code></pre>" in text


def test_the_help_in_the_dialog_tells_it_all(provider):
    for registered in provider.algorithms():
        algorithm = registered.create()
        text = html.unescape(algorithm.shortHelpString())
        assert algorithm.HELP in text
        for definition in [*algorithm.parameterDefinitions(), *algorithm.outputDefinitions()]:
            assert f">{definition.description()}</span>" in text, f"{algorithm.id()} {definition.name()}"
        assert all(definition.help() in text for definition in algorithm.parameterDefinitions())
        assert f"qgis_process run {algorithm.id()} -- " in text
        assert text.startswith("</p><div") and "\n" not in text, "QGIS makes an element p of each line"
        assert not re.search(r"<(p|b|h\d|dt|dd)\b|color", text), "which QGIS prints in grey, unreadable in dark themes"


def test_icons_are_readable_on_white_and_on_dark(provider):
    from qgis.PyQt.QtGui import QIcon

    def luminance(colour):
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in (colour.redF(), colour.greenF(), colour.blueF())]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for path in {algorithm.svgIconPath() for algorithm in provider.algorithms()}:
        image = QIcon(path).pixmap(24, 24).toImage()
        pixels = [image.pixelColor(x, y) for x in range(image.width()) for y in range(image.height())]
        seen = [luminance(pixel) for pixel in pixels if pixel.alpha() > 128]
        assert len(seen) > 30
        for background in (1.0, 0.032):  # that of Night Mapping is #323232
            clear = [max(one, background) + 0.05 > 2.5 * (min(one, background) + 0.05) for one in seen]
            assert sum(clear) > 0.6 * len(seen), f"{path} on {background}"


def test_links_of_the_documentation_lead_somewhere():
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page}: {target}"


def test_the_examples_run(provider, sample, tmp_path):
    """The chain of the first examples, word by word, in a folder that has the scene."""
    import processing

    from scoread_qgis.algorithms.help import example

    shutil.copy(sample.path, tmp_path / "hyperspectral_scene.tif")
    for name, made in (("train_sgm", "model.pt"), ("detect_anomalies", "anomaly_map.tif"), ("detect_rx", "rx_map.tif")):
        command, algorithm, *values = shlex.split(example(provider.algorithm(name)).replace("qgis_process run", "qgis_process"))
        assert (command, values.pop(0)) == ("qgis_process", "--")
        files = dict(value.split("=", 1) for value in values)
        processing.run(algorithm, {parameter: str(tmp_path / file) for parameter, file in files.items()})
        assert (tmp_path / made).is_file()


class TestTranslation:
    def test_the_strings_to_translate_are_those_of_the_algorithms(self, provider):
        from translate import SOURCE, source, strings

        assert SOURCE.read_text(encoding="utf-8") == source(strings(provider)), "run `make translations`"

    def test_strings_cover_what_a_user_reads(self, provider):
        from qgis.core import QgsProcessingModelAlgorithm
        from translate import strings

        found = set(strings(provider))
        for registered in provider.algorithms():
            algorithm = registered.create()
            assert {algorithm.displayName(), algorithm.group()[2:], algorithm.HELP} <= found
            if isinstance(algorithm, QgsProcessingModelAlgorithm):  # labels of its parameters stay as the designer has them
                continue
            for definition in algorithm.parameterDefinitions():
                assert {definition.description(), definition.help()} <= found, f"{algorithm.id()} {definition.name()}"
            assert {definition.description() for definition in algorithm.outputDefinitions()} <= found
        assert {"Default", "Paper"} <= found
        assert not {"auto", "cpu"} & found, "values of parameters, which scripts keep"

    @pytest.mark.skipif(not shutil.which("lrelease"), reason="needs lrelease (Debian package qttools5-dev-tools)")
    def test_a_translation_is_shown_in_the_language_of_qgis(self, provider, sample, tmp_path, monkeypatch):
        import processing
        from qgis.core import QgsApplication
        from qgis.PyQt.QtCore import QCoreApplication
        from translate import source

        from scoread_qgis.translation import install_translator

        german = {
            "Train SGM": "SGM trainieren",
            "Mode": "Modus",
            "Default": "Vorgabe",
            "Scenes": "Szenen",
            "Training loss at the end": "Fehler am Ende",
        }
        (tmp_path / "scoread_de.ts").write_text(source(german, german, "de"), encoding="utf-8")
        subprocess.run(["lrelease", str(tmp_path / "scoread_de.ts")], check=True, capture_output=True)
        monkeypatch.setattr(QgsApplication, "locale", lambda: "de_AT")
        translator = install_translator(tmp_path)
        assert translator is not None
        try:
            algorithm = provider.algorithm("train_sgm").create()
            assert (algorithm.displayName(), algorithm.name(), algorithm.id()) == ("SGM trainieren", "train_sgm", "scoread:train_sgm")
            mode = algorithm.parameterDefinition("MODE")
            assert (mode.description(), mode.options()) == ("Modus", ["Vorgabe", "Paper"])
            assert algorithm.parameterDefinition("DEVICE").options()[0] == "auto"
            assert algorithm.outputDefinition("LOSS").description() == "Fehler am Ende"
            assert "SGM trainieren" not in algorithm.helpUrl()
            assert provider.algorithm("sample_scene").group() == "1 Szenen"
            assert provider.algorithm("sample_scene").groupId() == "scenes"
            assert ">Modus</span>" in algorithm.shortHelpString()
            model = str(tmp_path / "m.pt")
            settings = {"MODE": 1, "EPOCHS": 1, "BATCH_SIZE": 128, "HIDDEN": 32}
            assert processing.run("scoread:train_sgm", {"INPUT": sample.path, "MODEL": model, **settings})["MODEL"] == model
        finally:
            QCoreApplication.removeTranslator(translator)
        assert provider.algorithm("train_sgm").displayName() == "Train SGM"

    def test_a_language_without_a_translation_is_english(self, provider, tmp_path, monkeypatch):
        from qgis.core import QgsApplication

        from scoread_qgis.translation import install_translator

        monkeypatch.setattr(QgsApplication, "locale", lambda: "de")
        assert install_translator(tmp_path) is None
        assert provider.algorithm("train_sgm").displayName() == "Train SGM"

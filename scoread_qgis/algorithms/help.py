"""Help on an algorithm, made from what it declares: for its dialog, and for its page in docs/algorithms;
the help button opens that page as the plugin carries it."""

import html
import re
import shlex
from pathlib import Path

from qgis.core import (
    QgsProcessingDestinationParameter,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterFile,
    QgsProcessingParameterMultipleLayers,
)
from qgis.PyQt.QtCore import QUrl

from ..translation import tr

_PAGES = Path(__file__).parents[1] / "help"  # made from docs/algorithms when the plugin is built
_ADVANCED = QgsProcessingParameterDefinition.Flag.FlagAdvanced
_OPTIONAL = QgsProcessingParameterDefinition.Flag.FlagOptional


def help_url(algorithm):
    """Address of the algorithm's page, which the plugin carries, so that it opens without a network."""
    return QUrl.fromLocalFile(str(_PAGES / f"{algorithm.name()}.html")).toString()


def inputs(algorithm):
    """Parameters that are not outputs, as (definition, whether it is advanced), advanced ones last."""
    definitions = [(d, bool(d.flags() & _ADVANCED)) for d in algorithm.parameterDefinitions() if not d.isDestination()]
    return sorted(definitions, key=lambda pair: pair[1])


def outputs(algorithm):
    """What comes out, as (name, label, explanation): files to name, and further values."""
    files = [(d.name(), d.description(), d.help()) for d in algorithm.parameterDefinitions() if d.isDestination()]
    names = {name for name, _, _ in files}
    return files + [(d.name(), d.description(), "") for d in algorithm.outputDefinitions() if d.name() not in names]


def example(algorithm):
    """A command line that runs the algorithm with all defaults, with names that stand for the files."""
    words = []
    for definition in algorithm.parameterDefinitions():
        if definition.isDestination():
            wanted = definition.createByDefault()
        else:
            wanted = not definition.flags() & _OPTIONAL and definition.defaultValue() is None
        if wanted:
            words += [shlex.quote(f"{definition.name()}={value}") for value in _example_values(definition)]
    return " ".join(["qgis_process run", algorithm.id(), "--", *words])


def _example_values(definition):
    name = re.sub(r"\W+", "_", definition.description().lower()).strip("_")
    if isinstance(definition, QgsProcessingParameterMultipleLayers):
        return [f"{name}_{number}.tif" for number in (1, 2)]
    if isinstance(definition, QgsProcessingDestinationParameter):
        extension = definition.defaultFileExtension()
    elif isinstance(definition, QgsProcessingParameterFile):
        extension = definition.extension()
    else:
        extension = {"raster": "tif", "vector": "gpkg", "source": "gpkg", "layer": "gpkg"}.get(definition.type(), "")
    return [f"{name}.{extension}" if extension else name]


def dialog_help(algorithm, text):
    """HTML for the right-hand side of the dialog. text: what the algorithm does.

    QGIS makes an element p of each line and prints p and b in dark grey whatever the theme; other text has the colour of the theme.
    """
    named = [(d.description(), d.help()) for d, _ in inputs(algorithm)]
    named += [(label, explanation) for _, label, explanation in outputs(algorithm)]
    command = f"{_bold(tr('On the command line'))}: <code>{html.escape(example(algorithm))}</code>"
    paragraphs = [html.escape(text)]
    paragraphs += [_bold(label) + html.escape(f": {explanation}" if explanation else "") for label, explanation in named]
    return "</p>" + "".join(f'<div style="margin-bottom: 8px">{paragraph}</div>' for paragraph in [*paragraphs, command])


def _bold(text):
    return f'<span style="font-weight: bold">{html.escape(text)}</span>'

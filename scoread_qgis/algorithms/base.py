"""What all algorithms of the provider share: names, help made from the parameters, progress, cancellation and errors."""

import contextlib
import os
import time
from functools import partial
from pathlib import Path

from qgis.core import (
    Qgis,
    QgsProcessingAlgorithm,
    QgsProcessingException,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterEnum,
    QgsProcessingParameterNumber,
    QgsRasterLayer,
)
from qgis.PyQt.QtGui import QIcon
from qgis.utils import iface

from ..core.errors import describe_error, out_of_memory
from ..core.loading import load_torch
from ..core.own_thread import on_own_thread
from ..core.progress import Cancelled, Narrator, Progress
from ..installation.packages import missing_packages_message
from ..scenes.input_files import check_apart
from ..settings import cache_folder, memory_limit, torch_threads
from ..translation import tr
from ..workflows.run import Run
from .dialogs import open_dialog
from .files import files_read, files_written, reload_layers
from .help import dialog_help, help_url
from .termination import ended_by_sigterm
from .waiting_dialog import answering_dialog

REPORT_SECONDS = 0.2  # between two words of progress to QGIS
_GROUPS = ("Scenes", "Anomaly detection", "Anomaly maps")  # in the order of work
_ICONS = Path(__file__).parents[1] / "resources" / "icons"


class Algorithm(QgsProcessingAlgorithm):
    """An algorithm of the provider.

    Subclasses set the constants, declare parameters in `declare`, take their values in `read`, and do the work in `work`.
    Titles, labels and help are translated here; they are plain English in the subclasses. NAME and the parameter names are permanent, since
    models and scripts keep them.
    """

    NAME = TITLE = GROUP = HELP = ""
    TAGS = ()
    NEEDS = ("torch", "scipy")  # packages that the algorithm imports, and QGIS may lack
    PRESETS = {}  # what its dialog opens with, see `dialogs.open_dialog`

    def declare(self):
        """Declare parameters with `self.add` and further outputs with `self.addOutput`."""
        raise NotImplementedError

    def read(self, parameters, context):
        """Read layers and values into attributes. Runs on the main thread, so it must be quick."""
        raise NotImplementedError

    def work(self, run):
        """Do the work as a `workflows.run.Run`, and return the outputs. Runs on a thread of Python's own, without QGIS.

        Raise ValueError with a remedy for what the user can fix.
        """
        raise NotImplementedError

    def save_styles(self):
        """Save what the outputs look like. Runs on the background thread of QGIS. Not called after a cancel."""

    def finish(self, context):
        """What remains to be done with the layers of the outputs.

        Runs on the main thread, so it must be quick. Not called after a cancel.
        """

    def add(self, definition, help_text, advanced=False):
        definition.setDescription(tr(definition.description()))
        definition.setHelp(tr(help_text))
        if isinstance(definition, QgsProcessingParameterEnum) and not definition.usesStaticStrings():  # those are values, not labels
            definition.setOptions([tr(option) for option in definition.options()])
        if advanced:
            definition.setFlags(definition.flags() | QgsProcessingParameterDefinition.Flag.FlagAdvanced)
        self.addParameter(definition)

    def addOutput(self, definition):
        definition.setDescription(tr(definition.description()))
        return super().addOutput(definition)

    def initAlgorithm(self, configuration=None):
        self.declare()

    def checkParameterValues(self, parameters, context):
        if problem := self._wrong_number(parameters, context):
            return False, problem
        # QGIS finds subdatasets of HDF5 and netCDF files only among the layers that are loaded already.
        for value in parameters.values():
            for source in value if isinstance(value, list) else [value]:
                if isinstance(source, str) and source.upper().startswith(("NETCDF:", "HDF5:")):
                    layer = QgsRasterLayer(source, source.rpartition(":")[2].strip("/"), "gdal")
                    if layer.isValid():
                        context.temporaryLayerStore().addMapLayer(layer)
        fine, message = super().checkParameterValues(parameters, context)
        if fine:  # later, QGIS would give the input's layer the name of the output
            try:
                check_apart(files_written(self, parameters, context), files_read(self, parameters, context))
            except ValueError as error:
                return False, str(error)
        return fine, message

    def prepareAlgorithm(self, parameters, context, feedback):
        ready, message = self.canExecute()  # qgis_process does not ask
        if not ready:
            raise QgsProcessingException(message)
        if problem := self._wrong_number(parameters, context):  # nothing asks checkParameterValues for the steps of a model
            raise QgsProcessingException(problem)
        self.read(parameters, context)
        self.replaced = {path for path in files_written(self, parameters, context) if os.path.exists(path)}
        self._layers = context.layersToLoadOnCompletion()
        return True

    def _wrong_number(self, parameters, context):
        """What is wrong with a number that is not finite, which QGIS lets pass, or beyond its limits; "" where all are right."""
        for definition in self.parameterDefinitions():
            if not isinstance(definition, QgsProcessingParameterNumber) or parameters.get(definition.name()) is None:
                continue
            value = self.parameterAsDouble(parameters, definition.name(), context)
            least, most = definition.minimum(), definition.maximum()
            if definition.dataType() == QgsProcessingParameterNumber.Type.Integer:
                least, most = max(least, -(2**31)), min(most, 2**31 - 1)
            if not least <= value <= most:  # nan neither
                limits = f"from {least:g} to {most:g}" if most < 1e300 else f"of at least {least:g}" if least > -1e300 else "that is finite"
                return f"{definition.description()} ({definition.name()}) is {value:g}; give a number {limits}."
        return ""

    def processAlgorithm(self, parameters, context, feedback):
        self._done, self._warnings, self.feedback = False, [], feedback
        # The background thread has a context of its own, whose layers replace those of the main thread's in QGIS 3.22: `read` told the
        # latter.
        for path, details in self._layers.items():
            if not context.willLoadLayerOnCompletion(path):
                context.addLayerToLoadOnCompletion(path, details)
        try:
            with ended_by_sigterm(feedback):
                results = on_own_thread(lambda tell: self._work(feedback, tell), answering_dialog())
            self.save_styles()
            self._done = True
            self._files = [value for value in results.values() if isinstance(value, str)]
            if feedback.isCanceled():  # QGIS calls that a failure
                feedback.pushInfo("The work had finished before it was cancelled: its results are complete.")
            return results
        except Cancelled as cancel:  # only an exception keeps batch, models and qgis_process from counting it as a success
            raise QgsProcessingException(str(cancel)) from cancel
        except Exception as error:
            if not (isinstance(error, (ValueError, OSError)) or out_of_memory(error)):
                raise
            raise QgsProcessingException(describe_error(error)) from error

    def _work(self, feedback, tell):
        progress, log = Progress(_Report(feedback, tell)), partial(tell, feedback.pushInfo)
        run = Run(memory_limit(), progress, log, {"qgis": Qgis.version()}, cache_folder(), partial(tell, self._warn, feedback))
        if "torch" in self.NEEDS:
            load_torch()
        with torch_threads() if "torch" in self.NEEDS else contextlib.nullcontext():
            return self.work(run)

    def _warn(self, feedback, text):
        feedback.pushWarning(text)
        self._warnings.append(text)

    def postProcessAlgorithm(self, context, feedback):
        for text in self._warnings if iface is not None else ():
            iface.messageBar().pushWarning(self.displayName(), text)
        if self._done:
            self.finish(context)
            if context.project() is not None:
                reload_layers(context.project(), self._files)
        return {}

    def createCustomParametersWidget(self, parent=None):
        """Called by QGIS where it opens a dialog, and nowhere else."""
        return open_dialog(self, parent)

    def createInstance(self):
        return type(self)()

    def name(self):
        return self.NAME

    def displayName(self):
        return tr(self.TITLE)

    def group(self):
        return numbered_group(self.GROUP)

    def groupId(self):
        return self.GROUP.lower().replace(" ", "_")

    def tags(self):
        return ["hyperspectral", "anomaly", "anomalies", "detection", *self.TAGS]

    def icon(self):
        return QIcon(self.svgIconPath())

    def svgIconPath(self):
        return str(_ICONS / f"{self.NAME}.svg")

    def helpUrl(self):
        return help_url(self)

    def shortHelpString(self):
        return dialog_help(self, tr(self.HELP))

    def canExecute(self):
        message = missing_packages_message(self.NEEDS)
        return not message, message


def numbered_group(group):
    """The title of a group, with the number that has the Toolbox show the groups in the order of work."""
    return f"{_GROUPS.index(group) + 1} {tr(group)}" if group in _GROUPS else tr(group)


class _Report:
    """Passes progress on to QGIS, whose log gets a line for each phase, and turns a cancel of the user into `Cancelled`."""

    def __init__(self, feedback, tell):
        self._feedback, self._tell, self._narrator = feedback, tell, Narrator()
        self._shown = time.monotonic()

    def __call__(self, fraction, message):
        if self._feedback.isCanceled():
            raise Cancelled
        if text := self._narrator(message):
            self._tell(self._feedback.setProgressText, text)
        now = time.monotonic()
        if now - self._shown >= REPORT_SECONDS or fraction == 1:
            self._shown = now
            self._tell(self._feedback.setProgress, 100 * fraction)

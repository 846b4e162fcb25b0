"""Verdicts, written to the file of the regions at once and only where that is safe."""

from datetime import datetime, timezone

from qgis.core import QgsVectorDataProvider, QgsVectorLayer
from qgis.PyQt import QtGui, QtWidgets, sip

from ..translation import tr
from ..workflows.accepted import FIELDS
from ..workflows.review_regions import file_state

_HOME = QtWidgets if hasattr(QtWidgets, "QUndoStack") else QtGui  # of Qt 5 and of Qt 6
QUndoCommand, QUndoStack = _HOME.QUndoCommand, _HOME.QUndoStack


def now():
    """Date and time in UTC, in ISO 8601."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def write_verdicts(layer, path, state, changes):
    """Write {feature id: (verdict, note, reviewed)}, "" for none, to the file of a layer, all or none.

    path, state: of the file, and its `file_state` when it was read. Nothing goes into the buffer of an edit session, so that neither a
    rollback nor a crash takes verdicts away. Raises ValueError, with the remedy, where they cannot be written.
    """
    if layer is None or sip.isdeleted(layer) or not layer.isValid():
        raise ValueError(tr("The layer of the regions is no longer in the project. Add {} again, and review on.").format(path))
    there = file_state(path)
    if there is None:
        raise ValueError(tr("{} is gone: it was moved or deleted. Bring it back, or keep the regions again.").format(path))
    if there != state:
        raise ValueError(tr("{} was replaced by another file. Choose its layer again to review what is in it now.").format(path))
    provider = layer.dataProvider()
    capable = QgsVectorDataProvider.Capability
    lacking = [name for name in FIELDS if provider.fields().lookupField(name) < 0]
    needed = capable.ChangeAttributeValues | (capable.AddAttributes if lacking else capable.ChangeAttributeValues)
    if layer.readOnly() or int(provider.capabilities() & needed) != int(needed):
        raise ValueError(
            tr("{} cannot be written to: it is read-only. Make it writable, or save the layer under another name and review that.").format(
                path
            )
        )
    if lacking:
        if layer.isEditable():
            raise ValueError(
                tr("{} is being edited, and the fields for verdicts are still to be added to it. Save or discard the edits first.").format(
                    layer.name()
                )
            )
        if not provider.addAttributes(_text_fields(lacking)):
            raise ValueError(_reason(provider, path))
        layer.updateFields()
    places = [provider.fields().lookupField(name) for name in FIELDS]
    values = {number: dict(zip(places, (text or None for text in texts))) for number, texts in changes.items()}
    provider.clearErrors()
    if not provider.changeAttributeValues(values):
        raise ValueError(_reason(provider, path))
    layer.triggerRepaint()


def _text_fields(names):
    """Fields of text; their types have other names in every second version of QGIS, but not in a definition like this."""
    definition = "&".join(f"field={name}:string" for name in names)
    return QgsVectorLayer(f"NoGeometry?{definition}", "fields", "memory").fields().toList()


def _reason(provider, path):
    errors = "; ".join(provider.errors()) or tr("the file may be locked by another program")
    provider.clearErrors()
    return tr("The verdicts cannot be written to {}: {}. Nothing was changed; try again.").format(path, errors)


class GiveVerdicts(QUndoCommand):
    """Writes verdicts of rows of the list, and the ones before on undo.

    write({row: (verdict, note, reviewed)}): raises ValueError, which goes to complain(text); then the command is forgotten.
    """

    def __init__(self, title, write, complain, before, after):
        super().__init__(title)
        self._write, self._complain, self._before, self._after = write, complain, before, after

    def redo(self):
        self._apply(self._after)

    def undo(self):
        self._apply(self._before)

    def _apply(self, changes):
        try:
            self._write(changes)
        except ValueError as error:
            self.setObsolete(True)
            self._complain(str(error))

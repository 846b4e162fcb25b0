"""Handing the accepted regions on: the dialogs of report and export, opened with the layers that are under review."""

from processing import createAlgorithmDialog


def open_report(regions, scene=None, model=None):
    """Open the dialog of Report reviewed anomalies on a layer of regions.

    scene: id of its layer, or a file. model: a file. Both None where they are not known.
    """
    known = {"REGIONS": regions.id(), "INPUT": scene, "MODEL": model}
    return _open("scoread:report_anomalies", {name: value for name, value in known.items() if value})


def open_export(regions):
    """Open the dialog of Export reviewed anomalies on a layer of regions."""
    return _open("scoread:export_anomalies", {"REGIONS": regions.id()})


def _open(algorithm, parameters):
    dialog = createAlgorithmDialog(algorithm, parameters)
    dialog.show()
    return dialog

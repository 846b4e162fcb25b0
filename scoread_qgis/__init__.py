"""Anomaly detection in hyperspectral images: a QGIS Processing plugin.

The science is in `scoread_qgis.detectors` (numpy, torch) and works from any Python prompt on `scoread_qgis.core.cube.ArrayCube`;
`scoread_qgis.scenes` reads and writes rasters (numpy, GDAL); `scoread_qgis.algorithms` is what a user of QGIS runs.
"""


def classFactory(iface):
    """Entry point of QGIS: the plugin. `iface` is None in qgis_process."""
    from .plugin import ScoreadPlugin

    return ScoreadPlugin(iface)

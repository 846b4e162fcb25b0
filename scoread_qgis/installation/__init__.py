"""PyTorch, which QGIS does not bring: installing, uninstalling and checking it without touching what QGIS has. Needs QGIS alone."""

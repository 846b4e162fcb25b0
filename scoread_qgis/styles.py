"""How an anomaly map looks: dark and transparent where nothing is odd, bright where the few highest scores are, numbers in the legend."""

import os

import numpy as np
from osgeo import gdal
from qgis.core import QgsColorRampShader, QgsRasterLayer, QgsRasterShader, QgsSingleBandPseudoColorRenderer, QgsStyle
from qgis.PyQt.QtGui import QColor

# Colours go to these shares of the pixels: half of a scene is background beyond doubt, anomalies are the last per cent and less.
_SHARES = (0.5, 0.9, 0.97, 0.99, 0.997, 0.999, 1.0)
_OPACITIES = (0, 110, 190, 235, 255, 255, 255)
_SAMPLED = 2000  # rows and columns that are looked at for the quantiles


def save_anomaly_style(path):
    """Make the style of the anomaly map at `path` and save it beside it as .qml, whose path is returned."""
    layer = QgsRasterLayer(path, "anomalies", "gdal")
    values = _sampled_values(path)
    quantiles = np.quantile(values, _SHARES) if values.size else np.arange(len(_SHARES), dtype=float)
    ramp = QgsStyle.defaultStyle().colorRamp("Inferno")
    items, last = [], -np.inf
    for value, place, opacity in zip(quantiles, np.linspace(0, 1, len(_SHARES)), _OPACITIES):
        if value <= last:  # a map with few different values: one entry for each
            continue
        last = value
        color = QColor(ramp.color(float(place)))
        color.setAlpha(opacity)
        items.append(QgsColorRampShader.ColorRampItem(float(value), color, f"{value:.4g}"))
    function = QgsColorRampShader(items[0].value, items[-1].value)
    function.setColorRampType(QgsColorRampShader.Type.Interpolated)
    function.setColorRampItemList(items)
    shader = QgsRasterShader()
    shader.setRasterShaderFunction(function)
    renderer = QgsSingleBandPseudoColorRenderer(layer.dataProvider(), 1, shader)
    renderer.setClassificationMin(items[0].value)
    renderer.setClassificationMax(items[-1].value)
    layer.setRenderer(renderer)
    style = os.path.splitext(path)[0] + ".qml"
    layer.saveNamedStyle(style)
    return style


def _sampled_values(path):
    """Scores of the map, thinned to at most `_SAMPLED` rows and columns, and its maximum, in float64."""
    band = (dataset := gdal.OpenEx(path, gdal.OF_RASTER | gdal.OF_READONLY)).GetRasterBand(1)
    columns, rows = min(band.XSize, _SAMPLED), min(band.YSize, _SAMPLED)
    values = band.ReadAsArray(buf_xsize=columns, buf_ysize=rows).astype(np.float64)
    highest = band.GetMaximum()
    del dataset
    values = values[np.isfinite(values)]
    return np.append(values, highest) if highest is not None else values

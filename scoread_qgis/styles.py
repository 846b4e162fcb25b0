"""How results look.

Anomaly maps: dark and transparent where nothing is odd, bright where the few highest scores are, numbers in the legend. Regions: outlines,
the brightest and last drawn where the peaks are highest. Scenes: natural colour, or false colour where they have no visible light. Ground
truth: a veil over what is below.
"""

import os

import numpy as np
from qgis.core import (
    QgsCategorizedSymbolRenderer,
    QgsColorRampLegendNodeSettings,
    QgsColorRampShader,
    QgsContrastEnhancement,
    QgsFeatureRequest,
    QgsFillSymbol,
    QgsGraduatedSymbolRenderer,
    QgsMarkerSymbol,
    QgsMultiBandColorRenderer,
    QgsPalettedRasterRenderer,
    QgsPalLayerSettings,
    QgsRasterLayer,
    QgsRasterMinMaxOrigin,
    QgsRasterShader,
    QgsRendererCategory,
    QgsRendererRange,
    QgsSimpleFillSymbolLayer,
    QgsSimpleMarkerSymbolLayer,
    QgsSingleBandPseudoColorRenderer,
    QgsStyle,
    QgsTextBufferSettings,
    QgsTextFormat,
    QgsVectorLayer,
    QgsVectorLayerSimpleLabeling,
    QgsWkbTypes,
)
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtGui import QColor
from qgis.PyQt.QtXml import QDomDocument

from .core.files import whole_file
from .reports.identification import CLEAR
from .scenes.gdal_calls import open_dataset
from .translation import tr

# Colours go to these shares of the pixels: half of a scene is background beyond doubt, anomalies are the last per cent and less.
_SHARES = (0.5, 0.9, 0.97, 0.99, 0.997, 0.999, 1.0)
_OPACITIES = (0, 110, 190, 235, 255, 255, 255)
# Last rank of a class of regions, colour and width in mm of its outlines: none of the colours is in the map below.
_RANKS = ((5, "#00ffff", 0.7), (20, "#2fb8ff", 0.55), (100, "#3f86ff", 0.45), (None, "#5a6cd8", 0.35))
_CASING = "#101018"  # dark, so that outlines show on bright ground too
# Outlines of the largest groups, and of all others.
_GROUPS = (
    "#00ffff",
    "#ffd300",
    "#ff5ce1",
    "#5cff5c",
    "#ff8a2b",
    "#8f9bff",
    "#ffffff",
    "#c0f000",
    "#ff6b6b",
    "#40c0a0",
    "#d2a6ff",
    "#b08850",
)
_OTHERS = "#a8a8a8"
_TRUTH = "#ff2fd0"  # neither in the map nor among the outlines
_TRUTH_OPACITY = 130
_OURS = "scoread_qgis/style"
_SAMPLED = 2000  # rows and columns that are looked at for the quantiles


def style_path(path):
    """Where the style of the map at `path` lies: beside it, so that QGIS applies it whenever the map is opened."""
    return os.path.splitext(path)[0] + ".qml"


def save_anomaly_style(path, replaced=False):
    """Make the style of the anomaly map at `path` and keep it, see `_keep`. Reads the map: not for the main thread."""
    layer = QgsRasterLayer(path, "anomalies", "gdal", QgsRasterLayer.LayerOptions(False))  # without a style that lies there
    values, highest = _sampled_values(path)
    quantiles = np.quantile(np.append(values, highest), _SHARES) if values.size else np.arange(len(_SHARES), dtype=float)
    ramp = QgsStyle.defaultStyle().colorRamp("Inferno")
    items, last = [], -np.inf
    for value, place, opacity in zip(quantiles, np.linspace(0, 1, len(_SHARES)), _OPACITIES):
        if value <= last:  # a map with few different values: one entry for each
            continue
        last = value
        color = QColor(ramp.color(float(place)))
        color.setAlpha(opacity)
        items.append(QgsColorRampShader.ColorRampItem(float(value), color, _map_label(value, values, highest)))
    function = QgsColorRampShader(items[0].value, items[-1].value)
    function.setColorRampType(QgsColorRampShader.Type.Interpolated)
    function.setColorRampItemList(items)
    legend = QgsColorRampLegendNodeSettings()
    legend.setUseContinuousLegend(False)  # which would have no values but the least and the largest
    function.setLegendSettings(legend)
    shader = QgsRasterShader()
    shader.setRasterShaderFunction(function)
    renderer = QgsSingleBandPseudoColorRenderer(layer.dataProvider(), 1, shader)
    renderer.setClassificationMin(items[0].value)
    renderer.setClassificationMax(items[-1].value)
    layer.setRenderer(renderer)
    return _keep(layer, path, replaced)


def _map_label(value, values, highest):
    """A score in the legend of a map, with the share of its pixels that score as high: what a threshold there would take."""
    if values.size == 0 or value >= highest:
        return tr("{score:.4g} (highest)").format(score=value)
    return tr("{score:.4g} (top {share:.2g} %)").format(score=value, share=100 * np.mean(values >= value))


def save_regions_style(path, how):
    """Make the style of the regions in the GeoPackage at `path` and save it in there: a .qml beside it could be that of a map of the same
    name.

    how: threshold and rate, for the legend.
    """
    layer = QgsVectorLayer(path, "regions", "ogr")
    count, ranges, first = layer.featureCount(), [], 1
    for last, color, width in _RANKS:
        if first > max(count, 1):
            break
        last = count if last is None else min(last, max(count, 1))
        label = f"Rank {first} to {last}" if last > first else f"Rank {first}"
        label = f"{label} ({how})" if first == 1 else label
        ranges.append(QgsRendererRange(first - 0.5, last + 0.5, outline(color, width), label))
        first = last + 1
    renderer = QgsGraduatedSymbolRenderer("rank", ranges)
    renderer.setOrderBy(QgsFeatureRequest.OrderBy([QgsFeatureRequest.OrderByClause("rank", False)]))
    renderer.setOrderByEnabled(True)
    layer.setRenderer(renderer)
    _save_in_file(layer, "Regions")


def save_groups_style(path):
    """Make the style of identified regions in the GeoPackage at `path` and save it in there: a colour for each of the largest groups, and
    labels with the best match where at most a hundredth of the background matches as well.
    """
    layer = QgsVectorLayer(path, "regions", "ogr")
    fields, members, names = layer.fields().names(), {}, {}
    for feature in layer.getFeatures(QgsFeatureRequest().setFlags(QgsFeatureRequest.Flag.NoGeometry)):
        group = feature["group"]
        if isinstance(group, int):
            members[group] = members.get(group, 0) + 1
            if "match_1" in fields and isinstance(feature["match_1"], str) and feature["score_1"] <= CLEAR:
                names.setdefault(group, []).append(feature["match_1"])
    several = [group for group, count in members.items() if count > 1]
    coloured = sorted(sorted(several, key=lambda group: (-members[group], group))[: len(_GROUPS)])
    areas = layer.geometryType() == QgsWkbTypes.GeometryType.PolygonGeometry
    categories, symbol = [], outline if areas else _ring
    for colour, group in zip(_GROUPS, coloured):
        called = max(set(names[group]), key=names[group].count) if group in names else ""
        label = tr("Group {group}: {count} regions").format(group=group, count=members[group])
        categories.append(QgsRendererCategory(group, symbol(colour, 0.7), f"{label}, {called}" if called else label))
    categories.append(QgsRendererCategory(None, symbol(_OTHERS, 0.5), tr("Other regions")))
    renderer = QgsCategorizedSymbolRenderer("group", categories)
    if "rank" in fields:
        renderer.setOrderBy(QgsFeatureRequest.OrderBy([QgsFeatureRequest.OrderByClause("rank", False)]))
        renderer.setOrderByEnabled(True)
    layer.setRenderer(renderer)
    if "match_1" in fields:
        settings = QgsPalLayerSettings()
        settings.fieldName, settings.isExpression = f'if("score_1" <= {CLEAR}, "match_1", \'\')', True
        look, buffer = QgsTextFormat(), QgsTextBufferSettings()
        look.setColor(QColor("#ffffff"))
        look.setSize(9)
        buffer.setEnabled(True)
        buffer.setColor(QColor(_CASING))
        look.setBuffer(buffer)
        settings.setFormat(look)
        if areas:
            settings.placement = QgsPalLayerSettings.Placement.OutsidePolygons
        layer.setLabeling(QgsVectorLayerSimpleLabeling(settings))
        layer.setLabelsEnabled(True)
    table = layer.attributeTableConfig()
    table.setSortExpression('"group" * 1000000 + "rank"' if "rank" in fields else '"group"')  # those that are alike stand together
    layer.setAttributeTableConfig(table)
    _save_in_file(layer, "Groups")


def save_mask_style(path, replaced, how):
    """Make the style of the mask at `path`, with nothing drawn where no anomaly is, and keep it, see `_keep`.

    how: threshold and rate, for the legend.
    """
    layer = QgsRasterLayer(path, "mask", "gdal", QgsRasterLayer.LayerOptions(False))
    classes = [QgsPalettedRasterRenderer.Class(1, QColor(_RANKS[0][1]), tr("Anomaly ({})").format(how))]
    layer.setRenderer(QgsPalettedRasterRenderer(layer.dataProvider(), 1, classes))
    return _keep(layer, path, replaced)


def save_truth_style(path, replaced):
    """Make the style of the ground truth at `path`, a veil over what is not 0, and keep it, see `_keep`."""
    layer = QgsRasterLayer(path, "truth", "gdal", QgsRasterLayer.LayerOptions(False))
    veil = QColor(_TRUTH)
    veil.setAlpha(_TRUTH_OPACITY)
    layer.setRenderer(QgsPalettedRasterRenderer(layer.dataProvider(), 1, [QgsPalettedRasterRenderer.Class(1, veil, tr("Anomaly"))]))
    return _keep(layer, path, replaced)


def save_scene_style(path, replaced):
    """Make the style of the scene at `path`, in colour, and keep it, see `_keep`. Reads the scene: not for the main thread."""
    from .scenes.raster import RasterFile
    from .scenes.thumbnail import colour_limits

    layer = QgsRasterLayer(path, "scene", "gdal", QgsRasterLayer.LayerOptions(False))
    show_in_colour(layer, colour_limits(RasterFile(path)))
    return _keep(layer, path, replaced)


def show_in_colour(layer, limits):
    """Draw the layer of a scene in three of its bands. limits: `scenes.thumbnail.colour_limits` of the scene."""
    provider = layer.dataProvider()
    renderer = QgsMultiBandColorRenderer(provider, *(number for number, _, _ in limits))
    setters = (renderer.setRedContrastEnhancement, renderer.setGreenContrastEnhancement, renderer.setBlueContrastEnhancement)
    for (number, low, high), keep in zip(limits, setters):
        stretch = QgsContrastEnhancement(provider.dataType(number))
        stretch.setContrastEnhancementAlgorithm(QgsContrastEnhancement.ContrastEnhancementAlgorithm.StretchToMinimumMaximum)
        stretch.setMinimumValue(low)
        stretch.setMaximumValue(high)
        keep(stretch)
    origin = QgsRasterMinMaxOrigin()
    origin.setLimits(QgsRasterMinMaxOrigin.Limits.CumulativeCut)
    renderer.setMinMaxOrigin(origin)
    layer.setRenderer(renderer)


def has_first_bands(layer):
    """Whether the layer of a scene is drawn as QGIS draws any raster, in its first three bands, so that nobody has chosen better ones."""
    renderer = layer.renderer()
    if not isinstance(renderer, QgsMultiBandColorRenderer):
        return False
    return (renderer.redBand(), renderer.greenBand(), renderer.blueBand()) == (1, 2, 3)


def _keep(layer, path, replaced):
    """Save the style of a layer beside the raster at `path`, unless another file would share that style, and return it as XML.

    replaced: whether the raster took the place of an older one, whose style goes with it.
    """
    layer.setCustomProperty(_OURS, True)  # marks styles made by this plugin
    document = QDomDocument()
    layer.exportNamedStyle(document)
    style = document.toString()
    if _is_free(path, replaced):
        with whole_file(style_path(path), "style") as part:
            part.write_text(style, encoding="utf-8")
    return style


def _is_free(path, replaced):
    """Whether the .qml that QGIS looks for beside a raster belongs to it: files of one name, such as a.img and a.tif, share one."""
    stem = os.path.splitext(os.path.basename(path))[0]
    for entry in os.scandir(os.path.dirname(os.path.abspath(path))):
        shares = entry.name == stem or os.path.splitext(entry.name)[0] == stem
        if shares and entry.is_file() and entry.name != os.path.basename(path) and open_dataset(entry.path)[0] is not None:
            return False
    try:
        with open(style_path(path), encoding="utf-8", errors="replace") as file:
            there = file.read()
    except FileNotFoundError:
        return True
    return _OURS in there or (replaced and "<rasterrenderer" in there)  # versions before 0.3 left no mark


def outline(color, width):
    """Symbol of a polygon: its outline on a dark casing, without a fill."""
    symbol = QgsFillSymbol()
    symbol.deleteSymbolLayer(0)
    for line, thickness in ((_CASING, width + 0.4), (color, width)):
        layer = QgsSimpleFillSymbolLayer(QColor(), Qt.BrushStyle.NoBrush, QColor(line), Qt.PenStyle.SolidLine, thickness)
        layer.setPenJoinStyle(Qt.PenJoinStyle.MiterJoin)
        symbol.appendSymbolLayer(layer)
    return symbol


def _save_in_file(layer, name):
    """Keep the style of a layer in its GeoPackage, as the default. QGIS 3.44 warns of the older call."""
    getattr(layer, "saveStyleToDatabaseV2", layer.saveStyleToDatabase)(name, "", True, "")


def _ring(color, width):
    """Symbol of a point: a circle around it on a dark casing."""
    symbol = QgsMarkerSymbol()
    symbol.deleteSymbolLayer(0)
    for line, thickness in ((_CASING, width + 0.4), (color, width)):
        shape = QgsSimpleMarkerSymbolLayer.create(
            {"name": "circle", "size": "4", "color": "0,0,0,0", "outline_color": line, "outline_width": str(thickness)}
        )
        symbol.appendSymbolLayer(shape)
    return symbol


def _sampled_values(path):
    """Scores of the map, thinned to at most `_SAMPLED` rows and columns, in float64, and the highest of all.

    Of the pixels themselves: GDAL would thin by the overviews, which hold the largest of many.
    """
    dataset, reason = open_dataset(path)
    if dataset is None:
        raise ValueError(f"{path} cannot be opened: {reason}.")
    band = dataset.GetRasterBand(1)
    step = -(-max(band.XSize, band.YSize) // _SAMPLED)
    # As many rows at a time as the blocks of the file have, so that each block is read once.
    rows = -(-max(band.GetBlockSize()[1], step) // step) * step
    sampled = []
    for row in range(0, band.YSize, rows):
        sampled.append(band.ReadAsArray(0, row, band.XSize, min(rows, band.YSize - row))[::step, ::step].astype(np.float64).ravel())
    values, highest = np.concatenate(sampled), band.GetMaximum()
    values = values[np.isfinite(values)]
    return values, (values.max(initial=-np.inf) if highest is None else highest)

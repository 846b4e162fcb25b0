"""What an analyst does with the dock "Anomalies", step by step: run by QGIS itself (qgis --code), started by test_review_desktop.py.

The folder of the session holds `scene.tif`, its map `map.tif`, a large map `large.tif`, and `many.gpkg` with thousands of regions.
"""

import os
import time

import numpy as np
from desktop_steps import FOLDER, click, heartbeat, pause, report, start, until
from osgeo import ogr
from qgis.core import QgsApplication, QgsPointXY, QgsProject, QgsRasterLayer, QgsVectorLayer
from qgis.PyQt.QtCore import QEvent, QPoint, QPointF, Qt
from qgis.PyQt.QtGui import QMouseEvent
from qgis.PyQt.QtTest import QTest
from qgis.PyQt.QtWidgets import QDockWidget
from qgis.utils import iface, plugins

from scoread_qgis.review.region_model import GROUP, MATCH


def fields_of(path):
    """What another program reads in the file now: rank -> (verdict, note, reviewed)."""
    layer = (dataset := ogr.Open(str(path))).GetLayer(0)
    names = [field.GetName() for field in layer.schema]
    known = [name for name in ("verdict", "note", "reviewed") if name in names]
    found = {feature["rank"]: [feature[name] for name in known] for feature in layer}
    del layer, dataset
    return found


def painted():
    """How many pixels of the canvas have the colour of pixels above the threshold."""
    image = iface.mapCanvas().grab().toImage()
    image = image.convertToFormat(image.Format.Format_RGB32)
    memory = image.constBits()
    memory.setsize(4 * image.width() * image.height())
    pixels = np.frombuffer(memory, np.uint8).reshape(-1, 4).astype(int)
    blue, green, red = pixels[:, 0], pixels[:, 1], pixels[:, 2]
    return int(((blue > 225) & (green > 195) & (red < 60)).sum())


def pinned(panel):
    """Pins in the plot and on the canvas: title, colour, values, and the place of the mark."""
    drawn = {(line.name, line.colour): line.values[panel.scene.used].tolist() for line in panel.spectrum._lines}
    return [
        [name, colour, drawn[name, colour], marker.isVisible(), [marker.center().x(), marker.center().y()]]
        for name, colour, _, marker in panel._pins
    ]


def messages():
    return [item.text() for item in iface.messageBar().items()]


def steps():
    project, canvas = QgsProject.instance(), iface.mapCanvas()
    iface.mainWindow().setGeometry(0, 0, 1366, 768)
    QgsApplication.setActiveWindow(iface.mainWindow())  # there is no window manager here, and keys go to the active window
    scene = QgsRasterLayer(str(FOLDER / "scene.tif"), "scene")
    anomalies = QgsRasterLayer(str(FOLDER / "map.tif"), "Anomalies of scene")
    project.addMapLayers([scene, anomalies])
    canvas.setExtent(scene.extent())
    yield from pause(1)
    plugin = plugins["scoread_qgis"]
    dock = plugin.dock
    entries = [[action.menu() for action in menu.actions() if action.menu()] for menu in (iface.pluginMenu(), iface.viewMenu())]
    report["in the menus"] = [any(plugin.dock_action in submenu.actions() for submenu in submenus) for submenus in entries]
    iface.setActiveLayer(anomalies)
    report["before"] = dock.panel is None and not dock.isVisible()
    spent = time.process_time()
    plugin.dock_action.trigger()
    report["opening"] = time.process_time() - spent
    panel = dock.panel
    tab, regions = panel.threshold, panel.regions
    yield from until(lambda: tab.map is not None and panel.scene is not None)
    report["widths"] = [iface.mainWindow().width(), canvas.width(), dock.width()]
    for other in iface.mainWindow().findChildren(QDockWidget):
        if other is not dock:
            other.hide()
    canvas.setExtent(scene.extent())
    yield from pause(0.5)

    # The slider, by keys and by the mouse
    heartbeat.phase("slider")
    first = tab.rate_value, tab.threshold_value, tab.map.pixels_above(tab.threshold_value)
    report["at first"] = first
    yield from pause(0.3)
    shown = [painted()]
    tab.slider.setFocus()
    for _ in range(10):
        QTest.keyClick(tab.slider, Qt.Key.Key_PageDown)
        yield
    yield from until(lambda: "..." not in tab.numbers.text())
    report["lower"] = [tab.rate_value, tab.threshold_value, tab.numbers.text(), tab.map.pixels_above(tab.threshold_value)]
    yield from pause(0.3)
    report["painted"] = [*shown, painted()]
    tab.rate.setFocus()
    tab.rate.selectAll()
    QTest.keyClicks(tab.rate, "0.005")
    QTest.keyClick(tab.rate, Qt.Key.Key_Return)
    yield from until(lambda: "..." not in tab.numbers.text())
    report["typed"] = [tab.rate_value, tab.numbers.text(), project.readDoubleEntry("scoread", f"review/rate/{anomalies.id()}")[0]]
    heartbeat.phase("keep")
    click(tab.keep_button)
    yield from until(lambda: regions.model.rowCount() and panel.means is not None)
    yield from pause(0.5)
    heartbeat.phase(None)
    path = panel.region_layer.source().split("|")[0]
    report["kept"] = [os.path.basename(path), regions.model.rowCount(), panel.region_layer.renderer().type(), panel.tabs.currentIndex()]
    report["tree"] = [node.name() for node in project.layerTreeRoot().findLayers()]
    report["overlay hidden"] = not panel.overlay.isVisible()

    # Verdicts by the keyboard alone
    buttons = regions.report_button, regions.export_button
    report["nothing to hand on"] = [[button.isEnabled(), button.toolTip()] for button in buttons]
    heartbeat.phase("verdicts")
    regions.table.setFocus()
    report["first"] = [regions.current, canvas.extent().contains(QgsPointXY(*panel.scene.place_of(*panel.means.centres[0])))]
    for key in "arl":
        QTest.keyClicks(regions.table, key)
        yield from pause(0.1)
    report["keys"] = [fields_of(path), regions.current, regions.state.text()]
    QTest.keyClick(regions.table, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    report["undone"] = fields_of(path)[3]
    QTest.keyClicks(regions.table, "pe")  # previous, note
    yield from pause(0.1)
    QTest.keyClicks(regions.note, "a car, no roof")  # letters that are keys of the list
    QTest.keyClick(regions.note, Qt.Key.Key_Return)
    report["note"] = [regions.current, fields_of(path)[regions.current + 1], regions.table.hasFocus()]
    yield from until(lambda: panel._seen is not None)
    report["region"] = [panel._title, panel._seen.pixels, panel._seen.spectrum[panel.scene.used].tolist()]
    report["region mean"] = panel.means.means[regions.current].tolist()

    # Handing on
    heartbeat.phase(None)
    report["handed on"] = []
    for button in buttons:
        click(button)
        dialog = yield from until(lambda: panel._dialog)
        yield from pause(0.3)
        report["handed on"].append([dialog.algorithm().id(), {k: str(v) for k, v in dialog.createProcessingParameters().items()}])
        dialog.close()
        panel._dialog = None
    report["scene"], report["region layer"] = scene.id(), panel.region_layer.id()

    # Pixels on the canvas
    heartbeat.phase("pick")
    panel.tabs.setCurrentIndex(1)
    click(panel.spectrum.pick_button)
    canvas.setExtent(scene.extent())
    canvas.refresh()
    yield from until(lambda: not canvas.isDrawing())
    target = panel.scene.place_of(12, 17)
    place = canvas.getCoordinateTransform().transform(QgsPointXY(*target))
    place = QPoint(round(place.x()), round(place.y()))
    panel._seen = None
    clicked = time.monotonic()
    QTest.mouseClick(canvas.viewport(), Qt.MouseButton.LeftButton, Qt.KeyboardModifier.ControlModifier, place)
    yield from until(lambda: panel._seen is not None)
    report["click"] = [time.monotonic() - clicked, panel._seen.row, panel._seen.column, len(panel._pins)]
    report["pixel"] = panel._seen.spectrum[panel.scene.used].tolist()
    report["expected"] = panel._seen.expected is not None
    panel.spectrum.copy()
    report["csv"] = QgsApplication.clipboard().text()
    for ending in ("png", "svg"):
        panel.spectrum.save_picture(str(FOLDER / f"spectrum.{ending}"))
    panel.spectrum.save_spectra(str(FOLDER / "spectrum.sli"))
    panel._seen = None
    place = QPointF(canvas.getCoordinateTransform().transform(QgsPointXY(*panel.scene.place_of(20, 30))).toQPointF())
    for modifiers in (Qt.KeyboardModifier.NoModifier, Qt.KeyboardModifier.ShiftModifier):
        move = QMouseEvent(QEvent.Type.MouseMove, place, Qt.MouseButton.NoButton, Qt.MouseButton.NoButton, modifiers)
        QgsApplication.sendEvent(canvas.viewport(), move)
        report.setdefault("looking", []).append(panel._looking.busy)
    yield from until(lambda: panel._seen is not None)
    report["hover"] = [panel._seen.row, panel._seen.column]
    QTest.keyClicks(canvas, "n")  # keys of the list work on the canvas, too
    limit, column = time.monotonic() + 180, 0
    while panel.bound is None and not panel._note and time.monotonic() < limit:  # the mouse goes on while PyTorch is loaded
        column = (column + 1) % 90
        place = canvas.getCoordinateTransform().transform(QgsPointXY(*panel.scene.place_of(20, column))).toQPointF()
        move = QMouseEvent(QEvent.Type.MouseMove, QPointF(place), Qt.MouseButton.NoButton, Qt.MouseButton.NoButton, modifiers)
        QgsApplication.sendEvent(canvas.viewport(), move)
        yield from pause(0.03)
    yield from until(lambda: panel._shares is not None)
    report["contributions"] = [panel._note, int(np.isfinite(panel._shares.bands).sum()), int(panel.scene.used.sum())]
    click(panel.spectrum.pick_button)
    heartbeat.phase(None)

    # Selecting on the canvas
    panel.region_layer.selectByIds([5])
    report["selected"] = [regions.current, int(regions.model.regions.columns["rank"][regions.current])]
    panel.region_layer.removeSelection()

    # Reject alike
    regions.go_to(4)
    regions.alike.trigger()
    regions.angle.setValue(200)
    listed = regions.model.rowCount()
    regions.angle.setValue(30)
    angles = regions.model.angles
    report["alike"] = [listed, regions.model.rowCount(), (angles <= 3.0).sum().item(), (angles <= 20).sum().item()]
    click(regions.reject_alike)
    report["alike in the file"] = [fields_of(path), np.where(np.isnan(angles), 999, angles).tolist()]
    regions.undo.undo()
    report["alike undone"] = fields_of(path)[4]

    # The file in an edit session, read-only, replaced, gone
    layer = panel.region_layer
    layer.startEditing()
    regions.go_to(2)
    regions.give("later")
    layer.rollBack()
    report["after rollback"] = fields_of(path)[2]
    layer.setReadOnly(True)
    regions.go_to(1)
    regions.give("rejected")
    report["read-only"] = [fields_of(path)[1][0], messages(), regions.model.regions.verdicts[0]]
    layer.setReadOnly(False)
    iface.messageBar().clearWidgets()
    os.rename(path, f"{path}.moved")
    regions.give("rejected")
    report["gone"] = [messages(), regions.model.regions.verdicts[0]]
    os.rename(f"{path}.moved", path)
    iface.messageBar().clearWidgets()

    # What the regions are
    report["columns before"] = [regions.table.isColumnHidden(column) for column in (GROUP, MATCH)]
    kept, named = panel.region_layer, QgsVectorLayer(str(FOLDER / "named.gpkg"), "named", "ogr")
    project.addMapLayer(named)
    iface.setActiveLayer(named)
    yield from until(lambda: panel.means is not None and regions.model.rowCount())
    report["nothing chosen"] = panel._seen is None
    regions.table.sortByColumn(MATCH, Qt.SortOrder.AscendingOrder)
    rows = [[regions.model.index(line, column).data() for column in (0, GROUP, MATCH)] for line in range(regions.model.rowCount())]
    report["named"] = [[regions.table.isColumnHidden(column) for column in (GROUP, MATCH)], rows]
    regions.go_to(1)
    yield from until(lambda: panel._seen is not None and panel._own == 0)
    report["matches"] = [[line.name, line.values.tolist()] for line in panel.spectrum._lines if line.name.startswith("library: ")]
    report["matches of"] = panel._seen.spectrum.tolist()
    os.rename(FOLDER / "library.csv", FOLDER / "elsewhere.csv")
    iface.setActiveLayer(kept)
    yield from until(lambda: panel.region_layer is kept and panel.means is not None)
    iface.setActiveLayer(named)
    yield from until(lambda: panel.region_layer is named and panel.means is not None)
    regions.go_to(1)
    yield from until(lambda: panel._seen is not None and panel._own == 0)
    yield from pause(0.2)
    note = panel.spectrum.note
    report["note"] += [note.wordWrap(), note.heightForWidth(note.width()), note.height()]
    report["no library"] = [note.text(), [line.name for line in panel.spectrum._lines]]
    iface.setActiveLayer(kept)
    project.removeMapLayer(named)
    yield from until(lambda: panel.means is not None)

    # Many regions
    many = QgsVectorLayer(str(FOLDER / "many.gpkg"), "many", "ogr")
    project.addMapLayer(many)
    heartbeat.phase("5000 regions")
    iface.setActiveLayer(many)
    yield from until(lambda: regions.model.rowCount() == 5000)
    yield from pause(0.3)
    for column in (1, 0):
        regions.table.sortByColumn(column, Qt.SortOrder.DescendingOrder)
        yield from pause(0.1)
    report["sorted"] = regions.model.index(0, 0).data()
    regions.table.sortByColumn(0, Qt.SortOrder.AscendingOrder)
    regions.go_to(5000)
    regions.table.setFocus()
    yield from pause(0.2)
    QTest.keyClicks(regions.table, "a")
    yield from pause(0.2)
    heartbeat.phase(None)
    report["many"] = fields_of(FOLDER / "many.gpkg")[5000][0]
    project.removeMapLayer(many)
    iface.setActiveLayer(kept)
    yield from until(lambda: regions.model.rowCount() == report["kept"][1])
    report["removed"] = [regions.model.rowCount(), panel.region_layer is None]

    # A large map
    large = QgsRasterLayer(str(FOLDER / "large.tif"), "large")
    project.addMapLayer(large)
    canvas.setExtent(large.extent())
    heartbeat.phase("25 megapixels")
    panel.maps.setLayer(large)
    yield from until(lambda: tab.map is not None, 120)
    moves = []
    for step in range(300, 700, 20):
        begun = time.monotonic()
        tab.slider.setValue(step)
        moves.append(time.monotonic() - begun)
        yield
    yield from until(lambda: "..." not in tab.numbers.text())
    yield from pause(0.3)
    heartbeat.phase(None)
    report["large"] = [tab.threshold_value, tab.numbers.text(), painted(), moves]
    dock.hide()
    yield from pause(0.2)
    report["hidden"] = painted()

    # A project that is opened again
    project.removeMapLayer(large)
    dock.show()
    panel.maps.setLayer(anomalies)
    yield from until(lambda: tab.map is not None and panel.scene is not None)
    for row, column in ((40, 41), (10, 60)):
        panel.look_at(QgsPointXY(*panel.scene.place_of(row, column)), pin=True)
        yield from until(lambda: not panel._looking.busy)
    report["pinned"] = pinned(panel)
    project.write(str(FOLDER / "review.qgz"))
    project.clear()
    report["cleared"] = [panel.map_layer is None, regions.model.rowCount(), panel.scene is None, len(panel._pins)]
    project.read(str(FOLDER / "review.qgz"))
    yield from until(lambda: tab.map is not None and panel.means is not None)
    report["pinned again"] = pinned(panel)
    report["opened again"] = [panel.map_layer.name(), tab.rate_value, regions.model.rowCount(), regions.model.regions.verdicts[0]]


session = start(steps)

"""What is in the dock, and how its parts, the layers and the canvas work together."""

import os
import sys
from functools import partial

import numpy as np
from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsCsException,
    QgsGeometry,
    QgsMapLayerProxyModel,
    QgsPointXY,
    QgsProcessingUtils,
    QgsProject,
    QgsRasterLayer,
    QgsRectangle,
    QgsVectorLayer,
    QgsWkbTypes,
)
from qgis.gui import QgsMapLayerComboBox, QgsRubberBand, QgsVertexMarker
from qgis.PyQt import sip
from qgis.PyQt.QtCore import Qt, QTimer
from qgis.PyQt.QtGui import QColor, QKeySequence
from qgis.PyQt.QtWidgets import QComboBox, QFileDialog, QFormLayout, QFrame, QScrollArea, QSplitter, QTabWidget, QVBoxLayout, QWidget

from ..algorithms.dialogs import SCORES
from ..algorithms.inputs import raster_source
from ..core.files import check_place
from ..core.loading import load_torch
from ..installation.packages import missing_packages_message
from ..settings import torch_threads
from ..styles import save_regions_style
from ..translation import tr
from ..workflows.extract import Extraction, extract
from ..workflows.review_map import ReviewedMap
from ..workflows.review_matches import library_spectra, nearest
from ..workflows.review_pins import pins_in_json, pins_of
from ..workflows.review_regions import boxes, read_regions, related_file
from ..workflows.review_scene import ReviewedScene, bind_detector, can_bind, model_file, needs_learning
from ..workflows.sources import FEW_BANDS, RasterSource, RegionSource
from .hand_on import open_export, open_report
from .latest import Latest
from .overlay import PixelsAbove
from .pick_tool import PickTool
from .plots import OBSERVED
from .regions_tab import RegionsTab
from .spectrum_view import SpectrumView
from .threshold_tab import ThresholdTab

ENTRY = "scoread"  # of the project
SURROUNDINGS = 6  # times the size of a region is shown around it
LEAST_PIXELS = 40  # of the scene, across what is shown around a region
SMALL_SCENE = 300 * 2**20  # bytes of a scene that is learnt without being asked, for the contributions


class ReviewPanel(QWidget):
    """iface: `QgisInterface`."""

    def __init__(self, iface, parent=None):
        super().__init__(parent)
        self.iface, self.canvas, self.project = iface, iface.mapCanvas(), QgsProject.instance()
        self.map_layer = self.region_layer = self.scene = self.labels = self.means = self.boxes = self.bound = None
        self.scene_source, self._seen, self._title, self._similar, self._shares = None, None, "", None, None
        self._pins, self._markers, self._wanted_rank, self._kept, self._facts, self._note = [], [], None, None, {}, ""
        self._shown, self._settling, self._picking = False, False, False
        self._library, self._library_note, self._own, self._opened_for, self._dialog = {}, "", None, None, None
        self._loading, self._opening, self._keeping, self._listing, self._measuring, self._looking, self._binding = (
            Latest(self) for _ in range(7)
        )

        self.maps = QgsMapLayerComboBox()
        self.maps.setFilters(QgsMapLayerProxyModel.Filter.RasterLayer)
        self.maps.setAllowEmptyLayer(True)
        self.maps.setAccessibleName(tr("Anomaly map"))
        self.scenes = QComboBox()
        self.scenes.setAccessibleName(tr("Scene"))
        for box in (self.maps, self.scenes):
            box.setMinimumContentsLength(8)
            box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        form = QFormLayout()
        form.addRow(tr("&Map"), self.maps)
        form.addRow(tr("&Scene"), self.scenes)
        self.threshold, self.regions, self.spectrum = ThresholdTab(), RegionsTab(), SpectrumView()
        review = QSplitter(Qt.Orientation.Vertical)
        review.addWidget(self.regions)
        review.addWidget(self.spectrum)
        review.setChildrenCollapsible(False)
        review.setSizes([400, 600])  # of which the splitter takes the ratio
        self.tabs = QTabWidget()
        self.tabs.addTab(_scrolled(self.threshold), tr("Threshold"))
        self.tabs.addTab(_scrolled(review), tr("Review"))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.addLayout(form)
        layout.addWidget(self.tabs, 1)

        self.overlay = PixelsAbove(self.canvas)
        self.outline = QgsRubberBand(self.canvas, QgsWkbTypes.GeometryType.PolygonGeometry)
        self.outline.setColor(QColor(0, 0, 0, 0))
        self.outline.setStrokeColor(QColor("#ffffff"))
        self.outline.setSecondaryStrokeColor(QColor("#d9480f"))
        self.outline.setWidth(2)
        self.marker = self._marker(OBSERVED)
        self.marker.hide()
        self.tool = PickTool(self.canvas)

        self.maps.layerChanged.connect(self._map_chosen)
        self.scenes.activated.connect(self._scene_chosen)
        self.threshold.changed.connect(self.overlay.set_threshold)
        self.threshold.chosen.connect(self._remember_threshold)
        self.threshold.keep.connect(self.keep)
        self.regions.chosen.connect(self._region_chosen)
        self.regions.complain.connect(self.complain)
        self.regions.report.connect(self._report)
        self.regions.export.connect(self._export)
        self.spectrum.complain.connect(self.complain)
        self.spectrum.pinned.connect(self.pin)
        self.spectrum.clear.connect(self.unpin)
        self.spectrum.pick.connect(self._pick)
        self.spectrum.learn.connect(self._bind)
        self.tool.looked.connect(self.look_at)
        self.tool.pressed.connect(self._key)
        self.tool.deactivated.connect(lambda: self.spectrum.pick_button.setChecked(False))
        self.tabs.currentChanged.connect(self._tab_changed)
        self._connections = [
            (iface.currentLayerChanged, self._active_layer_changed),
            (self.project.layersRemoved, self._layers_removed),
            (self.project.layersAdded, self._layers_added),
            (self.project.readProject, self._project_read),
            (self.project.cleared, self._project_cleared),
        ]
        for signal, slot in self._connections:
            signal.connect(slot)
        self._list_scenes()
        self._tab_changed()

    def complain(self, text):
        """Say what went wrong, where the user sees it and it stays."""
        self.iface.messageBar().pushWarning(tr("Anomalies"), text)

    # The map

    def show_map(self, layer):
        """Read the map of a layer in the background, and offer its thresholds."""
        if layer is self.map_layer and (self.threshold.map is not None or self._loading.busy):
            return
        self.map_layer = layer
        self._settling = True
        self.maps.setLayer(layer)
        self._settling = False
        self.overlay.show_map(None, QgsCoordinateReferenceSystem())
        if layer is None:
            self._loading.cancel()
            self.threshold.show_map(None, tr("Choose an anomaly map: in the layer tree, or above."))
            return
        try:
            source = raster_source(layer, tr("The map"))
        except Exception as error:  # QgsProcessingException, in whose place older QGIS puts others
            self.threshold.show_map(None, str(error))
            return
        self.threshold.show_map(None, tr("Reading {}...").format(layer.name()))
        rate, _ = self.project.readDoubleEntry(ENTRY, f"review/rate/{layer.id()}", 0.0)
        progress = self.threshold.show_progress

        def done(reviewed):
            progress(1, "")
            self.threshold.show_map(reviewed, rate=rate or None)
            self.overlay.show_map(reviewed, layer.crs() if not sip.isdeleted(layer) else QgsCoordinateReferenceSystem())
            self._find_scene(reviewed.facts, source.source)

        def failed(text):
            progress(1, "")
            self.threshold.show_map(None, text)

        self._loading.start(tr("Reading {}").format(layer.name()), partial(ReviewedMap, source), done, failed, progress)

    def _map_chosen(self, layer):
        if not self._settling:
            self.project.writeEntry(ENTRY, "review/map", layer.id() if layer else "")
            self.tabs.setCurrentIndex(0)
            self.show_map(layer)

    def _active_layer_changed(self, layer):
        if not self._shown or layer is None:
            return
        if is_map(layer):
            if layer is not self.map_layer:
                self._map_chosen(layer)
        elif is_regions(layer) and layer is not self.region_layer:
            self.show_regions(layer)

    def _remember_threshold(self, rate, _):
        if self.map_layer is not None:
            self.project.writeEntryDouble(ENTRY, f"review/rate/{self.map_layer.id()}", rate)

    # The regions

    def keep(self):
        """Write the regions above the threshold, as Extract anomalies does, load them, and review them."""
        reviewed, layer = self.threshold.map, self.map_layer
        if reviewed is None or layer is None or sip.isdeleted(layer):
            return
        path = self._place_for_regions(layer)
        if not path:
            return
        settings, threshold, rate = self.threshold.settings(), self.threshold.threshold_value, self.threshold.rate_value
        fitted = reviewed.tail is not None and np.float32(reviewed.tail.threshold(rate)) == np.float32(threshold)
        by = {"method": "tail", "rate": rate} if fitted else {"method": "value", "value": threshold}
        extraction = Extraction(reviewed.source, path, **by, **settings)
        how = tr("rate {:g}").format(float(f"{rate:.3g}")) if fitted else tr("threshold {:.4g}").format(threshold)
        self.threshold.keep_button.setEnabled(False)

        def done(found):
            self.threshold.show_progress(1, "")
            self.threshold.keep_button.setEnabled(True)
            save_regions_style(path, f"{tr('threshold {:.4g}').format(found[0])}, {how}")
            QTimer.singleShot(0, lambda: load(found))  # the window may draw in between

        def load(found):
            if sip.isdeleted(self) or sip.isdeleted(layer):
                return
            name = reviewed.facts.get("scene_name") or layer.name()
            regions = QgsVectorLayer(path, tr("Regions of {scene}, {how}").format(scene=name, how=how), "ogr")
            replaced = self._kept if self.region_layer is not None and self.region_layer is self._kept else None
            unreviewed = replaced is not None and not any(self.regions.model.regions.reviewed if self.regions.model.regions else [])
            old = replaced.source().split("|")[0] if unreviewed else None
            self._add_above(regions, layer)
            self._kept = regions
            self.show_regions(regions)
            if old:  # a trial of the same session, on which nobody has said anything
                self.project.removeMapLayer(replaced.id())
                _remove_quietly(old)
            if found[1]:
                self.go_to(1)

        def failed(text):
            self.threshold.show_progress(1, "")
            self.threshold.keep_button.setEnabled(True)
            self.complain(text)

        title = tr("Regions of {}").format(layer.name())
        self._keeping.start(title, partial(extract, extraction), done, failed, self.threshold.show_progress)

    def _place_for_regions(self, layer):
        """A new file beside the map; asked for where there is no file, or only a temporary one."""
        source = layer.source().split("|")[0]
        stem = os.path.splitext(source)[0]
        temporary = os.path.realpath(source).startswith(os.path.realpath(QgsProcessingUtils.tempFolder()) + os.sep)
        if os.path.isfile(source) and not temporary:
            number = 1
            while os.path.lexists(path := f"{stem} regions{f' {number}' if number > 1 else ''}.gpkg"):
                number += 1
            try:
                check_place(path, "GeoPackage")
                return path
            except ValueError:
                pass  # a folder that is read-only
        folder = self.project.homePath() or os.path.expanduser("~")
        proposed = os.path.join(folder, f"{os.path.basename(stem)} regions.gpkg")
        path, _ = QFileDialog.getSaveFileName(self, tr("Keep the regions as"), proposed, tr("GeoPackage (*.gpkg)"))
        return path if not path or path.lower().endswith(".gpkg") else f"{path}.gpkg"

    def _add_above(self, layer, below):
        """Add a layer to the project, right above another."""
        self.project.addMapLayer(layer, False)
        root = self.project.layerTreeRoot()
        node = root.findLayer(below.id())
        parent = node.parent() if node is not None else root
        parent.insertLayer(parent.children().index(node) if node is not None else 0, layer)

    def show_regions(self, layer):
        """Read the regions of a layer in the background, and list them."""
        self._wanted_rank = None
        if self.region_layer is not None and not sip.isdeleted(self.region_layer):
            self.region_layer.selectionChanged.disconnect(self._canvas_selected)
        self.region_layer = layer
        self.labels = self.means = self.boxes = self._seen = self._own = None
        self._library, self._library_note = {}, ""
        self._measuring.cancel()
        self._looking.cancel()
        self._show_spectra()
        self.outline.reset(QgsWkbTypes.GeometryType.PolygonGeometry)
        self.regions.show_regions(None, "", None)
        if layer is None:
            self._listing.cancel()
            return
        layer.selectionChanged.connect(self._canvas_selected)
        self.project.writeEntry(ENTRY, "review/regions", layer.id())
        path, _, rest = layer.source().partition("|")
        named = next((part[len("layername=") :] for part in rest.split("|") if part.startswith("layername=")), "")
        if layer.providerType() != "ogr" or not os.path.isfile(path):
            self.complain(
                tr("{} is not in a file of its own, so that verdicts would not last. Save it as a GeoPackage, and review that.").format(
                    layer.name()
                )
            )
            return

        self.tabs.setCurrentIndex(1)

        def read(_):
            regions = read_regions(path, named)
            return regions, boxes(regions.shapes)

        def done(found):
            regions, self.boxes = found
            self.regions.show_regions(layer, path, regions)
            if self.map_layer is None:
                self._find_map(regions.facts, path)
            if self.scene is None and not self._opening.busy:
                self._find_scene(regions.facts, path)
            self._measure()
            if self._wanted_rank is not None and len(regions):
                self.regions.go_to(self._wanted_rank)

        self._listing.start(tr("Reading {}").format(layer.name()), read, done, self.complain)

    def go_to(self, rank):
        """Go to the region with this rank, now or once the list is there."""
        if self._listing.busy or self.regions.model.regions is None:
            self._wanted_rank = rank
        else:
            self.regions.go_to(rank)

    def _region_chosen(self, row):
        if row < 0 or self.region_layer is None or sip.isdeleted(self.region_layer):
            self.outline.reset(QgsWkbTypes.GeometryType.PolygonGeometry)
            return
        regions = self.regions.model.regions
        geometry = QgsGeometry()
        geometry.fromWkb(regions.shapes[row])
        self.outline.setToGeometry(geometry, self.region_layer)
        if not self._picking:
            self._move_to(geometry, regions.columns["pixels"][row], regions.columns["area"][row])
            self._show_region(row)

    def _move_to(self, geometry, pixels, area):
        """Show a region with what is around it."""
        box = geometry.boundingBox()
        pixel = np.sqrt(geometry.area() / pixels) if pixels > 0 else max(box.width(), box.height())
        half = max(SURROUNDINGS * max(box.width(), box.height()), LEAST_PIXELS * pixel) / 2
        centre = box.center()
        around = QgsRectangle(centre.x() - half, centre.y() - half, centre.x() + half, centre.y() + half)
        transform = self._transform(self.region_layer.crs(), self._shown_crs())
        try:
            self.canvas.setExtent(transform.transformBoundingBox(around) if transform else around)
        except QgsCsException as error:
            self.complain(str(error))
        self.canvas.refresh()

    def _canvas_selected(self, selected, *_):
        """A region that was selected on the canvas becomes the current one, and the canvas stays where it is."""
        regions = self.regions.model.regions
        if regions is None or not selected:
            return
        rows = [row for row, number in enumerate(regions.ids) if number in set(selected)]
        if rows and self.regions.current not in rows:
            self._choose_without_moving(rows[0])
            self._show_region(rows[0])

    def _choose_without_moving(self, row):
        self._picking = True
        self.regions.go_to_row(row)
        self._picking = False

    # The scene and its spectra

    def _find_scene(self, facts, beside):
        """Open the scene that a map or regions were made from, where it is found; ask for it otherwise."""
        self._facts = facts or self._facts
        path = related_file(facts.get("scene"), beside)
        self._list_scenes(path)
        if path is not None:
            layer = next((each for each in self._scene_layers() if each.source().split("|")[0] == path), None)
            self._open_scene(raster_source(layer, tr("The scene")) if layer else RasterSource(path))
            return
        chosen, _ = self.project.readEntry(ENTRY, "review/scene")
        if chosen and self._choose_scene(chosen):
            return
        if self.scene is None:
            named = facts.get("scene_name")
            text = tr("The scene {} of this map was not found. Choose it above.").format(named) if named else ""
            self.spectrum.show_nothing(text or tr("This map does not say which scene it is of. Choose the scene above to see spectra."))

    def _find_map(self, facts, beside):
        """Show the map that regions were made from, where it is among the layers."""
        path = related_file(facts.get("map"), beside)
        layer = next((each for each in self._rasters() if path and each.source().split("|")[0] == path), None)
        if layer is not None:
            self.show_map(layer)

    def _rasters(self):
        return [layer for layer in self.project.mapLayers().values() if isinstance(layer, QgsRasterLayer) and layer.isValid()]

    def _scene_layers(self):
        return [layer for layer in self._rasters() if layer.providerType() == "gdal" and layer.bandCount() >= FEW_BANDS]

    def _list_scenes(self, found=None):
        """Fill the list of scenes: layers with enough bands, a file that was found, and the choice of another file."""
        current = found or self.scenes.currentData()
        self.scenes.clear()
        self.scenes.addItem("", None)
        for layer in self._scene_layers():
            self.scenes.addItem(layer.name(), layer.source())
        for path in filter(None, (found, current)):
            if self.scenes.findData(path) < 0 and os.path.exists(path):
                self.scenes.addItem(os.path.basename(path), path)
        self.scenes.addItem(tr("Choose a file..."), "?")
        self.scenes.setCurrentIndex(max(self.scenes.findData(current), 0))

    def _scene_chosen(self, index):
        path = self.scenes.itemData(index)
        if path == "?":
            path, _ = QFileDialog.getOpenFileName(self, tr("Choose the scene"), self.project.homePath())
            self._list_scenes(path or None)
        self.project.writeEntry(ENTRY, "review/scene", path or "")
        if not path:
            self._forget_scene(tr("Choose the scene above to see spectra."))
        else:
            self._choose_scene(path)

    def _choose_scene(self, path):
        """Open a scene of the list; returns whether it is one."""
        if self.scenes.findData(path) < 0 and not os.path.exists(path):
            return False
        self._list_scenes(path)
        layer = next((each for each in self._scene_layers() if each.source() == path), None)
        self._open_scene(raster_source(layer, tr("The scene")) if layer else RasterSource(path))
        return True

    def _forget_scene(self, text):
        for latest in (self._opening, self._measuring, self._looking, self._binding):
            latest.cancel()
        self.scene = self.scene_source = self.labels = self.means = self.bound = self._seen = None
        self._note = ""
        self.regions.show_means(None)
        self._take_pins_off()
        self.marker.hide()
        self.spectrum.show_nothing(text)
        self._show_learning()

    def _open_scene(self, source):
        if self.scene_source is not None and (self.scene_source.source, self._opened_for) == (source.source, self._facts):
            return
        self._forget_scene(tr("Opening {}...").format(source.name or source.source))
        self.scene_source, self._opened_for = source, self._facts

        def done(scene):
            self.scene = scene
            pins, _ = self.project.readEntry(ENTRY, "review/pins")
            for pin in pins_of(pins, self._named_scene(), scene.raster.count):
                self._pin(*pin)
            self._show_spectra()
            self._measure()
            self._show_learning()
            self._bind_unasked()
            if self.regions.current >= 0:
                self._show_region(self.regions.current)

        def failed(text):
            self.scene_source = None
            self.spectrum.show_nothing(text)

        self._opening.start(tr("Opening the scene"), partial(ReviewedScene, source, self._facts), done, failed)

    def _measure(self):
        """Find the mean spectra of the regions, once both they and the scene are known."""
        regions, scene = self.regions.model.regions, self.scene
        if regions is None or not len(regions) or scene is None:
            return
        count = len(regions)
        source = RegionSource(self.region_layer.name(), regions.crs, tuple(regions.shapes), tuple(regions.ids), (None,) * count)

        names, path = {name for each in regions.matches for name in each}, self.regions.path

        def work(run):
            labels = scene.labels(source, run)
            means = scene.region_means(labels, count, run.progress)
            if not names:
                return labels, means, {}, ""
            try:
                return labels, means, library_spectra(regions.facts, path, names, scene, run), ""
            except ValueError as error:
                return labels, means, {}, str(error)

        def done(found):
            self.labels, self.means, self._library, self._library_note = found
            self.regions.show_means(self.means)
            if self.regions.current >= 0 and self._seen is None:
                self._show_region(self.regions.current)

        self._measuring.start(tr("Spectra of the regions"), work, done, self.complain)

    def _show_region(self, row):
        """Show the mean spectrum of a region, with its spread and what is expected there."""
        self._seen = None
        if self.scene is None or self.means is None or row >= len(self.means.pixels):
            return
        if not self.means.pixels[row]:
            self.spectrum.show_nothing(tr("This region has no valid pixel in the scene."))
            return
        rank = int(self.regions.model.regions.columns["rank"][row])
        self.marker.hide()
        title = tr("region {}, mean").format(rank)
        self._look(title, lambda scene, means, labels: scene.of_region(means, labels, row), row)

    def look_at(self, point, pin=False):
        """Show the spectrum of the pixel at a point in the CRS of the canvas; pin: keep it in the plot."""
        if self.scene is None:
            self.complain(tr("Choose the scene in the dock first: spectra are read from there."))
            return
        crs = QgsCoordinateReferenceSystem.fromWkt(self.scene.raster.crs)
        transform = self._transform(self._shown_crs(), crs)
        try:
            place = transform.transform(point) if transform else point
        except QgsCsException:
            return
        pixel = self.scene.pixel_at(place.x(), place.y())
        if pixel is None:
            return
        self._choose_region_at(point)
        title = tr("pixel {}, {}").format(pixel[0] + 1, pixel[1] + 1)
        self._mark(self.marker, *pixel)
        self._look(title, lambda scene, *_: scene.at_pixel(*pixel), None, pin)

    def _choose_region_at(self, point):
        """Make the region under a point of the canvas the current one."""
        if self.boxes is None or not len(self.boxes) or self.region_layer is None or sip.isdeleted(self.region_layer):
            return
        transform = self._transform(self._shown_crs(), self.region_layer.crs())
        try:
            place = transform.transform(point) if transform else point
        except QgsCsException:
            return
        left, right, bottom, top = self.boxes.T
        for row in np.flatnonzero((left <= place.x()) & (place.x() <= right) & (bottom <= place.y()) & (place.y() <= top)).tolist():
            geometry = QgsGeometry()
            geometry.fromWkb(self.regions.model.regions.shapes[row])
            if geometry.contains(QgsPointXY(place)):
                if row != self.regions.current:
                    self._choose_without_moving(row)
                return

    def _look(self, title, look, own, pin=False):
        """Read a spectrum in the background, and show it. own: row of the region that it is of, or None."""
        scene, means, labels, bound = self.scene, self.means, self.labels, self.bound

        def work(run):
            seen = look(scene, means, labels)
            similar = scene.most_similar(seen, means, own)
            shares = None
            if bound is not None and seen.expected is not None:
                with torch_threads():
                    shares = scene.contributions(bound, seen, seen.expected)
            return seen, similar, shares

        def done(found):
            self._seen, self._similar, self._shares = found
            self._own = own
            self._title = title
            if pin:
                self.pin()
            self._show_spectra()
            if bound is not self.bound:  # the detector became ready meanwhile
                self._look_again()
            self._bind_unasked(clicked=own is None)  # now that the spectrum is there

        def failed(text):
            self._seen = None
            self.spectrum.show_nothing(text)

        self._looking.start(tr("Reading a spectrum"), work, done, failed)

    def _show_spectra(self):
        if self.scene is None:
            return
        title = ""
        if self._seen is not None and self._similar is not None:
            title = tr("most similar: {}, {:.1f}°").format(self._name_of(self._similar), self._similar.angle)
        pins = [(name, colour, seen) for name, colour, seen, _ in self._pins]
        seen, similar = self._seen, self._similar if self._seen is not None else None
        matches, note = [], self._note
        if seen is not None and self._own is not None and (names := self.regions.model.regions.matches[self._own]):
            found = ((name, nearest(self._library[name], seen.spectrum)) for name in names if name in self._library)
            matches = [(name, spectrum) for name, spectrum in found if spectrum is not None]
            note = " ".join(filter(None, (note, self._library_note)))
        self.spectrum.show_spectra(self.scene, self._title, seen, pins, similar, title, self._shares if seen else None, note, matches)

    def _name_of(self, similar):
        if similar.region is None:
            return tr("pixel {}, {}").format(int(similar.row) + 1, int(similar.column) + 1)
        return tr("region {}").format(int(self.regions.model.regions.columns["rank"][similar.region]))

    def pin(self):
        """Keep the current spectrum in the plot, and its place on the canvas."""
        if self._seen is None:
            return
        self._pin(self._title, self.spectrum.pin_colour(len(self._pins)), self._seen)
        self._remember_pins()
        self._show_spectra()

    def unpin(self):
        """Remove all pins."""
        self._take_pins_off()
        self._remember_pins()
        self._show_spectra()

    def _pin(self, title, colour, seen):
        marker = self._marker(colour)
        self._mark(marker, seen.row, seen.column)
        marker.setVisible(self._shown)
        self._pins.append((title, colour, seen, marker))

    def _take_pins_off(self):
        for *_, marker in self._pins:
            self.canvas.scene().removeItem(marker)
        self._pins = []

    def _remember_pins(self):
        self.project.writeEntry(ENTRY, "review/pins", pins_in_json(self._named_scene(), (pin[:3] for pin in self._pins)))

    def _named_scene(self):
        """The scene as it is named in the project: the id of its layer, or a file; "" for none."""
        source = self.scene_source
        layer = next((each for each in self._scene_layers() if source is not None and each.source() == source.source), None)
        return layer.id() if layer is not None else str(source.source) if source is not None else ""

    def _marker(self, colour):
        marker = QgsVertexMarker(self.canvas)
        marker.setIconType(QgsVertexMarker.IconType.ICON_BOX)
        marker.setColor(QColor(colour))
        marker.setIconSize(11)
        marker.setPenWidth(3)
        return marker

    def _mark(self, marker, row, column):
        x, y = self.scene.place_of(row, column)
        transform = self._transform(QgsCoordinateReferenceSystem.fromWkt(self.scene.raster.crs), self._shown_crs())
        try:
            marker.setCenter(transform.transform(QgsPointXY(x, y)) if transform else QgsPointXY(x, y))
            marker.show()
        except QgsCsException:
            marker.hide()

    def _bind_unasked(self, clicked=False):
        """Prepare contributions where that is quick, once spectra are looked at.

        PyTorch, which takes seconds and memory, is loaded only where a pixel was clicked.
        """
        scene = self.scene
        if scene is None or self.tabs.currentIndex() == 0 or self._note or can_bind(scene.facts):
            return
        if not clicked and "torch" not in sys.modules:
            return
        if not needs_learning(scene.facts) or _size(scene.source.source) <= SMALL_SCENE:
            self._bind()

    def _bind(self):
        """Make the detector of the map again, so that the contributions of the bands can be shown."""
        scene = self.scene
        if scene is None or self.bound is not None or self._binding.busy:
            return
        if message := missing_packages_message(("torch", "scipy")):
            self._note = message
            self._show_spectra()
            return

        def work(run):
            load_torch()
            with torch_threads():
                return bind_detector(scene, run)

        def done(found):
            self.bound, self._note = found
            self._show_learning()
            self._look_again()

        def failed(text):
            self._note = text
            self._show_learning()
            self._show_spectra()

        self._binding.start(tr("Learning the scene, for contributions"), work, done, failed)
        self._show_learning()

    def _look_again(self):
        """Add the contributions to the spectrum that is shown."""
        if self._seen is None or self.scene is None:
            return
        seen = self._seen
        self._look(self._title, lambda *_: seen, self._own)

    def _show_learning(self):
        """Offer what makes contributions known, where they are not."""
        button, scene = self.spectrum.learn_button, self.scene
        reason = can_bind(scene.facts) if scene is not None else ""
        button.setVisible(scene is not None and self.bound is None)
        button.setEnabled(not reason and not self._binding.busy)
        again = tr(
            "Make the detector of this map again, which takes about as long as the map did, and show how much each band contributes."
        )
        button.setToolTip(reason or again)
        button.setText(tr("Learning...") if self._binding.busy else tr("Contributions"))

    def _pick(self, on):
        if on:
            self.canvas.setMapTool(self.tool)
        elif self.canvas.mapTool() is self.tool:
            self.iface.actionPan().trigger()

    def _key(self, event):
        """Keys of the list work while the map tool has the focus, too."""
        key = QKeySequence(event.key()).toString()
        action = self.regions.actions_by_key.get(key) if not event.modifiers() else None
        if action is not None and action.isEnabled():
            action.trigger()
            event.accept()
        else:
            event.ignore()

    def _report(self):
        """Hand the accepted regions on as a page, of the scene and by the model that are known here."""
        facts = self.regions.model.regions.facts or self._facts
        model = model_file(facts)
        self._dialog = open_report(self.region_layer, self._named_scene() or None, model if model and os.path.isfile(model) else None)

    def _export(self):
        """Hand the accepted regions on as a layer."""
        self._dialog = open_export(self.region_layer)

    # Projects, layers, and the dock itself

    def restore(self):
        """Show what the project says was shown, or else what is active."""
        layer = self.project.mapLayer(self.project.readEntry(ENTRY, "review/map")[0])
        regions = self.project.mapLayer(self.project.readEntry(ENTRY, "review/regions")[0])
        active = self.iface.activeLayer()
        layer = active if active is not None and is_map(active) else layer
        regions = active if active is not None and is_regions(active) else regions
        if layer is None:
            layer = next((each for each in self._rasters() if is_map(each)), None)
        if layer is not None:
            self.show_map(layer)
        if regions is not None:
            self.show_regions(regions)

    def set_shown(self, shown):
        """Called when the dock appears or disappears: what it paints on the canvas does so too."""
        self._shown = shown
        for item in (
            self.outline,
            self.marker if self._seen is not None and self._seen.pixels == 1 else None,
            *(pin[-1] for pin in self._pins),
        ):
            if item is not None:
                item.setVisible(shown)
        self._tab_changed()
        if not shown:
            self.spectrum.pick_button.setChecked(False)

    def _tab_changed(self, *_):
        self.overlay.setVisible(self._shown and self.tabs.currentIndex() == 0)
        self._bind_unasked()

    def _project_read(self, *_):
        if self._shown:
            self.restore()

    def _project_cleared(self):
        self.show_map(None)
        self.show_regions(None)
        self._forget_scene(tr("Choose the scene above to see spectra."))
        self._list_scenes()

    def _layers_added(self, *_):
        self._list_scenes()

    def _layers_removed(self, removed):
        if self.map_layer is not None and (sip.isdeleted(self.map_layer) or self.map_layer.id() in removed):
            self.show_map(None)
        if self.region_layer is not None and (sip.isdeleted(self.region_layer) or self.region_layer.id() in removed):
            self.region_layer = None
            self.show_regions(None)
        self._list_scenes()

    def _shown_crs(self):
        return self.canvas.mapSettings().destinationCrs()

    def _transform(self, source, target):
        """A transformation between two CRS; None where none is needed or possible."""
        if not source.isValid() or not target.isValid() or source == target:
            return None
        return QgsCoordinateTransform(source, target, self.project)

    def stop(self):
        """End all background work, and take everything off the canvas."""
        for signal, slot in self._connections:
            signal.disconnect(slot)
        self.threshold.stop()
        for latest in self.findChildren(Latest):
            latest.cancel()
        if self.canvas.mapTool() is self.tool:
            self.canvas.unsetMapTool(self.tool)
        for item in (self.overlay, self.outline, self.marker, *(pin[-1] for pin in self._pins)):
            self.canvas.scene().removeItem(item)
        self._pins = []


def _scrolled(widget):
    """A widget that a low screen may show in part."""
    area = QScrollArea()
    area.setWidget(widget)
    area.setWidgetResizable(True)
    area.setFrameShape(QFrame.Shape.NoFrame)
    return area


def is_map(layer):
    """Whether a layer is the map of a detector, as its band or its provenance says."""
    if not isinstance(layer, QgsRasterLayer) or not layer.isValid() or layer.providerType() != "gdal" or layer.bandCount() != 1:
        return False
    return layer.bandName(1).partition(": ")[2] in SCORES


def is_regions(layer):
    """Whether a layer holds regions that Extract anomalies made."""
    return isinstance(layer, QgsVectorLayer) and layer.isValid() and {"rank", "peak", "pixels"} <= set(layer.fields().names())


def _size(path):
    try:
        return os.path.getsize(path)
    except OSError:
        return 0


def _remove_quietly(path):
    for ending in ("", "-wal", "-shm"):
        if os.path.exists(path + ending):
            try:
                os.remove(path + ending)
            except OSError:
                return  # it is open elsewhere: it stays, and harms nobody

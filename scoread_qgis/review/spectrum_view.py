"""The spectrum of a pixel or a region, with what was expected there, pinned spectra, and ways to take them along."""

from qgis.core import QgsApplication
from qgis.PyQt.QtCore import QRect, QRectF, QSize, Qt, pyqtSignal
from qgis.PyQt.QtGui import QIcon, QImage, QPainter
from qgis.PyQt.QtSvg import QSvgGenerator
from qgis.PyQt.QtWidgets import QFileDialog, QHBoxLayout, QLabel, QMenu, QSizePolicy, QToolButton, QVBoxLayout, QWidget

from ..scenes.spectrum_file import spectra_csv, write_spectra
from ..translation import tr
from .plots import EXPECTED, MATCH, OBSERVED, PINS, SIMILAR, Line, SpectrumPlot


class SpectrumView(QWidget):
    """Shows a `workflows.review_scene.Seen`.

    Signals: pinned(), clear(), pick(on), learn(): buttons were clicked; complain(text): a file could not be written.
    """

    pinned = pyqtSignal()
    clear = pyqtSignal()
    pick = pyqtSignal(bool)
    learn = pyqtSignal()
    complain = pyqtSignal(str)

    def __init__(self, parent=None):
        super().__init__(parent)
        self.plot = SpectrumPlot()
        self.note = QLabel()
        self.note.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.note.setSizePolicy(
            QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum
        )  # it is as wide as the plot, and as high as it needs
        self.note.setWordWrap(True)
        self.pick_button = self._button(
            tr("Pick"), tr("Click pixels on the canvas; hold Shift to follow the mouse, Ctrl to pin what you click.")
        )
        self.pick_button.setIcon(QgsApplication.getThemeIcon("/mActionIdentify.svg"))
        self.pick_button.setCheckable(True)
        self.pin_button = self._button(tr("Pin"), tr("Keep this spectrum in the plot, in a colour that marks its place on the canvas."))
        self.clear_button = self._button(tr("Unpin all"), tr("Remove all pinned spectra."))
        self.learn_button = self._button(tr("Contributions"), "")
        self.save_button = self._button(tr("Save"), tr("Copy or save the spectra that are shown."))
        menu = QMenu(self.save_button)
        menu.addAction(tr("Copy as CSV"), self.copy)
        menu.addAction(tr("Picture (PNG, SVG)..."), self.save_picture)
        menu.addAction(tr("Spectra (ENVI library, CSV)..."), self.save_spectra)
        self.save_button.setMenu(menu)
        self.save_button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        buttons = QHBoxLayout()
        for button in (self.pick_button, self.pin_button, self.clear_button, self.learn_button, self.save_button):
            buttons.addWidget(button)
        buttons.addStretch()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(buttons)
        layout.addWidget(self.plot, 1)
        layout.addWidget(self.note)
        self.pick_button.toggled.connect(self.pick)
        self.pin_button.clicked.connect(self.pinned)
        self.clear_button.clicked.connect(self.clear)
        self.learn_button.clicked.connect(self.learn)
        self.show_nothing(tr("Choose the scene above to see spectra."))

    def _button(self, text, help_text):
        button = QToolButton()
        button.setText(text)
        button.setToolTip(help_text)
        button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        button.setIcon(QIcon())
        return button

    def show_nothing(self, text):
        self._lines = []
        self.plot.show_lines([], True, [], text=text)
        self.note.setText("")
        self._enable(False)

    def show_spectra(self, scene, title, seen, pins, similar=None, similar_title="", contributions=None, note="", matches=()):
        """scene: `ReviewedScene`. title, seen: of the current place, or None. pins: (name, colour, `Seen`). similar: `Similar` or None.
        matches: (name, spectrum) of a library, the best first."""
        lines = []
        for (name, spectrum), style in zip(matches, (Qt.PenStyle.SolidLine, Qt.PenStyle.DashLine, Qt.PenStyle.DotLine)):
            lines.insert(0, Line(tr("library: {}").format(name), MATCH, spectrum, style=style))
        if similar is not None:
            lines.append(Line(similar_title, SIMILAR, similar.spectrum, style=Qt.PenStyle.DotLine))
        lines += [Line(name, colour, pin.spectrum) for name, colour, pin in pins]
        if seen is not None:
            if seen.expected is not None:
                expected = seen.expected
                lines.append(Line(tr("expected here"), EXPECTED, expected.spectrum, expected.low, expected.high, Qt.PenStyle.DashLine))
            low, high = (None, None) if seen.spread is None else (seen.spectrum - seen.spread, seen.spectrum + seen.spread)
            lines.append(Line(title, OBSERVED, seen.spectrum, low, high, width=2.2))
        self._lines, self._axis, self._nanometres = lines, scene.axis, scene.nanometres
        self.plot.show_lines(
            scene.axis, scene.nanometres, lines, contributions and contributions.bands, tr("Click a pixel, or choose a region.")
        )
        notes = [note] if note else []
        if contributions is not None:
            notes.insert(
                0,
                tr("Anomaly value {:.4g}, of the expected spectrum {:.4g} ({}).").format(
                    contributions.score, contributions.background, contributions.what
                ),
            )
        if seen is not None and seen.expected is None:
            notes.append(tr("Around here is too little to expect a spectrum from."))
        self.note.setText(" ".join(notes))
        self._enable(bool(lines))
        self.pin_button.setEnabled(seen is not None)
        self.clear_button.setEnabled(bool(pins))

    def _enable(self, on):
        for button in (self.pin_button, self.clear_button, self.save_button):
            button.setEnabled(on)

    def _spectra(self):
        """Names and spectra of the lines, with the limits of what was expected."""
        names, spectra = [], []
        for line in reversed(self._lines):
            for suffix, values in (("", line.values), (tr(" (low)"), line.low), (tr(" (high)"), line.high)):
                if values is not None:
                    names.append(line.name + suffix)
                    spectra.append(values)
        return names, spectra

    def copy(self):
        QgsApplication.clipboard().setText(spectra_csv(self._axis, self._nanometres, *self._spectra()))

    def save_picture(self, path=None):
        """Save the plot; path: .png or .svg, asked for where it is None."""
        if path is None:
            path, _ = QFileDialog.getSaveFileName(self, tr("Save picture"), "", "PNG (*.png);;SVG (*.svg)")
        if not path:
            return
        size = self.plot.size()
        if path.lower().endswith(".svg"):
            device = QSvgGenerator()
            device.setFileName(path)
            device.setSize(size)
            device.setViewBox(QRect(0, 0, size.width(), size.height()))
            fine = self._paint(device, size)
        else:
            device = QImage(QSize(3 * size.width(), 3 * size.height()), QImage.Format.Format_RGB32)
            device.setDevicePixelRatio(3)
            fine = self._paint(device, size) and device.save(path if path.lower().endswith(".png") else f"{path}.png")
        if not fine:
            self.complain.emit(tr("{} cannot be written. Choose a folder that you may write to.").format(path))

    def _paint(self, device, size):
        painter = QPainter()
        if not painter.begin(device):
            return False
        painter.setFont(self.plot.font())
        self.plot.draw(painter, QRectF(0, 0, size.width(), size.height()))
        return painter.end()

    def save_spectra(self, path=None):
        """Save the spectra; path: .sli or .csv, asked for where it is None."""
        if path is None:
            path, kind = QFileDialog.getSaveFileName(self, tr("Save spectra"), "", tr("ENVI spectral library (*.sli);;CSV (*.csv)"))
            if path and not path.lower().endswith((".sli", ".csv")):
                path += ".csv" if "csv" in kind else ".sli"
        if not path:
            return
        try:
            names, spectra = self._spectra()
            write_spectra(path, self._axis, self._nanometres, names, spectra)
        except ValueError as error:
            self.complain.emit(str(error))

    def pin_colour(self, number):
        return PINS[number % len(PINS)]

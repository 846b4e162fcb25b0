"""Where the threshold is chosen: histogram, slider, numbers, and Keep."""

import math
from functools import partial

from qgis.PyQt.QtCore import QLocale, Qt, QTimer, pyqtSignal
from qgis.PyQt.QtWidgets import (
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QSlider,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from ..translation import tr
from ..workflows.parameters import CONNECTIVITY, MIN_AREA, RATE
from .latest import Latest
from .plots import HistogramPlot

STEPS = 1000  # of the slider, from the highest to the lowest rate
LEAST_RATE, MOST_RATE = 1e-7, 0.1
PAUSE = 80  # ms after a move before regions are counted


class ThresholdTab(QWidget):
    """Chooses the threshold of a `ReviewedMap`.

    Signals: changed(threshold), at every move; chosen(rate, threshold), where the user lets go; keep(), Keep was clicked.
    """

    changed = pyqtSignal(float)
    chosen = pyqtSignal(float, float)
    keep = pyqtSignal()

    def __init__(self, parent=None):
        super().__init__(parent)
        self.map = None
        self.rate_value, self.threshold_value = RATE.default, math.nan
        self._counting, self._filling = Latest(self), False
        self.plot = HistogramPlot()
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(0, STEPS)
        self.slider.setPageStep(STEPS // 20)
        self.slider.setAccessibleName(tr("False-alarm rate"))
        self.rate, self.score = QLineEdit(), QLineEdit()
        self.rate_label = QLabel(tr("False-alarm &rate"))
        self.rate_label.setBuddy(self.rate)
        score_label = QLabel(tr("Scor&e"))
        score_label.setBuddy(self.score)
        self.numbers = QLabel()
        self.numbers.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.numbers.setWordWrap(True)
        self.min_area = QSpinBox()
        self.min_area.setRange(MIN_AREA.least, 1_000_000)
        self.min_area.setToolTip(tr(MIN_AREA.help))
        self.connectivity = QComboBox()
        self.connectivity.addItems([tr(choice) for choice in CONNECTIVITY.choices])
        self.connectivity.setToolTip(tr(CONNECTIVITY.help))
        self.keep_button = QPushButton(tr("&Keep these regions"))
        self.keep_button.setToolTip(tr("Write the regions above this threshold to a file, as Extract anomalies does, and review them."))
        self.progress = QProgressBar()
        self.progress.setRange(0, 100)
        self.progress.hide()

        typed = QHBoxLayout()
        for widget in (self.rate_label, self.rate, score_label, self.score):
            typed.addWidget(widget)
        form = QFormLayout()
        form.addRow(tr(MIN_AREA.title), self.min_area)
        form.addRow(tr(CONNECTIVITY.title), self.connectivity)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.addWidget(self.plot, 1)
        layout.addWidget(self.slider)
        layout.addLayout(typed)
        layout.addWidget(self.numbers)
        layout.addLayout(form)
        layout.addWidget(self.progress)
        layout.addWidget(self.keep_button)

        self._later = QTimer(self)
        self._later.setSingleShot(True)
        self._later.setInterval(PAUSE)
        self._later.timeout.connect(self._count)
        self.slider.valueChanged.connect(self._slid)
        self.slider.sliderReleased.connect(self._let_go)
        self.plot.moved.connect(self.set_threshold)
        self.rate.editingFinished.connect(self._rate_typed)
        self.score.editingFinished.connect(self._score_typed)
        self.min_area.valueChanged.connect(lambda _: self._later.start())
        self.connectivity.currentIndexChanged.connect(lambda _: self._later.start())
        self.keep_button.clicked.connect(self.keep)
        self.show_map(None, tr("Choose an anomaly map: in the layer tree, or above."))

    def show_map(self, reviewed, text="", rate=None, threshold=None):
        """reviewed: `ReviewedMap`, or None and a text that says why there is none. rate, threshold: to begin with."""
        self._counting.cancel()
        self._later.stop()
        self.map = reviewed
        for widget in (self.slider, self.rate, self.score, self.min_area, self.connectivity, self.keep_button):
            widget.setEnabled(reviewed is not None)
        self.plot.show_histogram(reviewed.histogram() if reviewed else None, text)
        self.numbers.setText("")
        self.plot.set_threshold(math.nan)
        self.threshold_value = math.nan
        if reviewed is None:
            self.changed.emit(math.inf)
            return
        fitted = reviewed.tail is not None
        self.rate_label.setText(tr("False-alarm &rate") if fitted else tr("Share of &pixels"))
        self.rate_label.setToolTip("" if fitted else reviewed.no_tail)
        if threshold is not None:
            self.set_threshold(threshold)
        else:
            self.set_rate(rate or RATE.default)

    def show_progress(self, fraction, message):
        """What happens in the background, 0..1; a fraction of 1 or more hides it."""
        self.progress.setVisible(fraction < 1)
        self.progress.setValue(int(100 * fraction))
        self.progress.setFormat(f"{message} %p%")

    def set_rate(self, rate):
        self._set(rate, self.map.threshold(rate))

    def set_threshold(self, threshold):
        if self.map is not None:
            self._set(self.map.rate(threshold), threshold)

    def _set(self, rate, threshold):
        self.rate_value, self.threshold_value = rate, threshold
        self._filling = True
        self.slider.setValue(_step(rate))
        self._filling = False
        self.rate.setText(f"{rate:.3g}")
        self.score.setText(f"{threshold:.6g}")
        self.plot.set_threshold(threshold)
        self._tell(self.map.pixels_above(threshold), not self.map.exact, None)
        self._later.start()
        self.changed.emit(threshold)

    def _slid(self, step):
        if not self._filling and self.map is not None:
            self.set_rate(_rate(step))
            if not self.slider.isSliderDown():
                self._let_go()

    def _let_go(self):
        self.chosen.emit(self.rate_value, self.threshold_value)

    def _rate_typed(self):
        rate = _number(self.rate.text())
        if self.map is None or f"{self.rate_value:.3g}" == self.rate.text():
            return
        if rate is None or not RATE.least <= rate <= RATE.most:
            self.rate.setText(f"{self.rate_value:.3g}")
            return
        self.set_rate(rate)
        self._let_go()

    def _score_typed(self):
        threshold = _number(self.score.text())
        if self.map is None or f"{self.threshold_value:.6g}" == self.score.text():
            return
        if threshold is None:
            self.score.setText(f"{self.threshold_value:.6g}")
            return
        self.set_threshold(threshold)
        self._let_go()

    def settings(self):
        """Connectivity and smallest region, as `workflows.extract.Extraction` takes them."""
        return {"connectivity": CONNECTIVITY.value(self.connectivity.currentIndex()), "min_area": self.min_area.value()}

    def _count(self):
        if self.map is None:
            return
        settings = self.settings()
        count = partial(self.map.regions_above, self.threshold_value, settings["connectivity"], settings["min_area"])
        pixels = self.map.pixels_above(self.threshold_value)

        def done(found):
            exact = self.map.exact or settings["min_area"] == 1
            self._tell(pixels if self.map.exact or not exact else found[1], not exact, found[0])

        self._counting.start(tr("Counting regions"), lambda run: count(run.progress), done, lambda text: self.numbers.setText(text))

    def _tell(self, pixels, about, regions):
        local = QLocale()
        shown = tr("about {}").format(local.toString(pixels)) if about else local.toString(pixels)
        lines = [
            tr("Pixels above: {}").format(shown),
            tr("Regions: {}").format("..." if regions is None else local.toString(regions)),
        ]
        alarms = self.map.false_alarms(self.threshold_value)
        if alarms is None:
            lines.append(tr("Expected false alarms: not known. {}").format(self.map.no_tail))
        else:
            lines.append(tr("Expected false alarms: {} pixels").format(f"{alarms:.3g}" if alarms < 1000 else local.toString(round(alarms))))
        self.numbers.setText("\n".join(lines))

    def stop(self):
        self._later.stop()
        self._counting.cancel()


def _rate(step):
    return MOST_RATE * (LEAST_RATE / MOST_RATE) ** (step / STEPS)


def _step(rate):
    share = math.log(max(rate, 1e-300) / MOST_RATE) / math.log(LEAST_RATE / MOST_RATE)
    return round(min(max(share, 0), 1) * STEPS)


def _number(text):
    """A number as people type it, with the decimal sign of their language; None for anything else."""
    number, fine = QLocale().toDouble(text.strip())
    if not fine:
        try:
            number = float(text)
        except ValueError:
            return None
    return number if math.isfinite(number) else None

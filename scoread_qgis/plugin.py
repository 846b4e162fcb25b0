"""The plugin as QGIS loads it: it registers the Processing provider, and adds its menu where there is a desktop."""

from qgis.core import Qgis, QgsApplication
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtGui import QIcon
from qgis.PyQt.QtWidgets import QAction, QPushButton

from .installation.packages import add_package_folder, missing, remove_marked_folder
from .installation.pip_command import TITLES
from .provider import ICON, ScoreadProvider
from .review.dock import AnomalyDock
from .review.toolbar import Toolbar
from .translation import install_translator, tr

MENU = "ScoreAD"
_TOLD = "scoread_told_what_is_missing"  # of the application, since a plugin may be loaded again in a session


class ScoreadPlugin:
    def __init__(self, iface=None):
        self.iface = iface
        self.provider = None
        self.dock = self.dock_action = self._toolbar = None
        self._actions, self._dialogs = [], {}
        self.translator = install_translator()

    def initProcessing(self):
        """Called by QGIS with and without a desktop (hasProcessingProvider in metadata.txt)."""
        remove_marked_folder()
        add_package_folder()
        self.provider = ScoreadProvider()
        QgsApplication.processingRegistry().addProvider(self.provider)

    def initGui(self):
        self.initProcessing()
        self.dock = AnomalyDock(self.iface)
        self.dock_action = self.dock.toggleViewAction()
        self.dock_action.setIcon(QIcon(ICON))
        self.iface.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, self.dock)  # which puts it into View > Panels
        self.dock.hide()  # until the user, or QGIS that remembers it, shows it
        self._toolbar = Toolbar(self.iface, self.show_find_panel)
        self._toolbar.add(self.dock_action)
        for action in (self._toolbar.find_action, self.dock_action):
            self.iface.addPluginToMenu(MENU, action)
        for title, open_dialog in (
            (tr("Install PyTorch..."), self.show_install_dialog),
            (tr("Check installation"), self.show_check_dialog),
        ):
            action = QAction(QIcon(ICON), title, self.iface.mainWindow())
            action.triggered.connect(open_dialog)
            self.iface.addPluginToMenu(MENU, action)
            self._actions.append(action)
        self._tell_what_is_missing()

    def _tell_what_is_missing(self):
        """A message with a button, once in a session, where a package is missing without which no map can be made."""
        names = [TITLES[name] for name in missing()]
        if not names or QgsApplication.instance().property(_TOLD):
            return
        QgsApplication.instance().setProperty(_TOLD, True)
        bar, button = self.iface.messageBar(), QPushButton(tr("Install PyTorch..."))
        message = bar.createMessage(MENU, tr("{packages} is missing: anomaly maps cannot be made yet.").format(packages=", ".join(names)))
        message.layout().addWidget(button)
        button.clicked.connect(self.show_install_dialog)
        button.clicked.connect(lambda: bar.popWidget(message))
        bar.pushWidget(message, Qgis.MessageLevel.Warning)

    def show_find_panel(self):
        from .review.find import FindPanel

        if FindPanel not in self._dialogs:
            self._dialogs[FindPanel] = FindPanel(self.iface.mainWindow())
            self._dialogs[FindPanel].found.connect(self.show_found)
        return self._show(FindPanel)

    def show_found(self, score_map, regions):
        """Open the dock on the layers of an anomaly map and its regions, at rank 1. regions: None where they could not be extracted."""
        self.dock.show()
        self.dock.show_map(score_map)
        if regions is not None:
            self.dock.show_regions(regions)
            self.dock.go_to(1)

    def show_install_dialog(self):
        from .installation.install_dialog import InstallDialog

        return self._show(InstallDialog)

    def show_check_dialog(self):
        from .installation.check_dialog import CheckDialog

        return self._show(CheckDialog)

    def _show(self, dialog_class):
        """Show the one dialog of a kind: an install that is under way is found again."""
        dialog = self._dialogs.get(dialog_class)
        if dialog is None:
            dialog = self._dialogs[dialog_class] = dialog_class(self.iface.mainWindow())
        dialog.refresh()
        dialog.show()
        dialog.raise_()
        return dialog

    def unload(self):
        if self._toolbar is not None:
            self.iface.removePluginMenu(MENU, self._toolbar.find_action)
            self._toolbar.remove()
            self._toolbar = None
        if self.dock is not None:
            self.iface.removePluginMenu(MENU, self.dock_action)
            self.dock.stop()
            self.iface.removeDockWidget(self.dock)
            self.dock.deleteLater()
            self.dock = self.dock_action = None
        for action in self._actions:
            self.iface.removePluginMenu(MENU, action)
            action.deleteLater()
        for dialog in self._dialogs.values():
            dialog.stop()
            dialog.deleteLater()
        self._actions, self._dialogs = [], {}
        if self.provider is not None:
            QgsApplication.processingRegistry().removeProvider(self.provider)
            self.provider = None
        self.translator = None

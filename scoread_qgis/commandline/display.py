"""What a user sees of the work: a bar on a terminal, plain lines elsewhere."""

import shutil
import sys
import time

_BAR = 24
_REDRAW_SECONDS = 0.1
_LINE_SECONDS = 10


class Display:
    """Progress and log lines, on the standard error stream."""

    def __init__(self, stream=None):
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._shown, self._drawn = time.monotonic(), False

    def line(self, text=""):
        self.clear()
        print(text, file=self._stream, flush=True)

    def progress(self, fraction, message):
        now = time.monotonic()
        if now - self._shown < (_REDRAW_SECONDS if self._terminal else _LINE_SECONDS):
            return
        self._shown = now
        if not self._terminal:
            self.line(f"{fraction:4.0%} {message}")
            return
        filled = round(_BAR * fraction)
        text = f"[{'#' * filled}{'.' * (_BAR - filled)}] {fraction:4.0%} {message}"
        print(f"\r{text[: shutil.get_terminal_size().columns - 1]}\033[K", end="", file=self._stream, flush=True)
        self._drawn = True

    def clear(self):
        """Take the bar away."""
        if self._drawn:
            print("\r\033[K", end="", file=self._stream, flush=True)
            self._drawn = False

"""What a user sees of the work: a bar on a terminal, plain lines elsewhere, and JSON lines in a file."""

from __future__ import annotations

import json
import shutil
import sys
import time
from datetime import datetime, timezone
from typing import TextIO

_BAR = 24
_REDRAW_SECONDS = 0.1
_LINE_SECONDS = 10


class Display:
    """Progress and log lines, on the standard error stream. records: open file that the log lines and more are appended to, or None."""

    def __init__(self, records: TextIO | None = None) -> None:
        self._stream, self._records = sys.stderr, records
        self._terminal = self._stream.isatty()
        self._shown, self._drawn = time.monotonic(), False

    def line(self, text: str, **facts: object) -> None:
        """Show a line. facts: more about it for the records."""
        self.clear()
        print(text, file=self._stream, flush=True)
        self.record("log", text=text.strip(), **facts)

    def record(self, event: str, **facts: object) -> None:
        """Append what happened to the records alone."""
        if self._records:
            now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
            print(json.dumps({"time": now, "event": event, **facts}, ensure_ascii=False), file=self._records, flush=True)

    def progress(self, fraction: float, message: str) -> None:
        now = time.monotonic()
        if now - self._shown < (_REDRAW_SECONDS if self._terminal else _LINE_SECONDS):
            return
        self._shown = now
        if not self._terminal:
            print(f"{fraction:4.0%} {message}", file=self._stream, flush=True)
            return
        filled = round(_BAR * fraction)
        text = f"[{'#' * filled}{'.' * (_BAR - filled)}] {fraction:4.0%} {message}"
        print(f"\r{text[: shutil.get_terminal_size().columns - 1]}\033[K", end="", file=self._stream, flush=True)
        self._drawn = True

    def clear(self) -> None:
        """Take the bar away."""
        if self._drawn:
            print("\r\033[K", end="", file=self._stream, flush=True)
            self._drawn = False

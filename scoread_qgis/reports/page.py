"""A report as a single HTML file that opens anywhere: no network, no scripts, figures embedded."""

from __future__ import annotations

import base64
import html
import os
from collections.abc import Iterable, Sequence

from ..core.files import whole_file

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: 0.2rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; border-bottom: 1px solid #ddd; }
h3 { font-size: 1rem; margin: 1.6rem 0 0.4rem; }
table { border-collapse: collapse; margin: 0.6rem 0; font-variant-numeric: tabular-nums; display: block; overflow-x: auto; }
th, td { text-align: left; padding: 0.2rem 0.8rem 0.2rem 0; border-bottom: 1px solid #eee; vertical-align: top; }
th { font-weight: 600; border-bottom: 1px solid #999; } td.number, th.number { text-align: right; }
figure { margin: 0.8rem 0; } figure img { max-width: 100%; height: auto; } figcaption { color: #555; font-size: 0.9rem; }
.note { background: #fff6dd; border-left: 4px solid #e0a800; padding: 0.4rem 0.8rem; } pre { white-space: pre-wrap; font-size: 0.85rem; }
@media print { body { margin: 0; max-width: none; } h2 { break-after: avoid; } figure, tr { break-inside: avoid; } }
"""


class Page:
    """A report, written from top to bottom. All text is plain text and is escaped here."""

    def __init__(self, title: str, subtitle: str = "") -> None:
        self._title = title
        self._html = [f"<h1>{html.escape(title)}</h1>"]
        if subtitle:
            self.paragraph(subtitle)
        self._figures_missing = False

    def heading(self, text: str, level: int = 2) -> None:
        self._html.append(f"<h{level}>{html.escape(text)}</h{level}>")

    def paragraph(self, text: str) -> None:
        self._html.append(f"<p>{html.escape(text)}</p>")

    def note(self, text: str) -> None:
        """A paragraph that must not be overlooked."""
        self._html.append(f'<p class="note">{html.escape(text)}</p>')

    def lines(self, lines: Iterable[str]) -> None:
        """Preformatted lines, such as a log."""
        self._html.append(f"<pre>{html.escape(chr(10).join(lines))}</pre>")

    def table(self, rows: Sequence[Sequence[object]], header: Sequence[object] | None = None) -> None:
        """Rows of cells; numbers are written with four significant digits."""
        columns: list[tuple[object, ...]] = (
            list(zip(*rows)) if header else [()] * max(map(len, rows), default=0)
        )  # numbers are right-aligned only under a header
        cells = [f"<tr>{''.join(_cell('th', cell, column) for cell, column in zip(header, columns))}</tr>"] if header and rows else []
        cells += [f"<tr>{''.join(_cell('td', cell, column) for cell, column in zip(row, columns))}</tr>" for row in rows]
        self._html.append(f"<table>{''.join(cells)}</table>")

    def versions(self, versions: dict[str, str]) -> None:
        """Versions of software, name -> version."""
        self.paragraph("Made with " + ", ".join(f"{name} {version}" for name, version in versions.items()) + ".")

    def figure(self, svg: bytes | None, caption: str) -> None:
        """A figure from `figures.draw`; None means that matplotlib is missing, which the report says once."""
        if svg is None:
            if not self._figures_missing:
                self.note("Figures are left out: they need matplotlib, which this Python does not have. The tables have the same numbers.")
            self._figures_missing = True
            return
        data, caption = base64.b64encode(svg).decode("ascii"), html.escape(caption)
        self._html.append(
            f'<figure><img src="data:image/svg+xml;base64,{data}" alt="{caption}"><figcaption>{caption}</figcaption></figure>'
        )

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the page, whole or not at all. Raises ValueError where `path` cannot be written."""
        text = (
            f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(self._title)}</title>'
            f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>\n'
            f"<body>\n{chr(10).join(self._html)}\n</body></html>\n"
        )
        with whole_file(path, "report") as temporary:
            temporary.write_text(text, encoding="utf-8")


def _cell(tag: str, cell: object, column: Sequence[object]) -> str:
    numeric = bool(column) and all(isinstance(value, (int, float)) for value in column)
    kind = ' class="number"' if numeric else ""
    return f"<{tag}{kind}>{html.escape(readable(cell))}</{tag}>"


def readable(value: object) -> str:
    """A value as text: numbers with four significant digits, None as nothing."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)

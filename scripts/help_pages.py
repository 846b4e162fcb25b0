"""Turn docs/algorithms into the pages that the built plugin carries: python3 scripts/help_pages.py <folder for the HTML>

Knows as much of Markdown as scripts/document.py writes: headings, paragraphs, tables, code, bold text and links between the pages.
"""

import html
import re
import sys
from pathlib import Path

PAGES = Path(__file__).resolve().parents[1] / "docs" / "algorithms"
# Colours are those of the browser, light or dark as the user has it.
_HEAD = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; }}
th, td {{ text-align: left; vertical-align: top; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid GrayText; }}
pre {{ overflow-x: auto; padding: .6rem; border: 1px solid GrayText; }}
</style></head><body>
"""


def page(markdown):
    """HTML of a page."""
    title = markdown.splitlines()[0].lstrip("# ")
    parts = [_HEAD.format(title=html.escape(title))]
    for block in re.split(r"\n{2,}", markdown.strip()):
        if heading := re.fullmatch(r"(#+) (.+)", block):
            level = len(heading[1])
            parts.append(f"<h{level}>{_inline(heading[2])}</h{level}>")
        elif block.startswith("```"):
            parts.append(f"<pre><code>{html.escape(block.partition(chr(10))[2].removesuffix('```').rstrip())}</code></pre>")
        elif block.startswith("|"):
            parts.append(_table(block.splitlines()))
        else:
            parts.append(f"<p>{_inline(block)}</p>")
    return "\n".join([*parts, "</body></html>", ""])


def _table(lines):
    rows = [re.split(r"(?<!\\)\|", line.strip())[1:-1] for line in lines if not re.fullmatch(r"[|-]+", line)]
    cells = [[_inline(cell.strip().replace("\\|", "|")) for cell in row] for row in rows]
    made = [f"<tr><th>{'</th><th>'.join(cells[0])}</th></tr>"] + [f"<tr><td>{'</td><td>'.join(row)}</td></tr>" for row in cells[1:]]
    return "\n".join(["<table>", *made, "</table>"])


def _inline(text):
    text = html.escape(text, quote=False)
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", text)
    text = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", text)
    return re.sub(r"\[([^\]]+)\]\(([\w-]+)\.md\)", r'<a href="\2.html">\1</a>', text)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True)
    for source in PAGES.glob("*.md"):
        (folder / f"{source.stem}.html").write_text(page(source.read_text(encoding="utf-8")), encoding="utf-8")

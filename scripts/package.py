"""Pack the built plugin as QGIS' plugin manager and plugins.qgis.org take it: python scripts/package.py <folder of the plugin> <zip>"""

import sys
import zipfile
from pathlib import Path


def pack(folder, path):
    """Make the zip at `path` of the built plugin's `folder`, without hidden files and bytecode. The same files give the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as package:
        for file in sorted(folder.rglob("*")):
            inside = file.relative_to(folder.parent)
            if file.is_dir() or file.suffix == ".pyc" or any(part.startswith(".") for part in inside.parts):
                continue
            entry = zipfile.ZipInfo(inside.as_posix())
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            package.writestr(entry, file.read_bytes())


if __name__ == "__main__":
    pack(Path(sys.argv[1]).resolve(), Path(sys.argv[2]))
    print(f"packaged {sys.argv[2]}")

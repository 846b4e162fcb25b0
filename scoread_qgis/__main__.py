"""The command line without QGIS: python -m scoread_qgis --help."""

import sys

from .commandline.main import main

if __name__ == "__main__":
    sys.exit(main())

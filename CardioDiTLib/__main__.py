"""``python -m CardioDiTLib`` is the command line."""

import sys

from CardioDiTLib.cli import main

if __name__ == "__main__":
    sys.exit(main())

"""``python -m tunelet`` is the command ``tunelet``."""

import sys

from tunelet.cli import main

if __name__ == "__main__":
    sys.exit(main())

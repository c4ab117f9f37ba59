"""``python -m smartad`` is the command line."""

import sys

from smartad.cli import main

if __name__ == "__main__":
    sys.exit(main())

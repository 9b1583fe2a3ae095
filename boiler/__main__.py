"""`python -m boiler` is `boiler`."""

import sys

from boiler.cli import main

if __name__ == "__main__":
    sys.exit(main())

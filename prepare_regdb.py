"""Prepare RegDB: `python prepare_regdb.py --help`."""

import sys

from sdcl.datasets.prepare import main
from sdcl.datasets.regdb import LAYOUT

if __name__ == "__main__":
    sys.exit(main(LAYOUT, None, "data/regdb"))

"""Prepare SYSU-MM01: `python prepare_sysu.py --help`."""

import sys

from sdcl.datasets.prepare import main
from sdcl.datasets.sysu import LAYOUT

if __name__ == "__main__":
    sys.exit(main(LAYOUT, None, "data/sysu"))

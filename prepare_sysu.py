"""Prepare SYSU-MM01: `python prepare_sysu.py --help`."""

import sys

from sdcl.data.prepare import main
from sdcl.data.sysu import LAYOUT

if __name__ == "__main__":
    sys.exit(main(LAYOUT, None, "data/sysu"))

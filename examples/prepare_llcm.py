"""Prepare LLCM, the same as `python -m sdcl.datasets.llcm`: `python examples/prepare_llcm.py --help`."""

import sys

from sdcl.datasets.llcm import LAYOUT
from sdcl.datasets.prepare import main

if __name__ == "__main__":
    sys.exit(main(LAYOUT, None, "data/llcm"))

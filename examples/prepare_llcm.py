"""Prepare LLCM, the same as `python -m sdcl.data.llcm`: `python examples/prepare_llcm.py --help`."""

import sys

from sdcl.data.llcm import LAYOUT
from sdcl.data.prepare import main

if __name__ == "__main__":
    sys.exit(main(LAYOUT, None, "data/llcm"))

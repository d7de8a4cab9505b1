"""Prepare LLCM, the same as `sdcl prepare llcm`: `python examples/prepare_llcm.py --help`."""

import sys

from sdcl.datasets.prepare import main

if __name__ == "__main__":
    sys.exit(main(["llcm", *sys.argv[1:]]))

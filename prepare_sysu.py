"""Prepare SYSU-MM01, the same as `sdcl prepare sysu`: `python prepare_sysu.py --help`."""

import sys

from sdcl.datasets.prepare import main

if __name__ == "__main__":
    sys.exit(main(["sysu", *sys.argv[1:]]))

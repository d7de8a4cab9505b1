"""Prepare RegDB, the same as `sdcl prepare regdb`: `python prepare_regdb.py --help`."""

import sys

from sdcl.datasets.prepare import main

if __name__ == "__main__":
    sys.exit(main(["regdb", *sys.argv[1:]]))

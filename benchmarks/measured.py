"""Run `sdcl ARGS` in this process, then write its peak memory in bytes: python measured.py FILE ARGS."""

import sys
from pathlib import Path

from common import peak_memory

from sdcl.cli.main import main

file = Path(sys.argv[1])
try:
    status = main(sys.argv[2:])
finally:
    file.write_text(str(peak_memory()))
sys.exit(status)

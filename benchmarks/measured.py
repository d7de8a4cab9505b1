"""Run `sdcl ARGS` in this process, then write its peak memory in bytes: python measured.py FILE ARGS.

`python measured.py FILE ceiling FLAGS` runs ceiling.py instead.
"""

import sys
from pathlib import Path

import ceiling
from common import peak_memory

from sdcl.cli.main import main

file = Path(sys.argv[1])
try:
    status = ceiling.main(sys.argv[3:]) if sys.argv[2] == "ceiling" else main(sys.argv[2:])
finally:
    file.write_text(str(peak_memory()))
sys.exit(status)

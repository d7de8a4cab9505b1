"""`python -m sdcl COMMAND`, the same as the `sdcl` command."""

import sys

from sdcl.cli.main import main

sys.exit(main())

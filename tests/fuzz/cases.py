"""How many cases a property sees: few in the usual run, thousands with `SDCL_FUZZ=long python -m pytest tests/fuzz -s`."""

import os

from hypothesis import HealthCheck, settings

CASES = 3000 if os.environ.get("SDCL_FUZZ") == "long" else 40
few = settings(max_examples=CASES, deadline=None, derandomize=CASES == 40, suppress_health_check=list(HealthCheck))

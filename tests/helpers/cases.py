"""How many cases a property sees: 40 in the usual run, others with `SDCL_FUZZ=1000 python -m pytest -q tests/fuzz`."""

import os

from hypothesis import HealthCheck, settings

CASES = int(os.environ.get("SDCL_FUZZ", "40"))
few = settings(
    max_examples=CASES, deadline=None, derandomize=CASES == 40, suppress_health_check=list(HealthCheck)
)

"""Number of random cases of each property test:
20, or another as in `SDCL_FUZZ=1000 pytest -q tests/fuzz`.
"""

import os

from hypothesis import HealthCheck, settings

CASES = int(os.environ.get("SDCL_FUZZ", "20"))
few = settings(
    max_examples=CASES, deadline=None, derandomize=CASES == 20, suppress_health_check=list(HealthCheck)
)

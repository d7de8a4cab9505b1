from pathlib import Path

import numpy as np
import pytest
import torch

FIXTURES = Path(__file__).parent / "fixtures"
torch.set_num_threads(2)


@pytest.fixture(scope="session")
def parity():
    """parity("centroids") -> dict of the arrays that the released implementation gave."""

    def load(name: str) -> dict[str, np.ndarray]:
        with np.load(FIXTURES / f"{name}_a.npz") as arrays:
            return dict(arrays)

    return load

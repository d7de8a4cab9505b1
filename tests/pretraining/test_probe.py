"""The probe: Rank-1 of nearest neighbours."""

import torch

from sdcl.pretraining.probe import rank1


def test_rank1_by_hand():
    identities = torch.tensor([0, 0, 1, 1])
    rows = torch.nn.functional.normalize(torch.tensor([[1.0, 0.1], [1.0, 0.2], [0.1, 1.0], [1.0, 0.3]]))
    assert rank1(rows, rows, identities, exclude_self=False) == 1.0
    assert rank1(rows, rows, identities, exclude_self=True) == 0.5  # the last two are nearest to identity 0

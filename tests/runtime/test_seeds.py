"""Derived seeds are fixed for ever: every random number of a run hangs on them."""

from sdcl.runtime.seeds import derive_seeds


def test_values_are_pinned():
    assert derive_seeds(1, 0, 0, count=2) == [7434755675892716031, 10007452063617845036]
    assert derive_seeds(7) == [16920295385781661272]


def test_every_number_counts():
    seeds = [derive_seeds(*name)[0] for name in ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 5), (2, 0, 0))]
    assert len(set(seeds)) == len(seeds)
    assert len(set(derive_seeds(3, count=1000))) == 1000

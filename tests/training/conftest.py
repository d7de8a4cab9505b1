"""Fixtures of the training tests."""

import pytest


@pytest.fixture
def flags(flags):
    """Flags of a small run without a report."""

    def make(dataset, *more, **options):
        return flags(dataset, "--report", "none", *more, **options)

    return make

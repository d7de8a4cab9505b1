"""A run folder whose newest checkpoints are flipped and cut: the best one that is left is taken, or the
reason is said.
"""

import shutil

import pytest
import torch
from helpers import cases
from hypothesis import given
from hypothesis import strategies as st

from sdcl.runtime import checkpoint


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    for epoch in (0, 1):
        checkpoint.save(
            folder, checkpoint.LAST, {"model": {"w": torch.randn(64)}, "settings": {}, "epoch": epoch}
        )
    return folder


@cases.few
@given(
    st.sets(st.sampled_from([checkpoint.LAST, checkpoint.PREVIOUS])),
    st.booleans(),
    st.floats(0, 1, exclude_max=True),
    st.integers(1, 255),
)
def test_latest(run, tmp_path_factory, damaged, cut, where, flip):
    folder = tmp_path_factory.mktemp("damaged")
    shutil.copytree(run, folder, dirs_exist_ok=True)
    for name in damaged:
        content = bytearray((folder / name).read_bytes())
        at = int(where * len(content))
        content = content[:at] if cut else content[:at] + bytes([content[at] ^ flip]) + content[at + 1 :]
        (folder / name).write_bytes(content)
    if len(damaged) == 2:
        with pytest.raises(ValueError, match=r"no readable checkpoint") as error:
            checkpoint.latest(folder)
        assert all(name in str(error.value) for name in damaged) and "going back" not in str(error.value)
    else:
        state, said = checkpoint.latest(folder)
        assert state["epoch"] == (0 if checkpoint.LAST in damaged else 1)
        assert ("going back to" in said) == (checkpoint.LAST in damaged)
    shutil.rmtree(folder)

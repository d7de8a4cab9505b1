"""What a journal can hold comes back as it was, what it cannot hold is refused at once, and memories are
saved as they are.
"""

import numpy as np
import pytest
import torch
from torch import nn

from sdcl.clustering import PseudoLabels
from sdcl.runtime import checkpoint
from sdcl.runtime.errors import CheckpointError
from sdcl.training.epoch_journal import EpochJournal, StageProgress, decode, encode, require_recordable

CPU = torch.device("cpu")


def assert_same(a, b):
    assert type(a) is type(b)
    if isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype and torch.equal(a, b)
    elif isinstance(a, np.ndarray):
        assert a.dtype == b.dtype and a.shape == b.shape and (a == b).all()
    elif isinstance(a, PseudoLabels):
        assert (a.num_clusters, a.eps) == (b.num_clusters, b.eps)
        assert_same(a.ids, b.ids)
    elif isinstance(a, dict):
        assert a.keys() == b.keys() and all(type(k) is type(j) for k, j in zip(a, b))
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b):
            assert_same(x, y)
    else:
        assert a == b


VALUES = [
    None,
    True,
    3,
    0.5,
    "labels",
    np.array([[1, 2]]),
    np.arange(5)[::-1],  # torch takes no negative strides
    np.zeros((0, 3), np.float32),
    np.array(4),
    np.int64(7),
    np.float32(0.25),
    np.array([True, False]),
    torch.randn(2, 3),
    PseudoLabels(np.array([0, -1, 1, 0]), 2, 0.5),
    {"visible": PseudoLabels(np.array([0]), 1), 3: {"nested": torch.ones(1)}, ("visible", 2): None},
    {},
    {"array": 1, "dict": {"list": 2}},  # names that the encoding itself uses
    {"labels": np.array([1]), "clusters": 2, "eps": 3},
    (np.array([1]), [1.5, (PseudoLabels(np.array([-1]), 0),)], "x"),
    [],
    (),
]


@pytest.mark.parametrize("value", VALUES, ids=[f"{n} {type(v).__name__}" for n, v in enumerate(VALUES)])
def test_values_survive_the_disk(tmp_path, value):
    assert require_recordable(value) is value
    checkpoint.save(tmp_path, "x.pt", {"value": encode(value)})
    assert_same(decode(checkpoint.read(tmp_path / "x.pt")["value"], CPU), value)


class Own:
    pass


@pytest.mark.parametrize(
    "value,name",
    [
        ({1, 2}, "set"),
        (Own(), "Own"),
        (np.array(["a"]), "ndarray of <U1"),
        (np.array([Own()]), "ndarray of object"),
        (1j, "complex"),
        (b"x", "bytes"),
        (range(3), "range"),
        ({"visible": [0, {1}]}, r"set at \['visible'\]\[1\]"),
        ({1.5: 0}, "float"),
        ({(1, None): 0}, "tuple"),
        (lambda: None, "function"),
    ],
    ids=[str(n) for n in range(11)],
)
def test_other_values_are_refused_with_their_type(value, name):
    with pytest.raises(TypeError, match=rf"{name}.* it may return None, numbers, strings"):
        require_recordable(value)


def test_recorded_values_are_not_computed_again():
    journal = EpochJournal()
    first = journal.recall(lambda: torch.ones(2))
    assert not journal.replaying
    again = EpochJournal.from_state(journal.state({"embed": 1.5}), CPU)
    assert again.replaying and again.seconds == {"embed": 1.5}
    assert torch.equal(again.recall(lambda: 1 / 0), first)
    assert again.recall(lambda: "new") == "new" and again.values[1] == "new"


class Objective(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.register_buffer("rows", torch.full((2,), float(value)))


def test_memories_are_saved_as_they_are_then(tmp_path):
    """Also when a method puts another tensor into the buffer, instead of changing it in place."""
    journal, objective = EpochJournal(), Objective(0)
    progress = journal.stage(0)
    progress.follow({"contrast": objective})
    progress.step, progress.names, progress.history = 3, ["a"], [torch.ones(1)]
    objective.rows = objective.rows + 5
    checkpoint.save(tmp_path, "x.pt", {"journal": journal.state({})})
    objective.rows += 1  # later steps do not reach what was saved

    restored = EpochJournal.from_state(checkpoint.read(tmp_path / "x.pt")["journal"], CPU)
    fresh = Objective(0)
    rows = fresh.rows
    restored.stage(0).follow({"contrast": fresh})
    assert rows is fresh.rows and rows.tolist() == [5, 5]
    assert (restored.stages[0].step, restored.stages[0].names) == (3, ["a"])
    assert restored.stage(1).step == 0 and len(restored.stages) == 2


def test_a_stage_that_has_taken_no_step_keeps_its_new_memories():
    restored = EpochJournal.from_state(EpochJournal(stages=[StageProgress()]).state({}), CPU)
    fresh = Objective(2)
    restored.stage(0).follow({"contrast": fresh})
    assert fresh.rows.tolist() == [2, 2]


def test_an_unread_journal_is_saved_again_whole():
    """A second signal before the stage is reached loses nothing."""
    state = EpochJournal(
        stages=[StageProgress(2, 1, ["a"], [torch.ones(1)], {"contrast.rows": torch.ones(2)})]
    ).state({})
    again = EpochJournal.from_state(state, CPU).state({})
    assert (
        again["stages"][0]["memories"]["contrast.rows"].tolist() == [1, 1]
        and again["stages"][0]["skipped"] == 1
    )


def test_journals_of_version_0_1_are_read():
    """They wrote lists and tuples of plain values as they are."""
    state = {
        "values": [{"dict": {"a": {"array": torch.ones(1)}}}, [1, 2], (3,), 4],
        "stages": [],
        "seconds": {"train": 1.0},
    }
    journal = EpochJournal.from_state(state, CPU)
    assert_same(journal.values, [{"a": np.ones(1, np.float32)}, [1, 2], (3,), 4])


def test_memories_of_version_0_1_are_found():
    """A stage had one objective without a name: ADCA's and GUR's cluster memories, or SDCL's two kinds of
    memory in one module.
    """

    def named(name, value):
        return {
            "step": 1,
            "skipped": 0,
            "names": [],
            "history": [],
            "memories": {name: torch.full((2,), value)},
        }

    for name in ("rows", "contrast.rows"):
        state = {"values": [], "stages": [named(name, 4.0)], "seconds": {}}
        fresh = Objective(0)
        EpochJournal.from_state(state, CPU).stage(0).follow({"contrast": fresh})
        assert fresh.rows.tolist() == [4, 4]
    state = {"values": [], "stages": [named("elsewhere", 4.0)], "seconds": {}}
    with pytest.raises(CheckpointError, match=r"elsewhere(.*\n)*.*Remove unfinished\.pt"):
        EpochJournal.from_state(state, CPU).stage(0).follow({"contrast": Objective(0)})

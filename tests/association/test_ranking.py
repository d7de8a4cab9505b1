"""CRA against the released arrays and a plain loop."""

import numpy as np
import pytest
import torch
from helpers import parity

from sdcl.association import collaborative_ranking, majority_of_neighbors
from sdcl.association import ranking as ranking_module
from sdcl.runtime.errors import TrainingError


def branches(arrays, modality):
    return {b: torch.from_numpy(arrays[f"{modality}_{b}"]) for b in ("deep", "shallow")}


@parity.recorded("sdcl_cra", keys=r"top(\d+)_label_before")
@pytest.mark.parametrize("chunk", [1024, 7])
def test_released_labels(arrays, key, chunk, monkeypatch):
    monkeypatch.setattr(ranking_module, "CHUNK", chunk)
    a, k = arrays, int(key[0])
    visible, infrared = branches(a, "rgb"), branches(a, "ir")
    before = collaborative_ranking(visible, infrared, a["labels_ir"], k)
    sure = ~a[f"top{k}_ambiguous_before"]
    np.testing.assert_array_equal(before[sure], a[f"top{k}_label_before"][sure])
    after = majority_of_neighbors(before, visible)
    sure = ~a[f"top{k}_ambiguous_after"]
    np.testing.assert_array_equal(after[sure], a[f"top{k}_label_after"][sure])
    after = majority_of_neighbors(a[f"top{k}_label_before"], visible)
    np.testing.assert_array_equal(after, a[f"top{k}_label_after"])


@parity.recorded("sdcl_cra", keys=r"top(\d+)_max_count")
def test_an_ambiguous_choice_is_a_maximiser_and_the_best_ranked(arrays, key):
    a, k = arrays, int(key[0])
    visible, infrared = branches(a, "rgb"), branches(a, "ir")
    found = collaborative_ranking(visible, infrared, a["labels_ir"], k)
    unit = torch.nn.functional.normalize
    for i in range(len(found)):
        listed = {}
        for b in ("deep", "shallow"):
            order = torch.argsort(unit(visible[b][i : i + 1]) @ unit(infrared[b]).T, descending=True)[0, :k]
            listed[b] = a["labels_ir"][order.numpy()].tolist()
        counts = [listed["shallow"].count(label) for label in listed["deep"]]
        assert found[i] == listed["deep"][counts.index(max(counts))]
        assert max(counts) == a[f"top{k}_max_count"][i]


def test_fewer_keys_than_k_and_one_branch():
    keys = {"deep": torch.eye(3)}
    labels = collaborative_ranking({"deep": torch.eye(3)}, keys, np.array([0, -1, 1]), k=20)
    assert labels.shape == (3,) and set(labels) <= {0, -1, 1}
    one = collaborative_ranking({"deep": torch.eye(3)}, keys, np.array([0, -1, 1]), k=1)
    np.testing.assert_array_equal(one, [0, -1, 1])


def test_branches_of_different_images_are_refused():
    rows = torch.randn(12, 4)
    sides = {"deep": rows, "shallow": rows[:5]}
    with pytest.raises(
        ValueError, match=r"branch 'shallow' has queries .* keys .*all branches describe the same"
    ):
        collaborative_ranking({"deep": rows, "shallow": rows}, sides, np.zeros(12, int), 3)
    with pytest.raises(ValueError, match="branch 'shallow'"):
        collaborative_ranking(sides, {"deep": rows, "shallow": rows}, np.zeros(12, int), 3)


def test_features_that_are_not_finite_give_no_labels():
    rows, labels = torch.full((12, 4), torch.nan), np.zeros(12, int)
    with pytest.raises(TrainingError, match="NaN"):
        collaborative_ranking({"deep": rows}, {"deep": rows}, labels)
    with pytest.raises(TrainingError, match="NaN"):
        majority_of_neighbors(labels, {"deep": rows})


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int32])
def test_labels_of_any_integer_type(dtype):
    rows, labels = torch.randn(12, 4), np.arange(12) % 3
    wide = collaborative_ranking({"deep": rows}, {"deep": rows}, labels, 3)
    narrow = collaborative_ranking({"deep": rows}, {"deep": rows}, labels.astype(dtype), 3)
    assert narrow.dtype == np.int64 and (narrow == wide).all()
    smooth = majority_of_neighbors(labels.astype(dtype), {"deep": rows}, 3)
    assert (smooth == majority_of_neighbors(labels, {"deep": rows}, 3)).all()

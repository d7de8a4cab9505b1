"""CRA against the released arrays and a plain loop."""

import numpy as np
import pytest
import torch

from sdcl.association import collaborative_ranking, majority_of_neighbors
from sdcl.association import ranking as ranking_module


def branches(arrays, modality):
    return {b: torch.from_numpy(arrays[f"{modality}_{b}"]) for b in ("deep", "shallow")}


@pytest.mark.parametrize("k", [20, 10])
@pytest.mark.parametrize("chunk", [1024, 7])
def test_released_labels(parity, k, chunk, monkeypatch):
    monkeypatch.setattr(ranking_module, "CHUNK", chunk)
    a = parity("sdcl_cra")
    visible, infrared = branches(a, "rgb"), branches(a, "ir")
    before = collaborative_ranking(visible, infrared, a["labels_ir"], k)
    sure = ~a[f"top{k}_ambiguous_before"]
    np.testing.assert_array_equal(before[sure], a[f"top{k}_label_before"][sure])
    after = majority_of_neighbors(before, visible)
    sure = ~a[f"top{k}_ambiguous_after"]
    np.testing.assert_array_equal(after[sure], a[f"top{k}_label_after"][sure])
    after = majority_of_neighbors(a[f"top{k}_label_before"], visible)
    np.testing.assert_array_equal(after, a[f"top{k}_label_after"])


def test_an_ambiguous_choice_is_a_maximiser_and_the_best_ranked(parity):
    a = parity("sdcl_cra")
    visible, infrared = branches(a, "rgb"), branches(a, "ir")
    found = collaborative_ranking(visible, infrared, a["labels_ir"], 20)
    unit = torch.nn.functional.normalize
    for i in range(len(found)):
        listed = {}
        for b in ("deep", "shallow"):
            order = torch.argsort(unit(visible[b][i : i + 1]) @ unit(infrared[b]).T, descending=True)[0, :20]
            listed[b] = a["labels_ir"][order.numpy()].tolist()
        counts = [listed["shallow"].count(label) for label in listed["deep"]]
        assert found[i] == listed["deep"][counts.index(max(counts))]
        assert max(counts) == a["top20_max_count"][i]


def test_fewer_keys_than_k_and_one_branch():
    keys = {"deep": torch.eye(3)}
    labels = collaborative_ranking({"deep": torch.eye(3)}, keys, np.array([0, -1, 1]), k=20)
    assert labels.shape == (3,) and set(labels) <= {0, -1, 1}
    one = collaborative_ranking({"deep": torch.eye(3)}, keys, np.array([0, -1, 1]), k=1)
    np.testing.assert_array_equal(one, [0, -1, 1])

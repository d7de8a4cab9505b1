"""Label sets of a checkpoint: their modality and links are stored,
and told from the names of earlier versions.
"""

import numpy as np
import pytest
import torch

from sdcl.analysis.label_churn import LabelChurn
from sdcl.clustering import LabelSet, PseudoLabels
from sdcl.reporting.run_labels import labelled_epochs, links
from sdcl.runtime import checkpoint


def saved(folder, state):
    folder.mkdir(exist_ok=True)
    checkpoint.save(folder, checkpoint.LAST, {"epoch": 4, "model": {}, "settings": {}, **state})
    (epoch,), notes = labelled_epochs(folder)
    assert epoch.epoch == 4 and not notes
    return epoch.sets


def test_names_are_free_and_links_are_those_that_a_set_says(tmp_path):
    taken, own = PseudoLabels(np.array([0, 2, -1, 2]), 3), PseudoLabels(np.array([2, 1, 2]), 3)
    churn = LabelChurn()
    shown = [LabelSet("day", "visible", taken, shared_with="night"), LabelSet("night", "infrared", own)]
    churn.update(shown, {"day": {}, "night": {}})
    sets = saved(tmp_path / "run", {"labels": churn.state(), "label_sets": churn.about})
    assert {name: labels.modality for name, labels in sets.items()} == {"day": "visible", "night": "infrared"}
    (link,) = links(sets)
    assert (link.label, link.visible.tolist(), link.infrared.tolist()) == (2, [1, 3], [0, 2])
    assert links(sets, {"visible": np.array([7, 7, 8, 9]), "infrared": np.array([7, 8, 7])})[0].right == 0.5


@pytest.mark.parametrize(
    ("names", "linked"),
    [
        (("visible_associated", "infrared"), True),
        (("visible", "infrared_associated"), True),
        (("visible_joint", "infrared_joint"), True),
        (("visible", "infrared"), False),
    ],
)
def test_checkpoints_of_earlier_versions_say_it_by_their_names(tmp_path, names, linked):
    labels = {name: torch.tensor([0, 1, -1], dtype=torch.int32) for name in names}
    sets = saved(tmp_path / "run", {"labels": labels})
    assert [sets[name].modality for name in names] == ["visible", "infrared"]
    assert [link.label for link in links(sets)] == ([0, 1] if linked else [])

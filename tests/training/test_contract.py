"""What a method may hand over: mistakes that would train the wrong images, or nothing, are refused."""

import numpy as np
import pytest
import torch
from torch import nn

from sdcl.clustering.labels import LabelSet, PseudoLabels
from sdcl.methods.interface import Stage
from sdcl.training.contract import check_stage, loss_terms

IMAGES = {"visible": np.zeros(6, int), "infrared": np.zeros(4, int)}
GOOD = {"visible": np.array([0, 0, 1, 1, -1, 2]), "infrared": np.array([0, 1, 1, -1])}


class Learnable(nn.Module):
    def __init__(self):
        super().__init__()
        self.temperature = nn.Parameter(torch.ones(()))


def stage(label_sets=(), objective=None, **labels):
    return Stage("joint", {**GOOD, **labels}, 3, {"own": objective or nn.Identity()}, list(label_sets))


def test_a_stage_as_it_should_be():
    labels = PseudoLabels(GOOD["visible"], 3)
    check_stage(stage([LabelSet("visible", "visible", labels)]), IMAGES, "epoch 0, stage joint")
    check_stage(Stage("only shown", {}, 0), IMAGES, "epoch 0, stage only shown")


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (GOOD["visible"][GOOD["visible"] >= 0], r"array of 6 integers.*\(-1: left out\), got shape \(5,\)"),
        (GOOD["visible"][:, None], r"got shape \(6, 1\)"),
        (np.repeat(GOOD["visible"], 2), r"got shape \(12,\)"),
        (GOOD["visible"] * 1.0, "of float64"),
        (torch.tensor(GOOD["visible"]), "got a Tensor"),
    ],
)
def test_labels_that_are_not_one_for_each_training_image(labels, said):
    with pytest.raises(ValueError, match=rf"epoch 2, stage joint: labels\['visible'\]: .*{said}"):
        check_stage(stage(visible=labels), IMAGES, "epoch 2, stage joint")


def test_labels_of_one_modality_alone():
    with pytest.raises(ValueError, match=r"labels of \['visible'\], none of infrared"):
        check_stage(Stage("s", {"visible": GOOD["visible"]}, 1, {"own": nn.Identity()}), IMAGES, "stage s")


def test_a_label_set_of_other_images():
    shown = LabelSet("visible", "visible", PseudoLabels(GOOD["infrared"], 2))
    with pytest.raises(ValueError, match=r"label set 'visible': .* 6 integers.* got shape \(4,\)"):
        check_stage(stage([shown]), IMAGES, "stage joint")


def test_parameters_of_an_objective_would_never_be_trained():
    with pytest.raises(ValueError, match=r"objective 'own' has parameters .*\['temperature'\].* buffers"):
        check_stage(stage(objective=Learnable()), IMAGES, "stage joint")
    check_stage(stage(objective=Learnable().requires_grad_(False)), IMAGES, "stage joint")


def test_terms_of_several_objectives():
    terms = [{"a": torch.ones((), requires_grad=True)}, {"b": torch.ones((), requires_grad=True)}, {}]
    assert list(loss_terms(["x", "y", "z"], terms, "stage joint")) == ["a", "b"]


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ({"align": torch.ones(())}, "loss term 'align' has no gradient.*not from the gathered ones"),
        ({"align": torch.ones(3, requires_grad=True)}, r"must be one number, got shape \(3,\)"),
        ({"align": 1.5}, "must be a tensor, got a float"),
        (torch.ones((), requires_grad=True), "name -> loss term, got a Tensor"),
        (None, "got a NoneType"),
        ({}, "no objective returned a loss term"),
    ],
)
def test_outputs_that_are_no_loss(output, said):
    with pytest.raises(ValueError, match=f"stage joint: .*{said}"):
        loss_terms(["own"], [output], "stage joint")

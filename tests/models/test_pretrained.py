"""The weights that a run starts from: what they say of the runs that follow."""

import json

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import resnet50

from sdcl.config import METHODS, flat, resolve
from sdcl.models.pretrained import model_of, pretrained_model, weight_file
from sdcl.runtime.errors import WeightError

SMALL = {"method": "baseline", "arch": "resnet_mini", "shallow": False, "height": 32, "width": 16}


def settings(**given):
    return resolve(SMALL | given)[0]


def as_checkpoint(path, model, about):
    torch.save({"model": model.state_dict(), "settings": about}, path)


def as_export(path, model, about):
    save_file(model.state_dict(), path, {"sdcl": json.dumps({"settings": about})})


@pytest.mark.parametrize("name,write", [("last.pt", as_checkpoint), ("x.safetensors", as_export)])
def test_what_starts_from_a_semi_supervised_run_is_semi_supervised(tmp_path, name, write):
    labelled, file = settings(labels="visible"), tmp_path / name
    write(file, model_of(labelled), flat(labelled))
    with pytest.raises(WeightError, match=f"{name} is of a run with --labels visible.*give --labels visible"):
        pretrained_model(settings(pretrained=str(file)))
    pretrained_model(settings(pretrained=str(file), labels="visible"))
    write(file, model_of(labelled), flat(settings()))
    pretrained_model(settings(pretrained=str(file)))


@pytest.mark.parametrize("method", METHODS)
def test_agw_of_every_method_has_a_known_weight(method):
    """A copied `-a agw` trains: --pretrained auto names the ResNet-50 of ImageNet."""
    assert weight_file(resolve({"method": method, "arch": "agw"})[0]).name == "resnet50-19c8e357.pth"


def test_the_resnet_of_sdcl_takes_imagenets_weights(tmp_path):
    imagenet, file = resnet50(), tmp_path / "resnet50.pth"
    torch.save(imagenet.state_dict(), file)
    model, log = pretrained_model(settings(method="sdcl", arch="agw", pretrained=str(file)))
    assert "resnet50.pth" in log
    for modality in ("visible", "infrared"):
        assert torch.equal(model.stems[modality].conv1.weight, imagenet.conv1.weight)

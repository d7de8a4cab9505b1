"""Every flag changes the resolved settings, and every setting is read by the programs."""

import dataclasses

import numpy as np
import pytest
import torch
from helpers import raw_trees
from helpers.small_runs import METHOD_FLAGS, SMALL

from sdcl import test as test_program
from sdcl import train as train_program
from sdcl.config import settings as config
from sdcl.config.settings import Settings, fields_by_name, flat, from_flat, parse, resolve
from sdcl.runtime import checkpoint

OTHER_WORDS = {
    "method": "adca", "dataset": "regdb", "arch": "vit_tiny", "precision": "fp32", "optimizer": "adam", "knn": "faiss",
    "resize_train": "lanczos", "resize_extract": "lanczos", "resize_test": "bicubic", "device": "cpu", "report": "none", "modes": "indoor",
}  # fmt: skip


def other(name, kind, value):
    """A valid value that is not the default."""
    if name in OTHER_WORDS:
        return OTHER_WORDS[name]
    if name in ("batch_size", "batch_size_visible"):
        return 64
    if name == "num_instances":
        return 8
    if kind is bool:
        return not value
    if kind is str:
        return "3"
    return value / 2 if kind is float and value else kind(value + 1) if kind is int else 0.25


@pytest.mark.parametrize("name", fields_by_name())
def test_every_flag_changes_its_setting_alone(name):
    kind = fields_by_name()[name][2]
    before, _ = resolve({})
    value = other(name, kind, flat(before)[name])
    flag = "--" + name.replace("_", "-")
    said = [("--" if value else "--no-") + flag[2:]] if kind is bool else [flag, str(value)]
    after, origin, _ = parse(said, "x", "")
    changed = {n for n, v in flat(after).items() if v != flat(before)[n]}
    assert flat(after)[name] == value and origin[name] == "flag"
    assert changed == {name} or name in ("dataset", "method")  # these bring a whole recipe


READ = set()


def test_every_setting_is_read(tmp_path, monkeypatch, capsys):
    """Train and test with settings that note what is asked of them; what nobody asks for would be a dead flag."""
    names = set(fields_by_name())

    def noting(cls):
        plain = cls.__getattribute__

        def getter(self, name):
            if name in names:
                READ.add(name)
            return plain(self, name)

        monkeypatch.setattr(cls, "__getattribute__", getter)

    READ.clear()
    regdb = raw_trees.regdb(tmp_path / "regdb", people=5, images=6)
    sysu = raw_trees.sysu(tmp_path / "sysu", train=(1, 2, 3, 4), val=(5, 6), test=(7, 8), images=3)
    common = ["--cache-dir", str(tmp_path / "cache"), "--logs-dir", str(tmp_path / "run"), *SMALL]
    monkeypatch.setattr(config, "check", plainly(config.check))
    for module in (train_program, test_program, checkpoint):
        for record in ("flat", "describe"):
            if hasattr(module, record):
                monkeypatch.setattr(module, record, plainly(getattr(module, record)))
    for group in dataclasses.fields(Settings):
        noting(type(getattr(Settings(), group.name)))
    train = ["-d", "sysu", "--data-dir", str(sysu), *common, "--cross-from", "0", "--calibrate-necks"]
    assert train_program.main(train) == 0, capsys.readouterr().err
    assert train_program.main([*train, "--eps", "0.45"]) == 2  # asks whether to resume anyway
    for method in ("gur", "adca"):
        logs = ["--logs-dir", str(tmp_path / method)]
        assert train_program.main([*train, "--method", method, *METHOD_FLAGS, *logs]) == 0, capsys.readouterr().err
    assert train_program.main(["-d", "regdb", "--data-dir", str(regdb), *common, "--pretrained", str(tmp_path / "run/last.pt")]) == 0, (
        capsys.readouterr().err
    )
    assert test_program.main(["-d", "regdb", "--data-dir", str(regdb), *common[:4], "--trials", "1"]) == 0, capsys.readouterr().err
    assert test_program.main(["-d", "sysu", "--data-dir", str(sysu), *common[:4]]) == 0
    assert names - READ == set()


def plainly(function):
    """`function`, whose own reads do not count: records of all settings would otherwise prove nothing."""

    def call(settings, *rest):
        before = set(READ)
        result = function(settings, *rest)
        READ.intersection_update(before)
        return result

    return call


def test_released_recipes_of_the_ancestors():
    """METHODS A.2.2 and A.3.2, value by value."""
    shared = {
        "arch": "resnet50", "shallow": False, "batch_size": 256, "batch_size_visible": 128, "num_instances": 16, "optimizer": "adam",
        "lr": 3.5e-4, "weight_decay": 5e-4, "step_size": 20, "gamma": 0.1, "temp": 0.05, "momentum": 0.1, "momentum_first": 0.0,
        "k1": 30, "k2": 6, "min_samples": 4, "color_jitter": 0.0, "resize_train": "bicubic", "erase": 0.5, "height": 288, "width": 144,
    }  # fmt: skip
    own = {
        ("gur", "sysu"): {"epochs": 50, "iters": 200, "camera_iters": 50, "eps": 0.6, "camera_eps": 0.55, "inter_modality_until": 40,
                          "propagate_from": 30, "structure_from": 40, "propagation_k": 20, "structure_k": 20, "second_view": True,
                          "released_cae_slices": False},
        ("gur", "regdb"): {"epochs": 30, "iters": 100, "eps": 0.3, "intra_camera": False, "inter_modality_until": 25,
                           "propagate_from": 20, "structure_from": 20, "propagation_k": 10, "structure_k": 10},
        ("adca", "sysu"): {"epochs": 100, "aggregate_from": 50, "iters": 200, "eps": 0.6, "cma_threshold": 0.5, "cma_weight": 0.9},
        ("adca", "regdb"): {"epochs": 100, "aggregate_from": 50, "iters": 100, "eps": 0.3},
        ("baseline", "sysu"): {"epochs": 50, "iters": 200, "eps": 0.6, "second_view": False},
        ("baseline", "regdb"): {"iters": 100, "eps": 0.3, "second_view": False},
    }  # fmt: skip
    for (method, dataset), values in own.items():
        found = flat(resolve({"method": method, "dataset": dataset})[0])
        assert (shared | values).items() <= found.items(), (method, dataset)


def test_precedence_and_origin(tmp_path):
    (tmp_path / "c.json").write_text('{"eps": 0.45, "k1": 22, "dataset": "regdb_rgb"}')
    settings, origin, _ = parse(["--config", str(tmp_path / "c.json"), "--k1", "11"], "x", "")
    assert (settings.cluster.eps, settings.cluster.k1, settings.data.dataset) == (0.45, 11, "regdb")
    assert (origin["eps"], origin["k1"], origin["epochs"], origin["lr"]) == ("config file", "flag", "recipe sdcl regdb", "default")
    assert from_flat(flat(settings)) == settings


def test_released_recipes():
    """METHODS A.1.2, value by value."""
    sysu, regdb = (flat(resolve({"dataset": d})[0]) for d in ("sysu", "regdb"))
    both = {
        "batch_size": 128, "num_instances": 16, "optimizer": "sgd", "lr": 3.5e-4, "optimizer_momentum": 0.9, "weight_decay": 5e-4,
        "step_size": 20, "gamma": 0.1, "temp": 0.05, "momentum": 0.1, "instance_momentum": 0.9, "min_samples": 4, "k1": 30, "k2": 6,
        "cnl_threshold": 0.9, "cross_from": 10, "drop_path": 0.1, "seed": 1, "height": 288, "width": 144, "smoothing_k": 5,
        "visible_to_infrared_factor": 0.1, "bn_replicas": 2, "arch": "vit_base", "color_jitter": 0.5, "pad": 10, "erase": 0.5,
    }  # fmt: skip
    assert both.items() <= sysu.items() and both.items() <= regdb.items()
    own = ("epochs", "unify_from", "iters", "iters_unified", "eps", "momentum_first", "intra_from", "cra_k", "k1_visible_unified")
    assert [sysu[n] for n in own] == [50, 30, 200, 100, 0.6, 0.0, 0, 20, 15]
    assert [regdb[n] for n in own] == [30, 20, 50, 50, 0.3, 0.99, 1, 10, 30]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("modes", "alll", "--modes must be all, indoor"), ("modes", "", "--modes"), ("shots", "0", "--shots must be numbers from 1"),
        ("shots", "1,x", "--shots"), ("color_jitter", 0.9, "--color-jitter must lie between 0 and 0.5"), ("pad", -3, "--pad must not be negative"),
        ("eps", 1.0, "--eps must lie between 0 and 1, both excluded"), ("camera_eps", 0.0, "--camera-eps must lie"),
    ],
)  # fmt: skip
def test_what_would_fail_an_epoch_later_is_refused_at_once(name, value, said):
    with pytest.raises(ValueError, match=said):
        resolve({name: value})


def test_a_config_file_that_is_a_list(tmp_path):
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(ValueError, match="one JSON object"):
        resolve({"config": str(tmp_path / "list.json")})


def test_agw_is_the_network_of_the_method():
    names = {m: resolve({"method": m, "arch": "agw"})[0].model.arch for m in ("sdcl", "gur", "adca")}
    assert names == {"sdcl": "resnet50_ibn", "gur": "resnet50", "adca": "resnet50"}


def test_momentum_means_the_first_epoch_too_unless_that_is_said():
    from sdcl.methods.cluster_contrast import ClusterContrast

    images = {"deep": torch.eye(4)}
    for said, first in (({"momentum": 0.5}, 0.5), ({"momentum": 0.5, "momentum_first": 0.9}, 0.9), ({"dataset": "regdb"}, 0.99), ({}, 0.1)):
        own = resolve(said)[0].memory
        banked = dict.fromkeys(("visible", "infrared"), (images, np.arange(4)))
        assert ClusterContrast(banked, own, first=True).momentum == first
        assert ClusterContrast(banked, own, first=False).momentum == own.momentum

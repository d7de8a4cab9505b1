"""Every flag changes the resolved settings, every setting is read by the programs, and what nothing reads is
refused.
"""

import json
from dataclasses import dataclass
from importlib.metadata import EntryPoint

import numpy as np
import pytest
import torch
from helpers import raw_trees
from helpers.small_runs import SHARED, small

from sdcl import config
from sdcl import test as test_program
from sdcl import train as train_program
from sdcl.config import (
    METHODS,
    Settings,
    describe,
    fields_by_name,
    flat,
    from_flat,
    from_saved,
    parse,
    registry,
    resolve,
)
from sdcl.config import groups as shared_groups
from sdcl.config import settings as settings_module
from sdcl.config.command_line import differences_from_recipe, notes_on_late_starts
from sdcl.config.fields import Bounds, OneOf, setting
from sdcl.config.settings import (
    groups,
    known_values,
    model_names,
    repetition_names,
    resumable_names,
    why_unread,
)
from sdcl.data import image_cache, translation
from sdcl.methods.parts import ClusterContrast
from sdcl.runtime import devices
from sdcl.runtime.errors import SettingError

OTHER_WORDS = {
    "arch": "vit_tiny",
    "labels": "visible",
    "translation": "gray",
    "precision": "tf32",
    "optimizer": "adam",
    "knn": "faiss",
    "resize_train": "lanczos",
    "resize_extract": "lanczos",
    "resize_test": "bicubic",
    "device": "cpu",
    "report": "none",
    "modes": "indoor",
    "jitter_views": "exchanged",
    "batch_size": 64,
    "batch_size_visible": 64,
    "num_instances": 8,
    "embed_batch_size": 64,
}
WHOLE_RECIPES = ("method", "dataset")  # these bring more than themselves
TOGETHER = ("mean", "std")  # neither is given alone
CASES = [
    (method, name)
    for method in METHODS
    for name, one in fields_by_name(method).items()
    if name not in WHOLE_RECIPES + TOGETHER and (method == "sdcl" or one.group == "method")
]


def other(one, value):
    """A valid value that is not the present one."""
    if one.name in OTHER_WORDS:
        return OTHER_WORDS[one.name]
    if one.kind is bool:
        return not value
    if one.kind is str:
        return "3"
    if one.kind is int:
        return value + 1
    return value / 2 if value else 0.25


def as_flags(name, value):
    flag = "--" + name.replace("_", "-")
    if isinstance(value, bool):
        return [flag if value else flag.replace("--", "--no-", 1)]
    return [flag, str(value)]


def context(method, one):
    """Flags of a run in which the setting is read."""
    dataset = next(
        d
        for d, source in config.settings.DATASETS.items()
        if not one.about.dataset or one.name in source.reads
    )
    if one.about.method_attribute:
        method = next(m for m in METHODS if hasattr(METHODS[m], one.about.method_attribute))
    flags = ["--method", method, "-d", dataset]
    if one.about.arch and method != "sdcl":
        flags += ["-a", "vit_base"]
    for name, value in one.about.needs.items():
        if isinstance(value, (Bounds, OneOf)):
            assert value.hold(flat(parse(flags, "x", "")[0])[name])
        elif flat(parse(flags, "x", "")[0])[name] != value:
            flags += as_flags(name, value)
    return flags


@pytest.mark.parametrize(("method", "name"), CASES)
def test_every_flag_changes_its_setting_alone(method, name):
    one = fields_by_name(method)[name]
    flags = context(method, one)
    before = flat(parse(flags, "x", "")[0])
    value = other(one, before[name])
    settings, origin, _ = parse([*flags, *as_flags(name, value)], "x", "")
    after = flat(settings)
    assert after[name] == value and origin[name] == "flag"
    assert {n for n, v in after.items() if v != before[n]} == {name}


def test_mean_and_deviation_come_from_flags_and_files(tmp_path):
    flags = "--mean 0.481 0.458 0.408 --std 0.269 0.261 0.276".split()
    settings, origin, _ = parse(flags, "x", "")
    assert settings.model.mean == (0.481, 0.458, 0.408) and settings.model.std == (0.269, 0.261, 0.276)
    assert origin["mean"] == "flag" and "--mean 0.481 0.458 0.408 (flag)" in differences_from_recipe(
        settings, origin
    )
    (tmp_path / "c.json").write_text(json.dumps(flat(settings)))
    assert parse(["--config", str(tmp_path / "c.json")], "x", "")[0].model == settings.model
    assert from_saved(json.loads(json.dumps(flat(settings)))) == settings


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        ("--mean 0.5 0.5 0.5", "given together"),
        ("--std 0.5 0.5 0.5", "given together"),
        ("--mean 0.5 --std 0.5", "three numbers each"),
        ("--mean 89.9 79.2 80.1 --std 0.5 0.5 0.5", "--mean must be between 0 and 1, got 89.9 79.2 80.1"),
        ("--mean 0.5 0.5 0.5 --std 0.5 0 0.5", "--std must be between"),
        ("--mean nan 0.5 0.5 --std 0.5 0.5 0.5", "--mean must be between"),
    ],
)
def test_mean_and_deviation_that_no_weight_has_are_refused(flags, part):
    with pytest.raises(SettingError, match=part):
        parse(flags.split(), "x", "")


# ------------------------------------------------------------------ what nothing reads


@pytest.mark.parametrize(
    ("flags", "reader"),
    [
        (["--method", "gur", "--cra-k", "7"], "--method sdcl"),
        (["-d", "sysu", "--trial", "7"], "-d regdb"),
        (["-d", "regdb", "--shots", "10"], "-d sysu"),
        (["-a", "resnet50", "--drop-path", "0.5"], "vit_"),
        (["--no-cra", "--cra-k", "7"], "--cra"),
        (["--no-cnl", "--cnl-threshold", "0.5"], "--cnl"),
        (["--method", "gur", "-d", "regdb", "--camera-eps", "0.5"], "--intra-camera"),
        (["--method", "adca", "--optimizer-momentum", "0.5"], "--optimizer sgd"),
        (["--color-jitter", "0", "--jitter-views", "all"], "--jitter-views .* needs --color-jitter above 0"),
        (["--method", "adca", "--jitter-views", "exchanged"], "--jitter-views .* has --color-jitter 0.0"),
        (["--from-run", "logs/sdcl_sysu"], "--method hil would read it"),
        (["-a", "resnet50", "--cnl-shallow-weight", "1"], "--arch resnet50 does not use it"),
        (
            ["--labels", "visible", "--k1-visible-unified", "9"],
            "--labels none or infrared, .* --labels visible",
        ),
        (
            ["--method", "dccl", "--no-homogeneous", "--no-heterogeneous", "--identity-temp", "1"],
            "--identity-temp .* needs --homogeneous or --heterogeneous, and this run has none of them",
        ),
        (["--method", "hil", "--from-run", "a", "--pretrained", "b"], "--pretrained .* needs no --from-run"),
        (["--method", "hil", "--from-run", "a", "--min-loaded", "1"], "--min-loaded .* needs no --from-run"),
    ],
)
def test_a_flag_that_nothing_in_the_run_reads_is_refused_with_what_would_read_it(flags, reader):
    with pytest.raises(SettingError, match=reader):
        parse(flags, "x", "")


def test_parts_that_never_start_are_said():
    assert not notes_on_late_starts(parse([], "x", "")[0])
    (note,) = notes_on_late_starts(parse(["--epochs", "20"], "x", "")[0])
    assert "--unify-from 30 never runs" in note and "--epochs 20" in note and "cross-from" not in note
    assert not notes_on_late_starts(parse(["--epochs", "20", "--no-cra"], "x", "")[0])


def test_a_negated_flag_is_refused_as_it_was_typed():
    with pytest.raises(SettingError, match="--no-smoothing has no effect in this run: it needs --cra"):
        parse(["--no-cra", "--no-smoothing"], "x", "")


def test_jitter_of_second_views_without_any_is_refused_with_both_remedies():
    """PGM's recipe jitters second views alone."""
    flags = ["--method", "pgm", "--no-second-view"]
    with pytest.raises(SettingError, match="--jitter-views all, or --color-jitter 0"):
        parse(flags, "x", "")
    for remedy in (["--jitter-views", "all"], ["--color-jitter", "0"]):
        assert not parse([*flags, *remedy], "x", "")[0].augment.second_view


def test_a_config_file_may_set_what_a_run_does_not_read(tmp_path):
    (tmp_path / "c.json").write_text('{"cra_k": 7, "eps": 0.45, "camera_iters": 9}')
    settings, origin, _ = parse(["--config", str(tmp_path / "c.json"), "--method", "gur"], "x", "")
    assert settings.cluster.eps == 0.45 and settings.method.camera_iters == 9
    assert origin["cra_k"] == "config file, not read" and "cra_k" not in flat(settings)
    assert any("cra_k" in line for line in differences_from_recipe(settings, origin))


@pytest.mark.parametrize("method", METHODS)
def test_the_recipes_set_nothing_in_vain_but_what_a_flag_can_bring_back(method):
    for dataset in ("sysu", "regdb"):
        settings = resolve({"method": method, "dataset": dataset})[0]
        unread = [n for n in METHODS[method].RECIPES[dataset] if why_unread(n, settings)]
        assert not unread, (dataset, unread)


READ: set[str] = set()


@pytest.mark.long
@pytest.mark.parametrize("method", METHODS)
def test_every_setting_is_read(tmp_path, monkeypatch, capsys, method):
    """Train and test with settings that note what is asked of them; what nobody asks for would be a dead
    flag.
    """
    cross = ["--cross-from", "0"] if method == "sdcl" else []
    runs = [
        parse(["-d", "sysu", *small(method), *cross], "x", "")[0],
        parse(["-d", "regdb", *small(method, "regdb")], "x", "")[0],
    ]
    names = {n for n in fields_by_name(method) if not all(why_unread(n, settings) for settings in runs)}

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
    for function in ("check", "flat", "why_unread"):  # their own reads prove nothing
        original = getattr(settings_module, function)
        for module in (settings_module, config.command_line, config):
            if getattr(module, function, None) is original:
                monkeypatch.setattr(module, function, plainly(original))
    for kind in groups(method).values():
        noting(kind)
    common = ["--cache-dir", str(tmp_path / "cache"), "--logs-dir", str(tmp_path / "run")]
    train = ["-d", "sysu", "--data-dir", str(sysu), *common, *small(method), *cross]
    assert train_program.main(train) == 0, capsys.readouterr().err
    assert train_program.main([*train, "--eps", "0.45"]) == 2  # asks whether to resume anyway
    here = [
        "-d",
        "regdb",
        "--data-dir",
        str(regdb),
        "--cache-dir",
        str(tmp_path / "cache"),
        "--logs-dir",
        str(tmp_path / "regdb_run"),
    ]
    assert (
        train_program.main([*here, *small(method, "regdb"), "--pretrained", str(tmp_path / "run/last.pt")])
        == 0
    )
    method_flags = ["--method", method]
    assert test_program.main([*here, *method_flags, "--trials", "1"]) == 0, capsys.readouterr().err
    assert test_program.main(["-d", "sysu", "--data-dir", str(sysu), *common, *method_flags]) == 0
    assert names - READ == set()


def plainly(function):
    """`function`, whose own reads do not count."""

    def call(*arguments, **named):
        before = set(READ)
        result = function(*arguments, **named)
        READ.intersection_update(before)
        return result

    return call


# ------------------------------------------------------------------ recipes


def test_released_recipes():
    """SDCL on both data sets, value by value."""
    sysu, regdb = (flat(resolve({"dataset": d})[0]) for d in ("sysu", "regdb"))
    both = {
        "batch_size": 128, "num_instances": 16, "optimizer": "sgd", "lr": 3.5e-4, "optimizer_momentum": 0.9,
        "weight_decay": 5e-4, "step_size": 20, "gamma": 0.1, "temp": 0.05, "momentum": 0.1,
        "instance_momentum": 0.9, "min_samples": 4, "k1": 30, "k2": 6, "cnl_threshold": 0.9, "cross_from": 10,
        "drop_path": 0.1, "seed": 1, "height": 288, "width": 144, "smoothing_k": 5,
        "visible_to_infrared_factor": 0.1, "bn_replicas": 2, "arch": "vit_base", "color_jitter": 0.5,
        "pad": 10, "erase": 0.5,
    }  # fmt: skip
    assert both.items() <= sysu.items() and both.items() <= regdb.items()
    names = (
        "epochs",
        "unify_from",
        "iters",
        "iters_unified",
        "eps",
        "momentum_first",
        "intra_from",
        "cra_k",
        "k1_visible_unified",
    )
    assert [sysu[n] for n in names] == [50, 30, 200, 100, 0.6, 0.0, 0, 20, 15]
    assert [regdb[n] for n in names] == [30, 20, 50, 50, 0.3, 0.99, 1, 10, 30]


def test_released_recipes_of_the_ancestors():
    """GUR, ADCA and the baseline, value by value."""
    shared = {
        "arch": "resnet50", "shallow": False, "batch_size": 256, "batch_size_visible": 128,
        "num_instances": 16, "optimizer": "adam", "lr": 3.5e-4, "weight_decay": 5e-4, "step_size": 20,
        "gamma": 0.1, "temp": 0.05, "momentum": 0.1, "momentum_first": 0.0, "k1": 30, "k2": 6,
        "min_samples": 4, "color_jitter": 0.0, "resize_train": "bicubic", "erase": 0.5, "height": 288,
        "width": 144,
    }  # fmt: skip
    particular = {
        ("gur", "sysu"): {"epochs": 50, "iters": 200, "camera_iters": 50, "eps": 0.6, "camera_eps": 0.55,
                          "inter_modality_until": 40, "propagate_from": 30, "structure_from": 40,
                          "propagation_k": 20, "structure_k": 20, "second_view": True,
                          "released_cae_slices": False},
        ("gur", "regdb"): {"epochs": 30, "iters": 100, "eps": 0.3, "intra_camera": False,
                           "inter_modality_until": 25, "propagate_from": 20, "structure_from": 20,
                           "propagation_k": 10, "structure_k": 10},
        ("adca", "sysu"): {"epochs": 100, "aggregate_from": 50, "iters": 200, "eps": 0.6,
                           "cma_threshold": 0.5, "cma_weight": 0.9},
        ("adca", "regdb"): {"epochs": 100, "aggregate_from": 50, "iters": 100, "eps": 0.3},
        ("baseline", "sysu"): {"epochs": 50, "iters": 200, "eps": 0.6, "second_view": False},
        ("baseline", "regdb"): {"iters": 100, "eps": 0.3, "second_view": False},
    }  # fmt: skip
    for (method, dataset), values in particular.items():
        resolved = flat(resolve({"method": method, "dataset": dataset})[0])
        assert (shared | values).items() <= resolved.items(), (method, dataset)


@pytest.mark.parametrize(
    "method,dataset",
    [(m, d) for m in METHODS for d in ("llcm", "vcm", "buptcampus", "custom") if d not in METHODS[m].RECIPES],
)
def test_a_data_set_without_a_recipe_takes_that_of_sysu(method, dataset):
    one, other_one = (flat(resolve({"method": method, "dataset": d})[0]) for d in (dataset, "sysu"))
    assert {n for n in one if one[n] != other_one[n]} == {"dataset"}


def test_agw_is_the_network_of_the_method():
    names = {m: resolve({"method": m, "arch": "agw"})[0].model.arch for m in ("sdcl", "gur", "adca")}
    assert names == {"sdcl": "resnet50_ibn", "gur": "resnet50", "adca": "resnet50"}


def test_precedence_and_origin(tmp_path):
    (tmp_path / "c.json").write_text('{"eps": 0.45, "k1": 22, "dataset": "regdb_rgb"}')
    settings, origin, _ = parse(["--config", str(tmp_path / "c.json"), "--k1", "11"], "x", "")
    assert (settings.cluster.eps, settings.cluster.k1, settings.data.dataset) == (0.45, 11, "regdb")
    assert (origin["eps"], origin["k1"], origin["epochs"], origin["lr"]) == (
        "config file",
        "flag",
        "recipe sdcl regdb",
        "default",
    )
    assert from_flat(flat(settings)) == settings
    assert "(not read by this run)" in describe(settings, origin)


# ------------------------------------------------------------------ derived lists


def test_what_settings_affect():
    assert {"seed", "trial"} <= repetition_names() and not {"seed", "trial", "eps"} & resumable_names()
    assert "epochs" in resumable_names() and "epochs" not in repetition_names()
    for names in (resumable_names(), repetition_names()):
        assert {
            "device",
            "workers",
            "cache_dir",
            "logs_dir",
            "draws",
            "rerank",
            "print_freq",
            "recompute",
        } <= names
        assert not {"eps", "cra_k", "precision", "embed_batch_size", "compile"} & names
    assert set(model_names()) == {
        "method",
        "labels",
        "dataset",
        "arch",
        "shallow",
        "drop_path",
        "height",
        "width",
    }


def test_every_flag_has_a_help_text_that_makes_sense_alone():
    for name, one in fields_by_name().items():
        assert len(one.about.help) > 3 and not one.about.help.startswith("..."), name


# ------------------------------------------------------------------ earlier versions, other packages


def test_settings_of_version_0_1_are_understood():
    values = flat(resolve({"dataset": "sysu"})[0]) | {
        "test_batch_size": 77,
        "camera_iters": 50,
        "cma": True,
        "dataset": "own",
    }
    del values["embed_batch_size"]
    settings = from_saved(values)
    assert (
        settings.model.embed_batch_size == 77
        and settings.data.dataset == "custom"
        and settings.run.method == "sdcl"
    )
    assert "camera_iters" not in known_values(values)
    with pytest.raises(SettingError):
        from_saved({"method": "sdcl", "eps": "wide"})


def test_a_method_of_another_package_joins_with_one_call(monkeypatch):
    @dataclass(frozen=True)
    class MySettings:
        """Settings of the visitor."""

        sharpness: float = setting(2.0, "how sharp")

    class Visitor(METHODS["baseline"]):
        """A method from outside."""

        SETTINGS = MySettings
        RECIPES = {"sysu": {"epochs": 7}}  # noqa: RUF012

    monkeypatch.setattr(METHODS, "_entries", dict(METHODS._entries))
    METHODS.register("visitor", Visitor)
    settings, origin, _ = parse(
        ["--method", "visitor", "--sharpness", "3", "--no-shallow", "-d", "llcm"], "x", ""
    )
    assert settings.method == MySettings(3.0) and settings.optim.epochs == 7 and origin["sharpness"] == "flag"
    with pytest.raises(SettingError, match="--method visitor"):
        parse(["--sharpness", "3"], "x", "")
    with pytest.raises(SettingError, match="another name"):
        METHODS.register("sdcl", Visitor)


@dataclass(frozen=True)
class PlainField:
    sharpness: float = 2.0


@dataclass(frozen=True)
class OddType:
    sharpness: float | None = setting(None, "how sharp")


@dataclass(frozen=True)
class NeedsNothing:
    sharpness: float = setting(2.0, "how sharp", needs={"transprot": True})


@dataclass(frozen=True)
class SharedName:
    eps: float = setting(0.5, "how sharp")


@dataclass(frozen=True)
class OtherType:
    centres: float = setting(2.5, "centres of a cluster")


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"SETTINGS": PlainField}, "'sharpness' is not made by sdcl.config.fields.setting"),
        ({"SETTINGS": OddType}, "'sharpness' is of type"),
        ({"SETTINGS": NeedsNothing}, "'sharpness' needs 'transprot', which is no setting"),
        ({"SETTINGS": SharedName}, "'eps' has the name of a shared setting"),
        ({"SETTINGS": dict}, "SETTINGS must be a dataclass"),
        ({"unread": ("use_herd",)}, "unread names 'use_herd'"),
        ({"RECIPES": {"sysu": {"epohcs": 5}}}, "the recipe of sysu sets 'epohcs', which is no setting"),
        ({"RECIPES": {"sysu": {"eps": "hot"}}}, "sets eps to 'hot', which is not of type float"),
    ],
)
def test_a_method_with_a_mistake_is_named_whatever_the_run(monkeypatch, attributes, said):
    """Its flags are on every run's command line."""
    visitor = type("Visitor", (METHODS["baseline"],), attributes)
    monkeypatch.setattr(METHODS, "_entries", {**METHODS._entries, "visitor": visitor})
    with pytest.raises(SettingError, match=rf"method 'visitor' \(.*Visitor\) cannot be used:\n  .*{said}"):
        parse(["--method", "adca"], "x", "")


def test_a_method_without_its_settings_is_told_all_that_it_lacks(monkeypatch):
    monkeypatch.setattr(METHODS, "_entries", {**METHODS._entries, "visitor": type("Visitor", (), {})})
    with pytest.raises(SettingError, match=r"no attribute SETTINGS\n(.*\n)*.*no attribute stages"):
        parse(["--method", "adca"], "x", "")


def test_settings_of_one_name_and_two_types_are_refused(monkeypatch):
    """HIL's --centres is a whole number."""
    visitor = type("Visitor", (METHODS["baseline"],), {"SETTINGS": OtherType})
    monkeypatch.setattr(METHODS, "_entries", {**METHODS._entries, "visitor": visitor})
    with pytest.raises(SettingError, match=r"'centres' of method 'visitor' has another type .* method 'hil'"):
        parse(["--method", "adca"], "x", "")


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("nowhere:X", "'visitor' cannot be imported from nowhere: No module named 'nowhere'"),
        ("sdcl.methods.adca:ACDA", "'visitor': sdcl.methods.adca has no class ACDA"),
    ],
)
def test_a_method_that_cannot_be_imported_is_named(monkeypatch, entry, said):
    monkeypatch.setattr(METHODS, "_entries", {**METHODS._entries, "visitor": entry})
    with pytest.raises(SettingError, match=said):
        parse(["--method", "adca"], "x", "")


def test_a_package_cannot_take_the_name_of_a_method_in_silence(monkeypatch):
    point = EntryPoint("adca", "elsewhere:ADCA", "sdcl.methods")
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])
    with pytest.raises(SettingError, match=r"'adca' \(elsewhere:ADCA\), and there is one already"):
        registry.MethodRegistry(registry.BUILT_IN)["adca"]


# ------------------------------------------------------------------ values that no run can have


@pytest.mark.parametrize(
    ("name", "value", "flag"),
    [
        ("modes", "alll", "--modes"), ("modes", "", "--modes"),
        ("shots", "0", "--shots"), ("shots", "1,x", "--shots"),
        ("color_jitter", 0.9, "--color-jitter"), ("pad", -3, "--pad"),
        ("eps", 1.0, "--eps"), ("lr", 0.0, "--lr"),
        ("optimizer", "lion", "--optimizer"), ("method", "foo", "--method"), ("dataset", "foo", "-d"),
        ("batch_size", 100, "--batch-size"), ("cra_k", 0, "--cra-k"),
    ],
)  # fmt: skip
def test_what_would_fail_an_epoch_later_is_refused_at_once(name, value, flag):
    with pytest.raises(ValueError, match=flag):
        resolve({name: value})


def test_a_shallow_branch_that_nobody_trains_is_refused():
    with pytest.raises(SettingError, match="--no-shallow"):
        resolve({"method": "gur", "shallow": True})


@pytest.mark.parametrize(
    "content",
    ["[1]", "{", '{"epss": 1}', '{"eps": "wide"}', '{"k1": true}', '{"mean": ["a"]}', '{"std": 0.5}'],
)
def test_config_files_that_cannot_be_used(tmp_path, content):
    (tmp_path / "c.json").write_text(content)
    with pytest.raises(SettingError, match="--config"):
        resolve({"config": str(tmp_path / "c.json")})


def test_bare_settings_are_those_of_sdcl():
    assert Settings().method == METHODS["sdcl"].SETTINGS()
    assert json.loads(json.dumps(flat(Settings())))["cra_k"] == 20


def test_momentum_means_the_first_epoch_too_unless_that_is_given():
    images = {"deep": torch.eye(4)}
    sources = dict.fromkeys(("visible", "infrared"), (images, np.arange(4)))
    for given, first in (
        ({"momentum": 0.5}, 0.5),
        ({"momentum": 0.5, "momentum_first": 0.9}, 0.9),
        ({"dataset": "regdb"}, 0.99),
        ({}, 0.1),
    ):
        memory = resolve(given)[0].memory
        assert ClusterContrast(sources, memory, first=True).momentum == first
        assert ClusterContrast(sources, memory, first=False).momentum == memory.momentum


def test_shared_flags_fit_every_method():
    for method in METHODS:
        for dataset in ("sysu", "regdb"):
            parse(["-d", dataset, *small(method, dataset)], "x", "")
    assert SHARED


def test_every_first_epoch_says_that_it_is_one():
    """`notes_on_late_starts` finds the beginning of a part by this, not by its name."""
    known = fields_by_name().values()
    described = {one.name for one in known if one.about.help.startswith("first epoch of")}
    assert {one.name for one in known if one.about.first_epoch} == described and len(described) > 10


def test_values_that_stand_in_two_rooms_agree():
    """Settings may not import the rooms above them."""
    assert shared_groups.FOLDER == translation.FOLDER and set(shared_groups.FILTERS) == set(
        image_cache.FILTERS
    )
    assert set(fields_by_name()["precision"].about.choices) == set(devices.PRECISIONS)

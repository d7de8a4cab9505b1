"""One truth for settings: a typed dataclass tree that makes the flags, holds the recipes and becomes config.json.

Precedence: field default < recipe (method x data set) < --config file < flags. Nothing else holds a default.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

from sdcl.datasets import DATASETS
from sdcl.runtime.errors import SettingError

METHODS = ("sdcl", "gur", "adca", "baseline")
# with the spellings of the family
DATASET_NAMES = {name: source.name for source in DATASETS.values() for name in (source.name, *source.aliases)}
AGW = "agw"  # the family's name for its two-stream ResNet-50; SDCL's has instance normalisation in the stems
AGW_ARCHS = {"sdcl": "resnet50_ibn"}  # the others': resnet50


def setting(default: Any, help: str, *flags: str, choices: tuple | None = None, aliases: dict | None = None) -> Any:
    """A dataclass field that is also a command-line flag (--its-name, and any short family spelling in `flags`)."""
    return field(default=default, metadata={"help": help, "flags": flags, "choices": choices, "aliases": aliases})


@dataclass(frozen=True)
class RunSettings:
    method: str = setting("sdcl", "which method's file in sdcl/methods/ is trained", choices=METHODS)
    seed: int = setting(1, "seed of sampling, augmentation, stochastic depth and initialisation")
    logs_dir: str = setting("", "run folder; RegDB adds trial_N below it (default logs/METHOD_DATASET)")
    eval_step: int = setting(1, "show test metrics every N epochs and after the last; 0: never (nothing is ever chosen by them)")
    print_freq: int = setting(10, "update the losses beside the progress bar every N iterations")
    resume: bool = setting(True, "continue from the run folder's last checkpoint when there is one")
    resume_anyway: bool = setting(False, "continue although settings or data differ from the checkpoint's")
    report: str = setting(
        "logs", "report.html at the end: of the logs alone, full (embeds images once more), or none", choices=("logs", "full", "none")
    )
    wandb: str = setting(
        "", "project of Weights & Biases to send each epoch's numbers to; TensorBoard events are always written when it is installed"
    )
    device: str = setting("auto", "auto, cpu, cuda or cuda:N")
    recompute: bool = setting(
        False, "ViT: keep no activations of the blocks and compute them again for the gradient; the same numbers in less memory"
    )
    compile: bool = setting(False, "ViT: torch.compile of the blocks; minutes at the start, and numbers that differ by rounding")
    profile: int = setting(0, "write trace.json, a torch.profiler trace of this many steps, into the run folder; 0: none")
    precision: str = setting(
        "auto", "bf16 autocast or exact float32; auto: bf16 where the GPU or CPU multiplies it natively", choices=("auto", "fp32", "bf16")
    )


@dataclass(frozen=True)
class DataSettings:
    dataset: str = setting("sysu", "data set", "-d", aliases=DATASET_NAMES)
    data_dir: str = setting("", "folder with the raw or the prepared layout, or the table of one's own images (default data/DATASET)")
    trial: int = setting(1, "RegDB's split, 1..10")
    allow_incomplete: bool = setting(False, "go on although image counts differ from the known ones")
    height: int = setting(288, "image height in pixels")
    width: int = setting(144, "image width in pixels")
    resize_train: str = setting("bilinear", "resize filter of training images", choices=("bilinear", "bicubic", "lanczos"))
    resize_extract: str = setting("bicubic", "... of images embedded for clustering", choices=("bilinear", "bicubic", "lanczos"))
    resize_test: str = setting("lanczos", "... of test images", choices=("bilinear", "bicubic", "lanczos"))
    cache_dir: str = setting("cache", "folder of the decoded images")
    workers: int = setting(4, "threads that decode images into the cache", "-j")


@dataclass(frozen=True)
class AugmentSettings:
    color_jitter: float = setting(0.5, "strength of brightness, contrast, saturation and hue jitter; 0: off")
    pad: int = setting(10, "zero padding before the random crop, in pixels")
    flip: float = setting(0.5, "probability of a horizontal flip")
    erase: float = setting(0.5, "probability of random erasing")
    second_view: bool = setting(True, "a second, channel-exchanged view of each visible image")
    infrared_gray: bool = setting(True, "channel-adaptive grey on infrared images")


@dataclass(frozen=True)
class ModelSettings:
    arch: str = setting("vit_base", "backbone", "-a")
    pretrained: str = setting(
        "auto", "weight file to start from; none: random; torchvision: its own ImageNet ResNet-50; auto: the recipe's own, see README"
    )
    min_loaded: float = setting(0.8, "least share of the model's tensors that a weight file must fill")
    drop_path: float = setting(0.1, "stochastic depth rate of the last block")
    shallow: bool = setting(True, "the shallow branch beside the deep one (ViT)")
    calibrate_necks: bool = setting(
        False, "before the first epoch, give the BN necks the statistics of the unlabelled training images; released: off"
    )
    bn_replicas: int = setting(
        2, "slices of a batch that BatchNorm normalises apart, as the released DataParallel run did with 2 GPUs; 1: whole batch"
    )


@dataclass(frozen=True)
class BatchSettings:
    batch_size: int = setting(128, "infrared images a step, over all devices", "-b")
    batch_size_visible: int = setting(0, "visible images a step, each seen in every view; 0: as many as infrared ones")
    num_instances: int = setting(16, "images of each cluster in a batch")
    iters: int = setting(200, "iterations an epoch")
    iters_unified: int = setting(100, "iterations an epoch in the unified stage")
    cam: bool = setting(True, "prefer images of other cameras than the anchor's when a cluster is sampled")


@dataclass(frozen=True)
class OptimSettings:
    epochs: int = setting(50, "epochs in all")
    optimizer: str = setting("sgd", "optimiser", choices=("sgd", "adam"))
    lr: float = setting(3.5e-4, "learning rate")
    optimizer_momentum: float = setting(0.9, "momentum of SGD")
    weight_decay: float = setting(5e-4, "weight decay")
    step_size: int = setting(20, "epochs between two reductions of the learning rate")
    gamma: float = setting(0.1, "factor of each reduction")


@dataclass(frozen=True)
class ClusterSettings:
    eps: float = setting(0.6, "DBSCAN radius on the Jaccard distance")
    min_samples: int = setting(4, "images, itself included, within eps that make a core image")
    k1: int = setting(30, "length of the rank lists")
    k1_visible_unified: int = setting(30, "the same for visible images in the unified stage")
    k2: int = setting(6, "neighbours of the local query expansion; 1: off")
    knn: str = setting("torch", "neighbour search", choices=("torch", "faiss"))
    eps_backoff: int = setting(3, "times eps is moved when there are fewer than two clusters: up for outliers, down for one cluster")
    eps_step: float = setting(0.05, "how far, each time")


@dataclass(frozen=True)
class MemorySettings:
    temp: float = setting(0.05, "temperature of every contrast")
    momentum: float = setting(0.1, "weight of a cluster memory's old row")
    momentum_first: float = setting(0.0, "the same in epoch 0, 0: as --momentum; 0.9 to 0.99 helps where the first epoch collapses")
    use_hard: bool = setting(False, "update a cluster's row with its least similar sample only")
    late_gradients: bool = setting(True, "released: gradients meet memories already updated by the same step; clean: off")
    instance_momentum: float = setting(0.9, "weight of an instance memory's old row")


@dataclass(frozen=True)
class HealthSettings:
    max_similarity: float = setting(0.999, "stop when two images have a larger mean cosine: collapsed features; 1: never")
    min_rank: float = setting(1.5, "stop when the effective rank of a modality's features is smaller; 0: never")
    max_outliers: float = setting(0.8, "warn when a larger share of a modality's images are outliers")
    max_camera_purity: float = setting(0.9, "warn when clusters are cameras to a larger share")
    max_skipped: int = setting(10, "optimiser steps of a stage that may be skipped because a gradient was not finite; more: stop")
    watch: bool = setting(False, "compare each epoch with the published curve of the recipe, where there is one, and say when it leaves it")
    check_ranks: bool = setting(False, "after every step compare a hash of the memories and weights of all processes (slow; for debugging)")


@dataclass(frozen=True)
class SDCLSettings:
    unify_from: int = setting(30, "first epoch of the unified stage (CRA)")
    cra: bool = setting(True, "collaborative ranking association; off: the first stage goes on to the end")
    cra_k: int = setting(20, "length of CRA's rank lists")
    smoothing: bool = setting(True, "vote of the nearest visible images after CRA")
    smoothing_k: int = setting(5, "voters of the smoothing, the image itself included")
    cnl: bool = setting(True, "collaborative neighbour learning as a whole")
    cnl_intra: bool = setting(True, "CNL within each modality")
    cnl_cross: bool = setting(True, "CNL across the modalities")
    intra_from: int = setting(0, "first epoch of CNL within a modality")
    cross_from: int = setting(10, "first epoch of CNL across the modalities")
    cnl_threshold: float = setting(0.9, "a neighbour is above this share of the anchor's largest similarity")
    cnl_shallow_weight: float = setting(0.5, "weight of CNL's shallow terms, the deep ones have 1")
    cnl_intra_weight: float = setting(1.0, "weight of CNL within a modality before the unified stage")
    cnl_cross_weight: float = setting(0.5, "weight of CNL across modalities before the unified stage")
    cnl_intra_weight_unified: float = setting(0.1, "... within a modality, in the unified stage")
    cnl_cross_weight_unified: float = setting(0.1, "... across modalities, in the unified stage")
    visible_to_infrared_factor: float = setting(0.1, "released asymmetry: extra factor of the visible-to-infrared term; clean: 1")
    raw_instance_update: bool = setting(True, "released: raw features enter the instance memory; clean: normalised ones")
    shared_memory_all: bool = setting(True, "released: untrained visible outliers with a CRA label count in the shared centroids")


@dataclass(frozen=True)
class GURSettings:
    intra_camera: bool = setting(True, "stages of single pairs of cameras; off where the data set has no cameras")
    camera_eps: float = setting(0.55, "DBSCAN radius within one camera")
    camera_iters: int = setting(50, "iterations of each pair of cameras")
    refresh_cameras: bool = setting(True, "released: embed and cluster a pair's cameras anew before each pair; off: once an epoch")
    inter_camera: bool = setting(True, "the stage on labels of each modality, before the propagation starts")
    cae: bool = setting(True, "cross-memory association embeddings for clustering; off: plain features")
    cae_scale: float = setting(20.0, "factor of the similarities in a CAE softmax")
    released_cae_slices: bool = setting(False, "the released code's misaligned softmax slices over the cameras' memories")
    inter_modality: bool = setting(True, "the stage on clusters of both modalities together")
    inter_modality_until: int = setting(40, "first epoch without it")
    propagation: bool = setting(True, "label unification (CMLU): infrared labels for visible images")
    propagate_from: int = setting(30, "first epoch of the propagation")
    propagation_k: int = setting(20, "infrared images whose labels a visible image weighs")
    structure: bool = setting(True, "vote of the nearest visible images after the propagation")
    structure_from: int = setting(40, "first epoch of that vote")
    structure_k: int = setting(20, "voters, the image itself included")


@dataclass(frozen=True)
class ADCASettings:
    cma: bool = setting(True, "cross-modality memory aggregation; off: the first stage goes on to the end")
    aggregate_from: int = setting(50, "first epoch of the second stage (CMA), which starts with a new optimiser")
    cma_threshold: float = setting(0.5, "least dot product of two images that speak for a pair of clusters")
    cma_weight: float = setting(0.9, "share of the infrared row in the visible row of a matched pair")


@dataclass(frozen=True)
class TestSettings:
    checkpoint: str = setting("", "checkpoint to test (default: last.pt of the run folder)")
    modes: str = setting("all,indoor", "SYSU-MM01 search modes, comma separated")
    shots: str = setting("1", "SYSU-MM01 gallery images per identity and camera, comma separated (1, 10)")
    draws: int = setting(10, "draws of SYSU-MM01 and LLCM")
    official_draws: bool = setting(False, "draw by exp/rand_perm_cam.mat instead of the family's seeds")
    trials: str = setting("1-10", "RegDB trials that the test program averages, such as 1-10 or 1,3")
    test_batch_size: int = setting(128, "images embedded at once")
    rerank: bool = setting(False, "k-reciprocal re-ranking of every gallery (Zhong et al., CVPR 2017); the results' names say so")


@dataclass(frozen=True)
class Settings:
    run: RunSettings = field(default_factory=RunSettings)
    data: DataSettings = field(default_factory=DataSettings)
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    batch: BatchSettings = field(default_factory=BatchSettings)
    optim: OptimSettings = field(default_factory=OptimSettings)
    cluster: ClusterSettings = field(default_factory=ClusterSettings)
    memory: MemorySettings = field(default_factory=MemorySettings)
    health: HealthSettings = field(default_factory=HealthSettings)
    sdcl: SDCLSettings = field(default_factory=SDCLSettings)
    gur: GURSettings = field(default_factory=GURSettings)
    adca: ADCASettings = field(default_factory=ADCASettings)
    test: TestSettings = field(default_factory=TestSettings)

    @property
    def run_dir(self) -> Path:
        """Where checkpoints and logs of this run lie."""
        base = Path(self.run.logs_dir or f"logs/{self.run.method}_{self.data.dataset}")
        return base / f"trial_{self.data.trial}" if DATASETS[self.data.dataset].trials else base

    @property
    def data_dir(self) -> Path:
        return Path(self.data.data_dir or f"data/{self.data.dataset}")


# What the released ADCA and GUR share: ImageNet ResNet-50 on four GPUs, one feature per image, no colour jitter.
_RESNET: dict[str, Any] = {
    "arch": "resnet50",
    "shallow": False,
    "bn_replicas": 4,
    "batch_size": 256,
    "batch_size_visible": 128,
    "optimizer": "adam",
    "color_jitter": 0.0,
    "resize_train": "bicubic",
}
_RESNET_REGDB: dict[str, Any] = {**_RESNET, "iters": 100, "eps": 0.3}

# What each released script ran with where it differs from the field defaults above.
RECIPES: dict[tuple[str, str], dict[str, Any]] = {
    ("sdcl", "sysu"): {"k1_visible_unified": 15},
    ("sdcl", "regdb"): {
        "epochs": 30,
        "unify_from": 20,
        "iters": 50,
        "iters_unified": 50,
        "eps": 0.3,
        "momentum_first": 0.99,
        "intra_from": 1,
        "cra_k": 10,
    },
    ("gur", "sysu"): _RESNET,
    ("gur", "regdb"): {
        **_RESNET_REGDB,
        "epochs": 30,
        "intra_camera": False,
        "inter_modality_until": 25,
        "propagate_from": 20,
        "propagation_k": 10,
        "structure_from": 20,
        "structure_k": 10,
    },
    ("adca", "sysu"): {**_RESNET, "epochs": 100},
    ("adca", "regdb"): {**_RESNET_REGDB, "epochs": 100},
    # Not released: the first stage of ADCA without its second view.
    ("baseline", "sysu"): {**_RESNET, "second_view": False},
    ("baseline", "regdb"): {**_RESNET_REGDB, "second_view": False},
}
# Nothing was released for LLCM and for custom images; their recipes are those of SYSU-MM01, untuned (docs/OWN_DATA.md: small sets).
# On LLCM, GUR meets 9 x 8 pairs of cameras instead of 4 x 2, nine times its work: --camera-iters, --no-refresh-cameras and
# --no-intra-camera shorten it.
RECIPES |= {(method, s.name): dict(RECIPES[method, s.recipe_of]) for s in DATASETS.values() if s.recipe_of for method in METHODS}


def fields_by_name() -> dict[str, tuple[str, dataclasses.Field, type]]:
    """Setting name -> (group, field, type). Names are unique over all groups, because flags are."""
    found: dict[str, tuple[str, dataclasses.Field, type]] = {}
    for group, group_type in get_type_hints(Settings).items():
        hints = get_type_hints(group_type)
        for one in dataclasses.fields(group_type):
            assert one.name not in found, f"{one.name} stands in two groups"
            found[one.name] = (group, one, hints[one.name])
    return found


def parser(prog: str, description: str) -> argparse.ArgumentParser:
    """The flags of every setting, without defaults: what the user did not say stays unsaid."""
    result = argparse.ArgumentParser(prog=prog, description=description, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    result.add_argument("--config", metavar="FILE", help="JSON file of settings, {name: value}; flags override it")
    result.add_argument("--print-config", action="store_true", help="print every setting with its origin and stop")
    groups = {group: result.add_argument_group(group) for group in get_type_hints(Settings)}
    for name, (group, one, kind) in fields_by_name().items():
        meta = one.metadata
        flags = [*meta["flags"], "--" + name.replace("_", "-")]
        text = f"{meta['help']} (default {one.default!r}, unless the recipe says otherwise)".replace("%", "%%")
        if kind is bool:
            groups[group].add_argument(*flags, action=argparse.BooleanOptionalAction, help=text)
        else:
            convert = (lambda v, a=meta["aliases"]: a.get(v, v)) if meta["aliases"] else kind
            groups[group].add_argument(*flags, type=convert, choices=meta["choices"], help=text, metavar=name.upper())
    return result


def resolve(said: dict[str, Any]) -> tuple[Settings, dict[str, str]]:
    """Settings from what the user said, and the origin of each value.

    Args:
        said: parsed flags, with "config" naming a file perhaps.

    Raises:
        ValueError: unreadable --config file, unknown setting in it, or a value that no run can have.
    """
    said = {k: v for k, v in said.items() if k != "print_config"}
    from_file = _read_config(said.pop("config")) if "config" in said else {}
    known = fields_by_name()
    values = {name: one.default for name, (_, one, _) in known.items()}
    origin = dict.fromkeys(values, "default")
    chosen = {**from_file, **said}
    key = (chosen.get("method", values["method"]), chosen.get("dataset", values["dataset"]))
    if key not in RECIPES:
        raise SettingError(f"no recipe for --method {key[0]} -d {key[1]}; there are: {', '.join(f'{m} {d}' for m, d in RECIPES)}")
    for source, layer in ((f"recipe {key[0]} {key[1]}", RECIPES[key]), ("config file", from_file), ("flag", said)):
        for name, value in layer.items():
            values[name], origin[name] = value, source
    if values["arch"] == AGW:
        values["arch"] = AGW_ARCHS.get(key[0], "resnet50")
    settings = from_flat(values)
    check(settings)
    return settings, origin


def from_flat(values: dict[str, Any]) -> Settings:
    """{name: value} -> Settings; the other way round is `flat`."""
    known, groups = fields_by_name(), {}
    for name, value in values.items():
        group, one, kind = known[name]
        groups.setdefault(group, {})[name] = (one.metadata["aliases"] or {}).get(value, kind(value))  # a name of older versions
    return Settings(**{g: t(**groups.get(g, {})) for g, t in get_type_hints(Settings).items()})


def flat(settings: Settings) -> dict[str, Any]:
    return {name: value for group in dataclasses.asdict(settings).values() for name, value in group.items()}


def _read_config(path: str) -> dict[str, Any]:
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise SettingError(f"--config {path} cannot be read as JSON: {error}") from None
    if not isinstance(values, dict):
        raise SettingError(f"--config {path} must hold one JSON object, {{name: value}}, got a {type(values).__name__}")
    known = fields_by_name()
    for name, value in values.items():
        if name not in known:
            raise SettingError(f"--config {path} names {name!r}, which is no setting; --help lists them")
        kind = known[name][2]
        fits = isinstance(value, (int, float)) and not isinstance(value, bool) if kind is float else type(value) is kind
        if not fits:
            raise SettingError(f"--config {path}: {name} must be of type {kind.__name__}, got {value!r}")
        values[name] = (known[name][1].metadata["aliases"] or {}).get(value, value)
    return values


def check(settings: Settings) -> None:
    """Refuse what no run can have; each message names the flag and the range."""
    known = fields_by_name()
    for name, value in flat(settings).items():
        choices = known[name][1].metadata["choices"]
        if choices and value not in choices:
            raise SettingError(f"--{name.replace('_', '-')} must be one of {', '.join(choices)}, got {value!r}")
    s = settings
    positive = {
        "height": s.data.height, "width": s.data.width, "workers": s.data.workers, "batch-size": s.batch.batch_size,
        "num-instances": s.batch.num_instances, "iters": s.batch.iters, "iters-unified": s.batch.iters_unified,
        "epochs": s.optim.epochs, "step-size": s.optim.step_size, "k1": s.cluster.k1, "k2": s.cluster.k2,
        "k1-visible-unified": s.cluster.k1_visible_unified, "min-samples": s.cluster.min_samples, "temp": s.memory.temp,
        "lr": s.optim.lr, "bn-replicas": s.model.bn_replicas, "draws": s.test.draws, "test-batch-size": s.test.test_batch_size,
        "cra-k": s.sdcl.cra_k, "smoothing-k": s.sdcl.smoothing_k, "print-freq": s.run.print_freq,
        "camera-iters": s.gur.camera_iters, "cae-scale": s.gur.cae_scale, "propagation-k": s.gur.propagation_k,
        "structure-k": s.gur.structure_k, "eps-step": s.cluster.eps_step,
    }  # fmt: skip
    for name, value in positive.items():
        if not value > 0:
            raise SettingError(f"--{name} must be above 0, got {value}")
    for name, value in {"eps": s.cluster.eps, "camera-eps": s.gur.camera_eps}.items():
        if not 0 < value < 1:
            raise SettingError(f"--{name} must lie between 0 and 1, both excluded (Jaccard distance), got {value}")
    if not 0 <= s.augment.color_jitter <= 0.5:
        raise SettingError(
            f"--color-jitter must lie between 0 and 0.5 (a hue shift of 0.5 is half the circle), got {s.augment.color_jitter}"
        )
    if s.augment.pad < 0:
        raise SettingError(f"--pad must not be negative, got {s.augment.pad}")
    modes, shots = ([part.strip() for part in text.split(",") if part.strip()] for text in (s.test.modes, s.test.shots))
    if not modes or not set(modes) <= {"all", "indoor"}:
        raise SettingError(f"--modes must be all, indoor, or both with a comma between them, got {s.test.modes!r}")
    if not shots or not all(n.isdecimal() and int(n) > 0 for n in shots):
        raise SettingError(f"--shots must be numbers from 1 with commas between them, such as 1,10, got {s.test.shots!r}")
    shares = {
        "momentum": s.memory.momentum, "momentum-first": s.memory.momentum_first,
        "instance-momentum": s.memory.instance_momentum, "flip": s.augment.flip, "erase": s.augment.erase,
        "max-similarity": s.health.max_similarity, "max-outliers": s.health.max_outliers,
        "max-camera-purity": s.health.max_camera_purity, "cma-weight": s.adca.cma_weight, "min-loaded": s.model.min_loaded, "drop-path": s.model.drop_path, "cnl-threshold": s.sdcl.cnl_threshold,
    }  # fmt: skip
    for name, value in shares.items():
        if not 0 <= value <= 1:
            raise SettingError(f"--{name} must lie between 0 and 1, got {value}")
    if s.batch.batch_size % s.batch.num_instances or s.batch.batch_size_visible % s.batch.num_instances:
        raise SettingError(
            f"--batch-size {s.batch.batch_size} and --batch-size-visible {s.batch.batch_size_visible} must be multiples of "
            f"--num-instances {s.batch.num_instances}: a batch holds whole clusters"
        )
    if s.model.shallow and s.run.method != "sdcl":
        raise SettingError(
            f"--method {s.run.method} trains one feature per image and would leave a shallow branch untrained: add --no-shallow"
        )
    if not 1 <= s.data.trial <= 10:
        raise SettingError(f"--trial must be 1..10, got {s.data.trial}")


def parse(argv: list[str] | None, prog: str, description: str) -> tuple[Settings, dict[str, str], dict[str, Any]]:
    """Settings, the origin of each, and what was said, from a command line; --print-config prints them and leaves."""
    said = vars(parser(prog, description).parse_args(argv))
    settings, origin = resolve(said)
    if said.get("print_config"):
        print(describe(settings, origin))
        raise SystemExit(0)
    return settings, origin, said


def describe(settings: Settings, origin: dict[str, str]) -> str:
    """One line per setting: name, value, origin."""
    lines = [f"  {name:28} {value!s:24} {origin[name]}" for name, value in flat(settings).items()]
    return "\n".join([f"settings of the run in {settings.run_dir}:", *lines])

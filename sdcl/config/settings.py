"""The settings of a run: one frozen dataclass a subject, and the method's own settings, which stand beside its class.

`Settings` becomes the flags, the saved config.json and the settings in a checkpoint. Precedence: field default < recipe (method x data
set) < --config file < flags. Nothing else holds a default.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

from sdcl.config.fields import (
    AT_LEAST_0,
    AT_LEAST_1,
    EVALUATION,
    INSIDE_UNIT,
    OUTPUT,
    POSITIVE,
    SHARE,
    SPEED,
    Bounds,
    NamedField,
    check_values,
    fields_of,
    flag_of,
    iterate,
    setting,
)
from sdcl.config.registry import METHODS, method_class
from sdcl.datasets import DATASETS, source_of
from sdcl.runtime.errors import SettingError

FILTERS = ("bilinear", "bicubic", "lanczos")
BRANCHES = ("deep", "shallow")


@dataclass(frozen=True)
class RunSettings:
    """What is trained, where its files go, and how it is watched."""

    method: str = setting(
        "sdcl", "method to train: sdcl, gur, adca, baseline or a registered one", of_model=True
    )
    seed: int = setting(
        1, "seed of sampling, augmentation, stochastic depth and initialisation", repetition=True
    )
    logs_dir: str = setting(
        "",
        "run folder (default logs/METHOD_DATASET; a data set with trials adds trial_N below it)",
        affects=OUTPUT,
    )
    eval_step: int = setting(
        1,
        "test every N epochs and after the last, for display only; 0: never",
        bounds=AT_LEAST_0,
        affects=OUTPUT,
    )
    print_freq: int = setting(
        10,
        "steps between two updates of the losses beside the progress bar",
        bounds=AT_LEAST_1,
        affects=OUTPUT,
    )
    resume: bool = setting(
        True, "continue from the run folder's last checkpoint if there is one", affects=OUTPUT
    )
    resume_anyway: bool = setting(
        False, "continue although settings or data differ from the checkpoint's", affects=OUTPUT
    )
    report: str = setting(
        "logs",
        "report.html at the end: logs (curves and tables), full (with images, embedded once more) or none",
        choices=("logs", "full", "none"),
        affects=OUTPUT,
    )
    wandb: str = setting(
        "",
        "Weights & Biases project that receives the numbers of each epoch; TensorBoard needs no flag",
        affects=OUTPUT,
    )
    device: str = setting("auto", "device: auto, cpu, cuda or cuda:N", affects=SPEED)
    recompute: bool = setting(
        False,
        "ViT: keep no activations of the blocks, compute them again for the gradient (same numbers, less memory)",
        arch="vit",
        affects=SPEED,
    )
    compile: bool = setting(
        False, "ViT: torch.compile of the blocks (slow start, numbers differ by rounding)", arch="vit"
    )
    profile: int = setting(
        0, "write trace.json, a torch.profiler trace of N steps; 0: none", bounds=AT_LEAST_0, affects=OUTPUT
    )
    precision: str = setting(
        "auto",
        "arithmetic of the network: fp32, bf16 (autocast), or auto: bf16 where the hardware multiplies it",
        choices=("auto", "fp32", "bf16"),
    )


@dataclass(frozen=True)
class DataSettings:
    """Which images, and how they are decoded."""

    dataset: str = setting(
        "sysu", "data set: sysu, regdb, llcm or custom (your own images)", "-d", of_model=True
    )
    data_dir: str = setting(
        "",
        "folder with the raw or the prepared data set, or the table of custom images (default data/DATASET)",
        affects=OUTPUT,
    )
    trial: int = setting(
        1,
        "split of a data set with several, 1 to 10 for RegDB",
        bounds=Bounds(1, 10),
        dataset=True,
        repetition=True,
    )
    allow_incomplete: bool = setting(
        False, "accept a data set whose image counts differ from the published ones", affects=OUTPUT
    )
    height: int = setting(288, "image height in pixels", bounds=AT_LEAST_1, of_model=True)
    width: int = setting(144, "image width in pixels", bounds=AT_LEAST_1, of_model=True)
    resize_train: str = setting("bilinear", "resize filter of training images", choices=FILTERS)
    resize_extract: str = setting(
        "bicubic", "resize filter of training images when they are clustered", choices=FILTERS
    )
    resize_test: str = setting("lanczos", "resize filter of test images", choices=FILTERS)
    cache_dir: str = setting("cache", "folder of the decoded images", affects=OUTPUT)
    workers: int = setting(4, "threads that decode images", "-j", bounds=AT_LEAST_1, affects=SPEED)


@dataclass(frozen=True)
class AugmentSettings:
    """Augmentation of training images."""

    color_jitter: float = setting(
        0.5,
        "strength of brightness, contrast, saturation and hue jitter; 0: off (a hue shift of 0.5 is half the circle)",
        bounds=Bounds(0, 0.5),
    )
    pad: int = setting(10, "zero padding before the random crop, in pixels", bounds=AT_LEAST_0)
    flip: float = setting(0.5, "probability of a horizontal flip", bounds=SHARE)
    erase: float = setting(0.5, "probability of random erasing", bounds=SHARE)
    second_view: bool = setting(True, "add a channel-exchanged view of each visible image")
    infrared_gray: bool = setting(True, "channel-adaptive grey on infrared images")


@dataclass(frozen=True)
class ModelSettings:
    """Architecture and pretrained weights."""

    arch: str = setting(
        "vit_base", "architecture, such as vit_base, resnet50 or vit_mini", "-a", of_model=True
    )
    pretrained: str = setting(
        "auto",
        "pretrained weights: a file; auto: the recipe's file; torchvision: its ImageNet ResNet-50; none: random",
    )
    min_loaded: float = setting(
        0.8, "smallest share of the model's tensors that a weight file must fill", bounds=SHARE
    )
    drop_path: float = setting(
        0.1, "stochastic depth rate of the last transformer block", bounds=SHARE, arch="vit", of_model=True
    )
    shallow: bool = setting(
        True, "train the shallow branch beside the deep one (SDCL on a ViT)", of_model=True
    )
    calibrate_necks: bool = setting(
        False, "before the first epoch, set the BN necks' statistics from the unlabelled training images"
    )
    embed_batch_size: int = setting(
        128,
        "training images embedded at once for clustering; also the batches of --calibrate-necks",
        bounds=AT_LEAST_1,
    )
    bn_replicas: int = setting(
        2,
        "slices of a batch that BatchNorm normalises separately, as DataParallel on N GPUs did; 1: whole batch",
        bounds=AT_LEAST_1,
    )


@dataclass(frozen=True)
class BatchSettings:
    """Batches of a training step."""

    batch_size: int = setting(128, "infrared images a step, over all devices", "-b", bounds=AT_LEAST_1)
    batch_size_visible: int = setting(
        0, "visible images a step, each seen in every view; 0: as many as infrared images", bounds=AT_LEAST_0
    )
    num_instances: int = setting(16, "images of each cluster in a batch", bounds=AT_LEAST_1)
    iters: int = setting(200, "training steps an epoch", bounds=AT_LEAST_1)
    cam: bool = setting(True, "prefer images of other cameras than the anchor's when a cluster is sampled")


@dataclass(frozen=True)
class OptimSettings:
    """Optimiser and learning rate."""

    epochs: int = setting(50, "number of epochs", bounds=AT_LEAST_1, resumable=True)
    optimizer: str = setting("sgd", "optimiser", choices=("sgd", "adam"))
    lr: float = setting(3.5e-4, "learning rate", bounds=POSITIVE)
    optimizer_momentum: float = setting(0.9, "momentum of SGD", bounds=SHARE, needs={"optimizer": "sgd"})
    weight_decay: float = setting(5e-4, "weight decay", bounds=AT_LEAST_0)
    step_size: int = setting(20, "epochs between two reductions of the learning rate", bounds=AT_LEAST_1)
    gamma: float = setting(0.1, "factor of each reduction of the learning rate", bounds=AT_LEAST_0)


@dataclass(frozen=True)
class ClusterSettings:
    """Jaccard distance and DBSCAN."""

    eps: float = setting(0.6, "DBSCAN radius on the Jaccard distance", bounds=INSIDE_UNIT)
    min_samples: int = setting(
        4, "images within eps, itself included, that make a core image of DBSCAN", bounds=AT_LEAST_1
    )
    k1: int = setting(30, "length of the k-reciprocal rank lists", bounds=AT_LEAST_1)
    k2: int = setting(6, "neighbours of the local query expansion; 1: off", bounds=AT_LEAST_1)
    knn: str = setting("torch", "engine of the exact neighbour search", choices=("torch", "faiss"))
    eps_backoff: int = setting(
        3,
        "how often eps is moved if there are fewer than two clusters: up for outliers, down for one cluster",
        bounds=AT_LEAST_0,
    )
    eps_step: float = setting(0.05, "how far eps is moved each time", bounds=POSITIVE)


@dataclass(frozen=True)
class MemorySettings:
    """Cluster memories and their contrast."""

    temp: float = setting(0.05, "temperature of every contrastive loss", bounds=POSITIVE)
    momentum: float = setting(
        0.1, "weight of the old prototype in the update of a cluster memory", bounds=SHARE
    )
    momentum_first: float = setting(
        0.0,
        "the same in epoch 0; 0: as --momentum. 0.9 to 0.99 helps where the first epoch collapses",
        bounds=SHARE,
    )
    use_hard: bool = setting(False, "update a prototype with its least similar sample only (batch-hard)")
    late_gradients: bool = setting(
        True,
        "as released: gradients use memories already updated by the same step; --no-late-gradients: the clean form",
    )


@dataclass(frozen=True)
class HealthSettings:
    """When a run warns or stops by itself."""

    max_similarity: float = setting(
        0.999,
        "stop if the mean cosine of two images is larger (collapsed features); 1: never",
        bounds=SHARE,
        affects=OUTPUT,
    )
    min_rank: float = setting(
        1.5,
        "stop if the effective rank of a modality's features is smaller; 0: never",
        bounds=AT_LEAST_0,
        affects=OUTPUT,
    )
    max_outliers: float = setting(
        0.8, "warn if a larger share of a modality's images are outliers", bounds=SHARE, affects=OUTPUT
    )
    max_camera_purity: float = setting(
        0.9, "warn if clusters coincide with cameras to a larger share", bounds=SHARE, affects=OUTPUT
    )
    max_skipped: int = setting(
        10,
        "stop after this many skipped steps of a stage (gradients that were not finite)",
        bounds=AT_LEAST_0,
        affects=OUTPUT,
    )
    watch: bool = setting(
        False,
        "compare each epoch with the published training curve of the recipe, if there is one",
        affects=OUTPUT,
    )
    check_ranks: bool = setting(
        False,
        "compare memories and weights of all processes after every step (slow; for debugging)",
        affects=OUTPUT,
    )


@dataclass(frozen=True)
class TestSettings:
    """The test program, and the tests that training shows."""

    __test__ = False  # pytest collects classes called Test...

    checkpoint: str = setting(
        "", "checkpoint to test (default: last.pt of the run folder)", affects=EVALUATION
    )
    modes: str = setting(
        "all,indoor", "SYSU-MM01 search modes, comma separated: all, indoor", dataset=True, affects=EVALUATION
    )
    shots: str = setting(
        "1",
        "gallery images per identity and camera, comma separated, such as 1,10",
        dataset=True,
        affects=EVALUATION,
    )
    draws: int = setting(
        10, "random galleries that are averaged", bounds=AT_LEAST_1, dataset=True, affects=EVALUATION
    )
    official_draws: bool = setting(
        False,
        "draw galleries from exp/rand_perm_cam.mat instead of the seeds of the public Python evaluators",
        dataset=True,
        affects=EVALUATION,
    )
    trials: str = setting(
        "1-10", "trials that the test program averages, such as 1-10 or 1,3", dataset=True, affects=EVALUATION
    )
    test_batch_size: int = setting(128, "test images embedded at once", bounds=AT_LEAST_1, affects=EVALUATION)
    rerank: bool = setting(
        False,
        "k-reciprocal re-ranking of every gallery (Zhong et al., CVPR 2017); the results' names say so",
        affects=EVALUATION,
    )


@dataclass(frozen=True)
class Settings:
    """All settings of a run. method: the settings dataclass of the chosen method, `METHODS[run.method].SETTINGS`."""

    run: RunSettings = field(default_factory=RunSettings)
    data: DataSettings = field(default_factory=DataSettings)
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    batch: BatchSettings = field(default_factory=BatchSettings)
    optim: OptimSettings = field(default_factory=OptimSettings)
    cluster: ClusterSettings = field(default_factory=ClusterSettings)
    memory: MemorySettings = field(default_factory=MemorySettings)
    health: HealthSettings = field(default_factory=HealthSettings)
    test: TestSettings = field(default_factory=TestSettings)
    method: Any = None

    def __post_init__(self) -> None:
        if self.method is None:
            object.__setattr__(self, "method", method_class(self.run.method).SETTINGS())

    @property
    def run_dir(self) -> Path:
        """Folder of the run's checkpoints and logs."""
        base = Path(self.run.logs_dir or f"logs/{self.run.method}_{self.data.dataset}")
        return base / f"trial_{self.data.trial}" if source_of(self.data.dataset).trials else base

    @property
    def data_dir(self) -> Path:
        """Folder or table of the data set."""
        return Path(self.data.data_dir or f"data/{self.data.dataset}")


# Settings that an earlier version stored under another name, or did not have: name now -> name then.
RENAMED = {"embed_batch_size": "test_batch_size"}


@cache
def _shared_groups() -> dict[str, type]:
    hints = get_type_hints(Settings)
    return {group: kind for group, kind in hints.items() if group != "method"}


def groups(method: str) -> dict[str, type]:
    """Attribute of `Settings` -> dataclass, for one method."""
    return {**_shared_groups(), "method": method_class(method).SETTINGS}


def fields_by_name(method: str | None = None) -> dict[str, NamedField]:
    """Setting name -> field: the shared ones and those of one method, or of every method. Names are unique, because flags are.

    Raises:
        SettingError: a method's setting has the name of a shared one.
    """
    shared = {one.name: one for one in iterate(_shared_groups())}
    result = dict(shared)
    for name in [method] if method else METHODS:
        for one in fields_of(method_class(name).SETTINGS, "method"):
            if one.name in shared:
                raise SettingError(
                    f"setting {one.name!r} of method {name!r} has the name of a shared setting; rename it"
                )
            result.setdefault(one.name, one)
    return result


def readers_of(name: str) -> list[str]:
    """Methods that have a setting of this name of their own; none for a shared setting."""
    return [m for m in METHODS if any(one.name == name for one in fields_of(method_class(m).SETTINGS))]


def from_flat(values: Mapping[str, Any]) -> Settings:
    """{name: value} -> Settings, the rest at their defaults; `flat` is the inverse.

    Raises:
        KeyError: a name that the method does not have. TypeError, ValueError: a value that is not of the setting's type.
    """
    method = values.get("method", RunSettings().method)
    known = fields_by_name(method)
    parts: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        one = known[name]
        parts.setdefault(one.group, {})[name] = (
            source_of(value).name if name == "dataset" else one.kind(value)
        )
    return Settings(**{group: kind(**parts.get(group, {})) for group, kind in groups(method).items()})


def flat(settings: Settings) -> dict[str, Any]:
    """Settings -> {name: value}."""
    return {
        name: value
        for group in groups(settings.run.method)
        for name, value in vars(getattr(settings, group)).items()
    }


def from_saved(values: Mapping[str, Any], **changed: Any) -> Settings:
    """Settings of a checkpoint or config.json, also of an earlier version: names that are not known any more are left out.

    Args:
        changed: values to use instead, such as a data_dir that moved.

    Raises:
        SettingError: a method, a data set or a value that this version does not have.
    """
    saved = known_values(values)
    try:
        return from_flat(saved | changed)
    except (TypeError, ValueError) as error:
        raise SettingError(f"the saved settings hold a value that cannot be used: {error}") from None


def known_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those saved values that the method of this version has, under their present names."""
    method = values.get("method", RunSettings().method)
    known = fields_by_name(method)
    renamed = {now: values[then] for now, then in RENAMED.items() if then in values and now not in values}
    kept = {name: value for name, value in {**values, **renamed}.items() if name in known}
    if "dataset" in kept:
        kept["dataset"] = source_of(kept["dataset"]).name
    return kept


def check(settings: Settings) -> None:
    """Refuse values that no run can have.

    Raises:
        SettingError: naming the flag and the legal values.
    """
    for group, kind in groups(settings.run.method).items():
        check_values(kind, vars(getattr(settings, group)))
    batch, test = settings.batch, settings.test
    modes, shots = comma_separated(test.modes), comma_separated(test.shots)
    if not modes or not set(modes) <= {"all", "indoor"}:
        raise SettingError(
            f"--modes must be all, indoor, or both with a comma between them, got {test.modes!r}"
        )
    if not shots or not all(n.isdecimal() and int(n) > 0 for n in shots):
        raise SettingError(
            f"--shots must be numbers from 1 with commas between them, such as 1,10, got {test.shots!r}"
        )
    if batch.batch_size % batch.num_instances or batch.batch_size_visible % batch.num_instances:
        raise SettingError(
            f"--batch-size {batch.batch_size} and --batch-size-visible {batch.batch_size_visible} must be multiples of "
            f"--num-instances {batch.num_instances}: a batch holds whole clusters"
        )
    if settings.model.shallow and "shallow" not in method_class(settings.run.method).branches:
        raise SettingError(
            f"--method {settings.run.method} trains one feature per image and would leave a shallow branch untrained: "
            "add --no-shallow"
        )


def why_unread(name: str, settings: Settings) -> str:
    """Why nothing in this run reads a setting, and what would; "" if it is read.

    Args:
        name: a setting of the run's method or a shared one, or of another method.
    """
    run_method = settings.run.method
    if name not in fields_by_name(run_method):
        return (
            f"--method {run_method} does not have it; {_listed(readers_of(name), '--method')} would read it"
        )
    about = fields_by_name(run_method)[name].about
    dataset = settings.data.dataset
    if about.dataset and name not in source_of(dataset).reads:
        readers = [d for d in DATASETS if name in DATASETS[d].reads]
        return f"data set {dataset} does not use it; {_listed(readers, '-d')} would read it"
    if about.arch and not settings.model.arch.startswith(about.arch):
        return f"--arch {settings.model.arch} does not use it; an architecture {about.arch}_... would read it"
    values = flat(settings)
    for needed, wanted in about.needs.items():
        if values[needed] != wanted:
            return f"it needs {_spelled(needed, wanted)}, and this run has {_spelled(needed, values[needed])}"
    return ""


def names_affecting(*kinds: str, method: str | None = None) -> frozenset[str]:
    """Names of the settings that affect one of "results", "evaluation", "speed", "output"."""
    return frozenset(name for name, one in fields_by_name(method).items() if one.about.affects in kinds)


def resumable_names() -> frozenset[str]:
    """Settings that may change between a checkpoint and its continuation: what the finished epochs computed stays valid."""
    always = frozenset(name for name, one in fields_by_name().items() if one.about.resumable)
    return names_affecting(EVALUATION, SPEED, OUTPUT) | always


def repetition_names() -> frozenset[str]:
    """Settings that may differ between repetitions of one experiment."""
    repeated = frozenset(name for name, one in fields_by_name().items() if one.about.repetition)
    return names_affecting(EVALUATION, SPEED, OUTPUT) | repeated


def model_names() -> tuple[str, ...]:
    """Settings that describe the trained network: a test takes them from the checkpoint."""
    return tuple(name for name, one in fields_by_name().items() if one.about.of_model)


def comma_separated(text: str) -> list[str]:
    """ "a, b" -> ["a", "b"]."""
    return [part.strip() for part in text.split(",") if part.strip()]


def _listed(names: Iterable[str], flag: str) -> str:
    return " or ".join(f"{flag} {name}" for name in names) or "nothing"


def _spelled(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return flag_of(name) if value else flag_of(name).replace("--", "--no-", 1)
    return f"{flag_of(name)} {value}"

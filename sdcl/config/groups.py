"""The settings that every method shares: one frozen dataclass a subject.

Nothing else holds their defaults.
"""

from __future__ import annotations

from dataclasses import dataclass

from sdcl.config.fields import (
    AT_LEAST_0,
    AT_LEAST_1,
    EVALUATION,
    INSIDE_UNIT,
    OUTPUT,
    POSITIVE,
    SHARE,
    SPEED,
    VITS,
    Bounds,
    setting,
)
from sdcl.config.registry import BUILT_IN
from sdcl.datasets import DATASETS

FILTERS = ("bilinear", "bicubic", "lanczos")
TRANSLATIONS, FOLDER = ("channel", "gray", "fourier"), "folder:"  # FOLDER is followed by a path


@dataclass(frozen=True)
class RunSettings:
    """What is trained, where its files go, and how it is watched."""

    method: str = setting(
        "sdcl", f"method to train: {', '.join(BUILT_IN)} or a registered one", of_model=True
    )
    labels: str = setting(
        "none",
        "identities that training may read: none, or those of one modality's training images "
        "(semi-supervised, which every result then says)",
        choices=("none", "visible", "infrared"),
        of_model=True,
    )
    seed: int = setting(
        1,
        "seed of sampling, augmentation, stochastic depth and initialisation",
        bounds=AT_LEAST_0,
        repetition=True,
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
        "ViT: recompute the activations of the blocks in the backward pass (same numbers, less memory)",
        arch=VITS,
        affects=SPEED,
    )
    compile: bool = setting(
        False, "ViT: torch.compile of the blocks (slow start, numbers differ by rounding)", arch=VITS
    )
    profile: int = setting(
        0, "write trace.json, a torch.profiler trace of N steps; 0: none", bounds=AT_LEAST_0, affects=OUTPUT
    )
    precision: str = setting(
        "fp32",
        "arithmetic of the network: fp32 as released, tf32 (NVIDIA GPUs), bf16 (autocast), or auto: bf16 "
        "where the hardware multiplies it; labels and metrics are never computed in less than float32",
        choices=("fp32", "tf32", "bf16", "auto"),
        of_test=True,
    )


@dataclass(frozen=True)
class DataSettings:
    """Which images, and how they are decoded."""

    dataset: str = setting(
        "sysu",
        f"data set: {', '.join(DATASETS)} (custom: your own images)",
        "-d",
        of_model=True,
    )
    data_dir: str = setting(
        "",
        "folder with the raw or the prepared data set, or the table of custom images (default data/DATASET)",
        affects=OUTPUT,
    )
    trial: int = setting(
        1,
        "split of a data set with several, 1 to 10 for RegDB",
        bounds=AT_LEAST_1,
        dataset=True,
        repetition=True,
        of_test=True,
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
    resize_test: str = setting("lanczos", "resize filter of test images", choices=FILTERS, of_test=True)
    cache_dir: str = setting("cache", "folder of the decoded images", affects=OUTPUT)
    workers: int = setting(4, "threads that decode images", "-j", bounds=AT_LEAST_1, affects=SPEED)


@dataclass(frozen=True)
class AugmentSettings:
    """Augmentation of training images."""

    color_jitter: float = setting(
        0.5,
        "strength of brightness, contrast, saturation and hue jitter; 0: off "
        "(a hue shift of 0.5 is half the circle)",
        bounds=Bounds(0, 0.5),
    )
    jitter_views: str = setting(
        "all",
        "what --color-jitter changes: all training images, the second views of visible images "
        "alone (exchanged), or these and, until the method begins a second stage with a new "
        "optimiser, infrared images (first-stage)",
        choices=("all", "exchanged", "first-stage"),
        needs={"color_jitter": POSITIVE},
    )
    pad: int = setting(10, "zero padding before the random crop, in pixels", bounds=AT_LEAST_0)
    flip: float = setting(0.5, "probability of a horizontal flip", bounds=SHARE)
    erase: float = setting(0.5, "probability of random erasing", bounds=SHARE)
    second_view: bool = setting(True, "add a translated view of each visible image (--translation)")
    translation: str = setting(
        "channel",
        "how the second view is made infrared-like: channel (channel exchange), gray, fourier (low-frequency "
        "amplitudes of infrared images) or folder:DIR (translated images under the same relative paths)",
        needs={"second_view": True},
    )
    infrared_gray: bool = setting(True, "channel-adaptive grey on infrared images")


@dataclass(frozen=True)
class ModelSettings:
    """Architecture and pretrained weights."""

    arch: str = setting(
        "vit_base", "architecture, such as vit_base, resnet50 or vit_mini", "-a", of_model=True
    )
    pretrained: str = setting(
        "auto",
        "pretrained weights: a file; auto: the architecture's file in weights/; torchvision: its ImageNet "
        "ResNet-50; none: random weights",
        needs={"from_run": ""},
    )
    from_run: str = setting(
        "",
        "start from another run instead of --pretrained: its folder; HIL takes the end of SDCL's first stage",
        method_attribute="starts_from",
    )
    min_loaded: float = setting(
        0.8,
        "smallest share of the model's tensors that a weight file must fill",
        bounds=SHARE,
        needs={"from_run": ""},
    )
    mean: tuple[float, ...] = setting(
        (),
        "mean of red, green and blue pixels in 0 .. 1 that images are normalised with, three numbers; "
        "together with --std; without both: the pretrained weights' own, or ImageNet's",
        bounds=SHARE,
        of_test=True,
    )
    std: tuple[float, ...] = setting(
        (),
        "deviation of red, green and blue pixels, as --mean",
        bounds=Bounds(0, 1, low_included=False),
        of_test=True,
    )
    drop_path: float = setting(
        0.1, "stochastic depth rate of the last transformer block", bounds=SHARE, arch=VITS, of_model=True
    )
    shallow: bool = setting(
        True, "train the shallow branch beside the deep one (SDCL and HIL on a ViT)", of_model=True
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
        "slices of a batch that BatchNorm normalises separately, as DataParallel on N GPUs did; 1: the whole "
        "batch",
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
    iters: int = setting(
        200,
        "training steps of a stage of an epoch; SDCL has --iters-unified, GUR --camera-iters for others of "
        "its stages, and BMIL's common clusters take as many once more",
        bounds=AT_LEAST_1,
    )
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
    knn: str = setting(
        "torch",
        "neighbour search: torch and faiss are exact, faiss-ivf (inverted lists) is approximate, for sets of "
        "hundreds of thousands of images",
        choices=("torch", "faiss", "faiss-ivf"),
    )
    knn_lists: int = setting(
        0,
        "inverted lists of the approximate search; 0: four times the square root of the number of images, "
        "fewer where a list would have less than 39 images",
        bounds=AT_LEAST_0,
        needs={"knn": "faiss-ivf"},
    )
    knn_probes: int = setting(
        32,
        "inverted lists that each image is compared with; more find more true neighbours and take longer",
        bounds=AT_LEAST_1,
        needs={"knn": "faiss-ivf"},
    )
    eps_backoff: int = setting(
        3,
        "how often eps is moved if there are fewer than two clusters: up for outliers, down for one cluster",
        bounds=AT_LEAST_0,
    )
    eps_step: float = setting(0.05, "how far eps is moved each time", bounds=POSITIVE)


@dataclass(frozen=True)
class MemorySettings:
    """Cluster memories and their contrast."""

    temp: float = setting(
        0.05,
        "temperature of the contrastive losses, but DCCL's with cameras (--camera-temp)",
        bounds=POSITIVE,
    )
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
        "as released: gradients use memories that the same step has updated; --no-late-gradients: as in the "
        "forward pass",
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
        10,
        "random galleries that are averaged (in LLCM's row with drawn queries: random queries)",
        bounds=AT_LEAST_1,
        dataset=True,
        affects=EVALUATION,
    )
    official_draws: bool = setting(
        False,
        "draw galleries from exp/rand_perm_cam.mat instead of the seeds of the public Python evaluators",
        dataset=True,
        affects=EVALUATION,
    )
    trials: str = setting(
        "",
        "trials that the test program averages, such as 1-10 or 1,3; empty: all of the data set",
        dataset=True,
        affects=EVALUATION,
    )
    test_batch_size: int = setting(128, "test images embedded at once", bounds=AT_LEAST_1, affects=EVALUATION)
    rerank: bool = setting(
        False,
        "k-reciprocal re-ranking of every gallery (Zhong et al., CVPR 2017); the results' names say so",
        affects=EVALUATION,
    )

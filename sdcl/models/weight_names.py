"""The table of weight formats: recognise a file by its tensors' names and shapes,
and name them as our networks do.

Each format is one entry of `WEIGHT_FORMATS`, each kind of file that is known and not read one of `REFUSED`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sdcl.data.normalization import CLIP, HALF, IMAGENET, LUPERSON, Normalization
from sdcl.datasets import MODALITIES
from sdcl.models.backbone import Backbone
from sdcl.models.vit import DualBranchViT, is_two_to_one
from sdcl.models.weight_files import WeightFile
from sdcl.runtime.errors import WeightError

# pattern of the beginning of a name -> what replaces it, once for each copy
Rules = list[tuple[str, list[str]]]
BOTH_STEMS = [f"stems.{m}." for m in MODALITIES]
NOT_SAID = (
    "the file does not say which mean and deviation its pixels had; ImageNet's unless --mean and --std say"
)


@dataclass(frozen=True)
class Format:
    """A format of weight files.

    Args:
        description: for reports and messages.
        recognised: whether a file has it, if no entry before it in the table does.
        rules: names in the file, after `converted`, -> names in the network.
        converted: the tensors under timm's names and in timm's shapes.
        normalization: of the pixels of all such files; None: the names do not tell.
        note: what a reader of the log must know when no config says the normalisation.
        antialias: whether the position embedding is filtered when it becomes smaller.
    """

    description: str
    recognised: Callable[[WeightFile], bool]
    rules: Callable[[Backbone], Rules]
    converted: Callable[[WeightFile], dict[str, Tensor]] = lambda file: dict(file.tensors)
    normalization: Normalization | None = None
    note: str = ""
    antialias: bool = False

    def mapped(self, file: WeightFile, model: Backbone) -> tuple[dict[str, Tensor], list[str]]:
        """({name in the network: tensor}, names that the network does not have)."""
        rules = self.rules(model)
        result: dict[str, Tensor] = {}
        ignored: list[str] = []
        for name, value in self.converted(file).items():
            targets = list(_targets(name, rules))
            result.update(dict.fromkeys(targets, value))
            if not targets:
                ignored.append(name)
        return result, ignored


def format_of(file: WeightFile) -> Format:
    """The format of a file.

    Raises:
        WeightError: one that is known and not read.
    """
    for known in WEIGHT_FORMATS[:OURS]:
        if known.recognised(file):
            return known
    for what, why, recognised in REFUSED:
        if recognised(file):
            raise WeightError(f"it is of {what}, which no --arch reads: {why}")
    return next((known for known in WEIGHT_FORMATS[OURS:] if known.recognised(file)), UNKNOWN_FORMAT)


def _targets(name: str, rules: Rules) -> Iterator[str]:
    """Names in the network for a name of the file, by the first rule that matches."""
    for pattern, targets in rules:
        match = re.match(pattern, name)
        if match:
            for target in targets:
                yield match.expand(target) + name[match.end() :]
            return


# ------------------------------------------------------------------ rules


def _same_names(model: Backbone) -> Rules:
    return [(r"", [""])]


def _last_block(model: Backbone) -> int:
    """Index of the last block of a ViT of this shape, which the heads hold; 0 for a ResNet."""
    return model.shape.depth - 1 if isinstance(model, DualBranchViT) else 0


def _trunk_rules(model: Backbone, prefix: str) -> Rules:
    """Learnt tokens, position embedding, first norm and the blocks of the trunk: all but the last."""
    kept = "|".join(str(i) for i in range(_last_block(model))) or "-"
    return [
        (rf"{prefix}(cls_token|reg_token|pos_embed)$", [r"\1"]),
        (rf"{prefix}norm_pre\.", ["norm_pre."]),
        (rf"{prefix}blocks\.({kept})\.", [r"blocks.\1."]),
    ]


def _single_stem_rules(model: Backbone) -> Rules:
    """timm's names. One stem fills both, the last block and norm fill every head."""
    return [
        (r"patch_embed\.", BOTH_STEMS),
        (r"stages\.", ["stages."]),  # of a hybrid
        *_trunk_rules(model, ""),
        (rf"blocks\.{_last_block(model)}\.", [f"heads.{b}.block." for b in model.branches]),
        (r"norm\.", [f"heads.{b}.norm." for b in model.branches]),
    ]


def _released_vit_rules(model: Backbone) -> Rules:
    """Names of the released SDCL code."""
    heads: Rules = []
    for branch, block, neck in (("deep", "b1", "bottleneck"), ("shallow", "b2", "bottlenecks")):
        if branch in model.branches:
            head = f"heads.{branch}."
            heads += [
                (rf"{block}\.0\.", [f"{head}block."]),
                (rf"{block}\.1\.", [f"{head}norm."]),
                (rf"{neck}\.", [f"{head}neck."]),
            ]
    return [
        (r"base\.patch_embed\.", ["stems.visible."]),
        (r"base\.patch_embed2\.", ["stems.infrared."]),
        *_trunk_rules(model, r"base\."),
        *heads,
    ]


def _resnet_rules(model: Backbone) -> Rules:
    """torchvision's names."""
    return [
        (r"(conv1|bn1)\.", [f"{stem}\\1." for stem in BOTH_STEMS]),
        (r"(layer[1-4])\.", [r"\1."]),
    ]


def _released_resnet_rules(model: Backbone) -> Rules:
    """Names of the released ADCA, GUR and SDCL code for their two-stream ResNets."""
    stems: Rules = []
    for modality, short in (("visible", "visible"), ("infrared", "thermal")):
        stems.append((rf"{short}_module\.{short}\.(conv1|bn1)\.", [rf"stems.{modality}.\1."]))
        stems.append((rf"{short}_module\.ibn\.", [f"stems.{modality}.ibn."]))
    blocks: Rules = [
        (rf"NL_(\d)\.(\d)\.{theirs}\.", [rf"non_local.layer\1.\2.{ours}."])
        for theirs, ours in (
            (r"g\.0", "g"),
            (r"W\.0", "project"),
            (r"W\.1", "norm"),
            ("theta", "theta"),
            ("phi", "phi"),
        )
    ]
    return [*stems, *blocks, (r"base_resnet\.base\.(layer[1-4])\.", [r"\1."]), (r"bottleneck\.", ["neck."])]


# ------------------------------------------------------------------ to timm's names and shapes

TIMM_OF_DINOV2 = (
    (r"^blocks\.\d+\.(\d+)\.", r"blocks.\1."),  # its trainer nests the blocks in chunks
    (r"^(blocks\.\d+)\.gamma_([12])$", r"\1.ls\2.gamma"),  # DeiT III
    (r"^register_tokens$", "reg_token"),
)
TIMM_OF_CLIP = (
    (r"^conv1\.", "patch_embed.proj."),
    (r"^class_embedding$", "cls_token"),
    (r"^positional_embedding$", "pos_embed"),
    (r"^ln_pre\.", "norm_pre."),
    (r"^ln_post\.", "norm."),
    (r"^transformer\.resblocks\.", "blocks."),
    (r"\.ln_([12])\.", r".norm\1."),
    (r"\.ls_([12])\.", r".ls\1."),
    (r"\.attn\.in_proj_(weight|bias)$", r".attn.qkv.\1"),
    (r"\.attn\.out_proj\.", ".attn.proj."),
    (r"\.mlp\.c_fc\.", ".mlp.fc1."),
    (r"\.mlp\.c_proj\.", ".mlp.fc2."),
)


def _renamed(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    """A name after all rules, one after another."""
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def _single_stem(file: WeightFile) -> dict[str, Tensor]:
    """A ViT's tensors under timm's names; the position embedding begins with the class token's."""
    tensors = {_renamed(name, TIMM_OF_DINOV2): value for name, value in file.tensors.items()}
    embedding = tensors.get("pos_embed")
    if embedding is not None and embedding.ndim == 3 and _lacks_class_position(file, embedding):
        tensors["pos_embed"] = torch.cat([torch.zeros_like(embedding[:, :1]), embedding], dim=1)
    return tensors


def _lacks_class_position(file: WeightFile, embedding: Tensor) -> bool:
    """Whether a position embedding (1, n, D) is of patches alone, as in timm's
    ViTs with registers and DeiT III.
    """
    n, grid = embedding.shape[1], grid_of_file(file)
    if PRETRAINED_HERE in file.metadata:  # of any grid: 12 x 4 patches and the class token are 7 x 7
        return False
    if grid is not None:
        return n == grid[0] * grid[1]
    if _is_grid(n) and _is_grid(n - 1):  # 9, 50, 289
        return "reg_token" in file.tensors
    return _is_grid(n)


def _is_grid(n: int) -> bool:
    """Whether n patches are a square or twice as high as wide."""
    return is_two_to_one(n) or (n > 0 and round(n**0.5) ** 2 == n)


def grid_of_file(file: WeightFile) -> tuple[int, int] | None:
    """(rows, columns) of patches by the image size that the file's config names; None: it names none, or one
    that its embedding is not for.
    """
    image = file.config.image if file.config else None
    kernel, embedding = (file.tensors.get(n) for n in ("patch_embed.proj.weight", "pos_embed"))
    if image is None or kernel is None or embedding is None:
        return None
    rows, columns = (side // max(1, kernel.shape[-1]) for side in image)
    fits = rows * columns > 0 and embedding.ndim == 3 and embedding.shape[1] - rows * columns in (0, 1)
    return (rows, columns) if fits else None


def _clip_tower(file: WeightFile) -> dict[str, Tensor]:
    """The visual tower of CLIP under timm's names, all other tensors under their own."""
    prefix = "visual." if file.has("visual.class_embedding") else ""
    tensors: dict[str, Tensor] = {}
    for name, value in file.tensors.items():
        inner = name[len(prefix) :]
        renamed = _renamed(inner, TIMM_OF_CLIP) if name.startswith(prefix) and inner != "proj" else name
        tensors[renamed] = value
    for name in ("cls_token", "pos_embed"):
        if name in tensors:
            value = tensors[name]
            tensors[name] = value.reshape(1, -1, value.shape[-1])  # (D,) and (1 + P, D) in the file
    return tensors


# ------------------------------------------------------------------ the table

PRETRAINED_HERE = "sdcl.pretrain"  # metadata of `sdcl pretrain`


def _starts(prefix: str) -> Callable[[WeightFile], bool]:
    return lambda file: any(name.startswith(prefix) for name in file.tensors)


def _is_vit(file: WeightFile) -> bool:
    return file.has("patch_embed.proj.weight")


def _is_dinov2(file: WeightFile) -> bool:
    return _is_vit(file) and _patch(file) == 14 and file.any_part(".ls1.gamma")


def _patch(file: WeightFile) -> int:
    return file.tensors["patch_embed.proj.weight"].shape[-1]


def _of_person_crops(file: WeightFile) -> bool:
    """Whether a ViT's embedding is of images twice as high as wide."""
    embedding = file.tensors.get("pos_embed")
    return _is_vit(file) and embedding is not None and is_two_to_one(embedding.shape[1] - 1)


def _of_ibot(file: WeightFile) -> bool:
    """Whether iBOT's mask token or its second head, on patches, is beside the network."""
    return file.has("masked_embed") or _starts("head.last_layer2")(file) or _starts("head.mlp2")(file)


def _of_imagenet_classes(file: WeightFile) -> bool:
    return file.has("fc.weight") and len(file.tensors["fc.weight"]) == 1000


WEIGHT_FORMATS = (
    Format("a checkpoint of this project", _starts("stems."), _same_names),
    Format(
        "a released SDCL checkpoint (dual-branch ViT)",
        _starts("base.patch_embed2."),
        _released_vit_rules,
        normalization=IMAGENET,
    ),
    Format(
        "a released two-stream ResNet checkpoint (AGW form)",
        _starts("visible_module."),
        _released_resnet_rules,
        normalization=IMAGENET,
    ),
    # those below are of single-stem networks
    Format(
        "the visual tower of CLIP (OpenAI, open_clip)",
        lambda file: file.has("visual.class_embedding") or file.has("class_embedding", "conv1.weight"),
        _single_stem_rules,
        _clip_tower,
        CLIP,
        antialias=True,
    ),
    Format(
        "a single-stem ViT of `sdcl pretrain`",
        lambda file: file.has("pos_embed") and PRETRAINED_HERE in file.metadata,
        _single_stem_rules,
        _single_stem,
        IMAGENET,
    ),
    Format(
        "a single-stem ViT of DINOv2", _is_dinov2, _single_stem_rules, _single_stem, IMAGENET, antialias=True
    ),
    Format(
        "a single-stem ViT with ICS stem (TransReID-SSL, or `sdcl pretrain`)",
        lambda file: _is_vit(file) and file.any_part("patch_embed.conv."),
        _single_stem_rules,
        _single_stem,
        IMAGENET,
    ),
    Format(
        "a single-stem ViT with a norm before its blocks (CLIP in timm's form)",
        lambda file: _is_vit(file) and file.has("norm_pre.weight"),
        _single_stem_rules,
        _single_stem,
        CLIP,
        antialias=True,
    ),
    Format(
        "a single-stem ViT with plain patches, trained with iBOT on person crops (PersonViT)",
        lambda file: _of_person_crops(file) and _of_ibot(file),
        _single_stem_rules,
        _single_stem,
        HALF,
    ),
    Format(
        "a single-stem ViT with plain patches of person crops (PersonViT, TransReID-SSL)",
        _of_person_crops,
        _single_stem_rules,
        _single_stem,
        note=f"{NOT_SAID}. PersonViT: --mean 0.5 0.5 0.5 --std 0.5 0.5 0.5; TransReID-SSL: ImageNet's",
    ),
    Format(
        "a single-stem ViT with plain patches (timm)",
        _is_vit,
        _single_stem_rules,
        _single_stem,
        note=f"{NOT_SAID}. timm's are in the config.json of its hub: put that beside the file",
    ),
    Format(
        "a single-stem ResNet of MoCo's trainer (LUPerson)",
        lambda file: any("encoder_q." in n for n in file.stored_names) and file.has("conv1.weight"),
        _resnet_rules,
        normalization=LUPERSON,
        note="taken for LUPerson's; a ResNet that MoCo trained on ImageNet has the same names: save its "
        "encoder_q without that prefix",
    ),
    Format(
        "a single-stem ResNet with ImageNet's classifier (torchvision, timm)",
        lambda file: file.has("conv1.weight", "layer1.0.conv1.weight") and _of_imagenet_classes(file),
        _resnet_rules,
        normalization=IMAGENET,
    ),
    Format(
        "a single-stem ResNet (torchvision, timm, LUPerson)",
        lambda file: file.has("conv1.weight"),
        _resnet_rules,
        note=f"{NOT_SAID}. LUPerson: --mean {' '.join(map(str, LUPERSON.mean))} "
        f"--std {' '.join(map(str, LUPERSON.std))}",
    ),
)
OURS = 3  # formats of networks with two stems, which nothing else resembles
UNKNOWN_FORMAT = Format("a file of unknown format", lambda file: True, _same_names)


def _matches(pattern: str) -> Callable[[WeightFile], bool]:
    return lambda file: any(re.search(pattern, name) for name in file.tensors)


def _is_dinov3(file: WeightFile) -> bool:
    """Meta's names, transformers' names, timm's names."""
    timm = _is_vit(file) and file.has("reg_token", "blocks.0.gamma_1") and not file.has("pos_embed")
    theirs = file.any_part("rope_embed.", "storage_tokens")
    return timm or theirs or (file.has("embeddings.register_tokens") and file.any_part("attention.q_proj."))


INSTEAD = "docs/weights.md lists the formats that are read"
# (what it is, why it is not read and what to do, whether a file is of it)
REFUSED: tuple[tuple[str, str, Callable[[WeightFile], bool]], ...] = (
    (
        "a Swin transformer, as SOLIDER publishes",
        f"its stages of shifted windows have no class token; {INSTEAD}",
        _matches(r"(^|\.)(layers|stages)\.\d+\.blocks\.\d+\..*(attn|w_msa)\."),
    ),
    (
        "DINOv3",
        "its rotary positions and storage tokens are another architecture; "
        "DINOv2 is read (--arch dinov2_small)",
        _is_dinov3,
    ),
    (
        "a network in the names of the transformers library",
        "take the same weight from its authors or from timm's hub, whose names are read",
        _matches(r"(^|\.)encoder\.layers?\.\d+\.|^embeddings\."),
    ),
    (
        "a CLIP with a ResNet",
        "its stem and its attention pooling are another architecture; take its ViT-B/16 (--arch clip_base)",
        _matches(r"(^|\.)attnpool\."),
    ),
    (
        "the text side of CLIP alone",
        "there are no images in it; take the whole file or its visual tower (visual.*)",
        lambda file: (
            file.any_part("token_embedding.weight", "ln_final.")
            and not file.any_part("visual.", "class_embedding", "patch_embed.")
        ),
    ),
    (
        "a ViT with relative positions (BEiT)",
        f"its attention is another; {INSTEAD}",
        _matches(r"relative_position_bias_table|rel_pos_bias\."),
    ),
    (
        "a ViT with SwiGLU (DINOv2 ViT-g, EVA-02)",
        "its MLPs are others; DINOv2 ViT-S, ViT-B and ViT-L are read (--arch dinov2_large)",
        _matches(r"blocks\.(\d+\.)+mlp\.(w12|w1|fc1_g)\."),
    ),
    (
        "a ViT with biases of queries and values alone (EVA-02)",
        f"its attention has rotary positions; {INSTEAD}",
        _matches(r"blocks\.\d+\.attn\.q_bias$"),
    ),
    (
        "a ViT with normalised queries and keys",
        f"its attention is another; {INSTEAD}",
        _matches(r"blocks\.\d+\.attn\.[qk]_norm\."),
    ),
    (
        "a distilled DeiT",
        "it has a distillation token; take the one without (--arch vit_small_plain) "
        "or DeiT III (--arch deit3_small)",
        lambda file: file.has("dist_token"),
    ),
    (
        "a ViT without a class token (SigLIP)",
        f"its feature is pooled from the patches, and SDCL's heads read a class token; {INSTEAD}",
        lambda file: _is_vit(file) and not file.has("cls_token"),
    ),
    (
        "a ViT without a position embedding",
        f"its positions are in its attention; {INSTEAD}",
        lambda file: _is_vit(file) and not file.has("pos_embed"),
    ),
    (
        "a ResNet with a stem of three convolutions (resnet50d and others of timm)",
        "take timm's resnet50, such as resnet50.a1_in1k (--arch resnet50)",
        lambda file: file.has("conv1.0.weight"),
    ),
    (
        "a ResNet with channel attention (SE, ECA)",
        "take timm's resnet50, such as resnet50.a1_in1k (--arch resnet50)",
        _matches(r"^layer\d\.\d+\.se\."),
    ),
    (
        "a ConvNeXt or a ResNet of another form (BiT)",
        "take torchvision's or timm's resnet50 (--arch resnet50)",
        _matches(r"^stages\.\d+\.blocks\.\d+\."),
    ),
)

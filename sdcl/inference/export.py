"""Export a trained model as ONNX graphs and safetensors, each compared with PyTorch before it is written.

    MODALITY_BRANCH.onnx   images (batch, 3, H, W) float32, standardised -> features (batch, D), for any batch
    model.safetensors      all tensors; facts in the metadata; read by --weights and --pretrained
    parity.json            differences between each graph in onnxruntime and the network in PyTorch
    MODEL_CARD.md          a model card

A graph expects pixels in 0 .. 1 less the mean, over the deviation that its metadata hold under
"normalization", and gives the raw feature of one view. A test feature is the mean over image and horizontal
flip, of all branches side by side, normalised.

B images, D dimensions, H height, W width.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save as safetensors_bytes
from torch import Tensor, nn

from sdcl.config import flat
from sdcl.config.fields import EVALUATION, OUTPUT, SPEED
from sdcl.config.settings import names_affecting
from sdcl.config.supervision import status, supervision
from sdcl.data.normalization import to_metadata
from sdcl.datasets import MODALITIES
from sdcl.inference.model_card import model_card
from sdcl.inference.trained_model import TrainedModel
from sdcl.models.backbone import Backbone
from sdcl.models.weight_files import EXPORTED
from sdcl.runtime.errors import UserError, WeightError, writing
from sdcl.runtime.files import write_bytes, write_text

BATCHES = (1, 3)  # batch sizes that are compared; the graph is traced with 2
TOLERANCE = 1e-3  # of the largest absolute feature; a larger difference is no rounding


@dataclass(frozen=True)
class Parity:
    """Comparison of a graph in onnxruntime with the network in PyTorch, on random images."""

    file: str
    max_abs_difference: float
    largest_feature: float
    batches: tuple[int, ...]
    onnxruntime: str
    torch: str

    def __str__(self) -> str:
        return (
            f"{self.file}: largest absolute difference {self.max_abs_difference:.2e}, "
            f"largest feature {self.largest_feature:.2f}"
        )


def export(
    trained: TrainedModel,
    folder: Path,
    *,
    branches: Sequence[str] | None = None,
    formats: Sequence[str] = ("onnx", "safetensors"),
) -> tuple[list[Path], list[Parity]]:
    """Write the files of the chosen formats and a model card.

    Args:
        branches: of the ONNX graphs, side by side; None: all that the network has.
        formats: of "onnx" and "safetensors".

    Returns:
        Paths of the files, and the comparison of each graph.

    Raises:
        UserError: onnx, onnxscript or onnxruntime is not installed.
        WeightError: a branch that the network does not have, or a graph that differs from it.
        OutputError: the folder cannot be written.
    """
    branches = tuple(branches or trained.model.branches)
    if not set(branches) <= set(trained.model.branches):
        raise WeightError(
            f"--branch {' '.join(branches)}: {trained.path} has the branch "
            f"{', '.join(trained.model.branches)} alone"
        )
    if "onnx" in formats:
        _require_onnx()
    with writing(str(folder), "choose another --out"):
        folder.mkdir(parents=True, exist_ok=True)
    facts, paths, comparisons = export_facts(trained), [], []
    if "onnx" in formats:
        for modality in MODALITIES:
            path = folder / f"{modality}_{'_'.join(branches)}.onnx"
            comparisons.append(write_onnx(trained, path, modality, branches, facts))
            paths.append(path)
        paths.append(folder / "parity.json")
        write_text(paths[-1], json.dumps([dataclasses.asdict(c) for c in comparisons], indent=2) + "\n")
    if "safetensors" in formats:
        tensors = {
            name: value.detach().cpu().contiguous() for name, value in trained.model.state_dict().items()
        }
        paths.append(folder / "model.safetensors")
        metadata = {"format": "pt", EXPORTED: json.dumps(facts), **to_metadata(trained.normalization)}
        write_bytes(paths[-1], safetensors_bytes(tensors, metadata))
    paths.append(folder / "MODEL_CARD.md")
    write_text(paths[-1], model_card(trained, facts, comparisons, branches))
    return paths, comparisons


def export_facts(trained: TrainedModel) -> dict[str, Any]:
    """The metadata of an exported file: settings without paths of this machine, fingerprints, last test,
    provenance.
    """
    settings = flat(trained.settings)
    local = names_affecting(OUTPUT, SPEED, EVALUATION)
    tested = [row for row in trained.rows if row.get("test")]
    return {
        "settings": {name: value for name, value in settings.items() if name not in local},
        "epoch": trained.epoch,
        "data": trained.data,
        "weights": trained.fingerprint,
        "supervision": supervision(trained.settings.run.labels),
        "status": status(trained.settings.run.method),
        "provenance": dataclasses.asdict(trained.provenance),
        "rows": tested[-1:],
    }


class OneBranch(nn.Module):
    """The network as a function of one modality's images. (B, 3, H, W) -> (B, D), or (B, branches x D)."""

    def __init__(self, model: Backbone, modality: str, branches: Sequence[str]):
        super().__init__()
        self.model, self.modality, self.branches = model, modality, tuple(branches)

    def forward(self, images: Tensor) -> Tensor:
        features = self.model({self.modality: images})[self.modality]
        return torch.cat([features[b] for b in self.branches], dim=1)


def _require_onnx() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ModuleNotFoundError as error:
        raise UserError(
            f"ONNX needs {error.name}: pip install 'sdcl[export]', or choose --format safetensors"
        ) from None


def write_onnx(
    trained: TrainedModel, path: Path, modality: str, branches: Sequence[str], facts: dict[str, Any]
) -> Parity:
    """Write the graph of one modality and compare it with the network.

    Raises:
        WeightError: the graph gives other features; nothing is written then.
    """
    import onnx

    d = trained.settings.data
    module = OneBranch(trained.model, modality, branches).eval().cpu()
    images = torch.randn(2, 3, d.height, d.width, generator=torch.Generator().manual_seed(0))
    # strict: the networks split their output by len(images), which plain tracing would freeze
    sizes = ({0: torch.export.Dim("batch")},)
    traced = torch.export.export(module, (images,), dynamic_shapes=sizes, strict=True)
    program = torch.onnx.export(
        traced, (), dynamo=True, verbose=False, input_names=["images"], output_names=["features"]
    )
    if program is None:
        raise WeightError(
            f"{path.name} cannot be made of this network by torch.onnx; choose --format safetensors"
        )
    with tempfile.TemporaryDirectory() as folder:
        program.save(f"{folder}/graph.onnx", external_data=False)
        graph = onnx.load(f"{folder}/graph.onnx")
    for side in (graph.graph.input[0], graph.graph.output[0]):
        side.type.tensor_type.shape.dim[0].dim_param = "batch"
    about = {**facts, "modality": modality, "branches": branches}
    onnx.helper.set_model_props(graph, {EXPORTED: json.dumps(about), **to_metadata(trained.normalization)})
    onnx.checker.check_model(graph)
    content = graph.SerializeToString()
    parity = compare(path.name, module, content, d.height, d.width)
    if not parity.max_abs_difference <= TOLERANCE * max(1.0, parity.largest_feature):
        raise WeightError(f"{parity} between PyTorch and onnxruntime; it is not written")
    write_bytes(path, content)
    return parity


@torch.no_grad()
def compare(file: str, module: nn.Module, graph: bytes, height: int, width: int) -> Parity:
    """Compare onnxruntime with PyTorch on random images, in batch sizes that were not traced."""
    import onnxruntime

    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(1)
    difference, largest = 0.0, 0.0
    for count in BATCHES:
        images = torch.randn(count, 3, height, width, generator=generator)
        expected = module(images).numpy()
        features = session.run(["features"], {"images": images.numpy()})[0]
        difference = max(difference, float(np.abs(expected - features).max()))
        largest = max(largest, float(np.abs(expected).max()))
    return Parity(file, difference, largest, BATCHES, onnxruntime.__version__, torch.__version__)

"""A trained model for other programs: ONNX, safetensors and a model card. `python -m sdcl.cli.export --help`.

    MODALITY_BRANCH.onnx   images (batch, 3, H, W) float32, ImageNet-normalised -> features (batch, D); any batch size
    model.safetensors      all tensors; settings, last metrics and data fingerprint in its metadata; read by --weights and --pretrained
    MODEL_CARD.md          what it is, what it was trained on, what it is for; parity.json: ONNX against PyTorch

A graph gives the branch's output for one view. The test feature is the mean over the image and its mirror image, brought to unit
length; of both branches ("both": deep and shallow side by side, 2 D wide) together.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save as safetensors_bytes
from torch import Tensor, nn

from sdcl.cli.embed import WEIGHTS_HELP, Weights, open_weights
from sdcl.config.settings import flat, resolve
from sdcl.data.augment import IMAGENET_MEAN, IMAGENET_STD
from sdcl.datasets import open_dataset, source_of
from sdcl.datasets.sample import MODALITIES
from sdcl.runtime.errors import UserError
from sdcl.runtime.files import write_bytes, write_text
from sdcl.runtime.program import program

BATCHES = (1, 3)  # of the parity test; the graph is traced with 2
TOLERANCE = 1e-3  # of the largest absolute feature; more is no rounding


class OneBranch(nn.Module):
    """The model as a function of one modality's images. (B, 3, H, W) -> (B, D), or (B, 2 D) for both branches."""

    def __init__(self, model: nn.Module, modality: str, branches: tuple[str, ...]):
        super().__init__()
        self.model, self.modality, self.branches = model, modality, branches

    def forward(self, images: Tensor) -> Tensor:
        features = self.model({self.modality: images})[self.modality]
        return torch.cat([features[b] for b in self.branches], dim=1)


@program
def main(argv: list[str] | None = None) -> int:
    """Command line entry. Exit codes: 0 written, 2 bad input (the message says why)."""
    said = parser().parse_args(argv)
    for path in export(open_weights(said.weights), said.out, branch=said.branch, form=said.format):
        print(f"written: {path}")
    return 0


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(prog="python -m sdcl.cli.export", description="Write a trained model for others.", allow_abbrev=False)
    result.add_argument("--weights", type=Path, required=True, metavar="RUN_OR_CHECKPOINT", help=WEIGHTS_HELP)
    result.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write into")
    result.add_argument("--branch", choices=("deep", "shallow", "both"), default="both", help="what the ONNX graphs give (default both)")
    result.add_argument("--format", choices=("onnx", "safetensors", "both"), default="both", help="which files (default both)")
    return result


def export(weights: Weights, out: Path, *, branch: str = "both", form: str = "both") -> list[Path]:
    """Write the files of the chosen form and the card; return their paths.

    Raises:
        ValueError: a branch that the model does not have, onnx or onnxruntime not installed, or a graph that differs from the model.
    """
    branches = ("deep", "shallow") if branch == "both" else (branch,)
    branches = tuple(weights.model.branches) if branch == "both" else branches
    if not set(branches) <= set(weights.model.branches):
        raise UserError(f"--branch {branch}: {weights.path} has the branch {', '.join(weights.model.branches)} alone")
    if form != "safetensors":
        _require_onnx()
    out.mkdir(parents=True, exist_ok=True)
    about, written, parity = about_weights(weights), [], []
    if form != "safetensors":
        for modality in MODALITIES:
            path = out / f"{modality}_{'_'.join(branches)}.onnx"
            parity.append(write_onnx(weights, path, modality, branches, about))
            written.append(path)
            print(
                "parity {file}: largest absolute difference {max_abs_difference:.2e}, largest feature {largest_feature:.2f}".format(
                    **parity[-1]
                )
            )
        write_text(out / "parity.json", json.dumps(parity, indent=2) + "\n")
        written.append(out / "parity.json")
    if form != "onnx":
        tensors = {name: value.detach().cpu().contiguous() for name, value in weights.model.state_dict().items()}
        write_bytes(out / "model.safetensors", safetensors_bytes(tensors, {"format": "pt", "sdcl": json.dumps(about)}))
        written.append(out / "model.safetensors")
    write_text(out / "MODEL_CARD.md", card(weights, about, parity, branches))
    return [*written, out / "MODEL_CARD.md"]


def about_weights(weights: Weights) -> dict[str, Any]:
    """What goes with the tensors: settings, epoch, fingerprints of weights and training images, last metrics, notes on the data."""
    state, settings = weights.state, weights.settings
    rows = state.get("rows") or []
    tested = next((row for row in reversed(rows) if row.get("test")), None)
    return {
        "settings": flat(settings), "epoch": state["epoch"], "data": state.get("data"), "weights": weights.fingerprint,
        "trial": settings.data.trial if source_of(settings.data.dataset).trials else None, "notes": data_notes(weights), "rows": [tested] if tested else [],
    }  # fmt: skip


def data_notes(weights: Weights) -> list[str]:
    """That the training images are synthetic or incomplete: as their folder says, else as the run's log said."""
    d, path = weights.settings.data, weights.path
    try:
        return list(open_dataset(d.dataset, weights.settings.data_dir, trial=d.trial, allow_incomplete=True).notices)
    except UserError:
        log = (path if path.is_dir() else path.parent) / "log.txt"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    said = list(dict.fromkeys(line.removeprefix("note: ") for line in lines if line.startswith("note: ")))
    unknown = "neither the training images nor the run's log are there: whether the images were synthetic or incomplete is not known"
    return said if log.is_file() else weights.state.get("notes") or [unknown]


# ------------------------------------------------------------------ onnx


def _require_onnx() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ModuleNotFoundError as error:
        raise UserError(f"ONNX needs {error.name}: pip install 'sdcl[export]', or say --format safetensors") from None


def write_onnx(weights: Weights, path: Path, modality: str, branches: tuple[str, ...], about: dict[str, Any]) -> dict[str, Any]:
    """Write one graph, compare it with the model in onnxruntime, and return the comparison.

    Raises:
        ValueError: the graph gives other features; nothing is written then.
    """
    import onnx

    d = weights.settings.data
    module = OneBranch(weights.model, modality, branches).eval()
    images = torch.randn(2, 3, d.height, d.width, generator=torch.Generator().manual_seed(0))
    # strict: the models split their output by len(images), which plain tracing would freeze
    traced = torch.export.export(module, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},), strict=True)
    names = {"input_names": ["images"], "output_names": ["features"]}
    with tempfile.TemporaryDirectory() as folder:
        torch.onnx.export(traced, (), dynamo=True, verbose=False, **names).save(f"{folder}/graph.onnx", external_data=False)
        graph = onnx.load(f"{folder}/graph.onnx")
    for side in (graph.graph.input[0], graph.graph.output[0]):
        side.type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.helper.set_model_props(graph, {"sdcl": json.dumps(about | {"modality": modality, "branches": branches})})
    onnx.checker.check_model(graph)
    content = graph.SerializeToString()
    found = {"file": path.name} | compare(module, content, d.height, d.width)
    if not found["max_abs_difference"] <= TOLERANCE * max(1.0, found["largest_feature"]):
        raise UserError(f"{path.name} differs from the model by {found['max_abs_difference']:.2e} in onnxruntime; it is not written")
    write_bytes(path, content)
    return found


@torch.no_grad()
def compare(module: nn.Module, content: bytes, height: int, width: int) -> dict[str, Any]:
    """Largest absolute difference between onnxruntime and PyTorch on random images, in batches that were not traced."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    draw = torch.Generator().manual_seed(1)
    difference, largest = 0.0, 0.0
    for count in BATCHES:
        images = torch.randn(count, 3, height, width, generator=draw)
        ours = module(images).numpy()
        theirs = session.run(["features"], {"images": images.numpy()})[0]
        difference = max(difference, float(np.abs(ours - theirs).max()))
        largest = max(largest, float(np.abs(ours).max()))
    return {
        "max_abs_difference": difference, "largest_feature": largest, "batches": BATCHES,
        "onnxruntime": onnxruntime.__version__, "torch": torch.__version__,
    }  # fmt: skip


# ------------------------------------------------------------------ card


def card(weights: Weights, about: dict[str, Any], parity: list[dict[str, Any]], branches: tuple[str, ...]) -> str:
    """The model card as Markdown."""
    own = weights.settings
    count = sum(p.numel() for p in weights.model.parameters())
    trial = f", trial {about['trial']}" if about["trial"] else ""
    mean, std = (" ".join(f"{v:g}" for v in values) for values in (IMAGENET_MEAN, IMAGENET_STD))
    notes = "".join(f"\n- **{note}**" for note in about["notes"])
    checked = "".join(
        f"\n- `{p['file']}` (batches of {p['batches'][0]} and {p['batches'][1]}): largest absolute difference from PyTorch "
        f"{p['max_abs_difference']:.2e}, largest feature {p['largest_feature']:.2f}; onnxruntime {p['onnxruntime']}" for p in parity
    )  # fmt: skip
    return f"""# {own.run.method} {own.data.dataset} {own.model.arch}

Unsupervised visible-infrared person re-identification: an image of a person, seen by a colour or an infrared camera, becomes a vector;
vectors of the same person are near. Weights `{about["weights"]}`, after epoch {about["epoch"]}.

## Architecture

`{own.model.arch}`, {count:,} parameters, a stem for each modality, branches {", ".join(weights.model.branches)}, {weights.model.feature_dim}
dimensions each. Input: RGB, {own.data.height} x {own.data.width} pixels (height x width), resized with {own.data.resize_test}, scaled to [0, 1], less mean
{mean}, over deviation {std} (ImageNet); infrared images have three equal channels. A test feature is the mean over the image and its
mirror image, {"both branches side by side, " if len(weights.model.branches) > 1 else ""}brought to unit length; features are compared by cosine.

## Training

- method `{own.run.method}`, without identity labels
- data set `{own.data.dataset}`{trial}, fingerprint of the images `{about["data"]}`{notes}
- starting weight `{own.model.pretrained}`

Settings that differ from the defaults (and, in brackets, from the recipe of this method and data set):

{differences(about["settings"])}

## Last metrics

{metrics(about["rows"])}

## Files

ONNX graphs hold the branch{"es" if len(branches) > 1 else ""} {" and ".join(branches)}, one view, not averaged over the mirror image.{checked}

## Licence

The code is under the MIT licence. Weights inherit the conditions of the data set they were trained on and of the starting weight; both have
licences of their own, and the real data sets are for research only. Ask their owners before any other use.

## Intended use and limits

Research on re-identification. Numbers of one protocol do not carry over to other cameras, places or people; numbers on synthetic
images say nothing about real ones. Every query has a nearest image: without a calibrated threshold "found" means nothing. A match is
no proof of identity, error rates may differ between groups of people and were not measured, and to follow real people with it needs
a legal basis and their protection.
"""


def differences(settings: dict[str, Any]) -> str:
    """Markdown list of the settings that are not the field defaults; paths of this machine are left out."""
    default = flat(resolve({})[0])  # the sdcl recipe of SYSU-MM01, field defaults elsewhere
    recipe = flat(resolve({name: settings[name] for name in ("method", "dataset")})[0])
    left_out = ("logs_dir", "data_dir", "cache_dir", "checkpoint", "device", "workers")
    lines = [
        f"- `--{name.replace('_', '-')}` {value!r}" + (f" (recipe: {recipe[name]!r})" if recipe[name] != value else "")
        for name, value in settings.items()
        if name not in left_out and (default[name] != value or recipe[name] != value)
    ]
    return "\n".join(lines) or "none"


def metrics(rows: list[dict[str, Any]]) -> str:
    """Markdown table of the test results of an epoch, in percent."""
    if not rows:
        return "The model was not tested during training (`--eval-step 0`, or no labelled test image); see `python -m sdcl.test`."
    names = ("R1", "R5", "R10", "R20", "mAP", "mINP")
    lines = [f"After epoch {rows[0]['epoch']}, percent.", "", f"| protocol | direction | {' | '.join(names)} |", "|---|---|" + "---:|" * 6]
    for result in rows[0]["test"]:
        lines.append(f"| {result['protocol']} | {result['direction']} | {' | '.join(f'{result[n]:.2f}' for n in names)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())

"""The rows of the methods' table: what each trains with, and on which benchmark.

A row "METHOD, no PART" or "METHOD, FORM" is a form of a method; every other row stands for itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import records

from sdcl.models.pretrained import ASSETS

HERE = Path(__file__).parent
TABLES = HERE.parent / "docs" / "methods"
METRICS = ("R1", "mAP", "mINP")
START, CEILING, SDCL_ROW = (
    "pretrained weights, before training",
    "identities of both modalities (upper bound)",
    "SDCL",
)
SDCL = ["--method", "sdcl", "--shallow"]
FIRST_STAGE = "{SDCL}"  # the run folder of the row "SDCL" with the same seed, which is trained first

# Row -> the row that trains the same until its stage "contrast" ends.
SAME_FIRST_STAGE = {
    "SDCL, no CRA": "SDCL",
    "SDCL, no smoothing": "SDCL",
    "ADCA, no CMA": "ADCA",
    "PGM, no matching": "PGM",
    "DCCL, no neighbours within": "DCCL",
    "DCCL, no neighbours across": "DCCL",
    "DCCL, no instance contrast": "DCCL",
    "DCCL, no cameras": "DCCL",
    "DCCL, no refinement": "DCCL",
    "TAA, no association (reads visible identities)": "TAA (reads visible identities)",
}


@dataclass(frozen=True)
class Benchmark:
    """A synthetic set with settings, pretrained weights and budget.

    Args:
        title: of its page. set_flags: of `sdcl synthesize`, for the reader.
        settings: JSON beside this file that all rows share. weights: in sdcl/assets.
        results: finished runs, beside this file. page: file in docs/methods.
    """

    title: str
    set_flags: str
    settings: str
    weights: str
    results: str
    page: str

    @property
    def values(self) -> dict[str, Any]:
        return json.loads((HERE / self.settings).read_text())

    @property
    def conditions(self) -> str:
        return records.conditions(HERE / self.settings, ASSETS / self.weights)


BENCHMARKS = {
    "reference": Benchmark(
        "Methods on the reference benchmark, synthetic-v2",
        "the reference set (SYSU layout, difficulty clear, seed 0)",
        "reference.json",
        "vit_mini_hybrid_identity.safetensors",
        "reference_results.jsonl",
        "reference_table.md",
    ),
    "medium": Benchmark(
        "Methods on the synthetic benchmark",
        "the medium set of synthetic-v1 (SYSU layout, difficulty medium, seed 0)",
        "methods.json",
        "vit_mini_identity.safetensors",
        "methods_results.jsonl",
        "synthetic_table.md",
    ),
}


def rows_of(values: Mapping[str, Any]) -> dict[str, list[str]]:
    """Row -> its flags, the most telling first.

    Args:
        values: settings that all rows share. All have the same number of optimiser steps, within rounding,
            but GUR, whose stage of both modalities ends earlier.
    """
    second = values["unify_from"]  # first epoch of the second stage
    steps = values["iters"]  # of an epoch
    gur = ["--method", "gur", "--iters", str((steps - 8 * values["camera_iters"]) // 2)]  # 8 pairs of cameras
    # from the second stage on BMIL takes two steps an iteration, and half of the epochs are of each stage
    bmil = ["--method", "bmil", "--joint-from", str(second), "--iters", str(round(steps * 2 / 3))]
    # after the epochs of SDCL's first stage
    hil = ["--method", "hil", "--shallow", "--from-run", FIRST_STAGE]
    hil += ["--epochs", str(values["epochs"] - second), "--identity-from", "1"]
    dccl = ["--method", "dccl", "--interact-from", str(second)]
    refined = [*dccl, "--refine-from", str(second + 1)]
    return {
        START: ["--method", "baseline", "--epochs", "1", "--iters", "1", "--lr", "1e-30"],
        CEILING: ["ceiling", "--shallow"],
        SDCL_ROW: SDCL,
        "baseline": ["--method", "baseline"],
        "SDCL, no CRA": [*SDCL, "--no-cra"],
        "ADCA": ["--method", "adca"],
        "GUR": gur,
        "SDCL, no CNL cross": [*SDCL, "--no-cnl-cross"],
        "SDCL, no CNL intra": [*SDCL, "--no-cnl-intra"],
        "SDCL, no CNL": [*SDCL, "--no-cnl"],
        "SDCL, no shallow branch": ["--method", "sdcl"],
        "SDCL, no smoothing": [*SDCL, "--no-smoothing"],
        "ADCA, no CMA": ["--method", "adca", "--no-cma"],
        "PGM": ["--method", "pgm", "--match-from", str(second)],
        "BMIL": bmil,
        "HIL": hil,
        "DCCL": refined,
        "TAA (reads visible identities)": ["--method", "taa", "--associate-from", str(second)],
        "PGM, no matching": ["--method", "pgm", "--no-matching"],
        "BMIL, no common clusters": ["--method", "bmil", "--no-joint"],
        "BMIL, no halves": [*bmil, "--no-visible-halves"],
        "BMIL, no margin": [*bmil, "--margin", "0"],
        "HIL, one centre": [*hil, "--centres", "1"],
        "HIL, no identity contrast": [*hil, "--identity-weight", "0", "--identity-weight-late", "0"],
        "HIL, no neighbours": [*hil, "--neighbor-weight", "0"],
        "DCCL, no neighbours within": [*refined, "--no-homogeneous"],
        "DCCL, no neighbours across": [*refined, "--no-heterogeneous"],
        "DCCL, no instance contrast": [*refined, "--no-instance"],
        "DCCL, no cameras": [*refined, "--no-camera"],
        "DCCL, no refinement": [*dccl, "--no-refinement"],
        "TAA, no association (reads visible identities)": ["--method", "taa", "--no-associate"],
        "GUR, no CAE": [*gur, "--no-cae"],
        "GUR, no CMLU": [*gur, "--no-propagation"],
        "GUR, no vote": [*gur, "--no-structure"],
        "GUR, no stages of cameras": ["--method", "gur", "--no-intra-camera", "--iters", str(steps // 2)],
        "GUR, no stage of each modality": [*gur, "--no-inter-camera"],
        "GUR, no stage of both": [*gur, "--no-inter-modality"],
        "SDCL, joint clustering": [*SDCL, "--joint"],
        "GUR, joint clustering": [*gur, "--joint"],
        "SDCL, float32": [*SDCL, "--precision", "fp32"],
        "ADCA, float32": ["--method", "adca", "--precision", "fp32"],
    }


def kept(benchmark: Benchmark, results: Path, row: str, seed: int) -> records.Run | None:
    """The result of a finished run."""
    own = rows_of(benchmark.values)[row]
    return records.find(records.read(results), row, seed, own, benchmark.conditions)


def method_of(row: str, rows: Iterable[str]) -> str:
    """The row of the whole method that a row is a part or a form of; a row of its own is its own."""
    method = row.partition(", ")[0]
    return next((other for other in rows if other.partition(" (")[0] == method), row)


def seeds_wanted(row: str, rows: Iterable[str], seeds: int) -> int:
    """How many seeds a row asks for: one for a form of a method, but for SDCL without a part."""
    is_form = method_of(row, rows) != row and not row.startswith(f"{SDCL_ROW}, no ")
    return 1 if is_form else seeds

"""Pretrain a single-stem ViT: `sdcl pretrain --out FILE [--images DIR ...]`.

    crops (folders, or rendered) -> objective -> ViT -> safetensors file with settings and probe results

Objectives:

    tracks    contrast the frames of a track with the other tracks of the same camera; no labels
    dino      self-distillation, as TransReID-SSL pretrained SDCL's backbone; no labels
    identity  classify rendered identities in visible images; supervised, as ImageNet labels are for ADCA and
              GUR

--images reads DIR/CAMERA/TRACK/image or DIR/image; with --dataset vcm or buptcampus, the training tracks of
that data set in DIR. Without it, crops are rendered from the pretraining namespace of identities and cameras,
which no benchmark set shares.

The same command continues a stopped run. On several GPUs:

    torchrun --nproc_per_node N -m sdcl.pretraining.pretrain ...
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from sdcl.pretraining.settings import parse
from sdcl.runtime.program import program


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Run `sdcl pretrain`."""
    settings = parse(argv, __doc__ or "")
    from sdcl.pretraining.run import pretrain  # PyTorch, which --help does not need

    pretrain(settings)
    return 0


if __name__ == "__main__":
    sys.exit(main(None))

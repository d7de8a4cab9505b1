"""Pseudo-labels and prototypes linked across modalities: CMA of ADCA, CRA of SDCL, CAE and CMLU of GUR,
cluster matching of PGM, label transfer of HIL, label refinement of DCCL, identities of TAA."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

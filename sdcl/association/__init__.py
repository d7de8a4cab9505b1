"""Pseudo-labels and prototypes linked across modalities: CMA of ADCA, CRA of SDCL, CAE and CMLU of GUR,
label refinement of DCCL."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""Pseudo-labels from features within one set of images: neighbours, Jaccard distance, DBSCAN."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

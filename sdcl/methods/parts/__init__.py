"""Parts that methods are composed of: clustering with the run's settings; cluster, alternate, camera, hybrid,
identity and dual-consistency contrast; collaborative neighbour learning.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

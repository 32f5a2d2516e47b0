"""Local-to-global image retrieval in JAX.

The names of `__init__.pyi` are loaded when they are used; everything else is imported by its
module. Importing the package alone loads neither JAX nor Numba.
"""

import lazy_loader

from l2g_jax.version import __version__ as __version__

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

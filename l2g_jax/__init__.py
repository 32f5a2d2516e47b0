"""Local-to-global image retrieval in JAX.

Every step of the method is a module: `from l2g_jax import mds`, then `mds.smacof`. `pipeline` puts
them together. Importing the package alone does not load JAX.
"""

from l2g_jax.errors import InputError
from l2g_jax.version import __version__

__all__ = ["InputError", "__version__"]

"""Programs of networks: their weights, how many images each describes, how many are kept."""

import functools
from collections.abc import Mapping
from typing import Any

import jax

from l2g_jax import settings
from l2g_jax.features.weights import Weights
from l2g_jax.runtime.workers import available_cores

# Eight images fill an accelerator. A CPU is no faster with more than one, and needs more memory.
_ACCELERATOR_BATCH = 8
_MOST_THREADS = 8
# A program compiled for one size takes about 15 MB; photographs may have hundreds of sizes.
MOST_SHAPES = 32


def batch_size(chosen: int | None) -> int:
  """Returns the number of images that a network describes at once; None = the device's best."""
  if chosen is not None:
    return settings.integer("batch_size", chosen, least=1)
  return 1 if jax.default_backend() == "cpu" else _ACCELERATOR_BATCH


def num_threads() -> int:
  """Returns how many batches a network whose layers are small describes at once.

  Its layers leave cores of a CPU idle, which a second image uses; each needs memory of its own.
  """
  return min(available_cores(), _MOST_THREADS) if jax.default_backend() == "cpu" else 1


@functools.lru_cache(maxsize=4)
def on_device(weights: Weights) -> Mapping[str, Any]:
  """Puts the weights of a network onto the device, once per process."""
  return jax.device_put(weights.params)


def limit_shapes(apply: Any, shape: tuple[int, ...]) -> None:
  """Drops the compiled programs of a function before it is compiled for too many shapes."""
  shapes = _shapes_of(apply)
  if shape not in shapes and len(shapes) >= MOST_SHAPES:
    apply.clear_cache()
    shapes.clear()
  shapes.add(shape)


@functools.cache
def _shapes_of(apply: Any) -> set[tuple[int, ...]]:
  """Returns the set of shapes for which a function is compiled; callers change it."""
  del apply
  return set()

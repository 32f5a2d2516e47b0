"""Random weights of a network; each depends on a seed, its key and its shape alone."""

import os
import zlib

import numpy as np

from l2g_jax.features import weights
from l2g_jax.interop.checkpoints.layers import Architecture, convert_tensors

_NOTICE = "These weights are random numbers, to try the program with; nobody's terms apply."


def synthetic_weight(seed: int, key: str, shape: tuple[int, ...]) -> np.ndarray:
  """Returns a weight of a size that suits the layer its key names."""
  rng = np.random.default_rng([seed, zlib.crc32(key.encode())])
  *parents, last = key.split(".")
  if last == "num_batches_tracked":
    return np.array(0, np.int64)
  if last == "p":
    return np.full(shape, 3.0, np.float32)
  if last == "running_var":
    return rng.uniform(0.5, 1.5, shape).astype(np.float32)
  if last == "weight" and len(shape) == 1:
    bounds = (0.2, 0.4) if parents[-1] in ("c_bn", "bn3") else (0.8, 1.2)
    return rng.uniform(*bounds, shape).astype(np.float32)
  if len(shape) == 4:
    deviation = np.sqrt(2.0 / np.prod(shape[1:]))
  elif last in ("templates_init", "mtc_token"):
    deviation = 1.0
  elif len(shape) == 2:
    deviation = np.sqrt(1.0 / shape[1])
  else:
    deviation = 0.1
  return (deviation * rng.standard_normal(shape)).astype(np.float32)


def synthetic_state(architecture: Architecture, seed: int) -> dict[str, np.ndarray]:
  """Returns every tensor that an architecture needs, by its key in a checkpoint."""
  return {
    architecture.prefix + key: synthetic_weight(seed, architecture.prefix + key, shape)
    for layer in architecture.layers
    for key, shape in layer.shapes.items()
  }


def write_weights(
  path: os.PathLike | str, model: str, architecture: Architecture, *, seed: int
) -> None:
  """Writes the file that `experiments.convert` would make of a checkpoint with these numbers."""
  arrays = convert_tensors(architecture, synthetic_state(architecture, seed).__getitem__)
  metadata = {"model": model, **architecture.settings, "source": f"seed {seed}", "notice": _NOTICE}
  weights.save_weights(path, arrays, metadata)

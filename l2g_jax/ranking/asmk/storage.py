"""Inverted files on disk."""

import dataclasses
import os

import numpy as np

from l2g_jax.errors import InputError, damage_refused
from l2g_jax.ranking.asmk.codebook import Codebook
from l2g_jax.ranking.asmk.config import AsmkConfig
from l2g_jax.ranking.asmk.index import AsmkIndex
from l2g_jax.runtime import files
from l2g_jax.runtime.arrays import check_arrays

_KIND = "l2g_jax.asmk_index"
_VERSION = 1


def save_index(directory: os.PathLike | str, index: AsmkIndex) -> None:
  """Writes an index and its codebook as one bundle, with checksums."""
  files.save_bundle(
    directory,
    kind=_KIND,
    version=_VERSION,
    arrays={
      "centroids": index.codebook.centroids,
      "offsets": index.offsets,
      "images": index.images,
      "vectors": index.vectors,
      "norms": index.norms,
      "weights": index.weights,
    },
    metadata=dataclasses.asdict(index.config),
  )


def open_index(directory: os.PathLike | str, *, verify: bool = False) -> AsmkIndex:
  """Opens an index by memory map.

  Args:
    directory: of the bundle.
    verify: whether to read everything and compare checksums, not only sizes.

  Raises:
    InputError: it is missing, truncated or, if verified, altered.
  """
  bundle = files.load_bundle(directory, kind=_KIND, version=_VERSION, verify=verify)
  with damage_refused(f"{directory} holds unknown settings; have it made again."):
    config = AsmkConfig(**bundle.metadata)
  arrays = bundle.arrays
  dimension = arrays["centroids"].shape[-1] if "centroids" in arrays else 0
  width = -(-dimension // 32) if config.binary else dimension
  check_arrays(
    directory,
    arrays,
    {
      "centroids": ("float32", ("words", "dimension")),
      "offsets": ("int64", ("bounds",)),
      "images": ("int32", ("entries",)),
      "vectors": ("uint32" if config.binary else "float32", ("entries", width)),
      "norms": ("float64", ("images",)),
      "weights": ("float64", ("words",)),
    },
  )
  bounds = arrays["offsets"]
  if (
    len(bounds) != len(arrays["weights"]) + 1
    or (bounds[0], bounds[-1]) != (0, len(arrays["images"]))
    or np.any(np.diff(bounds) < 0)
  ):
    raise InputError(f"{directory} has lists that do not fit together; have it made again.")
  # Loops are compiled for plain arrays, not for maps.
  plain = {name: np.asarray(array) for name, array in arrays.items()}
  return AsmkIndex(Codebook(plain.pop("centroids")), config, **plain)

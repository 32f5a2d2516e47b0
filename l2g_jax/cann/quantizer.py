"""What an index learns from a sample of its descriptors: cells, and how residuals are packed."""

import dataclasses
import math
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from l2g_jax.cann import coarse, packing, products, stored
from l2g_jax.cann.coarse import CellFinder, Centroids, CoarseQuantizer
from l2g_jax.cann.config import CannConfig
from l2g_jax.cann.packing import Packing
from l2g_jax.cann.stored import Grid
from l2g_jax.errors import InputError
from l2g_jax.runtime import files
from l2g_jax.runtime.arrays import check_arrays
from l2g_jax.runtime.threads import in_threads
from l2g_jax.similarity.codec import Codes, concatenate, decode

_KIND = "l2g_jax.cann.quantizer"
_VERSION = 1
# Descriptors a cell holds on average, unless the settings say otherwise.
_DESCRIPTORS_PER_CELL = 800
# Images from which the number of descriptors is estimated.
_COUNTED_IMAGES = 1000
_RESIDUALS = 1 << 18
_BLOCK = 1 << 14
_WORD_BYTES = 4
# The arrays of a grid, and their layout.
_GRID: dict[str, Any] = {
  "grid_rotation": ("int16", ("dimension", "grid_width")),
  "grid_centers": ("int16", ("cells", "grid_width")),
  "grid_spacing": ("float32", ("grid_width",)),
  "grid_bits": ("uint8", ("grid_width",)),
}
_CELL_BYTES = 4


@dataclasses.dataclass(frozen=True)
class Quantizer:
  """The coarse quantiser, and the packing of what it leaves of descriptors.

  Attributes:
    coarse: the cells.
    packing: of the codes in them.
    grid: of the descriptors for exact similarities; None = they are kept as codes of 8 bits.
  """

  coarse: CoarseQuantizer
  packing: Packing
  grid: Grid | None = None


def train(
  num_images: int, read: Callable[[int], Codes], config: CannConfig, *, dimension: int
) -> Quantizer:
  """Learns a quantiser from images that are drawn by the settings' seed.

  Args:
    num_images: N.
    read: returns the codes of an image by its number below N.
    config: settings.
    dimension: d.
  """
  rng = np.random.default_rng(config.seed)
  order = rng.permutation(num_images)
  counted, others = order[:_COUNTED_IMAGES], order[_COUNTED_IMAGES:]
  sample = [read(int(image)) for image in np.sort(counted)]
  mean = max(1.0, sum(map(len, sample)) / len(counted))
  num_cells = config.num_lists or max(1, round(mean * num_images / _DESCRIPTORS_PER_CELL))
  wanted = max(coarse.sample_size(num_cells), _RESIDUALS)
  missing = max(0, math.ceil(wanted / mean) - len(counted))
  sample += [read(int(image)) for image in np.sort(others[:missing])]
  codes = concatenate(sample, dimension=dimension)
  codes = codes[rng.permutation(len(codes))[:wanted]]
  cells = coarse.train(codes[: coarse.sample_size(num_cells)], num_cells, seed=config.seed)
  codes = codes[:_RESIDUALS]
  nearest = find_cells(cells, codes)
  centers = coarse.centers(cells.cells, dimension)
  residuals = decode(codes) - centers[nearest]
  fitted = packing.fit_packing(residuals, config.code_bytes // _WORD_BYTES)
  if config.descriptor_bytes is None:
    return Quantizer(cells, fitted)
  num_bytes = config.descriptor_bytes - _CELL_BYTES
  return Quantizer(cells, fitted, stored.fit_grid(residuals, decode(codes), centers, num_bytes))


def find_cells(cells: CoarseQuantizer, codes: Codes) -> np.ndarray:
  """Returns the cell of every code, `[n]` int32."""
  return CellFinder(cells).find(codes, 1)[0][:, 0]


def encode(quantizer: Quantizer, codes: Codes, cells: np.ndarray) -> np.ndarray:
  """Returns packed residuals `[n, words, 4]` uint8 of n codes in cells `[n]`."""
  centers = coarse.centers(quantizer.coarse.cells, codes.values.shape[1])
  packed = np.empty((len(codes), quantizer.packing.num_words, 4), np.uint8)

  def pack_block(start: int) -> None:
    rows = slice(start, start + _BLOCK)
    residuals = decode(codes[rows]) - centers[cells[rows]]
    packed[rows] = packing.pack(quantizer.packing, residuals)

  in_threads(pack_block, range(0, len(codes), _BLOCK))
  return packed


def save_quantizer(directory: os.PathLike | str, quantizer: Quantizer) -> None:
  """Writes a quantiser as a bundle."""
  regions, cells, grid = quantizer.coarse.regions, quantizer.coarse.cells, quantizer.grid
  grid_arrays = {} if grid is None else {name: getattr(grid, name[5:]) for name in _GRID}
  files.save_bundle(
    directory,
    kind=_KIND,
    version=_VERSION,
    arrays={
      "regions": regions.values,
      "regions_used": regions.used,
      "cells": cells.values,
      "cells_used": cells.used,
      "firsts": quantizer.coarse.firsts,
      "rotation": quantizer.packing.rotation,
      "spacing": quantizer.packing.spacing,
      **grid_arrays,
    },
    metadata={
      "regions_step": regions.step,
      "cells_step": cells.step,
      "num_4": quantizer.packing.num_4,
      "num_2": quantizer.packing.num_2,
      **({} if grid is None else {"grid_unit": grid.unit}),
    },
  )


def load_quantizer(directory: os.PathLike | str, *, verify: bool = False) -> Quantizer:
  """Reads a quantiser; InputError names a file that is missing, truncated or altered."""
  bundle = files.load_bundle(directory, kind=_KIND, version=_VERSION, verify=verify)
  layout: dict[str, Any] = {
    "regions": ("int8", ("regions", "width")),
    "regions_used": ("bool", ("regions",)),
    "cells": ("int8", ("cells", "width")),
    "cells_used": ("bool", ("cells",)),
    "firsts": ("int64", ("firsts",)),
    "rotation": ("float32", ("dimension", "packed")),
    "spacing": ("float32", ("packed",)),
  }
  has_grid = "grid_unit" in bundle.metadata
  check_arrays(directory, bundle.arrays, layout | (_GRID if has_grid else {}))
  arrays = {name: np.array(array) for name, array in bundle.arrays.items()}
  learned = Quantizer(
    CoarseQuantizer(
      Centroids(arrays["regions"], arrays["regions_used"], bundle.metadata["regions_step"]),
      Centroids(arrays["cells"], arrays["cells_used"], bundle.metadata["cells_step"]),
      arrays["firsts"],
    ),
    Packing(
      arrays["rotation"],
      arrays["spacing"],
      bundle.metadata["num_4"],
      bundle.metadata["num_2"],
    ),
    Grid(**{name[5:]: arrays[name] for name in _GRID}, unit=bundle.metadata["grid_unit"])
    if has_grid
    else None,
  )
  _check(learned, directory)
  return learned


def _check(learned: Quantizer, directory: os.PathLike | str) -> None:
  """Refuses numbers that do not fit together, which compiled code would not notice."""
  cells, packed = learned.coarse, learned.packing
  dimension, width = len(packed.rotation), cells.cells.values.shape[1]
  if (
    not 0 < dimension <= width < dimension + _WORD_BYTES
    or width % _WORD_BYTES
    or len(cells.regions.used) % products.LANES
    or len(cells.cells.used) % products.LANES
    or not cells.cells.used.any()
    or len(cells.firsts) != len(cells.regions.used) + 1
    or (cells.firsts[0], cells.firsts[-1]) != (0, len(cells.cells.used) // products.LANES)
    or np.any(np.diff(cells.firsts) < 0)
    or not (math.isfinite(cells.regions.step) and math.isfinite(cells.cells.step))
    or min(packed.num_4, packed.num_2) < 0
    or len(packed.spacing) != 8 * packed.num_4 + 16 * packed.num_2
  ):
    raise InputError(f"{directory} has numbers that do not fit together; build the index again.")
  grid = learned.grid
  if grid is not None and (
    len(grid.rotation) != dimension
    or len(grid.centers) != len(cells.cells.used)
    or grid.centers.shape[1] % products.LANES
    or not stored.fits_bytes(grid.bits)
    or not np.all(np.isfinite(grid.spacing))
    or not math.isfinite(grid.unit)
  ):
    raise InputError(f"{directory} has numbers that do not fit together; build the index again.")

"""The descriptors of some images as `stored` packs them, in files like those of a segment."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from l2g_jax.cann import stored
from l2g_jax.cann.stored import Grid
from l2g_jax.errors import InputError
from l2g_jax.runtime import files
from l2g_jax.runtime.arrays import check_arrays
from l2g_jax.similarity.codec import Codes

_KIND = "l2g_jax.cann.packed_descriptors"
_VERSION = 1


@dataclasses.dataclass(frozen=True)
class PackedDescriptors:
  """The descriptors of n images, t in all.

  Attributes:
    dimension: d.
    packed: `[t, bytes]` uint8, image after image.
    cells: `[t]` int32, the cell of each.
    offsets: `[n + 1]` int64, where each image's descriptors start.
    names: the images' names, as UTF-8 that ends with a zero byte each, `[bytes]` uint8.
    grid: how they are rounded.
  """

  dimension: int
  packed: np.ndarray
  cells: np.ndarray
  offsets: np.ndarray
  names: np.ndarray
  grid: Grid

  def __len__(self) -> int:
    return len(self.offsets) - 1

  def __getitem__(self, image: int) -> Codes:
    """Returns the decoded descriptors of one image, in the order they were given."""
    return self.decode(slice(*self.offsets[image : image + 2]))

  def decode(self, rows: slice) -> Codes:
    """Returns some of the t descriptors as codes."""
    rotated = stored.unpack(self.grid, self.packed[rows], self.cells[rows])
    return stored.rotate_back(self.grid, rotated)

  def image_names(self) -> list[str]:
    """Returns the names of the images."""
    return split_names(self.names)


def save_packed(directory: os.PathLike | str, descriptors: PackedDescriptors) -> None:
  """Writes the descriptors of images."""
  arrays = {name: getattr(descriptors, name) for name in ("packed", "cells", "offsets", "names")}
  write_packed(directory, dimension=descriptors.dimension, **arrays)


def write_packed(
  directory: os.PathLike | str, *, dimension: int, **arrays: np.ndarray | files.Stream
) -> None:
  """Writes the arrays of `PackedDescriptors`, which may come in blocks."""
  files.save_bundle(
    directory, kind=_KIND, version=_VERSION, arrays=arrays, metadata={"dimension": dimension}
  )


def open_packed(
  directory: os.PathLike | str, grid: Grid, *, verify: bool = False
) -> PackedDescriptors:
  """Opens descriptors by memory map; InputError names a file that is truncated or altered."""
  bundle = files.load_bundle(directory, kind=_KIND, version=_VERSION, verify=verify)
  layout: dict[str, Any] = {
    "packed": ("uint8", ("codes", "bytes")),
    "cells": ("int32", ("codes",)),
    "offsets": ("int64", ("offsets",)),
    "names": ("uint8", ("letters",)),
  }
  check_arrays(directory, bundle.arrays, layout)
  opened = PackedDescriptors(dimension=bundle.metadata["dimension"], grid=grid, **bundle.arrays)
  offsets, cells = opened.offsets, opened.cells
  if (
    opened.dimension != len(grid.rotation)
    or opened.packed.shape[1] != grid.num_bytes
    or not len(offsets)
    or (offsets[0], offsets[-1]) != (0, len(cells))
    or np.any(np.diff(offsets) < 0)
    or np.count_nonzero(opened.names == 0) != len(opened)
    or (verify and np.any((cells < 0) | (cells >= len(grid.centers))))
  ):
    raise InputError(f"{directory} has numbers that do not fit together; have it made again.")
  return opened


def join_names(names: Sequence[str]) -> np.ndarray:
  """Returns names as UTF-8 that ends with a zero byte each, `[bytes]` uint8."""
  # Names of files may hold bytes that are no UTF-8, which Python reads as lone surrogates.
  return np.frombuffer(
    "".join(f"{name}\0" for name in names).encode("utf-8", "surrogatepass"), np.uint8
  )


def split_names(names: np.ndarray) -> list[str]:
  """Returns the names that were joined."""
  return names.tobytes().decode("utf-8", "surrogatepass").split("\0")[:-1]

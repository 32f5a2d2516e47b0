"""A segment: the descriptors of some images in two bundles, immutable once written.

`descriptors` holds the codes image after image, for exact similarities; `lists` holds them packed,
cell after cell, for the scan. Segments of consecutive images merge into what one segment of them
all would be, byte by byte.
"""

import dataclasses
import functools
import itertools
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numba
import numpy as np

from l2g_jax.cann import packed, products, quantizer
from l2g_jax.cann.coarse import padded_values
from l2g_jax.cann.packed import PackedDescriptors
from l2g_jax.cann.quantizer import Quantizer
from l2g_jax.cann.stored import Grid
from l2g_jax.errors import InputError
from l2g_jax.runtime import files
from l2g_jax.runtime.arrays import check_arrays
from l2g_jax.similarity.codec import Codes, concatenate

_DESCRIPTORS_KIND = "l2g_jax.cann.descriptors"
_LISTS_KIND = "l2g_jax.cann.lists"
_VERSION = 1
# Of packed codes that are in memory at a time while segments merge.
MERGED_BYTES = 1 << 28
# Values are compared four at a time.
_WORD = 4


@dataclasses.dataclass(frozen=True)
class Descriptors:
  """The codes of n images, t in all.

  Attributes:
    dimension: d.
    values: `[t, d']` int8, image after image; d' is d up to a multiple of four, with zeros.
    scales: `[t]` float32.
    offsets: `[n + 1]` int64, where each image's codes start.
    names: the images' names, as UTF-8 that ends with a zero byte each, `[bytes]` uint8.
  """

  dimension: int
  values: np.ndarray
  scales: np.ndarray
  offsets: np.ndarray
  names: np.ndarray

  def __len__(self) -> int:
    return len(self.offsets) - 1

  def __getitem__(self, image: int) -> Codes:
    """Returns the codes of one image, in the order they were given."""
    rows = slice(*self.offsets[image : image + 2])
    return Codes(self.values[rows, : self.dimension], self.scales[rows])

  def codes(self) -> Codes:
    """Returns all t codes."""
    return Codes(self.values[:, : self.dimension], self.scales)

  def image_names(self) -> list[str]:
    """Returns the names of the images."""
    return packed.split_names(self.names)


@dataclasses.dataclass(frozen=True)
class Lists:
  """The packed codes of n images by cell.

  Attributes:
    blocks: `[b, words, 64]` uint8, see `products`; a cell has whole blocks.
    images: `[16 b]` int32, the image of every code, in each cell ascending; n in empty places.
    counts: `[cells]` int64, the codes of each cell.
  """

  blocks: np.ndarray
  images: np.ndarray
  counts: np.ndarray

  @functools.cached_property
  def offsets(self) -> np.ndarray:
    """Returns the first block of each cell, and the end, `[cells + 1]` int64."""
    return np.cumsum([0, *-(-self.counts // products.LANES)], dtype=np.int64)


def save_descriptors(
  directory: os.PathLike | str, names: Sequence[str], images: Sequence[Codes], *, dimension: int
) -> None:
  """Writes the descriptors of images."""
  codes = concatenate(images, dimension=dimension)
  _write_descriptors(
    directory,
    dimension=dimension,
    values=padded_values(codes.values),
    scales=codes.scales,
    offsets=np.cumsum([0, *map(len, images)], dtype=np.int64),
    names=packed.join_names(names),
  )


def open_descriptors(directory: os.PathLike | str, *, verify: bool = False) -> Descriptors:
  """Opens descriptors by memory map; InputError names a file that is truncated or altered."""
  bundle = files.load_bundle(directory, kind=_DESCRIPTORS_KIND, version=_VERSION, verify=verify)
  layout: dict[str, Any] = {
    "values": ("int8", ("codes", "width")),
    "scales": ("float32", ("codes",)),
    "offsets": ("int64", ("offsets",)),
    "names": ("uint8", ("bytes",)),
  }
  check_arrays(directory, bundle.arrays, layout)
  opened = Descriptors(dimension=bundle.metadata["dimension"], **bundle.arrays)
  offsets, width = opened.offsets, opened.values.shape[1]
  if (
    not 0 < opened.dimension <= width < opened.dimension + _WORD
    or width % _WORD
    or not len(offsets)
    or (offsets[0], offsets[-1]) != (0, len(opened.values))
    or np.any(np.diff(offsets) < 0)
    or np.count_nonzero(opened.names == 0) != len(opened)
  ):
    raise InputError(f"{directory} has numbers that do not fit together; have it made again.")
  return opened


def open_either(
  directory: os.PathLike | str, grid: Grid | None, *, verify: bool = False
) -> Descriptors | PackedDescriptors:
  """Opens the descriptors of an index, which are packed where it has a grid."""
  if grid is None:
    return open_descriptors(directory, verify=verify)
  return packed.open_packed(directory, grid, verify=verify)


def save_lists(
  directory: os.PathLike | str,
  codes: Codes,
  cells: np.ndarray,
  offsets: np.ndarray,
  learned: Quantizer,
) -> None:
  """Packs descriptors and writes them by cell.

  Args:
    directory: of the lists.
    codes: of n images, t in all.
    cells: `[t]`, where each code belongs.
    offsets: `[n + 1]`, where each image's codes start.
    learned: the quantiser.
  """
  words = quantizer.encode(learned, codes, cells)
  owners = np.repeat(np.arange(len(offsets) - 1, dtype=np.int32), np.diff(offsets))
  order = np.argsort(cells, kind="stable")
  counts = np.bincount(cells, minlength=len(learned.coarse.cells.used))
  # A code is so many places further than its rank, for the empty places of the cells before.
  empty = np.cumsum(-counts % products.LANES) - -counts % products.LANES
  places = np.arange(len(order)) + np.repeat(empty, counts)
  blocks, images = _empty_blocks(counts, words.shape[1], len(offsets) - 1)
  blocks[places // products.LANES, :, places % products.LANES] = words[order]
  images[places] = owners[order]
  _write_lists(directory, blocks=_as_words(blocks), images=images, counts=counts)


def open_lists(directory: os.PathLike | str, *, verify: bool = False) -> Lists:
  """Opens lists by memory map; InputError names a file that is truncated or altered."""
  bundle = files.load_bundle(directory, kind=_LISTS_KIND, version=_VERSION, verify=verify)
  layout: dict[str, Any] = {
    "blocks": ("uint8", ("blocks", "words", products.WORD_BYTES)),
    "images": ("int32", ("places",)),
    "counts": ("int64", ("cells",)),
  }
  check_arrays(directory, bundle.arrays, layout)
  lists = Lists(**bundle.arrays)
  if (
    len(lists.images) != products.LANES * len(lists.blocks)
    or np.any(lists.counts < 0)
    or np.any(lists.counts > len(lists.images))
    or lists.offsets[-1] != len(lists.blocks)
  ):
    raise InputError(f"{directory} has numbers that do not fit together; have it made again.")
  return lists


def check_fit(
  directory: os.PathLike | str,
  descriptors: Descriptors | PackedDescriptors,
  lists: Lists,
  learned: Quantizer,
  *,
  dimension: int,
  verify: bool,
) -> None:
  """Refuses a segment that was not made by a quantiser, which compiled code would not notice.

  Args:
    directory: of the index.
    descriptors: of the segment.
    lists: of the segment.
    learned: the quantiser of the index.
    dimension: of the index.
    verify: whether to look at the image of every code too.
  """
  images = lists.images if verify else lists.images[:0]
  if (
    {descriptors.dimension, len(learned.packing.rotation)} != {dimension}
    or len(lists.counts) != len(learned.coarse.cells.used)
    or lists.blocks.shape[1] != learned.packing.num_words
    or lists.counts.sum() != descriptors.offsets[-1]
    or np.any((images < 0) | (images > len(descriptors)))
  ):
    raise InputError(f"A segment of the index in {directory} does not fit it; build it again.")


def merge_descriptors(
  directory: os.PathLike | str, parts: Sequence[os.PathLike | str], grid: Grid | None
) -> None:
  """Writes the descriptors of the images of several parts, one after another."""
  opened = functools.partial(open_either, grid=grid)
  # A file at a time is open: there may be more parts than a process may open files.
  first = opened(parts[0])
  sizes = np.array([(len(part), part.offsets[-1]) for part in map(opened, parts)])
  starts = np.cumsum([0, *sizes[:, 1]])

  def blocks(field: str) -> Iterator[np.ndarray]:
    return (getattr(opened(part), field) for part in parts)

  def offsets() -> Iterator[np.ndarray]:
    yield np.zeros(1, np.int64)
    for start, part in zip(starts, parts, strict=False):
      yield start + opened(part).offsets[1:]

  names = np.concatenate(list(blocks("names")))

  def stream(field: str) -> files.Stream:
    array = getattr(first, field)
    return files.Stream((int(starts[-1]), *array.shape[1:]), array.dtype, blocks(field))

  write, fields = _write_descriptors, ("values", "scales")
  if grid is not None:
    write, fields = packed.write_packed, ("packed", "cells")
  write(
    directory,
    dimension=first.dimension,
    **{field: stream(field) for field in fields},
    offsets=files.Stream((int(sizes[:, 0].sum()) + 1,), np.int64, offsets()),
    names=names,
  )


def merge_lists(
  directory: os.PathLike | str, parts: Sequence[os.PathLike | str], num_images: Sequence[int]
) -> None:
  """Writes the lists of the images of several parts, of which each has so many."""
  first = open_lists(parts[0])
  counts = sum((open_lists(part).counts for part in parts), np.zeros_like(first.counts))
  merged = Lists(first.blocks, first.images, counts)
  firsts = np.cumsum([0, *num_images])
  block_bytes = products.WORD_BYTES * first.blocks.shape[1]
  bounds = _cell_bounds(merged.offsets, max(1, MERGED_BYTES // block_bytes))

  def ranges() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for start, stop in itertools.pairwise(bounds):
      blocks, images = _empty_blocks(counts[start:stop], first.blocks.shape[1], int(firsts[-1]))
      filled = products.LANES * (merged.offsets[start:stop] - merged.offsets[start])
      for part, image in zip(parts, firsts, strict=False):
        lists = open_lists(part)
        rows = slice(lists.offsets[start], lists.offsets[stop])
        lanes = slice(products.LANES * rows.start, products.LANES * rows.stop)
        _append_codes(
          np.asarray(lists.blocks[rows]).reshape(-1, *blocks.shape[1:]),
          np.asarray(lists.images[lanes]),
          np.asarray(lists.counts[start:stop]),
          image,
          blocks,
          images,
          filled,
        )
      yield _as_words(blocks), images

  num_blocks = int(merged.offsets[-1])
  _write_lists(
    directory,
    blocks=files.Stream(
      (num_blocks, *first.blocks.shape[1:]), np.uint8, (blocks for blocks, _ in ranges())
    ),
    images=files.Stream(
      (products.LANES * num_blocks,), np.int32, (images for _, images in ranges())
    ),
    counts=counts,
  )


def _write_descriptors(
  directory: os.PathLike | str, *, dimension: int, **arrays: np.ndarray | files.Stream
) -> None:
  files.save_bundle(
    directory,
    kind=_DESCRIPTORS_KIND,
    version=_VERSION,
    arrays=arrays,
    metadata={"dimension": dimension},
  )


def _write_lists(directory: os.PathLike | str, **arrays: np.ndarray | files.Stream) -> None:
  files.save_bundle(directory, kind=_LISTS_KIND, version=_VERSION, arrays=arrays, metadata={})


def _empty_blocks(
  counts: np.ndarray, num_words: int, num_images: int
) -> tuple[np.ndarray, np.ndarray]:
  """Returns blocks `[b, words, 16, 4]` for cells with so many codes, and their empty images."""
  num_blocks = int(np.sum(-(-counts // products.LANES)))
  blocks = np.zeros((num_blocks, num_words, products.LANES, 4), np.uint8)
  return blocks, np.full(products.LANES * num_blocks, num_images, np.int32)


def _as_words(blocks: np.ndarray) -> np.ndarray:
  return blocks.reshape(*blocks.shape[:2], products.WORD_BYTES)


def _cell_bounds(offsets: np.ndarray, most: int) -> list[int]:
  """Cuts cells into ranges of so many blocks at most, where no single cell has more."""
  bounds = [0]
  while bounds[-1] < len(offsets) - 1:
    fitting = int(np.searchsorted(offsets, offsets[bounds[-1]] + most, side="right")) - 1
    bounds.append(max(fitting, bounds[-1] + 1))
  return bounds


@numba.njit(cache=True, nogil=True)
def _append_codes(blocks, images, counts, first_image, out_blocks, out_images, filled):
  """Copies the codes of some cells behind what is `filled`, `[cells]` places, already."""
  block = 0
  for cell in range(len(counts)):
    for place in range(counts[cell]):
      source, lane = block + place // products.LANES, place % products.LANES
      target = filled[cell]
      out_images[target] = images[products.LANES * source + lane] + first_image
      for word in range(blocks.shape[1]):
        out_blocks[target // products.LANES, word, target % products.LANES] = blocks[
          source, word, lane
        ]
      filled[cell] += 1
    block += -(-counts[cell] // products.LANES)

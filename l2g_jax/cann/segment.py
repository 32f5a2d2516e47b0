"""A segment: the codes of some images, immutable once written."""

import dataclasses
import os
from collections.abc import Sequence

import numpy as np

from l2g_jax import files
from l2g_jax.cann.codec import Codes, decode
from l2g_jax.kmeans import assign

_KIND = "l2g_jax.cann.segment"
_VERSION = 1
_BLOCK = 1 << 16


@dataclasses.dataclass(frozen=True)
class Segment:
  """The codes of n images with t descriptors, by cell of the coarse quantiser and by image.

  Attributes:
    names: n image names.
    codes: t codes, cell after cell, and within a cell image after image.
    cell_offsets: `[cells + 1]` int64, where each cell's codes start.
    images: `[t]` int32, the image of every code.
    rows: `[t]` int32, the places of the codes, image after image.
    image_offsets: `[n + 1]` int64, where each image's rows start.
  """

  names: tuple[str, ...]
  codes: Codes
  cell_offsets: np.ndarray
  images: np.ndarray
  rows: np.ndarray
  image_offsets: np.ndarray


def save_segment(
  directory: os.PathLike | str,
  *,
  names: Sequence[str],
  images: Sequence[Codes],
  dimension: int,
  centroids: np.ndarray,
) -> None:
  """Assigns descriptors to cells and writes a segment, which appears whole or not at all."""
  values = np.concatenate([np.zeros((0, dimension), np.int8), *(codes.values for codes in images)])
  scales = np.concatenate([np.zeros(0, np.float32), *(codes.scales for codes in images)])
  blocks = range(0, len(values), _BLOCK)
  parts = [Codes(values[i : i + _BLOCK], scales[i : i + _BLOCK]) for i in blocks]
  labels = np.concatenate(
    [np.zeros(0, np.int32), *(assign(decode(part), centroids)[0] for part in parts)]
  )
  order = np.argsort(labels, kind="stable")
  owners = np.repeat(np.arange(len(images), dtype=np.int32), [len(codes) for codes in images])
  files.save_bundle(
    directory,
    kind=_KIND,
    version=_VERSION,
    arrays={
      "values": values[order],
      "scales": scales[order],
      "cell_offsets": np.searchsorted(labels[order], np.arange(len(centroids) + 1)),
      "images": owners[order],
      "rows": np.argsort(order).astype(np.int32),
      "image_offsets": np.cumsum([0, *map(len, images)]),
    },
    metadata={"names": list(names)},
  )


def open_segment(directory: os.PathLike | str, *, verify: bool) -> Segment:
  """Opens a segment by memory map; InputError names a file that is truncated or altered."""
  bundle = files.load_bundle(directory, kind=_KIND, version=_VERSION, verify=verify)
  arrays = bundle.arrays
  return Segment(
    names=tuple(bundle.metadata["names"]),
    codes=Codes(arrays["values"], np.asarray(arrays["scales"])),
    cell_offsets=np.asarray(arrays["cell_offsets"]),
    images=np.asarray(arrays["images"]),
    rows=np.asarray(arrays["rows"]),
    image_offsets=np.asarray(arrays["image_offsets"]),
  )


def image_codes(segment: Segment, image: int) -> Codes:
  """Returns the codes of one image of a segment, in the order they were given."""
  rows = segment.rows[slice(*segment.image_offsets[image : image + 2])]
  return Codes(segment.codes.values[rows], segment.codes.scales[rows])

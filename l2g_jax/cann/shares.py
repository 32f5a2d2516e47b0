"""Shares of an index: ranges of its images, each searched by itself, and their answers joined.

A scan's sum of an image does not depend on other images, nor does its exact similarity. So the
joined answers of all shares are those of the whole index, to the last bit.
"""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from l2g_jax.cann import products
from l2g_jax.cann.scoring import Scanned, Segment
from l2g_jax.cann.segment import Lists

# Cells whose packed codes are looked at together, some dozen megabytes.
_CELLS = 1024


def bounds(num_images: int, num_shares: int) -> list[tuple[int, int]]:
  """Cuts images into ranges (start, stop) of even length, none of which is empty."""
  edges = np.linspace(0, num_images, min(num_images, num_shares) + 1).astype(int).tolist()
  return list(itertools.pairwise(edges))


def join(parts: Sequence[Scanned], count: int) -> Scanned:
  """Returns the `count` best of what was found in shares, which are given in order of ids."""
  ids = np.concatenate([part.ids for part in parts])
  values = np.concatenate([part.values for part in parts])
  # Equal values stand in the order of their ids in each share, and the shares in that of theirs.
  order = np.argsort(-values, kind="stable")[:count]
  return Scanned(ids[order], values[order])


def cut_segments(segments: Sequence[Segment], start: int, stop: int) -> list[Segment]:
  """Returns the segments of the images from `start` to before `stop`, with lists of those alone."""
  cut = []
  for segment in segments:
    rows = segment.present[max(start, 0) : max(stop, 0)]
    start, stop = start - len(segment.present), stop - len(segment.present)
    if len(rows):
      lists = _cut_lists(segment.lists, int(rows[0]), int(rows[-1]) + 1, len(segment.descriptors))
      cut.append(dataclasses.replace(segment, lists=lists, present=rows))
  return cut


def _cut_lists(lists: Lists, start: int, stop: int, num_images: int) -> Lists:
  """Copies the packed codes of the images from `start` to before `stop`, which keep their numbers.

  Args:
    lists: of n images.
    start: the first image.
    stop: the image after the last.
    num_images: n.
  """
  kept_blocks, kept_images, kept_counts = [], [], []
  for first in range(0, len(lists.counts), _CELLS):
    offsets = lists.offsets[first : first + _CELLS + 1]
    images = np.asarray(lists.images[products.LANES * offsets[0] : products.LANES * offsets[-1]])
    blocks = np.asarray(lists.blocks[offsets[0] : offsets[-1]])
    lanes = blocks.reshape(*blocks.shape[:2], products.LANES, -1)
    kept = np.flatnonzero((images >= start) & (images < stop))
    cells = np.repeat(np.arange(len(offsets) - 1), products.LANES * np.diff(offsets))[kept]
    counts = np.bincount(cells, minlength=len(offsets) - 1)
    # A code is so many places further than its rank, for the empty places of the cells before.
    empty = np.cumsum(-counts % products.LANES) - -counts % products.LANES
    places = np.arange(len(kept)) + empty[cells]
    num_blocks = int(np.sum(-(-counts // products.LANES)))
    own_images = np.full(products.LANES * num_blocks, num_images, np.int32)
    own_images[places] = images[kept]
    own = np.zeros((num_blocks, *lanes.shape[1:]), np.uint8)
    own[places // products.LANES, :, places % products.LANES] = lanes[
      kept // products.LANES, :, kept % products.LANES
    ]
    kept_blocks.append(own.reshape(num_blocks, *blocks.shape[1:]))
    kept_images.append(own_images)
    kept_counts.append(counts)
  return Lists(
    np.concatenate(kept_blocks), np.concatenate(kept_images), np.concatenate(kept_counts)
  )

"""Exact Chamfer search of a whole collection on the devices: no index, every pair is compared.

Images lie on the devices as a rectangle of descriptors, each device with its share of them. The
cosines of a few images are in memory at a time, and only their maxima are kept. On a GPU, a kernel
of our own keeps cosines out of memory, so that many images are scored at a time.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from l2g_jax.errors import InputError
from l2g_jax.ranked import Ranked
from l2g_jax.runtime import sharding
from l2g_jax.similarity import fused_maximum, kernels
from l2g_jax.similarity.codec import encode

Precision = Literal["float32", "bfloat16", "int8"]

# Cosines that are in memory at a time: a cache holds them, or an accelerator is kept busy by them.
BLOCK_COSINES = {"cpu": 1 << 19}
_MOST_BLOCK_COSINES = 1 << 28
# Maxima that are in memory at a time: so many that the uneven end of a launch takes little of it.
BLOCK_MAXIMA = 1 << 26
# Queries are padded to a multiple of this, so that few lengths are compiled.
_QUERY_STEP = 64
_DTYPES = {
  "float32": np.dtype(np.float32),
  "bfloat16": np.dtype(jnp.bfloat16),
  "int8": np.dtype(np.int8),
}


@dataclasses.dataclass(frozen=True)
class PackedImages:
  """The descriptors of N images as a rectangle, on the host.

  Attributes:
    values: `[N, c, d]` float32, bfloat16 or int8. Places that an image does not fill repeat its
      first descriptor, which changes no maximum.
    scales: `[N, c]` float32, inverse norms of the values.
    counts: `[N]` int32, descriptors of every image.
    first_id: of the first image; the others follow.
  """

  values: np.ndarray
  scales: np.ndarray
  counts: np.ndarray
  first_id: int = 0


@dataclasses.dataclass(frozen=True)
class DeviceImages:
  """`PackedImages` on the devices of a mesh, padded by empty images to as many on each.

  Attributes:
    values: `[rows, c, d]`.
    scales: `[rows, c]`.
    counts: `[rows]`.
    first_id: of the first image.
    mesh: the devices.
  """

  values: jax.Array
  scales: jax.Array
  counts: jax.Array
  first_id: int
  mesh: Mesh


class _Set(NamedTuple):
  """The descriptors of one image or query, or of several with a leading axis."""

  values: jax.Array  # [c, d]
  scales: jax.Array  # [c]
  counts: jax.Array  # []


def pack_images(
  images: Sequence[np.ndarray],
  *,
  precision: Precision = "int8",
  num_places: int | None = None,
  first_id: int = 0,
) -> PackedImages:
  """Quantises descriptors and packs them.

  Args:
    images: the descriptors `[count, d]` of at least one image, any norm; those of norm zero are
      left out.
    precision: `int8` as the index keeps them, a quarter of float32; `bfloat16`; `float32`.
    num_places: c, at least the largest count; None = the largest count. Blocks of a stream that
      have it in common share a program.
    first_id: of the first image.

  Returns:
    The `PackedImages`.

  Raises:
    InputError: no image, a shape that does not fit, a value that is not finite, more descriptors
      than places, or an unknown precision.
  """
  if precision not in get_args(Precision):
    raise InputError(f"Precisions are {', '.join(get_args(Precision))}, not {precision!r}.")
  if not len(images):
    raise InputError("Packing needs an image at least.")
  dimension = np.shape(images[0])[-1]
  sets = [
    _quantise(image, _DTYPES[precision], dimension, f"image {first_id + row}")
    for row, image in enumerate(images)
  ]
  return _pack(sets, dimension, num_places, first_id)


def place_images(packed: PackedImages, mesh: Mesh | None = None) -> DeviceImages:
  """Puts images on the devices, where they stay.

  Args:
    packed: the images.
    mesh: of `sharding.make_mesh`; None = all devices.

  Returns:
    The `DeviceImages`; the copy may still be under way.
  """
  mesh = sharding.make_mesh() if mesh is None else mesh
  missing = -len(packed.counts) % mesh.size

  def put(array: np.ndarray) -> jax.Array:
    padding = [(0, missing)] + [(0, 0)] * (array.ndim - 1)
    return sharding.split(np.pad(array, padding) if missing else array, mesh)

  return DeviceImages(
    values=put(packed.values),
    scales=put(packed.scales),
    counts=put(packed.counts),
    first_id=packed.first_id,
    mesh=mesh,
  )


def search_images(
  images: DeviceImages | Iterable[PackedImages],
  queries: Sequence[np.ndarray],
  k: int,
  *,
  kernel: kernels.Kernel = kernels.DEFAULT,
  mesh: Mesh | None = None,
) -> Ranked:
  """Finds the images most similar to each of several queries, by comparing with all of them.

  s(Q -> X) = mean over q in Q of f(max over x in X of <q, x>). Queries are quantised as the images
  are. With int8 all products are exact, so that the result is that of the index's codes compared
  one by one, on any device.

  Args:
    images: on the devices; or a stream of blocks that follow each other, of which two are on the
      devices at a time.
    queries: the descriptors `[q, d]` of Q queries, any norm.
    k: images wanted; if there are fewer, the result is padded.
    kernel: f, monotone, with values in [0, 1]; the default is the index's.
    mesh: for a stream: the devices; None = all.

  Returns:
    The best images `[Q, k]`, ids int32 and similarities float32 in [0, 1], descending, ties by the
    smaller id; images of similarity 0 are left out.

  Raises:
    InputError: k is below 1, there is no query or image, or a query's shape or values do not fit.
  """
  if k < 1:
    raise InputError(f"A search needs k of at least 1, not {k}.")
  if isinstance(images, DeviceImages):
    blocks = iter([images])
  else:
    mesh = sharding.make_mesh() if mesh is None else mesh
    blocks = (place_images(packed, mesh) for packed in images)
  block = next(blocks, None)
  if block is None:
    raise InputError("A search needs an image at least.")
  if not len(queries):
    raise InputError("A search needs a query at least.")
  packed = _pack_queries(queries, block)
  found = Ranked(np.full((len(queries), k), -1, np.int32), np.zeros((len(queries), k), np.float32))
  while block is not None:
    best = _search_block(block, packed, min(k, len(block.counts)), kernel)
    # The next block is read and copied while this one is compared.
    following = next(blocks, None)
    found = _merge(found, block.first_id, *(sharding.fetch(array) for array in best))
    block = following
  return found


def _quantise(descriptors: np.ndarray, dtype: np.dtype, dimension: int, where: str):
  """Returns values `[n, d]` and scales `[n]`, without rows of norm zero."""
  codes = encode(descriptors, dimension=dimension, where=where)
  if dtype == np.int8:
    return codes.values, codes.scales
  values = np.asarray(descriptors, np.float32)
  values = values[np.any(values != 0.0, axis=1)]
  values = values / np.max(np.abs(values), axis=1, keepdims=True, initial=0.0)
  values = values / np.linalg.norm(values, axis=1, keepdims=True)
  values = values.astype(dtype)
  norms = np.linalg.norm(values.astype(np.float32), axis=1)
  return values, (1.0 / norms).astype(np.float32)


def _pack(sets, dimension: int, num_places: int | None, first_id: int) -> PackedImages:
  counts = np.array([len(values) for values, _ in sets], np.int32)
  places = max(1, counts.max(initial=0)) if num_places is None else num_places
  if counts.max(initial=0) > places:
    raise InputError(f"An image has {counts.max()} descriptors, more than {places} places.")
  packed = PackedImages(
    values=np.zeros((len(sets), places, dimension), sets[0][0].dtype),
    scales=np.zeros((len(sets), places), np.float32),
    counts=counts,
    first_id=first_id,
  )
  for row, (values, scales) in enumerate(sets):
    if len(values):
      packed.values[row], packed.scales[row] = values[0], scales[0]
      packed.values[row, : len(values)], packed.scales[row, : len(values)] = values, scales
  return packed


def _pack_queries(queries: Sequence[np.ndarray], images: DeviceImages) -> PackedImages:
  """Packs queries as the images are, in places whose number takes few values."""
  dimension, dtype = images.values.shape[-1], images.values.dtype
  sets = [_quantise(query, dtype, dimension, f"query {row}") for row, query in enumerate(queries)]
  longest = max((len(values) for values, _ in sets), default=0)
  return _pack(sets, dimension, max(1, math.ceil(longest / _QUERY_STEP)) * _QUERY_STEP, 0)


def _search_block(images: DeviceImages, queries: PackedImages, k: int, kernel: kernels.Kernel):
  """Returns the best similarities `[Q, k]` and their rows in the block."""
  mesh = images.mesh
  arrays = [queries.values, queries.scales, queries.counts]
  num_cosines = queries.values.shape[1] * images.values.shape[1]
  most = BLOCK_COSINES.get(mesh.devices.flat[0].platform, _MOST_BLOCK_COSINES)
  return _best_images(
    _Set(*(sharding.replicate(array, mesh) for array in arrays)),
    _Set(images.values, images.scales, images.counts),
    mesh=mesh,
    k=k,
    kernel=kernel,
    batch_size=max(1, most // num_cosines),
    fused=fused_maximum.fits(images.values, mesh.devices.flat[0]),
  )


@functools.partial(jax.jit, static_argnames=("mesh", "k", "kernel", "batch_size", "fused"))
def _best_images(
  queries: _Set,
  images: _Set,
  *,
  mesh: Mesh,
  k: int,
  kernel: kernels.Kernel,
  batch_size: int,
  fused: bool,
):
  """Finds the best of each device's share, then the best of these; ties by the smaller row."""

  def best_of_share(queries, images):
    if fused:
      scores = _score_by_kernel(queries, images, kernel)
    else:
      scores = _score_by_products(queries, images, kernel, min(batch_size, len(images.counts)))
    values, rows = jax.lax.top_k(scores, min(k, scores.shape[1]))
    rows += jax.lax.axis_index(sharding.AXIS) * scores.shape[1]
    return values.T, rows.T

  values, rows = sharding.map_shares(best_of_share, mesh)(queries, images)
  best, places = jax.lax.top_k(values.T, min(k, len(values)))
  return best, jnp.take_along_axis(rows.T, places, axis=1)


def _score_by_products(
  queries: _Set, images: _Set, kernel: kernels.Kernel, batch_size: int
) -> jax.Array:
  """Returns similarities `[Q, rows]`, one query after another, a few images at a time."""

  def score_image(query: _Set, image: _Set) -> jax.Array:
    products = jax.lax.platform_dependent(
      image.values, query.values, cpu=_products_in_float32, default=_products
    )
    return _score(query, jnp.max(products * image.scales[:, None], axis=0), image.counts, kernel)

  def score_query(query: _Set) -> jax.Array:
    def score_block(first: jax.Array) -> jax.Array:
      block = (jax.lax.dynamic_slice_in_dim(array, first, batch_size) for array in images)
      return jax.vmap(functools.partial(score_image, query))(_Set(*block))

    return _in_blocks(score_block, len(images.counts), batch_size)

  return jax.lax.map(score_query, queries)


def _score_by_kernel(queries: _Set, images: _Set, kernel: kernels.Kernel) -> jax.Array:
  """Returns similarities `[Q, rows]`, many images at a time, each read once for all queries."""
  num_queries, num_places, dimension = queries.values.shape
  num_rows, num_columns = len(images.counts), num_queries * num_places
  columns = queries.values.reshape(num_columns, dimension)
  size = min(num_rows, max(1, BLOCK_MAXIMA // num_columns))
  score = jax.vmap(functools.partial(_score, kernel=kernel), in_axes=(0, 0, None))

  def score_block(first: jax.Array) -> jax.Array:
    best = fused_maximum.best_products(
      images.values, images.scales, columns, first, num_images=size
    ).reshape(size, num_queries, num_places)
    counts = jax.lax.dynamic_slice_in_dim(images.counts, first, size)
    return jax.vmap(score, in_axes=(None, 0, 0))(queries, best, counts)

  return _in_blocks(score_block, num_rows, size).T


def _in_blocks(function: Callable[[jax.Array], jax.Array], num_rows: int, size: int) -> jax.Array:
  """Returns `[rows, ...]` of a function that, of a first row, makes a block of `size` rows.

  The last block overlaps the one before: all have one size, and no array is cut or filled, which
  would copy a collection.
  """

  def add_block(step: jax.Array, rows: jax.Array) -> jax.Array:
    first = jnp.minimum(step * size, num_rows - size)
    return jax.lax.dynamic_update_slice_in_dim(rows, function(first), first, axis=0)

  like = jax.eval_shape(function, jax.ShapeDtypeStruct((), jnp.int32))
  rows = jnp.zeros((num_rows, *like.shape[1:]), like.dtype)
  return jax.lax.fori_loop(0, math.ceil(num_rows / size), add_block, rows)


def _score(query: _Set, best: jax.Array, count: jax.Array, kernel: kernels.Kernel) -> jax.Array:
  """Scores an image of `count` descriptors by the best product `[q]` of each of a query's."""
  best = query.scales * best
  present = jnp.arange(len(best)) < query.counts
  worth = jnp.where(present & (count > 0), kernel(best), 0.0)
  return jnp.sum(worth) / jnp.maximum(query.counts, 1).astype(worth.dtype)


def _products(image: jax.Array, query: jax.Array) -> jax.Array:
  """Returns inner products `[c, q]` float32 by the units made for the type."""
  kind = jnp.int32 if query.dtype == jnp.int8 else jnp.float32
  products = jnp.matmul(image, query.T, precision="highest", preferred_element_type=kind)
  return products.astype(jnp.float32)


def _products_in_float32(image: jax.Array, query: jax.Array) -> jax.Array:
  """Returns the same where there are no such units; sums of int8 are exact in float32 too."""
  query, image = query.astype(jnp.float32), image.astype(jnp.float32)
  return jnp.matmul(image, query.T, precision="highest")


def _merge(found: Ranked, first_id: int, similarities: np.ndarray, rows: np.ndarray) -> Ranked:
  """Merges what was found so far with the best of a block that follows."""
  ids = np.where(similarities > 0.0, rows + first_id, -1).astype(np.int32)
  ids = np.concatenate([found.ids, ids], axis=1)
  similarities = np.concatenate([found.similarities, similarities], axis=1)
  # Blocks follow each other by id, and padding is worth 0: a stable order breaks ties rightly.
  order = np.argsort(-similarities, axis=1, kind="stable")[:, : found.ids.shape[1]]
  return Ranked(
    np.take_along_axis(ids, order, axis=1), np.take_along_axis(similarities, order, axis=1)
  )

"""Best cosines of images for descriptors of queries, whose products stay in the chip's registers.

A product of two matrices writes `c` numbers for every one that the maximum keeps. A kernel that
multiplies a tile and takes its maximum at once reads the images and writes what is kept, no more.
It is written in Pallas and compiled by Triton, for NVIDIA's GPUs from Ampere on.
JAX 0.11 still has that compiler and says that a later version won't.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

# Images of a program, which share its tile of descriptors of queries.
_IMAGES = 8
# Rows of either side of a tile, where bytes of a descriptor allow: accumulators fill registers.
_TILE = 128
_TILE_BYTES = 1 << 15
# The least of a side of a product, of its inner dimension, and the longest descriptor, in bytes.
_LEAST_ROWS = 16
_LEAST_DIMENSION = 32
_MOST_BYTES = 1 << 10
_LEAST_CAPABILITY = 8


def fits(values: jax.Array, device: Any) -> bool:
  """Returns whether the kernel is made for a device and for images `[N, c, d]` on it.

  It isn't for float32, whose product costs more than to write and read it, nor for images of a few
  descriptors, or descriptors of more than a kilobyte; nor for anything but NVIDIA's GPUs of compute
  capability 8 or more, whose matrix units multiply both types.
  """
  _, num_places, dimension = values.shape
  # AMD's are named by letters.
  major, _, _ = str(getattr(device, "compute_capability", "")).partition(".")
  return (
    major.isdigit()
    and int(major) >= _LEAST_CAPABILITY
    and values.dtype in (jnp.int8, jnp.bfloat16)
    and num_places >= _LEAST_ROWS
    and _width(dimension) * values.dtype.itemsize <= _MOST_BYTES
  )


def best_products(
  values: jax.Array,
  scales: jax.Array,
  queries: jax.Array,
  first: jax.Array,
  *,
  num_images: int,
  interpret: bool = False,
) -> jax.Array:
  """Finds max over x in X of scale_x <q, x>, for every q and every image X of a range.

  The range is of rows of one array, so that a part of a collection is compared without a copy.
  Of int8 products are exact, and a maximum is that of float32(<q, x>) * scale_x to the last bit.

  Args:
    values: `[N, c, d]` int8 or bfloat16, for which `fits` holds.
    scales: `[N, c]` float32.
    queries: `[q, d]` of the same type.
    first: `[]` int32, row of the first image.
    num_images: n, of the range.
    interpret: run as ordinary operations, on any device.

  Returns:
    `[n, q]` float32.
  """
  _, num_places, dimension = values.shape
  if values.dtype == jnp.int8 and (1 << 31) < values.size <= (1 << 32):
    # Pallas counts in signed 32 bits up to 4 GiB, which is right up to 2: parts are copied.
    most = (1 << 31) // (num_places * dimension)
    parts = []
    for start in range(0, num_images, most):
      count = min(most, num_images - start)
      part = best_products(
        jax.lax.dynamic_slice_in_dim(values, first + start, count),
        jax.lax.dynamic_slice_in_dim(scales, first + start, count),
        queries,
        jnp.zeros_like(first),
        num_images=count,
        interpret=interpret,
      )
      parts.append(part)
    return jnp.concatenate(parts)
  num_bytes = _width(dimension) * values.dtype.itemsize
  side = min(_TILE, _TILE_BYTES // num_bytes)
  rows = min(side, 1 << num_places.bit_length() - 1)
  columns = max(side, _TILE // 2)
  num_columns = len(queries)
  queries = jnp.pad(queries, ((0, -num_columns % columns), (0, 0)))
  num_tiles = len(queries) // columns
  kernel = functools.partial(
    _keep_best, num_images=num_images, rows=rows, columns=columns, num_tiles=num_tiles
  )
  best = pl.pallas_call(
    kernel,
    grid=(num_tiles * pl.cdiv(num_images, _IMAGES),),
    out_shape=jax.ShapeDtypeStruct((num_images, len(queries)), jnp.float32),
    compiler_params=triton.CompilerParams(
      # Two or three programs share a multiprocessor: one multiplies while another takes maxima.
      num_warps=4,
      num_stages=3 if num_bytes <= _TILE else 2,
    ),
    interpret=interpret,
    name="best_products",
  )(first[None], values, scales, queries)
  return best[:, :num_columns]


def _keep_best(
  first_ref, values_ref, scales_ref, queries_ref, best_ref, *, num_images, rows, columns, num_tiles
):
  """Compares a tile of descriptors of queries with a few images, a tile of each at a time."""
  _, num_places, dimension = values_ref.shape
  width = _width(dimension)
  num_steps = pl.cdiv(num_places, rows)
  # Neighbours compare the same images, of which all but one find them in the cache.
  program = jax.lax.div(pl.program_id(0), num_tiles)
  tile = pl.ds(jax.lax.rem(pl.program_id(0), num_tiles) * columns, columns)
  first = first_ref[0]

  def load(ref, count: int) -> jax.Array:
    """Loads `[count, d]`, filled by zeros to a power of two."""
    if width == dimension:
      return ref[...]
    mask = jnp.broadcast_to(jnp.arange(width) < dimension, (count, width))
    return triton.load(ref, mask=mask, other=jnp.zeros((), ref.dtype))

  query = load(queries_ref.at[tile, pl.ds(0, width)], columns)

  def keep(step: jax.Array, best: jax.Array) -> jax.Array:
    image, step = jax.lax.div(step, num_steps), jax.lax.rem(step, num_steps)
    image = jnp.minimum(program * _IMAGES + image, num_images - 1)
    # The last tile overlaps the one before, which changes no maximum and needs no mask.
    place = pl.ds(jnp.minimum(step * rows, num_places - rows), rows)
    part = load(values_ref.at[first + image, place, pl.ds(0, width)], rows)
    products = triton.dot(query, part, trans_b=True).astype(jnp.float32)
    products *= scales_ref[first + image, place][None, :]
    best = jnp.maximum(jnp.where(step == 0, -jnp.inf, best), jnp.max(products, axis=1))
    last = jnp.broadcast_to(step == num_steps - 1, (columns,))
    triton.store(best_ref.at[image, tile], best, mask=last)
    return best

  jax.lax.fori_loop(0, _IMAGES * num_steps, keep, jnp.full((columns,), -jnp.inf, jnp.float32))


def _width(dimension: int) -> int:
  """Returns the power of two that a descriptor is filled to in a tile."""
  return max(_LEAST_DIMENSION, 1 << (dimension - 1).bit_length())

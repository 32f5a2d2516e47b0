"""The best product of every image with each query descriptor, by a GPU kernel of our own.

A matrix product writes c numbers for each one that the maximum keeps. This kernel multiplies a tile
and takes its maximum in registers, so that it reads the images and writes the maxima alone. It is
written in Pallas and compiled by Triton, for NVIDIA's GPUs from Ampere on. JAX 0.11 still has that
compiler, and announces that a later version will not.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

# Images that one program compares with its tile of query descriptors.
_IMAGES = 8
# Rows of either side of a tile, as far as its bytes allow. Accumulators of 128 x 128 fill the
# registers of a program.
_TILE = 128
_TILE_BYTES = 1 << 15
# Triton's least side of a product, its least inner dimension for bytes, and the longest descriptor
# in bytes, of which a tile of 32 rows still fits.
_LEAST_ROWS = 16
_LEAST_DIMENSION = 32
_MOST_BYTES = 1 << 10
_LEAST_CAPABILITY = 8


def fits(values: jax.Array, device: Any) -> bool:
  """Returns whether the kernel serves a device and images `[N, c, d]` on it.

  It needs one of NVIDIA's GPUs of compute capability 8 or more, whose matrix units multiply int8
  and bfloat16, at least 16 descriptors an image, and descriptors of at most a kilobyte. It does not
  serve float32: its product costs more than writing and reading the result.
  """
  _, num_places, dimension = values.shape
  # AMD names its capabilities by letters.
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

  The range selects rows of one array, so that a part of a collection is compared without a copy.
  Products of int8 are exact, so that the result equals max float32(<q, x>) * scale_x to the last
  bit.

  Args:
    values: `[N, c, d]` int8 or bfloat16, for which `fits` holds.
    scales: `[N, c]` float32.
    queries: `[q, d]` of the same type.
    first: `[]` int32, row of the first image.
    num_images: n, the images of the range.
    interpret: whether to run it as ordinary operations, on any device.

  Returns:
    `[n, q]` float32.
  """
  _, num_places, dimension = values.shape
  if values.dtype == jnp.int8 and (1 << 31) < values.size <= (1 << 32):
    # Up to 4 GiB Pallas indexes by signed 32 bits, which are right up to 2 GiB: copy parts.
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
      # With 4 warps each, two or three programs share a multiprocessor: one multiplies while
      # another takes maxima.
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
  """Compares a tile of query descriptors with a few images, one tile of an image at a time."""
  _, num_places, dimension = values_ref.shape
  width = _width(dimension)
  num_steps = pl.cdiv(num_places, rows)
  # Neighbouring programs compare the same images, so that all but the first find them in the cache.
  program = jax.lax.div(pl.program_id(0), num_tiles)
  tile = pl.ds(jax.lax.rem(pl.program_id(0), num_tiles) * columns, columns)
  first = first_ref[0]

  def load(ref, count: int) -> jax.Array:
    """Loads `[count, d]`, padded by zeros to a power of two."""
    if width == dimension:
      return ref[...]
    mask = jnp.broadcast_to(jnp.arange(width) < dimension, (count, width))
    return triton.load(ref, mask=mask, other=jnp.zeros((), ref.dtype))

  query = load(queries_ref.at[tile, pl.ds(0, width)], columns)

  def keep(step: jax.Array, best: jax.Array) -> jax.Array:
    image, step = jax.lax.div(step, num_steps), jax.lax.rem(step, num_steps)
    image = jnp.minimum(program * _IMAGES + image, num_images - 1)
    # The last tile overlaps the one before, which changes no maximum and needs no mask.
    span = pl.ds(jnp.minimum(step * rows, num_places - rows), rows)
    part = load(values_ref.at[first + image, span, pl.ds(0, width)], rows)
    products = triton.dot(query, part, trans_b=True).astype(jnp.float32)
    products *= scales_ref[first + image, span][None, :]
    best = jnp.maximum(jnp.where(step == 0, -jnp.inf, best), jnp.max(products, axis=1))
    last = jnp.broadcast_to(step == num_steps - 1, (columns,))
    triton.store(best_ref.at[image, tile], best, mask=last)
    return best

  jax.lax.fori_loop(0, _IMAGES * num_steps, keep, jnp.full((columns,), -jnp.inf, jnp.float32))


def _width(dimension: int) -> int:
  """Returns the power of two to which a tile pads descriptors."""
  return max(_LEAST_DIMENSION, 1 << (dimension - 1).bit_length())

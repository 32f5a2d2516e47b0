"""Descriptors in a few bytes, decoded when they are scored.

A descriptor is kept as its cell and what it differs by from the cell's centroid, rotated to the
principal directions of such residuals. The directions have 8, 4, 3, 2 or no bits each, as lose the
least of the variance. Decoded rows stay rotated, and a query is rotated once. A decoded row is a
sum of integers, and a rotation a sum of integers that double precision holds exactly: both are the
same for any number of threads and on any machine.
"""

import dataclasses
import functools
import itertools

import numba
import numpy as np

from l2g_jax.cann import products
from l2g_jax.similarity.codec import Codes, concatenate
from l2g_jax.similarity.codec import encode as encode_codes

# How a byte is shared by the dimensions in it.
_BYTES = {8: (8,), 4: (4, 4), 3: (3, 3, 2), 2: (2, 2, 2, 2)}
# Spacing of the levels in standard deviations, and the variance that is lost by rounding to them:
# the best for a normal distribution.
_SPACING = {8: 0.0308, 4: 0.335, 3: 0.586, 2: 0.996, 0: 0.0}
_LOSS = {8: 0.0001, 4: 0.0115, 3: 0.0374, 2: 0.1188, 0: 1.0}
# Of a decoded row, a value of 8 bits is so many units, which are the integers that are added up.
_SHIFT = 6
_PEAK = 127 << _SHIFT
_ROTATION_STEP = 1.0 / (1 << 14)
_LEVELS = 256
_LANES = 4
_BLOCK = 1 << 14


@dataclasses.dataclass(frozen=True)
class Grid:
  """How descriptors are rounded.

  Attributes:
    rotation: `[d, d']` int16, principal directions times 2^14; d' is d up to a multiple of
      sixteen, with zeros.
    centers: `[cells, d']` int16, the rotated centroids in units.
    spacing: `[d']` float32, the distance of a dimension's levels in units.
    bits: `[d']` uint8, of each dimension; 0 where only the centroid is kept.
    unit: what the integers count.
  """

  rotation: np.ndarray
  centers: np.ndarray
  spacing: np.ndarray
  bits: np.ndarray
  unit: float

  @property
  def num_bytes(self) -> int:
    """Bytes of a descriptor, without its cell."""
    return -(-int(self.bits.sum(dtype=np.int64)) // 8)

  @functools.cached_property
  def tables(self) -> tuple[np.ndarray, np.ndarray]:
    """Returns what a byte stands for.

    The values `[bytes, 256, 4]` int16 in units of up to four dimensions, and the first dimension of
    each byte `[bytes]` int64.
    """
    ends = np.cumsum(self.bits, dtype=np.int64)
    values = np.zeros((self.num_bytes, _LEVELS, _LANES), np.int16)
    firsts = np.zeros(self.num_bytes, np.int64)
    bytes_ = np.arange(_LEVELS)
    for dimension in np.flatnonzero(self.bits)[::-1].tolist():
      bits = int(self.bits[dimension])
      start = int(ends[dimension]) - bits
      firsts[start // 8] = dimension
    for dimension in np.flatnonzero(self.bits).tolist():
      bits = int(self.bits[dimension])
      start = int(ends[dimension]) - bits
      levels = (bytes_ >> (start % 8)) & ((1 << bits) - 1)
      exact = (levels - 0.5 * ((1 << bits) - 1)) * float(self.spacing[dimension])
      lane = dimension - firsts[start // 8]
      values[start // 8, :, lane] = np.clip(np.rint(exact), -_PEAK, _PEAK)
    return values, firsts


def fit_grid(
  residuals: np.ndarray, descriptors: np.ndarray, centers: np.ndarray, num_bytes: int
) -> Grid:
  """Learns directions and bits.

  Args:
    residuals: `[n, d]` float32, a sample.
    descriptors: `[n, d]` float32, of which these are the residuals.
    centers: `[cells, d]` float32, the centroids.
    num_bytes: of a descriptor, without its cell; fewer are used where fewer suffice.
  """
  dimension = residuals.shape[1]
  width = dimension + -dimension % products.LANES
  covariance = residuals.T.astype(np.float64) @ residuals / max(1, len(residuals))
  variances, directions = np.linalg.eigh(covariance)
  variances, directions = np.maximum(variances[::-1], 0.0), directions[:, ::-1]
  # eigh leaves the sign open.
  rows = np.argmax(np.abs(directions), axis=0)
  directions = directions * np.sign(directions[rows, np.arange(dimension)])
  rotation = np.zeros((dimension, width), np.int16)
  rotation[:, :dimension] = np.rint(directions / _ROTATION_STEP)
  exact = rotation * _ROTATION_STEP
  peak = max(np.abs(values @ exact).max(initial=1e-6) for values in (descriptors, centers))
  unit = float(peak) / _PEAK
  bits = np.zeros(width, np.uint8)
  bits[:dimension] = _share_bits(variances, num_bytes)
  spacing = np.zeros(width, np.float32)
  spacing[:dimension] = np.sqrt(variances) * [_SPACING[int(b)] for b in bits[:dimension]] / unit
  return Grid(
    rotation=rotation,
    centers=np.rint(centers @ exact / unit).astype(np.int16),
    spacing=spacing,
    bits=bits,
    unit=unit,
  )


def pack(grid: Grid, codes: Codes, cells: np.ndarray) -> np.ndarray:
  """Returns descriptors `[n, bytes]` uint8 of n codes in cells `[n]`."""
  packed = np.zeros((len(codes), grid.num_bytes), np.uint8)
  inverse = 1.0 / np.where(grid.spacing > 0.0, grid.spacing, np.inf).astype(np.float64)
  for start in range(0, len(codes), _BLOCK):
    rows = slice(start, start + _BLOCK)
    scales = codes.scales[rows, None] * (_ROTATION_STEP / grid.unit)
    residuals = _rotated(grid, codes.values[rows]) * scales - grid.centers[cells[rows]]
    _pack(residuals, inverse, grid.bits, packed[rows])
  return packed


def unpack(grid: Grid, packed: np.ndarray, cells: np.ndarray) -> Codes:
  """Returns n descriptors as codes in rotated directions, `[n, d']`."""
  values = np.empty((len(packed), grid.centers.shape[1]), np.int8)
  scales = np.empty(len(packed), np.float32)
  unpack_rows(packed, cells, grid.centers, *grid.tables, values, scales)
  return Codes(values, scales)


def rotate(grid: Grid, codes: Codes) -> Codes:
  """Returns codes in the directions of what `unpack` returns."""
  return encode_codes(_rotated(grid, codes.values), where="rotated codes")


def rotate_back(grid: Grid, codes: Codes) -> Codes:
  """Returns what `unpack` returned as codes in the directions of the descriptors, as many."""

  def rotate_block(start: int) -> Codes:
    block = codes.values[start : start + _BLOCK].astype(np.float64)
    values = block @ grid.rotation.T.astype(np.float64)
    # What decodes to zero, which no descriptor does, still has a row.
    values[~values.any(axis=1), :1] = 1.0
    return encode_codes(values, where="stored codes")

  blocks = [rotate_block(start) for start in range(0, len(codes), _BLOCK)]
  return concatenate(blocks, dimension=len(grid.rotation))


def fits_bytes(bits: np.ndarray) -> bool:
  """Whether bits of dimensions are some that `fit_grid` chooses: no value is in two bytes."""
  used = bits[bits > 0].astype(np.int64)
  ends = np.cumsum(used)
  in_one = np.array_equal((ends - used) // 8, (ends - 1) // 8)
  return in_one and set(used.tolist()) <= set(_BYTES) and not np.any(bits[len(used) :])


def _rotated(grid: Grid, values: np.ndarray) -> np.ndarray:
  return values.astype(np.float64) @ grid.rotation.astype(np.float64)


def _share_bits(variances: np.ndarray, num_bytes: int) -> np.ndarray:
  """Returns the bits of each dimension `[d]` that lose the least of the variances, descending."""
  dimension = len(variances)
  sums = np.cumsum([0.0, *variances])
  most = {bits: -(-dimension // len(shares)) for bits, shares in _BYTES.items()}
  best, chosen = np.inf, ()
  for counts in itertools.product(*(range(min(num_bytes, most[b]) + 1) for b in (8, 4, 3))):
    left = num_bytes - sum(counts)
    if left < 0:
      continue
    ends = np.cumsum([n * len(_BYTES[b]) for b, n in zip(_BYTES, (*counts, left), strict=True)])
    ends = np.minimum(ends, dimension)
    parts = np.diff(sums[[0, *ends, dimension]])
    # A byte of 3, 3 and 2 bits loses as much as its dimensions do.
    losses = (_LOSS[8], _LOSS[4], (2 * _LOSS[3] + _LOSS[2]) / 3, _LOSS[2], 1.0)
    loss = float(parts @ losses)
    if loss < best:
      best, chosen = loss, (*counts, left)
  bits = [b for shares, n in zip(_BYTES.values(), chosen, strict=True) for b in shares * n]
  return np.array((bits + [0] * dimension)[:dimension], np.uint8)


@numba.njit(cache=True, nogil=True)
def _pack(residuals, inverse, bits, packed):
  """Rounds rows to levels and fills `packed`."""
  for i in range(len(residuals)):
    start = 0
    for dimension in range(len(bits)):
      width = int(bits[dimension])
      if width:
        half = 1 << (width - 1)
        level = int(np.floor(residuals[i, dimension] * inverse[dimension])) + half
        level = min(max(level, 0), 2 * half - 1)
        packed[i, start // 8] |= np.uint8(level << (start % 8))
        start += width


@numba.njit(cache=True, nogil=True)
def unpack_rows(packed, cells, centers, tables, firsts, values, scales):
  """Fills `values` `[n, d']` int8 and `scales` `[n]` float32 with decoded rows."""
  width = values.shape[1]
  # The last byte's four values may reach beyond the dimensions.
  row = np.zeros(width + _LANES, np.int16)
  at_row = row.ctypes.data
  for i in range(len(packed)):
    for byte in range(packed.shape[1]):
      source = tables.ctypes.data + 8 * (_LEVELS * byte + int(packed[i, byte]))
      products.copy_values(source, at_row + 2 * firsts[byte])
    total = products.add_rows(
      at_row,
      centers.ctypes.data + 2 * width * int(cells[i]),
      width // products.LANES,
      _SHIFT,
      values.ctypes.data + width * i,
    )
    scales[i] = np.float32(1.0) / np.sqrt(np.float32(max(total, 1)))

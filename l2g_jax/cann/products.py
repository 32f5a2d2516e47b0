"""Inner products of 8-bit integers, sixteen at a time, as instructions for Numba's compiler.

A block holds sixteen codes side by side: a word of it is 64 bytes, four of every code, so that one
instruction multiplies them with four of a query and adds them up (VNNI on x86; products and sums of
16 bits elsewhere). A byte of a word is one dimension of 8 bits, two of 4 or four of 2, the lowest
bits first. All sums are of integers, hence exact: no result depends on the machine.

The functions take addresses of contiguous arrays as int64, and check nothing.
"""

import os
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

LANES = 16
WORD_BYTES = 4 * LANES
# `raise_maxima` keeps the products of so many blocks of queries and rows in registers.
TILE_BLOCKS = 4
TILE_ROWS = 4

_I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
_INTS = ir.VectorType(_I32, LANES)
_FLOATS = ir.VectorType(ir.FloatType(), LANES)
_SHORTS = ir.VectorType(_I16, LANES)
_VNNI = "llvm.x86.avx512.vpdpbusd.512"
_ADDRESS = types.int64
# Called without the typing context, which a type checker does not know.
_instruction: Any = intrinsic


def has_vnni() -> bool:
  """Whether products are single instructions here; L2G_JAX_PORTABLE=1 says no."""
  wanted = os.environ.get("L2G_JAX_PORTABLE") != "1"
  return wanted and bool(llvm.get_host_cpu_features().get("avx512vnni"))


@_instruction
def lane_products(typing_context, block, query, num_8, num_4, num_2, out):
  """Multiplies sixteen codes with a query.

  Args:
    typing_context: Numba's; callers leave it out.
    block: address of the codes, `[num_8 + num_4 + num_2, 64]` uint8.
    query: address of int8 `[4 num_8 + 8 num_4 + 16 num_2]`.
    num_8: words of a dimension a byte, which come first.
    num_4: words of two dimensions a byte.
    num_2: words of four dimensions a byte, which come last.
    out: address of `[16]` int32, where the products go.
  """

  def generate(_, builder, __, arguments):
    block, query, *counts, out = arguments
    totals = [_variable(builder, _INTS, 0) for _ in range(2)]
    for bits, count in zip((8, 4, 2), counts, strict=True):
      groups = 8 // bits
      mask = ir.Constant(_INTS, [((1 << bits) - 1) * 0x01010101] * LANES)
      with cgutils.for_range(builder, count) as loop:
        word = _load(builder, _at(builder, block, loop.index, WORD_BYTES), _INTS)
        weights = _at(builder, query, loop.index, 4 * groups)
        for group in range(groups):
          shifted = builder.lshr(word, ir.Constant(_INTS, [group * bits] * LANES))
          values = builder.and_(shifted, mask) if bits < 8 else word
          weight = _load(builder, builder.add(weights, _I64(4 * group)), _I32)
          # Two sums, so that one does not wait for the other.
          total = totals[group % 2]
          builder.store(_dot(builder, builder.load(total), values, _splat(builder, weight)), total)
      block = _at(builder, block, count, WORD_BYTES)
      query = _at(builder, query, count, 4 * groups)
    _store(builder, out, builder.add(*(builder.load(total) for total in totals)))
    return None

  return types.void(*[_ADDRESS] * 6), generate


@_instruction
def keep_above(typing_context, products, images, threshold, kept_products, kept_images):
  """Packs those of sixteen products that are above a threshold, with their images.

  Args:
    typing_context: Numba's; callers leave it out.
    products: address of `[16]` int32.
    images: address of `[16]` int32.
    threshold: int32.
    kept_products: address of int32, with room for sixteen, where the products go.
    kept_images: the same for their images.

  Returns:
    How many there are.
  """

  def generate(_, builder, __, arguments):
    products, images, threshold, *targets = arguments
    values = _load(builder, products, _INTS)
    above = builder.icmp_signed(">", values, _splat(builder, threshold))
    mask = ir.VectorType(ir.IntType(1), LANES)
    store = cgutils.get_or_insert_function(
      builder.module,
      ir.FunctionType(ir.VoidType(), [_INTS, _I32.as_pointer(), mask]),
      "llvm.masked.compressstore.v16i32",
    )
    for source, target in zip((values, _load(builder, images, _INTS)), targets, strict=True):
      builder.call(store, [source, builder.inttoptr(target, _I32.as_pointer()), above])
    return builder.zext(builder.ctpop(builder.bitcast(above, _I16)), _I64)

  return types.int64(_ADDRESS, _ADDRESS, types.int32, _ADDRESS, _ADDRESS), generate


@_instruction
def raise_maxima(typing_context, queries, words, rows, stride, offsets, scales, step, best):
  """Raises the maxima of 64 queries to their scaled products with 4 rows.

  Args:
    typing_context: Numba's; callers leave it out.
    queries: address of `[4, words, 64]` uint8, four blocks of queries, each value 128 too large.
    words: of a query, a quarter of its dimensions.
    rows: address of the first row, int8 `[4 words]`.
    stride: bytes from a row to the next.
    offsets: address of int32, 128 times the sum of each row.
    scales: address of float32, the factor of each row's products.
    step: bytes from an offset, and from a scale, to the next.
    best: address of `[64]` float32.
  """

  def generate(_, builder, __, arguments):
    queries, words, rows, stride, offsets, scales, step, best = arguments
    totals = [[_variable(builder, _INTS, 0) for _ in range(TILE_ROWS)] for _ in range(TILE_BLOCKS)]
    block_bytes = builder.mul(words, _I64(WORD_BYTES))
    with cgutils.for_range(builder, words) as loop:
      at_word = _at(builder, queries, loop.index, WORD_BYTES)
      codes = [
        _load(builder, builder.add(at_word, builder.mul(block_bytes, _I64(block))), _INTS)
        for block in range(TILE_BLOCKS)
      ]
      at_row = _at(builder, rows, loop.index, 4)
      for row in range(TILE_ROWS):
        address = builder.add(at_row, builder.mul(stride, _I64(row)))
        values = _splat(builder, _load(builder, address, _I32))
        for block in range(TILE_BLOCKS):
          total = totals[block][row]
          builder.store(_dot(builder, builder.load(total), codes[block], values), total)
    for block in range(TILE_BLOCKS):
      target = builder.add(best, _I64(block * WORD_BYTES))
      highest = _load(builder, target, _FLOATS)
      for row in range(TILE_ROWS):
        skip = builder.mul(step, _I64(row))
        offset = _splat(builder, _load(builder, builder.add(offsets, skip), _I32))
        scale = _splat(builder, _load(builder, builder.add(scales, skip), ir.FloatType()))
        products = builder.sub(builder.load(totals[block][row]), offset)
        values = builder.fmul(builder.sitofp(products, _FLOATS), scale)
        highest = builder.select(builder.fcmp_ordered(">", values, highest), values, highest)
      _store(builder, target, highest)
    return None

  return types.void(*[_ADDRESS] * 8), generate


@_instruction
def copy_values(typing_context, source, target):
  """Copies four int16 from an address to another."""

  def generate(_, builder, __, arguments):
    source, target = arguments
    _store(builder, target, _load(builder, source, _I64))
    return None

  return types.void(_ADDRESS, _ADDRESS), generate


@_instruction
def add_rows(typing_context, first, second, blocks, shift, out):
  """Adds two rows of int16, whose sums must be of 16 bits, and rounds them to int8.

  Args:
    typing_context: Numba's; callers leave it out.
    first: address of int16 `[16 blocks]`.
    second: address of as many.
    blocks: of sixteen values.
    shift: a value of 8 bits is 2^shift of a sum; what is beyond +-127 becomes that.
    out: address of int8 `[16 blocks]`.

  Returns:
    The sum of the squares that went to `out`.
  """

  def generate(_, builder, __, arguments):
    first, second, blocks, shift, out = arguments
    total = _variable(builder, _INTS, 0)
    shifts = _splat(builder, builder.trunc(shift, _I16))
    half = _splat(builder, builder.lshr(builder.shl(_I16(1), builder.trunc(shift, _I16)), _I16(1)))
    with cgutils.for_range(builder, blocks) as loop:
      values = [
        _load(builder, _at(builder, row, loop.index, 2 * LANES), _SHORTS) for row in (first, second)
      ]
      sums = builder.ashr(builder.add(builder.add(*values), half), shifts)
      for sign, bound in (("<", 127), (">", -127)):
        limit = ir.Constant(_SHORTS, [bound] * LANES)
        sums = builder.select(builder.icmp_signed(sign, sums, limit), sums, limit)
      _store(
        builder,
        _at(builder, out, loop.index, LANES),
        builder.trunc(sums, ir.VectorType(_I8, LANES)),
      )
      wide = builder.sext(sums, _INTS)
      builder.store(builder.add(builder.load(total), builder.mul(wide, wide)), total)
    lanes = builder.load(total)
    result = _I32(0)
    for lane in range(LANES):
      result = builder.add(result, builder.extract_element(lanes, _I32(lane)))
    return result

  return types.int32(_ADDRESS, _ADDRESS, types.int64, types.int64, _ADDRESS), generate


def _dot(builder, total, unsigned, signed):
  """Adds, lane by lane, the products of four unsigned and four signed bytes."""
  if has_vnni():
    kind = ir.VectorType(_I8, WORD_BYTES)
    function = cgutils.get_or_insert_function(
      builder.module, ir.FunctionType(_INTS, [_INTS, kind, kind]), _VNNI
    )
    return builder.call(
      function, [total, builder.bitcast(unsigned, kind), builder.bitcast(signed, kind)]
    )
  wide = ir.VectorType(_I16, WORD_BYTES)
  narrow = ir.VectorType(_I8, WORD_BYTES)
  left = builder.zext(builder.bitcast(unsigned, narrow), wide)
  right = builder.sext(builder.bitcast(signed, narrow), wide)
  pairs = builder.add(
    *(
      builder.mul(*(_every_second(builder, value, start, _I32) for value in (left, right)))
      for start in range(2)
    )
  )
  sums = builder.add(*(_every_second(builder, pairs, start, _I32) for start in range(2)))
  return builder.add(total, sums)


def _every_second(builder, vector, start, kind):
  """Returns half of a vector's integers, widened."""
  count = vector.type.count // 2
  places = ir.Constant(ir.VectorType(_I32, count), [2 * i + start for i in range(count)])
  half = builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), places)
  return half if vector.type.element == kind else builder.sext(half, ir.VectorType(kind, count))


def _variable(builder, kind, value):
  return cgutils.alloca_once_value(builder, ir.Constant(kind, [value] * kind.count))


def _at(builder, address, index, size):
  return builder.add(address, builder.mul(index, _I64(size)))


def _load(builder, address, kind):
  return builder.load(builder.inttoptr(address, kind.as_pointer()), align=1, typ=kind)


def _store(builder, address, value):
  builder.store(value, builder.inttoptr(address, value.type.as_pointer()), align=1)


def _splat(builder, value):
  vector = ir.VectorType(value.type, LANES)
  undefined = ir.Constant(vector, ir.Undefined)
  first = builder.insert_element(undefined, value, _I32(0))
  zeros = ir.Constant(ir.VectorType(_I32, LANES), [0] * LANES)
  return builder.shuffle_vector(first, undefined, zeros)

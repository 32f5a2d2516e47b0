"""Exact Chamfer search of a collection on the device, beside NumPy and PyTorch.

  python -m benchmarks.chamfer [--num_images=N] [--output=chamfer.json]

It times a query of 600 descriptors against images of 600, by precision: with the collection on the
device, for one query and for several in a call, and with the collection streamed to the device.
Descriptors are random, since only time and agreement are measured.
"""

import functools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from benchmarks import common
from benchmarks.common import Ceilings, Row
from l2g_jax.cli.command import Group, Values
from l2g_jax.runtime import sharding
from l2g_jax.similarity import kernels
from l2g_jax.similarity.chamfer import chamfer_similarity
from l2g_jax.similarity.chamfer_scan import (
  DeviceImages,
  PackedImages,
  Precision,
  pack_images,
  place_images,
  search_images,
)


def _define(values: flags.FlagValues) -> None:
  flags.DEFINE_integer(
    "num_images",
    None,
    "Most images on the device, as far as they fit; omitted: 512 on a CPU, else 200,000.",
    1,
    flag_values=values,
  )


_PRECISIONS: tuple[Precision, ...] = ("int8", "bfloat16", "float32")
_K = 100
_SEVERAL = 8
# The peers compute the plain kernel.
_search = functools.partial(search_images, kernel=kernels.Chamfer())


def unit_sets(seed: int, *shape: int) -> np.ndarray:
  """Returns random descriptors of unit norm, of any leading shape."""
  values = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
  return values / np.linalg.norm(values, axis=-1, keepdims=True)


def repeat_on_device(packed: PackedImages, num_images: int) -> DeviceImages:
  """Fills the devices with copies of a few images, which are made on the devices."""
  few = place_images(packed, sharding.make_mesh())
  times = math.ceil(num_images / len(packed.counts))

  def repeat_share(_, arrays):
    return tuple(jnp.tile(array, (times, *[1] * (array.ndim - 1))) for array in arrays)

  repeat = jax.jit(sharding.map_shares(repeat_share, few.mesh))
  values, scales, counts = repeat(
    sharding.replicate(np.zeros(1), few.mesh), (few.values, few.scales, few.counts)
  )
  return DeviceImages(values, scales, counts, 0, few.mesh)


def matmul_ceiling(precision: Precision, ceilings: Ceilings, *, quick: bool) -> float:
  """Returns the operations a second of a matrix product in a scan's precision."""
  if jax.default_backend() == "cpu":
    return ceilings.flops
  # int8 products are so fast that the time of a smaller one would be that of its launch.
  return common.matmul_flops(256 if quick else 16384, precision)


def scan_rows(
  images: np.ndarray, query: np.ndarray, num_images: int, repeats: int, ceilings: Ceilings
) -> list[Row]:
  """Times scans of copies of some images; a stream passes the copies through the host.

  Operations and bytes are per query; the queries of one call share the reading of the images.
  """
  rows: list[Row] = []
  _, count, dimension = images.shape
  for precision in _PRECISIONS:
    packed = pack_images(list(images), precision=precision)
    bytes_an_image = (packed.values.nbytes + packed.scales.nbytes) // len(images)
    most = sharding.bytes_at_hand(sharding.make_mesh()) // bytes_an_image
    held = repeat_on_device(packed, min(num_images, max(len(images), most)))
    total = len(held.counts)
    blocks = [
      PackedImages(packed.values, packed.scales, packed.counts, start)
      for start in range(0, total, len(images))
    ]
    ceiling = matmul_ceiling(precision, ceilings, quick=len(images) < 16)
    flops = 2.0 * len(query) * count * dimension * total
    num_bytes = float(held.values.nbytes + held.scales.nbytes)
    several = [query] * _SEVERAL
    calls: dict[str, tuple[int, Callable[[], object]]] = {
      "resident": (1, functools.partial(_search, held, [query], _K)),
      f"resident, {_SEVERAL} queries": (
        _SEVERAL,
        functools.partial(_search, held, several, _K),
      ),
      "streamed": (1, lambda blocks=blocks: _search(iter(blocks), [query], _K)),
    }
    for mode, (num_queries, call) in calls.items():
      seconds = common.median_seconds(lambda call=call: call() and None, repeats) / num_queries
      bytes_a_query = num_bytes / num_queries
      rows.append(
        {
          "descriptors": f"{precision}, {mode}",
          "images": total,
          "seconds a query": seconds,
          "us an image": 1e6 * seconds / total,
          "gflop": flops / 1e9,
          "of matmul": flops / seconds / ceiling,
          "gbyte": bytes_a_query / 1e9,
          "of copy": bytes_a_query / seconds / ceilings.bytes,
        }
      )
    del held
  return rows


def peers_rows(images: np.ndarray, query: np.ndarray, repeats: int) -> list[Row]:
  """Times exact scans of the same images in float32; ratios are to NumPy."""
  held = place_images(pack_images(list(images), precision="float32"))
  similarity = jax.jit(chamfer_similarity, static_argnames=("kernel", "block_size"))
  on_device = jnp.asarray(images)
  chamfer = kernels.Chamfer()

  def by_search() -> np.ndarray:
    result = _search(held, [query], len(images))
    scores = np.zeros(len(images), np.float32)
    found = result.ids[0] >= 0
    scores[result.ids[0, found]] = result.similarities[0, found]
    return scores

  calls: dict[str, Callable[[], np.ndarray | jax.Array]] = {
    "numpy": lambda: np.array([chamfer((query @ x.T).max(axis=1)).mean() for x in images]),
    "l2g_jax search_images": by_search,
    "l2g_jax chamfer_similarity": lambda: similarity(query, on_device, block_size=8),
  }
  if common.has_torch():
    from benchmarks import torch_peers

    maxsim = torch_peers.make_maxsim(images)
    calls["torch"] = lambda: maxsim(query)
  expected = np.asarray(calls["numpy"]())
  seconds = {name: common.median_seconds(call, repeats) for name, call in calls.items()}
  return [
    {
      "MaxSim": name,
      "seconds a query": seconds[name],
      "us an image": 1e6 * seconds[name] / len(images),
      "ratio": seconds[name] / seconds["numpy"],
      "largest difference": float(np.max(np.abs(np.asarray(call()) - expected))),
    }
    for name, call in calls.items()
  ]


def compare(
  num_images: int, count: int, *, repeats: int, ceilings: Ceilings, dimension: int = 128
) -> dict[str, Sequence[Row]]:
  """Runs every comparison.

  Args:
    num_images: the most images of the collection on the device.
    count: descriptors of an image and of the query.
    repeats: of every timing.
    ceilings: of this machine.
    dimension: d.

  Returns:
    Rows by title.
  """
  images = unit_sets(0, min(num_images, 256), count, dimension)
  query = unit_sets(1, count, dimension)
  size = f"{count} descriptors, d = {dimension}"
  return {
    f"Scan of a collection, {size}": scan_rows(images, query, num_images, repeats, ceilings),
    f"{len(images)} images, float32, {size}": peers_rows(images, query, repeats),
  }


def main(values: Values, ceilings: Ceilings) -> dict[str, Sequence[Row]]:
  """Reads the flags and compares."""
  most = 512 if jax.default_backend() == "cpu" else 200_000
  num_images = values.num_images or (6 if values.quick else most)
  return compare(num_images, 16 if values.quick else 600, repeats=values.repeats, ceilings=ceilings)


BENCHMARK = common.Benchmark(main, [Group("Scan", _define)])

if __name__ == "__main__":
  common.run("chamfer", __doc__, BENCHMARK)

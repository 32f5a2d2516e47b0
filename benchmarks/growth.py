"""How building, search, neighbour lists and bytes grow with the collection, and what that costs.

  python -m benchmarks.growth [--sizes=5000,20000] [--folder=FOLDER] [--output=growth.json]

Collections are synthetic, see fire_like. Each size has a row for the index as it is, and one for
its former way: more cells, no screening, and neighbour lists by single searches. Exponents are
slopes between the first and the last size; the costs of larger collections continue them, and are
no measurements. `--folder` keeps the indexes, of which 100 thousand images of 600 descriptors take
10 GB.
"""

import math
import pathlib
import tempfile
from collections.abc import Mapping, Sequence

import numpy as np
from absl import flags

from benchmarks import cann, common
from benchmarks.common import Ceilings, Row
from experiments.fire_like import FireLike
from l2g_jax.cann import CannIndex
from l2g_jax.cli.command import Group, Values
from l2g_jax.runtime.workers import available_cores


def _define(values: flags.FlagValues) -> None:
  flags.DEFINE_list("sizes", ["5000", "20000"], "Numbers of images.", flag_values=values)
  flags.DEFINE_integer(
    "descriptors", 600, "Number of descriptors of an image or a query.", 1, flag_values=values
  )
  flags.DEFINE_integer("num_queries", 20, "Number of queries.", 1, flag_values=values)
  flags.DEFINE_integer(
    "num_listed", 128, "Number of images whose lists are made.", 1, flag_values=values
  )
  flags.DEFINE_string(
    "folder", None, "Folder that keeps the indexes; omitted: a temporary one.", flag_values=values
  )


_BEST = 100
_LISTED = 700
# A list is asked for its first 15 among so many.
_KNOWN, _AMONG = 15, 20
_LARGER = (10**6, 10**7, 10**8)
_FORMER_LIST_DEPTH = 65
_WANTED_SECONDS = 0.2
# Figures that grow, by the exponents of their totals over the collection.
_PER_IMAGE = ("build ms", "list ms", "former list ms")
_PER_QUERY = ("search ms", "former search ms")


def measure(
  collection: FireLike, folder: pathlib.Path, *, num_queries: int, num_listed: int
) -> Row:
  """Builds an index, or opens it, and measures search and lists by the present and former ways."""
  index, build_seconds = cann.build_index(collection, folder)
  size = len(collection)
  rng = np.random.default_rng(0)
  queries = [collection.query(number) for number in range(num_queries)]
  first = int(rng.integers(0, max(1, size - num_listed)))
  listed = list(range(first, min(first + num_listed, size)))
  some = rng.choice(listed, min(num_queries, len(listed)), replace=False)
  exact = cann.search_exactly(index, collection, queries)
  near = _nearest(index, some)
  codes = [index.codes(image) for image in listed]

  former = {
    "num_probes": max(32, round(0.35 * size**0.5)),
    "rescoring_depth": max(500, round(7.0 * size**0.5)),
  }
  row: Row = {"images": size}
  if build_seconds is not None:
    row["build ms"] = 1e3 * build_seconds / size
  for kind in ("lists", "descriptors"):
    num_bytes = sum(path.stat().st_size for path in folder.glob(f"{kind}-*/*"))
    row[f"{kind} kB"] = num_bytes / size / 1e3
  for name, settings in (("search", {}), ("former search", former)):
    index.search(queries[0], _LISTED, **settings)
    found, seconds = common.timed(
      lambda settings=settings: [index.search(query, _LISTED, **settings) for query in queries]
    )
    row[f"{name} ms"] = 1e3 * seconds / num_queries
    row[f"{name} recall"] = exact.recall([each.ids[:_BEST] for each in found])
  found, seconds = common.timed(lambda: index.search_images(listed, _LISTED))
  row["list ms"] = 1e3 * seconds / len(listed)
  ids = dict(zip(listed, found.ids, strict=True))
  row["list recall"] = _list_recall(near, ids)
  singles, seconds = common.timed(
    lambda: [
      index.search_codes(
        [code], _LISTED, num_probes=former["num_probes"], rescoring_depth=_FORMER_LIST_DEPTH
      )
      for code in codes
    ]
  )
  row["former list ms"] = 1e3 * seconds / len(listed)
  ids = {image: each.ids[0] for image, each in zip(listed, singles, strict=True)}
  row["former list recall"] = _list_recall(near, ids)
  return row


def exponents(rows: Sequence[Row]) -> Row:
  """Returns the exponents of the totals over a collection, and of single searches."""
  first, last = rows[0], rows[-1]
  decades = math.log(last["images"] / first["images"])
  slopes: Row = {}
  for name in (*_PER_IMAGE, *_PER_QUERY):
    if name in first and name in last and decades:
      slope = math.log(last[name] / first[name]) / decades
      slopes[name] = slope + (name in _PER_IMAGE)
  return slopes


def extrapolate(last: Row, slopes: Mapping[str, float]) -> list[Row]:
  """Returns what larger collections would cost, were growth to go on."""
  rows = []
  for size in _LARGER:
    growth = size / last["images"]
    row: Row = {"images": size}
    row["TB"] = size * (last["lists kB"] + last["descriptors kB"] + 8e-3 * _LISTED) / 1e9
    for name in ("build ms", "list ms"):
      if name in slopes:
        seconds = last[name] / 1e3 * last["images"] * growth ** slopes[name]
        row[f"machine-hours, {name.split()[0]}"] = seconds / 3600
    if "search ms" in slopes:
      row["seconds a search, one machine"] = last["search ms"] / 1e3 * growth ** slopes["search ms"]
      row["machines for 0.2 s"] = _machines(last, size, slopes["search ms"])
    rows.append(row)
  return rows


def main(values: Values, ceilings: Ceilings) -> dict[str, Sequence[Row]]:
  """Reads the flags and measures."""
  del ceilings
  sizes = [120, 240] if values.quick else sorted(map(int, values.sizes))
  count = 40 if values.quick else values.descriptors
  num_queries = 3 if values.quick else values.num_queries
  rows = []
  with tempfile.TemporaryDirectory() as temporary:
    for size in sizes:
      collection = FireLike(
        size, num_landmarks=min(70, size // 40), images_per_landmark=20, count=count
      )
      folder = pathlib.Path(values.folder or temporary) / f"{size}-{count}"
      rows.append(
        measure(collection, folder, num_queries=num_queries, num_listed=values.num_listed)
      )
      common.print_table(f"{size} images", rows[-1:])
  tables: dict[str, Sequence[Row]] = {f"{count} descriptors an image": rows}
  if len(rows) > 1:
    slopes = exponents(rows)
    tables["exponents"] = [slopes]
    tables[f"extrapolated, machines of {available_cores()} cores"] = extrapolate(rows[-1], slopes)
  return tables


def _nearest(index: CannIndex, images: np.ndarray) -> dict[int, np.ndarray]:
  """Returns the exact nearest images of some images of an index."""
  similarities = index.similarities_from(images, np.arange(len(index.names)))
  similarities[np.arange(len(images)), images] = -1.0
  order = np.argsort(-similarities, axis=1, kind="stable")[:, :_KNOWN]
  return dict(zip(images.tolist(), order, strict=True))


def _list_recall(near: Mapping[int, np.ndarray], ids: Mapping[int, np.ndarray]) -> float:
  """Returns the mean share of the exact nearest among the first of lists, without the image."""
  shares = [
    np.isin(nearest, [other for other in ids[image] if other != image][:_AMONG]).mean()
    for image, nearest in near.items()
  ]
  return float(np.mean(shares))


def _machines(last: Row, size: int, slope: float) -> int | None:
  """Returns among how many machines a collection is cut for searches of 0.2 s."""
  if slope <= 0.0:
    return None
  share = last["images"] * (_WANTED_SECONDS / (last["search ms"] / 1e3)) ** (1.0 / slope)
  return math.ceil(size / share)


BENCHMARK = common.Benchmark(main, [Group("Growth", _define)])

if __name__ == "__main__":
  common.run("growth", __doc__, BENCHMARK)

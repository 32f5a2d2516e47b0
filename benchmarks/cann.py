"""The index of local descriptors and its peers, on the same descriptors in one run.

  python -m benchmarks.cann [--collection=5000] [--descriptors=600] [--output=cann.json]
  python -m benchmarks.cann --collection=100000 --peers= --index=FOLDER --recall=0.95
  python -m benchmarks.cann --collection=1000000 --descriptors=100 --peers= --index=FOLDER \
    --recall=0.95

Descriptors are synthetic, with best matches like those of FIRe (see fire_like). Every method scores
all images its own way. Then one and the same function scores its best images again exactly, as deep
as the method needs to find the exact 100 best. A method's row is the fastest of its settings that
reaches the recall, or the one of the highest recall where none does; mAP is that of the final
order. The peers need `pip install faiss-cpu rabitqlib asmk torch`; fast-plaid is added where it is
installed.
"""

import dataclasses
import functools
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from absl import flags

from benchmarks import common, search_peers
from benchmarks.common import Ceilings, Row
from experiments.fire_like import FireLike
from l2g_jax.cann import CannIndex, exists
from l2g_jax.cli.command import Group, Values
from l2g_jax.evaluation import average_precision, positive_places


def _define(values: flags.FlagValues) -> None:
  flags.DEFINE_integer(
    "collection", 5000, "Number of images in the collection.", 200, flag_values=values
  )
  flags.DEFINE_integer(
    "descriptors", 600, "Number of descriptors of an image or a query.", 1, flag_values=values
  )
  flags.DEFINE_integer("num_queries", 20, "Number of queries.", 1, flag_values=values)
  flags.DEFINE_float(
    "recall", 0.99, "Share of the exact 100 best that a method must find.", flag_values=values
  )
  flags.DEFINE_list(
    "peers", list(search_peers.NAMES), "Methods to compare the index with.", flag_values=values
  )
  flags.DEFINE_string(
    "index", None, "Folder that keeps the index; omitted: a temporary one.", flag_values=values
  )


_BEST = 100
# The length of a shortlist, as in arXiv 2509.04351; mAP is that of so many images.
_K = 700
# How many images of a peer's order are scored again.
_DEPTHS = (0, 100, 200, 500, 1000, 2000)
# Multiples of the index's default settings.
_PROBES = (0.5, 1, 2)
_OWN_DEPTHS = (0.5, 1, 2)


@dataclasses.dataclass(frozen=True)
class Exact:
  """The results of brute force.

  Attributes:
    orders: for every query, all images, the most similar first.
    relevant: for every query, the images of its landmark.
    seconds: for a query.
  """

  orders: Sequence[np.ndarray]
  relevant: Sequence[np.ndarray]
  seconds: float

  def recall(self, orders: Sequence[np.ndarray]) -> float:
    """Returns the mean share of the exact 100 best images that orders contain."""
    return statistics.fmean(
      np.isin(exact[:_BEST], order).mean() for exact, order in zip(self.orders, orders, strict=True)
    )

  def mean_average_precision(self, orders: Sequence[np.ndarray]) -> float:
    """Returns the mAP of orders in percent."""
    return 100.0 * statistics.fmean(
      average_precision(positive_places(order, positives, np.zeros(0, int)), len(positives))
      for order, positives in zip(orders, self.relevant, strict=True)
    )


def build_index(collection: FireLike, folder: pathlib.Path) -> tuple[CannIndex, float | None]:
  """Builds an index and returns the seconds, without the stream's; or opens an existing index."""
  if exists(folder):
    return CannIndex.open(folder), None
  making = 0.0

  def stream() -> Iterator[tuple[str, np.ndarray]]:
    nonlocal making
    for number in range(len(collection)):
      start = time.perf_counter()
      image = collection[number]
      making += time.perf_counter() - start
      yield image

  start = time.perf_counter()
  index = CannIndex.build(folder, stream())
  return index, time.perf_counter() - start - making


def search_exactly(index: CannIndex, collection: FireLike, queries: Sequence[np.ndarray]) -> Exact:
  """Computes the similarities of all images."""
  ids = np.arange(len(collection))
  start = time.perf_counter()
  orders = [np.argsort(-index.similarities(query, ids), kind="stable") for query in queries]
  seconds = (time.perf_counter() - start) / len(queries)
  relevant = [np.array(collection.relevant(number)) for number in range(len(queries))]
  return Exact(orders, relevant, seconds)


def own_rows(
  index: CannIndex, queries: Sequence[np.ndarray], exact: Exact, build_seconds: float | None
) -> list[Row]:
  """Measures the index at its default settings and around them."""
  num_bytes = sum(path.stat().st_size for path in index.directory.glob("lists-*/*")) / len(
    index.names
  )
  rows = []
  for probes in _PROBES:
    for depth in _OWN_DEPTHS:
      search = functools.partial(
        index.search,
        k=_K,
        num_probes=max(1, round(probes * index.default_probes)),
        # At its default, the depth comes with screening.
        rescoring_depth=None if depth == 1 else round(depth * index.default_depth),
      )
      search(queries[0])
      seconds, orders = _timed_each(search, queries)
      ids = [order.ids[order.ids >= 0] for order in orders]
      rows.append(
        {
          "method": "l2g_jax CannIndex",
          "setting": f"{search.keywords['num_probes']} probes,"
          f" {round(depth * index.default_depth)} deep"
          + (" (default)" if probes == depth == 1 else ""),
          "ms a query": 1e3 * seconds,
          "recall": exact.recall([order[:_BEST] for order in ids]),
          "mAP": exact.mean_average_precision(ids),
          "build seconds": build_seconds,
          "bytes an image": num_bytes,
        }
      )
  return rows


def peer_rows(
  name: str,
  images: Sequence[np.ndarray],
  index: CannIndex,
  queries: Sequence[np.ndarray],
  exact: Exact,
) -> list[Row]:
  """Measures a peer at each of its settings and depths of rescoring."""
  peer = search_peers.build(name, images, index.config.kernel)
  rows = []
  for setting, score in peer.settings.items():
    score(queries[0])
    seconds, scores = _timed_each(score, queries)
    orders = [np.argsort(-values, kind="stable") for values in scores]
    for depth in _DEPTHS:
      if depth > len(images):
        continue
      rescored, final = _timed_each(
        lambda pair, depth=depth: _rescore(index, pair[0], pair[1], depth),
        list(zip(queries, orders, strict=True)),
      )
      rows.append(
        {
          "method": peer.name,
          "setting": f"{setting}, {depth} deep",
          "ms a query": 1e3 * (seconds + (rescored if depth else 0.0)),
          "recall": exact.recall([order[:_BEST] for order in final]),
          "mAP": exact.mean_average_precision([order[:_K] for order in final]),
          "build seconds": peer.build_seconds,
          "bytes an image": peer.bytes_per_image,
        }
      )
  return rows


def best_row(rows: Sequence[Row], recall: float) -> Row:
  """Returns the fastest row that reaches a recall, or the row of the highest where none does."""
  reaching = [row for row in rows if row["recall"] >= recall]
  if reaching:
    return min(reaching, key=lambda row: row["ms a query"])
  return max(rows, key=lambda row: row["recall"])


def compare(
  collection: FireLike,
  folder: pathlib.Path,
  *,
  num_queries: int,
  recall: float,
  peers: Sequence[str],
) -> dict[str, Sequence[Row]]:
  """Builds and searches by every method.

  Args:
    collection: the images to search.
    folder: of the index.
    num_queries: the number of queries.
    recall: the share of the exact 100 best that each method must find.
    peers: names of `search_peers`; each holds the collection in memory.

  Returns:
    Rows by title: the best of each method, and all settings of the index.
  """
  queries = [collection.query(number) for number in range(num_queries)]
  index, build_seconds = build_index(collection, folder)
  exact = search_exactly(index, collection, queries)
  own = own_rows(index, queries, exact, build_seconds)
  best = [best_row(own, recall)]
  best.append(
    {
      "method": "l2g_jax, all images exactly",
      "ms a query": 1e3 * exact.seconds,
      "recall": 1.0,
      "mAP": exact.mean_average_precision([order[:_K] for order in exact.orders]),
    }
  )
  names = search_peers.available(peers)
  images = [collection[number][1] for number in range(len(collection))] if names else []
  best += [best_row(peer_rows(name, images, index, queries, exact), recall) for name in names]
  for row in best:
    row["ratio"] = best[0]["ms a query"] / row["ms a query"]
  title = f"{len(collection)} images of {collection.count} descriptors"
  return {
    f"{title}, recall of the 100 best at least {recall}": best,
    f"{title}, settings of the index": own,
  }


def main(values: Values, ceilings: Ceilings) -> dict[str, Sequence[Row]]:
  """Reads the flags and compares."""
  del ceilings
  size = 300 if values.quick else values.collection
  count = 40 if values.quick else values.descriptors
  landmarks = min(70, size // 40)
  collection = FireLike(size, num_landmarks=landmarks, images_per_landmark=20, count=count)
  with tempfile.TemporaryDirectory() as temporary:
    return compare(
      collection,
      pathlib.Path(values.index or temporary),
      num_queries=values.num_queries,
      recall=values.recall,
      peers=[name for name in values.peers if name],
    )


def _rescore(index: CannIndex, query: np.ndarray, order: np.ndarray, depth: int) -> np.ndarray:
  """Sorts the first images of an order by their exact similarities."""
  best = np.sort(order[:depth])
  similarities = index.similarities(query, best)
  return np.concatenate([best[np.argsort(-similarities, kind="stable")], order[depth:]])


def _timed_each(function: Callable, items: Sequence) -> tuple[float, list]:
  """Returns the median seconds of a call for each item, and the results."""
  timed = [common.timed(lambda item=item: function(item)) for item in items]
  return statistics.median(seconds for _, seconds in timed), [result for result, _ in timed]


BENCHMARK = common.Benchmark(main, [Group("Index", _define)])

if __name__ == "__main__":
  common.run("cann", __doc__, BENCHMARK)

"""The whole pipeline over a data set and a number of distractors, with its costs."""

import contextlib
import dataclasses
import pathlib
import resource
import statistics
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from experiments.kept import keep
from experiments.measured import RERANKING, maps
from l2g_jax import cann
from l2g_jax.cann import CannConfig, CannIndex
from l2g_jax.cann.lists import IMAGES_PER_SEARCH
from l2g_jax.data.ground_truth import GroundTruth
from l2g_jax.errors import InputError
from l2g_jax.features.aggregate import Vlad, apply_vlad
from l2g_jax.pipeline.l2g import L2G
from l2g_jax.ranked import Ranked, complete_rankings
from l2g_jax.ranking.global_features import GlobalFeatures
from l2g_jax.ranking.global_search import rank_by_global
from l2g_jax.runtime import files
from l2g_jax.runtime.progress import Meter, track
from l2g_jax.runtime.stopwatch import Stopwatch

_KIND = "l2g_jax.scaling.global_features"
_VERSION = 1
# Images whose global features are made and kept together.
_PART = 2048


@dataclasses.dataclass(frozen=True)
class Scale:
  """A data set of n images beside which distractors stand.

  Attributes:
    names: of the n images.
    images: their descriptors, as the index takes them.
    queries: the descriptors of Q queries.
    features: global features of the queries and the n images.
    vlad: makes those of the distractors.
    truth: ground truth of the Q queries.
    distractors: descriptors of as many images as the largest collection needs.
    index: settings of the index.
    l2g: the method.
    k: candidates, and the length of the lists.
    list_depth: neighbours of a list whose similarity is exact.
  """

  names: Sequence[str]
  images: Sequence[np.ndarray]
  queries: Sequence[np.ndarray]
  features: GlobalFeatures
  vlad: Vlad
  truth: GroundTruth
  distractors: Sequence[np.ndarray]
  index: CannConfig
  l2g: L2G
  k: int
  list_depth: int


def measure(
  scale: Scale, num_distractors: int, folder: pathlib.Path, features: pathlib.Path
) -> dict[str, Any]:
  """Builds, searches and ranks.

  Lists are made of the images that the method asks for, the candidates of the queries; those of
  others are not read. What lists of all images would take is told from the seconds of one.

  Args:
    scale: the data set.
    num_distractors: images beside those of the data set; distractor i has id n + i.
    folder: for the index, which is removed at the end.
    features: a folder that keeps the global features of distractors.

  Returns:
    JSON: `images` N, and how many are `distractors`; mAP of `global`, `search` and `l2g` by
    protocol; seconds `build`, `search` and `re-ranking` a query, and `list` an image; `all lists
    hours`; bytes of the `index`, `lists` and `global features` an image; and the process's largest
    `memory` in bytes.
  """
  built = keep(
    folder.parent, [folder.name, "build"], lambda: _build(scale, num_distractors, folder)
  )
  if not cann.exists(folder):
    built = _build(scale, num_distractors, folder)
  index = CannIndex.open(folder)
  database = _all_features(scale, num_distractors, features)
  found, searching = _search(index, scale.queries, scale.k)
  lists, listing = _lists(index, found.ids, scale.k, scale.list_depth)
  watch = Stopwatch()
  placed = scale.l2g.place(lists, database)
  # The first time compiles.
  scale.l2g.rank(placed, Ranked(*(part[:1] for part in found)), scale.features.queries[:1])
  with watch.measure(RERANKING):
    (result,) = scale.l2g.rank(placed, found, scale.features.queries)
  num_images = len(database)
  truth = dataclasses.replace(scale.truth, imlist=index.names)
  by_global = rank_by_global(GlobalFeatures(scale.features.queries, database))
  index_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
  row = {
    "images": num_images,
    "distractors": num_distractors,
    "global": maps(by_global, truth),
    "search": maps(complete_rankings(found.ids, None, num_images), truth),
    "l2g": maps(result.rankings, truth),
    "seconds": {
      "build": built["seconds"],
      "search": searching,
      "re-ranking": watch.seconds[RERANKING] / len(scale.queries),
      "list": listing,
    },
    "all lists hours": listing * num_images / 3600.0,
    "bytes": {
      "index": index_bytes / num_images,
      "lists": 8.0 * lists.ids.shape[1],
      "global features": database.nbytes / num_images,
    },
    # Linux counts kilobytes.
    "memory": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
  }
  cann.remove(folder)
  return row


def _build(scale: Scale, num_distractors: int, folder: pathlib.Path) -> dict[str, float]:
  start = time.perf_counter()
  if cann.exists(folder):
    cann.remove(folder)
  CannIndex.build(folder, _stream(scale, num_distractors), scale.index)
  return {"seconds": time.perf_counter() - start}


def _stream(scale: Scale, num_distractors: int) -> Iterator[tuple[str, np.ndarray]]:
  yield from zip(scale.names, scale.images, strict=True)
  for number in track(range(num_distractors), "distractors", unit="images"):
    yield f"distractor-{number:08d}", scale.distractors[number]


def _all_features(scale: Scale, num_distractors: int, folder: pathlib.Path) -> np.ndarray:
  """Returns the global features `[N, D]`; those of distractors are kept in parts."""
  parts = [scale.features.database]
  with Meter("global features", total=num_distractors, unit="distractors") as meter:
    for start in range(0, num_distractors, _PART):
      path = folder / f"part-{start // _PART:06d}"
      stop = min(start + _PART, len(scale.distractors))
      part = None
      # What is missing or damaged is made, and so is what a smaller run ended with.
      with contextlib.suppress(InputError):
        part = files.load_bundle(path, kind=_KIND, version=_VERSION).arrays["features"]
      if part is None or len(part) < min(_PART, num_distractors - start):
        part = apply_vlad(scale.vlad, (scale.distractors[row] for row in range(start, stop)))
        arrays = {"features": part}
        files.save_bundle(path, kind=_KIND, version=_VERSION, arrays=arrays, metadata={})
      parts.append(np.asarray(part)[: num_distractors - start])
      meter.advance(len(parts[-1]))
  return np.concatenate(parts)


def _search(index: CannIndex, queries: Sequence[np.ndarray], k: int) -> tuple[Ranked, float]:
  """Returns what the queries find `[Q, k]`, and the median seconds of a query."""
  index.search(queries[0], k)
  rows, seconds = [], []
  for query in track(queries, "search", unit="queries"):
    start = time.perf_counter()
    rows.append(index.search(query, k))
    seconds.append(time.perf_counter() - start)
  found = Ranked(np.stack([row.ids for row in rows]), np.stack([row.similarities for row in rows]))
  return found, statistics.median(seconds)


def _lists(index: CannIndex, wanted: np.ndarray, k: int, depth: int) -> tuple[Ranked, float]:
  """Returns lists `[N, k]`, empty but for the images wanted, and the median seconds of one."""
  shape = (len(index.names), k)
  lists = Ranked(np.full(shape, -1, np.int32), np.zeros(shape, np.float32))
  seconds = []
  images = np.unique(wanted[wanted >= 0])
  blocks = np.split(images, range(IMAGES_PER_SEARCH, len(images), IMAGES_PER_SEARCH))
  for block in track(blocks, "lists", unit="blocks of images"):
    start = time.perf_counter()
    # One more, since an image finds itself.
    found = index.search_images(block, k + 1, depth + 1)
    seconds.append((time.perf_counter() - start) / len(block))
    for image, ids, similarities in zip(block, *found, strict=True):
      others = ids != image
      lists.ids[image] = ids[others][:k]
      lists.similarities[image] = similarities[others][:k]
  return lists, statistics.median(seconds)

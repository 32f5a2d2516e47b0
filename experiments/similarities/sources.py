"""Similarities of three worlds, as functions of positions: items first, then queries."""

import dataclasses
import functools
import importlib
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from experiments.fire_like import FireLike
from experiments.material import Material
from experiments.similarities.metrics import Metric, levenshtein, of_rows, warping, warpings
from experiments.similarities.metrics import chamfer as chamfer_distance
from l2g_jax.errors import InputError
from l2g_jax.retriever.similarities import learned_similarity
from l2g_jax.runtime import files

# Of the images, this share shows a landmark of 20 images; the others stand alone.
_IMAGES_PER_LANDMARK = 20
_SHARE = 40
# Of scikit-learn, queries included.
NUM_DIGITS = 1797
# Descriptors that are multiplied at a time.
_COLUMNS = 1 << 17


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
  """A collection with its queries and a similarity.

  Attributes:
    name: of it in tables.
    num_items: N.
    num_queries: Q; query j has the position N + j.
    compare: of positions `[a]` and `[b]`, the first in the role of the query, to `[a, b]` float32.
    relevant: items that belong to each query by its labels; None = there are no labels.
    rows: what `metric` compares, `[N + Q, w]` float32; None = there is no metric.
    metric: a compiled distance of two rows, for `pynndescent`.
  """

  name: str
  num_items: int
  num_queries: int
  compare: Callable[[np.ndarray, np.ndarray], np.ndarray]
  relevant: Sequence[np.ndarray] | None = None
  rows: np.ndarray | None = None
  metric: Metric | None = None


def module(name: str, package: str) -> Any:
  """Imports a module that only this experiment needs.

  Raises:
    InputError: its package is not installed.
  """
  try:
    return importlib.import_module(name)
  except ImportError as error:
    raise InputError(f"This needs {package}: pip install {package}.") from error


def words(num_items: int, num_queries: int, *, seed: int) -> Source:
  """Returns words of Webster's second dictionary, alike by normalised Levenshtein distance."""
  process = module("rapidfuzz.process", "rapidfuzz")
  scorer = module("rapidfuzz.distance", "rapidfuzz").Levenshtein.normalized_similarity
  listed = module("english_words", "english-words").get_english_words_set
  everything = sorted(listed(["web2"], lower=True, alpha=True))
  if len(everything) < num_items + num_queries:
    raise InputError(f"There are {len(everything)} words, and not {num_items + num_queries}.")
  order = np.random.default_rng(seed).permutation(len(everything))
  # Queries are the same in collections of any size.
  chosen = [*order[num_queries : num_queries + num_items], *order[:num_queries]]
  texts = [everything[i] for i in chosen]
  width = max(map(len, texts))
  rows = np.asarray([[ord(c) for c in text.ljust(width, "\0")] for text in texts], np.float32)

  def compare(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    some, others = ([texts[i] for i in ids] for ids in (first, second))
    return process.cdist(some, others, scorer=scorer, dtype=np.float32, workers=1)

  return Source("words", num_items, num_queries, compare, rows=rows, metric=levenshtein)


def series(num_queries: int, *, seed: int) -> Source:
  """Returns the written digits of scikit-learn as series of 8 rows, alike by time warping."""
  loaded = importlib.import_module("sklearn.datasets").load_digits()
  order = np.random.default_rng(seed).permutation(len(loaded.target))
  # Queries come last.
  values, labels = loaded.images[order].astype(np.float32), loaded.target[order]
  number = len(order) - num_queries

  def compare(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return -warpings(values[first], values[second])

  relevant = [np.flatnonzero(labels[:number] == label) for label in labels[number:]]
  return Source(
    "time warping of digits",
    number,
    num_queries,
    compare,
    relevant=relevant,
    rows=values.reshape(len(values), -1),
    metric=of_rows(warping, values.shape[2]),
  )


def chamfer(
  num_items: int, num_queries: int, *, count: int, seed: int, folder: pathlib.Path
) -> Source:
  """Returns FIRe-like images, alike by Chamfer similarity with the kernel power(alpha=7).

  Args:
    num_items: N.
    num_queries: Q, one for each of as many landmarks.
    count: descriptors of an image, in half as many spots.
    seed: of the images.
    folder: where their descriptors are kept.
  """
  landmarks = max(1, num_items // _SHARE)
  made = FireLike(num_items, landmarks, _IMAGES_PER_LANDMARK, count, seed, max(1, count // 2))
  path = folder / f"descriptors-{num_items}-{count}-{seed}.npy"
  if not path.is_file():
    everything = np.empty((num_items + num_queries, count, 128), np.float32)
    for number in range(num_items):
      everything[number] = made[number][1]
    for number in range(num_queries):
      everything[num_items + number] = made.query(number)
    folder.mkdir(parents=True, exist_ok=True)
    with files.atomic_path(path) as temporary, open(temporary, "wb") as file:
      np.save(file, everything)
  values = np.load(path, mmap_mode="r")
  relevant = [np.asarray(made.relevant(number)) for number in range(num_queries)]
  return Source(
    f"Chamfer of {count} descriptors",
    num_items,
    num_queries,
    functools.partial(_chamfer, values),
    relevant=relevant,
    rows=values.reshape(len(values), -1),
    metric=of_rows(chamfer_distance, values.shape[2]),
  )


def _chamfer(values: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
  count, width = values.shape[1], values.shape[2]
  found = np.empty((len(first), len(second)), np.float32)
  step = max(1, _COLUMNS // count)
  for start in range(0, len(second), step):
    others = np.asarray(values[second[start : start + step]])
    # Descriptors of one rank beside each other: maxima over images are then of whole columns.
    columns = others.transpose(2, 1, 0).reshape(width, -1)
    for row, image in enumerate(first):
      cosines = (np.asarray(values[image]) @ columns).reshape(count, count, len(others))
      best = np.maximum(cosines.max(axis=1), 0.0)
      found[row, start : start + step] = (best**7).mean(axis=0)
  return found


def images_of(
  material: Material, num_queries: int, *, weights: pathlib.Path | None, count: int
) -> Source:
  """Returns the images of a data set with its queries.

  Args:
    material: the data set, made ready.
    num_queries: of its queries, the first so many at most.
    weights: of a learned matcher; None = Chamfer similarity of the strongest descriptors.
    count: descriptors of an image, for Chamfer similarity.

  Raises:
    InputError: there are no weights.
  """
  number, queries = material.num_images, min(num_queries, material.num_queries)
  truth = material.dataset.ground_truth
  relevant = [np.asarray([*query.easy, *query.hard], np.int64) for query in truth.queries[:queries]]
  if weights is None:
    values = np.zeros((number + queries, count, 128), np.float32)
    for row in range(number + queries):
      described = _described(material, row)[0].descriptors[:count]
      # A short set repeats itself, which changes no maximum, and hardly a mean.
      values[row] = np.resize(described, (count, 128)) if len(described) else 0.0
    compare = functools.partial(_chamfer, values)
    name = f"Chamfer of {count} descriptors, {material.dataset.name}"
    return Source(name, number, queries, compare, relevant=relevant)
  matcher = learned_similarity(weights)

  def matched(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    others = [_described(material, i) for i in second]
    rows = [matcher.compare(_described(material, i), others) for i in first]
    return np.asarray(rows, np.float32).reshape(len(first), len(second))

  return Source(f"learned, {material.dataset.name}", number, queries, matched, relevant=relevant)


def _described(material: Material, position: int) -> Any:
  if position < material.num_images:
    return material.images[int(position)]
  return material.described_queries[int(position) - material.num_images]

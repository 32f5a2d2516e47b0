"""Batches of lists for a network over lists, and how it does on lists kept apart."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.comparison.contrasts import contrasts_of
from experiments.training.material import LabelledLists, trained_rows
from l2g_jax.evaluation import average_precision
from l2g_jax.ranked import Ranked
from l2g_jax.ranking.global_features import GlobalFeatures
from l2g_jax.ranking.listwise import ListInputs, ListwiseConfig, list_inputs, score_lists

# Share of the candidates of a list that a batch keeps, so that no two batches are alike.
_KEPT = 0.85


class ListBatch(NamedTuple):
  """B lists of n points; see `ListInputs`.

  Attributes:
    values: `[B, n, length + 2]` float32.
    counts: `[B]` int32.
    labels: `[B, n]` int8, -1 of the query, which is point 0.
  """

  values: jax.Array
  counts: jax.Array
  labels: np.ndarray


@dataclasses.dataclass(frozen=True)
class ListMaterial:
  """A set's lists as the network reads them.

  Attributes:
    lists: with their labels.
    rows: `[R]`, the lists that are trained on.
    found: `[A, L]` with contrasts.
    neighbors: `[N, L]` with contrasts.
    features: of the A anchors and N images.
  """

  lists: LabelledLists
  rows: np.ndarray
  found: Ranked
  neighbors: Ranked
  features: GlobalFeatures


def open_list_material(lists: LabelledLists) -> ListMaterial:
  """Makes contrasts of the similarities of a set, and gathers its global features."""
  given = lists.material
  found, neighbors = contrasts_of(lists.found, given.lists)
  database = np.asarray(given.features.database)
  anchors = database[np.where(lists.is_query, 0, lists.numbers)]
  anchors[lists.is_query] = given.features.queries[lists.numbers[lists.is_query]]
  features = GlobalFeatures(anchors, database)
  return ListMaterial(lists, trained_rows(lists), found, neighbors, features)


def draw_batch(
  material: Sequence[ListMaterial],
  rng: np.random.Generator,
  size: int,
  config: ListwiseConfig,
  num_points: int,
) -> ListBatch:
  """Draws a batch of one of the sets, each as often as it has lists.

  Args:
    material: the sets; each has a list to train on.
    rng: the source of all draws.
    size: B.
    config: of the network.
    num_points: n, the query and the first of each list; up to length + 1.
  """
  shares = np.array([len(made.rows) for made in material], np.float64)
  made = material[rng.choice(len(material), p=shares / shares.sum())]
  rows = rng.choice(made.rows, size)
  found = made.found.ids.shape[1]
  # Those that are dropped go last, and then away.
  dropped = rng.random((size, found)) >= _KEPT
  return make_batch(made, rows, config, num_points, dropped)


def make_batch(
  made: ListMaterial,
  rows: np.ndarray,
  config: ListwiseConfig,
  num_points: int,
  dropped: np.ndarray | None = None,
) -> ListBatch:
  """Makes a batch of some lists of a set, without the candidates `[B, L]` that are dropped."""
  ids, similarities = made.found.ids[rows], made.found.similarities[rows]
  labels = made.lists.labels[rows]
  if dropped is not None:
    gone = dropped | (ids < 0)
    order = np.argsort(gone, axis=1, kind="stable")
    ids = np.take_along_axis(np.where(gone, -1, ids), order, axis=1)
    similarities = np.take_along_axis(np.where(gone, 0.0, similarities), order, axis=1)
    labels = np.take_along_axis(np.where(gone, -1, labels), order, axis=1)
  features = GlobalFeatures(made.features.queries[rows], made.features.database)
  values, counts = list_inputs(
    Ranked(ids, similarities), made.neighbors, features, length=config.length
  )
  padded = np.full((len(rows), config.length + 1), -1, np.int8)
  width = min(config.length, ids.shape[1])
  padded[:, 1 : 1 + width] = labels[:, :width]
  return ListBatch(values[:, :num_points], jnp.minimum(counts, num_points), padded[:, :num_points])


def validate(
  params: Mapping[str, Any],
  material: Sequence[ListMaterial],
  config: ListwiseConfig,
  *,
  most: int,
) -> dict[str, float]:
  """Returns the mean AP over lists that are kept apart, in percent: of the search, of the network.

  Args:
    params: of the network.
    material: the sets.
    config: of the network.
    most: lists of each set, evenly chosen.
  """
  searched, trained = [], []
  for made in material:
    labels = made.lists.labels[:, : config.length]
    usable = made.lists.validates & np.any(labels == 1, axis=1) & np.any(labels == 0, axis=1)
    rows = np.flatnonzero(usable)
    if not len(rows):
      continue
    rows = rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(np.int64)]
    batch = make_batch(made, rows, config, config.length + 1)
    logits = np.asarray(score_lists(params, ListInputs(batch.values, batch.counts), config))
    for values, own in zip(logits, batch.labels, strict=True):
      used = np.flatnonzero(own >= 0)
      positive = own[used] == 1
      searched.append(average_precision(np.flatnonzero(positive), int(positive.sum())))
      order = np.argsort(-values[used], kind="stable")
      trained.append(average_precision(np.flatnonzero(positive[order]), int(positive.sum())))
  if not searched:
    return {}
  return {
    "chamfer": 100.0 * float(np.mean(searched)),
    "bilstm": 100.0 * float(np.mean(trained)),
  }

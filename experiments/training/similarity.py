"""The network of a learned similarity: how it begins, and how it does on lists kept apart."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.training.pairs import PairBatch, PairMaterial
from l2g_jax.evaluation import average_precision
from l2g_jax.features.whitening import fit_whitening
from l2g_jax.ranking.ames import Ames, AmesConfig, ensemble, similarities

# Candidates of a query that are re-ranked.
_DEPTH = 100
# Queries and keys begin so many times as large, so that like descriptors read from each other.
_SHARPNESS = 1.5
# What `choose_ensemble` tries: weights of Chamfer's similarity, and temperatures.
_WEIGHTS = tuple(np.linspace(0.0, 1.0, 21).tolist())
_TEMPERATURES = (0.1, 0.2, 0.3, 0.5, 0.8, 1.0)


def start(config: AmesConfig, sample: np.ndarray, seed: int) -> dict[str, Any]:
  """Returns parameters to begin with.

  The first layer whitens descriptors. In the attention between sets, keys begin equal to queries:
  a descriptor then reads from those that it resembles, which would take long to learn.

  Args:
    config: of the network.
    sample: `[n, local_dim]` descriptors of unit norm.
    seed: of the other parameters.
  """
  blank = np.zeros((1, 2, config.local_dim), np.float32)
  mask = np.ones((1, 2), bool)
  made = Ames(config).init(jax.random.key(seed), blank, blank, mask, mask)["params"]
  params = jax.tree.map(np.array, made)
  whitening = fit_whitening(sample, dimension=config.model_dim)
  linear = params["remap"]["linear"]
  linear["kernel"] = whitening.projection
  linear["bias"] = -whitening.mean @ whitening.projection
  for number in range(config.num_layers):
    between = params[f"layer{number}"]["other"]
    between["query"]["kernel"] *= _SHARPNESS
    between["key"]["kernel"] = between["query"]["kernel"].copy()
  return params


def logits_of(params: Any, batch: PairBatch, config: AmesConfig) -> jax.Array:
  """Returns the logits `[P]` of a batch, as they are trained."""
  return Ames(config).apply(
    {"params": params},
    batch.query,
    batch.images,
    batch.query_mask,
    batch.image_mask,
    rounds_images=False,
  )  # pyright: ignore[reportReturnType]


class _Head(NamedTuple):
  """The judged images of the head of a list.

  Attributes:
    labels: `[n]`, 1 or 0.
    chamfer: `[n]` similarities of the search, in units of the largest.
    logits: `[n]`.
  """

  labels: np.ndarray
  chamfer: np.ndarray
  logits: np.ndarray


class Validation:
  """Lists that are kept apart, with the logits of a network on their heads."""

  def __init__(
    self,
    material: Sequence[PairMaterial],
    config: AmesConfig,
    counts: tuple[int, int],
    *,
    most: int | None = None,
  ):
    """Takes the first 100 candidates of queries that are not trained on.

    Args:
      material: the sets.
      config: of the network.
      counts: descriptors of a query and of an image.
      most: queries of each set, evenly chosen; None = all.
    """
    self._config, self._counts = config, counts
    self._heads: list[tuple[PairMaterial, int]] = []
    for made in material:
      labels = made.lists.labels[:, :_DEPTH]
      usable = made.lists.validates & np.any(labels == 1, axis=1) & np.any(labels == 0, axis=1)
      rows = np.flatnonzero(usable)
      if most is not None and len(rows) > most:
        rows = rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]
      self._heads += [(made, int(row)) for row in rows]

  def figures(self, params: Mapping[str, Any]) -> dict[str, float]:
    """Returns the mean AP in the heads, in percent: of the search, and of the logits."""
    return _figures(list(self._scored(params)))

  def choose_ensemble(self, params: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, float]]:
    """Returns weight and temperature of the best `ensemble`; and `figures` with it, `both`."""
    scored = list(self._scored(params))
    best, rule = -1.0, {"weight": 0.0, "temperature": _TEMPERATURES[0]}
    for weight, temperature in itertools.product(_WEIGHTS, _TEMPERATURES):
      tried = {"weight": weight, "temperature": temperature}
      value = _mean_precision(
        (np.asarray(ensemble(head.chamfer, head.logits, **tried)), head.labels) for head in scored
      )
      if value > best:
        best, rule = value, tried
    return rule, {**_figures(scored), "both": best}

  def _scored(self, params: Mapping[str, Any]) -> Iterator[_Head]:
    for made, row in self._heads:
      found, labels = made.lists.found, made.lists.labels[row, :_DEPTH]
      used = np.flatnonzero(labels >= 0)
      number = made.lists.numbers[row]
      query, query_mask = made.queries.head(np.array([number]), self._counts[0])
      images, mask = made.images.head(found.ids[row, used], self._counts[1])
      logits = similarities(
        params, query[0], images, config=self._config, query_mask=query_mask[0], image_mask=mask
      )
      own = found.similarities[row, used] / max(float(found.similarities[row, 0]), 1e-12)
      yield _Head(labels[used], own.astype(np.float32), logits)


def _figures(scored: Sequence[_Head]) -> dict[str, float]:
  return {
    "chamfer": _mean_precision((head.chamfer, head.labels) for head in scored),
    "learned": _mean_precision((head.logits, head.labels) for head in scored),
  }


def _mean_precision(heads: Iterable[tuple[np.ndarray, np.ndarray]]) -> float:
  """Returns the mean AP of scores with labels, in percent."""
  values = []
  for scores, labels in heads:
    places = np.flatnonzero(labels[np.argsort(-scores, kind="stable")] == 1)
    values.append(average_precision(places, len(places)))
  return 100.0 * float(np.mean(values)) if values else float("nan")

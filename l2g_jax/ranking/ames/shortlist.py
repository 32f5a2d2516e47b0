"""Re-ranking of shortlists by the logits of AMES together with global similarities.

A protocol leaves some images out of its figures. The published evaluation moves them to the end
before the re-ranking, so that they take no places in its head; it re-ranks once a protocol, with
junk images at the end for Medium, with junk and easy ones for Hard.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from l2g_jax import settings
from l2g_jax.errors import InputError
from l2g_jax.ranked import Ranked

# Length of the published head; there are figures for 400, too.
NUM_RERANKED = 100


def ensemble(
  global_similarities: ArrayLike, logits: ArrayLike, *, weight: ArrayLike, temperature: ArrayLike
) -> jax.Array:
  """Returns the scores lambda g + (1 - lambda) sigmoid(gamma l) of global similarities and logits.

  Args:
    global_similarities: `[...]`, g.
    logits: `[...]` likewise, l.
    weight: lambda in [0, 1]; 1 uses the global similarities alone. May be traced.
    temperature: gamma, above 0. May be traced.

  Raises:
    SettingError: the weight or the temperature is outside its range.

  Source: Suma et al., AMES, ECCV 2024; `config.ENSEMBLES` has the published values.
  """
  logits = jnp.asarray(logits)
  similarities = jnp.asarray(global_similarities, logits.dtype)
  weight = settings.real("weight", weight, least=0.0, most=1.0)
  temperature = settings.real("temperature", temperature, above=0.0)
  weight, temperature = (jnp.asarray(value, logits.dtype) for value in (weight, temperature))
  return weight * similarities + (1.0 - weight) * jax.nn.sigmoid(temperature * logits)


def ignored_last(ranked: Ranked, ignored: Sequence[np.ndarray]) -> Ranked:
  """Moves the images that a protocol ignores to the end of their lists.

  Args:
    ranked: `[Q, k]`, best first; -1 pads, and stays last.
    ignored: of each query, the ids that are moved; others than those in the list do no harm.

  Returns:
    The lists `[Q, k]`; both the images that stay and those that are moved keep their order.

  Raises:
    InputError: shapes that do not fit, or ids that are not integers.
  """
  ids, similarities = _checked(ranked)
  if len(ignored) != len(ids):
    raise InputError(f"Ignored ids must be of {len(ids)} queries, not of {len(ignored)}.")
  order = np.empty(ids.shape, np.int64)
  for row, (images, away) in enumerate(zip(ids, ignored, strict=True)):
    away = np.asarray(away)
    if away.size and not np.issubdtype(away.dtype, np.integer):
      raise InputError(f"The ignored ids of query {row} must be integers, not {away.dtype}.")
    group = np.where(images < 0, 2, np.isin(images, away))
    order[row] = np.argsort(group, kind="stable")
  return Ranked(
    np.take_along_axis(ids, order, axis=1), np.take_along_axis(similarities, order, axis=1)
  )


def rerank_by_ames(
  ranked: Ranked, logits: ArrayLike, *, weight: float, temperature: float
) -> np.ndarray:
  """Re-ranks the heads of lists by `ensemble`.

  Args:
    ranked: `[Q, k]` by global similarities, which may be below 0, best first; -1 pads. For a
      protocol, as `ignored_last` returns them.
    logits: `[Q, M]` of the first M images of each list, M up to k; see `NUM_RERANKED`. Those of
      padding are not used.
    weight: lambda, see `ensemble`.
    temperature: gamma, see `ensemble`.

  Returns:
    `[Q, k]` ids: the head by descending score, ties by the place in the list, then the rest as it
    was.

  Raises:
    InputError: shapes that do not fit, a value that is not finite, or a number outside of its
      range.
  """
  ids, similarities = _checked(ranked)
  logits = np.asarray(logits)
  if logits.ndim != 2 or len(logits) != len(ids) or not 0 < logits.shape[1] <= ids.shape[1]:
    raise InputError(
      f"Logits must be [{len(ids)}, M], M from 1 to {ids.shape[1]}, not {list(logits.shape)}."
    )
  heads = ids[:, : logits.shape[1]]
  is_image = heads >= 0
  logits = np.where(is_image, logits, 0.0).astype(np.float32)
  if not np.all(np.isfinite(logits)):
    raise InputError("Logits hold a value that is not finite.")
  scores = ensemble(
    similarities[:, : logits.shape[1]], logits, weight=weight, temperature=temperature
  )
  scores = np.where(is_image, scores, -np.inf)
  order = np.argsort(-scores, axis=1, kind="stable")
  return np.concatenate(
    [np.take_along_axis(heads, order, axis=1), ids[:, logits.shape[1] :]], axis=1
  )


def _checked(ranked: Ranked) -> tuple[np.ndarray, np.ndarray]:
  """Returns ids and similarities of lists; raises InputError if they can't be re-ranked."""
  ids, similarities = (np.asarray(array) for array in ranked)
  if ids.ndim != 2 or not ids.size or ids.shape != similarities.shape:
    raise InputError(
      f"Ranked images must be ids and similarities [Q, k], not {list(ids.shape)} and "
      f"{list(similarities.shape)}."
    )
  if not np.issubdtype(ids.dtype, np.integer):
    raise InputError(f"The ids of ranked images must be integers, not {ids.dtype}.")
  if not np.all(np.isfinite(similarities)):
    raise InputError("Ranked images hold a similarity that is not finite.")
  return ids, similarities

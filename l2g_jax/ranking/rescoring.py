"""Any similarity in place of Chamfer: ranked lists by a function, or by a table (open question 1).

L2G embeds what ranked lists say: the candidates of the queries and the neighbours of the images. So
another similarity takes part by new lists. Its rule of range: similarities are finite and at least
0, of any scale, since the method compares them within a list or divides them by the largest of the
problem; a raw score that may be below 0, such as a logit, is mapped to (0, 1) by a sigmoid.
"""

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from l2g_jax import settings
from l2g_jax.errors import InputError
from l2g_jax.ranked import Ranked
from l2g_jax.runtime.progress import track

Scale = Literal["similarity", "logit"]


def rescore(
  ranked: Ranked,
  compare: Callable[[int, np.ndarray], ArrayLike],
  *,
  depth: int,
  scale: Scale = "similarity",
  title: str | None = None,
) -> Ranked:
  """Orders the heads of ranked lists by another similarity.

  Args:
    ranked: `[R, L]`, best first; -1 pads at the end.
    compare: maps the number of a row and ids `[n]` of its head to their values `[n]`, such as the
      inliers of each pair or the logits of a network.
    depth: how many of a row are compared, at least 1.
    scale: of the values: `similarity`, at least 0; or `logit`, any.
    title: of the progress; None shows none.

  Returns:
    `[R, L]`: the heads by value, ties in the order they had. The others follow in their order with
    similarity 0: nothing is known of them.

  Raises:
    InputError: a value is not finite, or below 0 where it is no logit; or the shapes do not fit.
  """
  depth = settings.integer("depth", depth, least=1)
  ids = np.array(ranked.ids)
  similarities = np.zeros(ids.shape, np.float32)
  for row in track(range(len(ids)), title or "", unit="rows", disabled=title is None):
    head = ids[row, :depth]
    head = head[head >= 0]
    if not len(head):
      continue
    values = _normalised(compare(row, head), scale, (len(head),))
    order = np.argsort(-values, kind="stable")
    ids[row, : len(head)] = head[order]
    similarities[row, : len(head)] = values[order]
  return Ranked(ids, similarities)


def rank_table(
  table: ArrayLike, k: int, *, scale: Scale = "similarity", skip_self: bool = False
) -> Ranked:
  """Ranks a whole table of similarities.

  Args:
    table: `[R, N]`, of the queries, or of the images themselves, to N images.
    k: length of the lists, at least 1.
    scale: of the values, see `rescore`.
    skip_self: whether row i is image i, which its own list leaves out.

  Returns:
    `[R, min(k, N)]`, or at most N - 1 without the image itself; ties go to the smaller id.

  Raises:
    InputError: see `rescore`; or `skip_self` gets a table that is not square.
  """
  k = settings.integer("k", k, least=1)
  table = np.asarray(table)
  if table.ndim != 2 or (skip_self and len(table) != table.shape[1]):
    raise InputError(
      f"A table of similarities must be [{'N' if skip_self else 'R'}, N], not {table.shape}."
    )
  values = _normalised(table, scale, table.shape)
  if skip_self:
    values = values.copy()
    np.fill_diagonal(values, -np.inf)
  k = min(k, values.shape[1] - skip_self)
  ids = np.argsort(-values, axis=1, kind="stable")[:, :k].astype(np.int32)
  return Ranked(ids, np.take_along_axis(values, ids, axis=1))


def _normalised(values: ArrayLike, scale: Scale, shape: tuple[int, ...]) -> np.ndarray:
  """Returns values as similarities, float32, at least 0."""
  scale = settings.choice("scale", scale, get_args(Scale))
  values = np.asarray(values, np.float64)
  if values.shape != shape:
    raise InputError(f"A similarity must give {list(shape)} values, not {list(values.shape)}.")
  if not np.all(np.isfinite(values)):
    raise InputError("A similarity gave a value that is not finite.")
  if scale == "logit":
    return (0.5 * (1.0 + np.tanh(0.5 * values))).astype(np.float32)
  if np.any(values < 0.0):
    raise InputError(
      "A similarity gave a value below 0; raw scores, such as logits, need the scale `logit`."
    )
  return values.astype(np.float32)

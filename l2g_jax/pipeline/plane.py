"""A shortlist as a map: its known similarities, embedded in the plane."""

import dataclasses
import functools

import jax
import numpy as np

from l2g_jax.embedding.reason import Reason
from l2g_jax.pipeline.collection import rounded_up
from l2g_jax.pipeline.config import Choices, L2GConfig, Numbers
from l2g_jax.pipeline.embedded import embed_shortlist
from l2g_jax.ranked import Ranked

# Points of a map that a person can look at; more hide each other, and are hardly like the query.
NUM_POINTS = 50
# Sizes of shortlists are rounded up to a multiple of it, so that few programs are compiled.
_STEP = 50


@dataclasses.dataclass(frozen=True)
class Plane:
  """A query and its k candidates in the plane.

  Attributes:
    points: `[k + 1, 2]` float32, in -1 to 1; the query is the first. What is alike lies together.
    normalized_stress: how far distances differ from dissimilarities, see `mds.SmacofResult`.
    sentence: why the minimisation ended.
  """

  points: np.ndarray
  normalized_stress: float
  sentence: str


def embed_in_plane(
  ids: np.ndarray, similarities: np.ndarray, lists: Ranked, config: L2GConfig
) -> Plane:
  """Embeds a query and some of its candidates in two dimensions, by SMACOF.

  Args:
    ids: `[k]` of the candidates, best first.
    similarities: `[k]` of the query to them.
    lists: `[N, L]`, the neighbours of every image.
    config: settings of the method; the number of dimensions is 2 here.
  """
  size = len(ids)
  padded = np.full(-(-size // _STEP) * _STEP, -1, np.int32)
  padded[:size] = ids
  own = np.zeros(len(padded), np.float32)
  own[:size] = similarities
  shape = (len(padded), rounded_up(lists.ids.shape[1]))
  near = np.full(shape, -1, np.int32)
  near[:size, : lists.ids.shape[1]] = lists.ids[ids]
  near_similarities = np.zeros(shape, np.float32)
  near_similarities[:size, : lists.ids.shape[1]] = lists.similarities[ids]
  points, stress, reason = _embed(
    config.numbers(),
    padded,
    own,
    near,
    near_similarities,
    id_bound=1 << len(lists.ids).bit_length(),
    choices=config.choices(len(padded)),
  )
  points = np.asarray(points)[: size + 1]
  points = points - points.mean(axis=0)
  return Plane(
    points / max(float(np.abs(points).max(initial=0.0)), 1e-9),
    float(stress),
    Reason(int(reason)).sentence,
  )


@functools.partial(jax.jit, static_argnames=("id_bound", "choices"))
def _embed(
  numbers: Numbers,
  ids: jax.Array,
  similarities: jax.Array,
  near: jax.Array,
  near_similarities: jax.Array,
  *,
  id_bound: int,
  choices: Choices,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  _, embedded = embed_shortlist(
    numbers,
    ids,
    similarities,
    (near, near_similarities),
    num_dimensions=2,
    id_bound=id_bound,
    choices=choices,
  )
  return embedded.embedding, embedded.normalized_stress, embedded.reason

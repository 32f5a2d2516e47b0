"""Shortlists with labels, that no image is needed for."""

from experiments.shortlists import Shortlists
from l2g_jax.data.ground_truth import GroundTruth, QueryJudgement
from tests.pipeline.problems import some_collection


def labelled(seed: int = 0) -> Shortlists:
  """Shortlists of a few clusters, with labels for some of each query's candidates."""
  candidates, lists, features = some_collection(seed)
  truth = GroundTruth(
    imlist=tuple(map(str, range(len(features.database)))),
    qimlist=tuple(map(str, range(len(features.queries)))),
    queries=tuple(
      QueryJudgement(easy=ids[:1], hard=ids[2:4], junk=ids[5:6], bbx=(0.0, 0.0, 1.0, 1.0))
      for ids in candidates.ids
    ),
  )
  return Shortlists(candidates, lists, features, truth)

"""Flags of the similarity that L2G embeds."""

import pathlib

from absl import flags

from l2g_jax.cli.command import Group, Values
from l2g_jax.cli.setting_errors import settings_as_flags
from l2g_jax.errors import InputError
from l2g_jax.ranking.asmk import AsmkConfig
from l2g_jax.retriever.asmk_search import AsmkSearch
from l2g_jax.retriever.pair_similarity import DEPTH, LIST_DEPTH, PairSimilarity
from l2g_jax.retriever.similarities import ames_similarity, learned_similarity, spatial_similarity
from l2g_jax.retriever.trained import default_path


def _define(values: flags.FlagValues) -> None:
  flags.DEFINE_string(
    "similarity",
    "chamfer",
    "What L2G embeds: chamfer, of the local search; asmk or asmk-float, which search in its place;"
    " spatial, the inliers of a spatial verification, ames:WEIGHTS, or learned:WEIGHTS, a smaller"
    " AMES that experiments.train_similarity trains: candidates and neighbours are compared by them"
    " anew. Without WEIGHTS, learned takes those of the work folder.",
    flag_values=values,
  )
  flags.DEFINE_integer(
    "depth", DEPTH, "Candidates of a query that are compared anew.", flag_values=values
  )
  flags.DEFINE_integer(
    "list_depth", LIST_DEPTH, "Neighbours of an image that are compared anew.", flag_values=values
  )
  flags.DEFINE_integer(
    "num_words", None, "Words of ASMK; omitted: by the collection.", flag_values=values
  )


SIMILARITY = Group("Similarity", _define)


def read_similarity(values: Values) -> PairSimilarity | AsmkSearch | None:
  """Returns the similarity that the flags name; None = that of the search."""
  name, _, rest = values.similarity.partition(":")
  depths = {"depth": values.depth, "list_depth": values.list_depth}
  with settings_as_flags():
    if name == "ames" and rest:
      return ames_similarity(pathlib.Path(rest), **depths)
    if name == "learned":
      path = pathlib.Path(rest) if rest else default_path(values.work_dir, "learned")
      return learned_similarity(path, **depths)
    match values.similarity:
      case "chamfer":
        return None
      case "spatial":
        return spatial_similarity(**depths)
      case "asmk" | "asmk-float":
        config = AsmkConfig(binary=name == "asmk")
        return AsmkSearch(config, num_words=values.num_words, seed=values.seed)
  raise InputError(
    f"--similarity must be chamfer, asmk, asmk-float, spatial, ames:WEIGHTS or learned[:WEIGHTS],"
    f" not {values.similarity!r}."
  )

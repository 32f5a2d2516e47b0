"""Flags of the similarity that L2G embeds."""

from absl import flags

from l2g_jax.cli.command import Group, Values
from l2g_jax.cli.setting_errors import settings_as_flags
from l2g_jax.retriever.pair_similarity import DEPTH, LIST_DEPTH, PairSimilarity
from l2g_jax.retriever.similarities import spatial_similarity


def _define(values: flags.FlagValues) -> None:
  flags.DEFINE_enum(
    "similarity",
    "chamfer",
    ["chamfer", "spatial"],
    "What L2G embeds: Chamfer similarities of the search, or the inliers of a spatial verification,"
    " by which candidates and neighbours are compared anew.",
    flag_values=values,
  )
  flags.DEFINE_integer(
    "depth", DEPTH, "Candidates of a query that are compared anew.", flag_values=values
  )
  flags.DEFINE_integer(
    "list_depth", LIST_DEPTH, "Neighbours of each image that are compared anew.", flag_values=values
  )


SIMILARITY = Group("Similarity", _define)


def read_similarity(values: Values) -> PairSimilarity | None:
  """Returns the similarity of pairs that the flags name; None = that of the search."""
  if values.similarity == "chamfer":
    return None
  with settings_as_flags():
    return spatial_similarity(depth=values.depth, list_depth=values.list_depth)

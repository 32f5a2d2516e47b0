"""Flags of the method: search, embedding, fusion, re-ranking."""

from typing import get_args

from absl import flags

from l2g_jax import settings
from l2g_jax.cann import CannConfig
from l2g_jax.cli.command import Group, Values
from l2g_jax.cli.setting_errors import settings_as_flags
from l2g_jax.embedding import dissimilarity, mds
from l2g_jax.pipeline.config import PAPER, L2GConfig
from l2g_jax.pipeline.l2g import PAPER_WEIGHT, check_weight
from l2g_jax.ranking import fusion
from l2g_jax.retriever.options import INDEX
from l2g_jax.similarity import kernels

_METHOD = L2GConfig()


# What --preset=paper sets; the flags of the search are among them.
PAPER_FLAGS = {
  "kernel": "chamfer",
  "burst_power": 0.0,
  "w": PAPER_WEIGHT,
  "num_known": PAPER.num_known,
  "query_pairs": PAPER.query_pairs,
  "measure": PAPER.measure,
  "p": PAPER.power,
  "method": PAPER.method,
  "max_iterations": PAPER.max_iterations,
  "rtol": PAPER.rtol,
  "M": PAPER.num_reranked,
  "K": PAPER.num_neighbors,
  "beta": PAPER.beta,
  "certainty_ratio": PAPER.certainty_ratio,
}


def _define_search(values: flags.FlagValues) -> None:
  flags.DEFINE_integer(
    "k", 700, "Candidates of the local search that are embedded.", flag_values=values
  )
  flags.DEFINE_string(
    "kernel",
    str(INDEX.kernel),
    "chamfer, power(alpha=.) or cann(radius=.,p=.).",
    flag_values=values,
  )
  flags.DEFINE_float(
    "burst_power",
    INDEX.burst_power,
    "How far descriptors of an image that are alike count as one; 0: all count the same.",
    flag_values=values,
  )
  flags.DEFINE_integer(
    "num_probes",
    None,
    "Cells searched for each descriptor; omitted: by the size of the index.",
    1,
    flag_values=values,
  )
  flags.DEFINE_integer(
    "rescoring_depth",
    None,
    "Images scored exactly; omitted: by the size of the index.",
    0,
    flag_values=values,
  )


def _define_method(values: flags.FlagValues) -> None:
  flags.DEFINE_enum(
    "preset",
    "default",
    ["default", "paper"],
    "paper: the recipe attributed to arXiv 2509.04351, in the kernel and all flags below; a flag"
    " that is given stays.",
    flag_values=values,
  )
  flags.DEFINE_float(
    "w",
    None,
    "Weight of the embedding against the global feature, 0 to 1; omitted: that of the features.",
    flag_values=values,
  )
  flags.DEFINE_integer(
    "num_known",
    _METHOD.num_known,
    "t, neighbours of a candidate whose similarity is taken as known.",
    flag_values=values,
  )
  flags.DEFINE_integer(
    "num_query_known",
    _METHOD.num_query_known,
    "Neighbours of the query whose similarity is taken as known.",
    flag_values=values,
  )
  flags.DEFINE_enum(
    "query_pairs",
    _METHOD.query_pairs,
    get_args(dissimilarity.QueryPairs),
    "Whether the query's pairs are known for its own nearest or for all candidates.",
    flag_values=values,
  )
  flags.DEFINE_enum(
    "measure",
    _METHOD.measure,
    get_args(dissimilarity.Measure),
    "What s of a known pair is: how far it stands above unrelated images, or its similarity.",
    flag_values=values,
  )
  flags.DEFINE_float(
    "p",
    _METHOD.power,
    "Exponent of D = 1 - s^p; about 0.3 with --measure=similarity.",
    flag_values=values,
  )
  flags.DEFINE_enum(
    "completion",
    _METHOD.completion,
    get_args(dissimilarity.Completion),
    "Dissimilarity of unknown pairs.",
    flag_values=values,
  )
  flags.DEFINE_integer(
    "dimensions", _METHOD.num_dimensions, "m, dimensions of the embedding.", flag_values=values
  )
  flags.DEFINE_enum(
    "method",
    _METHOD.method,
    get_args(mds.Method),
    "How the stress is minimised.",
    flag_values=values,
  )
  flags.DEFINE_integer(
    "max_iterations",
    _METHOD.max_iterations,
    "Iterations of it, at most.",
    flag_values=values,
  )
  flags.DEFINE_float(
    "rtol",
    _METHOD.rtol,
    "Relative fall of the stress in 5 iterations below which it stops.",
    flag_values=values,
  )
  flags.DEFINE_enum(
    "fusion",
    _METHOD.fusion,
    get_args(fusion.Fusion),
    "How the two vectors become one.",
    flag_values=values,
  )
  flags.DEFINE_integer(
    "M",
    None,
    "Candidates to re-rank; omitted: k. Those beyond k have their global feature alone.",
    flag_values=values,
  )
  flags.DEFINE_integer(
    "K", _METHOD.num_neighbors, "Neighbours that refine each of them.", flag_values=values
  )
  flags.DEFINE_float("beta", _METHOD.beta, "Weight of these neighbours.", flag_values=values)
  flags.DEFINE_float(
    "certainty_ratio",
    _METHOD.certainty_ratio,
    "Multiple of the background above which a match counts as certain; inf: the paper's order.",
    flag_values=values,
  )


def _settle_method(values: flags.FlagValues) -> None:
  """Sets what a preset says and no flag does."""
  if values["preset"].value == "paper":
    for name, value in PAPER_FLAGS.items():
      if not values[name].present:
        values[name].value = value


SEARCH = Group("Local search", _define_search)
METHOD = Group("Embedding, fusion and re-ranking", _define_method, _settle_method)


def read_index_config(values: Values) -> CannConfig:
  """Returns the settings of the index and its search; SettingError where one can't be."""
  with settings_as_flags():
    return CannConfig(
      kernel=kernels.parse(values.kernel),
      burst_power=values.burst_power,
      num_probes=values.num_probes,
      rescoring_depth=values.rescoring_depth,
      seed=values.seed,
    )


def read_method_config(values: Values) -> L2GConfig:
  """Returns the settings of the method; SettingError where one can't be."""
  with settings_as_flags():
    settings.integer("k", values.k, least=1)
    if values.w is not None:
      check_weight(values.w)
    return L2GConfig(
      num_known=values.num_known,
      num_query_known=values.num_query_known,
      query_pairs=values.query_pairs,
      measure=values.measure,
      power=values.p,
      completion=values.completion,
      num_dimensions=values.dimensions,
      method=values.method,
      max_iterations=values.max_iterations,
      rtol=values.rtol,
      fusion=values.fusion,
      num_reranked=values.M,
      num_neighbors=values.K,
      beta=values.beta,
      certainty_ratio=values.certainty_ratio,
      seed=values.seed,
    )

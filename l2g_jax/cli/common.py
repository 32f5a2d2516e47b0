"""Flags of the experiments, and the settings they stand for."""

import pathlib
from typing import get_args

import jax
from absl import flags

from l2g_jax.cann import CannConfig
from l2g_jax.cli import extractors
from l2g_jax.cli.flag_names import settings_as_flags
from l2g_jax.embedding import dissimilarity, mds
from l2g_jax.errors import InputError
from l2g_jax.features.protocol import GlobalExtractor, LocalExtractor
from l2g_jax.interop import cann as cann_files
from l2g_jax.pipeline.config import L2GConfig
from l2g_jax.pipeline.l2g import PAPER_WEIGHT, check_weight
from l2g_jax.ranking import fusion
from l2g_jax.retriever.sources import LocalFiles
from l2g_jax.retriever.stages import StageOptions
from l2g_jax.similarity import kernels

FLAGS = flags.FLAGS
# Weak global features mislead where local ones do not; see the README on how this was chosen.
_DEFAULT_WEIGHTS = {"vlad": 0.9}
_METHOD = L2GConfig()
_INDEX = CannConfig()

flags.DEFINE_string("work_dir", "work", "Folder for features, index and lists, to be used again.")
flags.DEFINE_integer("k", 700, "Candidates that the search hands to the re-ranking.")
flags.DEFINE_float("w", None, "Weight of the embedding, 0 to 1; omitted: that of the features.")
flags.DEFINE_string(
  "local",
  "sift",
  "sift; fire:WEIGHTS; a folder with stores `database` and `queries`; or ames:, cann: or npy:FOLDER"
  " with files that others made.",
)
flags.DEFINE_string(
  "global_features",
  "vlad",
  "vlad; superglobal:WEIGHTS; a .npz or .mat; or a folder with `queries` and `database`, each a"
  " store, .npy or .pth.",
)
flags.DEFINE_integer("descriptor_dimension", cann_files.DIMENSION, "Of what --local=cann: reads.")
flags.DEFINE_bool("whiten", None, "Whether local descriptors are whitened; omitted: those of sift.")
flags.DEFINE_string("kernel", str(_INDEX.kernel), "chamfer, power(alpha=.) or cann(radius=.,p=.).")
flags.DEFINE_integer(
  "num_probes", None, "Cells searched for each descriptor; omitted: by the size of the index.", 1
)
flags.DEFINE_integer(
  "rescoring_depth", None, "Images scored exactly; omitted: by the size of the index.", 0
)
flags.DEFINE_integer("num_known", _METHOD.num_known, "t, neighbours of a point that are known.")
flags.DEFINE_enum(
  "query_pairs",
  _METHOD.query_pairs,
  get_args(dissimilarity.QueryPairs),
  "Whether the query's pairs are known for its own t nearest or for all.",
)
flags.DEFINE_float("p", _METHOD.power, "Exponent of D = 1 - s^p.")
flags.DEFINE_enum(
  "completion",
  _METHOD.completion,
  get_args(dissimilarity.Completion),
  "What stands for unknown pairs.",
)
flags.DEFINE_integer("dimensions", _METHOD.num_dimensions, "m, of the embedding.")
flags.DEFINE_enum("method", _METHOD.method, get_args(mds.Method), "Minimisation of the stress.")
flags.DEFINE_integer("max_iterations", _METHOD.max_iterations, "Most iterations of it.")
flags.DEFINE_float("rtol", _METHOD.rtol, "Fall of the stress in 5 iterations at which it stops.")
flags.DEFINE_enum("fusion", _METHOD.fusion, get_args(fusion.Fusion), "How vectors are fused.")
flags.DEFINE_integer("M", None, "Candidates that L2G re-ranks; omitted: all.")
flags.DEFINE_integer("K", _METHOD.num_neighbors, "Neighbours in L2G's re-ranking.")
flags.DEFINE_float("beta", _METHOD.beta, "Weight of the neighbours in L2G's re-ranking.")
flags.DEFINE_float(
  "certainty_ratio",
  _METHOD.certainty_ratio,
  "Multiple of the background above which a match counts as certain; inf: the paper's order.",
)
flags.DEFINE_integer("seed", 0, "Seed of every sample and start.")
flags.DEFINE_bool(
  "verify", False, "Whether all that was made before is read and its checksums compared."
)


def configure() -> None:
  """Refuses settings of the method before any work is done, and keeps compiled functions."""
  method_config()
  if FLAGS.w is not None:
    with settings_as_flags():
      check_weight(FLAGS.w)
  jax.config.update("jax_compilation_cache_dir", str(pathlib.Path(FLAGS.work_dir) / "compiled"))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def default_weight() -> float:
  """Returns the weight for the features in use where --w says none."""
  return _DEFAULT_WEIGHTS.get(FLAGS.global_features, PAPER_WEIGHT)


def stage_options() -> StageOptions:
  """Reads the flags about what is made of a collection."""
  with settings_as_flags():
    return StageOptions(
      local=_local(),
      global_features=_global_features(),
      whiten=FLAGS.local == "sift" if FLAGS.whiten is None else FLAGS.whiten,
      crop_policy=FLAGS.crop_policy,
      index=CannConfig(
        kernel=kernels.parse(FLAGS.kernel),
        num_probes=FLAGS.num_probes,
        rescoring_depth=FLAGS.rescoring_depth,
        seed=FLAGS.seed,
      ),
      list_length=FLAGS.k,
      seed=FLAGS.seed,
    )


def _local() -> LocalExtractor | LocalFiles:
  name, _, place = FLAGS.local.partition(":")
  if name in ("sift", "fire"):
    return extractors.make_local(name, place)
  if not place and pathlib.Path(name).is_dir():
    return LocalFiles("stores", pathlib.Path(name))
  if name not in ("ames", "cann", "npy") or not pathlib.Path(place).is_dir():
    raise InputError(
      "--local must be sift, fire:WEIGHTS, a folder of feature stores, or ames:, cann: or"
      f" npy:FOLDER, not {FLAGS.local!r}."
    )
  return LocalFiles(name, pathlib.Path(place), FLAGS.descriptor_dimension, FLAGS.max_descriptors)


def _global_features() -> GlobalExtractor | pathlib.Path | None:
  name, _, weights = FLAGS.global_features.partition(":")
  if name == "vlad":
    return None
  if name == "superglobal":
    return extractors.make_global(name, weights)
  return pathlib.Path(FLAGS.global_features)


def method_config() -> L2GConfig:
  """Reads the flags about the method."""
  with settings_as_flags():
    return L2GConfig(
      num_known=FLAGS.num_known,
      query_pairs=FLAGS.query_pairs,
      power=FLAGS.p,
      completion=FLAGS.completion,
      num_dimensions=FLAGS.dimensions,
      method=FLAGS.method,
      max_iterations=FLAGS.max_iterations,
      rtol=FLAGS.rtol,
      fusion=FLAGS.fusion,
      num_reranked=FLAGS.M,
      num_neighbors=FLAGS.K,
      beta=FLAGS.beta,
      certainty_ratio=FLAGS.certainty_ratio,
      seed=FLAGS.seed,
    )

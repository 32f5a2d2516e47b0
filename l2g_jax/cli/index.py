"""Builds the index of a feature store's local descriptors, and its neighbour lists, in shards.

  python -m experiments.index --features=FEATURES/database --output=INDEX [--whiten]
  python -m experiments.index --output=INDEX --list_length=700

With --num_shards=N and --shard_index = 0 .. N-1 either command does one of N shares, as processes
or machines that share the folders; an index then takes a last step:

  python -m experiments.index --output=INDEX --merge

However it is spread the index has the same bytes. The same command goes on where it was
interrupted.
"""

import pathlib
from collections.abc import Sequence

import numpy as np
from absl import flags

from l2g_jax.cann import CannConfig, CannIndex, exists, lists
from l2g_jax.cli import command
from l2g_jax.errors import InputError
from l2g_jax.features import store
from l2g_jax.features.store import FeatureStore
from l2g_jax.features.whitening import Whitening, fit_whitening
from l2g_jax.retriever.following import WHITENING_SAMPLE
from l2g_jax.similarity import kernels

FLAGS = flags.FLAGS
_CONFIG = CannConfig()

flags.DEFINE_string("features", None, "Feature store to index.")
flags.DEFINE_bool("whiten", False, "Whether descriptors are whitened, by a sample of them.")
flags.DEFINE_bool("merge", False, "Makes the index of what all shards built.")
flags.DEFINE_integer("list_length", None, "Neighbours to list of every image of the index.", 1)
flags.DEFINE_integer("list_depth", lists.DEPTH, "Neighbours whose similarity is exact.", 0)
flags.DEFINE_integer("shard_index", 0, "Which of the shards this process makes, from 0.")
flags.DEFINE_integer("num_shards", 1, "Processes that share the work.", 1)
flags.DEFINE_string("kernel", str(_CONFIG.kernel), "chamfer, power(alpha=.) or cann(radius=.,p=.).")
flags.DEFINE_integer("code_bytes", _CONFIG.code_bytes, "Of a packed descriptor.", 4)
flags.DEFINE_integer("seed", _CONFIG.seed, "Of every sample and start.")


class _Images(Sequence):
  """The names and descriptors of a store."""

  def __init__(self, features: FeatureStore):
    self._features = features

  def __len__(self) -> int:
    return len(self._features)

  def __getitem__(self, image: int) -> tuple[str, np.ndarray]:
    return self._features.names[image], self._features[image].descriptors


def main() -> None:
  """Does what the flags say, and prints how it stands."""
  if not command.OUTPUT.value:
    raise InputError("--output must name the folder of the index.")
  root = pathlib.Path(command.OUTPUT.value)
  if (FLAGS.features is not None) + FLAGS.merge + (FLAGS.list_length is not None) != 1:
    raise InputError("One of --features, --merge and --list_length must say what to do.")
  if FLAGS.features is not None:
    _build(root)
  elif FLAGS.merge:
    _report(CannIndex.merge_shards(root))
  else:
    _list(root)


def _build(root: pathlib.Path) -> None:
  if exists(root):
    _report(CannIndex.open(root))
    return
  features = store.open_store(FLAGS.features)
  config = CannConfig(
    kernel=kernels.parse(FLAGS.kernel), code_bytes=FLAGS.code_bytes, seed=FLAGS.seed
  )
  if FLAGS.num_shards == 1:
    _report(CannIndex.build(root, features, config, whitening=_whitening(features)))
    return
  shard = CannIndex.build_shard(
    root,
    _Images(features),
    config,
    whitening=_whitening(features),
    shard_index=FLAGS.shard_index,
    num_shards=FLAGS.num_shards,
  )
  print(
    f"{root}: shard {FLAGS.shard_index} of {FLAGS.num_shards} is done, {shard.num_images} images;"
    f" {shard.missing_pieces} pieces are left to other shards."
  )


def _whitening(features: FeatureStore) -> Whitening | None:
  if not FLAGS.whiten:
    return None
  return fit_whitening(features.sample_descriptors(WHITENING_SAMPLE, seed=FLAGS.seed))


def _list(root: pathlib.Path) -> None:
  index = CannIndex.open(root)
  missing = lists.make_shard(
    index,
    FLAGS.list_length,
    rescoring_depth=FLAGS.list_depth,
    shard_index=FLAGS.shard_index,
    num_shards=FLAGS.num_shards,
  )
  print(f"{root}: neighbour lists of {len(index.names)} images; {missing} parts are missing.")


def _report(index: CannIndex) -> None:
  print(f"{index.directory}: {len(index.names)} images, descriptors of {index.dimension}")

"""Makes a folder of photographs ready for searches, or indexes a feature store in shards."""

import pathlib

from absl import flags

from l2g_jax.cann import CannConfig, CannIndex, exists, lists
from l2g_jax.cli.command import Command, Group, Values
from l2g_jax.cli.feature_flags import FEATURES, read_features
from l2g_jax.cli.method_flags import SEARCH, read_index_config
from l2g_jax.cli.setting_errors import settings_as_flags
from l2g_jax.cli.work_flags import WORK, work_folder
from l2g_jax.data.photo_folders import describe_left_out, find_photographs
from l2g_jax.errors import InputError
from l2g_jax.features import store
from l2g_jax.features.store import FeatureStore
from l2g_jax.features.whitened import WhitenedImages
from l2g_jax.features.whitening import Whitening, fit_whitening
from l2g_jax.retriever import Retriever
from l2g_jax.retriever.following import WHITENING_SAMPLE
from l2g_jax.similarity import kernels

_PHOTOGRAPHS = """Makes a folder of photographs ready for searches: features, index, lists.

  l2g index FOLDER

The first search of a folder does this too. The same command later takes in what came, and forgets
what went; it goes on where it was interrupted. Searches with the same flags find what it made.
"""

_STORE = """Builds the index of a feature store's local descriptors, and its lists, in shards.

  l2g index --features=FEATURES/database --output=INDEX [--whiten]
  l2g index --output=INDEX --list_length=700

With --num_shards=N and --shard_index = 0 .. N-1 either command does one of N shares, as processes
or machines that share the folders; an index then takes a last step:

  l2g index --output=INDEX --merge

However it is spread the index has the same bytes. The same command goes on where it was
interrupted.
"""

_CONFIG = CannConfig()


def _define_photographs(values: flags.FlagValues) -> None:
  flags.DEFINE_string("images", None, "Folder of photographs: the word.", flag_values=values)


def _define(values: flags.FlagValues) -> None:
  flags.DEFINE_string("output", None, "Folder of the index.", flag_values=values)
  flags.DEFINE_string("features", None, "Feature store to index.", flag_values=values)
  flags.DEFINE_bool("merge", False, "Make the index of what all shards built.", flag_values=values)
  flags.DEFINE_integer(
    "list_length", None, "Neighbours to list of every image of the index.", 1, flag_values=values
  )
  flags.DEFINE_integer(
    "shard_index", 0, "Which of the shards this process makes, from 0.", flag_values=values
  )
  flags.DEFINE_integer("num_shards", 1, "Processes that share the work.", 1, flag_values=values)


def _define_settings(values: flags.FlagValues) -> None:
  flags.DEFINE_bool("whiten", False, "Whiten descriptors, by a sample of them.", flag_values=values)
  flags.DEFINE_string(
    "kernel",
    str(_CONFIG.kernel),
    "chamfer, power(alpha=.) or cann(radius=.,p=.).",
    flag_values=values,
  )
  flags.DEFINE_float(
    "burst_power",
    _CONFIG.burst_power,
    "How far descriptors of an image that are alike count as one; 0: all count the same.",
    flag_values=values,
  )
  flags.DEFINE_integer(
    "code_bytes", _CONFIG.code_bytes, "Bytes of a packed descriptor.", 4, flag_values=values
  )
  flags.DEFINE_integer(
    "descriptor_bytes",
    None,
    "Bytes of a descriptor for exact similarities, such as 44; omitted: 8 bits a dimension.",
    8,
    flag_values=values,
  )
  flags.DEFINE_integer(
    "list_depth", lists.DEPTH, "Neighbours whose similarity is exact.", 0, flag_values=values
  )
  flags.DEFINE_integer("seed", _CONFIG.seed, "Seed of every sample and start.", flag_values=values)


SETTINGS = Group("Settings", _define_settings)


def read_config(values: Values) -> CannConfig:
  """Returns the settings of a store's index that the flags describe."""
  return CannConfig(
    kernel=kernels.parse(values.kernel),
    burst_power=values.burst_power,
    code_bytes=values.code_bytes,
    descriptor_bytes=values.descriptor_bytes,
    seed=values.seed,
  )


def main(values: Values) -> None:
  """Makes a folder ready, and prints what is there and how long each stage took."""
  find_photographs(values.images)
  features, index = read_features(values), read_index_config(values)
  with settings_as_flags():
    retriever = Retriever.open_or_build(
      values.images,
      work_folder(values),
      features=features,
      index=index,
      num_candidates=values.k,
      seed=values.seed,
      verify=values.verify,
    )
  counts = retriever.collection.counts()
  print(
    f"{values.images}: {len(counts)} photographs are ready for searches, {int((counts > 0).sum())}"
    " of them with local features."
  )
  if retriever.images.left_out:
    print(f"Left out: {describe_left_out(retriever.images.left_out)}.")
  spent = [f"{stage} {seconds:.1f}" for stage, seconds in retriever.watch.seconds.items()]
  print(f"Seconds: {', '.join(spent)}.")
  print(f"Kept in {retriever.directory}. Search it: l2g search {values.images} PHOTO")


def index_store(values: Values) -> None:
  """Builds, merges or lists, by the flags, and prints the state."""
  root = pathlib.Path(values.output)
  if (values.features is not None) + values.merge + (values.list_length is not None) != 1:
    raise InputError("One of --features, --merge and --list_length must say what to do.")
  if values.features is not None:
    _build(values, root)
  elif values.merge:
    _report(CannIndex.merge_shards(root))
  else:
    _list(values, root)


def _build(values: Values, root: pathlib.Path) -> None:
  if exists(root):
    _report(CannIndex.open(root))
    return
  features = store.open_store(values.features)
  config = read_config(values)
  whitening = _whitening(values, root, features)
  images = WhitenedImages(features, whitening)
  note = None if whitening is None else whitening.to_note()
  if values.num_shards == 1:
    _report(CannIndex.build(root, images, config, whitening=note))
    return
  shard = CannIndex.build_shard(
    root,
    images,
    config,
    whitening=note,
    shard_index=values.shard_index,
    num_shards=values.num_shards,
  )
  print(
    f"{root}: shard {values.shard_index} of {values.num_shards} is done, {shard.num_images} images;"
    f" {shard.missing_pieces} pieces are left to other shards."
  )


def _whitening(values: Values, root: pathlib.Path, features: FeatureStore) -> Whitening | None:
  """Returns the whitening of the first shard, or else one that is learned from the store."""
  if not values.whiten:
    return None
  if values.num_shards > 1:
    first = Whitening.from_note(CannIndex.shard_whitening(root))
    if first is not None:
      return first
  return fit_whitening(features.sample_descriptors(WHITENING_SAMPLE, seed=values.seed))


def _list(values: Values, root: pathlib.Path) -> None:
  index = CannIndex.open(root)
  missing = index.list_shard(
    values.list_length,
    rescoring_depth=values.list_depth,
    shard_index=values.shard_index,
    num_shards=values.num_shards,
  )
  print(f"{root}: neighbour lists of {len(index.names)} images; {missing} parts are missing.")


def _report(index: CannIndex) -> None:
  print(f"{index.directory}: {len(index.names)} images, descriptors of {index.dimension}")


_STORE_COMMAND = Command(
  "index",
  _STORE,
  [Group("Index", _define), SETTINGS],
  index_store,
  required=("output",),
)
COMMAND = Command(
  "index",
  _PHOTOGRAPHS,
  [Group("Photographs", _define_photographs), FEATURES, SEARCH, WORK],
  main,
  required=("images",),
  words={"images": "FOLDER"},
  example="photos",
  forms={"output": _STORE_COMMAND},
)

"""Extracts features of a folder of photographs, or of a data set in the revisited layout.

  python -m experiments.extract --model=superglobal --weights=sg.safetensors --images=FOLDER \
    --output=FEATURES
  python -m experiments.extract --model=fire --weights=fire.safetensors --dataset=roxford5k \
    --data_root=data --output=FEATURES

FEATURES/database is the store of the images, FEATURES/queries that of a data set's queries, cropped
to their boxes. The same command goes on where it was interrupted. --num_shards=N with --shard_index
= 0 .. N-1 spreads the work over N processes that share the folders.
"""

import pathlib
from collections.abc import Sequence
from typing import get_args

import jax
from absl import flags

from l2g_jax.cli import command, extractors
from l2g_jax.data.dataset import load_dataset
from l2g_jax.data.image_names import printable
from l2g_jax.data.images import count_notes
from l2g_jax.data.photo_folders import describe_left_out, find_photographs
from l2g_jax.errors import InputError
from l2g_jax.features import store
from l2g_jax.features.extraction import ImageJob, extract_shard
from l2g_jax.features.protocol import LocalExtractor, as_local

FLAGS = flags.FLAGS
flags.DEFINE_enum("model", None, ["fire", "sift", "superglobal"], "What extracts.", required=True)
flags.DEFINE_string("weights", None, "Of a network: a file that experiments.convert made.")
flags.DEFINE_string("images", None, "Folder of photographs.")
flags.DEFINE_string("dataset", None, "Folder below --data_root, in place of --images.")
flags.DEFINE_string("data_root", "data", "Folder that holds data sets.")
flags.DEFINE_enum(
  "precision",
  None,
  get_args(store.Precision),
  "In which features are kept; omitted: float16 for local ones, float32 for global ones.",
)
flags.DEFINE_integer("shard_index", 0, "Which of the shards this process makes, from 0.")
flags.DEFINE_integer("num_shards", 1, "Processes that share the work.")
flags.DEFINE_integer("num_workers", None, "Processes or reading threads; omitted: one a core.")


def main() -> None:
  """Extracts, and tells at the end which images could not be used."""
  output = command.OUTPUT.value
  if not output:
    raise InputError("--output must name the folder for the features.")
  if FLAGS.num_workers is not None and FLAGS.num_workers < 1:
    raise InputError(f"--num_workers must be at least 1, not {FLAGS.num_workers}.")
  extractor = _make_extractor()
  sets = _list_jobs()
  root = pathlib.Path(output)
  jax.config.update("jax_compilation_cache_dir", str(root / "compiled"))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
  failures = {}
  for part, jobs in sets.items():
    failures |= _extract(jobs, extractor, root / part)
  if failures:
    print(f"{len(failures)} images were left without features:")
    for name, reason in failures.items():
      print(f"  {printable(name)}: {printable(reason)}")
  if notice := extractors.terms(FLAGS.model):
    print(f"Terms: {notice}")


def _make_extractor() -> LocalExtractor:
  if FLAGS.model == "superglobal":
    return as_local(extractors.make_global(FLAGS.model, FLAGS.weights))
  return extractors.make_local(FLAGS.model, FLAGS.weights)


def _list_jobs() -> dict[str, Sequence[ImageJob]]:
  """Returns the images of each store."""
  if (FLAGS.images is None) == (FLAGS.dataset is None):
    raise InputError("Either --images or --dataset must say what to extract from.")
  if FLAGS.images is not None:
    photographs = find_photographs(FLAGS.images)
    if photographs.left_out:
      print(f"Left out: {describe_left_out(photographs.left_out)}.")
    jobs = zip(photographs.names, photographs.paths, strict=True)
    return {"database": [ImageJob(*job) for job in jobs]}
  dataset = load_dataset(FLAGS.data_root, FLAGS.dataset)
  truth = dataset.ground_truth
  boxes = [query.bbx for query in truth.queries]
  database = zip(truth.imlist, dataset.database_paths, strict=True)
  queries = zip(truth.qimlist, dataset.query_paths, boxes, strict=True)
  return {
    "database": [ImageJob(*job) for job in database],
    "queries": [ImageJob(*job) for job in queries],
  }


def _extract(
  jobs: Sequence[ImageJob], extractor: LocalExtractor, directory: pathlib.Path
) -> dict[str, str]:
  """Makes this process's share of a store, and prints how it stands; returns what failed."""
  result = extract_shard(
    jobs,
    extractor,
    directory,
    shard_index=FLAGS.shard_index,
    num_shards=FLAGS.num_shards,
    crop_policy=FLAGS.crop_policy,
    precision=FLAGS.precision or ("float32" if FLAGS.model == "superglobal" else "float16"),
    num_workers=FLAGS.num_workers,
  )
  if result.missing_parts:
    print(
      f"{directory}: shard {FLAGS.shard_index} of {FLAGS.num_shards} is done, {result.num_images}"
      f" images; {result.missing_parts} parts are left to other shards."
    )
  else:
    made = store.open_store(directory)
    print(f"{directory}: {len(made)} images, {made.counts().sum()} features of {made.dimension}")
  for line in count_notes(result.notes):
    print(line)
  return dict(result.failures)

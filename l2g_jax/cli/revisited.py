"""The main job on a data set in the revisited layout: every method, evaluated and reported."""

import dataclasses
import pathlib
from typing import Any

from absl import flags

import mini
from l2g_jax.cli import candidates, command, common
from l2g_jax.cli.report import Method, make_report, print_report, write_report
from l2g_jax.data.dataset import Dataset, load_dataset
from l2g_jax.data.ground_truth import GroundTruth
from l2g_jax.features.extraction import ImageJob, default_crop_policy
from l2g_jax.features.protocol import GlobalExtractor, LocalExtractor
from l2g_jax.pipeline.l2g import GlobalFeatures, complete_rankings, rank_by_weights
from l2g_jax.ranking.global_search import rank_by_global, rerank_by_global
from l2g_jax.retriever.stages import Collection, Queries, StageOptions, describe_queries, prepare
from l2g_jax.runtime.stopwatch import Stopwatch

FLAGS = flags.FLAGS
_DATA_ROOT = "data"
_MINI = "mini"
_NOTICE = (
  "mini is the built-in synthetic benchmark: these are not figures of Revisited Oxford or Paris."
)
_A_QUERY = ("global search", "global re-ranking", "local search", "embedding and re-ranking")

flags.DEFINE_string("dataset", None, "Folder below --data_root; omitted: the experiment's own.")
flags.DEFINE_string("data_root", None, f"Folder that holds data sets; omitted: {_DATA_ROOT}.")


def main(default_dataset: str) -> None:
  """Runs the method and its parents on a data set, prints the table and writes the report.

  Args:
    default_dataset: where no flag names one; if it is not there, the built-in benchmark runs.
  """
  common.configure()
  watch = Stopwatch()
  options, config = common.stage_options(), common.method_config()
  with watch.measure("data set"):
    dataset = open_dataset(default_dataset)
  truth = dataset.ground_truth
  directory = pathlib.Path(FLAGS.work_dir) / dataset.name
  jobs = [ImageJob(*job) for job in zip(truth.imlist, dataset.database_paths, strict=True)]
  collection = prepare(jobs, directory, options, watch, verify=FLAGS.verify)
  boxes = [query.bbx for query in truth.queries]
  jobs = [ImageJob(*job) for job in zip(truth.qimlist, dataset.query_paths, boxes, strict=True)]
  queries = describe_queries(collection, jobs, watch)
  methods = _rank(collection, queries, truth, config, watch)
  report = make_report(
    methods,
    truth,
    title=dataset.name,
    notice=_NOTICE if dataset.name == _MINI else None,
    seconds=watch.seconds,
    per_query=_A_QUERY,
    config=_describe_config(options, config),
  )
  print_report(report)
  if command.OUTPUT.value:
    write_report(command.OUTPUT.value, report)


def open_dataset(default_dataset: str) -> Dataset:
  """Opens what the flags ask for, or else the default, or else the built-in benchmark."""
  asked = FLAGS.dataset is not None or FLAGS.data_root is not None
  data_root = pathlib.Path(FLAGS.data_root or _DATA_ROOT)
  name = FLAGS.dataset or default_dataset
  if not asked and not (data_root / name).is_dir():
    name = _MINI
  if name == _MINI:
    mini.make_mini(data_root)
  return load_dataset(data_root, name)


def _rank(
  collection: Collection,
  queries: Queries,
  truth: GroundTruth,
  config: common.L2GConfig,
  watch: Stopwatch,
) -> list[Method]:
  """Returns the rows of the report."""
  num_images = len(collection.index.names)
  features = GlobalFeatures(queries.global_features, collection.global_features)
  with watch.measure("global search"):
    by_global = rank_by_global(features)
  with watch.measure("global re-ranking"):
    reranked = rerank_by_global(features, by_global)
  with watch.measure("local search"):
    given, found = candidates.find(collection, queries, truth, FLAGS.k)
  default = common.default_weight()
  weights = {"l2g": default if FLAGS.w is None else FLAGS.w}
  if weights["l2g"] != default:
    weights["l2g-default"] = default
  with watch.measure("embedding and re-ranking"):
    results = rank_by_weights(
      found,
      collection.lists,
      features,
      weights=list(weights.values()),
      config=config,
      show_progress=True,
    )
  return [
    Method("global", by_global),
    Method("global+rerank", reranked),
    Method(
      "chamfer" if FLAGS.candidates is None else "candidates",
      complete_rankings(given, None, num_images),
    ),
    *(
      Method(name, result.rankings, weight)
      for (name, weight), result in zip(weights.items(), results, strict=True)
    ),
  ]


def _describe_config(options: StageOptions, config: common.L2GConfig) -> dict[str, Any]:
  """Returns every setting as JSON."""
  return {
    "k": FLAGS.k,
    "w": FLAGS.w,
    **_describe_source("local", options.local, FLAGS.local),
    **_describe_source("global_features", options.global_features, FLAGS.global_features),
    "candidates": FLAGS.candidates,
    "whiten": options.whiten,
    "crop_policy": _describe_crops(options),
    "index": options.index.to_json(),
    "method": {
      name: str(value) if value == float("inf") else value
      for name, value in dataclasses.asdict(config).items()
    },
  }


def _describe_source(key: str, source: Any, flag: str) -> dict[str, Any]:
  if isinstance(source, LocalExtractor | GlobalExtractor):
    return {key: source.name, f"{key}_settings": dict(source.settings)}
  return {key: flag, f"{key}_settings": {}}


def _describe_crops(options: StageOptions) -> str:
  """Returns the policy of the crops, or which extractor has which."""
  policies = {
    source.name: options.crop_policy or default_crop_policy(source)
    for source in (options.local, options.global_features)
    if isinstance(source, LocalExtractor | GlobalExtractor)
  }
  if len(set(policies.values())) == 1:
    return next(iter(policies.values()))
  return ", ".join(f"{policy} ({name})" for name, policy in policies.items()) or "before"

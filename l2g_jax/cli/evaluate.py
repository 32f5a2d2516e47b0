"""Evaluates the method and its parents on a data set in the revisited layout.

  l2g evaluate --dataset=roxford5k --data_root=DATA [--k=700] [--w=0.19] [--output=REPORT]

A data set is a folder DATA/NAME with the images in jpg/ and the ground truth gnd_NAME.pkl or .json.
"""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
from absl import flags

from l2g_jax.cli import report_folder
from l2g_jax.cli.command import Command, Group, Values, check_file, output_group
from l2g_jax.cli.feature_flags import DEFAULT_LOCAL, FEATURES, read_features
from l2g_jax.cli.method_flags import METHOD, SEARCH, read_index_config, read_method_config
from l2g_jax.cli.report import Method, make_report, print_report, write_report
from l2g_jax.cli.setting_errors import settings_as_flags
from l2g_jax.cli.similarity_flags import SIMILARITY, read_similarity
from l2g_jax.cli.work_flags import WORK, work_folder
from l2g_jax.data.dataset import Dataset, load_dataset
from l2g_jax.data.ground_truth import GroundTruth
from l2g_jax.errors import InputError
from l2g_jax.features.extraction import ImageJob, default_crop_policy
from l2g_jax.features.protocol import GlobalExtractor, LocalExtractor
from l2g_jax.interop import ames
from l2g_jax.interop import cann as cann_files
from l2g_jax.retriever import Features, Rankings, Retriever
from l2g_jax.retriever.asmk_search import AsmkSearch
from l2g_jax.retriever.candidates import runs_backwards
from l2g_jax.runtime.stopwatch import Stopwatch

_DATA_ROOT = "data"
_A_QUERY = (
  "global search",
  "global re-ranking",
  "local search",
  "ASMK",
  "spatial of candidates",
  "ames of candidates",
  "learned of candidates",
  "embedding and re-ranking",
)


@dataclasses.dataclass(frozen=True)
class BuiltIn:
  """A benchmark that can be made where no data set is.

  Attributes:
    name: of the data set.
    make: makes it below a data root, where it is not there.
    notice: shown above its figures.
    local: its local features where no flag names others.
  """

  name: str
  make: Callable[[pathlib.Path], Any]
  notice: str
  local: str


def _define(values: flags.FlagValues) -> None:
  flags.DEFINE_string(
    "dataset", None, "Folder below --data_root; omitted: the script's own.", flag_values=values
  )
  flags.DEFINE_string(
    "data_root", None, f"Folder that holds data sets; omitted: {_DATA_ROOT}.", flag_values=values
  )
  flags.DEFINE_string(
    "candidates",
    None,
    "In place of the local search: results of the released CANN (.txt, .csv), or neighbours of"
    " AMES (.pkl, .pth, .npy). Their images count, and not their scores.",
    flag_values=values,
  )


# The flags of the main job, for programs that take them too.
GROUPS = (Group("Data set", _define), FEATURES, SEARCH, SIMILARITY, METHOD, WORK)
_OUTPUT = output_group("JSON file of the report; omitted: none.")


def make_command(
  default_dataset: str | None, built_in: BuiltIn | None, *, description: str | None = __doc__
) -> Command:
  """Returns a command that evaluates.

  Args:
    default_dataset: where no flag names one; None = a flag must.
    built_in: runs where no flag names a data set and the default is not there; None = that is an
      error.
    description: shown by --help.
  """

  def main(values: Values) -> None:
    _evaluate(values, default_dataset, built_in)

  groups = [*GROUPS, _OUTPUT, report_folder.REPORT]
  return Command("evaluate", description, groups, main)


def settle(values: Values, default_dataset: str | None, built_in: BuiltIn | None) -> None:
  """Fills in what the flags leave open: the data set, where it lies, and its local features."""
  asked = values.dataset is not None or values.data_root is not None
  values.data_root = values.data_root or _DATA_ROOT
  values.dataset = values.dataset or default_dataset
  if values.dataset is None:
    raise InputError("--dataset must name the folder of a data set below --data_root.")
  if built_in is not None:
    if not asked and not pathlib.Path(values.data_root, values.dataset).is_dir():
      values.dataset = built_in.name
    if values.dataset == built_in.name and values.local is None:
      values.local = built_in.local


def open_dataset(values: Values, built_in: BuiltIn | None) -> Dataset:
  """Opens the data set of settled flags; the built-in one is made where it is not there."""
  data_root = pathlib.Path(values.data_root)
  if built_in is not None and values.dataset == built_in.name:
    built_in.make(data_root)
  return load_dataset(data_root, values.dataset)


def open_retriever(values: Values, dataset: Dataset, watch: Stopwatch | None = None) -> Retriever:
  """Makes a data set ready for queries, as the flags say."""
  with settings_as_flags():
    return Retriever.open_or_build(
      dataset,
      work_folder(values),
      features=read_features(values),
      config=read_method_config(values),
      index=read_index_config(values),
      weight=values.w,
      num_candidates=values.k,
      seed=values.seed,
      verify=values.verify,
      watch=watch,
    )


def query_jobs(dataset: Dataset) -> list[ImageJob]:
  """Returns the queries of a data set, with their boxes."""
  truth = dataset.ground_truth
  boxes = [query.bbx for query in truth.queries]
  return [ImageJob(*job) for job in zip(truth.qimlist, dataset.query_paths, boxes, strict=True)]


def _evaluate(values: Values, default_dataset: str | None, built_in: BuiltIn | None) -> None:
  """Ranks a data set by every method, prints the table and writes the report."""
  # Settings are refused before any work is done.
  settle(values, default_dataset, built_in)
  features = read_features(values)
  similarity = read_similarity(values)
  if values.candidates is not None and isinstance(similarity, AsmkSearch):
    raise InputError("--candidates are of another search, and --similarity=asmk is one itself.")
  read_method_config(values)
  read_index_config(values)
  if values.output:
    check_file(values.output)
  report_folder.check(values)
  watch = Stopwatch()
  with watch.measure("data set"):
    dataset = open_dataset(values, built_in)
  truth = dataset.ground_truth
  retriever = open_retriever(values, dataset, watch)
  given = _read_candidates(values, truth, retriever.num_searched)
  weights = {"l2g": retriever.weight}
  if retriever.weight != features.default_weight:
    weights["l2g-default"] = features.default_weight
  jobs = query_jobs(dataset)
  rankings = retriever.rank(
    jobs,
    weights=report_folder.weights_to_rank(values, [*weights.values()]),
    candidates=given,
    similarity=similarity,
    show_progress=True,
  )
  if given is not None:
    _tell_of_candidates(values, given, rankings)
  search = "chamfer" if given is None else "candidates"
  methods = _methods(rankings, weights, search, values.similarity.partition(":")[0])
  report = make_report(
    methods,
    truth,
    title=dataset.name,
    notice=built_in.notice if built_in is not None and dataset.name == built_in.name else None,
    seconds=watch.seconds,
    kept=[stage for stage, kept in watch.kept.items() if kept],
    per_query=_A_QUERY,
    config={
      "k": values.k,
      "w": values.w,
      **_describe_features(values, features),
      "candidates": values.candidates,
      "similarity": values.similarity,
      "index": retriever.options.index.to_json(),
      "method": {
        name: str(value) if value == float("inf") else value
        for name, value in dataclasses.asdict(retriever.config).items()
      },
    },
  )
  print_report(report)
  if values.output:
    write_report(values.output, report)
  if values.report:
    report_folder.write(
      values,
      retriever,
      dataset,
      jobs,
      methods=methods,
      rankings=rankings,
      search=search,
      figures=report,
    )


def _methods(
  rankings: Rankings, weights: dict[str, float], search: str, similarity: str
) -> list[Method]:
  """Returns the rows of the report."""
  compared = rankings.by_similarity
  return [
    Method("global", rankings.by_global),
    Method("global+rerank", rankings.by_global_reranked),
    Method(search, rankings.by_candidates),
    *([] if compared is None else [Method(similarity, compared)]),
    *(Method(name, rankings.l2g[weight].rankings, weight) for name, weight in weights.items()),
  ]


def _read_candidates(values: Values, truth: GroundTruth, most: int) -> np.ndarray | None:
  """Returns at most so many candidates `[Q, C]` that the flag names; None where it names none."""
  if values.candidates is None:
    return None
  path = pathlib.Path(values.candidates)
  if path.suffix in (".txt", ".csv"):
    found = cann_files.read_results(path, truth.qimlist, truth.imlist)
  else:
    found = ames.read_neighbors(path, len(truth.qimlist), len(truth.imlist))
  return found.ids[:, :most].astype(np.int32)


def _tell_of_candidates(values: Values, given: np.ndarray, rankings: Rankings) -> None:
  print(
    f"Candidates of {values.candidates}: their scores are of another scale than the neighbour"
    " lists, and are not used. The row `candidates` has the order of the file; L2G takes its images"
    " with the similarities of the index, and by these."
  )
  if runs_backwards(given, rankings.candidates):
    print(
      "That order runs against the index: what comes first in it is less similar than what comes"
      " last. A higher score must mean a better match; distances need their sign turned."
    )


def _describe_features(values: Values, features: Features) -> dict[str, Any]:
  """Returns the settings of the features as JSON."""
  return {
    **_describe_local(features, values.local or DEFAULT_LOCAL),
    **_describe_source("global_features", features.global_features, values.global_features),
    "crop_policy": _describe_crops(features),
  }


def _describe_local(features: Features, flag: str) -> dict[str, Any]:
  """Returns the settings of one kind of local features, or of several by their name."""
  if len(features.kinds) == 1:
    (local,) = features.kinds
    return {**_describe_source("local", local, flag), "whiten": features.whitens(local)}
  kinds = [kind for kind in features.kinds if isinstance(kind, LocalExtractor)]
  return {
    "local": flag,
    "local_settings": {kind.name: dict(kind.settings) for kind in kinds},
    "whiten": {kind.name: features.whitens(kind) for kind in kinds},
  }


def _describe_source(key: str, source: Any, flag: str) -> dict[str, Any]:
  if isinstance(source, LocalExtractor | GlobalExtractor):
    return {key: source.name, f"{key}_settings": dict(source.settings)}
  return {key: flag, f"{key}_settings": {}}


def _describe_crops(features: Features) -> str:
  """Returns the policy of the crops, or which extractor has which."""
  policies = {
    source.name: features.crop_policy or default_crop_policy(source)
    for source in (*features.kinds, features.global_features)
    if isinstance(source, LocalExtractor | GlobalExtractor)
  }
  if len(set(policies.values())) == 1:
    return next(iter(policies.values()))
  return ", ".join(f"{policy} ({name})" for name, policy in policies.items()) or "before"


COMMAND = make_command(None, None)

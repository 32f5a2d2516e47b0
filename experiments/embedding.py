"""What the embedding is worth: stress against mAP, what convergence buys, and pictures.

  python -m experiments.embedding [--dataset=NAME --data_root=DATA] [--report=FOLDER]

Without a data set it runs on the built-in `mini`, and takes the flags of `experiments.roxf`. The
pictures of queries stand in the report alone. Figures are kept in the work folder, so that a run
that was interrupted goes on.
"""

import functools

from absl import flags

from experiments.built_in import MINI
from experiments.embeddings import convergence, degenerate, pictures, stress
from experiments.kept import keep
from experiments.measured import measure
from experiments.outputs import OUTPUTS, check_outputs, leave
from experiments.shortlists import Shortlists, shortlists_of
from l2g_jax.cli import evaluate
from l2g_jax.cli.command import Command, Group, Values
from l2g_jax.cli.method_flags import read_index_config, read_method_config
from l2g_jax.data.dataset import Dataset
from l2g_jax.errors import InputError
from l2g_jax.report import Section
from l2g_jax.report.fingerprint import fingerprint
from l2g_jax.report.pictures import read_picture
from l2g_jax.runtime.progress import track

_VERSION = 1
# The longer side in pixels of a thumbnail, twice that at which it is shown.
_SIDE = 64
_ITERATIONS = ["0", "1", "2", "5", "10", "20", "50", "100", "200"]


def _define(values: flags.FlagValues) -> None:
  flags.DEFINE_list(
    "iterations", _ITERATIONS, "Iterations at which mAP is measured.", flag_values=values
  )
  flags.DEFINE_list(
    "pictures", None, "Queries to draw; omitted: three, by their gain.", flag_values=values
  )
  flags.DEFINE_bool("tsne", True, "Draw t-SNE too, which needs scikit-learn.", flag_values=values)
  flags.DEFINE_integer(
    "every", 1, "Takes every so manyth query, to save time.", 1, flag_values=values
  )
  flags.DEFINE_bool("again", False, "Measure figures anew that are kept.", flag_values=values)


def main(values: Values) -> None:
  """Measures, prints the tables and writes what is asked for."""
  evaluate.settle(values, "roxford5k", MINI)
  read_index_config(values)
  read_method_config(values)
  iterations = _iterations(values)
  check_outputs(values)
  if values.report and values.tsne:
    pictures.require_tsne()
  dataset = evaluate.open_dataset(values, MINI)
  retriever = evaluate.open_retriever(values, dataset)
  given = shortlists_of(dataset, retriever, every=values.every)
  chosen = _chosen(values, given)
  config, weight, watch = retriever.config, retriever.weight, retriever.watch
  folder = retriever.directory / "embedding"
  key = [given.key, repr(config), weight, _VERSION]
  queries = keep(
    folder,
    ["queries", *key],
    lambda: stress.measure_queries(given, config, weight, watch),
    again=values.again,
  )
  weights = list(dict.fromkeys([weight, 1.0]))
  rows = {}
  variants = dict(convergence.variants(config, iterations))
  for name in track(variants, "iterations", unit="numbers"):
    variant = variants[name]
    rows[name] = keep(
      folder,
      ["convergence", given.key, repr(variant), weights, _VERSION],
      lambda variant=variant: {"rows": measure(given, variant, weights, watch)},
      again=values.again,
    )["rows"]
  has_plots = bool(values.report)
  sections = [
    stress.make_section(queries, [*given.truth.qimlist], has_plots=has_plots),
    convergence.make_section(rows, f"rtol {config.rtol:g}", has_plots=has_plots),
    Section("Degenerate problems", [degenerate.make_table()]),
  ]
  if has_plots:
    numbers = pictures.choose(queries) if chosen is None else chosen
    sections.append(
      pictures.make_section(
        given,
        numbers,
        config,
        has_tsne=values.tsne,
        read=lambda number: _thumbnails(dataset, number * values.every),
      )
    )
  leave(
    values,
    f"The embedding, {dataset.name}",
    sections,
    data={"queries": {"names": list(given.truth.qimlist), **queries}},
    fingerprint=lambda: fingerprint(dataset, retriever, settings={"config": repr(config)}),
    notice=MINI.notice if dataset.name == MINI.name else None,
  )


def _iterations(values: Values) -> list[int]:
  try:
    numbers = [int(text) for text in values.iterations]
  except ValueError as error:
    raise InputError("--iterations are whole numbers, such as 0,5,20.") from error
  if any(number < 0 for number in numbers):
    raise InputError("--iterations are at least 0.")
  return list(dict.fromkeys(numbers))


def _chosen(values: Values, given: Shortlists) -> list[int] | None:
  """Returns the numbers of the queries that the flag names; None where it names none."""
  if values.pictures is None:
    return None
  names = list(given.truth.qimlist)
  if unknown := [name for name in values.pictures if name not in names]:
    raise InputError(f"--pictures has {unknown[0]!r}, which is no query of the data set.")
  return [names.index(name) for name in values.pictures]


def _thumbnails(dataset: Dataset, number: int) -> pictures.ReadThumbnail:
  """Returns the reader of the thumbnails of a query, of which the box is shown."""
  truth = dataset.ground_truth

  @functools.cache
  def read(image: int) -> bytes:
    if image < 0:
      path, box = dataset.query_paths[number], truth.queries[number].bbx
      return read_picture(truth.qimlist[number], path, side=_SIDE, box=box).jpeg
    return read_picture(truth.imlist[image], dataset.database_paths[image], side=_SIDE).jpeg

  return read


COMMAND = Command(
  "embedding",
  __doc__,
  [Group("Embedding", _define), *evaluate.GROUPS, OUTPUTS],
  main,
)

if __name__ == "__main__":
  COMMAND.run("python -m experiments.embedding")

"""One set of settings over several domains: what transfers, and what does not.

  python -m experiments.transfer --sets=DATA/paris_dev,DATA/paintings,mini [--fire=FILE]

A set is a folder in the revisited layout; `mini` is the built-in one. --fire names published
descriptors of images, each of which is searched among the others. The weight w is measured at the
paper's fixed value, at what the default rule says, and at the best of a list, which knows the
labels. It takes the flags of `experiments.roxf`. What was measured is kept in the work folder.
"""

import pathlib
from typing import Any

from absl import flags

from experiments.built_in import MINI
from experiments.kept import keep
from experiments.measured import maps, measure
from experiments.outputs import OUTPUTS, check_outputs, leave
from experiments.sets import check_sets, define_sets, open_set
from experiments.shortlists import Shortlists, shortlists_of
from experiments.transfers import tables
from experiments.transfers.descriptor_set import read_descriptors
from experiments.transfers.tables import Measured
from l2g_jax.cli import evaluate
from l2g_jax.cli.command import Command, Group, Values
from l2g_jax.cli.feature_flags import read_features
from l2g_jax.cli.method_flags import read_index_config, read_method_config
from l2g_jax.cli.work_flags import work_folder
from l2g_jax.errors import InputError
from l2g_jax.features.sift import sift
from l2g_jax.pipeline.config import L2GConfig
from l2g_jax.pipeline.l2g import PAPER_WEIGHT, check_weight
from l2g_jax.ranked import complete_rankings
from l2g_jax.report.fingerprint import fingerprint
from l2g_jax.retriever import Features
from l2g_jax.runtime import files
from l2g_jax.runtime.stopwatch import Stopwatch

_VERSION = 1
_WEIGHTS = [*(f"{number / 10:g}" for number in range(11))]


def _define(values: flags.FlagValues) -> None:
  define_sets(values)
  flags.DEFINE_string(
    "fire", None, "A further set: .npz of names, descriptors and landmarks.", flag_values=values
  )
  flags.DEFINE_list("weights", _WEIGHTS, "Weights among which the best is.", flag_values=values)
  flags.DEFINE_integer(
    "every", 1, "Takes every so manyth query of a set, to save time.", 1, flag_values=values
  )
  flags.DEFINE_bool("again", False, "Measure sets anew that are kept.", flag_values=values)


def main(values: Values) -> None:
  """Measures the sets, prints the tables and writes what is asked for."""
  check_sets(values)
  if values.w is not None:
    raise InputError("--w is what varies here; --weights lists its values.")
  weights, index = _weights(values), read_index_config(values)
  config = read_method_config(values)
  check_outputs(values)
  watch, local = Stopwatch(), values.local
  sets, prints = [], {}
  for name in values.sets:
    dataset = open_set(values, name, local)
    retriever = evaluate.open_retriever(values, dataset, watch)
    given = shortlists_of(dataset, retriever, every=values.every)
    rule = read_features(values).default_weight
    sets.append(_measure(values, dataset.name, given, retriever.config, rule, weights, watch))
    if values.report:
      settings = {"config": repr(retriever.config), "weights": weights}
      prints[dataset.name] = fingerprint(dataset, retriever, settings=settings)
  if values.fire:
    path = pathlib.Path(values.fire)
    given = read_descriptors(path, index.kernel, seed=values.seed).every(values.every)
    prints[path.stem] = {"all": given.key}
    # Its global features are VLAD, whatever the local ones are.
    rule = Features(local=sift()).default_weight
    sets.append(_measure(values, path.stem, given, config, rule, weights, watch))
  leave(
    values,
    "Transfer between domains",
    tables.make_sections(sets, has_plots=bool(values.report)),
    data={"weights": weights},
    fingerprint=lambda: {"all": files.checksum_json(prints)[:16], **prints},
    notice=MINI.notice if any(each.name == MINI.name for each in sets) else None,
  )


def _weights(values: Values) -> list[float]:
  """Returns the weights to measure: those of the flag, the paper's, and what the rule may say."""
  try:
    numbers = [check_weight(float(text)) for text in values.weights]
  except ValueError as error:
    # An error about a setting is one too.
    raise InputError("--weights are numbers from 0 to 1, such as 0,0.5,1.") from error
  rules = [Features(local=sift()).default_weight, PAPER_WEIGHT]
  return sorted({*numbers, *rules})


def _measure(
  values: Values,
  name: str,
  given: Shortlists,
  config: L2GConfig,
  rule: float,
  weights: list[float],
  watch: Stopwatch,
) -> Measured:
  """Measures a set at all weights, or opens what was measured."""

  def run() -> dict[str, Any]:
    print(f"{name}: {len(given.candidates.ids)} queries, {len(weights)} weights", flush=True)
    search = complete_rankings(given.candidates.ids, None, len(given.truth.imlist))
    return {
      "rows": measure(given, config, weights, watch),
      "search": maps(search, given.truth),
    }

  row = keep(
    work_folder(values) / "transfer",
    ["transfer", given.key, repr(config), weights, _VERSION],
    run,
    again=values.again,
  )
  return Measured(name, {each["w"]: each for each in row["rows"]}, rule, row["search"])


COMMAND = Command(
  "transfer",
  __doc__,
  [Group("Transfer", _define), *evaluate.GROUPS, OUTPUTS],
  main,
)

if __name__ == "__main__":
  COMMAND.run("python -m experiments.transfer")

"""Trains a similarity of local features: a small AMES, on renderings and on photographs.

  python -m experiments.train_similarity [--photographs=DATA/dvd_dev] [--work_dir=work]

The material is made first: landmarks like those of `mini`, of other seeds, and pairs that spatial
verification finds among photographs. Then the network is trained, and its weights are written where
`--similarity=learned` and `experiments.compare` look for them. A run that was interrupted goes on;
one that is done is repeated from its last state at once.
"""

import dataclasses
import functools
import pathlib

import jax
import numpy as np
from absl import flags

from experiments.training import losses, material, pairs, similarity
from experiments.training.loop import Schedule, train
from experiments.training.output import check_weights
from l2g_jax import settings
from l2g_jax.cli.command import Command, Group, Values, output_group
from l2g_jax.cli.setting_errors import settings_as_flags
from l2g_jax.ranking.ames import AmesConfig
from l2g_jax.retriever.trained import default_path, save_trained
from l2g_jax.runtime import files

_PAIRS = 32
# Queries of each set in the lines of the log.
_REPORTED = 16
_SAMPLE = 50_000


def _define(values: flags.FlagValues) -> None:
  flags.DEFINE_integer("num_steps", 6000, "Batches of 32 pairs.", flag_values=values)
  flags.DEFINE_float("learning_rate", 1e-3, "Of Adam, at its highest.", flag_values=values)
  flags.DEFINE_integer("report_every", 250, "Batches between lines.", flag_values=values)
  flags.DEFINE_integer("num_query", 96, "Descriptors of a query.", flag_values=values)
  flags.DEFINE_integer("num_image", 64, "Descriptors of an image.", flag_values=values)
  flags.DEFINE_integer("model_dim", 64, "Dimension of a token.", flag_values=values)
  flags.DEFINE_integer("num_layers", 3, "Layers of the network.", flag_values=values)


def main(values: Values) -> None:
  """Makes the material, trains, and writes the weights."""
  output = pathlib.Path(values.output or default_path(values.work_dir, "learned"))
  check_weights(output, "learned")
  with settings_as_flags():
    schedule = Schedule(values.num_steps, values.learning_rate, report_every=values.report_every)
  counts = (values.num_query, values.num_image)
  for name, count in zip(("--num_query", "--num_image"), counts, strict=True):
    settings.integer(name, count, least=1)
  lists = material.open_lists(values)
  for line in material.describe(lists):
    print(line, flush=True)
  made = [pairs.open_pairs(part, counts) for part in lists]
  with settings_as_flags():
    config = AmesConfig(
      made[0].images.descriptors.shape[2],
      model_dim=values.model_dim,
      num_layers=values.num_layers,
      hidden_dim=4 * values.model_dim,
    )
  settled = [dataclasses.asdict(config), dataclasses.asdict(schedule), counts, _PAIRS]
  key = files.checksum_json([*settled, values.seed, *(part.key() for part in lists)])

  def batch(step: int) -> pairs.PairBatch:
    return pairs.draw_batch(made, np.random.default_rng([values.seed, step]), _PAIRS, counts)

  def loss(params, batch: pairs.PairBatch) -> jax.Array:
    return losses.pair_loss(similarity.logits_of(params, batch, config), batch.labels)

  folder = pathlib.Path(values.work_dir) / "training" / "learned"
  refusal = f"Another process is training in {folder}."
  with files.locked(folder, refusal=refusal):
    params = train(
      similarity.start(config, _sample(made, values.seed), values.seed),
      loss,
      batch,
      schedule,
      folder=folder,
      key=key,
      validate=similarity.Validation(made, config, counts, most=_REPORTED).figures,
      report=functools.partial(print, flush=True),
    )
  rule, figures = similarity.Validation(made, config, counts).choose_ensemble(params)
  print(
    "AP in the first 100 of all that is kept apart:"
    f" {', '.join(f'{name} {value:.1f}' for name, value in figures.items())},"
    f" by {rule['weight']:g} chamfer + {1.0 - rule['weight']:g} sigmoid({rule['temperature']:g} l)"
  )
  sizes = {
    "config": dataclasses.asdict(config),
    "counts": counts,
    "ensemble": rule,
  }
  save_trained(output, "learned", params, sizes)
  print(f"{output}: {output.stat().st_size / 1e6:.2f} MB")


def _sample(made: list[pairs.PairMaterial], seed: int) -> np.ndarray:
  """Draws descriptors `[n, d]` of the images of all sets, of unit norm as the network sees them."""
  rng = np.random.default_rng(seed)
  parts = []
  for part in made:
    values, mask = part.images.head(
      np.arange(len(part.images.counts)), part.images.descriptors.shape[1]
    )
    parts.append(values[mask])
  rows = np.concatenate(parts)
  rows = rows[rng.permutation(len(rows))[:_SAMPLE]]
  return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


COMMAND = Command(
  "train_similarity",
  __doc__,
  [
    Group("Training", _define),
    *material.GROUPS,
    output_group("File of the weights; omitted: in the work folder."),
  ],
  main,
)

if __name__ == "__main__":
  COMMAND.run("python -m experiments.train_similarity")

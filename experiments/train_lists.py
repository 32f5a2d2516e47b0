"""Trains a BiLSTM that re-ranks lists, on the material of the learned similarity.

  python -m experiments.train_lists [--photographs=DATA/dvd_dev] [--work_dir=work]

Its weights, 12 MB, are written where `experiments.compare` looks for them; its row is `bilstm`. A
run that was interrupted goes on; one that is done is repeated from its last state at once.
"""

import dataclasses
import functools
import pathlib
from typing import Any

import jax
import numpy as np
from absl import flags

from experiments.training import lists, losses, material
from experiments.training.loop import Schedule, train
from experiments.training.output import check_weights
from l2g_jax.cli.command import Command, Group, Values, output_group
from l2g_jax.cli.setting_errors import settings_as_flags
from l2g_jax.errors import SettingError
from l2g_jax.ranking.listwise import BiLstm, ListwiseConfig
from l2g_jax.retriever.trained import default_path, save_trained
from l2g_jax.runtime import files

_LISTS = 8
# Lists of each set in the lines of the log.
_REPORTED = 24


def _define(values: flags.FlagValues) -> None:
  flags.DEFINE_integer("num_steps", 600, "Batches of 8 lists.", flag_values=values)
  flags.DEFINE_float("learning_rate", 1e-3, "Of Adam, at its highest.", flag_values=values)
  flags.DEFINE_integer("report_every", 50, "Batches between lines.", flag_values=values)
  flags.DEFINE_integer("length", 512, "Images of a list that are re-ranked.", flag_values=values)
  flags.DEFINE_integer(
    "trained_length", 256, "Images of a list that are trained on, the first.", flag_values=values
  )
  flags.DEFINE_integer("hidden_dim", 256, "Width of a direction.", flag_values=values)
  flags.DEFINE_float("contrastive", 0.1, "Weight of the contrastive term.", flag_values=values)


def main(values: Values) -> None:
  """Makes the material, trains, and writes the weights."""
  output = pathlib.Path(values.output or default_path(values.work_dir, "bilstm"))
  check_weights(output, "bilstm")
  with settings_as_flags():
    schedule = Schedule(values.num_steps, values.learning_rate, report_every=values.report_every)
    config = ListwiseConfig(values.length, values.hidden_dim)
  if not 0 < values.trained_length <= values.length:
    raise SettingError("--trained_length", f"from 1 to {values.length}", values.trained_length)
  if values.contrastive < 0.0:
    raise SettingError("--contrastive", "at least 0", values.contrastive)
  opened = material.open_lists(values)
  for line in material.describe(opened):
    print(line, flush=True)
  sets = [lists.open_list_material(part) for part in opened]
  num_points = values.trained_length + 1
  settled = [dataclasses.asdict(config), dataclasses.asdict(schedule), num_points, _LISTS]
  own = [values.contrastive, values.seed, *(part.key() for part in opened)]
  key = files.checksum_json([*settled, *own])

  def batch(step: int) -> lists.ListBatch:
    return lists.draw_batch(
      sets, np.random.default_rng([values.seed, step]), _LISTS, config, num_points
    )

  def loss(params, batch: lists.ListBatch) -> jax.Array:
    made: Any = BiLstm(config).apply({"params": params}, batch.values, batch.counts)
    logits, states = made
    return losses.list_loss(logits, states, batch.labels, contrastive=values.contrastive)

  first = batch(0)
  start = BiLstm(config).init(jax.random.key(values.seed), first.values, first.counts)["params"]
  folder = pathlib.Path(values.work_dir) / "training" / "bilstm"
  with files.locked(folder, refusal=f"Another process is training in {folder}."):
    params = train(
      start,
      loss,
      batch,
      schedule,
      folder=folder,
      key=key,
      validate=lambda params: lists.validate(params, sets, config, most=_REPORTED),
      report=functools.partial(print, flush=True),
    )
  save_trained(output, "bilstm", params, {"config": dataclasses.asdict(config)})
  print(f"{output}: {output.stat().st_size / 1e6:.2f} MB")


COMMAND = Command(
  "train_lists",
  __doc__,
  [
    Group("Training", _define),
    *material.GROUPS,
    output_group("File of the weights; omitted: in the work folder."),
  ],
  main,
)

if __name__ == "__main__":
  COMMAND.run("python -m experiments.train_lists")

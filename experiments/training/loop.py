"""The loop of a training: steps of Adam, a printed log, and a state from which it goes on."""

import contextlib
import dataclasses
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import optax

from l2g_jax import settings
from l2g_jax.errors import InputError
from l2g_jax.runtime import files

_KIND = "experiments.training"
_VERSION = 1
# Of all gradients together; a longer one is shortened.
_LONGEST_GRADIENT = 1.0

# Maps parameters and a batch to a scalar.
Loss = Callable[[Any, Any], jax.Array]


@dataclasses.dataclass(frozen=True)
class Schedule:
  """How long a network is trained and how fast.

  Attributes:
    num_steps: at least 1.
    learning_rate: of Adam at its highest, above 0; it rises over the first twentieth of the steps
      and falls to 0 as a cosine.
    weight_decay: at least 0.
    report_every: steps between two lines of the log; the state is kept then, too. At least 1.
  """

  num_steps: int
  learning_rate: float = 1e-3
  weight_decay: float = 1e-4
  report_every: int = 100

  def __post_init__(self):
    settings.integer("num_steps", self.num_steps, least=1)
    settings.real("learning_rate", self.learning_rate, above=0.0)
    settings.real("weight_decay", self.weight_decay, least=0.0)
    settings.integer("report_every", self.report_every, least=1)


def train(
  params: Any,
  loss: Loss,
  batch: Callable[[int], Any],
  schedule: Schedule,
  *,
  folder: pathlib.Path,
  key: str,
  validate: Callable[[Any], Mapping[str, float]],
  report: Callable[[str], None] = print,
) -> Any:
  """Trains a network; interrupted work goes on after the last line of its log.

  The result is the same with an interruption and without, since a batch depends on its step alone.

  Args:
    params: at the start, arrays in nested dictionaries.
    loss: is minimised.
    batch: makes the batch of a step; all have the same shapes.
    schedule: steps and rates.
    folder: for the state; the caller holds its lock.
    key: identifies what is trained and on what; a state of another key is not used.
    validate: figures of parameters on material that is not trained on, by name.
    report: is called with each line of the log.

  Returns:
    The parameters after the last step.

  Raises:
    InputError: the loss is not finite.
  """
  optimizer = _optimizer(schedule)
  state = (params, optimizer.init(params))

  @jax.jit
  def advance(state, batch):
    params, moments = state
    value, gradient = jax.value_and_grad(loss)(params, batch)
    # Optax raises rates to powers of integer steps.
    with jax.numpy_dtype_promotion("standard"):
      updates, moments = optimizer.update(gradient, moments, params)
    return (optax.apply_updates(params, updates), moments), value

  first, state = _resume(folder, key, state)
  if first:
    report(f"goes on after step {first}")
  start, values = time.monotonic(), []
  for step in range(first, schedule.num_steps):
    state, value = advance(state, batch(step))
    values.append(value)
    done = step + 1
    if done % schedule.report_every == 0 or done == schedule.num_steps:
      mean = float(np.mean(jax.device_get(values)))
      if not np.isfinite(mean):
        raise InputError(
          f"The loss is not finite before step {done}; train with a lower --learning_rate."
        )
      figures = "".join(f"  {name} {value:.3f}" for name, value in validate(state[0]).items())
      seconds = time.monotonic() - start
      report(f"step {done:6}  loss {mean:.4f}{figures}  {seconds:.0f} s")
      _save(folder, key, done, state)
      values = []
  return jax.device_get(state[0])


def _optimizer(schedule: Schedule) -> optax.GradientTransformation:
  rates = optax.warmup_cosine_decay_schedule(
    0.0, schedule.learning_rate, max(1, schedule.num_steps // 20), max(2, schedule.num_steps)
  )
  return optax.chain(
    optax.clip_by_global_norm(_LONGEST_GRADIENT),
    optax.adamw(rates, weight_decay=schedule.weight_decay),
  )


def _save(folder: pathlib.Path, key: str, step: int, state: Any) -> None:
  leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(jax.device_get(state))]
  arrays = {f"leaf{number:04}": leaf for number, leaf in enumerate(leaves)}
  metadata = {"key": key, "step": step}
  files.save_bundle(
    folder / "state", kind=_KIND, version=_VERSION, arrays=arrays, metadata=metadata
  )


def _resume(folder: pathlib.Path, key: str, state: Any) -> tuple[int, Any]:
  """Returns the kept step and state, or 0 and the given state where none of this key is whole."""
  # What is missing or damaged begins anew.
  with contextlib.suppress(InputError):
    kept = files.load_bundle(folder / "state", kind=_KIND, version=_VERSION, verify=True)
    leaves, structure = jax.tree.flatten(state)
    if kept.metadata["key"] == key and len(kept.arrays) == len(leaves):
      arrays = [np.array(kept.arrays[name]) for name in sorted(kept.arrays)]
      return int(kept.metadata["step"]), jax.tree.unflatten(structure, arrays)
  return 0, state

"""Published checkpoints made into weights of ours: as files, or in memory."""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np

from l2g_jax.features import weights
from l2g_jax.interop.checkpoints import aliked, ames
from l2g_jax.interop.checkpoints.architectures import (
  fire_architecture,
  lite0_architecture,
  superglobal_architecture,
)
from l2g_jax.interop.checkpoints.layers import Architecture, convert_tensors
from l2g_jax.interop.checkpoints.state import check_state, find_state, name_some, unwrap
from l2g_jax.interop.checkpoints.torch_file import open_torch_file
from l2g_jax.runtime import files

Model = Literal["superglobal", "fire", "aliked", "lite0", "ames"]


@dataclasses.dataclass(frozen=True)
class Published:
  """A published model.

  Attributes:
    state_key: names the dictionary of tensors in a checkpoint; without it the tensors are alone.
    describe: returns the network, given the tensors by name.
    notice: the terms on which the weights may be used, as a sentence.
  """

  state_key: str
  describe: Callable[[Mapping[str, Any]], Architecture]
  notice: str


def _describe_superglobal(state: Mapping[str, Any]) -> Architecture:
  # Only the deeper trunk has a 23rd block in its third stage.
  deep = any("encoder_q.s3.b23." in name for name in state)
  return superglobal_architecture(101 if deep else 50)


def _describe_fire(state: Mapping[str, Any]) -> Architecture:
  del state
  return fire_architecture()


def _describe_aliked(state: Mapping[str, Any]) -> Architecture:
  return aliked.aliked_architecture(aliked.find_variant(state))


def _describe_ames(state: Mapping[str, Any]) -> Architecture:
  return ames.published_architecture(ames.find_variant(state))


def _describe_lite0(state: Mapping[str, Any]) -> Architecture:
  del state
  return lite0_architecture()


MODELS: Mapping[Model, Published] = {
  "superglobal": Published(
    "model_state",
    _describe_superglobal,
    "SuperGlobal uses CVNet's weights, for which CVNet's authors state no licence: ask them before "
    "you pass the weights on or use them for more than research.",
  ),
  "fire": Published(
    "state_dict",
    _describe_fire,
    "FIRe is licensed CC BY-NC-SA 4.0 by Naver Corporation: its weights, and what is made from "
    "them, may not be used commercially and are shared alike.",
  ),
  "aliked": Published(
    "state_dict",
    _describe_aliked,
    "ALIKED is licensed BSD-3-Clause, (c) 2022 Zhao Xiaoming: keep this notice with the weights.",
  ),
  "lite0": Published(
    "state_dict",
    _describe_lite0,
    "EfficientNet-Lite0 is licensed Apache-2.0 by Google: keep the licence with the weights where "
    "you pass them on.",
  ),
  "ames": Published(
    "state",
    _describe_ames,
    "AMES is licensed Apache-2.0 by its authors: keep the licence with the weights where you pass "
    "them on.",
  ),
}


def convert(
  model: Model,
  checkpoint: os.PathLike | str,
  output: os.PathLike | str,
  *,
  report: Callable[[str], None] = print,
) -> str:
  """Converts a checkpoint into weights.

  Args:
    model: the model of the checkpoint.
    checkpoint: as published, a file of `torch.save` or safetensors.
    output: safetensors, with the checkpoint's checksum and its licence in the metadata.
    report: is called with a sentence that counts and names the tensors that were passed over, if
      there were any.

  Returns:
    The terms on which the weights may be used; a sentence to show.

  Raises:
    InputError: the checkpoint can't be read, is hostile or of another model.
  """
  weights.save_weights(output, *_read_checkpoint(model, checkpoint, report))
  return MODELS[model].notice


def read_weights(
  model: Model, path: os.PathLike | str, *, report: Callable[[str], None] = print
) -> weights.Weights:
  """Reads weights from a file that `convert` made, or from a checkpoint without writing anything.

  Both give the same weights with the same checksum.

  Args:
    model: the model of the weights.
    path: weights of ours; or a checkpoint as published, a file of `torch.save` or safetensors.
    report: see `convert`.

  Raises:
    InputError: the file can't be read, is hostile or altered, or of another model.
  """
  if weights.is_weights(path):
    return weights.load_weights(path, model=model)
  return weights.make_weights(*_read_checkpoint(model, path, report))


def _read_checkpoint(
  model: Model, checkpoint: os.PathLike | str, report: Callable[[str], None]
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
  """Returns the arrays of a checkpoint by their path in our parameters, and their metadata."""
  published = MODELS[model]
  with open_torch_file(checkpoint) as file:
    fault = f"{checkpoint} is no checkpoint of {model}"
    state = find_state(file.content, published.state_key, fault)
    architecture = published.describe(state)
    state, outside = unwrap(state, architecture, fault)
    passed_over = [*check_state(state, architecture, fault), *outside]
    arrays = convert_tensors(architecture, lambda key: file.read(state[key]))
  metadata = {
    "model": model,
    **architecture.settings,
    "source": pathlib.Path(checkpoint).name,
    "source_checksum": files.checksum_file(checkpoint),
    "notice": published.notice,
  }
  if passed_over:
    report(
      f"{len(passed_over)} tensors of {checkpoint} were passed over, which {model} does not need:"
      f" {name_some(passed_over)}."
    )
  return arrays, metadata

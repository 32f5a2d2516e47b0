"""Conversion of a published checkpoint: every key and shape is insisted on, none is guessed.

Training wraps networks and saves more than weights. What all needed keys begin with in common, the
names of dictionaries around them included where the published one is not there, is
passed over, as are keys of modules that the network does not have; a further key in one of its own
modules means that it is another network, and is refused.
"""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from l2g_jax.errors import InputError
from l2g_jax.features import fire, resnet, superglobal, weights
from l2g_jax.interop.checkpoints.torch_file import Tensor, open_torch_file
from l2g_jax.runtime import files

Model = Literal["superglobal", "fire"]

_BATCH_NORM_EPSILON = 1e-5
_MOST_NAMED = 5
_MOST_LEVELS = 8


@dataclasses.dataclass(frozen=True)
class Layer:
  """A layer of a network, there and here.

  Attributes:
    target: its path in our parameters.
    shapes: of the keys that it is made from.
    convert: from their arrays, in that order, to ours by name.
  """

  target: str
  shapes: Mapping[str, tuple[int, ...]]
  convert: Callable[..., dict[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Architecture:
  """What a model's checkpoint must hold.

  Attributes:
    layers: of the network.
    prefix: of every key in the checkpoint that belongs to it.
    own: beginnings of keys of which each must be known, since the network computes with all.
    unused: beginnings of keys that belong to other parts of the published model.
    settings: what a program has to know of the network, for the metadata.
  """

  layers: tuple[Layer, ...]
  prefix: str = ""
  own: tuple[str, ...] = ()
  unused: tuple[str, ...] = ()
  settings: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Published:
  """A published model.

  Attributes:
    state_key: under which a checkpoint keeps the tensors; without it they are all there is.
    describe: from the names of the tensors to what must be there.
    notice: on what terms the weights may be used.
  """

  state_key: str
  describe: Callable[[Iterable[str]], Architecture]
  notice: str


def convert(
  model: Model,
  checkpoint: os.PathLike | str,
  output: os.PathLike | str,
  *,
  report: Callable[[str], None] = print,
) -> str:
  """Converts a checkpoint into weights.

  Args:
    model: which model the checkpoint is of.
    checkpoint: as published, a file of `torch.save` or safetensors.
    output: safetensors, with the checkpoint's checksum and its licence in the metadata.
    report: takes a sentence that counts and names what was passed over, where something was.

  Returns:
    On what terms the weights may be used; a sentence to show.

  Raises:
    InputError: the checkpoint can't be read, is hostile or of another model.
  """
  published = MODELS[model]
  with open_torch_file(checkpoint) as file:
    fault = f"{checkpoint} is no checkpoint of {model}"
    state = _state(file.content, published.state_key, fault)
    architecture = published.describe(state)
    state, outside = _unwrap(state, architecture, fault)
    passed_over = [*_check(state, architecture, fault), *outside]
    arrays = convert_tensors(architecture, lambda key: file.read(state[key]))
  metadata = {
    "model": model,
    **architecture.settings,
    "source": pathlib.Path(checkpoint).name,
    "source_checksum": files.checksum_file(checkpoint),
    "notice": published.notice,
  }
  weights.save_weights(output, arrays, metadata)
  if passed_over:
    report(
      f"{len(passed_over)} tensors of {checkpoint} were passed over, which {model} does not need:"
      f" {_name(passed_over)}."
    )
  return published.notice


def convert_tensors(
  architecture: Architecture, read: Callable[[str], np.ndarray]
) -> dict[str, np.ndarray]:
  """Converts tensors into parameters.

  Args:
    architecture: which ones.
    read: from a key of the checkpoint to its tensor.

  Returns:
    float32 by their path in the parameters, as `trunk/stem/kernel`.

  Raises:
    InputError: values are not finite; the message names the layer.
  """
  arrays = {}
  for layer in architecture.layers:
    sources = [read(architecture.prefix + key).astype(np.float64) for key in layer.shapes]
    with np.errstate(all="ignore"):
      for name, array in layer.convert(*sources).items():
        array = array.astype(np.float32)
        if not np.all(np.isfinite(array)):
          key = architecture.prefix + next(iter(layer.shapes))
          raise InputError(f"Values of the checkpoint are not finite, of {key} or beside it.")
        arrays[f"{layer.target}/{name}".lstrip("/")] = array
  return arrays


def superglobal_architecture(depth: superglobal.Depth) -> Architecture:
  """Returns what SuperGlobal needs of a CVNet checkpoint."""
  layers = [_convolution("trunk/stem", "stem.conv.weight", "stem.bn", resnet.STEM_WIDTH, 3, 7)]
  for block in _blocks(superglobal.BLOCKS[depth]):
    there, here = f"s{block.stage}.b{block.number}", _block_target(block)
    layers += _block_layers(
      block,
      here,
      {
        "reduce": (f"{there}.f.a.weight", f"{there}.f.a_bn"),
        "spatial": (f"{there}.f.b.weight", f"{there}.f.b_bn"),
        "expand": (f"{there}.f.c.weight", f"{there}.f.c_bn"),
        "project": (f"{there}.proj.weight", f"{there}.bn"),
      },
    )
  width = superglobal.DIMENSION
  layers.append(_dense("whiten", "head.fc.weight", "head.fc.bias", width, width))
  layers.append(Layer("", {"head.pool.p": (1,)}, lambda power: {"pool_power": power}))
  return Architecture(
    tuple(layers),
    prefix="encoder_q.",
    own=tuple(f"encoder_q.{part}." for part in ("stem", "s1", "s2", "s3", "s4")),
    unused=("conv2ds.", "cv_learner.", *(f"encoder_q.se{part}." for part in ("b1", "b2", "fc"))),
    settings={"depth": str(depth)},
  )


def fire_architecture() -> Architecture:
  """Returns what FIRe needs of its checkpoint."""
  layers = [_convolution("trunk/stem", "features.0.weight", "features.1", resnet.STEM_WIDTH, 3, 7)]
  for block in _blocks(fire.BLOCKS):
    # PyTorch numbers the blocks from 0, and conv, norm, ReLU and pooling before the stages.
    there, here = f"features.{block.stage + 3}.{block.number - 1}", _block_target(block)
    layers += _block_layers(
      block,
      here,
      {
        "reduce": (f"{there}.conv1.weight", f"{there}.bn1"),
        "spatial": (f"{there}.conv2.weight", f"{there}.bn2"),
        "expand": (f"{there}.conv3.weight", f"{there}.bn3"),
        "project": (f"{there}.downsample.0.weight", f"{there}.downsample.1"),
      },
    )
  width, hidden = fire.WIDTH, fire.HIDDEN_WIDTH
  # What is within the recurrence lies in a module of its own.
  for place, name in (("", "inputs"), ("refinement/", "templates"), ("refinement/", "mlp")):
    shapes = {f"lit.norm_{name}.weight": (width,), f"lit.norm_{name}.bias": (width,)}
    layers.append(
      Layer(f"lit/{place}norm_{name}", shapes, lambda scale, bias: {"scale": scale, "bias": bias})
    )
  for target, key in (("refinement/query", "q"), ("key", "k"), ("value", "v")):
    shapes = {f"lit.project_{key}.weight": (width, width)}
    layers.append(Layer(f"lit/{target}", shapes, lambda weight: {"kernel": weight.T}))
  layers += [
    Layer(
      "lit",
      {"lit.templates_init": (1, fire.NUM_TEMPLATES, width)},
      lambda values: {"templates": values[0]},
    ),
    _dense("lit/refinement/hidden", "lit.mlp.0.weight", "lit.mlp.0.bias", hidden, width),
    _dense("lit/refinement/output", "lit.mlp.2.weight", "lit.mlp.2.bias", width, hidden),
    Layer(
      "reduction",
      {
        "dim_reduction.weight": (fire.DIMENSION, width, 1, 1),
        "dim_reduction.bias": (fire.DIMENSION,),
      },
      lambda weight, bias: {"kernel": weight[:, :, 0, 0].T, "bias": bias},
    ),
  ]
  return Architecture(tuple(layers), own=("features.", "lit.", "dim_reduction."))


def _describe_superglobal(names: Iterable[str]) -> Architecture:
  # Only the deeper trunk has a 23rd block in its third stage.
  deep = any("encoder_q.s3.b23." in name for name in names)
  return superglobal_architecture(101 if deep else 50)


def _describe_fire(names: Iterable[str]) -> Architecture:
  del names
  return fire_architecture()


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
}


@dataclasses.dataclass(frozen=True)
class _Block:
  stage: int
  number: int
  width_in: int
  width: int


def _blocks(counts: Iterable[int]) -> Iterator[_Block]:
  width_in = resnet.STEM_WIDTH
  for stage, (count, width) in enumerate(zip(counts, resnet.WIDTHS, strict=False), start=1):
    for number in range(1, count + 1):
      yield _Block(stage, number, width_in, width)
      width_in = resnet.EXPANSION * width


def _block_target(block: _Block) -> str:
  return f"trunk/stage{block.stage}_block{block.number}"


def _block_layers(
  block: _Block, target: str, keys: Mapping[str, tuple[str, str]]
) -> Iterator[Layer]:
  inner, outer = block.width, resnet.EXPANSION * block.width
  sides = {"reduce": (inner, block.width_in, 1), "spatial": (inner, inner, 3)}
  sides["expand"] = (outer, inner, 1)
  if block.number == 1:
    sides["project"] = (outer, block.width_in, 1)
  for name, side in sides.items():
    yield _convolution(f"{target}/{name}", *keys[name], *side)


def _convolution(
  target: str, weight: str, norm: str, width: int, width_in: int, size: int
) -> Layer:
  parts = ("weight", "bias", "running_mean", "running_var")
  shapes = {weight: (width, width_in, size, size)} | {f"{norm}.{part}": (width,) for part in parts}
  return Layer(target, shapes, _fold)


def _fold(
  weight: np.ndarray, scale: np.ndarray, bias: np.ndarray, mean: np.ndarray, variance: np.ndarray
) -> dict[str, np.ndarray]:
  """Folds a batch norm of fixed statistics into the convolution before it.

  The kernel of a 1x1 convolution is a matrix.
  """
  factor = scale / np.sqrt(variance + _BATCH_NORM_EPSILON)
  kernel = (weight * factor[:, None, None, None]).transpose(2, 3, 1, 0)
  kernel = kernel[0, 0] if kernel.shape[:2] == (1, 1) else kernel
  return {"kernel": kernel, "bias": bias - mean * factor}


def _dense(target: str, weight: str, bias: str, width: int, width_in: int) -> Layer:
  shapes = {weight: (width, width_in), bias: (width,)}
  return Layer(target, shapes, lambda kernel, bias: {"kernel": kernel.T, "bias": bias})


def _state(content: Any, key: str, fault: str) -> Mapping[str, Any]:
  """Finds what was saved by name, tensors among it."""
  if not isinstance(content, Mapping):
    raise InputError(f"{fault}: it holds no tensors by name.")
  state = content.get(key, content)
  if not isinstance(state, Mapping) or not any(
    isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
  ):
    # What lies deeper has the names of what it lies in before its own, as of a wrapped network.
    state = dict(_nested_tensors(content, "", set()))
  if not state:
    raise InputError(f"{fault}: it holds no tensors under {key}, but {_name(list(content))}.")
  return {name: value for name, value in state.items() if isinstance(name, str)}


def _nested_tensors(
  content: Mapping[Any, Any], prefix: str, entered: set[int]
) -> Iterator[tuple[str, Tensor]]:
  """Yields tensors in dictionaries of dictionaries, each of which is entered once."""
  entered.add(id(content))
  for name, value in content.items():
    if not isinstance(name, str):
      continue
    if isinstance(value, Tensor):
      yield prefix + name, value
    elif (
      isinstance(value, Mapping) and id(value) not in entered and prefix.count(".") < _MOST_LEVELS
    ):
      yield from _nested_tensors(value, f"{prefix}{name}.", entered)


def _unwrap(
  state: Mapping[str, Any], architecture: Architecture, fault: str
) -> tuple[dict[str, Any], list[str]]:
  """Takes off what all needed keys begin with, such as `module.`.

  Returns:
    What is below it by key, and the names of the tensors that are not.
  """
  needed = _needed_shapes(architecture)
  first = next(iter(needed))
  wrappings = [
    name.removesuffix(first) for name in state if name == first or name.endswith(f".{first}")
  ]
  counts = {wrapping: sum(wrapping + key in state for key in needed) for wrapping in wrappings}
  best = [wrapping for wrapping in counts if counts[wrapping] == max(counts.values())]
  if len(best) > 1 and "" not in best:
    raise InputError(f"{fault}: it holds the network {len(best)} times, under {_name(best)}.")
  wrapping = "" if not best or "" in best else best[0]
  inside = {
    name.removeprefix(wrapping): value for name, value in state.items() if name.startswith(wrapping)
  }
  outside = [
    name
    for name, value in state.items()
    if not name.startswith(wrapping) and isinstance(value, Tensor)
  ]
  return inside, outside


def _needed_shapes(architecture: Architecture) -> dict[str, tuple[int, ...]]:
  return {
    architecture.prefix + key: shape
    for layer in architecture.layers
    for key, shape in layer.shapes.items()
  }


def _check(state: Mapping[str, Any], architecture: Architecture, fault: str) -> list[str]:
  """Refuses a checkpoint that lacks a key, or has one of another kind or shape, or of its own.

  Returns:
    The names of the tensors that the network does not need, but for those that are known.
  """
  shapes = _needed_shapes(architecture)
  others = [
    key
    for key, value in state.items()
    if key not in shapes
    and isinstance(value, Tensor)
    and not key.startswith(architecture.unused)
    and not key.endswith(".num_batches_tracked")
  ]
  missing = [key for key in shapes if key not in state]
  # Where something is missing, all that is there instead may tell why.
  unknown = [key for key in others if missing or key.startswith(architecture.own)]
  wrong = [
    f"{key} {_shape(state[key])} instead of {shape}"
    for key, shape in shapes.items()
    if key in state and _shape(state[key]) != shape
  ]
  faults = [
    f"{text} {_name(names)}"
    for text, names in (("lacks", missing), ("has the unknown", unknown), ("has", wrong))
    if names
  ]
  if faults:
    raise InputError(f"{fault}: it {'; it '.join(faults)}.")
  return others


def _shape(value: Any) -> tuple[int, ...] | str:
  """Returns the shape of a tensor of weights, or what it is instead."""
  if not isinstance(value, Tensor):
    return "as no plain tensor"
  dtype = value.storage.type.dtype
  return (
    "of a type that weights do not have" if dtype is None or dtype.kind in "iu" else value.shape
  )


def _name(names: Sequence[Any]) -> str:
  rest = len(names) - _MOST_NAMED
  named = ", ".join(map(str, names[:_MOST_NAMED])) or "nothing"
  return named + (f" and {rest} more" if rest > 0 else "")

"""Layers of published networks, made into layers of ours."""

import dataclasses
import functools
from collections.abc import Callable, Mapping

import numpy as np

from l2g_jax.errors import InputError

# PyTorch's own, which most published networks keep.
_BATCH_NORM_EPSILON = 1e-5


@dataclasses.dataclass(frozen=True)
class Layer:
  """A layer of a network, in a published checkpoint and in our parameters.

  Attributes:
    target: its path in our parameters.
    shapes: the shape of every tensor that it is made from, by key.
    convert: makes our arrays, by name, of these tensors in their order.
  """

  target: str
  shapes: Mapping[str, tuple[int, ...]]
  convert: Callable[..., dict[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Architecture:
  """The network that a checkpoint must hold.

  Attributes:
    layers: all layers of the network.
    prefix: begins every key of the network in the checkpoint.
    own: beginnings of keys that the network computes with; an unknown key among them is refused.
    unused: beginnings of keys that belong to other parts of the published model.
    settings: facts of the network that programs need, for the metadata.
  """

  layers: tuple[Layer, ...]
  prefix: str = ""
  own: tuple[str, ...] = ()
  unused: tuple[str, ...] = ()
  settings: Mapping[str, str] = dataclasses.field(default_factory=dict)


def needed_shapes(architecture: Architecture) -> dict[str, tuple[int, ...]]:
  """Returns the shape of every tensor that a network needs, by its key in the checkpoint."""
  return {
    architecture.prefix + key: shape
    for layer in architecture.layers
    for key, shape in layer.shapes.items()
  }


def convert_tensors(
  architecture: Architecture, read: Callable[[str], np.ndarray]
) -> dict[str, np.ndarray]:
  """Converts the tensors of a network into our parameters.

  Args:
    architecture: the network.
    read: returns the tensor of a key of the checkpoint.

  Returns:
    float32 arrays by their path in the parameters, such as `trunk/stem/kernel`.

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


def convolution(
  target: str,
  weight: str,
  norm: str,
  width: int,
  width_in: int,
  size: int,
  *,
  epsilon: float = _BATCH_NORM_EPSILON,
) -> Layer:
  """Returns a convolution without a bias that takes in the batch norm after it.

  Args:
    target: its path in our parameters.
    weight: the key of its weight `[width, width_in, size, size]`.
    norm: the key of the batch norm.
    width: channels of its output.
    width_in: channels of its input.
    size: side of the kernel.
    epsilon: is added to variances.
  """
  parts = ("weight", "bias", "running_mean", "running_var")
  shapes = {weight: (width, width_in, size, size)} | {f"{norm}.{part}": (width,) for part in parts}
  return Layer(target, shapes, functools.partial(_fold, epsilon=epsilon))


def depthwise(
  target: str, weight: str, norm: str, width: int, size: int, *, epsilon: float
) -> Layer:
  """Returns a `convolution` of each channel alone; its kernel is `[size, size, width]`."""
  layer = convolution(target, weight, norm, width, 1, size, epsilon=epsilon)

  def convert(*tensors: np.ndarray) -> dict[str, np.ndarray]:
    made = layer.convert(*tensors)
    return {**made, "kernel": made["kernel"][:, :, 0]}

  return dataclasses.replace(layer, convert=convert)


def _fold(
  weight: np.ndarray,
  scale: np.ndarray,
  bias: np.ndarray,
  mean: np.ndarray,
  variance: np.ndarray,
  *,
  epsilon: float,
) -> dict[str, np.ndarray]:
  """Folds a batch norm of fixed statistics into the convolution before it.

  A kernel of side 1 becomes a matrix.
  """
  factor = scale / np.sqrt(variance + epsilon)
  kernel = (weight * factor[:, None, None, None]).transpose(2, 3, 1, 0)
  kernel = kernel[0, 0] if kernel.shape[:2] == (1, 1) else kernel
  return {"kernel": kernel, "bias": bias - mean * factor}


def dense(target: str, weight: str, bias: str, width: int, width_in: int) -> Layer:
  """Returns a dense layer; its weight is `[width, width_in]` in the checkpoint."""
  shapes = {weight: (width, width_in), bias: (width,)}
  return Layer(target, shapes, lambda kernel, bias: {"kernel": kernel.T, "bias": bias})


def layer_norm(target: str, key: str, width: int) -> Layer:
  """Returns a layer norm with a scale and a bias."""
  shapes = {f"{key}.weight": (width,), f"{key}.bias": (width,)}
  return Layer(target, shapes, lambda scale, bias: {"scale": scale, "bias": bias})

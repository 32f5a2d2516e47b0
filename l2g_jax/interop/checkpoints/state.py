"""The tensors of a network among all that a checkpoint holds: each key and shape is insisted on.

Training wraps networks and saves more than weights. The common beginning of all needed keys is
taken off; where the published dictionary is missing, that includes the names of the dictionaries
around them. Keys of other modules than the network's are passed over. An unknown key in a module of
its own means another network, and is refused.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from l2g_jax.errors import InputError
from l2g_jax.interop.checkpoints.layers import Architecture, needed_shapes
from l2g_jax.interop.checkpoints.tensors import Tensor

_MOST_NAMED = 5
# Of dictionaries in dictionaries.
_MOST_LEVELS = 8


def find_state(content: Any, key: str, fault: str) -> Mapping[str, Any]:
  """Finds the dictionary of tensors in the content of a checkpoint.

  Args:
    content: the content.
    key: names the dictionary in a published checkpoint; without it the content is the dictionary.
    fault: begins the message of an error.

  Returns:
    The values of the dictionary by name, tensors among them.

  Raises:
    InputError: there are no tensors by name.
  """
  if not isinstance(content, Mapping):
    raise InputError(f"{fault}: it holds no tensors by name.")
  state = content.get(key, content)
  if not isinstance(state, Mapping) or not any(
    isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
  ):
    # Deeper tensors get the names of the dictionaries around them, as those of a wrapped network.
    state = dict(_nested_tensors(content, "", set()))
  if not state:
    raise InputError(f"{fault}: it holds no tensors under {key}, but {name_some(list(content))}.")
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


def has_tensor(state: Mapping[str, Any], ending: str, shape: tuple[int, ...]) -> bool:
  """Returns whether a tensor of this shape has a name that ends so, as in a wrapped network."""
  return any(
    isinstance(value, Tensor) and value.shape == shape
    for name, value in state.items()
    if name.endswith(ending)
  )


def unwrap(
  state: Mapping[str, Any], architecture: Architecture, fault: str
) -> tuple[dict[str, Any], list[str]]:
  """Takes off the beginning that all needed keys share, such as `module.`.

  Args:
    state: values by name.
    architecture: the network that needs the keys.
    fault: begins the message of an error.

  Returns:
    The values with that beginning, by the rest of their names, and the names of the other tensors.

  Raises:
    InputError: the network is there more than once.
  """
  needed = needed_shapes(architecture)
  first = next(iter(needed))
  wrappings = [
    name.removesuffix(first) for name in state if name == first or name.endswith(f".{first}")
  ]
  counts = {wrapping: sum(wrapping + key in state for key in needed) for wrapping in wrappings}
  best = [wrapping for wrapping in counts if counts[wrapping] == max(counts.values())]
  if len(best) > 1 and "" not in best:
    raise InputError(f"{fault}: it holds the network {len(best)} times, under {name_some(best)}.")
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


def check_state(state: Mapping[str, Any], architecture: Architecture, fault: str) -> list[str]:
  """Refuses tensors that are not those of a network.

  Args:
    state: values by name.
    architecture: the network.
    fault: begins the message of an error.

  Returns:
    The names of further tensors, but for those that the published model is known to have.

  Raises:
    InputError: a tensor is missing, or of another kind or shape, or not known where the network
      computes with all; the message names it.
  """
  shapes = needed_shapes(architecture)
  others = [
    key
    for key, value in state.items()
    if key not in shapes
    and isinstance(value, Tensor)
    and not key.startswith(architecture.unused)
    and not key.endswith(".num_batches_tracked")
  ]
  missing = [key for key in shapes if key not in state]
  # Where a key is missing, the unknown ones may tell why.
  unknown = [key for key in others if missing or key.startswith(architecture.own)]
  wrong = [
    f"{key} {_shape(state[key])} instead of {shape}"
    for key, shape in shapes.items()
    if key in state and _shape(state[key]) != shape
  ]
  faults = [
    f"{text} {name_some(names)}"
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


def name_some(names: Sequence[Any]) -> str:
  """Names the first few, and counts the others."""
  rest = len(names) - _MOST_NAMED
  named = ", ".join(map(str, names[:_MOST_NAMED])) or "nothing"
  return named + (f" and {rest} more" if rest > 0 else "")

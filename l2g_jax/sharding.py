"""Work spread over devices, of one host or several: rows of arrays split along one mesh axis."""

import os
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

AXIS = "devices"

# Of what the host has at hand, and at most, where a device does not tell what it holds.
_HOST_SHARE = 4
_HOST_BYTES = 1 << 29


def make_mesh(num_devices: int | None = None) -> Mesh:
  """Returns a mesh of one axis over the first devices; None = all, of other hosts too."""
  return Mesh(np.array(jax.devices()[:num_devices]), (AXIS,))


def split(array: np.ndarray, mesh: Mesh) -> jax.Array:
  """Puts an array on the devices, each of which holds its share of the rows.

  Args:
    array: `[rows, ...]`, the same on every host; rows are a multiple of the devices.
    mesh: of one axis.

  Returns:
    The array, split along its first axis.
  """
  sharding = NamedSharding(mesh, PartitionSpec(AXIS))
  return jax.make_array_from_callback(array.shape, sharding, lambda part: array[part])


def replicate(array: np.ndarray, mesh: Mesh) -> jax.Array:
  """Puts an array, the same on every host, on every device as a whole."""
  sharding = NamedSharding(mesh, PartitionSpec())
  return jax.make_array_from_callback(array.shape, sharding, lambda part: array[part])


def map_shares(function: Callable[..., Any], mesh: Mesh) -> Callable[..., Any]:
  """Runs a function on every device's share of the rows, without a word between devices.

  Args:
    function: of arguments that all devices have as a whole, and of a tuple of arrays `[rows, ...]`;
      what it returns has rows too.
    mesh: of one axis.

  Returns:
    The function of the same arguments, on all rows.
  """
  specs = (PartitionSpec(), PartitionSpec(AXIS))
  # Loops of unequal length on each device are no matter of types that vary between devices.
  return jax.shard_map(
    function, mesh=mesh, in_specs=specs, out_specs=PartitionSpec(AXIS), check_vma=False
  )


def fetch(array: jax.Array) -> np.ndarray:
  """Returns all of an array on this host, also what other hosts' devices hold."""
  if array.is_fully_addressable:
    return np.asarray(array)
  return np.asarray(multihost_utils.process_allgather(array, tiled=True))


def bytes_at_hand(mesh: Mesh) -> int:
  """Returns how much of each device's memory work may take: half of what is free, at most.

  A power of two, the same on every host, so that the shapes chosen by it are the same everywhere
  and from call to call.
  """
  least = None
  for device in mesh.local_devices:
    statistics = device.memory_stats() or {}
    if "bytes_limit" in statistics:
      free = (statistics["bytes_limit"] - statistics.get("bytes_in_use", 0)) // 2
      least = free if least is None else min(least, free)
  if least is None:
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    least = min(_HOST_BYTES, free // (_HOST_SHARE * len(mesh.local_devices)))
  exponent = max(0, least.bit_length() - 1)
  if mesh.is_multi_process:
    exponent = int(multihost_utils.process_allgather(np.int32(exponent)).min())
  return 1 << exponent

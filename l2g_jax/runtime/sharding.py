"""Work spread over devices, of one host or several: rows of arrays split along one mesh axis."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import psutil
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from l2g_jax import settings

AXIS = "devices"

# At most, where a device has memory of the host, half of which is left to the host itself.
_HOST_BYTES = 1 << 29


def make_mesh(num_devices: int | None = None) -> Mesh:
  """Returns a mesh of one axis over the first devices; None = all, of other hosts too.

  Raises:
    SettingError: there are fewer devices.
  """
  if num_devices is not None:
    num_devices = settings.integer("num_devices", num_devices, least=1, most=jax.device_count())
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
  """Returns how much of each device's memory work may take: a third of it, or half of what is free.

  A power of two, the same on every host, and from call to call while less than a third is in use,
  so that the shapes chosen by it are the same everywhere and every time. What the host keeps of
  files that were read is free.
  """
  devices = mesh.local_devices
  statistics = [device.memory_stats() or {} for device in devices]
  if all("bytes_limit" in of_device for of_device in statistics):
    least = min(
      _share(of_device["bytes_limit"], of_device.get("bytes_in_use", 0)) for of_device in statistics
    )
  else:
    memory = psutil.virtual_memory()
    host = _share(memory.total, memory.total - memory.available) // 2
    least = min(_HOST_BYTES, host // len(devices))
  exponent = max(0, least.bit_length() - 1)
  if mesh.is_multi_process:
    exponent = int(multihost_utils.process_allgather(np.int32(exponent)).min())
  return 1 << exponent


def _share(total: int, in_use: int) -> int:
  """Returns what work may take of a memory; what it takes is the same while little is in use."""
  return min(total // 3, (total - in_use) // 2)

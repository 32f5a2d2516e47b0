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

# The most that work on the CPU takes, where devices share the memory of the host.
_HOST_BYTES = 1 << 29


def make_mesh(num_devices: int | None = None) -> Mesh:
  """Returns a mesh of one axis over the first devices; None = all, those of other hosts too.

  Raises:
    SettingError: there are fewer devices.
  """
  if num_devices is not None:
    num_devices = settings.integer("num_devices", num_devices, least=1, most=jax.device_count())
  return Mesh(np.array(jax.devices()[:num_devices]), (AXIS,))


def split(array: np.ndarray, mesh: Mesh) -> jax.Array:
  """Puts an array on the devices; each holds its share of the rows.

  Args:
    array: `[rows, ...]`, the same on every host; the number of rows is a multiple of that of the
      devices.
    mesh: a mesh of one axis.

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
  """Runs a function on every device's share of the rows; devices do not exchange anything.

  Args:
    function: takes arguments that all devices have as a whole, and a tuple of arrays `[rows, ...]`;
      returns arrays with rows too.
    mesh: a mesh of one axis.

  Returns:
    The function of the same arguments, on all rows.
  """
  specs = (PartitionSpec(), PartitionSpec(AXIS))
  # JAX's check of replicated values refuses loops whose length differs between devices.
  return jax.shard_map(
    function, mesh=mesh, in_specs=specs, out_specs=PartitionSpec(AXIS), check_vma=False
  )


def fetch(array: jax.Array) -> np.ndarray:
  """Returns a whole array on this host, the shares of other hosts' devices too."""
  if array.is_fully_addressable:
    return np.asarray(array)
  return np.asarray(multihost_utils.process_allgather(array, tiled=True))


def bytes_at_hand(mesh: Mesh) -> int:
  """Returns the bytes of each device that work may take: a third of all, or half of those free.

  It is a power of two, the same on every host, and the same from call to call while less than a
  third is in use: shapes that depend on it then do not change. The host's cache of files counts as
  free.
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
  """Returns the bytes of a memory that work may take; a constant while little is in use."""
  return min(total // 3, (total - in_use) // 2)

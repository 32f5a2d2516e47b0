import os
import pathlib
import socket
import subprocess
import sys

import jax
import numpy as np
import psutil
import pytest

from l2g_jax.errors import InputError
from l2g_jax.pipeline import l2g as pipeline
from l2g_jax.runtime import sharding
from tests.pipeline.problems import CONFIG, check_same, many_queries, rank, scores_of_seeds

ROOT = pathlib.Path(__file__).parents[2]


# 13 queries on 8 devices: a full block and a padded one, or two queries on each device.
@pytest.mark.parametrize(
  ("num_queries", "num_devices", "block_bytes"),
  [(13, 8, 1), (13, 8, 1 << 29), (13, 3, 130_000), (2, 8, 1)],
)
def test_devices_change_no_number(num_queries, num_devices, block_bytes):
  arguments = many_queries(0, num_queries)
  single = rank(*arguments, mesh=sharding.make_mesh(1), block_bytes=1 << 29)
  mesh = sharding.make_mesh(num_devices)
  results = rank(*arguments, mesh=mesh, block_bytes=block_bytes)
  assert mesh.size == num_devices
  check_same(results, single)


def test_every_device_holds_its_share():
  mesh = sharding.make_mesh()
  assert mesh.size == jax.device_count() == 8
  rows = np.arange(48.0, dtype=np.float32).reshape(16, 3)
  spread = sharding.split(rows, mesh)
  for shard in spread.addressable_shards:
    np.testing.assert_array_equal(shard.data, rows[shard.index])
    assert shard.data.shape == (2, 3)
  np.testing.assert_array_equal(sharding.fetch(spread), rows)
  for shard in sharding.replicate(rows, mesh).addressable_shards:
    np.testing.assert_array_equal(shard.data, rows)


def test_functions_see_only_their_share():
  mesh = sharding.make_mesh(4)
  rows = np.arange(12.0, dtype=np.float32)
  factor = sharding.replicate(np.full((1,), 2.0, np.float32), mesh)

  def centre(factor, arrays):
    (values,) = arrays
    return factor * (values - values.mean())

  centred = jax.jit(sharding.map_shares(centre, mesh))(factor, (sharding.split(rows, mesh),))
  np.testing.assert_allclose(sharding.fetch(centred), np.tile([-2.0, 0.0, 2.0], 4))


def test_memory_at_hand_is_a_power_of_two():
  available = sharding.bytes_at_hand(sharding.make_mesh())
  assert available.bit_count() == 1
  assert 1 << 20 <= available <= 1 << 29


class Memory:
  def __init__(self, total, available):
    self.total, self.available = total, available


def test_memory_at_hand_does_not_flip_with_what_is_in_use(monkeypatch):
  mesh = sharding.make_mesh(1)

  def at_hand(total, available):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: Memory(total, available))
    return sharding.bytes_at_hand(mesh)

  gigabyte = 1 << 30
  for total in (2 * gigabyte, 3 * gigabyte, 16 * gigabyte):
    shares = {at_hand(total, total * percent // 100) for percent in range(68, 101)}
    assert len(shares) == 1
    assert shares.pop() <= min(total // 6, 1 << 29)
  # Where memory is short there is less.
  assert at_hand(16 * gigabyte, gigabyte) == gigabyte // 4


@pytest.mark.parametrize("num_devices", [0, -1, 9, 1.0, True])
def test_devices_that_are_not_there_are_refused(num_devices):
  with pytest.raises(InputError, match=r"num_devices must be .*from 1 to 8, not"):
    sharding.make_mesh(num_devices)


@pytest.mark.parametrize(
  ("num_queries", "num_devices", "most", "expected"),
  [(70, 1, 100, 70), (70, 1, 30, 24), (70, 8, 100, 72), (70, 8, 5, 40), (1, 8, 1, 8), (3, 2, 1, 2)],
)
def test_blocks_are_even(num_queries, num_devices, most, expected):
  assert pipeline.even_block(num_queries, num_devices, most) == expected


SCRIPT = """
import sys
import jax
import numpy as np

address, process, output = sys.argv[1:]
jax.distributed.initialize(address, num_processes=2, process_id=int(process))
from l2g_jax.runtime import sharding
from tests.pipeline.problems import scores_of_seeds

assert jax.device_count() == 4 and jax.local_device_count() == 2
np.save(output, scores_of_seeds(sharding.make_mesh()))
"""


def test_two_hosts_each_get_the_whole_result(tmp_path):
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    address = f"127.0.0.1:{free.getsockname()[1]}"
  environment = {
    **os.environ,
    # Two devices a host; otherwise the programs are those of this process, bit for bit.
    "XLA_FLAGS": os.environ["XLA_FLAGS"].replace("device_count=8", "device_count=2"),
    "PYTHONPATH": str(ROOT),
  }
  outputs = [tmp_path / f"{process}.npy" for process in range(2)]
  processes = [
    subprocess.Popen(
      [sys.executable, "-c", SCRIPT, address, str(process), output], cwd=ROOT, env=environment
    )
    for process, output in enumerate(outputs)
  ]
  assert [process.wait(timeout=300) for process in processes] == [0, 0]
  one_host = scores_of_seeds(sharding.make_mesh(4))
  one_device = scores_of_seeds(sharding.make_mesh(1))
  for output in outputs:
    scores = np.load(output)
    np.testing.assert_allclose(scores, one_host, atol=1e-6)
    np.testing.assert_allclose(scores[:, 0], one_device[:, 0], atol=1e-6)
    # Rounding alone ranks candidates that mirror each other (seed 1), or takes a last step (22).
    np.testing.assert_allclose(scores, one_device, atol=CONFIG.rtol**0.5)

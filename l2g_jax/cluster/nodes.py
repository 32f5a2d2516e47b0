"""A Ray cluster to work on: one that runs already, or nodes that are started on this machine."""

import contextlib
import dataclasses
import logging
import multiprocessing
import os
import pathlib
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection

import ray
from ray.cluster_utils import Cluster

from l2g_jax.errors import InputError, SettingError

# Ray takes 127.0.0.1 for an address that others can't reach, and looks for another one.
_LOOPBACK = "127.0.0.2"
# The least that Ray takes: results are small, and data lie in files.
_STORE_BYTES = 80 << 20
# Of local nodes. A killed one is noticed after some seconds, not after fifteen. Work has the
# priority of this process, not one of the lowest.
_SETTINGS = {
  "health_check_period_ms": 500,
  "health_check_initial_delay_ms": 500,
  "worker_niceness": 0,
}


@dataclasses.dataclass(frozen=True)
class Needs:
  """What a task or a searcher asks of a node.

  Attributes:
    cpus: cores, at least 1; it uses no more threads for its own loops. Networks on a CPU use all
      cores of a node whatever this says: give them as many.
    gpus: GPUs, at least 0; a part of one lets several share it.
    attempts: how often it is begun, at least 1, as its node or its process may die. An error of the
      work itself is not tried again.
  """

  cpus: int = 1
  gpus: float = 0.0
  attempts: int = 20

  def __post_init__(self):
    for name, least in (("cpus", 1), ("gpus", 0), ("attempts", 1)):
      if not getattr(self, name) >= least:
        raise SettingError(name, f"at least {least}", getattr(self, name))


def check_room(needs: Needs, count: int = 1) -> None:
  """Refuses what the nodes of now can't hold, and would wait for without an end.

  Args:
    needs: of each.
    count: how many there are at a time.

  Raises:
    InputError: the nodes have fewer cores or GPUs.
  """
  nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
  fitting = sum(
    min(
      int(node.get("CPU", 0) // needs.cpus),
      int(node.get("GPU", 0) // needs.gpus) if needs.gpus else count,
    )
    for node in nodes
  )
  if fitting < count:
    raise InputError(
      f"The {len(nodes)} nodes have room for {fitting} of {count} that need {needs.cpus} cores and"
      f" {needs.gpus:g} GPUs each; ask for less, or start more nodes."
    )


@contextlib.contextmanager
def connected(address: str) -> Iterator[None]:
  """Connects this process, the driver, to a cluster that runs.

  Args:
    address: HOST:PORT of its head; `auto` = that of the cluster which this machine is a node of.

  Raises:
    InputError: there is none.
  """
  try:
    ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
  except (ConnectionError, ValueError) as error:
    raise InputError(f"There is no Ray cluster at {address}: {error}") from error
  try:
    yield
  finally:
    ray.shutdown()


class LocalNodes:
  """Nodes on this machine, which can be killed.

  They belong to a process of their own: starting them forks, which a process that computes must
  not do.

  Attributes:
    num_killed: nodes that were killed, as far as is known: those of `kill_every` at the end.
  """

  def __init__(self, pipe: Connection):
    self.num_killed = 0
    self._pipe = pipe

  def kill(self) -> None:
    """Kills the node that has run longest, with what runs on it, as a power failure would."""
    self._ask("kill")

  def stop(self) -> None:
    """Ends all nodes."""
    self._ask("stop")

  def _ask(self, request: str) -> None:
    self._pipe.send(request)
    self.num_killed = self._pipe.recv()


@contextlib.contextmanager
def local_nodes(
  count: int, *, cpus: int = 1, kill_every: float | None = None
) -> Iterator[LocalNodes]:
  """Starts nodes on this machine, reached by nobody else, and connects this process to them.

  This process is on a further node without cores, which takes no tasks.

  Args:
    count: of nodes, at least 1.
    cpus: cores of each; as Ray counts them: the machine may have fewer.
    kill_every: seconds after which one of them is killed and another one started, again and again;
      None = none is.

  Raises:
    InputError: the nodes did not start.
  """
  # Paths of sockets must be short.
  short = "/tmp" if pathlib.Path("/tmp").is_dir() else None
  folder = tempfile.mkdtemp(prefix="l2g-", dir=short)
  with contextlib.ExitStack() as stack:
    stack.enter_context(_environment(RAY_TMPDIR=folder, RAY_USAGE_STATS_ENABLED="0"))
    context = multiprocessing.get_context("spawn")
    pipe, other = context.Pipe()
    process = context.Process(target=_keep_nodes, args=(other, folder, count, cpus, kill_every))
    process.start()
    # The process sees the end of the pipe when this one ends, even if it is killed.
    other.close()
    stack.callback(process.join)
    stack.callback(pipe.close)
    try:
      address = pipe.recv()
    except EOFError as error:
      raise InputError("The nodes of Ray did not start on this machine; see above.") from error
    nodes = LocalNodes(pipe)
    stack.callback(nodes.stop)
    ray.init(
      address=address,
      _node_ip_address=_LOOPBACK,
      log_to_driver=False,
      logging_level=logging.WARNING,
    )
    stack.callback(ray.shutdown)
    yield nodes


def _keep_nodes(
  pipe: Connection, folder: str, count: int, cpus: int, kill_every: float | None
) -> None:
  """Starts nodes, kills them when it is asked or due, and ends with the process that asks.

  The folder of Ray is removed at the end.
  """
  # An interrupt is for the process that asks, which then ends the nodes.
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  node = {"object_store_memory": _STORE_BYTES, "node_ip_address": _LOOPBACK}
  head = {"num_cpus": 0, "include_dashboard": False, "_system_config": _SETTINGS}
  cluster = Cluster(initialize_head=True, head_node_args=node | head)
  try:
    nodes = [cluster.add_node(num_cpus=cpus, **node) for _ in range(count)]
    pipe.send(cluster.address)
    num_killed, due = 0, time.monotonic()
    request = None
    while request != "stop":
      due += kill_every or 0.0
      left = None if kill_every is None else max(0.0, due - time.monotonic())
      request = pipe.recv() if pipe.poll(left) else None
      if request != "stop":
        cluster.remove_node(nodes.pop(0), allow_graceful=False)
        num_killed += 1
      if request is None:
        nodes.append(cluster.add_node(num_cpus=cpus, **node))
      elif request == "kill":
        pipe.send(num_killed)
  except EOFError:
    return
  finally:
    cluster.shutdown()
    shutil.rmtree(folder, ignore_errors=True)
  pipe.send(num_killed)


@contextlib.contextmanager
def _environment(**values: str) -> Iterator[None]:
  """Sets variables of the environment for a while."""
  before = {name: os.environ.get(name) for name in values}
  os.environ.update(values)
  try:
    yield
  finally:
    for name, value in before.items():
      if value is None:
        del os.environ[name]
      else:
        os.environ[name] = value

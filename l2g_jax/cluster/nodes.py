"""A Ray cluster to work on: one that runs already, or nodes that are started on this machine."""

import contextlib
import dataclasses
import logging
import os
import pathlib
import shutil
import tempfile
import threading
from collections.abc import Iterator
from typing import Any

import ray
from ray.cluster_utils import Cluster

from l2g_jax.errors import InputError, SettingError

# Ray takes 127.0.0.1 for an address that others can't reach, and looks for another one.
_LOOPBACK = "127.0.0.2"
# The least that Ray takes: results are small, and data lie in files.
_STORE_BYTES = 80 << 20
# A killed node is noticed after some seconds, and not after fifteen; one that is slow to answer is
# given as long as elsewhere.
_HEARTBEATS = {"health_check_period_ms": 500, "health_check_initial_delay_ms": 500}


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

  Attributes:
    num_killed: nodes that were killed so far.
  """

  def __init__(self, cluster: Cluster, cpus: int):
    self.num_killed = 0
    self._cluster = cluster
    self._cpus = cpus
    self._nodes: list[Any] = []

  def add(self) -> None:
    """Starts a node."""
    self._nodes.append(
      self._cluster.add_node(
        num_cpus=self._cpus, object_store_memory=_STORE_BYTES, node_ip_address=_LOOPBACK
      )
    )

  def kill(self) -> None:
    """Kills the node that has run longest, with what runs on it, as a power failure would."""
    self._cluster.remove_node(self._nodes.pop(0), allow_graceful=False)
    self.num_killed += 1


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
  """
  # Paths of sockets must be short.
  short = "/tmp" if pathlib.Path("/tmp").is_dir() else None
  folder = tempfile.mkdtemp(prefix="l2g-", dir=short)
  with contextlib.ExitStack() as stack:
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    stack.enter_context(_environment(RAY_TMPDIR=folder, RAY_USAGE_STATS_ENABLED="0"))
    head: dict[str, Any] = {"num_cpus": 0, "include_dashboard": False}
    head |= {"object_store_memory": _STORE_BYTES, "node_ip_address": _LOOPBACK}
    head["_system_config"] = _HEARTBEATS
    cluster = Cluster(initialize_head=True, head_node_args=head)
    stack.callback(cluster.shutdown)
    nodes = LocalNodes(cluster, cpus)
    for _ in range(count):
      nodes.add()
    ray.init(
      address=cluster.address,
      _node_ip_address=_LOOPBACK,
      log_to_driver=False,
      logging_level=logging.WARNING,
    )
    stack.callback(ray.shutdown)
    if kill_every is not None:
      # A thread can't take care of signals; the nodes that it starts end with the head.
      cluster._shutdown_at_exit = False
      stack.enter_context(_killing(nodes, kill_every))
    yield nodes


@contextlib.contextmanager
def _killing(nodes: LocalNodes, seconds: float) -> Iterator[None]:
  """Kills a node every so many seconds, in a thread, and starts another."""
  done = threading.Event()

  def run() -> None:
    while not done.wait(seconds):
      nodes.kill()
      nodes.add()

  thread = threading.Thread(target=run)
  thread.start()
  try:
    yield
  finally:
    done.set()
    thread.join()


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

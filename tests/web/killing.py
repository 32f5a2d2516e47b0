"""Kills a server amid taking in photographs, and starts it again.

python -m tests.web.killing DIRECTORY prints, as JSON, of each point of killing: how the first
server ended, what could be searched before, what after the second has caught up, and how many
photographs that one described.
"""

import functools
import json
import multiprocessing
import os
import pathlib
import signal
import sys
import time
import urllib.request

from l2g_jax.cann import CannIndex
from l2g_jax.features import tasks
from l2g_jax.web import keeper as keepers
from l2g_jax.web import warming
from tests.retriever import photos
from tests.web import serving

NUM_IMAGES = 12
_FIRST_STEP = 4
# What the second step does when it is killed, at the second sync of a file; or while it describes
# its fourth photograph.
POINTS = ("add", "neighbor_lists", "describe")


def kill_within(name: str) -> None:
  """Has this process kill itself within a method of an index that holds a step already."""
  method, sync, count = getattr(CannIndex, name), os.fsync, []

  @functools.wraps(method)
  def wrapped(index, *arguments, **options):
    is_later = len(index.names) >= _FIRST_STEP + (name == "neighbor_lists")
    os.fsync = fsync if is_later else sync
    try:
      return method(index, *arguments, **options)
    finally:
      os.fsync = sync

  def fsync(descriptor):
    count.append(descriptor)
    if len(count) == 2:
      os.kill(os.getpid(), signal.SIGKILL)
    sync(descriptor)

  setattr(CannIndex, name, wrapped)


def serve(root: pathlib.Path, fatal: str | None) -> None:
  """Serves a folder until all is taken in; writes what could be searched whenever it changes."""
  if fatal in ("add", "neighbor_lists"):
    kill_within(fatal)
  described = []

  def describe(image):
    if fatal == "describe" and len(described) == _FIRST_STEP + 3:
      os.kill(os.getpid(), signal.SIGKILL)
    described.append(1)
    return photos.describe(image)

  options = {"features": photos.options(describe).features, "num_candidates": 5}
  numbers = []
  with serving.serve(root / "jpg", root / "work", options) as address:
    while not numbers or numbers[-1] < NUM_IMAGES:
      with urllib.request.urlopen(f"{address}/api/status") as answer:
        numbers.append(json.load(answer)["num_images"])
      (root / "report").write_text(json.dumps({"searched": numbers[-1], "made": len(described)}))
      time.sleep(0.02)


def run(root: pathlib.Path, fatal: str | None) -> tuple[int | None, dict[str, int]]:
  """Serves in a process of its own; returns how it ended, and its report."""
  process = multiprocessing.get_context("fork").Process(target=serve, args=(root, fatal))
  process.start()
  process.join()
  return process.exitcode, json.loads((root / "report").read_text())


def main(directory: pathlib.Path) -> None:
  keepers.FIRST_STEP = _FIRST_STEP
  tasks.PIECE_SECONDS = 0.0
  keepers._SETTLED_SECONDS = 0.0
  for name in ("warm_search", "warm_map"):
    setattr(warming, name, lambda retriever: None)
  report = {}
  for point in POINTS:
    root = directory / point
    (root / "jpg").mkdir(parents=True)
    for number in range(NUM_IMAGES):
      photos.write(root / "jpg" / f"{number}.bmp", number)
    ended, before = run(root, point)
    _, after = run(root, None)
    report[point] = {"ended": ended, "before": before, "after": after}
  print(json.dumps(report))


if __name__ == "__main__":
  main(pathlib.Path(sys.argv[1]))

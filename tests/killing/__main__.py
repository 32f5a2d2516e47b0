"""Kills everything that writes, at every point and at random times, and looks at what is left.

python -m tests.killing --kills=2000

Each operation of `tests.killing.operations` is killed before every write, in the middle of it, and
before every rename, removal, new folder and sync; then at random times. After each kill, what is
found must be as before the operation or as after it, every checksum compared, and done again the
operation must come to its end; nothing that is not ours may be gone, and no temporary file may stay
then. The last line is JSON: points, kills and losses of each operation.

Children are forked from this process, which has compiled everything, so that a kill costs little.
"""

import argparse
import json
import pathlib
import shutil
import sys
import tempfile
import traceback

import numpy as np

from tests.killing import points
from tests.killing.operations import OPERATIONS, Found, Operation, find


class _Case:
  """An operation whose state before and after is known, and can be had again."""

  def __init__(self, operation: Operation, folder: pathlib.Path):
    self.operation, self.root = operation, folder / "root"
    self._kept = folder / "kept"
    self._kept.mkdir(parents=True)
    operation.prepare(self._kept)
    self.reset()
    self._before = find(operation, self.root)
    operation.change(self.root)
    self._after = find(operation, self.root)

  def reset(self) -> None:
    """Puts the state before the operation back."""
    shutil.rmtree(self.root, ignore_errors=True)
    shutil.copytree(self._kept, self.root, symlinks=True)

  def check(self) -> None:
    """Raises an error unless what a kill left is whole, and the operation can be done again."""
    found = find(self.operation, self.root)
    assert _is_between(self._before, found, self._after), "neither as before nor as after"
    if found != self._after or self._before == self._after:
      self.operation.change(self.root)
      assert find(self.operation, self.root) == self._after, "not as after, done again"
      left = [path.name for path in self.root.rglob(".*.l2g") if path.name != ".lists-000098.l2g"]
      assert not left, f"{left} left"


def _is_between(before: Found, found: Found, after: Found) -> bool:
  """Whether each entry is as before or as after, with no other beside them."""
  absent = object()
  return all(
    found.get(name, absent) in (before.get(name, absent), after.get(name, absent))
    for name in {*before, *found, *after}
  )


def main() -> None:
  parser = argparse.ArgumentParser(description="Kills everything that writes.")
  parser.add_argument("--kills", type=int, default=2000, help="kills at random times, of all")
  parser.add_argument("--most", type=int, help="points of an operation that are tried; all if none")
  parser.add_argument("--only", nargs="*", help="operations by name; all if none are given")
  parser.add_argument("--seed", type=int, default=0)
  flags = parser.parse_args()
  points.stop_syncing()
  rng = np.random.default_rng(flags.seed)
  report = {}
  operations = [item for item in OPERATIONS if not flags.only or item.name in flags.only]
  for number, operation in enumerate(operations):
    with tempfile.TemporaryDirectory() as folder:
      case = _Case(operation, pathlib.Path(folder))
      case.reset()
      num_points = points.count(operation.change, case.root)
      tried = range(num_points)
      if flags.most is not None and flags.most < num_points:
        tried = np.sort(rng.permutation(num_points)[: flags.most]).tolist()
      losses = 0
      for point in tried:
        case.reset()
        points.kill_at(operation.change, case.root, point)
        losses += _is_lost(case, f"{operation.name}, point {point}")
      case.reset()
      seconds = points.duration(operation.change, case.root)
      kills, wanted = 0, len(range(number, flags.kills, len(operations)))
      while kills < wanted:
        case.reset()
        moment = float(rng.uniform(0.0, 1.2 * seconds))
        hit = points.kill_after(operation.change, case.root, moment)
        kills += hit
        # What was over by then takes no longer: later moments would hit nothing either.
        seconds = seconds if hit else min(seconds, moment)
        losses += _is_lost(case, f"{operation.name}, at random")
      report[operation.name] = {
        "points": num_points,
        "tried": len(tried),
        "kills": kills,
        "losses": losses,
      }
      print(f"{operation.name}: {report[operation.name]}", file=sys.stderr, flush=True)
  print(json.dumps(report))
  if any(entry["losses"] for entry in report.values()):
    sys.exit(1)


def _is_lost(case: _Case, label: str) -> bool:
  try:
    case.check()
  except Exception:
    print(f"{label}:", file=sys.stderr)
    traceback.print_exc()
    return True
  return False


if __name__ == "__main__":
  main()

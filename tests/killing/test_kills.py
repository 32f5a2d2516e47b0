import json
import subprocess
import sys

_MOST = 2
_KILLS = 32


def test_killed_anywhere_everything_is_as_before_or_after_and_can_be_done_again():
  """Up to 2 points of each operation and 32 kills; `python -m tests.killing` does them all."""
  run = subprocess.run(
    [sys.executable, "-m", "tests.killing", f"--kills={_KILLS}", f"--most={_MOST}"],
    check=False,
    capture_output=True,
    text=True,
  )
  assert run.returncode == 0, run.stderr
  report = json.loads(run.stdout)
  assert {"build", "add", "remove", "compact", "merge", "lists", "store", "bundle"} < report.keys()
  assert sum(entry["kills"] for entry in report.values()) == _KILLS
  for entry in report.values():
    assert entry["tried"] == min(entry["points"], _MOST) > 0
    assert entry["losses"] == 0

import json
import os
import signal
import subprocess
import sys

import pytest

from tests.cli import toy

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")


def test_a_server_that_is_killed_amid_taking_in_goes_on_at_its_next_start(tmp_path):
  output = subprocess.run(
    [sys.executable, "-m", "tests.web.killing", tmp_path],
    cwd=toy.ROOT,
    env=os.environ | toy.environment(tmp_path),
    stdout=subprocess.PIPE,
    text=True,
    check=True,
  ).stdout
  report = json.loads(output.splitlines()[-1])
  assert set(report) == {"add", "neighbor_lists", "describe"}
  for told in report.values():
    assert told["ended"] == -signal.SIGKILL
    assert told["before"]["searched"] == 4
    assert told["after"]["searched"] == 12
  # What was described is never described anew, whether it was indexed or not.
  assert report["add"]["after"]["made"] == 4
  assert report["neighbor_lists"]["after"]["made"] == 4
  assert report["describe"]["after"]["made"] == 5

import subprocess
import sys

import pytest

SCRIPT = """
from l2g_jax.runtime import files, workers
{guard}
with files.locked({folder!r}, refusal=None):
  print(list(workers.run_tasks(abs, [-1, -2], 2)), flush=True)
"""


@pytest.mark.parametrize("guarded", [True, False])
def test_a_script_without_a_guard_is_told_so_and_does_not_wait_for_itself(tmp_path, guarded):
  script = tmp_path / "script.py"
  guard = "if __name__ == '__main__':" if guarded else "if True:"
  text = SCRIPT.format(guard=guard, folder=str(tmp_path / "work"))
  head, body = text.split(f"{guard}\n")
  script.write_text(head + guard + "\n" + "".join(f"  {line}\n" for line in body.splitlines()))
  ended = subprocess.run(
    [sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=False
  )
  if guarded:
    assert ended.returncode == 0
    assert ended.stdout in ("[1, 2]\n", "[2, 1]\n")
  else:
    assert ended.returncode != 0
    assert 'put what it does under `if __name__ == "__main__":`' in ended.stderr

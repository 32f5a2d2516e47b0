import multiprocessing
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time

import pytest

from l2g_jax.errors import InputError
from l2g_jax.runtime import files, locks
from tests.runtime.bundles import names_in


def test_a_lock_that_is_held_is_refused_until_it_is_free(tmp_path):
  with files.locked(tmp_path / "new", refusal="held"):
    assert names_in(tmp_path / "new") == ["lock"]
    with (
      pytest.raises(InputError, match=r"^another holds it$"),
      files.locked(tmp_path / "new", refusal="another holds it"),
    ):
      pass
    with files.locked(tmp_path / "other", refusal="held"):
      pass
  with pytest.raises(KeyError), files.locked(tmp_path / "new", refusal="held"):
    raise KeyError
  with files.locked(tmp_path / "new", refusal="held"):
    pass


def test_who_waits_for_a_lock_says_so_at_once_and_then_with_the_seconds(
  tmp_path, capsys, monkeypatch
):
  monkeypatch.setattr(locks, "NOTICE_SECONDS", 0.6)
  order, said = [], ""

  def wait(notice):
    with files.locked(tmp_path, refusal=None, notice=notice):
      order.append(notice)

  waiting = [threading.Thread(target=wait, args=(notice,)) for notice in ("It is built.", None)]
  with files.locked(tmp_path, refusal=None, notice="never said"):
    for thread in waiting:
      thread.start()
    while said.count("\n") < 2:
      time.sleep(0.01)
      said += capsys.readouterr().err
    assert order == []
  for thread in waiting:
    thread.join()
  assert set(order) == {"It is built.", None}
  assert re.match(r"It is built\.\nIt is built\. \([1-9]\d* s\)\n", said)


def hold_lock(directory, held):
  with files.locked(directory, refusal="held"):
    held.set()
    signal.pause()


def test_a_lock_is_free_once_its_holder_is_killed(tmp_path):
  context = multiprocessing.get_context("spawn")
  held = context.Event()
  process = context.Process(target=hold_lock, args=(tmp_path, held))
  process.start()
  assert held.wait(60)
  with pytest.raises(InputError, match="held"), files.locked(tmp_path, refusal="held"):
    pass
  process.kill()
  process.join()
  with files.locked(tmp_path, refusal="held"):
    pass


def hold_lock_with_a_child(directory, child):
  with files.locked(directory, refusal="held"):
    if not os.fork():
      # By itself: it lets go of the lock while it is made, and its parent may be killed before.
      child.value = os.getpid()
    signal.pause()


def test_a_lock_is_not_held_by_a_child_that_outlives_its_holder(tmp_path):
  context = multiprocessing.get_context("spawn")
  child = context.Value("i")
  process = context.Process(target=hold_lock_with_a_child, args=(tmp_path, child))
  process.start()
  while not child.value:
    time.sleep(0.01)
  try:
    process.kill()
    process.join()
    with files.locked(tmp_path, refusal="held"):
      pass
  finally:
    os.kill(child.value, signal.SIGKILL)


def test_a_folder_that_is_removed_while_its_lock_is_asked_for_is_made_again(tmp_path, monkeypatch):
  folder, make, raced = tmp_path / "a", pathlib.Path.mkdir, []

  def mkdir(path, *arguments, **options):
    if path == folder and not raced:
      raced.append(path)
      make(path)
      try:
        make(path, *arguments, **options | {"exist_ok": False})
      finally:
        path.rmdir()  # by its last holder, before anybody looks
    make(path, *arguments, **options)

  monkeypatch.setattr(pathlib.Path, "mkdir", mkdir)
  with locks.locked(folder, refusal=None):
    assert names_in(folder) == [locks.LOCK]
  assert raced


def test_a_lock_in_what_is_no_folder_is_an_error(tmp_path):
  (tmp_path / "a").touch()
  for folder, error in (("a", FileExistsError), ("a/b", NotADirectoryError)):
    with pytest.raises(error), locks.locked(tmp_path / folder, refusal=None):
      pass


def test_locks_of_many_processes_exclude_each_other(tmp_path):
  (tmp_path / "count").write_text("0")
  context = multiprocessing.get_context("spawn")
  processes = [context.Process(target=count_up, args=(tmp_path, 20)) for _ in range(4)]
  for process in processes:
    process.start()
  for process in processes:
    process.join()
  assert (tmp_path / "count").read_text() == "80"


def count_up(directory, times):
  for _ in range(times):
    with files.locked(directory, refusal=None):
      count = int((directory / "count").read_text())
      (directory / "count").write_text(str(count + 1))


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
